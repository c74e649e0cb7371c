"""Texture metrics; NumPy, SciPy and numba only.

Most take float arrays (H, W, C) of encoded values 0..1. Those that filter as a renderer does (MCR, ADF, VMO) take a
`Texture`: stored texels with their encoding. GL is asked only where a function says so (`trusted_sampler`, `occupancy`,
`MemoryWatch`).
"""

from mipmap.metrics.consistency import TILE, MipConsistency, mip_consistency, relative_errors
from mipmap.metrics.copying import evenness, largest_verbatim, piece_diameters, rigid_pieces
from mipmap.metrics.edges import edge_agreement, edge_agreements, edge_correlation, edge_map
from mipmap.metrics.fidelity import ExactSampler, Fidelity, Sampler, adf, adf_slice
from mipmap.metrics.gl_trial import trusted_sampler
from mipmap.metrics.gpu_formats import chain_bytes, geometry_bytes
from mipmap.metrics.images import spread_windows
from mipmap.metrics.matching import match_index
from mipmap.metrics.memory_watch import MemoryWatch, VideoMemory
from mipmap.metrics.oblique import INCIDENCE, View, see
from mipmap.metrics.periodicity import (
    REGULAR,
    Regularity,
    Repetition,
    autocorrelation,
    main_peak,
    regularity,
    repetition,
)
from mipmap.metrics.residency import gpu_format, occupancy
from mipmap.metrics.seams import WrapEdge, interior_gradient, join_sharpness, seam_ratio, wrap_ratio
from mipmap.metrics.seeds import diversity
from mipmap.metrics.sharpness import laplacian_energy, sharpness_ratio
from mipmap.metrics.similarity import ssim
from mipmap.metrics.textures import Encoding, Texture, comparable
from mipmap.metrics.wasserstein import distance_unit, halves_distance, sliced_wasserstein, texture_distance

__all__ = [
    "INCIDENCE",
    "REGULAR",
    "TILE",
    "Encoding",
    "ExactSampler",
    "Fidelity",
    "MemoryWatch",
    "MipConsistency",
    "Regularity",
    "Repetition",
    "Sampler",
    "Texture",
    "VideoMemory",
    "View",
    "WrapEdge",
    "adf",
    "adf_slice",
    "autocorrelation",
    "chain_bytes",
    "comparable",
    "distance_unit",
    "diversity",
    "edge_agreement",
    "edge_agreements",
    "edge_correlation",
    "edge_map",
    "evenness",
    "geometry_bytes",
    "gpu_format",
    "halves_distance",
    "interior_gradient",
    "join_sharpness",
    "laplacian_energy",
    "largest_verbatim",
    "main_peak",
    "match_index",
    "mip_consistency",
    "occupancy",
    "piece_diameters",
    "regularity",
    "relative_errors",
    "repetition",
    "rigid_pieces",
    "seam_ratio",
    "see",
    "sharpness_ratio",
    "sliced_wasserstein",
    "spread_windows",
    "ssim",
    "texture_distance",
    "trusted_sampler",
    "wrap_ratio",
]
