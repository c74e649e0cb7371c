"""A texture that comes level by level, the coarsest first, while what is there already is streamed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeAlias

from texsynth_rpc.textures import Levels, copy_of, steps
from texsynth_rpc.turns import Turns
from texsynth_rpc.v1 import textures_pb2

Fill: TypeAlias = Callable[[textures_pb2.TextureMap, int, Levels], Awaitable[list[tuple[str, int]]]]
"""Adds a level to a map, as `textures.filled` does, and returns what was stored for it."""


class Growing:
    """`texture` and what is still to come: the levels of the maps that `sources` are for, which are outlines so far."""

    def __init__(self, texture: textures_pb2.Texture, sources: Mapping[str, Levels]) -> None:
        self._filled, self._sources = texture, sources
        self.texture = copy_of(texture) if sources else texture
        """With what is there: levels and chunks that are not have no digest. Another message after each step."""
        self.stored: list[tuple[str, int]] = []
        """(digest, bytes) of each file of what came."""
        self._steps = steps(texture, sources)
        self._begun, self._ended = asyncio.Event(), asyncio.Event()
        self._error: Exception | None = None
        if not self._steps:
            self.end(None)

    @property
    def in_blocks(self) -> bool:
        """Whether all of its maps are or will be."""
        return all(made.chunks for made in self.texture.maps)

    @property
    def ends(self) -> bool:
        """Whether nothing more comes."""
        return self._ended.is_set()

    def check(self) -> None:
        """Raises what went wrong."""
        if self._error is not None:
            raise self._error

    async def grow(self, turns: Turns, fill: Fill, grown: Callable[[], None]) -> None:
        """Add what is missing. grown: called after each level. Raises FileNotFoundError, Damaged, OSError."""
        while self._steps:
            level, made = self._steps[0]
            texels = made.levels[level].height * made.levels[level].width
            self.stored += await turns.take(texels, partial(fill, made, level, self._sources[made.kind]))
            del self._steps[0]
            self.texture = copy_of(self._filled)
            if all(made.levels[-1].sha256 for made in self.texture.maps):
                self._begun.set()
            grown()

    def end(self, error: Exception | None) -> None:
        """Nothing more comes: all is there, or this went wrong."""
        self._error, self._sources, self._filled = error, {}, self.texture
        self._begun.set()
        self._ended.set()

    async def begun(self) -> None:
        """Until each map has its mip tail. Raises what went wrong."""
        await self._begun.wait()
        self.check()

    async def ended(self) -> None:
        """Until all is there. Raises what went wrong."""
        await self._ended.wait()
        self.check()
