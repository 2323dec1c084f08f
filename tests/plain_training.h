// Training as training.h defines it, in plain loops over the kernels of `generic` on one thread.
// The reference for training.cpp and fuzz_training.cpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "common.h"
#include "kernels.h"
#include "random.h"
#include "training.h"

namespace nnkernels {

// The gradient with respect to an activation's inputs, given the gradient g with respect to its
// outputs.
template <class C>
std::vector<C> plain_activation_gradient(Activation activation, double option, const std::vector<C>& inputs,
                                         const std::vector<C>& outputs, std::vector<C> g, std::size_t n) {
  if (activation == Activation::kNone) return g;
  const Learning<C>& kernels = generic.learning<C>();
  if (static_cast<std::size_t>(activation) < kElementwise) {
    const std::vector<C>& values = has_gradient_of_inputs(activation) ? inputs : outputs;
    kernels.of(activation)(values.data(), g.data(), g.size(), option);
  } else {
    const auto kernel = activation == Activation::kSoftmax ? kernels.softmax_gradient : kernels.log_softmax_gradient;
    kernel(outputs.data(), g.data(), n == 0 ? 0 : g.size() / n, n);
  }
  return g;
}

template <class C>
void plain_outer_product(OuterProduct<C> product) {
  std::vector<C> scratch(generic.learning<C>().outer_scratch(product));
  product.scratch = scratch.data();
  generic.learning<C>().outer_product(product);
}

// The sum of `terms` numbers per row: 8 interleaved partial sums in each block of 256 rows.
inline double plain_sum_of_rows(const std::vector<double>& numbers, std::size_t terms) {
  std::vector<double> blocks;
  const std::size_t block_size = 256 * terms;
  for (std::size_t block = 0; block < numbers.size(); block += block_size) {
    double sums[8] = {};
    for (std::size_t i = block; i < numbers.size() && i < block + block_size; ++i) sums[(i - block) % 8] += numbers[i];
    blocks.push_back(((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7])));
  }
  return plain_tree(blocks, 0, blocks.size());
}

template <class C>
struct PlainLoss {
  LossSum sum;
  std::vector<C> losses;     // per term; with kNone, times the weights
  std::vector<C> gradients;  // of the reduced loss, with respect to the outputs
};

template <class C>
PlainLoss<C> plain_loss(Loss loss, C option, const std::vector<C>& outputs, std::size_t rows, std::size_t n,
                        const Targets<C>& targets, Reduction reduction, C least, double scale = 1) {
  using L = Learning<C>;
  constexpr typename L::Loss* L::*kKernels[] = {
      &L::cross_entropy, &L::binary_cross_entropy, &L::squared_error, &L::absolute_error, &L::huber, &L::poisson};
  const std::size_t terms = loss == Loss::kCrossEntropy ? 1 : n;
  std::vector<double> weights(rows * terms, 1);
  for (std::size_t i = 0; targets.weights != nullptr && i < weights.size(); ++i) {
    weights[i] = targets.weights[targets.weight_of_term ? i : i / terms];
  }
  PlainLoss<C> result{{}, std::vector<C>(rows * terms), std::vector<C>(rows * n)};
  result.sum.weights = plain_sum_of_rows(weights, terms);
  const double divisor = reduction == Reduction::kMean ? result.sum.weights : 1;
  std::vector<C> factors(rows * terms);
  for (std::size_t i = 0; i < factors.size(); ++i) factors[i] = static_cast<C>(weights[i] * scale / divisor);
  (generic.learning<C>().*kKernels[static_cast<int>(loss)])({outputs.data(), rows, n, targets.labels, targets.targets, option,
                                                             result.losses.data(), result.gradients.data(), factors.data(), 0,
                                                             least});
  std::vector<double> numbers(rows * terms);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = weights[i] == 0 ? 0 : static_cast<double>(result.losses[i]) * weights[i];
  }
  result.sum.losses = plain_sum_of_rows(numbers, terms);
  if (reduction == Reduction::kNone) {
    for (std::size_t i = 0; i < numbers.size(); ++i) result.losses[i] = static_cast<C>(numbers[i]);
  }
  return result;
}

// base^n: the product of base^(2^i) over the bits i of n, from the lowest.
inline double plain_power(double base, std::uint64_t n) {
  double power = 1;
  for (; n != 0; n /= 2, base *= base) {
    if (n % 2 == 1) power *= base;
  }
  return power;
}

template <class C>
class PlainTrainer {
 public:
  using Layer = typename Trainer<C>::Layer;

  PlainTrainer(std::vector<Layer> layers, Loss loss, C option, std::size_t batch, std::size_t moments)
      : layers_(std::move(layers)), loss_(loss), option_(option), batch_(batch) {
    std::size_t size = 0;
    for (const Layer& layer : layers_) size += size_of(layer);
    parameters.resize(size);
    gradient.resize(size);
    this->moments.assign(moments, std::vector<C>(size));
  }

  std::vector<C> parameters, gradient;
  std::vector<std::vector<C>> moments;
  std::uint64_t steps = 0;

  LossSum run_epoch(const Examples<C>& all, const Optimizer& optimizer, std::uint64_t seed, std::uint64_t epoch, bool shuffle) {
    std::vector<std::size_t> order(all.rows);
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (shuffle) permutation(seed, epoch, all.rows, order.data());
    LossSum sum;
    for (std::size_t first = 0; first < all.rows; first += batch_) {
      const auto begin = order.begin() + static_cast<std::ptrdiff_t>(first);
      const std::vector<std::size_t> rows(begin, begin + static_cast<std::ptrdiff_t>(std::min(batch_, all.rows - first)));
      const LossSum loss = gradient_of_rows(all, rows, kLeastGradient<C>);
      if (loss.weights == 0) continue;
      sum.losses += loss.losses;
      sum.weights += loss.weights;
      step(optimizer);
    }
    return sum;
  }

  BatchSums run_batches(const Examples<C>& all, const Optimizer& optimizer, const std::vector<std::size_t>& order,
                        double scale) {
    BatchSums sums;
    for (std::size_t first = 0; first < order.size(); first += batch_) {
      const auto begin = order.begin() + static_cast<std::ptrdiff_t>(first);
      const std::vector<std::size_t> rows(begin, begin + static_cast<std::ptrdiff_t>(std::min(batch_, order.size() - first)));
      const std::size_t terms = loss_ == Loss::kCrossEntropy ? 1 : layers_.back().outputs;
      const double squares = half_squares(), count = static_cast<double>(rows.size());
      const LossSum loss = gradient_of_rows(all, rows, kLeastGradient<C>, scale);
      if (loss.weights == 0) continue;
      const double row_weights = loss.weights / static_cast<double>(terms);
      sums.losses += count * (loss.losses / loss.weights);
      if (optimizer.weight_decay != 0) sums.penalty += count * (squares / row_weights);
      Optimizer of_batch = optimizer;
      of_batch.weight_decay = optimizer.weight_decay / row_weights;
      step(of_batch);
    }
    return sums;
  }

  LossSum evaluate(const Examples<C>& all) const {
    const std::vector<C> x(all.x, all.x + all.rows * layers_.front().inputs);
    const std::size_t n = layers_.back().outputs;
    return plain_loss(loss_, option_, forward(x, all.rows).outputs.back(), all.rows, n, all.targets, Reduction::kSum, C(0)).sum;
  }

  LossSum compute_gradient(const Examples<C>& all) {
    std::vector<std::size_t> rows(all.rows);
    std::iota(rows.begin(), rows.end(), std::size_t{0});
    return gradient_of_rows(all, rows, 0);
  }

  // Returns the gradient with respect to the inputs.
  std::vector<C> backward(const std::vector<C>& x, std::size_t rows, std::vector<C> delta) {
    return backward(x, forward(x, rows), rows, std::move(delta));
  }

  // For each layer, the inputs of its activation and its outputs.
  struct Pass {
    std::vector<std::vector<C>> sums, outputs;
  };

  Pass forward(std::vector<C> x, std::size_t rows) const {
    Pass pass;
    const C* weights = parameters.data();
    for (const Layer& layer : layers_) {
      std::vector<C> y(rows * layer.outputs), scratch(generic.of<C>().dense_scratch);
      if (layer.scales) {
        for (std::size_t i = 0; i < y.size(); ++i) {
          const std::size_t column = i % layer.inputs;
          y[i] = static_cast<C>((static_cast<double>(x[i]) - layer.offset[column]) * layer.scale[column]);
        }
        pass.sums.emplace_back();
        pass.outputs.push_back(x = std::move(y));
        continue;
      }
      DenseRows<C> dense{};
      dense.x = x.data();
      dense.x_stride = static_cast<std::ptrdiff_t>(layer.inputs);
      dense.rows = rows;
      dense.weights = {weights, static_cast<std::ptrdiff_t>(layer.inputs * sizeof(C)), sizeof(C), layer.outputs, layer.inputs};
      dense.bias = weights + layer.inputs * layer.outputs;
      dense.outputs = y.data();
      dense.outputs_stride = static_cast<std::ptrdiff_t>(layer.outputs);
      dense.scratch = scratch.data();
      generic.of<C>().dense(dense);
      weights += (layer.inputs + 1) * layer.outputs;
      pass.sums.push_back(y);
      plain_activation(layer.activation, layer.option, y, layer.outputs);
      pass.outputs.push_back(x = std::move(y));
    }
    return pass;
  }

 private:
  // The number of a layer's parameters.
  static std::size_t size_of(const Layer& layer) { return layer.scales ? 0 : (layer.inputs + 1) * layer.outputs; }

  double half_squares() const {
    double sum = 0;
    const C* weights = parameters.data();
    for (const Layer& layer : layers_) {
      if (layer.scales) continue;
      sum += static_cast<double>(generic.of<C>().dot({weights, sizeof(C)}, {weights, sizeof(C)}, layer.inputs * layer.outputs));
      weights += size_of(layer);
    }
    return sum / 2;
  }

  LossSum gradient_of_rows(const Examples<C>& all, const std::vector<std::size_t>& rows, C least, double scale = 1) {
    const std::size_t inputs = layers_.front().inputs, n = layers_.back().outputs;
    const std::size_t terms = loss_ == Loss::kCrossEntropy ? 1 : n, row_weights = all.targets.weight_of_term ? terms : 1;
    std::vector<C> x, targets;
    std::vector<std::int64_t> labels;
    std::vector<double> weights;
    for (const std::size_t row : rows) {
      bool counts = all.targets.weights == nullptr;
      for (std::size_t i = 0; all.targets.weights != nullptr && i < row_weights; ++i) {
        weights.push_back(all.targets.weights[row * row_weights + i]);
        counts = counts || weights.back() != 0;
      }
      for (std::size_t i = 0; i < inputs; ++i) x.push_back(counts ? all.x[row * inputs + i] : C(0));
      if (all.targets.labels != nullptr) labels.push_back(all.targets.labels[row]);
      for (std::size_t i = 0; all.targets.targets != nullptr && i < n; ++i) {
        targets.push_back(all.targets.targets[row * n + i]);
      }
    }
    const Targets<C> batch{all.targets.labels != nullptr ? labels.data() : nullptr,
                           all.targets.targets != nullptr ? targets.data() : nullptr,
                           all.targets.weights != nullptr ? weights.data() : nullptr, all.targets.weight_of_term};
    const Pass pass = forward(x, rows.size());
    PlainLoss<C> loss = plain_loss(loss_, option_, pass.outputs.back(), rows.size(), n, batch, Reduction::kMean, least, scale);
    backward(x, pass, rows.size(), std::move(loss.gradients));
    return loss.sum;
  }

  std::vector<C> backward(const std::vector<C>& x, const Pass& pass, std::size_t rows, std::vector<C> delta) {
    std::size_t end = parameters.size();
    for (std::size_t l = layers_.size(); l-- > 0;) {
      const Layer& layer = layers_[l];
      const std::vector<C>& inputs = l == 0 ? x : pass.outputs[l - 1];
      const auto n_in = static_cast<std::ptrdiff_t>(layer.inputs), n_out = static_cast<std::ptrdiff_t>(layer.outputs);
      if (layer.scales) {
        for (std::size_t i = 0; i < delta.size(); ++i) {
          delta[i] = static_cast<C>(static_cast<double>(delta[i]) * layer.scale[i % layer.inputs]);
        }
        continue;
      }
      delta = plain_activation_gradient(layer.activation, layer.option, pass.sums[l], pass.outputs[l], std::move(delta),
                                        layer.outputs);
      const std::size_t bias = end - layer.outputs, weights = bias - layer.inputs * layer.outputs;
      plain_outer_product<C>({delta.data(), n_out, 1, inputs.data(), n_in, rows, layer.outputs, layer.inputs,
                              gradient.data() + weights, n_in, nullptr});
      for (std::size_t i = 0; i < layer.outputs; ++i) {
        std::vector<C> blocks;
        for (std::size_t row = 0; row < rows; ++row) {
          if (row % 256 == 0) blocks.push_back(0);
          blocks.back() += delta[row * layer.outputs + i];
        }
        gradient[bias + i] = plain_tree(blocks, 0, blocks.size());
      }
      std::vector<C> by_inputs(rows * layer.inputs);
      plain_outer_product<C>({delta.data(), 1, n_out, parameters.data() + weights, n_in, layer.outputs, rows, layer.inputs,
                              by_inputs.data(), n_in, nullptr});
      delta = std::move(by_inputs);
      end = weights;
    }
    return delta;
  }

  void step(const Optimizer& optimizer) {
    ++steps;
    std::size_t begin = 0;
    for (const Layer& layer : layers_) {
      if (layer.scales) continue;
      const std::size_t weights = layer.inputs * layer.outputs;
      step(optimizer, begin, weights, optimizer.weight_decay);
      step(optimizer, begin + weights, layer.outputs, 0);
      begin += weights + layer.outputs;
    }
  }

  // Steps n parameters, from `begin` on.
  void step(const Optimizer& optimizer, std::size_t begin, std::size_t n, double decay) {
    C* const p = parameters.data() + begin;
    const C* const g = gradient.data() + begin;
    if (optimizer.kind == Optimizer::Kind::kSgd) {
      C* const velocity = moments.empty() ? nullptr : moments[0].data() + begin;
      generic.learning<C>().sgd({p, velocity, g, n, static_cast<C>(optimizer.learning_rate), static_cast<C>(optimizer.beta_1),
                                 static_cast<C>(decay), optimizer.beta_2 != 0});
      return;
    }
    const double power_1 = plain_power(optimizer.beta_1, steps), power_2 = plain_power(optimizer.beta_2, steps);
    const bool decoupled = optimizer.kind == Optimizer::Kind::kAdamW, hat = optimizer.kind == Optimizer::Kind::kAdamHat;
    const double rate = optimizer.learning_rate / (1 - power_1), root = std::sqrt(1 - power_2);
    generic.learning<C>().adam({p, moments[0].data() + begin, moments[1].data() + begin, g, n,
                                static_cast<C>(hat ? rate * root : rate), static_cast<C>(hat ? 1 : 1 / root),
                                static_cast<C>(1 - optimizer.beta_1), static_cast<C>(1 - optimizer.beta_2),
                                static_cast<C>(optimizer.epsilon), static_cast<C>(decoupled ? 0 : decay),
                                static_cast<C>(decoupled ? 1 - optimizer.learning_rate * decay : 1)});
  }

  std::vector<Layer> layers_;
  Loss loss_;
  C option_;
  std::size_t batch_;
};

}  // namespace nnkernels
