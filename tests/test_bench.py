"""The benchmark command: what it counts is right; how fast this machine is cannot be tested."""

import json
import mmap
import sys
import time

import pytest
import torch

from restore import cli, weights
from restore.jobs import bench
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

DENOISE = Recipe(steps=(Step(method="denoise"),), noise=bench.SIGMA, precision="fp32")


def test_multiply_adds_are_those_of_the_networks_kernels() -> None:
    net = UnshuffleUNet.from_state(weights.read("denoise").state)
    scale = {"head": 4, "enc1": 4, "dec1": 4, "tail": 4, "up1": 16, "enc2": 16, "dec2": 16, "up2": 64, "middle": 64}
    per_pixel = {"down1": 16, "down2": 64} | scale
    truth = sum(p.numel() / per_pixel[name.split(".")[0]] for name, p in net.named_parameters())
    assert bench.multiply_adds(DENOISE, Runtime(device="cpu")) == pytest.approx(truth, rel=1e-9)
    assert bench.multiply_adds(Recipe(steps=(Step(method="none"),), noise=0.1), Runtime(device="cpu")) is None


def test_methods_that_light_pictures_are_shown_a_dark_one() -> None:
    light = Recipe(steps=(Step(method="noiser"),), noise=0.02, precision="fp32")
    assert (bench.multiply_adds(light, Runtime(device="cpu")) or 0) > 2 * 27 * 32


def test_measured_figures_agree_with_each_other() -> None:
    own = bench.measure(DENOISE.model_copy(update={"tile": 128}), Runtime(device="cpu"), 0.03, runs=2)
    assert own.method == "denoise"
    assert own.tile == (128, 128)
    assert own.megapixels == pytest.approx(0.03, rel=0.02)
    assert own.rate * own.timing.seconds == pytest.approx(own.megapixels)
    assert own.gflops is not None and own.multiply_adds is not None and own.share is not None
    assert own.gflops == pytest.approx(2e-3 * own.multiply_adds * own.rate)
    assert 0 < own.share < 2


def test_peak_sees_memory_that_is_given_back() -> None:
    size = 60_000_000
    # fresh pages: an allocator might give old ones, which are resident already
    with bench.Peak(torch.device("cpu")) as peak, mmap.mmap(-1, size) as held:
        held.write(b"x" * 4096 * (size // 4096))
        end = time.monotonic() + 10
        while peak.bytes < 50e6 and time.monotonic() < end:
            time.sleep(0.02)
    assert 50e6 < peak.bytes < 200e6


def test_timing_leaves_the_first_run_out() -> None:
    calls: list[int] = []
    timing = bench.timed(lambda: calls.append(1), 4)
    assert len(calls) == 5
    assert timing.runs == 4
    assert timing.spread >= 0


def test_the_command_says_all_of_it(monkeypatch, capsys) -> None:
    slow = bench.Rival("slow", 1.0, bench.Timing(2.0, 0, 1), 2.0)
    monkeypatch.setattr(bench, "rivals", lambda _: iter([slow]))
    words = "restore bench -m wavelet --size 0.02 --runs 1 --json --device cpu"
    monkeypatch.setattr(sys, "argv", words.split(" "))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    own, rival = map(json.loads, capsys.readouterr().out.splitlines())
    assert own["type"] == "bench"
    assert own["machine"]
    assert own["timing"]["runs"] == 1
    assert own["multiply_adds"] is None
    assert rival["times_slower"] == pytest.approx(2.0 * own["rate"])


@pytest.mark.slow
def test_rivals_do_denoise() -> None:
    names = [rival.name for rival in bench.rivals(1)]
    assert names == [
        "OpenCV fastNlMeansDenoisingColored",
        "scikit-image denoise_wavelet",
        "scikit-image denoise_nl_means",
    ]
