// A dense layer over as many rows as a vector has lanes, one row per lane. Faster for narrow
// layers, where the tiles of dense.h spend most time on combining chains and on padding outputs.
//
// Order of summation, error bound, special values, sources and packed weights are those of dense.h.
// Here each chain is a vector of its own. One fma takes input k of all rows and one weight in all
// lanes.
#pragma once

#include "dense.h"

namespace nnkernels {
namespace {

// Vectors of rows: two if there are enough registers, so that each weight is used twice.
template <class Target>
constexpr std::size_t kLaneVectors = Target::kTileRows >= 6 ? 2 : 1;
template <class Target, class C>
constexpr std::size_t kLaneRows = kLaneVectors<Target>* kLanes<Target, C>;

// Prefetches cache lines a few at a time, one group per chunk of inputs: all at once would stall
// the CPU.
struct Fetch {
  const char* next;
  std::size_t lines;
  std::size_t at_once;

  void operator()() {
    for (std::size_t i = least(at_once, lines); i > 0; --i, --lines, next += kLineBytes) __builtin_prefetch(next);
  }
};

// kOutputs outputs. Their weights begin at `weights`; the next chunk is `chunk_stride` further.
template <class Target, std::size_t kOutputs, class C>
void lanes_tile(const C* weights, std::size_t chunk_stride, const C* bias, bool apply_relu, std::size_t inputs, const C* x,
                C* outputs, Fetch& fetch) {
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
    fetch();
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

// The panel's outputs from `output` on: kOutputs at a time, fewer at the end.
template <class Target, std::size_t kOutputs, class T>
void lanes_panel(const DenseLanes<T>& layer, const Compute<T>* panel, std::size_t first, std::size_t output, std::size_t end,
                 const Compute<T>* x, Compute<T>* outputs, Fetch& fetch) {
  using C = Compute<T>;
  for (; output + kOutputs <= end; output += kOutputs) {
    lanes_tile<Target, kOutputs>(panel + (output - first) * kChains<C>,
                                 panel_vectors<Target>(first, layer.outputs) * kLanes<Target, C>, layer.bias + output,
                                 layer.relu, layer.inputs, x, outputs + output * kLaneRows<Target, C>, fetch);
  }
  if constexpr (kOutputs > 1) lanes_panel<Target, kOutputs - 1>(layer, panel, first, output, end, x, outputs, fetch);
}

template <class Target, class T>
void dense_lanes(const DenseLanes<T>& layer, const Compute<T>* x, Compute<T>* outputs) {
  using C = Compute<T>;
  constexpr std::size_t kOutputs = Target::kTileRows * 4 / (kChains<C> * kLaneVectors<Target>);
  const std::size_t chunks = layer.outputs / kOutputs * (layer.inputs / kChains<C>);  // approximate total over all tiles
  Fetch fetch{layer.ahead, layer.ahead_lines, layer.ahead_lines / (chunks + 1) + 1};
  visit_panels<Target>(0, layer.outputs, [&](std::size_t first, std::size_t vectors) {
    const C* panel = layer.packed + packed_offset<Target, C>(first, vectors, 0, layer.inputs);
    const std::size_t end = least(first + kPanelOutputs<Target>, layer.outputs);
    lanes_panel<Target, kOutputs, T>(layer, panel, first, first, end, x, outputs, fetch);
  });
}

// Within each 128-bit part, transposes the matrix whose row j is that part of vector j.
template <class Target, class C>
void transpose_parts(Lanes<Target, C>* v) {
  using V = Lanes<Target, C>;
  if constexpr (kChains<C> == 2) {
    const V low = Target::unpack_low(v[0], v[1]);
    v[1] = Target::unpack_high(v[0], v[1]);
    v[0] = low;
  } else {
    using Pairs = Lanes<Target, double>;  // pairs of floats
    Pairs low[] = {as<Pairs>(V(Target::unpack_low(v[0], v[1]))), as<Pairs>(V(Target::unpack_low(v[2], v[3])))};
    Pairs high[] = {as<Pairs>(V(Target::unpack_high(v[0], v[1]))), as<Pairs>(V(Target::unpack_high(v[2], v[3])))};
    transpose_parts<Target, double>(low);
    transpose_parts<Target, double>(high);
    for (std::size_t i = 0; i < 2; ++i) {
      v[i] = as<V>(low[i]);
      v[2 + i] = as<V>(high[i]);
    }
  }
}

// Transposes kLanes contiguous rows of kChains elements: part p of vector j takes row p kChains +
// j.
template <class Target, class C>
void copy_to_lanes(const C* rows, std::ptrdiff_t row_stride, C* lanes, std::ptrdiff_t lanes_stride) {
  const std::ptrdiff_t chunk_stride = static_cast<std::ptrdiff_t>(kChains<C>) * row_stride;
  Lanes<Target, C> v[kChains<C>];
  for (std::size_t j = 0; j < kChains<C>; ++j) {
    v[j] = Target::gather_chunks(rows + static_cast<std::ptrdiff_t>(j) * row_stride, chunk_stride);
  }
  transpose_parts<Target, C>(v);
  for (std::size_t j = 0; j < kChains<C>; ++j) store(lanes + static_cast<std::ptrdiff_t>(j) * lanes_stride, v[j]);
}

// The inverse of copy_to_lanes.
template <class Target, class C>
void copy_from_lanes(const C* lanes, std::ptrdiff_t lanes_stride, C* rows, std::ptrdiff_t row_stride) {
  const std::ptrdiff_t chunk_stride = static_cast<std::ptrdiff_t>(kChains<C>) * row_stride;
  Lanes<Target, C> v[kChains<C>];
  for (std::size_t j = 0; j < kChains<C>; ++j)
    v[j] = load<Lanes<Target, C>>(lanes + static_cast<std::ptrdiff_t>(j) * lanes_stride);
  transpose_parts<Target, C>(v);
  for (std::size_t j = 0; j < kChains<C>; ++j) {
    Target::scatter_chunks(rows + static_cast<std::ptrdiff_t>(j) * row_stride, chunk_stride, v[j]);
  }
}

template <class Target, class C>
void copy_rows(Rows<const C> input, Rows<C> output, std::size_t n) {
  constexpr auto kSize = static_cast<std::ptrdiff_t>(sizeof(C));
  const bool to_lanes = input.element_stride == kSize && output.row_stride == kSize && input.row_stride % kSize == 0;
  const bool from_lanes = input.row_stride == kSize && output.element_stride == kSize && output.row_stride % kSize == 0;
  const std::size_t squares = to_lanes || from_lanes ? n / kChains<C> * kChains<C> : 0;  // elements copied as vectors
  for (std::size_t row = 0; row < kLaneRows<Target, C>; row += kLanes<Target, C>) {
    for (std::size_t i = 0; i < squares; i += kChains<C>) {
      const C* from = &input.row(row)[i];
      C* to = &output.row(row)[i];
      if (to_lanes) {
        copy_to_lanes<Target>(from, input.row_stride / kSize, to, output.element_stride / kSize);
      } else {
        copy_from_lanes<Target>(from, input.element_stride / kSize, to, output.row_stride / kSize);
      }
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
