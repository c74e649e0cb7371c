"""Small checkpoints in diffusers' layout, written by diffusers and transformers, with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

SD15_UNET: dict[str, Any] = {
    "sample_size": 64,
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 768,
    "attention_head_dim": 4,
    "norm_num_groups": 8,
}
SDXL_UNET: dict[str, Any] = {
    **SD15_UNET,
    "cross_attention_dim": 2048,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "use_linear_projection": True,
}
# As published.
SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "steps_offset": 1,
}


def small_sd15(folder: Path, *, prediction: str = "epsilon", unet: dict[str, Any] = SD15_UNET) -> Path:
    """SD 1.5 with few channels."""
    _parts(folder, "StableDiffusionPipeline", unet, prediction)
    _text_encoder(folder, "text_encoder", "tokenizer", "CLIPTextModel", 768)
    return folder


def small_sdxl(folder: Path, *, encoders: bool = False) -> Path:
    """SDXL with few channels; encoders: with both, and an empty prompt that is theirs."""
    _parts(folder, "StableDiffusionXLPipeline", SDXL_UNET, "epsilon")
    if encoders:
        change(folder / "model_index.json", force_zeros_for_empty_prompt=False)
        _text_encoder(folder, "text_encoder", "tokenizer", "CLIPTextModel", 768)
        _text_encoder(folder, "text_encoder_2", "tokenizer_2", "CLIPTextModelWithProjection", 1280)
    return folder


def change(path: Path, **fields: Any) -> None:
    """Other fields for a JSON file; None removes one."""
    config = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def _parts(folder: Path, pipeline: str, unet: dict[str, Any], prediction: str) -> None:
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel  # seconds, so not before it is needed

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    UNet2DConditionModel(**unet).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        force_upcast=pipeline == "StableDiffusionXLPipeline",
    ).save_pretrained(folder / "vae")
    DDPMScheduler(**SCHEDULE, prediction_type=prediction).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline, "_diffusers_version": "0.36.0"}))


def _text_encoder(folder: Path, encoder: str, tokenizer: str, kind: str, width: int) -> None:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    config = transformers.CLIPTextConfig(
        vocab_size=3, hidden_size=width, intermediate_size=16, num_hidden_layers=2, num_attention_heads=4,
        projection_dim=width, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    getattr(transformers, kind)(config).save_pretrained(folder / encoder)
    vocabulary, merges = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2}, "#version: 0.2\n"
    (folder / tokenizer).mkdir()
    (folder / tokenizer / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / tokenizer / "merges.txt").write_text(merges)
    files = (str(folder / tokenizer / "vocab.json"), str(folder / tokenizer / "merges.txt"))
    transformers.CLIPTokenizer(*files, model_max_length=77).save_pretrained(folder / tokenizer)
