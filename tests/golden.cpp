// Computes the results of tests/golden.py with the C++ library, and compares their hashes:
//
//   golden tests/golden.txt [target]
//
// Fails if a hash differs, or if the target in use (NNKERNELS_TARGET or the best) is not the given
// one. Needs no Python, so it can run under an emulator.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "common.h"
#include "dispatch.h"
#include "network.h"
#include "random.h"
#include "sha256.h"
#include "training.h"

using namespace nnkernels;

using Sizes = std::initializer_list<std::size_t>;

// The hashes that have not been compared yet.
static std::map<std::string, std::string> expected;
static int failures = 0;

static void make_nan_one(Half& x) {
  if ((x.bits & 0x7fff) > 0x7c00) x.bits = 0x7e00;
}
static void make_nan_one(float& x) {
  const std::uint32_t bits = 0x7fc00000;
  if (x != x) std::memcpy(&x, &bits, sizeof x);
}
static void make_nan_one(double& x) {
  const std::uint64_t bits = 0x7ff8000000000000;
  if (x != x) std::memcpy(&x, &bits, sizeof x);
}

// The unsigned integer of the size of T.
template <class T>
using Bits = std::conditional_t<
    sizeof(T) == 1, std::uint8_t,
    std::conditional_t<sizeof(T) == 2, std::uint16_t, std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>>;

// The bytes of the values in little-endian order, on every CPU.
template <class T>
std::vector<std::uint8_t> little_endian_bytes(const std::vector<T>& values) {
  std::vector<std::uint8_t> bytes;
  bytes.reserve(values.size() * sizeof(T));
  for (const T& value : values) {
    Bits<T> bits;
    std::memcpy(&bits, &value, sizeof bits);
    for (std::size_t i = 0; i < sizeof bits; ++i) bytes.push_back(static_cast<std::uint8_t>(bits >> 8 * i));
  }
  return bytes;
}

template <class T>
void check(const std::string& name, std::vector<T> result) {
  if constexpr (!std::is_integral_v<T>) {
    for (T& value : result) make_nan_one(value);
  }
  const auto found = expected.find(name);
  const auto bytes = little_endian_bytes(result);
  const bool good = found != expected.end() && found->second == Sha256::of(bytes.data(), bytes.size());
  if (!good) ++failures, std::printf("FAILED %s\n", name.c_str());
  if (found != expected.end()) expected.erase(found);
}

// The functions of tests/corpus.py: random_bits, numbers, anything.
template <class T>
std::vector<T> numbers(std::size_t n, std::uint64_t seed, double scale = 1) {
  constexpr int kDigits = std::is_same_v<T, Half> ? 11 : std::is_same_v<T, float> ? 24 : 53;
  Random random{seed};
  std::vector<Compute<T>> wide(n);
  for (auto& value : wide) {
    const auto integer = static_cast<std::int64_t>(random.bits() >> (64 - kDigits)) - (std::int64_t{1} << (kDigits - 1));
    value =
        static_cast<Compute<T>>(static_cast<double>(integer) / static_cast<double>(std::int64_t{1} << (kDigits - 3)) * scale);
  }
  std::vector<T> result(n);
  kernels().of<T>().narrow(wide.data(), {result.data(), sizeof(T)}, n);
  return result;
}

template <class T>
std::vector<T> anything(std::size_t n, std::uint64_t seed) {
  Random random{seed};
  std::vector<T> result(n);
  for (T& value : result) {
    const auto bits = static_cast<Bits<T>>(random.bits() >> (64 - 8 * sizeof(T)));
    std::memcpy(&value, &bits, sizeof value);
  }
  return result;
}

template <class T>
void check_integers(const char* dtype, ElementwiseKernel<T>* relu) {
  const auto x = anything<T>(1000, 1);
  std::vector<T> y(x.size());
  relu({x.data(), sizeof(T)}, {y.data(), sizeof(T)}, x.size(), Stores::kCached, 0);
  check(std::string(dtype) + " relu", y);
}

// The gradient with respect to x, given the gradient with respect to activation(x), by a layer with
// the single weight 1.
template <class C>
std::vector<C> gradient_of(Activation activation, double option, const std::vector<C>& x, const std::vector<C>& upstream) {
  Trainer<C> trainer({{1, 1, activation, option}}, Loss::kSquaredError, 0, x.size(), 0);
  trainer.parameters()[0] = 1;
  trainer.parameters()[1] = 0;
  std::vector<C> gradient(x.size());
  trainer.backward(x.data(), x.size(), upstream.data(), gradient.data());
  return gradient;
}

template <class T>
void check_functions(const std::string& kind, std::vector<T> (*corpus)(std::size_t, std::uint64_t)) {
  const Kernels<T>& table = kernels().of<T>();
  for (const auto& [name, activation, option] : kElementwiseActivations) {
    const auto x = corpus(10'007, 1);
    std::vector<T> y(x.size());
    table.of(activation)({x.data(), sizeof(T)}, {y.data(), sizeof(T)}, x.size(), Stores::kCached, option);
    check(kind + " " + name, y);
    if constexpr (!std::is_same_v<T, Half>) {
      check(kind + " " + name + " gradient", gradient_of<T>(activation, option, x, corpus(x.size(), 2)));
    }
  }
  for (const std::size_t n : Sizes{1, 10, 64, 100, 1000, 3001}) {
    constexpr std::size_t kRows = 5;
    const auto z = corpus(kRows * n, 1), w = corpus(n, 2);
    const auto stride = static_cast<std::ptrdiff_t>(n * sizeof(T));
    const std::string size = " " + std::to_string(n);
    std::vector<T> y(z.size()), logsumexp, dot;
    table.softmax({z.data(), stride, sizeof(T)}, {y.data(), stride, sizeof(T)}, kRows, n);
    check(kind + " softmax" + size, y);
    table.log_softmax({z.data(), stride, sizeof(T)}, {y.data(), stride, sizeof(T)}, kRows, n);
    check(kind + " log_softmax" + size, y);
    for (std::size_t row = 0; row < kRows; ++row) {
      const Strided<const T> elements{z.data() + row * n, sizeof(T)};
      logsumexp.push_back(table.logsumexp(elements, n));
      dot.push_back(table.dot(elements, {w.data(), sizeof(T)}, n));
    }
    check(kind + " logsumexp" + size, logsumexp);
    check(kind + " dot" + size, dot);
  }
}

// Rows plus 0, 4 or 256; the sums are exact.
template <class T>
void check_shifted(const std::string& dtype) {
  const Kernels<T>& table = kernels().of<T>();
  for (const std::size_t n : Sizes{3, 33, 700, 3001}) {
    constexpr std::size_t kRows = 5;
    const auto halves = numbers<Half>(kRows * n, 1);
    const auto stride = static_cast<std::ptrdiff_t>(n * sizeof(T));
    for (const int shift : std::is_same_v<T, Half> ? std::vector<int>{0, 4} : std::vector<int>{0, 4, 256}) {
      std::vector<float> wide(halves.size());
      kernels().float16.widen({halves.data(), sizeof(Half)}, wide.data(), wide.size());
      std::vector<Compute<T>> shifted;
      for (const float x : wide) shifted.push_back(static_cast<Compute<T>>(x) + static_cast<Compute<T>>(shift));
      std::vector<T> z(halves.size()), y(halves.size());
      table.narrow(shifted.data(), {z.data(), sizeof(T)}, z.size());
      const std::string name = dtype + " z + " + std::to_string(shift);
      table.softmax({z.data(), stride, sizeof(T)}, {y.data(), stride, sizeof(T)}, kRows, n);
      check(name + " softmax " + std::to_string(n), y);
      table.log_softmax({z.data(), stride, sizeof(T)}, {y.data(), stride, sizeof(T)}, kRows, n);
      check(name + " log_softmax " + std::to_string(n), y);
    }
  }
}

// A layer of the corpus: weights, bias, and a view of them.
template <class T>
struct Layer {
  Layer(std::size_t outputs, std::size_t inputs, std::size_t index, Activation activation)
      : weights(numbers<T>(outputs * inputs, 2 + 2 * index, 1.0 / 16)),
        bias(numbers<T>(outputs, 3 + 2 * index)),
        view{{weights.data(), static_cast<std::ptrdiff_t>(inputs * sizeof(T)), sizeof(T), outputs, inputs},
             {bias.data(), sizeof(T)},
             activation,
             option_of(activation)} {}

  std::vector<T> weights, bias;  // their addresses stay when the layer is moved
  LayerView<T> view;
};

template <class T>
Rows<T> rows_of(T* data, std::size_t width) {
  return {data, static_cast<std::ptrdiff_t>(width * sizeof(T)), static_cast<std::ptrdiff_t>(sizeof(T))};
}

// A Scale layer of the corpus.
struct Scale {
  Scale(std::size_t n, std::size_t place)
      : offset(numbers<double>(n, 20 + 2 * place)), scale(numbers<double>(n, 21 + 2 * place)) {
    for (double& number : scale) number = number / 8 + 1;
  }

  template <class T>
  LayerView<T> view() const {
    LayerView<T> view{};
    view.weights.inputs = view.weights.outputs = offset.size();
    view.offset = offset.data();
    view.scale = scale.data();
    return view;
  }

  std::vector<double> offset, scale;
};

template <class T>
std::vector<T> forward(const std::vector<LayerView<T>>& layers, const std::vector<T>& x) {
  const std::size_t inputs = layers.front().weights.inputs, outputs = layers.back().weights.outputs, rows = x.size() / inputs;
  std::vector<T> y(rows * outputs);
  Network<T>(layers).forward(rows_of(x.data(), inputs), rows, rows_of(y.data(), outputs));
  return y;
}

template <class T>
std::vector<T> forward_doubles(const std::vector<LayerView<T>>& layers, const std::vector<double>& x) {
  const std::size_t inputs = layers.front().weights.inputs, outputs = layers.back().weights.outputs, rows = x.size() / inputs;
  std::vector<T> y(rows * outputs);
  Network<T>(layers).forward_doubles(rows_of(x.data(), inputs), rows, rows_of(y.data(), outputs));
  return y;
}

template <class T>
void check_dense(const std::string& dtype, std::size_t rows, std::size_t outputs, std::size_t inputs) {
  std::vector<NamedActivation> activations = {
      {"none", Activation::kNone}, {"softmax", Activation::kSoftmax}, {"log_softmax", Activation::kLogSoftmax}};
  activations.insert(activations.end(), std::begin(kElementwiseActivations), std::end(kElementwiseActivations));
  for (const auto& [name, activation, option] : activations) {
    const Layer<T> layer(outputs, inputs, 0, activation);
    const auto x = numbers<T>(rows * inputs, 1);
    std::vector<T> y(rows * outputs);
    if (has_option(activation)) {
      y = forward<T>({layer.view}, x);
    } else {
      dense<T>(rows_of(x.data(), inputs), rows, layer.view.weights, layer.view.bias, activation, rows_of(y.data(), outputs));
    }
    check(dtype + " dense " + std::to_string(rows) + " " + std::to_string(outputs) + " " + std::to_string(inputs) + " " + name,
          y);
  }
}

template <class T>
void check_scale(const std::string& dtype, std::size_t n) {
  const Scale scale(n, 0);
  const std::string name = " scale " + std::to_string(n) + ", x of ";
  check(dtype + " numbers" + name + dtype, forward<T>({scale.view<T>()}, numbers<T>(37 * n, 1)));
  check(dtype + " anything" + name + dtype, forward<T>({scale.view<T>()}, anything<T>(37 * n, 1)));
  if (std::is_same_v<T, double>) return;
  check(dtype + " numbers" + name + "float64", forward_doubles<T>({scale.view<T>()}, numbers<double>(37 * n, 1)));
  check(dtype + " anything" + name + "float64", forward_doubles<T>({scale.view<T>()}, anything<double>(37 * n, 1)));
}

template <class T>
void check_network(const std::string& dtype, const std::vector<std::size_t>& widths) {
  constexpr std::size_t kRows = 37;
  const Activation activations[] = {Activation::kRelu, Activation::kSigmoid, Activation::kTanh, Activation::kSoftmax};
  std::vector<Layer<T>> layers;
  std::vector<LayerView<T>> views;
  std::string name = dtype + " network " + std::to_string(widths[0]);
  for (std::size_t i = 0; i + 1 < widths.size(); ++i) {
    layers.emplace_back(widths[i + 1], widths[i], i, activations[i]);
    views.push_back(layers.back().view);
    name += " " + std::to_string(widths[i + 1]);
  }
  check(name, forward(views, numbers<T>(kRows * widths.front(), 1)));

  std::vector<Scale> scales;  // one before each layer, and one after the last
  std::vector<LayerView<T>> scaled;
  for (std::size_t i = 0; i < widths.size(); ++i) {
    scales.emplace_back(widths[i], i);
    scaled.push_back(scales.back().view<T>());
    if (i < views.size()) scaled.push_back(views[i]);
  }
  name.insert(name.find(" network") + 8, " with scales");
  check(name + ", x of " + dtype, forward(scaled, numbers<T>(kRows * widths.front(), 1)));
  if (std::is_same_v<T, double>) return;
  check(name + ", x of float64", forward_doubles(scaled, numbers<double>(kRows * widths.front(), 1)));
}

template <class T>
void check_floats(const std::string& dtype) {
  check_functions<T>(dtype + " numbers", [](std::size_t n, std::uint64_t seed) { return numbers<T>(n, seed); });
  check_functions<T>(dtype + " anything", anything<T>);
  check_shifted<T>(dtype);
  check_dense<T>(dtype, 1, 17, 1500);
  check_dense<T>(dtype, 13, 40, 129);
  check_dense<T>(dtype, 7, 9, 4);
  check_network<T>(dtype, {4, 5, 3});
  check_network<T>(dtype, {64, 64, 64, 64, 10});
  check_network<T>(dtype, {140, 130, 10});
  for (const std::size_t n : Sizes{1, 20, 700}) check_scale<T>(dtype, n);
}

// --- Learning ---

constexpr std::size_t kExamples = 300;
constexpr std::uint64_t kLargeSeed = (std::uint64_t{1} << 63) + 5;

enum class Kind { kLabels, kBits, kNumbers, kCounts, kFractions };

struct LossCase {
  const char* name;
  Loss loss;
  double option;
  Kind kind;  // kind of the targets
};

static const LossCase kLosses[] = {
    {"cross_entropy", Loss::kCrossEntropy, 0, Kind::kLabels},
    {"cross_entropy smoothed", Loss::kCrossEntropy, 0.1, Kind::kLabels},
    {"cross_entropy of probabilities", Loss::kCrossEntropy, 0, Kind::kFractions},
    {"binary_cross_entropy", Loss::kBinaryCrossEntropy, 1, Kind::kFractions},
    {"binary_cross_entropy weighted", Loss::kBinaryCrossEntropy, 3, Kind::kBits},
    {"squared_error", Loss::kSquaredError, 0, Kind::kNumbers},
    {"absolute_error", Loss::kAbsoluteError, 0, Kind::kNumbers},
    {"huber", Loss::kHuber, 0.75, Kind::kNumbers},
    {"poisson", Loss::kPoisson, 0, Kind::kCounts},
};

// Targets of all rows, and optionally weights: (i mod 5) / 4 for row i.
template <class C>
struct Wanted {
  Wanted(Kind kind, std::size_t n, bool weighted) {
    if (kind == Kind::kLabels) {
      for (std::size_t i = 0; i < kExamples; ++i) labels.push_back(static_cast<std::int64_t>(i * 7 % n));
    } else {
      values = numbers<C>(kExamples * n, 2);
    }
    for (C& value : values) {
      if (kind == Kind::kBits) value = value > 0 ? C(1) : C(0);
      if (kind == Kind::kCounts) value = value + 4;
      if (kind == Kind::kFractions) value = (value + 4) / 8;
    }
    for (std::size_t i = 0; weighted && i < kExamples; ++i) weights.push_back(static_cast<double>(i % 5) / 4);
  }

  Targets<C> targets() const {
    return {labels.empty() ? nullptr : labels.data(), values.empty() ? nullptr : values.data(),
            weights.empty() ? nullptr : weights.data(), false};
  }

  std::vector<std::int64_t> labels;
  std::vector<C> values;
  std::vector<double> weights;
};

// Hashes the losses or their mean, followed by the gradient.
template <class C>
void check_losses(const std::string& dtype) {
  const auto check_loss = [&](const LossCase& c, std::size_t n, const char* corpus, const std::vector<C>& outputs,
                              Reduction reduction) {
    const Wanted<C> wanted(c.kind, n, false);
    std::vector<C> result(c.loss == Loss::kCrossEntropy ? kExamples : kExamples * n), gradient(kExamples * n);
    const LossSum sum = compute_loss<C>(c.loss, static_cast<C>(c.option), outputs.data(), kExamples, n, wanted.targets(),
                                        reduction, result.data(), gradient.data(), nullptr);
    const bool mean = reduction == Reduction::kMean;
    if (mean) result = {static_cast<C>(sum.losses / sum.weights)};
    result.insert(result.end(), gradient.begin(), gradient.end());
    check(dtype + " " + corpus + " " + c.name + (mean ? " mean " : " none ") + std::to_string(n), result);
  };
  for (const std::size_t n : Sizes{3, 40, 1100}) {
    const auto ordinary = numbers<C>(kExamples * n, 1), any = anything<C>(kExamples * n, 1);
    for (const LossCase& c : kLosses) {
      check_loss(c, n, "numbers", ordinary, Reduction::kMean);
      check_loss(c, n, "numbers", ordinary, Reduction::kNone);
      check_loss(c, n, "anything", any, Reduction::kNone);
    }
  }
}

// Weights and biases of a new network, layer by layer: uniform within a bound.
std::vector<double> initial_parameters(const std::vector<std::size_t>& sizes, const std::string& initializer) {
  std::vector<double> parameters;
  for (std::size_t l = 0; l + 1 < sizes.size(); ++l) {
    const auto inputs = static_cast<double>(sizes[l]), outputs = static_cast<double>(sizes[l + 1]);
    const auto kind = initializer == "glorot" ? Initializer::kGlorot
                      : initializer == "he"   ? Initializer::kHe
                                              : Initializer::kTorch;
    const auto append = [&](std::size_t stream, std::size_t n, bool random) {
      std::vector<double> numbers(n);
      if (random) random_weights(5, stream, kind, inputs, outputs, n, numbers.data());
      parameters.insert(parameters.end(), numbers.begin(), numbers.end());
    };
    append(2 * l, sizes[l] * sizes[l + 1], true);
    append(2 * l + 1, sizes[l + 1], initializer == "torch");
  }
  return parameters;
}

template <class C>
std::vector<C> rounded(const std::vector<double>& values) {
  std::vector<C> result;
  for (const double value : values) result.push_back(static_cast<C>(value));
  return result;
}

Optimizer sgd(double rate, double momentum = 0, bool nesterov = false, double decay = 0) {
  return {Optimizer::Kind::kSgd, rate, momentum, nesterov ? 1.0 : 0.0, 0, decay};
}

Optimizer adam(double rate, double decay = 0, double beta_1 = 0.9, double beta_2 = 0.999, double epsilon = 1e-8) {
  return {Optimizer::Kind::kAdam, rate, beta_1, beta_2, epsilon, decay};
}

Optimizer adamw(double rate, double decay) { return {Optimizer::Kind::kAdamW, rate, 0.9, 0.999, 1e-8, decay}; }

struct Fit {
  const char* loss = "cross_entropy";
  std::vector<std::size_t> sizes = {6, 8, 5};
  Activation hidden = Activation::kRelu;
  Activation last = Activation::kNone;  // kNone if the loss takes logits
  const char* initializer = "glorot";
  Optimizer optimizer = adam(0.01);
  std::size_t epochs = 3;
  std::size_t batch = 32;
  bool shuffle = true;
  bool weighted = false;
  std::vector<std::size_t> scales = {};  // layers preceded by a Scale; the number of layers means a Scale at the end
};

static void twice(Fit& fit, Activation activation) {
  fit.loss = "squared_error", fit.hidden = activation, fit.last = activation;
}

static const struct {
  const char* name;
  void (*set)(Fit&);
} kFits[] = {
    {"batch 32", [](Fit&) {}},
    {"batch 1", [](Fit& f) { f.batch = 1, f.epochs = 1; }},
    {"batch 7", [](Fit& f) { f.batch = 7; }},
    {"batch 256", [](Fit& f) { f.batch = 256; }},
    {"batch 300", [](Fit& f) { f.batch = 300; }},
    {"batch 1000", [](Fit& f) { f.batch = 1000; }},
    {"in order", [](Fit& f) { f.shuffle = false; }},
    {"sgd", [](Fit& f) { f.optimizer = sgd(0.05); }},
    {"momentum", [](Fit& f) { f.optimizer = sgd(0.02, 0.9); }},
    {"nesterov", [](Fit& f) { f.optimizer = sgd(0.02, 0.9, true); }},
    {"sgd weight decay", [](Fit& f) { f.optimizer = sgd(0.05, 0, false, 0.1); }},
    {"momentum weight decay", [](Fit& f) { f.optimizer = sgd(0.02, 0.9, false, 0.1); }},
    {"adam settings", [](Fit& f) { f.optimizer = adam(0.02, 0, 0.8, 0.95, 1e-4); }},
    {"adam weight decay", [](Fit& f) { f.optimizer = adam(0.01, 0.1); }},
    {"adamw", [](Fit& f) { f.optimizer = adamw(0.01, 0.1); }},
    {"sample weights", [](Fit& f) { f.weighted = true; }},
    {"own loss", [](Fit& f) { f.initializer = "he"; }},
    {"label smoothing", [](Fit& f) { f.loss = "cross_entropy smoothed"; }},
    {"probabilities", [](Fit& f) { f.loss = "cross_entropy of probabilities", f.batch = 256; }},
    {"logits without activation", [](Fit&) {}},
    {"binary",
     [](Fit& f) {
       f.loss = "binary_cross_entropy", f.sizes = {6, 8, 1};
     }},
    {"multi-label", [](Fit& f) { f.loss = "binary_cross_entropy weighted", f.weighted = true; }},
    {"squared_error",
     [](Fit& f) {
       f.loss = "squared_error", f.sizes = {6, 8, 8, 1}, f.hidden = Activation::kTanh, f.initializer = "torch";
     }},
    {"squared_error after softmax", [](Fit& f) { f.loss = "squared_error", f.last = Activation::kSoftmax, f.batch = 7; }},
    {"squared_error after relu", [](Fit& f) { f.loss = "squared_error", f.last = Activation::kRelu; }},
    {"absolute_error after tanh",
     [](Fit& f) { f.loss = "absolute_error", f.last = Activation::kTanh, f.optimizer = sgd(0.01); }},
    {"huber after sigmoid", [](Fit& f) { f.loss = "huber", f.last = Activation::kSigmoid, f.weighted = true; }},
    {"poisson",
     [](Fit& f) {
       f.loss = "poisson", f.sizes = {6, 5};
     }},
    {"one layer",
     [](Fit& f) {
       f.sizes = {6, 5};
     }},
    {"four layers",
     [](Fit& f) {
       f.sizes = {6, 7, 9, 17, 5}, f.hidden = Activation::kSigmoid;
     }},
    {"softmax within",
     [](Fit& f) {
       f.sizes = {6, 7, 9, 5}, f.hidden = Activation::kSoftmax;
     }},
    {"wide",
     [](Fit& f) {
       f.sizes = {6, 290, 270, 5}, f.batch = 300, f.epochs = 1;
     }},
    {"scaled inputs", [](Fit& f) { f.scales = {0}; }},
    {"scaled within", [](Fit& f) { f.scales = {1}, f.weighted = true; }},
    {"scaled outputs", [](Fit& f) { f.loss = "huber", f.scales = {2}; }},
    {"scaled everywhere",
     [](Fit& f) {
       f.loss = "squared_error", f.last = Activation::kTanh, f.scales = {0, 1, 2};
     }},
    {"relu twice", [](Fit& f) { twice(f, Activation::kRelu); }},
    {"sigmoid twice", [](Fit& f) { twice(f, Activation::kSigmoid); }},
    {"tanh twice", [](Fit& f) { twice(f, Activation::kTanh); }},
    {"leaky_relu twice", [](Fit& f) { twice(f, Activation::kLeakyRelu); }},
    {"elu twice", [](Fit& f) { twice(f, Activation::kElu); }},
    {"silu twice", [](Fit& f) { twice(f, Activation::kSilu); }},
    {"gelu twice", [](Fit& f) { twice(f, Activation::kGelu); }},
    {"gelu_tanh twice", [](Fit& f) { twice(f, Activation::kGeluTanh); }},
    {"softplus twice", [](Fit& f) { twice(f, Activation::kSoftplus); }},
    {"exp",
     [](Fit& f) {
       f.loss = "squared_error", f.sizes = {6, 5}, f.last = Activation::kExp;
     }},
    {"exp within", [](Fit& f) { f.loss = "huber", f.hidden = Activation::kExp; }},
    {"poisson of exp", [](Fit& f) { f.loss = "poisson"; }},
    {"cross_entropy of log_softmax", [](Fit&) {}},
    {"squared_error after log_softmax",
     [](Fit& f) { f.loss = "squared_error", f.hidden = Activation::kSilu, f.last = Activation::kLogSoftmax; }},
    {"log_softmax within",
     [](Fit& f) {
       f.sizes = {6, 7, 9, 5}, f.hidden = Activation::kLogSoftmax;
     }},
};

// Trains a network, starting from the parameters, which it updates. Returns the loss of each epoch.
template <class C>
std::vector<double> train(const Fit& fit, const std::vector<C>& x, std::vector<C>& parameters) {
  const auto& sizes = fit.sizes;
  std::vector<typename Trainer<C>::Layer> layers;
  for (std::size_t l = 0; l < sizes.size(); ++l) {
    if (std::count(fit.scales.begin(), fit.scales.end(), l) != 0) {
      const Scale scale(sizes[l], l);
      layers.push_back({sizes[l], sizes[l], Activation::kNone, 0, true, scale.offset, scale.scale});
    }
    if (l + 1 < sizes.size()) {
      const Activation activation = l + 2 < sizes.size() ? fit.hidden : fit.last;
      layers.push_back({sizes[l], sizes[l + 1], activation, option_of(activation)});
    }
  }
  const LossCase& loss =
      *std::find_if(std::begin(kLosses), std::end(kLosses), [&](const LossCase& c) { return std::string(c.name) == fit.loss; });
  const std::size_t moments = fit.optimizer.kind != Optimizer::Kind::kSgd ? 2 : fit.optimizer.beta_1 != 0 ? 1 : 0;
  Trainer<C> trainer(layers, loss.loss, static_cast<C>(loss.option), std::min(fit.batch, kExamples), moments);
  std::copy(parameters.begin(), parameters.end(), trainer.parameters());
  const Wanted<C> wanted(loss.kind, sizes.back(), fit.weighted);
  std::vector<double> losses;
  for (std::size_t epoch = 0; epoch < fit.epochs; ++epoch) {
    const LossSum sum =
        trainer.run_epoch({x.data(), kExamples, wanted.targets()}, fit.optimizer, kLargeSeed, epoch, fit.shuffle);
    losses.push_back(sum.losses / sum.weights);
  }
  std::copy_n(trainer.parameters(), parameters.size(), parameters.begin());
  return losses;
}

// Hashes the parameters, followed by the losses.
template <class C>
void check_training(const std::string& name, const std::vector<C>& parameters, const std::vector<double>& losses) {
  std::vector<double> result(parameters.begin(), parameters.end());
  result.insert(result.end(), losses.begin(), losses.end());
  check(name, result);
}

// Hashes three epochs in scikit-learn's conventions: parameters, followed by the sums.
template <class C>
void check_batches(const std::string& dtype) {
  const Wanted<C> wanted(Kind::kLabels, 5, true);
  const auto x = numbers<C>(kExamples * 6, 1);
  Trainer<C> trainer({{6, 8, Activation::kRelu}, {8, 5, Activation::kNone}}, Loss::kCrossEntropy, 0, 32, 2);
  const auto initial = rounded<C>(initial_parameters({6, 8, 5}, "glorot"));
  std::copy(initial.begin(), initial.end(), trainer.parameters());
  std::vector<double> sums;
  for (std::uint64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<std::size_t> order(kExamples);
    permutation(kLargeSeed, epoch, kExamples, order.data());
    const BatchSums result =
        trainer.run_batches({x.data(), kExamples, wanted.targets()}, {Optimizer::Kind::kAdamHat, 0.01, 0.9, 0.999, 1e-8, 0.1},
                            order.data(), kExamples, 0.5);
    sums.insert(sums.end(), {result.losses, result.penalty});
  }
  check_training(dtype + " run_batches", std::vector<C>(trainer.parameters(), trainer.parameters() + trainer.size()), sums);
}

template <class C>
void check_learning(const std::string& dtype) {
  check_losses<C>(dtype);
  for (const char* initializer : {"glorot", "he", "torch"}) {
    check(dtype + " initial " + initializer, rounded<C>(initial_parameters({6, 8, 5}, initializer)));
  }
  for (const auto& [name, set] : kFits) {
    Fit fit;
    set(fit);
    auto parameters = rounded<C>(initial_parameters(fit.sizes, fit.initializer));
    const auto losses = train<C>(fit, numbers<C>(kExamples * fit.sizes[0], 1), parameters);
    check_training(dtype + " training " + name, parameters, losses);
  }
  check_batches<C>(dtype);
}

// float16 weights and inputs, trained in float.
void check_learning_of_halves() {
  const auto half = [](const std::vector<float>& values) {
    std::vector<Half> result(values.size());
    kernels().float16.narrow(values.data(), {result.data(), sizeof(Half)}, values.size());
    return result;
  };
  const Fit fit;
  auto parameters = widened(half(rounded<float>(initial_parameters(fit.sizes, fit.initializer))));
  const auto losses = train<float>(fit, widened(numbers<Half>(kExamples * fit.sizes[0], 1)), parameters);
  check_training("float16 training batch 32", widened(half(parameters)), losses);
}

void check_random() {
  for (const std::size_t n : Sizes{1, 2, 10, 1000}) {
    std::vector<std::size_t> order(n);
    permutation(kLargeSeed, 3, n, order.data());
    check("permutation " + std::to_string(n), std::vector<std::int64_t>(order.begin(), order.end()));
  }
  std::vector<double> weights(1000);
  random_weights(5, 1, Initializer::kTorch, 1, 1, weights.size(), weights.data());
  check("random_weights", weights);
}

int main(int argc, char** argv) {
  if (argc < 2) return std::printf("golden tests/golden.txt [target]\n"), 2;
  std::ifstream file(argv[1]);
  std::string hash, name;
  while (file >> hash && std::getline(file >> std::ws, name)) {
    if (hash != "#") expected[name] = hash;
  }
  const IntegerRelu& relu = kernels().integer_relu;
  check_integers("int8", relu.int8), check_integers("uint8", relu.uint8);
  check_integers("int16", relu.int16), check_integers("uint16", relu.uint16);
  check_integers("int32", relu.int32), check_integers("uint32", relu.uint32);
  check_integers("int64", relu.int64), check_integers("uint64", relu.uint64);
  check_floats<Half>("float16"), check_floats<float>("float32"), check_floats<double>("float64");
  check_random();
  check_learning<float>("float32"), check_learning<double>("float64"), check_learning_of_halves();
  for (const auto& [unknown, digest] : expected) ++failures, std::printf("FAILED %s: nothing of that name\n", unknown.c_str());
  if (argc > 2 && std::string(argv[2]) != kernels().target) ++failures, std::printf("FAILED: the target is another one\n");
  std::printf("%s: %d failures\n", kernels().target, failures);
  return failures == 0 ? 0 : 1;
}
