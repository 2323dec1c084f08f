"""SciPy's own tests of softmax, log_softmax, logsumexp and expit, run on nnkernels.

SciPy's test modules need its fixtures and marks, so they run under pytest in a separate process.
There this file is a plugin, which replaces SciPy's functions after the modules are collected. A
test of a feature that nnkernels lacks is skipped at the call, with the reason. Nothing else may be
skipped.
"""

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import nnkernels as nnk

MODULES = ("scipy.special.tests.test_logsumexp", "scipy.special.tests.test_logit")

# Tests of other functions.
OTHER_TESTS = "not test_wrap_radians and not TestLogit and not TestLogExpit"

NO_WEIGHTS = "nnkernels has neither weights nor signs in logsumexp"
NO_COMPLEX = "nnkernels has no complex functions"
NO_LONGDOUBLE = "nnkernels has no longdouble functions"

# Tests of which at least one variant must run to its end.
COMPLETE = {
    "TestExpit": {"test_float32", "test_float64"},
    "TestLogSumExp": {
        "test_logsumexp",
        "test_xp_invalid_input",
        "test_array_like",
        "test_dtypes_a",
        "test_gh18295",
        "test_gh22601_infinite_elements",
    },
    "TestSoftmax": {
        "test_softmax_fixtures",
        "test_softmax_multi_axes",
        "test_softmax_int_array",
        "test_softmax_scalar",
        "test_softmax_array_like",
    },
    "TestLogSoftmax": {
        "test_log_softmax_basic",
        "test_log_softmax_int_array",
        "test_log_softmax_scalar",
        "test_log_softmax_array_like",
        "test_log_softmax_translation",
        "test_log_softmax_noneaxis",
        "test_axes",
        "test_log_softmax_2d_axis1",
        "test_log_softmax_2d_axis0",
        "test_log_softmax_3d",
    },
}


def as_supported(x: Any) -> np.ndarray[Any, np.dtype[Any]]:
    array = np.asarray(x)
    if array.dtype.kind == "c":
        pytest.skip(NO_COMPLEX)
    if array.dtype.char == "g":
        pytest.skip(NO_LONGDOUBLE)
    return array


def like_scipy(function: Callable[..., Any], reduces: bool) -> Callable[..., Any]:
    """Give a function SciPy's signature: several axes, or None for all, are merged into one."""

    def adapted(
        a: Any, axis: int | tuple[int, ...] | None = None, b: Any = None, keepdims: bool = False, return_sign: bool = False
    ) -> Any:
        if b is not None or return_sign:
            pytest.skip(NO_WEIGHTS)
        array = as_supported(a)
        keyword = {"keepdims": keepdims} if reduces else {}
        if isinstance(axis, int):
            return function(array, axis=axis, **keyword)
        axes = tuple(range(array.ndim)) if axis is None else axis
        last = tuple(range(-len(axes), 0))
        moved = np.moveaxis(array, axes, last)
        result = function(moved.reshape(*moved.shape[: array.ndim - len(axes)], -1))
        if not reduces:
            return np.moveaxis(result.reshape(moved.shape), last, axes)[()]  # a scalar for a scalar
        return np.expand_dims(result, axes) if keepdims else result

    return adapted


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Replace SciPy's functions in the modules of the collected tests."""
    ours = {
        "expit": lambda x: nnk.sigmoid(as_supported(x)),
        "softmax": like_scipy(nnk.softmax, reduces=False),
        "log_softmax": like_scipy(nnk.log_softmax, reduces=False),
        "logsumexp": like_scipy(nnk.logsumexp, reduces=True),
    }
    for module in {item.module for item in items}:
        for name in ours.keys() & vars(module).keys():
            setattr(module, name, ours[name])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ElementTree.Element:
    """Run SciPy's tests, and return pytest's report as XML."""
    folder = tmp_path_factory.mktemp("scipy")
    path = folder / "report.xml"
    here = Path(__file__)
    command = [sys.executable, "-m", "pytest", "-q", "-p", here.stem, "-p", "no:cacheprovider", "-c", os.devnull]
    command += ["-W", "error::RuntimeWarning"]  # the kind of warning that nnkernels would raise
    command += ["-k", OTHER_TESTS, f"--junitxml={path}", "--pyargs", *MODULES]
    search = os.pathsep.join(filter(None, [str(here.parent), os.environ.get("PYTHONPATH")]))
    run = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return ElementTree.parse(path).getroot()


def test_no_test_of_scipy_fails_and_the_expected_ones_run_to_their_end(report: ElementTree.Element) -> None:
    complete: dict[str, set[str]] = defaultdict(set)
    for case in report.iter("testcase"):
        if len(case) == 0:  # neither failed nor skipped
            complete[case.attrib["classname"].rpartition(".")[2]].add(case.attrib["name"].partition("[")[0])
    for group, names in COMPLETE.items():
        assert complete[group] >= names, f"of {group}, {names - complete[group]} did not run to their end"


def test_tests_of_scipy_are_skipped_for_known_reasons_only(report: ElementTree.Element) -> None:
    reasons = {skipped.attrib["message"] for skipped in report.iter("skipped")}
    assert reasons <= {NO_WEIGHTS, NO_COMPLEX, NO_LONGDOUBLE}
