"""Profiles: which device is chosen, what is said where there is none, and the score on devices other than the CPU."""

from __future__ import annotations

import os
from pathlib import Path

import forked
import pytest
import torch
from torch import Tensor

from texsynth import profiles
from texsynth.errors import EXIT_STATUS, ErrorKind, TexsynthError
from texsynth.model.exemplar_score import HEAD_STEP, ExemplarScore, Prior
from texsynth.options import Options, ProfileName
from texsynth.processor import multiplies_bfloat16, processor_flags
from texsynth.profiles import DEVICES, choose_compute, cuda_fault
from texsynth.sample_asset import write_sample_asset

TORUS = (True, True)
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "cuda_fault", lambda: "no CUDA device answers")


@pytest.fixture
def with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU that computes."""
    monkeypatch.setattr(profiles, "cuda_fault", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Orin")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)


# The choice


@pytest.mark.usefixtures("without_cuda")
@pytest.mark.parametrize("profile", ["auto", "cpu"])
def test_without_a_gpu_auto_is_the_cpu(profile: ProfileName) -> None:
    assert choose_compute(profile).facts()["type"] == "cpu"


@pytest.mark.usefixtures("with_cuda")
@pytest.mark.parametrize("profile", ["auto", "desktop", "jetson-orin-nx"])
def test_with_a_gpu_every_profile_but_cpu_takes_it(profile: ProfileName) -> None:
    assert choose_compute(profile).facts() == {"type": "cuda", "name": "Orin", "attention": "bfloat16"}
    assert choose_compute("cpu").facts()["type"] == "cpu"


@pytest.mark.usefixtures("with_cuda")
def test_a_gpu_without_bfloat16_attends_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert choose_compute("auto").dtype is torch.float32


@pytest.mark.parametrize(
    ("cpuinfo", "dtype"),
    [
        ("flags : fpu avx2 avx512f avx512_bf16", torch.bfloat16),
        ("flags : fpu avx2 avx512f", torch.float32),
        ("Features : fp asimd bf16 sve", torch.bfloat16),
        ("Features : fp asimd", torch.float32),
    ],
)
def test_a_processor_attends_in_bfloat16_only_where_it_has_instructions_for_it(
    cpuinfo: str, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    flags = processor_flags(tmp_path / "cpuinfo")
    assert multiplies_bfloat16(flags) is (dtype is torch.bfloat16)
    monkeypatch.setattr(profiles, "processor_flags", lambda: flags)
    assert choose_compute("cpu").dtype is dtype


def test_a_system_that_does_not_tell_its_processor_gets_float32(tmp_path: Path) -> None:
    assert not multiplies_bfloat16(processor_flags(tmp_path / "none"))


def test_every_profile_of_the_options_has_its_devices() -> None:
    assert all(Options(profile=profile) for profile in DEVICES)
    with pytest.raises(TexsynthError, match="use any of " + ", ".join(DEVICES)):
        Options(profile="laptop")  # type: ignore[arg-type]


# A missing device


@pytest.mark.usefixtures("without_cuda")
@pytest.mark.parametrize("profile", ["desktop", "jetson-orin-nx"])
def test_a_profile_that_needs_a_gpu_says_what_is_missing_and_what_to_do(profile: ProfileName) -> None:
    with pytest.raises(TexsynthError) as caught:
        choose_compute(profile)
    assert caught.value.kind is ErrorKind.NO_DEVICE
    assert EXIT_STATUS[caught.value.kind] == 3
    assert str(caught.value) == (
        f"profile: '{profile}' needs an NVIDIA GPU, but no CUDA device answers; use auto or cpu, or see texsynth doctor"
    )


def test_a_device_that_answers_but_does_not_compute_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_kernel(*_: object, **__: object) -> Tensor:
        raise RuntimeError("CUDA error: no kernel image is available\nfor execution on the device")

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", no_kernel)
    fault = "the CUDA device does not compute: CUDA error: no kernel image is available for execution on the device"
    assert cuda_fault() == fault
    assert choose_compute("auto").device.type == "cpu"


def test_the_command_ends_with_one_line_and_status_3_before_it_reads_anything(tmp_path: Path) -> None:
    write_sample_asset(tmp_path / "asset")
    done = forked.texsynth(
        "synthesize", tmp_path / "asset" / "asset.glb", "-o", tmp_path / "out", "--size", "64", "--profile", "desktop",
        environment=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("texsynth: error: profile: 'desktop' needs an NVIDIA GPU, but ")
    assert list((tmp_path / "out").iterdir()) == []


# The score on other devices and in other precision


def score_on(device: str, dtype: torch.dtype = torch.bfloat16) -> ExemplarScore:
    image = torch.randn(2, 48, 40, generator=torch.Generator().manual_seed(0))
    return ExemplarScore(
        image, TORUS, patch=3, stride=1, channels=6, floor=0.15, dimensions=50, cell=8,
        device=torch.device(device), dtype=dtype,
    )  # fmt: skip


def noisy_and_prior(score: ExemplarScore, sigma: float) -> tuple[Tensor, Prior]:
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(6, 4, 5, generator=generator) * (1 + sigma)
    prior = Prior(torch.randn(20, 7, generator=generator), torch.randn(len(score.keys), 7, generator=generator))
    return z.to(score.device), prior.to(score.device)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
def test_float32_and_bfloat16_give_nearly_the_same_means_at_high_noise(sigma: float) -> None:
    half, single = score_on("cpu"), score_on("cpu", torch.float32)
    z, prior = noisy_and_prior(half, sigma)
    difference = half.denoise(z, sigma, TORUS, prior) - single.denoise(z, sigma, TORUS, prior)
    assert 0 < float(difference.square().mean().sqrt()) < 0.01, "whitened units; two precisions were really used"


def test_the_whole_score_runs_on_its_device_and_mixes_in_no_tensor_of_the_cpu() -> None:
    """torch's `meta` device has shapes only, and refuses an operation with a CPU tensor as CUDA does."""
    score = score_on("meta")
    z, prior = noisy_and_prior(score, 1.0)
    score.balance(z, 1.0, TORUS, prior, 3, 1.0, torch.Generator().manual_seed(0))
    for sigma in (1.0, 0.1):
        mean = score.denoise(z, sigma, TORUS, prior)
        assert (mean.device.type, mean.shape, mean.dtype) == ("meta", z.shape, torch.float32)
    attended = score.attended(z, 0.1, TORUS, prior)
    assert (attended.device.type, attended.shape, attended.dtype) == ("meta", (4, 5, 2), torch.int32)
    with pytest.raises(RuntimeError):
        score.denoise(torch.zeros(z.shape), 1.0, TORUS, prior)


def test_off_the_cpu_heads_are_padded_to_what_fused_kernels_take(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []

    def attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        widths.append((query.shape[-1], key.shape[-1], value.shape[-1]))
        return torch.empty(*query.shape[:-1], value.shape[-1], device="meta")

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attention)
    score = score_on("meta")
    z, prior = noisy_and_prior(score, 1.0)
    score.denoise(z, 1.0, TORUS, prior)
    assert 50 + 2 + 7 == 59
    assert widths == [(64, 64, 64)]
    assert 64 % HEAD_STEP == 0


@NEEDS_CUDA
@pytest.mark.parametrize("sigma", [0.1, 1.0, 4.0])
def test_a_gpu_balances_denoises_and_attends_as_the_cpu_does(sigma: float) -> None:
    gpu, cpu = score_on("cuda"), score_on("cpu")
    means, places = [], []
    for score in (gpu, cpu):
        z, prior = noisy_and_prior(score, sigma)
        score.balance(z, sigma, TORUS, prior, 10, 1.0, torch.Generator().manual_seed(0))
        means.append(score.denoise(z, sigma, TORUS, prior).cpu())
        places.append(score.attended(z, sigma, TORUS, prior).cpu())
    assert float((gpu.potentials.cpu() - cpu.potentials).abs().max()) < 1e-3
    assert float((means[0] - means[1]).square().mean().sqrt()) < 0.02
    assert float((places[0] == places[1]).all(dim=2).float().mean()) >= 0.95


@NEEDS_CUDA
def test_a_gpu_gives_the_same_bytes_twice() -> None:
    def mean() -> Tensor:
        score = score_on("cuda")
        z, prior = noisy_and_prior(score, 1.0)
        score.balance(z, 1.0, TORUS, prior, 10, 1.0, torch.Generator().manual_seed(0))
        return score.denoise(z, 1.0, TORUS, prior).cpu()

    assert torch.equal(mean(), mean())
