"""What a job is asked to do: checked when it is submitted, carried out in the worker.

The messages of `v1.jobs_pb2` become the very options of the command line, so both say the same about a wrong value.
Files arrive by digest; in the job's folder they lie under the names that the client gave them.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from texsynth_rpc.lent_models import Models
from texsynth_rpc.objects import ObjectStore
from texsynth_rpc.v1 import jobs_pb2

LONGEST_NAME, MOST_FILES, MOST_PARTS = 255, 1000, 8
MOST_ENTRIES, MOST_METRICS = 1000, 500
NAMED_INPUTS = ("asset", "exemplar", "source", "generated", "reference")
OPTIONAL_INPUTS = ("asset", "reference")  # of an entry of a bake
PLAIN = (  # options that are sent as they are
    "size", "preset", "target", "format", "compression", "density", "overlap", "seams", "fit", "grain", "style_size",
    "geometry", "material", "nonfinite",
)  # fmt: skip
NOT_MEASURED = ("size", "seed", "options", "command", "lattice", "estimated")  # of a report
REGION, BLEND, SECOND = "region", "blend", "second"


class BadWork(ValueError):
    """A field that cannot be as it is. `field`: its path in the request; str(): what is wrong and would be right."""

    def __init__(self, field: str, what: str) -> None:
        super().__init__(what)
        self.field = field


def check(work: jobs_pb2.Work, known: Callable[[str], bool], models: Models) -> set[str]:
    """Digests of the files that `work` needs. known: whether the caller has such a file here; ValueError for what is no
    digest. models: those that clients may name. Raises BadWork for what no worker could do."""
    kind = work.WhichOneof("kind")
    if kind is None:
        raise BadWork("work", "says not what to do; set one of restyle, synthesize, mips, measure, bake")
    if kind == "bake":
        _check_entries(work.bake)
    needed = {digest for field, _, given in _inputs(work) for digest in _check_input(field, given, known)}
    for name, _, options in _options(work):
        for label in (REGION, BLEND):
            digest = getattr(options, f"{label}_sha256")
            if digest:
                needed.add(_check_digest(f"{name}.{label}_sha256", digest, known))
    for field, _, job in _parts(work):
        _engine_options(field, job, Path("/"), models)  # raises for values out of range
    return needed


def _check_input(field: str, given: jobs_pb2.Input, known: Callable[[str], bool]) -> Iterator[str]:
    """Digests of its files."""
    if not given.files:
        raise BadWork(field, "names no files; upload some and name them here")
    if len(given.files) > MOST_FILES:
        raise BadWork(field, f"names {len(given.files)} files; {MOST_FILES} are the most")
    if given.name:
        _check_name(f"{field}.name", given.name, parts=1)
    names = [file.name for file in given.files]
    for number, file in enumerate(given.files):
        _check_name(f"{field}.files[{number}].name", file.name)
        yield _check_digest(f"{field}.files[{number}].sha256", file.sha256, known)
    if len(set(names)) != len(names):
        raise BadWork(field, "names a file twice; give every file its own name")
    if given.main and given.main not in names:
        raise BadWork(f"{field}.main", f"{given.main!r} is none of the files; name one of {', '.join(names[:8])}")


def digests_in(work: jobs_pb2.Work) -> set[str]:
    """Of all files that `work` names."""
    found = {file.sha256 for _, _, given in _inputs(work) for file in given.files}
    for _, _, options in _options(work):
        found |= {digest for label in (REGION, BLEND) if (digest := getattr(options, f"{label}_sha256"))}
    return found


def _parts(work: jobs_pb2.Work) -> Iterator[tuple[str, str, Any]]:
    """Each message that has inputs or options: its path in the request, its folder among the inputs, and itself."""
    kind = str(work.WhichOneof("kind"))
    if kind == "bake":
        for number, entry in enumerate(work.bake.entries):
            yield f"work.bake.entries[{number}]", f"{number}/", entry
    else:
        yield f"work.{kind}", "", getattr(work, kind)


def _inputs(work: jobs_pb2.Work) -> Iterator[tuple[str, str, jobs_pb2.Input]]:
    """Path in the request, folder among the inputs, input."""
    for field, folder, job in _parts(work):
        for name in NAMED_INPUTS:
            absent_is_fine = isinstance(job, jobs_pb2.BakeEntry) and name in OPTIONAL_INPUTS
            if name in job.DESCRIPTOR.fields_by_name and (job.HasField(name) or not absent_is_fine):
                yield f"{field}.{name}", f"{folder}{name}", getattr(job, name)
    for field, folder, options in _options(work):
        if options.HasField(SECOND):
            yield f"{field}.{SECOND}", f"{folder}{SECOND}", options.second


def _options(work: jobs_pb2.Work) -> Iterator[tuple[str, str, jobs_pb2.Options]]:
    """Path in the request, folder among the inputs, options."""
    for field, folder, job in _parts(work):
        if "options" in job.DESCRIPTOR.fields_by_name:
            yield f"{field}.options", folder, job.options


def _check_entries(job: jobs_pb2.BakeJob) -> None:
    if not 0 < len(job.entries) <= MOST_ENTRIES:
        raise BadWork("work.bake.entries", f"are {len(job.entries)}; give 1 to {MOST_ENTRIES}")
    names: dict[str, int] = {}
    for number, entry in enumerate(job.entries):
        field = f"work.bake.entries[{number}].name"
        _check_name(field, entry.name, parts=1)
        other = names.setdefault(entry.name.lower(), number)  # some file systems know no capitals
        if other != number:
            raise BadWork(field, f"{entry.name!r} is the name of entry {other} too; give every entry its own")


def _check_name(field: str, name: str, parts: int = MOST_PARTS) -> None:
    """parts: how many names it may consist of."""
    words = name.split("/")
    wrong = (
        not name
        or len(name) > LONGEST_NAME
        or len(words) > parts
        or any(word in ("", ".", "..") or word != word.strip() for word in words)
        or any(ord(character) < 32 or character in '\\:*?"<>|\x7f' for character in name)
        or not name.isprintable()
    )
    if wrong:
        right = "Bricks075" if parts == 1 else "albedo.png or maps/albedo.png"
        raise BadWork(field, f"{name[:80]!r} is no plain relative name; use one such as {right}")


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
    for _, name, given in _inputs(work):
        for file in given.files:
            _place(objects, file.sha256, folder / name / given.name / file.name)
    for _, name, options in _options(work):
        for label in (REGION, BLEND):
            digest = getattr(options, f"{label}_sha256")
            if digest:
                _place(objects, digest, folder / name / f"{label}.image")


def _place(objects: ObjectStore, digest: str, target: Path) -> None:
    source = objects.check(digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _path(folder: Path, name: str, given: jobs_pb2.Input) -> Path:
    """The file or folder that the engine is to read."""
    folder = folder / name / given.name
    if given.main:
        return folder / given.main
    return folder / given.files[0].name if len(given.files) == 1 and not given.name else folder


def _engine_options(field: str, job: Any, folder: Path, models: Models) -> Any:
    """The engine's options for one of `_parts`, whose files lie in `folder`. Raises BadWork."""
    from texsynth.errors import TexsynthError

    try:
        if isinstance(job, jobs_pb2.MipsJob):
            return _mip_options(job)
        if isinstance(job, jobs_pb2.MeasureJob):
            return None
        return _texture_options(f"{field}.options", job.options, folder, models)
    except TexsynthError as error:
        raise BadWork(field, str(error)) from None


def _texture_options(field: str, given: jobs_pb2.Options, folder: Path, models: Models) -> Any:
    from texsynth.options import Options, parse_maps

    values: dict[str, Any] = {"seed": given.seed, "tileable": given.tileable, "resume": True}
    for name in PLAIN:
        if getattr(given, name):
            values[name] = getattr(given, name)
    for name in ("content", "tone", "faithful", "detail"):
        if given.HasField(name):
            values[name] = getattr(given, name).value
    if given.maps:
        values["maps"] = parse_maps(",".join(given.maps))
    if given.normals:
        values["directx"] = _directx(given.normals)
    if given.model:
        values["model"] = _model(f"{field}.model", given.model, models)
    if given.region_sha256:
        values["region"] = folder / f"{REGION}.image"
    if given.HasField("selection"):
        values["selection"] = _selection(given.selection)
    if given.HasField(SECOND):
        values["second"] = _path(folder, SECOND, given.second)
    if given.blend_sha256:
        values["blend"] = folder / f"{BLEND}.image"
    elif given.HasField("blend"):
        values["blend"] = given.blend.value
    return Options(**values)


def _directx(normals: str) -> bool:
    if normals not in ("directx", "opengl"):
        raise BadWork("options.normals", f"{normals!r} is neither directx nor opengl")
    return normals == "directx"


def _model(field: str, name: str, models: Models) -> Path:
    if name not in models:
        right = f"use one of {', '.join(models)}" if models else "the operator has given the service none"
        raise BadWork(field, f"there is no model {name[:80]!r}; {right}")
    return models[name]


def _selection(given: jobs_pb2.MeshSelection) -> Any:
    from texsynth.selection import Brush, Selection

    chosen = Selection(
        tuple(given.triangles),
        tuple(given.slots),
        tuple(Brush(each.x, each.y, each.z, each.radius, each.falloff) for each in given.brushes),
    )
    if not chosen:
        raise BadWork("options.selection", "chooses nothing; name triangles, slots or brushes, or leave it out")
    return chosen


def _mip_options(given: jobs_pb2.MipsJob) -> Any:
    from texsynth.mips import MipOptions
    from texsynth.options import parse_maps
    from texsynth.storage import choose_storage

    quality: Any = given.compression or "fast"
    target: Any = given.target or None
    container: Any = given.format or None
    storage = choose_storage(target, container, quality)
    return MipOptions(storage, maps=parse_maps(",".join(given.maps)) if given.maps else None)


def carry_out(work: jobs_pb2.Work, files: Path, out: Path, run: Any, models: Models) -> dict[str, float]:
    """Do `work`, whose files lie in `files`, into `out`; figures that were measured of the result, by name.

    models: those that it may name.
    Raises texsynth.errors.TexsynthError, BadWork.
    """
    kind = work.WhichOneof("kind")
    if kind == "bake":
        return _bake(work.bake, files, out, run, models)
    field, _, job = next(_parts(work))
    options = _engine_options(field, job, files, models)
    if kind == "restyle":
        from texsynth.measure import seam_steps
        from texsynth.restyle import restyle

        asset = _path(files, "asset", job.asset)
        restyle(asset, _path(files, "exemplar", job.exemplar), out, options, run)
        return _figures(out / "report.json") | {f"{kind}.seam": step for kind, step in seam_steps(out).items()}
    if kind == "synthesize":
        from texsynth.restyle import synthesize

        synthesize(_path(files, "exemplar", job.exemplar), out, options, run)
        return _figures(out / "report.json")
    if kind == "mips":
        from texsynth.mips import make_mips

        make_mips(_path(files, "source", job.source), out, options, run)
        return {}
    _measure(job, files, out, run)
    return _figures(out / "metrics.json")


def _measure(job: jobs_pb2.MeasureJob, files: Path, out: Path, run: Any) -> None:
    from texsynth.measure import measure
    from texsynth.report.page import plain
    from texsynth.run import write_json_atomically

    generated, reference = (_path(files, name, getattr(job, name)) for name in ("generated", "reference"))
    with run.stage("measure", 0.0, 1.0):
        measured = measure(generated, reference, paired=not job.unpaired)
    out.mkdir(parents=True, exist_ok=True)
    names = {"generated": generated.name, "reference": reference.name}  # not where they lie here
    write_json_atomically(out / "metrics.json", plain(measured | names))


def _bake(job: jobs_pb2.BakeJob, files: Path, out: Path, run: Any, models: Models) -> dict[str, float]:
    """Every entry, and the summary; what is done is kept when it is done again."""
    from texsynth.bake.manifest import Entry
    from texsynth.bake.run import Outcome, Setup, bake, bake_one
    from texsynth.bake.summary import write_summary

    files = files.relative_to(out.parent)  # the summary names the inputs: not by the server's folders
    entries = []
    for number, given in enumerate(job.entries):
        folder = files / str(number)
        asset, reference = (
            _path(folder, name, getattr(given, name)) if given.HasField(name) else None for name in OPTIONAL_INPUTS
        )
        field = f"work.bake.entries[{number}]"
        entries.append(
            Entry(
                given.name,
                asset,
                _path(folder, "exemplar", given.exemplar),
                _engine_options(field, given, folder, models),
                reference,
                f"entry {number}",
            )
        )
    shares = dict.fromkeys((entry.name for entry in entries), 0.0)

    def heard(entry: Entry, _: str, fraction: float) -> None:
        shares[entry.name] = fraction

    def done(outcome: Outcome) -> None:
        shares[outcome.entry.name] = 1.0

    def stopped() -> bool:
        if not run.cancelled:
            run.step(sum(shares.values()) / len(shares))
        return bool(run.cancelled)

    with contextlib.chdir(out.parent), run.stage("bake", 0.0, 1.0):
        outcomes = bake(entries, 1, partial(bake_one, Setup(out.name)), stopped, heard, done)
        write_summary(Path(out.name), outcomes)
    counts = [outcome.state for outcome in outcomes]
    return {state: float(counts.count(state)) for state in ("made", "kept", "failed")}


def _figures(report: Path) -> dict[str, float]:
    """Every number in a report, by its path in it."""
    found: dict[str, float] = {}

    def walk(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{name}.{key}" if name else str(key))
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[name] = float(value)

    content = json.loads(report.read_text())
    content = content.get("maps", content)
    walk({key: value for key, value in content.items() if key not in NOT_MEASURED}, "")
    return dict(list(found.items())[:MOST_METRICS])
