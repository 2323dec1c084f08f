"""scikit-learn's own tests of its MLP, and its estimator checks, run on nnkernels.sklearn.

scikit-learn's test module needs its fixtures, so it runs under pytest in a separate process. There
this file is a plugin, which replaces scikit-learn's classes before the module is imported. Only
tests of private names are left out, each with its reason.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import sklearn.neural_network
from sklearn.utils.estimator_checks import parametrize_with_checks

from nnkernels.sklearn import MLPClassifier, MLPRegressor

MODULE = "sklearn.neural_network.tests.test_mlp"

# scikit-learn's tests of private names: the name, and the test in test_sklearn.py that uses public
# names.
PRIVATE = {
    "test_gradient": "_loss_grad_lbfgs, a function for SciPy. In its place: test_loss_of_lbfgs_is_that_of_scikit_learn",
}

if Path(__file__).stem in os.environ.get("PYTEST_PLUGINS", "").split(","):
    sklearn.neural_network.MLPClassifier = MLPClassifier
    sklearn.neural_network.MLPRegressor = MLPRegressor


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[ElementTree.Element]]:
    """Run scikit-learn's tests, and return the cases in pytest's report by test name."""
    folder = tmp_path_factory.mktemp("sklearn")
    here = Path(__file__)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    # scikit-learn's configuration makes only deprecations errors.
    command += ["-W", "error", "-W", "ignore::sklearn.exceptions.ConvergenceWarning"]
    command += [f"--junitxml={folder / 'report.xml'}", "--pyargs", MODULE]
    search = os.pathsep.join(filter(None, [str(here.parent), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": search, "PYTEST_PLUGINS": here.stem}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode in (0, 1), run.stdout + run.stderr
    found: dict[str, list[ElementTree.Element]] = {}
    for case in ElementTree.parse(folder / "report.xml").iter("testcase"):
        found.setdefault(case.attrib["name"].partition("[")[0], []).append(case)
    return found


def texts(cases: list[ElementTree.Element]) -> list[str]:
    """Return the reasons why cases failed or were skipped."""
    return [f"{case.attrib['name']}: {outcome.attrib.get('message')}\n{outcome.text}" for case in cases for outcome in case]


def test_scikit_learns_tests_pass(report: dict[str, list[ElementTree.Element]]) -> None:
    assert len(report) >= 40
    failed = [text for name, cases in report.items() if name not in PRIVATE for text in texts(cases)]
    assert not failed, "\n\n".join(failed)


@pytest.mark.parametrize("name", PRIVATE)
def test_tests_left_out_fail_by_a_private_name(name: str, report: dict[str, list[ElementTree.Element]]) -> None:
    private = PRIVATE[name].partition(",")[0]
    found = texts(report[name])
    assert found
    for text in found:
        assert f"has no attribute '{private}'" in text


# --- Checks of estimators ---


def estimators() -> list[Any]:
    """Return both classes with each solver; fits are short, as in scikit-learn's own checks."""
    found: list[Any] = [MLPClassifier(), MLPRegressor()]
    for make in (MLPClassifier, MLPRegressor):
        found += [make(solver="sgd", learning_rate_init=0.05, max_iter=50), make(solver="lbfgs", alpha=0.01, max_iter=30)]
    return [*found, MLPRegressor(loss="poisson", learning_rate_init=0.01, max_iter=50)]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(estimators())
def test_checks_of_estimators(estimator: Any, check: Any) -> None:
    check(estimator)


def test_no_check_is_left_out() -> None:
    """No estimator tag excludes a check."""
    for estimator in estimators():
        tags = estimator.__sklearn_tags__()
        assert not any((tags._skip_test, tags.no_validation, tags.non_deterministic))
