"""Files at URLs, through fsspec: inputs are fetched to this machine, results are published from here.

What lies there is known by its stamp: the ETag where the store has one (S3: a digest of the content), else size and
time. fsspec and the package of the URL's scheme (s3fs, gcsfs, adlfs ...) are imported only when a URL is given.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from plugin_bridge.references import READERS, named_by
from texsynth.bake.record import RECORD, parse_record
from texsynth.errors import ErrorKind, TexsynthError, bad_input, from_os_error
from texsynth.publish import MANIFEST

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_LAST = (MANIFEST, RECORD)


def is_url(text: str) -> bool:
    """Whether `text` is a URL of another place than this machine's folders."""
    return bool(_URL.match(text)) and not text.startswith("file://")


def located(base: str, text: str) -> str:
    """`text`, a path or URL, as it is meant in the folder or URL `base`."""
    text = text.removeprefix("file://")
    if is_url(text):
        return text
    if is_url(base) and not text.startswith("/"):
        return f"{base.rstrip('/')}/{text}"
    return str(Path(base) / text)


def read_bytes(url: str) -> bytes:
    """Raises TexsynthError."""
    with _reaching(url) as (files, path):
        return bytes(files.cat_file(path))


def find(pattern: str) -> list[str]:
    """URLs of the files and folders that match a glob, sorted. Raises TexsynthError."""
    with _reaching(pattern) as (files, path):
        return sorted(files.unstrip_protocol(match).rstrip("/") for match in files.glob(path))


def fetched(url: str, cache: Path) -> Path:
    """A local copy of a file (of a .gltf, .obj or .ply: with the files that it names, as they lie around it) or folder,
    under the same name.

    cache: the copy goes to a folder in it that is named after the URL and the stamps, and each file is kept there by
    its own, so it is fetched once, however many meshes name it, and never stale. Raises TexsynthError.
    """
    with _reaching(url.rstrip("/")) as (files, path):
        names_others = PurePosixPath(path).suffix.lower() in READERS
        root = path.rpartition("/")[0] if names_others else path
        name = path[len(root) :].lstrip("/")  # "": all of `root`
        stamps = _stamps(files, root)
        if not stamps or (name and name not in stamps):
            raise bad_input(url, "does not exist", "name a file or a folder that is there")
        if any(".." in PurePosixPath(each).parts for each in stamps):
            raise bad_input(url, "has a name with '..'", "rename it")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as part:
            to = Path(part) / "copy" / PurePosixPath(root).name
            wanted, there = {name} if name else set(stamps), set[str]()
            while coming := wanted - there:
                _bring(files, root, {each: stamps[each] for each in sorted(coming)}, to, cache)
                there |= coming
                if name:
                    wanted |= set(named_by(to / name, stamps))
            used = {each: stamps[each] for each in there}
            folder = cache / hashlib.sha256(json.dumps([url, used], sort_keys=True).encode()).hexdigest()
            try:
                to.parent.rename(folder)
            except OSError:
                if not folder.exists():  # else it was there, or another process was quicker
                    raise
        return folder / PurePosixPath(root).name / name


def _bring(files: Any, root: str, stamps: dict[str, str], to: Path, cache: Path) -> None:
    """Put files below `root`, by their paths from there, below `to`; what `cache` lacks is fetched into it."""
    kept, missing = dict[str, Path](), dict[str, Path]()
    for name, stamp in stamps.items():
        place = f"{root}/{name}" if name else root
        words = json.dumps([files.unstrip_protocol(place), stamp])
        kept[name] = cache / "files" / hashlib.sha256(words.encode()).hexdigest()
        if not kept[name].exists():
            missing[place] = kept[name]
    (cache / "files").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as part:
        parts = [Path(part) / path.name for path in missing.values()]
        if parts:
            files.get(list(missing), [str(each) for each in parts])
        for each, path in zip(parts, missing.values(), strict=True):
            each.replace(path)
    for name, path in kept.items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, to / name)
        except OSError:  # not every file system can
            shutil.copyfile(path, to / name)


class Shelf:
    """A result at a URL. Its manifest and its record go last, so what has them is complete."""

    def __init__(self, url: str) -> None:
        self.url = url

    def finished(self, key: str) -> dict[str, Any] | None:
        """The record of what lies there, if it was made from `key` and every file has its stamp. TexsynthError."""
        with _reaching(self.url) as (files, path):
            try:
                record = parse_record(files.cat_file(f"{path}/{RECORD}"))
            except FileNotFoundError:
                return None
            if record.get("key") != key or record.get("stamps") != _published(files, path):
                return None
            return record

    def publish(self, folder: Path, record: dict[str, Any]) -> None:
        """Upload a finished folder; the record with the stamps goes last. Raises TexsynthError."""
        local = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
        names = [name for name in local if not name.startswith(".") and name not in _LAST]
        with _reaching(self.url) as (files, path):
            for last in reversed(_LAST):
                with suppress(FileNotFoundError):
                    files.rm_file(f"{path}/{last}")
            for name in set(_stamps(files, path)) - set(names):  # of an earlier result
                files.rm_file(f"{path}/{name}")
            files.put([str(folder / name) for name in names], [f"{path}/{name}" for name in names])
            files.put_file(str(folder / MANIFEST), f"{path}/{MANIFEST}")
            record = record | {"stamps": _published(files, path)}
            files.pipe_file(f"{path}/{RECORD}", (json.dumps(record, indent=2) + "\n").encode())

    def put(self, paths: list[Path]) -> None:
        """Upload files as they are, each whole or not at all. Raises TexsynthError."""
        with _reaching(self.url) as (files, path):
            for local in paths:
                files.put_file(str(local), f"{path}/{local.name}")


def _published(files: Any, path: str) -> dict[str, str]:
    return {name: stamp for name, stamp in _stamps(files, path).items() if name != RECORD}


def _stamps(files: Any, root: str) -> dict[str, str]:
    """Of every file below `root`, by its path from there; empty if there is none."""
    try:
        found = files.find(root, detail=True)
    except FileNotFoundError:
        return {}
    return {path[len(root) :].lstrip("/"): _stamp(info) for path, info in sorted(found.items())}


def _stamp(info: dict[str, Any]) -> str:
    for name in ("ETag", "etag", "md5Hash", "content_md5"):
        if info.get(name):
            return str(info[name])
    times = (info.get(name) for name in ("mtime", "LastModified", "last_modified", "updated", "created"))
    return f"{info.get('size')} {next(filter(None, times), '')}"


@contextmanager
def _reaching(url: str) -> Iterator[tuple[Any, str]]:
    """The file system of a URL, and the path in it. What goes wrong becomes one line."""
    try:
        import fsspec

        try:
            files, path = fsspec.core.url_to_fs(url)
        except ValueError as error:
            raise bad_input(url, str(error), "name a URL that fsspec knows, such as s3://bucket/folder") from None
        files.invalidate_cache()  # others write there too
        yield files, path
    except TexsynthError:
        raise
    except ImportError as error:
        raise TexsynthError(ErrorKind.NO_DEVICE, f"{url}: {error}; run: pip install 'texsynth[cluster]'") from None
    except FileNotFoundError:
        raise bad_input(url, "does not exist", "name what is there") from None
    except PermissionError as error:
        raise bad_input(url, f"may not be reached: {error}", "check the credentials") from None
    except OSError as error:
        if error.filename:  # a local file
            raise from_os_error(error, error.filename) from error
        raise TexsynthError(ErrorKind.NO_DEVICE, f"{url}: {error}; check the address and the line") from error
    except Exception as error:  # every store has its own kinds
        raise TexsynthError(ErrorKind.NO_DEVICE, f"{url}: {error}; check the address and the credentials") from error
