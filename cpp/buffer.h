// Memory for packed weights and scratch.
#pragma once

#include <cstddef>
#include <limits>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace nnkernels {

// n elements of C, aligned to a cache line, not initialised; no memory if n is 0. Throws
// std::bad_alloc.
template <class C>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t n) : size_(n) {
    if (n > std::numeric_limits<std::size_t>::max() / 2 / sizeof(C)) throw std::bad_alloc();
    if (n == 0) return;
    data_ = static_cast<C*>(::operator new(n * sizeof(C), alignment()));
#if defined(__linux__)
    if (is_huge()) madvise(data_, n * sizeof(C) / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  }
  Buffer(Buffer&& other) noexcept : data_(other.data_), size_(other.size_) {
    other.data_ = nullptr;
    other.size_ = 0;
  }
  Buffer& operator=(Buffer&& other) noexcept {
    C* const data = data_;
    const std::size_t size = size_;
    data_ = other.data_;
    size_ = other.size_;
    other.data_ = data;
    other.size_ = size;
    return *this;
  }
  ~Buffer() { ::operator delete(data_, alignment()); }

  C* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  // Huge pages: large weights span more 4 kB pages than the TLB holds.
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;

  bool is_huge() const { return size_ * sizeof(C) >= kHugePage; }
  std::align_val_t alignment() const { return std::align_val_t{is_huge() ? kHugePage : 64}; }

  C* data_ = nullptr;
  std::size_t size_ = 0;
};

// The calling thread's scratch memory: at least `bytes`, aligned to a cache line. Each thread has
// one scratch, which every call reuses and which never shrinks. Its size is bounded:
//   prediction: kBlockBytes (768 kB) and a layer's bias, or one row of the widest layers if larger
//   training:   64 (256 + log2(rows of a batch) x outputs) elements
// Throws std::bad_alloc.
inline std::byte* thread_scratch(std::size_t bytes) {
  thread_local Buffer<std::byte> scratch;
  if (scratch.size() < bytes) {
    scratch = Buffer<std::byte>();
    scratch = Buffer<std::byte>(bytes);
  }
  return scratch.data();
}

}  // namespace nnkernels
