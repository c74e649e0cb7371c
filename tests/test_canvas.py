"""Maps as raw files: what is written is read back, memory stays flat, and full disks show at once."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from texsynth.canvas import Canvas
from texsynth.errors import ErrorKind, TexsynthError
from texsynth.material import MapKind

ROOT = Path(__file__).resolve().parent.parent


def filled(path: Path, height: int = 12, width: int = 7, channels: int = 3, dtype: Any = np.uint8) -> Any:
    canvas = Canvas.create(path, MapKind.ALBEDO, height, width, channels, dtype)
    texels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)
    canvas.write_rows(0, texels)
    return canvas, texels


def test_a_new_canvas_is_zero_everywhere_and_has_its_whole_size_on_disk(tmp_path: Path) -> None:
    canvas = Canvas.create(tmp_path / "a.raw", MapKind.NORMAL, 300, 200, 3, np.uint16)
    assert not canvas.read_rows(0, 300).any()
    status = canvas.path.stat()
    assert status.st_size == canvas.nbytes == 300 * 200 * 3 * 2
    assert status.st_blocks * 512 >= canvas.nbytes


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rows_are_read_back_as_written(tmp_path: Path, dtype: Any) -> None:
    canvas, texels = filled(tmp_path / "a.raw", dtype=dtype)
    assert (canvas.read_rows(0, 12) == texels).all()
    assert (canvas.read_rows(5, 6) == texels[5:6]).all()


def test_reading_no_rows_gives_an_empty_band(tmp_path: Path) -> None:
    assert filled(tmp_path / "a.raw")[0].read_rows(4, 4).shape == (0, 7, 3)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_window_reads_and_writes_exactly_its_texels(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    canvas, texels = filled(tmp_path_factory.mktemp("canvas") / "a.raw", dtype=np.uint16)
    y0, x0 = data.draw(st.integers(0, 12)), data.draw(st.integers(0, 7))
    height, width = data.draw(st.integers(0, 12 - y0)), data.draw(st.integers(0, 7 - x0))
    assert (canvas.read_window(y0, x0, height, width) == texels[y0 : y0 + height, x0 : x0 + width]).all()
    canvas.write_window(y0, x0, np.full((height, width, 3), 777, np.uint16))
    texels[y0 : y0 + height, x0 : x0 + width] = 777
    assert (canvas.read_rows(0, 12) == texels).all()


def test_a_strided_array_is_written_as_it_looks(tmp_path: Path) -> None:
    canvas, texels = filled(tmp_path / "a.raw")
    canvas.write_window(0, 0, texels[::-1, ::-1])
    assert (canvas.read_rows(0, 12) == texels[::-1, ::-1]).all()


def test_threads_may_write_disjoint_windows_at_once(tmp_path: Path) -> None:
    canvas = Canvas.create(tmp_path / "a.raw", MapKind.ROUGHNESS, 64, 64, 1)

    def write(index: int) -> None:
        y, x = divmod(index, 8)
        canvas.write_window(8 * y, 8 * x, np.full((8, 8, 1), index, np.uint8))

    threads = [threading.Thread(target=write, args=(index,)) for index in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = np.arange(64, dtype=np.uint8).reshape(8, 8).repeat(8, axis=0).repeat(8, axis=1)
    assert (canvas.read_rows(0, 64)[..., 0] == expected).all()


def test_the_same_description_finds_the_texels_again(tmp_path: Path) -> None:
    canvas, texels = filled(tmp_path / "a.raw")
    canvas.sync()
    again = Canvas(tmp_path / "a.raw", MapKind.ALBEDO, 12, 7, 3, np.dtype(np.uint8))
    again.check()
    assert (again.read_rows(0, 12) == texels).all()


def test_a_file_of_another_size_fails_the_check(tmp_path: Path) -> None:
    canvas, _ = filled(tmp_path / "a.raw")
    (tmp_path / "a.raw").write_bytes(bytes(canvas.nbytes + 1))
    with pytest.raises(TexsynthError, match=r"a\.raw: it has 253 bytes; it must have 252") as caught:
        canvas.check()
    assert caught.value.kind is ErrorKind.CORRUPT


def test_a_shortened_file_is_corrupt_and_never_read_as_zeros(tmp_path: Path) -> None:
    canvas, _ = filled(tmp_path / "a.raw")
    with (tmp_path / "a.raw").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(TexsynthError, match="it ends at byte 100") as caught:
        canvas.read_rows(0, 12)
    assert caught.value.kind is ErrorKind.CORRUPT


def test_a_missing_file_is_refused_in_one_line(tmp_path: Path) -> None:
    canvas, _ = filled(tmp_path / "a.raw")
    canvas.path.unlink()
    for use in (lambda: canvas.read_rows(0, 1), canvas.sync, canvas.check):
        with pytest.raises(TexsynthError, match=r"a\.raw: No such file"):
            use()


def test_a_canvas_larger_than_the_disk_is_no_space_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(TexsynthError, match="the disk is full") as caught:
        Canvas.create(tmp_path / "a.raw", MapKind.ALBEDO, 1 << 26, 1 << 26, 3)
    assert caught.value.kind is ErrorKind.NO_SPACE
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_may_not_grow_is_refused_when_the_canvas_is_made(tmp_path: Path) -> None:
    script = (
        "import resource, sys; from pathlib import Path; from texsynth.canvas import Canvas\n"
        "from texsynth.errors import TexsynthError; from texsynth.material import MapKind\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
        "try: Canvas.create(Path(sys.argv[1]), MapKind.ALBEDO, 100, 100, 3)\n"
        "except TexsynthError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.raw")],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert "File too large" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_canvas_in_a_missing_folder_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(TexsynthError) as caught:
        Canvas.create(tmp_path / "missing" / "a.raw", MapKind.ALBEDO, 4, 4, 3)
    assert caught.value.kind is ErrorKind.BAD_INPUT


@pytest.mark.parametrize(("height", "width", "channels"), [(0, 4, 3), (4, 0, 3), (4, 4, 0), (-1, 4, 3)])
def test_a_canvas_without_texels_is_refused(tmp_path: Path, height: int, width: int, channels: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Canvas.create(tmp_path / "a.raw", MapKind.ALBEDO, height, width, channels)


def test_floating_point_texels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="uint8 or uint16"):
        Canvas.create(tmp_path / "a.raw", MapKind.ALBEDO, 4, 4, 3, np.float32)


@pytest.mark.parametrize("window", [(-1, 0, 2, 2), (0, -1, 2, 2), (11, 0, 2, 2), (0, 6, 2, 2), (0, 0, -1, 2)])
def test_a_window_outside_the_canvas_is_refused(tmp_path: Path, window: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="leave the canvas"):
        filled(tmp_path / "a.raw")[0].read_window(*window)


@pytest.mark.parametrize("shape", [(2, 7), (2, 7, 1), (2, 8, 3), (2, 6, 3), (13, 7, 3)])
def test_rows_of_another_shape_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    canvas, texels = filled(tmp_path / "a.raw")
    with pytest.raises(ValueError, match=r"a\.raw"):
        canvas.write_rows(0, np.zeros(shape, np.uint8))
    assert (canvas.read_rows(0, 12) == texels).all()


def test_texels_of_another_dtype_are_refused_and_not_converted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected"):
        filled(tmp_path / "a.raw")[0].write_rows(0, np.zeros((1, 7, 3), np.uint16))


def test_memory_stays_flat_however_large_the_canvas(tmp_path: Path) -> None:
    """A child process writes and reads 64 MB in bands and windows and holds 1 MB of it at a time."""
    script = (
        "import resource, sys; from pathlib import Path; import numpy as np\n"
        "from texsynth.canvas import Canvas; from texsynth.material import MapKind\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "canvas = Canvas.create(Path(sys.argv[1]), MapKind.HEIGHT, 8192, 8192, 1)\n"
        "before = peak()\n"
        "for y in range(0, 8192, 128): canvas.write_rows(y, np.full((128, 8192, 1), y // 128, np.uint8))\n"
        "total = sum(int(canvas.read_rows(y, y + 128)[5, 5, 0]) for y in range(0, 8192, 128))\n"
        "total += int(canvas.read_window(4096, 17, 512, 512)[0, 0, 0])\n"
        "print(total, peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.raw")],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    total, growth_kb = map(int, done.stdout.split())
    assert total == sum(range(64)) + 32
    assert growth_kb < 8 << 10
