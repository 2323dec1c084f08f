// A thread pool: its workers and the calling thread share one loop at a time.
#pragma once

#include <cstddef>
#include <type_traits>

namespace nnkernels {

// The maximum number of threads of one loop, including the calling thread. Defaults to
// NNKERNELS_NUM_THREADS. If that is not set, to the minimum of the CPUs in the process's affinity
// mask, the CPU quota of its control group, and OMP_NUM_THREADS.
int get_num_threads();
void set_num_threads(int threads);  // at least 1

// Sets the default maximum. Throws std::invalid_argument if NNKERNELS_NUM_THREADS is not a positive
// whole number.
void initialize_threads();

// If workers are awake, or loops follow each other closely, threads pay off for this many times
// less work.
constexpr std::size_t kAwakeAdvantage = 16;

// How a loop over 0, ..., n - 1 may be split. Each part begins at a multiple of `multiple`. Each
// thread gets at least `minimum` elements, or minimum / kAwakeAdvantage if waking it is cheap.
struct Split {
  std::size_t n;
  std::size_t minimum;  // elements that justify waking a thread: about 60 us of work
  std::size_t multiple = 1;
};

// The minimum work for waking a thread: in multiplications, and in elements of `work`
// multiplications each.
constexpr std::size_t kThreadWork = 6'000'000;
inline std::size_t worth_a_thread(std::size_t work) { return kThreadWork / (work > 1 ? work : 1) + 1; }

using LoopBody = void(void* context, std::size_t begin, std::size_t end);
void parallel_for(Split split, LoopBody* body, void* context);

// Calls body(begin, end) for ranges that cover 0, ..., n - 1, and returns when all are done. The
// threads share several ranges. If there is too little work for two threads, or another loop is
// using the workers, the calling thread runs one range. Workers use the default floating-point
// environment. Floating-point flags they raise are raised in the caller, and the first exception is
// rethrown there.
template <class Body>
void parallel_for(Split split, Body&& body) {
  if (split.n <= split.multiple) {  // one part
    body(0, split.n);
    return;
  }
  parallel_for(
      split,
      [](void* context, std::size_t begin, std::size_t end) {
        (*static_cast<std::remove_reference_t<Body>*>(context))(begin, end);
      },
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace nnkernels
