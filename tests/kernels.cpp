// Compares the kernels of this machine's targets with plain loops and with `generic`, bit for bit:
//
//   kernels [--emulated] [target ...]
//
// Also fails if this machine cannot run one of the given targets. Needs no Python, so it can run
// under an emulator; with --emulated it tests fewer numbers.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <string>
#include <type_traits>
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

// The number of partial sums in kernels/sum.h.
template <class C>
constexpr std::size_t kPartialSums = 256 / sizeof(C);

// The sum of a block's partial sums, which it overwrites.
template <class C>
C plain_fold(C* sums) {
  for (std::size_t half = kPartialSums<C> / 2; half > 0; half /= 2) {
    for (std::size_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  return sums[0];
}

// The order of summation of kernels/dot.h and sum.h, as plain loops.
template <class C>
C plain_dot(const C* x, const C* weights, std::size_t n) {
  if (n < (sizeof(C) == 4 ? 32 : 8)) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum = std::fma(double{x[i]}, double{weights[i]}, sum);
    return static_cast<C>(sum);
  }
  std::vector<C> blocks;
  for (std::size_t block = 0; block < n; block += 1024) {
    C sums[kPartialSums<C>] = {};
    for (std::size_t i = block; i < n && i < block + 1024; ++i) {
      C& sum = sums[i % kPartialSums<C>];
      sum = std::fma(x[i], weights[i], sum);
    }
    blocks.push_back(plain_fold(sums));
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

  std::vector<C> packed(kernels.packed_size(outputs, inputs) + 1);  // never empty: null means not packed
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

// dense_lanes, with a row in each lane, and copy_rows to and from that layout.
template <class T>
void test_dense_lanes(const KernelTable& table, std::size_t outputs, std::size_t inputs, bool relu) {
  using C = Compute<T>;
  constexpr auto kSize = static_cast<std::ptrdiff_t>(sizeof(C));
  const Kernels<T>& kernels = table.of<T>();
  const std::size_t rows = kernels.lane_rows;
  const auto lanes_stride = static_cast<std::ptrdiff_t>(rows) * kSize;
  Random random;
  const std::size_t step = 2;  // between elements of x
  const auto x = widened(numbers<T>(random, rows * inputs * step));
  const auto weights = numbers<T>(random, outputs * inputs);
  const auto bias = widened(numbers<T>(random, outputs));
  std::vector<C> packed(kernels.packed_size(outputs, inputs) + 1);  // never empty
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
  if (!emulated) test_dense<T>(table, 131, 133, 1030);  // larger than the cache: groups of panels, each in two blocks
  for (std::size_t rows = 1; rows <= 14; ++rows) test_dense<T>(table, rows, 19, 13);
  for (std::size_t outputs = 1; outputs <= 40; ++outputs) test_dense<T>(table, 7, outputs, 9);
  for (std::size_t inputs = 0; inputs <= 20; ++inputs) test_dense<T>(table, 4, 11, inputs), test_dense<T>(table, 2, 11, inputs);
  for (std::size_t inputs : Sizes{511, 512, 513, 1023, 1024, 1025, 2049, 3000})
    test_dense<T>(table, 5, 9, inputs), test_dense<T>(table, 1, 9, inputs);
  // A single row: several panels at once, and the remaining panels.
  for (std::size_t outputs : Sizes{63, 64, 65, 95, 144, 200})
    test_dense<T>(table, 1, outputs, 7), test_dense<T>(table, 1, outputs, 1030);
  // Strides of weights that are a multiple of 4096 bytes, and others.
  for (std::size_t inputs : Sizes{512, 516, 1024}) {
    for (std::size_t rows : Sizes{1, 2, 6, 12, 13}) test_dense<T>(table, rows, 35, inputs);
  }
}

// The indices of n elements with stride `step`, at the start or the end of an array of `size`
// numbers.
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

// The step between tested lengths. Under an emulator it is 3, which still gives every remainder
// modulo a vector width, a power of 2.
static std::size_t length_step() { return emulated ? 3 : 1; }

// Tests an element-wise function with positive, negative and zero strides, up to the guard pages:
// its results, and that it writes nothing else.
template <class T>
void test_elements(const KernelTable& table, const NamedActivation& named, const std::vector<T>& all) {
  const auto& [name, activation, option] = named;
  const auto kernel = table.of<T>().of(activation);
  constexpr auto kSize = static_cast<std::ptrdiff_t>(sizeof(T));
  constexpr std::size_t kBeside = 70;  // numbers checked on each side of the output
  const Guarded<T> x(all.size()), y(all.size());
  for (std::size_t i = 0; i < x.size(); ++i) x.data()[i] = all[i % all.size()];
  std::vector<T> expected(x.size());
  generic.of<T>().of(activation)({x.data(), kSize}, {expected.data(), kSize}, x.size(), Stores::kCached, option);
  T untouched;
  std::memset(&untouched, 0x5a, sizeof untouched);

  constexpr std::ptrdiff_t kSteps[][2] = {{1, 1},  {2, 1},  {-1, 1}, {3, 1},   {-2, 1}, {0, 1},   {100, 1},
                                          {1, 2},  {1, -1}, {1, 3},  {1, -2},  {1, 0},  {1, 100}, {2, 2},
                                          {-1, 2}, {2, -1}, {3, 3},  {-1, -1}, {100, 2}};
  for (const auto& steps : kSteps) {
    for (std::size_t n = 0; n <= all.size(); n = n < 70 ? n + length_step() : n * 2 + 1) {
      if (n * static_cast<std::size_t>(std::max(std::abs(steps[0]), std::abs(steps[1]))) > all.size()) break;
      for (const auto& [at_end, stores] :
           {std::pair{false, Stores::kCached}, {true, Stores::kCached}, {true, Stores::kStreaming}}) {
        const Places from(x.size(), n, steps[0], at_end), to(y.size(), n, steps[1], at_end);
        T* const low = y.data() + to.low - std::min(to.low, kBeside);
        T* const high = y.data() + std::min(to.low + to.length + kBeside, y.size());
        std::fill(low, high, untouched);
        kernel({x.data() + from.first, steps[0] * kSize}, {y.data() + to.first, steps[1] * kSize}, n, stores, option);
        bool equal = true;
        for (std::size_t i = steps[1] == 0 && n > 0 ? n - 1 : 0; i < n; ++i) {  // with stride 0 only the last result stays
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

// Compares many rows, of which some targets compute several at once, with `generic` row by row;
// also in place.
template <class T>
void test_rowwise(const KernelTable& table, const char* name, typename Kernels<T>::Rowwise* Kernels<T>::*kernel,
                  const std::vector<T>& all) {
  for (std::size_t n = 0; n <= all.size(); n = n < 150 ? n + length_step() : n * 2 + 1) {
    for (std::size_t rows : Sizes{1, 2, 17, 35}) {
      for (std::size_t step : Sizes{1, 2, 3}) {
        if (rows * n * step > all.size()) continue;
        const auto element = static_cast<std::ptrdiff_t>(step * sizeof(T));
        const auto row = static_cast<std::ptrdiff_t>(n) * element;
        std::vector<T> expected(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(rows * n * step));
        std::vector<T> actual(expected.size() + 1, T{}), in_place(expected);
        if (step > 1) std::copy(expected.begin(), expected.end(), actual.begin());  // the gaps between elements
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
std::vector<T> random_bits(std::size_t n, std::uint64_t seed = 1) {
  Random random{seed};
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
  // Ordinary numbers; random bits; and stretches of ordinary numbers, random bits and zeros, so
  // that adjacent rows differ in kind.
  const auto ordinary = numbers<T>(random, most), any = random_bits<T>(most);
  auto both = ordinary;
  for (std::size_t i = 0; i < most; ++i) {
    if (i / 97 % 5 == 1) both[i] = any[i];
    if (i / 97 % 5 == 3) both[i] = T{};
  }
  for (const auto& all : {ordinary, any, both}) {
    for (const NamedActivation& activation : kElementwiseActivations) test_elements<T>(table, activation, all);
    test_rowwise<T>(table, "softmax", &K::softmax, all);
    test_rowwise<T>(table, "log_softmax", &K::log_softmax, all);
    for (std::size_t n : Sizes{0, 1, 2, 63, 64, 65, 1024, 1025, most}) {
      const Strided<const T> row{all.data(), sizeof(T)};
      check(same(table.of<T>().logsumexp(row, n), generic.of<T>().logsumexp(row, n)), table, "logsumexp", n, sizeof(T));
    }
  }
}

// --- Scale ---

// Strides of rows and of their elements, in elements.
struct RowSteps {
  std::ptrdiff_t row, element;
};

// Random bits, and numbers just beside the midpoint of two halves, which rounding to float and then
// to half would round wrongly.
template <class T>
std::vector<T> numbers_to_scale(std::size_t n) {
  std::vector<T> result = random_bits<T>(n);
  Random random;
  for (std::size_t i = 0; i < n; i += 2) {
    const double middle = 1 + static_cast<double>(2 * (random.bits() % 1024) + 1) * 0x1p-11;
    const double beside[] = {middle, middle + 0x1p-40, middle - 0x1p-40, random.number()};
    if constexpr (std::is_same_v<T, double>) result[i] = beside[random.bits() % 4];
    if constexpr (!std::is_same_v<T, double>) result[i] = numbers<T>(random, 1)[0];
  }
  return result;
}

template <class From, class T>
void test_scale(const KernelTable& table, void (*kernel)(const ScaleRows<From, T>&), std::size_t rows, std::size_t n,
                RowSteps from, RowSteps to) {
  const auto length = [&](RowSteps steps) {
    return rows * n == 0
               ? 0
               : (rows - 1) * static_cast<std::size_t>(steps.row) + (n - 1) * static_cast<std::size_t>(steps.element) + 1;
  };
  const auto place = [](RowSteps steps, std::size_t row, std::size_t i) {
    return row * static_cast<std::size_t>(steps.row) + i * static_cast<std::size_t>(steps.element);
  };
  const auto rows_of = [](auto* data, RowSteps steps) {
    constexpr auto kSize = static_cast<std::ptrdiff_t>(sizeof *data);
    return Rows<std::remove_pointer_t<decltype(data)>>{data, steps.row * kSize, steps.element * kSize};
  };
  const auto x = numbers_to_scale<From>(length(from));
  auto offset = random_bits<double>(n, 2), scale = random_bits<double>(n, 3);
  Random random{4};
  for (std::size_t i = 0; i < n; ++i) {
    if (i % 3 == 0) offset[i] = 0, scale[i] = i % 2 == 0 ? 1 : 0.5;
    if (i % 3 == 1) offset[i] = random.number(), scale[i] = random.number();
  }
  const auto wide = widened(x);
  for (const bool at_end : {false, true}) {
    const Window<From> input(0, {at_end, 0}, x);
    const Window<double> offsets(1, {at_end, 0}, offset), scales(2, {at_end, 0}, scale);
    Window<T> outputs(3, {at_end, 0}, length(to));
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t i = 0; i < n; ++i) {
        const double shifted = static_cast<double>(wide[place(from, row, i)]) - offset[i];
        outputs.expected(place(to, row, i)) = nearest<T>(shifted * scale[i]);
      }
    }
    kernel({rows_of(static_cast<const From*>(input.data()), from), rows_of(outputs.data(), to), rows, n, offsets.data(),
            scales.data()});
    check(outputs.as_expected() && input.as_expected() && offsets.as_expected() && scales.as_expected(), table,
          sizeof(From) == sizeof(T) ? "scale" : "scale_doubles", rows, n, sizeof(T));
    if constexpr (std::is_same_v<From, T>) {
      if (from.row != to.row || from.element != to.element) continue;
      Window<T> in_place(3, {at_end, 0}, x);
      for (std::size_t row = 0; row < rows; ++row) {
        for (std::size_t i = 0; i < n; ++i) in_place.expected(place(to, row, i)) = outputs.expected(place(to, row, i));
      }
      kernel({rows_of(static_cast<const T*>(in_place.data()), from), rows_of(in_place.data(), to), rows, n, offsets.data(),
              scales.data()});
      check(in_place.as_expected(), table, "scale in place", rows, n, sizeof(T));
    }
  }
}

template <class From, class T>
void test_scale(const KernelTable& table, void (*kernel)(const ScaleRows<From, T>&)) {
  const auto test = [&](std::size_t rows, std::size_t n) {
    const auto height = static_cast<std::ptrdiff_t>(rows), width = static_cast<std::ptrdiff_t>(n);
    const RowSteps beside{width, 1}, apart{width + 3, 1}, across{1, height}, strided{2 * width + 1, 2};
    for (const auto& [from, to] : {std::pair{beside, beside},
                                   {apart, apart},
                                   {beside, apart},
                                   {across, across},
                                   {beside, across},
                                   {across, beside},
                                   {strided, beside},
                                   {beside, strided},
                                   {strided, strided}}) {
      test_scale(table, kernel, rows, n, from, to);
    }
  };
  for (std::size_t n = 0; n <= 40; n += emulated ? 9 : 1) {
    for (std::size_t rows : Sizes{0, 1, 3, 33}) test(rows, n);
  }
  for (std::size_t n : Sizes{128, 129, 256, 784, 1025}) test(1, n), test(3, n);
  for (std::size_t rows : Sizes{300, 1030}) test(rows, 1), test(rows, 4);
}

template <class T>
void test_scale(const KernelTable& table) {
  test_scale(table, table.of<T>().scale);
  test_scale(table, table.of<T>().scale_doubles);
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
  // Between two halves, the midpoint and the floats next to it stand for all floats. Random floats,
  // too.
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

// --- Learning ---

// The order of summation of cross_entropy (kernels/sum.h), as plain loops.
template <class C>
C plain_sum(const std::vector<C>& terms) {
  std::vector<C> blocks;
  for (std::size_t block = 0; block < terms.size(); block += 1024) {
    C sums[kPartialSums<C>];
    for (std::size_t j = 0; j < kPartialSums<C>; ++j) {
      std::vector<C> of_j;
      for (std::size_t i = block + j; i < terms.size() && i < block + 1024; i += kPartialSums<C>) of_j.push_back(terms[i]);
      sums[j] = plain_tree(of_j, 0, of_j.size());
    }
    blocks.push_back(plain_fold(sums));
  }
  return plain_tree(blocks, 0, blocks.size());
}

// The order of summation of kernels/gradients.h, as plain loops.
template <class C>
C plain_outer(const OuterProduct<C>& product, std::size_t row, std::size_t column) {
  std::vector<C> blocks;
  for (std::size_t block = 0; block < product.steps; block += 256) {
    C sum = 0;
    for (std::size_t k = block; k < product.steps && k < block + 256; ++k) {
      const auto step = static_cast<std::ptrdiff_t>(k), r = static_cast<std::ptrdiff_t>(row);
      sum = std::fma(product.a[step * product.a_step + r * product.a_row],
                     product.b[step * product.b_step + static_cast<std::ptrdiff_t>(column)], sum);
    }
    blocks.push_back(sum);
  }
  return plain_tree(blocks, 0, blocks.size());
}

// `a` is contiguous along its rows or along its steps. There are `apart` numbers between the rows
// of b and of the outputs.
template <class C>
void test_outer_product(const KernelTable& table, std::size_t steps, std::size_t rows, std::size_t columns, bool rows_beside,
                        std::size_t apart) {
  Random random;
  const auto a = numbers<C>(random, steps * rows);
  const auto b = numbers<C>(random, steps == 0 ? 0 : (steps - 1) * (columns + apart) + columns);
  const std::size_t stride = columns + apart, length = (rows - 1) * stride + columns;
  OuterProduct<C> product{};
  product.a = a.data();
  product.a_step = rows_beside ? static_cast<std::ptrdiff_t>(rows) : 1;
  product.a_row = rows_beside ? 1 : static_cast<std::ptrdiff_t>(steps);
  product.b = b.data();
  product.b_step = product.outputs_stride = static_cast<std::ptrdiff_t>(stride);
  product.steps = steps;
  product.rows = rows;
  product.columns = columns;
  std::vector<C> expected;
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t column = 0; column < columns; ++column) expected.push_back(plain_outer(product, row, column));
  }
  for (const bool at_end : {false, true}) {
    const Place place{at_end, 0};
    const Window<C> a_window(0, place, a), b_window(1, place, b);
    Window<C> outputs(2, place, length);
    for (std::size_t i = 0; i < expected.size(); ++i) outputs.expected(i / columns * stride + i % columns) = expected[i];
    product.a = a_window.data();
    product.b = b_window.data();
    product.outputs = outputs.data();
    product.scratch = room<C>(3, place, table.learning<C>().outer_scratch(product));
    table.learning<C>().outer_product(product);
    check(outputs.as_expected() && a_window.as_expected() && b_window.as_expected(), table,
          rows_beside ? "outer_product, rows beside" : "outer_product, steps beside", steps, rows, columns);
  }
}

template <class C>
void test_outer_product(const KernelTable& table) {
  for (const bool rows_beside : {false, true}) {
    // All tiles, up to 8 rows and 4 vectors, and all remainders.
    for (std::size_t few = 1; few <= 18; few += emulated ? 7 : 1) {
      for (std::size_t many = 1; many <= 4 * 16 + 17; many += emulated ? 5 : 1) {
        test_outer_product<C>(table, 2, few, many, rows_beside, 0);
        test_outer_product<C>(table, 7, many, few, rows_beside, 2);
      }
    }
    // So many rows that a block of b is copied.
    for (std::size_t columns : Sizes{1, 40, 75}) {
      test_outer_product<C>(table, 65, 30, columns, rows_beside, 100);
      test_outer_product<C>(table, 300, 24, columns, rows_beside, 100);
    }
    // Blocks of steps.
    for (std::size_t steps : Sizes{0, 1, 2, 255, 256, 257, 511, 512, 513, 768, 769, 1024, 1300}) {
      test_outer_product<C>(table, steps, 1, 1, rows_beside, 1);
      test_outer_product<C>(table, steps, 3, 40, rows_beside, 1);
      test_outer_product<C>(table, steps, 40, 3, rows_beside, 0);
      if (!emulated) test_outer_product<C>(table, steps, 19, 70, rows_beside, 0);
    }
  }
}

// x, or 0 if its magnitude is below `least`.
template <class C>
C unless_below(C least, C x) {
  return std::abs(x) < least ? C(0) : x;
}

// The input of a loss kernel.
template <class C>
struct LossInput {
  std::size_t rows, n;
  std::vector<C> outputs;
  std::vector<std::int64_t> labels;  // either labels
  std::vector<C> targets;            // or targets
  C option;
  std::vector<C> factors;  // one per term

  // Row i alone, without a factor for its gradient.
  LossRows<C> row(std::size_t i) const {
    LossRows<C> view{};
    view.outputs = outputs.data() + i * n;
    view.rows = 1;
    view.n = n;
    view.labels = labels.empty() ? nullptr : labels.data() + i;
    view.targets = labels.empty() ? targets.data() + i * n : nullptr;
    view.option = option;
    view.factor = 1;
    return view;
  }
};

template <class C>
struct LossResult {
  std::vector<C> losses, gradients;
};

// Losses and gradients by `generic`, row by row.
template <class C>
LossResult<C> loss_of_rows(typename Learning<C>::Loss* Learning<C>::*kernel, const LossInput<C>& input) {
  const std::size_t terms = input.factors.size() / std::max<std::size_t>(input.rows, 1);
  LossResult<C> result{std::vector<C>(input.factors.size()), std::vector<C>(input.outputs.size())};
  for (std::size_t i = 0; i < input.rows; ++i) {
    LossRows<C> row = input.row(i);
    row.losses = result.losses.data() + i * terms;
    row.gradients = result.gradients.data() + i * input.n;
    (generic.learning<C>().*kernel)(row);
  }
  return result;
}

// Compares the kernel with the results row by row: with and without gradients, one factor or one
// per term, with and without a least gradient, up to the guard pages.
template <class C>
void test_loss_rows(const KernelTable& table, const char* name, typename Learning<C>::Loss* Learning<C>::*kernel,
                    const LossInput<C>& input, const LossResult<C>& expected) {
  constexpr C kFactor = C(-0.375), kLeast = C(0.125);
  const auto scaled = [&](C least, auto factor_of_term) {
    std::vector<C> gradients = expected.gradients;
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      const C factor = factor_of_term(input.factors.size() == input.rows ? i / input.n : i);
      gradients[i] = factor == 0 ? C(0) : unless_below(least, gradients[i] * factor);
    }
    return gradients;
  };
  const auto by_factor = scaled(kLeast, [&](std::size_t) { return kFactor; });
  const auto by_factors = scaled(0, [&](std::size_t term) { return input.factors[term]; });
  for (const bool at_end : {false, true}) {
    const Place place{at_end, 0};
    const Window<C> outputs(0, place, input.outputs), targets(1, place, input.targets), factors(2, place, input.factors);
    const Window<std::int64_t> labels(3, place, input.labels);
    LossRows<C> rows{};
    rows.outputs = outputs.data();
    rows.rows = input.rows;
    rows.n = input.n;
    rows.labels = input.labels.empty() ? nullptr : labels.data();
    rows.targets = input.labels.empty() ? targets.data() : nullptr;
    rows.option = input.option;
    rows.factor = kFactor;
    for (const std::vector<C>* gradients : {static_cast<const std::vector<C>*>(nullptr), &by_factor, &by_factors}) {
      Window<C> losses(4, place, input.factors.size()), gradient_window(5, place, input.outputs.size());
      losses.expect(expected.losses);
      if (gradients != nullptr) gradient_window.expect(*gradients);
      rows.losses = losses.data();
      rows.gradients = gradients != nullptr ? gradient_window.data() : nullptr;
      rows.factors = gradients == &by_factors ? factors.data() : nullptr;
      rows.smallest = gradients == &by_factor ? kLeast : 0;
      (table.learning<C>().*kernel)(rows);
      check(losses.as_expected() && gradient_window.as_expected(), table, name, input.rows, input.n, sizeof(C));
    }
    check(outputs.as_expected() && targets.as_expected() && factors.as_expected() && labels.as_expected(), table, name,
          input.rows, input.n);
  }
}

// Kinds of numbers: ordinary; larger, for confident rows; random bits; ordinary and special numbers
// mixed.
constexpr std::size_t kKinds = 4;

template <class C>
std::vector<C> numbers_of_kind(Random& random, std::size_t kind, std::size_t n) {
  if (kind == 2) return random_bits<C>(n, random.bits());
  std::vector<C> result = numbers<C>(random, n);
  for (C& value : result) {
    if (kind == 1) value *= 30;
    if (kind == 3 && random.bits() % 16 == 0) value = kSpecial<C>[random.bits() % std::size(kSpecial<C>)];
  }
  return result;
}

// Numbers in [0, 1], including 0 and 1.
template <class C>
std::vector<C> fractions(Random& random, std::size_t n) {
  std::vector<C> result = numbers<C>(random, n);
  for (C& value : result) value = std::min(std::max(value / 6 + C(0.5), C(0)), C(1));
  return result;
}

// Numbers of which a third are 0.
template <class C>
std::vector<C> any_factors(Random& random, std::size_t n) {
  std::vector<C> result = numbers<C>(random, n);
  for (C& value : result) {
    if (random.bits() % 3 == 0) value = 0;
  }
  return result;
}

// Whether long double is wider than C. On 32-bit ARM, with Microsoft's C++ and on Apple's ARM it is
// double.
template <class C>
constexpr bool kHasReference = std::numeric_limits<long double>::digits > std::numeric_limits<C>::digits;

// Compares with the formulas of kernels/losses.h as plain loops: losses bit for bit, gradients of
// finite rows within their bound.
template <class C>
void check_cross_entropy(const LossInput<C>& input, const LossResult<C>& result) {
  constexpr long double kHalfUlp = std::numeric_limits<C>::epsilon() / 2;
  const std::size_t n = input.n;
  const long double height = std::ceil(std::log2(static_cast<long double>(n)));
  for (std::size_t row = 0; row < input.rows; ++row) {
    const C* const z = input.outputs.data() + row * n;
    std::vector<C> log_p(n), t(n), terms(n);
    generic.of<C>().log_softmax({z, 0, sizeof(C)}, {log_p.data(), 0, sizeof(C)}, 1, n);
    const C off = input.option / static_cast<C>(n), scale = 1 - input.option;
    for (std::size_t i = 0; i < n; ++i) {
      t[i] = !input.labels.empty() ? (static_cast<std::int64_t>(i) == input.labels[row] ? scale + off : off)
                                   : input.targets[row * n + i] * scale + off;
      terms[i] = t[i] == 0 ? C(0) : 0 - t[i] * log_p[i];
    }
    const bool exact = !input.labels.empty() && input.option == 0;
    const C loss = exact ? 0 - log_p[static_cast<std::size_t>(input.labels[row])] : plain_sum(terms);
    check(same(result.losses[row], loss), generic, "cross_entropy", row, n, sizeof(C));

    if (!kHasReference<C> || !std::all_of(z, z + n, [](C x) { return std::abs(x) < 1000; })) continue;
    const auto label = std::max_element(z, z + n) - z;
    long double total = 0, others = 0;
    for (std::size_t i = 0; i < n; ++i) {
      total += t[i];
      if (static_cast<std::ptrdiff_t>(i) != label) others += std::exp(static_cast<long double>(z[i]) - z[label]);
    }
    if (!input.labels.empty()) total = 1;
    for (std::size_t i = 0; i < n; ++i) {
      const bool largest = static_cast<std::ptrdiff_t>(i) == label;
      const long double p = std::exp(static_cast<long double>(z[i]) - z[label]) / (1 + others);
      const long double q = largest ? others / (1 + others) : 1 - p;
      const long double gradient = largest ? (total - t[i]) - total * q : total * p - t[i];
      const long double bound =
          exact ? (height + 7) * std::abs(gradient) : (height + 7) * total * std::min(p, q) + (height + 2) * (total + t[i]);
      check(std::abs(static_cast<long double>(result.gradients[row * n + i]) - gradient) <=
                bound * kHalfUlp + std::numeric_limits<C>::denorm_min(),
            generic, "gradient of cross_entropy", row, i, n);
    }
  }
}

template <class C>
void test_cross_entropy(const KernelTable& table) {
  Random random;
  const auto test = [&](std::size_t rows, std::size_t n) {
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
      for (const C smoothing : {C(0), C(0.125)}) {
        for (const bool by_label : {true, false}) {
          if (by_label && n == 0) continue;
          LossInput<C> input{
              rows, n, numbers_of_kind<C>(random, kind, rows * n), {}, {}, smoothing, any_factors<C>(random, rows)};
          for (std::size_t row = 0; by_label && row < rows; ++row)
            input.labels.push_back(static_cast<std::int64_t>(random.bits() % n));
          if (!by_label) input.targets = fractions<C>(random, rows * n);
          const auto expected = loss_of_rows(&Learning<C>::cross_entropy, input);
          if (&table == &generic) check_cross_entropy(input, expected);
          test_loss_rows(table, "cross_entropy, rows", &Learning<C>::cross_entropy, input, expected);
        }
      }
    }
  };
  const std::size_t step = emulated ? 9 : 1;
  for (std::size_t n : Sizes{1, 2, 10, 31, 32}) {
    for (std::size_t rows = 1; rows <= 33; rows += step) test(rows, n);
  }
  for (std::size_t n : Sizes{0, 33, 100, 1025}) test(1, n), test(3, n);
  for (std::size_t n = 34; n < 34 + 64; n += step) test(1, n);
}

// Rows whose infinities and labels determine the loss.
template <class C>
void test_special_rows(const KernelTable& table) {
  constexpr C kInfinity = std::numeric_limits<C>::infinity();
  constexpr C kNaN = std::numeric_limits<C>::quiet_NaN();
  for (std::size_t n : Sizes{3, 32, 33, 100}) {
    // The first two numbers of a row, the rest, the loss of label 0, and whether its gradient is
    // finite.
    struct Row {
      C first, second, rest, loss;
      bool finite;
    };
    const C huge = std::numeric_limits<C>::max();
    for (const Row& row : {Row{0, -kInfinity, -kInfinity, 0, true}, Row{-kInfinity, 0, 0, kInfinity, true},
                           Row{-kInfinity, -kInfinity, -kInfinity, kNaN, false}, Row{kInfinity, 0, 0, kNaN, false},
                           Row{0, kInfinity, 0, kNaN, false}, Row{0, kNaN, 0, kNaN, false}, Row{kNaN, 0, 0, kNaN, false},
                           Row{huge, -huge, -huge, 0, true}, Row{-huge, huge, -huge, kInfinity, true}}) {
      std::vector<C> z(n, row.rest), gradient(n), factors{0};
      z[0] = row.first;
      z[1] = row.second;
      const std::int64_t label = 0;
      C loss = 77;
      LossRows<C> rows{z.data(), 1, n, &label, nullptr, 0, &loss, gradient.data(), nullptr, 1, 0};
      table.learning<C>().cross_entropy(rows);
      check(same(loss, row.loss), table, "loss of a special row", n, sizeof(C));
      check(std::all_of(gradient.begin(), gradient.end(), [&](C g) { return row.finite ? std::abs(g) <= 1 : is_nan(g); }),
            table, "gradient of a special row", n, sizeof(C));
      rows.factors = factors.data();
      table.learning<C>().cross_entropy(rows);
      check(same(gradient, std::vector<C>(n)), table, "gradient of a special row that does not count", n, sizeof(C));
    }
  }
}

// The loss of an output and its derivative, computed plainly from the table's exponential.
template <class C>
struct PlainLoss {
  C loss, derivative;
};

template <class C>
C plain_exp(C x) {
  C result;
  generic.of<C>().of(Activation::kExp)({&x, sizeof(C)}, {&result, sizeof(C)}, 1, Stores::kCached, 0);
  return result;
}

template <class C>
PlainLoss<C> plain_squared_error(C z, C y, C) {
  return {(z - y) * (z - y), 2 * (z - y)};
}

template <class C>
PlainLoss<C> plain_absolute_error(C z, C y, C) {
  const C d = z - y;
  return {std::abs(d), d > 0 ? C(1) : d < 0 ? C(-1) : d};
}

template <class C>
PlainLoss<C> plain_huber(C z, C y, C delta) {
  const C d = z - y;
  if (std::abs(d) <= delta) return {d * d * C(0.5), d};
  return {delta * (std::abs(d) - delta * C(0.5)), d > 0 ? delta : d < 0 ? -delta : d};
}

template <class C>
PlainLoss<C> plain_poisson(C z, C y, C) {
  const C e = plain_exp(z);
  return {y == 0 ? e : std::fma(-y, z, e), e - y};
}

template <class C>
void check_binary_cross_entropy(const LossInput<C>& input, const LossResult<C>& result) {
  for (std::size_t i = 0; i < input.outputs.size(); ++i) {
    const long double z = input.outputs[i], y = input.targets[i], w = input.option;
    if (!(std::abs(z) < 5000)) continue;
    const long double negative = 1 - y, positive = w * y, log = std::log1p(std::exp(-std::abs(z)));
    const long double loss = negative * (std::max(z, 0.0L) + log) + positive * (std::max(-z, 0.0L) + log);
    const long double up = negative / (1 + std::exp(-z)), down = positive / (1 + std::exp(z));
    constexpr long double kUlp = std::numeric_limits<C>::epsilon(), kTiniest = std::numeric_limits<C>::denorm_min();
    const long double least = (4 + w) * kTiniest;
    check(std::abs(result.losses[i] - loss) <= 4 * kUlp * loss + least, generic, "binary_cross_entropy", i, sizeof(C));
    check(std::abs(result.gradients[i] - (up - down)) <= 5 * kUlp * (up + down) + least, generic,
          "derivative of binary_cross_entropy", i, sizeof(C));
  }
}

// Tests a loss of single outputs. plain(z, y, option) is the expected result; plain may be null.
template <class C>
void test_loss(const KernelTable& table, const char* name, typename Learning<C>::Loss* Learning<C>::*kernel,
               std::vector<C> (*targets)(Random&, std::size_t), C option, PlainLoss<C> (*plain)(C, C, C)) {
  Random random;
  for (std::size_t kind = 0; kind < kKinds; ++kind) {
    for (std::size_t n : {std::size_t{0}, std::size_t{1000}}) {
      for (std::size_t rows = n == 0 ? 0 : 1; rows <= (n == 0 ? 33 : 1); ++rows) {
        const std::size_t columns = n == 0 ? 1 : n;
        const LossInput<C> input{rows,
                                 columns,
                                 numbers_of_kind<C>(random, kind, rows * columns),
                                 {},
                                 targets(random, rows * columns),
                                 option,
                                 any_factors<C>(random, rows * columns)};
        const auto expected = loss_of_rows(kernel, input);
        for (std::size_t i = 0; plain != nullptr && i < expected.losses.size(); ++i) {
          const PlainLoss<C> loss = plain(input.outputs[i], input.targets[i], option);
          check(same(expected.losses[i], loss.loss) && same(expected.gradients[i], loss.derivative), generic, name, i,
                sizeof(C));
        }
        if (kHasReference<C> && plain == nullptr && &table == &generic) check_binary_cross_entropy(input, expected);
        test_loss_rows(table, name, kernel, input, expected);
      }
    }
  }
}

template <class C>
void test_losses(const KernelTable& table) {
  using L = Learning<C>;
  test_cross_entropy<C>(table);
  test_special_rows<C>(table);
  const auto any = [](Random& random, std::size_t n) { return numbers_of_kind<C>(random, 3, n); };
  for (const C option : {C(1), C(0.375), C(20)}) {
    test_loss<C>(table, "binary_cross_entropy", &L::binary_cross_entropy, fractions<C>, option, nullptr);
    test_loss<C>(table, "huber", &L::huber, any, option, plain_huber<C>);
  }
  test_loss<C>(table, "squared_error", &L::squared_error, any, 0, plain_squared_error<C>);
  test_loss<C>(table, "absolute_error", &L::absolute_error, any, 0, plain_absolute_error<C>);
  test_loss<C>(table, "poisson", &L::poisson, any, 0, plain_poisson<C>);
}

// Tests an activation's gradient in place, up to the guard pages. function(y, g) is the expected
// gradient.
template <class C, class Function>
void test_activation_gradient(const KernelTable& table, const char* name, typename Learning<C>::ActivationGradient* kernel,
                              Function function, double option = 0) {
  Random random;
  for (std::size_t n = 0; n <= 34; ++n) {
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
      const auto y = numbers_of_kind<C>(random, kind, n), g = numbers_of_kind<C>(random, kind, n);
      std::vector<C> expected(n);
      for (std::size_t i = 0; i < n; ++i) expected[i] = function(y[i], g[i]);
      for (const bool at_end : {false, true}) {
        const Window<C> outputs(0, {at_end, 0}, y);
        Window<C> gradients(1, {at_end, 0}, g);
        gradients.expect(expected);
        kernel(outputs.data(), gradients.data(), n, option);
        check(gradients.as_expected() && outputs.as_expected(), table, name, n, sizeof(C));
      }
    }
  }
}

template <class C>
void test_activation_gradients(const KernelTable& table) {
  const Learning<C>& kernels = table.learning<C>();
  test_activation_gradient<C>(table, "relu_gradient", kernels.of(Activation::kRelu),
                              [](C y, C g) { return y <= 0 ? C(0) : g; });
  test_activation_gradient<C>(table, "sigmoid_gradient", kernels.of(Activation::kSigmoid),
                              [](C y, C g) { return g * (y * (1 - y)); });
  test_activation_gradient<C>(table, "tanh_gradient", kernels.of(Activation::kTanh),
                              [](C y, C g) { return g * std::fma(-y, y, C(1)); });
  for (const auto& [name, activation, option] : kElementwiseActivations) {  // compared with `generic`, one by one
    test_activation_gradient<C>(
        table, name, kernels.of(activation),
        [kernel = generic.learning<C>().of(activation), option = option](C value, C g) {
          kernel(&value, &g, 1, option);
          return g;
        },
        option);
  }
  Random random;
  for (std::size_t n : Sizes{0, 1, 2, 7, 8, 31, 32, 33, 100, 1025}) {
    for (std::size_t rows : Sizes{1, 3}) {
      for (std::size_t kind = 0; kind < kKinds; ++kind) {
        const auto p = numbers_of_kind<C>(random, kind, rows * n), g = numbers_of_kind<C>(random, kind, rows * n);
        std::vector<C> expected(rows * n);
        for (std::size_t i = 0; i < rows * n; ++i) {
          const std::size_t row = i / n * n;
          expected[i] = p[i] * (g[i] - plain_dot(p.data() + row, g.data() + row, n));
        }
        for (const bool at_end : {false, true}) {
          const Window<C> outputs(0, {at_end, 0}, p);
          Window<C> gradients(1, {at_end, 0}, g);
          gradients.expect(expected);
          kernels.softmax_gradient(outputs.data(), gradients.data(), rows, n);
          check(gradients.as_expected() && outputs.as_expected(), table, "softmax_gradient", rows, n, sizeof(C));
        }
      }
    }
  }
}

// Limits below which kernels/optimizers.h takes numbers as 0: kLeastSquare for second moments,
// kLeastRoot for gradients to be squared, kLeastGradient for other gradients and moments.
template <class C>
constexpr C kLeastSquare = static_cast<C>(sizeof(C) == 4 ? 0x1p-126 : 0x1p-1022);
template <class C>
constexpr C kLeastRoot = static_cast<C>(sizeof(C) == 4 ? 0x1p-57 : 0x1p-500);

// Ordinary and special numbers, at the magnitudes of these limits.
template <class C>
std::vector<C> numbers_about_the_least(Random& random, std::size_t n) {
  std::vector<C> result = numbers_of_kind<C>(random, 3, n);
  constexpr C kScales[] = {1, kLeastGradient<C>, kLeastSquare<C>, kLeastRoot<C>};
  for (C& value : result) value *= kScales[random.bits() % 4];
  return result;
}

// The arrays that an optimizer changes: parameters and moments.
template <class C>
using Parameters = std::vector<std::vector<C>>;

// Checks run(parameters, gradient), with the arrays up to the guard pages.
template <class C, class Run>
void check_step(const KernelTable& table, const char* name, const Parameters<C>& before, const std::vector<C>& gradient,
                const Parameters<C>& after, Run run) {
  for (const bool at_end : {false, true}) {
    const Window<C> gradient_window(0, {at_end, 0}, gradient);
    std::vector<Window<C>> windows;
    std::vector<C*> data;
    for (std::size_t i = 0; i < before.size(); ++i) {
      windows.emplace_back(i + 1, Place{at_end, 0}, before[i]);
      windows.back().expect(after[i]);
      data.push_back(windows.back().data());
    }
    run(data, gradient_window.data());
    check(gradient_window.as_expected(), table, name, gradient.size(), sizeof(C));
    for (const Window<C>& window : windows) check(window.as_expected(), table, name, gradient.size(), sizeof(C));
  }
}

template <class C>
void test_sgd(const KernelTable& table, std::size_t n, C momentum, bool nesterov, C decay) {
  Random random;
  constexpr C kRate = C(0.0625);
  const auto gradient = numbers_about_the_least<C>(random, n);
  Parameters<C> before{numbers_about_the_least<C>(random, n)};
  if (momentum != 0) before.push_back(numbers_about_the_least<C>(random, n));
  Parameters<C> after = before;
  for (std::size_t i = 0; i < n; ++i) {
    C& p = after[0][i];
    const C g = std::fma(decay, p, unless_below(kLeastGradient<C>, gradient[i]));
    C direction = g;
    if (momentum != 0) {
      C& v = after[1][i];
      v = unless_below(kLeastGradient<C>, std::fma(momentum, v, g));
      direction = nesterov ? std::fma(momentum, v, g) : v;
    }
    p = unless_below(kLeastGradient<C>, std::fma(-kRate, direction, p));
  }
  check_step<C>(table, "sgd", before, gradient, after, [&](const std::vector<C*>& data, const C* g) {
    table.learning<C>().sgd({data[0], momentum != 0 ? data[1] : nullptr, g, n, kRate, momentum, decay, nesterov});
  });
}

template <class C>
void test_adam(const KernelTable& table, std::size_t n, C decay, C shrink) {
  Random random;
  AdamStep<C> step{};
  step.n = n;
  step.rate = C(0.0625), step.root_scale = C(1.5), step.rest_1 = C(0.1), step.rest_2 = C(0.001);
  step.epsilon = C(1e-8), step.decay = decay, step.shrink = shrink;
  const auto gradient = numbers_about_the_least<C>(random, n);
  Parameters<C> before{numbers_about_the_least<C>(random, n), numbers_about_the_least<C>(random, n),
                       numbers_about_the_least<C>(random, n)};
  for (C& square : before[2]) square = std::abs(square);
  Parameters<C> after = before;
  for (std::size_t i = 0; i < n; ++i) {
    C &p = after[0][i], &m = after[1][i], &v = after[2][i];
    const C g = std::fma(decay, p, unless_below(kLeastGradient<C>, gradient[i]));
    const C root = unless_below(kLeastRoot<C>, g);
    m = unless_below(kLeastGradient<C>, std::fma(step.rest_1, g - m, m));
    v = unless_below(kLeastSquare<C>, std::fma(step.rest_2, std::fma(root, root, -v), v));
    const C quotient = v == 0 ? C(0) : m / std::fma(std::sqrt(v), step.root_scale, step.epsilon);
    p = unless_below(kLeastGradient<C>, std::fma(-step.rate, quotient, shrink * p));
  }
  check_step<C>(table, "adam", before, gradient, after, [&](const std::vector<C*>& data, const C* g) {
    step.parameters = data[0], step.first_moment = data[1], step.second_moment = data[2], step.gradient = g;
    table.learning<C>().adam(step);
  });
}

template <class C>
void test_optimizers(const KernelTable& table) {
  for (std::size_t n = 0; n <= 1000; n = n < 34 ? n + 1 : n * 4) {
    for (const C decay : {C(0), C(0.25)}) {
      test_sgd<C>(table, n, 0, false, decay);
      test_sgd<C>(table, n, C(0.875), false, decay);
      test_sgd<C>(table, n, C(0.875), true, decay);
      test_adam<C>(table, n, decay, 1);
    }
    test_adam<C>(table, n, 0, C(0.75));
  }
}

// A label that another thread changed after the check must not cause a read outside its row.
template <class C>
void test_changed_label(const KernelTable& table) {
  std::vector<C> z(40);
  for (std::size_t i = 0; i < z.size(); ++i) z[i] = static_cast<C>(i) / 8;
  const auto loss_of = [&](std::int64_t label) {
    C loss;
    LossRows<C> rows{};
    rows.outputs = z.data();
    rows.rows = 1;
    rows.n = z.size();
    rows.labels = &label;
    rows.losses = &loss;
    table.learning<C>().cross_entropy(rows);
    return loss;
  };
  for (const std::int64_t label : {std::int64_t{40}, std::int64_t{1} << 50, std::int64_t{-1}}) {
    check(same(loss_of(label), loss_of(39)), table, "cross_entropy of a changed label", sizeof(C));
  }
}

// `generic` needs a correct fma in the C library. These results are wrong if fma rounds twice,
// first to 53 or 64 bits.
static void test_fma() {
  volatile double small = 0x1p-53, near_one = 1 + 0x1p-52;
  check(std::fma(small, near_one, 1.0) == 1 + 0x1p-52, generic, "the C library's fma", sizeof(double));
  volatile double x = 0x1.aac69d59443a7p+52, y = 0x1.ac15e436fcbe9p+52;  // the product is one unit below a midpoint
  check(std::fma(x, y, 0.5) == 0x1.64d446e85ae31p+105, generic, "the C library's fma", sizeof(double));
  volatile float above = 0x1p-24f * (1 + 0x1p-23f), below = 1 - 0x1p-23f;
  check(std::fma(above, below, 1 + 0x1p-23f) == 1 + 0x1p-23f, generic, "the C library's fma", sizeof(float));
}

template <class C>
void test_learning(const KernelTable& table) {
  test_changed_label<C>(table);
  test_outer_product<C>(table);
  test_losses<C>(table);
  test_activation_gradients<C>(table);
  test_optimizers<C>(table);
}

int main(int argc, char** argv) {
  std::vector<std::string> names(argv + 1, argv + argc);
  emulated = !names.empty() && names.front() == "--emulated";
  if (emulated) names.erase(names.begin());
  std::size_t compared = 0;
  test_fma();
  for (const KernelTable* table : supported_tables()) {
    std::printf("%s\n", table->target);
    test_half(*table);
    test_dot<Half>(*table), test_dot<float>(*table), test_dot<double>(*table);
    test_dense<Half>(*table), test_dense<float>(*table), test_dense<double>(*table);
    test_dense_lanes<Half>(*table), test_dense_lanes<float>(*table), test_dense_lanes<double>(*table);
    test_functions<Half>(*table), test_functions<float>(*table), test_functions<double>(*table);
    test_scale<Half>(*table), test_scale<float>(*table), test_scale<double>(*table);
    test_learning<float>(*table), test_learning<double>(*table);
    for (const std::string& name : names) compared += name == table->target;
  }
  test_network<Half>(), test_network<float>(), test_network<double>();
  if (compared != names.size()) failures++, std::printf("FAILED: a target named is not here\n");
  std::printf(failures == 0 ? "all equal\n" : "%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
