"""Runs in processes of their own, to be killed, without the seconds in which each would load the libraries.

They are forked from a process that has loaded them and done nothing else: no thread of theirs runs yet.
"""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

from texsynth.fault import VARIABLE
from texsynth.options import Options
from texsynth.restyle import synthesize
from texsynth.run import Run


def synthesized(exemplar: Path, out: Path, options: Options, fault: str) -> int:
    """Exit status of a process that synthesises with TEXSYNTH_FAULT set to `fault`; negative: the signal's number."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_synthesize, args=(exemplar, out, options, fault))
    process.start()
    process.join(300)
    assert process.exitcode is not None, "it ends"
    return process.exitcode


def _synthesize(exemplar: Path, out: Path, options: Options, fault: str) -> None:
    os.environ[VARIABLE] = fault
    synthesize(exemplar, out, options, Run())
