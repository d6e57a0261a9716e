#include "cli/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <thread>

#include "gmock/gmock.h"
#include "tests/cli/cli_test.h"

namespace eqat::testing {
namespace {

using cli::ProgressBar;
using ::testing::HasSubstr;

// What a bar wrote; `draw` gets one that writes to a pipe.
template <typename Draw>
std::string Written(ProgressBar::Style style, const Draw& draw) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  {
    ProgressBar bar("training", "steps", style, ends[1]);
    draw(bar);
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t count; (count = read(ends[0], buffer, sizeof(buffer))) > 0;) text.append(buffer, count);
  close(ends[0]);
  return text;
}

// What a terminal shows of `text`: carriage returns go back, later characters replace earlier ones.
std::string Shown(const std::string& text) {
  std::string line;
  size_t at = 0;
  for (const char c : text) {
    if (c == '\r') {
      at = 0;
      continue;
    }
    line.resize(std::max(line.size(), at + 1), ' ');
    line[at++] = c;
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

TEST(ProgressBarTest, OffWritesNothing) {
  EXPECT_EQ(Written(ProgressBar::Style::kOff, [](ProgressBar& bar) { bar.Update(1, 2); }), "");
}

TEST(ProgressBarTest, ErasesItself) {
  std::string drawn;
  const std::string text = Written(ProgressBar::Style::kRedrawn, [](ProgressBar& bar) {
    bar.Update(0, 10, "loss 0.123456");
    bar.Update(10, 10);
  });
  EXPECT_THAT(text, HasSubstr("training   0% [........................]  loss 0.123456"));
  EXPECT_THAT(text, HasSubstr("training 100% [########################]"));
  EXPECT_EQ(Shown(text), "");
  EXPECT_EQ(text.find('\n'), std::string::npos);
}

TEST(ProgressBarTest, ShorterTextLeavesNothingOfTheLonger) {
  const std::string text = Written(ProgressBar::Style::kRedrawn, [](ProgressBar& bar) {
    bar.Update(10, 10, "a long note that is not there the second time");
    bar.Update(10, 10, "short");
  });
  const std::string before_erasing = text.substr(0, text.find_last_of('\r', text.size() - 2));
  EXPECT_EQ(Shown(before_erasing).find("second time"), std::string::npos);
}

TEST(ProgressBarTest, NeverWrapsAndDrawsSeldom) {
  const std::string text = Written(ProgressBar::Style::kRedrawn, [](ProgressBar& bar) {
    for (int i = 0; i < 1000; ++i) bar.Update(i, 1000000, std::string(300, 'x'));
  });
  EXPECT_EQ(text.find(std::string(80, 'x')), std::string::npos);
  EXPECT_LT(std::count(text.begin(), text.end(), '\r'), 100);
}

TEST(ProgressBarTest, TellsRateAndTimeLeft) {
  const std::string text = Written(ProgressBar::Style::kRedrawn, [](ProgressBar& bar) {
    bar.Update(100, 1000);  // resumed at step 100: not part of the rate
    std::this_thread::sleep_for(std::chrono::milliseconds(120));
    bar.Update(103, 1000);
  });
  EXPECT_THAT(text,
              ::testing::ContainsRegex("  [12][0-9]\\.[0-9] steps/s  ETA 0:[345][0-9]|  [0-9.]+ steps/s  ETA 1:"));
}

TEST(ProgressBarTest, LinesForLogs) {
  const std::string text = Written(ProgressBar::Style::kLines, [](ProgressBar& bar) {
    bar.Update(0, 10);
    bar.Update(5, 10);  // within a second of the first: not shown
    bar.Update(10, 10);
  });
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
  EXPECT_EQ(text.find('\r'), std::string::npos);
}

using ProgressCliTest = CliTest;

TEST_F(ProgressCliTest, OnlyOnATerminalUnlessForced) {
  WriteModel();
  WriteData(64);
  const std::vector<std::string> arguments = {"eval", Path("model"), "--data", Path("data.json")};
  ExpectDone(RunProgram(arguments));

  ProgramOptions terminal;
  terminal.error_is_terminal = true;
  const ProgramResult shown = RunProgram(arguments, terminal);
  EXPECT_EQ(shown.exit_code, 0);
  EXPECT_THAT(shown.error, HasSubstr("evaluating"));
  EXPECT_EQ(Shown(shown.error), "");

  std::vector<std::string> forced = arguments;
  forced.push_back("--progress");
  const ProgramResult lines = RunProgram(forced);
  EXPECT_EQ(lines.exit_code, 0);
  EXPECT_THAT(lines.error, HasSubstr("evaluating"));
  EXPECT_EQ(lines.error.find('\r'), std::string::npos);
}

}  // namespace
}  // namespace eqat::testing
