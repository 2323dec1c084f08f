// Fuzzes training (libFuzzer), with any shapes, activations, losses, optimizers, weights and
// numbers. Kernels of each target of this machine are compared with `generic`, one row or number at
// a time; compute_loss and Trainer, on the target of NNKERNELS_TARGET, with plain loops
// (plain_training.h). A failed allocation must raise std::bad_alloc, and a repeated call must be
// right.
//
//   export ASAN_OPTIONS=allocator_may_return_null=1
//   fuzz_training -max_total_time=600 -max_len=64 -len_control=0 new_inputs tests/corpus/training
#include <cstddef>
#include <cstdint>
#include <new>

#include "dispatch.h"
#include "fuzz.h"
#include "limited_memory.h"
#include "plain_training.h"
#include "threads.h"
#include "training.h"

using namespace nnkernels;

// Maximum multiplications of a batch or product: some milliseconds of work; rarely more.
constexpr std::size_t kMostWork = 15'000, kRareWork = 1'000'000;

static std::size_t any_work(Choices& choices) { return choices.below(32) == 31 ? kRareWork : kMostWork; }

// Calls body(table, place) for each target and both ends of the memory.
template <class Body>
static void for_each_target(Choices& choices, Body body) {
  const std::size_t offset = choices.flip() ? choices.below(40) : 0;
  for (const KernelTable* table : supported_tables()) {
    for (const bool at_end : {false, true}) body(*table, Place{at_end, offset});
  }
}

static Loss any_loss(Choices& choices) { return static_cast<Loss>(choices.below(6)); }

template <class C>
static C any_option(Choices& choices) {
  constexpr C kOptions[] = {0, C(0.125), C(0.5), 1, 3};
  return kOptions[choices.below(std::size(kOptions))];
}

// Finite weights, not negative: some 0; ordinary or of any magnitude; or all 0.
static std::vector<double> any_weights(Choices& choices, std::size_t n) {
  std::vector<double> weights = numbers<double>(choices, n);
  const bool all_zero = choices.below(16) == 15;
  for (double& weight : weights) {
    weight = all_zero || !std::isfinite(weight) || weight < 0 ? 0 : weight;
  }
  return weights;
}

// Labels or targets, and weights.
template <class C>
struct Wanted {
  Wanted(Choices& choices, Loss loss, std::size_t rows, std::size_t n) {
    const std::size_t terms = loss == Loss::kCrossEntropy ? 1 : n;
    by_label = loss == Loss::kCrossEntropy && n > 0 && choices.flip();
    if (by_label) {
      Random random{choices.below(256)};
      for (std::size_t row = 0; row < rows; ++row) labels.push_back(static_cast<std::int64_t>(random.bits() % n));
    } else {
      targets = numbers<C>(choices, rows * n);
    }
    const std::size_t kind = choices.below(3);
    weight_of_term = kind == 2;
    weighted = kind != 0;
    if (weighted) weights = any_weights(choices, weight_of_term ? rows * terms : rows);
    labels.reserve(1), targets.reserve(1), weights.reserve(1);  // an empty array has an address, too
  }

  Targets<C> view() const {
    return {by_label ? labels.data() : nullptr, by_label ? nullptr : targets.data(), weighted ? weights.data() : nullptr,
            weight_of_term};
  }

  bool by_label, weighted, weight_of_term;
  std::vector<std::int64_t> labels;
  std::vector<C> targets;
  std::vector<double> weights;
};

// --- Kernels ---

template <class C>
static void fuzz_loss_kernel(Choices& choices) {
  using L = Learning<C>;
  constexpr typename L::Loss* L::*kKernels[] = {
      &L::cross_entropy, &L::binary_cross_entropy, &L::squared_error, &L::absolute_error, &L::huber, &L::poisson};
  const Loss loss = any_loss(choices);
  const auto kernel = kKernels[static_cast<int>(loss)];
  const std::size_t n = choices.size(2200), rows = std::min(choices.size(100), 2000 / std::max<std::size_t>(n, 1));
  const std::size_t terms = loss == Loss::kCrossEntropy ? 1 : n;
  const std::vector<C> outputs = numbers<C>(choices, rows * n), factors = numbers<C>(choices, rows * terms);
  const Wanted<C> wanted(choices, loss, rows, n);
  const C option = any_option<C>(choices), least = choices.flip() ? kLeastGradient<C> : C(0);
  const bool has_factors = choices.flip(), has_gradients = choices.below(4) != 3;
  const C factor = numbers<C>(choices, 1)[0];

  std::vector<C> losses(rows * terms), gradients(rows * n);
  for (std::size_t row = 0; row < rows; ++row) {
    (generic.learning<C>().*kernel)({outputs.data() + row * n, 1, n, wanted.by_label ? &wanted.labels[row] : nullptr,
                                     wanted.by_label ? nullptr : wanted.targets.data() + row * n, option,
                                     losses.data() + row * terms, gradients.data() + row * n,
                                     has_factors ? factors.data() + row * terms : nullptr, factor, least});
  }
  for_each_target(choices, [&](const KernelTable& table, Place place) {
    const Window<C> z(0, place, outputs), targets(1, place, wanted.targets), factor_window(2, place, factors);
    const Window<std::int64_t> labels(3, place, wanted.labels);
    Window<C> loss_window(4, place, rows * terms), gradient_window(5, place, rows * n);
    loss_window.expect(losses);
    if (has_gradients) gradient_window.expect(gradients);
    (table.learning<C>().*kernel)({z.data(), rows, n, wanted.by_label ? labels.data() : nullptr,
                                   wanted.by_label ? nullptr : targets.data(), option, loss_window.data(),
                                   has_gradients ? gradient_window.data() : nullptr,
                                   has_factors ? factor_window.data() : nullptr, factor, least});
    check(loss_window.as_expected() && gradient_window.as_expected(), table, "loss", static_cast<std::size_t>(loss), rows, n);
    check(z.as_expected() && targets.as_expected() && factor_window.as_expected() && labels.as_expected(), table,
          "loss writes its input");
  });
}

template <class C>
static void fuzz_outer_product(Choices& choices) {
  const std::size_t rows = choices.size(140), columns = choices.size(140);
  const std::size_t steps = std::min(choices.size(1100), any_work(choices) / std::max<std::size_t>(rows * columns, 1));
  // `a` has any layout; the rows of b are contiguous.
  const bool rows_beside = choices.flip();
  const std::ptrdiff_t a_apart = static_cast<std::ptrdiff_t>((rows_beside ? rows : steps) + choices.below(3));
  const Layout a_layout{steps, rows, rows_beside ? a_apart : 1, rows_beside ? 1 : a_apart};
  const Operand<C> a(choices, choices.below(4) == 3 ? any_layout(choices, steps, rows) : a_layout);
  const Operand<C> b(choices, Layout{steps, columns, static_cast<std::ptrdiff_t>(columns + choices.below(3)), 1});
  const Layout to{rows, columns, static_cast<std::ptrdiff_t>(columns + choices.below(3)), 1};

  const std::vector<C> as = a.contiguous(), bs = b.contiguous();
  std::vector<C> expected(rows * columns);
  const auto n = static_cast<std::ptrdiff_t>(columns);
  for (std::size_t row = 0; row < rows && steps > 0; ++row) {
    plain_outer_product<C>({as.data() + row, static_cast<std::ptrdiff_t>(rows), 0, bs.data(), n, steps, 1, columns,
                            expected.data() + row * columns, n, nullptr});
  }
  for_each_target(choices, [&](const KernelTable& table, Place place) {
    const Window<C> a_window(0, place, a.memory), b_window(1, place, b.memory);
    Window<C> outputs(2, place, to.length());
    for (std::size_t i = 0; i < expected.size(); ++i) outputs.expected(to.place(i / columns, i % columns)) = expected[i];
    OuterProduct<C> product{a_window.data() + a.layout.first(),
                            a.layout.row_step,
                            a.layout.step,
                            b_window.data(),
                            b.layout.row_step,
                            steps,
                            rows,
                            columns,
                            outputs.data(),
                            to.row_step,
                            nullptr};
    product.scratch = room<C>(3, place, table.learning<C>().outer_scratch(product));
    table.learning<C>().outer_product(product);
    check(outputs.as_expected() && a_window.as_expected() && b_window.as_expected(), table, "outer_product", steps, rows,
          columns);
  });
}

template <class C>
static void fuzz_activation_gradient(Choices& choices) {
  const auto activation = static_cast<Activation>(1 + choices.below(kActivations - 1));
  const double option = any_option_of_activation(choices);
  const std::size_t n = choices.size(2200), rows = std::min(choices.size(100), 2000 / std::max<std::size_t>(n, 1));
  const std::vector<C> y = numbers<C>(choices, rows * n), g = numbers<C>(choices, rows * n);
  const std::vector<C> expected = plain_activation_gradient(activation, option, y, y, g, n);
  for_each_target(choices, [&](const KernelTable& table, Place place) {
    const Window<C> values(0, place, y);
    Window<C> gradients(1, place, g);
    gradients.expect(expected);
    const Learning<C>& kernels = table.learning<C>();
    if (activation == Activation::kSoftmax) {
      kernels.softmax_gradient(values.data(), gradients.data(), rows, n);
    } else if (activation == Activation::kLogSoftmax) {
      kernels.log_softmax_gradient(values.data(), gradients.data(), rows, n);
    } else {
      kernels.of(activation)(values.data(), gradients.data(), rows * n, option);
    }
    check(gradients.as_expected() && values.as_expected(), table, "activation gradient", static_cast<std::size_t>(activation),
          rows, n);
  });
}

template <class C>
static void fuzz_optimizer_kernel(Choices& choices) {
  const std::size_t n = choices.size(3000), kind = choices.below(3);  // SGD, momentum, Adam: 0 to 2 moments
  const std::vector<C> settings = numbers<C>(choices, 7);
  const bool nesterov = choices.flip();
  const std::vector<C> gradient = numbers<C>(choices, n);
  std::vector<std::vector<C>> before;
  for (std::size_t i = 0; i <= kind; ++i) before.push_back(numbers<C>(choices, n));
  const auto run = [&](const KernelTable& table, const std::vector<C*>& data, const C* g, std::size_t count) {
    if (kind == 2) {
      table.learning<C>().adam({data[0], data[1], data[2], g, count, settings[0], settings[1], settings[2], settings[3],
                                settings[4], settings[5], settings[6]});
    } else {
      table.learning<C>().sgd(
          {data[0], kind == 1 ? data[1] : nullptr, g, count, settings[0], settings[1], settings[2], nesterov});
    }
  };
  std::vector<std::vector<C>> after = before;
  for (std::size_t i = 0; i < n; ++i) {
    std::vector<C*> data;
    for (std::vector<C>& array : after) data.push_back(&array[i]);
    run(generic, data, &gradient[i], 1);
  }
  for_each_target(choices, [&](const KernelTable& table, Place place) {
    const Window<C> gradient_window(0, place, gradient);
    std::vector<Window<C>> windows;
    std::vector<C*> data;
    for (std::size_t i = 0; i <= kind; ++i) {
      windows.emplace_back(i + 1, place, before[i]);
      windows.back().expect(after[i]);
      data.push_back(windows.back().data());
    }
    run(table, data, gradient_window.data(), n);
    check(gradient_window.as_expected(), table, "optimizer writes its input");
    for (const Window<C>& window : windows) check(window.as_expected(), table, "optimizer", kind, n, sizeof(C));
  });
}

// --- compute_loss and Trainer ---

static bool same_sum(const LossSum& a, const LossSum& b) { return same(a.losses, b.losses) && same(a.weights, b.weights); }

template <class C>
static void fuzz_compute_loss(Choices& choices) {
  const Loss loss = any_loss(choices);
  const std::size_t n = choices.size(1100), rows = std::min(choices.size(2000), 20'000 / std::max<std::size_t>(n, 1));
  const std::vector<C> outputs = numbers<C>(choices, rows * n);
  const Wanted<C> wanted(choices, loss, rows, n);
  const C option = any_option<C>(choices), least = choices.flip() ? kLeastGradient<C> : C(0);
  const auto reduction = static_cast<Reduction>(choices.below(3));
  const bool has_gradients = choices.flip();
  const PlainLoss<C> expected = plain_loss(loss, option, outputs, rows, n, wanted.view(), reduction, least);
  std::vector<C> losses(expected.losses.size()), gradients(rows * n), factors(losses.size());
  const LossSum sum = compute_loss(loss, option, outputs.data(), rows, n, wanted.view(), reduction, losses.data(),
                                   has_gradients ? gradients.data() : nullptr, has_gradients ? factors.data() : nullptr, least);
  check(same_sum(sum, expected.sum) && same(losses, expected.losses), kernels(), "compute_loss", static_cast<std::size_t>(loss),
        rows, n);
  check(!has_gradients || same(gradients, expected.gradients), kernels(), "gradient of compute_loss",
        static_cast<std::size_t>(loss), rows, n);
}

static Optimizer any_optimizer(Choices& choices, std::size_t moments) {
  constexpr double kRates[] = {0, 1e-3, 0.05, 1, 1e30}, kBetas[] = {0, 0.5, 0.9, 0.999}, kSmall[] = {0, 1e-8, 0.1, 2};
  const auto any = [&](const auto& settings) { return settings[choices.below(std::size(settings))]; };
  if (moments < 2) {
    return {Optimizer::Kind::kSgd,
            any(kRates),
            moments == 0 ? 0 : any(kBetas),
            moments == 1 && choices.flip() ? 1.0 : 0.0,
            0,
            any(kSmall)};
  }
  constexpr Optimizer::Kind kKinds[] = {Optimizer::Kind::kAdam, Optimizer::Kind::kAdamW, Optimizer::Kind::kAdamHat};
  return {any(kKinds), any(kRates), any(kBetas), any(kBetas), any(kSmall), any(kSmall)};
}

// Returns run(), of which only some allocations succeed. If one fails, calls restore() to undo
// changes, and run() again.
template <class Run, class Restore>
static auto run_refused(std::size_t allocations, Run run, Restore restore) {
  if (allocations < 15) {
    try {
      const LimitedMemory limit(static_cast<std::ptrdiff_t>(allocations));
      return run();
    } catch (const std::bad_alloc&) {
      restore();
    }
  }
  return run();
}

template <class C>
static void fuzz_trainer(Choices& choices) {
  using Layer = typename Trainer<C>::Layer;
  std::vector<Layer> layers;
  std::size_t inputs = choices.size(140), work = 1;
  for (std::size_t count = 1 + choices.below(4); count > 0; --count) {
    if (choices.below(4) == 3) {
      layers.push_back(
          {inputs, inputs, Activation::kNone, 0, true, numbers<double>(choices, inputs), numbers<double>(choices, inputs)});
      work += inputs + 4;
      continue;
    }
    const std::size_t outputs = choices.size(140);
    layers.push_back(
        {inputs, outputs, static_cast<Activation>(choices.below(kActivations)), any_option_of_activation(choices)});
    work += (inputs + 4) * (outputs + 4);
    inputs = outputs;
  }
  const std::size_t n = layers.back().outputs, most_rows = any_work(choices) / work + 2;
  const std::size_t rows = std::min(choices.size(700), most_rows), batch = 1 + choices.size(300), moments = choices.below(3);
  const Loss loss = any_loss(choices);
  const C option = any_option<C>(choices);
  const std::vector<C> x = numbers<C>(choices, rows * layers.front().inputs);
  const Wanted<C> wanted(choices, loss, rows, n);
  const Examples<C> all{x.data(), rows, wanted.view()};
  const std::size_t allocations = choices.below(16);  // how many succeed; with 15, all

  PlainTrainer<C> plain(layers, loss, option, batch, moments);
  Trainer<C> trainer = run_refused(
      allocations * 2, [&] { return Trainer<C>(layers, loss, option, batch, moments); }, [] {});
  check(trainer.size() == plain.parameters.size(), kernels(), "size", trainer.size());
  const bool ordinary = choices.flip();
  plain.parameters = numbers<C>(choices, trainer.size());
  if (ordinary) {
    for (C& parameter : plain.parameters) parameter /= 16;
  }
  plain.steps = choices.flip() ? choices.below(3000) : 0;
  const auto restore = [&] {
    std::copy(plain.parameters.begin(), plain.parameters.end(), trainer.parameters());
    for (std::size_t i = 0; i < moments; ++i) std::copy(plain.moments[i].begin(), plain.moments[i].end(), trainer.moment(i));
    trainer.steps = plain.steps;
  };
  restore();

  const auto same_numbers = [](const C* actual, const std::vector<C>& expected) {
    return same(std::vector<C>(actual, actual + expected.size()), expected);
  };
  for (std::size_t call = 0; call < 3; ++call) {
    const auto check_call = [&](bool good, const char* what) { check(good, kernels(), what, rows, batch, call); };
    Examples<C> some = all;
    some.rows = std::min(rows, batch);
    switch (choices.below(7)) {
      case 0: {
        const LossSum sum = run_refused(
            allocations, [&] { return trainer.evaluate(all); }, restore);
        check_call(same_sum(sum, plain.evaluate(all)), "evaluate");
        break;
      }
      case 1: {
        const LossSum sum = run_refused(
            allocations, [&] { return trainer.compute_gradient(some); }, restore);
        check_call(same_sum(sum, plain.compute_gradient(some)) && same_numbers(trainer.gradient(), plain.gradient), "gradient");
        break;
      }
      case 2: {
        const std::vector<C> rows_of_x(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(some.rows * layers.front().inputs));
        const std::vector<C> by_outputs = numbers<C>(choices, some.rows * n);
        std::vector<C> by_inputs(rows_of_x.size());
        trainer.backward(x.data(), some.rows, by_outputs.data(), by_inputs.data());
        check_call(same(by_inputs, plain.backward(rows_of_x, some.rows, by_outputs)), "gradient by inputs");
        check_call(same_numbers(trainer.gradient(), plain.gradient), "backward");
        break;
      }
      case 3: {
        const Optimizer optimizer = any_optimizer(choices, moments);
        const bool sequence = choices.flip();
        std::vector<std::size_t> order(sequence ? rows : rows == 0 ? 0 : choices.size(100));
        for (std::size_t i = 0; i < order.size(); ++i) order[i] = sequence ? i : choices.below(256) % rows;
        constexpr double kScales[] = {1, 0.3, 0, -2};
        const double scale = kScales[choices.below(4)];
        const BatchSums sums = run_refused(
            allocations,
            [&] { return trainer.run_batches(all, optimizer, sequence ? nullptr : order.data(), order.size(), scale); },
            restore);
        const BatchSums expected = plain.run_batches(all, optimizer, order, scale);
        check_call(same(sums.losses, expected.losses) && same(sums.penalty, expected.penalty), "sums of run_batches");
        check_call(same_numbers(trainer.parameters(), plain.parameters) && trainer.steps == plain.steps, "run_batches");
        for (std::size_t i = 0; i < moments; ++i) check_call(same_numbers(trainer.moment(i), plain.moments[i]), "moments");
        break;
      }
      default: {
        const Optimizer optimizer = any_optimizer(choices, moments);
        const std::uint64_t seed = choices.below(256), epoch = choices.below(256);
        const bool shuffle = choices.flip();
        const LossSum sum = run_refused(
            allocations, [&] { return trainer.run_epoch(all, optimizer, seed, epoch, shuffle); }, restore);
        check_call(same_sum(sum, plain.run_epoch(all, optimizer, seed, epoch, shuffle)), "loss of an epoch");
        check_call(same_numbers(trainer.parameters(), plain.parameters) && trainer.steps == plain.steps, "epoch");
        for (std::size_t i = 0; i < moments; ++i) check_call(same_numbers(trainer.moment(i), plain.moments[i]), "moments");
      }
    }
  }
}

template <class C>
static void fuzz_type(Choices& choices) {
  set_num_threads(static_cast<int>(1 + choices.below(3)));
  switch (choices.below(12)) {
    case 0:
      return fuzz_loss_kernel<C>(choices);
    case 1:
      return fuzz_outer_product<C>(choices);
    case 2:
      return fuzz_activation_gradient<C>(choices);
    case 3:
      return fuzz_optimizer_kernel<C>(choices);
    case 4:
    case 5:
      return fuzz_compute_loss<C>(choices);
    default:
      return fuzz_trainer<C>(choices);
  }
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Choices choices(data, size);
  if (choices.flip()) {
    fuzz_type<float>(choices);
  } else {
    fuzz_type<double>(choices);
  }
  return 0;
}
