// Rows of a dense layer: outputs = x weights^T + bias.
//
// Order of summation, the same on every target and for every shape: the inputs are split into
// blocks of 1024 (512 in double). In a block, input k belongs to chain k mod 4 (k mod 2). Each
// chain is a recurrence of fmas from zero. The block's sum is (p0 + p1) + (p2 + p3), or p0 + p1 in
// double. Block sums are added in order, then the bias. So no chain is longer than 256.
//
// Error bound for K inputs, with c chains and blocks of b: half an ULP of 1, times the sum of
// magnitudes |x w| and |bias|, times (ceil(min(K, b) / c) + log2(c) + ceil(K / b) + 1).
//
// Zeros are never skipped: 0 x inf is NaN. A NaN or infinity in x affects its own row only, one in
// the weights its own output only. Overflow in a chain or a sum gives an infinity; two infinities
// of opposite sign give NaN.
//
// Sources: packed panels by K. Goto and R. van de Geijn, "Anatomy of high-performance matrix
// multiplication", ACM TOMS 34, 2008; sums by blocks by N. J. Higham, "The accuracy of floating
// point summation", SIAM J. Sci. Comput. 14, 1993.
//
// A "chunk" is 128 bits of a row: one step of all chains. A vector of weights holds the same chunk
// of several outputs side by side. One fma with the chunk of x in each 128-bit part makes a step
// for all these outputs. Shuffles are needed only at the end of a block, to combine the chains of a
// tile of rows and outputs.
//
// Packed weights hold, for each panel of outputs, for each block, for each chunk, the vectors of
// one step:
//
//                    part 0            part 1            ...
//   vector 0         output 0, chunk   output 1, chunk
//   vector 1         output S, chunk   output S + 1, chunk     S = parts of a vector
//   ...
#pragma once

#include "activations.h"
#include "loop.h"

namespace nnkernels {
namespace {

template <class C>
constexpr std::size_t kChains = 16 / sizeof(C);
template <class C>
constexpr std::size_t kInputBlock = 256 * kChains<C>;

// Vectors of one step; outputs per vector and per step.
constexpr std::size_t kPanelVectors = 4;
template <class Target>
constexpr std::size_t kVectorOutputs = Target::kBytes / 16;
template <class Target>
constexpr std::size_t kPanelOutputs = kPanelVectors* kVectorOutputs<Target>;

// Up to this many rows, two tiles, weights are used unpacked; packing pays for more rows.
template <class Target>
constexpr std::size_t kMaxUnpackedRows = 2 * Target::kTileRows;

// Outputs packed together if the rows do not fit in the L2 cache; one block is 512 kB.
constexpr std::size_t kGroupOutputs = 128;

constexpr std::size_t round_up(std::size_t n, std::size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Vectors of the panel that begins at output `first`; fewer in the last panel.
template <class Target>
std::size_t panel_vectors(std::size_t first, std::size_t outputs) {
  return least(kPanelVectors, (outputs - first + kVectorOutputs<Target> - 1) / kVectorOutputs<Target>);
}

// Packed weights of one panel in one block.
template <class Target, class C, std::size_t kVectors>
struct PackedPanel {
  const C* data;
  const C* ahead;  // address to prefetch into the L2 cache, two vectors per step; or null

  void prefetch(std::size_t chunk) const {
    if (ahead == nullptr) return;
    const C* step = ahead + chunk * kVectors * kLanes<Target, C>;
    __builtin_prefetch(step, 0, 2);
    if (kVectors > 1) __builtin_prefetch(step + kLanes<Target, C>, 0, 2);
  }

  Lanes<Target, C> vector(std::size_t chunk, std::size_t v, std::size_t /*inputs*/) const {
    return load<Lanes<Target, C>>(data + (chunk * kVectors + v) * kLanes<Target, C>);
  }
};

// Unpacked weights of one panel in one block.
template <class Target, class C>
struct RowsPanel {
  const C* data;
  std::ptrdiff_t stride;  // elements

  void prefetch(std::size_t) const {}

  Lanes<Target, C> vector(std::size_t chunk, std::size_t v, std::size_t inputs) const {
    const C* first = data + static_cast<std::ptrdiff_t>(v * kVectorOutputs<Target>) * stride + chunk * kChains<C>;
    if (inputs == kChains<C>) return Target::gather_chunks(first, stride);
    C padded[kVectorOutputs<Target>][kChains<C>] = {};
    for (std::size_t output = 0; output < kVectorOutputs<Target>; ++output) {
      for (std::size_t k = 0; k < inputs; ++k)
        padded[output][k] = first[static_cast<std::ptrdiff_t>(output) * stride + static_cast<std::ptrdiff_t>(k)];
    }
    return load<Lanes<Target, C>>(padded[0]);
  }
};

// Packed weights of several consecutive panels in one block. The CPU reads several streams faster
// than one.
template <class Target, class C>
struct PackedPanels {
  const C* data;
  std::size_t size;  // elements from one panel to the next

  void prefetch(std::size_t) const {}

  Lanes<Target, C> vector(std::size_t chunk, std::size_t v, std::size_t /*inputs*/) const {
    const C* panel = data + v / kPanelVectors * size;
    return load<Lanes<Target, C>>(panel + (chunk * kPanelVectors + v % kPanelVectors) * kLanes<Target, C>);
  }
};

// Panels that a single row uses at once. Their sums take the registers of a whole tile of rows.
template <class Target>
constexpr std::size_t kRowPanels = least(4, Target::kTileRows);

// The combined chains of kChains vectors, in the order of the outputs.
template <class Target, class C>
Lanes<Target, C> combine_chains(const Lanes<Target, C>* chains) {
  using V = Lanes<Target, C>;
  if constexpr (kChains<C> == 4) {
    const V low = Target::pairwise_add(chains[0], chains[1]);
    const V high = Target::pairwise_add(chains[2], chains[3]);
    return Target::interleave(V(Target::pairwise_add(low, high)));
  } else {
    return Target::interleave(V(Target::pairwise_add(chains[0], chains[1])));
  }
}

// A range of inputs.
struct Block {
  std::size_t first_input;
  std::size_t inputs;
};

// What to do with a block's sums.
template <class C>
struct BlockStep {
  bool first;     // whether to store the sums instead of adding them to the sums of earlier blocks
  const C* bias;  // last block: the panel's bias, or null
  bool relu;      // last block: whether to apply ReLU
};

template <class T>
BlockStep<Compute<T>> block_step(const DenseRows<T>& rows, std::size_t first_output, Block block) {
  const bool last = block.first_input + block.inputs == rows.weights.inputs;
  return {block.first_input == 0, last && rows.bias != nullptr ? rows.bias + first_output : nullptr, last && rows.relu};
}

// kRows rows times kVectors vectors of outputs over one block of inputs; stores the first `count`
// outputs. Registers hold kRows * kVectors partial sums, kRows chunks of x and one vector of
// weights. Never inlined: otherwise the compiler hoists addresses out of the caller's loop and
// spills them.
template <class Target, class C, std::size_t kRows, std::size_t kVectors, class Panel>
[[gnu::noinline]] void tile(const C* x, std::ptrdiff_t x_stride, Panel panel, std::size_t inputs, C* outputs,
                            std::ptrdiff_t outputs_stride, std::size_t count, BlockStep<C> step) {
  using V = Lanes<Target, C>;
  constexpr std::size_t kWidth = kLanes<Target, C>;
  constexpr std::size_t kGroups = (kVectors + kChains<C> - 1) / kChains<C>;
  V sums[kRows][kVectors];
#pragma GCC unroll 8
  for (std::size_t row = 0; row < kRows; ++row) {
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) sums[row][v] = V{};
  }
  const auto step_chains = [&](std::size_t chunk, std::size_t n, const C* row_inputs, std::ptrdiff_t stride)
      __attribute__((always_inline)) {
    V chunks[kRows];
#pragma GCC unroll 8
    for (std::size_t row = 0; row < kRows; ++row) {
      chunks[row] = Target::broadcast_chunk(row_inputs + static_cast<std::ptrdiff_t>(row) * stride);
    }
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) {
      const V weights = panel.vector(chunk, v, n);
#pragma GCC unroll 8
      for (std::size_t row = 0; row < kRows; ++row) sums[row][v] = Target::fma(chunks[row], weights, sums[row][v]);
    }
  };
  const std::size_t chunks = inputs / kChains<C>;
  for (std::size_t chunk = 0; chunk < chunks; ++chunk) {
    panel.prefetch(chunk);
    step_chains(chunk, kChains<C>, x + chunk * kChains<C>, x_stride);
  }
  if (const std::size_t rest = inputs % kChains<C>; rest != 0) {
    C padded[kRows][kChains<C>] = {};
#pragma GCC unroll 8
    for (std::size_t row = 0; row < kRows; ++row) {
      const C* row_inputs = x + static_cast<std::ptrdiff_t>(row) * x_stride + chunks * kChains<C>;
      for (std::size_t k = 0; k < rest; ++k) padded[row][k] = row_inputs[k];
    }
    step_chains(chunks, rest, padded[0], kChains<C>);
  }
  // Unrolled, to keep the sums in registers.
  const auto finish = [&](auto whole) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (std::size_t row = 0; row < kRows; ++row) {
      C* row_outputs = outputs + static_cast<std::ptrdiff_t>(row) * outputs_stride;
      V chains[kGroups * kChains<C>] = {};
#pragma GCC unroll 16
      for (std::size_t v = 0; v < kVectors; ++v) chains[v] = sums[row][v];
#pragma GCC unroll 8
      for (std::size_t group = 0; group < kGroups; ++group) {
        if (!whole && group * kWidth >= count) break;
        const std::size_t lanes = whole ? kWidth : least(kWidth, count - group * kWidth);
        V sum = combine_chains<Target, C>(chains + group * kChains<C>);
        if (!whole && !step.first) sum = load_lanes<Target>(row_outputs + group * kWidth, lanes, C(0)) + sum;
        if (whole || step.bias != nullptr) sum += load_lanes<Target>(step.bias + group * kWidth, lanes, C(0));
        if (step.relu) sum = relu<Target>(sum);
        store_lanes<Target>(row_outputs + group * kWidth, sum, lanes);
      }
    }
  };
  // The common case, one block and a whole panel, has no branches: they cost as much as a few
  // inputs.
  if constexpr (kVectors % kChains<C> == 0) {
    if (step.first && step.bias != nullptr && count == kGroups * kWidth) {
      finish(std::true_type());
      return;
    }
  }
  finish(std::false_type());
}

// Splits the rows into as few tiles of up to kRows rows as possible, of about equal size, and calls
// visit(tile, first_row, count) for each.
template <std::size_t kRows, class Visit>
void visit_tiles(std::size_t rows, Visit visit) {
  const std::size_t tiles = (rows + kRows - 1) / kRows;
  const std::size_t count = tiles == 0 ? 0 : rows / tiles, longer = rows - tiles * count;
  std::size_t row = 0;
  for (std::size_t tile = 0; tile < tiles; ++tile) {
    visit(tile, row, count + (tile < longer ? 1 : 0));
    row += count + (tile < longer ? 1 : 0);
  }
}

// A tile of `rows` rows, at most kRows.
template <class Target, class C, std::size_t kRows, std::size_t kVectors, class... Arguments>
void tile_of_rows(std::size_t rows, Arguments... arguments) {
  if (rows == kRows) {
    tile<Target, C, kRows, kVectors>(arguments...);
  } else if constexpr (kRows > 1) {
    tile_of_rows<Target, C, kRows - 1, kVectors>(rows, arguments...);
  }
}

// All rows times one panel, in tiles of up to kRows rows. make_panel(tile) gives the panel for a
// tile.
template <class Target, std::size_t kVectors, std::size_t kRows, class T, class MakePanel>
void tiles(const DenseRows<T>& rows, MakePanel make_panel, Block block, std::size_t first_output) {
  const std::size_t outputs = least(kVectors * kVectorOutputs<Target>, rows.weights.outputs - first_output);
  const BlockStep<Compute<T>> step = block_step(rows, first_output, block);
  visit_tiles<kRows>(rows.rows, [&](std::size_t tile, std::size_t row, std::size_t count) {
    tile_of_rows<Target, Compute<T>, kRows, kVectors>(
        count, rows.x + static_cast<std::ptrdiff_t>(row) * rows.x_stride + block.first_input, rows.x_stride, make_panel(tile),
        block.inputs, rows.outputs + static_cast<std::ptrdiff_t>(row) * rows.outputs_stride + first_output, rows.outputs_stride,
        outputs, step);
  });
}

// All rows times a packed panel of at most kVectors vectors.
template <class Target, std::size_t kVectors = kPanelVectors, class T>
void packed_tiles(std::size_t vectors, const DenseRows<T>& rows, const Compute<T>* panel, Block block,
                  std::size_t first_output) {
  using C = Compute<T>;
  if (vectors == kVectors) {
    // The first tiles wait for memory, so they prefetch: the panel's next block of inputs if there
    // is one, else the next panel, and nothing in the last panel. A tile prefetches two vectors per
    // step, one of which the tile before has already fetched. So three tiles prefetch everything.
    // With more than three tiles, the first tile's first vector is already there as well: otherwise
    // the first tile would wait longer than it computes. A single row leaves prefetching to the
    // CPU.
    const bool fetches = rows.packed != nullptr && rows.rows > 1 && block.inputs > 0 &&
                         first_output + kPanelOutputs<Target> < rows.weights.outputs;
    const std::size_t late = rows.rows > 3 * Target::kTileRows ? 1 : 0;
    const std::size_t vectors_ahead = (block.inputs + kChains<C> - 1) / kChains<C> * kVectors;
    const C* next = fetches ? panel + (vectors_ahead - late) * kLanes<Target, C> : nullptr;
    const auto make_panel = [&](std::size_t tile) {
      const bool takes_part = fetches && tile < kVectors - 1 + late;
      return PackedPanel<Target, C, kVectors>{panel, takes_part ? next + tile * kLanes<Target, C> : nullptr};
    };
    tiles<Target, kVectors, Target::kTileRows>(rows, make_panel, block, first_output);
  } else if constexpr (kVectors > 1) {
    packed_tiles<Target, kVectors - 1>(vectors, rows, panel, block, first_output);
  }
}

// One output's row of weights.
template <class T>
Strided<const T> weights_row(const WeightsView<T>& weights, std::size_t output) {
  return {Strided<const T>{weights.data, weights.output_stride}.from(output).data, weights.input_stride};
}

// Packs one output's weights from `input` on into a panel of `outputs` outputs.
template <class C>
void pack_row(const C* row, std::size_t input, std::size_t inputs, C* packed, std::size_t outputs) {
  C* to = packed + input * outputs;
  for (; input + kChains<C> <= inputs; input += kChains<C>, to += outputs * kChains<C>) {
    std::memcpy(to, row + input, kChains<C> * sizeof(C));
  }
  if (input < inputs) {
    for (std::size_t k = 0; k < kChains<C>; ++k) to[k] = input + k < inputs ? row[input + k] : C(0);
  }
}

// Packs one block of the panel that begins at output `first_output`. Zeros fill the last chunk; the
// matching x are zeros too. Copies of the last output fill the last vector, because they raise only
// the exception flags of that output (zeros times an infinite x would raise more).
template <class Target, class T>
void pack_panel(const WeightsView<T>& weights, std::size_t first_output, Block block, Compute<T>* packed) {
  using C = Compute<T>;
  const auto [first_input, inputs] = block;
  alignas(64) C buffer[kInputBlock<C>];
  const std::size_t outputs = panel_vectors<Target>(first_output, weights.outputs) * kVectorOutputs<Target>;
  std::size_t output = 0;
  if constexpr (std::is_same_v<T, C>) {
    // Squares of chunks are transposed in registers.
    constexpr std::size_t kSide = kVectorOutputs<Target>;
    const bool contiguous = weights.input_stride == static_cast<std::ptrdiff_t>(sizeof(T));
    const std::ptrdiff_t stride = weights.output_stride / static_cast<std::ptrdiff_t>(sizeof(T));
    const std::size_t squares = inputs / (kSide * kChains<C>);
    for (; contiguous && output + kSide <= least(outputs, weights.outputs - first_output); output += kSide) {
      const C* rows = weights_row(weights, first_output + output).data + first_input;
      for (std::size_t square = 0; square < squares; ++square) {
        Lanes<Target, C> chunks[kSide];
        for (std::size_t i = 0; i < kSide; ++i) {
          chunks[i] = load<Lanes<Target, C>>(rows + static_cast<std::ptrdiff_t>(i) * stride + square * kLanes<Target, C>);
        }
        Target::transpose_chunks(chunks);
        C* to = packed + (square * kSide * outputs + output) * kChains<C>;
        for (std::size_t i = 0; i < kSide; ++i) store(to + i * outputs * kChains<C>, chunks[i]);
      }
      if (squares * kLanes<Target, C> == inputs) continue;
      for (std::size_t i = 0; i < kSide; ++i) {
        pack_row(rows + static_cast<std::ptrdiff_t>(i) * stride, squares * kLanes<Target, C>, inputs,
                 packed + (output + i) * kChains<C>, outputs);
      }
    }
  }
  for (; output < outputs; ++output) {
    const Strided<const T> all = weights_row(weights, least(first_output + output, weights.outputs - 1));
    pack_row(read_block<Target, T>(all, first_input, inputs, buffer), 0, inputs, packed + output * kChains<C>, outputs);
  }
}

// Calls visit(Block) for each block of inputs; once with an empty block if there are no inputs.
template <class C, class Visit>
void visit_blocks(std::size_t inputs, Visit visit) {
  Block block{0, 0};
  do {
    block.inputs = least(kInputBlock<C>, inputs - block.first_input);
    visit(block);
    block.first_input += kInputBlock<C>;
  } while (block.first_input < inputs);
}

// Calls visit(first_output, vectors) for each panel.
template <class Target, class Visit>
void visit_panels(std::size_t begin, std::size_t end, Visit visit) {
  for (std::size_t output = begin; output < end; output += kPanelOutputs<Target>) {
    visit(output, panel_vectors<Target>(output, end));
  }
}

// Offset in the packed weights of the chunk that begins at `input`, in the panel that begins at
// `output` and has `vectors` vectors.
template <class Target, class C>
std::size_t packed_offset(std::size_t output, std::size_t vectors, std::size_t input, std::size_t inputs) {
  return output * round_up(inputs, kChains<C>) + input * vectors * kVectorOutputs<Target>;
}

template <class Target, class C>
std::size_t packed_size(std::size_t outputs, std::size_t inputs) {
  return round_up(outputs, kVectorOutputs<Target>) * round_up(inputs, kChains<C>);
}

template <class Target, class T>
void pack(const WeightsView<T>& weights, Compute<T>* packed) {
  using C = Compute<T>;
  visit_panels<Target>(0, weights.outputs, [&](std::size_t output, std::size_t vectors) {
    visit_blocks<C>(weights.inputs, [&](Block block) {
      pack_panel<Target>(weights, output, block,
                         packed + packed_offset<Target, C>(output, vectors, block.first_input, weights.inputs));
    });
  });
}

template <class Target, class T>
void unpack(const Compute<T>* packed, std::size_t outputs, std::size_t inputs, T* weights) {
  using C = Compute<T>;
  visit_panels<Target>(0, outputs, [&](std::size_t first_output, std::size_t vectors) {
    const C* panel = packed + packed_offset<Target, C>(first_output, vectors, 0, inputs);
    const std::size_t panel_outputs = vectors * kVectorOutputs<Target>;
    C row[kInputBlock<C>];
    for (std::size_t output = 0; output < least(panel_outputs, outputs - first_output); ++output) {
      visit_blocks<C>(inputs, [&](Block block) {
        for (std::size_t i = 0; i < block.inputs; ++i) {
          const std::size_t k = block.first_input + i;
          row[i] = panel[(k / kChains<C> * panel_outputs + output) * kChains<C> + k % kChains<C>];
        }
        narrow<Target, T>(row, {weights + (first_output + output) * inputs + block.first_input, sizeof(T)}, block.inputs);
      });
    }
  });
}

// All rows times one panel after the other, from output `begin` on, so that weights are read once.
// Unpacked weights are packed one block of a panel at a time.
template <class Target, class T>
void dense_by_panels(const DenseRows<T>& rows, std::size_t begin) {
  using C = Compute<T>;
  visit_panels<Target>(begin, rows.weights.outputs, [&](std::size_t output, std::size_t vectors) {
    visit_blocks<C>(rows.weights.inputs, [&](Block block) {
      if (rows.packed == nullptr) pack_panel<Target>(rows.weights, output, block, rows.scratch);
      const std::size_t offset = packed_offset<Target, C>(output, vectors, block.first_input, rows.weights.inputs);
      packed_tiles<Target>(vectors, rows, rows.packed == nullptr ? rows.scratch : rows.packed + offset, block, output);
    });
  });
}

// Packs one block of a group of panels at a time. Each tile of rows goes through the whole group,
// so that rows are read from memory once per group.
template <class Target, class T>
void dense_by_groups(const DenseRows<T>& rows, std::size_t begin) {
  using C = Compute<T>;
  static_assert(kGroupOutputs % kPanelOutputs<Target> == 0);
  for (std::size_t group = begin; group < rows.weights.outputs; group += kGroupOutputs) {
    const std::size_t end = least(group + kGroupOutputs, rows.weights.outputs);
    visit_blocks<C>(rows.weights.inputs, [&](Block block) {
      const auto panel = [&](std::size_t output) {
        return rows.scratch + (output - group) * round_up(block.inputs, kChains<C>);
      };
      visit_panels<Target>(
          group, end, [&](std::size_t output, std::size_t) { pack_panel<Target>(rows.weights, output, block, panel(output)); });
      visit_tiles<Target::kTileRows>(rows.rows, [&](std::size_t, std::size_t row, std::size_t count) {
        DenseRows<T> part = rows;
        part.x += static_cast<std::ptrdiff_t>(row) * rows.x_stride;
        part.outputs += static_cast<std::ptrdiff_t>(row) * rows.outputs_stride;
        part.rows = count;
        visit_panels<Target>(group, end, [&](std::size_t output, std::size_t vectors) {
          packed_tiles<Target>(vectors, part, panel(output), block, output);
        });
      });
    });
  }
}

// All rows times kVectors vectors of unpacked outputs, from output `output` on.
template <class Target, std::size_t kVectors, std::size_t kRows, class C>
void unpacked_tiles(const DenseRows<C>& rows, std::size_t output) {
  const C* weights = weights_row(rows.weights, output).data;
  const std::ptrdiff_t stride = rows.weights.output_stride / static_cast<std::ptrdiff_t>(sizeof(C));
  visit_blocks<C>(rows.weights.inputs, [&](Block block) {
    const auto make_panel = [&](std::size_t) { return RowsPanel<Target, C>{weights + block.first_input, stride}; };
    tiles<Target, kVectors, kRows>(rows, make_panel, block, output);
  });
}

// A single row times packed panels, several at once. Returns the first remaining output.
template <class Target, class T>
std::size_t dense_row(const DenseRows<T>& rows) {
  using C = Compute<T>;
  constexpr std::size_t kOutputs = kRowPanels<Target> * kPanelOutputs<Target>;
  const std::size_t panel_size = packed_size<Target, C>(kPanelOutputs<Target>, rows.weights.inputs);
  std::size_t output = 0;
  for (; output + kOutputs <= rows.weights.outputs; output += kOutputs) {
    visit_blocks<C>(rows.weights.inputs, [&](Block block) {
      const C* weights = rows.packed + packed_offset<Target, C>(output, kPanelVectors, block.first_input, rows.weights.inputs);
      tile<Target, C, 1, kRowPanels<Target> * kPanelVectors>(
          rows.x + block.first_input, rows.x_stride, PackedPanels<Target, C>{weights, panel_size}, block.inputs,
          rows.outputs + output, rows.outputs_stride, kOutputs, block_step(rows, output, block));
    });
  }
  return output;
}

template <class Target, class T>
void dense(const DenseRows<T>& rows) {
  using C = Compute<T>;
  const std::size_t outputs = rows.weights.outputs;
  std::size_t output = 0;
  if constexpr (std::is_same_v<T, C>) {
    const bool contiguous = rows.packed == nullptr && rows.weights.input_stride == static_cast<std::ptrdiff_t>(sizeof(T));
    if (contiguous && rows.rows == 1) {
      // Vectors of one chunk, which load only needed weights; eight at once, to hide the latency of
      // fma.
      using Narrow = typename Target::Narrow;
      for (; output + 8 <= outputs; output += 8) unpacked_tiles<Narrow, 8, 1>(rows, output);
      for (; output < outputs; ++output) unpacked_tiles<Narrow, 1, 1>(rows, output);
      return;
    }
    // Weights a multiple of 4 kB apart would evict each other from the L1 cache.
    if (contiguous && rows.rows <= kMaxUnpackedRows<Target> && rows.weights.output_stride % 4096 != 0) {
      for (; output + kPanelOutputs<Target> <= outputs; output += kPanelOutputs<Target>) {
        unpacked_tiles<Target, kPanelVectors, Target::kTileRows>(rows, output);
      }
    }
  }
  if (rows.packed != nullptr && rows.rows == 1) output = dense_row<Target>(rows);
  // Whether the rows stay in the L2 cache.
  const bool rows_stay = rows.rows * least(rows.weights.inputs, kInputBlock<C>) <= kGroupOutputs * kInputBlock<C>;
  if (rows.packed != nullptr || rows_stay) {
    dense_by_panels<Target>(rows, output);
  } else {
    dense_by_groups<Target>(rows, output);
  }
}

}  // namespace
}  // namespace nnkernels
