"""What textures and geometry weigh in video memory by computation alone."""

from __future__ import annotations

# Block width and height in texels, and bytes a block. The names are those of KTX2 and DDS tools, in lower case; sRGB
# variants weigh the same. Sources: Khronos Data Format Specification 1.3 (BC, ETC2, EAC, ASTC).
BLOCKS: dict[str, tuple[int, int, int]] = {
    "r8": (1, 1, 1),
    "rg8": (1, 1, 2),
    "rgba8": (1, 1, 4),
    "r16": (1, 1, 2),
    "rgba16": (1, 1, 8),
    "r16f": (1, 1, 2),
    "rgba16f": (1, 1, 8),
    "rgba32f": (1, 1, 16),
    "bc1": (4, 4, 8),
    "bc3": (4, 4, 16),
    "bc4": (4, 4, 8),
    "bc5": (4, 4, 16),
    "bc6h": (4, 4, 16),
    "bc7": (4, 4, 16),
    "etc2-rgb": (4, 4, 8),
    "etc2-rgba": (4, 4, 16),
    "eac-r11": (4, 4, 8),
    "eac-rg11": (4, 4, 16),
    "astc-4x4": (4, 4, 16),
    "astc-5x5": (5, 5, 16),
    "astc-6x6": (6, 6, 16),
    "astc-8x8": (8, 8, 16),
}


def chain_bytes(height: int, width: int, format: str, levels: int | None = None) -> int:
    """Bytes of a mip chain of height x width texels in a GPU format: all levels down to 1 x 1, or the first `levels`.

    Level k has max(1, n >> k) texels a side, in whole blocks. Drivers may add padding and alignment to it.
    Raises ValueError for an unknown format, sides below 1, or more levels than there are.
    """
    if format not in BLOCKS:
        raise ValueError(f"the format is one of {', '.join(BLOCKS)}, not {format!r}")
    if min(height, width) < 1:
        raise ValueError(f"a texture has at least 1 x 1 texels, not {height} x {width}")
    depth = max(height, width).bit_length()
    if levels is not None and not 1 <= levels <= depth:
        raise ValueError(f"{height} x {width} texels have 1 to {depth} levels, not {levels}")
    across, down, size = BLOCKS[format]
    return sum(
        -(-max(1, height >> k) // down) * -(-max(1, width >> k) // across) * size for k in range(levels or depth)
    )


def geometry_bytes(vertices: int, triangles: int, *, vertex_bytes: int = 48, index_bytes: int = 4) -> int:
    """Bytes of a mesh's buffers. 48 bytes a vertex: position, normal, tangent with sign and UV in float32."""
    if min(vertices, triangles, vertex_bytes, index_bytes) < 0:
        raise ValueError(f"counts are not negative: {vertices}, {triangles}, {vertex_bytes}, {index_bytes}")
    return vertices * vertex_bytes + 3 * triangles * index_bytes
