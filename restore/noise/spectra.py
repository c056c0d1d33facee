"""Power spectra of the flattest blocks of a picture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from restore.picture import Floats

_SIDE = 8
_MOST_BLOCKS = 16384
_GROUPS = 8
_SHARES = (0.02, 0.5)  # of the blocks of a group: the flattest, and the flatter half
_FILL = 0.02  # of the blocks have the very same colour throughout: it was put there
_STRAY, _SAME = 0.015, 0.07  # of other pixels have that colour, and of neighbours are equal, at the most in noise
_FLOOR = (0.1 / 255) ** 2  # added to powers before their logarithm


def _dct() -> NDArray[np.float64]:
    """Orthonormal DCT-II of 8x8 blocks as one matrix: ``(64, 64)``."""
    k = np.arange(_SIDE)
    basis = np.sqrt(2 / _SIDE) * np.cos(np.pi * (2 * k + 1) * k[:, None] / (2 * _SIDE))
    basis[0] /= np.sqrt(2)
    return np.kron(basis, basis)


DCT = _dct().astype(np.float32)
_OPPONENT = (np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])).astype(np.float32)
_WAVES = np.indices((_SIDE, _SIDE))
_RADIUS = np.hypot(*_WAVES)
_EDGES = (0.5, 1.2, 2.3, 3.7, 5.2, 6.8, 10)
RINGS = [(low <= _RADIUS) & (high > _RADIUS) for low, high in zip(_EDGES, _EDGES[1:], strict=False)]
_IS_WAVE = (_RADIUS > 0).ravel()
_IS_EVEN = (_WAVES.sum(0) % 2 == 0).ravel()


class Spectra(NamedTuple):
    """Power spectra of the flatter blocks of a picture.

    Parameters
    ----------
    power
        ``(share, group, channel, 8, 8)``: mean square of each orthonormal DCT coefficient (so white noise of
        variance v gives v) for each share of blocks and each group of brightness, dark to bright; the
        constant term is replaced by its neighbours.
    opponent
        The same for luma and the mean of two chroma axes (grey: luma alone): ``(share, group, axis, 8, 8)``.
    brightness
        ``(group,)``, mean of the flattest blocks of each, which are its darkest where noise grows with light.
    clipped
        Share of blocks left out because they touch the darkest or brightest value.
    blocks
        Number of blocks measured.
    """

    power: Floats
    opponent: Floats
    brightness: Floats
    clipped: float
    blocks: int


def measure(pixels: Floats) -> Spectra | None:
    """Return the spectra of a picture ``(H, W, C)``, or None where it has no whole finite block."""
    blocks = _blocks(pixels)
    if blocks is None:
        return None
    low, high = blocks.min((0, 2)), blocks.max((0, 2))
    extreme = ((blocks == low[:, None]) | (blocks == high[:, None])).mean((1, 2))
    is_open = extreme < 0.05
    clipped = 1 - float(is_open.mean())
    blocks = _unframed(blocks[is_open] if is_open.sum() >= 32 else blocks)
    brightness = blocks.mean((1, 2))
    waves = blocks @ DCT.T
    power = waves**2
    opponent = power
    if pixels.shape[2] == 3:
        axes = (_OPPONENT @ waves) ** 2
        opponent = np.stack([axes[:, 0], axes[:, 1:].mean(1)], 1)
    everything = power.sum(1)
    rank = [everything[:, half].sum(1) for half in (_IS_EVEN & _IS_WAVE, ~_IS_EVEN)]
    order = np.array_split(np.argsort(brightness, kind="stable"), min(_GROUPS, max(1, len(blocks) // 32)))
    found = np.concatenate([power, opponent], 1)
    table = np.stack([[_flattest(found, rank, group, share) for group in order] for share in _SHARES])
    table[..., 0, 0] = (table[..., 0, 1] + table[..., 1, 0]) / 2
    count = pixels.shape[2]
    flattest = [np.concatenate(_chosen(rank, group, _SHARES[0])) for group in order]
    means = np.array([brightness[blocks].mean() for blocks in flattest], np.float32)
    return Spectra(table[:, :, :count], table[:, :, count:], means, clipped, len(blocks))


def features(spectra: Spectra) -> Floats:
    """Return what the regression sees: log power in rings of frequency relative to a middle ring of luma.

    The spectrum of each axis and share in six rings, then the middle ring itself and the clipped share.
    """
    rings = np.stack([spectra.opponent[..., ring].mean(-1) for ring in RINGS], -1)  # share, group, axis, ring
    logs = np.log(rings + _FLOOR).mean(1)
    logs[..., 0] = np.minimum(logs[..., 0], logs[..., 1] + 0.5)  # no noise is so coarse: more of it is shading
    middle = logs[0, 0, 2]
    return np.concatenate([(logs - middle).ravel(), [middle, spectra.clipped]]).astype(np.float32)


def share_of_colours(spectra: Spectra) -> float:
    """Return the power of colours as a share of that of brightness: the most of all but the longest and finest waves.

    The longest are shading, and of the finest soft grain has hardly any; white noise of three colours has 1.
    """
    bright, colours = (np.array([axis[ring].mean() for ring in RINGS[1:-1]]) for axis in spectra.opponent[0].mean(0))
    return float((colours / np.maximum(bright, 1e-20)).max())


def _unframed(blocks: Floats) -> Floats:
    """Leave out blocks that one colour fills or borders, where the rest is noisy: a frame or fill was put there.

    It tells nothing of the noise, but its blocks are the flattest of all. Drawings have such colours throughout, and
    many equal neighbours.
    """
    is_plain = (blocks == blocks[:, :, :1]).all(axis=(1, 2))
    colours, counts = np.unique(blocks[is_plain, :, 0], axis=0, return_counts=True)
    is_fill = np.zeros((len(blocks), _SIDE, _SIDE), bool)
    for colour in colours[counts >= max(32, _FILL * len(blocks))]:
        is_fill |= (blocks == colour[:, None]).all(axis=1).reshape(is_fill.shape)
    lines = np.concatenate([is_fill[:, [0, -1]].all(axis=2), is_fill[:, :, [0, -1]].all(axis=1)], 1)
    is_rest = ~lines.any(axis=1) & (is_fill.mean((1, 2)) < 0.5)
    rows = blocks[is_rest].reshape(-1, blocks.shape[1], _SIDE, _SIDE)
    if (
        len(rows) < 32
        or is_fill[is_rest].mean() > _STRAY
        or (rows[..., 1:] == rows[..., :-1]).all(axis=1).mean() > _SAME
    ):
        return blocks
    return np.asarray(blocks[is_rest], np.float32)


def _flattest(found: Floats, rank: list[Floats], group: NDArray[np.intp], share: float) -> Floats:
    """Mean over the flattest blocks of a group, each half of the waves chosen by the other: ``(C, 8, 8)``."""
    by_even, by_odd = _chosen(rank, group, share)
    mean = np.where(_IS_EVEN, found[by_odd].mean(0), found[by_even].mean(0))
    return np.asarray(mean.reshape(-1, _SIDE, _SIDE), np.float32)


def _chosen(rank: list[Floats], group: NDArray[np.intp], share: float) -> list[NDArray[np.intp]]:
    """Return the indices of the flattest blocks of a group by each half of the waves."""
    count = max(min(8, len(group)), round(share * len(group)))
    return [group[np.argpartition(r[group], count - 1)[:count]] for r in rank]


def _blocks(pixels: Floats) -> Floats | None:
    """Cut up to 16384 evenly spread blocks with finite values: ``(N, C, 64)``."""
    height, width, channels = pixels.shape
    if min(height, width) < _SIDE:
        return None
    step = max(int(np.ceil(np.sqrt(height * width / _MOST_BLOCKS))), int(np.clip(min(height, width) // 32, 1, 4)))
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (_SIDE, _SIDE), (0, 1))[::step, ::step]
    blocks = windows.reshape(-1, channels, _SIDE * _SIDE)
    is_finite = np.isfinite(blocks).all((1, 2))
    return blocks[is_finite] if is_finite.any() else None
