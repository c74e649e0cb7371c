"""Whether a GL driver does the anisotropic filtering that it reports: it draws a known pattern, and is compared.

`trusted_sampler` has every display tried in a process of its own first (`mipmap.metrics.child`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
from scipy import ndimage

from mipmap.gl_context import GlUnavailable, gl_displays
from mipmap.metrics.child import ask
from mipmap.metrics.fidelity import ANGLES, ExactSampler, Sampler
from mipmap.metrics.gl_sampler import GlSampler
from mipmap.metrics.oblique import View, see
from mipmap.metrics.textures import Texture

SIDE, BLUR = 256, 1.2
# Root mean square error over the view's deviation, the worst of three angles, at the default incidence (5.8 texels a
# pixel). Bilinear probes spread evenly along the footprint, as a driver takes them: 2 probes .094, 3 probes .042,
# 4 probes .024, 6 probes .008; no anisotropy .67; Mesa's llvmpipe, which reports 16x, .26 at 2x and at 16x alike.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Trial:
    """How far a sampler's picture of the pattern is from the exact footprint's, over the pattern's own contrast.

    source: the sampler. error: with the anisotropy that is asked for. isotropic: without any.
    """

    source: str
    error: float
    isotropic: float

    @property
    def filters(self) -> bool:
        """Whether numbers may come from the sampler."""
        return self.error <= TOLERANCE


def try_sampler(sampler: Sampler) -> Trial:
    """Let `sampler` draw band-limited noise under the angles of ADF, and compare."""
    return Trial(sampler.source, _error(sampler, View(0).anisotropy), _error(sampler, 1.0))


@contextmanager
def trusted_sampler() -> Iterator[tuple[Sampler, str]]:
    """A GL driver that passes the trial if there is one, otherwise the exact footprint; and one line that says why.

    Yields (sampler, reason). The sampler belongs to the calling thread.
    """
    place, reason = _trial_in_a_process()
    sampler = None
    if place is not None:
        try:
            sampler = GlSampler(gl_displays()[place])
        except (GlUnavailable, IndexError) as error:  # another process may have taken the device since
            reason = f"GL passed its trial and then gave no context ({error})"
    if sampler is None:
        yield ExactSampler(), reason
        return
    with sampler:
        yield sampler, reason


def _trial_in_a_process() -> tuple[int | None, str]:
    """The first display whose driver filters, or None; and the reason."""
    findings = ask("mipmap.metrics.gl_trial")
    if findings is None:
        return None, "the GL driver crashed or hung in its trial"
    reasons = []
    for place, found in enumerate(findings):
        if "reason" in found:
            reasons.append(found["reason"])
            continue
        trial = Trial(**found)
        said = f"{trial.source} is {trial.error:.3f} of the contrast from the exact footprint"
        if trial.filters:
            return place, said
        reasons.append(f"{said}, more than {TOLERANCE}, so it does not really filter")
    return None, next(iter(reasons), "EGL has no display")


def _error(sampler: Sampler, anisotropy: float) -> float:
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((SIDE, SIDE)), BLUR, mode="wrap")
    pattern = Texture((0.5 + 0.1 * noise / noise.std())[:, :, None].astype(np.float32), "linear")
    worst = 0.0
    for angle in ANGLES:
        expected = see(pattern, View(angle)).astype(np.float64)
        seen = sampler.see(pattern, View(angle, anisotropy=anisotropy), slice(None))
        worst = max(worst, float(np.sqrt(np.square(seen - expected).mean()) / expected.std()))
    return worst


def main() -> None:
    """Print a JSON list: for each display a `Trial`, or why there is none."""
    findings: list[dict[str, object]] = []
    try:
        displays = gl_displays()
    except GlUnavailable as error:
        displays = []
        findings.append({"reason": str(error)})
    for display in displays:
        try:
            with GlSampler(display) as sampler:
                findings.append(asdict(try_sampler(sampler)))
        except GlUnavailable as error:
            findings.append({"reason": str(error)})
    print(json.dumps(findings))
