// InterruptGuard: while it lives, the first SIGINT or SIGTERM is only noted, so that work can end in an orderly way;
// the second one ends the process as usual.
#ifndef EQAT_CLI_INTERRUPT_H_
#define EQAT_CLI_INTERRUPT_H_

#include <signal.h>

namespace eqat::cli {

// One at a time: signal handlers belong to the process.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();  // restores the handlers found
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  bool interrupted() const;

 private:
  struct sigaction previous_interrupt_;
  struct sigaction previous_terminate_;
};

}  // namespace eqat::cli

#endif  // EQAT_CLI_INTERRUPT_H_
