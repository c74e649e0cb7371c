"""Arrays that a stage of a run keeps in one file, so that an interrupted run goes on from them."""

from __future__ import annotations

import logging
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LOG = logging.getLogger(__name__)


def keep_arrays(path: Path, **arrays: ArrayLike) -> None:
    """Write `path` (.npz), whole or not at all."""
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, **arrays)  # type: ignore[arg-type]
    temporary.replace(path)


def kept_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """What a file of an earlier run holds; None if it is absent or, by its own checksums, damaged."""
    try:
        with np.load(path) as kept:
            return dict(kept)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        _LOG.warning("%s: the checkpoint is damaged (%s); it is made anew", path, error)
        return None
