"""The files of a checkpoint in diffusers' layout: configurations and safetensors, checked before any weight is read.

A folder is a foreign thing: every way in which it may be wrong is refused in one line that says what would be right.
Weights are memory-mapped and never unpickled. diffusers and transformers are imported here and nowhere else.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from texsynth.errors import ErrorKind, TexsynthError, bad_input, from_os_error

LAYOUT = "name a folder in diffusers layout, with model_index.json, unet/, vae/ and scheduler/"
AGAIN = "download or save the checkpoint again"
PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
# Folders of a checkpoint, and what is read there: configurations, weights, vocabularies.
PARTS = ("unet", "vae", "scheduler", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
READ = (".json", ".safetensors", ".txt")
# A configuration is a few kilobytes.
LARGEST_JSON = 2**20
# Names that attention blocks of a VAE had in the first releases; published SD 1.5 folders still have them.
OLD_NAMES = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


def checkpoint_digest(folder: Path, beside: tuple[str, ...]) -> str:
    """SHA-256 over names and contents of all files of a checkpoint that may be read; gigabytes are a few seconds.

    beside: names of files beside its parts; those that are absent do not count.
    """
    digest = hashlib.sha256()
    files = [path for part in PARTS for path in _listed(folder / part) if path.suffix in READ]
    for path in sorted([*files, *(folder / name for name in beside if (folder / name).is_file())]):
        try:
            with path.open("rb") as opened:
                content = hashlib.file_digest(opened, "sha256").digest()
        except OSError as error:
            raise from_os_error(error, path) from None
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + content)
    return digest.hexdigest()


def library(name: str) -> ModuleType:
    """The module `name` of the extra `diffusers`; raises TexsynthError, BAD_INPUT, where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise TexsynthError(
            ErrorKind.BAD_INPUT,
            f"{name} is not installed, which loads checkpoints; run: pip install 'texsynth[diffusers]'",
        ) from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of the folder."""
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise bad_input(path, "has more than 1 MB", AGAIN)
        config: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise bad_input(path, "is absent", LAYOUT) from None
    except OSError as error:
        raise from_os_error(error, path) from None
    except (ValueError, RecursionError):
        raise bad_input(path, "is no JSON", AGAIN) from None
    if not isinstance(config, dict):
        raise bad_input(path, "is no JSON object", AGAIN)
    return config


def tensor_files(folder: Path, stem: str, half: bool) -> list[Path]:
    """The safetensors files of one part: one file or its shards, those of the fp16 variant first if `half`."""
    variants = (".fp16", "") if half else ("", ".fp16")
    for variant in variants:
        if (whole := folder / f"{stem}{variant}.safetensors").is_file():
            return [whole]
        if (index := folder / f"{stem}.safetensors.index{variant}.json").is_file():
            return _shards(index)
    pickled = sorted(path.name for path in _listed(folder) if path.suffix in PICKLED)
    if pickled:
        raise bad_input(
            folder / pickled[0],
            "is a pickle, which may run code and is never opened",
            f"save the checkpoint with safe_serialization=True, as {stem}.safetensors",
        )
    raise bad_input(folder / f"{stem}.safetensors", "is absent", AGAIN)


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _shards(index: Path) -> list[Path]:
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise bad_input(index, "has no weight_map", AGAIN)
    files = []
    for name in sorted(set(names.values())):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise bad_input(index, f"names the file {name!r}", "shards are safetensors files beside it")
        if not (index.parent / name).is_file():
            raise bad_input(index.parent / name, "is absent", AGAIN)
        files.append(index.parent / name)
    return files


def opened(path: Path) -> Any:
    """A safetensors file, memory-mapped, its header checked against its length."""
    try:
        return safe_open(path, framework="pt", device="cpu")
    except SafetensorError as error:
        raise bad_input(path, f"is no whole safetensors file ({error})", AGAIN) from None
    except OSError as error:
        raise from_os_error(error, path) from None


def built(kind: Any, config: dict[str, Any], where: Path) -> nn.Module:
    """A model of diffusers' class `kind` on the meta device: shapes without memory."""
    try:
        with torch.device("meta"):
            model: nn.Module = kind.from_config(config)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, NotImplementedError, RuntimeError) as error:
        reason = str(error).split("\n")[0]
        raise bad_input(where, f"describes no {kind.__name__} ({reason})", AGAIN) from None
    return model


def fill(model: nn.Module, files: list[Path], dtype: torch.dtype, device: torch.device) -> nn.Module:
    """`model` of `built` with the weights in `files`, as `dtype` on `device`, ready for inference.

    Where neither changes them they stay in the mapped files. Names and shapes are all checked before a weight is read.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    places: dict[str, tuple[Any, str]] = {}
    for path in files:
        file = opened(path)
        for stored in file.keys():  # noqa: SIM118  (a file of safetensors is no mapping)
            name = stored if stored in wanted else _renamed(stored)
            if name not in wanted:
                raise bad_input(path, f"holds {stored}, which its config.json does not have", AGAIN)
            if (shape := _shape(file, stored)) != wanted[name] and not _is_old_matrix(name, stored, shape, wanted):
                raise bad_input(path, f"{stored} is {shape}, by its config.json {wanted[name]}", AGAIN)
            if file.get_slice(stored).get_dtype() not in ("F16", "BF16", "F32", "F64"):
                raise bad_input(
                    path, f"{stored} is {file.get_slice(stored).get_dtype()}", "weights are F16, BF16 or F32"
                )
            places[name] = (file, stored)
    if missing := sorted(wanted.keys() - places.keys()):
        raise bad_input(files[0], f"lacks {len(missing)} of {len(wanted)} tensors, {missing[0]} among them", AGAIN)
    weights: dict[str, Tensor] = {}
    for name, (file, stored) in places.items():
        weights[name] = file.get_tensor(stored).reshape(wanted[name]).to(device, dtype)
    model.load_state_dict(weights, assign=True)
    return model.eval().requires_grad_(False)


def _renamed(name: str) -> str:
    for old, new in OLD_NAMES.items():
        name = name.replace(old, new)
    return name


def _shape(file: Any, name: str) -> tuple[int, ...]:
    return tuple(file.get_slice(name).get_shape())


def _is_old_matrix(name: str, stored: str, shape: tuple[int, ...], wanted: dict[str, tuple[int, ...]]) -> bool:
    """Whether it is one of the old names, stored as a 1 x 1 convolution."""
    return name != stored and shape == (*wanted[name], 1, 1)
