// Shared by the C++ tests: reproducible random numbers, comparison of bits, and memory between
// guard pages in which every element is checked.
#pragma once

#if defined(_WIN32)
#if !defined(NOMINMAX)
#define NOMINMAX  // no macros min and max; MinGW's libstdc++ defines it too
#endif
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <limits>
#include <type_traits>
#include <vector>

#include "dispatch.h"
#include "network.h"

namespace nnkernels {

inline const KernelTable& generic = *supported_tables().front();

// The same random numbers in each run and on each machine (S. Vigna's SplitMix64).
struct Random {
  std::uint64_t state = 1;

  std::uint64_t bits() {
    std::uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // A number in [-4, 4).
  double number() { return static_cast<double>(bits() >> 11) * 0x1p-50 - 4; }
};

template <class C>
constexpr C kSpecial[] = {C(0),
                          -C(0),
                          std::numeric_limits<C>::infinity(),
                          -std::numeric_limits<C>::infinity(),
                          std::numeric_limits<C>::quiet_NaN(),
                          std::numeric_limits<C>::max(),
                          std::numeric_limits<C>::denorm_min()};

template <class T>
bool is_nan(T x) {
  return x != x;
}
inline bool is_nan(Half x) { return (x.bits & 0x7fff) > 0x7c00; }

template <class T>
bool same(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof a) == 0 || (is_nan(a) && is_nan(b));
}

template <class T>
std::vector<Compute<T>> widened(const std::vector<T>& values) {
  std::vector<Compute<T>> result(values.size());
  generic.of<T>().widen({values.data(), sizeof(T)}, result.data(), values.size());
  return result;
}

template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  bool equal = a.size() == b.size();
  for (std::size_t i = 0; equal && i < a.size(); ++i) equal = same(a[i], b[i]);
  return equal;
}

// The T nearest to a double. For a half, x is first rounded to odd in float: truncated, and the
// last bit set if anything was lost. The second rounding is then correct, because halves and the
// midpoints between them are even floats.
template <class T>
T nearest(double x) {
  if constexpr (!std::is_same_v<T, Half>) {
    return static_cast<T>(x);
  } else {
    auto wide = static_cast<float>(x);
    if (std::isfinite(wide) && static_cast<double>(wide) != x) {
      if (std::abs(static_cast<double>(wide)) > std::abs(x)) wide = std::nextafter(wide, 0.0f);
      std::uint32_t bits;
      std::memcpy(&bits, &wide, sizeof bits);
      bits |= 1;
      std::memcpy(&wide, &bits, sizeof bits);
    }
    Half result;
    generic.float16.narrow(&wide, {&result, sizeof result}, 1);
    return result;
  }
}

// The sum of blocks begin, ..., end - 1. The left operand of each addition covers the largest
// possible number of blocks that is a power of two.
template <class C>
C plain_tree(const std::vector<C>& blocks, std::size_t begin, std::size_t end) {
  if (end - begin <= 1) return begin < end ? blocks[begin] : 0;
  std::size_t left = 1;
  while (2 * left < end - begin) left *= 2;
  return plain_tree(blocks, begin, begin + left) + plain_tree(blocks, begin + left, end);
}

// The element-wise activations: name in Python, and an option that is not the default.
struct NamedActivation {
  const char* name;
  Activation activation;
  double option = 0;
};
constexpr NamedActivation kElementwiseActivations[] = {{"relu", Activation::kRelu},
                                                       {"sigmoid", Activation::kSigmoid},
                                                       {"tanh", Activation::kTanh},
                                                       {"exp", Activation::kExp},
                                                       {"leaky_relu", Activation::kLeakyRelu, 0.3},
                                                       {"elu", Activation::kElu, 0.7},
                                                       {"silu", Activation::kSilu},
                                                       {"gelu", Activation::kGelu},
                                                       {"gelu_tanh", Activation::kGeluTanh},
                                                       {"softplus", Activation::kSoftplus}};
static_assert(std::size(kElementwiseActivations) + 1 == kElementwise);

constexpr bool has_option(Activation activation) {
  return activation == Activation::kLeakyRelu || activation == Activation::kElu;
}

constexpr double option_of(Activation activation) {
  const auto number = static_cast<std::size_t>(activation);
  return number == 0 || number >= kElementwise ? 0 : kElementwiseActivations[number - 1].option;
}

// Applies an activation of `generic` in place to contiguous rows of n numbers.
template <class T>
void plain_activation(Activation activation, double option, std::vector<T>& y, std::size_t n) {
  if (activation == Activation::kNone) return;
  const Kernels<T>& kernels = generic.of<T>();
  if (static_cast<std::size_t>(activation) < kElementwise) {
    kernels.of(activation)({y.data(), sizeof(T)}, {y.data(), sizeof(T)}, y.size(), Stores::kCached, option);
    return;
  }
  const auto stride = static_cast<std::ptrdiff_t>(n * sizeof(T));
  const auto kernel = activation == Activation::kSoftmax ? kernels.softmax : kernels.log_softmax;
  kernel({y.data(), stride, sizeof(T)}, {y.data(), stride, sizeof(T)}, n == 0 ? 0 : y.size() / n, n);
}

// Whether an emulator runs this program. Emulators are slow, and QEMU 7.2 reads the masked-out
// elements of an AVX masked load.
inline bool emulated = false;

// Maps `bytes`, a multiple of the page size, between two guard pages. Under an emulator, the guard
// pages are accessible.
#if defined(_WIN32)
inline std::size_t page_size() {
  SYSTEM_INFO info;
  GetSystemInfo(&info);
  return info.dwPageSize;
}
inline char* map_guarded(std::size_t bytes, std::size_t page) {
  auto* const map = static_cast<char*>(VirtualAlloc(nullptr, bytes + 2 * page, MEM_RESERVE, PAGE_NOACCESS));
  if (map == nullptr || VirtualAlloc(map + page, bytes, MEM_COMMIT, PAGE_READWRITE) == nullptr) std::abort();
  return map + page;
}
inline void unmap_guarded(char* data, std::size_t, std::size_t page) { VirtualFree(data - page, 0, MEM_RELEASE); }
#else
inline std::size_t page_size() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }
inline char* map_guarded(std::size_t bytes, std::size_t page) {
  const int beside = emulated ? PROT_READ | PROT_WRITE : PROT_NONE;
  void* const map = mmap(nullptr, bytes + 2 * page, beside, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED || mprotect(static_cast<char*>(map) + page, bytes, PROT_READ | PROT_WRITE) != 0) std::abort();
  return static_cast<char*>(map) + page;
}
inline void unmap_guarded(char* data, std::size_t bytes, std::size_t page) { munmap(data - page, bytes + 2 * page); }
#endif

// Memory for at least `count` numbers, between guard pages.
template <class T>
class Guarded {
 public:
  explicit Guarded(std::size_t count)
      : bytes_((count * sizeof(T) + page_ - 1) / page_ * page_), data_(map_guarded(bytes_, page_)) {}
  ~Guarded() { unmap_guarded(data_, bytes_, page_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() const { return reinterpret_cast<T*>(data_); }
  std::size_t size() const { return bytes_ / sizeof(T); }

 private:
  const std::size_t page_ = page_size();
  const std::size_t bytes_;
  char* const data_;
};

// Position of an array in memory: at the start or the end, and its distance from there in elements.
struct Place {
  bool at_end;
  std::size_t offset;
};

// Room for `length` elements in memory number `role`, between guard pages.
template <class T>
T* room(std::size_t role, Place place, std::size_t length) {
  constexpr std::size_t kBytes = std::size_t{16} << 20;
  static const Guarded<char> memories[] = {Guarded<char>(kBytes), Guarded<char>(kBytes), Guarded<char>(kBytes),
                                           Guarded<char>(kBytes), Guarded<char>(kBytes), Guarded<char>(kBytes)};
  if ((length + place.offset) * sizeof(T) > kBytes) std::abort();
  T* const begin = reinterpret_cast<T*>(memories[role].data());
  return place.at_end ? begin + kBytes / sizeof(T) - place.offset - length : begin + place.offset;
}

// An array in a room, with the expected values of its elements and of the elements around it.
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

  // An input array.
  Window(std::size_t role, Place place, const std::vector<T>& values) : Window(role, place, values.size()) { put(values, 0); }

  void put(const std::vector<T>& values, std::size_t at) {
    std::copy(values.begin(), values.end(), expected_.begin() + static_cast<std::ptrdiff_t>(before_ + at));
    copy_out();
  }

  // Sets the expected results of a kernel, from the first element on.
  void expect(const std::vector<T>& values) {
    std::copy(values.begin(), values.end(), expected_.begin() + static_cast<std::ptrdiff_t>(before_));
  }

  T* data() const { return data_; }
  T& expected(std::size_t i) { return expected_[before_ + i]; }

  // Whether the memory is as expected; prints the first difference.
  bool as_expected() const {
    const T* const memory = data_ - before_;
    for (std::size_t i = 0; i < expected_.size(); ++i) {
      if (same(memory[i], expected_[i])) continue;
      static int shown = 0;
      if (shown++ >= 20) return false;
      unsigned long long actual = 0, expected = 0;
      std::memcpy(&actual, &memory[i], sizeof(T));
      std::memcpy(&expected, &expected_[i], sizeof(T));
      std::fprintf(stderr, "element %td is %#llx, expected %#llx\n", memory + i - data_, actual, expected);
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

}  // namespace nnkernels
