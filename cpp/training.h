// Learning: the loss of a network, its gradient, and epochs of an optimizer's steps. Knows nothing of Python.
//
// A trained network depends on data, description and seed alone: no sum is cut at a thread or a vector. The forward pass is
// that of network.h, bit for bit.
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

// Targets of rows: labels (of cross_entropy alone, in 0, ..., outputs - 1), or as many targets. Contiguous.
// A term of the loss is a row of cross_entropy, and an output otherwise. Where there are weights, each row has one, or each
// term.
template <class C>
struct Targets {
  const std::int64_t* labels;  // or null
  const C* targets;            // where there are no labels
  const double* weights;       // or null; finite, not negative
  bool weight_of_term;         // rather than of each row
};

// What becomes of the losses of the terms, each times its weight.
enum class Reduction { kNone, kSum, kMean };

struct LossSum {
  double losses = 0;   // the sum of the terms, each times its weight
  double weights = 0;  // the sum of their weights; the number of terms if there are none

  double mean() const;
};

// The loss of each term (times its weight with kNone) and, unless null, the gradient of the reduced loss by the outputs.
// `factors`: room for a number a term, which may be null if there are no weights. A term of weight 0 counts as 0, whatever it
// is, and so does an element of the gradient below `smallest`. The gradient is multiplied by `scale`. Terms are added in
// double: in 8 interleaved partial sums within 256 rows, and these sums as the tree of kernels/sum.h.
template <class C>
LossSum compute_loss(Loss loss, double option, const C* outputs, std::size_t rows, std::size_t n, const Targets<C>& targets,
                     Reduction reduction, C* losses, C* gradients, C* factors, C smallest = 0, double scale = 1);

struct Optimizer {
  // kAdamHat is Adam whose epsilon is added to sqrt(v) before this is corrected: the end of section 2 of the paper.
  enum class Kind { kSgd, kAdam, kAdamW, kAdamHat } kind;
  double learning_rate;
  double beta_1;  // of sgd: momentum
  double beta_2;  // of sgd: 1 for Nesterov's momentum, or 0
  double epsilon;
  double weight_decay;
};

// Sums over the batches of an epoch, each batch times its rows.
struct BatchSums {
  double losses = 0;   // of its mean loss
  double penalty = 0;  // of half the sum of the squared weights, over the sum of its rows' weights
};

// Rows to learn from: x is rows x inputs, contiguous.
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
  bool scales = false;                          // whether it is a Scale, which has no parameters, and as many outputs as inputs
  std::vector<double> offset = {}, scale = {};  // of a Scale
};

template <class C>
class Trainer {
 public:
  using Element = C;

  using Layer = TrainerLayer;

  // A network of layers that chain, whose parameters are 0 at first; its loss, of the outputs; the rows of a batch at most; and
  // the number of moments: 0, 1 (momentum) or 2 (Adam). Throws std::bad_alloc.
  Trainer(std::vector<Layer> layers, Loss loss, double option, std::size_t batch, std::size_t moments);

  std::size_t inputs() const { return layers_.front().inputs; }
  std::size_t outputs() const { return layers_.back().outputs; }
  Loss loss() const { return loss_; }
  std::size_t batch() const { return batch_; }

  // Flat arrays: layer after layer, the weights (outputs x inputs) and then the bias.
  std::size_t size() const { return size_; }
  C* parameters() { return parameters_.data(); }
  C* gradient() { return gradient_.data(); }
  std::size_t moments() const { return moments_.size(); }
  C* moment(std::size_t i) { return moments_[i].data(); }

  std::uint64_t steps = 0;  // that an optimizer has made

  // Called about once in kPollWork multiplications, on the calling thread; may throw, which leaves the trainer half-way in a
  // step.
  std::function<void()> poll;

  // Steps over all rows, once. Returns the losses of each batch before its step. A batch whose weights are all 0 makes no step,
  // and the inputs of a row whose weights are all 0 are taken as 0. Throws std::bad_alloc.
  LossSum run_epoch(const Examples<C>& all, const Optimizer& optimizer, std::uint64_t seed, std::uint64_t epoch, bool shuffle);

  // The same in scikit-learn's conventions, over `count` rows by their numbers in `order` (all, in sequence, if that is null):
  // the gradient of a batch's mean loss is multiplied by `scale`, and the weight decay of a batch divided by the sum of its
  // rows' weights, which is the number of its rows without weights. Both are taken before the step.
  BatchSums run_batches(const Examples<C>& all, const Optimizer& optimizer, const std::size_t* order, std::size_t count,
                        double scale);

  LossSum evaluate(const Examples<C>& all);

  // The loss of at most a batch of rows, and the gradient of its mean. Gradients by outputs below `smallest` are taken as 0.
  LossSum compute_gradient(const Examples<C>& all, C smallest = 0);

  // The gradients by parameters and inputs of at most a batch of rows, from that by the outputs.
  void backward(const C* x, std::size_t rows, const C* by_outputs, C* by_inputs);

 private:
  // Where a layer's numbers begin: in the flat arrays, and packed.
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
  std::size_t capacity_;  // rows that the activations have room for
  std::size_t size_ = 0;
  std::size_t work_ = 0;  // since the last poll
  bool has_weightless_rows_ = false;
  Buffer<C> parameters_;
  Buffer<C> gradient_;  // holds the packed weights until there is a gradient
  std::vector<Buffer<C>> moments_;
  std::vector<Buffer<C>> activations_;  // the outputs of each layer
  std::vector<Buffer<C>> sums_;         // what its activation is of, where the gradient needs that
  Buffer<C> deltas_[2];                 // the gradients by the outputs of a layer and by its inputs
  Buffer<C> losses_;                    // of the terms
  std::vector<double> zeros_;           // offsets where gradients are scaled
  // Allocated at the first step that needs them.
  Buffer<C> factors_, batch_x_, batch_targets_;
  Buffer<std::int64_t> batch_labels_;
  Buffer<double> batch_weights_;
  Buffer<std::size_t> order_;
};

}  // namespace nnkernels
