// Docstrings of the ufuncs. NumPy puts the signature before them.
#pragma once

namespace nnkernels {

constexpr const char* kReluDoc = R"(Rectified linear unit, element-wise: max(0, x).

Keeps every real dtype, as ``np.maximum(x, 0)`` does; longdouble and complex raise TypeError. Exact.
``relu(-0.0)`` is ``+0.0``; NaN propagates.

Source: V. Nair and G. E. Hinton, "Rectified linear units improve restricted Boltzmann machines", ICML 2010.

Examples
--------
>>> import nnkernels as nnk
>>> nnk.relu([-2.0, -0.5, 0.0, 1.0, 3.0])
array([0., 0., 0., 1., 3.])
)";

constexpr const char* kSigmoidDoc = R"(Logistic sigmoid, element-wise: 1 / (1 + exp(-x)).

float16, float32 and float64 are kept, other real dtypes promote as in ``np.tanh``; longdouble and complex raise
TypeError. Results lie in [0, 1] and are monotone; for large negative x they decrease through the subnormal numbers. The
largest error is below 1 ULP. NaN propagates; no finite input gives a warning.

Source: D. R. Cox, "The regression analysis of binary sequences", JRSS B 20 (1958); the method of computation is in
cpp/kernels/activations.h.

Examples
--------
>>> import nnkernels as nnk
>>> nnk.sigmoid([-2.0, -0.5, 0.0, 1.0, 3.0])
array([0.11920292, 0.37754067, 0.5       , 0.73105858, 0.95257413])
)";

constexpr const char* kTanhDoc = R"(Hyperbolic tangent, element-wise.

float16, float32 and float64 are kept, other real dtypes promote as in ``np.tanh``; longdouble and complex raise
TypeError. Results lie in [-1, 1] and are monotone and odd, bit for bit. The largest error is below 1 ULP, and the bits are the
same on every CPU. NaN propagates.

The method of computation is in cpp/kernels/activations.h.

Examples
--------
>>> import nnkernels as nnk
>>> nnk.tanh([-2.0, -0.5, 0.0, 1.0, 3.0])
array([-0.96402758, -0.46211716,  0.        ,  0.76159416,  0.99505475])
)";

constexpr const char* kExpDoc = "The exponential as softmax computes it, element-wise; for tests.";

constexpr const char* kRowDoc = "The generalized ufunc behind the function of the same name in nnkernels.";

constexpr const char* kDenseDoc = "A generalized ufunc behind nnkernels.dense, one for each activation.";

constexpr const char* kDotDoc = R"(Dot product over the last axis: sum x[i] w[i].

A generalized ufunc: x and w of shape ``(..., n)`` broadcast to a result of shape ``(...)``; 0 where n is 0. float16,
float32 and float64 are kept (float16 is summed in float32 and rounded once), other real dtypes promote as
``np.result_type(x, np.float32)``; longdouble and complex raise TypeError. A mismatch of n is a ValueError.

The order of summation, and with it every bit of the result, depends on n alone: blocks of 1024 elements with
interleaved partial sums, added pairwise (N. J. Higham, "The accuracy of floating point summation", SIAM J. Sci. Comput.
14, 1993). Overflow is reported as ``np.errstate`` says.

Examples
--------
A neuron, with its bias:

>>> import nnkernels as nnk
>>> float(nnk.dot([1.2, 2.5, -1.0], [0.8, -0.5, 1.0]) + 2.0)
0.71
)";

}  // namespace nnkernels
