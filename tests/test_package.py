"""The installed package: documentation, imports, metadata, types."""

import doctest
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import nnkernels as nnk

MODULES = [name for _, name, _ in pkgutil.walk_packages(nnk.__path__, "nnkernels.") if name != "nnkernels.__main__"]


@pytest.mark.parametrize("name", ["nnkernels", *MODULES])
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0
    for ufunc in (value for value in vars(module).values() if isinstance(value, np.ufunc)):
        examples = doctest.DocTestParser().get_doctest(ufunc.__doc__ or "", {}, ufunc.__name__, None, 0)
        assert doctest.DocTestRunner().run(examples).failed == 0


def test_every_public_name_is_documented_with_an_example() -> None:
    for name in set(nnk.__all__) - {"__version__"}:
        text = inspect.getdoc(getattr(nnk, name)) or ""
        assert len(text) > 60, name
        if name not in ("show_config", "get_num_threads"):
            assert ">>>" in text, name


@pytest.mark.parametrize("function", [nnk.softmax, nnk.dense, nnk.load], ids=lambda function: function.__name__)
def test_sections_of_docstrings(function: Callable[..., object]) -> None:
    lines = (inspect.getdoc(function) or "").splitlines()
    sections = [line for line, rule in pairwise(lines) if rule == "-" * len(line) != ""]
    assert [section for section in sections if section != "Notes"] == ["Parameters", "Returns", "Raises", "Examples"]


# NumPy 2.4 and later give ufuncs a signature.
@pytest.mark.parametrize(
    "name", sorted(name for name in set(nnk.__all__) - {"__version__"} if not isinstance(getattr(nnk, name), np.ufunc))
)
def test_signatures_are_short(name: str) -> None:
    """help() starts with the signature, which has the names of unions, not their members."""
    signature = inspect.signature(getattr(nnk, name))
    assert len(str(signature)) < 40 * max(5, len(signature.parameters))


def test_config(capsys: pytest.CaptureFixture[str]) -> None:
    config = nnk.config()
    assert set(config) == {"version", "target", "targets", "threads", "compiler"}
    assert config["target"] in config["targets"]
    assert config["targets"][0] == "generic"
    assert config["version"] == nnk.__version__ == importlib.metadata.version("nnkernels")
    nnk.show_config()
    printed = capsys.readouterr().out
    for key, value in config.items():
        assert key in printed
        assert str(value if not isinstance(value, list) else value[-1]) in printed


def test_dependencies() -> None:
    required = importlib.metadata.requires("nnkernels") or []
    names = {re.split(r"[^\w-]", requirement)[0] for requirement in required if "extra ==" not in requirement}
    assert names == {"numpy", "safetensors", "tqdm"}


def test_import_is_light() -> None:
    code = "import numpy, sys; before = set(sys.modules); import nnkernels; print(*sorted(set(sys.modules) - before))"
    added = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = [name for name in added if not name.startswith("nnkernels")]
    assert not {"safetensors", "tqdm", "argparse", "dataclasses", "multiprocessing", "pathlib"} & set(heavy), heavy


def test_loading_a_network_imports_no_reader_of_others(tmp_path: Path) -> None:
    nnk.Network([nnk.Dense([1.0])]).save(tmp_path / "net.safetensors")
    code = (
        "import nnkernels, sys; nnkernels.load(sys.argv[1]); print(*sorted(name for name in sys.modules if 'models' in name))"
    )
    ran = subprocess.run([sys.executable, "-c", code, tmp_path / "net.safetensors"], capture_output=True, text=True, check=True)
    assert ran.stdout == "\n"


# Fails to import, since NumPy's import is interrupted.
INTERRUPTED_IMPORT = """
import sys
class Interruption:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interruption())
try:
    import nnkernels
except KeyboardInterrupt:
    print("interrupted")
"""


def test_interruption_of_the_import() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_IMPORT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


def test_typed() -> None:
    spec = importlib.util.find_spec("nnkernels")
    assert spec is not None
    assert spec.origin is not None
    assert (Path(spec.origin).parent / "py.typed").exists()
    assert (Path(spec.origin).parent / "_core.pyi").exists()
