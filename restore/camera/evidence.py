"""How well a profile's models of the noise agree with dark frames that were kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from restore.camera.converter import rounded
from restore.camera.divergence import Counts, divergence, histogram
from restore.camera.frames import above_black, repaired, tiled
from restore.camera.profile import Profile
from restore.camera.sample import Backend, pixel_noise
from restore.camera.stack import Frame
from restore.picture import Floats

LEVELS = np.concatenate(
    [10.0 ** np.arange(-5, -2, 0.25), np.linspace(0.01, 0.99, 99), 1 - 10.0 ** np.arange(-2.25, -5.1, -0.25)]
)
"""Of the quantiles that are compared."""
MODELS: tuple[Backend, ...] = ("gaussian", "eld", "pnnp")


@dataclass(frozen=True, eq=False)
class Evidence:
    """One ISO of a profile against held-out dark frames.

    Parameters
    ----------
    frames
        How many were held out.
    real, made
        Histograms of whole dark frames in DN: held out, and made by each model with fixed pattern, bands and rounding.
    kld
        Divergence of each model in nats.
    quantiles
        Of the pixel noise at `LEVELS`: ``"real"`` and each model.
    spectra
        Power of row means and of column means over frequency, real and made by the profile: ``(4, n)`` padded with NaN.
    """

    iso: float
    frames: int
    real: Counts
    made: dict[str, Counts]
    kld: dict[str, float]
    quantiles: dict[str, NDArray[np.float64]]
    spectra: dict[str, NDArray[np.float64]]

    @property
    def chance(self) -> float:
        """Divergence in nats that two samples of so many pixels have though their noise is the same.

        References
        ----------
        Wilks, "The large-sample distribution of the likelihood ratio" (1938).
        """
        made = next(iter(self.made.values()))
        bins = np.count_nonzero((self.real > 0) | (made > 0))
        return float((bins - 1) / 2 * (1 / self.real.sum() + 1 / made.sum()))


def compare(profile: Profile, iso: float, held_out: Sequence[Frame], rng: np.random.Generator) -> Evidence:
    """Compare held-out dark frames of one ISO with as many made frames.

    Frames are compared whole, in DN, bad pixels repaired in both; the black level of each real frame counts as it is.
    """
    assert profile.maps is not None
    period, noise = len(profile.cfa), profile.at(iso)
    models = [model for model in MODELS if model != "pnnp" or profile.branches[profile.branch_of(iso)].proxy]
    real: Counts | None = None
    made: dict[str, Counts] = {}
    residuals: dict[str, list[Floats]] = {name: [] for name in ("real", *models)}
    bands: dict[str, list[tuple[Floats, Floats]]] = {"real": [], "made": []}
    for frame in held_out:
        raw = frame.load()
        fixed = profile.dark_shading(iso, frame.exposure_s)
        dn = repaired(above_black(raw), profile.maps.bad, period)
        smooth = repaired(fixed, profile.maps.bad, period)
        size = dn.shape[0], dn.shape[1]
        black = tiled(profile.black, size)
        offset = np.float32(np.mean(dn - smooth))
        real = histogram(dn) if real is None else real + histogram(dn)
        rest, rows, columns = _decoupled(dn - smooth)
        residuals["real"].append(rest)
        bands["real"].append((rows, columns))
        for model in models:
            pixels = pixel_noise(size, profile, noise, rng, model)
            if model != "gaussian":
                pixels += np.float32(noise.sigma_row) * rng.standard_normal((size[0], 1), np.float32)
                pixels += np.float32(noise.sigma_col) * rng.standard_normal((1, size[1]), np.float32)
            steps = profile.converter if model == "pnnp" else None
            frame_dn = rounded(pixels + smooth + offset + black, steps) - black
            made[model] = made.get(model, 0) + histogram(frame_dn)
            rest, rows, columns = _decoupled(frame_dn - smooth)
            residuals[model].append(rest)
            if model == models[-1]:
                bands["made"].append((rows, columns))
    assert real is not None
    return Evidence(
        iso=iso,
        frames=len(held_out),
        real=real,
        made=made,
        kld={model: divergence(real, counts) for model, counts in made.items()},
        quantiles={name: np.quantile(np.concatenate(parts), LEVELS) for name, parts in residuals.items()},
        spectra={
            f"{name} {axis}": _spectrum([pair[which] for pair in pairs])
            for name, pairs in bands.items()
            for which, axis in enumerate(("rows", "columns"))
        },
    )


def with_divergence(profile: Profile, found: Sequence[Evidence]) -> Profile:
    """Return the profile with the divergence of its proxy written into it."""
    by_iso = {evidence.iso: evidence.kld.get("pnnp") for evidence in found}
    return replace(profile, isos=tuple(replace(noise, kld=by_iso.get(noise.iso)) for noise in profile.isos))


def _decoupled(rest: Floats) -> tuple[Floats, Floats, Floats]:
    """Split what is left of a frame into pixel noise ``(H W,)``, row means and column means."""
    rest = rest - rest.mean(dtype=np.float64).astype(np.float32)
    rows = rest.mean(axis=1, dtype=np.float64).astype(np.float32)
    columns = rest.mean(axis=0, dtype=np.float64).astype(np.float32)
    return (rest - rows[:, None] - columns).ravel(), rows, columns


def _spectrum(means: Sequence[Floats]) -> NDArray[np.float64]:
    """Power over frequency, averaged over frames; the mean over frequency is the variance."""
    power = np.mean([np.abs(np.fft.rfft(row)) ** 2 / len(row) for row in means], axis=0)
    return np.asarray(power[1:], np.float64)
