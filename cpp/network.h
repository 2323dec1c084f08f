// Dense layers and networks of them: the forward pass over a batch of rows. Knows nothing of Python.
//
// A row's outputs depend on that row alone, whatever the batch, the threads and the blocks it is computed in, and a layer's
// fused activation equals the activation's own kernel on the layer's rounded outputs, so that all ways to compute a network
// give the same bits.
#pragma once

#include <cstddef>
#include <vector>

#include "buffer.h"
#include "kernels.h"

namespace nnkernels {

// A multiple of the rows that the dense kernel takes at once.
constexpr std::size_t kTileMultiple = 12;

// Bytes of activations that a block of rows may take, so that they stay in the cache between layers. More than dense_scratch.
constexpr std::size_t kBlockBytes = 768 * 1024;

// The activation of rows of n elements, in place, with its option where it has one; the dense kernels have applied relu, which
// commutes with the rounding to half. `staging`, where there is any, has room for the rows in the compute type: softmax of
// short rows of halves is mostly conversions, which are quicker for all rows at once.
template <class T>
void activate(Activation activation, double option, const Rows<T>& x, std::size_t count, std::size_t n,
              Compute<T>* staging = nullptr);

// outputs = activation(x weights^T + bias) for `count` rows, an activation without an option; the outputs must not overlap the
// rest. Overflow and invalid
// operations before the activation raise their exception flags. Throws std::bad_alloc.
template <class T>
void dense(Rows<const T> x, std::size_t count, const WeightsView<T>& weights, Strided<const T> bias, Activation activation,
           Rows<T> outputs);

// A layer as a network takes it; its numbers are copied. One that scales has an offset and a scale for each of its inputs,
// which are its outputs; of its weights only the sizes are used.
template <class T>
struct LayerView {
  WeightsView<T> weights;
  Strided<const T> bias;
  Activation activation;
  double option = 0;               // of the activation
  const double* offset = nullptr;  // where the layer scales
  const double* scale = nullptr;
};

template <class T>
class Network {
 public:
  // Layers must chain: each one's inputs are the outputs of the one before. Throws std::bad_alloc.
  explicit Network(const std::vector<LayerView<T>>& layers);

  std::size_t size() const { return layers_.size(); }
  std::size_t inputs() const { return layers_.front().inputs; }
  std::size_t outputs() const { return layers_.back().outputs; }
  std::size_t inputs(std::size_t layer) const { return layers_[layer].inputs; }
  std::size_t outputs(std::size_t layer) const { return layers_[layer].outputs; }
  Activation activation(std::size_t layer) const { return layers_[layer].activation; }
  double option(std::size_t layer) const { return layers_[layer].option; }

  bool scales(std::size_t layer) const { return layers_[layer].scales; }

  // Of a layer that scales: as many numbers as it has inputs.
  const double* offset(std::size_t layer) const { return layers_[layer].offset.data(); }
  const double* scale(std::size_t layer) const { return layers_[layer].scale.data(); }

  // Copies of another layer's weights (outputs x inputs) and bias (outputs).
  void copy_weights(std::size_t layer, T* weights) const;
  void copy_bias(std::size_t layer, T* bias) const;

  // The time of a row's forward pass, in multiplications.
  std::size_t work() const { return work_; }

  // `count` rows; the outputs must not overlap x. Throws std::bad_alloc.
  void forward(const Rows<const T>& x, std::size_t count, const Rows<T>& outputs) const { forward_from(0, x, count, outputs); }

  // The same for rows of double, where the first layer scales: it takes them before they are rounded.
  void forward_doubles(const Rows<const double>& x, std::size_t count, const Rows<T>& outputs) const;

 private:
  using C = Compute<T>;

  struct Layer {
    std::size_t inputs;
    std::size_t outputs;
    Activation activation;
    double option;
    Buffer<C> weights;  // packed
    Buffer<C> bias;
    bool scales;                        // whether it is a Scale, which has no weights
    std::vector<double> offset, scale;  // of a Scale
  };

  // From layer `first` on.
  void forward_from(std::size_t first, const Rows<const T>& x, std::size_t count, const Rows<T>& outputs) const;

  void forward_block(std::size_t first, const Rows<const T>& x, std::size_t count, const Rows<T>& outputs, T* hidden,
                     C* staging, bool shared) const;
  void forward_lanes(std::size_t first, Rows<const T> x, Rows<T> outputs, bool fetch_next, std::byte* scratch) const;

  std::vector<Layer> layers_;
  std::size_t work_ = 0;
  std::size_t widest_hidden_ = 0;   // outputs, over all layers but the last
  std::size_t widest_staging_ = 0;  // inputs + outputs, over all layers
  std::size_t widest_ = 0;          // inputs or outputs, over all layers
  bool has_scale_ = false;
};

}  // namespace nnkernels
