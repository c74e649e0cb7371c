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
from texsynth.prune.structure import described, rebuild
from texsynth.run import write_atomically, write_json_atomically

CONFIG, TENSORS = "config.json", "diffusion_pytorch_model.safetensors"
# In a configuration: that the model is smaller than the rest of it says, and how.
PRUNED = "_pruned"

Model = TypeVar("Model", bound=nn.Module)


def save_model(model: nn.Module, folder: Path, dtype: torch.dtype = torch.float16, *, pruned: bool = False) -> str:
    """Write `model`, which has a `config`, ours or diffusers', to `folder`; returns the SHA-256 of its tensors.

    pruned: it is smaller than its configuration says (`texsynth.prune`); its sizes are those of the tensors.
    """
    shape: Any = model.config
    fields = dataclasses.asdict(shape) if dataclasses.is_dataclass(shape) else dict(shape)  # type: ignore[arg-type]
    config = {**fields, "_class_name": type(model).__name__, "_texsynth_version": __version__}
    if pruned:
        config[PRUNED] = described(model)
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
    """The model of class `kind` in `folder`, as float32 on the CPU, ready for inference; so is a pruned variant of it.

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
    try:
        model = _built(kind, config)
        tensors = {key: tensor.float() for key, tensor in load(data).items()}
        if PRUNED in config:
            rebuild(model, config[PRUNED], tensors)
        else:
            model.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
        reason = str(error).split("\n")[0]
        raise TexsynthError(ErrorKind.CORRUPT, f"{folder}: is no whole {kind.__name__}: {reason}") from None
    return model.eval().requires_grad_(False)


def _built(kind: type[Model], config: dict[str, Any]) -> Model:
    """A model of full size: by its dataclass `Config`, or as diffusers does it."""
    shape: Any = getattr(kind, "Config", None)
    if shape is None:
        names = config.keys() - {PRUNED, "_texsynth_version"}
        made: Model = kind.from_config({name: config[name] for name in names})  # type: ignore[attr-defined]
        return made
    names = {field.name for field in dataclasses.fields(shape)}
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in config.items() if key in names}
    return kind(shape(**given))
