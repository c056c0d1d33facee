"""Train the proxy of a gain branch on the pixel noise of dark frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from restore.camera.distribution_loss import distribution_loss, real_side
from restore.camera.proxy import WIDTH, Proxy
from restore.picture import Floats

SIGMA_WEIGHT = 100.0
"""What a squared error of the standard deviation counts at the end, beside quantiles and levels; first the shape.

With 30, the spread of Student's noise stayed 1 to 3 % too wide for the sake of its rarest values.
"""

_REACH, _NODES = 5.3, 1024
"""Grid on which branches are evaluated in training; a sample lies beyond it once in ten million."""


@dataclass(frozen=True)
class Lesson:
    """What is known of the pixel noise at one ISO.

    Parameters
    ----------
    gain
        K in DN per electron.
    residuals
        Samples of the pixel noise as found in dark frames, rounding included, in DN.
    sigma
        Standard deviation of the pixel noise without rounding.
    """

    iso: float
    gain: float
    residuals: Floats
    sigma: float


class _Mixed(nn.Module):
    """1x1 convolution, its pixels along the first axis."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Linear(WIDTH, WIDTH)


class _Block(nn.Module):
    """Residual block ``h + SiLU(C SiLU(C h))``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = _Mixed(), _Mixed()

    def forward(self, h: Tensor) -> Tensor:
        inner = nn.functional.silu(self.conv1.conv(h))
        return h + nn.functional.silu(self.conv2.conv(inner))


class ProxyNet(nn.Module):
    """Both branches and the scaler; a linear layer over single values is a 1x1 convolution.

    A branch is a curve: it is evaluated on a grid and interpolated at the samples.
    """

    def __init__(self, scaler: list[float]) -> None:
        super().__init__()
        self.nn_pre, self.nn_fol = (
            nn.Sequential(nn.Linear(1, WIDTH), nn.SiLU(), _Block(), _Block(), nn.Linear(WIDTH, 1)) for _ in range(2)
        )
        for parameter in self.nn_fol[-1].parameters():
            nn.init.zeros_(parameter)
        self.scaler = nn.Parameter(torch.tensor(scaler))
        self.grid = torch.linspace(-_REACH, _REACH, _NODES)[:, None]
        self.density = torch.softmax(-self.grid[:, 0].square() / 2, 0)

    def forward(self, before: Tensor, after: Tensor, index: int, factors: tuple[float, float]) -> tuple[Tensor, Tensor]:
        """Turn two normal samples ``(n,)`` into noise ``(n,)``, and return with it the variance that it is drawn with.

        ``factors`` bring the branches to the loss's unit.
        """
        pre = self.nn_pre(self.grid)[:, 0] * (factors[0] * torch.exp(self.scaler[index]))
        fol = self.nn_fol(self.grid)[:, 0] * factors[1]
        return _at(pre, before) + _at(fol, after), self._variance(pre) + self._variance(fol)

    def _variance(self, curve: Tensor) -> Tensor:
        return self.density @ (curve - self.density @ curve).square()


def _at(curve: Tensor, x: Tensor) -> Tensor:
    """Interpolate a curve over the grid at ``x``."""
    place = ((x + _REACH) * ((_NODES - 1) / (2 * _REACH))).clamp(0, _NODES - 1.001)
    lower = place.long()
    return torch.lerp(curve[lower], curve[lower + 1], place - lower)


def train(
    lessons: list[Lesson],
    generator: torch.Generator,
    *,
    steps: int = 3000,
    batch: int = 8192,
    rate: float = 5e-3,
    report: Callable[[float], None] = lambda share: None,
) -> Proxy:
    """Fit a proxy to the lessons of one gain branch.

    Each step takes one ISO, in shuffled rounds. The normal inputs are stratified (one in each of ``batch`` equally
    likely intervals, shuffled), which takes most of the chance out of the sorted sample; the real side is the whole
    set of residuals. Residuals hold the converter's rounding, so the synthetic ones get as much uniform noise; what
    is kept is the noise before the converter. The scaler starts at the measured sigmas with ``B_fol = 0``. In the
    second half the standard deviation counts more and more: that of the curves, as a batch of heavy-tailed noise seldom
    holds the largest values, and is narrower than what it is drawn from.

    Parameters
    ----------
    report
        Called with the share done, 0...1, about a hundred times; what it raises ends the training.
    """
    electrons = float(np.median([lesson.sigma / lesson.gain for lesson in lessons]))
    dn = min(lesson.sigma for lesson in lessons)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(0, 2**31, (1,), generator=generator)))
        net = ProxyNet([math.log(lesson.sigma / lesson.gain / electrons) for lesson in lessons])
    reals = [real_side(torch.from_numpy(lesson.residuals / np.float32(lesson.sigma))) for lesson in lessons]
    optimiser = torch.optim.Adam(net.parameters(), lr=rate, fused=True)
    state = net.state_dict()
    average = {key: value.clone() for key, value in state.items()}
    order = torch.zeros(0, dtype=torch.long)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 50) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
        order = order if len(order) else torch.randperm(len(lessons), generator=generator)
        index, order = int(order[0]), order[1:]
        lesson = lessons[index]
        before, after = stratified(batch, generator), stratified(batch, generator)
        made, variance = net(before, after, index, (lesson.gain * electrons / lesson.sigma, dn / lesson.sigma))
        dither = (torch.rand(batch, generator=generator) - 0.5) / lesson.sigma
        late = max(0.0, 2 * step / steps - 1)
        loss = distribution_loss(made + dither, reals[index], generator)
        loss = loss + SIGMA_WEIGHT * late * (variance.sqrt() - 1).square()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            decay = min(0.995, (1 + step) / (10 + step))
            torch._foreach_lerp_([*average.values()], [*state.values()], 1 - decay)
        if step % max(1, steps // 100) == 0:
            report(step / steps)
    return _proxy(average, lessons, electrons, dn)


def stratified(count: int, generator: torch.Generator) -> Tensor:
    """Draw a shuffled normal sample with one value in each of ``count`` equally likely intervals.

    >>> x = stratified(1000, torch.Generator().manual_seed(1))
    >>> abs(x.mean().item()) < 1e-3, abs(x.std().item() - 1) < 5e-3
    (True, True)
    """
    places = torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)
    return torch.as_tensor(torch.special.ndtri((places / count).double().clamp(1e-7, 1 - 1e-7)), dtype=torch.float32)


def _proxy(state: Mapping[str, Tensor], lessons: list[Lesson], electrons: float, dn: float) -> Proxy:
    """Give the trained branches their units by their last layer, and the weights the shape of 1x1 convolutions."""
    units = {"nn_pre.4": electrons, "nn_fol.4": dn}
    weights: dict[str, Floats] = {}
    for key, value in state.items():
        if key != "scaler":
            array = value.numpy() * np.float32(units.get(key.rpartition(".")[0], 1.0))
            weights[key] = array.reshape(*array.shape, 1, 1) if array.ndim == 2 else array
    isos = tuple(lesson.iso for lesson in lessons)
    return Proxy(weights, isos, tuple(float(value) for value in state["scaler"]))
