#include "network.h"

#include <algorithm>
#include <limits>
#include <new>
#include <type_traits>

#include "dispatch.h"
#include "floating_point.h"
#include "threads.h"

namespace nnkernels {
namespace {

// Overhead per input or output of a layer, in multiplications.
constexpr std::size_t kElementWork = 24;

// Reading a layer's weights costs as much as multiplying them by this many rows.
constexpr std::size_t kReadRows = 4;

// Up to this many rows, threads share a layer's outputs; with more, the rows.
constexpr std::size_t kFewRows = 127;

// Networks of layers up to this width are computed with one row in each lane.
constexpr std::size_t kNarrow = 128;

// Batches of at least this many bytes exceed the L2 cache, so their rows are prefetched.
constexpr std::size_t kFarBytes = 2 * 1024 * 1024;

// Upper limit for a layer's sizes, so that byte counts cannot overflow.
constexpr std::size_t kTooMany = std::numeric_limits<std::size_t>::max() / 1024;

// Throws std::bad_alloc if a layer is too large. A view with a stride of 0 can have any number of
// inputs.
void check_sizes(std::size_t inputs, std::size_t outputs) {
  std::size_t weights = 0;
  const bool wraps_around = __builtin_mul_overflow(inputs, outputs, &weights);
  if (wraps_around || std::max({inputs, outputs, weights}) >= kTooMany) throw std::bad_alloc();
}

// Rows per block, such that a block has at most `bytes` or one row. Blocks have about equal size.
std::size_t rows_of_block(std::size_t count, std::size_t bytes_of_row, std::size_t bytes) {
  const std::size_t most = std::max<std::size_t>(bytes / std::max<std::size_t>(bytes_of_row, 1), 1);
  const std::size_t blocks = (count + most - 1) / most;
  return blocks < 2 ? count : (count + blocks - 1) / blocks;
}

template <class T>
constexpr bool kIsCompute = std::is_same_v<T, Compute<T>>;

template <class T>
bool contiguous_rows(const Rows<T>& rows) {
  return rows.element_stride == static_cast<std::ptrdiff_t>(sizeof(T)) &&
         rows.row_stride % static_cast<std::ptrdiff_t>(sizeof(T)) == 0;
}

template <class T>
Rows<const T> read_only(const Rows<T>& rows) {
  return {rows.data, rows.row_stride, rows.element_stride};
}

// Contiguous rows of n elements, without gaps.
template <class C>
Rows<C> side_by_side(C* data, std::size_t n) {
  return {data, static_cast<std::ptrdiff_t>(n * sizeof(C)), static_cast<std::ptrdiff_t>(sizeof(C))};
}

// Whether rows of n elements are contiguous, without gaps.
template <class T>
bool are_side_by_side(const Rows<T>& rows, std::size_t n) {
  return rows.element_stride == static_cast<std::ptrdiff_t>(sizeof(T)) &&
         rows.row_stride == static_cast<std::ptrdiff_t>(n * sizeof(T));
}

// Whether the dense kernel can read or write these rows in place.
template <class T>
bool direct(const Rows<T>& rows) {
  return kIsCompute<std::remove_const_t<T>> && contiguous_rows(rows);
}

// Convert `count` rows of n elements to and from contiguous rows of the compute type. Rows without
// gaps are converted as one long row.
template <class T>
void widen_rows(const Rows<const T>& x, Compute<T>* to, std::size_t count, std::size_t n) {
  const Kernels<T>& table = kernels().of<T>();
  if (are_side_by_side(x, n)) n *= count, count = 1;
  for (std::size_t i = 0; i < count; ++i) table.widen(x.row(i), to + i * n, n);
}

template <class T>
void narrow_rows(const Compute<T>* from, const Rows<T>& outputs, std::size_t count, std::size_t n) {
  const Kernels<T>& table = kernels().of<T>();
  if (are_side_by_side(outputs, n)) n *= count, count = 1;
  for (std::size_t i = 0; i < count; ++i) table.narrow(from + i * n, outputs.row(i), n);
}

// Computes one layer over a block of rows; `layer` has the weights and bias. Rows that the dense
// kernel cannot use in place go through `staging`, which has room for inputs + outputs elements per
// row.
template <class T>
void layer_forward(const Rows<const T>& x, std::size_t count, DenseRows<T>& layer, Activation activation,
                   const Rows<T>& outputs, Compute<T>* staging) {
  using C = Compute<T>;
  const Kernels<T>& table = kernels().of<T>();
  layer.rows = count;
  layer.relu = activation == Activation::kRelu;
  if (direct(x)) {
    layer.x = reinterpret_cast<const C*>(x.data);
    layer.x_stride = x.row_stride / static_cast<std::ptrdiff_t>(sizeof(C));
  } else {
    widen_rows(x, staging, count, layer.weights.inputs);
    layer.x = staging;
    layer.x_stride = static_cast<std::ptrdiff_t>(layer.weights.inputs);
    staging += count * layer.weights.inputs;
  }
  if (direct(outputs)) {
    layer.outputs = reinterpret_cast<C*>(outputs.data);
    layer.outputs_stride = outputs.row_stride / static_cast<std::ptrdiff_t>(sizeof(C));
    table.dense(layer);
  } else {
    layer.outputs = staging;
    layer.outputs_stride = static_cast<std::ptrdiff_t>(layer.weights.outputs);
    table.dense(layer);
    narrow_rows(staging, outputs, count, layer.weights.outputs);
  }
}

bool is_elementwise(Activation activation) { return activation < Activation::kSoftmax; }

template <class T>
auto rowwise(const Kernels<T>& table, Activation activation) {
  return activation == Activation::kSoftmax ? table.softmax : table.log_softmax;
}

// Shares a layer's outputs among threads if that pays. `forward(begin, end, activation, outputs)`
// computes the outputs begin, ..., end - 1. softmax and log_softmax follow at the end, since they
// need whole rows.
template <class T, class Forward>
void share_outputs(std::size_t count, const WeightsView<T>& weights, Activation activation, Rows<T> outputs, Forward forward) {
  const Activation of_part = is_elementwise(activation) ? activation : Activation::kNone;
  const std::size_t minimum = worth_a_thread((count + kReadRows) * weights.inputs);
  parallel_for({weights.outputs, minimum, kernels().of<T>().panel_outputs}, [&](std::size_t begin, std::size_t end) {
    forward(begin, end, of_part, Rows<T>{outputs.row(0).from(begin).data, outputs.row_stride, outputs.element_stride});
  });
  if (!is_elementwise(activation)) {
    const FloatingPointScope scope(Exceptions::kDrop);
    activate(activation, 0, outputs, count, weights.outputs);
  }
}

}  // namespace

template <class T>
void activate(Activation activation, double option, const Rows<T>& x, std::size_t count, std::size_t n, Compute<T>* staging) {
  if (activation == Activation::kNone || activation == Activation::kRelu) return;
  const Kernels<T>& table = kernels().of<T>();
  if (!is_elementwise(activation)) {
    if (kIsCompute<T> || staging == nullptr) {
      rowwise(table, activation)(read_only(x), x, count, n);
    } else {
      const Rows<Compute<T>> wide = side_by_side(staging, n);
      widen_rows(read_only(x), staging, count, n);
      rowwise(kernels().of<Compute<T>>(), activation)(read_only(wide), wide, count, n);
      narrow_rows(staging, x, count, n);
    }
    return;
  }
  const auto kernel = table.of(activation);
  const auto size = static_cast<std::ptrdiff_t>(sizeof(T));
  if (are_side_by_side(x, n) || (x.row_stride == size && x.element_stride == static_cast<std::ptrdiff_t>(count) * size)) {
    kernel({x.data, size}, {x.data, size}, count * n, Stores::kCached, option);  // one long row
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const Strided<T> row = x.row(i);
    kernel({row.data, row.stride}, row, n, Stores::kCached, option);
  }
}

template <class T>
void dense(Rows<const T> x, std::size_t count, const WeightsView<T>& weights, Strided<const T> bias, Activation activation,
           Rows<T> outputs) {
  using C = Compute<T>;
  const Kernels<T>& table = kernels().of<T>();
  if (weights.outputs == 0) return;  // an array without outputs can have any number of rows
  check_sizes(weights.inputs, weights.outputs);
  const bool staged = !direct(x) || !direct(outputs);
  const std::size_t width = staged ? weights.inputs + weights.outputs : 0;
  const std::size_t block =
      staged ? rows_of_block(count, width * sizeof(C), kBlockBytes - table.dense_scratch * sizeof(C)) : count;
  // The thread's scratch holds the kernel's scratch, the rows of a block, and the bias.
  const auto forward = [&](Rows<const T> from, std::size_t rows, const WeightsView<T>& my_weights, Strided<const T> my_bias,
                           Activation fused, Rows<T> to) {
    DenseRows<T> layer{};
    layer.weights = my_weights;
    layer.scratch =
        reinterpret_cast<C*>(thread_scratch((table.dense_scratch + block * width + my_weights.outputs) * sizeof(C)));
    C* const staging = layer.scratch + table.dense_scratch;
    if (kIsCompute<T> && my_bias.contiguous()) {
      layer.bias = reinterpret_cast<const C*>(my_bias.data);
    } else {
      C* const copy = staging + block * width;
      table.widen(my_bias, copy, my_weights.outputs);
      layer.bias = copy;
    }
    for (std::size_t row = 0; row < rows; row += block) {
      const std::size_t block_rows = std::min(block, rows - row);
      layer_forward(from.from(row), block_rows, layer, fused, to.from(row), staging);
      // Activations may set flags on the way, but have no overflow or invalid operation to report.
      const FloatingPointScope scope(Exceptions::kDrop);
      activate(fused, 0, to.from(row), block_rows, my_weights.outputs, staging);
    }
  };
  if (count > weights.outputs) {
    const std::size_t minimum = worth_a_thread(weights.outputs * weights.inputs);
    parallel_for({count, minimum, kTileMultiple}, [&](std::size_t begin, std::size_t end) {
      forward(x.from(begin), end - begin, weights, bias, activation, outputs.from(begin));
    });
  } else {
    share_outputs(count, weights, activation, outputs, [&](std::size_t begin, std::size_t end, Activation fused, Rows<T> to) {
      WeightsView<T> part = weights;
      part.data = Strided<const T>{weights.data, weights.output_stride}.from(begin).data;
      part.outputs = end - begin;
      forward(x, count, part, bias.from(begin), fused, to);
    });
  }
}

template <class T>
Network<T>::Network(const std::vector<LayerView<T>>& layers) {
  const Kernels<T>& table = kernels().of<T>();
  for (const LayerView<T>& view : layers) {
    const std::size_t inputs = view.weights.inputs;
    const std::size_t outputs = view.weights.outputs;
    Layer layer{inputs, outputs, view.activation, view.option, {}, {}, view.scale != nullptr, {}, {}};
    if (layer.scales) {
      layer.offset.assign(view.offset, view.offset + inputs);
      layer.scale.assign(view.scale, view.scale + inputs);
      has_scale_ = true;
    } else {
      check_sizes(inputs, outputs);
      // At least one element, since null would mean unpacked weights.
      layer.weights = Buffer<C>(std::max<std::size_t>(table.packed_size(outputs, inputs), 1));
      layer.bias = Buffer<C>(outputs);
      table.pack(view.weights, layer.weights.data());
      table.widen(view.bias, layer.bias.data(), outputs);
      work_ += inputs * outputs;
    }
    if (!layers_.empty()) widest_hidden_ = std::max(widest_hidden_, inputs);
    widest_staging_ = std::max(widest_staging_, inputs + outputs);
    widest_ = std::max({widest_, inputs, outputs});
    work_ += kElementWork * (inputs + outputs);
    layers_.push_back(std::move(layer));
  }
}

template <class T>
void Network<T>::copy_weights(std::size_t layer, T* weights) const {
  const Layer& from = layers_[layer];
  kernels().of<T>().unpack(from.weights.data(), from.outputs, from.inputs, weights);
}

template <class T>
void Network<T>::copy_bias(std::size_t layer, T* bias) const {
  kernels().of<T>().narrow(layers_[layer].bias.data(), {bias, sizeof(T)}, layers_[layer].outputs);
}

// Computes all layers for the rows of a block. Hidden outputs alternate between the two halves of
// `hidden`. If `shared`, threads share each layer; this needs rows that are used in place.
template <class T>
void Network<T>::forward_block(std::size_t first, const Rows<const T>& x, std::size_t count, const Rows<T>& outputs, T* hidden,
                               C* staging, bool shared) const {
  T* next = hidden;
  T* previous = hidden + count * widest_hidden_;
  Rows<const T> from = x;
  for (std::size_t l = first; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    const bool last = l + 1 == layers_.size();
    const Rows<T> to =
        last ? outputs
             : Rows<T>{next, static_cast<std::ptrdiff_t>(layer.outputs * sizeof(T)), static_cast<std::ptrdiff_t>(sizeof(T))};
    DenseRows<T> rows{};
    rows.packed = layer.weights.data();
    rows.weights.inputs = layer.inputs;
    rows.weights.outputs = layer.outputs;
    rows.bias = layer.bias.data();
    if (layer.scales) {
      kernels().of<T>().scale({from, to, count, layer.inputs, layer.offset.data(), layer.scale.data()});
    } else if (!shared) {
      layer_forward(from, count, rows, layer.activation, to, staging);
      activate(layer.activation, layer.option, to, count, layer.outputs, staging);
    } else {
      share_outputs(count, rows.weights, layer.activation, to,
                    [&](std::size_t begin, std::size_t end, Activation fused, Rows<T> to_part) {
                      DenseRows<T> part = rows;
                      part.packed += kernels().of<T>().packed_size(begin, layer.inputs);
                      part.bias += begin;
                      part.weights.outputs = end - begin;
                      layer_forward(from, count, part, fused, to_part, static_cast<C*>(nullptr));
                      activate(fused, layer.option, to_part, count, part.weights.outputs);
                    });
    }
    from = read_only(to);
    std::swap(next, previous);
  }
}

// Computes lane_rows rows of a narrow network, transposed from the first layer to the last. All
// arithmetic is in C; halves are rounded where the separate functions would round. `fetch_next`
// prefetches the next lane_rows rows: reading several rows in parallel defeats the CPU's own
// prefetcher.
template <class T>
void Network<T>::forward_lanes(std::size_t first, Rows<const T> x, Rows<T> outputs, bool fetch_next, std::byte* scratch) const {
  constexpr auto kSize = static_cast<std::ptrdiff_t>(sizeof(C));
  const Kernels<T>& table = kernels().of<T>();
  const std::size_t lanes = table.lane_rows;
  const std::size_t size = lanes * (widest_ + table.lane_padding);
  C* from = reinterpret_cast<C*>(scratch);
  C* to = from + size;
  T* const halves = reinterpret_cast<T*>(to + size);
  const auto across = [lanes](C* data) { return Rows<C>{data, kSize, static_cast<std::ptrdiff_t>(lanes) * kSize}; };
  const auto round = [&](C* values, std::size_t n) {
    if constexpr (!kIsCompute<T>) {
      table.narrow(values, {halves, sizeof(T)}, n);
      table.widen({halves, sizeof(T)}, values, n);
    }
  };

  const std::size_t inputs = layers_[first].inputs;
  if constexpr (kIsCompute<T>) {
    table.copy_rows(x, across(from), inputs);
  } else {
    widen_rows(x, to, lanes, inputs);
    table.copy_rows(read_only(side_by_side(to, inputs)), across(from), inputs);
  }
  for (std::size_t l = first; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    if (layer.scales) {
      const Rows<C> rows = across(from);
      kernels().of<C>().scale({read_only(rows), rows, lanes, layer.inputs, layer.offset.data(), layer.scale.data()});
      continue;
    }
    std::fill_n(from + lanes * layer.inputs, lanes * table.lane_padding, C(0));
    DenseLanes<T> dense{layer.weights.data(), layer.bias.data(), layer.activation == Activation::kRelu, layer.outputs,
                        layer.inputs};
    if (fetch_next && l == first) {
      dense.ahead = reinterpret_cast<const char*>(x.from(lanes).data);
      dense.ahead_lines = (lanes * inputs * sizeof(T) + kLineBytes - 1) / kLineBytes;
    }
    table.dense_lanes(dense, from, to);
    round(to, lanes * layer.outputs);
    activate(layer.activation, layer.option, across(to), lanes, layer.outputs);
    round(to, lanes * layer.outputs);
    std::swap(from, to);
  }
  const std::size_t n = layers_.back().outputs;
  if constexpr (kIsCompute<T>) {
    table.copy_rows(read_only(across(from)), outputs, n);
  } else {
    table.copy_rows(read_only(across(from)), side_by_side(to, n), n);
    narrow_rows(to, outputs, lanes, n);
  }
}

template <class T>
void Network<T>::forward_doubles(const Rows<const double>& x, std::size_t count, const Rows<T>& outputs) const {
  const Layer& layer = layers_.front();
  const std::size_t n = layer.inputs;
  const bool more = layers_.size() > 1;
  if (more && n != 0 && count > std::numeric_limits<std::size_t>::max() / n) throw std::bad_alloc();
  const Buffer<T> scaled(more ? count * n : 0);
  const Rows<T> to = more ? side_by_side(scaled.data(), n) : outputs;
  parallel_for({count, worth_a_thread(kElementWork * n), kTileMultiple}, [&](std::size_t begin, std::size_t end) {
    kernels().of<T>().scale_doubles({x.from(begin), to.from(begin), end - begin, n, layer.offset.data(), layer.scale.data()});
  });
  if (more) forward_from(1, read_only(to), count, outputs);
}

template <class T>
void Network<T>::forward_from(std::size_t first, const Rows<const T>& x, std::size_t count, const Rows<T>& outputs) const {
  if (this->outputs() == 0) return;  // an array without outputs can have any number of rows
  const std::size_t lanes = kernels().of<T>().lane_rows;
  // Scaled halves are rounded once, from doubles, so they cannot use lanes of floats.
  const bool narrow = widest_ <= kNarrow && count >= lanes && (kIsCompute<T> || !has_scale_);
  const std::size_t lanes_bytes = narrow ? lanes * (widest_ + kernels().of<T>().lane_padding) * (2 * sizeof(C) + sizeof(T)) : 0;
  const bool staged = !direct(x) || !direct(outputs);
  const std::size_t staging_width = staged ? widest_staging_ : 0;
  // A layer's inputs and outputs, which should stay in the cache together, plus the staging.
  const std::size_t bytes_of_row = std::max(2 * widest_hidden_, widest_staging_) * sizeof(T) + staging_width * sizeof(C);
  const std::size_t block = rows_of_block(count, bytes_of_row, kBlockBytes);
  // Both parts begin at a cache line.
  const std::size_t hidden_bytes = (2 * block * widest_hidden_ * sizeof(T) + kLineBytes - 1) / kLineBytes * kLineBytes;
  const std::size_t staging_bytes = block * staging_width * sizeof(C);
  if (!staged && !narrow && count <= std::min(block, kFewRows) &&
      work_ * (count + kReadRows) >= 2 * kThreadWork / kAwakeAdvantage) {
    forward_block(first, x, count, outputs, reinterpret_cast<T*>(thread_scratch(hidden_bytes)), nullptr, true);
    return;
  }
  parallel_for({count, worth_a_thread(work_), narrow ? lanes : kTileMultiple}, [&](std::size_t begin, std::size_t end) {
    std::byte* const scratch = thread_scratch(std::max(hidden_bytes + staging_bytes, lanes_bytes));
    T* const hidden = reinterpret_cast<T*>(scratch);
    C* const staging = reinterpret_cast<C*>(scratch + hidden_bytes);
    std::size_t row = begin;
    if (narrow) {
      const bool fetches = count * inputs() * sizeof(T) >= kFarBytes && are_side_by_side(x, inputs());
      for (; row + lanes <= end; row += lanes) {
        forward_lanes(first, x.from(row), outputs.from(row), fetches && row + 2 * lanes <= end, scratch);
      }
    }
    for (; row < end; row += block) {
      forward_block(first, x.from(row), std::min(block, end - row), outputs.from(row), hidden, staging, false);
    }
  });
}

template void activate(Activation, double, const Rows<Half>&, std::size_t, std::size_t, float*);
template void activate(Activation, double, const Rows<float>&, std::size_t, std::size_t, float*);
template void activate(Activation, double, const Rows<double>&, std::size_t, std::size_t, double*);
template void dense(Rows<const Half>, std::size_t, const WeightsView<Half>&, Strided<const Half>, Activation, Rows<Half>);
template void dense(Rows<const float>, std::size_t, const WeightsView<float>&, Strided<const float>, Activation, Rows<float>);
template void dense(Rows<const double>, std::size_t, const WeightsView<double>&, Strided<const double>, Activation,
                    Rows<double>);
template class Network<Half>;
template class Network<float>;
template class Network<double>;

}  // namespace nnkernels
