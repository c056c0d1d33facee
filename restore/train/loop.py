"""The one training loop: time-boxed cosine schedule, averaged weights, checkpoints, resume, progress with ETA."""

from __future__ import annotations

import math
import pickle
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from restore.errors import Cancelled, ReadError
from restore.train.feed import Feed
from restore.train.muon import Muon

stop = threading.Event()
"""Ends a training after the step it is in, with its state saved; the command puts one here that Ctrl-C sets."""


@dataclass(frozen=True)
class Budget:
    """How long and how fast to learn.

    ``minutes`` counts training time over all resumed runs, and the learning rate follows a cosine over it; so a
    script ends when promised on any machine, and the number of steps is what the manifest records. ``is_half``
    turns bfloat16 autocast on, but for the last tenth, which learns what bfloat16 rounds away: measure first, not
    every processor that has bfloat16 is faster with it. ``steps``, where given, end the run in place of the minutes:
    runs that are compared must not depend on a machine's load.
    """

    minutes: float
    rate: float = 1e-3
    warmup: int = 200
    average: float = 0.999
    clip: float = 1.0
    device: str = "cpu"
    is_half: bool = False
    optimiser: Literal["adamw", "muon"] = "adamw"
    save_every_s: float = 30.0
    log_every: int = 100
    steps: int | None = None

    def done(self, progress: Progress) -> float:
        """Return the share that is done; from 1 on the run is over."""
        if self.steps is not None:
            return progress.steps / self.steps if self.steps > 0 else 1.0
        return progress.seconds / (60 * self.minutes) if self.minutes > 0 else 1.0


@dataclass
class Progress:
    """Where a training run stands."""

    steps: int = 0
    seconds: float = 0.0


def steps_done(checkpoint: Path) -> int:
    """Return the steps of a run so far, so that a resumed run can draw new random numbers."""
    return int(_load(checkpoint)["steps"]) if checkpoint.exists() else 0


def _load(checkpoint: Path, device: str = "cpu") -> dict[str, Any]:
    try:
        return dict(torch.load(checkpoint, map_location=device, weights_only=True))
    except (OSError, EOFError, RuntimeError, ValueError, TypeError, pickle.UnpicklingError) as error:
        raise ReadError(checkpoint, "no checkpoint of a training, or damaged; give another --run") from error


def _optimiser(net: nn.Module, budget: Budget) -> torch.optim.Optimizer:
    learnt = [p for p in net.parameters() if p.requires_grad]
    if budget.optimiser == "muon":
        return Muon(learnt, budget.rate, 1e-4)
    return torch.optim.AdamW(learnt, lr=budget.rate, betas=(0.9, 0.99), weight_decay=1e-4)


def _rate(budget: Budget, progress: Progress) -> float:
    done = min(1.0, budget.done(progress))
    return budget.rate * min(1.0, (progress.steps + 1) / budget.warmup) * (0.5 + 0.5 * math.cos(math.pi * done))


def fit(
    net: nn.Module,
    batches: Iterator[Any],
    loss: Callable[[nn.Module, Any], Tensor],
    budget: Budget,
    checkpoint: Path,
    evaluate: Callable[[nn.Module], str] | None = None,
    optimisers: Sequence[torch.optim.Optimizer] = (),
) -> tuple[dict[str, Tensor], Progress]:
    """Train ``net`` in place; return its averaged weights and how far it went.

    Resumes from ``checkpoint`` when it exists. ``evaluate`` gives a line for
    the log when a checkpoint is written, for the averaged weights; in all it takes a twentieth of the time at most.
    ``optimisers`` take the place of the budget's one; a ``factor`` in their
    parameter groups multiplies the learning rate.

    Raises
    ------
    ReadError
        The checkpoint is damaged, or of another network.
    Cancelled
        `stop` was set.
    """
    net.to(budget.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    steppers = list(optimisers) or [_optimiser(net, budget)]
    average = {k: v.detach().float().clone() for k, v in net.state_dict().items()}
    progress = Progress()
    if checkpoint.exists():
        saved = _load(checkpoint, budget.device)
        try:
            net.load_state_dict(saved["net"])
            kept = saved["optimiser"]
            for stepper, state in zip(steppers, kept if isinstance(kept, list) else [kept], strict=True):
                stepper.load_state_dict(state)
        except (RuntimeError, ValueError, KeyError) as error:
            raise ReadError(checkpoint, "the checkpoint of another network or stage; give another --run") from error
        average = saved["average"]
        progress = Progress(saved["steps"], saved["seconds"])
        over = "" if budget.done(progress) < 1 else "; it is over: give more time, or another --run to begin anew"
        _log(f"going on from step {progress.steps} of {checkpoint}{over}")
    running, last_save, last = torch.zeros((), device=budget.device), time.monotonic(), time.monotonic()
    next_look = 0.0
    while budget.done(progress) < 1:
        batch = next(batches)
        for group in (group for stepper in steppers for group in stepper.param_groups):
            group["lr"] = _rate(budget, progress) * group.get("factor", 1.0)
        with torch.autocast(
            budget.device.split(":")[0], torch.bfloat16, enabled=budget.is_half and budget.done(progress) < 0.9
        ):
            value = loss(net, batch)
        net.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), budget.clip)
        for stepper in steppers:
            stepper.step()
        decay = min(budget.average, (1 + progress.steps) / (10 + progress.steps))
        with torch.no_grad():
            current = [tensor.float() for tensor in net.state_dict().values()]
            torch._foreach_lerp_(list(average.values()), current, 1 - decay)
            running.lerp_(value, 0.01 if progress.steps else 1.0)
        now = time.monotonic()
        progress.steps, progress.seconds, last = progress.steps + 1, progress.seconds + now - last, now
        if progress.steps % budget.log_every == 0:
            left = max(0.0, progress.seconds / budget.done(progress) - progress.seconds)
            _log(f"step {progress.steps}  loss {running:.5f}  {progress.seconds / 60:.1f} min, {left / 60:.1f} to go")
        if stop.is_set() and budget.done(progress) < 1:
            _save(checkpoint, net, steppers, average, progress)
            raise Cancelled(f"stopped at step {progress.steps}; the same command goes on from there")
        if now - last_save > budget.save_every_s or budget.done(progress) >= 1:
            _save(checkpoint, net, steppers, average, progress)
            if evaluate is not None and (now > next_look or budget.done(progress) >= 1):
                _log(f"step {progress.steps}  {_evaluate_average(net, average, evaluate)}")
                next_look = time.monotonic() + 20 * (time.monotonic() - now)
            last_save = last = time.monotonic()
    if isinstance(batches, Generator | Feed):
        batches.close()
    return average, progress


def _evaluate_average(net: nn.Module, average: dict[str, Tensor], evaluate: Callable[[nn.Module], str]) -> str:
    current = {k: v.clone() for k, v in net.state_dict().items()}
    net.load_state_dict(average)
    try:
        with torch.no_grad():
            return evaluate(net.eval())
    finally:
        net.load_state_dict(current)
        net.train()


def _save(
    path: Path,
    net: nn.Module,
    steppers: Sequence[torch.optim.Optimizer],
    average: dict[str, Tensor],
    progress: Progress,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    state = {"net": net.state_dict(), "optimiser": [s.state_dict() for s in steppers], "average": average}
    torch.save(state | {"steps": progress.steps, "seconds": progress.seconds}, part)
    part.replace(path)


def _log(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
