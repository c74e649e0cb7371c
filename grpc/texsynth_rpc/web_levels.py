"""Pictures of the levels of a result whose files no browser reads: GET /levels/JOB/MAP/LEVEL, as PNG."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

from aiohttp import web

from grpc import aio
from texsynth_rpc.objects import Damaged, ObjectStore
from texsynth_rpc.transcoding import Refused, bearer, refused
from texsynth_rpc.v1 import jobs_pb2, jobs_pb2_grpc
from texsynth_rpc.web_files import FOREVER

LARGEST_SIDE = 4096  # texels: some 200 MB while it is decoded and encoded
LARGEST_MANIFEST = 4 << 20
KEPT = 64 << 20  # bytes of pictures in memory


class Levels:
    """The handler of /levels. JobService says what is the caller's; `objects` holds the files."""

    def __init__(self, channel: aio.Channel, objects: ObjectStore) -> None:
        self._jobs: Any = jobs_pb2_grpc.JobServiceStub(channel)  # type: ignore[no-untyped-call]
        self._objects = objects
        self._one = asyncio.Semaphore(1)  # a large level takes memory and both of a small machine's cores
        self._kept: OrderedDict[tuple[str, str, int], bytes] = OrderedDict()

    async def get(self, request: web.Request) -> web.Response:
        """One level as it is stored, decoded. Raises Refused."""
        job, kind, level = request.match_info["job"], request.match_info["kind"], int(request.match_info["level"])
        try:
            found = await self._jobs.Get(jobs_pb2.GetRequest(id=job), metadata=bearer(request))
        except aio.AioRpcError as error:
            raise refused(error) from None
        files = {file.name: file.sha256 for file in found.job.files}
        key = job, kind, level
        async with self._one:
            if key not in self._kept:
                try:
                    data = await asyncio.to_thread(self._picture, files, kind, level)
                except Damaged as error:
                    raise Refused("DATA_LOSS", str(error), "DAMAGED") from None
                if data is None:
                    raise Refused("NOT_FOUND", f"level {level} of {kind} of job {job} is not here", "NOT_FOUND")
                self._keep(key, data)
        self._kept.move_to_end(key)
        headers = {"Cache-Control": FOREVER, "Vary": "Authorization"}
        return web.Response(body=self._kept[key], content_type="image/png", headers=headers)

    def _keep(self, key: tuple[str, str, int], data: bytes) -> None:
        self._kept[key] = data
        while sum(map(len, self._kept.values())) > KEPT and len(self._kept) > 1:
            self._kept.popitem(last=False)

    def _picture(self, files: dict[str, str], kind: str, level: int) -> bytes | None:
        """The PNG; None where there is no such level. Raises Refused, Damaged."""
        from texsynth.errors import TexsynthError
        from texsynth.levels_page import level_image
        from texsynth.material import MapKind
        from texsynth.published import Published

        entry = self._entry(files, kind) if kind in set(MapKind) else None
        if entry is None:
            return None
        try:
            with tempfile.TemporaryDirectory(prefix="texsynth-level-") as folder:
                # under names of ours: what the manifest says must not lead anywhere
                published = Published(Path(folder), {kind: self._linked(entry, files, Path(folder))})
                for side in map(max, published.sizes(MapKind(kind))[level : level + 1]):
                    if side > LARGEST_SIDE:
                        right = f"{LARGEST_SIDE} is the most shown; ask for a smaller level"
                        raise Refused("OUT_OF_RANGE", f"level {level} has {side} texels a side; {right}", "LARGE")
                return level_image(published, [kind, str(level)])
        except (FileNotFoundError, TexsynthError, KeyError, TypeError, ValueError, AttributeError):
            raise Refused("DATA_LOSS", f"{kind} of this result cannot be read", "DAMAGED") from None

    def _entry(self, files: dict[str, str], kind: str) -> dict[str, Any] | None:
        """What the manifest says of a map."""
        if "material.json" not in files:
            return None
        path = self._objects.check(files["material.json"])
        if path.stat().st_size > LARGEST_MANIFEST:
            return None
        found = json.loads(path.read_bytes())["maps"].get(kind)
        return found if isinstance(found, dict) else None

    def _linked(self, entry: dict[str, Any], files: dict[str, str], folder: Path) -> dict[str, Any]:
        """The entry with names of links in `folder` to the objects. Raises KeyError, Damaged, FileNotFoundError."""
        renamed = {**entry, "mips": [dict(mip) for mip in entry["mips"]]}
        for number, each in enumerate((renamed, *renamed["mips"])):
            name = f"{number}{Path(each['file']).suffix}"
            (folder / name).symlink_to(self._objects.check(files[each["file"]]).resolve())
            each["file"] = name
        return renamed
