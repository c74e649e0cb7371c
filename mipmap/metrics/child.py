"""Questions to a driver, asked in a process of their own: a broken driver may crash or hang whoever asks it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PATIENCE = 60  # seconds; a driver that needs longer for a few small draws is of no use


def ask(module: str) -> list[dict[str, Any]] | None:
    """What `main` of `module` prints on its last line, a JSON list; None if it crashed, hung or printed none."""
    root = str(Path(__file__).parents[2])
    code = f"import sys; sys.path.insert(0, {root!r}); from {module} import main; main()"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        answer = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError):
        return None
    return answer if isinstance(answer, list) else None
