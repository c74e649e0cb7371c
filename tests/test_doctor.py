"""`texsynth doctor` on this machine, and on machines that lack something."""

import json
import os
import subprocess
import sys
from pathlib import Path

from texsynth.doctor import Finding, is_ready

ROOT = Path(__file__).resolve().parent.parent


def run_doctor(*arguments: str, cwd: Path, without: str = "") -> subprocess.CompletedProcess[str]:
    """The command in a child process in which the module `without` cannot be imported."""
    code = f"""
import sys
sys.modules.update(dict.fromkeys({without.split()!r}))  # None: importing it raises ModuleNotFoundError
from texsynth.cli import main
sys.exit(main(["doctor", *{list(arguments)!r}]))
"""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_doctor_says_one_line_for_each_thing_and_exits_0_where_nothing_needed_is_missing(tmp_path: Path) -> None:
    done = run_doctor(cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for name in ("Python", "torch", "numba", "cores", "CPU", "memory", "disk", "GL", "EXR", "TensorRT", "CUDA"):
        assert any(name in line for line in lines), name
    assert {line.split()[0] for line in lines} <= {"OK", "no"}
    assert all(line[35] == " " != line[36] for line in lines), "names end before the column of what was found"
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_doctor_as_json_names_what_was_found(tmp_path: Path) -> None:
    done = run_doctor("--json", cwd=tmp_path)
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert findings["Python"]["ok"] is True
    assert findings["Python"]["needed"] is True
    assert findings["disk"]["detail"].endswith("an 8K run wants 3 GB")


def test_a_missing_library_is_named_with_its_remedy_and_status_3(tmp_path: Path) -> None:
    done = run_doctor(cwd=tmp_path, without="cv2")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("MISSING")]
    assert "cv2" in line
    assert line.endswith("run: pip install opencv-python-headless")
    assert done.returncode == 3


def test_missing_torch_is_named_and_the_rest_is_still_examined(tmp_path: Path) -> None:
    done = run_doctor(cwd=tmp_path, without="torch")
    assert any(line.startswith("MISSING torch") for line in done.stdout.splitlines())
    assert "TensorRT" in done.stdout
    assert done.returncode == 3


def test_something_optional_that_is_missing_does_not_keep_the_machine_from_being_ready() -> None:
    present = Finding("torch", True, True, "2.13")
    optional = Finding("CUDA", False, False, "no device", "buy one")
    assert is_ready([present, optional])
    assert not is_ready([present, Finding("disk", False, True, "0.1 GB free")])
    assert optional.line() == "no      CUDA                        no device; buy one"
    assert present.line() == "OK      torch                       2.13"
