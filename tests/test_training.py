"""Training: crops whose maps agree, a loop that resumes to the same weights, models that load as they were saved."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from texsynth.errors import ErrorKind, TexsynthError
from texsynth.estimate import log_luminance, normal_from_height
from texsynth.material import MapKind, Material, TextureMap
from texsynth.model import photo
from texsynth.model.common_axes import CommonAxes, CommonAxesConfig
from texsynth.model.map_estimator import MapEstimator, MapEstimatorConfig
from texsynth.model.material_autoencoder import MaterialAutoencoder, MaterialAutoencoderConfig
from texsynth.model.reference_unet import ReferenceUNet, ReferenceUNetConfig, save_reference_unet
from texsynth.model.stack import CHANNELS, KINDS, SLICES, channel_mask, unit_vectors
from texsynth.model.weights import CONFIG, TENSORS, load_model, save_model
from texsynth.run import Progress, Run
from texsynth.train import autoencoder, corpus, estimator, evaluation, reference, training
from texsynth.train.corpus import Corpus, TrainingMaterial, load_corpus, random_crop, to_training, turned
from texsynth.train.loop import CHECKPOINT, CURVE, Schedule
from texsynth.train.procedural import generate, write

SMALL = MapEstimatorConfig(widths=(8, 8), down=(1, 1), up=(1, 1))
SMALL_AUTOENCODER = MaterialAutoencoderConfig(
    latent_channels=4, widths=(8, 8), encoder_blocks=(1, 1), decoder_blocks=(1, 1)
)
SMALL_REFERENCE = ReferenceUNetConfig(widths=(16, 16), head=8, groups=8)
SCHEDULE = Schedule(steps=6, batch=2, crop=32, warmup=2, report_every=2, save_every=2)


@pytest.fixture(scope="module")
def materials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("materials")
    for kind in ("brick", "pebbles", "bark", "cloth"):
        write(generate(kind, 64, 1), folder / f"made_{kind}")
    (folder / "made_brick" / "normal.png").unlink()
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks and schedules of a size for tests; everything else is as it is."""
    monkeypatch.setattr(estimator, "MapEstimatorConfig", lambda: SMALL)
    monkeypatch.setattr(autoencoder, "MaterialAutoencoderConfig", lambda: SMALL_AUTOENCODER)
    monkeypatch.setattr(reference, "ReferenceUNetConfig", lambda: SMALL_REFERENCE)
    monkeypatch.setattr(reference, "WATCHED_SIDE", 32)
    for name, recipe in training.RECIPES.items():
        fast = replace(recipe, schedules={"small": SCHEDULE, "base": SCHEDULE}, procedural_seeds=0)
        monkeypatch.setitem(training.RECIPES, name, fast)
    monkeypatch.setattr(training, "HELD_OUT", 4)


def run_training(
    name: str, data: Path, out: Path, *, resume: bool = False, run: Run | None = None, seed: int = 0
) -> Any:
    return training.train_model(
        name, data, out, preset="small", seed=seed, resume=resume, device=torch.device("cpu"), run=run or Run()
    )


# --- data -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_turned_normals_still_belong_to_their_height(quarters: int, mirrored: bool) -> None:
    crop = turned(to_training(generate("cobble", 128, 3), "made").texels, quarters, mirrored).astype(np.float32)
    height, x, y = crop[..., 7], crop[..., 3] - 127.5, crop[..., 4] - 127.5
    right, down = np.roll(height, -1, 1) - np.roll(height, 1, 1), np.roll(height, -1, 0) - np.roll(height, 1, 0)
    assert np.corrcoef(-right.ravel(), x.ravel())[0, 1] > 0.9
    assert np.corrcoef(down.ravel(), y.ravel())[0, 1] > 0.9


def test_a_stack_holds_the_maps_that_are_there_and_zeros_elsewhere() -> None:
    maps = {
        MapKind.ALBEDO: TextureMap(MapKind.ALBEDO, np.full((8, 8, 3), 200, np.uint8)),
        MapKind.ROUGHNESS: TextureMap(MapKind.ROUGHNESS, np.full((8, 8, 1), 65535 // 3, np.uint16)),
    }
    made = to_training(Material("m", maps), "source")
    assert made.present == (True, False, True, False, False)
    assert made.texels[0, 0].tolist() == [200, 200, 200, 0, 0, 85, 0, 0]
    assert channel_mask(torch.tensor([made.present])).tolist() == [[True] * 3 + [False] * 2 + [True] + [False] * 2]


def test_large_sources_do_not_fill_the_batches() -> None:
    texels = np.zeros((32, 32, CHANNELS), np.uint8)
    present = (True, True, True, False, False)
    many = [TrainingMaterial(f"a{i}", "a", texels, present) for i in range(64)]
    few = [TrainingMaterial(f"b{i}", "b", texels, present) for i in range(4)]
    made = [TrainingMaterial(f"p{i}", corpus.PROCEDURAL, texels, present) for i in range(32)]
    chances = Corpus([*many, *few, *made]).chances
    assert chances[:64].sum() / chances[64:68].sum() == pytest.approx(4)
    assert chances[68:].sum() == pytest.approx(corpus.PROCEDURAL_SHARE)
    assert chances.sum() == pytest.approx(1)


def test_crops_depend_on_the_generator_alone_and_fit_materials_of_any_size() -> None:
    texels = np.random.default_rng(0).integers(0, 256, (40, 100, CHANNELS), dtype=np.uint8)
    for size in (16, 40, 64):
        one, same = (random_crop(texels, size, np.random.default_rng(5)) for _ in range(2))
        assert one.shape == (size, size, CHANNELS)
        assert np.array_equal(one, same)


def test_what_is_held_out_is_never_trained_on(materials: Path) -> None:
    kept, held = load_corpus(materials, 0).split(4)
    assert len(held.materials) == 1 and len(kept.materials) == 3
    assert not {m.name for m in held.materials} & {m.name for m in kept.materials}


def test_a_folder_without_materials_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TexsynthError, match="no folders of materials"):
        load_corpus(tmp_path, 0)


def test_unit_vectors_are_unit_even_where_x_and_y_are_too_long() -> None:
    made = unit_vectors(torch.rand(2, 2, 9, 9))
    assert torch.allclose(made.norm(dim=1), torch.ones(2, 9, 9), atol=1e-5)
    assert (made[:, 2] >= 0).all()


# --- the loop ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", training.RECIPES)
def test_a_run_that_was_cancelled_resumes_to_the_same_weights(name: str, materials: Path, tmp_path: Path) -> None:
    whole = run_training(name, materials, tmp_path / "whole")
    cancelled = Run()

    def cancel_late(progress: Progress) -> None:
        if progress.fraction >= 0.6:
            cancelled.cancel()

    cancelled.listener = cancel_late
    with pytest.raises(TexsynthError) as caught:
        run_training(name, materials, tmp_path / "cut", run=cancelled)
    assert caught.value.kind is ErrorKind.CANCELLED
    resumed = run_training(name, materials, tmp_path / "cut", resume=True)
    assert resumed["sha256"] == whole["sha256"]
    steps = [json.loads(line)["step"] for line in (tmp_path / "cut" / CURVE).read_text().splitlines()]
    assert steps == [2, 4, 6]
    assert run_training(name, materials, tmp_path / "other", seed=1)["sha256"] != whole["sha256"]


@pytest.mark.usefixtures("quick")
def test_a_checkpoint_of_another_schedule_is_refused(
    materials: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_training("estimator", materials, tmp_path)
    longer = replace(training.RECIPES["estimator"], schedules={"small": replace(SCHEDULE, steps=8)})
    monkeypatch.setitem(training.RECIPES, "estimator", longer)
    with pytest.raises(TexsynthError, match="another schedule"):
        run_training("estimator", materials, tmp_path, resume=True)
    assert (tmp_path / CHECKPOINT).exists()


@pytest.mark.usefixtures("quick")
def test_unknown_models_and_presets_are_named(materials: Path, tmp_path: Path) -> None:
    with pytest.raises(TexsynthError, match="estimator, autoencoder, reference"):
        run_training("unet", materials, tmp_path)


def test_rates_rise_stay_and_fall_to_zero() -> None:
    schedule = Schedule(steps=100, batch=1, crop=32, warmup=10, cooldown=0.5)
    factors = [schedule.factor(step) for step in range(100)]
    assert factors[0] == pytest.approx(0.1) and max(factors) == 1 and factors[49] == 1
    assert factors[-1] == pytest.approx(0.02)


def test_the_estimator_learns_a_material_by_heart() -> None:
    from texsynth.train.loop import Optimisers

    torch.manual_seed(0)
    batch = next(Corpus([to_training(generate("cobble", 64, 1), "made")]).batches(64, 4, np.random.default_rng(0)))
    model, schedule = MapEstimator(SMALL), replace(SCHEDULE, steps=60, muon_rate=2e-2, adamw_rate=1e-2)
    optimisers = Optimisers(model, schedule)
    losses = []
    for step in range(60):
        loss = sum(estimator.estimator_loss(model, batch, step).values(), torch.zeros(()))
        optimisers.step(loss, schedule.factor(step))
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_maps_that_a_material_lacks_teach_nothing() -> None:
    stacks, masks = torch.rand(2, CHANNELS, 32, 32), torch.tensor([[True, True, False, False, False]] * 2)
    other = stacks.clone()
    other[:, SLICES[MapKind.ROUGHNESS]] = 0
    model = MapEstimator(SMALL)
    with torch.no_grad():
        learned = estimator.estimator_loss(model, (stacks, masks), 0)
    assert float(learned["roughness"]) == 0 < float(learned["normal"])
    parts = [autoencoder.fidelity(torch.full_like(s, 0.5), s, masks) for s in (stacks, other)]
    assert all(torch.equal(parts[0][name], parts[1][name]) for name in parts[0])


def test_the_linear_path_of_the_autoencoder_is_the_best_linear_one() -> None:
    torch.manual_seed(0)
    basis = torch.randn(4, CHANNELS * 64)
    tokens = torch.randn(2, 4, 8, 8)
    tokens -= tokens.mean(dim=(0, 2, 3), keepdim=True)  # blocks have no mean pattern, as in crops at any place
    stacks = torch.nn.functional.conv_transpose2d(tokens, basis.reshape(4, CHANNELS, 8, 8), stride=8)
    model = MaterialAutoencoder(SMALL_AUTOENCODER)
    model.fit_linear(stacks, torch.ones(CHANNELS))
    present = torch.ones(2, len(KINDS), dtype=torch.bool)
    with torch.no_grad():
        made, latent = model(stacks, present), model.encode(stacks, present)
    assert torch.allclose(made, stacks, atol=1e-2)  # four components are all there is
    assert latent.std() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("model", [MaterialAutoencoder(SMALL_AUTOENCODER)])
def test_tiles_of_a_latent_decode_as_the_whole_does(model: MaterialAutoencoder) -> None:
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    latent = torch.randn(1, 4, 32, 16)
    with torch.no_grad():
        whole, tile = model.decode(latent), model.decode(latent[:, :, 8:])
    assert torch.allclose(whole[:, :, 16 * 8 :], tile[:, :, 8 * 8 :], atol=1e-4)


# --- weights ----------------------------------------------------------------------------------------------------


def test_a_model_loads_as_it_was_saved(tmp_path: Path) -> None:
    model = MapEstimator(SMALL)
    digest = save_model(model, tmp_path)
    loaded = load_model(MapEstimator, tmp_path, digest)
    assert loaded.config == SMALL and not loaded.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.half().float())
    assert set(load_file(tmp_path / TENSORS)) == set(model.state_dict())  # as any other tool reads it


def test_foreign_and_damaged_folders_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(TexsynthError, match="No such file"):
        load_model(MapEstimator, tmp_path / "nowhere")
    save_model(MapEstimator(SMALL), tmp_path)
    with pytest.raises(TexsynthError, match="class MapEstimator"):
        load_model(MaterialAutoencoder, tmp_path)
    with pytest.raises(TexsynthError, match="damaged") as caught:
        load_model(MapEstimator, tmp_path, "0" * 64)
    assert caught.value.kind is ErrorKind.CORRUPT
    data = (tmp_path / TENSORS).read_bytes()
    for broken in (data[:-1], data[:100], b""):
        (tmp_path / TENSORS).write_bytes(broken)
        with pytest.raises(TexsynthError, match="no whole MapEstimator"):
            load_model(MapEstimator, tmp_path)
    save_file({"enter.weight": torch.zeros(1)}, tmp_path / TENSORS)
    with pytest.raises(TexsynthError, match="no whole MapEstimator"):
        load_model(MapEstimator, tmp_path)
    (tmp_path / CONFIG).write_text("{")
    with pytest.raises(TexsynthError, match="no JSON"):
        load_model(MapEstimator, tmp_path)


# --- evaluation -------------------------------------------------------------------------------------------------


def test_figures_of_an_estimator_stand_beside_those_of_constants(materials: Path, tmp_path: Path) -> None:
    save_model(MapEstimator(SMALL), tmp_path)  # a fresh one says flat everywhere
    rows = evaluation.evaluate_model("estimator", materials, tmp_path)
    assert [row["material"] for row in rows] == ["made_bark", "made_brick", "made_cloth", "made_pebbles", "mean"]
    assert "normal" not in rows[1] and "roughness" in rows[1]
    assert rows[3]["normal"] == pytest.approx(rows[3]["normal_flat"], abs=0.05)
    assert rows[3]["normal_own"] <= rows[3]["normal_flat"] + 1e-3


def test_an_autoencoder_is_judged_by_its_reconstruction(materials: Path, tmp_path: Path) -> None:
    save_model(MaterialAutoencoder(SMALL_AUTOENCODER), tmp_path)
    rows = evaluation.evaluate_model("autoencoder", materials, tmp_path)
    assert {"psnr_albedo", "detail", "shift", "normal_angle", "psnr_roughness"} <= set(rows[-1])


@pytest.mark.usefixtures("quick")
def test_a_reference_unet_is_judged_beside_the_closed_form(materials: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = ReferenceUNet.create(SMALL_REFERENCE, CommonAxes(CommonAxesConfig(directions=32)))
    save_reference_unet(network, tmp_path)
    row = evaluation.evaluate_model("reference", materials, tmp_path)[-1]
    for sigma in ("0.7", "1.4", "2.8"):  # a fresh one says what suits white data
        fresh = [row[f"{seen}_{sigma}"] for seen in ("right", "wrong", "none")]
        assert fresh == pytest.approx([row[f"white_{sigma}"]] * 3, rel=1e-3)
        assert 0 < row[f"closed_{sigma}"] < 3


def test_a_directx_normal_is_turned_over_for_training() -> None:
    made = generate("cobble", 128, 3)
    normal = made.maps[MapKind.NORMAL].linear()
    wrong = TextureMap.from_linear(MapKind.NORMAL, normal * np.array([1, -1, 1], np.float32))
    righted = corpus.upright(replace(made, maps=made.maps | {MapKind.NORMAL: wrong}))
    assert np.abs(righted.maps[MapKind.NORMAL].linear() - normal).max() < 0.02
    assert corpus.upright(made) is made


def test_a_normal_made_from_the_photo_upside_down_is_left_out() -> None:
    made = generate("pebbles", 256, 3)
    light = log_luminance(made.maps[MapKind.ALBEDO])
    sunk, raised = (
        replace(made, maps=made.maps | {MapKind.NORMAL: normal_from_height(4 * sign * light, (True, True))})
        for sign in (-1, 1)
    )
    assert MapKind.NORMAL not in corpus.trustworthy(sunk).maps
    assert set(corpus.trustworthy(sunk).maps) == set(made.maps) - {MapKind.NORMAL}
    assert corpus.trustworthy(raised) is raised
    assert corpus.trustworthy(made) is made


# --- a whole photo ----------------------------------------------------------------------------------------------


def random_estimator() -> MapEstimator:
    torch.manual_seed(3)
    model = MapEstimator(SMALL)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def test_the_estimate_of_a_periodic_photo_is_periodic() -> None:
    albedo = generate("brick", 64, 1).maps[MapKind.ALBEDO].encoded()
    shifted = np.roll(albedo, (16, 32), axis=(0, 1))  # multiples of what the network's coarsest level stands on
    first, second = (photo.estimated_planes(image, (True, True), random_estimator()) for image in (albedo, shifted))
    assert np.abs(np.roll(first, (16, 32), axis=(0, 1)) - second).max() < 1e-4


def test_tiles_of_a_large_photo_meet_without_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    albedo = generate("stone_wall", 512, 2).maps[MapKind.ALBEDO].encoded()
    whole = photo.estimated_planes(albedo, (False, True), random_estimator())
    monkeypatch.setattr(photo, "TILE", 192)
    assert np.abs(photo.estimated_planes(albedo, (False, True), random_estimator()) - whole).max() < 1e-3


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 5), (17, 64), (1500, 40)])
def test_an_estimate_exists_at_every_size(size: tuple[int, int]) -> None:
    albedo = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    planes = photo.estimated_planes(albedo, (False, True), random_estimator())
    assert planes.shape == (*size, 3) and np.isfinite(planes).all()
