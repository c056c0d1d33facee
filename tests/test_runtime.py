"""The machine side: devices, precision, tiles by memory, stopping."""

import os
import platform
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import restore
from restore import memory, methods, pipeline, runtime, tiling, weights
from restore.errors import Cancelled, RecipeError
from restore.memory import pages_kept
from restore.method import Compute
from restore.nets import int8
from restore.picture import Image
from restore.recipe import Recipe, Step
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


@pytest.mark.parametrize(("device", "most"), [("meta", 1), ("cpu", 2)])
def test_a_gpu_is_given_to_one_picture_at_a_time(device: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, seen, both = 0, 0, threading.Barrier(2)

    def apply(op: TileOp, planes: torch.Tensor, **_: object) -> torch.Tensor:
        nonlocal inside, seen
        inside += 1
        seen = max(seen, inside)
        with suppress(threading.BrokenBarrierError):
            both.wait(0.3)
        inside -= 1
        return planes

    monkeypatch.setattr(tiling, "apply", apply)
    machine, compute = Runtime(device="cpu"), Compute(torch.device(device), torch.float32)
    work = partial(machine.apply, TileOp(torch.clone), torch.zeros(1, 64, 64), 32, compute, "none")
    with ThreadPoolExecutor(2) as pool:
        made = [job.result() for job in [pool.submit(work) for _ in range(2)]]
    assert seen == most
    assert [tile for _, tile in made] == [(32, 32)] * 2


def test_the_restorers_used_last_stay() -> None:
    machine = Runtime(device="cpu")
    compute = machine.compute("fp32")
    steps = [Step(method="wavelet", settings={"shifts": n}) for n in range(1, runtime.KEPT + 1)]
    loaded = [machine.load(step, compute) for step in steps]
    assert machine.load(steps[0], compute) is loaded[0]
    machine.load(Step(method="none"), compute)
    assert machine.load(steps[0], compute) is loaded[0]
    assert machine.load(steps[1], compute) is not loaded[1]


def test_weights_trained_anew_are_loaded_anew(tmp_path) -> None:
    machine, file = Runtime(device="cpu"), tmp_path / "mine.safetensors"
    compute, step = machine.compute("fp32"), Step(method="denoise", weights=str(file))
    state, _ = weights.load("denoise")
    save_file(state, file)
    first = machine.load(step, compute)
    assert machine.load(step, compute) is first
    save_file({name: value * 0.5 for name, value in state.items()}, file)
    assert machine.load(step, compute).sha256 != first.sha256


def test_calls_from_python_load_weights_once(monkeypatch) -> None:
    given = np.full((16, 16, 3), 0.5, np.float32)
    restore.run(given, "denoise", device="cpu")
    monkeypatch.setattr(weights, "read", lambda source: pytest.fail(f"{source} was read again"))
    restore.run(given, "denoise", device="cpu")


@pytest.mark.parametrize("method", [name for name, method in methods.registry().items() if method.weights])
def test_random_numbers_of_the_caller_stay_as_they_are(method: str) -> None:
    int8.is_exact.cache_clear()
    before, machine = torch.random.get_rng_state(), Runtime(device="cpu")
    machine.load(Step(method=method), machine.compute("auto"))
    assert torch.equal(before, torch.random.get_rng_state())


FORKS = """
import multiprocessing, numpy, restore
picture = numpy.random.default_rng(0).random((64, 64, 3), numpy.float32)
here = restore.run(picture, "denoise", noise=0.1)
with multiprocessing.get_context("fork").Pool(1) as pool:
    there = pool.apply(restore.run, (picture, "denoise"), {"noise": 0.1})
assert numpy.allclose(here, there, atol=1e-3)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_does_not_wait_for_threads_of_its_parent() -> None:
    with_threads = {**os.environ, "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], env=with_threads, timeout=120, check=True)


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
    assert (tile_size(op, "auto", (901, 60000), CPU) or (0, 0))[0] == 904  # one row of tiles, as planned
    blend = tile_size(replace(op, seams=Seams.BLEND), "auto", (901, 60000), CPU) or (0, 1)
    assert blend[0] == blend[1]  # what a recipe can hold
    assert tile_size(op, 256, (100, 100), CPU) == (256, 256)
    assert tile_size(TileOp(lambda t: t, seams=Seams.WHOLE), 256, (5000, 5000), CPU) is None


def test_shape_of_tiles() -> None:
    assert fewest_pixels((100, 100), 10, 8, 10**6) == (104, 104)
    height, width = fewest_pixels((4000, 6000), 100, 8, 5_000_000)
    assert height % 8 == width % 8 == 0
    assert (height + 200) * (width + 200) <= 5_000_000 + 200 * 8000


@pytest.mark.parametrize(
    ("has_avx512", "has_amx", "maker", "is_quick"),
    [(True, False, "AMD", True), (True, False, "", False), (True, True, "", True), (False, False, "AMD", False)],
)
def test_the_kind_of_processor_decides_the_arithmetic(monkeypatch, has_avx512, has_amx, maker, is_quick) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    monkeypatch.setattr(runtime, "_maker", lambda: maker)
    is_half = is_quick and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert runtime.fastest_dtype.__wrapped__("cpu") is (torch.bfloat16 if is_half else torch.float32)
    assert runtime.fastest_dtype.__wrapped__("mps") is torch.float32


@pytest.mark.parametrize("is_exact", [True, False])
def test_integers_where_the_processor_has_them(monkeypatch: pytest.MonkeyPatch, is_exact: bool) -> None:
    monkeypatch.setattr(runtime.int8, "is_exact", lambda: is_exact)
    machine = Runtime(device="cpu")
    assert machine.compute("auto").is_int8 is is_exact
    assert machine.compute("int8").is_int8, "asked for, it is computed by rounding floats"
    assert not machine.compute("bf16").is_int8
    assert machine.compute("int8").dtype is runtime.fastest_dtype("cpu")


def test_recipe_says_integers_only_where_they_were_used() -> None:
    pixels = np.random.default_rng(0).random((40, 48, 3), np.float32)
    plain = pipeline.run(Image(pixels), Recipe(steps=(Step(method="wavelet"),), precision="int8"), Runtime("cpu"))
    assert plain.recipe.precision in ("fp32", "bf16")
    compute = Runtime("cpu").compute("int8")
    assert runtime.precision_of(compute, is_int8=True) == "int8"


def test_memory_is_used_again_within_a_block_and_given_back_after_it() -> None:
    def rounds() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(8):
            torch.ones(40 << 20, dtype=torch.uint8).add_(1)
            torch.ones(48 << 20, dtype=torch.uint8).add_(1)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    def held() -> int:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()

    if platform.libc_ver()[0] != "glibc":
        pytest.skip("another allocator")
    fresh, before = rounds(), held()
    with pages_kept():
        rounds()
        kept = rounds()
    assert kept < fresh / 5
    assert held() < before + (40 << 20)


def test_automatic_tiles_hold_no_more_pixels_than_the_operation_bears() -> None:
    op = TileOp(lambda x: x, halo=192, multiple=8, most=2_100_000)
    height, width = tile_size(op, "auto", (2000, 3000), CPU) or (2000, 3000)
    assert (height + 192) * (width + 192) <= 2_100_000  # two by two: each has a halo on two sides
    assert tile_size(replace(op, most=8_500_000), "auto", (2000, 3000), CPU) is None


def test_memory_that_a_container_or_a_scheduler_allows(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("9:name=systemd:/x\n4:memory:/docker/1f\n0::/job/step\n")
    groups = {
        "job": {"memory.max": "1000000", "memory.current": "700000"},
        "job/step": {"memory.max": "max", "memory.current": "600000"},
        "memory": {"memory.limit_in_bytes": "500000", "memory.usage_in_bytes": "450000"},  # as seen in a container
    }
    for name, files in groups.items():
        (tmp_path / name).mkdir(parents=True)
        sums = "total_" if name == "memory" else ""
        stat = f"inactive_file 1\nactive_file 2\n{sums}inactive_file 30000\n{sums}active_file 10000"
        for file, text in {**files, "memory.stat": stat}.items():
            (tmp_path / name / file).write_text(text + "\n")
    assert [*memory._free_of_groups(own, tmp_path)] == [90000, 340000]


def test_memory_where_nothing_limits_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [*memory._free_of_groups(tmp_path / "missing", tmp_path)] == []
    monkeypatch.setattr(memory, "_free_of_groups", lambda: iter(()))
    assert memory.free_memory(CPU) > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs control groups")
def test_a_group_with_a_limit_leaves_what_it_allows() -> None:
    group = Path("/sys/fs/cgroup/memory") / f"restore-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("control groups cannot be made here")
    try:
        (group / "memory.limit_in_bytes").write_text(str(1 << 30))
        code = "import torch; from restore.memory import free_memory; print(free_memory(torch.device('cpu')))"
        words = ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$0" -c "{code}"', sys.executable]
        done = subprocess.run(words, capture_output=True, check=True, cwd=Path(__file__).parents[1])
        assert 1 << 29 < int(done.stdout) < 1 << 30
    finally:
        group.rmdir()
