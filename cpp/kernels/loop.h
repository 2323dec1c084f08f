// The loop driver of all kernels: turns a row of elements in any storage into contiguous blocks of
// its compute type.
#pragma once

#include "lanes.h"

namespace nnkernels {
namespace {

// Length of a block. Part of the definition of sums (sum.h): changing it changes results.
constexpr std::size_t kBlock = 1024;

constexpr std::size_t least(std::size_t a, std::size_t b) { return a < b ? a : b; }

// The lanes p[0], p[1], ..., all or only the first n; other lanes take the fill.
template <class Target, class C>
Lanes<Target, C> load_lanes(const C* p, std::size_t n, C fill) {
  return n == kLanes<Target, C> ? load<Lanes<Target, C>>(p) : Lanes<Target, C>(Target::load_partial(p, n, fill));
}

template <class Target, class C>
void store_lanes(C* p, Lanes<Target, C> v, std::size_t n) {
  if (n == kLanes<Target, C>) {
    store(p, v);
  } else {
    Target::store_partial(p, v, n);
  }
}

// output[i] = input[i]; no output may be an input. Two common strides are compile-time constants,
// so that the compiler vectorises them: every second element (such as the real parts of complex
// numbers), and reversed. Not inlined: it would exhaust the compiler's inlining budget in functions
// that must be inlined.
template <class T>
[[gnu::noinline]] void copy(Strided<const T> input, Strided<T> output, std::size_t n) {
  const T* __restrict const x = input.data;
  T* __restrict const y = output.data;
  constexpr auto kSize = static_cast<std::ptrdiff_t>(sizeof(T));
  const auto count = static_cast<std::ptrdiff_t>(n);
  if (output.contiguous() && input.stride == 2 * kSize) {
    for (std::ptrdiff_t i = 0; i < count; ++i) y[i] = x[2 * i];
  } else if (output.contiguous() && input.stride == -kSize) {
    for (std::ptrdiff_t i = 0; i < count; ++i) y[i] = x[-i];
  } else {
    constexpr std::size_t kAtOnce = 4;
    for (; n >= kAtOnce; n -= kAtOnce, input = input.from(kAtOnce), output = output.from(kAtOnce)) {
      for (std::size_t i = 0; i < kAtOnce; ++i) output[i] = input[i];
    }
    for (std::size_t i = 0; i < n; ++i) output[i] = input[i];
  }
}

// Copies halves as integers, which the compiler vectorises.
inline void copy(Strided<const Half> input, Strided<Half> output, std::size_t n) {
  copy<std::uint16_t>({&input.data->bits, input.stride}, {&output.data->bits, output.stride}, n);
}

// output[i] = float(input[i]) for contiguous halves.
template <class Target>
void widen_contiguous(const Half* input, float* output, std::size_t n) {
  constexpr std::size_t kWidth = kLanes<Target, float>;
  std::size_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(output + i, Target::widen(input + i));
  if (i < n) Target::store_partial(output + i, Target::widen_partial(input + i, n - i), n - i);
}

// output[i] = half(input[i]) for contiguous halves.
template <class Target>
void narrow_contiguous(const float* input, Half* output, std::size_t n) {
  constexpr std::size_t kWidth = kLanes<Target, float>;
  std::size_t i = 0;
  for (; i + kWidth <= n; i += kWidth) Target::narrow(output + i, load<Lanes<Target, float>>(input + i));
  if (i < n) Target::narrow_partial(output + i, Target::load_partial(input + i, n - i, 0.0f), n - i);
}

template <class Target, class T>
void widen(Strided<const T> input, Compute<T>* output, std::size_t n) {
  if constexpr (std::is_same_v<T, Half>) {
    Half gathered[kBlock];
    for (std::size_t start = 0; start < n; start += kBlock) {
      const std::size_t count = least(kBlock, n - start);
      const Half* halves = input.from(start).data;
      if (!input.contiguous()) {
        copy(input.from(start), Strided<T>{gathered, sizeof(T)}, count);
        halves = gathered;
      }
      widen_contiguous<Target>(halves, output + start, count);
    }
  } else {
    copy(input, Strided<T>{output, sizeof(T)}, n);
  }
}

template <class Target, class T>
void narrow(const Compute<T>* input, Strided<T> output, std::size_t n) {
  if constexpr (std::is_same_v<T, Half>) {
    Half halves[kBlock];
    for (std::size_t start = 0; start < n; start += kBlock) {
      const std::size_t count = least(kBlock, n - start);
      if (output.contiguous()) {
        narrow_contiguous<Target>(input + start, output.from(start).data, count);
      } else {
        narrow_contiguous<Target>(input + start, halves, count);
        copy(Strided<const T>{halves, sizeof(T)}, output.from(start), count);
      }
    }
  } else {
    copy(Strided<const T>{input, sizeof(T)}, output, n);
  }
}

// `count` elements of the row from `start` on: in place if contiguous and of the compute type, else
// a copy.
template <class Target, class T>
const Compute<T>* read_block(Strided<const T> row, std::size_t start, std::size_t count, Compute<T>* buffer) {
  if constexpr (std::is_same_v<T, Compute<T>>) {
    if (row.contiguous()) return row.data + start;
  }
  widen<Target, T>(row.from(start), buffer, count);
  return buffer;
}

// Where to compute a block of results: in place if contiguous and of the compute type, else in the
// buffer, which write_block copies.
template <class Target, class T>
Compute<T>* output_block(Strided<T> row, std::size_t start, Compute<T>* buffer) {
  if constexpr (std::is_same_v<T, Compute<T>>) {
    if (row.contiguous()) return row.data + start;
  }
  return buffer;
}

template <class Target, class T>
void write_block(const Compute<T>* block, Strided<T> row, std::size_t start, std::size_t count) {
  if constexpr (std::is_same_v<T, Compute<T>>) {
    if (row.contiguous()) return;
  }
  narrow<Target, T>(block, row.from(start), count);
}

// Loads the first n elements at p in the compute type; other lanes are 0.
template <class Target, class T>
Lanes<Target, Compute<T>> load_elements(const T* p, std::size_t n) {
  if constexpr (std::is_same_v<T, Half>) {
    return n == kLanes<Target, float> ? Target::widen(p) : Target::widen_partial(p, n);
  } else {
    return load_lanes<Target>(p, n, T(0));
  }
}

template <class Target, class T>
void store_elements(T* p, Lanes<Target, Compute<T>> v, std::size_t n) {
  if constexpr (!std::is_same_v<T, Half>) {
    store_lanes<Target>(p, v, n);
  } else if (n == kLanes<Target, float>) {
    Target::narrow(p, v);
  } else {
    Target::narrow_partial(p, v, n);
  }
}

// The number of elements before the array's first vector boundary: 0, ..., kWidth - 1.
template <std::size_t kWidth, class T>
std::size_t elements_to_boundary(const T* data) {
  return -(reinterpret_cast<std::uintptr_t>(data) / sizeof(T)) % kWidth;
}

// output[i] = function(input[i]) for contiguous elements. The function maps a vector to a vector
// and must accept 0. Always inlined, to keep the function's constants in registers.
template <class Target, class T, class Function>
inline __attribute__((always_inline)) void map_contiguous(const T* input, T* output, std::size_t n, Function function) {
  constexpr std::size_t kWidth = kLanes<Target, Compute<T>>;
  constexpr std::size_t kWorthAligning = 32 * kWidth;
  std::size_t i = 0;
  if (const std::size_t head = elements_to_boundary<kWidth>(output); head > 0 && n >= kWorthAligning) {
    // A store across two cache lines takes twice as long, but a masked store takes longer than a
    // few such stores. So alignment pays only for long rows.
    store_elements<Target>(output, function(load_elements<Target>(input, head)), head);
    i = head;
  }
  for (; i + kWidth <= n; i += kWidth) {
    store_elements<Target>(output + i, function(load_elements<Target>(input + i, kWidth)), kWidth);
  }
  if (i < n) store_elements<Target>(output + i, function(load_elements<Target>(input + i, n - i)), n - i);
}

// map_contiguous with stores past the caches.
template <class Target, class C, class Function>
void map_streaming(const C* input, C* output, std::size_t n, Function function) {
  constexpr std::size_t kWidth = kLanes<Target, C>;
  std::size_t i = least(elements_to_boundary<kWidth>(output), n);
  map_contiguous<Target>(input, output, i, function);
  for (; i + kWidth <= n; i += kWidth) Target::stream(output + i, function(load<Lanes<Target, C>>(input + i)));
  Target::fence();
  map_contiguous<Target>(input + i, output + i, n - i, function);
}

// output[i] = function(input[i]) for any T and strides. Overlap and a stride of 0 are as for
// Kernels::Elementwise.
template <class Target, class T, class Function>
void map(Strided<const T> input, Strided<T> output, std::size_t n, Function function, Stores stores = Stores::kCached) {
  if (input.contiguous() && output.contiguous()) {
    if constexpr (std::is_same_v<T, Compute<T>>) {
      if (stores == Stores::kStreaming && input.data != output.data) {
        map_streaming<Target>(input.data, output.data, n, function);
        return;
      }
    }
    map_contiguous<Target>(input.data, output.data, n, function);
    return;
  }
  alignas(64) T buffer[kBlock];
  const Strided<T> buffered{buffer, sizeof(T)};
  for (std::size_t start = 0; start < n; start += kBlock) {
    const std::size_t count = least(kBlock, n - start);
    const T* x = input.contiguous() ? input.data + start : buffer;
    T* y = output.contiguous() ? output.data + start : buffer;
    if (!input.contiguous()) copy(input.from(start), buffered, count);
    map_contiguous<Target>(x, y, count, function);
    if (!output.contiguous()) copy(Strided<const T>{buffer, sizeof(T)}, output.from(start), count);
  }
}

}  // namespace
}  // namespace nnkernels
