"""How much noise a picture has, measured from its pixels.

How a developed picture is measured
-----------------------------------
Noise is what is left in the flattest places. Blocks of 8x8 pixels are grouped by brightness, so that neither
dark nor bright noise is preferred, and in each group the flattest few give the power spectrum of the noise.
A block is chosen by one half of its DCT coefficients and measured by the other half (a chessboard in
frequency): noise does not select itself, so flatness costs no bias, while texture fills both halves and is
rejected. White noise could be read off the highest frequencies; demosaicing, smoothing and JPEG push noise to
low ones, where texture lives too. How much of a measured spectrum is noise is therefore regressed: a small
perceptron maps the log spectrum to the log of the noise level. It was fitted by
``restore/train/noise_level.py`` to photographs with known noise, and lies in ``level.json``. The line that a mosaic's
blocks give is too high where texture is everywhere; by how much is regressed in the same way. And it is too low for
noise of heavy tails, as the flattest blocks are those without outliers: where :mod:`restore.noise.mosaic` is sure that
nearly all is noise, its word counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.noise import mosaic
from restore.noise.record import Noise
from restore.noise.shot import shot_and_read
from restore.noise.spectra import RINGS, Spectra, features, measure, share_of_colours
from restore.noise.tone import Tone, tone_of
from restore.picture import Floats, Image, RawImage

Reals = NDArray[np.floating[Any]]

_LEAST = 1e-14
"""Added to variances before their logarithm."""

_SURE = (1.15, 1.8)
"""Power of waves of 7 to 13 pixels over a mosaic's line: up to the first it is noise alone, from the second texture."""

_NOISY = (0.5, 0.8)
"""Share of noise in what regions of a mosaic show: up to the first the line counts, from the second the regions."""

_OFF = 0.4
"""Share of the noise that may lie off the tone of black and white that was toned."""

_MEASURED = 0.999
"""Largest confidence of what was measured: one is for what was given."""

_ALIKE, _ABOVE, _FAR = 0.8, 1.2, 4.0
"""Share of the power of the second finest waves from which on the finest have as much; how far above them white noise
lies at the most; and from where on they tell nothing of it: coarse noise may lie on a little that is white."""

_BRIGHT = (0.3, 0.4)
"""Share of colours up to which, and confidence from which on, noise of brightness counts where more of it is found."""

_ROUNDING = 1e-6
"""Sigma below which noise is but the rounding of the transform: flat pictures have none."""


def estimate(picture: Image | RawImage) -> Noise:
    """Measure the noise of a picture from its pixels, in their own unit; always finite, no randomness.

    The total is measured for developed pictures whether the noise is white or not. A mosaic is taken to have
    white noise, each site of its pattern for itself. Saturated and black areas are left out. A picture with a
    side shorter than 8 pixels (a mosaic: 8 periods of its pattern) has confidence 0. Black and white stored as
    colour, toned or not, is measured as one channel.
    """
    if isinstance(picture, RawImage):
        return _of_mosaic(picture)
    if (thin := picture.thin()) is not picture:
        found = estimate(thin)
        return replace(found, channels=found.channels * picture.pixels.shape[2])
    if picture.are_counts:  # the regression knows noise that can be seen
        most = float(picture.pixels.max())
        return estimate(picture.between(0.0, most)).scaled(most)
    if (as_grey := toned(picture)) is not None:
        tone, found = as_grey
        return replace(found, channels=tuple(found.sigma * abs(slope) for slope in tone.slopes))
    spectra = measure(picture.pixels)
    count = picture.pixels.shape[2]
    if spectra is None:
        return Noise(0.0, (0.0,) * count, confidence=0.0)
    flattest = spectra.power[0].mean(0)  # channel, v, u
    level = min(_regressed(spectra), 1.5 * float(spectra.power[1].mean()))
    level *= level > _ROUNDING**2
    total = flattest.mean(0)
    level = _of_white(total, level)
    kept = _clipped_to(total, level) / np.maximum(total, 1e-20)
    trusted = (flattest * kept**2).mean((1, 2))  # waves that rise above the noise tell little about its colour
    channels = trusted * (level / max(float(trusted.mean()), 1e-20))
    groups = np.asarray(spectra.power[0, :, :, 2:, 2:].mean((1, 2, 3)), np.float64)
    found = _record(level, channels, spectra, groups, total * kept, level / max(float(total.mean()), 1e-20))
    if count != 3 or share_of_colours(spectra) > _BRIGHT[0]:
        return found
    bright = estimate(greyed(picture))
    is_more = bright.sigma > found.sigma and bright.confidence >= _BRIGHT[1]
    return replace(bright, channels=(bright.sigma,) * 3) if is_more else found  # no colour has less than all together


def greyed(picture: Image) -> Image:
    """Return the mean of a picture's colours."""
    return replace(picture, pixels=np.asarray(picture.pixels.mean(2, keepdims=True), np.float32))


def toned(picture: Image) -> tuple[Tone, Noise] | None:
    """Return the tone of black and white that was toned, and its noise as of one channel; None for other pictures.

    Noise that colours have for themselves would lie off the tone: there must be little of that.
    """
    tone = tone_of(picture)
    if tone is None:
        return None
    found = estimate(tone.grey(picture))
    return (tone, found) if tone.rest <= _OFF * found.sigma else None


def relative(picture: Image | RawImage) -> Noise:
    """Measure as `estimate`, in fractions of white also where that lies far from 1: as methods are told the noise."""
    return estimate(picture.usual() if isinstance(picture, Image) else picture)


def _regressed(spectra: Spectra) -> float:
    """Variance of all noise by the fitted perceptron."""
    seen = features(spectra)
    return float(np.exp(seen[-2] + _answer("colour" if spectra.opponent.shape[2] == 2 else "grey", seen)))


def _of_white(spectrum: Floats, level: float) -> float:
    """Return the level of the noise; just above the finest waves where these say that it is white.

    They are as strong as the next there, and not far below. What is more in longer waves is shading, which fills
    pictures of soft blobs (cells) so that no block is flat.
    """
    fine, finest = (float(spectrum[ring].mean()) for ring in RINGS[-2:])
    floor = (fine + finest) / 2
    return min(level, _ABOVE * floor) if finest > _ALIKE * fine and level < _FAR * floor else level


def _answer(kind: str, seen: Floats) -> float:
    net = _perceptrons()[kind]
    hidden = np.tanh(net["hidden"] @ seen + net["hidden_bias"])
    return float(net["out"] @ hidden + net["out_bias"][0])


@cache
def _perceptrons() -> dict[str, dict[str, Reals]]:
    stored = json.loads(files("restore.noise").joinpath("level.json").read_text())
    return {kind: {k: np.array(v) for k, v in stored[kind].items()} for kind in ("colour", "grey", "mosaic")}


def _of_mosaic(raw: RawImage) -> Noise:
    """Measure white noise at each site of the pattern by its highest frequencies."""
    sites = list(_sites(raw))
    found = [spectra for spectra in (measure(site) for site in sites) if spectra is not None]
    if len(found) < len(sites):
        return Noise(0.0, (0.0,) * len(sites), confidence=0.0)
    step = 1 / (raw.white - float(np.mean(raw.black)))
    gain, read = lowest_line(found, step)
    if gain + read > 0:
        seen = mosaic_features(found, gain, read, step)
        doubt = np.clip((seen[1] - np.log(_SURE[0])) / np.log(_SURE[1] / _SURE[0]), 0, 1)
        factor = float(np.exp(doubt * _answer("mosaic", seen)))
        gain, read = factor * gain, factor**0.5 * read
    gain, read = _with_regions(raw, gain, read)
    means = [max(_mean(site), 0.0) for site in sites]
    channels = np.sqrt([gain * mean + read * read for mean in means])
    level = float((channels**2).mean())
    share = level / max(float(np.mean([s.power[0].mean() for s in found])), 1e-20)
    blocks = sum(s.blocks for s in found)
    return Noise(
        sigma=float(np.sqrt(level)),
        channels=tuple(float(v) for v in channels),
        gain=gain,
        read=read,
        confidence=_MEASURED * float(np.sqrt(min(share, 1.0)) * min(1.0, blocks / 256)),
    )


def _with_regions(raw: RawImage, gain: float, read: float) -> tuple[float, float]:
    """Return gain and read sigma of the lowest line, or of all regions of the mosaic as far as these are noise.

    Where they are not, the lower of the two counts: stripes without end raise every block that the line follows, and
    what is taken for noise by mistake is lost, while what is overlooked only stays.
    """
    found = mosaic.regions(raw)
    if found is None:
        return gain, read
    variance, spread = mosaic.variances(found)
    shares = np.minimum(variance / np.maximum(found.power, _LEAST), 1)
    share = float(np.average(shares, weights=1 / spread**2)) * min(1.0, len(shares) / 16)
    weight = float(np.clip((share - _NOISY[0]) / (_NOISY[1] - _NOISY[0]), 0, 1))
    other, wide = mosaic.line(found.brightness, variance, spread)
    light = max(float(found.brightness.mean()), 0.0)
    if other * light + wide**2 < gain * light + read**2:
        weight = 1.0
    return (1 - weight) * gain + weight * other, ((1 - weight) * read**2 + weight * wide**2) ** 0.5


def _mean(site: Floats) -> float:
    """Return the mean of the finite values."""
    mean = float(site.mean())
    return mean if np.isfinite(mean) else float(site.mean(where=np.isfinite(site)))


def lowest_line(found: Sequence[Spectra], step: float) -> tuple[float, float]:
    """Return gain and read sigma of the lowest line under what the sites' flattest blocks show at high frequencies."""
    fine = [s.power[0, :, 0][:, RINGS[-1] | RINGS[-2]].mean(1).astype(np.float64) for s in found]
    return shot_and_read(np.concatenate([s.brightness for s in found]), np.concatenate(fine), step)


def mosaic_features(found: Sequence[Spectra], gain: float, read: float, step: float) -> Floats:
    """Return what the regression sees of a mosaic: log power in rings of frequency relative to the line.

    The median over groups of blocks, for both shares; the low quantile that the line follows; the line itself
    relative to brightness and to one DN.
    """
    rings = np.concatenate([np.stack([s.power[:, :, 0][..., ring].mean(-1) for ring in RINGS], -1) for s in found], 1)
    brightness = np.maximum(np.concatenate([s.brightness for s in found]).astype(np.float64), 0)
    line = gain * brightness + read**2
    over = np.log(rings + _LEAST) - np.log(line + _LEAST)[:, None]  # share, group, ring
    level, light = float(np.median(line)), max(float(np.median(brightness)), 1e-4)
    facts = [np.log(level / light**2 + _LEAST), np.log(level / step**2 + 1e-6)]
    seen = np.concatenate([np.median(over, 1).ravel(), np.quantile(over[0], 0.12, axis=0), facts])
    return np.asarray(seen, np.float32)


def _sites(raw: RawImage) -> Iterator[Floats]:
    """Give the plane of each site of the pattern, row by row, as a one-channel picture."""
    rows, columns = len(raw.cfa), len(raw.cfa[0])
    for row in range(rows):
        for column in range(columns):
            yield raw.mosaic[row::rows, column::columns, None]


def _record(level: float, channels: Reals, spectra: Spectra, groups: Reals, spectrum: Reals, share: float) -> Noise:
    """Put a record together; ``share`` is how much of the flattest blocks' power is noise."""
    scaled = groups * (level / max(float(groups.mean()), 1e-20))
    gain, read = _shot_and_read(spectra.brightness.astype(np.float64), scaled, level)
    return Noise(
        sigma=float(np.sqrt(level)),
        channels=tuple(float(v) for v in np.sqrt(channels)),
        gain=gain,
        read=read,
        correlation=_correlation(spectrum),
        confidence=_MEASURED * float(np.sqrt(min(share, 1.0)) * min(1.0, spectra.blocks / 256)),
    )


def _shot_and_read(x: Reals, variance: Reals, level: float) -> tuple[float, float]:
    """Fit ``variance = gain x + read**2`` with both terms at least 0, robustly; its mean is ``level``.

    >>> gain, read = _shot_and_read(np.array([0.1, 0.3, 0.5]), np.array([0.2, 0.4, 0.6]), 0.4)
    >>> round(gain, 6), round(read**2, 6)
    (1.0, 0.1)
    """
    x = np.maximum(x, 0)
    weights = np.ones(len(x))
    gain = square = 0.0
    for _ in range(20):
        centre, height = np.average(x, weights=weights), np.average(variance, weights=weights)
        spread = np.average((x - centre) ** 2, weights=weights)
        slope = np.average((x - centre) * (variance - height), weights=weights) / max(spread, 1e-12)
        gain = float(np.clip(slope, 0, height / max(float(centre), 1e-12)))
        square = max(float(height - gain * centre), 0.0)
        weights = 1 / np.maximum(np.abs(variance - gain * x - square), 0.02 * max(level, 1e-12))
    scale = level / max(gain * float(x.mean()) + square, 1e-20)
    return gain * scale, float(np.sqrt(square * scale))


def _clipped_to(spectrum: Reals, level: float) -> Reals:
    """Cut the peaks of a spectrum so that its mean is ``level``: what towers above is texture.

    >>> _clipped_to(np.array([1.0, 1.0, 6.0]), 2.0).tolist()
    [1.0, 1.0, 4.0]
    """
    heights = np.sort(spectrum, axis=None).astype(np.float64)
    filled = np.cumsum(heights) + heights * np.arange(len(heights) - 1, -1, -1)
    wanted = level * len(heights)
    if wanted >= filled[-1]:
        return spectrum * (wanted / max(float(filled[-1]), 1e-20))
    return np.minimum(spectrum, np.interp(wanted, np.r_[0, filled], np.r_[0, heights]))


def _correlation(spectrum: Reals) -> float:
    """Return the mean correlation of horizontal and vertical neighbours, in -1...1, from a power spectrum.

    >>> _correlation(np.ones((8, 8)))
    0.0
    """
    cosines = np.cos(np.pi * np.arange(8) / 8)
    mean = float((spectrum * (cosines[:, None] + cosines) / 2).sum() / max(float(spectrum.sum()), 1e-20))
    return round(float(np.clip((mean - 1 / 8) / (1 - 1 / 8), -1, 1)), 6)
