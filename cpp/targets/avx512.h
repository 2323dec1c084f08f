// AVX-512 F, BW, CD, DQ, VL (x86-64-v4): 512-bit vectors.
#pragma once

#include <immintrin.h>

#include "../kernels/tables.h"
#include "x86_narrow.h"

namespace nnkernels {
namespace {

struct Avx512 {
  static constexpr const char* kName = "avx512";
  static constexpr std::size_t kBytes = 64;
  static constexpr std::size_t kTileRows = 6;  // 24 of 32 registers for sums
  using Narrow = X86Narrow;
  using F32 = LanesOf<float, 64>::type;
  using F64 = LanesOf<double, 64>::type;

  static F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }
  static F64 fma(F64 a, F64 b, F64 c) { return _mm512_fmadd_pd(a, b, c); }

  static F32 scale(F32 v, F32 n) { return _mm512_scalef_ps(v, n); }
  static F64 scale(F64 v, F64 n) { return _mm512_scalef_pd(v, n); }

  template <class V>
  static V scale_normal(V v, V n) {
    return scale(v, n);
  }

  static F32 greater(F32 a, F32 b) { return _mm512_max_ps(a, b); }
  static F64 greater(F64 a, F64 b) { return _mm512_max_pd(a, b); }
  static F32 less(F32 a, F32 b) { return _mm512_min_ps(a, b); }
  static F64 less(F64 a, F64 b) { return _mm512_min_pd(a, b); }

  static F32 sqrt(F32 v) { return _mm512_sqrt_ps(v); }
  static F64 sqrt(F64 v) { return _mm512_sqrt_pd(v); }

  static bool any_greater(F32 a, F32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0; }
  static bool any_greater(F64 a, F64 b) { return _mm512_cmp_pd_mask(a, b, _CMP_GT_OQ) != 0; }

  // A column is one register, from which the lanes select.
  class Lookup {
   public:
    explicit Lookup(const FloatTable& table) {
      for (std::size_t i = 0; i < FloatTable::kColumns; ++i) {
        columns_[i] = _mm512_load_ps(table.columns[i]);
        keep(columns_[i]);
      }
    }

    void operator()(Integers<F32> rows, F32* c) const {
      for (std::size_t i = 0; i < FloatTable::kColumns; ++i) {
        c[i] = _mm512_permutexvar_ps(reinterpret_cast<__m512i>(rows), columns_[i]);
      }
    }

   private:
    __m512 columns_[FloatTable::kColumns];
  };

  // Through memory, which keeps the vector ports free. Two stores instead of one: on Intel CPUs, a
  // load of part of a 64-byte store waits until the store completes.
  static void look_up_pairs(const double (*table)[2], Integers<F64> rows, F64& first, F64& second) {
    const auto offsets = reinterpret_cast<__m512i>(2 * rows);
    alignas(32) std::uint64_t offset[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(offset), _mm512_castsi512_si256(offsets));
    _mm256_store_si256(reinterpret_cast<__m256i*>(offset + 4), _mm512_extracti64x4_epi64(offsets, 1));
    keep_in_memory(offset);
    const double* const elements = *table;
    const auto load_pair = [&](std::size_t lane) { return _mm_load_pd(elements + offset[lane]); };
    const auto gather = [&](std::size_t a, std::size_t b, std::size_t c, std::size_t d) {
      const __m256d low = _mm256_set_m128d(load_pair(b), load_pair(a));
      const __m256d high = _mm256_set_m128d(load_pair(d), load_pair(c));
      return _mm512_insertf64x4(_mm512_castpd256_pd512(low), high, 1);
    };
    const __m512d even = gather(0, 2, 4, 6), odd = gather(1, 3, 5, 7);
    first = _mm512_unpacklo_pd(even, odd);
    second = _mm512_unpackhi_pd(even, odd);
  }

  template <class C>
  class Powers;

  static __mmask16 mask32(std::size_t n) { return static_cast<__mmask16>((1u << n) - 1); }
  static __mmask8 mask64(std::size_t n) { return static_cast<__mmask8>((1u << n) - 1); }
  static F32 load_partial(const float* p, std::size_t n, float fill) {
    return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask32(n), p);
  }
  static F64 load_partial(const double* p, std::size_t n, double fill) {
    return _mm512_mask_loadu_pd(_mm512_set1_pd(fill), mask64(n), p);
  }
  static void store_partial(float* p, F32 v, std::size_t n) { _mm512_mask_storeu_ps(p, mask32(n), v); }
  static void store_partial(double* p, F64 v, std::size_t n) { _mm512_mask_storeu_pd(p, mask64(n), v); }

  static void stream(float* p, F32 v) { _mm512_stream_ps(p, v); }
  static void stream(double* p, F64 v) { _mm512_stream_pd(p, v); }
  static void fence() { _mm_sfence(); }

  static F32 broadcast_chunk(const float* p) { return _mm512_broadcast_f32x4(_mm_loadu_ps(p)); }
  static F64 broadcast_chunk(const double* p) { return _mm512_broadcast_f64x2(_mm_loadu_pd(p)); }

  static F32 gather_chunks(const float* p, std::ptrdiff_t stride) {
    const __m256 low = _mm256_set_m128(_mm_loadu_ps(p + stride), _mm_loadu_ps(p));
    const __m256 high = _mm256_set_m128(_mm_loadu_ps(p + 3 * stride), _mm_loadu_ps(p + 2 * stride));
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
  }
  static F64 gather_chunks(const double* p, std::ptrdiff_t stride) {
    const __m256d low = _mm256_set_m128d(_mm_loadu_pd(p + stride), _mm_loadu_pd(p));
    const __m256d high = _mm256_set_m128d(_mm_loadu_pd(p + 3 * stride), _mm_loadu_pd(p + 2 * stride));
    return _mm512_insertf64x4(_mm512_castpd256_pd512(low), high, 1);
  }
  static void scatter_chunks(float* p, std::ptrdiff_t stride, F32 v) {
    _mm_storeu_ps(p, _mm512_castps512_ps128(v));
    _mm_storeu_ps(p + stride, _mm512_extractf32x4_ps(v, 1));
    _mm_storeu_ps(p + 2 * stride, _mm512_extractf32x4_ps(v, 2));
    _mm_storeu_ps(p + 3 * stride, _mm512_extractf32x4_ps(v, 3));
  }
  static void scatter_chunks(double* p, std::ptrdiff_t stride, F64 v) {
    _mm_storeu_pd(p, _mm512_castpd512_pd128(v));
    _mm_storeu_pd(p + stride, _mm512_extractf64x2_pd(v, 1));
    _mm_storeu_pd(p + 2 * stride, _mm512_extractf64x2_pd(v, 2));
    _mm_storeu_pd(p + 3 * stride, _mm512_extractf64x2_pd(v, 3));
  }
  template <class V>
  static void transpose_chunks(V* v) {
    const __m512 a = as<__m512>(v[0]), b = as<__m512>(v[1]), c = as<__m512>(v[2]), d = as<__m512>(v[3]);
    const __m512 ab_low = _mm512_shuffle_f32x4(a, b, _MM_SHUFFLE(1, 0, 1, 0));
    const __m512 ab_high = _mm512_shuffle_f32x4(a, b, _MM_SHUFFLE(3, 2, 3, 2));
    const __m512 cd_low = _mm512_shuffle_f32x4(c, d, _MM_SHUFFLE(1, 0, 1, 0));
    const __m512 cd_high = _mm512_shuffle_f32x4(c, d, _MM_SHUFFLE(3, 2, 3, 2));
    v[0] = as<V>(_mm512_shuffle_f32x4(ab_low, cd_low, _MM_SHUFFLE(2, 0, 2, 0)));
    v[1] = as<V>(_mm512_shuffle_f32x4(ab_low, cd_low, _MM_SHUFFLE(3, 1, 3, 1)));
    v[2] = as<V>(_mm512_shuffle_f32x4(ab_high, cd_high, _MM_SHUFFLE(2, 0, 2, 0)));
    v[3] = as<V>(_mm512_shuffle_f32x4(ab_high, cd_high, _MM_SHUFFLE(3, 1, 3, 1)));
  }

  static void to_doubles(F32 v, F64& low, F64& high) {
    low = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
    high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
  }
  static F32 to_floats(F64 low, F64 high) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1);
  }

  static F32 unpack_low(F32 a, F32 b) { return _mm512_unpacklo_ps(a, b); }
  static F64 unpack_low(F64 a, F64 b) { return _mm512_unpacklo_pd(a, b); }
  static F32 unpack_high(F32 a, F32 b) { return _mm512_unpackhi_ps(a, b); }
  static F64 unpack_high(F64 a, F64 b) { return _mm512_unpackhi_pd(a, b); }

  static F32 pairwise_add(F32 a, F32 b) {
    return _mm512_shuffle_ps(a, b, _MM_SHUFFLE(2, 0, 2, 0)) + _mm512_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1));
  }
  static F64 pairwise_add(F64 a, F64 b) { return _mm512_unpacklo_pd(a, b) + _mm512_unpackhi_pd(a, b); }

  static F32 interleave(F32 v) {
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), v);
  }
  static F64 interleave(F64 v) { return _mm512_permutexvar_pd(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), v); }

  static F32 widen(const Half* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static void narrow(Half* p, F32 v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static F32 widen_partial(const Half* p, std::size_t n) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask32(n), p)); }
  static void narrow_partial(Half* p, F32 v, std::size_t n) {
    _mm256_mask_storeu_epi16(p, mask32(n), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
};

template <>
class Avx512::Powers<float> {
 public:
  explicit Powers(const PowerTable<float>& table)
      : high_(_mm512_load_ps(table.columns[0])), low_(_mm512_load_ps(table.columns[1])) {
    keep(high_);
    keep(low_);
  }

  void operator()(Integers<F32> index, F32& high, F32& low) const {
    high = _mm512_permutexvar_ps(reinterpret_cast<__m512i>(index), high_);
    low = _mm512_permutexvar_ps(reinterpret_cast<__m512i>(index), low_);
  }

 private:
  __m512 high_, low_;
};

template <>
class Avx512::Powers<double> {
 public:
  explicit Powers(const PowerTable<double>& table) {
    for (std::size_t half = 0; half < 2; ++half) {
      high_[half] = _mm512_load_pd(table.columns[0] + 8 * half);
      low_[half] = _mm512_load_pd(table.columns[1] + 8 * half);
      keep(high_[half]);
      keep(low_[half]);
    }
  }

  void operator()(Integers<F64> index, F64& high, F64& low) const {
    high = _mm512_permutex2var_pd(high_[0], reinterpret_cast<__m512i>(index), high_[1]);
    low = _mm512_permutex2var_pd(low_[0], reinterpret_cast<__m512i>(index), low_[1]);
  }

 private:
  __m512d high_[2], low_[2];
};

}  // namespace
}  // namespace nnkernels
