"""The noise of a camera at one ISO speed, and between those that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

LONG_S = 0.1
"""Exposures beyond this many seconds are long: cameras treat them in their own way."""

_ALONE = 0.6
"""Power of ISO that sigmas grow by, where one ISO alone is known: the median of the six gain paths of cameras that ELD
calibrated (Wei et al., TPAMI 2021), 0.45 to 1.09."""

_LEAST = 1e-6
"""Sigmas are interpolated as logarithms; 0 counts as this."""


@dataclass(frozen=True)
class IsoNoise:
    """The noise of a camera at one ISO; everything in DN of its raw files.

    Parameters
    ----------
    iso
        ISO speed.
    K
        DN per photo-electron: the shot noise of a signal ``x`` above black is ``K Poisson(x / K)``.
    K_source, K_error
        Where K comes from, in words, and its relative standard error.
    sigma_px
        Standard deviation of the pixel noise before the converter rounds.
    tukey_lambda, tukey_sigma
        Shape and scale of the Tukey-lambda distribution nearest to the pixel noise.
    sigma_row, sigma_col
        Standard deviations of the offsets of whole sensor rows and columns, new in every frame.
    sigma_bias
        Standard deviation of the offset of whole frames.
    black_error
        Mean of dark frames minus the black level, for each site of the pattern row by row, at exposure 0.
    drift
        Growth of the black level in DN per second of exposure.
    long_black_error, long_drift
        The same for exposures beyond 1/10 s, which cameras treat in their own way; empty where that was not measured.
    temporal
        Standard deviation of a pixel over frames as measured, with all of the above and rounding.
    fixed
        Standard deviation of the dark shading over pixels, bad ones left out.
    exposure_s
        Shortest and longest exposure of the dark frames.
    frames
        Dark frames it was measured on; 0 for an interpolated or assumed one.
    kld
        Divergence of the proxy from dark frames kept apart, in nats; None where that was not measured.
    """

    iso: float
    K: float
    sigma_px: float
    K_source: str = ""
    K_error: float = 0.0
    tukey_lambda: float = 0.14
    tukey_sigma: float = 0.0
    sigma_row: float = 0.0
    sigma_col: float = 0.0
    sigma_bias: float = 0.0
    black_error: tuple[float, ...] = (0.0,)
    drift: float = 0.0
    long_black_error: tuple[float, ...] = ()
    long_drift: float = 0.0
    temporal: float = 0.0
    fixed: float = 0.0
    exposure_s: tuple[float, float] = (0.0, 0.0)
    frames: int = 0
    kld: float | None = None

    @property
    def sigma_read(self) -> float:
        """Standard deviation of all noise that does not depend on light, rounding included.

        >>> round(IsoNoise(100, K=0.1, sigma_px=1.0, sigma_row=0.2).sigma_read, 3)
        1.06
        """
        return float(np.sqrt(self.sigma_px**2 + self.sigma_row**2 + self.sigma_col**2 + 1 / 12))


def between(known: Sequence[IsoNoise], iso: float) -> IsoNoise:
    """Return the noise at any ISO, given that at some of one gain branch, ascending.

    As measured, or interpolated in log ISO; the pixel sigma by a local cubic in log-log, which follows both a power
    law and read noise of two sources to about a percent. Beyond the measured range K goes with ISO, and sigmas go on
    along the nearest two; those of one ISO alone with a power of ISO that is usual.
    """
    for noise in known:
        if noise.iso == iso:
            return noise
    stops = np.log([noise.iso for noise in known])
    at = float(np.log(iso))
    inside = float(np.clip(at, stops[0], stops[-1]))

    far = [noise for noise in known if noise.long_black_error]

    def linear(name: str, measured: Sequence[IsoNoise] = known) -> float:
        own = np.log([noise.iso for noise in measured])
        return float(np.interp(inside, own, [getattr(noise, name) for noise in measured]))

    def power(name: str, points: int = 2) -> float:
        values = np.log([max(getattr(noise, name), _LEAST) for noise in known])
        alone = _ALONE * (at - stops[0]) if len(known) == 1 else 0.0
        return float(np.exp(_local(at, stops, values, points) + alone))

    def black(name: str, measured: Sequence[IsoNoise] = known) -> tuple[float, ...]:
        own = np.log([noise.iso for noise in measured])
        return tuple(float(np.interp(inside, own, site)) for site in np.array([getattr(n, name) for n in measured]).T)

    gain = np.exp(np.interp(inside, stops, np.log([noise.K for noise in known])) + at - inside)
    return replace(
        known[int(np.abs(stops - at).argmin())],
        iso=float(iso),
        K=float(gain),
        sigma_px=power("sigma_px", 4),
        tukey_lambda=linear("tukey_lambda"),
        tukey_sigma=power("tukey_sigma", 4),
        sigma_row=power("sigma_row"),
        sigma_col=power("sigma_col"),
        sigma_bias=power("sigma_bias"),
        black_error=black("black_error"),
        drift=linear("drift"),
        long_black_error=black("long_black_error", far) if far else (),
        long_drift=linear("long_drift", far) if far else 0.0,
        temporal=power("temporal", 4),
        fixed=power("fixed"),
        frames=0,
        kld=None,
    )


def _local(at: float, xs: NDArray[np.float64], ys: NDArray[np.float64], points: int) -> float:
    """Interpolate by the polynomial through the nearest points; go on along the last two outside.

    >>> xs = np.array([0.0, 1.0, 3.0, 4.0])
    >>> round(_local(2.0, xs, xs**3, 4), 9), _local(5.0, xs, 2 * xs, 4), _local(2.0, xs[:1], xs[:1], 4)
    (8.0, 10.0, 0.0)
    """
    if len(xs) == 1:
        return float(ys[0])
    is_inside = xs[0] <= at <= xs[-1]
    count = min(points if is_inside else 2, len(xs))
    right = int(np.clip(np.searchsorted(xs, at), 1, len(xs) - 1))
    start = int(np.clip(right - count // 2, 0, len(xs) - count))
    x, y = xs[start : start + count], ys[start : start + count]
    weights = [np.prod([(at - other) / (mine - other) for other in x if other != mine]) for mine in x]
    return float(np.dot(weights, y))
