// Tests the thread pool under load: concurrent loops, while the number of threads changes, with
// workers awake and asleep. Each index is visited once, and flags and exceptions reach the caller.
// Networks that train concurrently get the same results as alone. -fsanitize=thread finds races.
#include "threads.h"

#include <atomic>
#include <cfenv>
#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <thread>
#include <vector>

#include "common.h"
#include "training.h"

using namespace nnkernels;

static std::atomic<int> failures{0};

static void check(bool good, const char* what, std::size_t n) {
  if (good) return;
  if (failures++ < 20) std::printf("FAILED %s %zu\n", what, n);
}

static void check_visits(std::size_t n, std::size_t minimum, std::size_t multiple) {
  std::vector<int> visits(n);
  parallel_for({n, minimum, multiple}, [&](std::size_t begin, std::size_t end) {
    check(begin % multiple == 0, "begin", begin);
    for (std::size_t i = begin; i < end; ++i) ++visits[i];
  });
  bool once = true;
  for (const int count : visits) once = once && count == 1;
  check(once, "visits", n);
}

static void check_flags(std::size_t n) {
  std::feclearexcept(FE_ALL_EXCEPT);
  parallel_for({n, 1}, [&](std::size_t, std::size_t end) {
    if (end == n) std::feraiseexcept(FE_OVERFLOW);
  });
  check(std::fetestexcept(FE_ALL_EXCEPT & ~FE_INEXACT) == FE_OVERFLOW, "flags", n);
}

static void check_exception(std::size_t n) {
  bool caught = false;
  try {
    parallel_for({n, 1}, [](std::size_t, std::size_t) { throw std::runtime_error("as asked"); });
  } catch (const std::runtime_error&) {
    caught = true;
  }
  check(caught, "exception", n);
}

static void call_loops(int caller) {
  for (int round = 0; round < 1000; ++round) {
    if (caller == 0) set_num_threads(1 + round / 10 % 7);
    const auto n = static_cast<std::size_t>(1 + round * 37 % 4000);
    check_visits(n, static_cast<std::size_t>(round % 50), 16);
    check_flags(n);
    check_exception(n);
    if (round % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // workers fall asleep
  }
}

// The parameters of a network after some epochs of steps large enough for several threads.
template <class C>
static std::vector<C> learn(std::uint64_t seed) {
  constexpr std::size_t kInputs = 100, kOutputs = 5, kRows = 1700;
  Random random{seed};
  std::vector<C> x(kRows * kInputs);
  std::vector<std::int64_t> labels(kRows);
  for (C& number : x) number = static_cast<C>(random.number());
  for (std::int64_t& label : labels) label = static_cast<std::int64_t>(random.bits() % kOutputs);
  Trainer<C> trainer({{kInputs, 150, Activation::kTanh}, {150, kOutputs, Activation::kNone}}, Loss::kCrossEntropy, 0, 850, 2);
  for (std::size_t i = 0; i < trainer.size(); ++i) trainer.parameters()[i] = static_cast<C>(random.number() / 16);
  const Examples<C> examples{x.data(), kRows, {labels.data(), nullptr, nullptr, false}};
  for (std::uint64_t epoch = 0; epoch < 2; ++epoch) {
    trainer.run_epoch(examples, {Optimizer::Kind::kAdam, 0.01, 0.9, 0.999, 1e-8, 0}, seed, epoch, true);
  }
  return std::vector<C>(trainer.parameters(), trainer.parameters() + trainer.size());
}

template <class C>
static void learn_at_once() {
  constexpr std::uint64_t kCallers = 4;
  set_num_threads(1);
  std::vector<std::vector<C>> alone;
  for (std::uint64_t caller = 0; caller < kCallers; ++caller) alone.push_back(learn<C>(caller));
  std::vector<std::thread> threads;
  for (std::uint64_t caller = 0; caller < kCallers; ++caller) {
    threads.emplace_back([&alone, caller] {
      for (int round = 0; round < 4; ++round) {
        if (caller == 0) set_num_threads(1 + round * 5 % 7);
        check(same(learn<C>(caller), alone[caller]), "a network that learns beside others", caller);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

int main() {
  initialize_threads();
  for (const int callers : {1, 4}) {
    std::vector<std::thread> threads;
    for (int caller = 0; caller < callers; ++caller) threads.emplace_back(call_loops, caller);
    for (std::thread& thread : threads) thread.join();
  }
  learn_at_once<float>(), learn_at_once<double>();
  std::printf("%d failures\n", failures.load());
  return failures != 0;
}
