"""Freed memory is kept, measured by the page faults of a process that makes and drops a large buffer over and over."""

import platform
import subprocess
import sys
from pathlib import Path

from texsynth.allocator import keep_freed_memory, release_freed_memory

ROOT = Path(__file__).resolve().parent.parent

# 48 MB is above glibc's largest automatic threshold (32 MB): without the setting each buffer is mapped afresh.
CODE = """
import ctypes, resource, sys
from texsynth.allocator import keep_freed_memory, release_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
for turn in range(11):
    if turn == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    buffer = c.malloc(48 << 20)
    ctypes.memset(buffer, 1, 48 << 20)
    c.free(buffer)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

# Many small buffers with one at the end that stays: only a trim gives back what lies below it.
HELD = """
import ctypes
from texsynth.allocator import keep_freed_memory, release_freed_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
keep_freed_memory()
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
before = resident()
buffers = [c.malloc(1 << 20) for _ in range(100)]
for buffer in buffers:
    ctypes.memset(buffer, 1, 1 << 20)
for buffer in buffers[:-1]:
    c.free(buffer)
held = resident() - before
assert release_freed_memory()
print(held >> 20, (resident() - before) >> 20)
"""


def page_faults(setting: str) -> int:
    done = subprocess.run([sys.executable, "-c", CODE, setting], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_a_buffer_of_the_same_size_is_served_from_kept_memory() -> None:
    if platform.libc_ver()[0] != "glibc":
        assert keep_freed_memory() is False
        return
    assert page_faults("keep") * 10 < page_faults("default")


def test_kept_memory_is_given_back_between_two_jobs() -> None:
    if platform.libc_ver()[0] != "glibc":
        assert release_freed_memory() is False
        return
    done = subprocess.run([sys.executable, "-c", HELD], cwd=ROOT, capture_output=True, text=True, check=True)
    held, left = map(int, done.stdout.split())
    assert held >= 90
    assert left <= 10


# As HELD, by a process that may keep 50 MB: the first 30 MB stay for the next job, the next 100 do not.
BETWEEN_JOBS = (
    HELD[: HELD.index("before =")].replace("release_freed_memory", "KeptMemory")
    + """
memory = KeptMemory(most=50 << 20)
before = resident()
def job(count):
    buffers = [c.malloc(1 << 20) for _ in range(count)]
    for buffer in buffers:
        ctypes.memset(buffer, 1, 1 << 20)
    for buffer in buffers[:-1]:
        c.free(buffer)
    memory.give_back_excess()
    print((resident() - before) >> 20)
job(30)
job(100)
"""
)


def test_a_process_keeps_little_of_what_its_jobs_freed() -> None:
    if platform.libc_ver()[0] != "glibc":
        return
    done = subprocess.run([sys.executable, "-c", BETWEEN_JOBS], cwd=ROOT, capture_output=True, text=True, check=True)
    after_small, after_large = map(int, done.stdout.split())
    assert 25 <= after_small <= 50
    assert after_large <= 10


# Eight threads that hold a buffer at the same time, each allocating from its own arena unless there is only one.
THREADS = """
import ctypes, sys, threading
from texsynth.allocator import keep_freed_memory
keep_freed_memory()
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.fopen.restype = ctypes.c_void_p, [ctypes.c_size_t], ctypes.c_void_p
c.fflush.argtypes, c.malloc_info.argtypes = [ctypes.c_void_p], [ctypes.c_int, ctypes.c_void_p]
together = threading.Barrier(8)
def hold():
    c.malloc(10000)
    together.wait()
threads = [threading.Thread(target=hold) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
c.malloc_info(0, c.fopen(b"/dev/stdout", b"w"))
c.fflush(None)
"""


def test_threads_share_freed_memory() -> None:
    if platform.libc_ver()[0] != "glibc":
        return
    done = subprocess.run([sys.executable, "-c", THREADS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.count("<heap nr=") == 1
    apart = subprocess.run(
        [sys.executable, "-c", THREADS.replace("\nkeep_freed_memory()", "")],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert apart.stdout.count("<heap nr=") > 1
