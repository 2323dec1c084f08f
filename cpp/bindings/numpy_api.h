// NumPy's C API for all files of the bindings. Only module.cpp imports it.
#pragma once

#include <pybind11/pybind11.h>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL nnkernels_array_api
#define PY_UFUNC_UNIQUE_SYMBOL nnkernels_ufunc_api
#ifndef NNKERNELS_IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#define NO_IMPORT_UFUNC
#endif
#include <numpy/arrayobject.h>
#include <numpy/ufuncobject.h>
#include <unistd.h>

#include "../kernels.h"

namespace nnkernels {

// NumPy's type number of T.
template <class T>
constexpr int kTypeNumber = std::is_same_v<T, Half>    ? NPY_HALF
                            : std::is_same_v<T, float> ? NPY_FLOAT
                                                       : NPY_DOUBLE;

inline PyArrayObject* as_array(pybind11::handle object) { return reinterpret_cast<PyArrayObject*>(object.ptr()); }

// Takes the GIL back. During shutdown, Python ends a thread that asks for the GIL. glibc does so by
// unwinding the stack, so that destructors would touch Python without the GIL. Instead, the thread
// waits here for the end of the process, as in Python 3.14 and later. py::gil_scoped_release does
// not do this.
inline void restore_thread(PyThreadState* state) {
  try {
    PyEval_RestoreThread(state);
  } catch (...) {
    while (true) pause();
  }
}

// Throws the Python error that is set, as a C++ exception.
[[noreturn]] inline void throw_python_error() { throw pybind11::error_already_set(); }

}  // namespace nnkernels
