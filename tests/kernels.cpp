// The kernel tables of this machine against plain loops and against `generic`, bit for bit:
//
//   kernels [--emulated] [target ...]
//
// Fails also if this machine does not run one of the targets named. Needs no Python, so that it runs under an emulator, where
// it takes fewer numbers.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "common.h"
#include "dispatch.h"
#include "network.h"

using namespace nnkernels;

using Sizes = std::initializer_list<std::size_t>;

static int failures = 0;

static void check(bool good, const KernelTable& table, const char* what, std::size_t a, std::size_t b = 0, std::size_t c = 0) {
  if (good) return;
  if (failures++ < 20) std::printf("FAILED %s %s %zu %zu %zu\n", table.target, what, a, b, c);
}

template <class T>
std::vector<T> numbers(Random& random, std::size_t n) {
  std::vector<Compute<T>> values(n);
  for (auto& value : values) value = static_cast<Compute<T>>(random.number());
  std::vector<T> result(n);
  generic.of<T>().narrow(values.data(), {result.data(), sizeof(T)}, n);
  return result;
}

// The order of summation of kernels/dense.h, as plain loops.
template <class C>
C plain_dense(const C* x, const C* weights, std::size_t inputs, C bias) {
  constexpr std::size_t kChains = 16 / sizeof(C);
  constexpr std::size_t kInputBlock = 256 * kChains;
  C sum = 0;
  for (std::size_t block = 0; block < inputs; block += kInputBlock) {
    C chains[kChains] = {};
    for (std::size_t k = block; k < inputs && k < block + kInputBlock; ++k) {
      chains[k % kChains] = std::fma(x[k], weights[k], chains[k % kChains]);
    }
    C block_sum = chains[0] + chains[1];
    if constexpr (kChains == 4) block_sum += chains[2] + chains[3];
    sum += block_sum;
  }
  return sum + bias;
}

template <class C>
C plain_tree(const std::vector<C>& blocks, std::size_t begin, std::size_t end) {
  if (end - begin <= 1) return begin < end ? blocks[begin] : 0;
  std::size_t left = 1;
  while (2 * left < end - begin) left *= 2;
  return plain_tree(blocks, begin, begin + left) + plain_tree(blocks, begin + left, end);
}

// The order of summation of kernels/dot.h and sum.h, as plain loops.
template <class C>
C plain_dot(const C* x, const C* weights, std::size_t n) {
  if (n < (sizeof(C) == 4 ? 32 : 8)) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum = std::fma(double{x[i]}, double{weights[i]}, sum);
    return static_cast<C>(sum);
  }
  constexpr std::size_t kPartialSums = 256 / sizeof(C);
  std::vector<C> blocks;
  for (std::size_t block = 0; block < n; block += 1024) {
    C sums[kPartialSums] = {};
    for (std::size_t i = block; i < n && i < block + 1024; ++i) {
      sums[i % kPartialSums] = std::fma(x[i], weights[i], sums[i % kPartialSums]);
    }
    for (std::size_t half = kPartialSums / 2; half > 0; half /= 2) {
      for (std::size_t j = 0; j < half; ++j) sums[j] += sums[j + half];
    }
    blocks.push_back(sums[0]);
  }
  return plain_tree(blocks, 0, blocks.size());
}

template <class T>
T narrowed(Compute<T> value) {
  T result;
  generic.of<T>().narrow(&value, {&result, sizeof(T)}, 1);
  return result;
}

template <class T>
void test_dot(const KernelTable& table) {
  Random random;
  for (std::size_t n : Sizes{0,  1,  2,  3,   4,   5,   7,    8,    15,   16,   17,   31,          32,
                             63, 64, 65, 100, 127, 129, 1000, 1023, 1024, 1025, 3000, 5 * 1024 + 7}) {
    const auto x = numbers<T>(random, n);
    const auto weights = numbers<T>(random, n);
    const T actual = table.of<T>().dot({x.data(), sizeof(T)}, {weights.data(), sizeof(T)}, n);
    check(same(actual, narrowed<T>(plain_dot(widened(x).data(), widened(weights).data(), n))), table, "dot", n, sizeof(T));
  }
}

template <class T>
void test_dense(const KernelTable& table, std::size_t rows, std::size_t outputs, std::size_t inputs) {
  using C = Compute<T>;
  const Kernels<T>& kernels = table.of<T>();
  Random random;
  const auto x = widened(numbers<T>(random, rows * inputs));
  const auto weights = numbers<T>(random, outputs * inputs);
  const auto bias = widened(numbers<T>(random, outputs));
  const auto wide_weights = widened(weights);
  std::vector<C> expected(rows * outputs);
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < outputs; ++j) {
      expected[i * outputs + j] = plain_dense(x.data() + i * inputs, wide_weights.data() + j * inputs, inputs, bias[j]);
    }
  }
  DenseRows<T> call{};
  call.x = x.data();
  call.x_stride = static_cast<std::ptrdiff_t>(inputs);
  call.rows = rows;
  call.weights = {weights.data(), static_cast<std::ptrdiff_t>(inputs * sizeof(T)), sizeof(T), outputs, inputs};
  call.bias = bias.data();
  call.outputs_stride = static_cast<std::ptrdiff_t>(outputs);

  std::vector<C> scratch(kernels.dense_scratch);
  call.scratch = scratch.data();
  std::vector<C> unpacked(rows * outputs + 1, C(77));
  call.outputs = unpacked.data();
  kernels.dense(call);
  check(unpacked.back() == C(77), table, "dense, unpacked, writes past its end", rows, outputs, inputs);
  unpacked.pop_back();
  check(same(unpacked, expected), table, "dense, unpacked", rows, outputs, inputs);

  std::vector<C> packed(kernels.packed_size(outputs, inputs) + 1);  // not null, which would mean none
  kernels.pack(call.weights, packed.data());
  call.packed = packed.data();
  std::vector<C> from_packed(rows * outputs + 1, C(77));
  call.outputs = from_packed.data();
  kernels.dense(call);
  check(from_packed.back() == C(77), table, "dense, packed, writes past its end", rows, outputs, inputs);
  from_packed.pop_back();
  check(same(from_packed, expected), table, "dense, packed", rows, outputs, inputs);

  for (C& value : expected) value = value <= 0 ? C(0) : value;
  call.relu = true;
  call.outputs = from_packed.data();
  kernels.dense(call);
  check(same(from_packed, expected), table, "dense with relu", rows, outputs, inputs);

  std::vector<T> restored(outputs * inputs);
  kernels.unpack(packed.data(), outputs, inputs, restored.data());
  check(same(restored, weights), table, "unpack", outputs, inputs);
}

// Rows that lie across, and the copies to and from them.
template <class T>
void test_dense_lanes(const KernelTable& table, std::size_t outputs, std::size_t inputs, bool relu) {
  using C = Compute<T>;
  constexpr auto kSize = static_cast<std::ptrdiff_t>(sizeof(C));
  const Kernels<T>& kernels = table.of<T>();
  const std::size_t rows = kernels.lane_rows;
  const auto lanes_stride = static_cast<std::ptrdiff_t>(rows) * kSize;
  Random random;
  const std::size_t step = 2;  // between the elements of x, which lie apart
  const auto x = widened(numbers<T>(random, rows * inputs * step));
  const auto weights = numbers<T>(random, outputs * inputs);
  const auto bias = widened(numbers<T>(random, outputs));
  std::vector<C> packed(kernels.packed_size(outputs, inputs) + 1);  // not null, which would mean none
  kernels.pack({weights.data(), static_cast<std::ptrdiff_t>(inputs * sizeof(T)), sizeof(T), outputs, inputs}, packed.data());

  std::vector<C> contiguous(rows * inputs);
  for (std::size_t i = 0; i < contiguous.size(); ++i) contiguous[i] = x[i * step];
  std::vector<C> across((inputs + kernels.lane_padding) * rows), same_across(across);
  const auto row_stride = static_cast<std::ptrdiff_t>(inputs) * kSize;
  const auto apart = static_cast<std::ptrdiff_t>(step);
  kernels.copy_rows({contiguous.data(), row_stride, kSize}, {across.data(), kSize, lanes_stride}, inputs);
  kernels.copy_rows({x.data(), row_stride * apart, kSize * apart}, {same_across.data(), kSize, lanes_stride}, inputs);
  check(same(across, same_across), table, "copy_rows of elements that lie apart", inputs, sizeof(T));

  const auto wide_weights = widened(weights);
  std::vector<C> expected(rows * outputs), lanes(rows * outputs), actual(rows * outputs);
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < outputs; ++j) {
      const C sum = plain_dense(contiguous.data() + i * inputs, wide_weights.data() + j * inputs, inputs, bias[j]);
      expected[i * outputs + j] = relu && sum <= 0 ? C(0) : sum;
    }
  }
  const char* const ahead = reinterpret_cast<const char*>(contiguous.data());
  kernels.dense_lanes({packed.data(), bias.data(), relu, outputs, inputs, ahead, contiguous.size() * sizeof(C) / kLineBytes},
                      across.data(), lanes.data());
  kernels.copy_rows({lanes.data(), kSize, lanes_stride}, {actual.data(), static_cast<std::ptrdiff_t>(outputs) * kSize, kSize},
                    outputs);
  check(same(actual, expected), table, "dense, rows across", outputs, inputs, sizeof(T));
}

template <class T>
void test_dense_lanes(const KernelTable& table) {
  for (std::size_t outputs = 1; outputs <= 40; ++outputs) test_dense_lanes<T>(table, outputs, 9, outputs % 2 == 0);
  for (std::size_t inputs : Sizes{0, 1, 2, 3, 4, 5, 6, 7, 8, 63, 64, 128, 511, 512}) {
    test_dense_lanes<T>(table, 5, inputs, false);
    test_dense_lanes<T>(table, 17, inputs, true);
  }
}

template <class T>
void test_dense(const KernelTable& table) {
  if (!emulated)
    test_dense<T>(table, 131, 133, 1030);  // rows that the cache does not hold: groups of panels, and two blocks of each
  for (std::size_t rows = 1; rows <= 14; ++rows) test_dense<T>(table, rows, 19, 13);
  for (std::size_t outputs = 1; outputs <= 40; ++outputs) test_dense<T>(table, 7, outputs, 9);
  for (std::size_t inputs = 0; inputs <= 20; ++inputs) test_dense<T>(table, 4, 11, inputs), test_dense<T>(table, 2, 11, inputs);
  for (std::size_t inputs : Sizes{511, 512, 513, 1023, 1024, 1025, 2049, 3000})
    test_dense<T>(table, 5, 9, inputs), test_dense<T>(table, 1, 9, inputs);
  // A single row, which takes several panels at once, and some that are left.
  for (std::size_t outputs : Sizes{63, 64, 65, 95, 144, 200})
    test_dense<T>(table, 1, outputs, 7), test_dense<T>(table, 1, outputs, 1030);
  // Rows of weights a multiple of 4096 bytes apart, and others, where they lie and packed.
  for (std::size_t inputs : Sizes{512, 516, 1024}) {
    for (std::size_t rows : Sizes{1, 2, 6, 12, 13}) test_dense<T>(table, rows, 35, inputs);
  }
}

// Where n elements `step` apart lie if the lowest of them is the first number of an array of `size`, or the highest the last.
struct Places {
  Places(std::size_t size, std::size_t n, std::ptrdiff_t step, bool at_end)
      : step(step), length(n == 0 ? 0 : (n - 1) * static_cast<std::size_t>(std::abs(step)) + 1) {
    low = at_end ? size - length : 0;
    first = step < 0 && n > 0 ? low + length - 1 : low;
  }

  std::size_t operator[](std::size_t i) const {
    return static_cast<std::size_t>(static_cast<std::ptrdiff_t>(first) + static_cast<std::ptrdiff_t>(i) * step);
  }

  std::ptrdiff_t step;
  std::size_t length, low, first;
};

// A function of elements near and far, forwards and backwards, up to the ends of what may be read and written: the results,
// and that nothing else is written.
template <class T>
void test_elements(const KernelTable& table, const char* name, typename Kernels<T>::Elementwise* Kernels<T>::*kernel,
                   const std::vector<T>& all) {
  constexpr auto kSize = static_cast<std::ptrdiff_t>(sizeof(T));
  constexpr std::size_t kBeside = 70;  // numbers beside the output that are looked at
  const Guarded<T> x(all.size()), y(all.size());
  for (std::size_t i = 0; i < x.size(); ++i) x.data()[i] = all[i % all.size()];
  std::vector<T> expected(x.size());
  (generic.of<T>().*kernel)({x.data(), kSize}, {expected.data(), kSize}, x.size(), Stores::kCached);
  T untouched;
  std::memset(&untouched, 0x5a, sizeof untouched);

  constexpr std::ptrdiff_t kSteps[][2] = {{1, 1},  {2, 1},  {-1, 1}, {3, 1},   {-2, 1}, {0, 1},   {100, 1},
                                          {1, 2},  {1, -1}, {1, 3},  {1, -2},  {1, 0},  {1, 100}, {2, 2},
                                          {-1, 2}, {2, -1}, {3, 3},  {-1, -1}, {100, 2}};
  for (const auto& steps : kSteps) {
    for (std::size_t n = 0; n <= all.size(); n = n < 70 ? n + 1 : n * 2 + 1) {
      if (n * static_cast<std::size_t>(std::max(std::abs(steps[0]), std::abs(steps[1]))) > all.size()) break;
      for (const auto& [at_end, stores] :
           {std::pair{false, Stores::kCached}, {true, Stores::kCached}, {true, Stores::kStreaming}}) {
        const Places from(x.size(), n, steps[0], at_end), to(y.size(), n, steps[1], at_end);
        T* const low = y.data() + to.low - std::min(to.low, kBeside);
        T* const high = y.data() + std::min(to.low + to.length + kBeside, y.size());
        std::fill(low, high, untouched);
        (table.of<T>().*kernel)({x.data() + from.first, steps[0] * kSize}, {y.data() + to.first, steps[1] * kSize}, n, stores);
        bool equal = true;
        for (std::size_t i = steps[1] == 0 && n > 0 ? n - 1 : 0; i < n;
             ++i) {  // where they lie on each other the last one stays
          equal = equal && same(y.data()[to[i]], expected[from[i]]);
          y.data()[to[i]] = untouched;
        }
        equal =
            equal && std::all_of(low, high, [&](const T& value) { return std::memcmp(&value, &untouched, sizeof value) == 0; });
        const std::string what = name + (" from steps of " + std::to_string(steps[0]) + " to " + std::to_string(steps[1]));
        check(equal, table, what.c_str(), n, sizeof(T));
      }
    }
  }
}

// Rows, of which some targets compute several at once, against `generic` one row at a time; in place, too.
template <class T>
void test_rowwise(const KernelTable& table, const char* name, typename Kernels<T>::Rowwise* Kernels<T>::*kernel,
                  const std::vector<T>& all) {
  for (std::size_t n = 0; n <= all.size(); n = n < 150 ? n + 1 : n * 2 + 1) {
    for (std::size_t rows : Sizes{1, 2, 17, 35}) {
      for (std::size_t step : Sizes{1, 2, 3}) {
        if (rows * n * step > all.size()) continue;
        const auto element = static_cast<std::ptrdiff_t>(step * sizeof(T));
        const auto row = static_cast<std::ptrdiff_t>(n) * element;
        std::vector<T> expected(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(rows * n * step));
        std::vector<T> actual(expected.size() + 1, T{}), in_place(expected);
        if (step > 1) std::copy(expected.begin(), expected.end(), actual.begin());  // what lies between the elements
        for (std::size_t i = 0; i < rows; ++i) {
          (generic.of<T>().*kernel)({all.data() + i * n * step, row, element}, {expected.data() + i * n * step, row, element},
                                    1, n);
        }
        (table.of<T>().*kernel)({all.data(), row, element}, {actual.data(), row, element}, rows, n);
        (table.of<T>().*kernel)({in_place.data(), row, element}, {in_place.data(), row, element}, rows, n);
        actual.pop_back();
        check(same(actual, expected) && same(in_place, expected), table, name, rows, n, step);
      }
    }
  }
}

// Numbers of every magnitude and kind: random bits.
template <class T>
std::vector<T> random_bits(std::size_t n) {
  Random random;
  std::vector<T> result(n);
  for (T& value : result) {
    const std::uint64_t bits = random.bits();
    std::memcpy(&value, &bits, sizeof value);
  }
  return result;
}

template <class T>
void test_functions(const KernelTable& table) {
  using K = Kernels<T>;
  Random random;
  const std::size_t most = emulated ? 1'100 : 70'000;
  // Ordinary numbers, all numbers, and stretches of both and of zeros, so that rows beside each other are of different kinds.
  const auto ordinary = numbers<T>(random, most), any = random_bits<T>(most);
  auto both = ordinary;
  for (std::size_t i = 0; i < most; ++i) {
    if (i / 97 % 5 == 1) both[i] = any[i];
    if (i / 97 % 5 == 3) both[i] = T{};
  }
  for (const auto& all : {ordinary, any, both}) {
    test_elements<T>(table, "relu", &K::relu, all);
    test_elements<T>(table, "sigmoid", &K::sigmoid, all);
    test_elements<T>(table, "tanh", &K::tanh, all);
    test_elements<T>(table, "exp", &K::exp, all);
    test_rowwise<T>(table, "softmax", &K::softmax, all);
    test_rowwise<T>(table, "log_softmax", &K::log_softmax, all);
    for (std::size_t n : Sizes{0, 1, 2, 63, 64, 65, 1024, 1025, most}) {
      const Strided<const T> row{all.data(), sizeof(T)};
      check(same(table.of<T>().logsumexp(row, n), generic.of<T>().logsumexp(row, n)), table, "logsumexp", n, sizeof(T));
    }
  }
}

static void test_half(const KernelTable& table) {
  std::vector<Half> all(1 << 16);
  for (std::size_t i = 0; i < all.size(); ++i) all[i].bits = static_cast<std::uint16_t>(i);
  std::vector<float> wide(all.size());
  table.float16.widen({all.data(), sizeof(Half)}, wide.data(), all.size());
  check(same(wide, widened(all)), table, "widen", all.size());
  std::vector<Half> back(all.size());
  table.float16.narrow(wide.data(), {back.data(), sizeof(Half)}, back.size());
  check(same(back, all), table, "narrow of widen", all.size());
  // All floats between neighbouring halves are as good as the middle and its neighbours; and random ones.
  std::vector<float> between = random_bits<float>(100'000);
  for (std::size_t i = 0; i + 1 < 0x7c00; ++i) {
    const float middle = (wide[i] + wide[i + 1]) / 2;
    for (float x : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)})
      between.push_back(x), between.push_back(-x);
  }
  for (float x : {65504.0f, 65519.996f, 65520.0f, 65536.0f, 1e38f}) between.push_back(x), between.push_back(-x);
  std::vector<Half> actual(between.size()), expected(between.size());
  table.float16.narrow(between.data(), {actual.data(), sizeof(Half)}, actual.size());
  generic.float16.narrow(between.data(), {expected.data(), sizeof(Half)}, expected.size());
  check(same(actual, expected), table, "narrow", between.size());
}

template <class T>
void test_network() {
  Random random;
  const auto weights = numbers<T>(random, 31 * 20);
  const auto bias = numbers<T>(random, 31);
  const auto x = numbers<T>(random, 50 * 20);
  const LayerView<T> layer{{weights.data(), 20 * sizeof(T), sizeof(T), 31, 20}, {bias.data(), sizeof(T)}, Activation::kSoftmax};
  const Network<T> network({layer});
  std::vector<T> actual(50 * 31), expected(50 * 31);
  const Rows<const T> rows{x.data(), 20 * sizeof(T), sizeof(T)};
  network.forward(rows, 50, {actual.data(), 31 * sizeof(T), sizeof(T)});
  dense<T>(rows, 50, layer.weights, layer.bias, layer.activation, {expected.data(), 31 * sizeof(T), sizeof(T)});
  check(same(actual, expected), kernels(), "network", sizeof(T));
}

int main(int argc, char** argv) {
  std::vector<std::string> names(argv + 1, argv + argc);
  emulated = !names.empty() && names.front() == "--emulated";
  if (emulated) names.erase(names.begin());
  std::size_t compared = 0;
  for (const KernelTable* table : supported_tables()) {
    std::printf("%s\n", table->target);
    test_half(*table);
    test_dot<Half>(*table), test_dot<float>(*table), test_dot<double>(*table);
    test_dense<Half>(*table), test_dense<float>(*table), test_dense<double>(*table);
    test_dense_lanes<Half>(*table), test_dense_lanes<float>(*table), test_dense_lanes<double>(*table);
    test_functions<Half>(*table), test_functions<float>(*table), test_functions<double>(*table);
    for (const std::string& name : names) compared += name == table->target;
  }
  test_network<Half>(), test_network<float>(), test_network<double>();
  if (compared != names.size()) failures++, std::printf("FAILED: a target named is not here\n");
  std::printf(failures == 0 ? "all equal\n" : "%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
