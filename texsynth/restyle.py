"""The main path: an exemplar, and perhaps an asset, in; a published material out.

load -> sheet (`texsynth.sheet`, only with a user's checkpoint) -> layer (`texsynth.layer`: the exemplar's texture; a
second one if two are blended) -> gather (texels of all maps, with the asset's relief, tone and region) -> publish
(maps, mips, mesh, report, manifest last). With `--faithful` the asset itself, enlarged (`texsynth.faithful`), takes the
place of layer and gather.
"""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mipmap.gl_context import GlUnavailable
from mipmap.metrics import evenness, largest_verbatim
from texsynth import __version__
from texsynth.blend import Blend, blended, ranks_of_relief
from texsynth.canvas import Canvas
from texsynth.content import Content, Relief, prepare_content, resized_rows, with_geometry
from texsynth.errors import bad_input, from_os_error
from texsynth.exemplar import Exemplar, prepare_exemplar
from texsynth.expand import Steps
from texsynth.faithful import bands, enlarge
from texsynth.fault import fault_point
from texsynth.fit import (
    Ground,
    blend_on,
    choose_ground,
    content_on,
    course_shift,
    in_texture,
    in_whole_sides,
    index_in_texture,
    shown_on,
    wanted_tokens,
)
from texsynth.grain import Grain, grain_of
from texsynth.layer import Layer, Texels, channels_of, make_layer
from texsynth.layout import plan_frame
from texsynth.material import (
    CHANNELS,
    DEFAULT_TEXEL,
    MapKind,
    Material,
    TextureMap,
    material_digest,
)
from texsynth.model.mixed_denoiser import Learned
from texsynth.options import Options
from texsynth.outside import Outside, resembles
from texsynth.presets import PRESETS
from texsynth.preview import Previewer
from texsynth.profiles import Compute, choose_compute
from texsynth.publish import file_entry, publish_maps, write_manifest
from texsynth.published import Published
from texsynth.quarter_turn import index_of_unturned, quarter_turned
from texsynth.region import Region
from texsynth.report.page import plain, write_report
from texsynth.report.turntable import ANIMATION, STRIP, make_turntable
from texsynth.report.views import reduced
from texsynth.run import Run, write_atomically
from texsynth.sheet import Brief, make_sheet
from texsynth.sources import Asset, Sources, load_asset, load_sources
from texsynth.storage import Gutters as MapGutters
from texsynth.surface.geometry_guidance import geometry_tone
from texsynth.surface.gutters import Gutters
from texsynth.surface.mesh import EMBED_SIZE, MeshAsset, write_glb
from texsynth.surface.pattern import Follow
from texsynth.surface.raster import uv_mask
from texsynth.surface.uv_notes import uv_notes
from texsynth.surface.weld import fill_gutters, weld_seams
from texsynth.threads import settle_threads
from texsynth.tone import keep_tone

Floats = NDArray[np.float32]

WORK = ".work"  # the state of an unfinished run, in OUT
PREVIEW = "progress.png"
BAND = 256  # texel rows that are gathered and written at once
MUCH_LARGER = 1.9  # times the side of the result: an exemplar of which a part is seen
MADE = 0.83  # of a run, after which what was made is published


def synthesize(
    exemplar: Path, out: Path, options: Options, run: Run, *, learned: Learned | None = None
) -> dict[str, Any]:
    """Make a new texture that looks like the exemplar; returns the manifest (what material.json says).

    learned: a network that has a say in the layout; none is shipped.
    Raises TexsynthError for bad input, a full disk or cancellation; `options.resume` continues an interrupted run.
    """
    return _make(exemplar, None, out, options, run, learned)


def restyle(
    asset: Path, exemplar: Path, out: Path, options: Options, run: Run, *, learned: Learned | None = None
) -> dict[str, Any]:
    """Give the asset (mesh, folder of maps or image) the exemplar's material; returns the manifest.

    learned: as of `synthesize`.
    Raises TexsynthError for bad input, a full disk or cancellation; `options.resume` continues an interrupted run.
    """
    return _make(exemplar, asset, out, options, run, learned)


def _make(
    exemplar_path: Path, asset_path: Path | None, out: Path, options: Options, run: Run, learned: Learned | None
) -> dict[str, Any]:
    settle_threads()
    try:
        return _run(exemplar_path, asset_path, out, options, run, learned)
    except OSError as error:  # of the run's state and of the preview
        raise from_os_error(error, error.filename or out) from error


def _run(
    exemplar_path: Path, asset_path: Path | None, out: Path, options: Options, run: Run, learned: Learned | None
) -> dict[str, Any]:
    compute = choose_compute(options.profile)
    with run.stage("load", 0.0, 0.015):
        asset = None if asset_path is None else load_asset(asset_path, options)
        sources = replace(load_sources(exemplar_path, asset, out, options), learned=learned)
        work = work_folder(out, sources, options)
    made = make_maps(sources, work, out / PREVIEW, options, compute, run)
    manifest = publish_made(made, sources, out, options, run)
    end_work(out)
    return manifest


@dataclass(frozen=True)
class Made:
    """What a run has made, before it is published. canvases: the texture's maps. indices: of each layer, int32
    (H / 8, W / 8, 3), where in its exemplar the texture's blocks come from and how they are turned, as `index.npy`.
    layers: on the ground. share: of the second layer. explained: share of the exemplar's detail that `faithful` finds
    by its other half. parts: a note on the exemplar's scale, if it is not the one that was asked for."""

    canvases: dict[MapKind, Canvas]
    indices: tuple[NDArray[np.int32], ...]
    layers: list[Layer]
    share: float
    compute: Compute
    explained: float | None = None
    parts: tuple[str, ...] = ()


def make_maps(sources: Sources, work: Path, preview: Path, options: Options, compute: Compute, run: Run) -> Made:
    """All maps, in `work`: the part of a run up to `MADE`. preview: the file of the progress picture."""
    asset = sources.asset
    with run.stage("load", 0.015, 0.02):
        topology = None if asset is None else asset.topology
        ready = _Ready(options.maps)
        first = sources.exemplars[0]
        ground = choose_ground(topology, first.size[1], options, lambda density: ready.follows(first, density))
        if ground.quarters:
            turned = tuple(quarter_turned(each, ground.quarters) for each in sources.exemplars)
            sources = replace(sources, exemplars=turned)
        free = asset is None and options.model is None
        ground, prepared, parts = _prepared(ready, ground, sources.exemplars, scales=options.faithful == 0, free=free)
        content = None if asset is None or asset.material is None else prepare_content(asset.material, options.content)
    if asset is not None and topology is not None and _takes_geometry(asset, options):
        with run.stage("geometry", 0.02, 0.03):
            content = with_geometry(content, geometry_tone(topology, options.size), options.content)
    if options.faithful > 0:
        return _enlarged(prepared[0], ground, sources, work, options, compute, run)
    guide, blend = _guides(ground, content, sources)
    lead, begin = None, 0.03
    if sources.model is not None and options.model is not None:
        begin = 0.3
        with run.stage("model", 0.03, begin):
            brief = Brief(_albedo_of(prepared[0]), prepared[0].wraps, ground.size, ground.torus, guide, options.seed)
            lead = make_sheet(
                options.model, sources.model, brief, PRESETS[options.preset], compute.device, work / "sheet.npz", run
            )
    layers = []
    previewer = _previewer(preview, run, ground, asset)
    shift = None if ground.plane is None else course_shift(ground.plane)
    wanted = wanted_tokens(ground, sources.region, options)
    for number, exemplar in enumerate(prepared):
        ends = [begin + (0.72 - begin) * (number + k) / len(prepared) for k in range(2)]
        layer = make_layer(
            exemplar, guide, _shown(wanted, blend, number), ground.size, options, compute, work / str(number), run,
            torus=ground.torus, shift=shift, lead=lead if number == 0 else None, name="second " * number,
            span=(ends[0], ends[1]), show=previewer.show, learned=sources.learned,
            outside=_outside(exemplar, ground, sources) if number == 0 else None,
        )  # fmt: skip
        layers.append(layer)
    with run.stage("gather", 0.72, 0.8):
        finish = _Finish(content, sources, options.size) if ground.plane is None else None
        canvases, share = _gather_maps(layers, sources, blend, finish, ground.size, options, work, run)
    if ground.surface is not None and options.seams == "weld":
        with run.stage("seams", 0.8, 0.815):
            _weld(canvases, ground, sources.region, run)
    if ground.plane is not None:
        with run.stage("fit", 0.815, 0.827):
            canvases = _in_texture(canvases, ground, layers[0].exemplar, content, sources, options, work, run)
    if options.tone > 0 and asset is not None:
        with run.stage("tone", 0.827, MADE):
            _keep_tone(canvases[MapKind.ALBEDO], asset, sources.region, options, run)
    if topology is not None and options.seams == "weld":
        _in_place(canvases, lambda maps: fill_gutters(maps, topology, _inside(sources.region)))
    indices = tuple(_in_blocks(layer, ground, options.size) for layer in layers)
    return Made(canvases, indices, layers, share, compute, parts=parts)


def _enlarged(
    exemplar: Exemplar, ground: Ground, sources: Sources, work: Path, options: Options, compute: Compute, run: Run
) -> Made:
    """The asset itself, enlarged: nothing is sampled."""
    assert sources.asset is not None
    assert sources.asset.material is not None  # `load_sources` has seen it
    with run.stage("expect", 0.03, 0.8):
        made = enlarge(
            exemplar, sources.asset.material, ground.size, ground.torus, options.faithful, PRESETS[options.preset].keys,
            options.seed, work / "faithful", run,
        )  # fmt: skip
    with run.stage("gather", 0.8, MADE):
        finish = _Finish(None, sources, ground.size)
        rows = bands(made, ground.torus)
        canvases = _write_bands(rows, exemplar.maps, finish, ground.size, _held_as(sources, options), work, "", run)
    topology = sources.asset.topology
    if topology is not None and options.seams == "weld":
        _in_place(canvases, lambda maps: fill_gutters(maps, topology, _inside(sources.region)))
    frame = plan_frame(exemplar, (ground.size, ground.size), ground.torus, options.seed)
    layer = Layer(exemplar, frame, made.places, None, Steps())
    return Made(canvases, (_upright(layer),), [layer], 0.0, compute, made.explained)


def publish_made(
    made: Made,
    sources: Sources,
    out: Path,
    options: Options,
    run: Run,
    span: tuple[float, float] = (MADE, 1.0),
    gutters: MapGutters | None = None,
) -> dict[str, Any]:
    """Write to `out` what was made; returns the manifest. span: the part of the run that this is. gutters: of the maps;
    None: those of the asset's mesh."""
    asset, middle = sources.asset, span[0] + 0.6 * (span[1] - span[0])
    with run.stage("publish", span[0], middle):
        if gutters is None and asset is not None and asset.topology is not None and options.seams == "weld":
            gutters = Gutters(asset.topology, options.size)
        maps = publish_maps(out, made.canvases, options.storage, run, gutters)
    with run.stage("report", middle, span[1]):
        return _finish(out, maps, made, sources, options, run)


def end_work(out: Path) -> None:
    """Remove what an unfinished run would have needed."""
    shutil.rmtree(out / WORK, ignore_errors=True)
    (out / PREVIEW).unlink(missing_ok=True)


def _prepared(
    ready: _Ready, ground: Ground, materials: Sequence[Material], *, scales: bool, free: bool
) -> tuple[Ground, list[Exemplar], tuple[str, ...]]:
    """The exemplars at the ground's density, or at another, so that whole sides of the first fit in; and a note."""
    prepared = [ready.prepared(material, ground.density) for material in materials]
    whole = in_whole_sides(ground, prepared[0], free=free) if scales else ground
    if whole is ground:
        return ground, prepared, ()
    other = [ready.prepared(material, whole.density) for material in materials]
    if other[0].lattice.otherwise is None:
        return ground, prepared, ()
    scale = ground.density / whole.density
    note = f"{materials[0].name}: its pattern repeats with its sides only; shown at {scale:.0%}, whole ones fit in"
    return whole, other, (note,)


class _Ready:
    """Exemplars, of which the last that was prepared is at hand."""

    def __init__(self, maps: tuple[MapKind, ...]) -> None:
        self._maps = maps
        self._last: tuple[Material, float, Exemplar] | None = None

    def prepared(self, material: Material, density: float) -> Exemplar:
        """As `prepare_exemplar`."""
        if self._last is None or self._last[0] is not material or self._last[1] != density:
            self._last = material, density, prepare_exemplar(material, self._maps, density)
        return self._last[2]

    def follows(self, material: Material, density: float) -> Follow:
        """What its pattern follows on a mesh: limbs where it has a grain, height where it has courses."""
        exemplar = self.prepared(material, density)
        waves = exemplar.lattice.waves
        boards = len(waves) == 1 and abs(waves[0, 1]) > abs(waves[0, 0])  # side by side, and upright
        grain = grain_of(exemplar.weighted) if boards or len(waves) == 0 else Grain.NONE
        if grain is Grain.UPRIGHT:
            return Follow.LIMBS
        if grain is Grain.LEVEL:
            return Follow.LYING_LIMBS
        return Follow.HEIGHT if len(waves) else Follow.NOTHING


# --- what guides ------------------------------------------------------------------------------------------------


def _albedo_of(exemplar: Exemplar) -> Floats:
    """Encoded, float32 (H, W, 3)."""
    if MapKind.ALBEDO not in exemplar.maps:
        raise bad_input("model", "it leads by albedo, which the exemplar has not", "give an exemplar with albedo")
    return np.ascontiguousarray(exemplar.stack[:, :, channels_of(exemplar.maps)[0]])


def _takes_geometry(asset: Asset, options: Options) -> bool:
    """Whether edges and cavities of the asset's mesh steer the result."""
    return options.content > 0 and (options.geometry == "on" or (options.geometry == "auto" and asset.material is None))


def _guides(ground: Ground, content: Content | None, sources: Sources) -> tuple[Content | None, Blend | None]:
    """Content and blend as they lie on the ground."""
    plane = ground.plane
    if plane is None or ground.texture is None:
        return content, sources.blend
    mesh = ground.texture.mesh
    return (
        None if content is None else content_on(plane, mesh, content),
        None if sources.blend is None else blend_on(plane, mesh, sources.blend),
    )


def _shown(wanted: NDArray[np.bool_] | None, blend: Blend | None, number: int) -> NDArray[np.bool_] | None:
    """Those of the wanted tokens where exemplar `number` shows."""
    shown = None if blend is None else blend.wanted()[number]
    if shown is None or wanted is None:
        return wanted if shown is None else shown
    return wanted & shown


def _outside(exemplar: Exemplar, ground: Ground, sources: Sources) -> Outside | None:
    """What the asset shows outside the region, where it is the exemplar's material and lies as the result does."""
    asset, region = sources.asset, sources.region
    if asset is None or asset.material is None or region is None or ground.plane is not None:
        return None
    if MapKind.ALBEDO not in asset.material.maps or MapKind.ALBEDO not in exemplar.maps:
        return None
    outside = Outside.of(asset.material.maps[MapKind.ALBEDO], region)
    return outside if outside is not None and resembles(outside, exemplar, ground.size) else None


def _previewer(path: Path, run: Run, ground: Ground, asset: Asset | None) -> Previewer:
    """Shows the mesh in what is made, as it lies on the ground."""
    if asset is None or asset.mesh is None:
        return Previewer(path, run, None, None)
    if ground.plane is None:
        return Previewer(path, run, asset.mesh, asset.replaced)
    return Previewer(path, run, replace(asset.mesh, mesh=shown_on(ground.plane, asset.mesh.mesh)), asset.replaced)


# --- the state of an unfinished run ------------------------------------------------------------------------------


def work_folder(out: Path, sources: Sources, options: Options) -> Path:
    """OUT/.work, emptied unless `resume` is asked for and what lies there belongs to this very job."""
    unmoved = {k: v for k, v in asdict(options).items() if not isinstance(v, Path)}  # files count by what is in them
    choices = {k: str(v) for k, v in unmoved.items() if k not in ("resume", "profile")}
    materials = [material_digest(material) for material in sources.exemplars]
    digest = hashlib.sha256(json.dumps([__version__, choices, materials]).encode())
    asset, region, blend = sources.asset, sources.region, sources.blend
    if asset is not None:
        digest.update(b"" if asset.material is None else material_digest(asset.material).encode())
        digest.update(b"" if asset.mesh is None else asset.mesh.path.read_bytes())
    for part in () if region is None else (region.masked, region.selected):
        digest.update(b"-" if part is None else part.tobytes())
    digest.update(b"" if blend is None or blend.mask is None else blend.mask.tobytes())
    digest.update(b"" if sources.learned is None else sources.learned.fingerprint())
    digest.update(b"" if sources.model is None else sources.model.sha256.encode())
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


# --- texels -----------------------------------------------------------------------------------------------------


class _Finish:
    """What is laid over a band of the texture before it is written: the asset's relief, and its own texels outside the
    region."""

    def __init__(self, content: Content | None, sources: Sources, size: int) -> None:
        self._relief = None if content is None else Relief(content, (size, size))
        self._region, self._asset, self._size = sources.region, sources.asset, size

    def relief(self, band: Floats, kinds: tuple[MapKind, ...], first: int) -> None:
        """In place."""
        if self._relief is not None:
            self._relief.lay_over(band, kinds, first)

    def region(self, made: NDArray[Any], kind: MapKind, first: int) -> NDArray[Any]:
        """Texels of one map, from row `first` on."""
        if self._region is None or self._asset is None:
            return made
        return _inside_region(made, kind, self._asset, self._region, (self._size, self._size), first, first + len(made))


def _gather_maps(
    layers: list[Layer],
    sources: Sources,
    blend: Blend | None,
    finish: _Finish | None,
    size: int,
    options: Options,
    work: Path,
    run: Run,
) -> tuple[dict[MapKind, Canvas], float]:
    """All maps of the ground as canvases in `work`, band by band, and the share of it that the second layer covers."""
    kinds, extra = layers[0].exemplar.maps, list[Floats | None]([None] * len(layers))
    if blend is not None:
        extra = [
            ranks_of_relief(material, layer.exemplar) for material, layer in zip(sources.exemplars, layers, strict=True)
        ]
    texels = [Texels(layer, options.detail, ranks) for layer, ranks in zip(layers, extra, strict=True)]
    covered = 0.0

    def rows(first: int, last: int) -> Floats:
        nonlocal covered
        bands = [each.rows(first, last) for each in texels]
        if blend is None:
            return bands[0]
        band, weights = blended(bands[0], bands[1], blend.shares(first, last), texels[0].normal)
        covered += float(weights.mean()) * (last - first) / size
        return band

    bands = (rows(first, min(first + BAND, size)) for first in range(0, size, BAND))
    canvases = _write_bands(bands, kinds, finish, size, _held_as(sources, options), work, "", run)
    return canvases, covered


def _in_texture(
    canvases: dict[MapKind, Canvas],
    ground: Ground,
    exemplar: Exemplar,
    content: Content | None,
    sources: Sources,
    options: Options,
    work: Path,
    run: Run,
) -> dict[MapKind, Canvas]:
    """The maps of the texture from those that were made on the plane."""
    maps = {kind: np.memmap(each.path, each.dtype, "r", shape=each.shape) for kind, each in canvases.items()}
    plane, texture = ground.plane, ground.texture
    assert plane is not None
    assert texture is not None
    background = np.rint(exemplar.stack.mean(axis=(0, 1)) * 255) / np.float32(255)  # codes, which rounding leaves even
    rebake = in_texture(plane, texture.mesh, options.size, maps, background)
    finish = _Finish(content, sources, options.size)
    held = _held_as(sources, options)
    made = _write_bands(rebake.bands(), exemplar.maps, finish, options.size, held, work, "fitted_", run)
    for canvas in canvases.values():
        canvas.path.unlink()
    return made


def _held_as(sources: Sources, options: Options) -> Callable[[MapKind], np.dtype[Any]]:
    """How many bits canvases have. On a mesh normals are resampled, turned and mixed before they are published; rounded
    to 8 bits each time, nearly flat ones came to steps at seams."""
    on_mesh = sources.asset is not None and sources.asset.topology is not None

    def dtype(kind: MapKind) -> np.dtype[Any]:
        wide = options.format == "exr" or (on_mesh and kind is MapKind.NORMAL)
        return np.dtype(np.uint16 if wide else np.uint8)

    return dtype


def _write_bands(
    bands: Iterator[Floats],
    kinds: tuple[MapKind, ...],
    finish: _Finish | None,
    size: int,
    held_as: Callable[[MapKind], np.dtype[Any]],
    work: Path,
    prefix: str,
    run: Run,
) -> dict[MapKind, Canvas]:
    """Canvases of `size` x `size` texels from encoded bands, float32 (rows, size, K), from the top."""
    canvases = {
        kind: Canvas.create(work / f"{prefix}{kind}.raw", kind, size, size, CHANNELS[kind], held_as(kind))
        for kind in kinds
    }
    first = 0
    for band in bands:
        run.step(first / size)
        if finish is not None:
            finish.relief(band, kinds, first)
        for kind, part in zip(kinds, channels_of(kinds), strict=True):
            dtype = canvases[kind].dtype
            made = (band[:, :, part] * np.float32(np.iinfo(dtype).max) + np.float32(0.5)).astype(dtype)
            canvases[kind].write_rows(first, made if finish is None else finish.region(made, kind, first))
        first += len(band)
        fault_point("gather_band")
    return canvases


def _keep_tone(albedo: Canvas, asset: Asset, region: Region | None, options: Options, run: Run) -> None:
    """The asset's own colour, where it varies slowly."""
    assert asset.material is not None  # `load_sources` has seen it
    own = asset.material.maps[MapKind.ALBEDO]
    covered = None if asset.mesh is None else uv_mask(asset.mesh.mesh, options.size, asset.replaced, gutter=0)
    keep_tone(albedo, own, options.tone, covered, region, run)


def _weld(canvases: dict[MapKind, Canvas], ground: Ground, region: Region | None, run: Run) -> None:
    """Let patterns go on over the mesh's UV seams."""
    surface, inside = ground.surface, None if ground.plane is not None else _inside(region)
    assert surface is not None
    _in_place(canvases, lambda maps: weld_seams(maps, surface, inside, run, fill=ground.plane is not None))


def _inside(region: Region | None) -> NDArray[np.bool_] | None:
    return None if region is None else region.inside


def _in_place(canvases: dict[MapKind, Canvas], change: Callable[[dict[MapKind, NDArray[Any]]], None]) -> None:
    """Let `change` write to the maps."""
    maps: dict[MapKind, Any] = {
        kind: np.memmap(each.path, each.dtype, "r+", shape=each.shape) for kind, each in canvases.items()
    }
    change(maps)
    for each in maps.values():
        each.flush()


def _inside_region(
    texels: NDArray[Any], kind: MapKind, asset: Asset, region: Region, size: tuple[int, int], first: int, last: int
) -> NDArray[Any]:
    """New texels faded in by the region's weight; where the weight is 0, the asset's own, untouched to the bit."""
    top = np.float32(65535 if texels.dtype == np.uint16 else 255)
    old_map = None if asset.material is None else asset.material.maps.get(kind)
    if old_map is None:
        old = np.broadcast_to((np.array(DEFAULT_TEXEL[kind]) * top + 0.5).astype(texels.dtype), texels.shape)
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


def _in_blocks(layer: Layer, ground: Ground, size: int) -> NDArray[np.int32]:
    """Where the texture's blocks come from, as in `Made`."""
    if ground.plane is not None and ground.texture is not None:
        return index_in_texture(ground.plane, ground.texture.mesh, size, layer.index)
    return index_of_unturned(_upright(layer), layer.exemplar.size, ground.quarters)


def _upright(layer: Layer) -> NDArray[np.int32]:
    """The index of a layer's own blocks, none of which are turned."""
    return np.concatenate([layer.index, np.zeros_like(layer.index[:, :, :1])], axis=2)


# --- what goes with the maps --------------------------------------------------------------------------------------


def _glb_maps(out: Path, maps: dict[str, Any], canvases: dict[MapKind, Canvas], options: Options) -> dict[MapKind, Any]:
    """What the mesh shows: the published pictures, or where only GPUs read the files the texels that went into them."""
    if not options.storage.in_blocks:
        return {kind: out / maps[kind]["file"] for kind in canvases}
    return {
        kind: reduced(TextureMap(kind, np.memmap(canvas.path, canvas.dtype, "r", shape=canvas.shape)), EMBED_SIZE)
        for kind, canvas in canvases.items()
    }


def _not_asked(exemplar: Material, options: Options) -> list[str]:
    """A note on the maps that the exemplar has and the result has not."""
    kinds = [str(kind) for kind in exemplar.maps if kind not in options.maps]
    return [f"{exemplar.name}: its {' and '.join(kinds)} would come too if --maps named it"] if kinds else []


def _chosen_for_them(mesh: MeshAsset, replaced: int | None) -> list[str]:
    """A note on the material that was replaced where the mesh has several and none was named."""
    if replaced is None or len(mesh.materials) < 2:
        return []
    taken = f"{replaced} {mesh.materials[replaced].name}, which covers the most"
    return [f"of the mesh's {len(mesh.materials)} materials {taken}, was replaced; --material names another"]


def _only_a_part(size: tuple[int, int], options: Options) -> list[str]:
    """A note where a texture is much smaller than its exemplar, of (height, width) as it was used: of a photo's twelve
    megapixels one then sees a corner, though a few large stones may have been all that it shows."""
    across = min(size) / options.size
    if across < MUCH_LARGER:
        return []
    shown = f"the result is {options.size} texels wide and its exemplar {size[1]} x {size[0]}, of which it is a part"
    return [f"{shown}; --density {options.density * across:.2g} fits the whole of it in, and takes less time"]


def _finish(
    out: Path,
    maps: dict[str, Any],
    made: Made,
    sources: Sources,
    options: Options,
    run: Run,
) -> dict[str, Any]:
    """Index, mesh, report and, last, the manifest."""
    material, exemplar, asset, canvases = sources.exemplars[0], made.layers[0].exemplar, sources.asset, made.canvases
    parts = [*made.parts, *([] if asset is not None else _only_a_part(exemplar.size, options))]
    notes = [note for each in sources.exemplars for note in (*each.notes, *_not_asked(each, options))] + parts
    estimated = frozenset[MapKind]().union(*(each.estimated for each in sources.exemplars))
    files = ["preview.png", "report.html", "report.json"]
    for layer, shown, name in zip(made.layers, made.indices, ("index.npy", "index_second.npy"), strict=False):
        try:
            with (out / name).open("wb") as file:
                np.save(file, shown.astype(np.int16 if max(layer.exemplar.size) < 2**15 else np.int32))
        except OSError as error:
            raise from_os_error(error, out / name) from error
        files.append(name)
    asked = plain(asdict(options))
    model: dict[str, Any] = {"name": "exemplar-score", "version": __version__, "exemplar": material_digest(material)}
    if sources.model is not None:
        led = sources.model
        asked["model"] = led.name  # not where it lies: results go to clients of a service
        model["led_by"] = {"name": led.name, "kind": led.kind.name, "sha256": led.sha256}
        notes.append(
            f"the layout was led by {led.name}, a checkpoint of {led.kind.name}; the texels are the exemplar's"
        )
    if sources.blend is not None:
        second = sources.exemplars[1]
        model["second"] = material_digest(second)
        notes.append(
            f"blended with {second.name}, which covers {made.share:.0%}; figures that compare with the exemplar know "
            f"only {material.name}"
        )
    if asset is not None and asset.mesh is not None and asset.topology is not None:
        chosen = [] if options.material is not None else _chosen_for_them(asset.mesh, asset.replaced)
        notes += [*asset.mesh.notes, *uv_notes(asset.topology), *chosen]
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
    if made.explained is not None:
        notes.append(
            "it is the asset, enlarged; of the detail that this adds, the exemplar's halves know "
            f"{made.explained:.0%} of each other's"
        )
    manifest: dict[str, Any] = {
        "schema": 1,
        "name": out.name,
        "size": [options.size, options.size],
        "maps": maps,
        "files": {},
        "estimated": sorted(str(kind) for kind in estimated & set(canvases)),
        "seed": options.seed,
        "options": asked,
        "model": model,
        "notes": notes,
    }
    if sources.blend is not None:
        manifest["second_share"] = made.share
    if asset is not None and asset.mesh is not None:
        manifest["replaced_material"] = asset.replaced
    on_ground = _upright(made.layers[0])
    report = {
        "command": ["texsynth", *sys.argv[1:]],
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "copying": {
            "largest_verbatim_region": largest_verbatim(on_ground, exemplar.size),
            "evenness": evenness(on_ground, exemplar.size),
        },
        "lattice": {"periods": len(exemplar.lattice.waves), "strength": exemplar.lattice.strength},
        "token_steps": {
            "done": sum(layer.steps.done for layer in made.layers),
            "saved": sum(layer.steps.saved for layer in made.layers),
        },
        "exemplar_wraps": exemplar.wraps,
        "layout_device": made.compute.facts(),
    }
    if asset is not None and asset.mesh is not None:
        try:
            turned = make_turntable(out, Published(out, maps, canvases), asset.mesh, asset.replaced, run)
            report["turntable"] = {"seconds_a_view": turned.seconds, "renderer": turned.renderer}
            files += [STRIP, ANIMATION]
        except GlUnavailable as error:
            notes.append(f"there is no turntable: {error}")
    write_report(
        out, manifest, material, report, run, canvases=canvases,
        content=None if asset is None else asset.material,
        asset=None if asset is None else asset.mesh,
        replaced=None if asset is None else asset.replaced,
    )  # fmt: skip
    manifest["files"] = {name: file_entry(out / name) for name in files}
    write_manifest(out, manifest)
    return manifest
