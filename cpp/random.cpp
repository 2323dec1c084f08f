#include "random.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace nnkernels {
namespace {

struct Product {
  std::uint64_t high;
  std::uint64_t low;
};

Product multiply(std::uint64_t a, std::uint64_t b) {
#if defined(__SIZEOF_INT128__)
  __extension__ using Wide = unsigned __int128;
  const Wide product = Wide{a} * b;
  return {static_cast<std::uint64_t>(product >> 64), static_cast<std::uint64_t>(product)};
#else  // 32-bit CPUs: long multiplication, in digits of 32 bits
  const std::uint64_t a_low = a & 0xffffffff, a_high = a >> 32, b_low = b & 0xffffffff, b_high = b >> 32;
  const std::uint64_t low = a_low * b_low;
  const std::uint64_t middle = a_high * b_low + (low >> 32);  // cannot overflow
  const std::uint64_t other_middle = a_low * b_high + (middle & 0xffffffff);
  return {a_high * b_high + (middle >> 32) + (other_middle >> 32), other_middle << 32 | (low & 0xffffffff)};
#endif
}

enum class Purpose : std::uint64_t { kOrder = 0, kWeights = 1 };

class Philox {
 public:
  Philox(std::uint64_t seed, Purpose purpose, std::uint64_t stream)
      : key_{seed, static_cast<std::uint64_t>(purpose)}, stream_(stream) {}

  std::uint64_t operator()() {
    if (next_ == 4) {
      ++index_;
      make_block();
      next_ = 0;
    }
    return block_[next_++];
  }

 private:
  void make_block() {
    std::uint64_t counter[4] = {index_, stream_, 0, 0};
    std::uint64_t key[2] = {key_[0], key_[1]};
    for (int round = 0; round < 10; ++round) {
      const Product first = multiply(0xd2e7470ee14c6c93u, counter[0]), second = multiply(0xca5a826395121157u, counter[2]);
      counter[0] = second.high ^ counter[1] ^ key[0];
      counter[2] = first.high ^ counter[3] ^ key[1];
      counter[1] = second.low;
      counter[3] = first.low;
      key[0] += 0x9e3779b97f4a7c15u;
      key[1] += 0xbb67ae8584caa73bu;
    }
    for (int i = 0; i < 4; ++i) block_[i] = counter[i];
  }

  std::uint64_t key_[2];
  std::uint64_t stream_;
  std::uint64_t index_ = 0;
  std::uint64_t block_[4];
  int next_ = 4;
};

// A number below `bound`, which must not be 0.
std::uint64_t random_below(Philox& random, std::uint64_t bound) {
  Product product = multiply(random(), bound);
  if (product.low < bound) {
    const std::uint64_t rejected = -bound % bound;  // 2^64 mod bound
    while (product.low < rejected) product = multiply(random(), bound);
  }
  return product.high;
}

}  // namespace

void permutation(std::uint64_t seed, std::uint64_t epoch, std::size_t n, std::size_t* order,
                 const std::function<void()>& poll) {
  constexpr std::size_t kAhead = 32;  // prefetch distance, because the order may not fit in the cache
  constexpr std::size_t kPollMask = (std::size_t{1} << 20) - 1;
  Philox random(seed, Purpose::kOrder, epoch);
  for (std::size_t i = 0; i < n; ++i) order[i] = i;
  std::uint64_t places[kAhead];
  for (std::size_t i = n, round = 0; i > 1; ++round) {
    const std::size_t count = std::min(kAhead, i - 1);
    for (std::size_t k = 0; k < count; ++k) {
      places[k] = random_below(random, i - k);
      __builtin_prefetch(order + places[k], 1);
    }
    for (std::size_t k = 0; k < count; ++k, --i) std::swap(order[i - 1], order[places[k]]);
    if (poll && (round * kAhead & kPollMask) == kPollMask + 1 - kAhead) poll();
  }
}

void random_weights(std::uint64_t seed, std::uint64_t stream, Initializer initializer, double inputs, double outputs,
                    std::size_t n, double* weights) {
  const double bound = initializer == Initializer::kTorch
                           ? 1 / std::sqrt(inputs)
                           : std::sqrt(6 / (initializer == Initializer::kGlorot ? inputs + outputs : inputs));
  Philox random(seed, Purpose::kWeights, stream);
  for (std::size_t i = 0; i < n; ++i) weights[i] = (2 * (static_cast<double>(random() >> 11) * 0x1p-53) - 1) * bound;
}

}  // namespace nnkernels
