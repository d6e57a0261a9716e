// ParallelFor: runs a function over [0, n) in blocks on a pool of threads that is shared by the process.
//
// Determinism: blocks are [0, block), [block, 2*block), ... whatever the number of threads, so a result that is a
// function of its block alone has the same bits for any number. Never reduce across blocks in order of completion.
#ifndef EQAT_CORE_PARALLEL_FOR_H_
#define EQAT_CORE_PARALLEL_FOR_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"

namespace eqat {

// Sets how many threads ParallelFor uses, the calling one included; 0 means all cores. Not while a ParallelFor runs.
void SetNumThreads(int num_threads);
int NumThreads();

// From now on ParallelFor runs on the calling thread alone when this thread calls it: for threads of the background,
// which must not take the pool from the others.
void StayOnThisThread();

// Calls `body(begin, end)` for every block of at most `block` items (block >= 1). The caller takes part. Nested calls
// and calls from several threads are allowed: an inner call runs on its own thread alone. Blocks until all are done.
//
// An exception of `body`, as for memory that is not to be had, is thrown again by the call, when no thread is in `body`
// any more; blocks that nobody had begun are not run. Of several exceptions one is thrown.
void ParallelFor(int64_t n, int64_t block, absl::FunctionRef<void(int64_t begin, int64_t end)> body);

// Calls `body(task)` for each of costs.size() tasks that need nothing of one another; `costs` (at least 0) are in any
// unit. A task that costs more than a thread's share of all runs on its own, so that it can use all threads itself; the
// others run side by side. Exceptions as in ParallelFor.
void ParallelTasks(absl::Span<const int64_t> costs, absl::FunctionRef<void(int64_t task)> body);

}  // namespace eqat

#endif  // EQAT_CORE_PARALLEL_FOR_H_
