// The yardsticks of the benchmarks: what one core of this machine can do at most. Each is measured anew at every call, as the
// best of several short runs.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace nnkernels {

// The targets whose instructions this machine has, `generic` first and the widest last.
std::vector<std::string> supported_targets();

// Operations a second in independent chains of fmas, two operations each, with the instructions of a target on elements of so
// many bytes (4 or 8). For `generic` that is std::fma, which may be a call of the C library.
double fma_peak(const std::string& target, std::size_t element_size);

// Bytes a second that the machine's widest loads read out of so many bytes, which they read again and again.
double read_bandwidth(std::size_t bytes);

// Bytes a second that memcpy reads and writes, where source and destination together take `bytes`.
double copy_bandwidth(std::size_t bytes);

}  // namespace nnkernels
