"""What structural pruning saves and costs: multiply-adds, milliseconds, the networks' own errors, texture distance.

    python benchmarks/pruning.py [--steps 600] [--tune 200] [--seeds 3] [--subject decoder|unet]

No trained network is shipped, so two small ones are trained here first, for --steps steps: the decoder of a material
autoencoder, on 24 procedural materials, and a `ReferenceUNet` that denoises the latent of one procedural material in
sight of another place of it. Each is pruned to 60 % and 40 % of its channels; the baselines have as many multiply-adds
as the 60 % variant, or the next fewer: the same share of every layer by the same importance (fixed ratio), random
channels, the residual blocks of least effect left out (layer drop). Of the U-Net there are also variants with half of
the heads and a dynamic convolution in the middle. All of them are fine-tuned by distillation for --tune steps.

Error: of the decoder the training loss on materials that it was not trained on; of the U-Net that of the clean tokens
at three noise levels, over their variance. d: texture distance, of decoded to true albedo, and of the U-Net's samples
to its exemplar, mean over --seeds. Milliseconds: the least of interleaved repeats, of the process' own
processor time, on one thread.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from reporting import Row, contact_sheet, row, show, write_results
from torch import Tensor, nn

from mipmap.metrics import distance_unit, texture_distance
from texsynth.model.blocks import ResidualBlock
from texsynth.model.common_axes import CommonAxes, CommonAxesConfig
from texsynth.model.exemplar_score import noise_levels, step_weights
from texsynth.model.material_autoencoder import MaterialAutoencoder, MaterialAutoencoderConfig
from texsynth.model.reference_unet import ReferenceUNet, ReferenceUNetConfig
from texsynth.prune.channels import (
    Choice,
    Importance,
    by_fixed_ratio,
    by_threshold,
    channel_importance,
    prune_channels,
    prune_in_rounds,
    weight_importance,
)
from texsynth.prune.cost import milliseconds, multiply_adds
from texsynth.prune.dynamic_conv import middle_attentions, replace_attention
from texsynth.prune.fine_tune import fine_tune
from texsynth.prune.graph import ChannelGroup
from texsynth.prune.heads import keep_half_the_heads
from texsynth.run import Run
from texsynth.train import procedural
from texsynth.train.autoencoder import channel_weights, fidelity
from texsynth.train.corpus import PROCEDURAL, Corpus, to_training
from texsynth.train.loop import Batch, Schedule, train
from texsynth.train.pruning import denoised, denoising_loss

CPU = torch.device("cpu")
RETENTIONS = (0.6, 0.4)
CRITERIA_AT = 0.8
ROUNDS, GRADIENTS = 4, 8
CROP, BATCH, PAIRS, CHANNELS = 64, 8, 4, 16  # PAIRS: a batch of the U-Net
DISTANCES = 4  # every so manyth material that is not trained on has its d taken
TIMED_SIDE, REPEATS = 32, 100  # tokens a side
MATERIAL, MATERIAL_SIZE, TOKENS = "pebbles", 512, 16
SIGMAS, LEAST_NOISE, MOST_NOISE, SAMPLING_STEPS = (0.3, 1.0, 3.0), 0.1, 5.0, 24
MOST_CHANGE, LEAST_SAVED, REMOVED = 0.05, 0.40, 0.60


@dataclass(frozen=True)
class Subject:
    """A network and how it is run and judged.

    call: on example inputs. batch_of: the batch of a step. forward: on a batch. loss: what it is trained for, of a
    batch. error, distance: of the figures. picture: something to look at.
    """

    network: nn.Module
    call: Callable[[nn.Module], Tensor]
    batch_of: Callable[[int], Batch]
    forward: Callable[[nn.Module, Batch], Tensor]
    loss: Callable[[nn.Module, Batch], Tensor]
    error: Callable[[nn.Module], float]
    distance: Callable[[nn.Module], float]
    picture: Callable[[nn.Module], Any]


def schedule(steps: int) -> Schedule:
    return Schedule(
        steps=steps, batch=BATCH, crop=CROP, muon_rate=3e-3, adamw_rate=2e-3, warmup=max(1, steps // 20),
        averaging=0.98, report_every=max(1, steps // 10), save_every=steps,
    )  # fmt: skip


def decoder(steps: int, seeds: int, out: Path, resume: bool) -> Subject:
    """The decoder of an autoencoder that was trained for `steps`."""
    del seeds
    trained_on, judged_on = _corpus(192, 1000), _corpus(192, 2000)
    torch.manual_seed(0)
    model = MaterialAutoencoder(
        MaterialAutoencoderConfig(CHANNELS, widths=(48, 64), encoder_blocks=(1, 1), decoder_blocks=(2, 2))
    )
    stacks = torch.cat([next(trained_on.batches(CROP, 32, np.random.default_rng(seed)))[0] for seed in range(8)])
    model.fit_linear(stacks, channel_weights())

    def batch_of(step: int) -> Batch:
        return next(trained_on.batches(CROP, BATCH, np.random.default_rng((0, step))))

    def learn(network: nn.Module, batch: Batch, _step: int) -> dict[str, Tensor]:
        return fidelity(network(*batch).float(), *batch)

    full: Any = train(model, batch_of, learn, schedule(steps), out / "full", Run(), device=CPU, resume=resume)

    def made(network: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad():
            latent = full.encode(*batch)
            linear = full.synthesis(latent)
        decoded: Tensor = linear + network(latent)
        return decoded

    cases = [(_stack(material.texels), torch.tensor([material.present])) for material in judged_on.materials]
    known = [_albedo(true) for true, _ in cases[::DISTANCES]]
    units = [distance_unit(image) for image in known]

    @torch.no_grad()
    def error(network: nn.Module) -> float:
        return mean(float(_total(fidelity(made(network, case), *case))) for case in cases)

    @torch.no_grad()
    def distance(network: nn.Module) -> float:
        decoded = [_albedo(made(network, case)) for case in cases[::DISTANCES]]
        return mean(
            float(texture_distance(image, true, unit=unit))
            for image, true, unit in zip(decoded, known, units, strict=True)
        )

    def picture(network: nn.Module) -> Any:
        material = next(m for m in judged_on.materials if m.name.startswith("brick"))
        with torch.no_grad():
            return _albedo(made(network, (_stack(material.texels), torch.tensor([material.present]))))

    example = torch.randn(1, CHANNELS, TIMED_SIDE, TIMED_SIDE)
    return Subject(
        full.decoder,
        lambda network: network(example),
        batch_of,
        made,
        lambda network, batch: _total(fidelity(made(network, batch), *batch)),
        error,
        distance,
        picture,
    )


def unet(steps: int, seeds: int, out: Path, resume: bool) -> Subject:
    """A `ReferenceUNet` that was trained for `steps` on pairs of places of one material."""
    texels = _stack(to_training(procedural.generate(MATERIAL, MATERIAL_SIZE, 1), PROCEDURAL).texels)
    linear = MaterialAutoencoder(
        MaterialAutoencoderConfig(CHANNELS, widths=(8, 8), encoder_blocks=(0, 0), decoder_blocks=(0, 0))
    )
    linear.fit_linear(texels, channel_weights())
    with torch.no_grad():
        tokens = linear.analysis(texels)[0]
    torch.manual_seed(0)
    config = ReferenceUNetConfig(CHANNELS, widths=(32, 64), head=4, groups=8)

    def crops(generator: np.random.Generator, side: int, count: int) -> Tensor:
        shifts = generator.integers(tokens.shape[1], size=(count, 2))
        return torch.stack([torch.roll(tokens, (int(y), int(x)), (1, 2))[:, :side, :side] for y, x in shifts])

    def batch_of(step: int) -> Batch:
        """Exemplar, clean and noisy tokens (N, 3, C, h, w) and noise levels (N,)."""
        generator = np.random.default_rng((1, step))
        sigma = np.exp(generator.uniform(np.log(LEAST_NOISE), np.log(MOST_NOISE), PAIRS)).astype(np.float32)
        exemplar, clean = crops(generator, TOKENS, PAIRS), crops(generator, TOKENS, PAIRS)
        noise = torch.from_numpy(generator.standard_normal(clean.shape, dtype=np.float32))
        noisy = clean + torch.from_numpy(sigma)[:, None, None, None] * noise
        return torch.stack([exemplar, clean, noisy], dim=1), torch.from_numpy(sigma)

    def learn(network: nn.Module, batch: Batch, _step: int) -> dict[str, Tensor]:
        return {"denoise": denoising_loss(network, batch)}

    model = ReferenceUNet.create(config, CommonAxes(CommonAxesConfig()))
    full = train(model, batch_of, learn, schedule(steps), out / "full", Run(), device=CPU, resume=resume)
    known = _albedo(texels)
    scale, exemplar = distance_unit(known), tokens[None, :, :32, :32]

    def sample(network: Any, seed: int) -> Any:
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(1, CHANNELS, 24, 24, generator=generator) * MOST_NOISE
        with torch.no_grad():
            reference = network.reference(exemplar)
            for sigma, following in pairwise(noise_levels(MOST_NOISE, LEAST_NOISE, SAMPLING_STEPS)):
                clean = network(z, torch.tensor([sigma]), reference)
                keep, fresh = step_weights(sigma, following) if following else (0.0, 0.0)
                z = clean + (z - clean) * keep + fresh * torch.randn(z.shape, generator=generator)
            return _albedo(linear.synthesis(z))

    @torch.no_grad()
    def error(network: nn.Module) -> float:
        errors = []
        for number, sigma in enumerate(SIGMAS * 8):
            stack, _ = batch_of(500_000 + number)
            generator = torch.Generator().manual_seed(number)
            stack[:, 2] = stack[:, 1] + sigma * torch.randn(stack[:, 1].shape, generator=generator)
            squared = (denoised(network, (stack, torch.full((PAIRS,), sigma))) - stack[:, 1]).square().mean()
            errors.append(float(squared / tokens.var()))
        return mean(errors)

    def distance(network: nn.Module) -> float:
        return mean(float(texture_distance(sample(network, seed), known, unit=scale)) for seed in range(seeds))

    z, level, seen = torch.randn(1, CHANNELS, TIMED_SIDE, TIMED_SIDE), torch.tensor([1.0]), tokens[None, :, :32, :32]
    return Subject(
        full,
        lambda network: network(z, level, network.reference(seen)),  # type: ignore[operator]
        batch_of,
        denoised,
        denoising_loss,
        error,
        distance,
        lambda network: sample(network, 0),
    )


SUBJECTS = {"decoder": decoder, "unet": unet}


def variants(subject: Subject) -> Iterator[tuple[str, nn.Module]]:
    """The full network and everything that it is compared with, not yet fine-tuned."""
    yield "full", subject.network
    smallest: dict[float, nn.Module] = {}
    for retention in RETENTIONS:
        smallest[retention] = pruned(subject, retention, by_threshold)
        yield f"threshold {retention:.0%}", smallest[retention]
    target = multiply_adds(smallest[RETENTIONS[0]], subject.call)
    retention, random = as_small_as(target, subject)
    yield "fixed ratio", pruned(subject, retention, by_fixed_ratio)
    yield "random", random
    yield "layer drop", without_layers(subject, target)
    if isinstance(subject.network, ReferenceUNet):
        for retention in RETENTIONS:
            small = copy.deepcopy(smallest[retention])
            run = subject.batch_of(0)
            keep_half_the_heads(small, lambda network=small, batch=run: subject.forward(network, batch))
            for name in middle_attentions(small.unet):
                replace_attention(small.unet, name)
            yield f"threshold {retention:.0%}, heads, dynamic", small


def pruned(subject: Subject, retention: float, choose: Choice) -> nn.Module:
    small = copy.deepcopy(subject.network).requires_grad_(True)

    def losses() -> Iterator[Tensor]:
        return (subject.loss(small, subject.batch_of(300_000 + step)) for step in range(GRADIENTS))

    prune_in_rounds(small, subject.call, losses, retention, ROUNDS, choose)
    return small


def randomly_pruned(subject: Subject, retention: float) -> nn.Module:
    small = copy.deepcopy(subject.network).requires_grad_(True)
    generator = torch.Generator().manual_seed(0)

    def score(group: ChannelGroup) -> Tensor:
        return torch.rand(group.channels, generator=generator)

    prune_channels(small, subject.call, score, retention, by_fixed_ratio)
    return small


def as_small_as(target: float, subject: Subject) -> tuple[float, nn.Module]:
    """The largest share of every layer, to 1/64, with at most `target` multiply-adds, and a random choice of it."""
    low, high = 0.15, 1.0
    best = randomly_pruned(subject, low)
    for _ in range(6):
        middle = (low + high) / 2
        made = randomly_pruned(subject, middle)
        if multiply_adds(made, subject.call) <= target:
            low, best = middle, made
        else:
            high = middle
    return low, best


def criteria(subject: Subject) -> dict[str, float]:
    """Errors, without fine-tuning, after removing a fifth of the channels with the least of what importance may be."""
    batches = [subject.batch_of(300_000 + step) for step in range(GRADIENTS)]

    def gradients(network: nn.Module) -> dict[Tensor, Tensor]:
        weights = [weight for weight in network.parameters() if weight.ndim > 1]
        total = torch.stack([subject.loss(network, batch) for batch in batches]).mean()
        return dict(zip(weights, torch.autograd.grad(total, weights, materialize_grads=True), strict=True))

    scores: dict[str, Callable[[nn.Module], Importance]] = {
        "S": lambda network: weight_importance(network, (subject.loss(network, batch) for batch in batches)),
        "weight^2": lambda network: {w: w.detach().square() for w in network.parameters()},
        "|weight x gradient|": lambda network: {w: (w.detach() * g).abs() for w, g in gradients(network).items()},
    } | {
        f"random {seed}": lambda network, seed=seed: {
            w: torch.rand(w.shape, generator=torch.Generator().manual_seed(seed + w.numel()))
            for w in network.parameters()
        }
        for seed in range(3)
    }
    found = {}
    for name, score in scores.items():
        small = copy.deepcopy(subject.network).requires_grad_(True)
        prune_channels(small, subject.call, partial(channel_importance, importance=score(small)), CRITERIA_AT)
        found[name] = subject.error(small)
    return found


class Skipped(nn.Module):
    """In place of a residual block: its input."""

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        return x


def without_layers(subject: Subject, target: float) -> nn.Module:
    """Without the residual blocks whose absence raises the loss least, until there are `target` multiply-adds or no
    more blocks of equal width in and out."""
    small = copy.deepcopy(subject.network).requires_grad_(True)
    batches = [subject.batch_of(400_000 + step) for step in range(2)]
    names = [name for name, module in small.named_modules() if _is_residual(module)]
    effects = {}
    for name in names:
        path, _, last = name.rpartition(".")
        owner, whole = small.get_submodule(path), small.get_submodule(name)
        setattr(owner, last, Skipped())
        with torch.no_grad():
            effects[name] = mean(float(subject.loss(small, batch)) for batch in batches)
        setattr(owner, last, whole)
    for name in sorted(names, key=effects.__getitem__):
        if multiply_adds(small, subject.call) <= target:
            break
        path, _, last = name.rpartition(".")
        setattr(small.get_submodule(path), last, Skipped())
    return small


def _is_residual(module: Any) -> bool:
    if isinstance(module, ResidualBlock):
        return True
    return type(module).__name__ == "ResnetBlock2D" and module.conv1.in_channels == module.conv2.out_channels


def measured(name: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    out = arguments.out / name
    began = time.monotonic()
    subject = SUBJECTS[name](arguments.steps, arguments.seeds, out, arguments.resume)
    print(f"{name}: trained in {time.monotonic() - began:.0f} s", flush=True)
    found, networks, pictures = [], [], []
    for what, network in variants(subject):
        before = subject.error(network.eval())
        tuned = network
        if network is not subject.network:
            tuned = fine_tune(
                network, subject.network, subject.forward, lambda step: subject.batch_of(600_000 + step),
                schedule(arguments.tune), out / "tuned", Run(), device=CPU,
            )  # fmt: skip
        networks.append(tuned.eval().requires_grad_(False))
        pictures.append((what, subject.picture(tuned)))
        found.append(
            {
                "subject": name,
                "variant": what,
                "multiply_adds": multiply_adds(tuned, subject.call),
                "parameters": sum(parameter.numel() for parameter in tuned.parameters()),
                "error": subject.error(tuned),
                "error_untuned": before,
                "d": subject.distance(tuned),
            }
        )
        print(found[-1], flush=True)
    for line, duration in zip(found, milliseconds(networks, subject.call, REPEATS), strict=True):
        line["ms"] = duration
    by_criterion = criteria(subject)
    print(f"{name}: error with {CRITERIA_AT:.0%} of the channels, untuned: {by_criterion}", flush=True)
    found[0]["criteria"] = by_criterion
    contact_sheet(arguments.out / f"{name}.png", [pictures[:4], pictures[4:]], 256)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks/pruning"), help="folder for the results")
    parser.add_argument("--steps", type=int, default=600, help="steps of training (default 600)")
    parser.add_argument("--tune", type=int, default=200, help="steps of fine-tuning (default 200)")
    parser.add_argument("--seeds", type=int, default=3, help="samples of the U-Net for d (default 3)")
    parser.add_argument("--resume", action="store_true", help="take the networks that were trained in the folder")
    parser.add_argument("--subject", choices=SUBJECTS, action="append", help="only this one (may be repeated)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = [line for name in arguments.subject or SUBJECTS for line in measured(name, arguments)]
    rows: list[Row] = []
    for name in arguments.subject or SUBJECTS:
        full, *others = [line for line in found if line["subject"] == name]
        removed = [line for line in others if line["variant"].startswith("threshold")]
        removed = [line for line in removed if line["multiply_adds"] <= (1 - REMOVED) * full["multiply_adds"]]
        changes = [(line["variant"], line["d"] - full["d"]) for line in removed]
        saved = [(line["variant"], 1 - line["ms"] / full["ms"]) for line in removed]
        rows.append(
            row(f"{name}: change of d, 60 % removed", f"<= {MOST_CHANGE}", changes[:1], lambda v: v[0] <= MOST_CHANGE)
        )
        rows.append(row(f"{name}: share of time saved", f">= {LEAST_SAVED}", saved[:1], lambda v: v[0] >= LEAST_SAVED))
    show("structural pruning", rows)
    print(table(found))
    write_results(arguments.out, "pruning", arguments, rows, found)
    return 0


def table(found: Sequence[dict[str, Any]]) -> str:
    """For the page."""
    lines = [
        "| network | variant | multiply-adds | of full | ms | of full | error (untuned) | d |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for line in found:
        full = next(other for other in found if other["subject"] == line["subject"])
        lines.append(
            f"| {line['subject']} | {line['variant']} | {line['multiply_adds'] / 1e6:.1f} M"
            f" | {line['multiply_adds'] / full['multiply_adds']:.2f} | {line['ms']:.1f}"
            f" | {line['ms'] / full['ms']:.2f} | {line['error']:.4f} ({line['error_untuned']:.4f})"
            f" | {line['d']:.3f} |"
        )
    return "\n".join(lines)


def _corpus(size: int, seed: int) -> Corpus:
    return Corpus(to_training(procedural.generate(kind, size, seed), PROCEDURAL) for kind in procedural.KINDS)


def _stack(texels: Any) -> Tensor:
    """(1, 8, H, W) in 0..1 of 8-bit (H, W, 8)."""
    return torch.from_numpy(texels).movedim(2, 0)[None].float() / 255


def _albedo(stack: Tensor) -> Any:
    """(H, W, 3), encoded, of (1, 8, H, W)."""
    return np.ascontiguousarray(stack[0, :3].clamp(0, 1).movedim(0, 2).numpy())


def _total(parts: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(parts.values())).sum()


if __name__ == "__main__":
    sys.exit(main())
