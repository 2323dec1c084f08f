// What the fuzzers share: an input's bytes as choices, arrays of any layout, and memory in which every element is accounted
// for.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "common.h"
#include "kernels.h"

namespace nnkernels {

// The bytes of an input as choices: zeros when there are no more.
class Choices {
 public:
  Choices(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  // A number below n, which is at most 2^16.
  std::size_t below(std::size_t n) {
    const std::size_t low = byte();
    return (n > 256 ? low << 8 | byte() : low) % n;
  }

  bool flip() { return below(2) == 1; }

  // From -most to most.
  std::ptrdiff_t step(std::size_t most) {
    return static_cast<std::ptrdiff_t>(below(2 * most + 1)) - static_cast<std::ptrdiff_t>(most);
  }

  // A size up to `most`: a few or some vectors as a rule, about so many blocks of sums, or any.
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

// Where the elements of `rows` rows of n lie, in elements from the first one.
struct Layout {
  std::size_t rows, n;
  std::ptrdiff_t row_step, step;

  std::size_t length() const {  // from the lowest element to the highest
    if (rows == 0 || n == 0) return 0;
    return (rows - 1) * static_cast<std::size_t>(std::abs(row_step)) + (n - 1) * static_cast<std::size_t>(std::abs(step)) + 1;
  }
  std::size_t first() const {  // from the lowest element
    if (rows == 0 || n == 0) return 0;
    const std::ptrdiff_t below = std::min<std::ptrdiff_t>(row_step, 0) * static_cast<std::ptrdiff_t>(rows - 1) +
                                 std::min<std::ptrdiff_t>(step, 0) * static_cast<std::ptrdiff_t>(n - 1);
    return static_cast<std::size_t>(-below);
  }
  std::size_t place(std::size_t row, std::size_t i) const {  // from the lowest element
    return static_cast<std::size_t>(static_cast<std::ptrdiff_t>(first()) + static_cast<std::ptrdiff_t>(row) * row_step +
                                    static_cast<std::ptrdiff_t>(i) * step);
  }
};

// Rows in the order of C or Fortran, forwards or backwards, side by side or apart; elements do not share places.
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

// Such, or elements that share places: rows that overlap, steps of 0.
inline Layout any_layout(Choices& choices, std::size_t rows, std::size_t n) {
  if (choices.below(4) != 3) return distinct_layout(choices, rows, n);
  const std::ptrdiff_t row_step = choices.step(std::min<std::size_t>(n + 2, 200));
  return {rows, n, row_step, choices.step(2)};
}

// The strides of kernels.h of elements that lie so, the lowest of them at `low`.
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

// Numbers of every kind: any bits; of any magnitude, infinities and NaN among them or not; of few values.
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
    constexpr C kInfinity = std::numeric_limits<C>::infinity();
    constexpr C kSpecial[] = {C(0),
                              -C(0),
                              kInfinity,
                              -kInfinity,
                              std::numeric_limits<C>::quiet_NaN(),
                              std::numeric_limits<C>::max(),
                              std::numeric_limits<C>::denorm_min()};
    const int exponent = kind == 1 ? 0 : static_cast<int>(choices.step(100));
    std::vector<C> wide(n);
    for (C& value : wide) {
      const double number = kind == 2 ? std::floor(random.number()) : random.number();
      value = static_cast<C>(std::ldexp(number, exponent));
      if (kind == 4 && random.bits() % 64 == 0) value = kSpecial[random.bits() % std::size(kSpecial)];
    }
    generic.of<T>().narrow(wide.data(), {result.data(), sizeof(T)}, n);
  }
  return result;
}

// An array that is read: its memory from the lowest element to the highest, which has numbers between them too.
template <class T>
struct Operand {
  Operand(Choices& choices, const Layout& where) : layout(where), memory(numbers<T>(choices, where.length())) {
    memory.reserve(1);  // also an empty array is somewhere
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

// At which end of the memory an array lies, and how many elements from it.
struct Place {
  bool at_end;
  std::size_t offset;
};

// Room for `length` elements in memory number `role`, between pages that nobody may touch.
template <class T>
T* room(std::size_t role, Place place, std::size_t length) {
  constexpr std::size_t kBytes = std::size_t{16} << 20;
  static const Guarded<char> memories[] = {Guarded<char>(kBytes), Guarded<char>(kBytes), Guarded<char>(kBytes),
                                           Guarded<char>(kBytes), Guarded<char>(kBytes), Guarded<char>(kBytes)};
  if ((length + place.offset) * sizeof(T) > kBytes) std::abort();
  T* const begin = reinterpret_cast<T*>(memories[role].data());
  return place.at_end ? begin + kBytes / sizeof(T) - place.offset - length : begin + place.offset;
}

// Such a room, and what should be in it and beside it.
template <class T>
class Window {
 public:
  Window(std::size_t role, Place place, std::size_t length) : data_(room<T>(role, place, length)) {
    constexpr std::size_t kBeside = 70;
    const std::size_t inside = std::min(place.offset, kBeside);
    before_ = place.at_end ? kBeside : inside;
    expected_.resize(before_ + length + (place.at_end ? inside : kBeside));
    std::memset(static_cast<void*>(expected_.data()), 0x5a, expected_.size() * sizeof(T));
    copy_out();
  }

  // What a kernel reads.
  Window(std::size_t role, Place place, const Operand<T>& operand) : Window(role, place, operand.memory.size()) {
    put(operand, 0);
  }

  void put(const Operand<T>& operand, std::size_t at) {
    std::copy(operand.memory.begin(), operand.memory.end(), expected_.begin() + static_cast<std::ptrdiff_t>(before_ + at));
    copy_out();
  }

  T* data() const { return data_; }
  T& expected(std::size_t i) { return expected_[before_ + i]; }

  // Expects the elements of a layout as they are.
  void accept(const Layout& layout) {
    for (std::size_t row = 0; row < layout.rows; ++row) {
      for (std::size_t i = 0; i < layout.n; ++i) expected(layout.place(row, i)) = data_[layout.place(row, i)];
    }
  }

  // If not, says where.
  bool as_expected() const {
    const T* const memory = data_ - before_;
    for (std::size_t i = 0; i < expected_.size(); ++i) {
      if (same(memory[i], expected_[i])) continue;
      std::uint64_t actual = 0, expected = 0;
      std::memcpy(&actual, &memory[i], sizeof(T));
      std::memcpy(&expected, &expected_[i], sizeof(T));
      std::fprintf(stderr, "element %td is %#lx, expected %#lx\n", memory + i - data_, actual, expected);
      return false;
    }
    return true;
  }

 private:
  void copy_out() { std::memcpy(static_cast<void*>(data_ - before_), expected_.data(), expected_.size() * sizeof(T)); }

  T* data_;
  std::size_t before_;
  std::vector<T> expected_;
};

// A finding: says where, and stops, so that the fuzzer keeps the input.
inline void check(bool good, const KernelTable& table, const char* what, std::size_t a = 0, std::size_t b = 0,
                  std::size_t c = 0) {
  if (good) return;
  std::fprintf(stderr, "FAILED %s %s %zu %zu %zu\n", table.target, what, a, b, c);
  std::abort();
}

}  // namespace nnkernels
