"""The generalised Anscombe transform: after it, Poisson-Gaussian noise has standard deviation one everywhere."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from restore.nets.unshuffle_unet import SEEN

WINDOW = 9
"""Side of the window over which `compressed` takes the local mean; it reads half of that around a pixel."""

LINEAR = 32.0
"""Up to this many times the noise, differences are shown to a network nearly as they are: at an edge that is
compressed it hardly sees the noise any more, and leaves it."""

SEEN_LINEAR = f"{SEEN}linear"
"""Key of a state dict under which stands what `LINEAR` was when the network learnt; 4 where it does not."""

_MEANS, _NOISE = 4.0, 0.25
"""The same for local means, and how large noise is shown."""


def stabilise(planes: Tensor, gain: Tensor, read: Tensor) -> Tensor:
    """Transform values with noise variance ``gain x + read**2`` so that their noise has unit variance.

    It is ``2/gain (sqrt(gain x + c) - sqrt(c))`` with ``c = read**2 + 3/8 gain**2``, written so that gain 0 gives
    ``x / read``. Below 0, where there is read noise only, it goes on as a straight line: negative values are
    kept, and `restored` is its exact inverse.

    Parameters
    ----------
    planes
        ``(..., H, W)``, black = 0, white = 1.
    gain, read
        Shot gain and read sigma in fractions of white; shapes that broadcast against ``planes``; not both 0.

    References
    ----------
    Starck, Murtagh and Bijaoui, "Image Processing and Data Analysis" (1998), generalised Anscombe transform.

    >>> x = torch.tensor([-0.01, 0.0, 0.2, 1.0])
    >>> shot, sigma = torch.tensor(0.01), torch.tensor(0.02)
    >>> torch.allclose(restored(stabilise(x, shot, sigma), shot, sigma), x, atol=1e-6)
    True
    >>> stabilise(x, torch.tensor(0.0), sigma).tolist()
    [-0.5, 0.0, 10.0, 50.0]
    """
    offset = read * read + 0.375 * gain * gain
    root = offset.sqrt()
    return 2 * planes / (root + (gain * planes.clamp_min(0) + offset).sqrt())


def restored(values: Tensor, gain: Tensor, read: Tensor) -> Tensor:
    """Undo `stabilise` exactly, without correcting for the bias of averaging stabilised values."""
    root = (read * read + 0.375 * gain * gain).sqrt()
    return values * root + 0.25 * gain * values * values.clamp_min(0)


def linear_of(state: Mapping[str, Tensor]) -> float:
    """Return what `LINEAR` was when the network of a state dict learnt.

    >>> linear_of({}), linear_of({SEEN_LINEAR: torch.tensor(32.0)})
    (4.0, 32.0)
    """
    return float(state.get(SEEN_LINEAR, 4.0))


def compressed(values: Tensor, linear: float = LINEAR) -> tuple[Tensor, Tensor]:
    """Split stabilised planes into what a network shall see: details, and planes that go beside them.

    A clean picture spans a thousand times its noise, and a very noisy one just one. So that one network serves
    both, details (differences from the local mean) and local means are compressed by ``asinh``: what is below
    ``linear`` stays as it is, the strongest edges, and means, grow with the logarithm of their height.

    Parameters
    ----------
    values
        ``(B, C, H, W)``.
    linear
        In units of the noise.

    Returns
    -------
    Tensor
        Details ``(B, C, H, W)``.
    Tensor
        Local means, and a plane of ones, ``(B, C + 1, H, W)``.
    """
    along = F.avg_pool2d(values, (1, WINDOW), 1, (0, WINDOW // 2), count_include_pad=False)  # half of a square's time
    mean = F.avg_pool2d(along, (WINDOW, 1), 1, (WINDOW // 2, 0), count_include_pad=False)
    details, means = (_NOISE * n * torch.asinh(x / n) for x, n in ((values - mean, linear), (mean, _MEANS)))
    return details, torch.cat([means, torch.ones_like(means[:, :1])], 1)
