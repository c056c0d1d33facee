"""A camera's proxy whose answer is known."""

import numpy as np

from restore.camera.proxy import Proxy, expected_shapes


def straight(iso: float, gain: float, sigma: float) -> Proxy:
    """Return a proxy that is nearly a straight line: SiLU of x + 9 is x + 9 to a thousandth where samples lie."""
    weights = {key: np.zeros(shape, np.float32) for key, shape in expected_shapes().items()}
    weights["nn_pre.0.weight"][0] = 1
    weights["nn_pre.0.bias"][0] = 9
    weights["nn_pre.4.weight"][0, 0] = sigma / gain
    weights["nn_pre.4.bias"][0] = -9 * sigma / gain
    return Proxy(weights, (iso,), (0.0,))
