// The results that tests/golden.py describes, by the C++ library, against their hashes:
//
//   golden tests/golden.txt [target]
//
// Fails if one differs, or if the target in use (the best one, or NNKERNELS_TARGET's) is not the one named. Needs no Python, so
// that it runs under an emulator.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "common.h"
#include "dispatch.h"
#include "network.h"
#include "sha256.h"

using namespace nnkernels;

using Sizes = std::initializer_list<std::size_t>;

// The hashes of the file that are still to be compared.
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

template <class T>
void check(const std::string& name, std::vector<T> result) {
  if constexpr (!std::is_integral_v<T>) {
    for (T& value : result) make_nan_one(value);
  }
  const auto found = expected.find(name);
  const bool good = found != expected.end() && found->second == Sha256::of(result.data(), result.size() * sizeof(T));
  if (!good) ++failures, std::printf("FAILED %s\n", name.c_str());
  if (found != expected.end()) expected.erase(found);
}

// tests/corpus.py: random_bits, numbers, anything.
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
    const std::uint64_t bits = random.bits() >> (64 - 8 * sizeof(T));
    std::memcpy(&value, &bits, sizeof value);
  }
  return result;
}

template <class T>
void check_integers(const char* dtype, ElementwiseKernel<T>* relu) {
  const auto x = anything<T>(1000, 1);
  std::vector<T> y(x.size());
  relu({x.data(), sizeof(T)}, {y.data(), sizeof(T)}, x.size(), Stores::kCached);
  check(std::string(dtype) + " relu", y);
}

template <class T>
void check_functions(const std::string& kind, std::vector<T> (*corpus)(std::size_t, std::uint64_t)) {
  const Kernels<T>& table = kernels().of<T>();
  const auto elementwise = [&](const char* name, typename Kernels<T>::Elementwise* kernel) {
    const auto x = corpus(10'007, 1);
    std::vector<T> y(x.size());
    kernel({x.data(), sizeof(T)}, {y.data(), sizeof(T)}, x.size(), Stores::kCached);
    check(kind + name, y);
  };
  elementwise(" relu", table.relu);
  elementwise(" sigmoid", table.sigmoid);
  elementwise(" tanh", table.tanh);
  elementwise(" exp", table.exp);
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

// Rows to which 4 or 256 is added, or nothing, exactly.
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

// A layer of the corpus: its weights and bias, and the view of them.
template <class T>
struct Layer {
  Layer(std::size_t outputs, std::size_t inputs, std::size_t index, Activation activation)
      : weights(numbers<T>(outputs * inputs, 2 + 2 * index, 1.0 / 16)),
        bias(numbers<T>(outputs, 3 + 2 * index)),
        view{{weights.data(), static_cast<std::ptrdiff_t>(inputs * sizeof(T)), sizeof(T), outputs, inputs},
             {bias.data(), sizeof(T)},
             activation} {}

  std::vector<T> weights, bias;  // which keep their places when the layer is moved
  LayerView<T> view;
};

template <class T>
Rows<T> rows_of(T* data, std::size_t width) {
  return {data, static_cast<std::ptrdiff_t>(width * sizeof(T)), static_cast<std::ptrdiff_t>(sizeof(T))};
}

template <class T>
void check_dense(const std::string& dtype, std::size_t rows, std::size_t outputs, std::size_t inputs) {
  const char* const names[] = {"none", "relu", "sigmoid", "tanh", "softmax"};
  for (int activation = 0; activation < 5; ++activation) {
    const Layer<T> layer(outputs, inputs, 0, static_cast<Activation>(activation));
    const auto x = numbers<T>(rows * inputs, 1);
    std::vector<T> y(rows * outputs);
    dense<T>(rows_of(x.data(), inputs), rows, layer.view.weights, layer.view.bias, layer.view.activation,
             rows_of(y.data(), outputs));
    check(dtype + " dense " + std::to_string(rows) + " " + std::to_string(outputs) + " " + std::to_string(inputs) + " " +
              names[activation],
          y);
  }
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
  const auto x = numbers<T>(kRows * widths.front(), 1);
  std::vector<T> y(kRows * widths.back());
  Network<T>(views).forward(rows_of(x.data(), widths.front()), kRows, rows_of(y.data(), widths.back()));
  check(name, y);
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
  for (const auto& [unknown, digest] : expected) ++failures, std::printf("FAILED %s: nothing of that name\n", unknown.c_str());
  if (argc > 2 && std::string(argv[2]) != kernels().target) ++failures, std::printf("FAILED: the target is another one\n");
  std::printf("%s: %d failures\n", kernels().target, failures);
  return failures == 0 ? 0 : 1;
}
