"""Texture metrics on float arrays (H, W, C), encoded values 0..1; NumPy and SciPy only."""

from mipmap.metrics.copying import evenness, largest_verbatim, piece_diameters, rigid_pieces
from mipmap.metrics.edges import edge_agreement, edge_agreements, edge_correlation, edge_map
from mipmap.metrics.images import spread_windows
from mipmap.metrics.matching import match_index
from mipmap.metrics.periodicity import (
    REGULAR,
    Regularity,
    Repetition,
    autocorrelation,
    main_peak,
    regularity,
    repetition,
)
from mipmap.metrics.seams import WrapEdge, interior_gradient, join_sharpness, seam_ratio, wrap_ratio
from mipmap.metrics.seeds import diversity
from mipmap.metrics.sharpness import laplacian_energy, sharpness_ratio
from mipmap.metrics.similarity import ssim
from mipmap.metrics.wasserstein import distance_unit, halves_distance, sliced_wasserstein, texture_distance

__all__ = [
    "REGULAR",
    "Regularity",
    "Repetition",
    "WrapEdge",
    "autocorrelation",
    "distance_unit",
    "diversity",
    "edge_agreement",
    "edge_agreements",
    "edge_correlation",
    "edge_map",
    "evenness",
    "halves_distance",
    "interior_gradient",
    "join_sharpness",
    "laplacian_energy",
    "largest_verbatim",
    "main_peak",
    "match_index",
    "piece_diameters",
    "regularity",
    "repetition",
    "rigid_pieces",
    "seam_ratio",
    "sharpness_ratio",
    "sliced_wasserstein",
    "spread_windows",
    "ssim",
    "texture_distance",
    "wrap_ratio",
]
