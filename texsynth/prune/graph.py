"""Which channels of a network have to go together: Torch-Pruning's dependency graph (Fang et al., CVPR 2023)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from texsynth.errors import ErrorKind, TexsynthError
from texsynth.model.blocks import ChannelNorm, Double, Halve
from texsynth.prune.structure import settle

# Runs a network on example inputs; its graph is traced from the tensor that it returns.
Call = Callable[[nn.Module], Tensor]


@dataclass(frozen=True)
class Member:
    """A weight that channels of a group lie in, along its `dim`: `channels` of it are `roots` of the group's root."""

    weight: Tensor
    dim: int
    channels: Tensor
    roots: Tensor


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that are removed together wherever they are used.

    root: layer that makes them. name: its name. channels: how many. blocks: consecutive equal parts, of a group
    normalisation, which have to stay equal. members: the weights that they lie in.
    """

    root: nn.Module
    name: str
    channels: int
    blocks: int
    members: tuple[Member, ...]


class ChannelGraph:
    """The groups of `network`, as `call` runs it, and the removal of channels.

    Kept whole are the channels of the output, those inside of attentions (whose heads are another matter), those of
    `kept`, and those that do not fill the parts of a group normalisation evenly. Raises TexsynthError, BAD_INPUT, where
    `texsynth[prune]` is not installed.
    """

    def __init__(self, network: nn.Module, call: Call, kept: Iterable[nn.Module] = ()) -> None:
        self._network, self._tp = network, _torch_pruning()
        self._kept = [*kept, *_inside_attentions(network)]
        self._graph: Any = self._tp.DependencyGraph()
        mode = network.training
        with torch.enable_grad(), _differentiable(network):
            self._graph.build_dependency(
                network,
                torch.empty(0),
                forward_fn=lambda traced, _: 1 * call(traced),  # a step of its own marks the output
                customized_pruners=_own_layers(self._tp),
                verbose=False,
            )
        network.train(mode)

    def groups(self) -> list[ChannelGroup]:
        """All that may be made smaller."""
        roots = (nn.modules.conv._ConvNd, nn.Linear)
        with torch.no_grad():
            found = [self._described(group) for group in self._graph.get_all_groups(self._kept, roots)]
        return [group for group in found if group is not None]

    def remove(self, group: ChannelGroup, channels: Sequence[int]) -> None:
        """Take these of the root's `channels` out of every layer of the group."""
        if not channels:
            return
        pruner = self._graph.get_pruner_of_module(group.root)
        self._graph.get_pruning_group(group.root, pruner.prune_out_channels, list(channels)).prune()
        settle(self._network)

    def _described(self, group: Any) -> ChannelGroup | None:
        """None for a group that has to stay as it is."""
        root, channels, blocks = group[0].dep.target.module, len(group[0].idxs), 1
        members = []
        for item in group:
            layer, makes = item.dep.target.module, self._graph.is_out_channel_pruning_fn(item.dep.handler)
            if item.dep.target.type == self._tp.ops.OPTYPE.OUTPUT:
                return None
            if isinstance(layer, nn.GroupNorm):
                blocks = max(blocks, layer.num_groups)
                if layer.num_groups % blocks and blocks % layer.num_groups:
                    return None
            if isinstance(layer, (nn.modules.conv._ConvNd, nn.Linear)) and getattr(layer, "groups", 1) == 1:
                transposed = bool(getattr(layer, "transposed", False))
                places = torch.tensor(item.idxs), torch.tensor(item.root_idxs)
                members.append(Member(layer.weight, int(makes == transposed), *places))
        if channels % blocks:
            return None
        names = {module: name for name, module in self._network.named_modules()}
        return ChannelGroup(root, names[root], channels, blocks, tuple(members))


def _torch_pruning() -> ModuleType:
    try:
        return importlib.import_module("torch_pruning")
    except ImportError:
        raise TexsynthError(
            ErrorKind.BAD_INPUT,
            "torch-pruning is not installed, which removes channels; run: pip install 'texsynth[prune]'",
        ) from None


def _inside_attentions(network: nn.Module) -> Iterator[nn.Module]:
    for name, module in network.named_modules():
        if name.rsplit(".", 1)[-1] in ("to_q", "to_k", "to_v"):
            yield module


@contextmanager
def _differentiable(network: nn.Module) -> Iterator[None]:
    """Parameters that ask for gradients, else there is nothing to trace."""
    asked = {parameter: parameter.requires_grad for parameter in network.parameters()}
    network.requires_grad_(True)
    try:
        yield
    finally:
        for parameter, before in asked.items():
            parameter.requires_grad_(before)


def _own_layers(tp: ModuleType) -> dict[type[nn.Module], Any]:
    """How the layers of `texsynth.model.blocks` lose channels: those that a shuffle spreads over four, and one norm."""
    base: Any = tp.pruner.function.BasePruningFunc

    def without(layer: nn.Module, channels: Sequence[int], dim: int) -> None:
        convolution = tp.pruner.function.PrunerBox[tp.ops.OPTYPE.CONV]
        (convolution.prune_out_channels if dim == 0 else convolution.prune_in_channels)(layer, list(channels))

    def fourfold(channels: Sequence[int]) -> list[int]:
        return [4 * channel + phase for channel in channels for phase in range(4)]

    class Doubling(base):  # type: ignore[misc]
        def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> nn.Module:
            without(layer[0], fourfold(idxs), 0)
            return layer  # type: ignore[no-any-return]

        def prune_in_channels(self, layer: Any, idxs: Sequence[int]) -> nn.Module:
            without(layer[0], idxs, 1)
            return layer  # type: ignore[no-any-return]

        def get_out_channels(self, layer: Any) -> int:
            return int(layer[0].out_channels) // 4

        def get_in_channels(self, layer: Any) -> int:
            return int(layer[0].in_channels)

    class Halving(base):  # type: ignore[misc]
        def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> nn.Module:
            without(layer[1], idxs, 0)
            return layer  # type: ignore[no-any-return]

        def prune_in_channels(self, layer: Any, idxs: Sequence[int]) -> nn.Module:
            without(layer[1], fourfold(idxs), 1)
            return layer  # type: ignore[no-any-return]

        def get_out_channels(self, layer: Any) -> int:
            return int(layer[1].out_channels)

        def get_in_channels(self, layer: Any) -> int:
            return int(layer[1].in_channels) // 4

    class Norming(base):  # type: ignore[misc]
        def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> nn.Module:
            left = sorted(set(range(len(layer.weight))) - set(idxs))
            layer.weight = nn.Parameter(layer.weight.detach()[left], layer.weight.requires_grad)
            layer.bias = nn.Parameter(layer.bias.detach()[left], layer.bias.requires_grad)
            return layer  # type: ignore[no-any-return]

        prune_in_channels = prune_out_channels

        def get_out_channels(self, layer: Any) -> int:
            return len(layer.weight)

        get_in_channels = get_out_channels

    return {Double: Doubling(), Halve: Halving(), ChannelNorm: Norming()}
