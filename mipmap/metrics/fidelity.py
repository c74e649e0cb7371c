"""ADF, the anisotropic detail fidelity: structural similarity of two textures as they look on an oblique plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mipmap.compiled import in_threads
from mipmap.metrics.images import Image
from mipmap.metrics.oblique import ANISOTROPY, INCIDENCE, View, see
from mipmap.metrics.similarity import WINDOW, ssim
from mipmap.metrics.textures import Texture, comparable

ANGLES = (0.0, 45.0, 90.0)
BAND = 256  # screen rows that are compared at a time


class Sampler(Protocol):
    """Something that shows a texture on an oblique plane."""

    @property
    def source(self) -> str:
        """What filters, to be named beside every number that comes from it."""

    def see(self, texture: Texture, view: View, rows: slice) -> Image:
        """(h, w, C) float32: `rows` of `view.screen(texture.size)`, filtered in the domain of `Texture.linear`."""


class ExactSampler:
    """`mipmap.metrics.oblique.see`: the exact area of each footprint, computed on the CPU."""

    source = "exact footprint on the CPU"

    def see(self, texture: Texture, view: View, rows: slice) -> Image:
        """See `Sampler.see`."""
        return see(texture, view, rows)


@dataclass(frozen=True)
class Fidelity:
    """`adf` or `adf_slice` of two textures.

    value: 1 is best. by_angle: the similarity at each of `angles` (degrees). incidence: degrees, 0 for `adf_slice`.
    anisotropy: the filter's limit. source: what filtered.
    """

    value: float
    by_angle: tuple[float, ...]
    angles: tuple[float, ...]
    incidence: float
    anisotropy: float
    source: str


def adf(
    generated: Texture,
    reference: Texture,
    *,
    angles: Sequence[float] = ANGLES,
    incidence: float = INCIDENCE,
    anisotropy: float = ANISOTROPY,
    sampler: Sampler | None = None,
) -> Fidelity:
    """ADF = mean over the angles of SSIM(P(generated, angle), P(reference, angle)); 1 is best, adf(x, x) is exactly 1.

    P is the texture on a plane, turned within the plane by the angle, seen at `incidence` degrees and filtered with
    `anisotropy` in linear light (`mipmap.metrics.oblique` has the geometry); what is compared is `Texture.display` of
    it, by `mipmap.metrics.ssim`. The screen holds as many pixels as show all of the texture once, so a detail counts
    by its texels. sampler: what filters, the exact footprint by default; see `mipmap.metrics.gl_sampler` for drivers.
    Bounded memory: BAND screen rows at a time. Raises ValueError for textures that are not `comparable`, for no
    angles, and for what `View` refuses.
    Source: the ratio's name and angles from the Muon-AD paper, which calls P a slice; `adf_slice` reads it so.
    """
    comparable(generated, reference)
    if not angles:
        raise ValueError("at least one angle is needed")
    sampler = sampler or ExactSampler()
    views = [View(angle, incidence, anisotropy) for angle in angles]
    found = tuple(_similarity(generated, reference, view, sampler) for view in views)
    return Fidelity(sum(found) / len(found), found, tuple(angles), incidence, anisotropy, sampler.source)


def adf_slice(generated: Texture, reference: Texture, *, angles: Sequence[float] = ANGLES) -> Fidelity:
    """The plain reading of ADF: textures turned by each angle and cut out as large as they are, seen head on.

    `adf` at an incidence of 0: no foreshortening, so at 0 and 90 degrees it is `ssim`, and at 45 degrees that of the
    resampled textures. Hence it says little about anisotropic filtering, and stands beside `adf` for comparison only.
    """
    turned = sorted({_head_on(angle) for angle in angles})
    found = adf(generated, reference, angles=turned, incidence=0.0)
    similarity = dict(zip(turned, found.by_angle, strict=True))
    by_angle = tuple(similarity[_head_on(angle)] for angle in angles)
    return replace(found, value=sum(by_angle) / len(by_angle), by_angle=by_angle, angles=tuple(angles))


def _head_on(angle: float) -> float:
    """0 for quarter turns: seen head on they only permute texels, which a symmetric window does not notice."""
    return 0.0 if angle % 90 == 0 else angle


def _similarity(generated: Texture, reference: Texture, view: View, sampler: Sampler) -> float:
    """`ssim` of what both look like, in bands of the screen that overlap by its window."""
    inner = view.screen(reference.size)[0] - WINDOW + 1
    total = 0.0
    for top in range(0, inner, BAND):
        bottom = min(top + BAND, inner)
        rows = slice(top, bottom + WINDOW - 1)
        # The sampler has its own threads, or a context that belongs to this one: only the encoding is shared out.
        seen = [sampler.see(texture, view, rows) for texture in (generated, reference)]
        made, known = in_threads(reference.display, seen)
        total += (bottom - top) * ssim(made, known)
    return total / inner
