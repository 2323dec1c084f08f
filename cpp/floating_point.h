// Sets the floating-point environment of a call (round to nearest, keep subnormals), and restores
// the caller's afterwards.
#pragma once

#include <cfenv>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace nnkernels {

// Whether exception flags raised in the scope are dropped or kept.
enum class Exceptions { kDrop, kKeep };

// Raises exception flags (FE_OVERFLOW, ...). On x86, in MXCSR, which FloatingPointScope reads;
// std::feraiseexcept raises some in the x87 unit only.
inline void raise_exceptions(int flags) {
#if defined(__x86_64__)
  unsigned raised = 0;  // on Windows, FE_* differ from the bits of MXCSR
  if ((flags & FE_INVALID) != 0) raised |= _MM_EXCEPT_INVALID;
  if ((flags & FE_DIVBYZERO) != 0) raised |= _MM_EXCEPT_DIV_ZERO;
  if ((flags & FE_OVERFLOW) != 0) raised |= _MM_EXCEPT_OVERFLOW;
  if ((flags & FE_UNDERFLOW) != 0) raised |= _MM_EXCEPT_UNDERFLOW;
  _mm_setcsr(_mm_getcsr() | raised);
#else
  std::feraiseexcept(flags);
#endif
}

// Computations in the scope must be calls of functions in other files. The compiler ignores the
// environment, and may move any operation that it sees out of the scope.
class FloatingPointScope {
 public:
  explicit FloatingPointScope(Exceptions exceptions) : exceptions_(exceptions) { enter(); }
  ~FloatingPointScope() { leave(); }
  FloatingPointScope(const FloatingPointScope&) = delete;
  FloatingPointScope& operator=(const FloatingPointScope&) = delete;

 private:
  const Exceptions exceptions_;

#if defined(__x86_64__)
  static constexpr unsigned kDefault = 0x1f80;  // exceptions masked, round to nearest, no flush to zero, no flags
  static constexpr unsigned kFlags = 0x3f;
  unsigned saved_;

  void enter() {
    saved_ = _mm_getcsr();
    if ((saved_ & ~kFlags) != kDefault) _mm_setcsr(kDefault);
  }
  // Avoids reading MXCSR: on some Intel CPUs, reading and then writing it right after operations
  // that raised flags takes as long as half a call of the smallest network in bench/peers.py.
  void leave() {
    if (exceptions_ == Exceptions::kDrop) {
      _mm_setcsr(saved_);
    } else if ((saved_ & ~kFlags) != kDefault) {
      _mm_setcsr(saved_ | (_mm_getcsr() & kFlags));
    }
  }
#elif defined(__aarch64__)
  // FPCR holds the modes, FPSR the flags.
  std::uint64_t control_;
  std::uint64_t status_;

  void enter() {
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(control_));
    __asm__ __volatile__("mrs %0, fpsr" : "=r"(status_));
    if (control_ != 0) __asm__ __volatile__("msr fpcr, %0" : : "r"(std::uint64_t{0}));
  }
  void leave() {
    if (control_ != 0) __asm__ __volatile__("msr fpcr, %0" : : "r"(control_));
    if (exceptions_ == Exceptions::kDrop) __asm__ __volatile__("msr fpsr, %0" : : "r"(status_));
  }
#else
  std::fenv_t saved_;

  void enter() {
    std::fegetenv(&saved_);
    std::fesetenv(FE_DFL_ENV);
  }
  void leave() {
    if (exceptions_ == Exceptions::kKeep) {
      std::feupdateenv(&saved_);
    } else {
      std::fesetenv(&saved_);
    }
  }
#endif
};

}  // namespace nnkernels
