"""The empty prompt of a checkpoint, which is all that texture work says to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from texsynth.errors import TexsynthError, bad_input
from texsynth.model.diffusers_files import AGAIN, library, opened, read_json, tensor_files

# Made elsewhere, where the text encoders are not in the folder: `prompt_embeds` and, of SDXL, `pooled_prompt_embeds`.
FILE = "empty_prompt.safetensors"
TOKENS = 77
POOLED = 1280


@dataclass(frozen=True)
class Prompt:
    """What a U-Net of diffusers is told: embeddings (1, 77, D); of SDXL the pooled one too, (1, 1280)."""

    embeddings: Tensor
    pooled: Tensor | None


def empty_prompt(folder: Path, index: dict[str, Any], width: int, pooled: bool) -> Prompt:
    """The empty prompt, float32, `width` wide: of FILE, zeros where it was trained so, or by its encoders.

    index: of model_index.json. pooled: whether the U-Net wants that too (SDXL).
    """
    if (folder / FILE).is_file():
        return _stored(folder / FILE, width, pooled)
    if pooled and index.get("force_zeros_for_empty_prompt", True):  # diffusers' default for SDXL
        return Prompt(torch.zeros(1, TOKENS, width), torch.zeros(1, POOLED))
    if not pooled:
        hidden, _ = _encoded(folder, "text_encoder", "tokenizer", "CLIPTextModel")
        return _checked(Prompt(hidden[-1], None), folder / "text_encoder", width)
    first, _ = _encoded(folder, "text_encoder", "tokenizer", "CLIPTextModel")
    second, projected = _encoded(folder, "text_encoder_2", "tokenizer_2", "CLIPTextModelWithProjection")
    return _checked(Prompt(torch.cat([first[-2], second[-2]], -1), projected), folder / "text_encoder_2", width)


def _checked(prompt: Prompt, where: Path, width: int) -> Prompt:
    """`prompt` if it is what the U-Net takes."""
    if prompt.embeddings.shape != (1, TOKENS, width):
        raise bad_input(
            where, f"the empty prompt is {tuple(prompt.embeddings.shape)}", f"unet/ takes (1, {TOKENS}, {width})"
        )
    if prompt.pooled is not None and prompt.pooled.shape != (1, POOLED):
        raise bad_input(where, f"the pooled prompt is {tuple(prompt.pooled.shape)}", f"unet/ takes (1, {POOLED})")
    if not all(bool(part.isfinite().all()) for part in (prompt.embeddings, prompt.pooled) if part is not None):
        raise bad_input(where, "the empty prompt is not finite", AGAIN)
    return prompt


def _stored(path: Path, width: int, pooled: bool) -> Prompt:
    file = opened(path)
    names = ["prompt_embeds", "pooled_prompt_embeds"] if pooled else ["prompt_embeds"]
    if missing := [name for name in names if name not in file.keys()]:  # noqa: SIM118
        raise bad_input(path, f"lacks {missing[0]}", f"it holds {' and '.join(names)} of the empty prompt")
    tensors = [file.get_tensor(name).float().clone() for name in names]
    return _checked(Prompt(tensors[0], tensors[1] if pooled else None), path, width)


def _encoded(folder: Path, encoder: str, tokenizer: str, name: str) -> tuple[tuple[Tensor, ...], Tensor]:
    """Hidden states of the empty prompt, the last one behind the encoder's last normalisation, and what it pools."""
    place = folder / encoder
    if not place.is_dir():
        raise bad_input(place, "is absent", f"put it there, or the embeddings of the empty prompt as {folder / FILE}")
    architectures = read_json(place / "config.json").get("architectures")
    if architectures != [name]:
        raise bad_input(place / "config.json", f"is of {architectures}", f"its class has to be {name}")
    files = tensor_files(place, "model", half=False)
    for path in files:
        opened(path)
    variant = "fp16" if ".fp16." in files[0].name else None
    if not (folder / tokenizer).is_dir():
        raise bad_input(folder / tokenizer, "is absent", AGAIN)
    transformers = library("transformers")
    try:
        _be_quiet(transformers)
        words = transformers.CLIPTokenizer.from_pretrained(folder / tokenizer, local_files_only=True)
        ids = words("", padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt").input_ids
        model, found = getattr(transformers, name).from_pretrained(
            place,
            local_files_only=True,
            use_safetensors=True,
            variant=variant,
            dtype=torch.float32,
            output_loading_info=True,
        )
        if lacking := sorted(found["missing_keys"]) + sorted(str(key) for key in found["mismatched_keys"]):
            raise bad_input(place, f"its weights lack {lacking[0]}", AGAIN)
        with torch.no_grad():  # not inference mode: gradients flow past it
            out = model(ids, output_hidden_states=True)
    except TexsynthError:
        raise
    except Exception as error:  # whatever a foreign tokenizer or encoder makes of two libraries
        raise bad_input(
            place, f"does not encode the empty prompt ({str(error).splitlines()[0][:200]})", AGAIN
        ) from None
    return (*out.hidden_states[:-1], out.last_hidden_state), out[0]


def _be_quiet(transformers: Any) -> None:
    """No progress bar for a load of a second: the command line has one of its own."""
    transformers.utils.logging.disable_progress_bar()
