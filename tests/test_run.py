"""Progress, cancellation, atomic files, and the one-line errors of the whole engine."""

import errno
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mipmap.atomic import sync_folder
from texsynth.errors import EXIT_STATUS, ErrorKind, TexsynthError, bad_input, from_os_error
from texsynth.run import Progress, Run, write_atomically, write_json_atomically

ROOT = Path(__file__).resolve().parent.parent


def heard() -> tuple[Run, list[Progress]]:
    events: list[Progress] = []
    return Run(listener=events.append), events


def test_a_step_reports_the_fraction_of_the_whole_run() -> None:
    run, events = heard()
    with run.stage("expand", 0.2, 0.6):
        run.step(0.5)
    assert [(event.stage, round(event.fraction, 6)) for event in events] == [
        ("expand", 0.2),
        ("expand", 0.4),
        ("expand", 0.6),
    ]


def test_a_step_beyond_its_stage_is_clipped_to_the_stage() -> None:
    run, events = heard()
    with run.stage("expand", 0.2, 0.6):
        run.step(-1)
        run.step(7)
    assert {round(event.fraction, 6) for event in events} == {0.2, 0.6}


def test_remaining_time_is_unknown_at_the_start_and_zero_at_the_end() -> None:
    run, events = heard()
    with run.stage("all", 0, 1):
        pass
    assert events[0].remaining_s is None
    assert events[-1].remaining_s == 0


def test_seconds_of_a_stage_add_up_over_its_visits() -> None:
    run, _ = heard()
    with run.stage("decode", 0, 0.5):
        pass
    first = run.timings["decode"]
    with run.stage("decode", 0.5, 1):
        pass
    assert run.timings["decode"] >= first >= 0


def test_a_failing_stage_still_has_its_seconds_and_reports_no_end() -> None:
    run, events = heard()
    with pytest.raises(KeyError), run.stage("decode", 0, 1):
        raise KeyError
    assert "decode" in run.timings
    assert len(events) == 1


def test_cancelling_from_another_thread_stops_the_next_step() -> None:
    run, _ = heard()
    with pytest.raises(TexsynthError) as caught, run.stage("expand", 0, 1):
        thread = threading.Thread(target=run.cancel)
        thread.start()
        thread.join()
        run.step(0.5)
    assert caught.value.kind is ErrorKind.CANCELLED
    assert "expand" in str(caught.value)


def test_the_preview_travels_with_the_next_event(tmp_path: Path) -> None:
    run, events = heard()
    run.preview = tmp_path / "preview.png"
    run.step(0)
    assert events[0].preview == tmp_path / "preview.png"


def test_an_atomic_write_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.bin", b"old")
    write_atomically(tmp_path / "a.bin", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.bin", b"new")]


def test_an_atomic_write_that_fails_keeps_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    """The file size limit of a child process stands for a full disk; the kernel refuses the write."""
    (tmp_path / "a.bin").write_bytes(b"old")
    script = (
        "import resource, sys; from pathlib import Path; from texsynth.run import write_atomically\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
        "try: write_atomically(Path(sys.argv[1]), bytes(5000))\n"
        "except OSError as error: print(error.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.bin")], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert int(done.stdout) == errno.EFBIG
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.bin", b"old")]


def test_an_atomic_write_into_a_missing_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing" / "a.bin", b"")


def test_json_is_indented_utf8_with_a_final_newline(tmp_path: Path) -> None:
    write_json_atomically(tmp_path / "a.json", {"name": "grès"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"name": "grès"}
    assert (tmp_path / "a.json").read_bytes().endswith(b"}\n")


def test_json_with_nan_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json_atomically(tmp_path / "a.json", {"d": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_syncing_a_missing_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")


def test_an_error_message_is_always_one_line() -> None:
    assert str(TexsynthError(ErrorKind.CORRUPT, "two\n  lines\r\nhere ")) == "two lines here"


def test_bad_input_says_where_what_and_what_would_be_right() -> None:
    error = bad_input(Path("a.png"), "it is 3 x 0 texels", "both sides must be at least 1")
    assert str(error) == "a.png: it is 3 x 0 texels; both sides must be at least 1"
    assert error.kind is ErrorKind.BAD_INPUT


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_is_no_space(code: int) -> None:
    error = from_os_error(OSError(code, "full"), "out/a.png")
    assert error.kind is ErrorKind.NO_SPACE
    assert str(error).startswith("out/a.png: the disk is full")


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EACCES, errno.EIO, errno.EISDIR, errno.EROFS])
def test_any_other_failure_of_a_file_is_bad_input_with_the_reason(code: int) -> None:
    error = from_os_error(OSError(code, "the reason"), "out/a.png")
    assert error.kind is ErrorKind.BAD_INPUT
    assert str(error).startswith("out/a.png: the reason;")


def test_every_kind_of_error_has_an_exit_status() -> None:
    assert set(EXIT_STATUS) == set(ErrorKind)
    assert {EXIT_STATUS[kind] for kind in (ErrorKind.NO_SPACE, ErrorKind.NO_DEVICE)} == {3}
    assert EXIT_STATUS[ErrorKind.BAD_INPUT] == 2
    assert EXIT_STATUS[ErrorKind.CANCELLED] == 130
