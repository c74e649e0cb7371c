"""Results as textures over the service: every level and chunk by digest, and what was measured."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from service_process import QUICK, Server
from texsynth_rpc.v1 import jobs_pb2, textures_pb2

import grpc
from mipmap.dds import read_dds
from mipmap.formats import format_named
from mipmap.ktx2 import read_ktx2
from plugin_bridge.client import Client, ServiceError
from texsynth.train.procedural import generate, write

SIDE = 512  # texels: several chunks a map
READERS = {"ktx2": read_ktx2, "dds": read_dds}


class Reader:
    """A texture with the bytes of its parts."""

    def __init__(self, client: Client, job: str) -> None:
        self._client, self._job, self.texture = client, job, client.texture(job)

    def fetch(self, digest: str, version: str | None = None) -> bytes:
        return self._client.part(self._job, self.texture.version if version is None else version, digest)

    def rest(self, digest: str, offset: int) -> bytes:
        request = textures_pb2.FetchRequest(job=self._job, version=self.texture.version, sha256=digest, offset=offset)
        return b"".join(piece.data for piece in self._client._textures.Fetch(request))


@pytest.fixture(scope="module")
def swatch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exemplar as small as may be, from which a large texture is soon made."""
    folder = tmp_path_factory.mktemp("exemplar") / "swatch"
    write(generate("gravel", 64, 1), folder)
    return folder


@pytest.mark.parametrize(("target", "container"), [("quest3", "ktx2"), ("desktop", "dds"), ("desktop", "ktx2")])
def test_levels_are_the_file_s_and_chunks_hold_every_block_once(
    server: Server, swatch: Path, tmp_path: Path, target: str, container: str
) -> None:
    with server.client() as client:
        job = client.synthesize(swatch, size=SIDE, preset="draft", target=target, format=container)
        client.wait(job.id)
        client.fetch(job.id, tmp_path)
        reader = Reader(client, job.id)
        assert {made.kind for made in reader.texture.maps} == {"albedo", "normal", "roughness"}
        for made in reader.texture.maps:
            read = READERS[container](tmp_path / f"{made.kind}.{container}")
            texel_format = format_named(made.format)
            assert made.format == read.texel_format.name
            levels = [reader.fetch(level.sha256) for level in made.levels]
            assert levels == [read.level(number) for number in range(len(made.levels))]
            assert [(level.width, level.size) for level in made.levels] == [
                (SIDE >> number, len(level)) for number, level in enumerate(levels)
            ]
            built = [bytearray(len(level)) for level in levels]
            for chunk in made.chunks:
                payload = reader.fetch(chunk.sha256)
                assert hashlib.sha256(payload).hexdigest() == chunk.sha256
                assert len(payload) == chunk.size
                if chunk.levels > 1:
                    assert payload == b"".join(levels[chunk.level :])
                    for number in range(chunk.level, len(levels)):
                        built[number][:] = levels[number]
                    continue
                stride = texel_format.row_bytes(made.levels[chunk.level].width)
                length, column = texel_format.row_bytes(chunk.width), texel_format.row_bytes(chunk.x)
                first = chunk.y // texel_format.block_height
                for row in range(texel_format.rows_of_blocks(chunk.height)):
                    at = (first + row) * stride + column
                    assert not any(built[chunk.level][at : at + length]), "no block twice"
                    built[chunk.level][at : at + length] = payload[row * length : (row + 1) * length]
            assert [bytes(level) for level in built] == levels
            assert len(made.chunks) > 4
        large = max((level for made in reader.texture.maps for level in made.levels), key=lambda level: level.size)
        assert reader.rest(large.sha256, 1000) == reader.fetch(large.sha256)[1000:]
        assert reader.rest(large.sha256, large.size) == b""
        chunk = reader.texture.maps[0].chunks[-1]
        assert reader.rest(chunk.sha256, 777) == reader.fetch(chunk.sha256)[777:]


def test_a_png_is_its_level(server: Server, gravel: Path) -> None:
    with server.client() as client:
        job = client.wait(client.synthesize(gravel, **QUICK, seed=1).id)
        reader, files = Reader(client, job.id), {file.sha256: file.name for file in job.files}
        albedo = next(made for made in reader.texture.maps if made.kind == "albedo")
        assert (albedo.format, albedo.colour_space, len(albedo.chunks)) == ("png", "srgb", 0)
        names = [files[level.sha256] for level in albedo.levels]
        assert names == ["albedo.png", *(f"mips/albedo.{k}.png" for k in range(1, 7))]
        assert reader.fetch(albedo.levels[0].sha256).startswith(b"\x89PNG")


def test_parts_of_two_versions_never_meet(server: Server, gravel: Path) -> None:
    with server.client() as client:
        one, two = (client.wait(client.synthesize(gravel, **QUICK, seed=seed).id).id for seed in (1, 2))
        first, second = Reader(client, one), Reader(client, two)
        assert first.texture.version != second.texture.version
        assert Reader(client, one).texture == first.texture
        part = second.texture.maps[0].levels[0].sha256
        with pytest.raises(ServiceError, match="another version") as stale:
            second.fetch(part, version=first.texture.version)
        assert stale.value.code is grpc.StatusCode.FAILED_PRECONDITION
        with pytest.raises(ServiceError) as absent:
            first.fetch(part)
        assert absent.value.code is grpc.StatusCode.NOT_FOUND


def test_a_damaged_level_is_never_served(server: Server, gravel: Path) -> None:
    with server.client() as client:
        job = client.wait(client.synthesize(gravel, size=128, preset="draft", target="quest3", seed=5).id)
        reader = Reader(client, job.id)
        made = reader.texture.maps[0]
        level = made.levels[0]
        path = server.data / "objects" / level.sha256[:2] / level.sha256
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        for digest in (level.sha256, made.chunks[-1].sha256):
            with pytest.raises(ServiceError, match="changed on the disk") as damaged:
                reader.fetch(digest)
            assert damaged.value.code is grpc.StatusCode.DATA_LOSS
        assert reader.fetch(made.levels[1].sha256)


def test_what_was_measured_comes_as_an_event_and_as_a_report(server: Server, gravel: Path) -> None:
    with server.client() as client:
        job = client.wait(client.synthesize(gravel, **QUICK, seed=3).id)
        figures = client.report(job.id)
        assert 0 <= figures["copying.largest_verbatim_region"] <= 1
        assert figures["timings.layout"] > 0
        events = [event for event in client.watch(job.id) if event.WhichOneof("event") == "metrics"]
        assert [{m.name: m.value for m in event.metrics.metrics} for event in events] == [figures]
        measured = client.wait(client.measure(gravel, gravel).id)
        figures = client.report(measured.id)
        assert figures["albedo.ssim"] == pytest.approx(1)
        assert "albedo.mcr.ratio" in figures
        with pytest.raises(ServiceError, match="made no texture") as none:
            Reader(client, measured.id)
        assert none.value.code is grpc.StatusCode.FAILED_PRECONDITION


def test_a_manifest_waits_for_the_job(server: Server, gravel: Path) -> None:
    with server.client() as client:
        job = client.synthesize(gravel, size=512, preset="draft", seed=9)
        with pytest.raises(ServiceError, match="wait until it has succeeded"):
            Reader(client, job.id)
        client.cancel(job.id)


def test_a_bake_is_one_job_with_a_summary(server: Server, gravel: Path, tmp_path: Path) -> None:
    reference = tmp_path / "reference"
    write(generate("gravel", 64, 2), reference)
    with server.client() as client:
        entries = [
            {"name": "plain", "exemplar": gravel, **QUICK},
            {"name": "again", "exemplar": gravel, "asset": gravel, "reference": reference, **QUICK},
        ]
        job = client.bake(entries)
        heard = []
        done = client.wait(job.id, lambda progress: heard.append(progress.fraction))
        assert heard == sorted(heard)
        names = {file.name for file in done.files}
        assert {"plain/material.json", "again/albedo.png", "summary.html", "summary.csv", "summary.json"} <= names
        client.fetch(job.id, tmp_path)
        rows = json.loads((tmp_path / "summary.json").read_text())
        assert [row["state"] for row in rows] == ["made", "made"]
        assert [row["mcr"] is None for row in rows] == [True, False]
        assert str(server.data) not in (tmp_path / "summary.html").read_text()
        assert str(server.data) not in (tmp_path / "plain" / "report.json").read_text()


@pytest.mark.parametrize("wrong", ["none", "twice", "path", "option"])
def test_a_bake_that_cannot_be_is_refused_with_its_field(server: Server, gravel: Path, wrong: str) -> None:
    with server.client() as client:
        given, options = client.input(gravel), client.options_of(**QUICK)
        names = {"none": [], "twice": ["a", "A"], "path": ["../a"], "option": ["a"]}[wrong]
        if wrong == "option":
            options.size = 100
        entries = [jobs_pb2.BakeEntry(name=name, exemplar=given, options=options) for name in names]
        with pytest.raises(Exception, match=r"work\.bake\.entries"):
            client.submit(jobs_pb2.Work(bake=jobs_pb2.BakeJob(entries=entries)))
