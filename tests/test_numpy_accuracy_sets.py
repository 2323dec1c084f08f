"""NumPy's accuracy sets for tanh and exp, from its wheel, against our promised errors.

A line of a set is ``dtype,input,output,tolerance``: the bits of input and output in hexadecimal.
The output is rounded from higher precision. The tolerance, in ULP, is for NumPy's functions, and
unused here. Blank lines and lines that start with # or $ are skipped; the first other line is the
header.
"""

from importlib import resources
from typing import Any

import numpy as np
import pytest

import nnkernels as nnk
from ulp import ulp_error

FUNCTIONS = {"exp": nnk.exp, "tanh": nnk.tanh}

# Promised errors in ULP. The outputs in a set are rounded, too.
PROMISED = {np.float32: 0.8, np.float64: 1.0}
PROMISED_NORMAL_EXP = 0.57  # for normal float32 results
ROUNDING_OF_THE_SET = 0.5

# The minimum number of values, so that a set that is misread fails.
LEAST_SIZES = {("exp", np.float32): 129, ("exp", np.float64): 238, ("tanh", np.float32): 714, ("tanh", np.float64): 714}


def read(name: str, dtype: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the inputs and outputs of one dtype in a set."""
    path = resources.files("numpy") / "_core" / "tests" / "data" / f"umath-validation-set-{name}.csv"
    lines = [line for line in path.read_text().splitlines() if line and line[0] not in "#$"]
    assert lines[0] == "dtype,input,output,ulperrortol"
    rows = [line.split(",") for line in lines[1:]]
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    wanted = f"np.{np.dtype(dtype).name}"
    bits = np.array([[int(row[1], 16), int(row[2], 16)] for row in rows if row[0] == wanted], unsigned)
    inputs, outputs = np.ascontiguousarray(bits.T).view(dtype)
    return inputs, outputs


@pytest.mark.parametrize("dtype", PROMISED)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_is_within_the_promise(name: str, dtype: Any) -> None:
    inputs, outputs = read(name, dtype)
    assert inputs.size >= LEAST_SIZES[name, dtype]
    error = ulp_error(FUNCTIONS[name](inputs), outputs)
    if name == "exp" and dtype is np.float32:
        assert error[outputs >= np.finfo(dtype).tiny].max() <= PROMISED_NORMAL_EXP + ROUNDING_OF_THE_SET
    worst = error.argmax()
    assert error[worst] <= PROMISED[dtype] + ROUNDING_OF_THE_SET, f"{name}({inputs[worst]!r}): {error[worst]} ULP"
