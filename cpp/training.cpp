#include "training.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "dispatch.h"
#include "kernels/sum.h"
#include "random.h"
#include "threads.h"

namespace nnkernels {
namespace {

// Multiplications between two polls: about 2 ms on one thread, and well below a second even with
// subnormal numbers.
constexpr std::size_t kPollWork = 100'000'000;

// Loops of fewer multiplications stay on the calling thread: the serial work between loops would
// keep threads waiting for as long as sharing saves.
constexpr std::size_t kSharedWork = 1'500'000;

// Costs in multiplications, in this order: to gather an element (possibly from memory), pack an
// element, activate an element, compute an output's loss, update a parameter.
constexpr std::size_t kGatherWork = 48;
constexpr std::size_t kPackWork = 16;
constexpr std::size_t kElementWork = 4;
constexpr std::size_t kLossWork = 100;
constexpr std::size_t kStepWork = 64;

// A multiple of the elements of a vector.
constexpr std::size_t kVectorMultiple = 16;

// Rows per leaf of the tree of losses; within a leaf, losses are added in kLossSums partial sums.
constexpr std::size_t kLossBlock = 256;
constexpr std::size_t kLossSums = 8;

using LossTree = TreeSums<double, 1, 56>;

// The sum of value(i) for i = begin, ..., end - 1.
template <class Value>
double sum_block(std::size_t begin, std::size_t end, Value value) {
  double sums[kLossSums] = {};
  std::size_t i = begin;
  for (; i + kLossSums <= end; i += kLossSums) {
    for (std::size_t j = 0; j < kLossSums; ++j) sums[j] += value(i + j);
  }
  for (std::size_t j = 0; i < end; ++i, ++j) sums[j] += value(i);
  for (std::size_t half = kLossSums / 2; half > 0; half /= 2) {
    for (std::size_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  return sums[0];
}

// The sum of value(i) over `terms` terms of each row.
template <class Value>
double sum_rows(std::size_t rows, std::size_t terms, Value value) {
  LossTree tree;
  for (std::size_t row = 0; row < rows; row += kLossBlock) {
    double sum = sum_block(row * terms, std::min(row + kLossBlock, rows) * terms, value);
    tree.add(&sum);
  }
  double total;
  tree.totals(&total);
  return total;
}

// The weight of term i, if there are weights.
template <class C>
double weight_of(const Targets<C>& targets, std::size_t terms, std::size_t i) {
  return targets.weights[targets.weight_of_term || terms == 1 ? i : i / terms];
}

template <class C>
double sum_weights(const Targets<C>& targets, std::size_t rows, std::size_t terms) {
  if (targets.weights == nullptr) return static_cast<double>(rows) * static_cast<double>(terms);
  return sum_rows(rows, terms, [&](std::size_t i) { return weight_of(targets, terms, i); });
}

// Calls use(value), where value(i) is the weighted loss of term i.
template <class C, class Use>
double with_weights(const Targets<C>& targets, std::size_t terms, const C* losses, Use use) {
  if (targets.weights == nullptr) return use([losses](std::size_t i) { return static_cast<double>(losses[i]); });
  return use([&](std::size_t i) {
    const double weight = weight_of(targets, terms, i);
    return weight == 0 ? 0 : static_cast<double>(losses[i]) * weight;
  });
}

template <class C>
typename Learning<C>::Loss* loss_kernel(Loss loss) {
  const Learning<C>& table = kernels().learning<C>();
  switch (loss) {
    case Loss::kCrossEntropy:
      return table.cross_entropy;
    case Loss::kBinaryCrossEntropy:
      return table.binary_cross_entropy;
    case Loss::kSquaredError:
      return table.squared_error;
    case Loss::kAbsoluteError:
      return table.absolute_error;
    case Loss::kHuber:
      return table.huber;
    case Loss::kPoisson:
      return table.poisson;
  }
  return nullptr;
}

std::size_t terms_of(Loss loss, std::size_t n) { return loss == Loss::kCrossEntropy ? 1 : n; }

// The targets from row `row` on.
template <class C>
Targets<C> targets_from(Targets<C> targets, std::size_t row, std::size_t n, std::size_t terms) {
  if (targets.labels != nullptr) targets.labels += row;
  if (targets.targets != nullptr) targets.targets += row * n;
  if (targets.weights != nullptr) targets.weights += row * (targets.weight_of_term ? terms : 1);
  return targets;
}

// Unweighted losses of all rows, shared among threads.
template <class C>
void loss_terms(Loss loss, const LossRows<C>& all) {
  parallel_for({all.rows, worth_a_thread(all.n * kLossWork), kVectorMultiple}, [&](std::size_t begin, std::size_t end) {
    loss_kernel<C>(loss)(all.from(begin, end - begin, terms_of(loss, all.n)));
  });
}

// Backpropagates through a layer's activation, in place.
template <class C>
void activation_gradient(const TrainerLayer& layer, const C* values, C* gradients, std::size_t rows) {
  const Learning<C>& table = kernels().learning<C>();
  if (layer.activation == Activation::kNone) return;
  if (layer.activation == Activation::kSoftmax) {
    table.softmax_gradient(values, gradients, rows, layer.outputs);
  } else if (layer.activation == Activation::kLogSoftmax) {
    table.log_softmax_gradient(values, gradients, rows, layer.outputs);
  } else {
    table.of(layer.activation)(values, gradients, rows * layer.outputs, layer.option);
  }
}

// base^n by squaring, for base <= 1. Powers below 2^-100 are negligible beside 1 and become 0,
// since subnormal numbers are slow.
double power(double base, std::uint64_t n) {
  double result = 1;
  for (; n != 0; n >>= 1, base *= base) {
    if (base < 0x1p-100) return 0;
    if (n & 1) result *= base;
  }
  return result;
}

// A buffer of at least n elements, allocated on first use.
template <class C>
C* at_least(Buffer<C>& buffer, std::size_t n) {
  if (buffer.size() < n) buffer = Buffer<C>(n);
  return buffer.data();
}

}  // namespace

double LossSum::mean() const { return losses / weights; }

template <class C>
LossSum compute_loss(Loss loss, double option, const C* outputs, std::size_t rows, std::size_t n, const Targets<C>& targets,
                     Reduction reduction, C* losses, C* gradients, C* factors, C smallest, double scale) {
  const std::size_t terms = terms_of(loss, n);
  LossSum sum;
  sum.weights = sum_weights(targets, rows, terms);
  const double divisor = reduction == Reduction::kMean ? sum.weights : 1;
  LossRows<C> all{};
  all.outputs = outputs;
  all.rows = rows;
  all.n = n;
  all.labels = targets.labels;
  all.targets = targets.targets;
  all.option = static_cast<C>(option);
  all.losses = losses;
  all.gradients = gradients;
  all.factor = static_cast<C>(scale / divisor);
  all.smallest = smallest;
  if (gradients != nullptr && targets.weights != nullptr) {
    for (std::size_t i = 0; i < rows * terms; ++i) factors[i] = static_cast<C>(weight_of(targets, terms, i) * scale / divisor);
    all.factors = factors;
  }
  loss_terms(loss, all);
  sum.losses = with_weights(targets, terms, losses, [&](auto value) { return sum_rows(rows, terms, value); });
  if (reduction == Reduction::kNone) {
    with_weights(targets, terms, losses, [&](auto value) {
      for (std::size_t i = 0; i < rows * terms; ++i) losses[i] = static_cast<C>(value(i));
      return 0;
    });
  }
  return sum;
}

template <class C>
Trainer<C>::Trainer(std::vector<Layer> layers, Loss loss, double option, std::size_t batch, std::size_t moments)
    : layers_(std::move(layers)), loss_(loss), option_(option), batch_(batch) {
  const Kernels<C>& table = kernels().of<C>();
  std::size_t packed = 0, widest = 0, widest_row = 0;
  for (const Layer& layer : layers_) {
    const std::size_t weights = layer.scales ? 0 : layer.inputs * layer.outputs, bias = layer.scales ? 0 : layer.outputs;
    places_.push_back({size_, size_ + weights, packed});
    size_ += weights + bias;
    if (!layer.scales) packed += table.packed_size(layer.outputs, layer.inputs);
    if (layer.scales) zeros_.resize(std::max(zeros_.size(), layer.inputs));
    widest = std::max(widest, layer.outputs);
    widest_row += layer.outputs;
  }
  // Rows at once in evaluate(): a batch, or more if they fit in the cache.
  capacity_ =
      std::max({batch, std::min(kLossBlock, kBlockBytes / sizeof(C) / std::max<std::size_t>(widest_row, 1)), std::size_t{1}});
  parameters_ = Buffer<C>(size_);
  std::fill_n(parameters_.data(), size_, C(0));
  gradient_ = Buffer<C>(std::max({size_, packed, std::size_t{1}}));
  std::fill_n(gradient_.data(), size_, C(0));
  for (std::size_t i = 0; i < moments; ++i) {
    moments_.emplace_back(size_);
    std::fill_n(moments_.back().data(), size_, C(0));
  }
  for (const Layer& layer : layers_) {
    activations_.emplace_back(capacity_ * layer.outputs);
    sums_.emplace_back(has_gradient_of_inputs(layer.activation) ? capacity_ * layer.outputs : 0);
  }
  for (Buffer<C>& delta : deltas_) delta = Buffer<C>(batch_ * widest);
  losses_ = Buffer<C>(std::max(batch_, kLossBlock) * terms_of(loss_, outputs()));
}

// Calls body(begin, end) for ranges that cover 0, ..., n - 1, with `work` multiplications per item.
// Shares them among threads if that pays. Polls from time to time, after at least a few multiples.
template <class C>
template <class Body>
void Trainer<C>::share(std::size_t n, std::size_t work, std::size_t multiple, Body body) {
  constexpr std::size_t kFewest = 8;
  const std::size_t at_once = std::max(kPollWork / std::max<std::size_t>(work, 1) / multiple, kFewest) * multiple;
  for (std::size_t done = 0; done < n; done += at_once) {
    const std::size_t count = std::min(at_once, n - done);
    const auto part = [&](std::size_t begin, std::size_t end) { body(done + begin, done + end); };
    if (count * work < kSharedWork) {
      part(0, count);
    } else {
      parallel_for({count, worth_a_thread(work), multiple}, part);
    }
    work_ += count * work;
    if (work_ >= kPollWork) {
      work_ = 0;
      if (poll) poll();
    }
  }
}

// Shared along the longer side of the outputs.
template <class C>
void Trainer<C>::multiply(const OuterProduct<C>& product) {
  const Learning<C>& table = kernels().learning<C>();
  const auto compute = [&](OuterProduct<C>& part) {
    part.scratch = reinterpret_cast<C*>(thread_scratch(table.outer_scratch(part) * sizeof(C)));
    table.outer_product(part);
  };
  if (product.rows >= product.columns) {
    share(product.rows, product.columns * product.steps, kTileMultiple, [&](std::size_t begin, std::size_t end) {
      OuterProduct<C> part = product;
      part.a += static_cast<std::ptrdiff_t>(begin) * product.a_row;
      part.outputs += static_cast<std::ptrdiff_t>(begin) * product.outputs_stride;
      part.rows = end - begin;
      compute(part);
    });
  } else {
    share(product.columns, product.rows * product.steps, kVectorMultiple, [&](std::size_t begin, std::size_t end) {
      OuterProduct<C> part = product;
      part.b += begin;
      part.outputs += begin;
      part.columns = end - begin;
      compute(part);
    });
  }
}

template <class C>
void Trainer<C>::pack() {
  const Kernels<C>& table = kernels().of<C>();
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    if (layer.scales) continue;
    const auto size = static_cast<std::ptrdiff_t>(sizeof(C)), row_bytes = static_cast<std::ptrdiff_t>(layer.inputs * sizeof(C));
    share(layer.outputs, layer.inputs * kPackWork, table.panel_outputs, [&](std::size_t begin, std::size_t end) {
      const C* weights = parameters_.data() + places_[l].weights + begin * layer.inputs;
      table.pack({weights, row_bytes, size, end - begin, layer.inputs},
                 gradient_.data() + places_[l].packed + table.packed_size(begin, layer.inputs));
    });
  }
}

// Forward pass through all layers, keeping the activations. The weights must be packed.
template <class C>
void Trainer<C>::forward(const C* x, std::size_t rows) {
  const Kernels<C>& table = kernels().of<C>();
  std::size_t work = 0, width = 0;
  for (const Layer& layer : layers_) {
    work += layer.inputs * layer.outputs + kElementWork * (layer.inputs + layer.outputs);
    width = std::max(width, layer.inputs + layer.outputs);
  }
  const std::size_t block = std::max<std::size_t>(kBlockBytes / sizeof(C) / std::max<std::size_t>(width, 1), 1);
  share(rows, work, kTileMultiple, [&](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; row += block) {
      const std::size_t count = std::min(block, end - row);
      const C* from = x + row * inputs();
      for (std::size_t l = 0; l < layers_.size(); ++l) {
        const Layer& layer = layers_[l];
        C* const to = activations_[l].data() + row * layer.outputs;
        if (layer.scales) {
          scale_rows(layer, layer.offset.data(), from, count, to);
          from = to;
          continue;
        }
        DenseRows<C> dense{};
        dense.x = from;
        dense.x_stride = static_cast<std::ptrdiff_t>(layer.inputs);
        dense.rows = count;
        dense.packed = gradient_.data() + places_[l].packed;
        dense.weights.inputs = layer.inputs;
        dense.weights.outputs = layer.outputs;
        dense.bias = parameters_.data() + places_[l].bias;
        dense.relu = layer.activation == Activation::kRelu;
        const bool keeps_sums = has_gradient_of_inputs(layer.activation);
        dense.outputs = keeps_sums ? sums_[l].data() + row * layer.outputs : to;
        dense.outputs_stride = static_cast<std::ptrdiff_t>(layer.outputs);
        table.dense(dense);
        constexpr auto kSize = static_cast<std::ptrdiff_t>(sizeof(C));
        if (keeps_sums) {
          table.of(layer.activation)({dense.outputs, kSize}, {to, kSize}, count * layer.outputs, Stores::kCached, layer.option);
        } else {
          const auto row_bytes = static_cast<std::ptrdiff_t>(layer.outputs) * kSize;
          activate(layer.activation, layer.option, Rows<C>{to, row_bytes, kSize}, count, layer.outputs);
        }
        from = to;
      }
    }
  });
}

// (from - offset) * scale for the rows of a Scale.
template <class C>
void Trainer<C>::scale_rows(const Layer& layer, const double* offset, const C* from, std::size_t rows, C* to) {
  const auto size = static_cast<std::ptrdiff_t>(sizeof(C)), row_bytes = static_cast<std::ptrdiff_t>(layer.inputs) * size;
  kernels().of<C>().scale({{from, row_bytes, size}, {to, row_bytes, size}, rows, layer.inputs, offset, layer.scale.data()});
}

// The gradients of all layers. deltas_[0] must hold the gradient with respect to the last layer's
// outputs.
template <class C>
void Trainer<C>::backward_layers(const C* x, std::size_t rows, C* by_inputs) {
  static constexpr C kOne = 1;
  C* delta = deltas_[0].data();
  C* other = deltas_[1].data();
  for (std::size_t l = layers_.size(); l-- > 0;) {
    const Layer& layer = layers_[l];
    C* const before = l == 0 ? by_inputs : other;
    if (layer.scales) {
      if (before == nullptr) break;
      scale_rows(layer, zeros_.data(), delta, rows, before);
      std::swap(delta, other);
      continue;
    }
    const auto n_in = static_cast<std::ptrdiff_t>(layer.inputs), n_out = static_cast<std::ptrdiff_t>(layer.outputs);
    share(rows, layer.outputs * kElementWork, kVectorMultiple, [&](std::size_t begin, std::size_t end) {
      const C* const values = (has_gradient_of_inputs(layer.activation) ? sums_ : activations_)[l].data();
      activation_gradient(layer, values + begin * layer.outputs, delta + begin * layer.outputs, end - begin);
    });
    OuterProduct<C> by_weights{};
    by_weights.a = delta;
    by_weights.a_step = n_out;
    by_weights.a_row = 1;
    by_weights.b = l == 0 ? x : activations_[l - 1].data();
    by_weights.b_step = n_in;
    by_weights.steps = rows;
    by_weights.rows = layer.outputs;
    by_weights.columns = layer.inputs;
    by_weights.outputs = gradient_.data() + places_[l].weights;
    by_weights.outputs_stride = n_in;
    multiply(by_weights);

    OuterProduct<C> by_bias{};  // column sums, as a product with ones
    by_bias.a = &kOne;
    by_bias.b = delta;
    by_bias.b_step = n_out;
    by_bias.steps = rows;
    by_bias.rows = 1;
    by_bias.columns = layer.outputs;
    by_bias.outputs = gradient_.data() + places_[l].bias;
    multiply(by_bias);

    if (before == nullptr) break;
    OuterProduct<C> by_layer_inputs{};
    by_layer_inputs.a = delta;
    by_layer_inputs.a_step = 1;
    by_layer_inputs.a_row = n_out;
    by_layer_inputs.b = parameters_.data() + places_[l].weights;
    by_layer_inputs.b_step = n_in;
    by_layer_inputs.steps = layer.outputs;
    by_layer_inputs.rows = rows;
    by_layer_inputs.columns = layer.inputs;
    by_layer_inputs.outputs = before;
    by_layer_inputs.outputs_stride = n_in;
    multiply(by_layer_inputs);
    std::swap(delta, other);
  }
}

template <class C>
void Trainer<C>::step(const Optimizer& optimizer) {
  using Kind = Optimizer::Kind;
  const Learning<C>& table = kernels().learning<C>();
  ++steps;
  // Calls update(begin, end, decay) for ranges of parameters: weights, which decay, and biases.
  const auto visit = [&](auto update) {
    if (optimizer.weight_decay == 0) {
      share(size_, kStepWork, 1024, [&](std::size_t begin, std::size_t end) { update(begin, end, 0.0); });
      return;
    }
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const auto [weights, bias, packed] = places_[l];
      share(bias - weights, kStepWork, 1024, [&, first = weights](std::size_t begin, std::size_t end) {
        update(first + begin, first + end, optimizer.weight_decay);
      });
      if (!layers_[l].scales) update(bias, bias + layers_[l].outputs, 0.0);
    }
  };
  if (optimizer.kind == Kind::kSgd) {
    SgdStep<C> sgd{};
    sgd.rate = static_cast<C>(optimizer.learning_rate);
    sgd.momentum = static_cast<C>(optimizer.beta_1);
    sgd.nesterov = optimizer.beta_2 != 0;
    visit([&](std::size_t begin, std::size_t end, double decay) {
      SgdStep<C> part = sgd;
      part.parameters = parameters_.data() + begin;
      part.velocity = moments_.empty() ? nullptr : moments_[0].data() + begin;
      part.gradient = gradient_.data() + begin;
      part.n = end - begin;
      part.decay = static_cast<C>(decay);
      table.sgd(part);
    });
    return;
  }
  const bool decoupled = optimizer.kind == Kind::kAdamW;
  AdamStep<C> adam{};
  const double rate = optimizer.learning_rate / (1 - power(optimizer.beta_1, steps));
  const double root = std::sqrt(1 - power(optimizer.beta_2, steps));  // the bias correction of sqrt(v)
  const bool hat = optimizer.kind == Kind::kAdamHat;
  adam.rate = static_cast<C>(hat ? rate * root : rate);
  adam.root_scale = static_cast<C>(hat ? 1 : 1 / root);
  adam.rest_1 = static_cast<C>(1 - optimizer.beta_1);
  adam.rest_2 = static_cast<C>(1 - optimizer.beta_2);
  adam.epsilon = static_cast<C>(optimizer.epsilon);
  visit([&](std::size_t begin, std::size_t end, double decay) {
    AdamStep<C> part = adam;
    part.parameters = parameters_.data() + begin;
    part.first_moment = moments_[0].data() + begin;
    part.second_moment = moments_[1].data() + begin;
    part.gradient = gradient_.data() + begin;
    part.n = end - begin;
    part.decay = static_cast<C>(decoupled ? 0 : decay);
    part.shrink = static_cast<C>(decoupled ? 1 - optimizer.learning_rate * decay : 1);
    table.adam(part);
  });
}

// Whether any weight of a row is above 0.
template <class C>
bool Trainer<C>::counts(const Targets<C>& targets, std::size_t row) const {
  if (targets.weights == nullptr) return true;
  const std::size_t n = targets.weight_of_term ? terms_of(loss_, outputs()) : 1;
  const double* const weights = targets.weights + row * n;
  return std::any_of(weights, weights + n, [](double weight) { return weight != 0; });
}

template <class C>
void Trainer<C>::look_for_weightless_rows(const Examples<C>& all) {
  has_weightless_rows_ = false;
  for (std::size_t row = 0; all.targets.weights != nullptr && row < all.rows; ++row) {
    has_weightless_rows_ |= !counts(all.targets, row);
  }
}

// Copies the rows of a batch to contiguous memory: rows order[first], order[first + 1], ..., or in
// sequence if `order` is null. The inputs of a weightless row become 0, since its NaN would count.
template <class C>
Examples<C> Trainer<C>::gather(const Examples<C>& all, const std::size_t* order, std::size_t first, std::size_t rows) {
  const std::size_t n = outputs(), terms = terms_of(loss_, n), row_weights = all.targets.weight_of_term ? terms : 1;
  if (order == nullptr && !has_weightless_rows_) {
    return {all.x + first * inputs(), rows, targets_from(all.targets, first, n, terms)};
  }
  const Targets<C>& from = all.targets;
  C* const x = at_least(batch_x_, batch_ * inputs());
  C* const targets = from.targets != nullptr ? at_least(batch_targets_, batch_ * n) : nullptr;
  std::int64_t* const labels = from.labels != nullptr ? at_least(batch_labels_, batch_) : nullptr;
  double* const weights = from.weights != nullptr ? at_least(batch_weights_, batch_ * row_weights) : nullptr;
  const auto number = [&](std::size_t i) { return order != nullptr ? order[first + i] : first + i; };
  share(rows, (inputs() + n) * kGatherWork, 1, [&](std::size_t begin, std::size_t end) {
    constexpr std::size_t kAhead = 4;  // rows to prefetch ahead, since shuffled rows come from anywhere
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t row = number(i);
      if (i + kAhead < rows) {
        const auto* next = reinterpret_cast<const char*>(all.x + number(i + kAhead) * inputs());
        for (std::size_t byte = 0; byte < inputs() * sizeof(C); byte += kLineBytes) __builtin_prefetch(next + byte);
      }
      for (std::size_t j = 0; weights != nullptr && j < row_weights; ++j) {
        weights[i * row_weights + j] = from.weights[row * row_weights + j];
      }
      if (counts(from, row)) {
        std::copy_n(all.x + row * inputs(), inputs(), x + i * inputs());
      } else {
        std::fill_n(x + i * inputs(), inputs(), C(0));
      }
      if (labels != nullptr) labels[i] = from.labels[row];
      if (targets != nullptr) std::copy_n(from.targets + row * n, n, targets + i * n);
    }
  });
  return {x, rows, {labels, targets, weights, from.weight_of_term}};
}

// Forward pass and loss. Leaves the gradient with respect to the outputs in deltas_[0].
template <class C>
LossSum Trainer<C>::forward_to_loss(const Examples<C>& batch, C smallest, double scale) {
  pack();
  forward(batch.x, batch.rows);
  C* const factors = batch.targets.weights != nullptr ? at_least(factors_, batch_ * terms_of(loss_, outputs())) : nullptr;
  return compute_loss(loss_, option_, activations_.back().data(), batch.rows, outputs(), batch.targets, Reduction::kMean,
                      losses_.data(), deltas_[0].data(), factors, smallest, scale);
}

// Makes one step per batch, with the optimizer from choose(loss, rows of the batch).
template <class C>
template <class Choose>
void Trainer<C>::run_steps(const Examples<C>& all, const std::size_t* order, std::size_t count, double scale, Choose choose) {
  look_for_weightless_rows(all);
  for (std::size_t first = 0; first < count; first += batch_) {
    const Examples<C> batch = gather(all, order, first, std::min(batch_, count - first));
    const LossSum loss = forward_to_loss(batch, kLeastGradient<C>, scale);
    if (loss.weights == 0) continue;
    const Optimizer optimizer = choose(loss, batch.rows);
    backward_layers(batch.x, batch.rows, nullptr);
    step(optimizer);
  }
}

template <class C>
LossSum Trainer<C>::run_epoch(const Examples<C>& all, const Optimizer& optimizer, std::uint64_t seed, std::uint64_t epoch,
                              bool shuffle) {
  std::size_t* const order = shuffle ? at_least(order_, all.rows) : nullptr;
  if (shuffle) permutation(seed, epoch, all.rows, order, poll);
  LossSum sum;
  run_steps(all, order, all.rows, 1, [&](const LossSum& loss, std::size_t) {
    sum.losses += loss.losses;
    sum.weights += loss.weights;
    return optimizer;
  });
  return sum;
}

// Half the sum of the squares of all weights.
template <class C>
double Trainer<C>::half_squares() const {
  double sum = 0;
  for (const Place& place : places_) {
    const Strided<const C> weights{parameters_.data() + place.weights, sizeof(C)};
    sum += static_cast<double>(kernels().of<C>().dot(weights, weights, place.bias - place.weights));
  }
  return sum / 2;
}

template <class C>
BatchSums Trainer<C>::run_batches(const Examples<C>& all, const Optimizer& optimizer, const std::size_t* order,
                                  std::size_t count, double scale) {
  const std::size_t terms = terms_of(loss_, outputs());
  BatchSums sums;
  run_steps(all, order, count, scale, [&](const LossSum& loss, std::size_t batch_rows) {
    const auto rows = static_cast<double>(batch_rows);
    const double row_weights = loss.weights / static_cast<double>(terms);
    sums.losses += rows * loss.mean();
    if (optimizer.weight_decay != 0) sums.penalty += rows * (half_squares() / row_weights);
    Optimizer of_batch = optimizer;
    of_batch.weight_decay /= row_weights;
    return of_batch;
  });
  return sums;
}

template <class C>
LossSum Trainer<C>::evaluate(const Examples<C>& all) {
  const std::size_t n = outputs(), terms = terms_of(loss_, n);
  LossTree tree;
  pack();
  for (std::size_t block = 0; block < all.rows; block += kLossBlock) {
    const std::size_t end = std::min(block + kLossBlock, all.rows);
    for (std::size_t row = block; row < end; row += capacity_) {
      const std::size_t count = std::min(capacity_, end - row);
      const Targets<C> targets = targets_from(all.targets, row, n, terms);
      forward(all.x + row * inputs(), count);
      LossRows<C> part{};
      part.outputs = activations_.back().data();
      part.rows = count;
      part.n = n;
      part.labels = targets.labels;
      part.targets = targets.targets;
      part.option = static_cast<C>(option_);
      part.losses = losses_.data() + (row - block) * terms;
      loss_terms(loss_, part);
    }
    const Targets<C> targets = targets_from(all.targets, block, n, terms);
    double sum =
        with_weights(targets, terms, losses_.data(), [&](auto value) { return sum_block(0, (end - block) * terms, value); });
    tree.add(&sum);
  }
  LossSum sum;
  tree.totals(&sum.losses);
  sum.weights = sum_weights(all.targets, all.rows, terms);
  return sum;
}

template <class C>
LossSum Trainer<C>::compute_gradient(const Examples<C>& all, C smallest) {
  look_for_weightless_rows(all);
  const Examples<C> batch = gather(all, nullptr, 0, all.rows);
  const LossSum sum = forward_to_loss(batch, smallest);
  backward_layers(batch.x, batch.rows, nullptr);
  return sum;
}

template <class C>
void Trainer<C>::backward(const C* x, std::size_t rows, const C* by_outputs, C* by_inputs) {
  pack();
  forward(x, rows);
  std::copy_n(by_outputs, rows * outputs(), deltas_[0].data());
  backward_layers(x, rows, by_inputs);
}

template LossSum compute_loss(Loss, double, const float*, std::size_t, std::size_t, const Targets<float>&, Reduction, float*,
                              float*, float*, float, double);
template LossSum compute_loss(Loss, double, const double*, std::size_t, std::size_t, const Targets<double>&, Reduction, double*,
                              double*, double*, double, double);
template class Trainer<float>;
template class Trainer<double>;

}  // namespace nnkernels
