"""A GL context without a window, through EGL: of each GPU, of Mesa's surfaceless platform, of the default display."""

from __future__ import annotations

import os
import sys
from ctypes.util import find_library
from typing import Any

SURFACELESS_MESA = 0x31DD
DEVICE_EXT = 0x313F
MAJOR_VERSION, MINOR_VERSION, PROFILE_MASK, CORE_PROFILE = 0x3098, 0x30FB, 0x30FD, 1


class GlUnavailable(Exception):
    """There is no GL context to be had; the message says why, in one line."""


class GlContext:
    """A GL 3.3 core context, current in the thread that made it until `close`.

    display: which of `gl_displays()` it is for. Raises GlUnavailable if PyOpenGL, EGL or the driver refuses.
    """

    def __init__(self, display: Any) -> None:
        egl = _egl()
        self._egl, self._display = egl, display
        try:
            major, minor = egl.EGLint(), egl.EGLint()
            if not egl.eglInitialize(display, major, minor):
                raise GlUnavailable("EGL cannot initialise the display")
            egl.eglBindAPI(egl.EGL_OPENGL_API)
            wanted = [MAJOR_VERSION, 3, MINOR_VERSION, 3, PROFILE_MASK, CORE_PROFILE, egl.EGL_NONE]
            # No config: drawing goes to framebuffer objects, so no pixel format of a surface has to be chosen.
            self._context = egl.eglCreateContext(display, egl.EGLConfig(), egl.EGL_NO_CONTEXT, wanted)
            if not self._context or not egl.eglMakeCurrent(
                display, egl.EGL_NO_SURFACE, egl.EGL_NO_SURFACE, self._context
            ):
                raise GlUnavailable("the driver makes no GL 3.3 context without a surface")
        except GlUnavailable:
            raise
        except Exception as error:  # PyOpenGL raises its own errors, ctypes' ones, and null function errors
            raise GlUnavailable(f"EGL: {' '.join(str(error).split())[:120] or type(error).__name__}") from None

    def close(self) -> None:
        """Release the context; the display stays, because other contexts of this process may share it."""
        egl = self._egl
        egl.eglMakeCurrent(self._display, egl.EGL_NO_SURFACE, egl.EGL_NO_SURFACE, egl.EGL_NO_CONTEXT)
        egl.eglDestroyContext(self._display, self._context)


def gl_displays() -> list[Any]:
    """EGL displays worth trying, GPUs first. Raises GlUnavailable without PyOpenGL or EGL."""
    egl = _egl()
    found: list[Any] = []
    try:
        from OpenGL.EGL.EXT.device_enumeration import eglQueryDevicesEXT
        from OpenGL.EGL.EXT.platform_base import eglGetPlatformDisplayEXT

        count = egl.EGLint()
        if eglQueryDevicesEXT(0, None, count) and count.value:
            devices = (egl.EGLDeviceEXT * count.value)()
            eglQueryDevicesEXT(count.value, devices, count)
            found += [eglGetPlatformDisplayEXT(DEVICE_EXT, device, None) for device in devices]
        found.append(eglGetPlatformDisplayEXT(SURFACELESS_MESA, None, None))
    except Exception:  # an EGL without these extensions still has a default display
        pass
    try:
        found.append(egl.eglGetDisplay(egl.EGL_DEFAULT_DISPLAY))
    except Exception as error:
        if not found:
            raise GlUnavailable(f"EGL has no display ({error})") from None
    return [display for display in found if display]


def choose_platform() -> None:
    """Tell PyOpenGL, which decides when first imported, how functions are found: through EGL, or through OSMesa where
    only that is installed; PYOPENGL_PLATFORM in the environment comes first."""
    if "OpenGL" not in sys.modules and "PYOPENGL_PLATFORM" not in os.environ:
        only_osmesa = not find_library("EGL") and find_library("OSMesa")
        os.environ["PYOPENGL_PLATFORM"] = "osmesa" if only_osmesa else "egl"


def _egl() -> Any:
    """OpenGL.EGL, with PyOpenGL told to look its functions up through EGL."""
    choose_platform()
    try:
        from OpenGL import EGL, platform
    except Exception as error:  # ImportError without PyOpenGL or libEGL, AttributeError from half an installation
        raise GlUnavailable(f"EGL: {' '.join(str(error).split())[:120]}") from None
    if type(platform.PLATFORM).__name__ != "EGLPlatform":
        raise GlUnavailable("PyOpenGL was first imported for another platform; set PYOPENGL_PLATFORM=egl before")
    return EGL
