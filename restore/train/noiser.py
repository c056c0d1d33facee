"""Train ``noiser``: to reproduce pure noise, which teaches it to brighten without ever seeing a picture."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from restore.errors import Cancelled
from restore.nets.noiser import Noiser
from restore.train import loop
from restore.train.loop import Progress
from restore.train.ship import ship


@dataclass(frozen=True)
class Config:
    """What is learnt, as published: every step sees one fresh noise picture."""

    hidden: int = 32
    steps: int = 2000
    side: int = 104
    sigma: float = 3.0  # then clipped to -1...1: contrast rises with it
    smoothness: float = 1.0  # weight of the total variation: contrast falls with it
    rate: float = 2e-4
    seed: int = 0


def losses(out: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return L1 to the noise, and total variation: the sum of squared differences of neighbours over the size.

    Examples
    --------
    >>> l1, tv = losses(torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[0.0, 0.0]]]]))
    >>> l1.item(), tv.item()
    (0.5, 0.5)
    """
    rows, columns = out.diff(dim=-2).square().sum(), out.diff(dim=-1).square().sum()
    return (out - noise).abs().mean(), (rows + columns) / out.numel()


def train(config: Config, log_every: int = 200) -> tuple[Noiser, dict[str, float]]:
    """Train from scratch on the CPU; return the network and its losses, averaged over the last 100 steps."""
    rng = torch.Generator().manual_seed(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        net = Noiser(config.hidden)
    optimiser = torch.optim.Adam(net.parameters(), lr=config.rate, betas=(0.5, 0.999))
    seen: list[tuple[float, float]] = []
    start = time.monotonic()
    for step in range(1, config.steps + 1):
        if loop.stop.is_set():
            raise Cancelled("the training was stopped; nothing was written")
        noise = torch.randn(1, 3, config.side, config.side, generator=rng)
        noise = noise.mul_(config.sigma).clamp_(-1, 1)
        l1, tv = losses(net(noise), noise)
        optimiser.zero_grad(set_to_none=True)
        (l1 + config.smoothness * tv).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        seen.append((l1.item(), tv.item()))
        if step % log_every == 0:
            passed = time.monotonic() - start
            left = passed / step * (config.steps - step)
            sys.stderr.write(f"step {step}  L1 {seen[-1][0]:.4f}  TV {seen[-1][1]:.4f}  {left:.0f} s to go\n")
    tail = seen[-100:]
    scores = {name: sum(pair[i] for pair in tail) / len(tail) for i, name in enumerate(("l1", "tv"))}
    return net, scores


def main(argv: list[str] | None = None) -> None:
    """Run the training from the command line."""
    parser = argparse.ArgumentParser(prog="restore train noiser", description=__doc__)
    defaults = Config()
    for name, value in asdict(defaults).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--threads", type=int, default=1)
    where = Path("runs/noiser")
    parser.add_argument("--folder", type=Path, default=where, help=f"of weights and manifest (default: {where})")
    args = parser.parse_args(argv)
    config = Config(**{name: getattr(args, name) for name in asdict(defaults)})
    torch.set_num_threads(args.threads)
    start = time.monotonic()
    net, scores = train(config)
    changed = [f"--{k} {v}" for k, v in asdict(config).items() if v != getattr(defaults, k)]
    path = ship(
        "noiser",
        net.state_dict(),
        Progress(config.steps, time.monotonic() - start),
        command=" ".join(["restore train noiser", *changed]),
        data="synthetic noise only",
        seed=config.seed,
        scores={f"training {name}, last 100 steps": value for name, value in scores.items()},
        folder=args.folder,
        dtype=torch.float32,
    )
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
