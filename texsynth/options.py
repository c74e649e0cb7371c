"""What a piece of work is asked to be: one frozen dataclass for the command line and for the service."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from mipmap.encode import Quality
from mipmap.targets import Container
from texsynth.checks import listed, require_choice, require_range
from texsynth.errors import bad_input
from texsynth.material import MapKind
from texsynth.selection import Selection
from texsynth.storage import Storage, TargetName, choose_storage

PresetName = Literal["draft", "standard", "high"]
ProfileName = Literal["auto", "cpu", "desktop", "jetson-orin-nx"]
NonFinite = Literal["refuse", "clamp"]
Overlap = Literal["cut", "hann"]
Seams = Literal["weld", "leave"]
Fit = Literal["surface", "uv"]
Geometry = Literal["auto", "on", "off"]

# The coarsest pyramid level is an 8 x 8 latent of 8 x 8 texel blocks; every level above doubles it.
SMALLEST_SIZE = 64
LARGEST_SIZE = 8192
LARGEST_DENSITY = 16.0
SMALLEST_STYLE, LARGEST_STYLE = 1e-6, 1e6  # units of length on a mesh
# options that a synthesised texture has no use for
RESTYLE_ONLY = (
    "content", "tone", "faithful", "region", "selection", "material", "seams", "fit", "geometry", "grain", "style_size"
)  # fmt: skip
LARGEST_SEED = 2**63 - 1  # torch.Generator takes a signed 64-bit seed


@dataclass(frozen=True)
class Options:
    """Everything a run can be asked for. The names are the command line's.

    size: output texels per side, a power of two from 64 to 8192.
    maps: the maps to write, in this order, without repetition.
    profile: where the layout is computed; see profiles.py.
    content: 0 = pure synthesis, 1 = keeps every edge of the asset (restyle only).
    tone: how much of the asset's own colour stays where it varies slowly, 0..1 (restyle only).
    faithful: above 0 the result is the asset itself, enlarged with the detail that the exemplar lets expect: at 1 its
    mean, below 1 with a part of the likeliest place's, which is sharper (restyle only). Nothing is sampled; a mesh's
    pattern then lies as its UV charts do (`fit` is "uv").
    density: exemplar texels per output texel, above 0, at most 16.
    target, format: what the files are for and what holds them; None takes what goes with the other (`choose_storage`),
    and after construction both are settled. compression: how long block encoders search.
    detail: strength of the attention gather, 0..1.
    overlap: how pieces of the exemplar meet: along minimum cuts, or cross-fading over 4 texels (Hann).
    seams: whether patterns go on over a mesh's UV seams, or each chart is left by itself (restyle only).
    fit: on a mesh the pattern has one size and one way up over the whole surface, or lies as the UV charts do (restyle
    only). grain: degrees clockwise, seen from outside, that it is turned from upright (with fit "surface").
    style_size: metres, or whatever unit the mesh is in, that the exemplar is wide; None leaves it to `density`.
    geometry: whether a mesh's edges and cavities are content, as strong as `content`: where the asset has no texture,
    always, with its own, or never (restyle only).
    region: mask image, white where the asset may change (restyle only). selection: parts of a mesh that may change too
    (restyle only). Without both: everywhere.
    material: name or number of the mesh's material to restyle; None: that of the largest area (restyle only).
    model: folder of a Stable Diffusion checkpoint, in diffusers' layout, that leads the layout; None: the exemplar is
    all there is.
    second: another exemplar that covers a share of the result. blend: that share, 0..1, or an image whose white is all
    of it; half without it.
    directx: True/False says how input normals are encoded; None decides by the file's name, OpenGL otherwise.
    nonfinite: what to do with NaN and infinity in the input: refuse it, or clamp and say so.

    Raises TexsynthError(BAD_INPUT) for a value outside its range.
    """

    size: int = 2048
    maps: tuple[MapKind, ...] = (MapKind.ALBEDO, MapKind.NORMAL, MapKind.ROUGHNESS)
    content: float = 0.5
    tone: float = 0.0
    faithful: float = 0.0
    preset: PresetName = "standard"
    profile: ProfileName = "auto"
    target: TargetName | None = None
    format: Container | None = None
    compression: Quality = "fast"
    seed: int = 0
    tileable: bool = False
    density: float = 1.0
    detail: float = 1.0
    overlap: Overlap = "cut"
    seams: Seams = "weld"
    fit: Fit = "surface"
    grain: float = 0.0
    style_size: float | None = None
    geometry: Geometry = "auto"
    region: Path | None = None
    selection: Selection | None = None
    material: str | None = None
    model: Path | None = None
    second: Path | None = None
    blend: float | Path | None = None
    resume: bool = False
    directx: bool | None = None
    nonfinite: NonFinite = "refuse"

    def __post_init__(self) -> None:
        _require_power_of_two("size", self.size, SMALLEST_SIZE, LARGEST_SIZE)
        if not self.maps:
            raise bad_input("maps", "no map is asked for", f"name some of {listed(MapKind)}")
        for kind in self.maps:
            require_choice("maps", kind, MapKind)
        if len(set(self.maps)) != len(self.maps):
            raise bad_input("maps", f"{listed(self.maps)} names a map twice", "name each map once")
        require_range("content", self.content, 0.0, 1.0)
        require_range("tone", self.tone, 0.0, 1.0)
        if self.tone > 0 and MapKind.ALBEDO not in self.maps:
            raise bad_input("tone", "it is that of the albedo, which is not asked for", "add albedo to the maps")
        self._settle_faithful()
        require_range("detail", self.detail, 0.0, 1.0)
        if self.model is not None and MapKind.ALBEDO not in self.maps:
            raise bad_input("model", "it leads by albedo, which is not asked for", "add albedo to the maps")
        if self.second is None and self.blend is not None:
            raise bad_input("blend", "there is nothing to blend with", "name a second exemplar")
        if isinstance(self.blend, float | int):
            require_range("blend", self.blend, 0.0, 1.0)
        require_range("density", self.density, 1 / LARGEST_DENSITY, LARGEST_DENSITY)
        require_choice("preset", self.preset, get_args(PresetName))
        require_choice("profile", self.profile, get_args(ProfileName))
        storage = choose_storage(self.target, self.format, self.compression)
        object.__setattr__(self, "target", storage.target.name)
        object.__setattr__(self, "format", storage.container)
        require_choice("overlap", self.overlap, get_args(Overlap))
        require_choice("seams", self.seams, get_args(Seams))
        require_choice("fit", self.fit, get_args(Fit))
        require_range("grain", self.grain, -180.0, 180.0)
        if self.style_size is not None:
            require_range("style_size", self.style_size, SMALLEST_STYLE, LARGEST_STYLE)
            if self.density != 1.0:
                raise bad_input("density", "style_size says it already", "give one of the two")
        require_choice("geometry", self.geometry, get_args(Geometry))
        require_choice("nonfinite", self.nonfinite, get_args(NonFinite))
        if not 0 <= self.seed <= LARGEST_SEED:
            raise bad_input("seed", f"got {self.seed}", f"use a whole number from 0 to {LARGEST_SEED}")

    def _settle_faithful(self) -> None:
        require_range("faithful", self.faithful, 0.0, 1.0)
        if self.faithful == 0:
            return
        if self.second is not None:
            raise bad_input("faithful", "it knows one exemplar", "leave out the second one")
        if self.model is not None:
            raise bad_input("model", "an enlargement has no layout to lead", "leave it out, or faithful")
        object.__setattr__(self, "fit", "uv")

    @property
    def storage(self) -> Storage:
        """The files that the maps become."""
        return replace(choose_storage(self.target, self.format, self.compression), narrow=self.format == "png")


def parse_maps(text: str) -> tuple[MapKind, ...]:
    """`"albedo, normal"` as map kinds, in order. Raises TexsynthError(BAD_INPUT) naming the word that is no map."""
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    for word in words:
        require_choice("maps", word, MapKind)
    return tuple(MapKind(word) for word in words)


def _require_power_of_two(name: str, value: int, smallest: int, largest: int) -> None:
    if not smallest <= value <= largest or value & (value - 1):
        raise bad_input(name, f"got {value}", f"use a power of two from {smallest} to {largest}")
