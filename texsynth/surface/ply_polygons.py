"""Binary .ply files whose polygons differ in size, as Blender writes them; trimesh reads lists of one length only."""

from __future__ import annotations

import re

import numpy as np
from numba import njit
from numpy.typing import NDArray

_SIZES = {"char": 1, "uchar": 1, "int8": 1, "uint8": 1, "short": 2, "ushort": 2, "int16": 2, "uint16": 2}
_SIZES |= {"int": 4, "uint": 4, "int32": 4, "uint32": 4, "float": 4, "float32": 4, "double": 8, "float64": 8}
_FACES = re.compile(
    rb"\nelement face (\d+)\s*\nproperty list (?:uchar|uint8) (?:u?int|u?int32) \w+\s*\nend_header\r?\n"
)


def with_triangles(data: bytes) -> bytes:
    """The file with each polygon as a fan of triangles, where its last element are faces that are lists of vertices and
    nothing else, and the lists differ in length. Any other file is returned as it is."""
    found = _FACES.search(data)
    if found is None or not re.match(rb"ply\s+format binary_", data):
        return data
    skipped = _bytes_before(data[: found.start()].decode("latin-1"))
    if skipped is None:
        return data
    body = np.frombuffer(data, np.uint8, offset=min(found.end() + skipped, len(data)))
    lengths = _lengths(body, int(found[1])).astype(np.int64)
    if len(lengths) == 0 or (lengths == lengths[0]).all():
        return data
    starts = np.cumsum(1 + 4 * lengths) - 4 * lengths  # of each polygon's first vertex
    fans = np.maximum(lengths - 2, 0)
    triangle = np.arange(int(fans.sum())) - np.repeat(np.cumsum(fans) - fans, fans)  # which of its polygon's fan
    corners = np.stack([np.zeros_like(triangle), triangle + 1, triangle + 2], axis=1)
    at = np.repeat(starts, fans)[:, None] + 4 * corners
    rows = np.full((len(triangle), 13), 3, np.uint8)
    rows[:, 1:] = body[at[:, :, None] + np.arange(4)].reshape(-1, 12)
    count = str(len(triangle)).encode()
    return b"".join([data[: found.start(1)], count, data[found.end(1) : found.end() + skipped], rows.tobytes()])


def _bytes_before(head: str) -> int | None:
    """How many bytes the elements of a header take; None if that depends on the data."""
    total = count = 0
    for words in (line.split() for line in head.splitlines()):
        if words[:1] == ["element"]:
            count = int(words[2])
        elif words[:1] == ["property"]:
            if len(words) != 3 or words[1] not in _SIZES:
                return None
            total += count * _SIZES[words[1]]
    return total


@njit(cache=True, nogil=True)
def _lengths(body: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """The lengths of `count` lists, each a byte before 4 bytes an entry; none unless they end with the data."""
    lengths = np.empty(count, np.uint8)
    at = 0
    for number in range(count):
        if at >= len(body):
            return lengths[:0]
        lengths[number] = body[at]
        at += 1 + 4 * int(body[at])
    return lengths if at == len(body) else lengths[:0]
