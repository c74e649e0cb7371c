"""What a job is asked to do: checked when it is submitted, carried out in the worker.

The messages of `v1.jobs_pb2` become the very options of the command line, so both say the same about a wrong value.
Files arrive by digest; in the job's folder they lie under the names that the client gave them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from texsynth_rpc.objects import ObjectStore
from texsynth_rpc.v1 import jobs_pb2

LONGEST_NAME, MOST_FILES, MOST_PARTS = 255, 1000, 8
NAMED_INPUTS = ("asset", "exemplar", "source", "generated", "reference")
REGION, BLEND, SECOND = "region", "blend", "second"


class BadWork(ValueError):
    """A field that cannot be as it is. `field`: its path in the request; str(): what is wrong and would be right."""

    def __init__(self, field: str, what: str) -> None:
        super().__init__(what)
        self.field = field


def check(work: jobs_pb2.Work, known: Callable[[str], bool]) -> set[str]:
    """Digests of the files that `work` needs. known: whether the caller has such a file here; ValueError for what is no
    digest. Raises BadWork for what no worker could do."""
    kind = work.WhichOneof("kind")
    if kind is None:
        raise BadWork("work", "says not what to do; set one of restyle, synthesize, mips, measure")
    needed = set()
    for field, given in _inputs(work):
        if not given.files:
            raise BadWork(field, "names no files; upload some and name them here")
        if len(given.files) > MOST_FILES:
            raise BadWork(field, f"names {len(given.files)} files; {MOST_FILES} are the most")
        names = [file.name for file in given.files]
        for number, file in enumerate(given.files):
            _check_name(f"{field}.files[{number}].name", file.name)
            needed.add(_check_digest(f"{field}.files[{number}].sha256", file.sha256, known))
        if len(set(names)) != len(names):
            raise BadWork(field, "names a file twice; give every file its own name")
        if given.main and given.main not in names:
            raise BadWork(f"{field}.main", f"{given.main!r} is none of the files; name one of {', '.join(names[:8])}")
    for name, options in _options(work):
        for label in (REGION, BLEND):
            digest = getattr(options, f"{label}_sha256")
            if digest:
                needed.add(_check_digest(f"{name}.{label}_sha256", digest, known))
    engine_options(work, Path("/"))  # raises for values out of range
    return needed


def _inputs(work: jobs_pb2.Work) -> Iterator[tuple[str, jobs_pb2.Input]]:
    kind = str(work.WhichOneof("kind"))
    job = getattr(work, kind)
    for name in NAMED_INPUTS:
        if name in job.DESCRIPTOR.fields_by_name:
            yield f"work.{kind}.{name}", getattr(job, name)
    for field, options in _options(work):
        if options.HasField(SECOND):
            yield f"{field}.{SECOND}", options.second


def _options(work: jobs_pb2.Work) -> Iterator[tuple[str, jobs_pb2.Options]]:
    kind = str(work.WhichOneof("kind"))
    if kind in ("restyle", "synthesize"):
        yield f"work.{kind}.options", getattr(work, kind).options


def _check_name(field: str, name: str) -> None:
    parts = name.split("/")
    wrong = (
        not name
        or len(name) > LONGEST_NAME
        or len(parts) > MOST_PARTS
        or any(part in ("", ".", "..") or part != part.strip() for part in parts)
        or any(ord(character) < 32 or character in '\\:*?"<>|\x7f' for character in name)
        or not name.isprintable()
    )
    if wrong:
        raise BadWork(field, f"{name[:80]!r} is no plain relative name; use one such as albedo.png or maps/albedo.png")


def _check_digest(field: str, digest: str, known: Callable[[str], bool]) -> str:
    try:
        here = known(digest)
    except ValueError as error:
        raise BadWork(field, str(error)) from None
    if not here:
        raise BadWork(field, f"no file {digest} is here; upload it first")
    return digest


def lay_out(work: jobs_pb2.Work, objects: ObjectStore, folder: Path) -> None:
    """Put the files that `work` needs into `folder`, anew. Raises FileNotFoundError, objects.Damaged, OSError."""
    shutil.rmtree(folder, ignore_errors=True)
    for field, given in _inputs(work):
        for file in given.files:
            _place(objects, file.sha256, folder / field.rsplit(".", 1)[1] / file.name)
    for _, options in _options(work):
        for label in (REGION, BLEND):
            digest = getattr(options, f"{label}_sha256")
            if digest:
                _place(objects, digest, folder / f"{label}.image")


def _place(objects: ObjectStore, digest: str, target: Path) -> None:
    source = objects.check(digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _path(folder: Path, name: str, given: jobs_pb2.Input) -> Path:
    """The file or folder that the engine is to read."""
    if given.main:
        return folder / name / given.main
    return folder / name / given.files[0].name if len(given.files) == 1 else folder / name


def engine_options(work: jobs_pb2.Work, folder: Path) -> Any:
    """The engine's options for `work`, whose files lie in `folder`. Raises BadWork."""
    from texsynth.errors import TexsynthError

    kind = str(work.WhichOneof("kind"))
    try:
        if kind in ("restyle", "synthesize"):
            return _texture_options(getattr(work, kind).options, folder)
        if kind == "mips":
            return _mip_options(work.mips)
    except TexsynthError as error:
        raise BadWork(f"work.{kind}", str(error)) from None
    return None


def _texture_options(given: jobs_pb2.Options, folder: Path) -> Any:
    from texsynth.options import Options, parse_maps

    values: dict[str, Any] = {"seed": given.seed, "tileable": given.tileable, "resume": True}
    for name in ("size", "preset", "target", "format", "compression", "density", "overlap", "material", "nonfinite"):
        if getattr(given, name):
            values[name] = getattr(given, name)
    for name in ("content", "detail"):
        if given.HasField(name):
            values[name] = getattr(given, name).value
    if given.maps:
        values["maps"] = parse_maps(",".join(given.maps))
    if given.normals:
        if given.normals not in ("directx", "opengl"):
            raise BadWork("options.normals", f"{given.normals!r} is neither directx nor opengl")
        values["directx"] = given.normals == "directx"
    if given.region_sha256:
        values["region"] = folder / f"{REGION}.image"
    if given.HasField(SECOND):
        values["second"] = _path(folder, SECOND, given.second)
    if given.blend_sha256:
        values["blend"] = folder / f"{BLEND}.image"
    elif given.HasField("blend"):
        values["blend"] = given.blend.value
    return Options(**values)


def _mip_options(given: jobs_pb2.MipsJob) -> Any:
    from texsynth.mips import MipOptions
    from texsynth.options import parse_maps
    from texsynth.storage import choose_storage

    quality: Any = given.compression or "fast"
    target: Any = given.target or None
    container: Any = given.format or None
    storage = choose_storage(target, container, quality)
    return MipOptions(storage, maps=parse_maps(",".join(given.maps)) if given.maps else None)


def carry_out(work: jobs_pb2.Work, files: Path, out: Path, run: Any) -> None:
    """Do `work`, whose files lie in `files`, into `out`. Raises texsynth.errors.TexsynthError, BadWork."""
    options = engine_options(work, files)
    kind = work.WhichOneof("kind")
    if kind == "restyle":
        from texsynth.restyle import restyle

        job = work.restyle
        restyle(_path(files, "asset", job.asset), _path(files, "exemplar", job.exemplar), out, options, run)
    elif kind == "synthesize":
        from texsynth.restyle import synthesize

        synthesize(_path(files, "exemplar", work.synthesize.exemplar), out, options, run)
    elif kind == "mips":
        from texsynth.mips import make_mips

        make_mips(_path(files, "source", work.mips.source), out, options, run)
    else:
        from texsynth.measure import measure
        from texsynth.report.page import plain
        from texsynth.run import write_json_atomically

        asked = work.measure
        with run.stage("measure", 0.0, 1.0):
            measured = measure(
                _path(files, "generated", asked.generated), _path(files, "reference", asked.reference),
                paired=not asked.unpaired,
            )  # fmt: skip
        out.mkdir(parents=True, exist_ok=True)
        write_json_atomically(out / "metrics.json", plain(measured))
