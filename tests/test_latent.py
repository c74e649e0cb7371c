"""The block PCA and its dense tokens, against what their definitions say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from texsynth.model.latent import BLOCK, BlockPCA, dense_tokens, to_tensor

COMPONENTS = BLOCK * BLOCK  # of a one-channel image
OPEN, TORUS = (False, False), (True, True)


def image(height: int, width: int, channels: int = 1, seed: int = 0) -> Tensor:
    """float32 (K, H, W): noise, correlated between channels and between neighbours."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(channels, height, width, generator=generator)
    return noise + torch.roll(noise, 1, 2) + 0.5 * torch.roll(noise, 1, 0)


def all_blocks(picture: Tensor) -> Tensor:
    """(N, K * 64): the block at every texel offset."""
    return torch.nn.functional.unfold(picture[None], BLOCK)[0].T


def close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return a.shape == b.shape and float((a - b).abs().max()) <= tolerance


def test_with_all_components_decoding_undoes_encoding() -> None:
    picture = image(48, 64, channels=2)
    pca = BlockPCA.fit(picture, 2 * COMPONENTS, floor=1e-3)
    assert pca.channels == 2 * COMPONENTS
    assert close(pca.decode(pca.encode(picture)), picture, 2e-4)


def test_with_few_components_decoding_is_the_orthogonal_projection() -> None:
    picture = image(40, 40)
    pca = BlockPCA.fit(picture, 10, floor=1e-3)
    decoded = all_blocks(pca.decode(pca.encode(picture)))[:1]
    block = all_blocks(picture)[:1]
    expected = (block - pca.mean) @ pca.basis @ pca.basis.T + pca.mean
    assert close(decoded, expected, 1e-4)


def test_the_basis_is_orthonormal_and_its_components_fall_in_variance() -> None:
    pca = BlockPCA.fit(image(64, 64), COMPONENTS, floor=1e-3)
    assert close(pca.basis.T @ pca.basis, torch.eye(COMPONENTS), 1e-5)
    assert bool((pca.scale[:-1] >= pca.scale[1:]).all())


def test_the_components_explain_the_most_variance_that_any_basis_of_their_number_can() -> None:
    picture = image(56, 56)
    blocks = all_blocks(picture).double().numpy()
    singular = np.linalg.svd(blocks - blocks.mean(axis=0), compute_uv=False) ** 2 / len(blocks)
    pca = BlockPCA.fit(picture, 12, floor=1e-3)
    np.testing.assert_allclose(pca.scale.square(), singular[:12], rtol=1e-4)


def test_tokens_of_the_fitted_blocks_are_centred_and_white() -> None:
    picture = image(72, 72)
    pca = BlockPCA.fit(picture, 16, floor=1e-3)
    tokens = dense_tokens(pca, picture, OPEN, 1).reshape(16, -1)
    assert float(tokens.mean(dim=1).abs().max()) < 1e-3
    assert close(tokens @ tokens.T / tokens.shape[1], torch.eye(16), 5e-3)


def test_faint_components_are_not_blown_up_beyond_the_floor() -> None:
    smooth = torch.sin(torch.arange(64.0) / 5)[None, :, None].expand(1, 64, 64) + 0.01 * image(64, 64)
    pca = BlockPCA.fit(smooth, COMPONENTS, floor=0.2)
    assert float(pca.scale.min()) == pytest.approx(0.2 * float(pca.scale[0]))
    variance = dense_tokens(pca, smooth, OPEN, 1).reshape(COMPONENTS, -1).var(dim=1)
    assert float(variance.max()) < 1.01
    assert float(variance[-1]) < 0.1
    assert close(pca.decode(pca.encode(smooth)), smooth, 1e-4), "the floor changes lengths, not what is kept"


def test_a_flat_image_has_finite_tokens_that_decode_to_it() -> None:
    flat = torch.full((3, 32, 32), 0.25)
    pca = BlockPCA.fit(flat, 16, floor=0.15)
    tokens = dense_tokens(pca, flat, TORUS, 1)
    assert bool(torch.isfinite(tokens).all())
    assert close(pca.decode(pca.encode(flat)), flat, 1e-4)


def test_more_components_than_a_block_has_values_are_not_invented() -> None:
    assert BlockPCA.fit(image(32, 32), 1000, floor=0.1).channels == COMPONENTS


def test_a_large_image_is_fitted_on_a_grid_that_still_whitens_all_of_it() -> None:
    picture = image(700, 900)
    pca = BlockPCA.fit(picture, 8, floor=1e-3)
    variance = dense_tokens(pca, picture, OPEN, 4).reshape(8, -1).var(dim=1)
    assert float((variance - 1).abs().max()) < 0.05


@settings(max_examples=25, deadline=None)
@given(
    st.integers(8, 40),
    st.integers(8, 40),
    st.sampled_from([1, 2, 4, 8]),
    st.booleans(),
    st.booleans(),
    st.integers(1, 3),
)
def test_a_dense_token_is_the_code_of_the_block_that_starts_there(
    height: int, width: int, stride: int, wrap_y: bool, wrap_x: bool, channels: int
) -> None:
    height, width = height // stride * stride, width // stride * stride
    picture = image(height, width, channels, seed=height * 64 + width)
    pca = BlockPCA.fit(picture, 6, floor=0.1)
    tokens = dense_tokens(pca, picture, (wrap_y, wrap_x), stride)
    rows = height // stride if wrap_y else (height - BLOCK) // stride + 1
    columns = width // stride if wrap_x else (width - BLOCK) // stride + 1
    assert tokens.shape == (6, rows, columns)
    y, x = rows - 1, columns - 1  # the last block is the one that wraps
    taken = np.take(picture.numpy(), np.arange(y * stride, y * stride + BLOCK), axis=1, mode="wrap")
    block = torch.from_numpy(np.take(taken, np.arange(x * stride, x * stride + BLOCK), axis=2, mode="wrap"))
    assert close(tokens[:, y, x], pca.encode(block)[:, 0, 0], 2e-3)


def test_dense_tokens_at_multiples_of_the_block_are_the_encoded_image() -> None:
    picture = image(64, 96, channels=2)
    pca = BlockPCA.fit(picture, 16, floor=0.1)
    dense = dense_tokens(pca, picture, TORUS, 1)
    assert close(dense[:, ::BLOCK, ::BLOCK], pca.encode(picture), 1e-4)


def test_dense_tokens_of_a_torus_move_with_the_image() -> None:
    picture = image(40, 48)
    pca = BlockPCA.fit(picture, 8, floor=0.1)
    moved = dense_tokens(pca, torch.roll(picture, (5, 11), (1, 2)), TORUS, 1)
    assert close(moved, torch.roll(dense_tokens(pca, picture, TORUS, 1), (5, 11), (1, 2)), 1e-4)


def test_dense_tokens_made_in_strips_are_those_of_a_small_image() -> None:
    wide = image(96, 6000, seed=3)  # wide enough that the working memory's bound cuts it into strips
    pca = BlockPCA.fit(wide, 16, floor=0.1)
    whole = dense_tokens(pca, wide, TORUS, 1)
    assert whole.shape == (16, 96, 6000)
    for x in (0, 1500, 5900):
        assert close(
            whole[:, : 96 - BLOCK + 1, x], dense_tokens(pca, wide[:, :, x : x + BLOCK], OPEN, 1)[:, :, 0], 1e-3
        )


def test_a_picture_becomes_a_tensor_with_its_channels_first() -> None:
    picture = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    tensor = to_tensor(picture[:, ::-1])
    assert tensor.shape == (4, 2, 3)
    assert tensor.is_contiguous()
    np.testing.assert_array_equal(tensor.numpy(), picture[:, ::-1].transpose(2, 0, 1))
