// The Scale layer: y = (x - offset) * scale; each element of a row has its own offset and scale.
//
// Lane types: double; halves and floats are converted via float. Both operations are rounded in
// double, then the result to the type of the outputs. Error: 0.5 ULP + 2^-28 ULP in float16 and
// float32, 1.5 ULP in float64. NaN propagates; values beyond the outputs' range become infinite.
#pragma once

#include "loop.h"

namespace nnkernels {
namespace {

// As many doubles as one vector has lanes of float.
template <class Target>
struct Doubles {
  Lanes<Target, double> parts[2];
};

// Loads the first n elements at p; other lanes are 0.
template <class Target, class T>
Doubles<Target> load_doubles(const T* p, std::size_t n) {
  using D = Lanes<Target, double>;
  constexpr std::size_t kWidth = kLanes<Target, double>;
  if constexpr (std::is_same_v<T, double>) {
    return {{load_lanes<Target>(p, least(n, kWidth), 0.0), n > kWidth ? load_lanes<Target>(p + kWidth, n - kWidth, 0.0) : D{}}};
  } else {
    Doubles<Target> v;
    Target::to_doubles(load_elements<Target>(p, n), v.parts[0], v.parts[1]);
    return v;
  }
}

// Rounds to the 24 significant bits of a float, and sets the last bit if any bit was dropped.
// Rounding this to half gives the half nearest to v; rounding to the nearest float first could
// round twice. (Rounding to odd: S. Boldo and G. Melquiond, "Emulation of a FMA and correctly
// rounded sums", 2008.)
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
    if constexpr (std::is_same_v<T, Half>) {
      for (auto& part : v.parts) part = round_to_odd(part);
    }
    store_elements<Target>(p, Lanes<Target, float>(Target::to_floats(v.parts[0], v.parts[1])), n);
  }
}

// outputs[i] = (x[i] - offset(i)) * scale(i); offset(i, n) loads n offsets from i on.
template <class Target, class From, class T, class Offset, class Factor>
void scale_elements(const From* x, T* outputs, std::size_t n, Offset offset, Factor factor) {
  constexpr std::size_t kWidth = kLanes<Target, float>;
  const auto scale_vector = [&](std::size_t i, std::size_t lanes) __attribute__((always_inline)) {
    Doubles<Target> v = load_doubles<Target>(x + i, lanes);
    const Doubles<Target> offsets = offset(i, lanes), factors = factor(i, lanes);
    for (int part = 0; part < 2; ++part) v.parts[part] = (v.parts[part] - offsets.parts[part]) * factors.parts[part];
    store_doubles<Target>(outputs + i, v, lanes);
  };
  std::size_t i = 0;
  for (; i + kWidth <= n; i += kWidth) scale_vector(i, kWidth);
  if (i < n) scale_vector(i, n - i);
}

// Contiguous elements, each with its own offset and scale.
template <class Target, class From, class T>
void scale_contiguous(const From* x, T* outputs, std::size_t n, const double* offset, const double* scale) {
  const auto each = [](const double* numbers) {
    return [numbers](std::size_t i, std::size_t lanes) { return load_doubles<Target>(numbers + i, lanes); };
  };
  scale_elements<Target>(x, outputs, n, each(offset), each(scale));
}

// Length to which the offsets and scales of short rows are repeated.
constexpr std::size_t kRepeated = 256;

// Repeats the first `period` numbers up to `length`.
inline void repeat(double* numbers, std::size_t period, std::size_t length) {
  for (std::size_t done = period; done < length; done *= 2) {
    std::memcpy(numbers + done, numbers, least(done, length - done) * sizeof(double));
  }
}

// Short rows without gaps, as a few long rows.
template <class Target, class From, class T>
void scale_short_rows(const ScaleRows<From, T>& all) {
  double offset[kRepeated], scale[kRepeated];
  const std::size_t total = all.rows * all.n, length = least(kRepeated / all.n * all.n, total);
  std::memcpy(offset, all.offset, all.n * sizeof(double));
  std::memcpy(scale, all.scale, all.n * sizeof(double));
  repeat(offset, all.n, length);
  repeat(scale, all.n, length);
  for (std::size_t i = 0; i < total; i += length) {
    scale_contiguous<Target>(all.x.data + i, all.outputs.data + i, least(length, total - i), offset, scale);
  }
}

template <class Target, class From, class T>
void scale(const ScaleRows<From, T>& all) {
  constexpr std::size_t kShort = kRepeated / 2;
  constexpr auto kFrom = static_cast<std::ptrdiff_t>(sizeof(From)), kTo = static_cast<std::ptrdiff_t>(sizeof(T));
  const auto n = static_cast<std::ptrdiff_t>(all.n);
  const Strided<const From> first = all.x.row(0);
  const Strided<T> first_outputs = all.outputs.row(0);
  if (all.x.row_stride == kFrom && all.outputs.row_stride == kTo) {  // the rows are transposed
    for (std::size_t i = 0; i < all.n; ++i) {
      const auto constant = [](double number) {
        const auto v = broadcast<Lanes<Target, double>>(number);
        return [v](std::size_t, std::size_t) { return Doubles<Target>{{v, v}}; };
      };
      scale_elements<Target>(&first[i], &first_outputs[i], all.rows, constant(all.offset[i]), constant(all.scale[i]));
    }
  } else if (first.contiguous() && first_outputs.contiguous()) {
    if (all.n <= kShort && all.n > 0 && all.rows > 1 && all.x.row_stride == n * kFrom && all.outputs.row_stride == n * kTo) {
      scale_short_rows<Target>(all);
      return;
    }
    for (std::size_t row = 0; row < all.rows; ++row) {
      scale_contiguous<Target>(all.x.from(row).data, all.outputs.from(row).data, all.n, all.offset, all.scale);
    }
  } else {
    From x[kBlock];
    T y[kBlock];
    for (std::size_t row = 0; row < all.rows; ++row) {
      for (std::size_t start = 0; start < all.n; start += kBlock) {
        const std::size_t count = least(kBlock, all.n - start);
        copy(all.x.row(row).from(start), Strided<From>{x, kFrom}, count);
        scale_contiguous<Target>(x, y, count, all.offset + start, all.scale + start);
        copy(Strided<const T>{y, kTo}, all.outputs.row(row).from(start), count);
      }
    }
  }
}

}  // namespace
}  // namespace nnkernels
