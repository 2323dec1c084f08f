// Fuzzes the kernels of kernels.h (libFuzzer): each target of this machine against `generic` on
// contiguous arrays, bit for bit. Arrays have any size, stride and alignment, overlap where the
// contract allows it, and lie at either end of memory between guard pages. Memory between and
// beside outputs must stay unchanged.
//
//   fuzz_kernels -max_total_time=600 -max_len=64 -len_control=0 new_inputs tests/corpus/kernels
#include <cstddef>
#include <cstdint>

#include "dispatch.h"
#include "fuzz.h"
#include "kernels.h"

using namespace nnkernels;

// Maximum multiplications of a layer: some milliseconds of work; rarely more, to exceed the cache.
constexpr std::size_t kMostWork = 100'000, kRareWork = 4'500'000;

// Calls body(table, place) for each target and both ends of the memory.
template <class Body>
static void for_each_target(Choices& choices, Body body) {
  const std::size_t offset = choices.flip() ? choices.below(40) : 0;
  for (const KernelTable* table : supported_tables()) {
    for (const bool at_end : {false, true}) body(*table, Place{at_end, offset});
  }
}

// Whether no output overwrites an input that is read later. `from` and `to` are rows of n elements,
// starting at from_begin and to_begin.
static bool outputs_stay_behind(const Layout& from, std::size_t from_begin, const Layout& to, std::size_t to_begin,
                                std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t output = to_begin + to.place(0, i);
    if (from.step == 0) {
      if (i + 1 < n && output == from_begin) return false;
    } else {
      const std::ptrdiff_t ahead =
          static_cast<std::ptrdiff_t>(output) - static_cast<std::ptrdiff_t>(from_begin + from.place(0, 0));
      if (ahead % from.step == 0 && ahead / from.step > static_cast<std::ptrdiff_t>(i) &&
          ahead / from.step < static_cast<std::ptrdiff_t>(n)) {
        return false;
      }
    }
  }
  return true;
}

// Fuzzes the element-wise kernel select(table), of an activation with this option.
template <class T, class Select>
static void fuzz_elementwise(Choices& choices, double option, Select select) {
  const std::size_t n = choices.size(3000);
  const Operand<T> x(choices, any_layout(choices, 1, n));
  const std::vector<T> contiguous = x.contiguous();
  std::vector<T> expected(n);
  select(generic)({contiguous.data(), sizeof(T)}, {expected.data(), sizeof(T)}, n, Stores::kCached, option);
  const Stores stores = choices.flip() ? Stores::kStreaming : Stores::kCached;

  const std::size_t sharing = choices.below(3);
  const Layout to = sharing == 1 ? x.layout : any_layout(choices, 1, n);
  // The distance of the arrays' starts if they share memory.
  const std::size_t apart = sharing == 0 ? 0 : choices.below(4) * choices.below(2 * n + 1);
  const std::size_t x_begin = choices.flip() ? apart : 0, y_begin = x_begin == 0 ? apart : 0;
  const bool shared = sharing > 0 && outputs_stay_behind(x.layout, x_begin, to, y_begin, n);

  const auto expect = [&](Window<T>& y, std::size_t begin) {
    for (std::size_t i = 0; i < n; ++i) y.expected(begin + to.place(0, i)) = expected[i];  // overlapping: the last one stays
  };
  for_each_target(choices, [&](const KernelTable& table, Place place) {
    if (shared) {
      Window<T> both(0, place, std::max(x_begin + x.layout.length(), y_begin + to.length()));
      both.put(x.memory, x_begin);
      expect(both, y_begin);
      select(table)(strided_at<const T>(both.data() + x_begin, x.layout), strided_at(both.data() + y_begin, to), n, stores,
                    option);
      check(both.as_expected(), table, "elements in one memory", n, sizeof(T));
    } else {
      const Window<T> input(0, place, x.memory);
      Window<T> output(1, place, to.length());
      expect(output, 0);
      select(table)(strided_at<const T>(input.data(), x.layout), strided_at(output.data(), to), n, stores, option);
      check(output.as_expected() && input.as_expected(), table, "elements", n, sizeof(T));
    }
  });
}

template <class T>
static void fuzz_rowwise(Choices& choices, typename Kernels<T>::Rowwise* Kernels<T>::*kernel) {
  const std::size_t n = choices.size(2200), rows = std::min(choices.size(100), 20'000 / std::max<std::size_t>(n, 1));
  const bool in_place = choices.flip();
  const Operand<T> x(choices, in_place ? distinct_layout(choices, rows, n) : any_layout(choices, rows, n));
  const Layout to = in_place ? x.layout : distinct_layout(choices, rows, n);
  const std::vector<T> contiguous = x.contiguous();
  std::vector<T> expected(rows * n);
  for (std::size_t row = 0; row < rows; ++row) {
    (generic.of<T>().*kernel)({contiguous.data() + row * n, 0, sizeof(T)}, {expected.data() + row * n, 0, sizeof(T)}, 1, n);
  }
  for_each_target(choices, [&](const KernelTable& table, Place place) {
    Window<T> input(0, place, x.memory);
    Window<T> apart(1, place, in_place ? 0 : to.length());
    Window<T>& output = in_place ? input : apart;
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t i = 0; i < n; ++i) output.expected(to.place(row, i)) = expected[row * n + i];
    }
    (table.of<T>().*kernel)(rows_at<const T>(input.data(), x.layout), rows_at(output.data(), to), rows, n);
    check(output.as_expected() && input.as_expected(), table, "rows", rows, n, sizeof(T));
  });
}

// Reductions of one row (logsumexp) or two (dot).
template <class T>
static void fuzz_reductions(Choices& choices, bool of_two) {
  const std::size_t n = choices.size(4200);
  const Operand<T> x(choices, any_layout(choices, 1, n)), weights(choices, any_layout(choices, 1, of_two ? n : 0));
  const std::vector<T> xs = x.contiguous(), ws = weights.contiguous();
  const auto call = [of_two, n](const KernelTable& table, Strided<const T> a, Strided<const T> b) {
    return of_two ? table.of<T>().dot(a, b, n) : table.of<T>().logsumexp(a, n);
  };
  const T expected = call(generic, {xs.data(), sizeof(T)}, {ws.data(), sizeof(T)});
  for_each_target(choices, [&](const KernelTable& table, Place place) {
    const Window<T> a(0, place, x.memory), b(1, place, weights.memory);
    const T actual = call(table, strided_at<const T>(a.data(), x.layout), strided_at<const T>(b.data(), weights.layout));
    check(same(actual, expected) && a.as_expected() && b.as_expected(), table, "sum of a row", of_two, n, sizeof(T));
  });
}

template <class T>
static void fuzz_conversions(Choices& choices) {
  using C = Compute<T>;
  const std::size_t n = choices.size(3000);
  const Operand<T> stored(choices, any_layout(choices, 1, n));
  const Operand<C> wide(choices, Layout{1, n, 0, 1});
  const Layout to = any_layout(choices, 1, n);
  const std::vector<C> widened_ones = widened(stored.contiguous());
  std::vector<T> narrowed(n);
  generic.of<T>().narrow(wide.memory.data(), {narrowed.data(), sizeof(T)}, n);
  for_each_target(choices, [&](const KernelTable& table, Place place) {
    const Window<T> from(0, place, stored.memory);
    Window<C> widened_output(1, place, n);
    widened_output.expect(widened_ones);
    table.of<T>().widen(strided_at<const T>(from.data(), stored.layout), widened_output.data(), n);
    check(widened_output.as_expected() && from.as_expected(), table, "widen", n, sizeof(T));

    const Window<C> wide_input(0, place, wide.memory);
    Window<T> output(1, place, to.length());
    for (std::size_t i = 0; i < n; ++i) output.expected(to.place(0, i)) = narrowed[i];
    table.of<T>().narrow(wide_input.data(), strided_at(output.data(), to), n);
    check(output.as_expected() && wide_input.as_expected(), table, "narrow", n, sizeof(T));
  });
}

// Rows of contiguous elements. The rows may be contiguous, have gaps, be reversed, or overlap.
static Layout any_rows(Choices& choices, std::size_t rows, std::size_t n) {
  const std::ptrdiff_t side_by_side = static_cast<std::ptrdiff_t>(n + choices.below(3));
  return {rows, n, choices.flip() ? side_by_side : any_layout(choices, rows, 1).row_step, 1};
}

// A dense layer with weights of any layout: unpacked and packed, whole and in two parts.
template <class T>
static void fuzz_dense(Choices& choices) {
  using C = Compute<T>;
  const std::size_t inputs = choices.size(2100), outputs = choices.size(140);
  const std::size_t most_work = choices.below(32) == 31 ? kRareWork : kMostWork;
  const std::size_t rows = std::min(choices.size(200), most_work / std::max<std::size_t>(inputs * outputs, 1));
  const Operand<C> x(choices, any_rows(choices, rows, inputs));
  const Operand<T> weights(choices, any_layout(choices, outputs, inputs));
  const Operand<C> bias(choices, Layout{1, outputs, 0, 1});
  const bool has_bias = choices.below(4) != 3, relu = choices.flip();
  const std::ptrdiff_t apart = static_cast<std::ptrdiff_t>(outputs + choices.below(3));
  const Layout to{rows, outputs, choices.flip() ? -apart : apart, 1};
  const std::size_t part = choices.below(16);

  const std::vector<C> xs = x.contiguous();
  const std::vector<T> matrix = weights.contiguous();
  std::vector<C> expected(rows * outputs), generic_scratch(generic.of<T>().dense_scratch);
  DenseRows<T> layer{};
  layer.x = xs.data();
  layer.x_stride = static_cast<std::ptrdiff_t>(inputs);
  layer.rows = rows;
  layer.weights = {matrix.data(), static_cast<std::ptrdiff_t>(inputs * sizeof(T)), sizeof(T), outputs, inputs};
  layer.bias = has_bias ? bias.memory.data() : nullptr;
  layer.relu = relu;
  layer.outputs = expected.data();
  layer.outputs_stride = static_cast<std::ptrdiff_t>(outputs);
  layer.scratch = generic_scratch.data();
  generic.of<T>().dense(layer);

  for_each_target(choices, [&](const KernelTable& table, Place place) {
    const Kernels<T>& kernels = table.of<T>();
    const Window<C> x_window(0, place, x.memory), bias_window(1, place, bias.memory);
    const Window<T> weights_window(2, place, weights.memory);
    const Rows<const T> weights_rows = rows_at<const T>(weights_window.data(), weights.layout);
    const WeightsView<T> view{weights_rows.data, weights_rows.row_stride, weights_rows.element_stride, outputs, inputs};
    const auto run = [&](const char* what, DenseRows<T> call) {
      Window<C> output(3, place, to.length());
      for (std::size_t row = 0; row < rows; ++row) {
        for (std::size_t i = 0; i < outputs; ++i) output.expected(to.place(row, i)) = expected[row * outputs + i];
      }
      call.x = x_window.data() + x.layout.first();
      call.x_stride = x.layout.row_step;
      call.outputs = output.data() + to.first();
      call.outputs_stride = to.row_step;
      if (has_bias) call.bias = bias_window.data();
      if (const std::size_t begin = part * kernels.panel_outputs; call.packed != nullptr && begin < outputs) {
        DenseRows<T> second = call;
        call.weights.outputs = begin;
        second.weights.outputs = outputs - begin;
        second.packed += kernels.packed_size(begin, inputs);
        second.outputs += begin;
        if (has_bias) second.bias += begin;
        kernels.dense(second);
      }
      kernels.dense(call);
      check(output.as_expected(), table, what, rows, outputs, inputs);
    };
    DenseRows<T> call = layer;
    call.weights = view;
    call.scratch = room<C>(4, place, kernels.dense_scratch);
    run("dense", call);

    C* const packed = room<C>(4, place, kernels.packed_size(outputs, inputs));
    kernels.pack(view, packed);
    call.packed = packed;
    call.scratch = nullptr;
    call.weights.data = nullptr;
    run("dense, packed", call);

    Window<T> unpacked(5, place, matrix.size());
    unpacked.expect(matrix);
    kernels.unpack(packed, outputs, inputs, unpacked.data());
    check(unpacked.as_expected(), table, "unpack", outputs, inputs, sizeof(T));
    check(x_window.as_expected() && bias_window.as_expected() && weights_window.as_expected(), table, "dense writes its input");
  });
}

// dense_lanes: as many rows as the target has lanes.
template <class T>
static void fuzz_dense_lanes(Choices& choices) {
  using C = Compute<T>;
  const std::size_t inputs = choices.size(sizeof(C) == 4 ? 1024 : 512), outputs = choices.size(140);
  std::size_t most_rows = 0;
  for (const KernelTable* table : supported_tables()) most_rows = std::max(most_rows, table->of<T>().lane_rows);
  const Operand<C> x(choices, Layout{most_rows, inputs, static_cast<std::ptrdiff_t>(inputs), 1});
  const Operand<T> weights(choices, Layout{outputs, inputs, static_cast<std::ptrdiff_t>(inputs), 1});
  const Operand<C> bias(choices, Layout{1, outputs, 0, 1});
  const bool relu = choices.flip();
  const WeightsView<T> view{weights.memory.data(), static_cast<std::ptrdiff_t>(inputs * sizeof(T)), sizeof(T), outputs, inputs};

  std::vector<C> expected(most_rows * outputs), scratch(generic.of<T>().dense_scratch);
  DenseRows<T> layer{};
  layer.x = x.memory.data();
  layer.x_stride = static_cast<std::ptrdiff_t>(inputs);
  layer.rows = most_rows;
  layer.weights = view;
  layer.bias = bias.memory.data();
  layer.relu = relu;
  layer.outputs = expected.data();
  layer.outputs_stride = static_cast<std::ptrdiff_t>(outputs);
  layer.scratch = scratch.data();
  generic.of<T>().dense(layer);

  for_each_target(choices, [&](const KernelTable& table, Place place) {
    const Kernels<T>& kernels = table.of<T>();
    const std::size_t rows = kernels.lane_rows, padding = kernels.lane_padding;
    const std::size_t padded = (inputs + padding - 1) / padding * padding;
    C* const across = room<C>(0, place, padded * rows);
    for (std::size_t i = 0; i < padded; ++i) {
      for (std::size_t row = 0; row < rows; ++row) across[i * rows + row] = i < inputs ? x.at(row, i) : C(0);
    }
    C* const packed = room<C>(1, place, kernels.packed_size(outputs, inputs));
    kernels.pack(view, packed);
    const Window<C> bias_window(2, place, bias.memory);
    Window<C> output(3, place, outputs * rows);
    for (std::size_t i = 0; i < outputs; ++i) {
      for (std::size_t row = 0; row < rows; ++row) output.expected(i * rows + row) = expected[row * outputs + i];
    }
    kernels.dense_lanes({packed, bias_window.data(), relu, outputs, inputs}, across, output.data());
    check(output.as_expected() && bias_window.as_expected(), table, "dense_lanes", outputs, inputs, sizeof(T));
  });
}

template <class T>
static void fuzz_copy_rows(Choices& choices) {
  using C = Compute<T>;
  const std::size_t n = choices.size(200);
  Choices layouts = choices;
  for_each_target(choices, [&](const KernelTable& table, Place place) {
    Choices same_choices = layouts;  // the number of rows depends on the target
    const std::size_t rows = table.of<T>().lane_rows;
    const Operand<C> x(same_choices, any_layout(same_choices, rows, n));
    const Layout to = distinct_layout(same_choices, rows, n);
    const Window<C> input(0, place, x.memory);
    Window<C> output(1, place, to.length());
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t i = 0; i < n; ++i) output.expected(to.place(row, i)) = x.at(row, i);
    }
    table.of<T>().copy_rows(rows_at<const C>(input.data(), x.layout), rows_at(output.data(), to), n);
    check(output.as_expected() && input.as_expected(), table, "copy_rows", n, sizeof(T));
  });
}

template <class T>
static void fuzz_type(Choices& choices) {
  using K = Kernels<T>;
  switch (const std::size_t kernel = choices.below(12)) {
    case 0:
    case 1:
    case 2:
    case 3: {
      const Activation activation = kElementwiseActivations[choices.below(std::size(kElementwiseActivations))].activation;
      return fuzz_elementwise<T>(choices, any_option_of_activation(choices),
                                 [&](const KernelTable& table) { return table.of<T>().of(activation); });
    }
    case 4:
      return fuzz_rowwise<T>(choices, &K::softmax);
    case 5:
      return fuzz_rowwise<T>(choices, &K::log_softmax);
    case 6:
    case 7:
      return fuzz_reductions<T>(choices, kernel == 7);
    case 8:
      return fuzz_conversions<T>(choices);
    case 9:
      return fuzz_dense<T>(choices);
    case 10:
      return fuzz_dense_lanes<T>(choices);
    default:
      return fuzz_copy_rows<T>(choices);
  }
}

template <class T>
static void fuzz_integers(Choices& choices, ElementwiseKernel<T>* IntegerRelu::*kernel) {
  fuzz_elementwise<T>(choices, 0, [&](const KernelTable& table) { return table.integer_relu.*kernel; });
}

static void fuzz_integer_relu(Choices& choices) {
  switch (choices.below(8)) {
    case 0:
      return fuzz_integers(choices, &IntegerRelu::int8);
    case 1:
      return fuzz_integers(choices, &IntegerRelu::int16);
    case 2:
      return fuzz_integers(choices, &IntegerRelu::int32);
    case 3:
      return fuzz_integers(choices, &IntegerRelu::int64);
    case 4:
      return fuzz_integers(choices, &IntegerRelu::uint8);
    case 5:
      return fuzz_integers(choices, &IntegerRelu::uint16);
    case 6:
      return fuzz_integers(choices, &IntegerRelu::uint32);
    default:
      return fuzz_integers(choices, &IntegerRelu::uint64);
  }
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Choices choices(data, size);
  switch (choices.below(10)) {
    case 0:
    case 1:
    case 2:
      fuzz_type<Half>(choices);
      break;
    case 3:
    case 4:
    case 5:
      fuzz_type<float>(choices);
      break;
    case 6:
    case 7:
    case 8:
      fuzz_type<double>(choices);
      break;
    default:
      fuzz_integer_relu(choices);
  }
  return 0;
}
