// Gradients of a dense layer and of the activations.
//
// Order of summation of the outer product, the same on every target and for every shape: each output is a chain of fmas from
// zero, over k in order, in blocks of 256; the sums of blocks are added as the tree of sum.h. No width, thread or layout shows
// in it. So machines that each have a part of a batch can return the sums of whole subtrees, and the total has one machine's
// bits.
//
// Error bound for K steps: half an ULP of 1, times the sum of magnitudes |a b|, times min(K, 256) + ceil(log2(ceil(K / 256))).
//
// A tile of rows and vectors of columns has its sums in registers. Each step takes one element of `a` for each row, in all
// lanes, and a vector of b for each vector of columns, without a shuffle.
//
// Zeros are never skipped: 0 x inf is NaN.
//
// Backpropagation: D. E. Rumelhart, G. E. Hinton and R. J. Williams, "Learning representations by back-propagating errors",
// 1986.
#pragma once

#include "dense.h"
#include "dot.h"

namespace nnkernels {
namespace {

constexpr std::size_t kStepBlock = 256;

// Columns of a tile, in vectors, and its rows: together they fill the registers.
template <class Target>
constexpr std::size_t kOuterVectors = Target::kTileRows >= 6 ? 4 : 2;
template <class Target, std::size_t kVectors>
constexpr std::size_t kOuterRows = least(8, Target::kTileRows * 4 / kVectors);

// One block of steps of a tile, whose last vector has `lanes` columns, all of them unless kPartial. Never inlined, as tile() of
// dense.h.
template <class Target, class C, std::size_t kRows, std::size_t kVectors, bool kPartial>
[[gnu::noinline]] void outer_tile(const OuterProduct<C>& product, std::size_t lanes) {
  using V = Lanes<Target, C>;
  constexpr std::size_t kWidth = kLanes<Target, C>;
  V sums[kRows][kVectors];
#pragma GCC unroll 8
  for (std::size_t row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) sums[row][v] = V{};
  }
  const std::ptrdiff_t a_step = product.a_step, a_row = product.a_row, b_step = product.b_step;
  const C* a = product.a;
  const C* b = product.b;
  for (std::size_t k = product.steps; k > 0; --k, a += a_step, b += b_step) {
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
  for (std::size_t row = 0; row < kRows; ++row) {
    C* outputs = product.outputs + static_cast<std::ptrdiff_t>(row) * product.outputs_stride;
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) {
      store_lanes<Target>(outputs + v * kWidth, sums[row][v], kPartial && v == kVectors - 1 ? lanes : kWidth);
    }
  }
}

// A tile of so many rows, at most kRows.
template <class Target, class C, std::size_t kRows, std::size_t kVectors>
void outer_tile_of_rows(const OuterProduct<C>& product, std::size_t lanes) {
  if (product.rows == kRows) {
    if (lanes == kLanes<Target, C>) {
      outer_tile<Target, C, kRows, kVectors, false>(product, lanes);
    } else {
      outer_tile<Target, C, kRows, kVectors, true>(product, lanes);
    }
  } else if constexpr (kRows > 1) {
    outer_tile_of_rows<Target, C, kRows - 1, kVectors>(product, lanes);
  }
}

// The columns of a panel.
template <class Target, class C>
constexpr std::size_t kPanelColumns = kOuterVectors<Target>* kLanes<Target, C>;

// All rows of one block of steps, for so many vectors of columns, at most kVectors.
template <class Target, class C, std::size_t kVectors = kOuterVectors<Target>>
void outer_rows(const OuterProduct<C>& product, std::size_t vectors) {
  if (vectors == kVectors) {
    visit_tiles<kOuterRows<Target, kVectors>>(product.rows, [&](std::size_t, std::size_t row, std::size_t count) {
      OuterProduct<C> tile = product;
      tile.a += static_cast<std::ptrdiff_t>(row) * product.a_row;
      tile.outputs += static_cast<std::ptrdiff_t>(row) * product.outputs_stride;
      tile.rows = count;
      outer_tile_of_rows<Target, C, kOuterRows<Target, kVectors>, kVectors>(
          tile, product.columns - (kVectors - 1) * kLanes<Target, C>);
    });
  } else if constexpr (kVectors > 1) {
    outer_rows<Target, C, kVectors - 1>(product, vectors);
  }
}

// Which side of the product lies along the lanes: its columns, or its rows if they fill the vectors better.
template <class C>
struct Orientation {
  OuterProduct<C> product;
  bool across;  // [r][j] of the product is at outputs[j * stride + r]
};

template <class Target, class C>
Orientation<C> orient(const OuterProduct<C>& product) {
  const auto vectors = [](std::size_t n) { return (n + kLanes<Target, C> - 1) / kLanes<Target, C>; };
  // Cost of transposing the outputs, in steps.
  constexpr std::size_t kAcrossSteps = 8;
  if (product.a_row != 1 || product.columns * vectors(product.rows) * (product.steps + kAcrossSteps) >=
                                product.rows * vectors(product.columns) * product.steps) {
    return {product, false};
  }
  OuterProduct<C> other = product;
  other.a = product.b, other.a_step = product.b_step;
  other.b = product.a, other.b_step = product.a_step;
  other.rows = product.columns, other.columns = product.rows;
  return {other, true};
}

// Whether to copy a block of b, so that its rows are adjacent: it pays if they are read often and would not stay in the first
// cache. Several blocks are always copied, so that no lane of their sums holds what nobody wrote.
template <class C>
bool copies_block(const OuterProduct<C>& product) {
  constexpr std::size_t kNearBytes = 16384, kOften = 24;
  const auto bytes = static_cast<std::size_t>(product.b_step) * least(product.steps, kStepBlock) * sizeof(C);
  return product.steps > kStepBlock || (product.rows >= kOften && bytes > kNearBytes);
}

// Partial sums held at once; 0 if the only block is summed in the outputs.
template <class C>
std::size_t count_subtrees(const Orientation<C>& oriented) {
  const std::size_t blocks = (oriented.product.steps + kStepBlock - 1) / kStepBlock;
  std::size_t subtrees = oriented.across || blocks > 1 ? 1 : 0;
  for (std::size_t i = 1; i < blocks; i *= 2) ++subtrees;
  return subtrees;
}

template <class Target, class C>
std::size_t outer_scratch(const OuterProduct<C>& product) {
  const Orientation<C> oriented = orient<Target, C>(product);
  return kPanelColumns<Target, C> * (kStepBlock + count_subtrees(oriented) * oriented.product.rows);
}

// A panel of columns, block after block, so that what is read stays in the second cache.
template <class Target, class C>
void outer_panel(const Orientation<C>& oriented, std::size_t vectors) {
  using V = Lanes<Target, C>;
  constexpr std::size_t kWidth = kLanes<Target, C>;
  const OuterProduct<C>& product = oriented.product;
  const bool copies = copies_block(product);
  const bool direct = count_subtrees(oriented) == 0;
  const std::size_t stride = vectors * kWidth, size = product.rows * stride;
  C* const block_of_b = product.scratch;
  C* const subtrees = product.scratch + kStepBlock * kPanelColumns<Target, C>;  // one behind the other, the highest first
  std::size_t count = 0;
  const auto merge = [&] {
    --count;
    C* const left = subtrees + (count - 1) * size;
    for (std::size_t i = 0; i < size; i += kWidth) store(left + i, V(load<V>(left + i) + load<V>(left + size + i)));
  };
  for (std::size_t k = 0, number = 0; k < product.steps; k += kStepBlock, ++number) {
    OuterProduct<C> block = product;
    block.steps = least(kStepBlock, product.steps - k);
    block.a += static_cast<std::ptrdiff_t>(k) * product.a_step;
    block.b += static_cast<std::ptrdiff_t>(k) * product.b_step;
    if (copies) {
      for (std::size_t step = 0; step < block.steps; ++step) {
        const C* const from = block.b + static_cast<std::ptrdiff_t>(step) * product.b_step;
        for (std::size_t i = 0; i < product.columns; i += kWidth) {
          const V v = load_lanes<Target>(from + i, least(kWidth, product.columns - i), C(0));
          store(block_of_b + step * stride + i, v);
        }
      }
      block.b = block_of_b;
      block.b_step = static_cast<std::ptrdiff_t>(stride);
      block.columns = direct ? product.columns : stride;
    }
    if (direct) {
      outer_rows<Target, C>(block, vectors);
      return;
    }
    block.outputs = subtrees + count * size;
    block.outputs_stride = static_cast<std::ptrdiff_t>(stride);
    outer_rows<Target, C>(block, vectors);
    ++count;
    for (std::size_t digit = number; digit & 1; digit >>= 1) merge();
  }
  while (count > 1) merge();
  for (std::size_t row = 0; row < product.rows; ++row) {
    C* const outputs = product.outputs + static_cast<std::ptrdiff_t>(row) * (oriented.across ? 1 : product.outputs_stride);
    const std::ptrdiff_t step = oriented.across ? product.outputs_stride : 1;
    for (std::size_t column = 0; column < product.columns; ++column) {
      outputs[static_cast<std::ptrdiff_t>(column) * step] = subtrees[row * stride + column];
    }
  }
}

template <class Target, class C>
void outer_product(const OuterProduct<C>& product) {
  constexpr std::size_t kWidth = kLanes<Target, C>;
  if (product.rows == 0 || product.steps == 0) {  // a and b, or the outputs, may be null
    for (std::size_t row = 0; row < product.rows; ++row) {
      C* const outputs = product.outputs + static_cast<std::ptrdiff_t>(row) * product.outputs_stride;
      for (std::size_t column = 0; column < product.columns; ++column) outputs[column] = 0;
    }
    return;
  }
  const Orientation<C> oriented = orient<Target, C>(product);
  const std::size_t columns = oriented.product.columns;
  visit_tiles<kOuterVectors<Target>>((columns + kWidth - 1) / kWidth, [&](std::size_t, std::size_t v, std::size_t count) {
    const auto column = static_cast<std::ptrdiff_t>(v * kWidth);
    Orientation<C> panel = oriented;
    panel.product.b += column;
    panel.product.columns = least(count * kWidth, columns - v * kWidth);
    panel.product.outputs += oriented.across ? column * oriented.product.outputs_stride : column;
    outer_panel<Target, C>(panel, count);
  });
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

// The derivative of each activation at x, from y = f(x). 0 for relu at 0, 1 where y is NaN. It is off by at most an ULP of 1,
// which is what the rounding of y to a number near 1 takes from it.
template <class Target, class C>
void relu_gradient(const C* outputs, C* gradients, std::size_t n) {
  using V = Lanes<Target, C>;
  map_gradients<Target>(outputs, gradients, n, [](V y, V g) { return y <= 0 ? V{} : g; });
}

template <class Target, class C>
void sigmoid_gradient(const C* outputs, C* gradients, std::size_t n) {
  using V = Lanes<Target, C>;
  map_gradients<Target>(outputs, gradients, n, [](V y, V g) { return g * (y * (1 - y)); });
}

template <class Target, class C>
void tanh_gradient(const C* outputs, C* gradients, std::size_t n) {
  using V = Lanes<Target, C>;
  map_gradients<Target>(outputs, gradients, n, [](V y, V g) { return g * Target::fma(-y, y, broadcast<V>(1)); });
}

// p (g - sum p g), with the sum of dot.h. Error, with u half an ULP of 1: 2 u p (|g| + sum p |g|), and p times dot's own.
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
