"""The NoiSER network: two convolutions around an instance norm, 1,763 numbers that were learnt from noise alone."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn


class Noiser(nn.Module):
    """Map a picture in -1...1 to a picture in -1...1 whose exposure is gone.

    The instance norm divides every feature by its mean and deviation over the whole picture, so the answer does not
    change when the picture is scaled or shifted: ``f(a * x + c) == f(x)`` for ``a > 0``, up to ``eps`` and, with
    ``padding="zeros"``, away from the border.

    Parameters
    ----------
    hidden
        Features between the convolutions.
    padding
        What lies outside the picture: ``"zeros"`` as published (mid-grey: a bright frame around a dark picture), or
        ``"replicate"``.
    eps
        Added to the variance: 1e-5 as published, which very dark pictures can feel.

    References
    ----------
    Zhang et al., "Noise Self-Regression: A New Learning Paradigm to Enhance Low-Light Images Without Task-Related
    Data" (TPAMI 2025, arXiv 2211.04700).
    """

    def __init__(
        self, hidden: int = 32, *, padding: Literal["zeros", "replicate"] = "zeros", eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(3, hidden, 3, padding=1, padding_mode=padding),
            nn.InstanceNorm2d(hidden, eps=eps),
            nn.GELU(),
            nn.Conv2d(hidden, 3, 3, padding=1, padding_mode=padding),
            nn.Tanh(),
        )

    def convolutions(self) -> tuple[nn.Conv2d, nn.Conv2d]:
        """Return the convolutions before and after the norm."""
        first, last = self.network[0], self.network[3]
        assert isinstance(first, nn.Conv2d)
        assert isinstance(last, nn.Conv2d)
        return first, last

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, 3, H, W)`` to the same shape; each picture of a batch is normalised by itself."""
        out: Tensor = self.network(x)
        return out
