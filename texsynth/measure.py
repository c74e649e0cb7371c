"""`texsynth measure`: two results, images or folders compared map by map, as a table and as JSON.

The metrics are those of `mipmap.metrics`, on encoded values (albedo sRGB, normals (n + 1)/2, scalars as they are).
A pair is compared texel by texel too (SSIM, MCR, ADF), so it has to share size and colour space; a texture and its
exemplar do not correspond, and may differ in both.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mipmap.chain import level_sizes
from mipmap.formats import FORMATS, TexelFormat
from mipmap.metrics import (
    INCIDENCE,
    TILE,
    Encoding,
    Fidelity,
    MipConsistency,
    Sampler,
    Texture,
    VideoMemory,
    adf,
    adf_slice,
    distance_unit,
    edge_agreement,
    evenness,
    largest_verbatim,
    match_index,
    mip_consistency,
    occupancy,
    regularity,
    repetition,
    sharpness_ratio,
    sliced_wasserstein,
    ssim,
    trusted_sampler,
    wrap_ratio,
)
from texsynth.errors import bad_input
from texsynth.material import BAND, MESH_SUFFIXES, MapKind, Material, TextureMap, load_material
from texsynth.publish import MANIFEST, valid_manifest
from texsynth.surface.mesh import load_mesh
from texsynth.surface.uv_seams import SeamSamples, sample_seams, seam_error
from texsynth.surface.uv_topology import Topology

SMALLEST = 32  # a side in texels: 7 x 7 patches at a quarter of the size
WHOLE = 4096  # a side up to which an image is looked at whole; of larger ones windows, so that 8K fits in memory
WINDOW = 1024
WINDOWS = 3  # a side: 3 x 3 windows
PAIR_METRICS = ("ssim", "mcr", "adf", "adf_slice")
SPACES: dict[Encoding, str] = {"srgb": "sRGB", "linear": "linear light", "normal": "(n + 1) / 2", "scalar": "0..1"}
MATCHED = 1024  # a side of the central window that is matched with the reference when there is no index

Floats = npt.NDArray[np.float32]


def measure(generated: Path, reference: Path, *, paired: bool = True) -> dict[str, Any]:
    """Compare every map that both have; JSON-ready.

    paired: the generated texture should equal the reference texel by texel, which is measured too. False: the
    reference is an exemplar, of any size and colour space.

    maps: by kind `size`, `reference_size` [h, w]; `distance` (d, see `mipmap.metrics.texture_distance`; 0 best),
    `sliced_wasserstein` and `distance_unit` it comes from; `sharpness` (1 best); `regularity` {regular, lag, kept};
    `repetition` {excess, lag}; `wrap` {rows, columns} (1 best if it should tile) and `seamless`; `seam` {across,
    inside, ratio (1 best), samples} at the UV seams of the generated mesh (`texsynth.surface.uv_seams`), null without
    one. Of a pair, else null:
    `ssim` (1 best); `mcr` {ratio (per cent, 100 best), by_level, tile, tiles, tolerance}; `adf` and `adf_slice`
    {value (1 best), by_angle, angles, incidence, anisotropy, source}. `edge_agreement`: 1 best, null with one map only.
    `copying`: `verbatim`, `evenness`, and `index`, "index.npy" or "matched" (upright copies found by matching the
    centre of the image). `video_memory`: VMO of the generated maps, `bytes`, its `source`, and the `computed` bytes.
    `notes`: one line each: what was not measured and why, what loading assumed, what filtered for ADF and why.
    Raises TexsynthError(BAD_INPUT) if a side cannot be loaded, is below 32 texels, no map is common to both, or a
    pair differs in size or colour space.
    """
    made, known = load_material(generated), load_material(reference)
    kinds = [kind for kind in known.maps if kind in made.maps]
    if not kinds:
        raise bad_input(
            generated,
            f"has {_listed(made)} but {reference} has {_listed(known)}",
            "compare materials that have a map in common",
        )
    for path, material, least in ((generated, made, SMALLEST), (reference, known, 2 * SMALLEST)):
        if min(material.size) < least:  # distances are in units of that between the reference's halves
            raise bad_input(path, f"is {_size(material.size)} texels", f"give maps of at least {least} x {least}")
    if paired:
        _require_pair(generated, reference, made, known, kinds)
    notes = [f"{path}: {note}" for path, of in ((generated, made), (reference, known)) for note in of.notes]
    for material, other in ((made, known), (known, made)):
        lacking = [str(kind) for kind in material.maps if kind not in other.maps]
        if lacking:
            notes.append(f"{', '.join(lacking)}: only {material.name} has it, not measured")
    seams = _seams(generated, made.size)
    pairs: dict[MapKind, dict[str, Any]] = {}
    if paired:
        with trusted_sampler() as (sampler, reason):
            pairs = {kind: _measure_pair(made.maps[kind], known.maps[kind], sampler) for kind in kinds}
        notes.append(f"adf: filtered by {sampler.source}; {reason}")
    else:
        notes.append("ssim, mcr, adf: need a pair that should be equal texel by texel, not measured")
    return {
        "generated": str(generated),
        "reference": str(reference),
        "maps": {
            str(kind): _measure_map(made.maps[kind], known.maps[kind])
            | {"seam": None if seams is None else asdict(seam_error(made.maps[kind], seams))}
            | pairs.get(kind, dict.fromkeys(PAIR_METRICS))
            for kind in kinds
        },
        "edge_agreement": edge_agreement(_centres(made, kinds), _centres(known, kinds)) if len(kinds) > 1 else None,
        "copying": _measure_copying(generated, made.maps[kinds[0]], known.maps[kinds[0]]),
        "video_memory": _measure_memory(made, generated),
        "notes": notes,
    }


def seam_steps(result: Path) -> dict[str, float]:
    """Of a folder that restyle wrote: for every map the step across the mesh's UV seams over that beside them (1: not
    to be seen); empty without a mesh or without seams. Raises TexsynthError."""
    made = load_material(result)
    seams = _seams(result, made.size)
    if seams is None:
        return {}
    return {str(kind): seam_error(texture, seams).ratio for kind, texture in made.maps.items()}


def table(measured: dict[str, Any]) -> list[str]:
    """The lines of a plain table of what `measure` returned, best values in the first column's brackets."""
    maps: dict[str, dict[str, Any]] = measured["maps"]
    rows: list[tuple[str, list[str]]] = [
        ("size", [_size(values["size"]) for values in maps.values()]),
        ("reference size", [_size(values["reference_size"]) for values in maps.values()]),
        ("distance d (0, other half 1)", [f"{values['distance']:.3f}" for values in maps.values()]),
        ("sliced Wasserstein (0)", [f"{values['sliced_wasserstein']:.5f}" for values in maps.values()]),
        ("sharpness (1)", [f"{values['sharpness']:.3f}" for values in maps.values()]),
        ("regular structure kept (1)", [_kept(values["regularity"]) for values in maps.values()]),
        ("repetition (0)", [f"{values['repetition']['excess']:.3f}" for values in maps.values()]),
        ("wrap edge, rows (1)", [_wrap(values, "rows") for values in maps.values()]),
        ("wrap edge, columns (1)", [_wrap(values, "columns") for values in maps.values()]),
        ("UV seams, step across (1)", [_shown(values["seam"], "ratio", ".3f") for values in maps.values()]),
        ("SSIM (1)", ["-" if values["ssim"] is None else f"{values['ssim']:.4f}" for values in maps.values()]),
        (f"MCR, tiles of {TILE} texels, % (100)", [_shown(values["mcr"], "ratio", ".1f") for values in maps.values()]),
        (f"ADF, at {INCIDENCE:.0f} degrees (1)", [_shown(values["adf"], "value", ".4f") for values in maps.values()]),
        ("ADF, head-on slice (1)", [_shown(values["adf_slice"], "value", ".4f") for values in maps.values()]),
    ]
    first = max(len(name) for name, _ in rows)
    widths = [max(len(kind), *(len(cells[i]) for _, cells in rows)) for i, kind in enumerate(maps)]
    lines = [
        "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))])
        for name, cells in [("", list(maps)), *rows]
    ]
    if measured["edge_agreement"] is not None:
        lines.append(f"{'edges of the maps agree (1)'.ljust(first)}  {measured['edge_agreement']:.3f}")
    copying = measured["copying"]
    how = "" if copying["index"] == "index.npy" else ", found by matching"
    lines.append(f"{'largest verbatim piece'.ljust(first)}  {copying['verbatim']:.3f} of the reference's side{how}")
    lines.append(f"{'evenness of use (1)'.ljust(first)}  {copying['evenness']:.3f}{how}")
    memory = measured["video_memory"]
    lines.append(f"{'video memory, VMO'.ljust(first)}  {memory['bytes'] / 1e6:.1f} MB, {memory['source']}")
    return lines + [f"note: {note}" for note in measured["notes"]]


def _require_pair(generated: Path, reference: Path, made: Material, known: Material, kinds: list[MapKind]) -> None:
    if made.size != known.size:
        raise bad_input(
            generated,
            f"is {_size(made.size)} texels but {reference} is {_size(known.size)}",
            "resample one to the other's size, or add --unpaired if the reference is an exemplar",
        )
    for kind in kinds:
        ours, theirs = _texture(made.maps[kind]).encoding, _texture(known.maps[kind]).encoding
        if ours != theirs:
            raise bad_input(
                generated,
                f"has its {kind} in {SPACES[ours]} but {reference} in {SPACES[theirs]}",
                "save both as integers (sRGB) or both as float (linear), or add --unpaired for an exemplar",
            )


def _texture(texture: TextureMap) -> Texture:
    if texture.kind is MapKind.ALBEDO:
        return Texture(texture.texels, "linear" if texture.texels.dtype == np.float32 else "srgb")
    return Texture(texture.texels, "normal" if texture.kind is MapKind.NORMAL else "scalar")


def _measure_pair(made: TextureMap, known: TextureMap, sampler: Sampler) -> dict[str, Any]:
    result, wanted = _texture(made), _texture(known)
    return {
        "ssim": _banded_ssim(made, known),
        "mcr": _plain(mip_consistency(result, wanted)),
        "adf": _plain(adf(result, wanted, sampler=sampler)),
        "adf_slice": _plain(adf_slice(result, wanted)),
    }


def _measure_map(made: TextureMap, known: TextureMap) -> dict[str, Any]:
    result, exemplar = _windows(made), _centre(known, WHOLE)
    unit = distance_unit(exemplar)
    distance = sliced_wasserstein(result, exemplar)
    centre = result[0] if len(result) == 1 else _centre(made, WHOLE)
    structure, repeats = regularity(centre, exemplar), repetition(centre, exemplar)
    rows, columns = _wrap_strips(made)
    return {
        "size": list(made.size),
        "reference_size": list(known.size),
        "distance": distance / unit,
        "sliced_wasserstein": distance,
        "distance_unit": unit,
        "sharpness": sharpness_ratio(centre, exemplar),
        "regularity": {"regular": structure.regular, "lag": list(structure.lag), "kept": structure.kept},
        "repetition": {"excess": repeats.excess, "lag": list(repeats.lag)},
        "wrap": {"rows": rows.ratio, "columns": columns.ratio},
        "seamless": rows.seamless and columns.seamless,
    }


def _plain(found: MipConsistency | Fidelity) -> dict[str, Any]:
    """As JSON gives it back: lists for tuples."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(found).items()}


def _measure_memory(made: Material, path: Path) -> dict[str, Any]:
    """VMO of the maps: in the format of their KTX2 or DDS files, which GPUs keep as they are, or uncompressed."""
    formats = _stored_formats(path)
    if formats.keys() != made.maps.keys():
        return asdict(occupancy([_texture(texture) for texture in made.maps.values()]))
    sizes = level_sizes(*made.size)
    computed = sum(each.level_bytes(*size) for each in formats.values() for size in sizes)
    names = ", ".join(dict.fromkeys(each.name for each in formats.values()))
    return asdict(VideoMemory(computed, f"computed, as {names}", computed))


def _stored_formats(path: Path) -> dict[MapKind, TexelFormat]:
    """The formats of the maps in the KTX2 or DDS files of a result; none of any other input."""
    manifest = valid_manifest(path / MANIFEST)
    maps = {} if manifest is None else manifest["maps"]
    stored = {kind: entry.get("texel_format") for kind, entry in maps.items()}
    return {MapKind(kind): FORMATS[name] for kind, name in stored.items() if name in FORMATS}


def _seams(path: Path, size: tuple[int, int]) -> SeamSamples | None:
    """Points along the UV seams of a mesh file, or of the mesh in a folder that restyle wrote; None without a mesh."""
    if path.suffix.lower() in MESH_SUFFIXES:
        asset = load_mesh(path)
        textured = (i for i, material in enumerate(asset.materials) if MapKind.ALBEDO in material.maps)
        return sample_seams(Topology(asset.mesh, next(textured, None)), size)  # the material that load_material gives
    manifest = valid_manifest(path / MANIFEST)
    if manifest is None or "asset.glb" not in manifest["files"]:
        return None
    replaced = manifest.get("replaced_material")
    mesh = load_mesh(path / "asset.glb").mesh
    return sample_seams(Topology(mesh, replaced if isinstance(replaced, int) else None), size)


def _banded_ssim(a: TextureMap, b: TextureMap) -> float:
    """`ssim` in bands of rows that overlap by its window, so that 8K maps need little memory."""
    height, overlap = a.size[0], 10
    total, count = 0.0, 0
    for top in range(0, height - overlap, BAND):
        bottom = min(top + BAND, height - overlap)
        rows = slice(top, bottom + overlap)
        total += (bottom - top) * ssim(a.encoded(rows), b.encoded(rows))
        count += bottom - top
    return total / count


def _wrap_strips(texture: TextureMap) -> Any:
    """`wrap_ratio`'s rows and columns; of an image above WHOLE each from strips of WHOLE / 2 across the wrap edge."""
    height, width = texture.size
    if max(height, width) <= WHOLE:
        return wrap_ratio(texture.encoded())
    half = WHOLE // 4
    ends = np.concatenate([texture.encoded(slice(0, half)), texture.encoded(slice(height - half, height))])
    rows, _ = wrap_ratio(ends[:, : min(width, WHOLE)])
    sides = texture.encoded(slice(0, min(height, WHOLE)))
    _, columns = wrap_ratio(np.concatenate([sides[:, :half], sides[:, -half:]], axis=1))
    return rows, columns


def _measure_copying(generated: Path, made: TextureMap, known: TextureMap) -> dict[str, Any]:
    index = _own_index(generated, made, known)
    source = "index.npy"
    size = known.size
    if index is None:
        exemplar = _centre(known, 2 * MATCHED)
        index, source, size = match_index(_centre(made, MATCHED), exemplar), "matched", exemplar.shape[:2]
    return {"verbatim": largest_verbatim(index, size), "evenness": evenness(index, size), "index": source}


def _own_index(generated: Path, made: TextureMap, known: TextureMap) -> npt.NDArray[np.integer[Any]] | None:
    """OUT/index.npy if it is there and does lead from the blocks of the result to the reference's texels."""
    path = generated / "index.npy"
    if not path.is_file():
        return None
    try:
        index = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError):
        raise bad_input(
            path, "is not an array that NumPy can read", "make the result again, or delete the file"
        ) from None
    rows, columns = made.size[0] // 8, made.size[1] // 8
    if index.shape != (rows, columns, 3) or not np.issubdtype(index.dtype, np.integer):
        raise bad_input(
            path, f"has the shape {index.shape}, {index.dtype}", f"expected integers ({rows}, {columns}, 3)"
        )
    rng = np.random.default_rng(0)
    y, x = rng.integers(0, rows, 512), rng.integers(0, columns, 512)
    sources = np.asarray(index[y, x])
    upright = sources[:, 2] == 0
    if upright.any():  # the centre of a block is hardly touched by the cross-fade with its neighbours
        height, width = known.size
        there = known.texels[(sources[:, 0] + 4) % height, (sources[:, 1] + 4) % width][upright]
        here = made.texels[8 * y + 4, 8 * x + 4][upright]
        fetched = TextureMap(known.kind, there[None]).encoded()
        difference = np.abs(TextureMap(made.kind, here[None]).encoded() - fetched)
        if float(np.median(difference)) > 0.02:
            return None
    return np.asarray(index)


def _windows(texture: TextureMap) -> list[Floats]:
    """The whole image, or WINDOWS x WINDOWS windows of it spread from corner to corner."""
    height, width = texture.size
    if max(height, width) <= WHOLE or min(height, width) < WINDOW:
        return [texture.encoded()]
    lefts = np.linspace(0, width - WINDOW, WINDOWS).astype(int)
    bands = [texture.encoded(slice(y, y + WINDOW)) for y in np.linspace(0, height - WINDOW, WINDOWS).astype(int)]
    return [band[:, x : x + WINDOW] for band in bands for x in lefts]


def _centre(texture: TextureMap, side: int) -> Floats:
    height, width = texture.size
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return texture.encoded(slice(top, top + side))[:, left : left + side]


def _centres(material: Material, kinds: list[MapKind]) -> dict[str, Floats]:
    return {str(kind): _centre(material.maps[kind], WHOLE // 2) for kind in kinds}


def _listed(material: Material) -> str:
    return ", ".join(material.maps)


def _size(size: tuple[int, int] | list[int]) -> str:
    return f"{size[1]} x {size[0]}"


def _shown(found: dict[str, Any] | None, name: str, form: str) -> str:
    return "-" if found is None else format(found[name], form)


def _kept(structure: dict[str, Any]) -> str:
    return f"{structure['kept']:.3f}" if structure["regular"] else "not regular"


def _wrap(values: dict[str, Any], axis: str) -> str:
    return f"{values['wrap'][axis]:.3f}"
