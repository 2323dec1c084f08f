// Sums in an order that no vector width shows in, for dot, softmax and logsumexp.
//
// A row is cut into blocks of kBlock elements. In a block, element i goes to partial sum i mod kPartialSums; the partial
// sums are folded by halves (j and j + 1/2 of them, then j and j + 1/4, ...), and the sums of blocks are added pairwise, as
// a tree whose left branch holds the largest possible power of two of blocks.
// Error bound of n terms: (kBlock / kPartialSums + log2(kPartialSums) + log2(n / kBlock)) u times the sum of magnitudes.
#pragma once

#include "loop.h"

namespace nnkernels {
namespace {

// As many as four vectors of the widest target hold.
template <class C>
constexpr std::size_t kPartialSums = 256 / sizeof(C);

// Sum of one block of `count` elements. accumulate(sums, i, lanes) adds the elements i, i + 1, ... to as many lanes of
// `sums` and returns it; no lane of it may ever be -0, which the sums start without.
template <class Target, class C, class Accumulate>
C sum_block(std::size_t count, Accumulate accumulate) {
  using V = Lanes<Target, C>;
  constexpr std::size_t kWidth = kLanes<Target, C>;
  constexpr std::size_t kVectors = kPartialSums<C> / kWidth;
  V sums[kVectors] = {};
  std::size_t i = 0;
  for (; i + kPartialSums<C> <= count; i += kPartialSums<C>) {
    for (std::size_t v = 0; v < kVectors; ++v) sums[v] = accumulate(sums[v], i + v * kWidth, kWidth);
  }
  for (std::size_t v = 0; i < count; ++v, i += kWidth) sums[v] = accumulate(sums[v], i, least(kWidth, count - i));
  for (std::size_t half = kVectors / 2; half > 0; half /= 2) {
    for (std::size_t v = 0; v < half; ++v) sums[v] += sums[v + half];
  }
  return fold_lanes(sums[0], [](auto low, auto high) { return low + high; });
}

// The tree over the blocks' sums, which are added one after the other: a binary counter whose digits are the sums of
// complete subtrees.
template <class C>
class PairwiseSum {
 public:
  void add(C sum) {
    for (std::size_t digit = blocks_++; digit & 1; digit >>= 1) sum = subtrees_[--height_] + sum;
    subtrees_[height_++] = sum;
  }

  C total() const {
    if (height_ == 0) return 0;
    C sum = subtrees_[height_ - 1];
    for (std::size_t i = height_ - 1; i-- > 0;) sum = subtrees_[i] + sum;
    return sum;
  }

 private:
  C subtrees_[64];
  std::size_t height_ = 0;
  std::size_t blocks_ = 0;
};

// block(start, count) is the sum of the elements start, ..., start + count - 1.
template <class C, class Block>
C sum_blocks(std::size_t n, Block block) {
  PairwiseSum<C> sum;
  for (std::size_t start = 0; start < n; start += kBlock) sum.add(block(start, least(kBlock, n - start)));
  return sum.total();
}

// One element of the result's type from one of the compute type.
template <class Target, class T>
T narrow_one(Compute<T> value) {
  T result;
  narrow<Target, T>(&value, {&result, sizeof(T)}, 1);
  return result;
}

}  // namespace
}  // namespace nnkernels
