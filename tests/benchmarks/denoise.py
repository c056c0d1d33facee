"""Print the benchmark table of README: ``python tests/benchmarks/denoise.py [megapixels]``; not part of the tests."""

import sys

import torch

from restore.jobs import bench
from restore.recipe import Recipe, Step
from restore.runtime import Runtime


def main(megapixels: float) -> None:
    """Write one row for every arithmetic, with rivals below."""
    rows = [f"{bench.processor()}, torch {torch.__version__}", ""]
    rows += [
        "| method | arithmetic | s per megapixel | spread | peak MiB | share of matrix product |",
        "|---|---|---|---|---|---|",
    ]
    runtime = Runtime()
    best = runtime.compute("auto")
    precisions = ["fp32"]
    if best.dtype is torch.bfloat16:  # where it is slower than float32 it takes minutes
        precisions.append("bf16")
    if best.is_int8:
        precisions.append("int8")
    for precision in precisions:
        recipe = Recipe(steps=(Step(method="denoise"),), noise=bench.SIGMA, precision=precision)
        own = bench.measure(recipe, runtime, megapixels)
        share = "" if own.share is None else f"{own.share:.0%}"
        figures = f"{1 / own.rate:.2f} | {own.timing.spread:.0%} | {own.peak_bytes / 2**20:.0f} | {share}"
        rows.append(f"| {own.method} | {precision} | {figures} |")
    rows += [
        f"| {rival.name} | | {rival.seconds_per_megapixel:.2f} | {rival.timing.spread:.0%} | | |"
        for rival in bench.rivals()
    ]
    sys.stdout.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 12.0)
