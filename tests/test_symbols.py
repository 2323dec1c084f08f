"""The build's check of the targets' objects (cpp/targets/check_symbols.cmake) rejects bad ones."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "cpp" / "targets" / "check_symbols.cmake"
# pip installs cmake beside Python.
SEARCHED = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
CMAKE, COMPILER, AR, NM = (shutil.which(tool, path=SEARCHED) for tool in ("cmake", os.environ.get("CXX", "c++"), "ar", "nm"))

pytestmark = pytest.mark.skipif(None in (CMAKE, COMPILER, AR, NM), reason="needs cmake, a C++ compiler, ar and nm")

TABLE = """
namespace {
template <class T> T twice(T x) { return x + x; }
float kernel(float x) { return twice(x); }
struct Table { float (*kernel)(float); };
constexpr Table table{kernel};
}
const void* fake_table() { return &table; }
"""


def check(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Compile code to a library, and run the check on it."""
    source, library = folder / "fake.cpp", folder / "libfake.a"
    source.write_text(code)
    subprocess.run([COMPILER, "-O2", "-c", source, "-o", source.with_suffix(".o")], check=True)
    subprocess.run([AR, "rcs", library, source.with_suffix(".o")], check=True)
    return run_script(NM, library)


def run_script(nm: str | None, library: Path) -> subprocess.CompletedProcess[str]:
    defined = [f"-DNM={nm}", f"-DLIBRARY={library}", "-DTABLE=fake_table"]
    return subprocess.run([CMAKE, *defined, "-P", SCRIPT], capture_output=True, text=True, check=False)


def test_only_the_table(tmp_path: Path) -> None:
    finished = check(TABLE, tmp_path)
    assert finished.returncode == 0, finished.stderr


USE = "namespace { __attribute__((used)) auto* use = &shared; }"


@pytest.mark.parametrize(
    "code",
    [
        "inline float shared(float x) { return x; }" + USE,
        "template <class T> T shared(T x) { return x; } template float shared(float);",
        "struct Base { virtual ~Base() {} } shared;",
        "inline int shared = 3;" + USE,
        "inline int& shared() { static int count = 0; return count; }" + USE,
        "float shared(float x) { return x; }",
        "int shared = 3;",
        "int shared;",
    ],
)
def test_what_the_linker_could_share(code: str, tmp_path: Path) -> None:
    finished = check(TABLE + code, tmp_path)
    assert finished.returncode != 0
    assert "shared" in finished.stderr


def test_what_runs_when_the_program_starts(tmp_path: Path) -> None:
    finished = check(TABLE + "int initial(); namespace { __attribute__((used)) int number = initial(); }", tmp_path)
    assert finished.returncode != 0
    assert "starts" in finished.stderr


def test_no_table(tmp_path: Path) -> None:
    finished = check(TABLE.replace("fake_table", "another"), tmp_path)
    assert finished.returncode != 0
    assert "fake_table once" in " ".join(finished.stderr.split())


MICROSOFT = """
struct Table { const char* name; double (*kernel)(double); };
namespace { double kernel(double x) { return x * 3.25; } }
const Table& fake_table() { static constexpr Table table{"fake", kernel}; return table; }
"""


@pytest.mark.skipif(shutil.which("clang++") is None, reason="needs Clang")
@pytest.mark.parametrize(("code", "status"), [("", 0), ("inline double shared(double x) { return x; }" + USE, 1)])
def test_an_object_for_microsofts_linker(code: str, status: int, tmp_path: Path) -> None:
    source = tmp_path / "fake.cpp"
    source.write_text(MICROSOFT + code)
    library = source.with_suffix(".obj")
    command = ["clang++", "--target=x86_64-pc-windows-msvc", "-O2", "-std=c++17", "-c", source, "-o", library]
    subprocess.run(command, check=True)
    # Clang's own nm knows the format on all CPUs.
    asked = subprocess.run(["clang++", "-print-prog-name=llvm-nm"], capture_output=True, text=True, check=True)
    finished = run_script(shutil.which(asked.stdout.strip()) or NM, library)
    assert finished.returncode == status, finished.stderr
