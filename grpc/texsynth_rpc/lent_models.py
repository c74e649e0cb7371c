"""The checkpoints that an operator lets clients name (`texsynth serve --models NAME=FOLDER`).

A client says a name, never a path, and no path comes back to it. Workers are told through their environment.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from texsynth.errors import bad_input

VARIABLE = "TEXSYNTH_MODELS"
_NAME = re.compile(r"[\w.-]{1,64}\Z")

Models = Mapping[str, Path]


def parse_models(given: Sequence[str]) -> dict[str, Path]:
    """`NAME=FOLDER` each. Raises TexsynthError, BAD_INPUT, for what has another form, no folder, or a name twice."""
    found: dict[str, Path] = {}
    for text in given:
        name, equals, folder = text.partition("=")
        if not equals or not _NAME.match(name) or not folder:
            raise bad_input(
                "models", f"got '{text}'", "use NAME=FOLDER, the name of letters, digits, '.', '_' and '-', 64 at most"
            )
        if name in found:
            raise bad_input("models", f"'{name}' is given twice", "give every model its own name")
        if not Path(folder).is_dir():
            raise bad_input("models", f"'{folder}' is no folder", "give that of a checkpoint in diffusers' layout")
        found[name] = Path(folder).absolute()
    return found


def for_workers(models: Models) -> dict[str, str]:
    """The environment variable that `of_this_process` reads."""
    return {VARIABLE: json.dumps({name: str(path) for name, path in models.items()})}


def of_this_process() -> dict[str, Path]:
    """What the server has told this worker."""
    return {name: Path(path) for name, path in json.loads(os.environ.get(VARIABLE, "{}")).items()}


def without_paths(message: str, models: Models) -> str:
    """`message` with the names of the models instead of where they lie; of several in one folder all names."""
    for path in sorted(set(models.values()), key=lambda path: len(path.parts), reverse=True):  # inner folders first
        message = message.replace(str(path), " or ".join(name for name, each in models.items() if each == path))
    return message
