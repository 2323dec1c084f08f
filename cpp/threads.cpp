#include "threads.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cfenv>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <limits>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>

#include "cgroup.h"
#include "floating_point.h"

#if !defined(_WIN32)
#include <pthread.h>
#include <signal.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace nnkernels {
namespace {

// Parts of a loop per thread. There are several, so that faster or earlier threads can do more.
constexpr std::size_t kPartsOfThread = 4;

using Clock = std::chrono::steady_clock;

// How long a thread spins before it sleeps: about the cost of a wake-up, measured on a virtual
// machine.
constexpr std::chrono::microseconds kSpin{50};

// After a burst of loops this long, workers are woken even for small loops, since they stay awake
// between the loops.
constexpr std::chrono::milliseconds kBurst{1};

// Spins until ready() or the time is over; returns ready(). It does not yield: if other threads
// occupy all CPUs, they might not yield in turn for milliseconds.
template <class Ready>
bool spin_until(Ready ready) {
  const auto end = Clock::now() + kSpin;
  while (!ready()) {
    if (Clock::now() > end) return false;
  }
  return true;
}

// One loop, split into parts; each free thread takes another part. The caller takes parts from the
// front and workers from the back, so that repeated loops find their data in the same CPU's cache.
struct Loop {
  std::size_t n;
  std::size_t multiple;
  std::size_t threads;
  std::size_t parts;
  LoopBody* body;
  void* context;
  std::atomic<std::size_t> taken{0};
  std::atomic<std::size_t> taken_by_workers{0};
  std::atomic<int> raised{0};
  std::atomic<bool> failed{false};
  std::exception_ptr failure{};

  void run_alone() {
    parts = 1;
    run_front_parts();
  }

  void run_front_parts() {
    for (std::size_t part = 0; take(); ++part) run_part(part);
  }

  void run_back_parts() {
    while (take()) run_part(parts - 1 - taken_by_workers.fetch_add(1, std::memory_order_relaxed));
  }

 private:
  bool take() { return taken.fetch_add(1, std::memory_order_relaxed) < parts; }

  // The first element of a part.
  std::size_t begin_of(std::size_t part) const {
    const std::size_t units = (n + multiple - 1) / multiple;
    return std::min(n, (units / parts * part + units % parts * part / parts) * multiple);
  }

  void run_part(std::size_t part) {
    try {
      body(context, begin_of(part), begin_of(part + 1));
    } catch (...) {
      if (!failed.exchange(true)) failure = std::current_exception();
    }
  }
};

// Counts and times all loops with enough work for two threads, whether or not they are shared.
class LoopStatistics {
 public:
  struct State {
    std::size_t callers;  // threads that run a loop
    bool burst;           // loops have followed each other for kBurst, at most kSpin apart
  };

  State begin_loop() {
    const std::size_t callers = 1 + callers_.fetch_add(1, std::memory_order_relaxed);
    const Clock::duration now = Clock::now().time_since_epoch();
    if (callers > 1 || now - ended_.load(std::memory_order_relaxed) > kSpin) began_.store(now, std::memory_order_relaxed);
    return {callers, now - began_.load(std::memory_order_relaxed) > kBurst};
  }

  void end_loop() {
    ended_.store(Clock::now().time_since_epoch(), std::memory_order_relaxed);
    callers_.fetch_sub(1, std::memory_order_relaxed);
  }

 private:
  std::atomic<std::size_t> callers_{0};
  std::atomic<Clock::duration> began_{Clock::duration::zero()};
  std::atomic<Clock::duration> ended_{Clock::duration::zero()};
};

using ThreadHandle = std::thread::native_handle_type;

// The CPU affinity of a thread.
class Affinity {
 public:
#if defined(__linux__)
  // Reads the affinity of the calling thread; false if the system does not support it.
  bool read() { return sched_getaffinity(0, sizeof sets_, sets_.data()) == 0; }

  int count() const { return CPU_COUNT_S(sizeof sets_, sets_.data()); }

  // Without the CPU on which the calling thread runs, unless it is the only one.
  Affinity others() const {
    const int cpu = sched_getcpu();
    Affinity others = *this;
    if (cpu >= 0) CPU_CLR_S(static_cast<std::size_t>(cpu), sizeof sets_, others.sets_.data());
    return others.count() > 0 ? others : *this;
  }

  // Sets the affinity of a thread.
  void assign(ThreadHandle thread) const { pthread_setaffinity_np(thread, sizeof sets_, sets_.data()); }

 private:
  std::array<cpu_set_t, 8> sets_;  // 8 x 1024 CPUs: the maximum of Linux
#else
  bool read() { return false; }
  int count() const { return 0; }
  Affinity others() const { return *this; }
  void assign(ThreadHandle) const {}
#endif
};

int available_cpus() {
  Affinity affinity;
  return std::max(1, affinity.read() ? affinity.count() : static_cast<int>(std::thread::hardware_concurrency()));
}

// The first number of OMP_NUM_THREADS, which may be a list with one number per level of nesting.
// The largest int if the variable is not set. Invalid values are ignored, since other programs use
// the variable, too.
int omp_num_threads() {
  constexpr int kUnlimited = std::numeric_limits<int>::max();
  const char* wanted = std::getenv("OMP_NUM_THREADS");
  if (wanted == nullptr) return kUnlimited;
  char* end = nullptr;
  const long long threads = std::strtoll(wanted, &end, 10);
  end += std::strspn(end, " \t");
  if ((*end != '\0' && *end != ',') || threads < 1) return kUnlimited;
  return static_cast<int>(std::min<long long>(threads, kUnlimited));
}

// The pool's mutex guards `asleep`, `moved` and `affinity`. Other threads write `moved` and
// `affinity` only while the worker is asleep, so the awake worker uses them without the mutex.
struct Worker {
  ThreadHandle thread{};
  std::condition_variable wake{};
  bool asleep = false;
  bool moved = false;  // affinity changed for the wake-up; the worker then restores `affinity`
  Affinity affinity{};
};

// Blocks all signals of the calling thread while the object exists. Threads started in this time
// keep them blocked.
class SignalsBlocked {
 public:
#if defined(_WIN32)
  SignalsBlocked() {}  // Windows sends threads no signals
  ~SignalsBlocked() {}
#else
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
#endif
};

// Workers sleep until there is a loop. They are never joined, since the pool lives as long as the
// process. A forked child creates a new pool, because the workers exist only in the parent.
class Pool {
 public:
  LoopStatistics statistics;

  // The number of workers that spin, waiting for a loop.
  std::size_t awake() const { return awake_.load(std::memory_order_relaxed); }

  // Runs the loop with the workers. Returns false at once if another thread is running a loop.
  bool run(Loop& loop) {
    const std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
    if (!turn.owns_lock()) return false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      start_workers(loop.threads - 1);
      loop_ = &loop;
      ++generation_;
      for (std::size_t i = 0; i < wanted(loop); ++i) {
        if (workers_[i].asleep) move_away(workers_[i]);
        workers_[i].asleep = false;
      }
    }
    announced_ = generation_;
    for (std::size_t i = 0; i < wanted(loop); ++i) workers_[i].wake.notify_one();  // no effect on workers awake
    loop.run_front_parts();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      loop_ = nullptr;  // too late for other workers to join
    }
    const auto finished = [this] { return running_ == 0; };
    if (!spin_until(finished)) {
      std::unique_lock<std::mutex> lock(mutex_);
      finished_.wait(lock, finished);
    }
    return true;
  }

 private:
  // If the system refuses a thread, the pool has fewer workers. Signals are blocked in workers, so
  // that the program's own threads get them.
  void start_workers(std::size_t wanted) {
    if (workers_.size() >= wanted) return;
    const SignalsBlocked blocked;
    try {
      while (workers_.size() < wanted) {
        Worker& worker = workers_.emplace_back();
        try {
          std::thread thread([this, &worker, index = workers_.size() - 1, seen = generation_] { work(worker, index, seen); });
          worker.thread = thread.native_handle();
          thread.detach();
        } catch (...) {
          workers_.pop_back();
          throw;
        }
      }
    } catch (...) {
    }
  }

  std::size_t wanted(const Loop& loop) const { return std::min(workers_.size(), loop.threads - 1); }

  // Moves a sleeping worker off the caller's CPU, where it would wait until the loop ends. Linux
  // wakes a thread on an idle CPU if it finds one, else on the thread's last CPU or the caller's.
  // Halted virtual CPUs seem not to count as idle: workers often woke on the caller's CPU.
  void move_away(Worker& worker) {
    if (!worker.affinity.read()) return;
    worker.affinity.others().assign(worker.thread);
    worker.moved = true;
  }

  void work(Worker& self, std::size_t index, unsigned long seen) {
    while (true) {
      std::unique_lock<std::mutex> lock(mutex_);
      self.asleep = true;
      self.wake.wait(lock, [&] { return generation_ != seen; });
      self.asleep = false;
      seen = generation_;
      Loop* const loop = loop_;  // null if already over
      const bool joins = loop != nullptr && index + 1 < loop->threads;
      if (joins) ++running_;
      lock.unlock();
      if (self.moved) self.affinity.assign(self.thread);
      self.moved = false;
      if (joins) join(*loop);
      if (loop != nullptr && !joins) continue;  // the loop needs fewer workers
      ++awake_;
      spin_until([&] { return announced_ != seen; });
      --awake_;  // before reading generation_: a caller that counted this worker has already changed it
    }
  }

  void join(Loop& loop) {
    std::feclearexcept(FE_ALL_EXCEPT);
    {
      const FloatingPointScope scope(Exceptions::kKeep);
      loop.run_back_parts();
    }
    loop.raised.fetch_or(std::fetestexcept(FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INVALID));
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--running_ == 0) finished_.notify_all();
  }

  std::mutex turn_;  // held by the thread whose loop is running
  std::mutex mutex_;
  std::condition_variable finished_;
  std::deque<Worker> workers_;
  Loop* loop_ = nullptr;
  unsigned long generation_ = 0;
  std::atomic<unsigned long> announced_{0};  // copy of generation_, set after the mutex is unlocked, for workers that spin
  std::atomic<std::size_t> awake_{0};
  std::atomic<std::size_t> running_{0};  // workers in the loop; changed under the mutex
};

std::atomic<Pool*> pool{nullptr};
std::atomic<int> num_threads{1};

#if !defined(_WIN32)
// In a forked child: abandons the parent's pool, with its memory, locks and loop.
void forget_pool() { pool.store(nullptr); }
#endif

// The pool, created at first use; null if there is no memory.
Pool* get_pool() {
  Pool* current = pool.load();
  if (current == nullptr) {
    auto* created = new (std::nothrow) Pool;
    if (pool.compare_exchange_strong(current, created)) return created;
    delete created;
  }
  return current;
}

}  // namespace

int get_num_threads() { return num_threads.load(std::memory_order_relaxed); }

void set_num_threads(int threads) { num_threads.store(threads, std::memory_order_relaxed); }

void initialize_threads() {
  const char* wanted = std::getenv("NNKERNELS_NUM_THREADS");
  if (wanted == nullptr || *wanted == '\0') {
    set_num_threads(std::min({available_cpus(), cgroup_cpus(), omp_num_threads()}));
  } else {
    char* end = nullptr;
    const long long threads = std::strtoll(wanted, &end, 10);
    if (*end != '\0' || threads < 1 || threads > std::numeric_limits<int>::max()) {
      throw std::invalid_argument("NNKERNELS_NUM_THREADS is '" + std::string(wanted) + "', expected a positive whole number");
    }
    set_num_threads(static_cast<int>(threads));
  }
#if !defined(_WIN32)
  pthread_atfork(nullptr, nullptr, forget_pool);
#endif
}

void parallel_for(Split split, LoopBody* body, void* context) {
  const std::size_t units = (split.n + split.multiple - 1) / split.multiple;
  const auto threads_worth = [&](std::size_t minimum) { return std::min(split.n / std::max<std::size_t>(minimum, 1), units); };
  const std::size_t most_parts = threads_worth(split.minimum / kAwakeAdvantage);
  Pool* const workers = most_parts < 2 || get_num_threads() < 2 ? nullptr : get_pool();
  if (workers == nullptr) {
    body(context, 0, split.n);
    return;
  }
  // Concurrent callers share the maximum, because they share the CPUs.
  const LoopStatistics::State state = workers->statistics.begin_loop();
  const auto limit = static_cast<std::size_t>(get_num_threads());
  const std::size_t worthwhile =
      state.burst ? most_parts : std::max(threads_worth(split.minimum), std::min(workers->awake() + 1, most_parts));
  const std::size_t threads = state.callers < limit ? std::min(limit - state.callers + 1, worthwhile) : 1;
  const std::size_t parts = threads * std::min(kPartsOfThread, most_parts / threads);
  Loop loop{split.n, split.multiple, threads, parts, body, context};
  if (threads < 2 || !workers->run(loop)) loop.run_alone();
  workers->statistics.end_loop();
  if (loop.raised != 0) raise_exceptions(loop.raised);
  if (loop.failed) std::rethrow_exception(loop.failure);
}

}  // namespace nnkernels
