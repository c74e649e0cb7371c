"""What is sent and what came, without sending: shared by both clients."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from texsynth_rpc.v1 import jobs_pb2

from plugin_bridge import references
from plugin_bridge.connection import PathLike
from plugin_bridge.errors import JobFailed

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".tga", ".exr", ".hdr", ".ktx2", ".dds")
REFUSED = re.compile(r'[\\:*?"<>|\x00-\x1f\x7f]')  # in names, by the service
BAKED = ("exemplar", "asset", "reference")  # inputs of an entry of a bake
FILES, INPUTS = ("region", "blend"), ("second",)  # options that are files: by digest, and as an Input


def files_of(path: Path) -> list[tuple[Path, str]]:
    """What an input consists of, each with its name in the job: a file, the maps of a folder, or a mesh with the files
    that it names, the mesh first. Raises OSError, and ValueError for a folder without images."""
    if path.is_dir():
        # Poly Haven's packages keep the maps in a subfolder, where the engine looks too.
        found = _maps_in(path) or (_maps_in(path / "textures") if (path / "textures").is_dir() else [])
        if not found:
            raise ValueError(f"{path}: holds no images; give a folder of maps, or one image")
        return [(p, p.name) for p in found]
    return [(path, path.name)] + [(path.parent / name, name) for name in references.named_by(path)]


def _maps_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGES or p.name == "material.json")


def input_of(path: Path, sent: Iterable[tuple[str, str]]) -> jobs_pb2.Input:
    """The message for `path`, whose files were sent: (name, digest) of each."""
    files = [jobs_pb2.InputFile(name=name, sha256=digest) for name, digest in sent]
    if path.is_dir():
        return jobs_pb2.Input(files=files, name=REFUSED.sub("_", path.resolve().name).strip())
    return jobs_pb2.Input(files=files, main=path.name if len(files) > 1 else "")


def is_file(option: str, value: Any) -> bool:
    """Whether an option's value is a path of which `options_of` wants the digest."""
    return option in FILES and isinstance(value, (str, os.PathLike))


def is_input(option: str, value: Any) -> bool:
    """Whether an option's value is a path of which `options_of` wants the Input."""
    return option in INPUTS and isinstance(value, (str, os.PathLike))


def options_of(values: Mapping[str, Any], sent: Mapping[str, Any]) -> jobs_pb2.Options:
    """The options of these names; None is the default. sent: the digest or Input of each that is a path.

    selection: a `jobs_pb2.MeshSelection`, or a mapping of its fields. Raises ValueError for a name that is no option.
    """
    options = jobs_pb2.Options()
    for name, value in values.items():
        if value is None:
            continue
        if name in sent:
            if isinstance(sent[name], jobs_pb2.Input):
                options.second.CopyFrom(sent[name])
            else:
                setattr(options, f"{name}_sha256", sent[name])
        elif name == "selection":
            given = isinstance(value, jobs_pb2.MeshSelection)
            options.selection.CopyFrom(value if given else jobs_pb2.MeshSelection(**value))
        elif name in ("content", "tone", "faithful", "detail", "blend"):
            getattr(options, name).value = value
        elif name == "maps":
            options.maps.extend(value)
        elif name in options.DESCRIPTOR.fields_by_name:
            setattr(options, name, value)
        else:
            raise ValueError(f"{name} is no option; there are {', '.join(sorted(options.DESCRIPTOR.fields_by_name))}")
    return options


def read_selection(choice: str) -> jobs_pb2.MeshSelection:
    """From JSON, or from the file of this name. Raises ValueError, OSError."""
    inline = choice.lstrip().startswith("{")
    chosen = jobs_pb2.MeshSelection()
    try:
        json_format.Parse(choice if inline else Path(choice).read_text(), chosen)
    except json_format.ParseError as error:
        raise ValueError(f"{'selection' if inline else choice}: {' '.join(str(error).split())[:200]}") from None
    return chosen


def submission(work: jobs_pb2.Work, batch: bool, request_id: str | None, deadline: float) -> jobs_pb2.SubmitRequest:
    """The request for a job, under a new name unless one is given."""
    return jobs_pb2.SubmitRequest(
        request_id=request_id or uuid.uuid4().hex, work=work, deadline_seconds=deadline,
        priority=jobs_pb2.PRIORITY_BATCH if batch else jobs_pb2.PRIORITY_INTERACTIVE,
    )  # fmt: skip


def figures(metrics: Iterable[jobs_pb2.Metric]) -> dict[str, float]:
    """By name."""
    return {metric.name: metric.value for metric in metrics}


def succeeded(job: jobs_pb2.Job) -> jobs_pb2.Job:
    """The same job. Raises JobFailed unless it has a result."""
    if job.state != jobs_pb2.JOB_STATE_SUCCEEDED:
        raise JobFailed(job)
    return job


def targets(job: jobs_pb2.Job, folder: PathLike) -> list[tuple[jobs_pb2.ResultFile, Path]]:
    """Where each file of a result goes. Raises OSError for a name that leads out of `folder`."""
    return [(file, Path(folder).joinpath(*_safe_parts(file.name))) for file in job.files]


def _safe_parts(name: str) -> list[str]:
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\\" in part or ":" in part for part in parts):
        raise OSError(f"{name!r}: the service names a file outside of the result")
    return parts
