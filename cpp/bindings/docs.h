// Docstrings of the ufuncs. NumPy adds the signature in front.
#pragma once

namespace nnkernels {

constexpr const char* kReluDoc = R"(Rectified linear unit, element-wise: max(0, x).

Keeps every real dtype, as ``np.maximum(x, 0)`` does; longdouble, complex, object, string and
datetime raise TypeError. Exact. ``relu(-0.0)`` is ``+0.0``; NaN propagates.

Source: V. Nair and G. E. Hinton, "Rectified linear units improve restricted Boltzmann machines",
ICML 2010.

Examples
--------
>>> import nnkernels as nnk
>>> nnk.relu([-2.0, -0.5, 0.0, 1.0, 3.0])
array([0., 0., 0., 1., 3.])
)";

constexpr const char* kSigmoidDoc = R"(Logistic sigmoid, element-wise: 1 / (1 + exp(-x)).

Keeps float16, float32 and float64; other real dtypes promote as in ``np.tanh``; longdouble,
complex, object, string and datetime raise TypeError.

Results lie in [0, 1] and are monotone; for large negative x they underflow gradually. The largest
error is below 1 ULP. NaN propagates; no finite input gives a warning.

Source: D. R. Cox, "The regression analysis of binary sequences", JRSS B 20 (1958). Method of
computation: cpp/kernels/activations.h.

Examples
--------
>>> import nnkernels as nnk
>>> nnk.sigmoid([-2.0, -0.5, 0.0, 1.0, 3.0])
array([0.11920292, 0.37754067, 0.5       , 0.73105858, 0.95257413])
)";

constexpr const char* kTanhDoc = R"(Hyperbolic tangent, element-wise: (exp(x) - exp(-x)) / (exp(x) + exp(-x)).

Keeps float16, float32 and float64; other real dtypes promote as in ``np.tanh``; longdouble,
complex, object, string and datetime raise TypeError.

Results lie in [-1, 1] and are monotone and odd, bit for bit. The largest error is below 1 ULP, and
the bits are the same on every CPU. NaN propagates; no finite input gives a warning.

Source: for float32 a table by the method of S. Gal, "Computing elementary functions: a new approach
for achieving high accuracy and good performance", 1986; for float64 our own derivation. Both are in
cpp/kernels/activations.h.

Examples
--------
>>> import nnkernels as nnk
>>> nnk.tanh([-2.0, -0.5, 0.0, 1.0, 3.0])
array([-0.96402758, -0.46211716,  0.        ,  0.76159416,  0.99505475])
)";

constexpr const char* kExpDoc = R"(Exponential, element-wise: e^x.

Keeps float16, float32 and float64; other real dtypes promote as in ``np.tanh``; longdouble,
complex, object, string and datetime raise TypeError.

Results underflow gradually to 0, and are infinite from 88.73 on (709.79 in float64), without a
warning. The largest error is below 0.57 ULP for normal results in float32, and below 1 ULP
otherwise. NaN propagates.

Source: P. T. P. Tang, "Table-driven implementation of the exponential function in IEEE
floating-point arithmetic", ACM TOMS 15, 1989. Method: cpp/kernels/exp.h.

Examples
--------
>>> import nnkernels as nnk
>>> nnk.exp([-2.0, 0.0, 1.0])
array([0.13533528, 1.        , 2.71828183])
)";

constexpr const char* kSiluDoc = R"(Sigmoid linear unit, or swish, element-wise: x sigmoid(x) = x / (1 + exp(-x)).

Keeps float16, float32 and float64; other real dtypes promote as in ``np.tanh``; longdouble,
complex, object, string and datetime raise TypeError.

The largest error is below 1 ULP, even for the smallest results. ``silu(-0.0)`` and ``silu(-inf)``
are ``-0.0``, ``silu(inf)`` is ``inf``. NaN propagates; no finite input gives a warning.

Source: D. Hendrycks and K. Gimpel, "Gaussian error linear units", 2016. Method:
cpp/kernels/activations.h.

Examples
--------
>>> import nnkernels as nnk
>>> nnk.silu([-2.0, 0.0, 1.0])
array([-0.23840584,  0.        ,  0.73105858])
)";

constexpr const char* kGeluDoc = "A ufunc behind nnkernels.gelu; there is one for each approximation.";

constexpr const char* kSoftplusDoc = R"(Softplus, element-wise: log(1 + exp(x)).

Keeps float16, float32 and float64; other real dtypes promote as in ``np.tanh``; longdouble,
complex, object, string and datetime raise TypeError.

Results are monotone and not negative. The largest error is below 1 ULP, even for the smallest
results. ``softplus(-inf)`` is 0, ``softplus(inf)`` is ``inf``. NaN propagates; no finite input
gives a warning.

Source: C. Dugas et al., "Incorporating second-order functional knowledge for better option
pricing", 2001. Method: cpp/kernels/activations.h.

Examples
--------
>>> import nnkernels as nnk
>>> nnk.softplus([-2.0, 0.0, 1000.0])
array([1.26928011e-01, 6.93147181e-01, 1.00000000e+03])
)";

constexpr const char* kOptionDoc =
    "The ufunc behind the function of the same name in nnkernels: (x, option), the option in float64.";

constexpr const char* kRowDoc = "The generalized ufunc behind the function of the same name in nnkernels.";

constexpr const char* kDenseDoc = "A generalized ufunc behind nnkernels.dense; there is one for each fused activation.";

constexpr const char* kDotDoc = R"(Dot product over the last axis: sum x[i] w[i].

A generalized ufunc: x and w of shape ``(..., n)`` broadcast to a result of shape ``(...)``; 0 if n
is 0. ``out`` may be an operand, or overlap one.

The dtype is ``np.result_type(x, w)`` if both are float16, float32 or float64, and
``np.result_type(x, w, np.float32)`` if one is another real dtype. longdouble, complex, object,
string and datetime raise TypeError. So do masked and sparse arrays, and an ``out`` to which the
result cannot be cast. A mismatch of n is a ValueError.

The order of summation, and so every bit of the result, depends only on n and the dtype. Fewer than
32 products (8 in float64) are one chain of fused multiply-adds in float64. Longer sums are computed
in float32 (float64 for float64): in blocks of 1024 with interleaved partial sums, added pairwise
(N. J. Higham, "The accuracy of floating point summation", SIAM J. Sci. Comput. 14, 1993). The chain
is rounded to float32, except in float64. float16 results are rounded from float32. ``np.errstate``
controls the report of overflow.

Examples
--------
A neuron, with its bias:

>>> import nnkernels as nnk
>>> float(nnk.dot([1.2, 2.5, -1.0], [0.8, -0.5, 1.0]) + 2.0)
0.71
)";

}  // namespace nnkernels
