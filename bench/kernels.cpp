// Single-thread micro-benchmarks of the kernels on every supported target, named
// target/kernel/type/shape. README.md defines the counters.
//
// Each benchmark verifies its kernel before timing it: results must equal those of `generic`, bit
// for bit, and lie within a tolerance of a plain computation in a wider type.
#include "kernels.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "buffer.h"
#include "dispatch.h"
#include "limits.h"

namespace nnkernels {
namespace {

// The type of the plain computation.
template <class T>
using Wide = std::conditional_t<std::is_same_v<T, double>, long double, double>;

template <class T>
using Numbers = std::vector<Wide<T>>;

template <class T>
constexpr const char* kTypeName = std::is_same_v<T, Half>    ? "float16"
                                  : std::is_same_v<T, float> ? "float32"
                                                             : "float64";

template <class T>
struct Expected {
  Wide<T> value;
  Wide<T> tolerance;
};

// The hardware limit with which a kernel is compared.
enum class Limit { kFma, kRead, kCopy };

// The work of one run. Bytes count each input and output once.
struct Work {
  Limit limit;
  std::size_t elements;  // 0 if time per element is not meaningful
  std::size_t flops;     // two per multiply-add; 0 for kernels that are not multiply-adds
  std::size_t bytes;
};

template <class T>
const Kernels<T>& generic_kernels() {
  return supported_tables().front()->of<T>();
}

template <class T>
Strided<const T> input(const Buffer<T>& buffer, std::size_t start = 0) {
  return {buffer.data() + start, sizeof(T)};
}

template <class T>
Strided<T> output(const Buffer<T>& buffer, std::size_t start = 0) {
  return {buffer.data() + start, sizeof(T)};
}

// Uniform random elements between -limit and limit, reproducible by the seed.
template <class T>
Buffer<T> uniform(std::size_t n, Compute<T> limit, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<Compute<T>> distribution(-limit, limit);
  Buffer<Compute<T>> wide(n);
  std::generate_n(wide.data(), n, [&] { return distribution(engine); });
  Buffer<T> result(n);
  generic_kernels<T>().narrow(wide.data(), output(result), n);
  return result;
}

template <class T>
Numbers<T> numbers(const Buffer<T>& values) {
  Buffer<Compute<T>> wide(values.size());
  generic_kernels<T>().widen(input(values), wide.data(), values.size());
  return Numbers<T>(wide.data(), wide.data() + wide.size());
}

// The unit in the last place of the numbers of T in value's binade.
template <class T>
Wide<T> ulp(Wide<T> value) {
  constexpr int kDigits = std::is_same_v<T, Half> ? 11 : std::numeric_limits<T>::digits;
  constexpr int kSmallestExponent = std::is_same_v<T, Half> ? -14 : std::numeric_limits<T>::min_exponent - 1;
  const int exponent = value == 0 ? kSmallestExponent : std::max(std::ilogb(value), kSmallestExponent);
  return std::ldexp(Wide<T>(1), exponent - (kDigits - 1));
}

// An error in the compute type, plus the rounding to T if this is another type.
template <class T>
Expected<T> expect(Wide<T> value, Wide<T> error) {
  return {value, std::is_same_v<T, Compute<T>> ? error : error + ulp<T>(value) / 2};
}

template <class T>
Expected<T> expect_ulp(Wide<T> value, double error) {
  return expect<T>(value, static_cast<Wide<T>>(error) * ulp<Compute<T>>(value));
}

// Half an ULP of 1, the largest relative error of one rounding.
template <class T>
constexpr Wide<T> kRounding = std::numeric_limits<Compute<T>>::epsilon() / 2;

// Element-wise activations, and softmax and log_softmax of each row.
template <class T, class Function>
struct MapKernel {
  const char* name;
  Function function;  // an Activation, or a kernel of rows
  Numbers<T> (*plain)(const Numbers<T>& row);
  double ulp;         // largest error, in the compute type of T
  double option = 0;  // of an activation
};

template <class T, class Function>
Numbers<T> each(Numbers<T> row, Function function) {
  std::transform(row.begin(), row.end(), row.begin(), function);
  return row;
}

template <class T>
Wide<T> plain_logsumexp(const Numbers<T>& row) {
  const Wide<T> max = *std::max_element(row.begin(), row.end());
  const auto add = [max](Wide<T> sum, Wide<T> z) { return sum + std::exp(z - max); };
  return max + std::log(std::accumulate(row.begin(), row.end(), Wide<T>(0), add));
}

template <class T>
Numbers<T> plain_log_softmax(const Numbers<T>& row) {
  return each<T>(row, [sum = plain_logsumexp<T>(row)](Wide<T> z) { return z - sum; });
}

template <class T>
using RowwiseKernel = typename Kernels<T>::Rowwise* Kernels<T>::*;

template <class T>
const MapKernel<T, Activation> kElementwiseKernels[] = {
    {"relu", Activation::kRelu,
     [](const Numbers<T>& x) { return each<T>(x, [](Wide<T> v) { return std::max(v, Wide<T>(0)); }); }, 0},
    {"sigmoid", Activation::kSigmoid,
     [](const Numbers<T>& x) { return each<T>(x, [](Wide<T> v) { return 1 / (1 + std::exp(-v)); }); }, 1},
    {"tanh", Activation::kTanh, [](const Numbers<T>& x) { return each<T>(x, [](Wide<T> v) { return std::tanh(v); }); }, 1},
    {"exp", Activation::kExp, [](const Numbers<T>& x) { return each<T>(x, [](Wide<T> v) { return std::exp(v); }); }, 1},
    {"leaky_relu", Activation::kLeakyRelu,
     [](const Numbers<T>& x) { return each<T>(x, [](Wide<T> v) { return v > 0 ? v : v / 64; }); }, 1, 1.0 / 64},
    {"elu", Activation::kElu,
     [](const Numbers<T>& x) { return each<T>(x, [](Wide<T> v) { return v > 0 ? v : std::expm1(v); }); }, 1.5, 1},
    {"silu", Activation::kSilu,
     [](const Numbers<T>& x) { return each<T>(x, [](Wide<T> v) { return v / (1 + std::exp(-v)); }); }, 1.5},
    {"gelu", Activation::kGelu,
     [](const Numbers<T>& x) { return each<T>(x, [](Wide<T> v) { return v * std::erfc(-v * std::sqrt(Wide<T>(0.5L))) / 2; }); },
     1.5},
    {"gelu_tanh", Activation::kGeluTanh,
     [](const Numbers<T>& x) {
       const Wide<T> factor = std::sqrt(8 / std::acos(Wide<T>(-1)));
       return each<T>(x, [factor](Wide<T> v) { return v / (1 + std::exp(-factor * (v + Wide<T>(0.044715L) * v * v * v))); });
     },
     1.5},
    {"softplus", Activation::kSoftplus,
     [](const Numbers<T>& x) { return each<T>(x, [](Wide<T> v) { return std::log1p(std::exp(v)); }); }, 1.5},
};

template <class T>
const MapKernel<T, RowwiseKernel<T>> kRowwise[] = {
    {"softmax", &Kernels<T>::softmax,
     [](const Numbers<T>& z) { return each<T>(plain_log_softmax<T>(z), [](Wide<T> v) { return std::exp(v); }); }, 4},
    {"log_softmax", &Kernels<T>::log_softmax, plain_log_softmax<T>, 4},
};

template <class T, class Function>
class Map {
 public:
  Map(const MapKernel<T, Function>& kernel, std::size_t rows, std::size_t n)
      : kernel_(kernel), rows_(rows), n_(n), x_(uniform<T>(rows * n, 8, 1)), y_(rows * n) {}

  void prepare(const Kernels<T>&) {}

  void run(const Kernels<T>& kernels) {
    if constexpr (std::is_same_v<Function, RowwiseKernel<T>>) {
      const auto stride = static_cast<std::ptrdiff_t>(n_ * sizeof(T));
      (kernels.*kernel_.function)({x_.data(), stride, sizeof(T)}, {y_.data(), stride, sizeof(T)}, rows_, n_);
    } else {
      const Stores stores = x_.size() * sizeof(T) >= kLargeBytes ? Stores::kStreaming : Stores::kCached;
      kernels.of(kernel_.function)(input(x_), output(y_), x_.size(), stores, kernel_.option);
    }
  }

  const Buffer<T>& results() const { return y_; }

  std::vector<Expected<T>> expected() const {
    const Numbers<T> x = numbers(x_);
    std::vector<Expected<T>> expected;
    for (auto row = x.begin(); row != x.end(); row += static_cast<std::ptrdiff_t>(n_)) {
      for (const Wide<T> value : kernel_.plain({row, row + static_cast<std::ptrdiff_t>(n_)})) {
        expected.push_back(expect_ulp<T>(value, kernel_.ulp));
      }
    }
    return expected;
  }

  Work work() const { return {Limit::kCopy, x_.size(), 0, 2 * x_.size() * sizeof(T)}; }

 private:
  const MapKernel<T, Function>& kernel_;
  std::size_t rows_, n_;
  Buffer<T> x_, y_;
};

template <class T>
class Logsumexp {
 public:
  Logsumexp(std::size_t rows, std::size_t n) : n_(n), z_(uniform<T>(rows * n, 8, 1)), sums_(rows) {}

  void prepare(const Kernels<T>&) {}

  void run(const Kernels<T>& kernels) {
    for (std::size_t row = 0; row < sums_.size(); ++row) sums_.data()[row] = kernels.logsumexp(input(z_, row * n_), n_);
  }

  const Buffer<T>& results() const { return sums_; }

  std::vector<Expected<T>> expected() const {
    const Numbers<T> z = numbers(z_);
    std::vector<Expected<T>> expected;
    for (auto row = z.begin(); row != z.end(); row += static_cast<std::ptrdiff_t>(n_)) {
      expected.push_back(expect_ulp<T>(plain_logsumexp<T>({row, row + static_cast<std::ptrdiff_t>(n_)}), 4));
    }
    return expected;
  }

  Work work() const { return {Limit::kRead, z_.size(), 0, (z_.size() + sums_.size()) * sizeof(T)}; }

 private:
  std::size_t n_;
  Buffer<T> z_, sums_;
};

template <class T>
class Dot {
 public:
  explicit Dot(std::size_t n) : x_(uniform<T>(n, 1, 1)), weights_(uniform<T>(n, 1, 2)), sum_(1) {}

  void prepare(const Kernels<T>&) {}

  void run(const Kernels<T>& kernels) { *sum_.data() = kernels.dot(input(x_), input(weights_), x_.size()); }

  const Buffer<T>& results() const { return sum_; }

  // Error bound: cpp/kernels/sum.h.
  std::vector<Expected<T>> expected() const {
    const Numbers<T> x = numbers(x_), weights = numbers(weights_);
    Wide<T> sum = 0, magnitude = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      sum += x[i] * weights[i];
      magnitude += std::fabs(x[i] * weights[i]);
    }
    constexpr std::size_t kPartialSums = 256 / sizeof(Compute<T>);
    const double blocks = std::ceil(static_cast<double>(x.size()) / 1024);
    const double roundings = 1024 / kPartialSums + std::log2(kPartialSums) + std::ceil(std::log2(blocks));
    return {expect<T>(sum, static_cast<Wide<T>>(roundings) * kRounding<T> * magnitude)};
  }

  Work work() const { return {Limit::kRead, x_.size(), 2 * x_.size(), (2 * x_.size() + 1) * sizeof(T)}; }

 private:
  Buffer<T> x_, weights_, sum_;
};

// Inputs, outputs and packed weights have the compute type of T.
template <class T>
class Dense {
 public:
  using C = Compute<T>;

  struct Shape {
    std::size_t rows, outputs, inputs;
  };

  Dense(Shape shape, bool packed)
      : shape_(shape),
        is_packed_(packed),
        x_(uniform<C>(shape.rows * shape.inputs, 1, 1)),
        weights_(uniform<T>(shape.outputs * shape.inputs, 1, 2)),
        bias_(uniform<C>(shape.outputs, 1, 3)),
        outputs_(shape.rows * shape.outputs) {}

  void prepare(const Kernels<T>& kernels) {
    if (is_packed_) {
      packed_ = Buffer<C>(kernels.packed_size(shape_.outputs, shape_.inputs));
      kernels.pack(weights(), packed_.data());
    } else {
      scratch_ = Buffer<C>(kernels.dense_scratch);
    }
  }

  void run(const Kernels<T>& kernels) {
    kernels.dense({x_.data(), static_cast<std::ptrdiff_t>(shape_.inputs), shape_.rows, packed_.data(), weights(), bias_.data(),
                   false, outputs_.data(), static_cast<std::ptrdiff_t>(shape_.outputs), scratch_.data()});
  }

  const Buffer<C>& results() const { return outputs_; }

  // Error bound: cpp/kernels/dense.h.
  std::vector<Expected<C>> expected() const {
    const Numbers<C> x = numbers(x_), bias = numbers(bias_);
    const Numbers<T> weights = numbers(weights_);
    constexpr std::size_t kChains = 16 / sizeof(C);
    constexpr std::size_t kInputBlock = 256 * kChains;
    const std::size_t blocks = (shape_.inputs + kInputBlock - 1) / kInputBlock;
    const std::size_t chain = (std::min(shape_.inputs, kInputBlock) + kChains - 1) / kChains;
    const auto roundings = static_cast<Wide<C>>(chain + kChains / 2 + blocks + 1);  // kChains / 2 equals log2(kChains)
    std::vector<Expected<C>> expected;
    for (std::size_t row = 0; row < shape_.rows; ++row) {
      for (std::size_t output = 0; output < shape_.outputs; ++output) {
        Wide<C> sum = bias[output], magnitude = std::fabs(sum);
        for (std::size_t k = 0; k < shape_.inputs; ++k) {
          const Wide<C> product = x[row * shape_.inputs + k] * weights[output * shape_.inputs + k];
          sum += product;
          magnitude += std::fabs(product);
        }
        expected.push_back(expect<C>(sum, roundings * kRounding<C> * magnitude));
      }
    }
    return expected;
  }

  Work work() const {
    const std::size_t weights = shape_.outputs * shape_.inputs;
    const std::size_t weights_bytes = weights * (is_packed_ ? sizeof(C) : sizeof(T));
    // A single row has one multiply-add per weight, so reading the weights is the limit.
    return {shape_.rows == 1 ? Limit::kRead : Limit::kFma, 0, 2 * shape_.rows * weights,
            weights_bytes + (x_.size() + bias_.size() + outputs_.size()) * sizeof(C)};
  }

 private:
  WeightsView<T> weights() const {
    return {weights_.data(), static_cast<std::ptrdiff_t>(shape_.inputs * sizeof(T)), sizeof(T), shape_.outputs, shape_.inputs};
  }

  Shape shape_;
  bool is_packed_;
  Buffer<C> x_;
  Buffer<T> weights_;
  Buffer<C> bias_, outputs_, packed_, scratch_;
};

// Conversions between float16 and its compute type.
class Widen {
 public:
  explicit Widen(std::size_t n) : x_(uniform<Half>(n, 8, 1)), y_(n) {}

  void prepare(const Kernels<Half>&) {}

  void run(const Kernels<Half>& kernels) { kernels.widen(input(x_), y_.data(), y_.size()); }

  const Buffer<float>& results() const { return y_; }

  std::vector<Expected<float>> expected() const {
    std::vector<Expected<float>> expected;
    for (const double value : numbers(x_)) expected.push_back({value, 0});
    return expected;
  }

  Work work() const { return {Limit::kCopy, x_.size(), 0, x_.size() * (sizeof(Half) + sizeof(float))}; }

 private:
  Buffer<Half> x_;
  Buffer<float> y_;
};

class Narrow {
 public:
  explicit Narrow(std::size_t n) : x_(uniform<float>(n, 8, 1)), y_(n) {}

  void prepare(const Kernels<Half>&) {}

  void run(const Kernels<Half>& kernels) { kernels.narrow(x_.data(), output(y_), x_.size()); }

  const Buffer<Half>& results() const { return y_; }

  std::vector<Expected<Half>> expected() const {
    std::vector<Expected<Half>> expected;
    for (const double value : numbers(x_)) expected.push_back(expect<Half>(value, 0));
    return expected;
  }

  Work work() const { return {Limit::kCopy, x_.size(), 0, x_.size() * (sizeof(float) + sizeof(Half))}; }

 private:
  Buffer<float> x_;
  Buffer<Half> y_;
};

// Packs weights and unpacks them again. Only the unpacked result can be verified, since packed
// layouts differ by target.
template <class T>
class Pack {
 public:
  Pack(std::size_t outputs, std::size_t inputs)
      : outputs_(outputs), inputs_(inputs), weights_(uniform<T>(outputs * inputs, 1, 1)), unpacked_(outputs * inputs) {}

  void prepare(const Kernels<T>& kernels) { packed_ = Buffer<Compute<T>>(kernels.packed_size(outputs_, inputs_)); }

  void run(const Kernels<T>& kernels) {
    const auto output_stride = static_cast<std::ptrdiff_t>(inputs_ * sizeof(T));
    kernels.pack({weights_.data(), output_stride, sizeof(T), outputs_, inputs_}, packed_.data());
    kernels.unpack(packed_.data(), outputs_, inputs_, unpacked_.data());
  }

  const Buffer<T>& results() const { return unpacked_; }

  std::vector<Expected<T>> expected() const {
    std::vector<Expected<T>> expected;
    for (const Wide<T> value : numbers(weights_)) expected.push_back({value, 0});
    return expected;
  }

  Work work() const { return {Limit::kCopy, weights_.size(), 0, 2 * weights_.size() * (sizeof(T) + sizeof(Compute<T>))}; }

 private:
  std::size_t outputs_, inputs_;
  Buffer<T> weights_, unpacked_;
  Buffer<Compute<T>> packed_;
};

// outputs[r][j] = sum over k of a(k, r) b[k][j].
//   gradient of weights: r = output, j = input, k = row of the batch
//   gradient of inputs:  r = row of the batch, j = input, k = output; `a` is contiguous along k
template <class C>
class Outer {
 public:
  struct Shape {
    std::size_t rows, columns, steps;
  };

  Outer(Shape shape, bool steps_together)
      : shape_(shape),
        steps_together_(steps_together),
        a_(uniform<C>(shape.steps * shape.rows, 1, 1)),
        b_(uniform<C>(shape.steps * shape.columns, 1, 2)),
        outputs_(shape.rows * shape.columns) {}

  void prepare(const Learning<C>& kernels) { scratch_ = Buffer<C>(kernels.outer_scratch(product())); }

  void run(const Learning<C>& kernels) { kernels.outer_product(product()); }

  const Buffer<C>& results() const { return outputs_; }

  // Error bound: cpp/kernels/gradients.h.
  std::vector<Expected<C>> expected() const {
    const Numbers<C> a = numbers(a_), b = numbers(b_);
    const double blocks = std::ceil(static_cast<double>(shape_.steps) / 256);
    const auto roundings = std::min(static_cast<double>(shape_.steps), 256.0) + std::ceil(std::log2(blocks));
    std::vector<Expected<C>> expected;
    for (std::size_t row = 0; row < shape_.rows; ++row) {
      for (std::size_t column = 0; column < shape_.columns; ++column) {
        Wide<C> sum = 0, magnitude = 0;
        for (std::size_t k = 0; k < shape_.steps; ++k) {
          const Wide<C> factor = a[steps_together_ ? row * shape_.steps + k : k * shape_.rows + row];
          const Wide<C> product = factor * b[k * shape_.columns + column];
          sum += product;
          magnitude += std::fabs(product);
        }
        expected.push_back({sum, static_cast<Wide<C>>(roundings) * kRounding<C> * magnitude});
      }
    }
    return expected;
  }

  Work work() const {
    const std::size_t flops = 2 * shape_.rows * shape_.columns * shape_.steps;
    return {Limit::kFma, 0, flops, (a_.size() + b_.size() + outputs_.size()) * sizeof(C)};
  }

 private:
  OuterProduct<C> product() const {
    const auto rows = static_cast<std::ptrdiff_t>(shape_.rows), columns = static_cast<std::ptrdiff_t>(shape_.columns);
    const auto steps = static_cast<std::ptrdiff_t>(shape_.steps);
    return {a_.data(),
            steps_together_ ? 1 : rows,
            steps_together_ ? steps : 1,
            b_.data(),
            columns,
            shape_.steps,
            shape_.rows,
            shape_.columns,
            outputs_.data(),
            columns,
            scratch_.data()};
  }

  Shape shape_;
  bool steps_together_;
  Buffer<C> a_, b_, outputs_, scratch_;
};

// The loss of one output and its target, its derivative, and the error bounds of
// cpp/kernels/losses.h.
template <class C>
struct LossKernel {
  const char* name;
  typename Learning<C>::Loss* Learning<C>::*function;
  Expected<C> (*loss)(Wide<C> z, Wide<C> y);
  Expected<C> (*derivative)(Wide<C> z, Wide<C> y);
};

template <class C>
const LossKernel<C> kLosses[] = {
    {"binary_cross_entropy", &Learning<C>::binary_cross_entropy,
     [](Wide<C> z, Wide<C> y) {
       return expect_ulp<C>(std::log1p(std::exp(-std::fabs(z))) + std::max(z, Wide<C>(0)) - y * z, 4);
     },
     [](Wide<C> z, Wide<C> y) { return expect_ulp<C>(y == 0 ? 1 / (1 + std::exp(-z)) : -1 / (1 + std::exp(z)), 5); }},
    {"squared_error", &Learning<C>::squared_error, [](Wide<C> z, Wide<C> y) { return expect_ulp<C>((z - y) * (z - y), 2); },
     [](Wide<C> z, Wide<C> y) { return expect_ulp<C>(2 * (z - y), 1); }},
};

// Losses of rows of n outputs, followed by their gradients. Without `kernel`: cross_entropy by
// labels.
template <class C>
class Losses {
 public:
  Losses(const LossKernel<C>* kernel, std::size_t rows, std::size_t n)
      : kernel_(kernel),
        rows_(rows),
        n_(n),
        outputs_(uniform<C>(rows * n, 8, 1)),
        targets_(rows * n),
        labels_(rows),
        results_((kernel == nullptr ? rows : rows * n) + rows * n) {
    for (std::size_t row = 0; row < rows; ++row) labels_[row] = static_cast<std::int64_t>(row % n);
    for (std::size_t i = 0; i < targets_.size(); ++i) targets_.data()[i] = static_cast<C>(i % 2);
  }

  void prepare(const Learning<C>&) {}

  void run(const Learning<C>& kernels) {
    LossRows<C> call{};
    call.outputs = outputs_.data();
    call.rows = rows_;
    call.n = n_;
    call.labels = kernel_ == nullptr ? labels_.data() : nullptr;
    call.targets = targets_.data();
    call.option = kernel_ == nullptr ? 0 : 1;
    call.losses = results_.data();
    call.gradients = results_.data() + terms();
    call.factor = 1;
    (kernels.*(kernel_ == nullptr ? &Learning<C>::cross_entropy : kernel_->function))(call);
  }

  const Buffer<C>& results() const { return results_; }

  std::vector<Expected<C>> expected() const {
    const Numbers<C> z = numbers(outputs_), y = numbers(targets_);
    std::vector<Expected<C>> losses, gradients;
    if (kernel_ != nullptr) {
      for (std::size_t i = 0; i < z.size(); ++i) {
        losses.push_back(kernel_->loss(z[i], y[i]));
        gradients.push_back(kernel_->derivative(z[i], y[i]));
      }
    } else {
      const Wide<C> roundings = std::ceil(std::log2(static_cast<Wide<C>>(n_))) + 7;
      for (std::size_t row = 0; row < rows_; ++row) {
        const auto start = z.begin() + static_cast<std::ptrdiff_t>(row * n_);
        const Numbers<C> logs = plain_log_softmax<C>({start, start + static_cast<std::ptrdiff_t>(n_)});
        const auto label = static_cast<std::size_t>(labels_[row]);
        losses.push_back(expect_ulp<C>(-logs[label], 4));
        for (std::size_t i = 0; i < n_; ++i) {
          const Wide<C> p = std::exp(logs[i]), t = i == label ? 1 : 0;
          gradients.push_back({p - t, roundings * kRounding<C> * (p + t)});
        }
      }
    }
    losses.insert(losses.end(), gradients.begin(), gradients.end());
    return losses;
  }

  Work work() const {
    const std::size_t targets = kernel_ == nullptr ? rows_ * sizeof labels_[0] : targets_.size() * sizeof(C);
    return {Limit::kCopy, outputs_.size(), 0, (outputs_.size() + results_.size()) * sizeof(C) + targets};
  }

 private:
  std::size_t terms() const { return kernel_ == nullptr ? rows_ : rows_ * n_; }

  const LossKernel<C>* kernel_;
  std::size_t rows_, n_;
  Buffer<C> outputs_, targets_;
  std::vector<std::int64_t> labels_;
  Buffer<C> results_;
};

// Optimizer steps on n parameters; the results are parameters, then moments. Each run makes one
// step.
template <class C>
class Step {
 public:
  Step(bool adam, std::size_t n)
      : adam_(adam),
        n_(n),
        gradient_(uniform<C>(n, 1, 1)),
        start_(uniform<C>((adam ? 3 : 2) * n, 1, 2)),
        state_((adam ? 3 : 2) * n) {
    if (adam) {  // second moments must not be negative
      for (std::size_t i = 2 * n; i < 3 * n; ++i) start_.data()[i] *= start_.data()[i];
    }
  }

  void prepare(const Learning<C>&) { std::copy_n(start_.data(), start_.size(), state_.data()); }

  void run(const Learning<C>& kernels) {
    C* const p = state_.data();
    if (adam_) {
      kernels.adam({p, p + n_, p + 2 * n_, gradient_.data(), n_, kRate, kRootScale, kRest1, kRest2, kEpsilon, 0, 1});
    } else {
      kernels.sgd({p, p + n_, gradient_.data(), n_, kRate, kMomentum, 0, true});
    }
  }

  const Buffer<C>& results() const { return state_; }

  // cpp/kernels/optimizers.h rounds each operation once.
  std::vector<Expected<C>> expected() const {
    const Numbers<C> start = numbers(start_), gradient = numbers(gradient_);
    std::vector<Expected<C>> parameters, first, second;
    const auto rounded = [](Wide<C> value, Wide<C> magnitude) { return Expected<C>{value, kRounding<C> * magnitude}; };
    for (std::size_t i = 0; i < n_; ++i) {
      const Wide<C> g = gradient[i], p = start[i], before = start[n_ + i];
      if (adam_) {
        const Wide<C> v_before = start[2 * n_ + i];
        const Wide<C> m = before + kRest1 * (g - before), v = v_before + kRest2 * (g * g - v_before);
        const Wide<C> root = std::sqrt(v) * kRootScale + kEpsilon;
        const Wide<C> m_error = 2 * (std::fabs(g) + std::fabs(before));
        first.push_back(rounded(m, m_error));
        second.push_back(rounded(v, 2 * (g * g + v_before)));
        const Wide<C> next = p - kRate * m / root;
        // The root's error is a few roundings of itself, because v has no negative terms that
        // cancel.
        const Wide<C> step_error = kRate * (m_error + 8 * std::fabs(m)) / root;
        parameters.push_back(rounded(next, 2 * std::fabs(p) + step_error));
      } else {
        const Wide<C> v = kMomentum * before + g, magnitude = std::fabs(before) + std::fabs(g);
        first.push_back(rounded(v, magnitude));
        parameters.push_back(rounded(p - kRate * (g + kMomentum * v), 2 * (std::fabs(p) + kRate * 2 * magnitude)));
      }
    }
    parameters.insert(parameters.end(), first.begin(), first.end());
    parameters.insert(parameters.end(), second.begin(), second.end());
    return parameters;
  }

  // Parameters and moments are read and written, gradients only read.
  Work work() const { return {Limit::kCopy, n_, 0, (2 * state_.size() + n_) * sizeof(C)}; }

 private:
  static constexpr C kRate = C(0.001), kMomentum = C(0.9), kRootScale = 2, kRest1 = C(0.1), kRest2 = C(0.001);
  static constexpr C kEpsilon = C(1e-8);

  bool adam_;
  std::size_t n_;
  Buffer<C> gradient_, start_, state_;
};

// Contiguous rows of From, shifted and scaled.
template <class From, class T>
class Scale {
 public:
  Scale(std::size_t rows, std::size_t n)
      : rows_(rows),
        n_(n),
        x_(uniform<From>(rows * n, 4, 1)),
        offset_(uniform<double>(n, 4, 2)),
        scale_(uniform<double>(n, 2, 3)),
        results_(rows * n) {}

  void prepare(const Kernels<T>&) {}

  void run(const Kernels<T>& kernels) {
    constexpr auto kFrom = static_cast<std::ptrdiff_t>(sizeof(From)), kTo = static_cast<std::ptrdiff_t>(sizeof(T));
    const auto n = static_cast<std::ptrdiff_t>(n_);
    const ScaleRows<From, T> rows{
        {x_.data(), n * kFrom, kFrom}, {results_.data(), n * kTo, kTo}, rows_, n_, offset_.data(), scale_.data()};
    if constexpr (std::is_same_v<From, T>) {
      kernels.scale(rows);
    } else {
      kernels.scale_doubles(rows);
    }
  }

  std::vector<Expected<T>> expected() const {
    const auto x = numbers(x_);
    std::vector<Expected<T>> all;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto shift = static_cast<Wide<T>>(offset_.data()[i % n_]), factor = static_cast<Wide<T>>(scale_.data()[i % n_]);
      const auto value = (static_cast<Wide<T>>(x[i]) - shift) * factor;
      constexpr double kUlp = std::is_same_v<T, Half> ? 0 : std::is_same_v<T, double> ? 2 : 0.5 + 1e-6;
      all.push_back(expect_ulp<T>(value, kUlp));
    }
    return all;
  }

  const Buffer<T>& results() const { return results_; }
  Work work() const { return {Limit::kCopy, rows_ * n_, 0, rows_ * n_ * (sizeof(From) + sizeof(T)) + 2 * n_ * sizeof(double)}; }

 private:
  std::size_t rows_, n_;
  Buffer<From> x_;
  Buffer<double> offset_, scale_;
  Buffer<T> results_;
};

// Describes what is wrong with the kernel's results on a target; empty if they are right.
template <class T, class Table, class Benchmark>
std::string verify(const Table& generic, const Table& kernels, Benchmark& benchmark) {
  const auto results_of = [&benchmark](const Table& table) {
    const auto& results = benchmark.results();
    std::memset(results.data(), 0xff, results.size() * sizeof *results.data());  // NaN, to detect elements that are not written
    benchmark.prepare(table);
    benchmark.run(table);
    return numbers(results);
  };
  const auto specified = results_of(generic);
  const auto results = results_of(kernels);
  const auto expected = benchmark.expected();
  char error[200] = "";
  for (std::size_t i = 0; i < results.size(); ++i) {
    const auto result = static_cast<double>(results[i]);
    const auto value = static_cast<double>(expected[i].value), tolerance = static_cast<double>(expected[i].tolerance);
    // Equal bits: the numbers are equal and have the same sign, zeros included. NaN equals nothing.
    if (results[i] != specified[i] || std::signbit(results[i]) != std::signbit(specified[i])) {
      std::snprintf(error, sizeof error, "result %zu is %.17g, expected the bits of generic, %.17g", i, result,
                    static_cast<double>(specified[i]));
      break;
    }
    if (std::fabs(results[i] - expected[i].value) > expected[i].tolerance) {
      std::snprintf(error, sizeof error, "result %zu is %.17g, expected %.17g with an error of at most %.3g", i, result, value,
                    tolerance);
      break;
    }
  }
  return error;
}

// Sets the counters of a benchmark from the seconds per run.
void count(benchmark::State& state, const Work& work, const char* target, std::size_t compute_size, double seconds) {
  const auto bytes = static_cast<double>(work.bytes);
  state.counters["GB/s"] = bytes / seconds * 1e-9;
  if (work.elements != 0) state.counters["ps/element"] = seconds / static_cast<double>(work.elements) * 1e12;
  const double rate = static_cast<double>(work.flops) / seconds;
  if (work.flops != 0) state.counters["GFLOP/s"] = rate * 1e-9;
  switch (work.limit) {
    case Limit::kFma:
      state.counters["%fma"] = 100 * rate / fma_peak(target, compute_size);
      break;
    case Limit::kRead:
      state.counters["%read"] = 100 * (bytes / seconds) / read_bandwidth(work.bytes);
      break;
    case Limit::kCopy:
      state.counters["%copy"] = 100 * (bytes / seconds) / copy_bandwidth(work.bytes);
      break;
  }
}

bool all_verified = true;

// Registers the benchmark made by make(), for kernels of T in `part` of the table.
template <class T, class Part, class Make>
void add(const KernelTable& table, const Part& (KernelTable::*part)() const, const std::string& kernel,
         const std::string& shape, Make make) {
  // Google Benchmark calls this again until it has run long enough; verify the kernel only once.
  auto run = [&table, part, make, verified = false](benchmark::State& state) mutable {
    const Part& kernels = (table.*part)();
    auto benchmark = make();
    if (!verified) {
      const std::string error = verify<T>((supported_tables().front()->*part)(), kernels, benchmark);
      if (!error.empty()) {
        all_verified = false;
        state.SkipWithError(error.c_str());
        return;
      }
      verified = true;
    }
    benchmark.prepare(kernels);
    benchmark.run(kernels);  // warms up the caches
    const std::clock_t start = std::clock();
    for ([[maybe_unused]] auto _ : state) benchmark.run(kernels);
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    count(state, benchmark.work(), table.target, sizeof(Compute<T>), seconds / static_cast<double>(state.iterations()));
  };
  const std::string name = std::string(table.target) + "/" + kernel + "/" + kTypeName<T> + "/" + shape;
  benchmark::RegisterBenchmark(name.c_str(), run);
}

template <class T, class Make>
void add(const KernelTable& table, const std::string& kernel, const std::string& shape, Make make) {
  add<T>(table, &KernelTable::of<T>, kernel, shape, make);
}

// Elements per call: about the L1 cache, the L2 cache, and beyond.
constexpr std::size_t kSizes[] = {1024, 65536, 4194304};

template <class T>
void add_all(const KernelTable& table) {
  for (const auto& kernel : kElementwiseKernels<T>) {
    for (const std::size_t n : kSizes) {
      add<T>(table, kernel.name, std::to_string(n), [&kernel, n] { return Map<T, Activation>(kernel, 1, n); });
    }
  }
  for (const std::size_t n : kSizes) {
    add<T>(table, "dot", std::to_string(n), [n] { return Dot<T>(n); });
    if constexpr (std::is_same_v<T, Half>) {
      add<T>(table, "widen", std::to_string(n), [n] { return Widen(n); });
      add<T>(table, "narrow", std::to_string(n), [n] { return Narrow(n); });
    }
  }
  struct Rows {
    std::size_t rows, n;
  };
  for (const auto [rows, n] : {Rows{1024, 10}, Rows{64, 1000}, Rows{1, 65536}}) {
    const std::string shape = std::to_string(rows) + "x" + std::to_string(n);
    for (const auto& kernel : kRowwise<T>) {
      add<T>(table, kernel.name, shape, [&kernel, rows = rows, n = n] { return Map<T, RowwiseKernel<T>>(kernel, rows, n); });
    }
    add<T>(table, "logsumexp", shape, [rows = rows, n = n] { return Logsumexp<T>(rows, n); });
  }
  for (const auto [rows, n] : {Rows{256, 4}, Rows{1024, 20}, Rows{1024, 784}, Rows{4096, 1024}}) {
    const std::string shape = std::to_string(rows) + "x" + std::to_string(n);
    add<T>(table, "scale", shape, [rows = rows, n = n] { return Scale<T, T>(rows, n); });
    if constexpr (!std::is_same_v<T, double>) {
      add<T>(table, "scale_doubles", shape, [rows = rows, n = n] { return Scale<double, T>(rows, n); });
    }
  }
  using Shape = typename Dense<T>::Shape;
  for (const Shape shape : {Shape{1, 1024, 1024}, Shape{16, 1024, 1024}, Shape{256, 128, 784}, Shape{256, 64, 64}}) {
    const std::string name =
        std::to_string(shape.rows) + "x" + std::to_string(shape.outputs) + "x" + std::to_string(shape.inputs);
    add<T>(table, "dense", name, [shape] { return Dense<T>(shape, false); });
    add<T>(table, "dense_packed", name, [shape] { return Dense<T>(shape, true); });
  }
  add<T>(table, "pack_unpack", "1024x1024", [] { return Pack<T>(1024, 1024); });
}

// Sizes of a step of 64-64-10 with 32 rows, and of 784-128-10 with 128 rows.
template <class C>
void add_learning(const KernelTable& table) {
  const auto add_one = [&table](const std::string& kernel, const std::string& shape, auto make) {
    add<C>(table, &KernelTable::learning<C>, kernel, shape, make);
  };
  using Shape = typename Outer<C>::Shape;
  const auto name = [](Shape shape) {
    return std::to_string(shape.rows) + "x" + std::to_string(shape.columns) + "x" + std::to_string(shape.steps);
  };
  for (const Shape shape : {Shape{64, 64, 32}, Shape{10, 64, 32}, Shape{128, 784, 128}, Shape{10, 128, 128}}) {
    add_one("outer_product", name(shape), [shape] { return Outer<C>(shape, false); });
  }
  for (const Shape shape : {Shape{32, 64, 10}, Shape{128, 128, 10}}) {
    add_one("outer_product_of_rows", name(shape), [shape] { return Outer<C>(shape, true); });
  }
  for (const std::size_t rows : {std::size_t{32}, std::size_t{128}}) {
    const std::string count = std::to_string(rows);
    add_one("cross_entropy", count + "x10", [rows] { return Losses<C>(nullptr, rows, 10); });
    for (const auto& kernel : kLosses<C>) {
      add_one(kernel.name, count + "x1", [&kernel, rows] { return Losses<C>(&kernel, rows, 1); });
    }
  }
  for (const std::size_t parameters : {std::size_t{4810}, std::size_t{101770}}) {
    add_one("adam", std::to_string(parameters), [parameters] { return Step<C>(true, parameters); });
    add_one("sgd", std::to_string(parameters), [parameters] { return Step<C>(false, parameters); });
  }
}

}  // namespace
}  // namespace nnkernels

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  for (const nnkernels::KernelTable* table : nnkernels::supported_tables()) {
    nnkernels::add_all<nnkernels::Half>(*table);
    nnkernels::add_all<float>(*table);
    nnkernels::add_all<double>(*table);
    nnkernels::add_learning<float>(*table);
    nnkernels::add_learning<double>(*table);
    for (const std::size_t size : {sizeof(float), sizeof(double)}) {
      char peak[40];
      std::snprintf(peak, sizeof peak, "%.1f GFLOP/s", nnkernels::fma_peak(table->target, size) * 1e-9);
      benchmark::AddCustomContext(std::string("fma_peak/") + table->target + (size == 4 ? "/float32" : "/float64"), peak);
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return nnkernels::all_verified ? 0 : 1;
}
