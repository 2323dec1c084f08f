// The C++ API of nnkernels: a table of function pointers, with the contract that every CPU target
// keeps.
//
// A kernel is written once, in kernels/*.h, over vectors of any width. targets/*.cpp instantiate it
// for each CPU target. All targets give the same bits, except for the sign and payload of NaN.
// dispatch.h chooses a table.
//
// Kernels assume the default floating-point environment: round to nearest, subnormals kept. They
// may leave any exception flag set; floating_point.h protects the caller's flags. They allocate
// nothing, throw nothing, and may be called from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace nnkernels {

// IEEE binary16, as stored.
struct Half {
  std::uint16_t bits;
};

// The type used to compute with arrays of T: float for Half, T itself otherwise.
template <class T>
using Compute = std::conditional_t<std::is_same_v<T, Half>, float, T>;

// Elements of T, `stride` bytes apart, aligned to alignof(T). Always inlined: otherwise the linker
// could use one target's copy for all code (kernels/lanes.h).
template <class T>
struct Strided {
  T* data;
  std::ptrdiff_t stride;

  __attribute__((always_inline)) bool contiguous() const { return stride == static_cast<std::ptrdiff_t>(sizeof(T)); }

  // The elements from index i on.
  __attribute__((always_inline)) Strided from(std::size_t i) const {
    using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
    return {reinterpret_cast<T*>(reinterpret_cast<Byte*>(data) + static_cast<std::ptrdiff_t>(i) * stride), stride};
  }

  __attribute__((always_inline)) T& operator[](std::size_t i) const { return *from(i).data; }
};

// Rows of elements of T; strides in bytes. Always inlined, like Strided.
template <class T>
struct Rows {
  T* data;
  std::ptrdiff_t row_stride;
  std::ptrdiff_t element_stride;

  __attribute__((always_inline)) Rows from(std::size_t row) const {
    return {Strided<T>{data, row_stride}.from(row).data, row_stride, element_stride};
  }
  __attribute__((always_inline)) Strided<T> row(std::size_t i) const { return {from(i).data, element_stride}; }
};

// The weights of a layer, as the caller stores them: row i holds the weights of output i.
template <class T>
struct WeightsView {
  const T* data;
  std::ptrdiff_t output_stride;  // bytes from one output to the next
  std::ptrdiff_t input_stride;   // bytes from one input to the next
  std::size_t outputs;
  std::size_t inputs;
};

// Rows of a dense layer, in the compute type C. x is rows x inputs, outputs is rows x outputs. The
// elements of a row are contiguous; row strides count elements. If `packed` (from Kernels::pack) is
// set, only the sizes of `weights` are used.
template <class T>
struct DenseRows {
  using C = Compute<T>;
  const C* x;
  std::ptrdiff_t x_stride;
  std::size_t rows;
  const C* packed;  // or null
  WeightsView<T> weights;
  const C* bias;  // one per output, or null
  bool relu;      // whether to apply ReLU to the outputs
  C* outputs;
  std::ptrdiff_t outputs_stride;
  C* scratch;  // Kernels::dense_scratch elements; unused if `packed` is set
};

constexpr std::size_t kLineBytes = 64;  // bytes of a cache line

// The activation of a dense layer. Softmax and log_softmax act on whole rows, all others on single
// elements. The gradients of kLeakyRelu to kSoftplus are computed from the activation's inputs,
// because its outputs do not determine them accurately. All other gradients are computed from its
// outputs.
enum class Activation {
  kNone,
  kRelu,       // max(0, x), NaN propagates, relu(-0) = +0
  kSigmoid,    // 1 / (1 + e^-x)
  kTanh,       // (e^x - e^-x) / (e^x + e^-x)
  kExp,        // e^x
  kLeakyRelu,  // x if x > 0, else option * x; the option is the slope
  kElu,        // x if x > 0, else option * (e^x - 1)
  kSilu,       // x sigmoid(x)
  kGelu,       // x Phi(x), with the standard normal distribution function Phi
  kGeluTanh,   // x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2
  kSoftplus,   // log(1 + e^x)
  kSoftmax,    // e^(z - max) / sum e^(z - max)
  kLogSoftmax  // z - max - log(sum e^(z - max))
};
constexpr std::size_t kElementwise = static_cast<std::size_t>(Activation::kSoftmax);
constexpr std::size_t kActivations = static_cast<std::size_t>(Activation::kLogSoftmax) + 1;

constexpr bool has_gradient_of_inputs(Activation activation) {
  return activation >= Activation::kLeakyRelu && activation <= Activation::kSoftplus;
}

// A layer over transposed rows: element i of row r is at [i * lane_rows + r]. Zeros pad the inputs
// to a multiple of lane_padding.
template <class T>
struct DenseLanes {
  using C = Compute<T>;
  const C* packed;
  const C* bias;  // one per output
  bool relu;
  std::size_t outputs;
  std::size_t inputs;           // at most one block of kernels/dense.h
  const char* ahead = nullptr;  // address to prefetch from, or null
  std::size_t ahead_lines = 0;  // cache lines to prefetch
};

// Rows of n elements, shifted and scaled. The outputs may be the input rows.
template <class From, class T>
struct ScaleRows {
  Rows<const From> x;
  Rows<T> outputs;
  std::size_t rows;
  std::size_t n;
  const double* offset;  // n elements, as is `scale`
  const double* scale;
};

// Whether relu writes into the caches or past them. kStreaming saves reading the memory that is
// overwritten. It applies to contiguous outputs that are not the inputs, and is faster on one
// thread from about kLargeBytes on, which is more than one core's share of most last-level caches.
// Only relu and leaky_relu of floating-point numbers stream: the other functions are limited by
// computing, not by writing.
enum class Stores { kCached, kStreaming };
constexpr std::size_t kLargeBytes = std::size_t{1} << 24;

// output[i] = f(input[i]) for i < n, in ascending order of i. output[i] may overlap input[0], ...,
// input[i].
template <class T>
using ElementwiseKernel = void(Strided<const T> input, Strided<T> output, std::size_t n, Stores stores, double option);

template <class T>
struct Kernels {
  using C = Compute<T>;

  using Elementwise = ElementwiseKernel<T>;
  Elementwise* elementwise[kElementwise];  // by Activation; null for kNone
  __attribute__((always_inline)) Elementwise* of(Activation activation) const {
    return elementwise[static_cast<std::size_t>(activation)];
  }

  // A function of each of `rows` rows of n elements; does nothing if n = 0. The output may be the
  // input.
  using Rowwise = void(const Rows<const T>& input, const Rows<T>& output, std::size_t rows, std::size_t n);
  Rowwise* softmax;
  Rowwise* log_softmax;

  // log(sum e^z) of a row of n elements; -inf if n = 0.
  T (*logsumexp)(Strided<const T> row, std::size_t n);

  // sum x[i] w[i]; 0 if n = 0.
  T (*dot)(Strided<const T> x, Strided<const T> weights, std::size_t n);

  // Converts between storage and contiguous elements of the compute type; narrow rounds to nearest.
  void (*widen)(Strided<const T> input, C* output, std::size_t n);
  void (*narrow)(const C* input, Strided<T> output, std::size_t n);

  // Dense layers.
  //   packed_size    elements of a packed layer
  //   pack           packs weights
  //   unpack         the inverse; writes outputs x inputs elements, row after row
  //   dense_scratch  elements of scratch for unpacked weights
  //   dense          computes rows of outputs
  // For a multiple i of panel_outputs, the outputs from i on are a layer too: its packed weights
  // begin at packed_size(i, inputs).
  std::size_t (*packed_size)(std::size_t outputs, std::size_t inputs);
  void (*pack)(const WeightsView<T>& weights, C* packed);
  void (*unpack)(const C* packed, std::size_t outputs, std::size_t inputs, T* weights);
  std::size_t panel_outputs;
  std::size_t dense_scratch;
  void (*dense)(const DenseRows<T>& rows);

  // `dense` for lane_rows transposed rows, one in each lane, with the same bits. Faster for narrow
  // layers.
  std::size_t lane_rows;
  std::size_t lane_padding;
  void (*dense_lanes)(const DenseLanes<T>& layer, const C* x, C* outputs);
  // outputs[row][i] = input[row][i] for lane_rows rows of n elements; either side may be
  // transposed.
  void (*copy_rows)(Rows<const C> input, Rows<C> output, std::size_t n);

  // outputs[row][i] = (x[row][i] - offset[i]) * scale[i] in double, rounded once to T.
  void (*scale)(const ScaleRows<T, T>& rows);
  void (*scale_doubles)(const ScaleRows<double, T>& rows);
};

// max(0, x) of integers, by size. Unsigned integers are copied.
struct IntegerRelu {
  ElementwiseKernel<std::int8_t>* int8;
  ElementwiseKernel<std::int16_t>* int16;
  ElementwiseKernel<std::int32_t>* int32;
  ElementwiseKernel<std::int64_t>* int64;
  ElementwiseKernel<std::uint8_t>* uint8;
  ElementwiseKernel<std::uint16_t>* uint16;
  ElementwiseKernel<std::uint32_t>* uint32;
  ElementwiseKernel<std::uint64_t>* uint64;
};

// outputs[r][j] = sum over k of a(k, r) b[k][j]. Strides count elements; the elements of b[k] and
// of outputs[r] are contiguous. Outputs must not overlap inputs. The two gradients of a dense layer
// are outer products:
//   of the weights: k = row of the batch, r = output, j = input
//   of the inputs:  k = output, r = row of the batch, j = input
template <class C>
struct OuterProduct {
  const C* a;
  std::ptrdiff_t a_step;  // from k to k + 1
  std::ptrdiff_t a_row;   // from r to r + 1
  const C* b;
  std::ptrdiff_t b_step;
  std::size_t steps;  // values of k, below 2^32
  std::size_t rows;
  std::size_t columns;
  C* outputs;
  std::ptrdiff_t outputs_stride;
  C* scratch;  // Learning::outer_scratch elements
};

// Losses of rows of n outputs, and the gradient with respect to the outputs. cross_entropy has one
// loss term per row, the other losses one per output.
template <class C>
struct LossRows {
  const C* outputs;  // rows x n
  std::size_t rows;
  std::size_t n;
  const std::int64_t* labels;  // for cross_entropy: one per row, from 0 to n - 1; or null
  const C* targets;            // rows x n, if there are no labels
  C option;                    // label_smoothing, pos_weight or delta
  C* losses;                   // one per term
  C* gradients;                // rows x n, or null; must not be `outputs`
  const C* factors;            // multiply the gradient of each term; a factor of 0 makes it 0, NaN included
  C factor;                    // the factor of all terms if `factors` is null
  C smallest;                  // gradient elements of smaller magnitude become 0

  // Rows `row`, ..., row + count - 1, with `terms` loss terms each. Always inlined, like Strided.
  __attribute__((always_inline)) LossRows from(std::size_t row, std::size_t count, std::size_t terms) const {
    LossRows part = *this;
    part.rows = count;
    part.outputs += row * n;
    if (labels != nullptr) part.labels += row;
    if (targets != nullptr) part.targets += row * n;
    part.losses += row * terms;
    if (gradients != nullptr) part.gradients += row * n;
    if (factors != nullptr) part.factors += row * terms;
    return part;
  }
};

// A training step treats parameters, first moments and gradients below this magnitude as 0,
// including gradients with respect to outputs. Otherwise these numbers or their products could
// become subnormal, which is many times slower on some CPUs.
template <class C>
constexpr C kLeastGradient = static_cast<C>(sizeof(C) == 4 ? 0x1p-100 : 0x1p-900);

//   g = gradient + decay p
//   v = momentum v + g
//   p -= rate (nesterov ? g + momentum v : v)
// `velocity` may be null if momentum is 0.
template <class C>
struct SgdStep {
  C* parameters;
  C* velocity;
  const C* gradient;
  std::size_t n;
  C rate;
  C momentum;
  C decay;
  bool nesterov;
};

//   p *= shrink
//   g = gradient + decay p
//   m += (1 - beta_1)(g - m)
//   v += (1 - beta_2)(g^2 - v)
//   p -= v == 0 ? 0 : rate m / (sqrt(v) root_scale + epsilon)
template <class C>
struct AdamStep {
  C* parameters;
  C* first_moment;
  C* second_moment;
  const C* gradient;
  std::size_t n;
  C rate;        // learning rate / (1 - beta_1^t) in step t
  C root_scale;  // 1 / sqrt(1 - beta_2^t)
  C rest_1;      // 1 - beta_1
  C rest_2;      // 1 - beta_2
  C epsilon;
  C decay;
  C shrink;
};

// Kernels for training, in the compute types.
template <class C>
struct Learning {
  std::size_t (*outer_scratch)(const OuterProduct<C>& product);
  void (*outer_product)(const OuterProduct<C>& product);

  using Loss = void(const LossRows<C>& rows);
  Loss* cross_entropy;         // -sum t log(softmax(z)), by labels or probabilities; 0 if n = 0; option: label_smoothing
  Loss* binary_cross_entropy;  // (1 - y) log(1 + e^z) + option y log(1 + e^-z)
  Loss* squared_error;         // (z - y)^2
  Loss* absolute_error;        // |z - y|
  Loss* huber;                 // d = z - y; d^2 / 2 if |d| <= option, else option (|d| - option / 2)
  Loss* poisson;               // e^z - y z

  // Backpropagates through an activation, in place: from the gradient with respect to its outputs
  // to the one with respect to its inputs, for n contiguous elements. `values` are the activation's
  // inputs if has_gradient_of_inputs, else its outputs.
  using ActivationGradient = void(const C* values, C* gradients, std::size_t n, double option);
  ActivationGradient* activation_gradient[kElementwise];  // by Activation; null for kNone
  __attribute__((always_inline)) ActivationGradient* of(Activation activation) const {
    return activation_gradient[static_cast<std::size_t>(activation)];
  }
  // Backpropagate through softmax, p (g - sum p g), and log_softmax, g - e^y sum g, in place, for
  // contiguous rows of n outputs.
  void (*softmax_gradient)(const C* outputs, C* gradients, std::size_t rows, std::size_t n);
  void (*log_softmax_gradient)(const C* outputs, C* gradients, std::size_t rows, std::size_t n);

  void (*sgd)(const SgdStep<C>& step);
  void (*adam)(const AdamStep<C>& step);
};

struct KernelTable {
  const char* target;
  Kernels<Half> float16;
  Kernels<float> float32;
  Kernels<double> float64;
  IntegerRelu integer_relu;
  Learning<float> learning32;
  Learning<double> learning64;

  template <class C>
  const Learning<C>& learning() const {
    if constexpr (std::is_same_v<C, float>) {
      return learning32;
    } else {
      return learning64;
    }
  }

  template <class T>
  const Kernels<T>& of() const {
    if constexpr (std::is_same_v<T, Half>) {
      return float16;
    } else if constexpr (std::is_same_v<T, float>) {
      return float32;
    } else {
      return float64;
    }
  }
};

}  // namespace nnkernels
