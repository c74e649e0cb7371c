"""VMO: computed sizes, the counters, and the sampler beside the work."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from mipmap.gl_context import GlUnavailable
from mipmap.metrics import MemoryWatch, Texture, chain_bytes, geometry_bytes, gpu_format, occupancy
from mipmap.metrics.gpu_formats import BLOCKS
from mipmap.metrics.memory_counters import ATI, NVX, Counter, GlCounter, NvmlCounter, TorchCounter, open_counter

# Computed sizes


@pytest.mark.parametrize("format", sorted(BLOCKS))
def test_a_chain_holds_its_levels_in_whole_blocks(format: str) -> None:
    across, down, size = BLOCKS[format]
    width, height = 13, 6
    levels = [(13, 6), (6, 3), (3, 1), (1, 1)]
    expected = sum(int(np.ceil(w / across) * np.ceil(h / down)) * size for w, h in levels)
    assert chain_bytes(height, width, format) == expected
    assert chain_bytes(height, width, format, 1) == int(np.ceil(13 / across) * np.ceil(6 / down)) * size


def test_an_8k_chain_weighs_what_the_formats_promise() -> None:
    """Level 0 in bits a texel, and a third more for the levels below."""
    for format, bits in (("rgba8", 32), ("bc7", 8), ("astc-4x4", 8), ("bc1", 4), ("astc-8x8", 2)):
        assert chain_bytes(8192, 8192, format) == pytest.approx(8192 * 8192 * bits / 8 * 4 / 3, rel=1e-5)


@pytest.mark.parametrize(
    ("height", "width", "format", "levels", "reason"),
    [
        (4, 4, "png", None, "'png'"),
        (0, 4, "bc7", None, "0 x 4"),
        (4, 4, "bc7", 4, "1 to 3"),
        (4, 4, "bc7", 0, "1 to 3"),
    ],
)
def test_a_chain_that_cannot_be_is_refused(
    height: int, width: int, format: str, levels: int | None, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        chain_bytes(height, width, format, levels)


def test_geometry_is_vertices_and_indices() -> None:
    assert geometry_bytes(100, 50) == 100 * 48 + 150 * 4
    with pytest.raises(ValueError, match="not negative"):
        geometry_bytes(-1, 0)


# The watch


class Scripted:
    """A counter that a test sets."""

    source = "a scripted counter"

    def __init__(self, value: int = 0) -> None:
        self.value, self.closed_by = value, None
        self.opened_by = threading.get_ident()

    def read(self) -> int:
        return self.value

    def close(self) -> None:
        self.closed_by = threading.get_ident()


def test_the_watch_finds_a_peak_that_is_gone_again_and_counts_from_the_start() -> None:
    made: list[Scripted] = []

    def opened() -> Counter:
        made.append(Scripted(1000))
        return made[0]

    with MemoryWatch(7, open_counter=opened) as watch:
        made[0].value = 5000
        time.sleep(0.1)
        made[0].value = 2000
    assert (watch.result.bytes, watch.result.source, watch.result.computed) == (4000, "a scripted counter", 7)
    assert watch.result.samples > 2 and watch.result.longest_gap > 0
    assert made[0].closed_by == made[0].opened_by != threading.get_ident()  # a GL context belongs to its thread


def test_a_block_shorter_than_the_interval_is_sampled_at_its_end() -> None:
    counter = Scripted()
    with MemoryWatch(0, open_counter=lambda: counter) as watch:
        counter.value = 300
    assert watch.result.bytes == 300


def test_without_a_counter_the_computed_size_stands_in_and_says_so() -> None:
    with MemoryWatch(1234, open_counter=lambda: None) as watch:
        pass
    assert (watch.result.bytes, watch.result.source) == (1234, "computed")


def test_a_counter_that_fails_ends_neither_the_work_nor_the_number() -> None:
    class Lost(Scripted):
        def read(self) -> int:
            raise OSError("the device is lost")

    counter = Lost()
    with MemoryWatch(1234, open_counter=lambda: counter) as watch:
        pass
    assert watch.result.bytes == 1234
    assert watch.result.source == "computed, because a scripted counter failed (the device is lost)"
    assert counter.closed_by is not None


@pytest.mark.parametrize("interval", [0.0, 0.017])
def test_sampling_more_rarely_than_every_16_ms_is_refused(interval: float) -> None:
    with pytest.raises(ValueError, match=r"0\.016"):
        MemoryWatch(0, interval=interval)


# The counters, with drivers that this machine lacks played by their documented answers


def test_nvx_counts_what_is_not_available() -> None:
    values = {0x9048: [1000], 0x9049: [400]}
    counter = GlCounter([NVX, ATI], lambda name: values[name], lambda: None)
    assert (counter.source, counter.read()) == (NVX, 600 * 1024)


def test_ati_counts_from_the_start() -> None:
    values = {0x87FC: [500, 0, 0, 0]}
    counter = GlCounter([ATI], lambda name: values[name], lambda: None)
    assert (counter.source, counter.read()) == (ATI, 0)
    values[0x87FC][0] = 300
    assert counter.read() == 200 * 1024


def test_a_driver_without_either_extension_counts_nothing() -> None:
    with pytest.raises(GlUnavailable, match="neither"):
        GlCounter(["GL_ARB_sync"], lambda name: [0], lambda: None)


class Nvml:
    """Two devices, as libnvidia-ml answers."""

    def __init__(self, status: int = 0) -> None:
        self.status, self.open = status, 0

    def nvmlInit_v2(self) -> int:
        self.open += 1
        return self.status

    def nvmlShutdown(self) -> int:
        self.open -= 1
        return 0

    def nvmlDeviceGetCount_v2(self, count: object) -> int:
        ctypes.cast(count, ctypes.POINTER(ctypes.c_uint))[0] = 2  # type: ignore[arg-type]
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: ctypes.c_uint, device: object) -> int:
        ctypes.cast(device, ctypes.POINTER(ctypes.c_void_p))[0] = 100 + index.value  # type: ignore[arg-type]
        return 0

    def nvmlDeviceGetMemoryInfo(self, device: ctypes.c_void_p, memory: object) -> int:
        fields = ctypes.cast(memory, ctypes.POINTER(ctypes.c_ulonglong))  # type: ignore[arg-type]
        fields[0], fields[1], fields[2] = 80, 70, device.value or 0  # total, free, used
        return 0


def test_nvml_adds_up_what_all_devices_use() -> None:
    library = Nvml()
    counter = NvmlCounter(library)
    assert (counter.source, counter.read()) == ("NVML", 100 + 101)
    counter.close()
    assert library.open == 0


def test_nvml_without_a_driver_is_no_counter() -> None:
    with pytest.raises(OSError, match="initialised"):
        NvmlCounter(Nvml(status=9))


def test_torch_counts_its_allocations_and_is_never_initialised_for_it() -> None:
    cuda = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: cuda.started,
        device_count=lambda: 2,
        memory_allocated=lambda device: 10 + device,
        started=False,
    )
    counter = TorchCounter(SimpleNamespace(cuda=cuda))
    assert counter.read() == 0
    cuda.started = True
    assert counter.read() == 10 + 11
    cuda.is_available = lambda: False
    with pytest.raises(OSError, match="no CUDA"):
        TorchCounter(SimpleNamespace(cuda=cuda))


def test_torch_is_asked_only_where_it_was_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    cuda = SimpleNamespace(is_available=lambda: True)
    monkeypatch.setattr("mipmap.metrics.memory_counters.counting_display", lambda: None)
    monkeypatch.setattr(ctypes, "CDLL", absent)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    counter = open_counter()
    assert counter is not None and counter.source == "torch's allocator"
    monkeypatch.delitem(sys.modules, "torch")
    assert open_counter() is None


# A set of textures


def test_textures_are_counted_in_the_format_that_holds_them_as_stored() -> None:
    cases = [(np.uint8, 3, "rgba8"), (np.uint8, 1, "r8"), (np.uint16, 3, "rgba16"), (np.float32, 1, "r16f")]
    textures = [Texture(np.zeros((16, 24, channels), dtype), "scalar") for dtype, channels, _ in cases]
    assert [gpu_format(texture) for texture in textures] == [format for *_, format in cases]
    found = occupancy(textures, geometry=99)
    assert found.computed == 99 + sum(chain_bytes(16, 24, format) for *_, format in cases)
    assert found.source in ("computed", NVX, ATI)
    if found.source == "computed":
        assert found.bytes == found.computed
