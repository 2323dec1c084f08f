#include "threads.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <limits>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>

#include "floating_point.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace nnkernels {
namespace {

// One loop, cut into parts; whoever is free takes the next part.
struct Loop {
  std::size_t n;
  std::size_t parts;
  LoopBody* body;
  void* context;
  std::atomic<std::size_t> next_part{0};
  std::atomic<int> raised{0};
  std::atomic<bool> failed{false};
  std::exception_ptr failure{};

  void run_parts() {
    const std::size_t quotient = n / parts;
    const std::size_t remainder = n % parts;
    for (std::size_t part; (part = next_part.fetch_add(1, std::memory_order_relaxed)) < parts;) {
      const std::size_t begin = part * quotient + std::min(part, remainder);
      try {
        body(context, begin, begin + quotient + (part < remainder ? 1 : 0));
      } catch (...) {
        if (!failed.exchange(true)) failure = std::current_exception();
      }
    }
  }
};

// Workers sleep until there is a loop, and are never joined: the pool lives as long as the process. After a fork the child
// starts a new one, for the workers exist in the parent only.
class Pool {
 public:
  // False, with nothing done, if another thread is running a loop.
  bool run(Loop& loop) {
    const std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
    if (!turn.owns_lock()) return false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      start_workers(loop.parts - 1);
      loop_ = &loop;
      ++generation_;
    }
    wake_.notify_all();
    loop.run_parts();
    std::unique_lock<std::mutex> lock(mutex_);
    loop_ = nullptr;  // who has not joined by now stays out
    finished_.wait(lock, [this] { return running_ == 0; });
    return true;
  }

 private:
  // A worker that the system refuses is done without. Workers take no signals: these are for the program's own threads.
  void start_workers(std::size_t wanted) {
    if (workers_ >= wanted) return;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      for (; workers_ < wanted; ++workers_) std::thread([this, seen = generation_] { work(seen); }).detach();
    } catch (...) {
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void work(unsigned long seen) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return generation_ != seen; });
      seen = generation_;
      Loop* loop = loop_;
      if (loop == nullptr) continue;
      ++running_;
      lock.unlock();
      std::feclearexcept(FE_ALL_EXCEPT);
      {
        const FloatingPointScope scope(Exceptions::kKeep);
        loop->run_parts();
      }
      loop->raised.fetch_or(std::fetestexcept(FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INVALID));
      lock.lock();
      if (--running_ == 0) finished_.notify_all();
    }
  }

  std::mutex turn_;  // held by the thread whose loop it is
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable finished_;
  Loop* loop_ = nullptr;
  unsigned long generation_ = 0;
  std::size_t running_ = 0;
  std::size_t workers_ = 0;
};

std::atomic<Pool*> pool{nullptr};
std::atomic<int> num_threads{1};

// What the parent's pool held (its memory, locks, loop) is left where it is.
void forget_pool() { pool.store(nullptr); }

// Null where there is no memory for one.
Pool* get_pool() {
  Pool* current = pool.load();
  if (current == nullptr) {
    auto* created = new (std::nothrow) Pool;
    if (pool.compare_exchange_strong(current, created)) return created;
    delete created;
  }
  return current;
}

int available_cpus() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

int get_num_threads() { return num_threads.load(std::memory_order_relaxed); }

void set_num_threads(int threads) { num_threads.store(threads, std::memory_order_relaxed); }

void initialize_threads() {
  const char* wanted = std::getenv("NNKERNELS_NUM_THREADS");
  if (wanted == nullptr || *wanted == '\0') {
    set_num_threads(available_cpus());
  } else {
    char* end = nullptr;
    const long threads = std::strtol(wanted, &end, 10);
    if (*end != '\0' || threads < 1 || threads > std::numeric_limits<int>::max()) {
      throw std::invalid_argument("NNKERNELS_NUM_THREADS is '" + std::string(wanted) + "', expected a positive whole number");
    }
    set_num_threads(static_cast<int>(threads));
  }
  pthread_atfork(nullptr, nullptr, forget_pool);
}

void parallel_for(std::size_t n, std::size_t minimum, LoopBody* body, void* context) {
  const std::size_t parts = std::min(static_cast<std::size_t>(get_num_threads()), n / std::max<std::size_t>(minimum, 1));
  if (parts < 2) {
    body(context, 0, n);
    return;
  }
  Loop loop{n, parts, body, context};
  Pool* const workers = get_pool();
  if (workers == nullptr || !workers->run(loop)) loop.run_parts();
  if (loop.raised != 0) raise_exceptions(loop.raised);
  if (loop.failed) std::rethrow_exception(loop.failure);
}

}  // namespace nnkernels
