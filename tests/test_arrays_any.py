"""Whatever array is given to whatever method: the right shape and type come back, or a typed error; nothing else."""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import restore
from restore import methods
from restore.errors import RestoreError
from restore.method import Method
from restore.picture import Domain

TAKEN = ("u1", "u2", "f2", "f4", "f8")
REFUSED = ("i1", "i2", "i4", "i8", "u4", "u8", "?", "c8", "S3", "U2", "O", "M8[s]")
SHAPES = [(), (0,), (5,), (0, 4), (4, 0), (4, 4, 0), (1, 1), (1, 9), (9, 1), (1, 1, 1), (1, 1, 3), (2, 3, 4), (7, 5, 2)]
SHAPES += [(16, 17), (12, 9, 3), (33, 20, 3), (20, 33, 4), (3, 11, 13), (6, 6, 5), (2, 2, 2, 2)]
FILLS = ("plain", "nan", "inf", "-inf", "huge", "negative", "tiny", "constant", "bright")


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Draw an array of any shape, type, byte order, content and layout in memory."""
    kind = draw(st.sampled_from(TAKEN + TAKEN + REFUSED))
    shape = draw(st.sampled_from(SHAPES))
    seed = draw(st.integers(0, 9))
    values = np.random.default_rng(seed).random(shape)
    fill = draw(st.sampled_from(FILLS))
    array = np.asarray(values * 255 if kind[0] in "ui" else values).astype(kind)
    if kind[0] == "f" and array.size:
        with np.errstate(over="ignore"):
            array = filled(array, fill)
    elif fill == "constant" and array.size:
        array[...] = array.flat[0]
    array = array.astype(array.dtype.newbyteorder(draw(st.sampled_from("<>"))))
    return laid_out(array, draw(st.sampled_from(("C", "F", "reversed", "strided", "turned", "broadcast"))))


def filled(array: np.ndarray, fill: str) -> np.ndarray:
    """Put unusual values into floats."""
    special = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "huge": 1e30}
    if fill in special:
        array.flat[array.size // 2] = special[fill]
        return array
    change = {"negative": lambda x: x - 0.7, "tiny": lambda x: x * 1e-38, "constant": lambda x: x * 0 + 0.3}
    change["bright"] = lambda x: x * 60000
    return change[fill](array).astype(array.dtype) if fill in change else array


def laid_out(array: np.ndarray, layout: str) -> np.ndarray:
    """Give an array of the same values, otherwise laid out in memory."""
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "reversed" and array.ndim:
        return np.flip(np.flip(array).copy())
    if layout == "strided" and array.ndim >= 2:
        wide = np.zeros((array.shape[0] * 2, *array.shape[1:]), array.dtype)
        wide[::2] = array
        return wide[::2]
    if layout == "turned" and array.ndim >= 2:
        return array.swapaxes(0, 1).copy().swapaxes(0, 1)
    if layout == "broadcast" and array.ndim >= 2 and array.shape[0]:
        return np.broadcast_to(array[:1], array.shape)
    return array


PHASES = (Phase.explicit, Phase.generate)
"""What fails is small enough as it is: shrinking would cost minutes."""

THERE = list(methods.registry().values())
QUICK = [m for m in THERE if not m.fits_per_image and m.domain is not Domain.MOSAIC]
SLOW = [m for m in THERE if m not in QUICK]


def check(array: np.ndarray, method: Method, noise: float | None, is_locked: bool) -> None:
    """Run a method; compare shape, type and the input."""
    before, dtype = array.tobytes(), array.dtype
    if is_locked and isinstance(array, np.ndarray):
        array.flags.writeable = False
    try:
        out = restore.run(array, method.name, noise=noise, device="cpu", precision="fp32")
    except RestoreError as error:
        assert len(str(error)) > 20
        out = None
    assert array.tobytes() == before
    assert array.dtype == dtype
    if out is not None:
        assert (out.shape, out.dtype) == (array.shape, dtype)
        assert not np.shares_memory(out, array)
        assert np.isfinite(out).all()
        assert array.dtype.kind in "uf"


@pytest.mark.parametrize("method", QUICK, ids=lambda method: method.name)
@settings(max_examples=60, deadline=None, derandomize=True, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(array=arrays(), noise=st.sampled_from((None, None, 0.0, 0.02, 0.5, 1.0)), is_locked=st.booleans())
def test_any_array(method: Method, array: np.ndarray, noise: float | None, is_locked: bool) -> None:
    check(array, method, noise, is_locked)


@pytest.mark.parametrize("method", SLOW, ids=lambda method: method.name)
@settings(max_examples=12, deadline=None, derandomize=True, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(array=arrays().filter(lambda array: array.size < 200), is_locked=st.booleans())
def test_any_small_array_for_slow_methods(method: Method, array: np.ndarray, is_locked: bool) -> None:
    check(array, method, 0.1, is_locked)


@pytest.mark.parametrize("method", QUICK, ids=lambda method: method.name)
@pytest.mark.parametrize("kind", TAKEN)
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if len(shape) in (2, 3) and 0 not in shape][:-1])
def test_every_picture_gets_an_answer(method: Method, kind: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).random(shape)
    array = (values * np.iinfo(kind).max).astype(kind) if kind[0] == "u" else values.astype(kind)
    if array.ndim == 3 and array.shape[2] > 4:
        array = np.moveaxis(array, 0, -1)
    out = restore.run(array, method.name, device="cpu", precision="fp32")
    assert (out.shape, out.dtype) == (array.shape, array.dtype)
