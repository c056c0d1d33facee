"""Draw the noise of a camera over a clean mosaic, by one of five models of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from restore.camera import tukey
from restore.camera.converter import rounded
from restore.camera.frames import tiled
from restore.camera.iso import IsoNoise
from restore.camera.profile import Profile
from restore.errors import ArrayError, nearest
from restore.picture import Floats

Backend = Literal["gaussian", "poisson-gaussian", "eld", "sfrn", "pnnp"]
BACKENDS: tuple[Backend, ...] = ("gaussian", "poisson-gaussian", "eld", "sfrn", "pnnp")


@dataclass(frozen=True)
class Spread:
    """How far the noise of a training sample may stray from the profile, so that a network bears small errors of it.

    Parameters
    ----------
    pixel
        Relative sigma of the scale of the pixel noise, one draw a mosaic.
    band
        Factor on row and column noise.
    wild
        Probability that the band excess over the profile, and the bias, is tenfold.
    bias
        Sigma of the offset of a mosaic, in DN at ISO 1; it grows with the root of ISO.
    """

    pixel: float = 0.05
    band: float = 1.25
    wild: float = 0.1
    bias: float = 0.002


AS_MEASURED = Spread(0.0, 1.0, 0.0, 0.0)


def sample(
    clean: Floats,
    profile: Profile,
    iso: float,
    ratio: float,
    rng: np.random.Generator,
    *,
    backend: Backend = "pnnp",
    spread: Spread = AS_MEASURED,
    darks: Sequence[Floats] = (),
) -> Floats:
    """Return what the camera would have given of a clean mosaic, with less light and made bright again.

    Parameters
    ----------
    clean
        ``(H, W)``, 1 = white, black subtracted: the mosaic itself, as rows and columns of the sensor have noise of
        their own. Its first pixel stands on the first site of the profile's pattern, or an even shift of it, as each
        site has its own black level.
    ratio
        The light is divided by it, and the result multiplied: 1 for the noise of a normal exposure at ``iso``.
    spread
        `Spread()` for training as published, `AS_MEASURED` for the profile itself.
    darks
        Dark frames ``(h, w)`` at ``iso`` in DN, dark shading and black subtracted, as large as ``clean`` at least:
        what ``sfrn`` draws from.

    Returns
    -------
    ``(H, W)`` float32, rounded as the converter does, dark shading taken off again; at most 1, not clipped at 0.

    Raises
    ------
    ArrayError
        An unknown model; ``sfrn`` without dark frames; ``pnnp`` where the profile has no proxy for ``iso``.

    References
    ----------
    Feng et al. (TPAMI 2026); Wei et al., "Physics-based noise modeling" (ELD, TPAMI 2021); Zhang et al., "Rethinking
    noise synthesis and modeling in raw denoising" (SFRN, ICCV 2021).
    """
    _check(clean, profile, iso, ratio, backend, darks)
    black = tiled(profile.black, (clean.shape[0], clean.shape[1]))
    span = np.float32(profile.white) - black
    noise = profile.at(iso)
    light = np.maximum(np.asarray(clean, np.float32), 0) * span / np.float32(ratio)
    is_wild = rng.random() < spread.wild
    dn = shot(light, noise.K, rng) if backend != "gaussian" else light + _normal_shot(light, noise.K, rng)
    if backend == "sfrn":
        dn += _piece(darks, clean.shape, len(profile.cfa), rng)
    else:
        dn += unlit((clean.shape[0], clean.shape[1]), profile, noise, rng, backend=backend, spread=spread, wild=is_wild)
        level = black + profile.black_error(iso, (clean.shape[0], clean.shape[1]))
        dn = _converted(dn, level, profile, backend, rng)
    excess = 10 if is_wild else 1
    dn += np.float32(rng.standard_normal() * spread.bias * np.sqrt(iso) * excess)
    return np.asarray(np.minimum(np.maximum(dn, -black) / span * np.float32(ratio), 1))


def shot(light: Floats, gain: float, rng: np.random.Generator) -> Floats:
    """Return ``K Poisson(light / K)`` of light in DN; 0 gives 0."""
    return np.asarray(gain * rng.poisson(np.maximum(light, 0) / gain), np.float32)


def unlit(
    size: tuple[int, int],
    profile: Profile,
    noise: IsoNoise,
    rng: np.random.Generator,
    *,
    backend: Backend = "pnnp",
    spread: Spread = AS_MEASURED,
    wild: bool = False,
) -> Floats:
    """Draw the noise of a dark frame ``(H, W)`` in DN, without fixed pattern, before the converter rounds."""
    dn = pixel_noise(size, profile, noise, rng, backend)
    dn *= np.float32(1 + spread.pixel * rng.standard_normal())
    factor = 1 + (spread.band - 1) * (10 if wild else 1)
    if backend in ("eld", "pnnp"):
        dn += np.float32(factor * noise.sigma_row) * rng.standard_normal((size[0], 1), np.float32)
    if backend == "pnnp":
        dn += np.float32(factor * noise.sigma_col) * rng.standard_normal((1, size[1]), np.float32)
    return dn


def pixel_noise(
    size: tuple[int, int], profile: Profile, noise: IsoNoise, rng: np.random.Generator, backend: Backend
) -> Floats:
    """Draw the part of it that is independent from pixel to pixel, by one of the models."""
    if backend == "pnnp":
        proxy = profile.branches[profile.branch_of(noise.iso)].proxy
        assert proxy is not None
        drawn = proxy.sample(size, noise.K, noise.iso, rng)
        if (
            noise.iso not in proxy.isos
        ):  # between ISOs the shape comes from the proxy, its width from the profile's curve
            drawn *= np.float32(noise.sigma_px / proxy.sigma(noise.K, noise.iso))
        return drawn
    if backend == "eld":
        return tukey.draw(size, noise.tukey_lambda, noise.tukey_sigma, rng)
    sigma = np.sqrt(max(noise.sigma_read**2 - 1 / 12, 0))
    return np.float32(sigma) * rng.standard_normal(size, np.float32)


def dark_frame(
    profile: Profile, iso: float, rng: np.random.Generator, *, backend: Backend = "pnnp", exposure_s: float = 0.0
) -> Floats:
    """Make a whole dark frame of the body the profile is of: ``(H, W)`` in whole DN above black.

    Raises
    ------
    ArrayError
        The profile has no maps, or no proxy where ``pnnp`` is asked for.
    """
    _check_backend(profile, iso, backend)
    fixed = profile.dark_shading(iso, exposure_s)
    noise = profile.at(iso)
    dn = unlit((fixed.shape[0], fixed.shape[1]), profile, noise, rng, backend=backend) + fixed
    black = tiled(profile.black, (fixed.shape[0], fixed.shape[1]))
    dn += black + np.float32(noise.sigma_bias * rng.standard_normal())
    return rounded(dn, profile.converter if backend == "pnnp" else None) - black


def _normal_shot(light: Floats, gain: float, rng: np.random.Generator) -> Floats:
    """Draw the normal approximation of shot noise without its mean."""
    return np.asarray(np.sqrt(gain * light) * rng.standard_normal(light.shape, np.float32))


def _converted(dn: Floats, level: Floats, profile: Profile, backend: Backend, rng: np.random.Generator) -> Floats:
    """Convert to whole DN above ``level``, on top of the fraction that dark shading leaves from pixel to pixel."""
    base = level - np.float32(0.5) + rng.random(dn.shape, np.float32)
    return rounded(dn + base, profile.converter if backend == "pnnp" else None) - base


def _piece(darks: Sequence[Floats], size: tuple[int, ...], period: int, rng: np.random.Generator) -> Floats:
    """Cut a piece out of one dark frame, on the same phase of the pattern."""
    dark = darks[int(rng.integers(len(darks)))]
    top, left = (
        period * int(rng.integers((whole - part) // period + 1)) for whole, part in zip(dark.shape, size, strict=True)
    )
    return np.asarray(dark[top : top + size[0], left : left + size[1]], np.float32)


def _check(
    clean: Floats, profile: Profile, iso: float, ratio: float, backend: Backend, darks: Sequence[Floats]
) -> None:
    """Refuse what cannot be sampled."""
    if clean.ndim != 2 or 0 in clean.shape:
        raise ArrayError(f"noise is drawn over a mosaic (H, W), got shape {clean.shape}; unpack the planes first")
    if not (np.isfinite(ratio) and ratio > 0):
        raise ArrayError(f"ratio {ratio} is not a positive number")
    _check_backend(profile, iso, backend)
    if backend == "sfrn" and not darks:
        raise ArrayError("the model 'sfrn' samples dark frames; give some, or choose another model")
    if backend == "sfrn" and any(a < b for dark in darks for a, b in zip(dark.shape, clean.shape, strict=True)):
        raise ArrayError(f"the dark frames are smaller than the mosaic {clean.shape}; cut it into pieces")


def _check_backend(profile: Profile, iso: float, backend: Backend) -> None:
    if backend not in BACKENDS:
        raise ArrayError(f"unknown noise model {backend!r}.{nearest(backend, BACKENDS)}")
    if backend == "pnnp" and profile.branches[profile.branch_of(iso)].proxy is None:
        raise ArrayError("the profile has no trained proxy for this ISO; use the model 'eld', or calibrate again")
