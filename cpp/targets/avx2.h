// AVX2 with FMA and F16C (x86-64-v3): 256-bit vectors.
#pragma once

#include <immintrin.h>

#include "../kernels/exp.h"
#include "../kernels/tables.h"
#include "x86_narrow.h"

namespace nnkernels {
namespace {

struct Avx2 : PartialHalves<Avx2> {
  static constexpr const char* kName = "avx2";
  static constexpr std::size_t kBytes = 32;
  static constexpr std::size_t kTileRows = 3;  // 12 of 16 registers for sums
  using Narrow = X86Narrow;
  using F32 = LanesOf<float, 32>::type;
  using F64 = LanesOf<double, 32>::type;

  static F32 fma(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a, b, c); }
  static F64 fma(F64 a, F64 b, F64 c) { return _mm256_fmadd_pd(a, b, c); }

  template <class V>
  static V scale(V v, V n) {
    return scale_in_two_steps(v, n);
  }

  template <class V>
  static V scale_normal(V v, V n) {
    return add_to_exponent(v, n);
  }

  static F32 greater(F32 a, F32 b) { return _mm256_max_ps(a, b); }
  static F64 greater(F64 a, F64 b) { return _mm256_max_pd(a, b); }
  static F32 less(F32 a, F32 b) { return _mm256_min_ps(a, b); }
  static F64 less(F64 a, F64 b) { return _mm256_min_pd(a, b); }

  static F32 sqrt(F32 v) { return _mm256_sqrt_ps(v); }
  static F64 sqrt(F64 v) { return _mm256_sqrt_pd(v); }

  static bool any_greater(F32 a, F32 b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)) != 0; }
  static bool any_greater(F64 a, F64 b) { return _mm256_movemask_pd(_mm256_cmp_pd(a, b, _CMP_GT_OQ)) != 0; }

  // Selects each lane's element from every column.
  class Lookup {
   public:
    explicit Lookup(const FloatTable& table) : columns_(table.columns) {}

    void operator()(Integers<F32> rows, F32* c) const {
      for (std::size_t i = 0; i < FloatTable::kColumns; ++i) c[i] = look_up(columns_[i], rows);
    }

   private:
    const float (*columns_)[FloatTable::kRows];
  };

  // Selects from 16 elements, by the lowest four bits of the index.
  static F32 look_up(const float* column, Integers<F32> index) {
    const auto lanes = reinterpret_cast<__m256i>(index);
    const __m256 first = _mm256_permutevar8x32_ps(_mm256_load_ps(column), lanes);
    const __m256 second = _mm256_permutevar8x32_ps(_mm256_load_ps(column + 8), lanes);
    return _mm256_blendv_ps(first, second, as<__m256>(index << 28));
  }

  // Through memory, which keeps the vector ports free.
  static void look_up_pairs(const double (*table)[2], Integers<F64> rows, F64& first, F64& second) {
    alignas(32) std::uint64_t row[4];
    store(row, rows);
    keep_in_memory(row);
    const __m256d a = _mm256_set_m128d(_mm_load_pd(table[row[2]]), _mm_load_pd(table[row[0]]));
    const __m256d b = _mm256_set_m128d(_mm_load_pd(table[row[3]]), _mm_load_pd(table[row[1]]));
    first = _mm256_unpacklo_pd(a, b);
    second = _mm256_unpackhi_pd(a, b);
  }

  template <class C>
  class Powers;

  // All ones in the first n lanes.
  static __m256i mask32(std::size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static __m256i mask64(std::size_t n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(static_cast<long long>(n)), _mm256_setr_epi64x(0, 1, 2, 3));
  }
  static F32 load_partial(const float* p, std::size_t n, float fill) {
    const __m256i mask = mask32(n);
    return _mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask));
  }
  static F64 load_partial(const double* p, std::size_t n, double fill) {
    const __m256i mask = mask64(n);
    return _mm256_blendv_pd(_mm256_set1_pd(fill), _mm256_maskload_pd(p, mask), _mm256_castsi256_pd(mask));
  }
  static void store_partial(float* p, F32 v, std::size_t n) { _mm256_maskstore_ps(p, mask32(n), v); }
  static void store_partial(double* p, F64 v, std::size_t n) { _mm256_maskstore_pd(p, mask64(n), v); }

  static void stream(float* p, F32 v) { _mm256_stream_ps(p, v); }
  static void stream(double* p, F64 v) { _mm256_stream_pd(p, v); }
  static void fence() { _mm_sfence(); }

  // Not _mm256_broadcast_ps: GCC assumes that it reads any memory, and would spill a tile's sums.
  static F32 broadcast_chunk(const float* p) {
    const __m128 chunk = _mm_loadu_ps(p);
    return _mm256_set_m128(chunk, chunk);
  }
  static F64 broadcast_chunk(const double* p) {
    const __m128d chunk = _mm_loadu_pd(p);
    return _mm256_set_m128d(chunk, chunk);
  }

  static F32 gather_chunks(const float* p, std::ptrdiff_t stride) {
    return _mm256_set_m128(_mm_loadu_ps(p + stride), _mm_loadu_ps(p));
  }
  static F64 gather_chunks(const double* p, std::ptrdiff_t stride) {
    return _mm256_set_m128d(_mm_loadu_pd(p + stride), _mm_loadu_pd(p));
  }
  static void scatter_chunks(float* p, std::ptrdiff_t stride, F32 v) {
    _mm_storeu_ps(p, _mm256_castps256_ps128(v));
    _mm_storeu_ps(p + stride, _mm256_extractf128_ps(v, 1));
  }
  static void scatter_chunks(double* p, std::ptrdiff_t stride, F64 v) {
    _mm_storeu_pd(p, _mm256_castpd256_pd128(v));
    _mm_storeu_pd(p + stride, _mm256_extractf128_pd(v, 1));
  }
  template <class V>
  static void transpose_chunks(V* v) {
    const __m256 a = as<__m256>(v[0]), b = as<__m256>(v[1]);
    v[0] = as<V>(_mm256_permute2f128_ps(a, b, 0x20));
    v[1] = as<V>(_mm256_permute2f128_ps(a, b, 0x31));
  }

  static void to_doubles(F32 v, F64& low, F64& high) {
    low = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
    high = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
  }
  static F32 to_floats(F64 low, F64 high) { return _mm256_set_m128(_mm256_cvtpd_ps(high), _mm256_cvtpd_ps(low)); }

  static F32 unpack_low(F32 a, F32 b) { return _mm256_unpacklo_ps(a, b); }
  static F64 unpack_low(F64 a, F64 b) { return _mm256_unpacklo_pd(a, b); }
  static F32 unpack_high(F32 a, F32 b) { return _mm256_unpackhi_ps(a, b); }
  static F64 unpack_high(F64 a, F64 b) { return _mm256_unpackhi_pd(a, b); }

  static F32 pairwise_add(F32 a, F32 b) { return _mm256_hadd_ps(a, b); }
  static F64 pairwise_add(F64 a, F64 b) { return _mm256_hadd_pd(a, b); }

  static F32 interleave(F32 v) { return _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)); }
  static F64 interleave(F64 v) { return _mm256_permute4x64_pd(v, _MM_SHUFFLE(3, 1, 2, 0)); }

  static F32 widen(const Half* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static void narrow(Half* p, F32 v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
};

template <>
class Avx2::Powers<float> {
 public:
  explicit Powers(const PowerTable<float>& table) : table_(&table) {}

  void operator()(Integers<F32> index, F32& high, F32& low) const {
    high = look_up(table_->columns[0], index);
    low = look_up(table_->columns[1], index);
  }

 private:
  const PowerTable<float>* table_;
};

template <>
class Avx2::Powers<double> {
 public:
  explicit Powers(const PowerTable<double>& table) : rows_(table.rows) {}

  void operator()(Integers<F64> index, F64& high, F64& low) const {
    look_up_pairs(rows_, index % PowerTable<double>::kSteps, high, low);
  }

 private:
  const double (*rows_)[2];
};

}  // namespace
}  // namespace nnkernels
