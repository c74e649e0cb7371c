"""A GL context that draws into memory, through OSMesa: where there is no EGL.

PyOpenGL serves one way of making contexts in a process, which it settles when first imported: EGL unless the
environment variable PYOPENGL_PLATFORM says `osmesa` or there is no EGL library.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mipmap.gl_context import GlUnavailable, choose_platform

CORE_PROFILE = 0x34  # PyOpenGL's names for the profiles go by each other's


class OsMesaContext:
    """A GL core context of at least that version, current in the thread that made it until `close`.

    Raises GlUnavailable.
    """

    def __init__(self, version: tuple[int, int]) -> None:
        choose_platform()
        try:
            from OpenGL import osmesa, platform

            if type(platform.PLATFORM).__name__ != "OSMesaPlatform":
                raise GlUnavailable("PyOpenGL was first imported for another platform than OSMesa")
            wanted = [
                osmesa.OSMESA_FORMAT, osmesa.OSMESA_RGBA, osmesa.OSMESA_PROFILE, CORE_PROFILE,
                osmesa.OSMESA_CONTEXT_MAJOR_VERSION, version[0], osmesa.OSMESA_CONTEXT_MINOR_VERSION, version[1], 0,
            ]  # fmt: skip
            self._context = osmesa.OSMesaCreateContextAttribs(np.array(wanted, np.int32), None)
            self._screen = np.zeros((1, 1, 4), np.uint8)  # OSMesa wants one; drawing goes to framebuffer objects
            if not self._context or not osmesa.OSMesaMakeCurrent(self._context, self._screen, 0x1401, 1, 1):
                raise GlUnavailable(f"OSMesa makes no GL {version[0]}.{version[1]} context")
        except GlUnavailable:
            raise
        except Exception as error:  # ImportError without the library, AttributeError of another platform
            raise GlUnavailable(f"OSMesa: {' '.join(str(error).split())[:120] or type(error).__name__}") from None
        self._osmesa: Any = osmesa

    def close(self) -> None:
        """Release the context."""
        self._osmesa.OSMesaDestroyContext(self._context)
