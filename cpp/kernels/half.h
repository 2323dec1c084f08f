// IEEE binary16 to float and back, one element at a time, for targets without such instructions.
#pragma once

#include <cstdint>
#include <cstring>

#include "../kernels.h"

namespace nnkernels {
namespace {

// Exact. A signalling NaN becomes quiet.
inline float widen_half(Half half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half.bits & 0x8000u) << 16;
  const std::uint32_t magnitude = half.bits & 0x7fffu;
  std::uint32_t bits;
  if (magnitude >= 0x7c00u) {  // infinity, NaN
    bits = 0x7f800000u | (magnitude << 13) | (magnitude > 0x7c00u ? 0x00400000u : 0u);
  } else if (magnitude >= 0x0400u) {  // normal: change the exponent's bias from 15 to 127
    bits = (magnitude << 13) + ((127u - 15u) << 23);
  } else {  // subnormal: a multiple of 2^-24
    const float value = static_cast<float>(magnitude) * 0x1p-24f;
    std::memcpy(&bits, &value, sizeof bits);
  }
  bits |= sign;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

// To nearest, ties to even. Raises overflow as the hardware does.
inline Half narrow_half(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  std::uint32_t half;
  if (magnitude > 0x7f800000u) {  // NaN: quiet, with the upper bits of the payload
    half = 0x7e00u | ((magnitude >> 13) & 0x03ffu);
  } else if (magnitude >= 0x477ff000u) {     // 65520 and more: infinity; the product raises overflow
    const volatile float factor = 0x1p113f;  // volatile, so that the compiler cannot multiply before the comparison
    const float infinite = value * factor;
    std::memcpy(&half, &infinite, sizeof half);
    half = (half >> 13) & 0x7fffu;
  } else if (magnitude >= 0x38800000u) {  // normal results: 2^-14 and more
    const std::uint32_t rebiased = magnitude - ((127u - 15u) << 23);
    half = (rebiased + 0x0fffu + ((rebiased >> 13) & 1u)) >> 13;  // a carry correctly increments the exponent
  } else {  // subnormal results: adding 0.5 puts the last bit at 2^-24, so the addition rounds
    float absolute;
    std::memcpy(&absolute, &magnitude, sizeof absolute);
    const float sum = absolute + 0.5f;
    std::memcpy(&half, &sum, sizeof half);
    half -= 0x3f000000u;
  }
  return Half{static_cast<std::uint16_t>(sign | half)};
}

}  // namespace
}  // namespace nnkernels
