// A dense layer over as many rows as a vector has lanes, one row in each lane: for narrow layers, where the tiles of dense.h
// would spend their time in combining chains, and on outputs that are not there.
//
// The order of summation is that of dense.h, and so are the packed weights. Here a chain is a vector of its own; an fma takes
// input k of all rows and one weight in all lanes.
#pragma once

#include "dense.h"

namespace nnkernels {
namespace {

// Vectors of rows: two where there are registers for them, so that a weight serves both.
template <class Target>
constexpr std::size_t kLaneVectors = Target::kTileRows >= 6 ? 2 : 1;
template <class Target, class C>
constexpr std::size_t kLaneRows = kLaneVectors<Target>* kLanes<Target, C>;

// kOutputs outputs, whose weights begin at `weights`, those of the next chunk `chunk_stride` further.
template <class Target, std::size_t kOutputs, class C>
void lanes_tile(const C* weights, std::size_t chunk_stride, const C* bias, bool apply_relu, std::size_t inputs, const C* x,
                C* outputs) {
  using V = Lanes<Target, C>;
  constexpr std::size_t kWidth = kLanes<Target, C>;
  constexpr std::size_t kVectors = kLaneVectors<Target>;
  V chains[kOutputs][kVectors][kChains<C>];
  for (std::size_t output = 0; output < kOutputs; ++output) {
    for (std::size_t v = 0; v < kVectors; ++v) {
      for (std::size_t chain = 0; chain < kChains<C>; ++chain) chains[output][v][chain] = V{};
    }
  }
  for (std::size_t k = 0; k < inputs; k += kChains<C>, x += kChains<C> * kWidth * kVectors) {
    for (std::size_t chain = 0; chain < kChains<C>; ++chain) {
      V rows[kVectors];
      for (std::size_t v = 0; v < kVectors; ++v) {
        rows[v] = load<V>(x + (chain * kVectors + v) * kWidth);
        keep(rows[v]);
      }
      for (std::size_t output = 0; output < kOutputs; ++output) {
        const V weight = broadcast<V>(weights[output * kChains<C> + chain]);
        for (std::size_t v = 0; v < kVectors; ++v) {
          chains[output][v][chain] = Target::fma(rows[v], weight, chains[output][v][chain]);
        }
      }
    }
    weights += chunk_stride;
  }
#pragma GCC unroll 8
  for (std::size_t output = 0; output < kOutputs; ++output) {
#pragma GCC unroll 2
    for (std::size_t v = 0; v < kVectors; ++v) {
      V sum = chains[output][v][0] + chains[output][v][1];
      if constexpr (kChains<C> == 4) sum += chains[output][v][2] + chains[output][v][3];
      sum += broadcast<V>(bias[output]);
      store(outputs + (output * kVectors + v) * kWidth, apply_relu ? relu<Target>(sum) : sum);
    }
  }
}

// The outputs from `output` on of the panel whose weights are `panel`, kOutputs at a time and at last fewer.
template <class Target, std::size_t kOutputs, class T>
void lanes_panel(const DenseLanes<T>& layer, const Compute<T>* panel, std::size_t first, std::size_t output, std::size_t end,
                 const Compute<T>* x, Compute<T>* outputs) {
  using C = Compute<T>;
  for (; output + kOutputs <= end; output += kOutputs) {
    lanes_tile<Target, kOutputs>(panel + (output - first) * kChains<C>,
                                 panel_vectors<Target>(first, layer.outputs) * kLanes<Target, C>, layer.bias + output,
                                 layer.relu, layer.inputs, x, outputs + output * kLaneRows<Target, C>);
  }
  if constexpr (kOutputs > 1) lanes_panel<Target, kOutputs - 1>(layer, panel, first, output, end, x, outputs);
}

template <class Target, class T>
void dense_lanes(const DenseLanes<T>& layer, const Compute<T>* x, Compute<T>* outputs) {
  using C = Compute<T>;
  constexpr std::size_t kOutputs = Target::kTileRows * 4 / (kChains<C> * kLaneVectors<Target>);
  visit_panels<Target>(0, layer.outputs, [&](std::size_t first, std::size_t vectors) {
    const C* panel = layer.packed + packed_offset<Target, C>(first, vectors, 0, layer.inputs);
    const std::size_t end = least(first + kPanelOutputs<Target>, layer.outputs);
    lanes_panel<Target, kOutputs, T>(layer, panel, first, first, end, x, outputs);
  });
}

// to[j][i] = from[i][j] for i, j < kChains; strides in elements.
inline void transpose_square(const float* from, std::ptrdiff_t from_stride, float* to, std::ptrdiff_t to_stride) {
  using V = LanesOf<float, 16>::type;
  const V a = load<V>(from);
  const V b = load<V>(from + from_stride);
  const V c = load<V>(from + 2 * from_stride);
  const V d = load<V>(from + 3 * from_stride);
  const V ab_low{a[0], b[0], a[1], b[1]}, ab_high{a[2], b[2], a[3], b[3]};
  const V cd_low{c[0], d[0], c[1], d[1]}, cd_high{c[2], d[2], c[3], d[3]};
  store(to, V{ab_low[0], ab_low[1], cd_low[0], cd_low[1]});
  store(to + to_stride, V{ab_low[2], ab_low[3], cd_low[2], cd_low[3]});
  store(to + 2 * to_stride, V{ab_high[0], ab_high[1], cd_high[0], cd_high[1]});
  store(to + 3 * to_stride, V{ab_high[2], ab_high[3], cd_high[2], cd_high[3]});
}

inline void transpose_square(const double* from, std::ptrdiff_t from_stride, double* to, std::ptrdiff_t to_stride) {
  using V = LanesOf<double, 16>::type;
  const V a = load<V>(from);
  const V b = load<V>(from + from_stride);
  store(to, V{a[0], b[0]});
  store(to + to_stride, V{a[1], b[1]});
}

template <class Target, class C>
void copy_rows(Rows<const C> input, Rows<C> output, std::size_t n) {
  static_assert(kLaneRows<Target, C> % kChains<C> == 0);
  constexpr auto kSize = static_cast<std::ptrdiff_t>(sizeof(C));
  const bool to_lanes = input.element_stride == kSize && output.row_stride == kSize && input.row_stride % kSize == 0;
  const bool from_lanes = input.row_stride == kSize && output.element_stride == kSize && output.row_stride % kSize == 0;
  std::size_t squares = 0;  // elements that are copied in squares
  if (to_lanes || from_lanes) {
    squares = n / kChains<C> * kChains<C>;
    const std::ptrdiff_t from_stride = (to_lanes ? input.row_stride : input.element_stride) / kSize;
    const std::ptrdiff_t to_stride = (to_lanes ? output.element_stride : output.row_stride) / kSize;
    for (std::size_t row = 0; row < kLaneRows<Target, C>; row += kChains<C>) {
      const Strided<const C> from = input.row(row);
      const Strided<C> to = output.row(row);
      for (std::size_t i = 0; i < squares; i += kChains<C>) transpose_square(&from[i], from_stride, &to[i], to_stride);
    }
  }
  for (std::size_t row = 0; row < kLaneRows<Target, C>; ++row) {
    const Strided<const C> from = input.row(row);
    const Strided<C> to = output.row(row);
    for (std::size_t i = squares; i < n; ++i) to[i] = from[i];
  }
}

}  // namespace
}  // namespace nnkernels
