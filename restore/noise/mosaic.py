"""Shot gain and read sigma of a mosaic, from how four sites of its pattern agree in small regions.

Noise is white and each site's own; texture is neither: it has less at high frequencies, sites that lie beside each
other share it, and it differs from block to block. What is seen of a region by these three is put as logarithms
relative to its power at high frequencies, so that no unit and no level enters; a small network says how much of that
power is noise and how sure that is, and it looks at each region beside a summary of all: where texture is everywhere,
the flattest region is still texture. ``restore/train/mosaic_noise.py`` fitted it to photographs under the noise of
drawn cameras, and it lies in ``mosaic.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from restore.noise.shot import least_squares
from restore.noise.spectra import DCT, RINGS
from restore.picture import Floats, RawImage

Reals = NDArray[np.floating[Any]]

SIDE = 16
"""Side of a region in periods of the pattern: four blocks of the spectra's 8x8."""

_MOST = 2048
"""Regions looked at, evenly spread."""

_EXTREME = 0.05
"""Share of a region that may be at the darkest or brightest value of the picture."""

_LEAST, _FAINT = 1e-14, 1e-4
"""Added before logarithms: to powers, and to powers relative to the reference."""

_BOUNDS = ((1.0, 20.0), (0.02, 1e5), (1e-3, 1e7))
"""Where more tells nothing: of the fourth moment, of power over that of one DN, and of light over noise."""

_DROWNED = 0.12
"""Power in squared DN below which rounding, which makes 1/12, has hidden the noise."""

HEADS = 4
"""Weighted means of the regions that make up the summary."""

_SPREAD = (-4.0, 3.0)
"""Range of the logarithm of what a region's answer is off by."""


class Regions(NamedTuple):
    """What is seen of regions: ``(N, F)``, and their mean brightness, reference and total power, ``(N,)``."""

    seen: Floats
    brightness: Reals
    reference: Reals
    power: Reals


def regions(raw: RawImage, most: int = _MOST) -> Regions | None:
    """Look at regions of a mosaic; None where it has no whole finite block."""
    sites = _four(raw)
    side = SIDE if min(sites.shape[1:]) >= SIDE else SIDE // 2
    if min(sites.shape[1:]) < side:
        return None
    count = (sites.shape[1] // side) * (sites.shape[2] // side)
    step = side * max(1, int((count / most) ** 0.5))
    windows = np.lib.stride_tricks.sliding_window_view(sites, (side, side), (1, 2))[:, ::step, ::step]
    found = windows.reshape(4, -1, side, side).swapaxes(0, 1)  # region, site, row, column
    found = found[np.isfinite(found).all((1, 2, 3))]
    if not len(found):
        return None
    is_extreme = (found <= found.min()) | (found >= found.max())
    is_open = is_extreme.mean((1, 2, 3)) < _EXTREME
    found = found[is_open] if is_open.sum() >= 8 else found
    per = side // 8
    blocks = found.reshape(-1, 4, per, 8, per, 8).swapaxes(3, 4).reshape(-1, 4, per * per, 64)
    return _seen(blocks, _step(raw))


def _step(raw: RawImage) -> float:
    """Return one DN, or 0 where the values are not multiples of it: of averages, and of arrays without levels."""
    step = 1 / (raw.white - float(np.mean(raw.black)))
    site = raw.mosaic[:: len(raw.cfa), :: len(raw.cfa[0])].ravel()
    apart = np.diff(np.sort(site[:: len(site) // 4096 + 1]))
    return 0.0 if ((apart > 0.02 * step) & (apart < 0.5 * step)).any() else step


def _four(raw: RawImage) -> Floats:
    """Return four sites of the pattern beside each other, ``(4, H, W)``, from red to blue.

    Of larger patterns than 2x2, which have such blocks, they are green.
    """
    pattern = np.array(raw.cfa)
    if pattern.shape == (1, 1):
        pattern = np.ones((2, 2), int)
    rows, columns = pattern.shape
    corners = [(y, x) for y in range(rows - 1) for x in range(columns - 1)]
    top, left = max(corners, key=lambda corner: (pattern[corner[0] :, corner[1] :][:2, :2] == 1).sum())
    block = pattern[top : top + 2, left : left + 2]
    height, width = raw.mosaic.shape[0] // rows, raw.mosaic.shape[1] // columns
    places = (divmod(int(site), 2) for site in np.argsort(block, axis=None, kind="stable"))
    return np.stack([raw.mosaic[top + y :: rows, left + x :: columns][:height, :width] for y, x in places])


def _seen(blocks: Floats, step: float) -> Regions:
    """Describe regions ``(N, 4, blocks, 64)``; ``step`` is one DN.

    Those whose noise drowns in rounding are left out where others are left: a sensor that clips at black, or smooths
    there, would pull the whole line down.
    """
    waves = blocks @ DCT.T
    red, first, second, blue = waves.swapaxes(0, 1)
    rings = np.stack([ring.ravel() / ring.sum() for ring in RINGS]).astype(np.float32)
    own = (waves**2).mean(1)
    shared = waves.sum(1) ** 2 / 4
    pairs = [(first - second) ** 2 / 2, (first + second) ** 2 / 2, (red - blue) ** 2 / 2]  # noise gives all the same
    powers = [power @ rings.T for power in (own, shared, *pairs)]  # region, block, ring
    reference = np.maximum(powers[0][..., -2:].mean((1, 2)), _LEAST).astype(np.float64)
    means, least = [p.mean(1) for p in powers], [powers[0].min(1), powers[2].min(1)]
    logs = [np.log(p / reference[:, None] + _FAINT) for p in (*means, *least)]
    fine = waves[..., (RINGS[-1] | RINGS[-2]).ravel()].reshape(len(waves), -1)
    tails = (fine**4).mean(1) / np.maximum((fine**2).mean(1) ** 2, _LEAST**2)
    brightness = blocks.mean((1, 2, 3), dtype=np.float64)
    rounded, bright = reference / max(step, 1e-9) ** 2, np.maximum(brightness, 1e-5) ** 2 / reference
    facts = [np.log(np.clip(fact, *bounds)) for fact, bounds in zip((tails, rounded, bright), _BOUNDS, strict=True)]
    seen = np.concatenate([*logs, np.stack(facts, 1)], 1).astype(np.float32)
    found = Regions(seen, brightness, reference, own[..., 1:].mean((1, 2), dtype=np.float64))
    is_clear = rounded > _DROWNED
    return Regions(*(part[is_clear] for part in found)) if is_clear.mean() > 0.25 else found


def variances(found: Regions, network: Mapping[str, Reals] | None = None) -> tuple[Reals, Reals]:
    """Return the noise variance of each region, and what its logarithm is off by: ``(N,)`` each."""
    net = network or _network()

    def layer(name: str, x: Reals) -> Reals:
        return np.asarray(x @ net[f"{name}.weight"].T + net[f"{name}.bias"])

    first = layer("look2", _silu(layer("look1", found.seen)))
    weight = np.exp(first[:, :HEADS] - first[:, :HEADS].max(0))
    hidden = _silu(first[:, HEADS:])
    whole = ((weight / weight.sum(0)).T @ hidden).ravel()
    both = np.concatenate([hidden, np.broadcast_to(whole, (len(hidden), len(whole)))], 1)
    answer = layer("say2", _silu(layer("say1", both)))
    return np.exp(answer[:, 0]) * found.reference, np.exp(np.clip(answer[:, 1], *_SPREAD))


def _silu(x: Reals) -> Reals:
    return np.asarray(x / (1 + np.exp(-np.clip(x, -60, 60))))


@cache
def _network() -> dict[str, Reals]:
    stored = json.loads(files("restore.noise").joinpath("mosaic.json").read_text())
    return {name: np.array(value) for name, value in stored["network"].items()}


def line(brightness: Reals, variance: Reals, spread: Reals) -> tuple[float, float]:
    """Fit ``variance = gain x + read**2`` to regions, with both terms at least 0, and return gain and read sigma.

    The sum of distances between logarithms, each over its spread, is made least by reweighted least squares.

    References
    ----------
    Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data" (2008): the model.

    >>> x = np.linspace(0.01, 0.5, 40)
    >>> gain, read = line(x, 0.002 * x + 1e-4, np.ones(40))
    >>> round(gain, 6), round(read, 6)
    (0.002, 0.01)
    """
    table = np.stack([np.maximum(brightness, 0), np.ones_like(brightness)], 1)
    variance = np.maximum(variance, _LEAST)
    weights = 1 / (spread * variance)
    found = np.zeros(2)
    for _ in range(40):
        found = least_squares(table * weights[:, None], variance * weights)
        fitted = np.maximum(table @ found, 1e-16)
        distance = np.abs(np.log(variance / fitted))
        weights = 1 / np.sqrt(spread * np.maximum(distance, 0.02)) / fitted
    return float(found[0]), float(np.sqrt(found[1]))
