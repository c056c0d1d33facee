"""Tiles: the plan covers everything once, EXACT equals whole, BLEND shows no seam."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from restore import tiling
from restore.errors import ResultError
from restore.ferry import carried
from restore.tiling import Finish, Seams, TileOp, apply, spans


@given(
    st.integers(1, 300), st.one_of(st.none(), st.integers(16, 128)), st.integers(0, 40), st.sampled_from([1, 2, 8, 16])
)
def test_spans_cover_once(length: int, tile: int | None, halo: int, multiple: int) -> None:
    plan = spans(length, tile=tile, halo=halo, multiple=multiple)
    assert plan[0].first == 0
    assert plan[-1].last == length
    padded = -(-length // multiple) * multiple
    for before, after in zip(plan, plan[1:], strict=False):
        assert before.last == after.first
    for span in plan:
        assert span.start % multiple == span.stop % multiple == 0
        assert 0 <= span.start <= span.first < span.last <= span.stop <= padded
        assert span.first - span.start >= min(halo, span.first)
        assert span.stop - span.last >= min(halo, padded - span.last)
        if tile is not None and tile >= multiple:
            assert span.last - span.first <= max(tile, multiple)


class IntegerNet(nn.Module):
    """Convolutions with small integer weights at three scales: float arithmetic on it is exact."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False)
        self.low = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.up = nn.ConvTranspose2d(4, 2, 2, stride=2, bias=False)
        self.full = nn.Conv2d(2, 2, 3, padding=1, bias=False)
        generator = torch.Generator().manual_seed(seed)
        for p in self.parameters():
            p.data = torch.randint(-2, 3, p.shape, generator=generator).to(p)

    def forward(self, x: Tensor) -> Tensor:
        return self.full(x) + self.up(F.relu(self.low(F.relu(self.down(x)))))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(16, 48), st.integers(0, 99))
def test_exact_tiles_equal_the_whole(height: int, width: int, tile: int, seed: int) -> None:
    net = IntegerNet(seed).eval()
    op = TileOp(lambda t: net(t[None])[0], halo=6, multiple=2)
    planes = torch.from_numpy(np.random.default_rng(seed).integers(-9, 9, (2, height, width)).astype(np.float32))
    whole = apply(op, planes)
    assert torch.equal(apply(op, planes, tile=tile), whole)
    assert whole.abs().max() > 0 or height * width < 4


@settings(max_examples=25, deadline=None)
@given(st.integers(20, 90), st.integers(20, 90), st.integers(16, 48), st.integers(0, 99))
def test_exact_tiles_of_a_float_net(height: int, width: int, tile: int, seed: int) -> None:
    torch_net = nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), nn.GELU(), nn.Conv2d(8, 1, 3, padding=1)).eval()
    op = TileOp(lambda t: torch_net(t[None])[0], halo=3)
    planes = torch.from_numpy(np.random.default_rng(seed).random((1, height, width), np.float32))
    assert (apply(op, planes, tile=tile) - apply(op, planes)).abs().max() <= 1e-6


def test_too_small_a_halo_is_seen() -> None:
    net = nn.Conv2d(1, 1, 9, padding=4)
    op = TileOp(lambda t: net(t[None])[0], halo=2)
    planes = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert (apply(op, planes, tile=16) - apply(op, planes)).abs().max() > 1e-3


@pytest.mark.parametrize("halo", [12, 60])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 200), (1, 200, 3), (3, 97, 131)])
def test_blend_of_the_identity_is_the_identity(shape: tuple[int, int, int], halo: int) -> None:
    planes = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    op = TileOp(lambda t: t, halo=halo, multiple=4, seams=Seams.BLEND)
    assert (apply(op, planes, tile=32) - planes).abs().max() <= 1e-6


def test_blend_leaves_no_step() -> None:
    """A method whose answer differs from tile to tile (a statistic of the tile) must fade, not jump."""
    ramp = torch.linspace(0, 1, 256).expand(1, 256, 256)
    op = TileOp(lambda t: t * (1 + 0.05 * torch.sin(7 * t.mean())), halo=24, seams=Seams.BLEND)
    exact = TileOp(op.run, halo=24)
    blended, hard = (apply(o, ramp, tile=96) for o in (op, exact))
    own = ramp.diff(dim=2).abs().max()
    assert (blended.diff(dim=1).abs().max(), hard.diff(dim=1).abs().max()) == pytest.approx((0, 0), abs=1e-6)
    assert hard.diff(dim=2).abs().max() > 3 * own
    assert blended.diff(dim=2).abs().max() < 2 * own


@pytest.mark.parametrize("seams", [Seams.EXACT, Seams.BLEND])
@pytest.mark.parametrize("free", [10**9, 0], ids=["the picture lies there", "tiles come and go"])
def test_a_device_gives_the_same(seams: Seams, free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "free_memory", lambda _: free)
    seen: list[Tensor] = []

    def run(tile: Tensor) -> Tensor:
        seen.append(tile)
        return tile * 2

    op = TileOp(run, halo=4, multiple=4, seams=seams)
    planes = torch.arange(2 * 33 * 50.0).reshape(2, 33, 50)
    here = apply(op, planes, tile=16)
    count = len(seen)
    there = apply(op, planes, tile=16, device="cpu:0")  # goes the way of a GPU
    assert torch.equal(here, there)
    assert there.device == torch.device("cpu")
    assert all(torch.equal(a, b) for a, b in zip(seen[:count], seen[count:], strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_tiles_that_come_and_go_are_those_computed_on_the_gpu() -> None:
    device = torch.device("cuda")
    weight = torch.randn(64, 3, 9, 9, device=device)
    tiles = [torch.randn(3, 700, 600 + 10 * i) for i in range(12)]

    def run(tile: Tensor) -> Tensor:
        return F.conv2d(tile[None], weight, padding=4).mean(1).expand(3, -1, -1) + tile

    expected = [run(tile.to(device)).cpu() for tile in tiles]
    got = [tile.clone() for tile in carried(run, iter(tiles), device)]
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(got, expected, strict=True))


def test_tiles_are_asked_for_while_others_are_computed() -> None:
    seen = []

    def tiles() -> Iterator[Tensor]:
        for i in range(4):
            seen.append(f"asked {i}")
            yield torch.full((1, 2, 2), float(i))

    got = []
    for tile in carried(lambda t: t + 1, tiles(), torch.device("cpu")):
        got.append(float(tile[0, 0, 0]))
        seen.append(f"got {int(got[-1]) - 1}")
    assert got == [1, 2, 3, 4]
    assert seen == ["asked 0", "asked 1", "got 0", "asked 2", "got 1", "asked 3", "got 2", "got 3"]


@pytest.mark.parametrize("tile", [None, 16, 40])
@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_a_second_pass_sees_picture_and_result_of_all_tiles(tile: int | None, device: str) -> None:
    def blurred(before: Tensor, after: Tensor) -> Tensor:
        return F.avg_pool2d((before - after)[None], 9, 1, 4, count_include_pad=False)[0]

    planes = torch.rand(2, 56, 80)
    op = TileOp(lambda t: t * t, multiple=4, finish=Finish(blurred, halo=4, multiple=4))
    assert torch.allclose(apply(op, planes, tile=tile, device=device), blurred(planes, planes**2), atol=1e-6)


def test_whole_ignores_the_tile() -> None:
    sizes = []
    op = TileOp(lambda t: (sizes.append(t.shape), t)[1], seams=Seams.WHOLE)
    apply(op, torch.zeros(1, 50, 60), tile=16)
    assert sizes == [(1, 50, 60)]


def test_progress_and_stop() -> None:
    seen = []
    apply(TileOp(lambda t: t), torch.zeros(1, 64, 64), tile=32, on_tile=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(ResultError):
        apply(TileOp(lambda t: t[:, 1:]), torch.zeros(1, 8, 8))
