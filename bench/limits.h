// Hardware limits of one core of this machine, for comparison with benchmarks. Each call measures
// anew: the best of several short runs.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace nnkernels {

// The targets that this machine supports: `generic` first, the widest last.
std::vector<std::string> supported_targets();

// Operations per second of independent chains of fmas (two operations each) with a target's
// instructions, for elements of 4 or 8 bytes. `generic` uses std::fma, which may be a call of the C
// library.
double fma_peak(const std::string& target, std::size_t element_size);

// Bytes per second of the machine's widest loads, reading the same `bytes` of memory repeatedly.
double read_bandwidth(std::size_t bytes);

// Bytes per second that memcpy reads and writes; source and destination together take `bytes`.
double copy_bandwidth(std::size_t bytes);

}  // namespace nnkernels
