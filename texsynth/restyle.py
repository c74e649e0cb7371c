"""The main path: an exemplar, and perhaps an asset, in; a published material out.

load -> layout (coarsest level, latent diffusion) -> expand (x2 until the size is reached) -> gather (texels of all
maps) -> publish (maps, mips, mesh, report, manifest last).
"""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mipmap.metrics import evenness, largest_verbatim
from texsynth import __version__
from texsynth.canvas import Canvas
from texsynth.content import Content, Relief, prepare_content, resized_rows
from texsynth.cut import OWN, cut_overlaps
from texsynth.errors import bad_input, from_os_error
from texsynth.exemplar import Exemplar, halved, prepare_exemplar
from texsynth.expand import PIECE_RADIUS, Steps, expand
from texsynth.fault import fault_point
from texsynth.gather import gather
from texsynth.gather_cut import Cuts, gather_cut
from texsynth.layout import Frame, plan_frame, sample_layout
from texsynth.levelling import level
from texsynth.material import (
    CHANNELS,
    MESH_SUFFIXES,
    MapKind,
    Material,
    TextureMap,
    estimate_missing,
    load_material,
    material_digest,
)
from texsynth.model.latent import BLOCK
from texsynth.options import Options
from texsynth.presets import PRESETS, Preset
from texsynth.profiles import Compute, choose_compute
from texsynth.publish import file_entry, publish_maps, require_apart, write_manifest
from texsynth.region import Region, load_region
from texsynth.report.page import plain, write_report
from texsynth.report.views import reduced
from texsynth.run import Run, write_atomically
from texsynth.surface.mesh import EMBED_SIZE, MeshAsset, load_mesh, write_glb
from texsynth.surface.raster import uv_mask
from texsynth.threads import settle_threads
from texsynth.wrap_edge import calm_roll

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

WORK = ".work"  # the state of an unfinished run, in OUT
PREVIEW = "progress.png"
BAND = 256  # texel rows that are gathered and written at once
DETAIL_BLUR = 4.0  # texels; what stays of the exemplar at --detail 0
DEFAULT_TEXEL = {MapKind.ROUGHNESS: 0.5, MapKind.METALNESS: 0.0, MapKind.HEIGHT: 0.5, MapKind.OPACITY: 1.0}
PREVIEW_SIDE = 1024


@dataclass(frozen=True)
class Asset:
    """What is restyled: its old material (None: it has none) and, for a mesh file, the mesh."""

    path: Path
    material: Material | None
    mesh: MeshAsset | None = None
    replaced: int | None = None


def synthesize(exemplar: Path, out: Path, options: Options, run: Run) -> dict[str, Any]:
    """Make a new texture that looks like the exemplar; returns the manifest (what material.json says).

    Raises TexsynthError for bad input, a full disk or cancellation; `options.resume` continues an interrupted run.
    """
    return _make(exemplar, None, out, options, run)


def restyle(asset: Path, exemplar: Path, out: Path, options: Options, run: Run) -> dict[str, Any]:
    """Give the asset (mesh, folder of maps or image) the exemplar's material; returns the manifest.

    Raises TexsynthError for bad input, a full disk or cancellation; `options.resume` continues an interrupted run.
    """
    return _make(exemplar, asset, out, options, run)


def _make(exemplar_path: Path, asset_path: Path | None, out: Path, options: Options, run: Run) -> dict[str, Any]:
    settle_threads()
    try:
        return _run(exemplar_path, asset_path, out, options, run)
    except OSError as error:  # of the run's state and of the preview
        raise from_os_error(error, error.filename or out) from error


def _run(exemplar_path: Path, asset_path: Path | None, out: Path, options: Options, run: Run) -> dict[str, Any]:
    compute = choose_compute(options.profile)
    with run.stage("load", 0.0, 0.03):
        for source in (exemplar_path, *([] if asset_path is None else [asset_path])):
            require_apart(out, source)
        material = estimate_missing(
            load_material(exemplar_path, directx=options.directx, nonfinite=options.nonfinite), options.maps
        )
        asset = None if asset_path is None else _load_asset(asset_path, options)
        region = None if options.region is None else load_region(options.region, options.size)
        work = _work_folder(out, material, asset, region, options)
        exemplar = prepare_exemplar(material, options.maps, options.density)
        content = None if asset is None or asset.material is None else prepare_content(asset.material, options.content)
        torus = (options.tileable, options.tileable)
        frame = plan_frame(exemplar, (options.size, options.size), torus, options.seed)
    preset = PRESETS[options.preset]
    with run.stage("layout", 0.03, 0.2):
        layout = _kept(work / "layout.npz", lambda: sample_layout(exemplar, frame, content, preset, run, compute))
    with run.stage("expand", 0.2, 0.65):
        mask = _wanted_windows(asset, region, options.size)
        preview = _previewer(exemplar, frame, out, run)
        positions, steps = expand(exemplar, frame, content, layout, mask, preset, work, run, preview)
    cuts = None
    if options.overlap == "cut":
        with run.stage("cut", 0.65, 0.72):
            cuts = _cut(exemplar, frame, positions, content, mask, options, preset, work, run)
    with run.stage("gather", 0.72, 0.8):
        canvases = _gather_maps(exemplar, frame, positions, cuts, content, asset, region, options, work, run)
    with run.stage("publish", 0.8, 0.93):
        maps = publish_maps(out, canvases, options.storage, run)
    with run.stage("report", 0.93, 1.0):
        index = positions if cuts is None else cuts.index()
        manifest = _finish(out, maps, canvases, material, exemplar, asset, index, steps, compute, options, run)
    shutil.rmtree(work, ignore_errors=True)
    (out / PREVIEW).unlink(missing_ok=True)
    return manifest


# --- inputs -----------------------------------------------------------------------------------------------------


def _load_asset(path: Path, options: Options) -> Asset:
    if path.suffix.lower() not in MESH_SUFFIXES:
        return Asset(path, load_material(path, directx=options.directx, nonfinite=options.nonfinite))
    mesh = load_mesh(path, directx=options.directx, nonfinite=options.nonfinite)
    if not mesh.materials:
        return Asset(path, None, mesh)
    replaced = _chosen_material(mesh, options.material)
    return Asset(path, mesh.materials[replaced], mesh, replaced)


def _chosen_material(asset: MeshAsset, name: str | None) -> int:
    """The material of this name or number; without one, that which covers the largest area of the mesh."""
    names = [material.name for material in asset.materials]
    if name is not None:
        if name in names:
            return names.index(name)
        if name.isdigit() and int(name) < len(names):
            return int(name)
        listed = ", ".join(f"{i} {n}" for i, n in enumerate(names))
        raise bad_input(asset.path, f"has no material '{name}'", f"use one of: {listed}")
    corners = asset.mesh.positions[asset.mesh.triangles]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    index = asset.mesh.material_index
    return int(np.bincount(index[index >= 0], weights=areas[index >= 0], minlength=len(names)).argmax())


def _wanted_windows(asset: Asset | None, region: Region | None, size: int) -> NDArray[np.bool_] | None:
    """Tokens, bool (size / 8, size / 8), with a texel to be made: in a UV chart or its gutter, and in the region."""
    wanted: NDArray[np.bool_] | None = None
    if asset is not None and asset.mesh is not None:
        wanted = _any_in_blocks(uv_mask(asset.mesh.mesh, size, asset.replaced))
    if region is not None:
        blocks = _any_in_blocks(region.inside)
        wanted = blocks if wanted is None else wanted & blocks
    return wanted


def _any_in_blocks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    h, w = mask.shape[0] // BLOCK, mask.shape[1] // BLOCK
    return np.asarray(mask.reshape(h, BLOCK, w, BLOCK).any(axis=(1, 3)))


# --- the state of an unfinished run ------------------------------------------------------------------------------


def _work_folder(out: Path, material: Material, asset: Asset | None, region: Region | None, options: Options) -> Path:
    """OUT/.work, emptied unless `resume` is asked for and what lies there belongs to this very job."""
    choices = {k: str(v) for k, v in asdict(options).items() if k not in ("resume", "profile", "region")}
    digest = hashlib.sha256(json.dumps([__version__, choices, material_digest(material)]).encode())
    if asset is not None:
        digest.update(b"" if asset.material is None else material_digest(asset.material).encode())
        digest.update(b"" if asset.mesh is None else asset.mesh.path.read_bytes())
    digest.update(b"" if region is None else region.inside.tobytes())
    work = out / WORK
    key = work / "job"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if options.resume and key.is_file() and key.read_text() != digest.hexdigest():
            raise bad_input(
                out, "holds an unfinished run of other inputs or options", "leave out --resume to start anew"
            )
        if not (options.resume and key.is_file()):
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            write_atomically(key, digest.hexdigest().encode())
    except OSError as error:
        raise from_os_error(error, out) from error
    return work


def _kept(path: Path, make: Callable[[], tuple[Ints, int]]) -> tuple[Ints, int]:
    """The layout, from the file of an earlier run if it is there."""
    if path.is_file():
        with np.load(path) as kept:
            return kept["positions"], int(kept["scale"])
    positions, scale = make()
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, positions=positions, scale=scale)
    temporary.replace(path)
    fault_point("layout")
    return positions, scale


def _previewer(exemplar: Exemplar, frame: Frame, out: Path, run: Run) -> Callable[[Ints, int], None]:
    """Writes OUT/progress.png, the albedo (or first map) so far, after each level that is small enough."""

    def show(positions: Ints, scale: int) -> None:
        if max(positions.shape[:2]) * BLOCK > PREVIEW_SIDE:
            return
        small = halved(exemplar.stack, int(np.log2(scale)))
        image = gather(small, positions, (0, positions.shape[0] * BLOCK), wraps=exemplar.wraps, torus=frame.torus)[
            :, :, : CHANNELS[exemplar.maps[0]]
        ]
        done, png = cv2.imencode(".png", (image[:, :, ::-1] * 255 + 0.5).astype(np.uint8))
        if done:
            write_atomically(out / PREVIEW, png.tobytes())
            run.preview = out / PREVIEW

    return show


# --- texels -----------------------------------------------------------------------------------------------------


def _cut(
    exemplar: Exemplar,
    frame: Frame,
    positions: Ints,
    content: Content | None,
    mask: NDArray[np.bool_] | None,
    options: Options,
    preset: Preset,
    work: Path,
    run: Run,
) -> Cuts:
    """Minimum cuts between the pieces, from the file of an earlier run if it is there."""
    path = work / "cuts.npy"
    if path.is_file():
        labels = np.load(path)
    else:
        labels = cut_overlaps(
            exemplar.weighted, positions, exemplar.wraps, frame.torus, preset.cut_sweeps, options.seed,
            radius=PIECE_RADIUS * min(exemplar.size) / BLOCK, wanted=mask, step=run.step,
        )  # fmt: skip
        temporary = path.with_suffix(".tmp.npy")
        np.save(temporary, labels)
        temporary.replace(path)
        fault_point("cut")
    cuts = Cuts.of(labels, positions, exemplar.size, exemplar.wraps, frame.torus, (0, 0))
    if not options.tileable or content is not None or mask is not None:
        return cuts
    # nothing ties the result to its place
    channels, normal = _channels(exemplar)
    levelled = _levelled_channels(exemplar)
    roll = calm_roll(
        exemplar.stack, cuts, channels, wraps=exemplar.wraps, normal=normal, levelled=levelled,
        offsets=_offsets(exemplar.stack, exemplar, frame, positions, cuts),
    )  # fmt: skip
    return replace(cuts, roll=roll)


def _channels(exemplar: Exemplar) -> tuple[list[slice], int]:
    """The stack's channels of each map, and the first one of the normal (-1 if there is none)."""
    ends = np.cumsum([CHANNELS[kind] for kind in exemplar.maps]).tolist()
    parts = [slice(end - CHANNELS[kind], end) for kind, end in zip(exemplar.maps, ends, strict=True)]
    normal = parts[exemplar.maps.index(MapKind.NORMAL)].start if MapKind.NORMAL in exemplar.maps else -1
    return parts, normal


def _gather_maps(
    exemplar: Exemplar,
    frame: Frame,
    positions: Ints,
    cuts: Cuts | None,
    content: Content | None,
    asset: Asset | None,
    region: Region | None,
    options: Options,
    work: Path,
    run: Run,
) -> dict[MapKind, Canvas]:
    """All maps of the result as canvases in `work`, band by band; without `cuts` the blocks of `positions` fade."""
    dtype: np.dtype[Any] = np.dtype(np.uint16 if options.format == "exr" else np.uint8)
    height, width = frame.size
    canvases = {
        kind: Canvas.create(work / f"{kind}.raw", kind, height, width, CHANNELS[kind], dtype) for kind in exemplar.maps
    }
    stack = exemplar.stack
    if options.detail < 1:
        smooth = np.stack([cv2.GaussianBlur(c, (0, 0), DETAIL_BLUR) for c in np.moveaxis(stack, 2, 0)], axis=2)
        stack = np.ascontiguousarray(smooth + np.float32(options.detail) * (stack - smooth))
    relief = None if content is None else Relief(content, frame.size)
    normal = _channels(exemplar)[1]
    levelled = _levelled_channels(exemplar)
    offsets = _offsets(stack, exemplar, frame, positions, cuts)
    shared: dict[str, Any] = {
        "wraps": exemplar.wraps, "torus": frame.torus, "normal": normal, "offsets": offsets, "levelled": levelled
    }  # fmt: skip
    top = np.float32(65535 if dtype == np.uint16 else 255)
    for first in range(0, height, BAND):
        run.step(first / height)
        last = min(first + BAND, height)
        rows = first, last
        band = gather(stack, positions, rows, **shared) if cuts is None else gather_cut(stack, cuts, rows, **shared)
        band = band[:, :width]
        if relief is not None:
            relief.lay_over(band, exemplar.maps, first)
        channel = 0
        for kind in exemplar.maps:
            made = band[:, :, channel : channel + CHANNELS[kind]]
            channel += CHANNELS[kind]
            texels = (made * top + np.float32(0.5)).astype(dtype)
            if region is not None and asset is not None:
                texels = _inside_region(texels, kind, asset, region, frame.size, first, last)
            canvases[kind].write_rows(first, texels)
        fault_point("gather_band")
    return canvases


def _offsets(stack: Floats, exemplar: Exemplar, frame: Frame, positions: Ints, cuts: Cuts | None) -> Floats | None:
    """What levels the steps at the joins, see `levelling.level`; None where no map is levelled."""
    levelled = _levelled_channels(exemplar)
    if not levelled:
        return None
    if cuts is None:
        labels = np.full((positions.shape[0] * BLOCK, positions.shape[1] * BLOCK), OWN, np.uint8)
        return level(stack, positions, labels, positions, levelled, exemplar.wraps, frame.torus)
    return level(stack, positions, cuts.labels, cuts.sources, levelled, exemplar.wraps, frame.torus)


def _levelled_channels(exemplar: Exemplar) -> tuple[int, ...]:
    """Channels whose steps at joins are levelled: all but directions and masks."""
    unlevelled = (MapKind.NORMAL, MapKind.METALNESS, MapKind.OPACITY)
    parts = zip(exemplar.maps, _channels(exemplar)[0], strict=True)
    return tuple(channel for kind, part in parts if kind not in unlevelled for channel in range(part.start, part.stop))


def _inside_region(
    texels: NDArray[Any], kind: MapKind, asset: Asset, region: Region, size: tuple[int, int], first: int, last: int
) -> NDArray[Any]:
    """New texels faded in by the region's weight; where the weight is 0, the asset's own, untouched to the bit."""
    top = np.float32(65535 if texels.dtype == np.uint16 else 255)
    old_map = None if asset.material is None else asset.material.maps.get(kind)
    if old_map is None:
        constant = (0.5, 0.5, 1.0) if kind is MapKind.NORMAL else (DEFAULT_TEXEL.get(kind, 0.5),)
        old = np.broadcast_to((np.array(constant) * top + 0.5).astype(texels.dtype), texels.shape)
    elif old_map.size == size and old_map.texels.dtype == texels.dtype:
        old = old_map.texels[first:last]
    else:
        encoded = (
            resized_rows(old_map.encoded(), size, (first, last))
            if old_map.size != size
            else old_map.encoded(slice(first, last))
        )
        old = (encoded * top + 0.5).astype(texels.dtype)
    weight = region.weights(first, last)[:, :, None]
    mixed = old + weight * (texels.astype(np.float32) - old)
    return np.where(weight > 0, (mixed + 0.5).astype(texels.dtype), old)


# --- what goes with the maps --------------------------------------------------------------------------------------


def _glb_maps(out: Path, maps: dict[str, Any], canvases: dict[MapKind, Canvas], options: Options) -> dict[MapKind, Any]:
    """What the mesh shows: the published pictures, or where only GPUs read the files the texels that went into them."""
    if not options.storage.in_blocks:
        return {kind: out / maps[kind]["file"] for kind in canvases}
    return {
        kind: reduced(TextureMap(kind, np.memmap(canvas.path, canvas.dtype, "r", shape=canvas.shape)), EMBED_SIZE)
        for kind, canvas in canvases.items()
    }


def _finish(
    out: Path,
    maps: dict[str, Any],
    canvases: dict[MapKind, Canvas],
    material: Material,
    exemplar: Exemplar,
    asset: Asset | None,
    positions: Ints,
    steps: Steps,
    compute: Compute,
    options: Options,
    run: Run,
) -> dict[str, Any]:
    """Index, mesh, report and, last, the manifest."""
    notes = list(material.notes)
    index = np.concatenate([positions, np.zeros_like(positions[:, :, :1])], axis=2)
    files = ["index.npy", "preview.png", "report.html", "report.json"]
    try:
        with (out / "index.npy").open("wb") as file:
            np.save(file, index.astype(np.int16 if max(exemplar.size) < 2**15 else np.int32))
    except OSError as error:
        raise from_os_error(error, out / "index.npy") from error
    if asset is not None and asset.mesh is not None:
        notes += [*asset.mesh.notes]
        if options.storage.in_blocks:
            side = min(options.size, EMBED_SIZE)
            notes.append(
                f"asset.glb holds its textures as PNG at {side} texels; the {options.format} files lie beside it"
            )
        notes += write_glb(
            asset.mesh, out, {asset.replaced: _glb_maps(out, maps, canvases, options)},
            keep_metalness=MapKind.METALNESS not in canvases and options.content > 0,
        )  # fmt: skip
        files.append("asset.glb")
    manifest: dict[str, Any] = {
        "schema": 1,
        "name": out.name,
        "size": [options.size, options.size],
        "maps": maps,
        "files": {},
        "estimated": sorted(str(kind) for kind in material.estimated & set(canvases)),
        "seed": options.seed,
        "options": plain(asdict(options)),
        "model": {"name": "exemplar-score", "version": __version__, "exemplar": material_digest(material)},
        "notes": notes,
    }
    if asset is not None and asset.mesh is not None:
        manifest["replaced_material"] = asset.replaced
    report = {
        "command": ["texsynth", *sys.argv[1:]],
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "copying": {
            "largest_verbatim_region": largest_verbatim(index, exemplar.size),
            "evenness": evenness(index, exemplar.size),
        },
        "lattice": {"periods": len(exemplar.lattice.waves), "strength": exemplar.lattice.strength},
        "token_steps": {"done": steps.done, "saved": steps.saved},
        "exemplar_wraps": exemplar.wraps,
        "layout_device": compute.facts(),
    }
    write_report(
        out, manifest, material, report, run, canvases=canvases,
        content=None if asset is None else asset.material,
        asset=None if asset is None else asset.mesh,
        replaced=None if asset is None else asset.replaced,
    )  # fmt: skip
    manifest["files"] = {name: file_entry(out / name) for name in files}
    write_manifest(out, manifest)
    return manifest
