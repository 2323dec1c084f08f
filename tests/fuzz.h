// Shared by the fuzzers: choices from the bytes of an input, and arrays of any layout.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <type_traits>
#include <utility>
#include <vector>

#include "common.h"
#include "kernels.h"

namespace nnkernels {

// Makes choices from the bytes of an input; from zeros after its end.
class Choices {
 public:
  Choices(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  // A number below n; n is at most 2^16.
  std::size_t below(std::size_t n) {
    const std::size_t low = byte();
    return (n > 256 ? low << 8 | byte() : low) % n;
  }

  bool flip() { return below(2) == 1; }

  // A number from -most to most.
  std::ptrdiff_t step(std::size_t most) {
    return static_cast<std::ptrdiff_t>(below(2 * most + 1)) - static_cast<std::ptrdiff_t>(most);
  }

  // A size up to `most`: usually a few elements or vectors, sometimes about a multiple of 1024 (a
  // block of sums), or any.
  std::size_t size(std::size_t most) {
    const std::size_t kind = below(8);
    const std::size_t size = kind < 3    ? below(10)
                             : kind < 6  ? below(100)
                             : kind == 6 ? (1 + below(3)) * 1024 + below(7) - 3
                                         : below(most + 1);
    return std::min(size, most);
  }

 private:
  std::size_t byte() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }

  const std::uint8_t* data_;
  std::size_t size_;
};

// The layout of `rows` rows of n elements; strides in elements.
struct Layout {
  std::size_t rows, n;
  std::ptrdiff_t row_step, step;

  std::size_t length() const {  // from the lowest to the highest address, in elements
    if (rows == 0 || n == 0) return 0;
    return (rows - 1) * static_cast<std::size_t>(std::abs(row_step)) + (n - 1) * static_cast<std::size_t>(std::abs(step)) + 1;
  }
  std::size_t first() const {  // index of the first element, from the lowest address
    if (rows == 0 || n == 0) return 0;
    const std::ptrdiff_t below = std::min<std::ptrdiff_t>(row_step, 0) * static_cast<std::ptrdiff_t>(rows - 1) +
                                 std::min<std::ptrdiff_t>(step, 0) * static_cast<std::ptrdiff_t>(n - 1);
    return static_cast<std::size_t>(-below);
  }
  std::size_t place(std::size_t row, std::size_t i) const {  // index from the lowest address
    return static_cast<std::size_t>(static_cast<std::ptrdiff_t>(first()) + static_cast<std::ptrdiff_t>(row) * row_step +
                                    static_cast<std::ptrdiff_t>(i) * step);
  }
};

// C or Fortran order, positive or negative strides, contiguous or with gaps; elements do not
// overlap.
inline Layout distinct_layout(Choices& choices, std::size_t rows, std::size_t n) {
  const bool across = choices.below(4) == 3;
  const bool apart = rows * n <= 10'000 && choices.flip();
  const std::size_t inner = apart ? 1 + choices.below(4) : 1;
  const std::size_t outer = std::max<std::size_t>((across ? rows : n) * inner, 1) + (apart ? choices.below(20) : 0);
  auto steps = std::make_pair(static_cast<std::ptrdiff_t>(outer), static_cast<std::ptrdiff_t>(inner));
  if (const std::size_t signs = choices.below(8); signs < 4) {
    if (signs & 1) steps.first = -steps.first;
    if (signs & 2) steps.second = -steps.second;
  }
  return across ? Layout{rows, n, steps.second, steps.first} : Layout{rows, n, steps.first, steps.second};
}

// A distinct layout, or one with overlapping elements: overlapping rows, strides of 0.
inline Layout any_layout(Choices& choices, std::size_t rows, std::size_t n) {
  if (choices.below(4) != 3) return distinct_layout(choices, rows, n);
  const std::ptrdiff_t row_step = choices.step(std::min<std::size_t>(n + 2, 200));
  return {rows, n, row_step, choices.step(2)};
}

// One of a few options of an activation. Some are not exact in float.
inline double any_option_of_activation(Choices& choices) {
  constexpr double kOptions[] = {0.01, 1, 0, -0.0, 0.3, -2, 1e-40, 1e300};
  return kOptions[choices.below(std::size(kOptions))];
}

// Rows of kernels.h for a layout whose lowest element is at `low`.
template <class T>
Rows<T> rows_at(T* low, const Layout& layout) {
  constexpr auto kSize = static_cast<std::ptrdiff_t>(sizeof(T));
  return {low + layout.first(), layout.row_step * kSize, layout.step * kSize};
}

template <class T>
Strided<T> strided_at(T* low, const Layout& layout) {
  return rows_at(low, layout).row(0);
}

template <class T>
void fill_bits(Random& random, T* values, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint64_t bits = random.bits();
    std::memcpy(&values[i], &bits, sizeof(T));
  }
}

// Numbers of one kind: random bits; ordinary; small integers times a power of two; any magnitude;
// any magnitude with special numbers.
template <class T>
std::vector<T> numbers(Choices& choices, std::size_t n) {
  std::vector<T> result(n);
  Random random{choices.below(1 << 16)};
  const std::size_t kind = choices.below(5);
  if constexpr (std::is_integral_v<T>) {
    fill_bits(random, result.data(), n);
  } else if (kind == 0) {
    fill_bits(random, result.data(), n);
  } else {
    using C = Compute<T>;
    const int exponent = kind == 1 ? 0 : static_cast<int>(choices.step(100));
    std::vector<C> wide(n);
    for (C& value : wide) {
      const double number = kind == 2 ? std::floor(random.number()) : random.number();
      value = static_cast<C>(std::ldexp(number, exponent));
      if (kind == 4 && random.bits() % 64 == 0) value = kSpecial<C>[random.bits() % std::size(kSpecial<C>)];
    }
    generic.of<T>().narrow(wide.data(), {result.data(), sizeof(T)}, n);
  }
  return result;
}

// An input array: its memory from the lowest to the highest element, with numbers in the gaps, too.
template <class T>
struct Operand {
  Operand(Choices& choices, const Layout& where) : layout(where), memory(numbers<T>(choices, where.length())) {
    memory.reserve(1);  // an empty array has an address, too
  }

  const T& at(std::size_t row, std::size_t i) const { return memory[layout.place(row, i)]; }

  std::vector<T> contiguous() const {
    std::vector<T> values;
    values.reserve(layout.rows * layout.n);
    for (std::size_t row = 0; row < layout.rows; ++row) {
      for (std::size_t i = 0; i < layout.n; ++i) values.push_back(at(row, i));
    }
    return values;
  }

  Layout layout;
  std::vector<T> memory;
};

// If not good, prints where and aborts, so that the fuzzer keeps the input.
inline void check(bool good, const KernelTable& table, const char* what, std::size_t a = 0, std::size_t b = 0,
                  std::size_t c = 0) {
  if (good) return;
  std::fprintf(stderr, "FAILED %s %s %zu %zu %zu\n", table.target, what, a, b, c);
  std::abort();
}

}  // namespace nnkernels
