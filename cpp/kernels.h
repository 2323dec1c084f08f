// The kernels of nnkernels as a table of function pointers: the C++ API, and the contract that every CPU target keeps.
//
// A kernel is written once, in kernels/*.h, over vectors of any width, and instantiated for each CPU target in
// targets/*.cpp. All targets give the same bits, but for the sign and payload of NaN. dispatch.h chooses a table.
//
// Kernels compute with the default floating-point environment: round to nearest, subnormals kept. They may leave any
// exception flag set; floating_point.h guards the caller's. They allocate nothing, throw nothing, and may be called
// from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace nnkernels {

// IEEE binary16, as stored.
struct Half {
  std::uint16_t bits;
};

// The type in which arrays of T are computed: float for Half, T itself otherwise.
template <class T>
using Compute = std::conditional_t<std::is_same_v<T, Half>, float, T>;

// Elements of T that lie `stride` bytes apart, at addresses that are multiples of alignof(T). Always inlined: a target's object
// must not offer the linker its copy of a function that others have too (kernels/lanes.h).
template <class T>
struct Strided {
  T* data;
  std::ptrdiff_t stride;

  __attribute__((always_inline)) bool contiguous() const { return stride == static_cast<std::ptrdiff_t>(sizeof(T)); }

  // The elements from number i on.
  __attribute__((always_inline)) Strided from(std::size_t i) const {
    using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
    return {reinterpret_cast<T*>(reinterpret_cast<Byte*>(data) + static_cast<std::ptrdiff_t>(i) * stride), stride};
  }

  __attribute__((always_inline)) T& operator[](std::size_t i) const { return *from(i).data; }
};

// Rows of elements of T; strides in bytes. Always inlined, as above.
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

// The weights of a layer as the caller has them: row i holds the weights of output i.
template <class T>
struct WeightsView {
  const T* data;
  std::ptrdiff_t output_stride;  // bytes from one output to the next
  std::ptrdiff_t input_stride;   // bytes from one input to the next
  std::size_t outputs;
  std::size_t inputs;
};

// Rows of a dense layer, computed in C: x is rows x inputs, outputs is rows x outputs; within a row the elements lie
// side by side, row strides count elements. Where there are `packed` weights (from Kernels::pack), only the sizes of
// `weights` are used.
template <class T>
struct DenseRows {
  using C = Compute<T>;
  const C* x;
  std::ptrdiff_t x_stride;
  std::size_t rows;
  const C* packed;  // or null
  WeightsView<T> weights;
  const C* bias;  // one an output, or null
  bool relu;      // whether to apply it to the outputs
  C* outputs;
  std::ptrdiff_t outputs_stride;
  C* scratch;  // Kernels::dense_scratch elements; unused where `packed` is given
};

constexpr std::size_t kLineBytes = 64;  // of a cache line

// What a dense layer does to its sums. The last two are of whole rows, the others element by element. From kLeakyRelu to
// kSoftplus the gradient is computed from the activation's inputs: outputs do not tell it, or not exactly. Elsewhere from
// outputs.
enum class Activation {
  kNone,
  kRelu,       // max(0, x), NaN kept, relu(-0) = +0
  kSigmoid,    // 1 / (1 + e^-x)
  kTanh,       // (e^x - e^-x) / (e^x + e^-x)
  kExp,        // e^x
  kLeakyRelu,  // x where x > 0, else option x; the option is the slope
  kElu,        // x where x > 0, else option (e^x - 1)
  kSilu,       // x sigmoid(x)
  kGelu,       // x Phi(x), with the distribution function of a normal random number
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

// A layer whose rows lie across: element i of row r is at [i * lane_rows + r], for lane_rows rows. The inputs of a row are
// followed by zeros up to a multiple of lane_padding.
template <class T>
struct DenseLanes {
  using C = Compute<T>;
  const C* packed;
  const C* bias;  // one an output
  bool relu;
  std::size_t outputs;
  std::size_t inputs;           // at most a block, kernels/dense.h
  const char* ahead = nullptr;  // what to fetch meanwhile,
  std::size_t ahead_lines = 0;  // so many lines of the cache, or none
};

// Rows of n elements, shifted and scaled. The outputs may be the rows themselves.
template <class From, class T>
struct ScaleRows {
  Rows<const From> x;
  Rows<T> outputs;
  std::size_t rows;
  std::size_t n;
  const double* offset;  // n, as the scale
  const double* scale;
};

// Where relu writes contiguous outputs that are not the inputs: to the caches, or past them. The latter spares reading in what
// is overwritten. It is quicker on one thread, and from about kLargeBytes on, more than a core's share of most last caches.
// Only relu and leaky_relu of floating-point numbers can: others take longer to compute than to write.
enum class Stores { kCached, kStreaming };
constexpr std::size_t kLargeBytes = std::size_t{1} << 24;

// output[i] = f(input[i]) for i < n, in the order of i: the output may overlap elements of the input up to its own.
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

  // Over each of `rows` rows of n elements, nothing where n = 0. The output may be the rows themselves, element by element.
  using Rowwise = void(const Rows<const T>& input, const Rows<T>& output, std::size_t rows, std::size_t n);
  Rowwise* softmax;
  Rowwise* log_softmax;

  // log(sum e^z) of a row of n elements; -inf where n = 0.
  T (*logsumexp)(Strided<const T> row, std::size_t n);

  // sum x[i] w[i]; 0 where n = 0.
  T (*dot)(Strided<const T> x, Strided<const T> weights, std::size_t n);

  // Copies between storage and contiguous compute type; narrow rounds to nearest.
  void (*widen)(Strided<const T> input, C* output, std::size_t n);
  void (*narrow)(const C* input, Strided<T> output, std::size_t n);

  // Dense layers. Elements of a packed layer; packing and its inverse, which writes outputs x inputs elements
  // (contiguous rows); elements of scratch that unpacked weights want; rows of outputs from rows of inputs. The
  // outputs from a multiple i of panel_outputs on are a layer too, whose packed weights begin at packed_size(i, inputs).
  std::size_t (*packed_size)(std::size_t outputs, std::size_t inputs);
  void (*pack)(const WeightsView<T>& weights, C* packed);
  void (*unpack)(const C* packed, std::size_t outputs, std::size_t inputs, T* weights);
  std::size_t panel_outputs;
  std::size_t dense_scratch;
  void (*dense)(const DenseRows<T>& rows);

  // The same, with the same bits, for lane_rows rows that lie across, one in each lane: faster for narrow layers.
  std::size_t lane_rows;
  std::size_t lane_padding;
  void (*dense_lanes)(const DenseLanes<T>& layer, const C* x, C* outputs);
  // outputs[row][i] = input[row][i], of lane_rows rows of n elements; either may lie across.
  void (*copy_rows)(Rows<const C> input, Rows<C> output, std::size_t n);

  // outputs[row][i] = (x[row][i] - offset[i]) * scale[i] in double, rounded once to T.
  void (*scale)(const ScaleRows<T, T>& rows);
  void (*scale_doubles)(const ScaleRows<double, T>& rows);
};

// max(0, x) of integers, by size; unsigned ones are copied.
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

// outputs[r][j] = sum over k of a(k, r) b[k][j], for so many rows and columns. Strides count elements; the elements of b[k] and
// of outputs[r] lie side by side. It is both gradients of a dense layer: that of the weights (k: rows of the batch, r: outputs,
// j: inputs), and that of the inputs (k: outputs, r: rows of the batch, j: inputs). Overlapping nothing.
template <class C>
struct OuterProduct {
  const C* a;
  std::ptrdiff_t a_step;  // from k to k + 1
  std::ptrdiff_t a_row;   // from r to r + 1
  const C* b;
  std::ptrdiff_t b_step;
  std::size_t steps;  // of k, below 2^32
  std::size_t rows;
  std::size_t columns;
  C* outputs;
  std::ptrdiff_t outputs_stride;
  C* scratch;  // Learning::outer_scratch elements
};

// Losses of rows of n outputs, and their gradient by these. A term is a row of cross_entropy, and an output otherwise.
template <class C>
struct LossRows {
  const C* outputs;  // rows x n
  std::size_t rows;
  std::size_t n;
  const std::int64_t* labels;  // of cross_entropy, one a row, each in 0, ..., n - 1; or null
  const C* targets;            // rows x n where there are no labels
  C option;                    // label_smoothing, pos_weight or delta
  C* losses;                   // one a term
  C* gradients;                // rows x n, or null; not the outputs
  const C* factors;            // what the gradient of each term is multiplied by; where it is 0, so is the gradient
  C factor;                    // that of all terms where `factors` is null
  C smallest;                  // magnitudes of the gradient below it become 0

  // Rows from `row` on, which have so many terms each. Always inlined, as above.
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

// In a step of an optimizer parameters, gradients and moments below it are taken as 0, and so are gradients by the outputs:
// some CPUs take many times as long for subnormal numbers, which they or their products would be.
template <class C>
constexpr C kLeastGradient = static_cast<C>(sizeof(C) == 4 ? 0x1p-100 : 0x1p-900);

// v = momentum v + g with g = gradient + decay p, then p -= rate (nesterov ? g + momentum v : v). velocity may be null where
// momentum is 0.
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

// p *= shrink; m += (1 - beta_1)(g - m), v += (1 - beta_2)(g^2 - v) with g = gradient + decay p; then
// p -= rate m / (sqrt(v) root_scale + epsilon), but 0 where v is 0.
template <class C>
struct AdamStep {
  C* parameters;
  C* first_moment;
  C* second_moment;
  const C* gradient;
  std::size_t n;
  C rate;        // learning rate / (1 - beta_1^t) in step number t
  C root_scale;  // 1 / sqrt(1 - beta_2^t)
  C rest_1;      // 1 - beta_1
  C rest_2;      // 1 - beta_2
  C epsilon;
  C decay;
  C shrink;
};

// Kernels of learning, in the compute types.
template <class C>
struct Learning {
  std::size_t (*outer_scratch)(const OuterProduct<C>& product);
  void (*outer_product)(const OuterProduct<C>& product);

  using Loss = void(const LossRows<C>& rows);
  Loss* cross_entropy;         // -sum t log(softmax(z)), by labels or probabilities; 0 if n = 0; option: label_smoothing
  Loss* binary_cross_entropy;  // (1 - y) log(1 + e^z) + option y log(1 + e^-z)
  Loss* squared_error;         // (z - y)^2
  Loss* absolute_error;        // |z - y|
  Loss* huber;                 // d^2 / 2 where |d| <= option, elsewhere option (|d| - option / 2), with d = z - y
  Loss* poisson;               // e^z - y z

  // From the gradient by an activation's outputs to that by its inputs, in place, in so many contiguous elements. The values
  // are the activation's inputs where has_gradient_of_inputs, else its outputs.
  using ActivationGradient = void(const C* values, C* gradients, std::size_t n, double option);
  ActivationGradient* activation_gradient[kElementwise];  // by Activation; null for kNone
  __attribute__((always_inline)) ActivationGradient* of(Activation activation) const {
    return activation_gradient[static_cast<std::size_t>(activation)];
  }
  // The same of contiguous rows of n outputs: p (g - sum p g) and g - e^y sum g.
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
