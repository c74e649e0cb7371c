"""The repository as a whole: packaging, the import rules between packages, and the commands that the README names."""

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from texsynth.doctor import LIBRARIES

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BENCHMARKS = sorted(path for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text())


def run_python(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_import_grpc_from_the_repository_root_is_grpcio() -> None:
    code = "import grpc; print(grpc.__file__); grpc.insecure_channel"
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    assert not Path(done.stdout.strip()).is_relative_to(ROOT / "grpc")


def test_the_source_root_grpc_is_not_a_package() -> None:
    assert not (ROOT / "grpc" / "__init__.py").exists()


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    done = run_python("-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder))
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_four_packages(wheel_names: list[str]) -> None:
    packages = {name.split("/")[0] for name in wheel_names if name.endswith("/__init__.py") and name.count("/") == 1}
    assert packages == {"texsynth", "mipmap", "plugin_bridge", "texsynth_rpc"}


def test_the_wheel_holds_every_module_and_no_tests(wheel_names: list[str]) -> None:
    sources = {
        path.relative_to(source_root).as_posix()
        for source_root, package in ((ROOT, "texsynth"), (ROOT, "mipmap"), (ROOT / "grpc", "texsynth_rpc"))
        for path in (source_root / package).rglob("*.py")
    }
    assert sources <= set(wheel_names)
    assert not [name for name in wheel_names if name.startswith(("tests/", "benchmarks/", "grpc/"))]


def test_the_wheel_installs_the_command(wheel_names: list[str]) -> None:
    assert any(name.endswith(".dist-info/entry_points.txt") for name in wheel_names)


def test_mipmap_imports_without_torch_and_without_texsynth() -> None:
    code = """
import importlib, pkgutil, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "texsynth", "texsynth_rpc", "plugin_bridge"}:
            raise ImportError(f"mipmap must not import {name}")

sys.meta_path.insert(0, Refuse())
import mipmap
for module in pkgutil.walk_packages(mipmap.__path__, "mipmap."):
    importlib.import_module(module.name)
print(sorted(name for name in sys.modules if name.split(".")[0] in {"torch", "texsynth"}))
"""
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_every_library_that_is_imported_is_a_declared_dependency() -> None:
    extras = [line for name, lines in PROJECT["optional-dependencies"].items() if name != "test" for line in lines]
    declared = {normalised(re.split(r"[<>=\[ ]", line)[0]) for line in [*PROJECT["dependencies"], *extras]}
    brought_by = importlib.metadata.packages_distributions()
    ours = {"texsynth", "mipmap", "plugin_bridge", "texsynth_rpc"}
    for package in ("texsynth", "mipmap", "plugin_bridge", "grpc/texsynth_rpc"):
        for path in (ROOT / package).rglob("*.py"):
            for module in imported_modules(path) - ours - set(sys.stdlib_module_names):
                distributions = {normalised(name) for name in brought_by.get(module, ["tensorrt"])}
                assert distributions & (declared | {"tensorrt"}), f"{path.name} imports {module}"


def imported_modules(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module.split(".")[0])
    return modules


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_doctor_examines_declared_dependencies_only() -> None:
    extras = [line for name, lines in PROJECT["optional-dependencies"].items() if name != "test" for line in lines]
    declared = {normalised(re.split(r"[<>=\[ ]", line)[0]) for line in [*PROJECT["dependencies"], *extras]}
    assert {normalised(distribution) for _, distribution, _ in LIBRARIES} <= declared


def test_the_command_line_imports_neither_torch_nor_numpy() -> None:
    done = run_python("-c", "import sys, texsynth.cli; print({'torch', 'numpy', 'numba', 'cv2'} & set(sys.modules))")
    assert done.stdout.strip() == "set()", done.stderr


@pytest.fixture(scope="module")
def helped() -> dict[str, tuple[int, str]]:
    """Status and output of every benchmark with --help, all run by one process, which loads the libraries once."""
    code = """
import contextlib, io, json, runpy, sys, traceback
answers = {}
sys.path.insert(0, "benchmarks")
for name in sys.argv[1:]:
    said, status, sys.argv = io.StringIO(), 0, [name, "--help"]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            runpy.run_path(name, run_name="__main__")
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            status = 1
            traceback.print_exc()
    answers[name] = status, said.getvalue()
print(json.dumps(answers))
"""
    done = run_python("-c", code, *map(str, BENCHMARKS))
    assert done.returncode == 0, done.stderr
    return {name: (status, said) for name, (status, said) in json.loads(done.stdout).items()}


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda path: path.stem)
def test_every_benchmark_answers_help(benchmark: Path, helped: dict[str, tuple[int, str]]) -> None:
    status, said = helped[str(benchmark)]
    assert status == 0, said
    assert "usage" in said.lower()


def test_every_make_command_of_the_readme_exists() -> None:
    named = set(re.findall(r"^make ([a-z]+)", "\n".join(code_of_readme()), flags=re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_every_texsynth_command_of_the_readme_exists() -> None:
    named = set(re.findall(r"^texsynth ([a-z][a-z-]+)", "\n".join(code_of_readme()), flags=re.MULTILINE))
    cli = (ROOT / "texsynth" / "cli.py").read_text()
    known = {a or b for a, b in re.findall(r'@app\.command\("([a-z-]+)"\)|typer\.Typer\(name="([a-z-]+)"', cli)}
    assert {"restyle", "synthesize"} <= named <= known


def test_every_link_of_the_readme_leads_to_a_file() -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", (ROOT / "README.md").read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


def code_of_readme() -> list[str]:
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    without_blocks = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return blocks + re.findall(r"`([^`\n]+)`", without_blocks)


def test_the_install_scripts_and_ci_are_valid_and_executable() -> None:
    for script in (ROOT / ".ci" / "run", *(ROOT / "scripts").glob("*.sh")):
        assert script.stat().st_mode & 0o111, f"{script} is not executable"
        assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def test_make_names_its_targets_when_called_without_any() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"make demo", "make test", "make clean"} <= {line[:10].strip() for line in done.stdout.splitlines()}
