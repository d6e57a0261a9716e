// ProgressBar: one line on standard error that says how far a long job is, how fast it goes and how long it will take.
// It is gone when the object is.
//
//   ProgressBar bar("training", "steps", ProgressBar::StyleFor(common.progress));
//   bar.Update(step, total_steps, "loss 0.4511");
//
// Not thread-safe.
#ifndef EQAT_CLI_PROGRESS_BAR_H_
#define EQAT_CLI_PROGRESS_BAR_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace eqat::cli {

class ProgressBar {
 public:
  // kRedrawn: one line of a terminal, drawn again and again; kLines: a new line now and then, for logs.
  enum class Style : uint8_t { kOff, kRedrawn, kLines };
  // Standard error's: a terminal is redrawn, anything else gets lines when `forced`.
  static Style StyleFor(bool forced);

  // `unit`: what is counted ("rows"); "bytes" are shown as sizes.
  ProgressBar(std::string label, std::string unit, Style style, int fd = 2);
  ~ProgressBar();  // erases a redrawn line
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // `total` 0: unknown. Cheap to call often: draws at most ten times a second (kLines: once).
  void Update(int64_t done, int64_t total, absl::string_view note = "");

 private:
  using Clock = std::chrono::steady_clock;
  std::string Text(int64_t done, int64_t total, absl::string_view note) const;
  void Redraw(std::string text);

  const std::string label_;
  const std::string unit_;
  const Style style_;
  const int fd_;
  std::optional<Clock::time_point> begin_;  // of the first Update, from which the rate is taken
  int64_t begin_done_ = 0;
  Clock::time_point last_drawn_;
  size_t drawn_width_ = 0;
};

}  // namespace eqat::cli

#endif  // EQAT_CLI_PROGRESS_BAR_H_
