"""Profiles: which device the layout's attention runs on, and how precisely. Values in one place.

A profile moves the layout of the coarsest level (layout.py, model/exemplar_score.py) and nothing else: every later
stage is compiled for the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from texsynth.errors import ErrorKind, TexsynthError
from texsynth.options import ProfileName
from texsynth.processor import multiplies_bfloat16, processor_flags

# The devices that a profile may run on; the first one that works is taken.
DEVICES: dict[ProfileName, tuple[str, ...]] = {
    "auto": ("cuda", "cpu"),
    "cpu": ("cpu",),
    "desktop": ("cuda",),
    "jetson-orin-nx": ("cuda",),
}


@dataclass(frozen=True)
class Compute:
    """Where the layout's attention runs. device: of its tensors. dtype: of attention at high noise, bfloat16 where the
    device is fast at it (at low noise it is float32 everywhere). name: of the device, for people.
    """

    device: torch.device
    dtype: torch.dtype
    name: str

    def facts(self) -> dict[str, str]:
        """For report.json: {"type": "cpu", "name": "CPU", "attention": "bfloat16"}."""
        return {"type": self.device.type, "name": self.name, "attention": str(self.dtype).removeprefix("torch.")}


ON_CPU = Compute(torch.device("cpu"), torch.bfloat16, "CPU")


def choose_compute(profile: ProfileName) -> Compute:
    """The first device of the profile that works on this machine.

    Raises TexsynthError(NO_DEVICE) where the profile needs CUDA and no CUDA device computes.
    """
    if "cuda" in DEVICES[profile]:
        fault = cuda_fault()
        if fault is None:
            native = torch.cuda.is_bf16_supported(including_emulation=False)
            dtype = torch.bfloat16 if native else torch.float32
            return Compute(torch.device("cuda"), dtype, torch.cuda.get_device_name())
        if "cpu" not in DEVICES[profile]:
            raise TexsynthError(
                ErrorKind.NO_DEVICE,
                f"profile: '{profile}' needs an NVIDIA GPU, but {fault}; use auto or cpu, or see texsynth doctor",
            )
    dtype = torch.bfloat16 if multiplies_bfloat16(processor_flags()) else torch.float32
    return Compute(torch.device("cpu"), dtype, "CPU")


def cuda_fault() -> str | None:
    """Why CUDA cannot be used, in one line, or None: it is there and really ran the kernel that the layout needs.

    A device may answer and still not compute: its driver too old, its generation not in this build of torch, its memory
    taken by others.
    """
    if torch.version.cuda is None:
        return "this build of torch has no CUDA"
    if not torch.cuda.is_available():
        return "no CUDA device answers"
    try:
        probe = torch.ones(1, 1, 8, 8, device="cuda")
        attended = float(F.scaled_dot_product_attention(probe, probe, probe).sum())  # waits for the device
    except RuntimeError as error:
        return "the CUDA device does not compute: " + " ".join(str(error).split())
    return None if attended == probe.numel() else f"the CUDA device computes {attended:g} instead of {probe.numel()}"
