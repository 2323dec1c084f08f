// Runs the main kernels once each on every supported target, for count_instructions.py.
//
// Prints the compiler that built it, then the name of each call, target/kernel/type/shape, in
// order.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "buffer.h"
#include "dispatch.h"
#include "network.h"
#include "threads.h"
#include "training.h"

using namespace nnkernels;

// Callgrind knows these two functions by name: it collects in counted(), and prints the sum
// whenever count() returns. The statement after each last call prevents a tail call, which would
// hide the caller.
__attribute__((noinline)) void counted(const std::function<void()>& call) {
  call();
  asm volatile("");
}

__attribute__((noinline)) void count(const std::string& name, const std::function<void()>& call) {
  call();  // excludes one-time work, such as symbol lookup in the C library
  std::puts(name.c_str());
  counted(call);
  asm volatile("");
}

static std::string shape(std::size_t rows, std::size_t n) { return std::to_string(rows) + "x" + std::to_string(n); }

// Distinct numbers in [-8, 8], including 0 and both ends if n is large enough.
template <class T>
static Buffer<T> numbers(std::size_t n) {
  Buffer<Compute<T>> wide(n);
  for (std::size_t i = 0; i < n; ++i) wide.data()[i] = static_cast<Compute<T>>(i * 7919 % 1601) / 100 - 8;
  Buffer<T> result(n);
  kernels().of<T>().narrow(wide.data(), {result.data(), sizeof(T)}, n);
  return result;
}

template <class T>
static WeightsView<T> weights_view(const Buffer<T>& weights, std::size_t outputs, std::size_t inputs) {
  return {weights.data(), static_cast<std::ptrdiff_t>(inputs * sizeof(T)), sizeof(T), outputs, inputs};
}

template <class T>
class Counter {
 public:
  using C = Compute<T>;

  Counter(const KernelTable& table, std::string type)
      : target_(table.target), kernels_(table.of<T>()), type_(std::move(type)) {}

  void count_all() const {
    elementwise("relu", Activation::kRelu);
    elementwise("sigmoid", Activation::kSigmoid);
    elementwise("tanh", Activation::kTanh);
    elementwise("exp", Activation::kExp);
    elementwise("leaky_relu", Activation::kLeakyRelu, 0.01);
    elementwise("elu", Activation::kElu, 1);
    elementwise("silu", Activation::kSilu);
    elementwise("gelu", Activation::kGelu);
    elementwise("gelu_tanh", Activation::kGeluTanh);
    elementwise("softplus", Activation::kSoftplus);
    dot(1024);
    rows("softmax", kernels_.softmax, 64, 10);
    rows("softmax", kernels_.softmax, 8, 1000);
    rows("softmax", kernels_.softmax, 1, 32000);
    rows("log_softmax", kernels_.log_softmax, 8, 1000);
    logsumexp(8, 1000);
    dense(1, 256, 256);
    dense(16, 128, 256);
    pack_and_dense(16, 128, 256);
  }

  void network_4_5_3(std::size_t batch) const {
    const Buffer<T> x = numbers<T>(batch * 4), weights = numbers<T>(5 * 4), bias = numbers<T>(5);
    const Strided<const T> biases{bias.data(), sizeof(T)};
    const Network<T> network({{weights_view(weights, 5, 4), biases, Activation::kRelu},
                              {weights_view(weights, 3, 5), biases, Activation::kSoftmax}});
    const Buffer<T> outputs(batch * 3);
    count("network", "4-5-3x" + std::to_string(batch), [&] {
      network.forward({x.data(), 4 * sizeof(T), sizeof(T)}, batch, {outputs.data(), 3 * sizeof(T), sizeof(T)});
    });
  }

  // One Adam step on a batch of 32 rows.
  void training_64_64_10() const {
    constexpr std::size_t kRows = 32;
    Trainer<T> trainer({{64, 64, Activation::kRelu}, {64, 10, Activation::kNone}}, Loss::kCrossEntropy, 0, kRows, 2);
    const Buffer<T> x = numbers<T>(kRows * 64), parameters = numbers<T>(trainer.size());
    std::transform(parameters.data(), parameters.data() + trainer.size(), trainer.parameters(), [](T p) { return p / 64; });
    std::vector<std::int64_t> labels(kRows);
    for (std::size_t row = 0; row < kRows; ++row) labels[row] = static_cast<std::int64_t>(row % 10);
    const Examples<T> examples{x.data(), kRows, {labels.data(), nullptr, nullptr, false}};
    const Optimizer adam{Optimizer::Kind::kAdam, 0.001, 0.9, 0.999, 1e-8, 0};
    count("training", "64-64-10x32", [&] { trainer.run_epoch(examples, adam, 0, 0, true); });
  }

 private:
  void count(const std::string& kernel, const std::string& shape, const std::function<void()>& call) const {
    ::count(target_ + "/" + kernel + "/" + type_ + "/" + shape, call);
  }

  void elementwise(const std::string& name, Activation activation, double option = 0) const {
    constexpr std::size_t kElements = 1024;
    const Buffer<T> x = numbers<T>(kElements), y(kElements);
    count(name, std::to_string(kElements), [&] {
      kernels_.of(activation)({x.data(), sizeof(T)}, {y.data(), sizeof(T)}, kElements, Stores::kCached, option);
    });
  }

  void rows(const std::string& name, typename Kernels<T>::Rowwise* kernel, std::size_t rows, std::size_t n) const {
    const Buffer<T> x = numbers<T>(rows * n), y(rows * n);
    const auto stride = static_cast<std::ptrdiff_t>(n * sizeof(T));
    count(name, shape(rows, n), [&] { kernel({x.data(), stride, sizeof(T)}, {y.data(), stride, sizeof(T)}, rows, n); });
  }

  void logsumexp(std::size_t rows, std::size_t n) const {
    const Buffer<T> x = numbers<T>(rows * n), sums(rows);
    count("logsumexp", shape(rows, n), [&] {
      for (std::size_t i = 0; i < rows; ++i) sums.data()[i] = kernels_.logsumexp({x.data() + i * n, sizeof(T)}, n);
    });
  }

  void dot(std::size_t n) const {
    const Buffer<T> x = numbers<T>(n), sum(1);
    count("dot", std::to_string(n), [&] { *sum.data() = kernels_.dot({x.data(), sizeof(T)}, {x.data(), sizeof(T)}, n); });
  }

  void dense(std::size_t rows, std::size_t outputs, std::size_t inputs) const {
    const Buffer<T> weights = numbers<T>(outputs * inputs);
    const Buffer<C> scratch(kernels_.dense_scratch);
    dense_rows("dense", rows, weights_view(weights, outputs, inputs), nullptr, scratch.data());
  }

  void pack_and_dense(std::size_t rows, std::size_t outputs, std::size_t inputs) const {
    const Buffer<T> weights = numbers<T>(outputs * inputs);
    const WeightsView<T> view = weights_view(weights, outputs, inputs);
    const Buffer<C> packed(kernels_.packed_size(outputs, inputs));
    count("pack", shape(outputs, inputs), [&] { kernels_.pack(view, packed.data()); });
    dense_rows("dense_packed", rows, view, packed.data(), nullptr);
  }

  void dense_rows(const std::string& name, std::size_t rows, const WeightsView<T>& weights, const C* packed, C* scratch) const {
    const Buffer<C> x = numbers<C>(rows * weights.inputs), bias = numbers<C>(weights.outputs), outputs(rows * weights.outputs);
    DenseRows<T> call{};
    call.x = x.data();
    call.x_stride = static_cast<std::ptrdiff_t>(weights.inputs);
    call.rows = rows;
    call.packed = packed;
    call.weights = weights;
    call.bias = bias.data();
    call.outputs = outputs.data();
    call.outputs_stride = static_cast<std::ptrdiff_t>(weights.outputs);
    call.scratch = scratch;
    count(name, std::to_string(rows) + "x" + shape(weights.outputs, weights.inputs), [&] { kernels_.dense(call); });
  }

  std::string target_;
  const Kernels<T>& kernels_;
  std::string type_;
};

int main() {
  set_num_threads(1);
#if defined(__clang__)
  std::printf("Clang %d\n", __clang_major__);
#else
  std::printf("GCC %d\n", __GNUC__);
#endif
  for (const KernelTable* table : supported_tables()) {
    Counter<Half>(*table, "float16").count_all();
    Counter<float>(*table, "float32").count_all();
    Counter<double>(*table, "float64").count_all();
  }
  const Counter<float> best(kernels(), "float32");
  best.network_4_5_3(1);
  best.network_4_5_3(256);
  best.training_64_64_10();
}
