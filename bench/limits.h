// The yardsticks of the benchmarks: what one core of this machine can do at most. Each is measured when it is first asked
// for, as the best of several short runs, and kept.
#pragma once

#include <cstddef>
#include <string>

namespace nnkernels {

// Floating-point operations a second in independent chains of fmas, two operations each, with the instructions of a target on
// elements of so many bytes (4 or 8). For `generic` that is std::fma, which may be a call of the C library.
double fma_peak(const std::string& target, std::size_t element_size);

// Bytes a second that memcpy reads and writes, where source and destination together take `bytes`.
double copy_bandwidth(std::size_t bytes);

}  // namespace nnkernels
