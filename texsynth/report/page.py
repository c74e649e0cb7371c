"""The quality report of a run: OUT/report.json, OUT/preview.png and OUT/report.html.

The page is one file without scripts or network: images are data URIs, and the viewer switches by radio buttons and
style rules, so it works from a disk, from a server with a strict content policy, and with a keyboard.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from texsynth import __version__
from texsynth.canvas import Canvas
from texsynth.errors import from_os_error
from texsynth.material import MapKind, Material, TextureMap
from texsynth.published import Image, Published
from texsynth.report.render import render_mesh, render_plane, render_sphere
from texsynth.report.turntable import ANIMATION, SIDE
from texsynth.report.views import centre_crop, lit_side, reduced, telling_place
from texsynth.run import Run, write_atomically, write_json_atomically
from texsynth.surface.mesh import MeshAsset

FRAME = 512  # side of a frame of the viewer in CSS pixels; at zoom 1:1 a frame shows as many texels
OVERVIEW = 1024  # longest side of what the renders sample
HERO, SMALL = 640, 420  # sides of the large and the small renders, of large results
MOST_BYTES = 8_000_000
_QUALITIES = (88, 78, 66, 50)  # JPEG; the first whose page stays under MOST_BYTES
_CHAIN = 256  # mip levels up to this side are shown

Encode = Callable[[Image, str], str]
"""An image and its description to an <img> element."""


def write_report(
    out: Path,
    manifest: dict[str, Any],
    exemplar: Material,
    report: dict[str, Any],
    run: Run,
    *,
    canvases: Mapping[MapKind, Canvas] | None = None,
    content: Material | None = None,
    asset: MeshAsset | None = None,
    replaced: int | None = None,
) -> None:
    """Write report.json, preview.png and report.html into `out`, which already holds the published maps.

    `manifest` is what material.json will say (`texsynth.publish`, schema 1). `report` may hold anything that JSON can;
    these keys have a place of their own on the page: `command` (str or list), `timings` (seconds by stage; else
    `run.timings`), `peak_memory_bytes`, `metrics` (as `texsynth.measure.measure` returns them), `notes`. The others
    become a table; with `turntable`, OUT/turntable.webp is shown. `canvases`: the raw maps, to crop from without
    decoding. For a restyled asset: `content`, its old
    material, and for a mesh `asset`, with `replaced` the index of the material that changed (None: all).
    Raises TexsynthError when a file cannot be read or written, or when the run was cancelled.
    """
    published = Published(out, manifest["maps"], canvases or {})
    if content is None and asset is not None and asset.materials:
        content = asset.materials[replaced or 0]
    subject = _Subject(manifest, exemplar, content, asset, replaced)
    pictures = _pictures(published, subject, run)
    facts = {"timings": dict(run.timings), **report}
    try:
        write_json_atomically(out / "report.json", plain(_summary(manifest) | facts))
        write_atomically(
            out / "preview.png", _preview(pictures.lit[0].image, published.whole(MapKind(published.kinds[0]), OVERVIEW))
        )
        for quality in _QUALITIES:
            page = _page(subject, facts, published, pictures, _encoder(quality)).encode()
            if len(page) <= MOST_BYTES:
                break
        write_atomically(out / "report.html", page)
    except OSError as error:
        raise from_os_error(error, error.filename or out) from error
    run.step(1.0)


def plain(value: Any) -> Any:
    """`value` as JSON has it: NumPy numbers and arrays, paths, enumerations and dataclasses unwrapped; NaN is null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    return str(value)


# ---- pictures


@dataclass(frozen=True)
class _Picture:
    """An image with its heading and its description for those who cannot see it."""

    image: Image
    heading: str
    description: str


@dataclass(frozen=True)
class _View:
    """One state of the viewer: a map at a zoom, side by side; each picture with its share of the frame's width."""

    kind: MapKind
    zoom: str
    pictures: tuple[tuple[_Picture, float], ...]


@dataclass(frozen=True)
class _Pictures:
    lit: tuple[_Picture, ...]
    views: tuple[_View, ...]
    chains: dict[MapKind, tuple[Image, ...]]


@dataclass(frozen=True)
class _Subject:
    """What the report is about, beside the maps themselves."""

    manifest: dict[str, Any]
    exemplar: Material
    content: Material | None
    asset: MeshAsset | None
    replaced: int | None


def _pictures(published: Published, subject: _Subject, run: Run) -> _Pictures:
    lit: list[_Picture] = []
    for picture in _lit(published, subject):
        lit.append(picture)
        run.step(0.1 * len(lit))
    views = tuple(_views(published, subject))
    run.step(0.8)
    chains = {kind: tuple(_chain(published, kind)) for kind in published.kinds}
    return _Pictures(tuple(lit), views, chains)


def _lit(published: Published, subject: _Subject) -> Iterator[_Picture]:
    exemplar, asset, replaced = subject.exemplar, subject.asset, subject.replaced
    maps = {kind: published.whole(kind, OVERVIEW) for kind in published.kinds}
    large, small = (lit_side(most, max(published.size)) for most in (HERO, SMALL))
    if asset is not None:
        old = [{kind: reduced(texture, OVERVIEW) for kind, texture in m.maps.items()} for m in asset.materials]
        # What the run did not make (metalness, opacity) stays as the asset had it.
        new = [before | maps if replaced in (None, i) else before for i, before in enumerate(old)]
        name = asset.path.stem
        picture = render_mesh(asset.mesh, new or maps, large)
        yield _Picture(picture, "New material on the mesh", f"{name} with the new material, lit")
        if old:
            yield _Picture(render_mesh(asset.mesh, old, small), "Before", f"{name} with its old material, lit")
    scale = float(subject.manifest.get("options", {}).get("density", 1.0))
    extent = int(max(1, min(*published.size, min(exemplar.size) / scale)))
    centre = _telling_centre(published)
    wanted = f"{extent} texels from pole to pole"
    result = {kind: _part(published, kind, centre, extent, OVERVIEW)[0] for kind in published.kinds}
    given = {
        kind: reduced(centre_crop(texture, max(1, round(extent * scale))), OVERVIEW)
        for kind, texture in exemplar.maps.items()
    }
    first = large if asset is None else small  # preview.png shows the first picture
    yield _Picture(render_sphere(result, first), "Result on a sphere", f"a lit sphere with the new material, {wanted}")
    yield _Picture(render_sphere(given, small), "Exemplar on a sphere", f"a lit sphere with the exemplar, {wanted}")
    yield _Picture(
        render_plane(maps, small), "Whole result on a plane", "the new material lit on a plane seen at an angle"
    )
    if asset is None:
        seen = "the exemplar lit on a plane seen at an angle"
        whole = {kind: reduced(texture, OVERVIEW) for kind, texture in exemplar.maps.items()}
        yield _Picture(render_plane(whole, small), "Whole exemplar on a plane", seen)


def _views(published: Published, subject: _Subject) -> Iterator[_View]:
    """The viewer's states. A frame shows `extent` texels of the result; beside it as many of the exemplar (x density),
    and the same part of the content."""
    exemplar, content = subject.exemplar, subject.content
    density = float(subject.manifest.get("options", {}).get("density", 1.0))
    side = max(published.size)
    zooms = [("Whole", side)]
    zooms += [(label, extent) for label, extent in (("1 : 4", 4 * FRAME), ("1 : 1", FRAME)) if extent < side]
    centre = _telling_centre(published)
    for kind in published.kinds:
        for label, extent in zooms:
            image, start = _part(published, kind, centre, extent, FRAME)
            row = [(_Picture(image, "Result", f"{kind} of the result, {label}"), 1.0)]
            if kind in exemplar.maps:
                texture = centre_crop(exemplar.maps[kind], max(1, round(extent * density)))
                share = min(1.0, max(texture.size) / (extent * density))
                image = _fitted(texture, max(1, round(FRAME * share)))
                picture = _Picture(image, "Exemplar", f"{kind} of the exemplar, same scale")
                row.insert(0, (picture, share))
            if content is not None and kind in content.maps:
                part = _same_part(content, kind, start, extent, published.size)
                row.insert(0, (_Picture(part, "Asset before", f"old {kind} of the asset, same place"), 1.0))
            yield _View(kind, label, tuple(row))


def _telling_centre(published: Published) -> tuple[float, float]:
    """(y, x) in texels of the middle of the window of `FRAME` texels that is worth a closer look."""
    share = min(1.0, FRAME / max(published.size))
    y, x = telling_place(published.whole(published.kinds[0], FRAME), share)
    return (y + share / 2) * published.size[0], (x + share / 2) * published.size[1]


def _part(
    published: Published, kind: MapKind, centre: tuple[float, float], extent: int, most: int
) -> tuple[Image, tuple[int, int]]:
    """`extent` x `extent` texels of the result around `centre`, as far as it goes, and where they start (y, x).

    Reduced by a power of two until no side exceeds `most`.
    """
    step = 1 << max(0, math.ceil(math.log2(extent / most)))
    start = [
        int(min(max(middle - extent / 2, 0), max(length - extent, 0))) // step * step
        for middle, length in zip(centre, published.size, strict=True)
    ]
    return published.window(kind, start[0], start[1], extent, step), (start[0], start[1])


def _same_part(content: Material, kind: MapKind, start: tuple[int, int], extent: int, size: tuple[int, int]) -> Image:
    """The part of the content under a window of the result, at the frame's size."""
    height, width = content.size
    y0, x0 = start[0] * height // size[0], start[1] * width // size[1]
    y1 = max(y0 + 1, min(height, (start[0] + extent) * height // size[0]))
    x1 = max(x0 + 1, min(width, (start[1] + extent) * width // size[1]))
    return _fitted(dataclasses.replace(content.maps[kind], texels=content.maps[kind].texels[y0:y1, x0:x1]), FRAME)


def _fitted(texture: TextureMap, side: int) -> Image:
    """A map with its longer side at exactly `side` pixels: box filter down, linear between and up."""
    image = reduced(texture, 2 * side)
    scale = side / max(image.shape[:2])
    shape = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    if shape == image.shape[1::-1]:
        return image
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(image, shape, interpolation=method)
    return np.asarray(resized, np.uint8).reshape(shape[1], shape[0], -1)


def _chain(published: Published, kind: MapKind) -> Iterator[Image]:
    for number, size in enumerate(published.sizes(kind)):
        if max(size) <= _CHAIN:
            yield published.level(kind, number)


def _preview(lit: Image, flat: Image) -> bytes:
    """The lit picture and the flat albedo side by side, equally high, as PNG."""
    height = lit.shape[0]
    width = max(1, round(flat.shape[1] * height / flat.shape[0]))
    smaller = height < flat.shape[0]
    beside = cv2.resize(flat, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    beside = np.repeat(beside[..., None], 3, axis=2) if beside.ndim == 2 else beside
    gap = np.full((height, 12, 3), 255, np.uint8)
    return _encoded(np.hstack([lit, gap, beside.astype(np.uint8)]), ".png", [cv2.IMWRITE_PNG_COMPRESSION, 4])


def _encoded(image: NDArray[Any], suffix: str, parameters: Sequence[int]) -> bytes:
    image = np.ascontiguousarray(image[..., ::-1] if image.ndim == 3 and image.shape[2] == 3 else image)
    done, data = cv2.imencode(suffix, image, list(parameters))
    assert done
    return data.tobytes()


def _encoder(quality: int) -> Encode:
    """Images as JPEG without colour subsampling (normals suffer from it), small ones as PNG."""
    full_colour = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]

    def element(image: Image, description: str) -> str:
        if max(image.shape[:2]) <= 64:
            kind, data = "png", _encoded(image, ".png", [])
        else:
            kind, data = "jpeg", _encoded(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality, *full_colour])
        uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        height, width = image.shape[:2]
        return f'<img src="{uri}" width="{width}" height="{height}" alt="{html.escape(description)}">'

    return element


# ---- the page


def _page(subject: _Subject, facts: dict[str, Any], published: Published, pictures: _Pictures, encode: Encode) -> str:
    manifest, exemplar = subject.manifest, subject.exemplar
    name = str(manifest.get("name") or exemplar.name)
    height, width = published.size
    views = pictures.views
    restyled = subject.content is not None or subject.asset is not None
    maps = ", ".join(published.kinds)
    made = "restyled after" if restyled else "synthesised from"
    sections = (
        _section(
            "Lit preview", _gallery(pictures.lit, encode), "One key light, one soft sky; the same for every picture."
        ),
        _turntable_section(published.out, facts),
        _section("Maps", _viewer(views, manifest, encode), _VIEWER_HINT),
        _section("Mip chain", _chains(pictures.chains, published, encode), _CHAIN_HINT),
        _metrics_section(facts.get("metrics"), manifest),
        _costs_section(facts),
        _further_section(facts),
        _notes_section(manifest, exemplar, facts),
        _reproduction_section(manifest, facts),
        _files_section(manifest),
    )
    template = Template(resources.files("texsynth.report").joinpath("page.html").read_text("utf-8"))
    return template.substitute(
        title=_text(name),
        lede=f"{_text(maps)} at {width} × {height} texels, {made} {_text(exemplar.name)}.",
        tiles=_tiles(manifest, facts, published),
        columns=str(max((len(view.pictures) for view in views), default=1)),
        viewer_rules=_viewer_rules(views),
        sections="\n".join(section for section in sections if section),
        version=_text(__version__),
    )


_VIEWER_HINT = (
    "Exemplar and result stand side by side at the same texel density: at 1 : 1 one texel is one pixel, so both show "
    "as much detail as they have. An exemplar smaller than the frame leaves the rest of it empty."
)
_CHAIN_HINT = (
    "What a viewer shows at a distance. Colours are averaged in linear light and normals as vectors; the smallest "
    "level should look like the mean of the material."
)


def _text(value: Any) -> str:
    return html.escape(str(value))


def _section(title: str, body: str, hint: str = "") -> str:
    anchor = title.lower().replace(" ", "-")
    said = f'<p class="hint">{_text(hint)}</p>' if hint else ""
    return f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{_text(title)}</h2>{said}{body}</section>'


def _tiles(manifest: dict[str, Any], facts: dict[str, Any], published: Published) -> str:
    height, width = published.size
    total = sum(facts["timings"].values())
    tiles = [("Size", f"{width} × {height}")]
    tiles += [("Time", _seconds(total))] if total else []
    if facts.get("peak_memory_bytes"):
        tiles.append(("Peak memory", _bytes(facts["peak_memory_bytes"])))
    tiles += [("Seed", str(manifest["seed"]))] if "seed" in manifest else []
    distance = _dig(facts.get("metrics"), "maps", "albedo", "distance")
    verbatim = _dig(facts.get("metrics"), "copying", "verbatim")
    tiles += [("Distance to the exemplar", _number(distance))] if distance is not None else []
    tiles += [("Largest verbatim piece", f"{verbatim:.0%}")] if verbatim is not None else []
    return "".join(f"<li><span>{_text(label)}</span><strong>{_text(value)}</strong></li>" for label, value in tiles)


def _gallery(lit: Sequence[_Picture], encode: Encode) -> str:
    figures = (
        f"<figure{' class=hero' if i == 0 and len(lit) == 5 else ''}>{encode(picture.image, picture.description)}"
        f"<figcaption><b>{_text(picture.heading)}</b></figcaption></figure>"
        for i, picture in enumerate(lit)
    )
    return f'<div class="gallery">{"".join(figures)}</div>'


def _turntable_section(out: Path, facts: dict[str, Any]) -> str:
    if "turntable" not in facts:
        return ""
    data = base64.b64encode((out / ANIMATION).read_bytes()).decode()
    alt = "the mesh with the new material, turning"
    picture = f'<img src="data:image/webp;base64,{data}" width="{SIDE}" height="{SIDE}" alt="{alt}">'
    hint = f"Image-based light and the published mip levels, drawn by {facts['turntable']['renderer']}."
    return _section("Turntable", f'<div class="gallery"><figure>{picture}</figure></div>', hint)


def _viewer(views: Sequence[_View], manifest: dict[str, Any], encode: Encode) -> str:
    kinds = list(dict.fromkeys(view.kind for view in views))
    zooms = list(dict.fromkeys(view.zoom for view in views))
    estimated = manifest.get("estimated", [])
    inputs, choices = [], []
    for group, heading, items in (("m", "Map", [str(kind) for kind in kinds]), ("z", "Zoom", zooms)):
        labels = []
        for i, item in enumerate(items):
            checked = " checked" if i == 0 else ""
            inputs.append(f'<input class="radio" type="radio" name="{group}" id="{group}{i}"{checked}>')
            badge = '<span class="badge">estimated</span>' if item in estimated else ""
            labels.append(f'<label for="{group}{i}">{_text(item.capitalize())}{badge}</label>')
        choices.append(f'<div role="group" aria-label="{heading}"><span>{heading}</span>{"".join(labels)}</div>')
    frames = "".join(_view(view, kinds.index(view.kind), zooms.index(view.zoom), encode) for view in views)
    return f'<div class="card viewer">{"".join(inputs)}<div class="bar">{"".join(choices)}</div>{frames}</div>'


def _view(view: _View, map_number: int, zoom_number: int, encode: Encode) -> str:
    figures = []
    for picture, share in view.pictures:
        image = encode(picture.image, picture.description)
        if zoom_number == 0:  # the whole map fits its frame; the other zooms show their pixels as they are
            image = image.replace("<img ", f'<img style="width:{100 * share:.2f}%;height:auto" ', 1)
        figures.append(
            f'<figure><div class="frame">{image}</div><figcaption>{_text(picture.heading)}</figcaption></figure>'
        )
    whole = " whole" if zoom_number == 0 else ""
    return f'<div class="view{whole} v{map_number}{zoom_number}">{"".join(figures)}</div>'


def _viewer_rules(views: Sequence[_View]) -> str:
    """Style rules that show the chosen view and mark the chosen buttons: the viewer without a script."""
    kinds = list(dict.fromkeys(view.kind for view in views))
    zooms = list(dict.fromkeys(view.zoom for view in views))
    rules = []
    for view in views:
        m, z = kinds.index(view.kind), zooms.index(view.zoom)
        rules.append(f"#m{m}:checked ~ #z{z}:checked ~ .v{m}{z} {{ display: grid; }}")
    for name in [f"m{i}" for i in range(len(kinds))] + [f"z{i}" for i in range(len(zooms))]:
        on = f'#{name}:checked ~ .bar label[for="{name}"]'
        rules.append(f"{on} {{ background: var(--accent); color: var(--accent-ink); border-color: var(--accent); }}")
        focused = f'#{name}:focus-visible ~ .bar label[for="{name}"]'
        rules.append(f"{focused} {{ outline: 2px solid var(--accent); outline-offset: 2px; }}")
    return "\n".join(rules)


def _chains(chains: Mapping[MapKind, Sequence[Image]], published: Published, encode: Encode) -> str:
    strips = []
    for kind, levels in chains.items():
        images = "".join(encode(level, f"{kind} at {level.shape[1]} x {level.shape[0]}") for level in levels)
        count = len(published.sizes(kind))
        caption = f"<b>{_text(kind.capitalize())}</b>, the last {len(levels)} of {count} levels"
        strips.append(f'<figure><div class="strip">{images}</div><figcaption>{caption}</figcaption></figure>')
    return f'<div class="card strips">{"".join(strips)}</div>'


# ---- figures in words


@dataclass(frozen=True)
class _Metric:
    """How to read one figure: where it lies, what it is called and means, and what range is good."""

    path: tuple[str, ...]
    label: str
    meaning: str
    low: float = -math.inf
    high: float = math.inf


_MAP_METRICS = (
    _Metric(
        ("distance",),
        "Distance to the exemplar",
        "How far small patches are from the exemplar's. 0: the same; 1: as far as two halves of the exemplar.",
        high=0.6,
    ),
    _Metric(
        ("sharpness",), "Sharpness", "Fine detail over the exemplar's at the same texel density; 1: equal.", 0.85, 1.15
    ),
    _Metric(
        ("regularity", "kept"),
        "Regular structure kept",
        "How much of the exemplar's regular spacing (courses, tiles, weave) is still there; 1: all of it.",
        low=0.7,
    ),
    _Metric(("repetition", "excess"), "Repetition", "Repeats that the exemplar itself lacks; 0: none.", high=0.1),
    _Metric(
        ("wrap", "rows"), "Wrap edge, top to bottom", "Step across the edge when tiled, over steps inside; 1: unseen."
    ),
    _Metric(
        ("wrap", "columns"),
        "Wrap edge, left to right",
        "Step across the edge when tiled, over steps inside; 1: unseen.",
    ),
    _Metric(
        ("ssim",), "SSIM", "Likeness to the reference, place by place; 1: identical. Not a goal for a new texture."
    ),
    _Metric(("sliced_wasserstein",), "Sliced Wasserstein distance", "The distance above before it is put in units."),
)
_METRICS = (
    _Metric(
        ("edge_agreement",),
        "Edges of the maps agree",
        "Whether albedo, normal and roughness have their edges in the same places as the exemplar's; 1: as well.",
        low=0.95,
    ),
    _Metric(
        ("copying", "verbatim"),
        "Largest verbatim piece",
        "The largest piece taken unbroken from one place of the exemplar, over the exemplar's side.",
        high=0.35,
    ),
    _Metric(
        ("copying", "evenness"), "Evenness", "Whether all parts of the exemplar are used alike; 1: perfectly.", low=0.9
    ),
    _Metric(
        ("diversity",), "Diversity", "How much other seeds differ, over how much crops of the exemplar differ.", low=0.7
    ),
)
_PLACED = ("command", "timings", "peak_memory_bytes", "metrics", "notes")


def _metrics_section(metrics: Any, manifest: dict[str, Any]) -> str:
    if not isinstance(metrics, Mapping) or not metrics:
        return ""
    by_map = metrics.get("maps", {})
    kinds = list(by_map)
    tileable = bool(manifest.get("options", {}).get("tileable"))
    rows = []
    for metric in _MAP_METRICS:
        values = [_dig(by_map[kind], *metric.path) for kind in kinds]
        if all(value is None for value in values):
            continue
        wrap = metric.path[0] == "wrap"
        if wrap and not tileable:
            continue
        judged = dataclasses.replace(metric, low=0.9, high=1.1) if wrap else metric
        cells = "".join(f'<td class="n">{_judged(value, judged)}</td>' for value in values)
        rows.append(f"<tr><th scope=row>{_text(metric.label)}<small>{_text(metric.meaning)}</small></th>{cells}</tr>")
    for metric in _METRICS:
        value = _dig(metrics, *metric.path)
        if value is not None:
            cell = f'<td class="n" colspan="{max(len(kinds), 1)}">{_judged(value, metric)}</td>'
            rows.append(
                f"<tr><th scope=row>{_text(metric.label)}<small>{_text(metric.meaning)}</small></th>{cell}</tr>"
            )
    known = {metric.path[0] for metric in _METRICS} | {"maps", "notes", "generated", "reference", "copying"}
    for label, value in _flattened({key: item for key, item in metrics.items() if key not in known}):
        cell = f'<td class="n" colspan="{max(len(kinds), 1)}">{_text(value)}</td>'
        rows.append(f"<tr><th scope=row>{_text(label)}</th>{cell}</tr>")
    if not rows:
        return ""
    heads = "".join(f'<th class="n" scope=col>{_text(kind)}</th>' for kind in kinds) or '<th class="n">value</th>'
    head = f"<thead><tr><th scope=col>Figure</th>{heads}</tr></thead>"
    table = f"<table class=figures>{head}<tbody>{''.join(rows)}</tbody></table>"
    hint = "Measured against the exemplar. A tick stands for a figure inside the range we aim at."
    return _section("Quality", f'<div class="card wide">{table}</div>', hint)


def _judged(value: Any, metric: _Metric) -> str:
    if value is None:
        return "–"
    if math.isinf(metric.low) and math.isinf(metric.high):
        return _text(_number(value))
    if metric.low <= value <= metric.high:
        return f'{_text(_number(value))}<span class="mark good" title="inside the range aimed at">✓</span>'
    bounds = [f"at least {metric.low:g}"] * math.isfinite(metric.low) + [f"at most {metric.high:g}"] * math.isfinite(
        metric.high
    )
    return f'{_text(_number(value))}<small class="warn">aim: {", ".join(bounds)}</small>'


def _costs_section(facts: dict[str, Any]) -> str:
    timings = {str(stage): float(seconds) for stage, seconds in facts["timings"].items()}
    if not timings:
        return ""
    total = sum(timings.values())
    rows = []
    for stage, seconds in timings.items():
        meter = f'<i style="width:{100 * seconds / max(total, 1e-9):.1f}%"></i>'
        cells = f'<td class="meter">{meter}</td><td class="n">{_seconds(seconds)}</td>'
        rows.append(f"<tr><th scope=row>{_text(stage)}</th>{cells}</tr>")
    rows.append(f'<tr><th scope=row>All stages</th><td></td><td class="n"><b>{_seconds(total)}</b></td></tr>')
    if facts.get("peak_memory_bytes"):
        memory = _bytes(facts["peak_memory_bytes"])
        rows.append(f'<tr><th scope=row>Peak resident memory</th><td></td><td class="n"><b>{memory}</b></td></tr>')
    head = '<thead><tr><th scope=col>Stage</th><th scope=col>Share</th><th class="n" scope=col>Time</th></tr></thead>'
    return _section(
        "Time and memory", f'<div class="card wide"><table>{head}<tbody>{"".join(rows)}</tbody></table></div>'
    )


def _further_section(facts: dict[str, Any]) -> str:
    further = {key: value for key, value in facts.items() if key not in _PLACED}
    rows = "".join(
        f'<tr><th scope=row>{_text(label)}</th><td class="n">{_text(value)}</td></tr>'
        for label, value in _flattened(further)
    )
    return (
        _section("Further figures", f'<div class="card wide"><table><tbody>{rows}</tbody></table></div>')
        if rows
        else ""
    )


def _notes_section(manifest: dict[str, Any], exemplar: Material, facts: dict[str, Any]) -> str:
    estimated = [
        f"{kind}: estimated from the albedo, not given with the exemplar" for kind in manifest.get("estimated", [])
    ]
    given = [*manifest.get("notes", []), *exemplar.notes, *facts.get("notes", [])]
    given += _dig(facts.get("metrics"), "notes") or []
    notes = list(dict.fromkeys(str(note) for note in [*estimated, *given]))
    if not notes:
        return ""
    items = "".join(f"<li>{_text(note)}</li>" for note in notes)
    return _section(
        "Notes", f'<div class="card"><ul class="notes">{items}</ul></div>', "What was assumed, converted or left out."
    )


def _reproduction_section(manifest: dict[str, Any], facts: dict[str, Any]) -> str:
    command = facts.get("command") or manifest.get("command")
    if isinstance(command, list | tuple):
        command = shlex.join(str(word) for word in command)
    shown = f"<pre>{_text(command)}</pre>" if command else ""
    settings = {**manifest.get("options", {}), "model": manifest.get("model", {})}
    rows = "".join(
        f"<tr><th scope=row>{_text(label)}</th><td>{_text(value)}</td></tr>" for label, value in _flattened(settings)
    )
    table = f'<div class="wide"><table><tbody>{rows}</tbody></table></div>' if rows else ""
    hint = "The same command, version and machine type give the same texels."
    return _section("How to reproduce it", f'<div class="card">{shown}{table}</div>', hint) if shown or table else ""


def _files_section(manifest: dict[str, Any]) -> str:
    rows = []
    for kind, entry in manifest["maps"].items():
        stored = entry.get("texel_format") or f"{entry['bits']} bits"
        detail = f"{kind}, {entry['width']} × {entry['height']}, {stored}, {entry['colour_space']}"
        links = " ".join(
            f'<a href="{_text(mip["file"])}">{max(mip["width"], mip["height"])}</a>' for mip in entry["mips"]
        )
        mips = f"mips: {links}" if entry["mips"] else f"with all {entry.get('levels', 1)} levels"
        rows.append((entry["file"], f"{_text(detail)}<small>{mips}</small>", entry["bytes"]))
    rows += [(name, "", entry["bytes"]) for name, entry in manifest.get("files", {}).items()]
    body = "".join(
        f'<tr><th scope=row><a href="{_text(name)}">{_text(name)}</a></th><td>{detail}</td>'
        f'<td class="n">{_bytes(size)}</td></tr>'
        for name, detail, size in rows
    )
    hint = "Beside this page, with their SHA-256 in material.json; texsynth verify checks them."
    return _section("Files", f'<div class="card wide"><table><tbody>{body}</tbody></table></div>', hint)


def _summary(manifest: dict[str, Any]) -> dict[str, Any]:
    return {key: manifest[key] for key in ("name", "size", "seed", "options", "estimated") if key in manifest}


def _dig(value: Any, *path: str) -> Any:
    """The item at `path` in nested mappings, or None."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _flattened(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings as (label, value in words)."""
    for key, item in plain(value).items():
        label = f"{prefix}{key}"
        if isinstance(item, dict):
            yield from _flattened(item, f"{label}, ")
        elif item is not None and item != []:
            yield _words(label), _in_words(key, item)


def _words(label: str) -> str:
    for suffix in ("_bytes", "_s"):
        label = label.removesuffix(suffix)
    return label.replace("_", " ")


def _in_words(key: str, item: Any) -> str:
    if isinstance(item, list):
        return ", ".join(_in_words(key, one) for one in item)
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, int | float):
        if key.endswith("_bytes"):
            return _bytes(item)
        return _seconds(item) if key.endswith("_s") else _number(item)
    return str(item)


def _number(value: float) -> str:
    if isinstance(value, int) or (float(value).is_integer() and abs(value) >= 100):
        return f"{int(value)}"
    return f"{value:.3g}"


def _seconds(value: float) -> str:
    if value >= 100:
        return f"{int(value // 60)} min {int(value % 60):02d} s"
    return f"{value:.1f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def _bytes(value: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"
