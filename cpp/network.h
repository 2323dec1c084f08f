// Dense layers and networks: the forward pass over a batch of rows. Independent of Python.
//
// Every way to compute a network gives the same bits. A row's outputs depend on that row alone, not
// on the batch, the threads or the blocks. A layer's fused activation equals the activation's own
// kernel on the layer's rounded outputs.
#pragma once

#include <cstddef>
#include <vector>

#include "buffer.h"
#include "kernels.h"

namespace nnkernels {

// A multiple of the dense kernel's tile height on every target, in rows.
constexpr std::size_t kTileMultiple = 12;

// Maximum bytes of a block's activations, so that they stay in the cache between layers. Must
// exceed the bytes of dense_scratch.
constexpr std::size_t kBlockBytes = 768 * 1024;

// Applies the activation to rows of n elements, in place. Does nothing for relu: the dense kernels
// have already applied it, and it commutes with the rounding to half. `staging`, if not null, has
// room for the rows in the compute type: softmax of short half rows is mostly conversion, which is
// faster for all rows at once.
template <class T>
void activate(Activation activation, double option, const Rows<T>& x, std::size_t count, std::size_t n,
              Compute<T>* staging = nullptr);

// outputs = activation(x weights^T + bias) for `count` rows; the activation has no option. The
// outputs must not overlap the other arguments. Overflow and invalid operations before the
// activation raise their exception flags. Throws std::bad_alloc.
template <class T>
void dense(Rows<const T> x, std::size_t count, const WeightsView<T>& weights, Strided<const T> bias, Activation activation,
           Rows<T> outputs);

// A layer of a network; the network copies its arrays. A Scale layer has one offset and one scale
// per input, as many outputs as inputs, and uses only the sizes of `weights`.
template <class T>
struct LayerView {
  WeightsView<T> weights;
  Strided<const T> bias;
  Activation activation;
  double option = 0;               // of the activation
  const double* offset = nullptr;  // of a Scale; else null
  const double* scale = nullptr;
};

template <class T>
class Network {
 public:
  // Layers must chain: the inputs of each layer are the outputs of the layer before. Throws
  // std::bad_alloc.
  explicit Network(const std::vector<LayerView<T>>& layers);

  std::size_t size() const { return layers_.size(); }
  std::size_t inputs() const { return layers_.front().inputs; }
  std::size_t outputs() const { return layers_.back().outputs; }
  std::size_t inputs(std::size_t layer) const { return layers_[layer].inputs; }
  std::size_t outputs(std::size_t layer) const { return layers_[layer].outputs; }
  Activation activation(std::size_t layer) const { return layers_[layer].activation; }
  double option(std::size_t layer) const { return layers_[layer].option; }

  bool scales(std::size_t layer) const { return layers_[layer].scales; }

  // Of a Scale: one number per input.
  const double* offset(std::size_t layer) const { return layers_[layer].offset.data(); }
  const double* scale(std::size_t layer) const { return layers_[layer].scale.data(); }

  // Copy the weights (outputs x inputs) and bias (outputs) of a layer that is not a Scale.
  void copy_weights(std::size_t layer, T* weights) const;
  void copy_bias(std::size_t layer, T* bias) const;

  // Cost of one row's forward pass, in multiplications.
  std::size_t work() const { return work_; }

  // `count` rows; the outputs must not overlap x. Throws std::bad_alloc.
  void forward(const Rows<const T>& x, std::size_t count, const Rows<T>& outputs) const { forward_from(0, x, count, outputs); }

  // The same for rows of double, if the first layer is a Scale: it scales them before they are
  // rounded.
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
    bool scales;                        // whether the layer is a Scale, which has no weights
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
