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
// lanes, and a vector of b for each vector of columns: no packing, and no shuffle.
//
// Zeros are never skipped: 0 x inf is NaN.
#pragma once

#include "dense.h"
#include "dot.h"

namespace nnkernels {
namespace {

constexpr std::size_t kStepBlock = 256;

// Vectors of columns of a tile, and its rows where it has so many vectors: as many as the registers hold.
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

// A tile over all steps. With kAcross its outputs are a part of a transposed matrix: [r][j] is at outputs[j * stride + r].
template <class Target, class C, std::size_t kVectors, bool kAcross>
void outer_tile_of_blocks(OuterProduct<C> product, std::size_t lanes) {
  using V = Lanes<Target, C>;
  constexpr std::size_t kRows = kOuterRows<Target, kVectors>;
  constexpr std::size_t kWidth = kVectors * kLanes<Target, C>;
  const std::size_t steps = product.steps;
  if (!kAcross && steps <= kStepBlock) {
    outer_tile_of_rows<Target, C, kRows, kVectors>(product, lanes);
    return;
  }
  C* const outputs = product.outputs;
  const std::ptrdiff_t stride = product.outputs_stride;
  alignas(64) C sums[kRows * kWidth] = {};
  product.outputs = sums;
  product.outputs_stride = kWidth;
  product.steps = least(kStepBlock, steps);
  outer_tile_of_rows<Target, C, kRows, kVectors>(product, lanes);
  if (steps > kStepBlock) {
    TreeSums<V, kRows * kVectors, 24> trees;
    V terms[kRows * kVectors];
    for (std::size_t k = kStepBlock;; k += kStepBlock) {
      std::memcpy(terms, sums, sizeof terms);
      trees.add(terms);
      if (k >= steps) break;
      product.a += static_cast<std::ptrdiff_t>(kStepBlock) * product.a_step;
      product.b += static_cast<std::ptrdiff_t>(kStepBlock) * product.b_step;
      product.steps = least(kStepBlock, steps - k);
      outer_tile_of_rows<Target, C, kRows, kVectors>(product, lanes);
    }
    trees.totals(terms);
    std::memcpy(sums, terms, sizeof terms);
  }
  for (std::size_t row = 0; row < product.rows; ++row) {
    for (std::size_t column = 0; column < product.columns; ++column) {
      const auto r = static_cast<std::ptrdiff_t>(row), j = static_cast<std::ptrdiff_t>(column);
      outputs[kAcross ? j * stride + r : r * stride + j] = sums[row * kWidth + column];
    }
  }
}

// All rows, for so many vectors of columns, at most kVectors.
template <class Target, class C, bool kAcross, std::size_t kVectors = kOuterVectors<Target>>
void outer_panel(const OuterProduct<C>& product, std::size_t vectors) {
  if (vectors == kVectors) {
    visit_tiles<kOuterRows<Target, kVectors>>(product.rows, [&](std::size_t, std::size_t row, std::size_t count) {
      const auto offset = static_cast<std::ptrdiff_t>(row);
      OuterProduct<C> tile = product;
      tile.a += offset * product.a_row;
      tile.rows = count;
      tile.outputs += kAcross ? offset : offset * product.outputs_stride;
      outer_tile_of_blocks<Target, C, kVectors, kAcross>(tile, product.columns - (kVectors - 1) * kLanes<Target, C>);
    });
  } else if constexpr (kVectors > 1) {
    outer_panel<Target, C, kAcross, kVectors - 1>(product, vectors);
  }
}

template <class Target, class C, bool kAcross>
void outer_panels(const OuterProduct<C>& product) {
  constexpr std::size_t kWidth = kLanes<Target, C>;
  visit_tiles<kOuterVectors<Target>>((product.columns + kWidth - 1) / kWidth,
                                     [&](std::size_t, std::size_t v, std::size_t count) {
                                       const auto column = static_cast<std::ptrdiff_t>(v * kWidth);
                                       OuterProduct<C> panel = product;
                                       panel.b += column;
                                       panel.columns = least(count * kWidth, product.columns - v * kWidth);
                                       panel.outputs += kAcross ? column * product.outputs_stride : column;
                                       outer_panel<Target, C, kAcross>(panel, count);
                                     });
}

template <class Target, class C>
void outer_product(const OuterProduct<C>& product) {
  constexpr std::size_t kWidth = kLanes<Target, C>;
  const auto vectors = [](std::size_t n) { return (n + kWidth - 1) / kWidth; };
  // Vectors along the side that fills them better; to write the outputs across takes about as long as 8 steps.
  if (product.a_row == 1 &&
      product.columns * vectors(product.rows) * (product.steps + 8) < product.rows * vectors(product.columns) * product.steps) {
    OuterProduct<C> transposed = product;
    transposed.a = product.b, transposed.a_step = product.b_step;
    transposed.b = product.a, transposed.b_step = product.a_step;
    transposed.rows = product.columns, transposed.columns = product.rows;
    outer_panels<Target, C, true>(transposed);
  } else {
    outer_panels<Target, C, false>(product);
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

// The derivative of each activation at x, from y = f(x). 0 for relu at 0. It is off by at most an ULP of 1, which is what the
// rounding of y to a number near 1 takes from it.
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

// p (g - sum p g), with the sum of dot.h.
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
