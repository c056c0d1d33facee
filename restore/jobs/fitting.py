"""The fit of a score network to noisy pictures: objective, held-out parts, and when to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from threading import Event
from typing import Literal

import torch
from torch import Tensor, nn

from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.objectives import ardae, gr2r, sure
from restore.objectives.family import Family
from restore.objectives.removal import Removal

Objective = Literal["ardae", "gr2r", "sure"]

HELD = 0.3
"""Share of held-out pictures that is predicted from the rest."""

LEAST = 0.03
"""Share of the noise's variance that is left by the best denoiser there may be."""

LOOKS = 25
"""How often the held-out parts are looked at, spread over the whole."""

PATIENCE = 8
"""Looks at the held-out parts without a gain after which fitting ends."""


@dataclass(frozen=True)
class Moment:
    """Where a fit stands.

    Parameters
    ----------
    seconds, eta_s
        Since the start, and to the end if nothing ends it earlier.
    sure_psnr
        Of the held-out parts by Stein's estimate, in decibels below their white.
    """

    seconds: float
    sure_psnr: float
    steps: int
    eta_s: float


class Fit:
    """The network on its way; ``best`` is the state with the best look at the held-out parts so far."""

    rate = 3e-4
    batch = 8
    patch = 64
    average = 0.99

    def __init__(
        self,
        net: UnshuffleUNet,
        law: Family,
        objective: Objective,
        lessons: list[Tensor],
        exam: Tensor,
        generator: torch.Generator,
    ) -> None:
        self.net, self.law, self.objective, self.generator = net, law, objective, generator
        self.lessons, self.exam = lessons, exam
        self.signs = sure.probe(exam, generator)
        self.halves = gr2r.split(exam, law, HELD, generator)
        self.mean = deepcopy(net)
        self.best = {k: v.clone() for k, v in net.state_dict().items()}
        self.doubt = 0.0

    def run(
        self, seconds: float, steps: int | None, on_moment: Callable[[Moment], None], cancelled: Event
    ) -> list[Moment]:
        """Learn until time or steps are up, nothing is gained any more, or somebody cancels; return all looks."""
        begin = time.monotonic()
        risks = [self.risk()]
        curve = [Moment(0.0, self.psnr(risks[0]), 0, seconds)]
        on_moment(curve[0])
        optimiser = torch.optim.Adam(self.net.parameters(), self.rate, betas=(0.9, 0.99))
        taken, best_at = 0, 0
        done = looked = 0.0
        while done < 1 and not cancelled.is_set():
            pace = self.rate * min(1, (taken + 1) / 20) * (0.5 + 0.5 * math.cos(math.pi * done))
            optimiser.param_groups[0]["lr"] = pace
            self.step(optimiser, taken)
            taken, passed = taken + 1, time.monotonic() - begin
            done = passed / seconds if steps is None else taken / steps
            if done < 1 and done - looked < 1 / LOOKS:
                continue
            looked = done
            risks.append(self.risk())
            curve.append(Moment(passed, self.psnr(risks[-1]), taken, max(0.0, passed / done - passed)))
            on_moment(curve[-1])
            if risks[-1] < min(risks[:-1]):
                best_at, self.best = len(curve), {k: v.clone() for k, v in self.mean.state_dict().items()}
            if len(curve) - best_at > PATIENCE:
                break
        return [replace(moment, sure_psnr=self.psnr(risk)) for moment, risk in zip(curve, risks, strict=True)]

    def step(self, optimiser: torch.optim.Optimizer, steps: int) -> None:
        """Learn from one batch."""
        value = self.loss(torch.stack([self.crop() for _ in range(self.batch)]))
        optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        optimiser.step()
        decay = min(self.average, (1 + steps) / (10 + steps))
        with torch.no_grad():
            for old, new in zip(self.mean.parameters(), self.net.parameters(), strict=True):
                old.lerp_(new, 1 - decay)

    def loss(self, noisy: Tensor) -> Tensor:
        """Return the objective's value for a batch."""
        removal, law = Removal(self.net), self.law
        spread = law.variance(noisy)
        if self.objective == "sure":
            step = 0.1 * float(spread.mean().sqrt())
            return sure.loss(lambda y: removal(y, law), noisy, spread, self.generator, step) / float(spread.mean())
        if self.objective == "ardae":
            more = 1 + ardae.RATIO**2
            wider = Family(law.power, law.dispersion * more)
            std = ardae.RATIO * spread.sqrt()
            # for noise that depends on the signal this score stands for variance * score + slope, over the variance
            return ardae.loss(lambda y: -removal(y, wider) / (more * spread + 1e-6), noisy, std, self.generator)
        share = 0.2 + 0.3 * float(torch.rand(1, generator=self.generator))
        first, second = gr2r.split(noisy, law, share, self.generator)
        error = first - removal(first, Family(law.power, law.dispersion / (1 - share))) - second
        return (error**2).mean() / float(spread.mean())

    def crop(self) -> Tensor:
        """Return a random part of a picture to learn from ``(C, P, P)``, flipped and turned."""
        picture = self.lessons[self._draw(len(self.lessons))]
        rows, columns = (self._draw(n - self.patch + 1) for n in picture.shape[1:])
        part = picture[:, rows : rows + self.patch, columns : columns + self.patch]
        part = torch.rot90(part, self._draw(4), (1, 2))
        return part.flip(2) if self._draw(2) else part

    def _draw(self, below: int) -> int:
        return int(torch.randint(below, (1,), generator=self.generator))

    def psnr(self, risk: float) -> float:
        """Return an estimated risk of the held-out parts in decibels below their white.

        Where a level that is a little too high makes a risk less than can be, as much is added to all.
        """
        self.doubt = max(self.doubt, LEAST * float(self.law.variance_in(self.exam).mean()) - risk)
        return -10 * math.log10(max(risk + self.doubt, 1e-9))

    @torch.no_grad()
    def risk(self) -> float:
        """Return the mean squared error of the held-out parts, estimated.

        By SURE for Gaussian noise. For other laws, where SURE is a first order only, one half of a split is predicted
        from the other, which is exact; the risk then is that of a picture with a little more noise.
        """
        removal = Removal(self.mean.eval())
        if self.law.power == 0:
            removed = removal(self.exam, self.law)
            step = 0.05 * math.sqrt(self.law.dispersion)
            slope = sure.divergence(lambda y: removal(y, self.law), self.exam, self.signs, step=step, at=removed)
            return float(sure.risk(removed, self.law.dispersion, slope))
        first, second = self.halves
        error = first - removal(first, Family(self.law.power, self.law.dispersion / (1 - HELD))) - second
        return float((error**2).mean()) - float(self.law.variance_in(self.exam).mean()) / HELD
