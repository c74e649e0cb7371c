"""Pruning of real networks: channels that are gone, heads that are gone, variants that load, windows that choose."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from texsynth.cli import main
from texsynth.distill import Seen, network_layers
from texsynth.errors import TexsynthError
from texsynth.exemplar import prepare_exemplar
from texsynth.model.blocks import Double, ResidualBlock
from texsynth.model.common_axes import CommonAxes, CommonAxesConfig
from texsynth.model.denoiser import Attention
from texsynth.model.exemplar_score import ExemplarScore
from texsynth.model.latent import to_tensor
from texsynth.model.material_autoencoder import MaterialAutoencoder, MaterialAutoencoderConfig
from texsynth.model.mixed_denoiser import Learned, mixed_denoiser
from texsynth.model.reference_unet import (
    ReferenceUNet,
    ReferenceUNetConfig,
    load_reference_unet,
    save_reference_unet,
)
from texsynth.model.stack import KINDS
from texsynth.model.weights import load_model, save_model
from texsynth.prune.channels import (
    by_fixed_ratio,
    by_threshold,
    channel_importance,
    prune_channels,
    prune_in_rounds,
    retention_at,
    weight_importance,
)
from texsynth.prune.cost import multiply_adds
from texsynth.prune.dynamic_conv import DynamicConv, middle_attentions, replace_attention
from texsynth.prune.fine_tune import distilled_loss, fine_tune
from texsynth.prune.graph import ChannelGraph, ChannelGroup
from texsynth.prune.heads import head_entropies, keep_half_the_heads
from texsynth.prune.variants import VariantDenoiser, effort_of, guidance_entropy, window_importance, works
from texsynth.run import Run
from texsynth.train.loop import Batch, Schedule
from texsynth.train.procedural import generate

CONFIG = MaterialAutoencoderConfig(latent_channels=4, widths=(16, 24), encoder_blocks=(1, 1), decoder_blocks=(2, 2))
SIZE = 16


def unet(**config: Any) -> Any:
    """diffusers' U-Net with few channels and random weights."""
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    return UNet2DModel(
        **{
            "sample_size": SIZE,
            "in_channels": 4,
            "out_channels": 4,
            "layers_per_block": 1,
            "block_out_channels": (32, 64),
            "norm_num_groups": 8,
            "attention_head_dim": 8,
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
            **config,
        }
    )


def autoencoder() -> MaterialAutoencoder:
    torch.manual_seed(0)
    model = MaterialAutoencoder(CONFIG)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model


def seen(seed: int = 0) -> Tensor:
    return torch.randn(1, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def call(network: nn.Module) -> Tensor:
    out: Any = network(seen(), torch.tensor([3.0]), return_dict=False)[0]
    return out  # type: ignore[no-any-return]


def decode(decoder: nn.Module) -> Tensor:
    out: Tensor = decoder(seen())
    return out


NETWORKS = [pytest.param(unet, call, id="unet"), pytest.param(lambda: autoencoder().decoder, decode, id="decoder")]


def losses(network: nn.Module, run: Any) -> Iterator[Tensor]:
    for seed in range(3):
        target = torch.randn(run(network).shape, generator=torch.Generator().manual_seed(seed))
        yield (run(network) - target).square().mean()


def random_scores(group: ChannelGroup) -> Tensor:
    return torch.rand(group.channels, generator=torch.Generator().manual_seed(group.channels))


# --- channels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "run"), NETWORKS)
@pytest.mark.parametrize("retention", [0.6, 0.4])
def test_removed_channels_cost_nothing_and_the_network_still_runs(make: Any, run: Any, retention: float) -> None:
    network = make()
    shape, before = run(network).shape, multiply_adds(network, run)
    left = prune_in_rounds(network, run, lambda: losses(network, run), retention, rounds=2)
    assert left == pytest.approx(retention, abs=0.08)
    assert run(network).shape == shape
    assert multiply_adds(network, run) < {0.6: 0.6, 0.4: 0.4}[retention] * before


def test_channels_that_say_nothing_are_removed_without_a_change() -> None:
    decoder = autoencoder().decoder
    block: Any = decoder.get_submodule("3.0")
    with torch.no_grad():
        block.second.weight[:, ::4] = 0
    wanted = decode(decoder)
    graph = ChannelGraph(decoder, decode)
    graph.remove(next(group for group in graph.groups() if group.name == "3.0.first"), range(0, 16, 4))
    assert block.first.out_channels == block.second.in_channels == 12
    assert torch.allclose(decode(decoder), wanted, atol=1e-5)


def test_a_doubling_layer_loses_the_four_phases_of_a_channel_together() -> None:
    decoder = autoencoder().decoder
    double = next(module for module in decoder.modules() if isinstance(module, Double))
    before = double[0].weight.detach().clone()
    graph = ChannelGraph(decoder, decode)
    group = next(g for g in graph.groups() if g.name == "3.1.second")  # the residual stream behind the doubling
    graph.remove(group, [0, 5])
    left = [4 * channel + phase for channel in range(16) if channel not in (0, 5) for phase in range(4)]
    assert torch.equal(double[0].weight, before[left])


def test_the_output_and_what_is_kept_stay_whole() -> None:
    network = unet()
    kept = network.down_blocks[0].resnets[0].conv1
    prune_channels(network, call, random_scores, 0.4, kept=[kept])
    assert network.conv_out.out_channels == 4
    assert kept.out_channels == 32
    assert all(layer.to_q.out_features == 64 for layer in network.mid_block.attentions)


def test_importance_is_the_steadiness_of_the_gradient_and_the_squared_weight() -> None:
    layer = nn.Linear(2, 1, bias=False)
    batches = [torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, -1.0]])]
    made = weight_importance(layer, (layer(batch).sum() for batch in batches), decay=0.5)[layer.weight]
    assert torch.allclose(made, torch.tensor([[1.0, 0.0]]) + 0.5 * layer.weight.square())


def test_a_channels_importance_is_the_mean_of_all_weights_it_lies_in() -> None:
    network = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1))
    group = ChannelGraph(network, lambda net: net(torch.ones(1, 2))).groups()[0]  # type: ignore[no-any-return]
    scores = {network[0].weight: torch.arange(8.0).reshape(4, 2), network[1].weight: torch.ones(1, 4)}
    assert channel_importance(group, scores).tolist() == [0.75, 1.75, 2.75, 3.75]


def test_one_threshold_takes_more_from_layers_of_uneven_importance() -> None:
    even, uneven = torch.arange(1.0, 21.0), torch.cat([torch.zeros(16), torch.full((4,), 100.0)])
    kept = by_threshold([even, uneven], [1, 1], 0.35)
    assert sum(int(mask.sum()) for mask in kept) == pytest.approx(14, abs=1)
    assert kept[0].sum() > kept[1].sum() == 4
    fixed = by_fixed_ratio([even, uneven], [1, 1], 0.35)
    assert [int(mask.sum()) for mask in fixed] == [7, 7]


def test_retention_falls_linearly_from_95_to_40_percent() -> None:
    assert [round(retention_at(step, 12), 3) for step in (0, 1, 11)] == [0.95, 0.9, 0.4]


@pytest.mark.parametrize("retention", [0.3, 0.6, 0.8])
def test_what_is_left_of_a_layer_is_a_multiple_of_eight(retention: float) -> None:
    decoder = MaterialAutoencoder(
        MaterialAutoencoderConfig(4, widths=(40, 48), encoder_blocks=(1, 1), decoder_blocks=(2, 2))
    ).decoder
    prune_channels(decoder, decode, random_scores, retention)
    widths = {module.first.out_channels for module in decoder.modules() if isinstance(module, ResidualBlock)}
    assert max(widths) < 48 and all(width % 8 == 0 for width in widths)


def test_without_torch_pruning_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)  # how Python itself marks what cannot be imported
    with pytest.raises(TexsynthError, match=r"pip install 'texsynth\[prune\]'"):
        prune_channels(unet(), call, random_scores, 0.5)


def test_a_network_without_removable_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="no channels that could be removed"):
        prune_channels(nn.Conv2d(4, 4, 1), decode, random_scores, 0.5)


# --- heads, dynamic convolution -----------------------------------------------------------------------------------


def test_half_of_the_heads_stay_those_of_the_highest_entropy_and_the_others_are_gone() -> None:
    network = unet(block_out_channels=(32, 128))
    name = middle_attentions(network)[0]
    before = multiply_adds(network, call)
    entropies = head_entropies(network, lambda: call(network))[name]
    values = network.get_submodule(name).to_v.weight.detach().clone()
    keep_half_the_heads(network, lambda: call(network))
    attention: Any = network.get_submodule(name)
    assert attention.heads == 8 and len(entropies) == 16
    best = sorted(entropies.topk(8).indices.tolist())
    assert torch.equal(attention.to_v.weight, torch.cat([values[8 * head : 8 * head + 8] for head in best]))
    assert multiply_adds(network, call) < before


class TwoHeads:
    """One layer of two heads, whose first attends to all tokens alike and whose second to one."""

    layers = 1

    def denoise(self, z: Tensor, sigma: float, torus: tuple[bool, bool]) -> Tensor:
        del sigma, torus
        return z

    def attention(self, z: Tensor, sigma: float) -> tuple[Attention, ...]:
        tokens = z[0].flatten(1).T
        return (
            Attention(
                torch.stack([0 * tokens, 50 * tokens]), tokens.expand(2, -1, -1), sigma * tokens.expand(2, -1, -1), 1.0
            ),
        )


def test_heads_of_low_entropy_are_left_out_of_the_loss() -> None:
    layer = network_layers(TwoHeads(), seen(1), heads=0.5)[0]
    both = layer.outputs(seen(2), 1.0)[0].shape
    layer.entropy(seen(2), 1.0)
    assert both == (SIZE**2, 8) and layer.outputs(seen(2), 1.0)[0].shape == (SIZE**2, 4)
    assert layer.seen.masks[0].tolist() == [True, False]
    assert Seen(TwoHeads(), seen(1)).masks == {}


def test_dynamic_convolution_weighs_each_tokens_neighbours_by_kernels_of_its_own() -> None:
    torch.manual_seed(0)
    layer, x = DynamicConv(12), torch.randn(1, 12, 9, 7)
    assert torch.equal(layer(x), x)
    nn.init.normal_(layer.project.weight)
    weights = layer.kernels(x)[0, :, 4, 3].reshape(2, 5, 5)
    kernels = weights.flatten(1).softmax(1).reshape(2, 5, 5)
    around = x[0, :, 2:7, 1:6]
    mixed = torch.cat([(around[:8] * kernels[0]).sum((1, 2)), (around[8:] * kernels[1]).sum((1, 2))])
    assert torch.allclose(layer(x)[0, :, 4, 3], x[0, :, 4, 3] + layer.project.weight[:, :, 0, 0] @ mixed, atol=1e-5)


def test_what_dynamic_convolution_costs_grows_with_the_tokens_alone() -> None:
    layer = DynamicConv(16)
    cost = [multiply_adds(layer, lambda net, s=side: net(torch.randn(1, 16, s, s))) for side in (8, 32)]
    assert cost[1] == 16 * cost[0]


def test_only_a_self_attention_is_replaced() -> None:
    with pytest.raises(ValueError, match="no self-attention"):
        replace_attention(unet(), "conv_in")


# --- fine-tuning, saving -------------------------------------------------------------------------------------------


def test_fine_tuning_brings_a_variant_nearer_to_the_full_network(tmp_path: Path) -> None:
    full = autoencoder().decoder
    small = copy.deepcopy(full)
    prune_in_rounds(small, decode, lambda: losses(small, decode), 0.6, rounds=2)

    def batch_of(step: int) -> Batch:
        return torch.cat([seen(step), seen(step + 1000)]), torch.zeros(2)

    def forward(network: nn.Module, batch: Batch) -> Tensor:
        out: Tensor = network(batch[0])
        return out

    with torch.no_grad():
        before = float(distilled_loss(small, full, forward, batch_of(99)))
    schedule = Schedule(steps=40, batch=2, crop=SIZE, muon_rate=5e-3, adamw_rate=5e-3, warmup=2, averaging=0.9)
    tuned = fine_tune(small, full, forward, batch_of, schedule, tmp_path, Run(), device=torch.device("cpu"))
    with torch.no_grad():
        assert float(distilled_loss(tuned, full, forward, batch_of(99))) < 0.8 * before


def test_a_pruned_autoencoder_is_an_ordinary_folder(tmp_path: Path) -> None:
    model = autoencoder()
    prune_channels(model.decoder, decode, random_scores, 0.4)
    digest = save_model(model, tmp_path, torch.float32, pruned=True)
    loaded = load_model(MaterialAutoencoder, tmp_path, digest)
    assert torch.equal(loaded.decode(seen()), model.decode(seen()))
    assert multiply_adds(loaded.decoder, decode) == multiply_adds(model.decoder, decode)


def test_a_unet_with_fewer_channels_and_heads_and_a_dynamic_convolution_loads_as_it_was(tmp_path: Path) -> None:
    from diffusers import UNet2DModel

    network = unet()
    prune_channels(network, call, random_scores, 0.6)
    keep_half_the_heads(network, lambda: call(network))
    for name in middle_attentions(network):
        nn.init.normal_(replace_attention(network, name).project.weight)
    save_model(network, tmp_path, torch.float32, pruned=True)
    loaded = load_model(UNet2DModel, tmp_path)
    assert torch.equal(call(loaded), call(network.eval()))


@pytest.mark.parametrize("broken", [{"dynamic": ["conv_in"]}, {"dynamic": ["nowhere"]}, {}])
def test_a_variant_with_a_foreign_structure_is_one_line(tmp_path: Path, broken: dict[str, Any]) -> None:
    from diffusers import UNet2DModel

    save_model(unet(), tmp_path, pruned=True)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_pruned": broken}))
    with pytest.raises(TexsynthError, match="no whole UNet2DModel"):
        load_model(UNet2DModel, tmp_path)


def reference_unet() -> ReferenceUNet:
    torch.manual_seed(0)
    axes = CommonAxes(CommonAxesConfig())
    config = ReferenceUNetConfig(channels=4, widths=(32, 64), head=8, groups=8)
    return ReferenceUNet.create(config, axes).eval()


def look(network: nn.Module) -> Tensor:
    """One run of a `ReferenceUNet` with a look at an exemplar."""
    assert isinstance(network, ReferenceUNet)
    return network(seen(1), torch.tensor([0.5]), network.reference(seen(2)))  # type: ignore[no-any-return]


def test_a_reference_unet_is_pruned_with_its_exemplar_and_loads_as_it_was(tmp_path: Path) -> None:
    network = reference_unet()
    nn.init.normal_(network.unet.conv_out.weight)  # type: ignore[union-attr, arg-type]
    before = multiply_adds(network, look)
    prune_in_rounds(network, look, lambda: losses(network, look), 0.6, rounds=2)
    for name in middle_attentions(network.unet):
        nn.init.normal_(replace_attention(network.unet, name).project.weight)
    assert multiply_adds(network, look) < 0.6 * before
    assert [len(reference) for reference in network.reference(seen(2))[0]] == [1, 1]
    save_reference_unet(network, tmp_path, torch.float32, pruned=True)
    assert torch.equal(look(load_reference_unet(tmp_path)), look(network))


# --- the command -------------------------------------------------------------------------------------------------


def pruned_by_command(folder: Path, out: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    name = "reference" if (folder / "axes").is_dir() else "autoencoder"
    assert main(["model", "prune", name, "--model", str(folder), "-o", str(out), "--json", *more]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_command_makes_a_smaller_model_that_loads_and_says_what_it_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_reference_unet(reference_unet(), tmp_path / "full", torch.float32)
    found = pruned_by_command(tmp_path / "full", tmp_path / "out", capsys, "--retention", "0.5")
    full, small = load_reference_unet(tmp_path / "full"), load_reference_unet(tmp_path / "out" / "model")
    assert multiply_adds(small, look) < 0.8 * multiply_adds(full, look)
    assert found["multiply_adds"][1] < 0.8 * found["multiply_adds"][0]
    assert min(found["milliseconds"]) > 0 and 0.3 < found["left"] < 0.7
    assert "off_after" not in found


def test_with_materials_the_command_brings_it_nearer_to_the_full_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], gravel: Path
) -> None:
    save_model(autoencoder(), tmp_path / "full", torch.float32)
    data = ("--data", str(gravel.parent), "--steps", "30")
    found = pruned_by_command(tmp_path / "full", tmp_path / "out", capsys, *data)
    assert found["off_after"] < 0.9 * found["off_before"]
    small = load_model(MaterialAutoencoder, tmp_path / "out" / "model", found["sha256"])
    assert torch.isfinite(small.decode(seen())).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["denoiser"], "model: 'denoiser' is unknown; use any of estimator, autoencoder, reference"),
        (["estimator", "--retention", "1.5"], "retention: got 1.5; use a number from 0.15 to 0.95"),
        (["estimator"], "holds a model of class MaterialAutoencoder; name a folder with a MapEstimator"),
    ],
)
def test_what_cannot_be_pruned_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    save_model(autoencoder(), tmp_path / "full", torch.float32)
    assert main(["model", "prune", *arguments, "--model", str(tmp_path / "full"), "-o", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out" / "model").exists()


# --- windows choose ------------------------------------------------------------------------------------------------


class Level:
    """A denoiser that says one number, and counts what it was asked for."""

    def __init__(self, value: float) -> None:
        self.value, self.calls = value, 0

    def denoise(self, z: Tensor, sigma: float, torus: tuple[bool, bool]) -> Tensor:
        del sigma, torus
        self.calls += 1
        return torch.full_like(z, self.value)


def test_important_windows_get_the_large_variant_and_all_steps() -> None:
    variants = {1.0: Level(1.0), 0.6: Level(0.6), 0.4: Level(0.4)}
    importance = np.zeros((16, 16), np.float32)
    importance[:8, :8], importance[:8, 8:] = 0.9, 0.5
    mixed = VariantDenoiser(variants, importance, 8, step=8, margin=2)
    for _ in range(8):
        mean = mixed.denoise(torch.zeros(4, 16, 16), 1.0, (False, False))
    assert [float(mean[0, 2, 2]), float(mean[0, 2, 13]), float(mean[0, 13, 2])] == pytest.approx([1.0, 0.6, 0.4])
    assert [variants[r].calls for r in (1.0, 0.6, 0.4)] == [8, 6, 2 * 5]


def test_in_a_layout_unimportant_windows_are_denoised_by_the_smaller_network() -> None:
    exemplar = prepare_exemplar(generate("brick", 128, 1), list(KINDS))
    image, torus = to_tensor(exemplar.weighted), (True, True)
    score = ExemplarScore(image, exemplar.wraps, patch=3, stride=4, channels=4, floor=0.15, dimensions=96, cell=16)
    large, small = reference_unet(), reference_unet()
    nn.init.normal_(large.unet.conv_out.weight)  # type: ignore[union-attr, arg-type]
    z = seen()[0, :, :, :8]

    def said(learned: Learned, importance: float) -> Tensor:
        map_of = np.full((SIZE, 8), importance, np.float32)
        mixed = mixed_denoiser(score, None, learned, image, exemplar.maps, exemplar.wraps, map_of, 4)
        return mixed.denoise(z, 3.0, torus)

    both = Learned(large, share=1.0, smaller=((0.4, small),))
    assert torch.allclose(said(both, 1.0), said(Learned(large, share=1.0), 1.0), atol=1e-4)
    assert torch.allclose(said(both, 0.0), said(Learned(small, share=1.0), 0.0), atol=1e-4)
    assert not torch.allclose(said(both, 0.0), said(both, 1.0), atol=1e-2)


def test_windows_that_all_work_denoise_as_one_network_does() -> None:
    class Halving:
        def denoise(self, z: Tensor, sigma: float, torus: tuple[bool, bool]) -> Tensor:
            return z / 2

    z = torch.randn(4, 20, 33)
    mixed = VariantDenoiser({1.0: Halving()}, np.ones((20, 33), np.float32), 1, step=8, margin=2)
    assert torch.allclose(mixed.denoise(z, 1.0, (True, False)), z / 2, atol=1e-6)


def test_importance_is_the_entropy_of_the_guidance_where_it_is_seen() -> None:
    rng = np.random.default_rng(0)
    guide = np.zeros((16, 16, 2), np.float32)
    guide[:, 8:] = rng.random((16, 8, 2))
    visible = np.ones((16, 16), np.float32)
    visible[8:] = 0.25
    made = window_importance(guide, visible, 8)
    assert made[0, 0] == 0 and made[0, 8] > 0.7
    assert made[8, 8] < 0.3
    assert guidance_entropy(np.zeros((4, 4, 0), np.float32)) == 0


def test_a_window_of_half_the_steps_works_in_half_of_them_and_the_last() -> None:
    assert [works(step, 8, 0.5) for step in range(8)] == [True, False, True, False, True, False, True, True]
    assert all(works(step, 8, 1.0) for step in range(8))
    assert [effort_of(v).retention for v in (0.0, 0.4, 0.7, 1.0)] == [0.4, 0.6, 1.0, 1.0]
