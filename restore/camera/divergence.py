"""How far two samples of whole DN are apart: Kullback-Leibler divergence of their histograms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from restore.picture import Floats

Counts = NDArray[np.int64]
OFFSET = 1 << 15


def histogram(values: Floats) -> Counts:
    """Count whole DN in unit bins from -32768 to 98303; what lies beyond counts in the end bins.

    >>> counts = histogram(np.array([-1.0, 2.0, 2.0], np.float32))
    >>> counts[[32767, 32770]].tolist()
    [1, 2]
    """
    bins = np.rint(values).astype(np.int64) + OFFSET
    return np.bincount(bins.ravel().clip(0, (4 << 15) - 1), minlength=4 << 15)


def divergence(real: Counts, made: Counts) -> float:
    """Return the divergence of ``made`` from ``real`` in nats, half a count added to each bin either has.

    >>> counts = np.array([0, 5, 10, 0])
    >>> divergence(counts, counts), round(divergence(counts, counts[::-1]), 3)
    (0.0, 0.202)
    """
    support = (real > 0) | (made > 0)
    p, q = real[support] + 0.5, made[support] + 0.5
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum(p * np.log(p / q)))
