// A pool of sleeping workers that share one loop at a time with the thread that calls.
#pragma once

#include <cstddef>
#include <type_traits>

namespace nnkernels {

// The limit of threads that one loop may use, the calling one included. At first NNKERNELS_NUM_THREADS or, without it, the
// least of the CPUs of the process's affinity, those of its control group's quota, and OMP_NUM_THREADS.
int get_num_threads();
void set_num_threads(int threads);  // at least 1

// Sets the limit. Reads NNKERNELS_NUM_THREADS; throws std::invalid_argument if it is not a positive number.
void initialize_threads();

// Sharing pays from so many times less work on if workers are awake, or loops follow one another closely.
constexpr std::size_t kAwakeAdvantage = 16;

// How a loop over 0, ..., n - 1 may be cut: into parts that begin at multiples of `multiple`, for as many threads as have at
// least `minimum` to do, or that divided by kAwakeAdvantage.
struct Split {
  std::size_t n;
  std::size_t minimum;  // what is worth waking a thread for one loop: 60 us of work, say
  std::size_t multiple = 1;
};

// Multiplications that are worth waking another thread, and how many elements of so many multiplications each.
constexpr std::size_t kThreadWork = 6'000'000;
inline std::size_t worth_a_thread(std::size_t work) { return kThreadWork / (work > 1 ? work : 1) + 1; }

using LoopBody = void(void* context, std::size_t begin, std::size_t end);
void parallel_for(Split split, LoopBody* body, void* context);

// Calls body(begin, end) for ranges that together are 0, ..., n - 1: one range, on the calling thread, if that is not enough
// for two or another thread has the workers; otherwise several, shared out among the threads. Returns when all are done.
// Workers compute in the default floating-point environment; the flags they raise are raised in the caller, and the first
// exception thrown is thrown here.
template <class Body>
void parallel_for(Split split, Body&& body) {
  if (split.n <= split.multiple) {  // one part: not worth a look at the threads
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
