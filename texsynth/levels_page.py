"""The page of `texsynth view` that shows every mip level of every map, as its file holds it."""

from __future__ import annotations

import html
from string import Template

import cv2
import numpy as np

from texsynth.material import MapKind
from texsynth.published import Image, Published

TILE = 256  # texels of a level that its tile shows, from the middle; a smaller level is enlarged to it

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title: mip levels</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; } h2 small { font-weight: 400; }
.strip { display: flex; flex-wrap: wrap; gap: 12px; }
figure { margin: 0; } figcaption { font-size: .85rem; }
img { display: block; width: ${tile}px; height: ${tile}px; object-fit: contain; object-position: left top;
  image-rendering: pixelated; background: #8884; }
</style></head><body>
<h1>$title</h1>
<p><a href="/">Back to the report.</a> Each tile shows the middle $tile x $tile texels of a level as its file holds
them, decoded where it is compressed; smaller levels are enlarged. A tile leads to the whole level.</p>
$maps
</body></html>
""")


def levels_page(title: str, published: Published) -> bytes:
    """The page, in UTF-8; its images are at levels/KIND/LEVEL/middle and levels/KIND/LEVEL."""
    maps = "".join(_strip(published, kind) for kind in published.kinds)
    return _PAGE.substitute(title=html.escape(title), tile=TILE, maps=maps).encode()


def level_image(published: Published, parts: list[str]) -> bytes | None:
    """The PNG at levels/`parts`: [kind, level], the whole level, or [kind, level, "middle"]; None if there is none.

    Raises TexsynthError when the file cannot be read.
    """
    if parts[0] not in published.kinds or parts[2:] not in ([], ["middle"]):
        return None
    kind = MapKind(parts[0])
    numbers = [str(number) for number in range(len(published.sizes(kind)))]
    if parts[1:2] and parts[1] in numbers:
        level = int(parts[1])
        return _png(published.middle(kind, level, TILE) if parts[2:] else published.level(kind, level))
    return None


def _strip(published: Published, kind: MapKind) -> str:
    entry = published.entries[kind]
    stored = entry.get("texel_format") or f"{entry['bits']} bits"
    tiles = []
    for number, (height, width) in enumerate(published.sizes(kind)):
        name = f"{kind}, level {number}"
        tiles.append(
            f'<figure><a href="/levels/{kind}/{number}"><img src="/levels/{kind}/{number}/middle" loading="lazy" '
            f'alt="{name}"></a><figcaption>level {number}: {width} × {height}</figcaption></figure>'
        )
    heading = f"{kind} <small>{html.escape(str(entry['file']))}, {html.escape(stored)}, {entry['colour_space']}</small>"
    return f'<h2>{heading}</h2><div class="strip">{"".join(tiles)}</div>'


def _png(image: Image) -> bytes:
    ordered = np.ascontiguousarray(image[..., ::-1] if image.shape[2] == 3 else image)
    done, data = cv2.imencode(".png", ordered, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    return data.tobytes()
