// One step of an optimizer over flat arrays: parameters, moments, gradient. Formulas: SgdStep and
// AdamStep in kernels.h.
//
// Every operation is an addition, multiplication, fma, division or square root, rounded once, so
// all targets give the same bits. NaN in the gradient makes the parameter and its moments NaN.
#pragma once

#include "activations.h"
#include "loop.h"

namespace nnkernels {
namespace {

// A step leaves no parameter, gradient or moment subnormal, since subnormal numbers are many times
// slower on some CPUs. Without this, three kinds of numbers would become subnormal and stay so: the
// moments of a dead unit, the gradients of a network without errors, and weights that only decay.
// Parameters, gradients and first moments below kLeastGradient are taken as 0.

// Smaller second moments are taken as 0.
template <class C>
constexpr C kLeastSquare = static_cast<C>(sizeof(C) == 4 ? 0x1p-126 : 0x1p-1022);

// Smaller gradients add nothing to the second moment: their square times 1 - beta_2 could be
// subnormal.
template <class C>
constexpr C kLeastRoot = static_cast<C>(sizeof(C) == 4 ? 0x1p-57 : 0x1p-500);

// Calls step(i, lanes) for each vector of elements i, i + 1, ...
template <class Target, class C, class Step>
void visit_vectors(std::size_t n, Step step) {
  constexpr std::size_t kWidth = kLanes<Target, C>;
  std::size_t i = 0;
  for (; i + kWidth <= n; i += kWidth) step(i, kWidth);
  if (i < n) step(i, n - i);
}

// Stochastic gradient descent with momentum (B. T. Polyak, 1964; Y. Nesterov, 1983; I. Sutskever et
// al., 2013), by PyTorch's formula.
template <class Target, class C>
void sgd(const SgdStep<C>& step) {
  using V = Lanes<Target, C>;
  const SgdStep<C> s = step;
  const V rate = broadcast<V>(-s.rate), momentum = broadcast<V>(s.momentum), decay = broadcast<V>(s.decay);
  visit_vectors<Target, C>(s.n, [&](std::size_t i, std::size_t lanes) {
    const V p = load_lanes<Target>(s.parameters + i, lanes, C(0));
    const V g = Target::fma(decay, p, unless_below(kLeastGradient<C>, load_lanes<Target>(s.gradient + i, lanes, C(0))));
    V direction = g;
    if (s.velocity != nullptr) {
      V v = Target::fma(momentum, load_lanes<Target>(s.velocity + i, lanes, C(0)), g);
      v = unless_below(kLeastGradient<C>, v);
      store_lanes<Target>(s.velocity + i, v, lanes);
      direction = s.nesterov ? V(Target::fma(momentum, v, g)) : v;
    }
    store_lanes<Target>(s.parameters + i, unless_below(kLeastGradient<C>, V(Target::fma(rate, direction, p))), lanes);
  });
}

// Adam (D. P. Kingma and J. Ba, 2015, algorithm 1); with `shrink` AdamW (I. Loshchilov and F.
// Hutter, 2019).
template <class Target, class C>
void adam(const AdamStep<C>& step) {
  using V = Lanes<Target, C>;
  const AdamStep<C> s = step;
  const V rate = broadcast<V>(-s.rate), root_scale = broadcast<V>(s.root_scale), epsilon = broadcast<V>(s.epsilon);
  const V rest_1 = broadcast<V>(s.rest_1), rest_2 = broadcast<V>(s.rest_2);
  const V decay = broadcast<V>(s.decay), shrink = broadcast<V>(s.shrink);
  visit_vectors<Target, C>(s.n, [&](std::size_t i, std::size_t lanes) {
    const V p = load_lanes<Target>(s.parameters + i, lanes, C(0));
    const V g = Target::fma(decay, p, unless_below(kLeastGradient<C>, load_lanes<Target>(s.gradient + i, lanes, C(0))));
    V m = load_lanes<Target>(s.first_moment + i, lanes, C(0));
    V v = load_lanes<Target>(s.second_moment + i, lanes, C(0));
    m = Target::fma(rest_1, V(g - m), m);
    const V root = unless_below(kLeastRoot<C>, g);
    v = Target::fma(rest_2, V(Target::fma(root, root, V(-v))), v);
    m = unless_below(kLeastGradient<C>, m);
    v = unless_below(kLeastSquare<C>, v);
    // No step if v is 0: with an epsilon of 0 or near 0, it could have any length.
    const V quotient = v == 0 ? V{} : m / Target::fma(Target::sqrt(v), root_scale, epsilon);
    store_lanes<Target>(s.parameters + i, unless_below(kLeastGradient<C>, V(Target::fma(rate, quotient, V(shrink * p)))),
                        lanes);
    store_lanes<Target>(s.first_moment + i, m, lanes);
    store_lanes<Target>(s.second_moment + i, v, lanes);
  });
}

}  // namespace
}  // namespace nnkernels
