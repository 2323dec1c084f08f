// Sums for dot, softmax and logsumexp, in an order that does not depend on the vector width.
//
// A row is split into blocks of kBlock elements. In a block, element i goes to partial sum i mod
// kPartialSums. A partial sum of dot is a chain of fmas. A partial sum of softmax and logsumexp is
// a tree, because a chain of equal terms would always round in the same direction. The P =
// kPartialSums partial sums are folded by halves: j and j + P/2 are added, then j and j + P/4, ...
// Block sums are added as a tree. Every tree has the largest possible power of two of its terms on
// its left side.
//
// Error bound for n terms, with b = ceil(n / kBlock) and s = ceil(min(n, kBlock) / kPartialSums):
// half an ULP of 1, times the sum of magnitudes, times (h + log2(kPartialSums) + ceil(log2(b))),
// where h is s for a chain and ceil(log2(s)) for a tree.
//
// Source: pairwise summation by N. J. Higham, "The accuracy of floating point summation", SIAM J.
// Sci. Comput. 14, 1993.
#pragma once

#include "loop.h"

namespace nnkernels {
namespace {

// As many as four vectors of the widest target hold.
template <class C>
constexpr std::size_t kPartialSums = 256 / sizeof(C);

// The sum of kPartialSums partial sums, over all lanes of their vectors. Overwrites them.
template <class Target, class C>
C fold_partial_sums(Lanes<Target, C>* sums) {
  for (std::size_t half = kPartialSums<C> / kLanes<Target, C> / 2; half > 0; half /= 2) {
    for (std::size_t v = 0; v < half; ++v) sums[v] += sums[v + half];
  }
  return fold_lanes(sums[0], [](auto low, auto high) { return low + high; });
}

// The sum of one block of `count` elements, by chains. accumulate(sums, i, lanes) adds the elements
// i, i + 1, ... to the first `lanes` lanes of `sums` and returns it. No lane may become -0, because
// the sums start from +0. Always inlined, or the sums would start in memory.
template <class Target, class C, class Accumulate>
inline __attribute__((always_inline)) C sum_block_in_chains(std::size_t count, Accumulate accumulate) {
  constexpr std::size_t kWidth = kLanes<Target, C>;
  constexpr std::size_t kVectors = kPartialSums<C> / kWidth;
  Lanes<Target, C> sums[kVectors] = {};
  std::size_t i = 0;
  for (; i + kPartialSums<C> <= count; i += kPartialSums<C>) {
    for (std::size_t v = 0; v < kVectors; ++v) sums[v] = accumulate(sums[v], i + v * kWidth, kWidth);
  }
  for (std::size_t v = 0; i < count; ++v, i += kWidth) sums[v] = accumulate(sums[v], i, least(kWidth, count - i));
  return fold_partial_sums<Target, C>(sums);
}

// Sums a sequence of terms as trees: kVectors vectors at a time, at most 2^kHeight terms. A binary
// counter, whose digits are the sums of complete subtrees. 0 if there are no terms.
template <class V, std::size_t kVectors, std::size_t kHeight>
class TreeSums {
 public:
  // Overwrites the terms.
  void add(V* terms) {
    for (std::size_t digit = terms_++; digit & 1; digit >>= 1) add_subtree(terms);
    for (std::size_t v = 0; v < kVectors; ++v) subtrees_[height_][v] = terms[v];
    ++height_;
  }

  void totals(V* sums) {
    for (std::size_t v = 0; v < kVectors; ++v) sums[v] = height_ == 0 ? V{} : subtrees_[height_ - 1][v];
    if (height_ > 0) --height_;
    while (height_ > 0) add_subtree(sums);
  }

 private:
  void add_subtree(V* sums) {
    --height_;
    for (std::size_t v = 0; v < kVectors; ++v) sums[v] = subtrees_[height_][v] + sums[v];
  }

  V subtrees_[kHeight + 1][kVectors];
  std::size_t height_ = 0;
  std::size_t terms_ = 0;
};

// The sum of one block of `count` elements, by trees. term(i, lanes) is the vector of elements i, i
// + 1, ... in the first `lanes` lanes, and 0 in the other lanes, which does not change a tree's
// sum.
template <class Target, class C, class Term>
C sum_block_in_trees(std::size_t count, Term term) {
  using V = Lanes<Target, C>;
  constexpr std::size_t kWidth = kLanes<Target, C>;
  constexpr std::size_t kVectors = kPartialSums<C> / kWidth;
  V sums[kVectors];
  // The terms from i on, at most two per partial sum.
  const auto last_terms = [&](std::size_t i) __attribute__((always_inline)) {
    for (std::size_t v = 0; v < kVectors; ++v, i += kWidth) sums[v] = i < count ? term(i, least(kWidth, count - i)) : V{};
    for (std::size_t v = 0; v < kVectors; ++v, i += kWidth) {
      if (i < count) sums[v] += term(i, least(kWidth, count - i));
    }
  };
  if (count <= 2 * kPartialSums<C>) {
    last_terms(0);
  } else {
    TreeSums<V, kVectors, 5> trees;  // kBlock / kPartialSums is at most 2^5
    std::size_t i = 0;
    for (; i + kPartialSums<C> <= count; i += kPartialSums<C>) {
      for (std::size_t v = 0; v < kVectors; ++v) sums[v] = term(i + v * kWidth, kWidth);
      trees.add(sums);
    }
    if (i < count) {
      last_terms(i);
      trees.add(sums);
    }
    trees.totals(sums);
  }
  return fold_partial_sums<Target, C>(sums);
}

// block(start, count) is the sum of elements start, ..., start + count - 1.
template <class C, class Block>
C sum_blocks(std::size_t n, Block block) {
  if (n <= kBlock) return n == 0 ? C(0) : block(0, n);
  TreeSums<C, 1, 63> sums;
  for (std::size_t start = 0; start < n; start += kBlock) {
    C sum = block(start, least(kBlock, n - start));
    sums.add(&sum);
  }
  C total;
  sums.totals(&total);
  return total;
}

// Converts one element from the compute type to the result's type.
template <class Target, class T>
T narrow_one(Compute<T> value) {
  T result;
  narrow<Target, T>(&value, {&result, sizeof(T)}, 1);
  return result;
}

}  // namespace
}  // namespace nnkernels
