// Losses and their gradients. cross_entropy, binary_cross_entropy and poisson take logits; the
// other losses take the network's outputs.
//
// No loss uses a rounded probability: a confident row, whose probability rounds to 1, keeps its
// loss and its gradient. NaN propagates. A factor of 0 makes the gradient 0, even for NaN. Error
// bounds are for gradients before the multiplication by the factor; u is half an ULP of 1.
#pragma once

#include "gradients.h"
#include "softmax.h"

namespace nnkernels {
namespace {

// --- cross_entropy ---
//
// With p = softmax(z), and t the targets mixed with 1/n by label_smoothing, (1 - e) t + e / n:
//
//   loss        -sum over i of t[i] log(p[i]), where a term with t[i] = 0 is 0
//   gradient    T p[i] - t[i] with T = sum of t; where p[i] > 1/2 it is (T - t[i]) - T q, with
//               q = 1 - p[i] from the exponentials of the other elements
//
// The loss of a label is exactly the result of log_softmax, negated: log p is computed as in
// log_softmax_row, and sums have the order of sum.h.
//
// Errors, with h = ceil(log2(n)):
//
//   loss        labels: as log_softmax (softmax.h)
//               probabilities: (h + 4) u of sum t |log p|, plus t times the error of log_softmax
//   gradient    labels: relative error (h + 7) u
//               probabilities: (h + 7) u of T min(p, q), plus (h + 2) u (T + t), since T is rounded
//
// A row of only -inf, or with a +inf, gives NaN. A row with -inf at its label has the loss +inf.
//
// Label smoothing: C. Szegedy et al., "Rethinking the Inception architecture for computer vision",
// 2016. The gradient where p > 1/2 is our own.

// Targets with label_smoothing, made from labels or from probabilities.
template <class V>
struct SmoothLabels {
  using C = Element<V>;

  SmoothLabels(C smoothing, std::size_t n)
      : off(smoothing / static_cast<C>(n)), on((1 - smoothing) + off), scale(1 - smoothing), labels_only(smoothing == 0) {}

  V of_target(V t) const { return t * scale + off; }

  C off, on, scale;
  bool labels_only;  // whether only the label's term is not 0
};

// A row's constants: of one row in all lanes, or of one row per lane.
template <class Target, class C>
struct RowSums {
  using V = Lanes<Target, C>;

  V max;
  V log_high, log_low;  // log(sum e^(z - max))
  V reciprocal;         // 1 / (sum e^(z - max) kUp)
  V others;             // 1 - p at the maximum

  // `smaller`: kUp times the sum of the exponentials below the maximum. `maxima`: the number of
  // maxima.
  RowSums(V largest, V smaller, Integers<V> maxima) : max(largest) {
    using D = Lanes<Target, double>;
    constexpr std::size_t kDoubles = kLanes<Target, double>;
    alignas(64) double rest[kLanes<Target, C>], high[kLanes<Target, C>], low[kLanes<Target, C>];
    alignas(64) C others_up[kLanes<Target, C>], sum_high[kLanes<Target, C>], sum_low[kLanes<Target, C>];
    for (std::size_t lane = 0; lane < kLanes<Target, C>; ++lane) {
      const double counted = static_cast<double>(static_cast<std::int64_t>(maxima[lane])) - 1;
      rest[lane] = static_cast<double>(smaller[lane]) / kUp<C> + counted;
      others_up[lane] = smaller[lane] + static_cast<C>(counted) * kUp<C>;
    }
    for (std::size_t i = 0; i < kLanes<Target, C>; i += kDoubles) {
      const TwoParts<D> sum = log1p_positive(load<D>(rest + i));
      store(high + i, sum.high);
      store(low + i, sum.low);
    }
    for (std::size_t lane = 0; lane < kLanes<Target, C>; ++lane) {
      sum_high[lane] = static_cast<C>(high[lane]);
      sum_low[lane] = static_cast<C>((high[lane] - static_cast<double>(sum_high[lane])) + low[lane]);
    }
    const V infinite = largest - largest;  // NaN if the maximum is infinite or NaN, else 0
    log_high = load<V>(sum_high) + infinite;
    log_low = load<V>(sum_low);
    const V up = load<V>(others_up);
    reciprocal = infinite + 1 / (up + kUp<C>);
    others = up * reciprocal;
  }

  V log_probability(V z) const {
    const TwoParts<V> d = subtract<Target>(z, max);
    const TwoParts<V> result = subtract<Target>(d.high, log_high);
    return result.high == kLeast<C> ? result.high : V(result.high + (result.low + (d.low - log_low)));
  }

  // -t log(p), never -0
  V loss(V z, V t) const { return t == 0 ? V{} : V{} - t * log_probability(z); }

  // `exponential` includes the factor kUp, and is 0 at a maximum. `total` is the sum of t.
  V gradient(V z, V exponential, V t, V total) const {
    const auto is_max = z == max;
    const V p = (is_max ? broadcast<V>(kUp<C>) : exponential) * reciprocal;
    const V confident = Target::fma(-total, others, V(total - t));
    return (is_max & (others < C(0.5))) ? confident : V(Target::fma(total, p, V(-t)));
  }
};

// gradient * factor; 0 if the factor is 0 or the product is below `smallest`.
template <class V>
V times_factor(V gradient, V factor, Element<V> smallest) {
  return factor == 0 ? V{} : unless_below<V>(smallest, gradient * factor);
}

// Up to kLanes rows of at most kShortRow elements, one row per lane.
template <class Target, class C>
void cross_entropy_lanes(const LossRows<C>& rows) {
  using V = Lanes<Target, C>;
  using I = Integers<V>;
  constexpr std::size_t kWidth = kLanes<Target, C>;
  const std::size_t n = rows.n, count = rows.rows;
  const SmoothLabels<V> smooth(rows.option, n);
  // Transposes: element i of row r is at [i][r]. Missing rows are 0.
  const auto across = [&](const C* from, V* to) {
    alignas(64) C elements[kShortRow][kWidth];
    for (std::size_t i = 0; i < n; ++i) store(elements[i], V{});
    for (std::size_t row = 0; row < count; ++row) {
      for (std::size_t i = 0; i < n; ++i) elements[i][row] = from[row * n + i];
    }
    for (std::size_t i = 0; i < n; ++i) to[i] = load<V>(elements[i]);
  };
  // The sum of all elements: fold_partial_sums without the missing elements.
  const auto total_of = [n](V* terms) {
    for (std::size_t half = kShortRow / 2; half > 0; half /= 2) {
      for (std::size_t i = 0; i < half && i + half < n; ++i) terms[i] += terms[i + half];
    }
    return terms[0];
  };

  V z[kShortRow], exponentials[kShortRow], targets[kShortRow], terms[kShortRow];
  across(rows.outputs, z);
  V max = broadcast<V>(kLeast<C>);
  for (std::size_t i = 0; i < n; ++i) max = Target::greater(z[i], max);
  I maxima{};
  with_exponential<Target, C>(max, [&](const auto& exponential) {
    for (std::size_t i = 0; i < n; ++i) {
      const auto is_max = z[i] == max;
      maxima -= as<I>(is_max);  // all ones is -1, so this adds 1
      exponentials[i] = terms[i] = is_max ? V{} : exponential(z[i]);
    }
  });
  const RowSums<Target, C> sums(max, total_of(terms), maxima);

  V total = broadcast<V>(1);
  V loss{};
  if (rows.labels != nullptr) {
    I labels{};
    for (std::size_t row = 0; row < count; ++row) labels[row] = static_cast<Integer<C>>(rows.labels[row]);
    V of_label = z[0];
    for (std::size_t i = 0; i < n; ++i) {
      const auto is_label = labels == static_cast<Integer<C>>(i);
      targets[i] = is_label ? broadcast<V>(smooth.on) : broadcast<V>(smooth.off);
      of_label = is_label ? z[i] : of_label;
    }
    loss = sums.loss(of_label, broadcast<V>(smooth.on));
  } else {
    across(rows.targets, targets);
    for (std::size_t i = 0; i < n; ++i) terms[i] = targets[i] = smooth.of_target(targets[i]);
    total = total_of(terms);
  }
  if (rows.labels == nullptr || !smooth.labels_only) {
    for (std::size_t i = 0; i < n; ++i) terms[i] = sums.loss(z[i], targets[i]);
    loss = total_of(terms);
  }
  store_lanes<Target>(rows.losses, loss, count);

  if (rows.gradients == nullptr) return;
  const V factor = rows.factors != nullptr ? load_lanes<Target>(rows.factors, count, C(0)) : broadcast<V>(rows.factor);
  for (std::size_t i = 0; i < n; ++i) {
    const V gradient = times_factor<V>(sums.gradient(z[i], exponentials[i], targets[i], total), factor, rows.smallest);
    alignas(64) C lanes[kWidth];
    store(lanes, gradient);
    for (std::size_t row = 0; row < count; ++row) rows.gradients[row * n + i] = lanes[row];
  }
}

// One row.
template <class Target, class C>
void cross_entropy_row(const LossRows<C>& rows) {
  using V = Lanes<Target, C>;
  constexpr std::size_t kWidth = kLanes<Target, C>;
  const std::size_t n = rows.n;
  const C* const z = rows.outputs;
  const SmoothLabels<V> smooth(rows.option, n);
  // Read once and kept in the row, since another thread may change the labels after their check.
  const auto in_row = [n](std::uint64_t label) { return label < n ? static_cast<std::size_t>(label) : n - 1; };
  const std::size_t label =
      rows.labels == nullptr ? n : in_row(static_cast<std::uint64_t>(__atomic_load_n(rows.labels, __ATOMIC_RELAXED)));
  const auto target = [&](std::size_t i, std::size_t lanes) {
    if (rows.labels == nullptr) return smooth.of_target(load_lanes<Target>(rows.targets + i, lanes, C(0)));
    V t = broadcast<V>(smooth.off);
    if (label - i < kWidth) t[label - i] = smooth.on;
    return t;
  };
  const auto sum_of = [&](auto term) {
    return sum_blocks<C>(n, [&](std::size_t start, std::size_t count) {
      return sum_block_in_trees<Target, C>(count, [&](std::size_t i, std::size_t lanes) {
        const V value = term(start + i, lanes);
        if (lanes == kWidth) return value;
        alignas(64) C padded[kWidth] = {};
        Target::store_partial(padded, value, lanes);
        return load<V>(padded);
      });
    });
  };

  const V max = broadcast<V>(maximum<Target, C>({z, sizeof(C)}, n));
  Integers<V> counts{};
  const C smaller = with_exponential<Target, C>(max, [&](const auto& exponential) {
    return sum_of([&](std::size_t i, std::size_t lanes) {
      const V v = load_lanes<Target>(z + i, lanes, kLeast<C>);
      const auto is_max = v == max;
      if (lanes == kWidth) counts -= as<Integers<V>>(is_max);
      const V e = is_max ? V{} : exponential(v);
      if (rows.gradients != nullptr) store_lanes<Target>(rows.gradients + i, e, lanes);
      return e;
    });
  });
  // Maxima in the last vector, whose missing lanes may equal a maximum of -inf.
  Integer<C> maxima = 0;
  for (std::size_t lane = 0; lane < kWidth; ++lane) maxima += counts[lane];
  for (std::size_t i = n / kWidth * kWidth; i < n; ++i) maxima += z[i] == max[0] ? 1 : 0;
  const RowSums<Target, C> sums(max, broadcast<V>(smaller), Integers<V>{} + maxima);

  const auto terms = [&](std::size_t i, std::size_t lanes) {
    return sums.loss(load_lanes<Target>(z + i, lanes, C(0)), target(i, lanes));
  };
  *rows.losses = rows.labels != nullptr && smooth.labels_only ? sums.loss(broadcast<V>(z[label]), broadcast<V>(smooth.on))[0]
                                                              : sum_of(terms);
  if (rows.gradients == nullptr) return;
  const V total = broadcast<V>(rows.labels != nullptr ? C(1) : sum_of(target));
  const V factor = broadcast<V>(rows.factors != nullptr ? *rows.factors : rows.factor);
  for (std::size_t i = 0; i < n; i += kWidth) {
    const std::size_t lanes = least(kWidth, n - i);
    const V e = load_lanes<Target>(rows.gradients + i, lanes, C(0));
    const V gradient = sums.gradient(load_lanes<Target>(z + i, lanes, C(0)), e, target(i, lanes), total);
    store_lanes<Target>(rows.gradients + i, times_factor<V>(gradient, factor, rows.smallest), lanes);
  }
}

template <class Target, class C>
void cross_entropy(const LossRows<C>& rows) {
  const bool in_lanes = rows.n > 0 && rows.n <= kShortRow;
  const std::size_t at_once = in_lanes ? kLanes<Target, C> : 1;
  for (std::size_t row = 0; row < rows.rows; row += at_once) {
    const LossRows<C> part = rows.from(row, least(at_once, rows.rows - row), 1);
    if (in_lanes) {
      cross_entropy_lanes<Target, C>(part);
    } else {
      cross_entropy_row<Target, C>(part);
    }
  }
}

// --- Losses of one output ---

template <class V>
struct LossAndDerivative {
  V loss;
  V derivative;
};

// function(z, y) returns the loss of outputs z with targets y, and its derivative with respect to
// z.
template <class Target, class C, class Function>
void map_losses(const LossRows<C>& rows, Function function) {
  using V = Lanes<Target, C>;
  constexpr std::size_t kWidth = kLanes<Target, C>;
  const LossRows<C> r = rows;
  const std::size_t n = r.rows * r.n;
  for (std::size_t i = 0; i < n; i += kWidth) {
    const std::size_t lanes = least(kWidth, n - i);
    const LossAndDerivative<V> result =
        function(load_lanes<Target>(r.outputs + i, lanes, C(0)), load_lanes<Target>(r.targets + i, lanes, C(0)));
    store_lanes<Target>(r.losses + i, result.loss, lanes);
    if (r.gradients == nullptr) continue;
    const V factor = r.factors != nullptr ? load_lanes<Target>(r.factors + i, lanes, C(0)) : broadcast<V>(r.factor);
    store_lanes<Target>(r.gradients + i, times_factor<V>(result.derivative, factor, r.smallest), lanes);
  }
}

// log(1 + x) for 0 <= x <= 1, computed in double.
template <class Target, class V>
V log1p_lanes(V x) {
  if constexpr (sizeof(Element<V>) == 8) {
    return log1p_positive(x).high;
  } else {
    using D = Lanes<Target, double>;
    using HalfLanes = typename LanesOf<float, sizeof(V) / 2>::type;
    HalfLanes halves[2];
    std::memcpy(halves, &x, sizeof x);
    for (HalfLanes& half : halves)
      half = __builtin_convertvector(log1p_positive(__builtin_convertvector(half, D)).high, HalfLanes);
    std::memcpy(&x, halves, sizeof x);
    return x;
  }
}

// x * weight; 0 if the weight is 0, even for an infinite x.
template <class V>
V times_weight(V x, V weight) {
  return weight == 0 ? V{} : x * weight;
}

// (1 - y) log(1 + e^z) + w y log(1 + e^-z), where log(1 + e^z) = max(z, 0) + log(1 + e^-|z|).
// Derivative (1 - y) sigmoid(z) - w y sigmoid(-z).
// Error: loss 4 ULP, derivative 5 ULP of the sum of the magnitudes of their two terms; only one
// term if y is 0 or 1. For infinite z the loss is 0 if z agrees with y, else inf.
// D. R. Cox, "The regression analysis of binary sequences", 1958.
template <class Target, class C>
void binary_cross_entropy(const LossRows<C>& rows) {
  using V = Lanes<Target, C>;
  const V pos_weight = broadcast<V>(rows.option);
  const Exp<Target, C> exponential;
  map_losses<Target>(rows, [&](V z, V y) {
    const V negative = 1 - y, positive = pos_weight * y;
    const V e = exponential(V(-magnitude_of(z)));
    const V log = log1p_lanes<Target>(e);
    const V greater = 1 / (1 + e), less = e * greater;  // sigmoid(|z|), sigmoid(-|z|)
    const V loss = times_weight<V>(z > 0 ? z : V{}, negative) + times_weight<V>(z < 0 ? -z : V{}, positive);
    const V derivative = Target::fma(negative, z > 0 ? greater : less, V(-positive * (z > 0 ? less : greater)));
    return LossAndDerivative<V>{Target::fma(V(negative + positive), log, loss), derivative};
  });
}

// Relative error: loss 3 u, derivative u.
template <class Target, class C>
void squared_error(const LossRows<C>& rows) {
  using V = Lanes<Target, C>;
  map_losses<Target>(rows, [](V z, V y) {
    const V d = z - y;
    return LossAndDerivative<V>{d * d, d + d};
  });
}

// The derivative at 0 is 0. Relative error of the loss: u.
template <class Target, class C>
void absolute_error(const LossRows<C>& rows) {
  using V = Lanes<Target, C>;
  map_losses<Target>(rows, [](V z, V y) {
    const V d = z - y, one = broadcast<V>(1);
    return LossAndDerivative<V>{magnitude_of(d), d > 0 ? one : d < 0 ? -one : d};
  });
}

// P. J. Huber, "Robust estimation of a location parameter", 1964. Relative error: loss 6 u,
// derivative u.
template <class Target, class C>
void huber(const LossRows<C>& rows) {
  using V = Lanes<Target, C>;
  const V delta = broadcast<V>(rows.option);
  map_losses<Target>(rows, [delta](V z, V y) {
    const V d = z - y, magnitude = magnitude_of(d);
    const V loss = magnitude <= delta ? d * d * C(0.5) : delta * (magnitude - delta * C(0.5));
    return LossAndDerivative<V>{loss, d > delta ? delta : d < -delta ? -delta : d};
  });
}

// e^z - y z; if y is 0, y z is 0, even for an infinite z. Error of loss and derivative: an ULP of
// e^z (exp.h), plus u of the result. inf if z = -inf and y > 0.
template <class Target, class C>
void poisson(const LossRows<C>& rows) {
  using V = Lanes<Target, C>;
  const Exp<Target, C> exponential;
  map_losses<Target>(rows, [&](V z, V y) {
    const V e = exponential(z);
    return LossAndDerivative<V>{y == 0 ? e : V(Target::fma(-y, z, e)), e - y};
  });
}

}  // namespace
}  // namespace nnkernels
