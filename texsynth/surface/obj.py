"""Wavefront .obj as glTF, so that the rest of the engine knows one container."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, cast

import trimesh
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

from texsynth.errors import TexsynthError, bad_input
from texsynth.surface.gltf import Gltf, as_uri, checked, read_limited, read_uri, refusing_unreadable, split_glb


def obj_as_gltf(path: Path) -> Gltf:
    """Convert an .obj and its .mtl: geometry by trimesh, `map_Kd` (without it `Kd`) as base colour and `norm`
    as normal, by URI, not decoded.

    An .obj states no metalness; it is taken for 0, as the format's shading model has none. Materials keep their names.
    Raises TexsynthError for a file that is missing, too large or not an .obj, and for an .mtl outside its folder.
    """
    # Text in an unknown encoding would be guessed at, which takes minutes where it is large.
    text = read_limited(path).decode("utf-8", "replace").encode()
    library = _MaterialLibrary(path)
    with refusing_unreadable(path):
        scene: Any = trimesh.load_scene(io.BytesIO(text), file_type="obj", resolver=cast(Any, library), process=False)
        if not any(isinstance(geometry, trimesh.Trimesh) for geometry in scene.geometry.values()):
            raise bad_input(path, "holds no triangles", "use a mesh with a surface")
        for geometry in scene.geometry.values():
            name = getattr(getattr(geometry.visual, "material", None), "name", None) or "default"
            material = PBRMaterial(name=str(name), metallicFactor=0.0)  # type: ignore[no-untyped-call]
            visual = TextureVisuals(uv=getattr(geometry.visual, "uv", None), material=material)  # type: ignore[no-untyped-call]
            geometry.visual = visual
        if library.outside:
            raise library.outside
        json_text, chunk = split_glb(path, scene.export(file_type="glb"))
    return checked(path, _with_textures(json.loads(json_text), library), chunk)


class _MaterialLibrary:
    """Gives trimesh the .mtl beside the .obj and nothing else; remembers what the .mtl says about textures."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.outside: TexsynthError | None = None
        self.textures: dict[tuple[str, str], str] = {}
        self.colours: dict[str, list[float]] = {}

    def __getitem__(self, name: str) -> bytes:
        return self.get(name)

    def get(self, name: str) -> bytes:
        """The .mtl called `name`; raises FileNotFoundError for everything else."""
        if not name.lower().endswith(".mtl"):
            raise FileNotFoundError(name)
        try:
            data = read_uri(self._path, as_uri(name))
        except TexsynthError as error:
            self.outside = None if _is_missing(self._path, name) else error
            raise FileNotFoundError(name) from None  # trimesh goes on without materials
        current = ""
        for line in data.decode("utf-8", "replace").splitlines():
            key, _, rest = line.strip().partition(" ")
            if key == "newmtl":
                current = rest.strip()
            elif key.lower() in ("map_kd", "norm"):
                self.textures[current, key.lower()] = _texture_name(rest)
            elif key == "Kd":
                self.colours[current] = [float(word) for word in rest.split()[:3]]
        return data


def _is_missing(path: Path, name: str) -> bool:
    """An .obj without its .mtl is common and usable; one that points out of its folder is refused."""
    return ".." not in Path(name).parts and not Path(name).is_absolute() and not (path.parent / name).exists()


def _texture_name(arguments: str) -> str:
    """The file name of a `map_Kd` line: what follows its options (`-s 1 1 1`, `-clamp on`, ...)."""
    words = arguments.split(" ")
    while words and words[0].startswith("-"):
        words.pop(0)
        while len(words) > 1 and (words[0] in ("on", "off") or _is_number(words[0])):
            words.pop(0)
    return " ".join(words).strip()


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _with_textures(tree: dict[str, Any], library: _MaterialLibrary) -> dict[str, Any]:
    """Give the exported materials their textures and colours from the .mtl, by name."""
    images: list[dict[str, Any]] = []

    def texture(name: str) -> dict[str, int]:
        images.append({"uri": as_uri(name)})
        return {"index": len(images) - 1}

    for material in tree.get("materials", ()):
        name = material.get("name", "")
        pbr = material.setdefault("pbrMetallicRoughness", {})
        if (name, "map_kd") in library.textures:
            pbr["baseColorTexture"] = texture(library.textures[name, "map_kd"])
        elif name in library.colours:
            pbr["baseColorFactor"] = [*library.colours[name], 1.0]
        if (name, "norm") in library.textures:
            material["normalTexture"] = texture(library.textures[name, "norm"])
    tree["images"] = images
    tree["textures"] = [{"source": index} for index in range(len(images))]
    return tree
