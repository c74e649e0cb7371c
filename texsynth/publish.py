"""Publish a finished texture: encode its maps and mips, write the manifest last, check the digests later.

Which files a map becomes, `texsynth.storage` says. Each file is written under a temporary name, made durable (fsync),
and renamed; OUT/material.json comes last. A folder without material.json therefore holds nothing published, whatever
else lies in it, and a folder with it is complete.

material.json, schema 1 (`write_manifest` and `verify` hold a folder to it; further keys are allowed):

    schema      1
    name        name of the material
    size        [height, width] of level 0 in texels
    maps        for each map kind (albedo, normal, roughness, metalness, height, opacity):
        file                the file of level 0, relative to the folder
        width, height       texels
        channels            3 for albedo and normal, else 1
        bits                8 or 16 per channel
        colour_space        "srgb" (albedo, but not in EXR) or "linear" (everything else)
        normal_convention   "opengl" (+Y up) for the normal, else null
        format              "png" (unsigned integers), "exr" (half float; a normal is encoded (n + 1)/2 there too),
                            "ktx2" or "dds" (all levels in the one file)
        texel_format        of KTX2 and DDS, a name in `mipmap.formats`; else null
        levels              how many there are, down to 1 x 1
        sha256, bytes       digest in hexadecimal and size of the file
        mips                [{level, file, width, height, sha256, bytes}], level 1 first; none in KTX2 and DDS
    files       for every other file, by its name: {sha256, bytes} (preview, report, mesh, index map ...)
    estimated   kinds of maps that were estimated and not given
    seed        the seed of the run
    options     all options of the run
    model       what made it: name and hash
    notes       one line each: what was assumed or converted
    replaced_material   of a mesh: the number among its textured materials (`texsynth.surface.mesh.MeshAsset`), or null
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from io import BufferedRandom, BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any, cast, get_args

from mipmap.atomic import sync_folder
from mipmap.chain import level_sizes
from mipmap.formats import FormatError
from mipmap.material_chain import Rows
from mipmap.mip_set import MIPS
from mipmap.targets import Container
from texsynth.errors import bad_input, from_os_error
from texsynth.fault import fault_point
from texsynth.material import MESH_SUFFIXES, MapKind
from texsynth.material_files import TEXTURES
from texsynth.run import Run, write_json_atomically
from texsynth.storage import Gutters, Storage, write_map

SCHEMA = 1
MANIFEST = "material.json"
# A manifest that was taken back. It tells a run that follows a killed one which maps of the earlier result to remove.
WITHDRAWN = ".material.json.withdrawn"
LARGEST_MANIFEST = 16 << 20
POLL_S = 0.1

_TEMPORARY = re.compile(r"\..+\.(?P<pid>\d+)\.tmp")
_KINDS = "|".join(MapKind)
_CONTAINERS = "|".join(get_args(Container))
_OUR_MIP = re.compile(rf"({_KINDS})\.\d+\.({_CONTAINERS})")
_OUR_FILE = re.compile(
    rf"({_KINDS})\.({_CONTAINERS})|index\.npy|(preview|progress|turntable)\.png|turntable\.webp|report\.(html|json)|asset\.glb"
)


def publish_maps(
    out: Path, sources: Mapping[MapKind, Rows], storage: Storage, run: Run, gutters: Gutters | None = None
) -> dict[str, Any]:
    """Write every map with its mips into `out` and return the manifest's `maps`.

    sources: canvases, arrays or whatever else gives rows of one size (`texsynth.storage.write_map`). gutters: of the
    mesh that they are for, or None.
    One pass over each source, the maps side by side in threads, a few MB of memory each. `run.step` hears 0..1.
    Nothing under a final name changes until every file is complete on disk; then the manifest of an earlier result is
    withdrawn, its other files (maps and mips that the new one lacks, report, mesh) are removed, and the new files are
    renamed into place. The caller goes on to `write_manifest`. Temporary files are removed on any error, those of a
    killed run by the next one.
    Raises TexsynthError: BAD_INPUT (unwritable folder), NO_SPACE, CANCELLED, CORRUPT (a shortened canvas).
    """
    if len({tuple(source.shape[:2]) for source in sources.values()}) != 1:
        raise ValueError("there must be at least one map, and all of one size")
    outputs: dict[MapKind, list[_PendingFile]] = {}
    try:
        (out / MIPS).mkdir(parents=True, exist_ok=True)
        _remove_leftovers(out)
        for kind, source in sources.items():
            outputs[kind] = []
            for name in storage.file_names(kind, *source.shape[:2]):
                outputs[kind].append(_PendingFile(out / name))
        _write_all(sources, outputs, storage, run, gutters)
        entries = {str(kind): _map_entry(kind, source, outputs[kind], storage) for kind, source in sources.items()}
        fault_point("before_rename")
        _replace_published(out, [file for files in outputs.values() for file in files])
    except OSError as error:
        raise from_os_error(error, error.filename or out) from error
    except FormatError as error:
        raise bad_input(out, str(error), "choose another --format, or smaller maps") from error
    finally:
        for files in outputs.values():
            for file in files:
                file.discard()
    return entries


def withdraw(out: Path) -> None:
    """Take back the manifest of `out`, so that an interrupted change of its files cannot pass for a complete result."""
    try:
        with suppress(FileNotFoundError):
            (out / MANIFEST).replace(out / WITHDRAWN)
        sync_folder(out)
    except OSError as error:
        raise from_os_error(error, out / MANIFEST) from error


def file_entry(path: Path) -> dict[str, Any]:
    """{sha256, bytes} of a file, for the manifest's `files`. Raises TexsynthError if it cannot be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"sha256": digest, "bytes": os.fstat(file.fileno()).st_size}
    except OSError as error:
        raise from_os_error(error, path) from error


def write_manifest(out: Path, manifest: dict[str, Any]) -> None:
    """Write `manifest` as OUT/material.json, atomically; the last step of publishing.

    Raises ValueError when it breaks the schema (a mistake in the program), TexsynthError when it cannot be written.
    """
    problems = _schema_problems(manifest)
    if problems:
        raise ValueError("; ".join(problems))
    fault_point("before_manifest")
    try:
        write_json_atomically(out / MANIFEST, manifest)
    except OSError as error:
        raise from_os_error(error, out / MANIFEST) from error
    fault_point("after_manifest")


def read_manifest(path: Path) -> Any:
    """The JSON value in a manifest, whatever it is: `verify` holds it to the schema.

    Raises OSError, also for a link or a pipe, and ValueError or RecursionError for what is no JSON or too large.
    """
    with _open_regular(path) as file:
        content = file.read(LARGEST_MANIFEST + 1)
    if len(content) > LARGEST_MANIFEST:
        raise ValueError(f"more than {LARGEST_MANIFEST} bytes")
    return json.loads(content)


def valid_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest at `path`, or None if there is none that can be read and keeps the schema."""
    with suppress(OSError, ValueError, RecursionError):
        manifest: dict[str, Any] = read_manifest(path)
        return None if _schema_problems(manifest) else manifest
    return None


def require_apart(out: Path, source: Path) -> None:
    """Raises TexsynthError(BAD_INPUT) if publishing into `out` could overwrite the input `source`.

    So it is where `out` is the input folder or its subfolder of textures; where a mesh lies in `out`, for its textures
    may lie beside it; and where an image lies in `out` under a name that results have.
    """
    if source.is_dir():
        at_risk = [source, source / TEXTURES]
    elif source.suffix.lower() in MESH_SUFFIXES or _OUR_FILE.fullmatch(source.name.lower()):
        at_risk = [source.parent]
    else:
        at_risk = []
    if out.resolve() in [folder.resolve() for folder in at_risk]:
        raise bad_input(out, f"holds the input {source.name}, which could be overwritten", "name another folder")


def verify(folder: Path) -> list[str]:
    """What is wrong with a published folder, one line each as `file: problem`; empty when every digest matches.

    Reads material.json and every file it lists: missing, truncated, altered; and looks for files in mips/ that it does
    not list. Links, and names that lead out of the folder, are problems and are not followed. Never raises for what the
    folder holds.
    """
    try:
        manifest = read_manifest(folder / MANIFEST)
    except OSError as error:
        return [f"{MANIFEST}: {error.strerror or error}; nothing complete is published here"]
    except (ValueError, RecursionError) as error:
        return [f"{MANIFEST}: not readable as JSON: {' '.join(str(error).split())}"]
    problems = [f"{MANIFEST}: {problem}" for problem in _schema_problems(manifest)]
    if problems:
        return problems
    listed = dict(_listed_files(manifest))
    found_wrong = ((name, _file_problem(folder, name, entry)) for name, entry in listed.items())
    problems = [f"{_printable(name)}: {problem}" for name, problem in found_wrong if problem]
    with suppress(FileNotFoundError, NotADirectoryError):
        found = sorted(entry.name for entry in os.scandir(folder / MIPS))
        problems += [
            f"{MIPS}/{_printable(name)}: not listed in {MANIFEST}"
            for name in found
            if f"{MIPS}/{name}" not in listed and not _TEMPORARY.fullmatch(name)  # a later run that was interrupted
        ]
    return problems


class _PendingFile:
    """A file that is being written under a temporary name beside its final one.

    The temporary file stays locked until it is renamed or discarded, so that the next run can tell leftovers of a
    killed process, whose locks are gone, from the files of a living one.
    """

    def __init__(self, final: Path) -> None:
        self.final = final
        self.sha256, self.bytes = "", 0
        self._digest = hashlib.sha256()
        self._patched = False
        self._temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
        self._file = cast(BufferedRandom, self._temporary.open("w+b", buffering=1 << 18))
        with suppress(OSError):  # a file system without locks loses the protection, not the result
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise from_os_error(error, self.final) from error
        self._digest.update(data)
        self.bytes += len(data)

    def patch(self, offset: int, data: bytes) -> None:
        """Overwrite `data` at `offset` of what was written."""
        try:
            self._file.flush()
            os.pwrite(self._file.fileno(), data, offset)
        except OSError as error:
            raise from_os_error(error, self.final) from error
        self._patched = True

    def anywhere(self) -> BufferedRandom:
        """The file itself, to be written in any order instead of through `write`."""
        self._patched = True
        return self._file

    def finish(self) -> None:
        """All is written: make it durable and settle its size and digest."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            if self._patched:
                self._file.seek(0)
                self._digest = hashlib.file_digest(self._file, "sha256")
                self.bytes = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise from_os_error(error, self.final) from error
        self.sha256 = self._digest.hexdigest()

    def publish(self) -> None:
        self._temporary.replace(self.final)
        self._file.close()

    def discard(self) -> None:
        """Remove the temporary file; nothing happens after `publish`."""
        if self._file.closed:
            return
        self._temporary.unlink(missing_ok=True)
        with suppress(OSError):  # close writes what is buffered, which fails again on a full disk
            self._file.close()


def _write_all(
    sources: Mapping[MapKind, Rows],
    outputs: Mapping[MapKind, list[_PendingFile]],
    storage: Storage,
    run: Run,
    gutters: Gutters | None,
) -> None:
    """Fill and finish the pending files of every map, in threads; the calling thread reports and hears cancellation."""
    stop = threading.Event()
    written = dict.fromkeys(sources, 0.0)  # each thread writes its own entry

    def write(kind: MapKind) -> None:
        for fraction in write_map(kind, sources, outputs[kind], storage, gutters):
            written[kind] = fraction
            if stop.is_set():
                return
        for file in outputs[kind]:
            file.finish()

    share = {kind: (source.shape[2:] or (1,))[0] for kind, source in sources.items()}
    with ThreadPoolExecutor(min(len(sources), len(os.sched_getaffinity(0)))) as pool:
        try:
            waiting: set[Future[None]] = {pool.submit(write, kind) for kind in sources}
            while waiting:
                done, waiting = wait(waiting, POLL_S, FIRST_EXCEPTION)
                for future in done:
                    future.result()
                run.step(sum(share[kind] * fraction for kind, fraction in written.items()) / sum(share.values()))
        finally:
            stop.set()


def _map_entry(kind: MapKind, source: Rows, files: list[_PendingFile], storage: Storage) -> dict[str, Any]:
    names = storage.file_names(kind, *source.shape[:2])
    sizes = level_sizes(*source.shape[:2])[: len(files)]
    levels = [
        {"level": level, "file": name, "width": width, "height": height, "sha256": file.sha256, "bytes": file.bytes}
        for level, (name, file, (height, width)) in enumerate(zip(names, files, sizes, strict=True))
    ]
    base = {key: value for key, value in levels[0].items() if key != "level"}
    return {**base, **storage.facts(kind, source), "mips": levels[1:]}


def _replace_published(out: Path, files: list[_PendingFile]) -> None:
    """Take back an earlier result and rename the finished files into place. Raises OSError."""
    new = {file.final for file in files}
    earlier = [*_files_of_manifest(out / MANIFEST), *_files_of_manifest(out / WITHDRAWN)]
    outdated = [out / name for name in earlier if out / name not in new]
    outdated += [path for path in (out / MIPS).iterdir() if _OUR_MIP.fullmatch(path.name) and path not in new]
    withdraw(out)
    fault_point("after_withdraw")
    for path in [*outdated, out / WITHDRAWN]:
        path.unlink(missing_ok=True)
    for file in files:
        file.publish()
        fault_point("after_rename")
    sync_folder(out / MIPS)
    with suppress(OSError):  # that it is not empty: pictures have their mips there
        (out / MIPS).rmdir()
    sync_folder(out)


def _files_of_manifest(path: Path) -> list[str]:
    """Files outside mips/ that the manifest at `path` lists, if there is one that can be read; no names but ours."""
    manifest = valid_manifest(path)
    if manifest is None:
        return []
    return [name for name, _ in _listed_files(manifest) if _OUR_FILE.fullmatch(name)]


def _remove_leftovers(out: Path) -> None:
    """Remove temporary files of processes that are gone. Raises OSError."""
    for path in [*out.iterdir(), *(out / MIPS).iterdir()]:
        match = _TEMPORARY.fullmatch(path.name)
        # Those of this process number are overwritten under the same name, or belong to a write in progress.
        if not match or int(match["pid"]) == os.getpid() or not path.is_file():
            continue
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            path.unlink(missing_ok=True)


def _open_regular(path: Path) -> BufferedReader:
    """A regular file, not through a link, and without waiting for the writer of a pipe. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return os.fdopen(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise


def _listed_files(manifest: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for entry in manifest["maps"].values():
        yield entry["file"], entry
        for mip in entry["mips"]:
            yield mip["file"], mip
    yield from manifest["files"].items()


def _file_problem(folder: Path, name: str, entry: dict[str, Any]) -> str | None:
    """What is wrong with one listed file, without its name, or None."""
    inside = PurePosixPath(name)
    try:
        # A path that needs no resolving: links to files are refused on opening, links to folders here.
        parents = [folder / parent for parent in inside.parents if parent.name]
        if inside.is_absolute() or ".." in inside.parts or any(parent.is_symlink() for parent in parents):
            return "leads out of the folder"
        with _open_regular(folder / inside) as file:
            size = os.fstat(file.fileno()).st_size
            if size != entry["bytes"]:
                word = "truncated" if size < entry["bytes"] else "altered"
                return f"{word}, it has {size} bytes and was published with {entry['bytes']}"
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return None if digest == entry["sha256"] else "altered, its SHA-256 is not the published one"
    except OSError as error:
        return "missing" if error.errno == errno.ENOENT else f"{error.strerror or error}"
    except ValueError:
        return "cannot be the name of a file"


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)


_FILE_KEYS: dict[str, type] = {"sha256": str, "bytes": int}
_LEVEL_KEYS: dict[str, type] = {"file": str, "width": int, "height": int, **_FILE_KEYS}
_MAP_KEYS: dict[str, type] = {
    **_LEVEL_KEYS,
    "channels": int,
    "bits": int,
    "colour_space": str,
    "format": str,
    "mips": list,
}
_TOP_KEYS: dict[str, type] = {
    "name": str,
    "size": list,
    "maps": dict,
    "files": dict,
    "estimated": list,
    "seed": int,
    "options": dict,
    "model": dict,
    "notes": list,
}


def _schema_problems(manifest: Any) -> list[str]:
    """How `manifest` breaks schema 1; empty when it does not."""
    if not isinstance(manifest, dict):
        return ["the manifest is not an object"]
    if manifest.get("schema") != SCHEMA:
        return [f"schema is {manifest.get('schema')!r}; this version reads {SCHEMA}"]
    problems = _key_problems("manifest", manifest, _TOP_KEYS)
    if problems:
        return problems
    for kind, entry in manifest["maps"].items():
        if kind not in list(MapKind):
            problems.append(f"{kind!r} is not a kind of map")
            continue
        broken = _key_problems(f"map {kind}", entry, _MAP_KEYS)
        problems += broken
        if not broken:
            for mip in entry["mips"]:
                problems += _key_problems(f"mip of {kind}", mip, {"level": int, **_LEVEL_KEYS})
    for name, entry in manifest["files"].items():
        problems += _key_problems(f"file {name!r}", entry, _FILE_KEYS)
    return problems


def _key_problems(what: str, value: Any, keys: Mapping[str, type]) -> list[str]:
    if not isinstance(value, dict):
        return [f"{what} is not an object"]
    return [
        f"{what} has no {key} of type {wanted.__name__}"
        for key, wanted in keys.items()
        if not isinstance(value.get(key), wanted) or isinstance(value.get(key), bool)
    ]
