"""The presets: each map of each target in a format that fits what the map is."""

from __future__ import annotations

import pytest

from mipmap.formats import FORMATS, FormatError
from mipmap.material_chain import FILTERING
from mipmap.targets import TARGETS, Target


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_albedo_is_srgb_and_everything_else_is_linear(target: Target) -> None:
    for kind, name in target.formats.items():
        assert (FORMATS[name].colour_space == "srgb") == (kind == "albedo")


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_a_target_has_a_format_for_every_map_or_takes_pictures(target: Target) -> None:
    if set(target.containers) <= {"png", "exr"}:
        assert not target.formats
    else:
        assert set(target.formats) == set(FILTERING)


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_the_formats_of_a_target_fit_in_all_its_containers(target: Target) -> None:
    if "dds" in target.containers:
        assert all(FORMATS[name].dxgi is not None for name in target.formats.values())


def test_three_js_can_load_what_quest3_gets() -> None:
    blocks = {(FORMATS[name].block_width, FORMATS[name].swizzle) for name in TARGETS["quest3"].formats.values()}
    assert blocks <= {(4, "rgba"), (6, "rgba")}


def test_a_preset_in_the_wrong_colour_space_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="albedo is srgb, but bc7 is linear"):
        Target("wrong", ("dds",), {"albedo": "bc7"})


def test_a_map_without_a_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(FormatError, match="albedo, normal"):
        TARGETS["desktop"].texel_format("specular")
