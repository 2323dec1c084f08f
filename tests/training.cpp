// Compares training with plain loops (plain_training.h), bit for bit: random numbers, losses,
// gradients and epochs, with 1, 2 and 7 threads. Also compares gradients with central differences:
//
//   training [target ...]
//
// The default is all targets of this machine. Fails if a result differs, or if this machine cannot
// run one of the given targets.
#include "training.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "common.h"
#include "dispatch.h"
#include "plain_training.h"
#include "random.h"
#include "threads.h"

using namespace nnkernels;

using Sizes = std::vector<std::size_t>;

static int failures = 0;

static void check(bool good, const std::string& what, std::size_t a = 0, std::size_t b = 0) {
  if (good) return;
  if (failures++ < 20) std::printf("FAILED %s %s %zu %zu\n", kernels().target, what.c_str(), a, b);
}

// --- Random numbers ---

__extension__ using Wide = unsigned __int128;

struct Block {
  std::uint64_t words[4];
};

// Philox4x64-10, as J. K. Salmon et al. (2011) describe it.
static Block plain_philox(Block counter, std::uint64_t key_0, std::uint64_t key_1) {
  for (int round = 0; round < 10; ++round) {
    const auto [c0, c1, c2, c3] = counter.words;
    const Wide left = Wide{c0} * 0xd2e7470ee14c6c93u, right = Wide{c2} * 0xca5a826395121157u;
    counter = {{static_cast<std::uint64_t>(right >> 64) ^ c1 ^ key_0, static_cast<std::uint64_t>(right),
                static_cast<std::uint64_t>(left >> 64) ^ c3 ^ key_1, static_cast<std::uint64_t>(left)}};
    key_0 += 0x9e3779b97f4a7c15u;
    key_1 += 0xbb67ae8584caa73bu;
  }
  return counter;
}

static std::uint64_t plain_random(std::uint64_t seed, std::uint64_t purpose, std::uint64_t stream, std::size_t i) {
  return plain_philox({{i / 4 + 1, stream, 0, 0}}, seed, purpose).words[i % 4];
}

static void test_random() {
  // Known answers from the authors' library, Random123.
  const auto known = [](Block counter, std::uint64_t key_0, std::uint64_t key_1, const Block& answer) {
    const Block result = plain_philox(counter, key_0, key_1);
    check(std::equal(result.words, result.words + 4, answer.words), "known answer");
  };
  constexpr std::uint64_t kOnes = ~std::uint64_t{0};
  known({{0, 0, 0, 0}}, 0, 0, {{0x16554d9eca36314cu, 0xdb20fe9d672d0fdcu, 0xd7e772cee186176bu, 0x7e68b68aec7ba23bu}});
  known({{kOnes, kOnes, kOnes, kOnes}}, kOnes, kOnes,
        {{0x87b092c3013fe90bu, 0x438c3c67be8d0224u, 0x9cc7d7c69cd777b6u, 0xa09caebf594f0ba0u}});
  known({{0x243f6a8885a308d3u, 0x13198a2e03707344u, 0xa4093822299f31d0u, 0x082efa98ec4e6c89u}}, 0x452821e638d01377u,
        0xbe5466cf34e90c6cu, {{0xa528f45403e61d95u, 0x38c72dbd566e9788u, 0xa5a1610e72fd18b5u, 0x57bd43b5e52b7fe6u}});

  for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{7}, kOnes}) {
    for (const std::uint64_t stream : {std::uint64_t{0}, std::uint64_t{3}, kOnes}) {
      for (const std::size_t n : Sizes{0, 1, 2, 3, 4, 5, 100, 1001}) {
        std::vector<double> numbers(n), expected_numbers(n);
        for (std::size_t i = 0; i < n; ++i) {
          const double u = std::ldexp(static_cast<double>(plain_random(seed, 1, stream, i) >> 11), -53);
          expected_numbers[i] = (2 * u - 1) / 2;
        }
        random_weights(seed, stream, Initializer::kTorch, 4, 9, n, numbers.data());
        check(same(numbers, expected_numbers), "random_weights", n);

        // The shuffle of R. A. Fisher and F. Yates, with D. Lemire's bounded random numbers.
        std::vector<std::size_t> order(n), expected(n);
        for (std::size_t i = 0; i < n; ++i) expected[i] = i;
        std::size_t drawn = 0;
        for (std::size_t left = n; left > 1; --left) {
          Wide product;
          do {
            product = Wide{plain_random(seed, 0, stream, drawn++)} * left;
          } while (static_cast<std::uint64_t>(product) < (std::uint64_t{0} - left) % left);
          std::swap(expected[left - 1], expected[static_cast<std::size_t>(product >> 64)]);
        }
        permutation(seed, stream, n, order.data());
        check(order == expected, "permutation", n);
      }
    }
  }
}

// --- Losses and epochs ---

static constexpr Loss kLosses[] = {
    Loss::kCrossEntropy, Loss::kBinaryCrossEntropy, Loss::kSquaredError, Loss::kAbsoluteError, Loss::kHuber, Loss::kPoisson};

static const char* name_of(Loss loss) {
  constexpr const char* kNames[] = {"cross_entropy", "binary_cross_entropy", "squared_error", "absolute_error", "huber",
                                    "poisson"};
  return kNames[static_cast<int>(loss)];
}

static double option_of(Loss loss) {
  return loss == Loss::kCrossEntropy ? 0.125 : loss == Loss::kBinaryCrossEntropy ? 3 : loss == Loss::kHuber ? 0.5 : 0;
}

enum class Weights { kNone, kOfRows, kOfTerms };

// Training data. A fifth of the weights are 0, including those of the first rows. Targets of weight
// 0 are NaN, and so is x if all weights of its row are 0.
template <class C>
struct Data {
  Data(std::size_t rows, std::size_t inputs, std::size_t outputs, Loss loss, bool by_label, Weights kind) {
    Random random;
    const std::size_t terms = loss == Loss::kCrossEntropy ? 1 : outputs;
    const std::size_t row_weights = kind == Weights::kOfTerms ? terms : 1;
    const auto number = [&] { return static_cast<C>(random.number()); };
    for (std::size_t row = 0; row < rows; ++row) {
      bool counts = kind == Weights::kNone;
      for (std::size_t i = 0; kind != Weights::kNone && i < row_weights; ++i) {
        weights.push_back(row < 9 || random.bits() % 5 == 0 ? 0 : random.number() + 5);
        counts = counts || weights.back() != 0;
      }
      for (std::size_t i = 0; i < inputs; ++i) x.push_back(counts ? number() : std::numeric_limits<C>::quiet_NaN());
      if (by_label) labels.push_back(static_cast<std::int64_t>(random.bits() % outputs));
      for (std::size_t i = 0; !by_label && i < outputs; ++i) {
        const bool term_counts =
            counts && (weights.empty() ||
                       weights[kind == Weights::kOfTerms && terms > 1 ? weights.size() - terms + i : row * row_weights] != 0);
        targets.push_back(term_counts ? (number() + 4) / 8 : std::numeric_limits<C>::quiet_NaN());
      }
    }
    examples = {x.data(),
                rows,
                {by_label ? labels.data() : nullptr, by_label ? nullptr : targets.data(),
                 kind == Weights::kNone ? nullptr : weights.data(), kind == Weights::kOfTerms}};
  }
  Data(const Data&) = delete;
  Data& operator=(const Data&) = delete;

  std::vector<C> x, targets;
  std::vector<std::int64_t> labels;
  std::vector<double> weights;
  Examples<C> examples;
};

static bool same_sum(const LossSum& a, const LossSum& b) { return same(a.losses, b.losses) && same(a.weights, b.weights); }

template <class C>
bool same_numbers(const C* actual, const std::vector<C>& expected) {
  return same(std::vector<C>(actual, actual + expected.size()), expected);
}

template <class C>
void test_losses() {
  for (const Loss loss : kLosses) {
    for (const Weights weights : {Weights::kNone, Weights::kOfRows, Weights::kOfTerms}) {
      for (const bool by_label : {true, false}) {
        if (by_label && loss != Loss::kCrossEntropy) continue;
        for (const auto& [rows, n] : {std::pair{0, 3}, {1, 1}, {9, 1}, {300, 3}, {1500, 10}, {40, 1100}, {600, 33}}) {
          const auto count = static_cast<std::size_t>(rows), width = static_cast<std::size_t>(n);
          const Data<C> data(count, width, width, loss, by_label, weights);  // data.x: the outputs
          const Targets<C>& targets = data.examples.targets;
          for (const Reduction reduction : {Reduction::kNone, Reduction::kSum, Reduction::kMean}) {
            const C option = static_cast<C>(option_of(loss)), least = reduction == Reduction::kMean ? C(1e-5) : C(0);
            const auto expected = plain_loss(loss, option, data.x, count, width, targets, reduction, least);
            for (const int threads : {1, 2, 7}) {
              set_num_threads(threads);
              std::vector<C> losses(expected.losses.size()), gradients(expected.gradients.size()), factors(losses.size());
              const LossSum sum = compute_loss(loss, option, data.x.data(), count, width, targets, reduction, losses.data(),
                                               gradients.data(), factors.data(), least);
              check(same_sum(sum, expected.sum) && same(losses, expected.losses) && same(gradients, expected.gradients),
                    name_of(loss), count, width);
              const LossSum alone = compute_loss<C>(loss, option, data.x.data(), count, width, targets, reduction,
                                                    losses.data(), nullptr, nullptr);
              check(same_sum(alone, expected.sum), std::string(name_of(loss)) + " without a gradient", count, width);
            }
          }
        }
      }
    }
  }
}

struct Fit {
  std::string name;
  Sizes sizes;
  Activation hidden, last;
  Loss loss;
  bool by_label;
  Weights weights;
  std::size_t rows, batch;
  bool shuffle;
  Optimizer optimizer;
  std::vector<std::size_t> scales = {};  // layers preceded by a Scale; the number of layers means a Scale at the end
};

static std::vector<Fit> fits() {
  using Kind = Optimizer::Kind;
  constexpr Activation kNone = Activation::kNone, kRelu = Activation::kRelu, kTanh = Activation::kTanh,
                       kSigmoid = Activation::kSigmoid, kSoftmax = Activation::kSoftmax;
  const Optimizer sgd{Kind::kSgd, 0.05, 0, 0, 0, 0}, momentum{Kind::kSgd, 0.02, 0.875, 0, 0, 0.1},
      nesterov{Kind::kSgd, 0.02, 0.875, 1, 0, 0.1};
  const Optimizer adam{Kind::kAdam, 0.01, 0.9, 0.999, 1e-8, 0}, decayed{Kind::kAdam, 0.01, 0.5, 0.75, 1e-4, 0.1},
      adamw{Kind::kAdamW, 0.01, 0.9, 0.999, 1e-8, 0.1}, hat{Kind::kAdamHat, 0.01, 0.5, 0.75, 1e-4, 0.1};
  std::vector<Fit> result;
  for (const Loss loss : kLosses) {
    const bool by_label = loss == Loss::kCrossEntropy;
    result.push_back({"loss", {6, 8, 5}, kRelu, kNone, loss, by_label, Weights::kNone, 100, 32, true, adam});
    result.push_back({"weights of rows", {6, 8, 5}, kTanh, kNone, loss, false, Weights::kOfRows, 100, 7, true, adam});
    result.push_back({"weights of terms", {6, 8, 5}, kSigmoid, kNone, loss, false, Weights::kOfTerms, 100, 7, false, sgd});
  }
  for (const Optimizer& optimizer : {sgd, momentum, nesterov, adam, decayed, adamw, hat}) {
    result.push_back(
        {"optimizer", {6, 9, 5}, kRelu, kNone, Loss::kCrossEntropy, true, Weights::kOfRows, 50, 4, false, optimizer});
  }
  std::vector<Activation> activations = {kSoftmax, Activation::kLogSoftmax};
  for (const NamedActivation& named : kElementwiseActivations) activations.push_back(named.activation);
  for (const Activation last : activations) {
    result.push_back(
        {"last activation", {3, 8, 5}, last, last, Loss::kSquaredError, false, Weights::kNone, 70, 16, true, momentum});
  }
  for (const std::size_t batch : Sizes{1, 50, 64, 256, 300, 1000}) {
    result.push_back({"batch", {5, 7, 3}, kRelu, kNone, Loss::kCrossEntropy, true, Weights::kNone, 300, batch, true, adam});
  }
  result.push_back({"one layer", {4, 1}, kNone, kNone, Loss::kHuber, false, Weights::kOfTerms, 33, 8, true, sgd});
  result.push_back({"one of each", {1, 1}, kNone, kSigmoid, Loss::kSquaredError, false, Weights::kNone, 1, 1, true, adam});
  result.push_back(
      {"four layers", {9, 17, 33, 5, 4}, kTanh, kSoftmax, Loss::kAbsoluteError, false, Weights::kNone, 60, 20, true, adamw});
  result.push_back({"no inputs", {0, 3, 2}, kSigmoid, kNone, Loss::kPoisson, false, Weights::kNone, 20, 6, true, adam});
  result.push_back({"no rows", {4, 3, 2}, kRelu, kNone, Loss::kCrossEntropy, true, Weights::kOfRows, 0, 6, true, adam});
  for (const auto& scales : {Sizes{0}, {0, 0}, {1}, {2}, {2, 2}, {0, 1, 2}}) {
    result.push_back({"scales", {6, 8, 5}, kTanh, kNone, Loss::kHuber, false, Weights::kOfRows, 50, 16, true, decayed, scales});
    result.push_back(
        {"scales", {6, 33, 5}, kRelu, kSigmoid, Loss::kSquaredError, false, Weights::kNone, 50, 16, true, hat, scales});
  }
  result.push_back({"scales", {0, 3, 2}, kSigmoid, kNone, Loss::kPoisson, false, Weights::kNone, 20, 6, true, adam, {0, 1, 2}});
  // Enough work for threads that are awake to share a step.
  result.push_back({"wide", {20, 140, 270, 5}, kRelu, kNone, Loss::kCrossEntropy, true, Weights::kNone, 60, 60, true, adam});
  result.push_back({"wide with scales",
                    {20, 140, 270, 5},
                    kRelu,
                    kNone,
                    Loss::kSquaredError,
                    false,
                    Weights::kNone,
                    60,
                    60,
                    true,
                    adam,
                    {0, 1, 2, 3}});
  result.push_back(
      {"long", {40, 60, 2}, kTanh, kNone, Loss::kBinaryCrossEntropy, false, Weights::kOfRows, 850, 850, true, momentum});
  return result;
}

// Wakes the workers, so that they share shorter loops.
static void wake_workers() {
  parallel_for({100, 1}, [](std::size_t, std::size_t) {});
}

static std::vector<std::size_t> numbered(std::size_t n) {
  std::vector<std::size_t> numbers(n);
  std::iota(numbers.begin(), numbers.end(), std::size_t{0});
  return numbers;
}

template <class C>
void test_fit(const Fit& fit) {
  std::vector<typename Trainer<C>::Layer> layers;
  Random random;
  for (std::size_t i = 0; i < fit.sizes.size(); ++i) {
    const std::size_t inputs = fit.sizes[i];
    for (auto count = std::count(fit.scales.begin(), fit.scales.end(), i); count > 0; --count) {
      layers.push_back({inputs, inputs, Activation::kNone, 0, true, std::vector<double>(inputs), std::vector<double>(inputs)});
      for (double& number : layers.back().offset) number = random.number();
      for (double& number : layers.back().scale) number = random.number() / 4;
    }
    if (i + 1 == fit.sizes.size()) break;
    const Activation activation = i + 2 == fit.sizes.size() ? fit.last : fit.hidden;
    layers.push_back({inputs, fit.sizes[i + 1], activation, option_of(activation)});
  }
  const Data<C> data(fit.rows, fit.sizes.front(), fit.sizes.back(), fit.loss, fit.by_label, fit.weights);
  const Examples<C>& all = data.examples;
  const C option = static_cast<C>(option_of(fit.loss));
  const std::size_t moments = fit.optimizer.kind != Optimizer::Kind::kSgd ? 2 : fit.optimizer.beta_1 != 0 ? 1 : 0;
  PlainTrainer<C> plain(layers, fit.loss, option, fit.batch, moments);
  for (C& parameter : plain.parameters) parameter = static_cast<C>(random.number() / 16);
  const std::vector<C> initial = plain.parameters;

  constexpr std::uint64_t kSeed = ~std::uint64_t{0} - 4;
  const auto epoch = [&](auto& trainer, std::uint64_t number) {
    return trainer.run_epoch(all, fit.optimizer, kSeed, number, fit.shuffle);
  };
  const LossSum first = epoch(plain, 0);
  const PlainTrainer<C> between = plain;
  const LossSum second = epoch(plain, 1), held = plain.evaluate(all);

  // Epochs in scikit-learn's conventions: of all rows; of some rows, one of them twice; of no rows;
  // of the first row, whose weight may be 0.
  const std::vector<std::size_t> in_sequence = numbered(fit.rows);
  std::vector<std::size_t> some_rows = in_sequence;
  std::reverse(some_rows.begin(), some_rows.end());
  if (!some_rows.empty()) some_rows[some_rows.size() / 2] = 0;
  const struct {
    std::vector<std::size_t> order;
    bool given;
    double scale;
  } runs[] = {
      {in_sequence, false, 1}, {some_rows, true, 0.3}, {{}, true, 2}, {numbered(std::min<std::size_t>(fit.rows, 9)), true, 5}};
  PlainTrainer<C> of_batches = between;
  std::vector<BatchSums> batch_sums;
  for (const auto& run : runs) batch_sums.push_back(of_batches.run_batches(all, fit.optimizer, run.order, run.scale));

  // The gradient of up to one batch; and the gradient with respect to the inputs, from the gradient
  // with respect to the outputs.
  Examples<C> some = all;
  some.rows = std::min(fit.rows, fit.batch);
  const LossSum loss = plain.compute_gradient(some);
  const std::vector<C> gradient = plain.gradient;
  const std::vector<C> x(some.x, some.x + some.rows * fit.sizes.front());
  std::vector<C> by_outputs(some.rows * fit.sizes.back());
  for (C& number : by_outputs) number = static_cast<C>(random.number());
  const std::vector<C> by_inputs = plain.backward(x, some.rows, by_outputs);

  for (const int threads : {1, 2, 7}) {
    set_num_threads(threads);
    const auto check_fit = [&](bool good, const char* what) {
      check(good, fit.name + ", " + name_of(fit.loss) + ": " + what, static_cast<std::size_t>(threads), sizeof(C));
    };
    const auto check_state = [&](Trainer<C>& trainer, const PlainTrainer<C>& expected, const char* what) {
      check_fit(same_numbers(trainer.parameters(), expected.parameters) && trainer.steps == expected.steps, what);
      for (std::size_t i = 0; i < moments; ++i) check_fit(same_numbers(trainer.moment(i), expected.moments[i]), what);
    };
    Trainer<C> trainer(layers, fit.loss, option, fit.batch, moments);
    std::copy(initial.begin(), initial.end(), trainer.parameters());
    wake_workers();
    check_fit(same_sum(epoch(trainer, 0), first), "loss of the first epoch");
    check_state(trainer, between, "first epoch");
    check_fit(same_sum(epoch(trainer, 1), second), "loss of the second epoch");
    check_state(trainer, plain, "second epoch");
    check_fit(same_sum(trainer.evaluate(all), held), "evaluate");
    check_fit(same_sum(trainer.compute_gradient(some), loss), "loss of compute_gradient");
    check_fit(same_numbers(trainer.gradient(), gradient), "compute_gradient");
    std::vector<C> actual(by_inputs.size());
    trainer.backward(some.x, some.rows, by_outputs.data(), actual.data());
    check_fit(same(actual, by_inputs) && same_numbers(trainer.gradient(), plain.gradient), "backward");

    Trainer<C> resumed(layers, fit.loss, option, fit.batch, moments);
    std::copy(between.parameters.begin(), between.parameters.end(), resumed.parameters());
    for (std::size_t i = 0; i < moments; ++i)
      std::copy(between.moments[i].begin(), between.moments[i].end(), resumed.moment(i));
    resumed.steps = between.steps;
    Trainer<C> batches(layers, fit.loss, option, fit.batch, moments);
    std::copy(between.parameters.begin(), between.parameters.end(), batches.parameters());
    for (std::size_t i = 0; i < moments; ++i)
      std::copy(between.moments[i].begin(), between.moments[i].end(), batches.moment(i));
    batches.steps = between.steps;
    for (std::size_t i = 0; i < batch_sums.size(); ++i) {
      const std::size_t* const order = runs[i].given ? runs[i].order.data() : nullptr;
      const BatchSums sums = batches.run_batches(all, fit.optimizer, order, runs[i].order.size(), runs[i].scale);
      check_fit(same(sums.losses, batch_sums[i].losses) && same(sums.penalty, batch_sums[i].penalty), "sums of run_batches");
    }
    check_state(batches, of_batches, "run_batches");

    epoch(resumed, 1);
    check_state(resumed, plain, "an epoch of another trainer");
  }
}

// compute_gradient keeps gradients of outputs that are below kLeastGradient; a step drops them. The
// second weight gets only such a gradient.
template <class C>
void test_small_gradients() {
  constexpr C kLarge = 0x1p20;
  const C x[] = {1, 0, 0, kLarge}, targets[] = {1, 1};
  const double weights[] = {1, double{kLeastGradient<C>} / 1024};
  const Examples<C> examples{x, 2, {nullptr, targets, weights, false}};
  Trainer<C> trainer({{2, 1, Activation::kNone}}, Loss::kAbsoluteError, 0, 2, 1);
  trainer.compute_gradient(examples);
  check(same(trainer.gradient()[1], -kLarge * kLeastGradient<C> / 1024), "small gradient", sizeof(C));
  trainer.run_epoch(examples, {Optimizer::Kind::kSgd, 0.5, 0.5, 0, 0, 0}, 0, 0, false);
  check(same(trainer.moment(0)[1], C(0)), "small gradient in a step", sizeof(C));
}

// --- Central differences ---

// Compares `derivatives` with central differences of value() with respect to `numbers`.
template <class Value>
static void check_differences(const std::string& what, double* numbers, const std::vector<double>& derivatives, Value value) {
  constexpr double kStep = 1e-5;
  for (std::size_t i = 0; i < derivatives.size(); ++i) {
    const double number = numbers[i];
    numbers[i] = number + kStep;
    const double above = value();
    numbers[i] = number - kStep;
    const double below = value();
    numbers[i] = number;
    const double difference = (above - below) / (2 * kStep);
    check(std::abs(difference - derivatives[i]) <= 1e-8 * (1 + std::abs(difference)), what, i);
  }
}

static void test_differences() {
  for (const Activation hidden : {Activation::kSigmoid, Activation::kTanh, Activation::kSoftmax, Activation::kRelu}) {
    for (const Activation last : {Activation::kNone, Activation::kSigmoid, Activation::kTanh, Activation::kSoftmax}) {
      for (const Loss loss : kLosses) {
        for (const bool by_label : {true, false}) {
          if (by_label && loss != Loss::kCrossEntropy) continue;
          const std::string what = "differences of " + std::string(name_of(loss));
          constexpr std::size_t kRows = 5;
          Data<double> data(kRows, 3, 4, loss, by_label, Weights::kNone);
          Random random{3};
          for (std::size_t i = 0; i < (by_label || loss == Loss::kCrossEntropy ? kRows : 4 * kRows); ++i)
            data.weights.push_back(random.number() + 5);
          data.examples.targets.weights = data.weights.data();
          data.examples.targets.weight_of_term = true;
          Trainer<double> trainer({{3, 6, hidden}, {6, 4, last}}, loss, option_of(loss), kRows, 0);
          for (std::size_t i = 0; i < trainer.size(); ++i) trainer.parameters()[i] = random.number() / 2;
          const auto mean = [&] {
            const LossSum sum = trainer.evaluate(data.examples);
            return sum.losses / sum.weights;
          };
          trainer.compute_gradient(data.examples);
          const std::vector<double> gradient(trainer.gradient(), trainer.gradient() + trainer.size());
          check_differences(what, trainer.parameters(), gradient, mean);

          // With respect to the inputs: backward from the gradient of the loss with respect to the
          // outputs.
          PlainTrainer<double> plain({{3, 6, hidden}, {6, 4, last}}, loss, option_of(loss), kRows, 0);
          plain.parameters.assign(trainer.parameters(), trainer.parameters() + trainer.size());
          const auto by_outputs = plain_loss(loss, option_of(loss), plain.forward(data.x, kRows).outputs.back(), kRows, 4,
                                             data.examples.targets, Reduction::kMean, 0.0)
                                      .gradients;
          std::vector<double> by_inputs(data.x.size());
          trainer.backward(data.x.data(), kRows, by_outputs.data(), by_inputs.data());
          check_differences(what + " by inputs", data.x.data(), by_inputs, mean);
        }
      }
    }
  }
}

// All tests, on the target in use.
static void test() {
  test_random();
  test_losses<float>(), test_losses<double>();
  for (const Fit& fit : fits()) test_fit<float>(fit), test_fit<double>(fit);
  test_small_gradients<float>(), test_small_gradients<double>();
  test_differences();
}

// A process chooses its target once, so each target runs in its own process.
int main(int argc, char** argv) {
  std::vector<std::string> names(argv + 1, argv + argc);
  if (names.empty()) {
    for (const KernelTable* table : supported_tables()) names.push_back(table->target);
  }
  for (const std::string& name : names) {
    std::printf("%s\n", name.c_str());
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      setenv("NNKERNELS_TARGET", name.c_str(), 1);
      test();
      std::fflush(stdout);
      _exit(failures == 0 ? 0 : 1);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) ++failures;
  }
  std::printf(failures == 0 ? "all equal\n" : "targets that failed: %d\n", failures);
  return failures == 0 ? 0 : 1;
}
