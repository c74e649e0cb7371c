"""Generates `texsynth_rpc/v1` from `proto/`: python grpc/generate.py [--check]

The generator is a pinned old grpcio-tools, kept apart from our environment (build/grpc-tools): it wants another
protobuf than we run with, and code from an older generator runs with newer libraries, not the other way round. --check
only says whether the files are what the protos give.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "build" / "grpc-tools"
PINNED = ["grpcio-tools==1.72.2", "setuptools<81"]
OUT = ROOT / "grpc" / "texsynth_rpc" / "v1"
MARK = TOOLS / "installed"
IMPORT = re.compile(r"^from texsynth\.v1 import (\w+)", re.MULTILINE)


def main() -> int:
    """Write what is not up to date."""
    if not (MARK.exists() and MARK.read_text() == repr(PINNED)):
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--target", TOOLS, *PINNED], check=True)
        MARK.write_text(repr(PINNED))
    made = generated()
    stale = [name for name, text in made.items() if not (OUT / name).exists() or (OUT / name).read_text() != text]
    if "--check" in sys.argv[1:]:
        if stale:
            print(f"{OUT}: {', '.join(stale)} differ from the protos; run python grpc/generate.py")
        return 1 if stale else 0
    OUT.mkdir(exist_ok=True)
    for name in stale:
        (OUT / name).write_text(made[name])
        print(OUT / name)
    return 0


def generated() -> dict[str, str]:
    """The text of every file of the package, by name."""
    protos = sorted(str(path) for path in (ROOT / "proto").rglob("*.proto"))
    made = {"__init__.py": '"""Messages and stubs of the service, generated from proto/ by grpc/generate.py."""\n'}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder}",
             f"--pyi_out={folder}", f"--grpc_python_out={folder}", *protos],
            check=True, env=os.environ | {"PYTHONPATH": str(TOOLS)}, cwd=folder,
        )  # fmt: skip
        for path in sorted(Path(folder).rglob("*.py*")):
            made[path.name] = IMPORT.sub(r"from . import \1", path.read_text())
    return made


if __name__ == "__main__":
    sys.exit(main())
