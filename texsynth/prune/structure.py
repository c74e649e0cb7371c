"""The structure of a network that was made smaller: what its tensors say, and how it is built again from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from texsynth.prune.dynamic_conv import DynamicConv, replace_attention


def settle(network: nn.Module) -> None:
    """Make what the layers of `network` say of their sizes agree with their weights."""
    for module in network.modules():
        layer: Any = module  # torch's names for sizes are plain attributes
        if isinstance(module, nn.modules.conv._ConvNd):
            first, second = module.weight.shape[:2]
            if module.transposed:
                layer.in_channels, layer.out_channels = first, second * module.groups
            else:
                layer.out_channels, layer.in_channels = first, second * module.groups
        elif isinstance(module, nn.Linear):
            layer.out_features, layer.in_features = module.weight.shape
        elif isinstance(module, nn.GroupNorm):
            layer.num_channels = len(module.weight)
        elif isinstance(module, nn.LayerNorm):
            layer.normalized_shape = tuple(module.weight.shape)
    for module in network.modules():
        layer = module
        inner = getattr(module, "conv", None)
        if isinstance(inner, nn.modules.conv._ConvNd) and isinstance(getattr(module, "channels", None), int):
            layer.channels, layer.out_channels = inner.in_channels, inner.out_channels  # diffusers' samplers compare


def described(network: nn.Module) -> dict[str, Any]:
    """What the tensors of `network` do not say: the names of attentions that are dynamic convolutions."""
    return {"dynamic": [name for name, module in network.named_modules() if isinstance(module, DynamicConv)]}


def rebuild(network: nn.Module, structure: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Give `network`, which is of full size, the `structure` of `described` and the sizes and values of `tensors`.

    Raises ValueError where the names of the tensors are others than its own, or a tensor has another number of
    dimensions.
    """
    widths = {name: head_width(module) for name, module in network.named_modules() if is_attention(module)}
    for name in structure["dynamic"]:
        replace_attention(network, str(name))
    own = network.state_dict()
    if wrong := sorted(own.keys() ^ tensors.keys()):
        raise ValueError(f"tensor {wrong[0]} is {'absent' if wrong[0] in own else 'unknown'}")
    for name, tensor in tensors.items():
        if tensor.ndim != own[name].ndim:
            raise ValueError(f"tensor {name} has {tensor.ndim} dimensions, not {own[name].ndim}")
        path, _, last = name.rpartition(".")
        owner = network.get_submodule(path)
        value = tensor.to(own[name].dtype)
        if last in owner._parameters:
            setattr(owner, last, nn.Parameter(value))
        else:
            owner._buffers[last] = value
    settle(network)
    for name, width in widths.items():
        attention: Any = network.get_submodule(name)
        if is_attention(attention):
            attention.heads = attention.to_q.out_features // width


def is_attention(module: nn.Module) -> bool:
    """Whether it is an attention of diffusers, by what it consists of."""
    return all(isinstance(getattr(module, part, None), nn.Linear) for part in ("to_q", "to_k", "to_v"))


def head_width(attention: Any) -> int:
    """Channels of one head."""
    return int(attention.to_q.out_features) // int(attention.heads)
