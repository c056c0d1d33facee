"""The noise proxy of one gain branch: two curves that turn white Gaussian noise into the camera's pixel noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.errors import WeightsError
from restore.picture import Floats

WIDTH = 16
REACH = 7.0
"""Gaussian samples beyond this many sigmas take the curve's end value."""
OFFICIAL_ISOS = (
    50, 64, 80, 100, 125, 160, 200, 250, 320, 400, 500, 640, 800, 1000, 1250, 1600, 2000, 2500, 3200, 4000, 5000,
    6400, 8000, 10000, 12800, 16000, 20000, 25600, 32000, 40000, 51200,
)  # fmt: skip
"""Where the scaler of the authors' own files has its 31 entries: third-stops."""


@dataclass(frozen=True, eq=False)
class Proxy:
    """Pixel noise ``n = K(iso) exp(s(iso)) B_pre(x1) + B_fol(x2)`` in DN, x1 and x2 independent N(0, 1).

    ``B_pre`` is what scales with the analog gain, ``B_fol`` what is added after it. Each is a network of 1x1
    convolutions with one input and one output, so it is a curve, and is tabulated once.

    Parameters
    ----------
    weights
        float32 arrays under the names of the authors' files without ``proxy_pixel.``: ``nn_pre.0.weight`` (16, 1,
        1, 1), ``nn_pre.2.conv1.conv.weight`` (16, 16, 1, 1), ..., ``nn_fol.4.bias`` (1,).
    gain
        ``k0, k1`` of ``K = k0 iso + k1`` in DN per electron, for files that bring their own K; (0, 0) where the
        profile's K is meant.
    isos, scaler
        Where ``s`` is known, ascending, and its values; linear in log ISO between, constant outside.

    References
    ----------
    Feng et al., "Learning Physics-Informed Noise Models from Dark Frames" (TPAMI 2026), physics-guided proxy.
    """

    weights: Mapping[str, Floats] = field(repr=False)
    isos: tuple[float, ...]
    scaler: tuple[float, ...]
    gain: tuple[float, float] = (0.0, 0.0)

    def log_scale(self, iso: float) -> float:
        """Return ``s(iso)``."""
        return float(np.interp(np.log(iso), np.log(self.isos), self.scaler))

    @cached_property
    def _tables(self) -> tuple[Floats, Floats, Floats]:
        x = np.linspace(-REACH, REACH, 4097)
        return x.astype(np.float32), branch(self.weights, "nn_pre", x), branch(self.weights, "nn_fol", x)

    @cached_property
    def variances(self) -> tuple[float, float]:
        """Variances of ``B_pre`` and ``B_fol``, by quadrature over the tables."""
        x, *curves = (table.astype(np.float64) for table in self._tables)
        density = np.exp(-x * x / 2)
        density /= density.sum()
        pre, fol = (float(density @ (curve - density @ curve) ** 2) for curve in curves)
        return pre, fol

    def sigma(self, gain: float, iso: float) -> float:
        """Return the standard deviation in DN at ``iso``, where ``gain`` is K in DN per electron."""
        pre, fol = self.variances
        return float(np.sqrt((gain * np.exp(self.log_scale(iso))) ** 2 * pre + fol))

    def sample(self, size: tuple[int, ...], gain: float, iso: float, rng: np.random.Generator) -> Floats:
        """Draw pixel noise of ``size`` in DN before the converter, independent from pixel to pixel."""
        x, pre, fol = self._tables
        first = np.interp(rng.standard_normal(size, np.float32), x, pre)
        first *= gain * np.exp(self.log_scale(iso))
        first += np.interp(rng.standard_normal(size, np.float32), x, fol)
        return np.asarray(first, np.float32)


def branch(weights: Mapping[str, Floats], name: str, x: NDArray[np.float64]) -> Floats:
    """Evaluate one branch, ``1 -> 16``, SiLU, residual blocks ``h + SiLU(C SiLU(C h))``, ``16 -> 1``, at ``x``."""
    blocks = sum(key.startswith(f"{name}.") and key.endswith("conv1.conv.weight") for key in weights)

    def layer(key: str, h: NDArray[np.float64]) -> NDArray[np.float64]:
        weight = weights[f"{name}.{key}.weight"].astype(np.float64)
        return h @ weight.reshape(weight.shape[0], -1).T + weights[f"{name}.{key}.bias"]

    h = silu(layer("0", x[:, None]))
    for block in range(2, 2 + blocks):
        h = h + silu(layer(f"{block}.conv2.conv", silu(layer(f"{block}.conv1.conv", h))))
    return np.asarray(layer(str(2 + blocks), h)[:, 0], np.float32)


def silu(h: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``h sigmoid(h)`` without overflow.

    >>> silu(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [-0.0, 0.0, 1000.0]
    """
    return np.asarray(h * 0.5 * (1 + np.tanh(h / 2)))


def official(state: Mapping[str, Any]) -> Proxy:
    """Return the pixel proxy of a state dict in the authors' layout (arrays or tensors).

    Raises
    ------
    WeightsError
        Keys are missing or have other shapes.
    """
    arrays = {
        key.removeprefix("module.").removeprefix("proxy_pixel."): np.asarray(value, np.float32)
        for key, value in state.items()
    }
    shapes = expected_shapes()
    shapes |= {"ISO2K": (2,), "scaler": (len(OFFICIAL_ISOS),)}
    wrong = [key for key, shape in shapes.items() if key not in arrays or arrays[key].reshape(-1).size != _size(shape)]
    if wrong:
        raise WeightsError(
            f"not a pixel proxy in the PNNP layout: {wrong[0]} is missing or not of shape {shapes[wrong[0]]};"
            " give a file like pw_iso_2stage_lowISO.pth"
        )
    k0, k1 = (float(value) for value in arrays["ISO2K"].reshape(-1))
    scaler = tuple(float(value) for value in arrays["scaler"].reshape(-1))
    weights = {key: arrays[key].reshape(shape) for key, shape in expected_shapes().items()}
    return Proxy(weights, tuple(map(float, OFFICIAL_ISOS)), scaler, (k0, k1))


def expected_shapes(blocks: int = 2) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the weights of both branches.

    >>> sum(_size(shape) for shape in expected_shapes().values())
    2274
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for name in ("nn_pre", "nn_fol"):
        convolutions = [f"{2 + block}.conv{which}.conv" for block in range(blocks) for which in (1, 2)]
        sizes = {"0": (WIDTH, 1), **dict.fromkeys(convolutions, (WIDTH, WIDTH)), str(2 + blocks): (1, WIDTH)}
        for key, (to, of) in sizes.items():
            shapes |= {f"{name}.{key}.weight": (to, of, 1, 1), f"{name}.{key}.bias": (to,)}
    return shapes


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))
