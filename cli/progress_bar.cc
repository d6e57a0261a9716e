#include "cli/progress_bar.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/text_table.h"

namespace eqat::cli {
namespace {

constexpr int kBarCells = 24;
constexpr size_t kDefaultColumns = 80;

// What does not arrive is lost: progress is no result.
void WriteAll(int fd, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(written);
  }
}

size_t Columns(int fd) {
  winsize size{};
  return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kDefaultColumns;
}

std::string DurationText(double seconds) {
  const int64_t whole = static_cast<int64_t>(std::min(seconds, 3.6e8));
  if (whole < 3600) return absl::StrFormat("%d:%02d", whole / 60, whole % 60);
  return absl::StrFormat("%d:%02d:%02d", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace

ProgressBar::Style ProgressBar::StyleFor(bool forced) {
  if (isatty(STDERR_FILENO)) return Style::kRedrawn;
  return forced ? Style::kLines : Style::kOff;
}

ProgressBar::ProgressBar(std::string label, std::string unit, Style style, int fd)
    : label_(std::move(label)), unit_(std::move(unit)), style_(style), fd_(fd) {}

ProgressBar::~ProgressBar() {
  if (drawn_width_ > 0) WriteAll(fd_, absl::StrCat("\r", std::string(drawn_width_, ' '), "\r"));
}

void ProgressBar::Update(int64_t done, int64_t total, absl::string_view note) {
  if (style_ == Style::kOff) return;
  const Clock::time_point now = Clock::now();
  const bool first = !begin_.has_value();
  if (first) {
    begin_ = now;
    begin_done_ = done;
  }
  const auto pause = style_ == Style::kRedrawn ? std::chrono::milliseconds(100) : std::chrono::milliseconds(1000);
  const bool last = total > 0 && done >= total;
  if (!first && !last && now - last_drawn_ < pause) return;
  last_drawn_ = now;
  std::string text = Text(done, total, note);
  if (style_ == Style::kLines) {
    WriteAll(fd_, absl::StrCat(text, "\n"));
  } else {
    Redraw(std::move(text));
  }
}

void ProgressBar::Redraw(std::string text) {
  text.resize(std::min(text.size(), Columns(fd_) - 1));  // a line that wraps could not be erased
  const size_t width = text.size();
  const std::string rest(drawn_width_ > width ? drawn_width_ - width : 0, ' ');
  WriteAll(fd_, absl::StrCat("\r", text, rest));
  drawn_width_ = std::max(width, drawn_width_);
}

std::string ProgressBar::Text(int64_t done, int64_t total, absl::string_view note) const {
  std::string text = label_;
  if (total > 0) {
    const double fraction = std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
    const int full = static_cast<int>(fraction * kBarCells);
    absl::StrAppendFormat(&text, " %3d%% [%s%s]", static_cast<int>(fraction * 100), std::string(full, '#'),
                          std::string(kBarCells - full, '.'));
  }
  const double seconds = std::chrono::duration<double>(last_drawn_ - *begin_).count();
  const double rate = seconds > 0 ? static_cast<double>(done - begin_done_) / seconds : 0;
  if (rate > 0) {
    absl::StrAppend(&text, "  ",
                    unit_ == "bytes" ? SizeText(static_cast<int64_t>(rate)) : absl::StrFormat("%.1f %s", rate, unit_),
                    "/s");
    if (total > done) absl::StrAppend(&text, "  ETA ", DurationText(static_cast<double>(total - done) / rate));
  }
  if (!note.empty()) absl::StrAppend(&text, "  ", note);
  return text;
}

}  // namespace eqat::cli
