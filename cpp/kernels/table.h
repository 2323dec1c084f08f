// The table of all kernels, instantiated for one target.
#pragma once

#include "activations.h"
#include "dense.h"
#include "dense_lanes.h"
#include "dot.h"
#include "gradients.h"
#include "losses.h"
#include "optimizers.h"
#include "scale.h"
#include "softmax.h"

namespace nnkernels {
namespace {

template <class Target, class T>
constexpr Kernels<T> make_kernels() {
  using C = Compute<T>;
  return {
      {nullptr, relu<Target, T>, sigmoid<Target, T>, tanh<Target, T>, exp<Target, T>, leaky_relu<Target, T>, elu<Target, T>,
       silu<Target, T>, gelu<Target, T>, gelu_tanh<Target, T>, softplus<Target, T>},
      softmax<Target, T>,
      log_softmax<Target, T>,
      logsumexp<Target, T>,
      dot<Target, T>,
      widen<Target, T>,
      narrow<Target, T>,
      packed_size<Target, C>,
      pack<Target, T>,
      unpack<Target, T>,
      kPanelOutputs<Target>,
      kGroupOutputs * kInputBlock<C>,
      dense<Target, T>,
      kLaneRows<Target, C>,
      kChains<C>,
      dense_lanes<Target, T>,
      copy_rows<Target, C>,
      scale<Target, T, T>,
      scale<Target, double, T>,
  };
}

template <class Target, class C>
constexpr Learning<C> make_learning() {
  return {
      outer_scratch<Target, C>,
      outer_product<Target, C>,
      cross_entropy<Target, C>,
      binary_cross_entropy<Target, C>,
      squared_error<Target, C>,
      absolute_error<Target, C>,
      huber<Target, C>,
      poisson<Target, C>,
      {nullptr, relu_gradient<Target, C>, sigmoid_gradient<Target, C>, tanh_gradient<Target, C>, exp_gradient<Target, C>,
       leaky_relu_gradient<Target, C>, elu_gradient<Target, C>, silu_gradient<Target, C>, gelu_gradient<Target, C>,
       gelu_tanh_gradient<Target, C>, softplus_gradient<Target, C>},
      softmax_gradient<Target, C>,
      log_softmax_gradient<Target, C>,
      sgd<Target, C>,
      adam<Target, C>,
  };
}

template <class Target>
constexpr KernelTable make_table() {
  return {
      Target::kName,
      make_kernels<Target, Half>(),
      make_kernels<Target, float>(),
      make_kernels<Target, double>(),
      {
          integer_relu<Target, std::int8_t>,
          integer_relu<Target, std::int16_t>,
          integer_relu<Target, std::int32_t>,
          integer_relu<Target, std::int64_t>,
          integer_relu<Target, std::uint8_t>,
          integer_relu<Target, std::uint16_t>,
          integer_relu<Target, std::uint32_t>,
          integer_relu<Target, std::uint64_t>,
      },
      make_learning<Target, float>(),
      make_learning<Target, double>(),
  };
}

}  // namespace
}  // namespace nnkernels
