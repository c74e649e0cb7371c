"""Small glTF files of quads, made accessor by accessor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from texsynth.surface.gltf import glb_bytes

QUAD_UVS = [[0, 0], [1, 0], [1, 1], [0, 1]]
QUAD_POSITIONS = [[-1, 1, 0], [1, 1, 0], [1, -1, 0], [-1, -1, 0]]  # image top left first, facing +Z
QUAD_INDICES = [0, 3, 1, 1, 3, 2]


def png(value: Any, size: int = 8) -> bytes:
    texels = np.zeros((size, size, len(value)), np.uint8) + np.array(value, np.uint8)
    order = [2, 1, 0, 3][: len(value)] if len(value) == 4 else [2, 1, 0]
    return cv2.imencode(".png", texels[..., order])[1].tobytes()


class Builder:
    """A small glTF file in the making."""

    def __init__(self) -> None:
        self.views: list[bytes] = []
        self.tree: dict[str, Any] = {
            "asset": {"version": "2.0"},
            "scene": 0,
            "scenes": [{"nodes": []}],
            "nodes": [],
            "meshes": [],
            "accessors": [],
            "bufferViews": [],
            "materials": [],
            "textures": [],
            "images": [],
        }

    def view(self, data: bytes) -> int:
        self.views.append(data)
        self.tree["bufferViews"].append({"byteLength": len(data)})
        return len(self.views) - 1

    def accessor(self, values: Any, dtype: str, kind: str, **more: Any) -> int:
        array = np.asarray(values, dtype)
        code = {"<f4": 5126, "<u2": 5123, "<u1": 5121, "<u4": 5125}[dtype]
        accessor = {"bufferView": self.view(array.tobytes()), "componentType": code, "count": len(array), "type": kind}
        if kind == "VEC3" and dtype == "<f4":
            accessor |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        self.tree["accessors"].append(accessor | more)
        return len(self.tree["accessors"]) - 1

    def texture(self, image: bytes | str) -> dict[str, int]:
        source = {"uri": image} if isinstance(image, str) else {"bufferView": self.view(image), "mimeType": "image/png"}
        self.tree["images"].append(source)
        self.tree["textures"].append({"source": len(self.tree["images"]) - 1})
        return {"index": len(self.tree["textures"]) - 1}

    def material(self, **fields: Any) -> int:
        self.tree["materials"].append(fields)
        return len(self.tree["materials"]) - 1

    def quad(
        self,
        material: int | None = None,
        positions: Any = QUAD_POSITIONS,
        uvs: Any = QUAD_UVS,
        indices: Any = QUAD_INDICES,
        name: str = "quad",
        index_type: str = "<u2",
        **node: Any,
    ) -> dict[str, Any]:
        attributes = {"POSITION": self.accessor(positions, "<f4", "VEC3")}
        if uvs is not None:
            attributes["TEXCOORD_0"] = self.accessor(uvs, "<f4", "VEC2")
        primitive = {"attributes": attributes, "indices": self.accessor(indices, index_type, "SCALAR")}
        if material is not None:
            primitive["material"] = material
        self.tree["meshes"].append({"name": name, "primitives": [primitive]})
        self.tree["nodes"].append({"mesh": len(self.tree["meshes"]) - 1, **node})
        self.tree["scenes"][0]["nodes"].append(len(self.tree["nodes"]) - 1)
        return primitive

    def bytes(self) -> bytes:
        tree = {
            key: value for key, value in self.tree.items() if value or key not in ("materials", "textures", "images")
        }
        return glb_bytes(json.loads(json.dumps(tree)), self.views)

    def save(self, folder: Path, name: str = "asset.glb") -> Path:
        path = folder / name
        path.write_bytes(self.bytes())
        return path


def textured(builder: Builder, colour: Any = (200, 100, 50), **fields: Any) -> int:
    pbr = {"baseColorTexture": builder.texture(png(colour))} | fields.pop("pbr", {})
    return builder.material(pbrMetallicRoughness=pbr, **fields)


def rigged(uvs: bool = True) -> Builder:
    """A skinned, morphed and animated asset of two meshes, with 8-, 16- and 32-bit indices and a second UV set; its
    first surface has a texture where it has UVs."""
    builder = Builder()
    coats = [
        textured(builder) if uvs else builder.material(name="plain"),
        builder.material(name="trim", doubleSided=True),
    ]
    body = builder.quad(coats[0], uvs=QUAD_UVS if uvs else None, name="body", extras={"kept": [1, 2, 3]})
    corners = np.array(QUAD_POSITIONS, np.float32)
    body["attributes"] |= {
        "NORMAL": builder.accessor(np.tile([0, 0, 1], (4, 1)), "<f4", "VEC3"),
        "TANGENT": builder.accessor(np.tile([1, 0, 0, 1], (4, 1)), "<f4", "VEC4"),
        "COLOR_0": builder.accessor(np.arange(12).reshape(4, 3), "<u1", "VEC3", normalized=True),
        "JOINTS_0": builder.accessor([[0, 1, 0, 0]] * 4, "<u1", "VEC4"),
        "WEIGHTS_0": builder.accessor([[0.75, 0.25, 0, 0]] * 4, "<f4", "VEC4"),
    }
    if uvs:
        body["attributes"]["TEXCOORD_1"] = builder.accessor(np.array(QUAD_UVS) / 2, "<f4", "VEC2")
    body["targets"] = [{"POSITION": builder.accessor(corners * [0, 0, 3], "<f4", "VEC3")}]
    builder.tree["meshes"][0]["weights"] = [0.5]
    lid = builder.quad(
        coats[1],
        positions=corners + [3, 0, 0],
        uvs=QUAD_UVS if uvs else None,
        name="lid",
        index_type="<u4",
        scale=[-1, 2, 1],
    )
    strip = {"attributes": dict(lid["attributes"]), "material": coats[1], "mode": 5}
    strip["indices"] = builder.accessor([0, 3, 1, 2], "<u1", "SCALAR")
    builder.tree["meshes"][1]["primitives"].append(strip)
    joints = [len(builder.tree["nodes"]), len(builder.tree["nodes"]) + 1]
    builder.tree["nodes"] += [{"name": "hip", "children": [joints[1]]}, {"name": "knee", "translation": [0, -1, 0]}]
    builder.tree["scenes"][0]["nodes"].append(joints[0])
    builder.tree["nodes"][0]["skin"] = 0
    inverse = builder.accessor(np.tile(np.eye(4).reshape(1, 16), (2, 1)), "<f4", "MAT4")
    builder.tree["skins"] = [{"joints": joints, "inverseBindMatrices": inverse}]
    times = builder.accessor([[0], [1.5]], "<f4", "SCALAR", min=[0], max=[1.5])
    turns = builder.accessor([[0, 0, 0, 1], [0, 0.6, 0, 0.8]], "<f4", "VEC4")
    weights = builder.accessor([[0], [1]], "<f4", "SCALAR")
    builder.tree["animations"] = [
        {
            "samplers": [{"input": times, "output": turns}, {"input": times, "output": weights}],
            "channels": [
                {"sampler": 0, "target": {"node": joints[1], "path": "rotation"}},
                {"sampler": 1, "target": {"node": 0, "path": "weights"}},
            ],
        }
    ]
    return builder
