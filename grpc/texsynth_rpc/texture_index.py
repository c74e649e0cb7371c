"""The indices of results: made when somebody first asks, kept as files, and a few of them in memory."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict

from texsynth_rpc.jobs import JobStore, Record
from texsynth_rpc.ledger import Ledger
from texsynth_rpc.objects import ObjectStore
from texsynth_rpc.textures import Parts, build_blocks, build_index, manifest_name
from texsynth_rpc.v1 import textures_pb2

MOST_INDICES = 16  # that are kept in memory, some hundred kB each


class TextureIndex:
    """What the results of jobs hold as textures."""

    def __init__(self, objects: ObjectStore, jobs: JobStore, ledger: Ledger) -> None:
        self._objects, self._jobs, self._ledger = objects, jobs, ledger
        self._indices: OrderedDict[str, Parts] = OrderedDict()  # by the digest of the index
        self._building, self._encoding = asyncio.Lock(), asyncio.Lock()

    async def parts(self, job: str) -> Parts:
        """Of a job that has succeeded; the first call for it takes some seconds at 8192 x 8192.

        Raises NoTexture, Damaged, FileNotFoundError, NoSuchJob.
        """
        async with self._building:
            record = self._jobs.get(None, job)
            return await self._built(record) if record.texture == "" else await self._loaded(record.texture)

    async def blocks(self, job: str) -> Parts:
        """As `parts`, in GPU blocks: pictures are encoded at the first call, for which only calls of its like wait.

        Raises NoBlocks too.
        """
        parts = await self.parts(job)
        if all(made.chunks for made in parts.texture.maps):
            return parts
        async with self._encoding:
            pictures = (await self.parts(job)).texture
            if pictures.blocks_sha256:
                return await self._loaded(pictures.blocks_sha256)
            texture, stored = await asyncio.to_thread(build_blocks, pictures, self._objects)
            digest = self._store(self._jobs.get(None, job), texture, stored)
            named = textures_pb2.Texture()
            named.CopyFrom(pictures)
            named.blocks_sha256 = digest
            self._kept(self._index(self._jobs.get(None, job), named, []), named)
            return self._kept(digest, texture)

    async def _built(self, job: Record) -> Parts:
        files = {name: digest for name, digest, _ in self._jobs.files(job.id)}
        manifest = json.loads((await asyncio.to_thread(self._objects.check, manifest_name(files))).read_bytes())
        texture, stored = await asyncio.to_thread(build_index, files, manifest, self._objects)
        return self._kept(self._index(job, texture, stored), texture)

    def _index(self, job: Record, texture: textures_pb2.Texture, stored: list[tuple[str, int]]) -> str:
        """Makes it the index of the job; returns its digest."""
        digest = self._store(job, texture, stored)
        self._jobs.index(job.id, digest)
        return digest

    def _store(self, job: Record, texture: textures_pb2.Texture, stored: list[tuple[str, int]]) -> str:
        data = texture.SerializeToString(deterministic=True)
        digest = self._objects.put(data)
        self._ledger.own(job.tenant, [*stored, (digest, len(data))])
        self._jobs.use(job.id, [digest, *(name for name, _ in stored)])
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
