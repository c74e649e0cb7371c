"""The indices of results: made when somebody first asks, kept as files, and a few of them in memory."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict

from texsynth_rpc.jobs import JobStore, Record
from texsynth_rpc.ledger import Ledger
from texsynth_rpc.objects import ObjectStore
from texsynth_rpc.textures import Parts, build_index, manifest_name
from texsynth_rpc.v1 import textures_pb2

MOST_INDICES = 16  # that are kept in memory, some hundred kB each


class TextureIndex:
    """What the results of jobs hold as textures."""

    def __init__(self, objects: ObjectStore, jobs: JobStore, ledger: Ledger) -> None:
        self._objects, self._jobs, self._ledger = objects, jobs, ledger
        self._indices: OrderedDict[str, Parts] = OrderedDict()  # by the digest of the index
        self._building = asyncio.Lock()

    async def parts(self, job: str) -> Parts:
        """Of a job that has succeeded; the first call for it takes some seconds at 8192 x 8192.

        Raises NoTexture, Damaged, FileNotFoundError, NoSuchJob.
        """
        async with self._building:
            record = self._jobs.get(None, job)
            return await self._built(record) if record.texture == "" else await self._loaded(record.texture)

    async def _built(self, job: Record) -> Parts:
        files = {name: digest for name, digest, _ in self._jobs.files(job.id)}
        manifest = json.loads((await asyncio.to_thread(self._objects.check, manifest_name(files))).read_bytes())
        texture, stored = await asyncio.to_thread(build_index, files, manifest, self._objects)
        data = texture.SerializeToString(deterministic=True)
        digest = self._objects.put(data)
        self._ledger.own(job.tenant, [*stored, (digest, len(data))])
        self._jobs.use(job.id, [digest, *(name for name, _ in stored)])
        self._jobs.index(job.id, digest)
        return self._kept(digest, texture)

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
