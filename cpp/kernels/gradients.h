// Gradients of a dense layer and of the activations.
//
// Order of summation of the outer product, the same on every target and for every shape: k in
// order, in blocks of 256; within a block each output is a chain of fmas from zero. Block sums are
// added as the tree of sum.h. The order does not depend on vector width, threads or layout. If
// machines shared a batch and returned the sums of whole subtrees, the total would have the bits of
// a single machine.
//
// Error bound for K steps: half an ULP of 1, times the sum of magnitudes |a b|, times (min(K, 256)
// + ceil(log2(ceil(K / 256)))).
//
// A tile keeps the sums of its rows and vectors of columns in registers. Each step takes one
// element of `a` per row, in all lanes, and one vector of b per vector of columns, without a
// shuffle.
//
// Zeros are never skipped: 0 x inf is NaN.
//
// Backpropagation: D. E. Rumelhart, G. E. Hinton and R. J. Williams, "Learning representations by
// back-propagating errors", 1986.
#pragma once

#include "dense.h"
#include "dot.h"

namespace nnkernels {
namespace {

constexpr std::size_t kStepBlock = 256;

// Vectors of columns and rows of a tile; together they fill the registers.
template <class Target>
constexpr std::size_t kOuterVectors = Target::kTileRows >= 6 ? 4 : 2;
template <class Target, std::size_t kVectors>
constexpr std::size_t kOuterRows = least(8, Target::kTileRows * 4 / kVectors);

// One block of steps of a tile. The last vector has `lanes` columns if kPartial, else all. Never
// inlined, like tile() of dense.h.
template <class Target, class C, std::size_t kRows, std::size_t kVectors, bool kPartial>
[[gnu::noinline]] void outer_tile(const C* a, std::ptrdiff_t a_step, std::ptrdiff_t a_row, const C* b, std::ptrdiff_t b_step,
                                  std::size_t steps, C* outputs, std::ptrdiff_t stride, std::size_t lanes) {
  using V = Lanes<Target, C>;
  constexpr std::size_t kWidth = kLanes<Target, C>;
  V sums[kRows][kVectors];
#pragma GCC unroll 8
  for (std::size_t row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) sums[row][v] = V{};
  }
  for (; steps > 0; --steps, a += a_step, b += b_step) {
    V columns[kVectors];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) {
      columns[v] =
          kPartial && v == kVectors - 1 ? V(Target::load_partial(b + v * kWidth, lanes, C(0))) : load<V>(b + v * kWidth);
      if (kRows > 1) keep(columns[v]);
    }
#pragma GCC unroll 8
    for (std::size_t row = 0; row < kRows; ++row) {
      const V x = broadcast<V>(a[static_cast<std::ptrdiff_t>(row) * a_row]);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) sums[row][v] = Target::fma(x, columns[v], sums[row][v]);
    }
  }
#pragma GCC unroll 8
  for (std::size_t row = 0; row < kRows; ++row, outputs += stride) {
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) {
      store_lanes<Target>(outputs + v * kWidth, sums[row][v], kPartial && v == kVectors - 1 ? lanes : kWidth);
    }
  }
}

// A tile of `rows` rows, at most kRows.
template <class Target, class C, std::size_t kRows, std::size_t kVectors, class... Arguments>
void outer_tile_of_rows(std::size_t rows, std::size_t lanes, Arguments... arguments) {
  if (rows == kRows) {
    if (lanes == kLanes<Target, C>) {
      outer_tile<Target, C, kRows, kVectors, false>(arguments..., lanes);
    } else {
      outer_tile<Target, C, kRows, kVectors, true>(arguments..., lanes);
    }
  } else if constexpr (kRows > 1) {
    outer_tile_of_rows<Target, C, kRows - 1, kVectors>(rows, lanes, arguments...);
  }
}

// The columns of a panel.
template <class Target, class C>
constexpr std::size_t kPanelColumns = kOuterVectors<Target>* kLanes<Target, C>;

// All rows of one block of steps, for `vectors` vectors of columns, at most kVectors. The last one
// has `lanes` columns.
template <class Target, class C, std::size_t kVectors = kOuterVectors<Target>>
void outer_rows(std::size_t vectors, std::size_t lanes, std::size_t rows, const C* a, std::ptrdiff_t a_step,
                std::ptrdiff_t a_row, const C* b, std::ptrdiff_t b_step, std::size_t steps, C* outputs, std::ptrdiff_t stride) {
  if (vectors == kVectors) {
    visit_tiles<kOuterRows<Target, kVectors>>(rows, [&](std::size_t, std::size_t row, std::size_t count) {
      const auto r = static_cast<std::ptrdiff_t>(row);
      outer_tile_of_rows<Target, C, kOuterRows<Target, kVectors>, kVectors>(count, lanes, a + r * a_row, a_step, a_row, b,
                                                                            b_step, steps, outputs + r * stride, stride);
    });
  } else if constexpr (kVectors > 1) {
    outer_rows<Target, C, kVectors - 1>(vectors, lanes, rows, a, a_step, a_row, b, b_step, steps, outputs, stride);
  }
}

// Whether to put rows instead of columns along the lanes, because they fill the vectors better.
template <class Target, class C>
bool is_across(const OuterProduct<C>& product) {
  const auto vectors = [](std::size_t n) { return (n + kLanes<Target, C> - 1) / kLanes<Target, C>; };
  // Cost of transposing the outputs, in steps.
  constexpr std::size_t kAcrossSteps = 8;
  return product.a_row == 1 && product.columns * vectors(product.rows) * (product.steps + kAcrossSteps) <
                                   product.rows * vectors(product.columns) * product.steps;
}

// The product with rows and columns exchanged. Its output [r][j] is at outputs[j * stride + r].
template <class C>
OuterProduct<C> exchanged(const OuterProduct<C>& product) {
  OuterProduct<C> other = product;
  other.a = product.b, other.a_step = product.b_step;
  other.b = product.a, other.b_step = product.a_step;
  other.rows = product.columns, other.columns = product.rows;
  return other;
}

// Whether to copy a block of b to adjacent rows. This pays if they are read often and do not fit in
// the L1 cache. With several blocks b is always copied, so that no lane of their sums is
// uninitialised.
template <class C>
bool copies_block(const OuterProduct<C>& product) {
  constexpr std::size_t kNearBytes = 16384, kOften = 24;
  const auto bytes = static_cast<std::size_t>(product.b_step) * least(product.steps, kStepBlock) * sizeof(C);
  return product.steps > kStepBlock || (product.rows >= kOften && bytes > kNearBytes);
}

// Partial sums held at once; 0 if a single block is summed directly in the outputs.
inline std::size_t count_subtrees(std::size_t steps, bool across) {
  const std::size_t blocks = (steps + kStepBlock - 1) / kStepBlock;
  std::size_t subtrees = across || blocks > 1 ? 1 : 0;
  for (std::size_t i = 1; i < blocks; i *= 2) ++subtrees;
  return subtrees;
}

template <class Target, class C>
std::size_t outer_scratch(const OuterProduct<C>& product) {
  const bool across = is_across<Target>(product);
  return kPanelColumns<Target, C> *
         (kStepBlock + count_subtrees(product.steps, across) * (across ? product.columns : product.rows));
}

// The panel of `columns` columns from `first` on, block by block, so that inputs stay in the
// L2 cache.
template <class Target, class C>
void outer_panel(const OuterProduct<C>& product, bool across, std::size_t first, std::size_t columns) {
  using V = Lanes<Target, C>;
  constexpr std::size_t kWidth = kLanes<Target, C>;
  const std::size_t vectors = (columns + kWidth - 1) / kWidth;
  const bool copies = copies_block(product);
  const bool direct = count_subtrees(product.steps, across) == 0;
  const auto panel_stride = static_cast<std::ptrdiff_t>(vectors * kWidth);
  const std::size_t size = product.rows * vectors * kWidth;
  C* const block_of_b = product.scratch;
  C* const subtrees = product.scratch + kStepBlock * kPanelColumns<Target, C>;  // consecutive, the tallest first
  C* const outputs = product.outputs + static_cast<std::ptrdiff_t>(first) * (across ? product.outputs_stride : 1);
  std::size_t count = 0;
  const auto merge = [&] {
    --count;
    C* const left = subtrees + (count - 1) * size;
    for (std::size_t i = 0; i < size; i += kWidth) store(left + i, V(load<V>(left + i) + load<V>(left + size + i)));
  };
  for (std::size_t k = 0, number = 0; k < product.steps; k += kStepBlock, ++number) {
    const std::size_t steps = least(kStepBlock, product.steps - k);
    const C* const a = product.a + static_cast<std::ptrdiff_t>(k) * product.a_step;
    const C* b = product.b + static_cast<std::ptrdiff_t>(k) * product.b_step + first;
    std::size_t lanes = columns - (vectors - 1) * kWidth;
    if (copies) {
      for (std::size_t step = 0; step < steps; ++step) {
        const C* const from = b + static_cast<std::ptrdiff_t>(step) * product.b_step;
        C* const to = block_of_b + step * vectors * kWidth;
        for (std::size_t i = 0; i < columns; i += kWidth) {
          store(to + i, load_lanes<Target>(from + i, least(kWidth, columns - i), C(0)));
        }
      }
      b = block_of_b;
      if (!direct) lanes = kWidth;
    }
    const std::ptrdiff_t b_step = copies ? panel_stride : product.b_step;
    outer_rows<Target, C>(vectors, lanes, product.rows, a, product.a_step, product.a_row, b, b_step, steps,
                          direct ? outputs : subtrees + count * size, direct ? product.outputs_stride : panel_stride);
    ++count;
    for (std::size_t digit = number; digit & 1; digit >>= 1) merge();
  }
  if (direct) return;
  while (count > 1) merge();
  const std::ptrdiff_t row_step = across ? 1 : product.outputs_stride;
  const std::ptrdiff_t column_step = across ? product.outputs_stride : 1;
  for (std::size_t row = 0; row < product.rows; ++row) {
    C* const to = outputs + static_cast<std::ptrdiff_t>(row) * row_step;
    for (std::size_t column = 0; column < columns; ++column) {
      to[static_cast<std::ptrdiff_t>(column) * column_step] = subtrees[row * vectors * kWidth + column];
    }
  }
}

template <class Target, class C>
void outer_panels(const OuterProduct<C>& product, bool across) {
  constexpr std::size_t kWidth = kLanes<Target, C>;
  const std::size_t vectors = (product.columns + kWidth - 1) / kWidth;
  visit_tiles<kOuterVectors<Target>>(vectors, [&](std::size_t, std::size_t v, std::size_t count) {
    outer_panel<Target, C>(product, across, v * kWidth, least(count * kWidth, product.columns - v * kWidth));
  });
}

template <class Target, class C>
void outer_product(const OuterProduct<C>& product) {
  if (product.rows == 0 || product.steps == 0) {  // a, b and the outputs may be null
    for (std::size_t row = 0; row < product.rows; ++row) {
      C* const outputs = product.outputs + static_cast<std::ptrdiff_t>(row) * product.outputs_stride;
      for (std::size_t column = 0; column < product.columns; ++column) outputs[column] = 0;
    }
    return;
  }
  if (is_across<Target>(product)) {
    outer_panels<Target, C>(exchanged(product), true);
  } else {
    outer_panels<Target, C>(product, false);
  }
}

// gradients[i] = function(outputs[i], gradients[i])
template <class Target, class C, class Function>
void map_gradients(const C* outputs, C* gradients, std::size_t n, Function function) {
  constexpr std::size_t kWidth = kLanes<Target, C>;
  for (std::size_t i = 0; i < n; i += kWidth) {
    const std::size_t lanes = least(kWidth, n - i);
    store_lanes<Target>(gradients + i,
                        Lanes<Target, C>(function(load_lanes<Target>(outputs + i, lanes, C(0)),
                                                  load_lanes<Target>(gradients + i, lanes, C(0)))),
                        lanes);
  }
}

// The derivative of each activation at x, from y = f(x). relu: 0 at 0, and 1 if y is NaN. Error at
// most an ULP of 1, caused by the rounding of y near 1.
template <class Target, class C>
void relu_gradient(const C* outputs, C* gradients, std::size_t n, double /*option*/) {
  using V = Lanes<Target, C>;
  map_gradients<Target>(outputs, gradients, n, [](V y, V g) { return y <= 0 ? V{} : g; });
}

template <class Target, class C>
void sigmoid_gradient(const C* outputs, C* gradients, std::size_t n, double /*option*/) {
  using V = Lanes<Target, C>;
  map_gradients<Target>(outputs, gradients, n, [](V y, V g) { return g * (y * (1 - y)); });
}

template <class Target, class C>
void tanh_gradient(const C* outputs, C* gradients, std::size_t n, double /*option*/) {
  using V = Lanes<Target, C>;
  map_gradients<Target>(outputs, gradients, n, [](V y, V g) { return g * Target::fma(-y, y, broadcast<V>(1)); });
}

template <class Target, class C>
void exp_gradient(const C* outputs, C* gradients, std::size_t n, double /*option*/) {
  using V = Lanes<Target, C>;
  map_gradients<Target>(outputs, gradients, n, [](V y, V g) { return g * y; });
}

// The derivatives of activations whose gradient is computed from their input z.
template <class Target, class C>
void leaky_relu_gradient(const C* inputs, C* gradients, std::size_t n, double option) {
  using V = Lanes<Target, C>;
  const V slope = broadcast<V>(static_cast<C>(option));
  map_gradients<Target>(inputs, gradients, n, [slope](V z, V g) { return z > 0 ? g : z == z ? g * slope : z; });
}

template <class Target, class C>
void elu_gradient(const C* inputs, C* gradients, std::size_t n, double option) {
  using V = Lanes<Target, C>;
  const V alpha = broadcast<V>(static_cast<C>(option));
  const Exp<Target, C> exponential;
  map_gradients<Target>(inputs, gradients, n, [=](V z, V g) { return z > 0 ? g : V(g * (alpha * exponential(z))); });
}

template <class Target, class C>
void silu_gradient(const C* inputs, C* gradients, std::size_t n, double /*option*/) {
  using V = Lanes<Target, C>;
  const Sigmoid<Target, C> sigmoid;
  map_gradients<Target>(inputs, gradients, n, [=](V z, V g) {
    const V x = within<Target>(kVanished<C>, z);
    const V s = sigmoid(x);
    return g * Target::fma(V(x * s), V(1 - s), s);
  });
}

template <class Target, class C>
void gelu_gradient(const C* inputs, C* gradients, std::size_t n, double /*option*/) {
  using V = Lanes<Target, C>;
  const Gelu<Target, C> gelu;
  map_gradients<Target>(inputs, gradients, n, [&](V z, V g) { return g * gelu.derivative(z); });
}

// With s = sigmoid(v) and v = 2 sqrt(2/pi) (z + 0.044715 z^3): s + z v' s (1 - s).
template <class Target, class C>
void gelu_tanh_gradient(const C* inputs, C* gradients, std::size_t n, double /*option*/) {
  using V = Lanes<Target, C>;
  using K = GeluConstants<C>;
  const Sigmoid<Target, C> sigmoid;
  map_gradients<Target>(inputs, gradients, n, [&](V z, V g) {
    const V x = within<Target>(K::kTanhEnd, z);
    const V y = Target::greater(broadcast<V>(kSquarable<C>), magnitude_of(x));
    const V s = sigmoid(times_sign_of<V>(x, gelu_tanh_argument<Target>(y).high));
    const V v = x * (K::kLinear[0] + (K::kLinear[1] + 3 * K::kCubic[0] * y * y));  // z v'
    return g * Target::fma(V(v * s), V(1 - s), s);
  });
}

template <class Target, class C>
void softplus_gradient(const C* inputs, C* gradients, std::size_t n, double /*option*/) {
  using V = Lanes<Target, C>;
  const Sigmoid<Target, C> sigmoid;
  map_gradients<Target>(inputs, gradients, n, [=](V z, V g) { return g * sigmoid(z); });
}

// g - e^y sum g, with the sum of dot.h.
template <class Target, class C>
void log_softmax_gradient(const C* outputs, C* gradients, std::size_t rows, std::size_t n) {
  using V = Lanes<Target, C>;
  static constexpr C kOne = 1;
  const Exp<Target, C> exponential;
  for (; rows > 0; --rows, outputs += n, gradients += n) {
    const V sum = broadcast<V>(dot<Target, C>({gradients, sizeof(C)}, {&kOne, 0}, n));
    map_gradients<Target>(outputs, gradients, n, [&](V y, V g) { return Target::fma(-sum, exponential(y), g); });
  }
}

// p (g - sum p g), with the sum of dot.h. Error, with u half an ULP of 1: 2 u p (|g| + sum p |g|),
// plus p times the error of dot.
template <class Target, class C>
void softmax_gradient(const C* outputs, C* gradients, std::size_t rows, std::size_t n) {
  using V = Lanes<Target, C>;
  constexpr auto kSize = static_cast<std::ptrdiff_t>(sizeof(C));
  for (; rows > 0; --rows, outputs += n, gradients += n) {
    const V sum = broadcast<V>(dot<Target, C>({outputs, kSize}, {gradients, kSize}, n));
    map_gradients<Target>(outputs, gradients, n, [sum](V p, V g) { return p * (g - sum); });
  }
}

}  // namespace
}  // namespace nnkernels
