// The Scale layer: y = (x - offset) * scale, each element of a row with an offset and a scale of its own.
//
// Lane types: double, whatever the elements; from and to halves and floats by way of float. Each of the two operations is
// rounded in double, and the result once more to the type of the outputs: in float16 and float32 at most 0.5 ULP + 2^-28 ULP of
// the exact result where x - offset does not cancel, and of x - offset as doubles have it everywhere. NaN propagates; what is
// beyond the outputs' range becomes infinite.
#pragma once

#include "loop.h"

namespace nnkernels {
namespace {

// As many doubles as a vector has lanes of float.
template <class Target>
struct Doubles {
  Lanes<Target, double> parts[2];
};

// The first n elements at p; other lanes are 0.
template <class Target, class T>
Doubles<Target> load_doubles(const T* p, std::size_t n) {
  using D = Lanes<Target, double>;
  constexpr std::size_t kWidth = kLanes<Target, double>;
  if constexpr (std::is_same_v<T, double>) {
    return {{load_lanes<Target>(p, least(n, kWidth), 0.0), n > kWidth ? load_lanes<Target>(p + kWidth, n - kWidth, 0.0) : D{}}};
  } else {
    const Lanes<Target, float> v = load_elements<Target>(p, n);
    typename LanesOf<float, sizeof v / 2>::type halves[2];
    std::memcpy(halves, &v, sizeof v);
    return {{__builtin_convertvector(halves[0], D), __builtin_convertvector(halves[1], D)}};
  }
}

// A number with the 24 significant bits of a float, the last of them set if any bit was dropped. Rounded to a half it gives the
// half that is nearest to v: rounding to the nearest float on the way could round twice. (Rounding to odd: S. Boldo and
// G. Melquiond, "Emulation of a FMA and correctly rounded sums", 2008.)
template <class V>
V round_to_odd(V v) {
  using I = Integers<V>;
  constexpr std::uint64_t kLast = std::uint64_t{1} << (52 - 23);
  const I bits = as<I>(v);
  const I dropped = bits & (kLast - 1);
  return as<V>(I((bits - dropped) | (I(dropped != 0) & kLast)));
}

template <class Target, class T>
void store_doubles(T* p, Doubles<Target> v, std::size_t n) {
  constexpr std::size_t kWidth = kLanes<Target, double>;
  if constexpr (std::is_same_v<T, double>) {
    store_lanes<Target>(p, v.parts[0], least(n, kWidth));
    if (n > kWidth) store_lanes<Target>(p + kWidth, v.parts[1], n - kWidth);
  } else {
    Lanes<Target, float> floats;
    using HalfLanes = typename LanesOf<float, sizeof floats / 2>::type;
    HalfLanes halves[2];
    for (int i = 0; i < 2; ++i) {
      halves[i] = __builtin_convertvector(std::is_same_v<T, Half> ? round_to_odd(v.parts[i]) : v.parts[i], HalfLanes);
    }
    std::memcpy(&floats, halves, sizeof floats);
    store_elements<Target>(p, floats, n);
  }
}

// outputs[i] = (x[i] - offset(i)) * scale(i), where offset(i, n) gives the doubles of n elements from i on.
template <class Target, class From, class T, class Offset, class Factor>
void scale_elements(const From* x, T* outputs, std::size_t n, Offset offset, Factor factor) {
  constexpr std::size_t kWidth = kLanes<Target, float>;
  for (std::size_t i = 0; i < n; i += kWidth) {
    const std::size_t lanes = least(kWidth, n - i);
    Doubles<Target> v = load_doubles<Target>(x + i, lanes);
    const Doubles<Target> less = offset(i, lanes), times = factor(i, lanes);
    for (int part = 0; part < 2; ++part) v.parts[part] = (v.parts[part] - less.parts[part]) * times.parts[part];
    store_doubles<Target>(outputs + i, v, lanes);
  }
}

template <class Target, class From, class T>
void scale(const ScaleRows<From, T>& all) {
  using D = Lanes<Target, double>;
  const auto part_of = [](const double* numbers) {
    return [numbers](std::size_t i, std::size_t n) { return load_doubles<Target>(numbers + i, n); };
  };
  const auto everywhere = [](double number) {
    return [v = broadcast<D>(number)](std::size_t, std::size_t) { return Doubles<Target>{{v, v}}; };
  };
  if (all.x.row(0).contiguous() && all.outputs.row(0).contiguous()) {
    for (std::size_t row = 0; row < all.rows; ++row) {
      scale_elements<Target>(all.x.from(row).data, all.outputs.from(row).data, all.n, part_of(all.offset), part_of(all.scale));
    }
  } else {
    for (std::size_t i = 0; i < all.n; ++i) {
      scale_elements<Target>(&all.x.row(0)[i], &all.outputs.row(0)[i], all.rows, everywhere(all.offset[i]),
                             everywhere(all.scale[i]));
    }
  }
}

}  // namespace
}  // namespace nnkernels
