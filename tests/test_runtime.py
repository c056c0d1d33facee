"""The machine side: devices, precision, tiles by memory, stopping."""

import pytest
import torch

from restore import runtime
from restore.errors import Cancelled, RecipeError
from restore.recipe import Step
from restore.runtime import Runtime, fewest_pixels, tile_size
from restore.tiling import Seams, TileOp

CPU = torch.device("cpu")


def test_missing_device_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(RecipeError, match="--device auto"):
        Runtime(device="cuda").compute("auto")


def test_half_precision_is_refused_on_a_cpu() -> None:
    with pytest.raises(RecipeError, match="bf16"):
        Runtime(device="cpu").compute("fp16")


def test_restorers_are_loaded_once() -> None:
    machine = Runtime(device="cpu")
    compute = machine.compute("fp32")
    one, again = (machine.load(Step(method="wavelet"), compute) for _ in range(2))
    other = machine.load(Step(method="wavelet", settings={"shifts": 2}), compute)
    assert one is again
    assert other is not one


def test_stop() -> None:
    machine = Runtime()
    machine.tick("a", 0.5)
    machine.cancelled.set()
    with pytest.raises(Cancelled):
        machine.tick("a", 0.6)


def test_tiles_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    op = TileOp(lambda t: t, halo=32, multiple=8, bytes_per_pixel=1000)
    monkeypatch.setattr(runtime, "free_memory", lambda _: 4_000_000_000)
    assert tile_size(op, "auto", (900, 900), CPU) is None
    height, width = tile_size(op, "auto", (5000, 5000), CPU) or (0, 0)
    assert 0 < (height + 64) * (width + 64) <= 1_000_000
    assert tile_size(op, "off", (5000, 5000), CPU) is None
    assert tile_size(op, 256, (100, 100), CPU) == (256, 256)
    assert tile_size(TileOp(lambda t: t, seams=Seams.WHOLE), 256, (5000, 5000), CPU) is None


def test_shape_of_tiles() -> None:
    assert fewest_pixels((100, 100), 10, 8, 10**6) == (100, 100)
    height, width = fewest_pixels((4000, 6000), 100, 8, 5_000_000)
    assert height % 8 == 0 or height == 4000
    assert width % 8 == 0 or width == 6000
    assert (height + 200) * (width + 200) <= 5_000_000 + 200 * 8000


@pytest.mark.parametrize(("has_instructions", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_instructions_decide_the_arithmetic(monkeypatch, has_instructions: bool, expected: torch.dtype) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_instructions)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        expected = torch.float32
    assert runtime.fastest_dtype.__wrapped__("cpu") is expected
    assert runtime.fastest_dtype.__wrapped__("mps") is torch.float32
