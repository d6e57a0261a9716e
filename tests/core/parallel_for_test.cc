#include "core/parallel_for.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace eqat {
namespace {

using Block = std::pair<int64_t, int64_t>;

class ParallelForTest : public ::testing::Test {
 protected:
  ~ParallelForTest() override { SetNumThreads(0); }
};

std::vector<Block> BlocksOf(int64_t n, int64_t block) {
  std::mutex mutex;
  std::vector<Block> blocks;
  ParallelFor(n, block, [&](int64_t begin, int64_t end) {
    const std::lock_guard<std::mutex> lock(mutex);
    blocks.emplace_back(begin, end);
  });
  std::sort(blocks.begin(), blocks.end());
  return blocks;
}

TEST_F(ParallelForTest, BlocksDoNotDependOnThreads) {
  for (const int threads : {1, 2, 5}) {
    SCOPED_TRACE(threads);
    SetNumThreads(threads);
    EXPECT_EQ(BlocksOf(10, 4), (std::vector<Block>{{0, 4}, {4, 8}, {8, 10}}));
    EXPECT_EQ(BlocksOf(8, 4), (std::vector<Block>{{0, 4}, {4, 8}}));
    EXPECT_EQ(BlocksOf(3, 4), (std::vector<Block>{{0, 3}}));
    EXPECT_EQ(BlocksOf(0, 4), std::vector<Block>());
    EXPECT_EQ(BlocksOf(2, INT64_MAX), (std::vector<Block>{{0, 2}}));
  }
}

TEST_F(ParallelForTest, EveryItemRunsOnceOverManyCalls) {
  SetNumThreads(4);
  std::vector<int> counts(1000);
  for (int call = 0; call < 2000; ++call) {
    ParallelFor(1000, 17, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ++counts[i];
    });
  }
  EXPECT_THAT(counts, ::testing::Each(2000));
}

// Every block waits until three threads have come: with fewer the deadline passes.
size_t ThreadsThatCome() {
  std::mutex mutex;
  std::set<std::thread::id> threads;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const auto all_here = [&] {
    const std::lock_guard<std::mutex> lock(mutex);
    threads.insert(std::this_thread::get_id());
    return threads.size() == 3;
  };
  ParallelFor(3, 1, [&](int64_t, int64_t) {
    while (!all_here() && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  });
  return threads.size();
}

TEST_F(ParallelForTest, UsesTheThreadsItIsGiven) {
  SetNumThreads(3);
  EXPECT_EQ(NumThreads(), 3);
  for (int call = 0; call < 50; ++call) {
    ASSERT_EQ(ThreadsThatCome(), 3u);
    // Now and then long enough for the others to fall asleep.
    if (call % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

TEST_F(ParallelForTest, WaitsForBlocksThatTakeLong) {
  for (const int threads : {2, 3, 40}) {
    SetNumThreads(threads);
    std::atomic<int> done = 0;
    ParallelFor(6, 1, [&](int64_t block, int64_t) {
      std::this_thread::sleep_for(std::chrono::milliseconds(block));
      ++done;
    });
    EXPECT_EQ(done, 6) << threads << " threads";
  }
}

TEST_F(ParallelForTest, AThreadOfTheBackgroundStaysAlone) {
  SetNumThreads(3);
  std::thread([] {
    StayOnThisThread();
    ParallelFor(100, 1, [caller = std::this_thread::get_id()](int64_t, int64_t) {
      EXPECT_EQ(std::this_thread::get_id(), caller);
    });
  }).join();
  EXPECT_EQ(ThreadsThatCome(), 3u);
}

TEST_F(ParallelForTest, OneThreadRunsOnTheCaller) {
  SetNumThreads(1);
  ParallelFor(100, 1, [caller = std::this_thread::get_id()](int64_t, int64_t) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
  });
}

TEST_F(ParallelForTest, NestedCallsStayOnTheirThread) {
  SetNumThreads(4);
  std::atomic<int64_t> sum = 0;
  ParallelFor(50, 1, [&](int64_t outer, int64_t) {
    const std::thread::id thread = std::this_thread::get_id();
    ParallelFor(20, 3, [&](int64_t begin, int64_t end) {
      EXPECT_EQ(std::this_thread::get_id(), thread);
      for (int64_t inner = begin; inner < end; ++inner) sum += outer * 20 + inner;
    });
  });
  EXPECT_EQ(sum, 999 * 1000 / 2);
}

TEST_F(ParallelForTest, ServesSeveralCallersAtOnce) {
  SetNumThreads(3);
  std::vector<int64_t> sums(4);
  std::vector<std::thread> callers;
  for (size_t c = 0; c < sums.size(); ++c) {
    callers.emplace_back([&sum = sums[c]] {
      for (int call = 0; call < 200; ++call) {
        std::vector<int64_t> squares(500);
        ParallelFor(500, 7, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) squares[i] = i * i;
        });
        for (const int64_t square : squares) sum += square;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_THAT(sums, ::testing::Each(int64_t{200} * 499 * 500 * 999 / 6));
}

// The message of what ParallelFor throws when block `failing` of 40 fails; none when it throws nothing. Blocks
// take a moment, so that several threads take part.
std::string FailureOf(int64_t failing, std::atomic<int>& running) {
  try {
    ParallelFor(40, 1, [&](int64_t block, int64_t) {
      ++running;
      std::this_thread::sleep_for(std::chrono::microseconds(50));
      --running;
      if (block == failing) throw std::runtime_error("block " + std::to_string(block));
    });
  } catch (const std::runtime_error& error) {
    EXPECT_EQ(running, 0) << "a block ran while the caller had the exception";
    return error.what();
  }
  return "";
}

TEST_F(ParallelForTest, AnExceptionReachesTheCaller) {
  for (const int threads : {1, 2, 5}) {
    SCOPED_TRACE(threads);
    SetNumThreads(threads);
    for (int64_t failing = 0; failing < 40; ++failing) {
      std::atomic<int> running = 0;
      ASSERT_EQ(FailureOf(failing, running), "block " + std::to_string(failing));
    }
    std::atomic<int> running = 0;
    EXPECT_EQ(FailureOf(-1, running), "");
  }
}

TEST_F(ParallelForTest, OneOfSeveralExceptionsReachesTheCaller) {
  for (const int threads : {1, 2, 5}) {
    SCOPED_TRACE(threads);
    SetNumThreads(threads);
    for (int call = 0; call < 200; ++call) {
      EXPECT_THROW(ParallelFor(40, 1, [](int64_t, int64_t) { throw std::bad_alloc(); }), std::bad_alloc);
    }
  }
}

TEST_F(ParallelForTest, AfterAnExceptionNoNewBlockIsBegun) {
  for (const int threads : {1, 3}) {
    SCOPED_TRACE(threads);
    SetNumThreads(threads);
    std::atomic<int> blocks = 0;
    const auto fail_early = [&](int64_t block, int64_t) {
      ++blocks;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if (block == 10) throw std::bad_alloc();
    };
    EXPECT_THROW(ParallelFor(1000, 1, fail_early), std::bad_alloc);
    // How many had begun depends on the threads' speed; all 1000 would take the two others half a second more.
    EXPECT_LT(blocks, 1000);
  }
}

TEST_F(ParallelForTest, AnExceptionOfAnInnerCallReachesTheOuterCaller) {
  SetNumThreads(3);
  for (int64_t failing = 0; failing < 20; ++failing) {
    const auto inner_call = [&](int64_t outer, int64_t) {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
      ParallelFor(10, 1, [&](int64_t inner, int64_t) {
        if (outer == failing && inner == 4) throw std::bad_alloc();
      });
    };
    EXPECT_THROW(ParallelFor(20, 1, inner_call), std::bad_alloc) << failing;
  }
}

TEST_F(ParallelForTest, ThreadsServeAfterAnException) {
  SetNumThreads(3);
  for (int call = 0; call < 20; ++call) {
    EXPECT_THROW(ParallelFor(40, 1, [](int64_t, int64_t) { throw std::bad_alloc(); }), std::bad_alloc);
    ASSERT_EQ(ThreadsThatCome(), 3u);
  }
}

using ParallelTasksTest = ParallelForTest;

TEST_F(ParallelTasksTest, RunsEachTaskOnce) {
  for (const int threads : {1, 2, 5}) {
    SCOPED_TRACE(threads);
    SetNumThreads(threads);
    for (const std::vector<int64_t>& costs : {std::vector<int64_t>{},
                                              {0},
                                              {0, 0, 0},
                                              {1},
                                              {5, 5},
                                              {1, 1, 1, 1},
                                              {1, 90, 2, 3, 4, 0},
                                              {INT64_MAX, INT64_MAX}}) {
      std::vector<std::atomic<int>> runs(costs.size());
      ParallelTasks(costs, [&](int64_t task) { ++runs[task]; });
      for (const std::atomic<int>& count : runs) EXPECT_EQ(count, 1);
    }
  }
}

TEST_F(ParallelTasksTest, ALargeTaskHasAllThreads) {
  SetNumThreads(3);
  size_t threads_of_the_large = 0;
  ParallelTasks({1, 8, 1, 1}, [&](int64_t task) {
    if (task == 1) threads_of_the_large = ThreadsThatCome();
  });
  EXPECT_EQ(threads_of_the_large, 3u);
}

TEST_F(ParallelTasksTest, TasksOfOneSizeRunSideBySide) {
  SetNumThreads(3);
  std::atomic<int> running = 0;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  ParallelTasks({4, 4, 4}, [&](int64_t) {
    ++running;
    while (running < 3 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  });
  EXPECT_LT(std::chrono::steady_clock::now(), deadline);
}

TEST_F(ParallelTasksTest, AnExceptionReachesTheCaller) {
  SetNumThreads(3);
  for (int64_t failing = 0; failing < 4; ++failing) {
    const auto body = [&](int64_t task) {
      if (task == failing) throw std::bad_alloc();
    };
    EXPECT_THROW(ParallelTasks({1, 8, 1, 1}, body), std::bad_alloc) << failing;
  }
}

TEST_F(ParallelForTest, ZeroMeansAllCores) {
  SetNumThreads(0);
  EXPECT_EQ(NumThreads(), std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace
}  // namespace eqat
