"""The documentation: its examples run as shown, and its reference has every public name."""

import doctest
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import nnkernels as nnk
import nnkernels.sklearn

TOP = Path(__file__).parent.parent
DOCS = TOP / "python" / "docs"
PAGES = {
    path.relative_to(TOP).as_posix(): path.read_text(encoding="utf-8")
    for path in (TOP / "README.md", *sorted(DOCS.rglob("*.md")))
}

# Pages that import one of these are skipped if it is not installed.
FRAMEWORKS = ("keras", "torch")

# The languages of the blocks that run here.
RUN = {"python", "console"}


def blocks(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield each code block's line number, language and text."""
    for block in re.finditer(r"^ *(```+)(\S*)[^\n]*\n(.*?)^ *\1$", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, block.start()) + 1, block[2], block[3]


def languages(text: str) -> set[str]:
    return {language for _, language, _ in blocks(text)}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, of PyTorch's tensors
@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if RUN & languages(text)])
def test_code(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python blocks are doctests with shared names, console blocks commands with their output."""
    text = PAGES[page]
    if sys.platform == "win32" and "```console" in text:
        pytest.skip("the commands are those of a Unix shell")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))  # for Keras's settings
    for framework in FRAMEWORKS:
        if f"import {framework}\n" in text:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pytest.importorskip(framework, exc_type=ImportError)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    names: dict[str, object] = {}
    for line, language, block in blocks(text):
        if language == "python":
            examples = doctest.DocTestParser().get_doctest(block, names, page, page, line)
            assert examples.examples, f"{page}:{line}: no example"
            assert doctest.DocTestRunner().run(examples, clear_globs=False).failed == 0
            names = examples.globs
        elif language == "console":
            check_commands(block, f"{page}:{line}")


def test_ci_runs_all_commands() -> None:
    """.ci/run runs each block of commands. Only the one for Docker is not run."""
    script = TOP / ".ci" / "run"
    if not script.exists():
        pytest.skip("needs .ci/run, which the source distribution does not contain")
    expected = []
    for page, text in PAGES.items():
        found = [language for _, language, _ in blocks(text) if not language.startswith("{")]
        assert set(found) <= RUN | {"sh"}
        expected += [f"block {page} {i + 1}" for i in range(found.count("sh"))]
    assert sorted(re.findall(r"block \S+\.md \d+", script.read_text(encoding="utf-8"))) == sorted(expected)


def check_commands(block: str, place: str) -> None:
    """Run the commands after "$" in a block, and compare their output; "..." matches anything."""
    commands = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    assert commands, f"{place}: no command"
    for command, expected in commands:
        ran = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert doctest.OutputChecker().check_output(expected, ran.stdout, doctest.ELLIPSIS), f"{place}: {command}\n{ran.stdout}"


def test_reference_is_complete() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.md"))
    documented = re.findall(r"auto(?:function|class|exception):: (\w+)", text)
    public = {name for name in nnk.__all__ if name != "__version__"} | set(nnkernels.sklearn.__all__)
    assert sorted(documented) == sorted(public)


def test_readme_leads_to_pages_and_files() -> None:
    pages = re.findall(r"https://nnkernels\.github\.io/nnkernels/([\w/-]+)\.html", PAGES["README.md"])
    assert pages
    files = re.findall(r"https://[\w.]+/nnkernels/nnkernels/(?:blob/)?main/([\w./-]+)", PAGES["README.md"])
    assert files
    paths = [*(DOCS / f"{page}.md" for page in pages), *(TOP / file for file in files)]
    assert [path for path in paths if not path.exists()] == []


def test_readme_and_docs_give_the_same_times() -> None:
    rows = re.findall(r"^\|.*(?:µs|ms)\*\*.*$", PAGES["README.md"], re.MULTILINE)
    assert rows
    assert [row for row in rows if row not in PAGES["python/docs/speed.md"]] == []
