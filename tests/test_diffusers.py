"""Stable Diffusion checkpoints: small ones that diffusers wrote, full-size shapes, and everything that is refused.

No published weights are here: that a picture is right is not tested, that we compute what diffusers computes is.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
import torch
from checkpoints import change, small_sd15, small_sdxl
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from texsynth.curriculum import SinglePhase
from texsynth.distill import distil, losses, network_layers
from texsynth.errors import ErrorKind, TexsynthError
from texsynth.model.denoiser import AttentiveDenoiser, Denoiser
from texsynth.model.diffusers_files import fill
from texsynth.model.diffusers_model import KINDS, DiffusersModel, Kind, load_diffusers
from texsynth.model.diffusers_prompt import Prompt
from texsynth.optimise.rules import Adam

FLAT = (False, False)
UNET, VAE = "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_sd15(tmp_path_factory.mktemp("sd15") / "model")


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_sdxl(tmp_path_factory.mktemp("sdxl") / "model", encoders=True)


@pytest.fixture(scope="module")
def model(sd15: Path) -> DiffusersModel:
    return load_diffusers(sd15)


@pytest.fixture
def folder(sd15: Path, tmp_path: Path) -> Path:
    """A copy of the SD 1.5 folder that a test may spoil."""
    return Path(shutil.copytree(sd15, tmp_path / "model"))


def albedo(height: int = 64, width: int = 96) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((height, width, 3), np.float32)


def noise(height: int = 8, width: int = 12, seed: int = 0) -> Tensor:
    return torch.randn(4, height, width, generator=torch.Generator().manual_seed(seed))


def components(folder: Path) -> dict[str, Any]:
    """The parts of a folder as diffusers itself loads them."""
    import diffusers
    import transformers

    parts = {
        "unet": diffusers.UNet2DConditionModel,
        "vae": diffusers.AutoencoderKL,
        "scheduler": diffusers.DDPMScheduler,
        "text_encoder": transformers.CLIPTextModel,
        "tokenizer": transformers.CLIPTokenizer,
    }
    if (folder / "text_encoder_2").is_dir():
        parts |= {"text_encoder_2": transformers.CLIPTextModelWithProjection, "tokenizer_2": transformers.CLIPTokenizer}
    return {
        name: kind.from_pretrained(folder / name, **({"low_cpu_mem_usage": False} if name in ("unet", "vae") else {}))
        for name, kind in parts.items()
    }


def test_a_checkpoint_is_a_denoiser_whose_attention_can_be_distilled(model: DiffusersModel) -> None:
    plain: Denoiser = model
    attentive: AttentiveDenoiser = model
    assert plain.denoise(noise(), 1.0, FLAT).shape == (4, 8, 12)
    assert len(attentive.attention(noise()[None], 1.0)) == attentive.layers == 2


def test_denoising_is_deterministic_from_load_to_load(sd15: Path, model: DiffusersModel) -> None:
    assert torch.equal(load_diffusers(sd15).denoise(noise(), 0.7, FLAT), model.denoise(noise(), 0.7, FLAT))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_clean_mean_is_that_of_diffusers_scheduler(sd15: Path, tmp_path: Path, prediction: str) -> None:
    shutil.copytree(sd15, tmp_path / "model")
    change(tmp_path / "model/scheduler/scheduler_config.json", prediction_type=prediction)
    ours, theirs = load_diffusers(tmp_path / "model"), components(tmp_path / "model")
    step, z = 400, noise(8, 8)
    signal = float(theirs["scheduler"].alphas_cumprod[step])
    mixed = z[None] * signal**0.5
    with torch.inference_mode():
        out = theirs["unet"](mixed, step, encoder_hidden_states=ours.prompt.embeddings).sample
        expected = theirs["scheduler"].step(out, step, mixed).pred_original_sample[0]
    assert torch.allclose(ours.denoise(z, ((1 - signal) / signal) ** 0.5, FLAT), expected, atol=1e-4)


def test_the_empty_prompt_of_sd15_is_that_of_its_pipeline(sd15: Path, model: DiffusersModel) -> None:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline(
        **components(sd15), safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    expected, _ = pipeline.encode_prompt("", "cpu", 1, False)
    assert torch.allclose(model.prompt.embeddings, expected, atol=1e-5)


def test_the_empty_prompt_of_sdxl_is_that_of_its_pipeline(sdxl: Path) -> None:
    from diffusers import StableDiffusionXLPipeline

    prompt = load_diffusers(sdxl).prompt
    pipeline = StableDiffusionXLPipeline(**components(sdxl), add_watermarker=False)
    expected, _, pooled, _ = pipeline.encode_prompt("", device="cpu", do_classifier_free_guidance=False)
    assert prompt.pooled is not None
    assert torch.allclose(prompt.embeddings, expected, atol=1e-5) and torch.allclose(prompt.pooled, pooled, atol=1e-5)


def test_sdxl_that_was_trained_with_zeros_needs_no_text_encoder(tmp_path: Path) -> None:
    loaded = load_diffusers(small_sdxl(tmp_path / "model"))
    assert loaded.prompt.pooled is not None and not loaded.prompt.embeddings.any()
    assert loaded.denoise(noise(), 1.0, FLAT).isfinite().all()


def test_an_empty_prompt_beside_the_parts_stands_for_the_text_encoder(folder: Path, model: DiffusersModel) -> None:
    shutil.rmtree(folder / "text_encoder")
    shutil.rmtree(folder / "tokenizer")
    save_file({"prompt_embeds": model.prompt.embeddings.contiguous()}, folder / "empty_prompt.safetensors")
    assert torch.equal(load_diffusers(folder).denoise(noise(), 1.0, FLAT), model.denoise(noise(), 1.0, FLAT))


def test_albedo_in_one_window_goes_through_the_autoencoder_as_diffusers_does_it(
    sd15: Path, model: DiffusersModel
) -> None:
    vae, texels = components(sd15)["vae"], albedo()
    with torch.inference_mode():
        mean = vae.encode(torch.from_numpy(texels).movedim(2, 0)[None] * 2 - 1).latent_dist.mode()
        decoded = (vae.decode(mean).sample[0].movedim(0, 2) / 2 + 0.5).clamp(0, 1).numpy()
    latent = model.encode(texels, FLAT)
    assert torch.allclose(latent, mean[0] * vae.config["scaling_factor"], atol=1e-5)
    made = np.empty_like(texels)
    model.decode(latent, FLAT, made)
    assert np.allclose(made, decoded, atol=1e-4)


def test_large_albedo_goes_through_in_bounded_windows_onto_a_mapped_file(model: DiffusersModel, tmp_path: Path) -> None:
    canvas = np.memmap(tmp_path / "albedo", np.float32, "w+", shape=(64, 100 * 8, 3))
    seen: list[int] = []
    vae: Any = model.vae
    hooks = [
        vae.encoder.register_forward_pre_hook(lambda _m, inputs: seen.append(max(inputs[0].shape[2:]))),
        vae.decoder.register_forward_pre_hook(lambda _m, inputs: seen.append(8 * max(inputs[0].shape[2:]))),
    ]
    latent = model.encode(albedo(64, 800), (False, True))
    model.decode(latent, (False, True), canvas)
    for hook in hooks:
        hook.remove()
    assert len(seen) == 4 and max(seen) <= 640
    assert latent.shape == (4, 8, 100) and (canvas.std(axis=1) > 0).all()


def test_a_wrapping_edge_is_seen_by_its_other_side(model: DiffusersModel) -> None:
    z = noise(8, 96)
    changed = z.clone()
    changed[:, :, -1] += 3
    difference = (model.denoise(changed, 1.0, (False, True)) - model.denoise(z, 1.0, (False, True))).abs()
    closed = (model.denoise(changed, 1.0, FLAT) - model.denoise(z, 1.0, FLAT)).abs()
    assert difference[:, :, 0].max() > 0.01 and closed[:, :, 0].max() == 0


def test_sides_that_no_token_fills_are_refused(model: DiffusersModel) -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        model.encode(albedo(60, 64), FLAT)
    with pytest.raises(ValueError, match="multiples of 2"):
        model.attention(noise(7, 8)[None], 1.0)


def test_captured_attention_gives_what_the_layer_gives(model: DiffusersModel) -> None:
    layer: Any = model.unet.get_submodule("up_blocks.1.attentions.1.transformer_blocks.0.attn1")
    inputs: list[Tensor] = []
    hook = layer.to_out[0].register_forward_pre_hook(lambda _m, args: inputs.append(args[0]))
    last = model.attention(noise()[None], 1.0)[-1]
    hook.remove()
    made = (last.scale * last.q @ last.k.mT).softmax(-1) @ last.v
    assert last.q.shape == (4, 8 * 12, 8)
    assert torch.allclose(made.movedim(0, 1).flatten(1), inputs[0][0], atol=1e-5)


def test_a_latent_that_wraps_is_seen_rolled_and_the_exemplar_is_not(model: DiffusersModel) -> None:
    z, style = noise()[None], noise(seed=1)[None]
    rolled, plain = network_layers(model, style, roll=(2, 5))[-1], network_layers(model, style)[-1]
    assert torch.equal(rolled.queries(z, 1.0), plain.queries(torch.roll(z, (2, 5), (2, 3)), 1.0))
    assert torch.equal(rolled.outputs(z, 1.0)[1], plain.outputs(torch.roll(z, (2, 5), (2, 3)), 1.0)[1])
    assert not torch.equal(rolled.queries(z, 1.0), plain.queries(z, 1.0))


def test_the_noise_levels_of_a_distillation_fall_through_the_whole_schedule(model: DiffusersModel) -> None:
    levels = model.noise.ladder(20)
    assert len(levels) == 20 and levels == sorted(levels, reverse=True)
    assert [round(model.noise.timestep(level)) for level in levels] == list(range(975, 0, -50))


def test_capturing_leaves_no_hooks_behind(model: DiffusersModel) -> None:
    model.attention(noise()[None], 1.0)
    assert not any(module._forward_hooks for module in model.unet.modules())


def test_an_exemplars_own_latent_has_no_style_loss(model: DiffusersModel) -> None:
    z, other = noise()[None], noise(seed=1)[None]
    layers = network_layers(model, z)
    own, foreign = (float(losses(layers, of, None, 1.0)[0]) for of in (z, other))
    assert own < 1e-6 and foreign > 1e-3


def test_distilling_towards_an_exemplar_lowers_the_style_loss(model: DiffusersModel) -> None:
    layers = network_layers(model, noise(8, 8, seed=1)[None])
    _, history = distil(noise(8, 8)[None], layers, None, [1.0] * 30, Adam(), SinglePhase(rate=0.1))
    assert history.style[-1] < 0.8 * history.style[0]


def test_a_step_with_content_runs_the_network_twice_and_the_exemplar_once(model: DiffusersModel) -> None:
    runs: list[int] = []
    hook = model.unet.register_forward_pre_hook(lambda _m, _i: runs.append(1))
    layers = network_layers(model, noise(8, 8, seed=1)[None])
    content, z = noise(8, 8, seed=2)[None], noise(8, 8)[None]
    for _ in range(3):
        losses(layers, z.clone().requires_grad_(True), content, 1.0)
    hook.remove()
    assert len(runs) == 3 + 1 + 1


def test_half_precision_weights_give_nearly_the_same_mean(folder: Path, model: DiffusersModel) -> None:
    for part in (UNET, VAE, "text_encoder/model.safetensors"):
        half = {name: tensor.half() for name, tensor in load_file(folder / part).items()}
        (folder / part).unlink()
        save_file(half, folder / part.replace(".safetensors", ".fp16.safetensors"), metadata={"format": "pt"})
    loaded = load_diffusers(folder, dtype=torch.bfloat16)
    assert next(loaded.unet.parameters()).dtype == torch.bfloat16
    assert (loaded.denoise(noise(), 1.0, FLAT) - model.denoise(noise(), 1.0, FLAT)).abs().max() < 0.1


def test_weights_in_shards_are_the_same_weights(folder: Path, model: DiffusersModel) -> None:
    shutil.rmtree(folder / "unet")
    components_unet: Any = model.unet
    components_unet.save_pretrained(folder / "unet", max_shard_size="1MB")
    assert (folder / "unet/diffusion_pytorch_model.safetensors.index.json").is_file()
    assert torch.equal(load_diffusers(folder).denoise(noise(), 1.0, FLAT), model.denoise(noise(), 1.0, FLAT))


def test_an_autoencoder_with_the_names_of_the_first_releases_loads(folder: Path, model: DiffusersModel) -> None:
    old = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}
    tensors = {}
    for name, tensor in load_file(folder / VAE).items():
        part = next((new for new in old if new in name), None)
        tensors[name if part is None else name.replace(part, old[part])] = tensor
    assert any("proj_attn" in name for name in tensors)
    save_file(tensors, folder / VAE)
    assert torch.equal(load_diffusers(folder).encode(albedo(), FLAT), model.encode(albedo(), FLAT))


# The published configurations, without weights: 860 and 2,567 million parameters in the U-Nets.
FULL_SD15: dict[str, Any] = {
    "sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8, "layers_per_block": 2,
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}  # fmt: skip
FULL_SDXL: dict[str, Any] = {
    "sample_size": 128, "cross_attention_dim": 2048, "attention_head_dim": [5, 10, 20], "layers_per_block": 2,
    "block_out_channels": [320, 640, 1280], "transformer_layers_per_block": [1, 2, 10], "use_linear_projection": True,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "config", "parameters", "count", "last"),
    [
        (KINDS[0], FULL_SD15, 859_520_964, 6, (8, 64 * 64, 40)),
        (KINDS[1], FULL_SDXL, 2_567_463_684, 24, (10, 64 * 64, 64)),
    ],
    ids=["SD 1.5", "SDXL"],
)
def test_the_full_size_configuration_has_the_published_shape(
    model: DiffusersModel, kind: Kind, config: dict[str, Any], parameters: int, count: int, last: tuple[int, ...]
) -> None:
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
    prompt = Prompt(torch.zeros(1, 77, kind.width), torch.zeros(1, 1280) if kind.added else None)
    full = DiffusersModel(kind, unet, model.vae, model.noise, prompt)
    attention = full.attention(torch.zeros(1, 4, kind.side, kind.side, device="meta"), 1.0)
    assert sum(weight.numel() for weight in unet.parameters()) == parameters
    assert len(attention) == full.layers == count
    assert attention[-1].q.shape == attention[-1].k.shape == attention[-1].v.shape == last


def refusal(folder: Path) -> str:
    with pytest.raises(TexsynthError) as raised:
        load_diffusers(folder)
    assert raised.value.kind is ErrorKind.BAD_INPUT and "\n" not in str(raised.value)
    return str(raised.value)


REMOVED = {
    "model_index.json": "is absent; name a folder in diffusers layout",
    "unet/config.json": "is absent; name a folder in diffusers layout",
    "vae/config.json": "is absent; name a folder in diffusers layout",
    "scheduler/scheduler_config.json": "is absent; name a folder in diffusers layout",
    UNET: "is absent; download",
    VAE: "is absent; download",
    "text_encoder": "is absent; put it there, or the embeddings of the empty prompt as",
    "text_encoder/config.json": "is absent",
    "text_encoder/model.safetensors": "is absent; download",
    "tokenizer": "is absent; download",
}


@pytest.mark.parametrize("name", REMOVED)
def test_a_folder_that_lacks_a_file_is_refused(folder: Path, name: str) -> None:
    path = folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert refusal(folder).startswith(f"{path}: {REMOVED[name]}")


@pytest.mark.parametrize("name", [UNET, VAE, "text_encoder/model.safetensors"])
@pytest.mark.parametrize("kept", [0, 5, 0.5, -1])
def test_truncated_weights_are_refused(folder: Path, name: str, kept: float) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(kept * len(data)) if kept == 0.5 else int(kept)])
    assert refusal(folder).startswith(f"{folder / name}: is no whole safetensors file")


@pytest.mark.parametrize("name", [UNET, VAE, "text_encoder/model.safetensors"])
@pytest.mark.parametrize("suffix", [".bin", ".ckpt"])
def test_pickled_weights_are_refused_and_never_opened(folder: Path, name: str, suffix: str) -> None:
    pickled = (folder / name).with_suffix(suffix)
    (folder / name).rename(pickled)
    assert f"{pickled}: is a pickle, which may run code" in refusal(folder)


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "another pipeline": ("model_index.json", {"_class_name": "FluxPipeline"}, "is of class FluxPipeline; SD 1.5 and"),
    "another U-Net": ("unet/config.json", {"_class_name": "UNet2DModel"}, "its class has to be UNet2DConditionModel"),
    "SD 2": ("unet/config.json", {"cross_attention_dim": 1024}, "cross_attention_dim is 1024; of SD 1.5 it is 768"),
    "inpainting": ("unet/config.json", {"in_channels": 9}, "in_channels is 9; of SD 1.5 it is 4"),
    "conditions": ("unet/config.json", {"addition_embed_type": "text"}, "addition_embed_type is text; of SD 1.5 it"),
    "SD 1.5 called SDXL": (
        "model_index.json",
        {"_class_name": "StableDiffusionXLPipeline"},
        "cross_attention_dim is 768; of SDXL it is 2048",
    ),
    "other widths": ("unet/config.json", {"block_out_channels": [32, 32]}, "by its config.json"),
    "fewer layers": ("unet/config.json", {"layers_per_block": 0}, "which its config.json does not have"),
    "more layers": ("unet/config.json", {"layers_per_block": 2}, "by its config.json"),
    "unknown blocks": ("unet/config.json", {"down_block_types": ["Foreign"]}, "describes no UNet2DConditionModel"),
    "another autoencoder": ("vae/config.json", {"_class_name": "VQModel"}, "its class has to be AutoencoderKL"),
    "16 channels": ("vae/config.json", {"latent_channels": 16}, "latent_channels is 16; of SD 1.5 and SDXL it is 4"),
    "another factor": ("vae/config.json", {"block_out_channels": [8, 8, 8]}, "make a latent of 1/8 of the side"),
    "flow matching": (
        "scheduler/scheduler_config.json",
        {"_class_name": "FlowMatchEulerDiscreteScheduler", "beta_schedule": None},
        "FlowMatchEulerDiscreteScheduler has no beta_schedule",
    ),
    "unknown prediction": ("scheduler/scheduler_config.json", {"prediction_type": "flow"}, "it is epsilon, v_predict"),
    "unknown schedule": ("scheduler/scheduler_config.json", {"beta_schedule": "mine"}, "describes no noise levels"),
    "no noise": (
        "scheduler/scheduler_config.json",
        {"beta_start": 0.0, "beta_end": 0.0},
        "its noise levels do not rise",
    ),
    "another encoder": ("text_encoder/config.json", {"architectures": ["T5EncoderModel"]}, "to be CLIPTextModel"),
    "an encoder's layers": ("text_encoder/config.json", {"num_hidden_layers": 3}, "its weights lack"),
    "an encoder's width": ("text_encoder/config.json", {"hidden_size": 64}, "text_encoder: "),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_configuration_of_something_else_is_refused(folder: Path, case: str) -> None:
    name, fields, words = WRONG[case]
    change(folder / name, **fields)
    message = refusal(folder)
    assert words in message and message.startswith(f"{folder}/")


def _wrong_shape(tensors: dict[str, Tensor]) -> None:
    tensors["conv_in.weight"] = tensors["conv_in.weight"][:, :3].contiguous()


def _wrong_type(tensors: dict[str, Tensor]) -> None:
    tensors["conv_in.weight"] = tensors["conv_in.weight"].int()


def _one_less(tensors: dict[str, Tensor]) -> None:
    del tensors["conv_in.weight"]


def _one_more(tensors: dict[str, Tensor]) -> None:
    tensors["foreign"] = torch.zeros(1)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_wrong_shape, "conv_in.weight is (32, 3, 3, 3), by its config.json (32, 4, 3, 3)"),
        (_wrong_type, "conv_in.weight is I32; weights are F16, BF16 or F32"),
        (_one_less, "conv_in.weight among them"),
        (_one_more, "holds foreign, which its config.json does not have"),
    ],
)
def test_weights_of_another_shape_are_refused(
    folder: Path, spoil: Callable[[dict[str, Tensor]], None], words: str
) -> None:
    tensors = load_file(folder / UNET)
    spoil(tensors)
    save_file(tensors, folder / UNET)
    message = refusal(folder)
    assert message.startswith(f"{folder / UNET}: ") and words in message


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, " " * (2**20 + 1)])
def test_a_configuration_that_is_no_json_object_is_refused(folder: Path, text: str) -> None:
    (folder / "unet/config.json").write_text(text)
    assert refusal(folder).startswith(f"{folder / 'unet/config.json'}: ")


def test_a_checkpoint_in_one_file_is_refused(folder: Path) -> None:
    assert "is a file; name a folder in diffusers layout" in refusal(folder / UNET)
    assert "is absent; name a folder in diffusers layout" in refusal(folder / "nowhere")


@pytest.mark.parametrize("shard", ["../vae/diffusion_pytorch_model.safetensors", "part.bin"])
def test_an_index_that_points_elsewhere_is_refused(folder: Path, shard: str) -> None:
    (folder / UNET).unlink()
    index = folder / f"{UNET}.index.json"
    index.write_text(json.dumps({"weight_map": {"conv_in.weight": shard}}))
    assert refusal(folder) == f"{index}: names the file {shard!r}; shards are safetensors files beside it"


def test_an_empty_prompt_of_another_width_is_refused(folder: Path) -> None:
    save_file({"prompt_embeds": torch.zeros(1, 77, 1024)}, folder / "empty_prompt.safetensors")
    assert "the empty prompt is (1, 77, 1024); unet/ takes (1, 77, 768)" in refusal(folder)


def test_an_empty_prompt_without_its_embeddings_is_refused(folder: Path) -> None:
    save_file({"other": torch.zeros(1)}, folder / "empty_prompt.safetensors")
    assert "lacks prompt_embeds; it holds prompt_embeds of the empty prompt" in refusal(folder)


@pytest.mark.parametrize("name", ["diffusers", "transformers"])
def test_an_extra_that_is_not_installed_is_named(sd15: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # how Python itself marks a module that cannot be imported
    assert refusal(sd15) == (
        f"{name} is not installed, which loads checkpoints; run: pip install 'texsynth[diffusers]'"
    )


def test_weights_stay_in_their_file_where_nothing_changes_them(sd15: Path, model: DiffusersModel) -> None:
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(**checkpoints.SD15_UNET)
    fill(unet, [sd15 / UNET], torch.float32, torch.device("cpu"))
    address = next(iter(unet.parameters())).data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(end, 16) for end in line.split()[0].split("-"))
        if first <= address < last:
            assert line.endswith(str(sd15 / UNET))
            return
    pytest.fail("the weights lie nowhere")
