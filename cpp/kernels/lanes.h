// Vectors of lanes: the compiler's vector extension, plus the operations that every target adds.
//
// A target is a type with these members (targets/*.h):
//
//   kName, kBytes          its name, the bytes of a vector
//   kTileRows              rows of a tile of the dense kernel: as many as the registers hold
//   Narrow                 the target of its 128-bit vectors (itself, if its own have 128 bits)
//   fma(a, b, c)           a * b + c, rounded once
//   scale(v, n)            v * 2^floor(n), rounded once; n holds multiples of 1/16
//   scale_normal(v, n)     the same, if v and the result are normal numbers, or v is NaN
//   greater(a, b)          a > b ? a : b, so b if either is NaN
//   less(a, b)             a < b ? a : b
//   sqrt(v)                rounded once
//   any_greater(a, b)      whether a > b in any lane
//   Lookup                 of floats, made from a FloatTable; lookup(rows, c) sets each lane of
//                          c[column] to the element of its row, modulo 16
//   look_up_pairs(table, rows, first, second)
//                          of doubles: sets each lane to the two elements of its row
//   Powers<type>           made from a PowerTable; powers(index, high, low) sets each lane to the
//                          two parts at its index, modulo 16
//   load_partial(p, n, fill), store_partial(p, v, n)
//                          the first n lanes; other lanes take the fill
//   stream(p, v), fence()  store past the caches; p must be aligned to a vector; fence() at the end
//   broadcast_chunk(p)     the 128 bits at p in each 128-bit part of a vector
//   gather_chunks(p, s)    the 128 bits at p, p + s, ..., one in each 128-bit part; s in elements
//   scatter_chunks(p, s, v)
//                          the inverse
//   transpose_chunks(v)    transposes the square matrix of 128-bit parts of several vectors
//   unpack_low(a, b), unpack_high(a, b)
//                          in each 128-bit part: interleave the lower, or upper, lanes of a and b
//   pairwise_add(a, b)     in each 128-bit part: sums of neighbours in a, then in b
//   interleave(v)          with 128-bit parts as rows of a matrix: its transpose
//   to_doubles(v, low, high)
//                          a vector of float as two of double
//   to_floats(low, high)   the inverse, rounded once
//   widen(p), narrow(p, v) convert a vector of float from and to halves at p
//   widen_partial(p, n), narrow_partial(p, v, n)
//                          the first n lanes; other lanes become 0, other memory is unchanged
//
// Everything in cpp/kernels and cpp/targets has internal linkage (anonymous namespaces). So the
// linker can never share a function compiled for one CPU with code for another. CMake checks the
// objects: targets/check_symbols.cmake.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "../kernels.h"

namespace nnkernels {
namespace {

template <class T, std::size_t kBytes>
struct LanesOf {
  typedef T type __attribute__((vector_size(kBytes)));
};

// A vector of T on a target, and its number of lanes.
template <class Target, class T>
using Lanes = typename LanesOf<T, Target::kBytes>::type;
template <class Target, class T>
constexpr std::size_t kLanes = Target::kBytes / sizeof(T);

// Of a vector type: its element type, and the vector type of unsigned integers with the same lanes.
// Unsigned integers wrap around.
template <class V>
using Element = std::remove_cv_t<std::remove_reference_t<decltype(std::declval<V&>()[0])>>;
template <class T>
using Integer = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
template <class V>
using Integers = typename LanesOf<Integer<Element<V>>, sizeof(V)>::type;
template <class V>
using SignedIntegers = typename LanesOf<std::make_signed_t<Integer<Element<V>>>, sizeof(V)>::type;

template <class V>
V load(const Element<V>* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class V>
void store(Element<V>* p, V v) {
  std::memcpy(p, &v, sizeof v);
}

// All lanes x. x - 0 is x, even for -0 and NaN.
template <class V>
V broadcast(Element<V> x) {
  return x - V{};
}

// Convert the first n halves of a vector, for targets without such loads or stores.
template <class Target>
struct PartialHalves {
  static auto widen_partial(const Half* p, std::size_t n) {
    Half halves[kLanes<Target, float>] = {};
    std::memcpy(halves, p, n * sizeof(Half));
    return Target::widen(halves);
  }
  template <class V>
  static void narrow_partial(Half* p, V v, std::size_t n) {
    Half halves[kLanes<Target, float>];
    Target::narrow(halves, v);
    std::memcpy(p, halves, n * sizeof(Half));
  }
};

// The same bits as lanes of another type.
template <class To, class From>
To as(From v) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &v, sizeof to);
  return to;
}

// Keeps v in a register: otherwise the compiler would load it again for each use.
template <class V>
void keep([[maybe_unused]] V& v) {
#if defined(__x86_64__)
  __asm__("" : "+v"(v));
#elif defined(__aarch64__)
  __asm__("" : "+w"(v));
#endif
}

// Forces the compiler to read this memory again instead of using the stored register.
template <class T>
void keep_in_memory(T& stored) {
  __asm__("" : "+m"(stored));
}

// Combines all lanes into one number: upper half with lower half, until one lane is left.
template <class V, class Combine>
Element<V> fold_lanes(V v, Combine combine) {
  constexpr std::size_t kCount = sizeof(V) / sizeof(Element<V>);
  if constexpr (kCount == 2) {
    return combine(v[0], v[1]);
  } else {
    using HalfLanes = typename LanesOf<Element<V>, sizeof(V) / 2>::type;
    HalfLanes halves[2];
    std::memcpy(halves, &v, sizeof v);
    return fold_lanes(HalfLanes(combine(halves[0], halves[1])), combine);
  }
}

}  // namespace
}  // namespace nnkernels
