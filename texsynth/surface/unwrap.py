"""UVs for meshes that have none, by xatlas (the extra `texsynth[unwrap]`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from texsynth.errors import bad_input
from texsynth.surface.gltf import (
    ARRAY_BUFFER,
    ELEMENT_ARRAY_BUFFER,
    Gltf,
    accessor_rows,
    accessor_values,
    copied,
    triangle_indices,
)

MAX_UNWRAPPED = 500_000  # triangles; 330,000 took 13 s of processor time, 1.3 million more than 4 minutes
PADDING = 8  # texels between charts; 1/256 of the side where that is more, which is what welding fills
ATLAS = 1500  # texels a side at which xatlas packs, at most, whatever the size of the texture
# The time that xatlas takes grows with the square of a chart's triangles: for a round mesh of 82,000 it was 40 s
# without a limit, and 5 s with charts of 1000 triangles or so. Small meshes keep the few large charts that it finds.
SMALL, CHART_TRIANGLES = 20_000, 1000


@dataclass(frozen=True)
class _Part:
    """One primitive of triangles: the vertices it uses, int64 (V,), and its triangles as indices into these, uint32
    (T, 3)."""

    primitive: dict[str, Any]
    used: NDArray[np.int64]
    triangles: NDArray[np.uint32]


def unwrapped(container: Gltf, size: int) -> Gltf:
    """The file with new UVs, TEXCOORD_0, for all its triangles, in one atlas for a texture of `size` texels a side.

    Vertices at the borders of charts become several; all their attributes and morph targets are kept. Meshes are packed
    at the scale at which their first node shows them. The same file gives the same UVs.
    Raises TexsynthError in one line: xatlas is not installed, more than `MAX_UNWRAPPED` triangles, no area, positions
    that are not finite, or vertices in sparse accessors.
    """
    try:
        import xatlas  # noqa: F401
    except ImportError:
        remedy = "unwrap it in your modeller, or pip install 'texsynth[unwrap]' to have it done here"
        raise bad_input(container.path, "has no UVs", remedy) from None
    tree = copied(container.tree)
    parts, positions = list[_Part](), list[NDArray[np.float64]]()
    for number, linear in _first_placements(tree).items():
        for primitive in tree["meshes"][number]["primitives"]:
            triangles = triangle_indices(container, primitive)
            if triangles is not None and len(triangles):
                used, inverse = np.unique(triangles, return_inverse=True)
                parts.append(_Part(primitive, used, inverse.reshape(-1, 3).astype(np.uint32)))
                values = accessor_values(container, primitive["attributes"]["POSITION"])[used].astype(np.float64)
                positions.append(values @ linear.T)
    triangle_count = sum(len(part.triangles) for part in parts)
    if triangle_count > MAX_UNWRAPPED:
        what = f"has no UVs and {triangle_count} triangles"
        raise bad_input(container.path, what, f"unwrap it in your modeller; at most {MAX_UNWRAPPED} are unwrapped here")
    charts, made = _atlas(container, parts, positions, size)
    writer = _Writer(container, tree, parts)
    for part, (origin, indices, uvs) in zip(parts, made, strict=True):
        writer.rewrite(part, part.used[origin], indices, uvs)
    note = f"{container.path.name}: has no UVs; xatlas unwrapped it in {charts} charts, and asset.glb has them"
    return replace(container, tree=tree, buffers=writer.buffers(), notes=(*container.notes, note))


_Made = tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.float32]]


def _atlas(
    container: Gltf, parts: list[_Part], positions: list[NDArray[np.float64]], size: int
) -> tuple[int, list[_Made]]:
    """How many charts there are; of each part which vertex each new vertex was, the triangles, and UVs in 0..1."""
    import xatlas

    extent = max((float(np.ptp(values, axis=0).max()) for values in positions), default=0.0)
    if not 0 < extent < 1e30:
        what = "has no UVs, and no area to unwrap" if extent == 0 else "has NaN or infinite positions"
        raise bad_input(container.path, what, "export the mesh again")
    atlas, area = xatlas.Atlas(), 0.0
    for part, values in zip(parts, positions, strict=True):
        scaled = values / extent  # xatlas takes what is below 1e-8 or so for a point
        corners = scaled[part.triangles]
        area += float(
            np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()
        )
        atlas.add_mesh(np.ascontiguousarray(scaled, np.float32), part.triangles)
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    count = sum(len(part.triangles) for part in parts)
    if count > SMALL:
        charts.max_chart_area = area / 2 * CHART_TRIANGLES / count
    charts.fix_winding, packing.rotate_charts = True, False  # what xatlas calls a rotation mirrors the chart
    packing.padding = int(np.ceil(max(PADDING / size, 1 / 256) * ATLAS))
    atlas.generate(charts, packing)
    if not atlas.width:
        raise bad_input(container.path, "has no UVs, and no area to unwrap", "export the mesh again")
    # Half the padding on every side, for textures repeat; equally dense in u and v; v down, against mirroring.
    pixels, margin = np.array([atlas.width, -atlas.height]), packing.padding / 2
    corner = np.array([margin, atlas.height + margin])
    side = max(atlas.width, atlas.height) + packing.padding
    return int(atlas.chart_count), [
        (o, t, np.asarray((uvs * pixels + corner) / side, np.float32)) for o, t, uvs in atlas
    ]


def _first_placements(tree: dict[str, Any]) -> dict[int, NDArray[np.float64]]:
    """The meshes that nodes show, and how the first node of each turns and scales it, float64 (3, 3)."""
    nodes = tree.get("nodes", [])
    children = {child for node in nodes for child in node.get("children", ())}
    found: dict[int, NDArray[np.float64]] = {}
    stack = [(index, np.eye(3)) for index in range(len(nodes) - 1, -1, -1) if index not in children]
    while stack:
        index, linear = stack.pop()
        linear = linear @ _linear(nodes[index])
        if "mesh" in nodes[index]:
            found.setdefault(nodes[index]["mesh"], linear)
        stack += [(child, linear) for child in reversed(nodes[index].get("children", ()))]
    return found


def _linear(node: dict[str, Any]) -> NDArray[np.float64]:
    """What a node does to directions: its matrix, or rotation times scale (glTF 2.0, 3.5.3)."""
    if "matrix" in node:
        return np.asarray(node["matrix"], np.float64).reshape(4, 4).T[:3, :3]
    turn = np.asarray(node.get("rotation", (0, 0, 0, 1)), np.float64)
    rotation = Rotation.from_quat(turn).as_matrix() if turn.any() else np.eye(3)
    return rotation * np.asarray(node.get("scale", (1, 1, 1)), np.float64)


class _Writer:
    """Writes rearranged accessors into a new buffer. They take the numbers of those that they replace, so that nothing
    unused stays behind."""

    def __init__(self, container: Gltf, tree: dict[str, Any], parts: list[_Part]) -> None:
        self._container, self._tree = container, tree
        self._blob = bytearray()
        self._buffer = len(tree["buffers"])
        mine = {id(part.primitive) for part in parts}
        others = [p for mesh in tree["meshes"] for p in mesh["primitives"] if id(p) not in mine]
        kept = {number for primitive in others for number in _accessors_of(primitive)}
        old = {number for part in parts for number in _accessors_of(part.primitive)}
        self._free = sorted(old - kept, reverse=True)

    def rewrite(
        self, part: _Part, origin: NDArray[np.int64], triangles: NDArray[np.uint32], uvs: NDArray[np.float32]
    ) -> None:
        """Give the primitive the vertices `origin` of its old ones, these triangles, and these UVs."""
        primitive = part.primitive
        for attributes in (primitive["attributes"], *primitive.get("targets", ())):
            for name, number in attributes.items():
                attributes[name] = self._vertices(number, origin)
        accessor = {"componentType": 5126, "count": len(uvs), "type": "VEC2"}
        primitive["attributes"]["TEXCOORD_0"] = self._added(accessor, np.ascontiguousarray(uvs, "<f4"), ARRAY_BUFFER)
        flat = triangles.reshape(-1)
        short = len(origin) < 1 << 16
        accessor = {"componentType": 5123 if short else 5125, "count": len(flat), "type": "SCALAR"}
        values = np.ascontiguousarray(flat, "<u2" if short else "<u4")
        primitive["indices"] = self._added(accessor, values[:, None], ELEMENT_ARRAY_BUFFER)
        primitive["mode"] = 4

    def buffers(self) -> tuple[bytes, ...]:
        """Those of the file and the new one."""
        self._tree["buffers"].append({"byteLength": len(self._blob)})
        return (*self._container.buffers, bytes(self._blob))

    def _vertices(self, number: int, origin: NDArray[np.int64]) -> int:
        """The rows `origin` of accessor `number` as a new one."""
        old = self._container.tree["accessors"][number]
        if "sparse" in old or "bufferView" not in old:
            what = "has no UVs, and vertices in sparse accessors"
            raise bad_input(self._container.path, what, "unwrap it in your modeller")
        rows = accessor_rows(self._container, number)
        if origin.max(initial=-1) >= len(rows):
            raise bad_input(self._container.path, "has attributes of fewer vertices than it uses", "export it again")
        rows = rows[origin]
        accessor = {key: value for key, value in old.items() if key not in ("bufferView", "byteOffset", "min", "max")}
        accessor["count"] = len(rows)
        if rows.dtype.kind == "f" and not np.isfinite(rows).all():
            raise bad_input(self._container.path, "has NaN or infinite values in its vertices", "export the mesh again")
        if "min" in old or "max" in old:
            accessor |= {"min": rows.min(axis=0).tolist(), "max": rows.max(axis=0).tolist()}
        return self._added(accessor, rows, ARRAY_BUFFER)

    def _added(self, accessor: dict[str, Any], rows: NDArray[Any], target: int) -> int:
        data = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
        view = {"buffer": self._buffer, "target": target}
        if target == ARRAY_BUFFER and data.shape[1] % 4:  # vertices begin at multiples of 4
            data = np.pad(data, ((0, 0), (0, -data.shape[1] % 4)))
            view["byteStride"] = data.shape[1]
        self._blob.extend(b"\0" * (-len(self._blob) % 4))
        self._tree["bufferViews"].append(view | {"byteOffset": len(self._blob), "byteLength": data.size})
        self._blob.extend(data.tobytes())
        accessor["bufferView"] = len(self._tree["bufferViews"]) - 1
        accessors = self._tree["accessors"]
        if self._free:
            number = self._free.pop()
            accessors[number] = accessor
            return number
        accessors.append(accessor)
        return len(accessors) - 1


def _accessors_of(primitive: dict[str, Any]) -> list[int]:
    named = [
        *primitive["attributes"].values(),
        *(n for target in primitive.get("targets", ()) for n in target.values()),
    ]
    return [*named, *([primitive["indices"]] if "indices" in primitive else [])]
