// What the C++ tests share: numbers that repeat, equality of bits, memory between pages that nobody may touch.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "dispatch.h"

namespace nnkernels {

inline const KernelTable& generic = *supported_tables().front();

// Numbers that repeat from run to run and machine to machine (S. Vigna's SplitMix64).
struct Random {
  std::uint64_t state = 1;

  std::uint64_t bits() {
    std::uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // In [-4, 4).
  double number() { return static_cast<double>(bits() >> 11) * 0x1p-50 - 4; }
};

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

// Whether an emulator runs this program. Slow, and QEMU 7.2 reads what a masked load of AVX leaves out.
inline bool emulated = false;

// Room for `count` numbers or a few more, with a page before it and one behind that nobody may touch, but under an emulator.
template <class T>
class Guarded {
 public:
  explicit Guarded(std::size_t count) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t bytes = (count * sizeof(T) + page - 1) / page * page;
    size_ = bytes / sizeof(T);
    pages_ = bytes + 2 * page;
    const int beside = emulated ? PROT_READ | PROT_WRITE : PROT_NONE;
    map_ = static_cast<char*>(mmap(nullptr, pages_, beside, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (map_ == MAP_FAILED || mprotect(map_ + page, bytes, PROT_READ | PROT_WRITE) != 0) std::abort();
    data_ = reinterpret_cast<T*>(map_ + page);
  }
  ~Guarded() { munmap(map_, pages_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::size_t size_;
  std::size_t pages_;
  char* map_;
  T* data_;
};

}  // namespace nnkernels
