// Checks the use of memory:
//
// - No call allocates in the steady state, nor training after its first epoch.
// - A thread's scratch is at most 1 MB for any batch, and packed weights at most 1.1 times the
//   weights plus a panel.
// - If an allocation fails, the call throws std::bad_alloc or works without it, leaks nothing, and
//   the next call succeeds.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <new>
#include <thread>
#include <vector>

#include "dispatch.h"
#include "network.h"
#include "threads.h"
#include "training.h"

using namespace nnkernels;

static std::atomic<std::size_t> allocations{0};
static std::atomic<std::size_t> alive{0};
static std::atomic<long> refused{-1};  // how many allocations succeed before one fails; negative: none fails

#if defined(_WIN32)
static void* allocate(std::size_t size, std::size_t alignment) { return _aligned_malloc(size, alignment); }
static void deallocate(void* data) { _aligned_free(data); }
#else
static void* allocate(std::size_t size, std::size_t alignment) {
  return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}
static void deallocate(void* data) { std::free(data); }
#endif

static void* counted(std::size_t size, std::size_t alignment) {
  ++allocations;
  if (refused >= 0 && refused-- == 0) throw std::bad_alloc();
  void* const data = allocate(size, alignment);
  if (data == nullptr) throw std::bad_alloc();
  ++alive;
  return data;
}

static void give_back(void* data) {
  if (data != nullptr) --alive;
  deallocate(data);
}

void* operator new(std::size_t size) { return counted(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) { return counted(size, static_cast<std::size_t>(alignment)); }
void operator delete(void* data) noexcept { give_back(data); }
void operator delete(void* data, std::size_t) noexcept { give_back(data); }
void operator delete(void* data, std::align_val_t) noexcept { give_back(data); }
void operator delete(void* data, std::size_t, std::align_val_t) noexcept { give_back(data); }

static int failures = 0;

static void check(bool good, const char* what, std::size_t a, std::size_t b) {
  if (good) return;
  ++failures;
  std::printf("FAILED %s %zu %zu\n", what, a, b);
}

constexpr std::size_t kScratch = 1 << 20;

// Starts all workers and grows each thread's scratch to its maximum.
static void warm_up(int threads) {
  set_num_threads(threads);
  std::atomic<int> arrived{0};
  parallel_for({static_cast<std::size_t>(threads), 1}, [&](std::size_t, std::size_t) {
    thread_scratch(kScratch);
    ++arrived;
    while (arrived < threads) {
    }
  });
}

template <class T, class Call>
void check_call(const char* what, std::size_t count, Call call) {
  const std::size_t before = allocations;
  call();
  check(allocations == before, what, count, sizeof(T));
}

template <class T>
void test_network(std::initializer_list<std::size_t> widths, std::initializer_list<std::size_t> counts) {
  std::vector<std::vector<T>> arrays;
  std::vector<LayerView<T>> layers;
  for (const std::size_t* width = widths.begin(); width + 1 != widths.end(); ++width) {
    const std::size_t inputs = width[0], outputs = width[1];
    arrays.emplace_back(inputs * outputs);
    arrays.emplace_back(outputs);
    const T* const weights = arrays[arrays.size() - 2].data();
    const Activation activation = width + 2 == widths.end() ? Activation::kSoftmax : Activation::kTanh;
    layers.push_back({{weights, static_cast<std::ptrdiff_t>(inputs * sizeof(T)), sizeof(T), outputs, inputs},
                      {arrays.back().data(), sizeof(T)},
                      activation});
  }
  const Network<T> network(layers);
  const std::size_t inputs = network.inputs(), outputs = network.outputs();
  for (std::size_t count : counts) {
    const std::vector<T> x(count * inputs * 2);
    std::vector<T> result(count * outputs);
    const Rows<T> to{result.data(), static_cast<std::ptrdiff_t>(outputs * sizeof(T)), sizeof(T)};
    for (std::size_t step : {1u, 2u}) {  // contiguous or strided
      const Rows<const T> from{x.data(), static_cast<std::ptrdiff_t>(inputs * step * sizeof(T)),
                               static_cast<std::ptrdiff_t>(step * sizeof(T))};
      check_call<T>("network", count, [&] { network.forward(from, count, to); });
      const LayerView<T>& last = layers.back();
      const Rows<const T> hidden{x.data(), from.row_stride, from.element_stride};
      if (last.weights.inputs > inputs) continue;
      check_call<T>("dense", count, [&] { dense<T>(hidden, count, last.weights, last.bias, last.activation, to); });
      const Strided<const T> one_bias{last.bias.data, 0};
      check_call<T>("dense, one bias", count, [&] { dense<T>(hidden, count, last.weights, one_bias, Activation::kRelu, to); });
    }
  }
}

// Scale layers around a dense layer, on rows of T and of double.
template <class T>
void test_scales(std::initializer_list<std::size_t> widths, std::initializer_list<std::size_t> counts) {
  for (const std::size_t n : widths) {
    const std::vector<T> weights(n * n), bias(n);
    const std::vector<double> numbers(n, 0.5);
    const auto row_bytes = static_cast<std::ptrdiff_t>(n * sizeof(T));
    LayerView<T> scales{};
    scales.weights.inputs = scales.weights.outputs = n;
    scales.offset = scales.scale = numbers.data();
    const LayerView<T> dense{{weights.data(), row_bytes, sizeof(T), n, n}, {bias.data(), sizeof(T)}, Activation::kTanh};
    const Network<T> alone({scales}), network({scales, dense, scales, dense, scales});
    for (const std::size_t count : counts) {
      const std::vector<T> x(count * n);
      const std::vector<double> doubles(count * n);
      std::vector<T> result(count * n);
      const Rows<T> to{result.data(), row_bytes, sizeof(T)};
      const Rows<const T> from{x.data(), row_bytes, sizeof(T)};
      const Rows<const double> from_doubles{doubles.data(), static_cast<std::ptrdiff_t>(n * sizeof(double)), sizeof(double)};
      check_call<T>("scale", count, [&] { alone.forward(from, count, to); });
      check_call<T>("scale of doubles", count, [&] { alone.forward_doubles(from_doubles, count, to); });
      check_call<T>("network with scales", count, [&] { network.forward(from, count, to); });
      // The first layer's results for doubles take one allocation.
      const std::size_t before = allocations, alive_before = alive;
      network.forward_doubles(from_doubles, count, to);
      check(allocations == before + 1 && alive == alive_before, "network of doubles", count, sizeof(T));
    }
  }
}

// Training data: labels or targets, with or without row weights.
template <class C>
struct Lesson {
  static constexpr std::size_t kInputs = 30, kOutputs = 7, kRows = 300;

  std::vector<C> x = std::vector<C>(kRows * kInputs, C(0.5)), targets = std::vector<C>(kRows * kOutputs, C(0.25));
  std::vector<std::int64_t> labels = std::vector<std::int64_t>(kRows, 2);
  std::vector<double> weights = std::vector<double>(kRows, 1);

  Lesson() { weights[1] = 0; }

  Examples<C> examples(bool by_label, bool weighted) const {
    return {
        x.data(),
        kRows,
        {by_label ? labels.data() : nullptr, by_label ? nullptr : targets.data(), weighted ? weights.data() : nullptr, false}};
  }
  static Trainer<C> trainer(Loss loss, bool with_scales = false) {
    std::vector<typename Trainer<C>::Layer> layers = {{kInputs, 40, Activation::kRelu}, {40, kOutputs, Activation::kNone}};
    const auto scale = [](std::size_t n) {
      return
          typename Trainer<C>::Layer{n, n, Activation::kNone, 0, true, std::vector<double>(n, 0.5), std::vector<double>(n, 2)};
    };
    if (with_scales) layers = {scale(kInputs), layers[0], scale(40), layers[1], scale(kOutputs)};
    return Trainer<C>(layers, loss, 0, 32, 2);
  }
};

constexpr Optimizer kAdam{Optimizer::Kind::kAdam, 0.01, 0.9, 0.999, 1e-8, 0};
constexpr Optimizer kDecaying{Optimizer::Kind::kAdamHat, 0.01, 0.9, 0.999, 1e-8, 0.1};

// The first epoch allocates the order of rows and a batch; later epochs allocate nothing.
template <class C>
void test_training() {
  const Lesson<C> lesson;
  for (const Loss loss : {Loss::kCrossEntropy, Loss::kHuber}) {
    for (const bool weighted : {false, true}) {
      for (const bool shuffle : {false, true}) {
        Trainer<C> trainer = lesson.trainer(loss);
        const Examples<C> examples = lesson.examples(loss == Loss::kCrossEntropy, weighted);
        const auto learn = [&] {
          for (std::uint64_t epoch = 0; epoch < 3; ++epoch) trainer.run_epoch(examples, kAdam, 0, epoch, shuffle);
        };
        trainer.run_epoch(examples, kAdam, 0, 0, shuffle);
        check_call<C>("epochs", 3, learn);
        check_call<C>("evaluate", 1, [&] { trainer.evaluate(examples); });
        check_call<C>("epochs after evaluate", 3, learn);

        Trainer<C> scaling = lesson.trainer(loss, true);
        const std::vector<std::size_t> order = {5, 7, 1, 5};
        scaling.run_epoch(examples, kAdam, 0, 0, shuffle);
        check_call<C>("an epoch with scales", 1, [&] { scaling.run_epoch(examples, kAdam, 0, 1, shuffle); });
        Trainer<C> batches = lesson.trainer(loss, shuffle);
        const auto run = [&] {
          batches.run_batches(examples, kDecaying, nullptr, examples.rows, 0.5);
          batches.run_batches(examples, kDecaying, order.data(), order.size(), 0.5);
        };
        run();
        check_call<C>("run_batches", 1, run);
      }
    }
  }
}

template <class T>
void test_packed() {
  const Kernels<T>& table = kernels().of<T>();
  for (std::size_t outputs : {1u, 5u, 16u, 100u, 1000u}) {
    for (std::size_t inputs : {1u, 5u, 64u, 784u, 3000u}) {
      const std::size_t most = (outputs + table.panel_outputs - 1) * (inputs + table.lane_padding - 1);
      check(table.packed_size(outputs, inputs) <= most, "packed weights", outputs, inputs);
    }
  }
}

// Makes each allocation of a call fail in turn. Each call runs in a new thread, which has no
// scratch yet.
template <class Call>
void check_refusals(const char* what, std::size_t least, Call call) {
  const auto result = call();
  std::size_t thrown = 0;
  bool reached = true;
  long n = 0;
  while (reached) {
    const std::size_t before = alive;
    std::thread([&] {
      refused = n;
      try {
        check(call() == result, what, static_cast<std::size_t>(n), 0);
      } catch (const std::bad_alloc&) {
        ++thrown;
      }
      reached = refused < 0;
      refused = -1;
    }).join();
    check(alive == before, what, static_cast<std::size_t>(n), alive - before);
    check(call() == result, what, static_cast<std::size_t>(n), 1);
    ++n;
  }
  check(thrown >= least, what, thrown, least);
}

template <class T>
void test_refusals() {
  constexpr std::size_t kInputs = 300, kOutputs = 200, kRows = 100;
  const std::vector<T> x(2 * kRows * kInputs), weights(kOutputs * kInputs), bias(kOutputs);
  const Rows<const T> rows{x.data(), 2 * kInputs * sizeof(T), 2 * sizeof(T)};  // not contiguous: staged in scratch
  const WeightsView<T> view{weights.data(), kInputs * sizeof(T), sizeof(T), kOutputs, kInputs};
  const auto compute = [](auto forward) {
    std::vector<T> result(kRows * kOutputs);
    forward(Rows<T>{result.data(), kOutputs * sizeof(T), sizeof(T)});
    std::vector<unsigned char> bytes(result.size() * sizeof(T));
    std::memcpy(bytes.data(), result.data(), bytes.size());
    return bytes;
  };
  check_refusals("dense refused", 3, [&] {
    return compute([&](Rows<T> to) { dense<T>(rows, kRows, view, {bias.data(), sizeof(T)}, Activation::kRelu, to); });
  });
  check_refusals("network refused", 8, [&] {
    const Network<T> network({{view, {bias.data(), sizeof(T)}, Activation::kTanh},
                              {{weights.data(), kOutputs * sizeof(T), sizeof(T), kOutputs, kOutputs},
                               {bias.data(), sizeof(T)},
                               Activation::kSoftmax}});
    return compute([&](Rows<T> to) { network.forward(rows, kRows, to); });
  });
}

// Training steps of each kind with refused allocations. The result is the parameters.
template <class C>
void test_refused_training() {
  const Lesson<C> lesson;
  for (const Loss loss : {Loss::kCrossEntropy, Loss::kHuber}) {
    check_refusals("training refused", 12, [&] {
      Trainer<C> trainer = lesson.trainer(loss, true);
      const Examples<C> examples = lesson.examples(loss == Loss::kCrossEntropy, true);
      trainer.run_epoch(examples, kAdam, 0, 0, true);
      trainer.evaluate(examples);
      trainer.run_batches(examples, kAdam, nullptr, examples.rows, 0.5);
      return std::vector<C>(trainer.parameters(), trainer.parameters() + trainer.size());
    });
  }
  // A failed allocation in an epoch leaves the trainer unchanged, since all allocations precede the
  // first step.
  Trainer<C> trainer = lesson.trainer(Loss::kHuber);
  const Examples<C> examples = lesson.examples(false, true);
  std::size_t thrown = 0;
  for (bool done = false; !done;) {
    refused = thrown == 0 ? 0 : 1;  // allow the allocation that was refused before
    try {
      trainer.run_epoch(examples, kAdam, 0, 0, true);
      done = true;
    } catch (const std::bad_alloc&) {
      ++thrown;
      check(trainer.steps == 0 && trainer.parameters()[0] == 0, "an epoch refused makes steps", thrown, sizeof(C));
    }
    refused = -1;
  }
  check(thrown >= 5, "allocations of an epoch", thrown, sizeof(C));
  check(trainer.steps == (lesson.kRows + 31) / 32, "steps after refusals", trainer.steps, sizeof(C));
}

// Each call needs one more worker. If that cannot be started, the call works without it.
void test_refused_workers(int threads) {
  for (long n = 0; n < 6; ++n) {
    set_num_threads(threads + static_cast<int>(n));
    std::vector<int> visits(1000);
    refused = n;
    parallel_for({visits.size(), 1}, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) ++visits[i];
    });
    refused = -1;
    for (const int count : visits) check(count == 1, "visits without a worker", static_cast<std::size_t>(n), 0);
  }
}

template <class T>
void test() {
  test_network<T>({4, 5, 3}, {1, 16, 100, 10'000});
  test_network<T>({64, 64, 10}, {1, 16, 100, 1000});
  test_network<T>({784, 128, 10}, {1, 2, 16, 100, 300, 1000});
  test_network<T>({256, 1024, 1024, 100}, {1, 2, 16, 150});
  test_network<T>({50, 20'000, 5}, {1, 16});
  test_scales<T>({4, 20, 200}, {1, 16, 100, 3000});
  test_packed<T>();
}

int main() {
  for (int threads : {1, 2, 4}) {
    warm_up(threads);
    test<Half>(), test<float>(), test<double>();
    test_refusals<Half>(), test_refusals<float>(), test_refusals<double>();
    test_training<float>(), test_training<double>();
    test_refused_training<float>(), test_refused_training<double>();
  }
  test_refused_workers(5);
  check_call<float>("empty buffer", 0, [] { Buffer<float>{0}; });
  std::printf(failures == 0 ? "no allocations, and refused ones are survived\n" : "%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
