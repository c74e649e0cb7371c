"""Counters of video memory in use: of GL drivers, of NVML, of torch's allocator."""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from mipmap.gl_context import GlContext, GlUnavailable, gl_displays
from mipmap.metrics.child import ask

# https://registry.khronos.org/OpenGL/extensions/NVX/NVX_gpu_memory_info.txt and .../ATI/ATI_meminfo.txt; all in KiB.
NVX, NVX_TOTAL, NVX_AVAILABLE = "GL_NVX_gpu_memory_info", 0x9048, 0x9049
ATI, ATI_TEXTURE_FREE = "GL_ATI_meminfo", 0x87FC
KIB = 1024


class Counter(Protocol):
    """Bytes of video memory in use; only differences between two readings of one counter mean anything."""

    @property
    def source(self) -> str:
        """What counts, to be named beside every number that comes from it."""

    def read(self) -> int:
        """Bytes in use now."""

    def close(self) -> None:
        """Give back what the counter holds."""


class GlCounter:
    """The driver's own counter, of the whole device: other programs' memory is in it.

    extensions: of the current context. integers: glGetIntegerv as a function from a name to its values. close: what
    ends the context. Raises GlUnavailable if the driver has neither extension.
    """

    def __init__(
        self, extensions: Sequence[str], integers: Callable[[int], Sequence[int]], close: Callable[[], None]
    ) -> None:
        self._integers, self.close = integers, close
        self._nvx = NVX in extensions
        self.source = NVX if self._nvx else ATI
        if not self._nvx and ATI not in extensions:
            raise GlUnavailable(f"the driver has neither {NVX} nor {ATI}")
        # ATI_meminfo says only what is free, so what is in use counts from here.
        self._free = 0 if self._nvx else self._integers(ATI_TEXTURE_FREE)[0]

    def read(self) -> int:
        """See `Counter.read`."""
        if self._nvx:
            return KIB * (self._integers(NVX_TOTAL)[0] - self._integers(NVX_AVAILABLE)[0])
        return KIB * (self._free - self._integers(ATI_TEXTURE_FREE)[0])


def gl_counter(display: Any) -> GlCounter:
    """The counter of a GL driver through a context of its own. Belongs to the calling thread. Raises GlUnavailable."""
    context = GlContext(display)
    try:
        from OpenGL import GL

        names = [GL.glGetStringi(GL.GL_EXTENSIONS, i).decode() for i in range(GL.glGetIntegerv(GL.GL_NUM_EXTENSIONS))]

        def integers(name: int) -> list[int]:
            values = (ctypes.c_int * 4)()
            GL.glGetIntegerv(name, values)
            return list(values)

        return GlCounter(names, integers, context.close)
    except GlUnavailable:
        context.close()
        raise
    except Exception as error:  # PyOpenGL's own errors
        context.close()
        raise GlUnavailable(f"GL: {' '.join(str(error).split())[:120]}") from None


class _NvmlMemory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class NvmlCounter:
    """NVIDIA's management library: the sum over all devices, other programs' memory included.

    library: libnvidia-ml, loaded. Raises OSError if it finds no device.
    """

    source = "NVML"

    def __init__(self, library: Any) -> None:
        self._library = library
        if library.nvmlInit_v2() != 0:
            raise OSError("NVML cannot be initialised")
        count = ctypes.c_uint()
        library.nvmlDeviceGetCount_v2(ctypes.byref(count))
        self._devices = [ctypes.c_void_p() for _ in range(count.value)]
        for i, device in enumerate(self._devices):
            if library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(i), ctypes.byref(device)) != 0:
                raise OSError(f"NVML gives no access to device {i}")
        if not self._devices:
            raise OSError("NVML knows no device")

    def read(self) -> int:
        """See `Counter.read`."""
        total = 0
        for device in self._devices:
            memory = _NvmlMemory()
            if self._library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) != 0:
                raise OSError("NVML no longer answers")
            total += memory.used
        return total

    def close(self) -> None:
        """See `Counter.close`."""
        self._library.nvmlShutdown()


class TorchCounter:
    """torch's CUDA allocator, of this process alone. torch: the module. Raises OSError if it sees no device."""

    source = "torch's allocator"

    def __init__(self, torch: Any) -> None:
        if not torch.cuda.is_available():
            raise OSError("torch sees no CUDA device")
        self._cuda = torch.cuda

    def read(self) -> int:
        """See `Counter.read`."""
        if not self._cuda.is_initialized():  # asking would initialise it
            return 0
        return sum(int(self._cuda.memory_allocated(device)) for device in range(self._cuda.device_count()))

    def close(self) -> None:
        """See `Counter.close`."""


def counting_display() -> Any | None:
    """The first EGL display whose driver counts its memory, or None. Every driver is asked in another process first."""
    places = [place for place, found in enumerate(ask(__name__) or []) if "reason" not in found]
    displays = gl_displays() if places else []
    return displays[places[0]] if places and places[0] < len(displays) else None


def open_counter() -> Counter | None:
    """The best counter there is, or None: GL's memory extension, NVML, torch's allocator if torch was imported.

    It belongs to the calling thread.
    """
    with suppress(GlUnavailable):
        display = counting_display()
        if display is not None:
            return gl_counter(display)
    with suppress(OSError, AttributeError):
        return NvmlCounter(ctypes.CDLL("libnvidia-ml.so.1"))
    with suppress(KeyError, OSError, AttributeError):
        return TorchCounter(sys.modules["torch"])
    return None


def main() -> None:
    """Print a JSON list: for each display its counter, or why there is none."""
    findings = []
    with suppress(GlUnavailable):
        for display in gl_displays():
            try:
                counter = gl_counter(display)
                findings.append({"source": counter.source, "bytes": counter.read()})
                counter.close()
            except GlUnavailable as error:
                findings.append({"reason": str(error)})
    print(json.dumps(findings))
