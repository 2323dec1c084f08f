// Training: a network's loss, its gradient, and epochs of optimizer steps. Independent of Python.
//
// A trained network depends on data, description and seed alone: no sum is split by threads or by
// vector width. The forward pass equals that of network.h, bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "buffer.h"
#include "kernels.h"
#include "network.h"

namespace nnkernels {

enum class Loss { kCrossEntropy, kBinaryCrossEntropy, kSquaredError, kAbsoluteError, kHuber, kPoisson };

// Targets of rows, contiguous: labels from 0 to outputs - 1 (only for cross_entropy), or one target
// per output. cross_entropy has one loss term per row, the other losses one per output. Weights are
// per row or per term.
template <class C>
struct Targets {
  const std::int64_t* labels;  // or null
  const C* targets;            // if `labels` is null
  const double* weights;       // or null; finite, not negative
  bool weight_of_term;         // whether weights are per term instead of per row
};

// What to do with the weighted losses of the terms.
enum class Reduction { kNone, kSum, kMean };

struct LossSum {
  double losses = 0;   // sum of the weighted losses
  double weights = 0;  // sum of the weights; without weights, the number of terms

  double mean() const;
};

// Computes the loss of each term (weighted if kNone). Unless `gradients` is null, also computes the
// gradient of the reduced loss with respect to the outputs, multiplied by `scale`. A term of weight
// 0 counts as 0, NaN included. Gradient elements below `smallest` count as 0. `factors` has room
// for one number per term; it may be null if there are no weights. Losses are added in double: 8
// interleaved partial sums within 256 rows, then the tree of kernels/sum.h.
template <class C>
LossSum compute_loss(Loss loss, double option, const C* outputs, std::size_t rows, std::size_t n, const Targets<C>& targets,
                     Reduction reduction, C* losses, C* gradients, C* factors, C smallest = 0, double scale = 1);

struct Optimizer {
  // kAdamHat is Adam with epsilon added to the uncorrected sqrt(v): D. P. Kingma and J. Ba, 2015,
  // end of section 2.
  enum class Kind { kSgd, kAdam, kAdamW, kAdamHat } kind;
  double learning_rate;
  double beta_1;  // kSgd: momentum
  double beta_2;  // kSgd: 1 for Nesterov's momentum, else 0
  double epsilon;
  double weight_decay;
};

// Sums over the batches of an epoch, weighted by the rows of each batch.
struct BatchSums {
  double losses = 0;   // of the batch's mean loss
  double penalty = 0;  // of half the sum of squared weights, divided by the sum of the batch's row weights
};

// Training data: x is rows x inputs, contiguous.
template <class C>
struct Examples {
  const C* x;
  std::size_t rows;
  Targets<C> targets;
};

struct TrainerLayer {
  std::size_t inputs;
  std::size_t outputs;
  Activation activation;
  double option = 0;                            // of the activation
  bool scales = false;                          // whether the layer is a Scale: no parameters, as many outputs as inputs
  std::vector<double> offset = {}, scale = {};  // of a Scale
};

template <class C>
class Trainer {
 public:
  using Element = C;

  using Layer = TrainerLayer;

  // Makes a network of layers that chain, with all parameters 0. `batch` is the maximum number of
  // rows of a batch; `moments` is 0, 1 (momentum) or 2 (Adam). Throws std::bad_alloc.
  Trainer(std::vector<Layer> layers, Loss loss, double option, std::size_t batch, std::size_t moments);

  std::size_t inputs() const { return layers_.front().inputs; }
  std::size_t outputs() const { return layers_.back().outputs; }
  Loss loss() const { return loss_; }
  std::size_t batch() const { return batch_; }

  // Flat arrays: for each layer the weights (outputs x inputs), then the bias.
  std::size_t size() const { return size_; }
  C* parameters() { return parameters_.data(); }
  C* gradient() { return gradient_.data(); }
  std::size_t moments() const { return moments_.size(); }
  C* moment(std::size_t i) { return moments_[i].data(); }

  std::uint64_t steps = 0;  // optimizer steps so far

  // Called about once per kPollWork multiplications, on the calling thread. May throw, which
  // abandons the current step half-way.
  std::function<void()> poll;

  // Makes one step per batch, over all rows. Returns the sum of the batches' losses, each taken
  // before its step. A batch whose weights are all 0 makes no step. The inputs of a row whose
  // weights are all 0 count as 0. Throws std::bad_alloc.
  LossSum run_epoch(const Examples<C>& all, const Optimizer& optimizer, std::uint64_t seed, std::uint64_t epoch, bool shuffle);

  // The same in scikit-learn's conventions, over the `count` rows in `order` (null: all rows in
  // sequence). Before each step, the gradient of the batch's mean loss is multiplied by `scale`,
  // and the weight decay is divided by the sum of the batch's row weights (without weights, its
  // number of rows).
  BatchSums run_batches(const Examples<C>& all, const Optimizer& optimizer, const std::size_t* order, std::size_t count,
                        double scale);

  LossSum evaluate(const Examples<C>& all);

  // The loss of at most one batch of rows, and the gradient of its mean. Elements of the gradient
  // with respect to the outputs below `smallest` count as 0.
  LossSum compute_gradient(const Examples<C>& all, C smallest = 0);

  // The gradients with respect to parameters and inputs of at most one batch of rows, from the
  // gradient with respect to the outputs.
  void backward(const C* x, std::size_t rows, const C* by_outputs, C* by_inputs);

 private:
  // Where a layer's weights and bias begin in the flat arrays, and its packed weights in
  // `gradient_`.
  struct Place {
    std::size_t weights;
    std::size_t bias;
    std::size_t packed;
  };

  template <class Body>
  void share(std::size_t n, std::size_t work, std::size_t multiple, Body body);
  void multiply(const OuterProduct<C>& product);
  void pack();
  void forward(const C* x, std::size_t rows);
  LossSum forward_to_loss(const Examples<C>& batch, C smallest, double scale = 1);
  double half_squares() const;
  void scale_rows(const Layer& layer, const double* offset, const C* from, std::size_t rows, C* to);
  void backward_layers(const C* x, std::size_t rows, C* by_inputs);
  template <class Choose>
  void run_steps(const Examples<C>& all, const std::size_t* order, std::size_t count, double scale, Choose choose);
  void step(const Optimizer& optimizer);
  bool counts(const Targets<C>& targets, std::size_t row) const;
  void look_for_weightless_rows(const Examples<C>& all);
  Examples<C> gather(const Examples<C>& all, const std::size_t* order, std::size_t first, std::size_t rows);

  std::vector<Layer> layers_;
  std::vector<Place> places_;
  Loss loss_;
  double option_;
  std::size_t batch_;
  std::size_t capacity_;  // maximum rows of one forward pass
  std::size_t size_ = 0;
  std::size_t work_ = 0;  // since the last poll
  bool has_weightless_rows_ = false;
  Buffer<C> parameters_;
  Buffer<C> gradient_;  // holds the packed weights until the backward pass
  std::vector<Buffer<C>> moments_;
  std::vector<Buffer<C>> activations_;  // the outputs of each layer
  std::vector<Buffer<C>> sums_;         // the activation's inputs, for layers whose gradient needs them
  Buffer<C> deltas_[2];                 // the gradients with respect to a layer's outputs and inputs
  Buffer<C> losses_;                    // of the terms
  std::vector<double> zeros_;           // the offsets of a Scale's gradient
  // Allocated on first use.
  Buffer<C> factors_, batch_x_, batch_targets_;
  Buffer<std::int64_t> batch_labels_;
  Buffer<double> batch_weights_;
  Buffer<std::size_t> order_;
};

}  // namespace nnkernels
