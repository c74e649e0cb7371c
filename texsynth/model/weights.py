"""Weights of our models as files: folders laid out like diffusers' (config.json beside one safetensors file)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from texsynth import __version__
from texsynth.errors import ErrorKind, TexsynthError, bad_input, from_os_error
from texsynth.run import write_atomically, write_json_atomically

CONFIG, TENSORS = "config.json", "diffusion_pytorch_model.safetensors"

Model = TypeVar("Model", bound=nn.Module)


def save_model(model: nn.Module, folder: Path, dtype: torch.dtype = torch.float16) -> str:
    """Write `model`, which has a dataclass `config`, to `folder`; returns the SHA-256 of its tensors."""
    shape: Any = model.config
    config = {"_class_name": type(model).__name__, "_texsynth_version": __version__, **dataclasses.asdict(shape)}
    return save_tensors(model.state_dict(), config, folder, dtype)


def save_tensors(tensors: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path, dtype: torch.dtype) -> str:
    """Write `tensors` as `dtype`, and `config`, to `folder`; returns the SHA-256 of the tensors' file."""
    stored = {name: tensor.detach().cpu().to(dtype).contiguous() for name, tensor in tensors.items()}
    data = save(stored, metadata={"format": "pt"})
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / TENSORS, data)
    write_json_atomically(folder / CONFIG, dict(config))
    return hashlib.sha256(data).hexdigest()


def load_model(kind: type[Model], folder: Path, digest: str | None = None) -> Model:
    """The model of class `kind` in `folder`, as float32 on the CPU, ready for inference.

    digest: SHA-256 that the tensors must have. Raises TexsynthError: BAD_INPUT for a folder that is not such a model,
    CORRUPT for tensors that are damaged or have another digest.
    """
    try:
        config: Any = json.loads((folder / CONFIG).read_text())
        data = (folder / TENSORS).read_bytes()
    except OSError as error:
        raise from_os_error(error, error.filename or folder) from None
    except ValueError:
        raise bad_input(folder / CONFIG, "is no JSON", "name a folder that `texsynth model train` wrote") from None
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise TexsynthError(ErrorKind.CORRUPT, f"{folder / TENSORS}: is damaged; make or fetch it again")
    name = config.get("_class_name") if isinstance(config, dict) else None
    if name != kind.__name__:
        raise bad_input(folder, f"holds a model of class {name}", f"name a folder with a {kind.__name__}")
    shape: Any = kind.Config  # type: ignore[attr-defined]
    names = {field.name for field in dataclasses.fields(shape)}
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in config.items() if key in names}
    try:
        model = kind(shape(**given))
        model.load_state_dict({key: tensor.float() for key, tensor in load(data).items()})
    except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise TexsynthError(ErrorKind.CORRUPT, f"{folder}: is no whole {kind.__name__}: {reason}") from None
    return model.eval().requires_grad_(False)
