"""The files that a mesh names, which travel with it: not all that happens to lie beside it."""

from __future__ import annotations

import json
import posixpath
import re
import urllib.parse
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

# A tile's number in the name of an image of a UDIM set, or the word that stands for it.
_TILE = re.compile(r"(?<=[._ -])(?:<UDIM>|1\d{3})(?=\.[A-Za-z]+$)", re.IGNORECASE)
_TEXTURE = re.compile(r"(?:map_\w+|norm|bump|disp)\s+(.+)", re.IGNORECASE)  # in an .mtl
_PLY_TEXTURE = re.compile(r"(?im)^comment\s+TextureFile\s+(\S.*?)\s*$")
MOST_HEADER_BYTES = 1 << 20  # of a .ply


def named_by(mesh: Path, listed: Collection[str] | None = None) -> list[str]:
    """The files in or below the folder of `mesh` that it names, relative to that, each once, sorted.

    Of a .gltf buffers and images, of an .obj its .mtl and their textures, of a .ply its texture; of a UDIM set all
    tiles. Other meshes hold everything themselves. What is not there or lies outside the folder is left out, and where
    `mesh` cannot be understood nothing is found: the service says what is wrong. Raises OSError for an unreadable one.

    listed: the files that are there, relative to the folder, where they are not beside `mesh` yet; the textures of an
    .mtl are known when it is. None: those that are.
    """
    read = READERS.get(mesh.suffix.lower())
    given = set() if read is None else {posixpath.normpath(name) for name in read(mesh)}
    inside = {name for name in given if name.split("/")[0] not in ("", "..") and ":" not in name}
    if listed is None:
        names = {tile for name in inside for tile in _tiles(name, _beside(mesh.parent, name))}
        return sorted(name for name in names if (mesh.parent / name).is_file())
    return sorted({tile for name in inside for tile in _tiles(name, listed)}.intersection(listed))


def _of_gltf(mesh: Path) -> Iterator[str]:
    try:
        tree = json.loads(mesh.read_bytes())
        uris = [str(each["uri"]) for kind in ("buffers", "images") for each in tree.get(kind, ()) if "uri" in each]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return
    yield from (urllib.parse.unquote(uri) for uri in uris if not uri.startswith("data:"))


def _of_obj(mesh: Path) -> Iterator[str]:
    with mesh.open("rb") as file:
        statements = {line.decode("utf-8", "replace").strip() for line in file if line.startswith(b"mtllib")}
    for name in (statement[len("mtllib") :].strip() for statement in statements):
        yield name
        library = mesh.parent / name
        if ".." in library.parts or not library.is_file():
            continue
        for line in library.read_text("utf-8", "replace").splitlines():
            texture = _TEXTURE.match(line.strip())
            if texture:
                words = texture[1].split(" ")  # options (`-s 1 1 1`) come before the name, which may have spaces
                yield from (" ".join(words[at:]).strip() for at in range(len(words)))


def _of_ply(mesh: Path) -> Iterator[str]:
    with mesh.open("rb") as file:
        head = file.read(MOST_HEADER_BYTES).partition(b"end_header")[0]
    yield from _PLY_TEXTURE.findall(head.decode("utf-8", "replace"))


READERS = {".gltf": _of_gltf, ".obj": _of_obj, ".ply": _of_ply}
"""By suffix: of the meshes that name other files."""


def _tiles(name: str, listed: Iterable[str]) -> Iterator[str]:
    """The image `name`, or all images of its UDIM set that are listed."""
    tile = _TILE.search(name)
    if tile is None:
        yield name
        return
    one = re.compile(re.escape(name[: tile.start()]) + r"1\d{3}" + re.escape(name[tile.end() :]))
    yield from filter(one.fullmatch, listed)


def _beside(folder: Path, name: str) -> Iterator[str]:
    """The files in the folder of the file `name`, relative to `folder` like that."""
    place = (folder / name).parent
    if place.is_dir():
        yield from (posixpath.join(posixpath.dirname(name), path.name) for path in place.iterdir())
