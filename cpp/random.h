// Random numbers that depend on a seed and a place alone, not on what was drawn before: the order of rows in any epoch, and
// initial weights. Knows nothing of Python.
//
// The generator is Philox4x64-10 (J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011). Its key is (seed,
// purpose), its counter (index, stream, 0, 0) for index 1, 2, ...; so the bits are those of NumPy's
// Philox(counter=[0, stream, 0, 0], key=[seed, purpose]).random_raw().
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace nnkernels {

// order = a permutation of 0, ..., n - 1, each as likely as any other as far as 64-bit seeds can tell: R. A. Fisher and F.
// Yates's shuffle from the end, with D. Lemire's numbers below a bound ("Fast random integer generation in an interval", 2019).
// Calls `poll`, unless it is empty, about every million numbers.
void permutation(std::uint64_t seed, std::uint64_t epoch, std::size_t n, std::size_t* order,
                 const std::function<void()>& poll = {});

// How initial weights of a layer are bounded: sqrt(6 / (inputs + outputs)) (X. Glorot and Y. Bengio, 2010), sqrt(6 / inputs)
// (K. He et al., 2015), 1 / sqrt(inputs) (PyTorch).
enum class Initializer { kGlorot, kHe, kTorch };

// n weights of such a layer, or biases, uniform in [-bound, bound): (2 u - 1) bound, where u is a multiple of 2^-53 in [0, 1).
void random_weights(std::uint64_t seed, std::uint64_t stream, Initializer initializer, double inputs, double outputs,
                    std::size_t n, double* weights);

}  // namespace nnkernels
