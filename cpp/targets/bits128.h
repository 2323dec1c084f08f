// Members common to all targets of 128-bit vectors.
#pragma once

#include "../kernels/exp.h"
#include "../kernels/lanes.h"
#include "../kernels/tables.h"

namespace nnkernels {
namespace {

struct Bits128 {
  static constexpr std::size_t kBytes = 16;
  using F32 = LanesOf<float, 16>::type;
  using F64 = LanesOf<double, 16>::type;

  template <class C>
  static Lanes<Bits128, C> load_partial(const C* p, std::size_t n, C fill) {
    Lanes<Bits128, C> v = broadcast<Lanes<Bits128, C>>(fill);
    for (std::size_t i = 0; i < n; ++i) v[i] = p[i];
    return v;
  }
  template <class C>
  static void store_partial(C* p, Lanes<Bits128, C> v, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) p[i] = v[i];
  }

  template <class V>
  static V greater(V a, V b) {
    return a > b ? a : b;
  }
  template <class V>
  static V less(V a, V b) {
    return a < b ? a : b;
  }

  template <class V>
  static bool any_greater(V a, V b) {
    const auto mask = a > b;
    std::uint64_t halves[2];
    std::memcpy(halves, &mask, sizeof halves);
    return (halves[0] | halves[1]) != 0;
  }

  class Lookup {
   public:
    explicit Lookup(const FloatTable& table) : rows_(table.rows) {}

    void operator()(Integers<F32> rows, F32* c) const {
      const float* row[4];
      for (std::size_t lane = 0; lane < 4; ++lane) row[lane] = rows_[rows[lane] % FloatTable::kRows];
      for (std::size_t i = 0; i < FloatTable::kColumns; ++i) c[i] = F32{row[0][i], row[1][i], row[2][i], row[3][i]};
    }

   private:
    const float (*rows_)[FloatTable::kColumns];
  };

  static void look_up_pairs(const double (*table)[2], Integers<F64> rows, F64& first, F64& second) {
    first = F64{table[rows[0]][0], table[rows[1]][0]};
    second = F64{table[rows[0]][1], table[rows[1]][1]};
  }

  template <class C>
  class Powers {
   public:
    explicit Powers(const PowerTable<C>& table) : rows_(table.rows) {}

    template <class V>
    void operator()(Integers<V> index, V& high, V& low) const {
      for (std::size_t lane = 0; lane < kLanes<Bits128, C>; ++lane) {
        const C* row = rows_[index[lane] & 15];
        high[lane] = row[0];
        low[lane] = row[1];
      }
    }

   private:
    const C (*rows_)[2];
  };

  template <class V>
  static V scale_normal(V v, V n) {
    return add_to_exponent(v, n);
  }

  template <class V>
  static void stream(Element<V>* p, V v) {
    store(p, v);
  }
  static void fence() {}

  // A vector is one 128-bit part.
  template <class C>
  static Lanes<Bits128, C> broadcast_chunk(const C* p) {
    return load<Lanes<Bits128, C>>(p);
  }
  template <class C>
  static Lanes<Bits128, C> gather_chunks(const C* p, std::ptrdiff_t /*stride*/) {
    return load<Lanes<Bits128, C>>(p);
  }
  template <class C>
  static void scatter_chunks(C* p, std::ptrdiff_t /*stride*/, Lanes<Bits128, C> v) {
    store(p, v);
  }
  template <class V>
  static void transpose_chunks(V*) {}

  static void to_doubles(F32 v, F64& low, F64& high) {
    low = F64{double{v[0]}, double{v[1]}};
    high = F64{double{v[2]}, double{v[3]}};
  }
  static F32 to_floats(F64 low, F64 high) {
    return F32{static_cast<float>(low[0]), static_cast<float>(low[1]), static_cast<float>(high[0]),
               static_cast<float>(high[1])};
  }

  static F32 unpack_low(F32 a, F32 b) { return F32{a[0], b[0], a[1], b[1]}; }
  static F64 unpack_low(F64 a, F64 b) { return F64{a[0], b[0]}; }
  static F32 unpack_high(F32 a, F32 b) { return F32{a[2], b[2], a[3], b[3]}; }
  static F64 unpack_high(F64 a, F64 b) { return F64{a[1], b[1]}; }
  template <class V>
  static V interleave(V v) {
    return v;
  }
};

}  // namespace
}  // namespace nnkernels
