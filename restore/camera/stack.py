"""Statistics of the dark frames of one ISO, kept online: frames come one by one, twice, and are never all in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from restore.camera import tukey
from restore.camera.divergence import Counts, histogram
from restore.camera.frames import above_black, bad_pixels, sites, tiled
from restore.errors import ArrayError
from restore.picture import Floats, RawImage

RESERVOIR = 1_000_000
ROUNDING = 1 / 12
_ODD_SIGMA = 0.2


@dataclass(frozen=True)
class Frame:
    """A dark or flat frame that is loaded when it is needed.

    Parameters
    ----------
    name
        What messages call it.
    """

    name: str
    iso: float
    exposure_s: float
    load: Callable[[], RawImage]


@dataclass(frozen=True, eq=False)
class StackNoise:
    """What the dark frames of one ISO say; in DN.

    Parameters
    ----------
    shading
        Mean frame ``(H, W)`` without the black error.
    bad
        ``(H, W)``, where pixels are bad.
    black_error, drift, long_black_error, long_drift
        As in `IsoNoise`.
    residuals
        Samples of the pixel noise: rows, columns, frame and fixed pattern taken off, rounding kept.
    codes
        Histogram of whole frames in DN, black included.
    """

    iso: float
    frames: int
    exposure_s: tuple[float, float]
    shading: Floats
    bad: NDArray[np.bool_]
    black_error: tuple[float, ...]
    drift: float
    temporal: float
    fixed: float
    sigma_px: float
    sigma_row: float
    sigma_col: float
    sigma_bias: float
    tukey: tuple[float, float, float]
    neighbours: float
    clipped: float
    residuals: Floats
    codes: Counts
    long_black_error: tuple[float, ...] = ()
    long_drift: float = 0.0

    @property
    def read(self) -> float:
        """Standard deviation of a pixel over frames, but for what lifts whole frames; rounding included."""
        return float(np.sqrt(self.sigma_px**2 + self.sigma_row**2 + self.sigma_col**2 + ROUNDING))


class Means:
    """Mean, variance, and mean of every other frame, per pixel (Welford's recurrence)."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.count = 0
        self.mean, self.squares, self.even = (np.zeros(size, np.float32) for _ in range(3))

    def add(self, frame: Floats) -> None:
        """Take in one frame ``(H, W)``."""
        self.count += 1
        step = frame - self.mean
        self.mean += step / np.float32(self.count)
        self.squares += step * (frame - self.mean)
        if self.count % 2:
            self.even += (frame - self.even) / np.float32((self.count + 1) // 2)

    @property
    def odd(self) -> Floats:
        """Mean of the other half of the frames."""
        evens = (self.count + 1) // 2
        rest = self.mean * np.float32(self.count) - self.even * np.float32(evens)
        return np.asarray(rest / np.float32(self.count - evens), np.float32)


def measure(frames: Sequence[Frame], period: int, rng: np.random.Generator) -> StackNoise:
    """Measure the dark frames of one ISO.

    The first pass gives mean frame and bad pixels, the second what changes from frame to frame. Estimates of row and
    column noise have the pixel noise in their means taken off, and all have what the frames' own mean took.

    Raises
    ------
    ArrayError
        Frames without noise, clipped at black, or with one that differs from the others.

    References
    ----------
    Feng et al., "Learnability enhancement for low-light raw image denoising" (PMN, TPAMI 2024): dark shading.
    """
    means, levels = _first_pass(frames, period)
    exposures = np.array([frame.exposure_s for frame in frames])
    bad = bad_pixels(means.even, means.odd, period)
    good = ~bad
    count, (height, width) = means.count, means.mean.shape
    whole = levels.mean(axis=1)
    drift = _drift(exposures, whole)
    steady = whole - drift * exposures
    errors = np.array(
        [plane[keep].mean() for plane, keep in zip(sites(means.mean, period), sites(good, period), strict=True)]
    )
    shading = means.mean.copy()
    for plane, error in zip(sites(shading, period), errors, strict=True):
        plane -= np.float32(error)
    rest = _second_pass(frames, means.mean, good, period, rng)
    _check_levels(frames, steady, float(np.sqrt(rest.squares / rest.samples)))
    taken = (height - period) + (width - period) + period**2  # means of rows, of columns and of sites, in each frame
    kept = (1 - 1 / count) * (1 - taken / (height * width))
    variance = rest.squares / rest.samples / kept
    pixel = max(variance - ROUNDING, 1e-8)
    row = rest.rows / ((1 - 1 / count) * (1 - period / height)) - variance / width
    col = rest.columns / ((1 - 1 / count) * (1 - period / width)) - variance / height
    temporal = float((means.squares[good] / (count - 1)).mean(dtype=np.float64))
    new = pixel + max(row, 0) + max(col, 0) + ROUNDING  # in every frame; not what lifts it as a whole
    spread = float((shading[good] ** 2).mean(dtype=np.float64)) - new / count
    residuals = rest.residuals / np.float32(np.sqrt(kept))
    return StackNoise(
        iso=frames[0].iso,
        frames=count,
        exposure_s=(float(exposures.min()), float(exposures.max())),
        shading=shading,
        bad=bad,
        black_error=tuple(float(error - drift * exposures.mean()) for error in errors),
        drift=drift,
        temporal=float(np.sqrt(temporal)),
        fixed=float(np.sqrt(max(spread, 0))),
        sigma_px=float(np.sqrt(pixel)),
        sigma_row=float(np.sqrt(max(row, 0))),
        sigma_col=float(np.sqrt(max(col, 0))),
        sigma_bias=float(np.std(steady, ddof=1)),
        tukey=_tukey(residuals, variance, pixel),
        neighbours=rest.products / rest.squares,
        clipped=rest.clipped,
        residuals=residuals,
        codes=rest.codes,
    )


def black_of(frames: Sequence[Frame], period: int) -> tuple[tuple[float, ...], float]:
    """Return where black lies at each site, in DN from the black level at exposure 0, and its drift per second."""
    _, levels = _first_pass(frames, period)
    exposures = np.array([frame.exposure_s for frame in frames])
    drift = _drift(exposures, levels.mean(axis=1))
    return tuple(float(error) for error in levels.mean(axis=0) - drift * exposures.mean()), drift


def _first_pass(frames: Sequence[Frame], period: int) -> tuple[Means, NDArray[np.float64]]:
    """Mean frame, and the mean of each site in each frame ``(frames, sites)``."""
    means: Means | None = None
    levels, seen = [], dict[bytes, str]()
    for frame in frames:
        dn = above_black(frame.load())
        if not np.ptp(dn):
            raise ArrayError(
                f"{frame.name}: all pixels are {dn.flat[0]:g} DN above black, without any noise; this is no dark frame"
            )
        first = seen.setdefault(hashlib.sha256(np.ascontiguousarray(dn).data).digest(), frame.name)
        if first != frame.name:
            raise ArrayError(f"{frame.name} holds the same pixels as {first}; give each dark frame once")
        means = means or Means((dn.shape[0], dn.shape[1]))
        means.add(dn)
        levels.append([float(np.median(plane)) + _mean_near(plane) for plane in sites(dn, period)])
    assert means is not None
    return means, np.array(levels)


def _mean_near(plane: Floats) -> float:
    """Mean of what lies within 30 robust sigmas of the median, from it."""
    rest = plane - np.median(plane)
    low, high = np.percentile(rest, (15.8655, 84.1345))
    return float(rest[np.abs(rest) <= 15 * max(float(high - low), 1.0)].mean(dtype=np.float64))


def _drift(exposures: NDArray[np.float64], levels: NDArray[np.float64]) -> float:
    """Slope of the black level over exposure in DN per second; 0 where exposures are alike."""
    if len(exposures) < 4 or exposures.max() < 1.5 * exposures.min() or not exposures.max() > 0:
        return 0.0
    centred = exposures - exposures.mean()
    return float(np.dot(centred, levels - levels.mean()) / np.dot(centred, centred))


@dataclass
class _Rest:
    """Sums over the second pass."""

    samples: int = 0
    squares: float = 0.0
    rows: float = 0.0
    columns: float = 0.0
    products: float = 0.0
    clipped: float = 0.0
    codes: Counts = field(default_factory=lambda: histogram(np.zeros(0, np.float32)))
    residuals: Floats = field(default_factory=lambda: np.zeros(0, np.float32))


def _second_pass(
    frames: Sequence[Frame], mean: Floats, good: NDArray[np.bool_], period: int, rng: np.random.Generator
) -> _Rest:
    """Collect what each frame holds beside the mean one."""
    rest, pieces, sigmas = _Rest(), [], []
    per_row, per_column = good.sum(axis=1), good.sum(axis=0)
    take = -(-RESERVOIR // len(frames))
    for frame in frames:
        raw = frame.load()
        dn = above_black(raw)
        rest.codes = rest.codes + histogram(dn + tiled(raw.black, raw.size))
        rest.clipped += float(np.mean(dn == dn.min())) / len(frames)
        y = dn - mean
        y[~good] = 0
        for plane, keep in zip(sites(y, period), sites(good, period), strict=True):
            plane -= plane.sum(dtype=np.float64) / keep.sum()
        y[~good] = 0
        rows = y.sum(axis=1, dtype=np.float64) / np.maximum(per_row, 1)
        columns = y.sum(axis=0, dtype=np.float64) / np.maximum(per_column, 1)
        rest.rows += float(np.mean(rows**2)) / len(frames)
        rest.columns += float(np.mean(columns**2)) / len(frames)
        y -= (rows[:, None] + columns).astype(np.float32)
        y[~good] = 0
        squares = float(np.einsum("ij,ij->", y, y, dtype=np.float64))
        rest.squares += squares
        rest.products += float(np.einsum("ij,ij->", y[:, period:], y[:, :-period], dtype=np.float64))
        samples = int(good.sum())
        rest.samples += samples
        sigmas.append(np.sqrt(squares / samples))
        flat = y[good]
        pieces.append(flat if len(flat) <= take else flat[rng.integers(0, len(flat), take)])
    _check_alike(frames, np.array(sigmas))
    rest.residuals = np.concatenate(pieces)
    return rest


def _check_alike(frames: Sequence[Frame], sigmas: NDArray[np.float64]) -> None:
    """Refuse a group in which one frame has other noise: its ISO tag cannot be right."""
    middle = float(np.median(sigmas))
    if not middle:
        raise ArrayError(
            f"{frames[0].name} and the other dark frames of ISO {frames[0].iso:g} do not differ from each other: the"
            " camera's steps are coarser than its noise; raise its gain, or save more bits"
        )
    ratios = sigmas / middle
    worst = int(np.abs(np.log(ratios)).argmax())
    if len(frames) > 2 and abs(np.log(ratios[worst])) > _ODD_SIGMA:
        raise ArrayError(
            f"{frames[worst].name}: noise of {sigmas[worst]:.2f} DN, but the other dark frames of ISO"
            f" {frames[worst].iso:g} have {middle:.2f} DN; its ISO tag is wrong, or light came in"
        )


def _check_levels(frames: Sequence[Frame], levels: NDArray[np.float64], sigma: float) -> None:
    """Refuse a group in which one frame lies elsewhere than all others, by more than the noise."""
    if len(frames) < 4:
        return
    worst = int(np.abs(levels - np.median(levels)).argmax())
    others = np.delete(levels, worst)
    off = float(levels[worst] - others.mean())
    if abs(off) > max(sigma, 6 * float(others.std(ddof=1))):
        where, why = ("above", "light came in") if off > 0 else ("below", "light came into the others")
        raise ArrayError(
            f"{frames[worst].name} lies {abs(off):.2f} DN {where} the other dark frames of ISO {frames[worst].iso:g},"
            f" with noise of {sigma:.2f} DN: {why}, or the temperature changed; leave it out"
        )


def _tukey(residuals: Floats, variance: float, pixel: float) -> tuple[float, float, float]:
    """Fit Tukey-lambda to the residuals; the scale without the rounding in them."""
    shape, scale, straightness = tukey.fit(residuals)
    return shape, scale * float(np.sqrt(pixel / variance)), straightness
