"""Commands and runs in processes of their own, without the seconds in which each would load the libraries.

They are forked from a process that has loaded them and done nothing else: no thread of theirs runs yet.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from texsynth.cli import main
from texsynth.fault import VARIABLE
from texsynth.options import Options
from texsynth.restyle import synthesize
from texsynth.run import Run

# By the names of the installed package: before Python 3.12.8 the process that loads them finds nothing in this folder,
# and says nothing of it.
LOADED = ["texsynth.cli", "texsynth.mips", "texsynth.restyle", "texsynth.bake.command", "texsynth_rpc.server"]
PATIENCE = 300.0  # seconds


def texsynth(
    *arguments: object,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """What `texsynth ARGUMENTS` prints, and its exit status; negative: a signal's number.

    cwd, environment: its folder and all its variables; None: those of this process. without: packages that it does not
    find, none of those that are loaded.
    """
    words = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder) / name for name in ("stdout", "stderr")]
        status = _forked(_command, words, cwd or Path.cwd(), dict(environment or os.environ), without, said)
        return subprocess.CompletedProcess(words, status, *(path.read_text() for path in said))


def synthesized(exemplar: Path, out: Path, options: Options, fault: str) -> int:
    """Exit status of a process that synthesises with TEXSYNTH_FAULT set to `fault`; negative: the signal's number."""
    return _forked(_synthesize, exemplar, out, options, fault)


def _forked(work: Callable[..., None], *arguments: Any) -> int:
    """Exit status of a process that does `work`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    process = context.Process(target=work, args=arguments)
    process.start()
    process.join(PATIENCE)
    assert process.exitcode is not None, "it ends"
    return process.exitcode


def _command(
    words: list[str], cwd: Path, environment: dict[str, str], without: Sequence[str], said: list[Path]
) -> None:
    assert not set(without) & set(sys.modules)
    sys.modules |= dict.fromkeys(without)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(said, start=1):
        path.touch()
        os.dup2(os.open(path, os.O_WRONLY), number)
    sys.exit(main(words))


def _synthesize(exemplar: Path, out: Path, options: Options, fault: str) -> None:
    os.environ[VARIABLE] = fault
    synthesize(exemplar, out, options, Run())
