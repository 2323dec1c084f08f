// Random numbers for the order of rows and for initial weights. Each depends on the seed and its
// position alone, not on earlier draws. Independent of Python.
//
// The generator is Philox4x64-10 (J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2,
// 3", 2011). Its key is (seed, purpose); its counter is (index, stream, 0, 0) for index 1, 2, ...
// The bits equal NumPy's Philox(counter=[0, stream, 0, 0], key=[seed, purpose]).random_raw().
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace nnkernels {

// Sets `order` to a random permutation of 0, ..., n - 1, by the shuffle of R. A. Fisher and F.
// Yates, from the end. All permutations are equally likely, as far as 64-bit seeds allow. D.
// Lemire's method draws the bounded numbers ("Fast random integer generation in an interval",
// 2019). Calls `poll`, unless empty, about once per million numbers.
void permutation(std::uint64_t seed, std::uint64_t epoch, std::size_t n, std::size_t* order,
                 const std::function<void()>& poll = {});

// The bound of a layer's initial weights: sqrt(6 / (inputs + outputs)) (X. Glorot and Y. Bengio,
// 2010), sqrt(6 / inputs) (K. He et al., 2015), or 1 / sqrt(inputs) (PyTorch).
enum class Initializer { kGlorot, kHe, kTorch };

// Draws n weights or biases uniformly from [-bound, bound): (2 u - 1) bound, where u is a multiple
// of 2^-53 in [0, 1).
void random_weights(std::uint64_t seed, std::uint64_t stream, Initializer initializer, double inputs, double outputs,
                    std::size_t n, double* weights);

}  // namespace nnkernels
