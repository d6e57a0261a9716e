#include "cli/interrupt.h"

#include <signal.h>

#include <initializer_list>

#include "gtest/gtest.h"

namespace eqat::cli {
namespace {

sighandler_t HandlerOf(int signal_number) {
  struct sigaction action;
  sigaction(signal_number, nullptr, &action);
  return action.sa_handler;
}

TEST(InterruptGuardTest, NotesTheFirstSignalAndLetsTheSecondKill) {
  for (const int signal_number : {SIGINT, SIGTERM}) {
    SCOPED_TRACE(signal_number);
    {
      const InterruptGuard guard;
      EXPECT_FALSE(guard.interrupted());
      raise(signal_number);
      EXPECT_TRUE(guard.interrupted());
      EXPECT_EQ(HandlerOf(SIGINT), SIG_DFL);
      EXPECT_EQ(HandlerOf(SIGTERM), SIG_DFL);
    }
    EXPECT_FALSE(InterruptGuard().interrupted());
  }
}

TEST(InterruptGuardTest, RestoresTheHandlersItFound) {
  signal(SIGINT, SIG_IGN);
  {
    const InterruptGuard guard;
    EXPECT_NE(HandlerOf(SIGINT), SIG_IGN);
  }
  EXPECT_EQ(HandlerOf(SIGINT), SIG_IGN);
  signal(SIGINT, SIG_DFL);
}

}  // namespace
}  // namespace eqat::cli
