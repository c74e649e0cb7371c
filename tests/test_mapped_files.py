"""Mapped files: only so many are open, and what was handed out stays readable."""

from __future__ import annotations

from pathlib import Path

import pytest
from texsynth_rpc.mapped_files import MappedFiles


def opened() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def written(folder: Path, number: int) -> Path:
    path = folder / str(number)
    path.write_bytes(bytes([number]) * 5000)
    return path


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files cannot be counted here")
def test_only_so_many_files_are_open_and_views_outlast_them(tmp_path: Path) -> None:
    files, before = MappedFiles(4), opened()
    views = [files.of(written(tmp_path, number)) for number in range(20)]
    assert all(bytes(view) == bytes([number]) * 5000 for number, view in enumerate(views))
    assert files.of(tmp_path / "19") is views[19]
    views.clear()
    assert opened() - before <= 4


def test_a_file_that_took_the_place_of_another_is_read_after_it_was_forgotten(tmp_path: Path) -> None:
    files, path = MappedFiles(), written(tmp_path, 1)
    assert files.of(path)[0] == 1
    written(tmp_path, 2).replace(path)
    files.forget(path)
    assert files.of(path)[0] == 2
    with pytest.raises(FileNotFoundError):
        files.of(tmp_path / "absent")
