"""A GL program from its two shaders."""

from __future__ import annotations

from typing import Any

from mipmap.gl_context import GlUnavailable


def linked_program(gl: Any, vertex: str, fragment: str) -> int:
    """The program of two shaders' GLSL source, in use from now on. gl: the module `OpenGL.GL`.

    Raises GlUnavailable, with what the driver says, where it compiles one of them or links the two not.
    """
    program = int(gl.glCreateProgram())
    for kind, source in ((gl.GL_VERTEX_SHADER, vertex), (gl.GL_FRAGMENT_SHADER, fragment)):
        shader = gl.glCreateShader(kind)
        gl.glShaderSource(shader, source)
        gl.glCompileShader(shader)
        if not gl.glGetShaderiv(shader, gl.GL_COMPILE_STATUS):
            raise GlUnavailable(f"the driver compiles no shader: {gl.glGetShaderInfoLog(shader)!r:.200}")
        gl.glAttachShader(program, shader)
    gl.glLinkProgram(program)
    if not gl.glGetProgramiv(program, gl.GL_LINK_STATUS):
        raise GlUnavailable(f"the driver links no program: {gl.glGetProgramInfoLog(program)!r:.200}")
    gl.glUseProgram(program)
    return program
