"""The U-Net that looks at an exemplar: an ordinary diffusers folder, one latent with the closed form, no state."""

from __future__ import annotations

import itertools
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from texsynth.curriculum import SinglePhase
from texsynth.distill import distil, network_layers
from texsynth.errors import TexsynthError
from texsynth.exemplar import Exemplar, prepare_exemplar
from texsynth.layout import plan_frame, sample_layout
from texsynth.material import MapKind
from texsynth.model.common_axes import CommonAxes, CommonAxesConfig, weighted_pair
from texsynth.model.denoiser import AttentiveDenoiser, Denoiser
from texsynth.model.exemplar_score import ExemplarScore
from texsynth.model.latent import BlockPCA
from texsynth.model.material_autoencoder import MaterialAutoencoder, MaterialAutoencoderConfig
from texsynth.model.mixed_denoiser import GuidedScore, Learned, MixedDenoiser, mixed_denoiser
from texsynth.model.reference_unet import (
    AXES,
    ReferenceDenoiser,
    ReferenceUNet,
    ReferenceUNetConfig,
    load_reference_unet,
    save_reference_unet,
)
from texsynth.model.stack import KINDS
from texsynth.model.weights import CONFIG, TENSORS, save_model
from texsynth.optimise.rules import Adam
from texsynth.presets import PRESETS
from texsynth.run import Run
from texsynth.train import reference
from texsynth.train.corpus import Corpus, to_training
from texsynth.train.loop import Optimisers, Schedule
from texsynth.train.procedural import generate

SMALL = ReferenceUNetConfig(widths=(32, 32), head=16, groups=8)
FLAT, TORUS = (False, False), (True, True)


def random_network() -> ReferenceUNet:
    torch.manual_seed(5)
    network = ReferenceUNet.create(SMALL, CommonAxes(CommonAxesConfig(directions=32)))
    torch.nn.init.normal_(network.unet.conv_out.weight, std=0.1)  # type: ignore[union-attr, arg-type]
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network() -> ReferenceUNet:
    return random_network()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def bricks() -> Exemplar:
    return prepare_exemplar(generate("brick", 128, 1), list(KINDS))


@pytest.fixture(scope="module")
def score(bricks: Exemplar) -> ExemplarScore:
    return ExemplarScore(
        as_tensor(bricks), bricks.wraps, patch=3, stride=4, channels=16, floor=0.15, dimensions=96, cell=16
    )


def as_tensor(exemplar: Exemplar) -> Tensor:
    return torch.from_numpy(exemplar.weighted).movedim(2, 0).contiguous()


# --- diffusers' folders -----------------------------------------------------------------------------------------


def test_the_folder_is_a_unet_of_diffusers_with_equal_output(network: ReferenceUNet, tmp_path: Path) -> None:
    from diffusers import UNet2DModel

    save_reference_unet(network, tmp_path, torch.float32)
    theirs = UNet2DModel.from_pretrained(tmp_path, low_cpu_mem_usage=False)
    z, sigma = noise(2, 16, 8, 12), torch.tensor([0.5, 3.0])
    with torch.no_grad():
        total = (1 + sigma.square())[:, None, None, None].sqrt()
        step = (sigma / 0.02).log() / torch.tensor(1000.0).log() * 999
        out = theirs(z / total, step).sample
        wanted = z / total**2 + sigma[:, None, None, None] / total * out
        assert torch.allclose(network(z, sigma, None), wanted, atol=1e-5)
        assert out.abs().mean() > 0.01


def test_a_unet_that_diffusers_loaded_looks_at_exemplars_alike(network: ReferenceUNet, tmp_path: Path) -> None:
    from diffusers import UNet2DModel

    save_reference_unet(network, tmp_path, torch.float32)
    theirs = ReferenceUNet(UNet2DModel.from_pretrained(tmp_path, low_cpu_mem_usage=False), network.axes)
    z, exemplar = noise(16, 8, 8), noise(16, 8, 8, seed=1)
    means = [ReferenceDenoiser(each, exemplar, FLAT).denoise(z, 1.0, FLAT) for each in (network, theirs)]
    assert torch.equal(*means)


def test_a_network_loads_as_it_was_saved(network: ReferenceUNet, tmp_path: Path) -> None:
    save_reference_unet(network, tmp_path)
    loaded = load_reference_unet(tmp_path)
    assert torch.equal(loaded.axes.basis, network.axes.basis)
    for name, tensor in network.unet.state_dict().items():
        assert torch.equal(loaded.unet.state_dict()[name], tensor.half().float())


def test_foreign_and_incomplete_folders_are_one_line(network: ReferenceUNet, tmp_path: Path) -> None:
    with pytest.raises(TexsynthError, match="is absent"):
        load_reference_unet(tmp_path / "nowhere")
    save_reference_unet(network, tmp_path)
    (tmp_path / AXES / TENSORS).unlink()
    with pytest.raises(TexsynthError, match="No such file"):
        load_reference_unet(tmp_path)
    save_reference_unet(network, tmp_path)
    (tmp_path / TENSORS).unlink()
    with pytest.raises(TexsynthError, match="is absent"):
        load_reference_unet(tmp_path)
    (tmp_path / CONFIG).write_text(json.dumps({"_class_name": "AutoencoderKL"}))
    with pytest.raises(TexsynthError, match="is of class AutoencoderKL; name a folder with a UNet2DModel"):
        load_reference_unet(tmp_path)


def test_without_diffusers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)  # how Python itself marks a module that cannot be imported
    with pytest.raises(TexsynthError, match="pip install"):
        random_network()


def test_any_model_of_diffusers_with_these_layers_reads_the_autoencoder_s_folder(tmp_path: Path) -> None:
    from diffusers import ConfigMixin, ModelMixin
    from diffusers.configuration_utils import register_to_config

    class Theirs(ModelMixin, ConfigMixin):
        config_name = CONFIG

        @register_to_config
        def __init__(
            self,
            latent_channels: int = 16,
            widths: tuple[int, int] = (1, 1),
            encoder_blocks: tuple[int, int] = (1, 1),
            decoder_blocks: tuple[int, int] = (1, 1),
        ) -> None:
            super().__init__()
            ours = MaterialAutoencoder(
                MaterialAutoencoderConfig(latent_channels, widths, encoder_blocks, decoder_blocks)
            )
            for name, part in ours.named_children():
                self.add_module(name, part)

    model = MaterialAutoencoder(MaterialAutoencoderConfig(4, (8, 8), (1, 1), (1, 1)))
    save_model(model, tmp_path, torch.float32)
    read = Theirs.from_pretrained(tmp_path, low_cpu_mem_usage=False)
    assert read.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(read.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


# --- the latent that network and closed form share --------------------------------------------------------------


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


def fitted_axes() -> tuple[CommonAxes, Tensor, Tensor]:
    corpus = Corpus(to_training(generate(kind, 256, 1), "made") for kind in ("brick", "cobble", "bark"))
    stacks, present = reference.batch_of_pairs(corpus, 6, 128, np.random.default_rng(0))
    present[:] = True
    axes = CommonAxes(CommonAxesConfig(directions=64))
    axes.fit(stacks[:, 0], present)
    return axes, stacks, present


def test_what_is_trained_on_is_the_exemplar_s_own_latent_turned_to_the_common_axes() -> None:
    axes, stacks, present = fitted_axes()
    tokens = axes.whitened_pair(stacks[:, 0], stacks[:, 1], present, 16, 0.15)
    for number in range(len(stacks)):
        images = weighted_pair(stacks[number : number + 1, 0], stacks[number : number + 1, 1], present[:1])
        latent = BlockPCA.fit(images[0][0], 16, 0.15)
        rotation = axes.rotation(latent, KINDS)
        assert torch.allclose(rotation @ rotation.T, torch.eye(16), atol=1e-5)  # white noise stays white
        for made, image in zip(tokens, images, strict=True):
            turned = torch.einsum("dc,chw->dhw", rotation, latent.encode(image[0]))
            # how alike tokens are, whatever the axes; and the axis in which all exemplars vary
            alike = [(each.flatten(1).T @ each.flatten(1)).flatten() for each in (turned, made[number])]
            assert correlation(*alike) > 0.85
            assert correlation(turned[0].flatten(), made[number][0].flatten()) > 0.9


def test_axes_do_not_depend_on_the_signs_of_an_exemplar_s_components() -> None:
    axes, stacks, present = fitted_axes()
    image = weighted_pair(stacks[:1, 0], stacks[:1, 1], present[:1])[0][0]
    latent = BlockPCA.fit(image, 16, 0.15)
    signs = torch.where(noise(16) > 0, 1.0, -1.0)
    other = replace(latent, basis=latent.basis * signs)
    turned = [torch.einsum("dc,chw->dhw", axes.rotation(each, KINDS), each.encode(image)) for each in (latent, other)]
    assert torch.allclose(*turned, atol=1e-3)


def test_maps_that_the_axes_do_not_know_change_nothing() -> None:
    axes, stacks, present = fitted_axes()
    image = weighted_pair(stacks[:1, 0], stacks[:1, 1], present[:1])[0][0]
    whole = BlockPCA.fit(torch.cat([image, torch.zeros(1, 128, 128)]), 16, 0.15)
    turned = axes.rotation(whole, [*KINDS, MapKind.OPACITY])
    without = replace(whole, basis=whole.basis[: 8 * 64], mean=whole.mean[: 8 * 64])
    assert torch.allclose(turned, axes.rotation(without, KINDS), atol=1e-5)


# --- the denoiser -----------------------------------------------------------------------------------------------


def test_it_is_a_denoiser_whose_attention_can_be_distilled(network: ReferenceUNet) -> None:
    model: AttentiveDenoiser = ReferenceDenoiser(network, noise(16, 8, 8), FLAT)
    style, z = noise(1, 16, 8, 12, seed=1), noise(1, 16, 8, 8, seed=2)
    layers = network_layers(model, style)
    assert len(layers) == model.layers == 4  # two levels of two attentions, the finest among them
    assert [len(seen.q[0]) for seen in model.attention(z, 1.0)] == [16, 16, 64, 64]
    _, history = distil(z, layers, None, [0.5] * 8, Adam(), SinglePhase(8, 0.05))
    assert history.style[-1] < history.style[0]


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 16), (33, 18), (25, 70)])
def test_every_size_is_denoised(network: ReferenceUNet, size: tuple[int, int]) -> None:
    model = ReferenceDenoiser(network, noise(16, 7, 9), FLAT)  # and the exemplar has no even sides either
    for torus in itertools.product((False, True), repeat=2):
        mean = model.denoise(noise(16, *size), 2.0, torus)
        assert mean.shape == (16, *size) and bool(mean.isfinite().all())


def test_a_torus_has_no_edge(network: ReferenceUNet) -> None:
    model, z = ReferenceDenoiser(network, noise(16, 8, 8), FLAT), noise(16, 32, 48)
    mean = model.denoise(z, 1.0, TORUS)
    rolled = model.denoise(z.roll((16, 16), (1, 2)), 1.0, TORUS)  # by windows
    assert torch.allclose(rolled, mean.roll((16, 16), (1, 2)), atol=1e-5)
    assert not torch.allclose(model.denoise(z, 1.0, FLAT), mean, atol=1e-3)


def test_what_is_denoised_depends_on_the_exemplar(network: ReferenceUNet) -> None:
    z = noise(16, 8, 8)
    first, second = (ReferenceDenoiser(network, noise(16, 8, 8, seed=n), FLAT).denoise(z, 1.0, FLAT) for n in (1, 2))
    assert not torch.allclose(first, second, atol=1e-4)


def test_two_jobs_that_share_a_network_do_not_disturb_each_other(network: ReferenceUNet) -> None:
    jobs = [ReferenceDenoiser(network, noise(16, 8, 8, seed=n), FLAT) for n in (1, 2)]
    z = noise(16, 24, 24)
    alone = [job.denoise(z, 1.0, TORUS) for job in jobs]
    seen = [job.attention(z[None], 1.0) for job in jobs]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda job: [job.denoise(z, 1.0, TORUS) for _ in range(6)], jobs))
        attentions = list(pool.map(lambda job: job.attention(z[None], 1.0), jobs))
    for wanted, made in zip(alone, together, strict=True):
        assert all(torch.equal(wanted, each) for each in made)
    for one, other in zip(seen, attentions, strict=True):
        assert all(torch.equal(a.q, b.q) and torch.equal(a.v, b.v) for a, b in zip(one, other, strict=True))


def test_tokens_are_turned_to_the_network_s_axes_and_back(network: ReferenceUNet) -> None:
    rotation = torch.linalg.qr(noise(16, 16, seed=3))[0]
    exemplar, z = noise(16, 8, 8, seed=1), noise(16, 8, 8)

    def turned(tokens: Tensor, by: Tensor) -> Tensor:
        return torch.einsum("dc,chw->dhw", by, tokens)

    plain = ReferenceDenoiser(network, exemplar, FLAT).denoise(z, 1.0, FLAT)
    own = ReferenceDenoiser(network, turned(exemplar, rotation.T), FLAT, rotation)
    assert torch.allclose(own.denoise(turned(z, rotation.T), 1.0, FLAT), turned(plain, rotation.T), atol=1e-5)


def test_tokens_of_another_width_are_refused(network: ReferenceUNet) -> None:
    with pytest.raises(ValueError, match="4 channels for a network of 16"):
        ReferenceDenoiser(network, noise(4, 8, 8), FLAT)


# --- mixed with the closed form ---------------------------------------------------------------------------------


def test_the_network_has_a_say_above_its_level_alone(
    network: ReferenceUNet, bricks: Exemplar, score: ExemplarScore
) -> None:
    z, image = noise(16, 8, 8), as_tensor(bricks)
    closed: Denoiser = GuidedScore(score, None)
    mixed = mixed_denoiser(score, None, Learned(network, 1.0, 0.25), image, bricks.maps, bricks.wraps)
    assert isinstance(mixed, MixedDenoiser)
    assert torch.equal(mixed.denoise(z, 1.0, TORUS), closed.denoise(z, 1.0, TORUS))
    wanted = 0.25 * mixed.above.denoise(z, 2.0, TORUS) + 0.75 * closed.denoise(z, 2.0, TORUS)
    assert torch.allclose(mixed.denoise(z, 2.0, TORUS), wanted, atol=1e-6)
    whole = replace(mixed, share=1.0)
    assert torch.equal(whole.denoise(z, 2.0, TORUS), mixed.above.denoise(z, 2.0, TORUS))


def test_a_layout_takes_a_network_and_one_without_a_share_changes_nothing(
    network: ReferenceUNet, bricks: Exemplar
) -> None:
    frame, preset = plan_frame(bricks, (128, 128), TORUS, 3), PRESETS["draft"]

    def layout(learned: Learned | None) -> list[int]:
        return sample_layout(bricks, frame, None, preset, Run(), learned=learned)[0].ravel().tolist()  # type: ignore[no-any-return]

    closed = layout(None)
    assert layout(Learned(network, 1.0, 0.0)) == closed
    assert layout(Learned(network, 1.0, 1.0)) != closed


def test_an_unfinished_run_knows_with_which_network_it_was_made(network: ReferenceUNet) -> None:
    other = random_network()
    assert Learned(network).fingerprint() == Learned(other).fingerprint()
    other.unet.conv_in.bias.data += 1e-3  # type: ignore[union-attr, operator]
    prints = {each.fingerprint() for each in (Learned(network), Learned(other), Learned(network, 2.0))}
    assert len(prints) == 3


# --- training ---------------------------------------------------------------------------------------------------


def test_a_pair_is_of_one_scale_and_turned_alike_and_does_not_overlap_where_there_is_room() -> None:
    rows, columns = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    texels = np.zeros((256, 256, 8), np.uint8)
    texels[..., 0], texels[..., 1] = rows, columns  # each texel says where it is from
    for seed in range(8):
        pair = reference.random_pair(texels, 32, np.random.default_rng(seed)).astype(int)[:, 4:-4, 4:-4, :2]
        steps = [np.median(np.diff(crop, axis=axis), axis=(0, 1)) for crop in pair for axis in (0, 1)]
        assert np.abs(steps[0] - steps[2]).max() <= 1 and np.abs(steps[1] - steps[3]).max() <= 1
        spans = [(crop.min(axis=(0, 1)), crop.max(axis=(0, 1))) for crop in pair]
        apart = (spans[0][0] > spans[1][1]) | (spans[1][0] > spans[0][1])
        assert apart.any()


@pytest.mark.parametrize("shape", [(16, 100), (32, 32), (300, 40)])
def test_pairs_exist_of_materials_of_every_size(shape: tuple[int, int]) -> None:
    texels = np.random.default_rng(0).integers(0, 256, (*shape, 8), dtype=np.uint8)
    one, same = (reference.random_pair(texels, 32, np.random.default_rng(4)) for _ in range(2))
    assert one.shape == (2, 32, 32, 8) and np.array_equal(one, same)


def test_the_network_learns_pairs_by_heart() -> None:
    corpus = Corpus(to_training(generate(kind, 128, 1), "made") for kind in ("brick", "pebbles"))
    batch = reference.batch_of_pairs(corpus, 4, 64, np.random.default_rng(0))
    axes = CommonAxes(CommonAxesConfig(directions=32))
    axes.fit(batch[0][:, 0], batch[1])
    torch.manual_seed(0)
    model, schedule = ReferenceUNet.create(SMALL, axes), Schedule(60, 4, 64, muon_rate=1e-2, adamw_rate=1e-2)
    loss, optimisers = reference.ReferenceLoss(16), Optimisers(model, schedule)
    values = []
    for _ in range(40):
        part = loss(model, batch, 1)["denoise"]
        optimisers.step(part, 1.0)
        values.append(float(part.detach()))
    assert values[-1] < 0.7 * values[0]
