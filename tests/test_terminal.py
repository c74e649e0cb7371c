"""What a run shows while it works, and how signals stop it; every case is a real process with real signals."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from texsynth.terminal import duration

ROOT = Path(__file__).resolve().parent.parent

WORKER = """
import sys, time
from pathlib import Path
from texsynth.errors import EXIT_STATUS, TexsynthError
from texsynth.run import Run
from texsynth.terminal import cancel_on_signals, open_display

steps, as_json = int(sys.argv[1]), "--json" in sys.argv
display = open_display(as_json)
run = Run(listener=display.progress)
try:
    with cancel_on_signals(run, display):
        with run.stage("expand", 0.0, 0.5):
            print("ready", flush=True)
            for step in range(steps):
                run.step(step / steps)
                time.sleep(0.01)
        run.preview = Path("out/preview.png")
        with run.stage("publish", 0.5, 1.0):
            pass
except TexsynthError as error:
    sys.exit(EXIT_STATUS[error.kind])
finally:
    display.close()
"""

STUCK = WORKER.replace("run.step(step / steps)", "pass")


@contextmanager
def started(code: str, *arguments: str, stderr: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """The program once it has said that it is ready; it is ended with the block."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_cancels_at_the_next_step_with_status_130(number: signal.Signals) -> None:
    with started(WORKER, "10000") as process:
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "stopping at the next step" in said


def test_the_second_signal_ends_a_run_that_makes_no_steps_at_once() -> None:
    with started(STUCK, "10000") as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        heard = ""
        while "stopping at the next step" not in heard:
            heard = process.stderr.readline()
            assert heard
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said == "texsynth: stopped at once; run the same command with --resume to go on\n"


def test_a_signal_that_was_ignored_from_the_start_stays_ignored() -> None:
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + WORKER
    with started(code, "50") as process:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_without_a_terminal_there_is_one_line_for_each_stage_and_one_for_the_preview() -> None:
    with started(WORKER, "100") as process:
        _, said = process.communicate(timeout=20)
    lines = said.splitlines()
    assert [line.split(" (")[0] for line in lines] == [
        "texsynth:   0% expand",
        "texsynth:  50% publish",
        "texsynth: preview: out/preview.png",
    ]


def test_json_events_are_one_object_a_line_and_never_go_back() -> None:
    with started(WORKER, "100", "--json") as process:
        _, said = process.communicate(timeout=20)
    events = [json.loads(line) for line in said.splitlines()]
    assert {event["event"] for event in events} == {"progress"}
    assert {"stage", "fraction", "elapsed_s", "remaining_s", "preview"} <= events[0].keys()
    fractions = [event["fraction"] for event in events]
    assert fractions == sorted(fractions)
    assert (events[0]["stage"], events[-1]["stage"], fractions[-1]) == ("expand", "publish", 1.0)
    assert events[-1]["preview"] == "out/preview.png"
    assert len(events) < 20, "hundreds of steps a second are thinned out"


def test_a_terminal_shows_stage_percent_remaining_time_and_preview() -> None:
    ours, theirs = pty.openpty()
    shown = b""
    with started(WORKER, "100", stderr=theirs) as process:
        os.close(theirs)
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:  # Linux reports the end of a terminal as an input/output error
                break
            if not data:
                break
            shown += data
        process.communicate(timeout=20)
    os.close(ours)
    text = shown.decode()
    for part in ("expand", "publish", "100%", "left", "preview: out/preview.png"):
        assert part in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is shown again at the end"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (125, "2 min 05 s"), (4230, "1 h 10 min")],
)
def test_durations_are_written_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words
