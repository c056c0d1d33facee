"""What a published network costs at a photo's size: ``python tests/benchmarks/official_size.py [--kind promptir]``.

The network has its published size and random weights by the rule of the parity vectors, so its pictures mean nothing,
but its time and its memory do. It runs through the pipeline as any step does; progress with the time left is printed.
With ``--kind dino`` one and two blocks of DINOv2 giant are timed, and all that RAM++ needs is worked out from them.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))

from parity import by_rule, shapes_of

from restore import pipeline
from restore.jobs.lines import say
from restore.methods import rampp
from restore.nets.dinov2 import DinoV2
from restore.nets.promptir import PromptIR
from restore.nets.restormer import Restormer
from restore.picture import Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime, Tick

KINDS = {"promptir": PromptIR, "restormer": Restormer}
GIANT = {"width": 1536, "heads": 24, "hidden": 4096}


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class Clock:
    """Prints progress and the time left, at most every half minute."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()

    def __call__(self, tick: Tick) -> None:
        now = time.monotonic()
        if now - self.last > 30 and tick.share > 0:
            self.last = now
            left = (now - self.start) * (1 - tick.share) / tick.share
            spent = f"{now - self.start:.0f} s ({time.process_time():.0f} s of computing)"
            say(f"{tick.share:4.0%}  {spent}, ETA {left:.0f} s, peak {peak():.2f} GiB")


def network(kind: str, height: int, width: int, folder: Path) -> None:
    torch.manual_seed(0)
    save_file(by_rule(shapes_of(KINDS[kind])), folder / "net.safetensors")
    step = Step(method="rampp", weights=str(folder / "net.safetensors"), settings={"pretrained": True})
    pixels = np.random.default_rng(0).random((height, width, 3), np.float32)
    before, start = peak(), time.monotonic()
    machine = Runtime(device="cpu", progress=Clock())
    made = pipeline.run(Image(pixels), Recipe(steps=(step,), precision="fp32"), machine).reports[0]
    figures = {"kind": kind, "pixels": height * width, "seconds": round(time.monotonic() - start, 1)}
    figures["computing_s"] = round(time.process_time(), 1)
    figures |= {"peak_gib": round(peak(), 2), "before_gib": round(before, 2), "threads": torch.get_num_threads()}
    say(json.dumps(figures | made.facts))


def giant(folder: Path, blocks: int) -> DinoV2:
    """Write a folder with so many random blocks of DINOv2 giant."""
    width, hidden = GIANT["width"], GIANT["hidden"]
    shapes = {"cls_token": [1, 1, width], "position_embeddings": [1, 1370, width]}
    shapes |= {"patch_embeddings.projection.weight": [width, 3, 14, 14], "patch_embeddings.projection.bias": [width]}
    shapes = {f"embeddings.{name}": shape for name, shape in shapes.items()}
    square = [f"attention.attention.{name}" for name in ("query", "key", "value")] + ["attention.output.dense"]
    matrices = {name: [width, width] for name in square}
    matrices |= {"mlp.weights_in": [2 * hidden, width], "mlp.weights_out": [width, hidden]}
    vectors = [
        "norm1.weight",
        "norm1.bias",
        "norm2.weight",
        "norm2.bias",
        "layer_scale1.lambda1",
        "layer_scale2.lambda1",
    ]
    for i in range(blocks):
        shapes |= {f"encoder.layer.{i}.{name}.weight": shape for name, shape in matrices.items()}
        shapes |= {f"encoder.layer.{i}.{name}.bias": shape[:1] for name, shape in matrices.items()}
        shapes |= {f"encoder.layer.{i}.{name}": [width] for name in vectors}
    save_file(by_rule(shapes), folder / "model.safetensors")
    about = {"model_type": "dinov2", "num_attention_heads": GIANT["heads"], "num_hidden_layers": blocks}
    (folder / "config.json").write_text(json.dumps(about))
    return DinoV2.at(folder)


def features(height: int, width: int, folder: Path) -> None:
    """Time a block of DINOv2 giant as the difference of two runs, and say what 39 of them and their reading take."""
    dino, picture = giant(folder, 2), torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    seconds = []
    for depth in (1, 2):
        start = time.process_time()
        with torch.inference_mode():
            dino.features(picture, [depth])
        seconds.append((time.process_time() - start) / torch.get_num_threads())
        say(f"{depth} blocks: {seconds[-1]:.1f} s, peak {peak():.2f} GiB")
    block = seconds[1] - seconds[0]
    figures = {"kind": "dinov2 giant", "pixels": height * width, "block_s": round(block, 2)}
    say(json.dumps(figures | {"39_blocks_s": round(seconds[0] + 38 * block, 1), "peak_gib": round(peak(), 2)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=[*KINDS, "dino"], default="promptir")
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 1024), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--memory", type=float, help="GiB that count as free; left out: what there is")
    args = parser.parse_args()
    if args.memory:
        rampp.free_memory = lambda _: int(args.memory * 2**30)
    with tempfile.TemporaryDirectory() as folder:
        if args.kind == "dino":
            features(*args.size, Path(folder))
        else:
            network(args.kind, *args.size, Path(folder))


if __name__ == "__main__":
    main()
