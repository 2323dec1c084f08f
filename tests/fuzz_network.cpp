// Fuzzes networks (libFuzzer): construction, forward pass and copies of the weights, with any
// sizes, strides and layouts, against the kernels of `generic` layer by layer. Sizes that exceed
// memory and failed allocations must raise std::bad_alloc, and the next call must be right.
// NNKERNELS_TARGET chooses the target.
//
//   export ASAN_OPTIONS=allocator_may_return_null=1
//   fuzz_network -max_total_time=600 -max_len=64 -len_control=0 new_inputs tests/corpus/network
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include "dispatch.h"
#include "fuzz.h"
#include "limited_memory.h"
#include "network.h"
#include "threads.h"

using namespace nnkernels;

// Maximum multiplications of a batch: some milliseconds of work; rarely more.
constexpr std::size_t kMostWork = 100'000, kRareWork = 3'000'000;

template <class T>
struct Layer {
  Operand<T> weights;
  Operand<T> bias;
  Activation activation;
  double option = 0;
  std::vector<double> offset, scale;  // of a Scale layer
  bool scales = false;

  LayerView<T> view() const {
    if (scales) {
      LayerView<T> view{};
      view.weights.inputs = view.weights.outputs = weights.layout.n;
      view.offset = offset.data();
      view.scale = scale.data();
      return view;
    }
    const Rows<const T> rows = rows_at(weights.memory.data(), weights.layout);
    return {{rows.data, rows.row_stride, rows.element_stride, weights.layout.rows, weights.layout.n},
            strided_at(bias.memory.data(), bias.layout),
            activation,
            option};
  }
};

// Applies a Scale layer to rows of From.
template <class T, class From>
static std::vector<T> plain_scale(const Layer<T>& layer, const std::vector<From>& rows) {
  const auto wide = widened(rows);
  std::vector<T> y(rows.size());
  for (std::size_t i = 0; i < y.size(); ++i) {
    const std::size_t column = i % layer.offset.size();
    y[i] = nearest<T>((static_cast<double>(wide[i]) - layer.offset[column]) * layer.scale[column]);
  }
  return y;
}

// Applies a layer by the kernels of `generic`, rounding where the separate functions round.
template <class T>
static std::vector<T> plain_forward(const Layer<T>& layer, const std::vector<T>& rows, std::size_t count) {
  using C = Compute<T>;
  if (layer.scales) return plain_scale(layer, rows);
  const Kernels<T>& kernels = generic.of<T>();
  const std::size_t inputs = layer.weights.layout.n, outputs = layer.weights.layout.rows;
  const std::vector<T> weights = layer.weights.contiguous();
  const std::vector<C> x = widened(rows), bias = widened(layer.bias.contiguous());
  std::vector<C> sums(count * outputs), scratch(kernels.dense_scratch);
  DenseRows<T> dense{};
  dense.x = x.data();
  dense.x_stride = static_cast<std::ptrdiff_t>(inputs);
  dense.rows = count;
  dense.weights = {weights.data(), static_cast<std::ptrdiff_t>(inputs * sizeof(T)), sizeof(T), outputs, inputs};
  dense.bias = bias.data();
  dense.outputs = sums.data();
  dense.outputs_stride = static_cast<std::ptrdiff_t>(outputs);
  dense.scratch = scratch.data();
  kernels.dense(dense);
  std::vector<T> y(count * outputs);
  kernels.narrow(sums.data(), {y.data(), sizeof(T)}, y.size());
  plain_activation(layer.activation, layer.option, y, outputs);
  return y;
}

// A chain of layers, each with any layout.
template <class T>
static std::vector<Layer<T>> any_layers(Choices& choices) {
  std::vector<Layer<T>> layers;
  const std::size_t count = 1 + choices.below(4);
  const std::size_t most = choices.flip() ? 140 : 1100;
  std::size_t inputs = choices.size(most);
  for (std::size_t i = 0; i < count; ++i) {
    if (choices.below(4) == 3) {
      const Layout none{0, 0, 0, 0}, square{inputs, inputs, 0, 0};
      Layer<T> layer{Operand<T>(choices, none),
                     Operand<T>(choices, none),
                     Activation::kNone,
                     0,
                     numbers<double>(choices, inputs),
                     numbers<double>(choices, inputs),
                     true};
      layer.weights.layout = square;
      layer.offset.reserve(1), layer.scale.reserve(1);  // not null
      layers.push_back(std::move(layer));
      continue;
    }
    const std::size_t outputs = std::min(choices.size(most), 100'000 / std::max<std::size_t>(inputs, 1));
    layers.push_back({Operand<T>(choices, any_layout(choices, outputs, inputs)),
                      Operand<T>(choices, any_layout(choices, 1, outputs)),
                      static_cast<Activation>(choices.below(kActivations)),
                      any_option_of_activation(choices),
                      {},
                      {}});
    inputs = outputs;
  }
  return layers;
}

// From is T, or double if the first layer is a Scale.
template <class From, class T>
static void fuzz_forward(Choices& choices, const std::vector<Layer<T>>& layers) {
  std::vector<LayerView<T>> views;
  std::size_t work = 1;
  for (const Layer<T>& layer : layers) {
    views.push_back(layer.view());
    work += layer.weights.layout.rows * layer.weights.layout.n + layer.weights.layout.rows;
  }
  const std::size_t inputs = views.front().weights.inputs, outputs = views.back().weights.outputs;
  const std::size_t most_work = choices.below(32) == 31 ? kRareWork : kMostWork;
  const std::size_t count = std::min({choices.size(300), most_work / work, 100'000 / std::max<std::size_t>(inputs, 1)});
  const Operand<From> x(choices, any_layout(choices, count, inputs));
  const Layout to = distinct_layout(choices, count, outputs);
  constexpr bool kOfT = std::is_same_v<From, T>;
  const bool function = kOfT && layers.size() == 1 && !layers[0].scales && !has_option(layers[0].activation) && choices.flip();
  const std::size_t allocations = choices.below(16);  // how many succeed; with 15, all
  const std::size_t offset = choices.flip() ? choices.below(20) : 0;

  std::vector<T> expected;
  if constexpr (kOfT) {
    expected = plain_forward(layers[0], x.contiguous(), count);
  } else {
    expected = plain_scale(layers[0], x.contiguous());
  }
  for (std::size_t i = 1; i < layers.size(); ++i) expected = plain_forward(layers[i], expected, count);

  for (const bool at_end : {false, true}) {
    const Place place{at_end, offset};
    const Window<From> input(0, place, x.memory);
    Window<T> output(1, place, to.length());
    const Rows<const From> from = rows_at<const From>(input.data(), x.layout);
    const Rows<T> results = rows_at(output.data(), to);
    std::optional<Network<T>> network;
    const auto run = [&] {
      if (!function && !network) network.emplace(views);
      if constexpr (!kOfT) {
        network->forward_doubles(from, count, results);
      } else if (function) {
        dense<T>(from, count, views[0].weights, views[0].bias, views[0].activation, results);
      } else {
        network->forward(from, count, results);
      }
    };
    try {
      const LimitedMemory limit(allocations < 15 ? static_cast<std::ptrdiff_t>(allocations) : kUnlimited);
      run();
    } catch (const std::bad_alloc&) {
      for (std::size_t row = 0; row < count; ++row) {
        for (std::size_t i = 0; i < outputs; ++i) output.expected(to.place(row, i)) = output.data()[to.place(row, i)];
      }
      check(output.as_expected(), kernels(), "a call that failed writes beside its outputs", count, sizeof(T));
    }
    for (std::size_t row = 0; row < count; ++row) {
      for (std::size_t i = 0; i < outputs; ++i) output.expected(to.place(row, i)) = expected[row * outputs + i];
    }
    run();
    check(output.as_expected() && input.as_expected(), kernels(), "forward", layers.size(), count, sizeof(T));
    for (std::size_t i = 0; network && i < layers.size(); ++i) {
      check(network->scales(i) == layers[i].scales, kernels(), "scales", i, sizeof(T));
      if (layers[i].scales) {
        const std::size_t n = layers[i].offset.size();
        check(same(std::vector<double>(network->offset(i), network->offset(i) + n), layers[i].offset) &&
                  same(std::vector<double>(network->scale(i), network->scale(i) + n), layers[i].scale),
              kernels(), "copies of a layer that scales", i, sizeof(T));
        continue;
      }
      const std::vector<T> weights = layers[i].weights.contiguous(), bias = layers[i].bias.contiguous();
      std::vector<T> weights_copy(weights.size()), bias_copy(bias.size());
      network->copy_weights(i, weights_copy.data());
      network->copy_bias(i, bias_copy.data());
      check(same(weights_copy, weights) && same(bias_copy, bias), kernels(), "copies", i, sizeof(T));
    }
  }
}

template <class T>
static void fuzz_forward(Choices& choices) {
  set_num_threads(static_cast<int>(1 + choices.below(3)));
  const std::vector<Layer<T>> layers = any_layers<T>(choices);
  if (layers[0].scales && choices.flip()) {
    fuzz_forward<double>(choices, layers);
  } else {
    fuzz_forward<T>(choices, layers);
  }
}

// A size that exceeds memory, wraps around, or is small.
static std::size_t any_claim(Choices& choices) {
  const std::size_t power = std::size_t{1} << choices.below(64);
  const std::size_t size = power + static_cast<std::size_t>(choices.step(4));  // negative sizes wrap around
  return choices.flip() ? size : choices.below(5);
}

// Claimed sizes: all strides are 0, so that an array of any size can be read.
template <class T>
static void fuzz_claims(Choices& choices) {
  const std::vector<T> number = numbers<T>(choices, 1);
  const std::size_t inputs = any_claim(choices), outputs = any_claim(choices);
  const auto activation = static_cast<Activation>(choices.below(kActivations));
  const std::ptrdiff_t element = choices.flip() ? static_cast<std::ptrdiff_t>(sizeof(T)) : 0;
  const LayerView<T> layer{{number.data(), 0, 0, outputs, inputs}, {number.data(), 0}, activation};
  const bool small = inputs <= 8 && outputs <= 8;
  bool made = false;
  try {
    const LimitedMemory limit(kUnlimited);
    const Network<T> network({layer});
    made = true;
    check(network.inputs() == inputs && network.outputs() == outputs, kernels(), "sizes", inputs, outputs);
    const std::size_t count = choices.below(4);
    if (outputs == 0 || small) {  // outputs must not overlap
      std::vector<T> results(count * outputs + 1);
      const Strided<const T> x{number.data(), inputs <= 1 ? element : 0};
      network.forward({x.data, 0, x.stride}, count,
                      {results.data(), static_cast<std::ptrdiff_t>(outputs * sizeof(T)), sizeof(T)});
    }
  } catch (const std::bad_alloc&) {
    check(!small, kernels(), "bad_alloc for a small network", inputs, outputs);
  }
  // A network must fail if its weights or biases exceed kMost.
  constexpr std::size_t kMost = kMostBytes / sizeof(Compute<T>);
  const bool fits = outputs <= kMost && (outputs == 0 || inputs <= kMost / outputs);
  check(fits || !made, kernels(), "a network that no memory holds", inputs, outputs, sizeof(T));
  try {
    const LimitedMemory limit(kUnlimited);
    T result;
    if (outputs <= 1) {
      dense<T>({number.data(), 0, 0}, 1, layer.weights, layer.bias, activation, {&result, 0, sizeof(T)});
      check(outputs == 0 || inputs <= kMost, kernels(), "a layer that no memory holds", inputs, outputs, sizeof(T));
    }
  } catch (const std::bad_alloc&) {
    check(!small, kernels(), "bad_alloc for a small layer", inputs, outputs);
  }
}

template <class T>
static void fuzz_type(Choices& choices) {
  if (choices.below(8) == 7) {
    fuzz_claims<T>(choices);
  } else {
    fuzz_forward<T>(choices);
  }
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Choices choices(data, size);
  switch (choices.below(3)) {
    case 0:
      fuzz_type<Half>(choices);
      break;
    case 1:
      fuzz_type<float>(choices);
      break;
    default:
      fuzz_type<double>(choices);
  }
  return 0;
}
