"""What a material becomes for each place where it is shown: one format a map, and the files that hold it.

quest3: opens in Quest's browser and in engines on Android. ASTC 4x4 for the normal, whose errors shading makes visible;
6x6 for the rest, for three.js knows 4x4 and 6x6 only. The normal keeps X, Y and Z in red, green and blue: X and Y alone
(`astc-4x4-normal`) err by a 2 to 8 % smaller angle, but take 1.5 times as long to encode and look wrong in viewers that
do not heed KTXswizzle, of which three.js is one.

desktop: BC7, BC5 and BC4 for Direct3D, Vulkan and Metal on desktops; the normal has X and Y, and shaders compute Z.

source: pictures without loss from compression, for tools that make their own containers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mipmap.formats import FORMATS, FormatError, TexelFormat
from mipmap.material_chain import FILTERING

Container = Literal["ktx2", "dds", "png", "exr"]
IN_BLOCKS = ("ktx2", "dds")  # one file holds all levels of a map, for a GPU to sample as it is


@dataclass(frozen=True)
class Target:
    """formats: name of the texel format of each map; empty for pictures. containers: the default first.

    compress: whether KTX2 files are compressed with zstd on top.
    """

    name: str
    containers: tuple[Container, ...]
    formats: Mapping[str, str]
    compress: bool = False

    def __post_init__(self) -> None:
        for kind, name in self.formats.items():
            wanted = "srgb" if FILTERING[kind] == "colour" else "linear"
            if FORMATS[name].colour_space != wanted:
                raise ValueError(f"{self.name}: {kind} is {wanted}, but {name} is {FORMATS[name].colour_space}")

    def texel_format(self, kind: str) -> TexelFormat:
        """The format of the map `kind`. Raises FormatError for a map or a target that has none."""
        if kind not in self.formats:
            known = ", ".join(self.formats) or "none, it takes pictures"
            raise FormatError(f"target {self.name} has no format for {kind!r}; it has {known}")
        return FORMATS[self.formats[kind]]


def _scalars(name: str) -> dict[str, str]:
    return {kind: name for kind, filtering in FILTERING.items() if filtering == "scalar"}


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "quest3",
            ("ktx2",),
            {"albedo": "astc-6x6-srgb", "normal": "astc-4x4", **_scalars("astc-6x6")},
            compress=True,
        ),
        Target("desktop", ("dds", "ktx2"), {"albedo": "bc7-srgb", "normal": "bc5", **_scalars("bc4")}, compress=True),
        Target("source", ("png", "exr"), {}),
    )
}
