"""Draw the noise of a camera over a clean mosaic, by one of five models of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from restore.camera.profile import IsoNoise, Profile
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
        their own. Its first pixel stands on the first site of the profile's pattern, or an even shift of it.
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
    raise NotImplementedError
