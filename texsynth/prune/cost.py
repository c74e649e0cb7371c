"""What a network costs: multiply-adds and milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def multiply_adds(network: nn.Module, call: Callable[[nn.Module], Tensor]) -> float:
    """Of one `call` of the network."""
    # fused attention on the CPU is not counted, its matrix products are
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        call(network)
    return float(counter.get_total_flops()) / 2


def milliseconds(networks: Sequence[nn.Module], call: Callable[[nn.Module], Tensor], repeats: int) -> list[float]:
    """Processor time of this process for one `call` of each: the least of `repeats`, taken in turn."""
    best = [float("inf")] * len(networks)
    with torch.no_grad():
        for _ in range(repeats):
            for index, network in enumerate(networks):
                began = time.process_time()
                call(network)
                best[index] = min(best[index], 1000 * (time.process_time() - began))
    return best
