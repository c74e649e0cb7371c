"""The indices of results: made when somebody first asks, kept as files, and a few of them in memory."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping

from texsynth.publish import MANIFEST
from texsynth_rpc.growing import Growing
from texsynth_rpc.jobs import JobStore, NoSuchJob, Record
from texsynth_rpc.ledger import Ledger
from texsynth_rpc.objects import Damaged, ObjectStore
from texsynth_rpc.side_process import SideProcess
from texsynth_rpc.textures import Levels, NoTexture, Parts, copy_of, described, encoded, filled, named, warm_up
from texsynth_rpc.turns import Turns
from texsynth_rpc.v1 import textures_pb2

log = logging.getLogger(__name__)

SMALL = 1 << 20  # texels of a level that waits for no other texture's: some tenths of a second
OPENING = 0.25  # seconds in which a stream connects, is told of a scene and gets its mip tails
MOST_INDICES = 16  # that are kept in memory, some hundred kB each


class TextureIndex:
    """What the results of jobs hold as textures. grown: called when more is there of one that was not whole."""

    def __init__(self, objects: ObjectStore, jobs: JobStore, ledger: Ledger, grown: Callable[[], None]) -> None:
        self._objects, self._jobs, self._ledger, self._grown = objects, jobs, ledger, grown
        self._indices: OrderedDict[str, Parts] = OrderedDict()  # by the digest of the index
        self._growing: dict[str, Growing] = {}  # by job
        self._looking, self._turns = asyncio.Lock(), Turns(SMALL)
        self._side = SideProcess()
        self._tasks: set[asyncio.Task[None]] = set()

    async def warm_up(self) -> None:
        """What the first texture would wait for: the compilation of what encodes and measures."""
        await self._side.do(warm_up)

    def stand_back(self) -> None:
        """A stream opens: what is being made rests until its first textures have gone out."""
        self._side.rest(OPENING)

    def stop(self) -> None:
        """Gives up what is being made; it is made anew when somebody asks again."""
        self._side.stop()

    def unfinished(self) -> set[str]:
        """Digests of the files of textures that are not whole: when they are, their jobs own them."""
        return {digest for growing in self._growing.values() for digest, _ in growing.stored}

    async def parts(self, job: str) -> Parts:
        """Of a job that has succeeded; the first call for it takes some seconds at 8192 x 8192.

        Raises NoTexture, Damaged, FileNotFoundError, NoSuchJob.
        """
        while not self._jobs.get(None, job).texture:
            async with self._looking:
                growing = await self._indexing(job)
            if growing is not None:
                await growing.ended()
        return await self._loaded(self._jobs.get(None, job).texture)

    async def blocks(self, job: str) -> Growing:
        """In GPU blocks. At the first call for a job its mip tails are awaited, the other levels are added later:
        those of pictures are encoded, those of KTX2 and DDS files measured.

        Raises NoBlocks, and what `parts` raises.
        """
        async with self._looking:
            growing = await self._indexing(job)
        if growing is None or not growing.in_blocks:
            await self.parts(job)
            async with self._looking:
                growing = self._growing.get(job) or await self._encoding(job)
        await growing.begun()
        return growing

    async def _indexing(self, job: str) -> Growing | None:
        """What is being made of a job, begun here where it has no index; None for one that has all of it."""
        if job in self._growing:
            return self._growing[job]
        record = self._jobs.get(None, job)
        if record.texture:
            return None
        files = {name: digest for name, digest, _ in self._jobs.files(job)}
        manifest = json.loads((await asyncio.to_thread(self._objects.check, _manifest(files))).read_bytes())
        texture, sources = await asyncio.to_thread(described, files, manifest, self._objects)
        if not sources:
            self._index(record, named(texture), [])
            return None
        return self._begin(job, texture, sources, self._index)

    async def _encoding(self, job: str) -> Growing:
        """The blocks of a job that has an index."""
        pictures = (await self._loaded(self._jobs.get(None, job).texture)).texture
        if all(made.chunks for made in pictures.maps):
            return Growing(pictures, {})
        if pictures.blocks_sha256:
            return Growing((await self._loaded(pictures.blocks_sha256)).texture, {})

        def keep(record: Record, texture: textures_pb2.Texture, stored: list[tuple[str, int]]) -> None:
            index = copy_of(pictures)
            index.blocks_sha256 = self._store(record, texture, stored)
            self._index(record, index, [])

        return self._begin(job, *encoded(pictures), keep)

    def _begin(
        self, job: str, texture: textures_pb2.Texture, sources: Mapping[str, Levels],
        keep: Callable[[Record, textures_pb2.Texture, list[tuple[str, int]]], None],
    ) -> Growing:  # fmt: skip
        """keep: what is to be done with the whole texture and what was stored for it."""
        growing = self._growing[job] = Growing(texture, sources)

        async def grow() -> None:
            error: Exception | None = None
            try:
                await growing.grow(self._turns, self._fill, self._grown)
                keep(self._jobs.get(None, job), named(growing.texture), growing.stored)
            except (Damaged, NoSuchJob, OSError) as raised:  # which those who wait for it are told
                error = raised
                log.warning("the job's texture did not come whole: %s", raised, extra={"job": job})
            except Exception as raised:
                error = raised
                log.exception("a defect of texsynth: the job's texture did not come whole", extra={"job": job})
            del self._growing[job]
            growing.end(error)
            self._grown()

        self._tasks.add(task := asyncio.create_task(grow()))
        task.add_done_callback(self._tasks.discard)
        return growing

    async def _fill(self, made: textures_pb2.TextureMap, number: int, source: Levels) -> list[tuple[str, int]]:
        found, stored = await self._side.do(filled, made.SerializeToString(), number, source, self._objects.folder)
        made.ParseFromString(found)
        for digest, _ in stored:  # else who looks next would wait until they are read again
            self._objects.written(digest)
        return stored

    def _index(self, job: Record, texture: textures_pb2.Texture, stored: list[tuple[str, int]]) -> None:
        """Makes it the index of the job."""
        self._jobs.index(job.id, self._store(job, texture, stored))

    def _store(self, job: Record, texture: textures_pb2.Texture, stored: list[tuple[str, int]]) -> str:
        """The digest of a texture that was made of a job."""
        data = texture.SerializeToString(deterministic=True)
        digest = self._objects.put(data)
        self._ledger.own(job.tenant, [*stored, (digest, len(data))])
        self._jobs.use(job.id, [digest, *(name for name, _ in stored)])
        self._kept(digest, texture)
        return digest

    async def _loaded(self, digest: str) -> Parts:
        if digest in self._indices:
            self._indices.move_to_end(digest)
            return self._indices[digest]
        path = await asyncio.to_thread(self._objects.check, digest)
        return self._kept(digest, textures_pb2.Texture.FromString(path.read_bytes()))

    def _kept(self, digest: str, texture: textures_pb2.Texture) -> Parts:
        self._indices[digest] = Parts(texture)
        if len(self._indices) > MOST_INDICES:
            self._indices.popitem(last=False)
        return self._indices[digest]


def _manifest(files: Mapping[str, str]) -> str:
    """Digest of material.json. Raises NoTexture."""
    if MANIFEST not in files:
        raise NoTexture("the job made no texture; ask for one that restyled, synthesized or made mips")
    return files[MANIFEST]
