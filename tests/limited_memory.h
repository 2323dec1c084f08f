// Replaces the global operators new and delete, so that a fuzzer can make allocations fail. Include
// it in one file of a program.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <new>

namespace nnkernels {

// While a LimitedMemory exists, `allocations_left` allocations of up to kMostBytes succeed.
constexpr std::ptrdiff_t kUnlimited = std::numeric_limits<std::ptrdiff_t>::max();
constexpr std::size_t kMostBytes = std::size_t{1} << 24;
inline std::atomic<bool> limited{false};
inline std::atomic<std::ptrdiff_t> allocations_left{kUnlimited};

class LimitedMemory {
 public:
  explicit LimitedMemory(std::ptrdiff_t allocations) {
    allocations_left = allocations;
    limited = true;
  }
  ~LimitedMemory() { limited = false; }
  LimitedMemory(const LimitedMemory&) = delete;
  LimitedMemory& operator=(const LimitedMemory&) = delete;
};

inline void* allocate(std::size_t size, std::size_t alignment) {
  if (limited && (size > kMostBytes || --allocations_left < 0)) throw std::bad_alloc();
  void* const data = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (data == nullptr) throw std::bad_alloc();
  return data;
}

}  // namespace nnkernels

void* operator new(std::size_t size) { return nnkernels::allocate(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return nnkernels::allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return operator new(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* data) noexcept { std::free(data); }
void operator delete(void* data, std::size_t) noexcept { std::free(data); }
void operator delete(void* data, std::align_val_t) noexcept { std::free(data); }
void operator delete(void* data, std::size_t, std::align_val_t) noexcept { std::free(data); }
