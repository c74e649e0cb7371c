"""A user's Stable Diffusion 1.5 or SDXL checkpoint as a `Denoiser`, and its autoencoder for albedo.

What is asked of it is the empty prompt's denoising and its self-attention. Planes of any size go through in windows
that fade over into each other, so memory is that of one window.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from texsynth.errors import bad_input
from texsynth.material import Float32
from texsynth.model.denoiser import Attention
from texsynth.model.diffusers_files import (
    AGAIN,
    LAYOUT,
    built,
    checkpoint_digest,
    fill,
    library,
    read_json,
    tensor_files,
)
from texsynth.model.diffusers_prompt import FILE, POOLED, Prompt, empty_prompt
from texsynth.model.windows import windows

INDEX = "model_index.json"
TENSORS = "diffusion_pytorch_model"
BLOCK = 8  # texels a side for each token, of both kinds
CHANNELS = 4  # of the latent, of both kinds
# Tokens a side that a window of the autoencoder decides, and how many more it sees: 640 texels at once.
VAE_STEP, VAE_MARGIN = 64, 8
# The same for the U-Net's windows, as a share of what it was trained on.
SEEN_BEYOND = 1 / 8
# Self-attentions that are distilled: the last third, on the decoder's side (Zhou et al. 2025: 10 to 15 of 16).
DISTILLED = 1 / 3


@dataclass(frozen=True)
class Kind:
    """One architecture that is known: what its configuration has to say. side: tokens that it was trained on."""

    name: str
    pipelines: tuple[str, ...]
    width: int
    added: str | None
    side: int


@dataclass(frozen=True)
class Identity:
    """A checkpoint by what is in it. name: of its folder. sha256: over the files of its parts."""

    name: str
    kind: Kind
    sha256: str


SD15 = Kind("SD 1.5", ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"), 768, None, 64)
SDXL = Kind("SDXL", ("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"), 2048, "text_time", 128)
KINDS = (SD15, SDXL)
KNOWN = "SD 1.5 and SDXL are known"


@dataclass(frozen=True)
class Noise:
    """Noise levels sigma = sqrt((1 - a) / a) of the steps it was trained on, ascending, and what it predicts."""

    sigmas: Tensor
    prediction: str

    def timestep(self, sigma: float) -> float:
        """The step of noise level `sigma`, in between by the logarithm (Karras et al. 2022); ends hold beyond."""
        logs = self.sigmas.log().numpy()
        return float(np.interp(math.log(max(sigma, 1e-20)), logs, np.arange(len(logs))))

    def ladder(self, count: int) -> list[float]:
        """Noise levels of `count` steps, the middles of as many equal parts of its time, from the noisiest down."""
        steps = (np.arange(count)[::-1] + 0.5) / count * len(self.sigmas)
        return [float(self.sigmas[int(step)]) for step in steps]

    def clean(self, z: Tensor, out: Tensor, sigma: float) -> Tensor:
        """The mean of the clean latent for z = clean + sigma noise and what the U-Net says of z / sqrt(1 + sigma^2)."""
        if self.prediction == "epsilon":
            return z - sigma * out
        if self.prediction == "v_prediction":
            return z / (1 + sigma**2) - sigma / math.sqrt(1 + sigma**2) * out
        return out


class DiffusersModel:
    """A checkpoint, loaded; see `texsynth.model.denoiser.AttentiveDenoiser`. Latents are float32 on any device."""

    def __init__(self, kind: Kind, unet: nn.Module, vae: nn.Module, noise: Noise, prompt: Prompt) -> None:
        self.kind, self.unet, self.vae, self.noise, self.prompt = kind, unet, vae, noise, prompt
        config: Any = unet.config
        self.multiple = 2 ** (len(config["block_out_channels"]) - 1)  # sides of the U-Net's input
        every = sorted((name for name, _ in unet.named_modules() if name.endswith(".attn1")), key=_place)
        self._distilled: list[Any] = [unet.get_submodule(name) for name in every[-math.ceil(len(every) * DISTILLED) :]]

    @property
    def layers(self) -> int:
        """How many self-attentions `attention` returns."""
        return len(self._distilled)

    def encode(self, albedo: Float32, torus: tuple[bool, bool]) -> Tensor:
        """The latent (4, H / 8, W / 8), float32 on the CPU, of sRGB-encoded albedo (H, W, 3) in 0..1.

        H and W are multiples of 8, or ValueError. It is scaled as the U-Net wants it. Only a window is read at a time.
        """
        height, width = albedo.shape[:2]
        if height % BLOCK or width % BLOCK:
            raise ValueError(f"albedo of {height} x {width} texels; sides have to be multiples of {BLOCK}")
        shape = (height // BLOCK, width // BLOCK)
        latent = np.zeros((*shape, CHANNELS), np.float32)
        for window in windows(shape, torus, step=VAE_STEP, margin=VAE_MARGIN):
            window.add(latent, self._through(self._encoder, window.take(albedo, BLOCK) * 2 - 1, self.vae), 1)
        return torch.from_numpy(latent).movedim(2, 0).contiguous()

    def decode(self, latent: Tensor, torus: tuple[bool, bool], albedo: Float32) -> None:
        """Write the sRGB-encoded texels of `latent`, float32 (4, h, w), into `albedo`, float32 (8 h, 8 w, 3), 0..1.

        `albedo` may lie in a memory-mapped file.
        """
        shape = (latent.shape[1], latent.shape[2])
        if albedo.shape != (shape[0] * BLOCK, shape[1] * BLOCK, 3):
            raise ValueError(f"albedo is {albedo.shape} for a latent of {tuple(latent.shape)}")
        source = latent.detach().cpu().movedim(0, 2).numpy()
        albedo[:] = 0
        for window in windows(shape, torus, step=VAE_STEP, margin=VAE_MARGIN):
            texels = self._through(self._decoder, window.take(source, 1), self.vae)
            window.add(albedo, (texels / 2 + 0.5).clip(0, 1), BLOCK)

    def denoise(self, z: Tensor, sigma: float, torus: tuple[bool, bool]) -> Tensor:
        """See `Denoiser`; z (4, h, w)."""
        source = z.detach().cpu().movedim(0, 2).numpy()
        mean = np.zeros(source.shape, np.float32)
        margin = round(self.kind.side * SEEN_BEYOND)
        step = self.kind.side - 2 * margin
        for window in windows((z.shape[1], z.shape[2]), torus, step=step, margin=margin, multiple=self.multiple):
            part = self._through(lambda seen: self._mean(seen, sigma), window.take(source, 1), self.unet)
            window.add(mean, part, 1)
        return torch.from_numpy(mean).movedim(2, 0).contiguous().to(z.device)

    def attention(self, z: Tensor, sigma: float) -> tuple[Attention, ...]:
        """See `AttentiveDenoiser`; sides of z (1, 4, h, w) are multiples of `multiple`, or ValueError."""
        if z.shape[2] % self.multiple or z.shape[3] % self.multiple:
            raise ValueError(f"latent of {z.shape[2]} x {z.shape[3]}; sides have to be multiples of {self.multiple}")
        kept: dict[tuple[int, str], Tensor] = {}
        hooks: list[RemovableHandle] = []
        for number, layer in enumerate(self._distilled):
            for name in ("q", "k", "v"):
                hooks.append(getattr(layer, f"to_{name}").register_forward_hook(_keep(kept, (number, name))))
        try:
            self._predicted(z, sigma)
        finally:
            for hook in hooks:
                hook.remove()
        return tuple(
            Attention(
                _heads(kept[number, "q"], layer.heads),
                _heads(kept[number, "k"], layer.heads),
                _heads(kept[number, "v"], layer.heads),
                layer.scale,
            )
            for number, layer in enumerate(self._distilled)
        )

    def _through(self, network: Callable[[Tensor], Tensor], part: Float32, owner: nn.Module) -> Float32:
        """`network` on one window (H, W, C), float32 there and back."""
        device = next(owner.parameters()).device
        with torch.inference_mode():
            out = network(torch.from_numpy(part).movedim(2, 0)[None].to(device))
        made: Float32 = out[0].float().movedim(0, 2).cpu().numpy()
        return made

    def _encoder(self, texels: Tensor) -> Tensor:
        vae: Any = self.vae
        mean: Tensor = vae.encode(texels.to(vae.dtype)).latent_dist.mode().float()
        scaled: Tensor = (mean - (vae.config.get("shift_factor") or 0.0)) * vae.config["scaling_factor"]
        return scaled

    def _decoder(self, latent: Tensor) -> Tensor:
        vae: Any = self.vae
        raw = latent / vae.config["scaling_factor"] + (vae.config.get("shift_factor") or 0.0)
        texels: Tensor = vae.decode(raw.to(vae.dtype)).sample
        return texels

    def _mean(self, z: Tensor, sigma: float) -> Tensor:
        return self.noise.clean(z, self._predicted(z / math.sqrt(1 + sigma**2), sigma).float(), sigma)

    def _predicted(self, seen: Tensor, sigma: float) -> Tensor:
        """What the U-Net says of `seen` (1, 4, h, w), which is scaled as it wants it."""
        weight = next(self.unet.parameters())
        added = None
        if self.prompt.pooled is not None:
            side = float(self.kind.side * BLOCK)
            # original size, crop, target size: a whole image of the size that it knows best
            times = torch.tensor([[side, side, 0.0, 0.0, side, side]], device=weight.device, dtype=weight.dtype)
            added = {"text_embeds": self.prompt.pooled.to(weight), "time_ids": times}
        step = torch.tensor(self.noise.timestep(sigma), device=weight.device)
        out: Tensor = self.unet(
            seen.to(weight),
            step,
            encoder_hidden_states=self.prompt.embeddings.to(weight),
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        return out


def identify(folder: Path) -> Identity:
    """What the checkpoint in `folder` is; every file of its parts is read, for the digest.

    Raises TexsynthError, BAD_INPUT, where it is absent or another kind of model.
    """
    if not folder.is_dir():
        raise bad_input(folder, "is a file" if folder.exists() else "is absent", LAYOUT)
    kind = _kind(folder, read_json(folder / INDEX), _config(folder / "unet", "UNet2DConditionModel"))
    return Identity(folder.resolve().name, kind, checkpoint_digest(folder, (INDEX, FILE)))


def load_diffusers(
    folder: Path, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> DiffusersModel:
    """The checkpoint in `folder`, in diffusers' layout, of kind SD 1.5 or SDXL.

    device: the CPU where none is given. dtype: of the U-Net; float32 on the CPU, bfloat16 on GPUs that multiply it,
    else float16. Raises TexsynthError, BAD_INPUT, for everything that is absent, foreign or damaged, and where
    `texsynth[diffusers]` is not installed.
    """
    device = torch.device("cpu") if device is None else device
    dtype = dtype_for(device) if dtype is None else dtype
    if not folder.is_dir():
        raise bad_input(folder, "is a file" if folder.exists() else "is absent", LAYOUT)
    index = read_json(folder / INDEX)
    unet_config = _config(folder / "unet", "UNet2DConditionModel")
    kind = _kind(folder, index, unet_config)
    vae_config = _vae_config(folder / "vae")
    noise = _noise(folder / "scheduler", read_json(folder / "scheduler" / "scheduler_config.json"))
    half = dtype != torch.float32
    files = [tensor_files(folder / part, TENSORS, half) for part in ("unet", "vae")]
    diffusers = library("diffusers")
    unet = built(diffusers.UNet2DConditionModel, unet_config, folder / "unet" / "config.json")
    vae = built(diffusers.AutoencoderKL, vae_config, folder / "vae" / "config.json")
    prompt = empty_prompt(folder, index, kind.width, kind.added is not None)
    # float16 overflows in SDXL's autoencoder, and its configuration says so
    vae_dtype = torch.float32 if vae_config.get("force_upcast", True) else dtype
    return DiffusersModel(
        kind, fill(unet, files[0], dtype, device), fill(vae, files[1], vae_dtype, device), noise, prompt
    )


def dtype_for(device: torch.device) -> torch.dtype:
    """What weights are held in on `device`."""
    if device.type == "cpu":
        return torch.float32
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16


def _config(part: Path, name: str) -> dict[str, Any]:
    path = part / "config.json"
    config = read_json(path)
    if config.get("_class_name") != name:
        raise bad_input(path, f"is of class {config.get('_class_name')}", f"its class has to be {name}; {KNOWN}")
    return config


def _kind(folder: Path, index: dict[str, Any], unet: dict[str, Any]) -> Kind:
    pipeline = index.get("_class_name")
    found = [kind for kind in KINDS if pipeline in kind.pipelines]
    if not found:
        raise bad_input(folder / INDEX, f"is of class {pipeline}", KNOWN)
    kind, where = found[0], folder / "unet" / "config.json"
    wanted = {
        "cross_attention_dim": kind.width,
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "addition_embed_type": kind.added,
    }
    defaults = {"in_channels": CHANNELS, "out_channels": CHANNELS}
    for key, value in wanted.items():
        if (given := unet.get(key, defaults.get(key))) != value:
            raise bad_input(where, f"{key} is {given}", f"of {kind.name} it is {value}")
    if kind.added and unet.get("projection_class_embeddings_input_dim") != POOLED + 6 * 256:
        given = unet.get("projection_class_embeddings_input_dim")
        raise bad_input(
            where, f"projection_class_embeddings_input_dim is {given}", f"of {kind.name} it is {POOLED + 6 * 256}"
        )
    return kind


def _vae_config(part: Path) -> dict[str, Any]:
    config, where = _config(part, "AutoencoderKL"), part / "config.json"
    for key, value in (("latent_channels", CHANNELS), ("in_channels", 3), ("out_channels", 3)):
        if config.get(key, value) != value:
            raise bad_input(where, f"{key} is {config[key]}", f"of SD 1.5 and SDXL it is {value}")
    widths = config.get("block_out_channels")
    if not isinstance(widths, list) or 2 ** (len(widths) - 1) != BLOCK:
        raise bad_input(where, f"block_out_channels is {widths}", "four of them make a latent of 1/8 of the side")
    return config


def _noise(part: Path, config: dict[str, Any]) -> Noise:
    where = part / "scheduler_config.json"
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction", "sample"):
        raise bad_input(where, f"prediction_type is {prediction}", "it is epsilon, v_prediction or sample")
    if "beta_schedule" not in config and config.get("trained_betas") is None:
        raise bad_input(where, f"{config.get('_class_name')} has no beta_schedule", f"{KNOWN}, which have one")
    keys = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr")
    try:
        scheduler = library("diffusers").DDPMScheduler(**{key: config[key] for key in keys if key in config})
    except (TypeError, ValueError, NotImplementedError, RuntimeError) as error:
        raise bad_input(where, f"describes no noise levels ({str(error).splitlines()[0]})", AGAIN) from None
    # the last is 0 where the signal-to-noise ratio ends in zero
    signal = scheduler.alphas_cumprod.double().clamp_min(2**-24)
    sigmas: Tensor = ((1 - signal) / signal).sqrt()
    if not bool((sigmas.isfinite() & (sigmas > 0)).all()) or not bool((sigmas.diff() > 0).all()):
        raise bad_input(where, "its noise levels do not rise", AGAIN)
    return Noise(sigmas, prediction)


def _place(name: str) -> tuple[int, list[int]]:
    """Order of a U-Net's layers by how they are run: down, middle, up."""
    return ("down", "mid_", "up_b").index(name[:4]), [int(part) for part in name.split(".") if part.isdigit()]


def _keep(kept: dict[tuple[int, str], Tensor], key: tuple[int, str]) -> Callable[[nn.Module, Any, Tensor], None]:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        kept[key] = output

    return hook


def _heads(rows: Tensor, heads: int) -> Tensor:
    """(1, N, heads d) as (heads, N, d)."""
    return rows[0].reshape(rows.shape[1], heads, -1).movedim(1, 0)
