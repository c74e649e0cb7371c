"""What the processor can do, as its operating system tells it. Needs no torch, so that `texsynth doctor` can ask."""

from __future__ import annotations

from pathlib import Path

# The flags of /proc/cpuinfo that matter here, and how people write them.
FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX-512 bfloat16",
    "amx_bf16": "AMX bfloat16",
    "asimd": "NEON",
    "bf16": "Arm bfloat16",
    "sve": "SVE",
}
BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # each multiplies bfloat16 faster than float32
CPUINFO = Path("/proc/cpuinfo")


def processor_flags(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """Those of `FEATURES` that this processor has; none where there is no such file (macOS, Windows)."""
    try:
        words = cpuinfo.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return frozenset()
    return frozenset(words) & FEATURES.keys()


def multiplies_bfloat16(flags: frozenset[str]) -> bool:
    """Whether a processor with these flags has instructions for bfloat16; without them it is slower than float32."""
    return bool(flags & BFLOAT16)
