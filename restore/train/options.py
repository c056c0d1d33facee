"""The options that all trainings of networks share, and the command that the manifest records."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from restore import weights
from restore.errors import RecipeError, WeightsError, WriteError
from restore.files.atomic import check_target
from restore.nets.unshuffle_unet import GREY
from restore.train.feed import Chunk, Draw, Feed
from restore.train.loop import Budget, Progress, steps_done
from restore.train.ship import FREE_PHOTOS, save, ship

_OF_THIS_MACHINE = ("method", "run", "device", "threads", "workers", "photos", "clean", "ship", "out")

Number = TypeVar("Number", int, float)
_CHUNK = 8
"""Examples that a process draws at a time."""


def at_least(least: Number) -> Callable[[str], Number]:
    """Return what reads a finite number of the kind of ``least``, and none below it, for `argparse`.

    >>> at_least(1)("3"), at_least(0.0)("0.5")
    (3, 0.5)
    """

    def read(text: str) -> Number:
        value = type(least)(text)
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is no number from {least:g} on")
        return value

    read.__name__ = "number"  # what argparse calls it
    return read


def parser(
    method: str, about: str | None, *, minutes: float, rate: float = 1e-3, photos: str | None = None
) -> argparse.ArgumentParser:
    """Return a parser with the common options; a script adds its own, and may set other defaults.

    ``photos`` is how many folders there may be, as `argparse` writes it.
    """
    made = argparse.ArgumentParser(prog=f"restore train {method}", description=about)
    made.add_argument("photos", type=Path, nargs=photos, help="folder of pictures")
    made.add_argument("--minutes", type=at_least(0.0), default=minutes, help="how long to learn, over all resumed runs")
    made.add_argument("--steps", type=at_least(0), help="end after so many steps, in place of the minutes")
    made.add_argument("--rate", type=at_least(1e-12), default=rate, help="learning rate to begin with")
    made.add_argument("--start", help="weights to go on from: a key of the manifest, or a file")
    made.add_argument("--run", type=Path, default=Path("runs") / method, help="folder of checkpoints; resumes there")
    made.add_argument("--device", default="cpu")
    made.add_argument("--seed", type=at_least(0), default=0)
    made.add_argument("--threads", type=at_least(1), default=1)
    made.add_argument("--batch", type=at_least(1), help="examples a step")
    made.add_argument(
        "--workers", type=at_least(0), default=0, help="processes that draw examples, which are then used again"
    )
    made.add_argument("--half", action="store_true", help="bfloat16 but for the last tenth")
    made.add_argument("--out", type=Path, metavar="FILE", help="weights to write (default: in the folder of --run)")
    made.add_argument("--ship", action="store_true", help="put them in the place of the shipped ones too")
    made.set_defaults(method=method)
    return made


def prepare(args: argparse.Namespace) -> None:
    """Look at where the result goes, seed PyTorch, and set the number of threads.

    Raises
    ------
    RecipeError
        ``--out`` has another ending, ``--patch`` is not of a size that networks take, or there is no such ``--device``.
    WriteError
        ``--out`` is what is learnt from, or the folder of the run cannot be made.
    """
    if args.out:
        if args.out.suffix != ".safetensors":
            raise RecipeError(f"--out must end in .safetensors, not {args.out.name!r}")
        # a run that goes on replaces what it wrote
        check_target(args.out, [Path(args.start)] if args.start else [], overwrite=True)
    patch = vars(args).get("patch")
    if patch is not None and (patch < 16 or patch % 8):
        raise RecipeError(f"--patch {patch} is no side of a crop; give a multiple of 8 from 16 on")
    try:
        torch.empty(0, device=args.device)
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(f"this machine has no device {args.device!r} for PyTorch; leave --device out") from error
    try:
        args.run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(args.run, f"cannot be made ({error.strerror}); choose another --run") from error
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    if args.device != "cpu":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")


def generator(args: argparse.Namespace, checkpoint: Path, stage: int = 0) -> np.random.Generator:
    """Return random numbers of the seed, of a stage of the training, and new ones for a resumed run."""
    return np.random.default_rng([args.seed, stage, steps_done(checkpoint)])


def examples(
    args: argparse.Namespace,
    checkpoint: Path,
    draw: Callable[[np.random.Generator, int], Iterator[Chunk]],
    size: int,
    stage: int = 0,
) -> Iterator[Chunk]:
    """Return endless batches on the device, drawn here or by ``--workers``.

    Parameters
    ----------
    draw
        Given random numbers and how many examples a batch has.
    size
        Examples a batch, unless ``--batch`` says otherwise.
    """
    size = args.batch or size
    if not args.workers:
        drawn = draw(generator(args, checkpoint, stage), size)
        return (tuple(part.to(args.device) for part in batch) for batch in drawn)
    seeds = [args.seed, stage, steps_done(checkpoint)]
    chunks: Draw = lambda rng: draw(rng, min(size, _CHUNK))  # noqa: E731
    return Feed(chunks, seeds, workers=args.workers, size=size, device=args.device)


def budget(args: argparse.Namespace, *, minutes: float | None = None) -> Budget:
    """Return how long and how fast to learn, by Muon."""
    given = args.minutes if minutes is None else minutes
    return Budget(given, args.rate, device=args.device, is_half=args.half, optimiser="muon", steps=args.steps)


def started(args: argparse.Namespace) -> dict[str, Tensor] | None:
    """Return the weights to go on from, in float32; None without ``--start``."""
    return {name: value.float() for name, value in weights.load(args.start)[0].items()} if args.start else None


def part_of(args: argparse.Namespace, prefix: str, channels: int) -> dict[str, Tensor]:
    """Return the weights of one of several networks to go on from, as `started`; empty without ``--start``.

    Raises
    ------
    WeightsError
        They hold none of that name and number of channels.
    """
    state = started(args) or {}
    part = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if args.start and not ("head.weight" in part and len(part.get("tail.weight", ())) == 4 * channels):
        raise WeightsError(f"{args.start}: no weights that {args.method} can go on from; give others, or no --start")
    return part


def deliver(
    args: argparse.Namespace,
    state: Mapping[str, Tensor],
    progress: Progress,
    *,
    command: str,
    key: str | None = None,
    data: str | None = None,
) -> None:
    """Write the weights for ``restore run --weights``, name the file, and with ``--ship`` put them among the shipped.

    Parameters
    ----------
    key
        Name of the weights; None for that of the method.
    data
        What was learnt from; None says so of photos.

    Raises
    ------
    RecipeError
        Nothing was learnt, and there was nothing to go on from: the weights are random.
    """
    if not (progress.steps or args.start):
        raise RecipeError("nothing was learnt in no time; give more --minutes or --steps, or weights to --start from")
    key = key or args.method
    out = args.out or args.run / f"{key}.safetensors"
    about = {"method": args.method, "command": command, "data": data or "pictures of one's own"}
    save(out, state, {**about, "steps": str(progress.steps)})
    sys.stdout.write(f"{out}\n")
    if args.ship:
        ship(key, state, progress, command=command, data=data or FREE_PHOTOS, seed=args.seed)


def with_other(key: str, state: Mapping[str, Tensor], *, is_grey: bool) -> dict[str, Tensor]:
    """Return weights of both networks, for colour and grey: the one that was trained, and the other as it is shipped.

    Where none is shipped, that one is left out.
    """
    shipped = weights.load(key)[0] if (weights.folder() / f"{key}.safetensors").exists() else {}
    kept = {name: value for name, value in shipped.items() if name.startswith(GREY) is not is_grey}
    return kept | {f"{GREY if is_grey else ''}{name}": value for name, value in state.items()}


def command(method: str, made: argparse.ArgumentParser, args: argparse.Namespace) -> str:
    """Return the command line that repeats the training.

    >>> made = parser("denoise", None, minutes=30)
    >>> command("denoise", made, made.parse_args(["photos", "--seed", "2", "--device", "cuda"]))
    'restore train denoise PHOTOS --minutes 30 --rate 0.001 --seed 2'
    """
    words = [f"restore train {method} PHOTOS"]
    for name, value in vars(args).items():
        if name in _OF_THIS_MACHINE or (value == made.get_default(name) and name not in ("minutes", "rate")):
            continue
        word = "--" + name.replace("_", "-")
        values = () if value is True else value if isinstance(value, list | tuple) else (value,)
        words += [
            word,
            *(f"{v:g}" if isinstance(v, float) else v.name if isinstance(v, Path) else str(v) for v in values),
        ]
    return " ".join(words)
