"""The cache of encoded chunks: whole or missing, bounded, and shared."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from mipmap.chunk_cache import HEAD, STALE, UNFINISHED, ChunkCache


def key(number: int) -> str:
    return f"{number:064x}"


def payload(number: int, size: int = 1000) -> bytes:
    return bytes([number % 256]) * size


def only_file(folder: Path) -> Path:
    (file,) = (path for path in folder.rglob("*") if path.is_file())
    return file


def write_many(folder: Path, offset: int) -> None:
    cache = ChunkCache(folder, 20_000)
    for number in range(60):
        cache.get_or_make(key((number + offset) % 60), lambda n=(number + offset) % 60: payload(n))
        found = cache.get(key(number))
        if found not in (None, payload(number)):
            raise AssertionError(number)


def test_what_was_kept_comes_back_in_another_session(tmp_path: Path) -> None:
    assert ChunkCache(tmp_path).put(key(1), b"one")
    assert ChunkCache(tmp_path).get(key(1)) == b"one"
    assert ChunkCache(tmp_path).get(key(2)) is None


def test_a_payload_is_made_once(tmp_path: Path) -> None:
    cache, made = ChunkCache(tmp_path), []

    def make() -> bytes:
        made.append(1)
        return b""

    assert [cache.get_or_make(key(1), make) for _ in range(3)] == [b"", b"", b""]
    assert len(made) == 1


@pytest.mark.parametrize("place", [0, 5, 9, 20, HEAD.size, HEAD.size + 2])
def test_a_flipped_bit_is_found_and_the_payload_made_again(tmp_path: Path, place: int) -> None:
    cache = ChunkCache(tmp_path)
    cache.put(key(1), b"four")
    damaged = bytearray(only_file(tmp_path).read_bytes())
    damaged[place] ^= 1
    only_file(tmp_path).write_bytes(damaged)
    assert cache.get(key(1)) is None
    assert cache.get_or_make(key(1), lambda: b"four") == b"four"
    assert cache.get(key(1)) == b"four"


def test_every_truncated_entry_and_one_extra_byte_count_as_missing(tmp_path: Path) -> None:
    cache = ChunkCache(tmp_path)
    cache.put(key(1), b"four")
    file = only_file(tmp_path)
    entry = file.read_bytes()
    for wrong in [entry[:length] for length in range(len(entry))] + [entry + b"\0"]:
        file.write_bytes(wrong)
        assert cache.get(key(1)) is None
        assert not file.exists()


def test_an_entry_under_a_wrong_name_counts_as_missing(tmp_path: Path) -> None:
    cache = ChunkCache(tmp_path)
    cache.put(key(1), b"one")
    only_file(tmp_path).rename(tmp_path / "00" / key(2))
    assert cache.get(key(2)) is None


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = ChunkCache(tmp_path, 10 * (1000 + HEAD.size))
    for number in range(8):
        cache.put(key(number), payload(number))
        os.utime(tmp_path / "00" / key(number), (1000 + number, 1000 + number))
    cache.get(key(0))
    for number in range(8, 12):
        cache.put(key(number), payload(number))
    kept = [number for number in range(12) if cache.get(key(number)) is not None]
    assert 0 in kept
    assert kept[1:] == list(range(kept[1], 12))
    assert kept[1] > 1


def test_the_cache_stays_within_its_capacity(tmp_path: Path) -> None:
    cache = ChunkCache(tmp_path, 20_000)
    for number in range(100):
        cache.put(key(number), payload(number))
        assert cache.size() <= 20_000


def test_what_is_larger_than_the_cache_is_not_kept(tmp_path: Path) -> None:
    cache = ChunkCache(tmp_path, 500)
    assert not cache.put(key(1), payload(1))
    assert cache.size() == 0


def test_a_disk_that_refuses_does_not_stop_the_work(tmp_path: Path) -> None:
    cache = ChunkCache(tmp_path)
    (tmp_path / "00").write_text("a file where a folder must be")
    assert not cache.put(key(1), b"one")
    assert cache.get_or_make(key(1), lambda: b"one") == b"one"


def test_unfinished_files_go_once_their_writer_must_be_dead(tmp_path: Path) -> None:
    (tmp_path / "00").mkdir()
    old, new = (tmp_path / "00" / f"{UNFINISHED}{name}" for name in ("old", "new"))
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - STALE - 10,) * 2)
    cache = ChunkCache(tmp_path)
    cache.put(key(1), b"one")
    assert not old.exists()
    assert new.exists()
    assert cache.size() == HEAD.size + 3


def test_several_processes_share_a_cache(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write_many, args=(tmp_path, offset)) for offset in (0, 7, 30)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert not list(tmp_path.rglob(f"{UNFINISHED}*"))
    assert 0 < ChunkCache(tmp_path, 20_000).size() < 1.2 * 20_000


@pytest.mark.parametrize("wrong", ["", "../../etc/passwd", "A" * 64, "0" * 63])
def test_a_key_that_is_no_hash_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ValueError, match="64 lower-case hexadecimal digits"):
        ChunkCache(tmp_path).get(wrong)


def test_a_cache_without_capacity_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ChunkCache(tmp_path, 0)
