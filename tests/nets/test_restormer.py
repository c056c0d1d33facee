"""Strips in place of their input: the same numbers, and no second copy of a picture."""

import pytest
import torch
from torch.nn import functional as F

from restore.nets.restormer import Blocks, Restormer, by_rows, by_rows_


def smoothed(x: torch.Tensor) -> torch.Tensor:
    return x + F.avg_pool2d(x, 5, 1, 2)


@pytest.mark.parametrize("rows", [1, 2, 7, 16, 19, 20])
def test_strips_in_place_read_what_was_there_before(rows: int) -> None:
    x = torch.rand(2, 3, 19, 8, generator=torch.Generator().manual_seed(rows))
    whole = smoothed(x)
    kept = x.clone()
    assert torch.allclose(by_rows(smoothed, x, rows, halo=2), whole, atol=1e-6)
    assert torch.equal(x, kept)
    with torch.no_grad():
        result = by_rows_(smoothed, x, rows, halo=2)
    assert torch.allclose(result, whole, atol=1e-6)
    assert (result.data_ptr() == x.data_ptr()) is (rows < 19)


def test_where_gradients_are_wanted_the_input_stays() -> None:
    x = torch.rand(1, 3, 12, 8)
    kept = x.clone()
    assert torch.allclose(by_rows_(smoothed, x, 4, halo=2), smoothed(kept), atol=1e-6)
    assert torch.equal(x, kept)


def test_blocks_in_strips_are_the_blocks_at_once() -> None:
    torch.manual_seed(0)
    blocks, x = Blocks(16, 2, 2), torch.rand(1, 16, 40, 24)
    with torch.inference_mode():
        whole = blocks(x.clone())
        strips = blocks(x.clone(), 8)
    assert torch.allclose(strips, whole, atol=1e-5)


def test_a_network_leaves_its_picture_alone() -> None:
    torch.manual_seed(0)
    net, x = Restormer(8, (1,) * 8), torch.rand(1, 3, 64, 48)
    kept = x.clone()
    with torch.inference_mode():
        whole, strips = net(x), net(x, rows=16)
    assert torch.equal(x, kept)
    assert float((whole - strips).abs().max()) <= 1e-4 * float(whole.abs().max())
