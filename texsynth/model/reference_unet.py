"""`ReferenceUNet`: a U-Net of diffusers' blocks that looks at an exemplar while it denoises.

Reference attention: the network is run over the exemplar's clean latent once, and every self-attention of later runs
attends to the keys of its own tokens and to those of the exemplar (Zhang, "reference-only" ControlNet, 2023; "Animate
Anyone", Hu et al. 2023). The weights are those of an unchanged `diffusers.UNet2DModel`; it is its blocks that are run
here one by one, with the attention between them, because what a run attends to then is an argument: the network keeps
nothing from run to run, and two jobs can share it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texsynth.errors import bad_input
from texsynth.model.common_axes import CommonAxes
from texsynth.model.denoiser import Attention
from texsynth.model.diffusers_files import built, fill, library, read_json, tensor_files
from texsynth.model.weights import PRUNED, load_model, save_model, save_tensors
from texsynth.model.windows import folded, windows
from texsynth.prune.dynamic_conv import DynamicConv

AXES = "axes"  # the subfolder beside the U-Net's files
# Noise levels between which the U-Net's 1000 time steps lie; step 0 also stands for no noise at all.
LEAST_NOISE, MOST_NOISE, TIMESTEPS = 0.02, 20.0, 1000
# Tokens a side that a window decides, and how many more it sees: 24 at once, and it was trained on 16.
STEP, MARGIN = 16, 4

# Keys and values (N, heads, M, d) of an exemplar, of every attention in the order in which they are run.
Reference = tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True)
class ReferenceUNetConfig:
    """Shape of the network: widths of its levels, each at half the side of that before it; residual blocks a level on
    the way down, one more on the way up; channels of an attention head."""

    channels: int = 16
    widths: tuple[int, ...] = (64, 96, 128)
    layers: int = 1
    head: int = 32
    groups: int = 32


class ReferenceUNet(nn.Module):
    """The network, for tokens in the common `axes`, whitened by the exemplar's statistics.

    Preconditioned as by Karras et al. 2022 (EDM) with data of deviation 1: at high noise what is left to predict is
    the clean latent, at low noise the noise.
    """

    def __init__(self, unet: nn.Module, axes: CommonAxes) -> None:
        super().__init__()
        self.unet, self.axes = unet, axes
        config: Any = unet.config
        self.channels: int = config["in_channels"]
        self.multiple = 2 ** (len(config["block_out_channels"]) - 1)  # sides must be multiples of it

    @classmethod
    def create(cls, config: ReferenceUNetConfig, axes: CommonAxes) -> ReferenceUNet:
        """With random weights; it starts from the mean that white data would have.

        Keys start as queries are made, so that a token attends to those that look like it from the first step on.
        """
        levels = len(config.widths)
        unet: Any = library("diffusers").UNet2DModel(
            in_channels=config.channels,
            out_channels=config.channels,
            down_block_types=("DownBlock2D",) + ("AttnDownBlock2D",) * (levels - 1),
            up_block_types=("AttnUpBlock2D",) * levels,
            block_out_channels=config.widths,
            layers_per_block=config.layers,
            attention_head_dim=config.head,
            norm_num_groups=config.groups,
        )
        nn.init.zeros_(unet.conv_out.weight)
        nn.init.zeros_(unet.conv_out.bias)
        for layer in unet.modules():
            if hasattr(layer, "to_k"):
                nn.init.normal_(layer.to_q.weight, std=layer.to_q.in_features**-0.5)
                layer.to_k.load_state_dict(layer.to_q.state_dict())
        return cls(unet, axes)

    def reference(self, clean: Tensor) -> Reference:
        """What later runs see of exemplars' clean tokens (N, C, h, w)."""
        looking = _Pass(None)
        _through(self.unet, clean, clean.new_zeros(len(clean)), looking)
        return tuple((seen.k, seen.v) for seen in looking.seen)

    def forward(self, z: Tensor, sigma: Tensor, reference: Reference | None) -> Tensor:
        """Mean of the clean tokens for z = clean + sigma * noise, (N, C, h, w), sigma (N,); None: without exemplar."""
        levels = sigma[:, None, None, None]
        total = (1 + levels.square()).sqrt()
        out = _through(self.unet, z / total, _timestep(sigma), _Pass(reference))
        mean: Tensor = z / total.square() + levels / total * out.float()
        return mean

    def attention(self, z: Tensor, sigma: float, reference: Reference | None) -> tuple[Attention, ...]:
        """The decoder's self-attentions in a run over `z` (1, C, h, w) without noise: own tokens only, unmixed."""
        looking = _Pass(reference)
        _through(self.unet, z, _timestep(z.new_full((1,), sigma)), looking)
        return tuple(
            Attention(seen.q[0], seen.k[0], seen.v[0], seen.scale) for seen in looking.seen[-self.decoder_attentions :]
        )

    @property
    def decoder_attentions(self) -> int:
        """How many self-attentions there are on the way up."""
        unet: Any = self.unet
        return sum(len(getattr(block, "attentions", ())) for block in unet.up_blocks)


class _Pass:
    """One run: what it attends to beside its own tokens, and what each attention saw."""

    def __init__(self, reference: Reference | None) -> None:
        self.reference, self.seen = reference, list[Attention]()

    def __call__(self, layer: Any, x: Tensor) -> Tensor:
        """`layer`, a self-attention of diffusers' with a residual connection, on (N, C, h, w), or its stand-in."""
        if isinstance(layer, DynamicConv):  # in pruned variants; it sees no exemplar
            return layer(x)  # type: ignore[no-any-return]
        tokens = layer.group_norm(x.flatten(2)).mT
        q, k, v = (_heads(project(tokens), layer.heads) for project in (layer.to_q, layer.to_k, layer.to_v))
        if self.reference is not None:
            keys, values = self.reference[len(self.seen)]
        self.seen.append(Attention(q, k, v, q.shape[-1] ** -0.5))
        if self.reference is not None:
            k, v = torch.cat([k, keys.to(k)], dim=2), torch.cat([v, values.to(v)], dim=2)
        out = layer.to_out[0](F.scaled_dot_product_attention(q, k, v).movedim(1, 2).flatten(2))
        added: Tensor = x + out.mT.reshape(x.shape)
        return added


def _heads(rows: Tensor, heads: int) -> Tensor:
    """(N, tokens, heads d) as (N, heads, tokens, d)."""
    return rows.reshape(*rows.shape[:2], heads, -1).movedim(2, 1)


def _timestep(sigma: Tensor) -> Tensor:
    """Time step of noise levels (N,), by their logarithm."""
    share = (sigma.clamp_min(LEAST_NOISE) / LEAST_NOISE).log() / math.log(MOST_NOISE / LEAST_NOISE)
    return share * (TIMESTEPS - 1)


def _through(unet: Any, x: Tensor, timestep: Tensor, attend: Callable[[Any, Tensor], Tensor]) -> Tensor:
    """`UNet2DModel.forward` of (N, C, h, w) at time steps (N,), with `attend` in place of its attentions."""
    embedded = unet.time_embedding(unet.time_proj(timestep).to(x))
    x = unet.conv_in(x)
    skipped = [x]
    for block in unet.down_blocks:
        for number, residual in enumerate(block.resnets):
            x = residual(x, embedded)
            if hasattr(block, "attentions"):
                x = attend(block.attentions[number], x)
            skipped.append(x)
        for down in block.downsamplers or ():
            x = down(x)
            skipped.append(x)
    x = unet.mid_block.resnets[0](x, embedded)
    for attention, residual in zip(unet.mid_block.attentions, unet.mid_block.resnets[1:], strict=True):
        x = residual(attend(attention, x), embedded)
    for block in unet.up_blocks:
        for number, residual in enumerate(block.resnets):
            x = residual(torch.cat([x, skipped.pop()], dim=1), embedded)
            if hasattr(block, "attentions"):
                x = attend(block.attentions[number], x)
        for up in block.upsamplers or ():
            x = up(x)
    out: Tensor = unet.conv_out(unet.conv_act(unet.conv_norm_out(x)))
    return out


class ReferenceDenoiser:
    """A `ReferenceUNet` that looks at one exemplar; see `texsynth.model.denoiser.AttentiveDenoiser`.

    exemplar: its clean tokens, float32 (C, h, w), whitened by its own statistics. rotation: orthogonal (C, C) that
    turns tokens to the network's axes (`CommonAxes.rotation`); None: they are there already. wraps: of the exemplar.
    """

    def __init__(
        self, network: ReferenceUNet, exemplar: Tensor, wraps: tuple[bool, bool], rotation: Tensor | None = None
    ) -> None:
        if exemplar.shape[0] != network.channels:
            raise ValueError(f"tokens of {exemplar.shape[0]} channels for a network of {network.channels}")
        self.network = network
        self.device = next(network.parameters()).device
        self.rotation = torch.eye(network.channels) if rotation is None else rotation.float().cpu()
        sides = [np.arange(side + -side % network.multiple) for side in exemplar.shape[1:]]
        at = [folded(side, n, wrap) for side, n, wrap in zip(sides, exemplar.shape[1:], wraps, strict=True)]
        whole = exemplar.cpu()[:, torch.from_numpy(at[0])][:, :, torch.from_numpy(at[1])]
        with torch.no_grad():
            self._reference = network.reference(self._turned(whole)[None].to(self.device))

    @property
    def layers(self) -> int:
        """How many self-attentions `attention` returns."""
        return self.network.decoder_attentions

    def denoise(self, z: Tensor, sigma: float, torus: tuple[bool, bool]) -> Tensor:
        """See `Denoiser`; in windows, each fading over into the next."""
        source = self._turned(z.detach().cpu().float()).movedim(0, 2).numpy()
        mean = np.zeros(source.shape, np.float32)
        level = torch.tensor([sigma], device=self.device)
        for window in windows(
            (z.shape[1], z.shape[2]), torus, step=STEP, margin=MARGIN, multiple=self.network.multiple
        ):
            part = torch.from_numpy(window.take(source, 1)).movedim(2, 0)[None].to(self.device)
            with torch.inference_mode():
                out = self.network(part, level, self._reference)
            window.add(mean, out[0].movedim(0, 2).cpu().numpy(), 1)
        back = torch.einsum("dc,dhw->chw", self.rotation, torch.from_numpy(mean).movedim(2, 0))
        return back.contiguous().to(z.device)

    def attention(self, z: Tensor, sigma: float) -> tuple[Attention, ...]:
        """See `AttentiveDenoiser`; sides of z (1, C, h, w) are multiples of the network's `multiple`, or ValueError."""
        multiple = self.network.multiple
        if z.shape[2] % multiple or z.shape[3] % multiple:
            raise ValueError(f"latent of {z.shape[2]} x {z.shape[3]}; sides have to be multiples of {multiple}")
        turned = torch.einsum("dc,nchw->ndhw", self.rotation.to(z.device), z)
        return self.network.attention(turned.to(self.device), sigma, self._reference)

    def _turned(self, tokens: Tensor) -> Tensor:
        return torch.einsum("dc,chw->dhw", self.rotation, tokens)


def save_reference_unet(
    network: ReferenceUNet, folder: Path, dtype: torch.dtype = torch.float16, *, pruned: bool = False
) -> str:
    """Write `folder`, which `diffusers.UNet2DModel.from_pretrained` reads, and the axes below it; returns the SHA-256
    of the U-Net's tensors. pruned: see `save_model`; diffusers itself cannot read such a folder."""
    unet: Any = network.unet
    save_model(network.axes, folder / AXES, torch.float32)
    if pruned:
        return save_model(unet, folder, dtype, pruned=True)
    return save_tensors(unet.state_dict(), json.loads(unet.to_json_string()), folder, dtype)


def load_reference_unet(folder: Path, device: torch.device | None = None) -> ReferenceUNet:
    """The network in `folder`, float32 on `device` (the CPU where none is given), ready for inference.

    Raises TexsynthError, BAD_INPUT or CORRUPT, for everything that is absent, foreign or damaged, and where
    `texsynth[diffusers]` is not installed.
    """
    device = torch.device("cpu") if device is None else device
    where = folder / "config.json"
    config = read_json(where)
    if (name := config.get("_class_name")) != "UNet2DModel":
        raise bad_input(where, f"is of class {name}", "name a folder with a UNet2DModel from `texsynth model train`")
    axes = load_model(CommonAxes, folder / AXES)
    if PRUNED in config:
        small = load_model(library("diffusers").UNet2DModel, folder).to(device)
        return ReferenceUNet(small, axes.to(device)).eval().requires_grad_(False)
    unet = built(library("diffusers").UNet2DModel, config, where)
    files = tensor_files(folder, "diffusion_pytorch_model", half=False)
    return ReferenceUNet(fill(unet, files, torch.float32, device), axes.to(device)).eval().requires_grad_(False)
