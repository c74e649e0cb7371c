"""One viewer's stream without the line it goes over: requests in, responses out, the scheduler between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from texsynth_rpc import scheduler as sched
from texsynth_rpc.chunk_message import ChunkMessage, Outgoing
from texsynth_rpc.feedback import Seen
from texsynth_rpc.priorities import COARSE_FIRST, ENTROPY, OURS, RASTER, VIEW, Policy
from texsynth_rpc.resume import Held, from_token
from texsynth_rpc.scenes import Shown
from texsynth_rpc.scheduler import Rules, Scheduler
from texsynth_rpc.streamed_map import TILE, StreamedMap
from texsynth_rpc.v1 import streams_pb2

MOST_TILES = 1 << 14  # of one view: a table of every chunk of level 0 of four 8K surfaces
MOST_BYTES = 1 << 50  # of credit or memory: more is a mistake
MOST_PLACES = 1 << 18  # of chunks under the tiles of one view, each map's for itself
# Bytes of chunks after which a message has enough: what a message costs is as much as some kB, but no chunk of it is
# there before the last one, so a stream begins with small ones, and one may hold a quarter of what came before it: with
# an eighth, of 64 viewers those that began first took up to three times as much as the last ones, by larger messages.
# With up to 64 kB a message they still did in most runs; with 32 kB it is the same processor time a byte.
BATCH, FIRST_BATCH, OF_SENT = 32 << 10, 2 << 10, 4
LONGEST_NAME = 128
_POLICIES: dict[streams_pb2.Order, Policy] = {
    streams_pb2.ORDER_UNSPECIFIED: OURS,
    streams_pb2.ORDER_RASTER: RASTER,
    streams_pb2.ORDER_COARSE_FIRST: COARSE_FIRST,
    streams_pb2.ORDER_ENTROPY: ENTROPY,
    streams_pb2.ORDER_VIEW: VIEW,
}
Value = TypeVar("Value")


class BadRequest(Exception):
    """What a viewer said cannot be. field: of the request."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def checked_name(field: str, name: str) -> str:
    """The name of a scene or surface. Raises BadRequest."""
    if not name or len(name) > LONGEST_NAME or not name.isprintable() or "/" in name:
        raise BadRequest(field, f"must be 1 to {LONGEST_NAME} printable characters, no '/'")
    return name


class Viewer:
    """Raises BadRequest for a Hello that cannot be."""

    def __init__(self, hello: streams_pb2.Hello) -> None:
        self.scene = checked_name("hello.scene", hello.scene)
        if hello.order not in _POLICIES:
            raise BadRequest("hello.order", "is a number that is no order")
        self.largest, self.deflate = hello.largest_texture, hello.deflate
        self._batches, self._marks = hello.batches, hello.marks
        self._formats = frozenset(hello.formats)
        self._held = _checked("hello.resume_token", _holdings, hello.resume_token)
        self._scheduler = Scheduler(Rules(_POLICIES[hello.order]))
        self._surfaces: dict[str, list[str]] = {}  # to its textures
        self._maps: dict[str, StreamedMap] = {}  # by texture, "SURFACE/MAP"
        self._announced_maps: dict[str, StreamedMap] = {}  # as the viewer knows them
        self._shown: dict[str, Shown] = {}
        self._numbers: dict[str, int] = {}
        self._view = dict[str, Seen]()  # by surface, in tiles; the last one
        self._tile_side, self._selection = TILE, streams_pb2.Selection()
        self._sent = 0  # bytes of chunks
        self._behind: deque[Outgoing] = deque()  # a batch, or what the scene shows
        self._announced, self._settled = False, True
        self._first_credit = _bounded(hello.credit)
        self._budget(hello.memory_budget)

    @property
    def in_flight(self) -> int:
        """Bytes sent and not acknowledged."""
        return self._scheduler.in_flight

    def take(self, request: streams_pb2.OpenRequest) -> None:
        """Something that the viewer says. Raises BadRequest, upon which nothing has changed."""
        kind = request.WhichOneof("event")
        if kind == "view":
            self._look(request.view)
        elif kind == "gaze":
            self._scheduler.receive(_gazed(request.gaze))
        elif kind == "selection":
            self._selection = request.selection
            self._select()
        elif kind == "credit":
            self._credit(request.credit.bytes)
        elif kind == "acknowledgement":
            came = request.acknowledgement
            self._receive("acknowledgement.sequence", lambda: sched.Acknowledged(came.sequence))
            self._credit(came.credit)
        elif kind == "budget":
            self._budget(request.budget.bytes)
        else:
            raise BadRequest("event", "is missing" if kind is None else "hello comes first, and once")

    def held_version(self, surface: str) -> int:
        """The version of a surface that the viewer holds chunks of from an earlier stream; 0 if none."""
        versions = [one.version for name, one in self._held.items() if name.partition("/")[0] == surface]
        return min(versions, default=0)

    def show(self, shown: Shown, maps: Sequence[StreamedMap]) -> None:
        """A surface, or a new version of it. Raises BadRequest for a format that the viewer does not read."""
        for each in maps:
            if self._formats and each.described.format not in self._formats:
                told = f"surface {shown.surface} is in {each.described.format}; make it for a target that you read"
                raise BadRequest("hello.formats", told)
        keys = [f"{shown.surface}/{each.described.kind}" for each in maps]
        for key in set(self._surfaces.get(shown.surface, ())) - set(keys):
            self._scheduler.receive(sched.Removed(key))
        self._surfaces[shown.surface], self._shown[shown.surface] = keys, shown
        self._maps |= zip(keys, maps, strict=True)
        seen = self._places(self._view, self._tile_side, [shown.surface])  # it was looked at before it came
        for key, each in zip(keys, maps, strict=True):
            self._scheduler.receive(sched.Added(key, shown.version, each.pieces, seen.get(key)))
            self._resume(key, shown.version, len(each.pieces))
        self._select()

    def would_lose(self, surface: str, maps: Sequence[StreamedMap]) -> bool:
        """Whether this newer version, shown now, would cost the viewer chunks that are likely to be the same: it has
        some whose levels are not ready yet, and of those that are, at least half have not changed."""
        same = changed = waiting = 0
        for key, now in ((f"{surface}/{each.described.kind}", each.pieces) for each in maps):
            was = self._maps[key].pieces if key in self._surfaces.get(surface, ()) else None
            if was is not None and was.is_cut_as(now):
                for index in self._scheduler.present(key):
                    if index >= now.ready:
                        waiting += 1
                    elif index > 0:  # the tail shows every change
                        equal = was[index].content == now[index].content
                        same, changed = same + equal, changed + (not equal)
        return waiting > 0 and same >= changed

    def grow(self, surface: str, maps: Sequence[StreamedMap]) -> None:
        """More of the maps that a surface shows can be sent."""
        for each in maps:
            key = f"{surface}/{each.described.kind}"
            if each.pieces.ready > self._maps[key].pieces.ready:
                self._maps[key] = each
                self._scheduler.receive(sched.Grown(key, self._shown[surface].version, each.pieces))

    @property
    def growing(self) -> list[str]:
        """Surfaces of which not all can be sent yet."""
        return [name for name, keys in self._surfaces.items() if not all(self._maps[key].whole for key in keys)]

    def _resume(self, key: str, version: int, chunks: int) -> None:
        """Take up what the viewer still holds of this version."""
        held = self._held.get(key)
        if held and held.version <= version:
            del self._held[key]
            if (held.version, held.chunks) == (version, chunks):
                self._scheduler.receive(sched.Resumed((held,)))

    def hide(self, surface: str) -> None:
        """It is taken out of the scene."""
        for key in self._surfaces.pop(surface):
            self._scheduler.receive(sched.Removed(key))

    @property
    def surfaces(self) -> dict[str, Shown]:
        """What was shown and not hidden."""
        return {name: self._shown[name] for name in self._surfaces}

    def announce_end(self) -> None:
        """Say that all surfaces of the scene were announced, before the first chunk. Credit counts from here on: else
        the first surface that is looked up would take the whole window, whether it is seen or not."""
        while (message := self._scheduler.next_message()) is not None:
            assert not isinstance(message, sched.Send)  # without credit
            self._behind.append(self._told(message))
        self._behind.append(_whole(streams_pb2.OpenResponse(announced=streams_pb2.Announced())))
        self._announced, self._settled = True, False
        self._credit(self._first_credit)

    def next(self) -> Outgoing | None:
        """What is to be sent next, or None until something happens. Raises FileNotFoundError."""
        if self._behind:
            return self._behind.popleft()
        message = self._scheduler.next_message()
        if message is not None:
            self._settled = False
            return self._chunks(message) if isinstance(message, sched.Send) else self._told(message)
        if self._settled or not self._announced or self.growing or self._scheduler.waits:
            return None
        self._settled = True
        return _whole(streams_pb2.OpenResponse(settled=streams_pb2.Settled()))

    def _chunks(self, first: sched.Send) -> Outgoing:
        """A chunk, with those that come next for who takes batches."""
        made, enough = ChunkMessage(), min(BATCH, max(FIRST_BATCH, self._sent // OF_SENT)) if self._batches else 0
        message: sched.Message | None = first
        while isinstance(message, sched.Send):
            self._add(message, made)
            message = self._scheduler.next_message() if made.of_chunks < enough else None
        if message is not None:
            self._behind.append(self._told(message))
        self._sent += made.of_chunks
        return made.finish()

    def _add(self, message: sched.Send, made: ChunkMessage) -> None:
        each = self._maps[message.texture]
        payload = each.payload(message.index)
        whole = message.whole if self._marks else ()
        made.add(message.sequence, self._number(message.texture), each.head(message.index, payload), payload, whole)
        if not self._marks:  # told after the message
            marks = (sched.LevelComplete(message.texture, message.version, level) for level in message.whole)
            self._behind.extend(map(self._told, marks))

    def _number(self, texture: str) -> int:
        return self._numbers.setdefault(texture, len(self._numbers) + 1)

    def _told(self, message: sched.Notice) -> Outgoing:
        number = self._number(message.texture)
        if isinstance(message, sched.NewVersion):
            return _whole(self._new_version(message, number))
        if isinstance(message, sched.Ready):
            return _whole(self._ready(message, number))
        if isinstance(message, sched.LevelComplete):
            told = streams_pb2.LevelComplete(texture=number, level=message.level)
            return _whole(streams_pb2.OpenResponse(level_complete=told))
        if isinstance(message, sched.Evict):
            gone = streams_pb2.Eviction(texture=number, index=message.index)
            return _whole(streams_pb2.OpenResponse(eviction=gone))
        return _whole(streams_pb2.OpenResponse(forgotten=streams_pb2.Forgotten(texture=number)))

    def _new_version(self, message: sched.NewVersion, number: int) -> streams_pb2.OpenResponse:
        each = self._announced_maps[message.texture] = self._maps[message.texture]
        shown = self._shown[message.texture.partition("/")[0]]
        told = streams_pb2.NewVersion(
            texture=number, map=each.described, finest_level=each.finest, tail_level=each.tail,
            surface=streams_pb2.Surface(name=shown.surface, version=message.version, job=shown.job), kept=message.kept,
        )  # fmt: skip
        return streams_pb2.OpenResponse(new_version=told)

    def _ready(self, message: sched.Ready, number: int) -> streams_pb2.OpenResponse:
        now, before = self._maps[message.texture], self._announced_maps[message.texture]
        self._announced_maps[message.texture] = now
        return streams_pb2.OpenResponse(encoded=streams_pb2.Encoded(texture=number, levels=now.more_than(before)))

    def _select(self) -> None:
        chosen = frozenset(key for name in self._selection.surfaces for key in self._surfaces.get(name, ()))
        self._scheduler.receive(sched.Selected(chosen))

    def _look(self, view: streams_pb2.View) -> None:
        if sum(len(seen.tiles) for seen in view.surfaces) > MOST_TILES:
            raise BadRequest("view", f"has more than {MOST_TILES} tiles")
        if view.tile_side > TILE:
            raise BadRequest("view.tile_side", f"is {view.tile_side} texels; {TILE} are the most")
        tiles: dict[str, list[streams_pb2.Tile]] = {}
        for seen in view.surfaces:
            tiles.setdefault(seen.surface, []).extend(seen.tiles)
        side = view.tile_side or TILE
        gazed = _gazed(view.gaze) if view.HasField("gaze") else None
        tables = _checked("view", lambda: {surface: _table(some) for surface, some in tiles.items()})
        self._scheduler.receive(sched.Viewed(self._places(tables, side, tables)))
        self._view, self._tile_side = tables, side
        if gazed is not None:
            self._scheduler.receive(gazed)

    def _places(self, tables: Mapping[str, Seen], side: int, surfaces: Iterable[str]) -> dict[str, Seen]:
        """What is seen of each texture of some surfaces. Raises BadRequest for too much."""
        found, left = dict[str, Seen](), MOST_PLACES
        for surface in tables.keys() & surfaces:
            keys = self._surfaces.get(surface, [])
            largest = max((self._maps[key].side for key in keys), default=0)
            for key in keys:
                found[key] = _checked("view", self._maps[key].seen, tables[surface], side, largest, left)
                left -= len(found[key].level)
        return found

    def _credit(self, count: int) -> None:
        if self._announced:
            self._scheduler.receive(sched.Granted(_bounded(count)))
        else:
            self._first_credit = _bounded(self._first_credit + _bounded(count))

    def _budget(self, count: int) -> None:
        self._scheduler.receive(sched.Budgeted(count or None))

    def _receive(self, field: str, event: Callable[[], sched.Event]) -> None:
        _checked(field, lambda: self._scheduler.receive(event()))


def _bounded(credit: int) -> int:
    if credit > MOST_BYTES:
        raise BadRequest("credit", f"is {credit} bytes; {MOST_BYTES} are the most")
    return credit


def _gazed(gaze: streams_pb2.Gaze) -> sched.Gazed:
    """Raises BadRequest."""
    return _checked("gaze", sched.Gazed, (gaze.x, gaze.y) if gaze.known else None)


def _whole(response: streams_pb2.OpenResponse) -> Outgoing:
    return Outgoing(response.SerializeToString())


def _table(tiles: Sequence[streams_pb2.Tile]) -> Seen:
    rows = [(tile.level, tile.row, tile.column, tile.pixels, tile.x, tile.y) for tile in tiles]
    table = np.array(rows, np.float64).reshape(-1, 6).T  # exact: 32 bits each
    whole = table[:4].astype(np.int64)
    return Seen(whole[0], whole[1], whole[2], whole[3], table[4], table[5])


def _holdings(token: bytes) -> dict[str, Held]:
    return {one.texture: one for one in from_token(token)} if token else {}


def _checked(field: str, make: Callable[..., Value], *arguments: object) -> Value:
    try:
        return make(*arguments)
    except ValueError as error:
        raise BadRequest(field, str(error)) from None
