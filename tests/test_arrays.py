"""The Python front: same shape and type out, the input never changed, bad input refused."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import restore
from restore.errors import ArrayError, RecipeError

DTYPES = [np.uint8, np.uint16, np.float16, np.float32, np.float64]


def made(shape: tuple[int, ...], dtype: type, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).random(shape)
    return (values * np.iinfo(dtype).max).astype(dtype) if np.issubdtype(dtype, np.integer) else values.astype(dtype)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(DTYPES),
    st.sampled_from([(), (1,), (2,), (3,), (4,)]),
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from([">", "<"]),
    st.sampled_from(["C", "F"]),
)
def test_none_is_the_identity(dtype, channels, height, width, endian, order) -> None:
    array = np.array(made((height, width, *channels), dtype), np.dtype(dtype).newbyteorder(endian), order=order)
    array.flags.writeable = False
    out = restore.run(array, "none")
    assert out.dtype == array.dtype
    assert np.allclose(out, array, rtol=2**-24, atol=0) if dtype is np.float64 else np.array_equal(out, array)
    assert not np.shares_memory(out, array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_channel_first(dtype) -> None:
    array = made((3, 12, 14), dtype)
    array = array.astype(np.float32).astype(dtype)
    assert np.array_equal(restore.run(array, "none", channel_axis=0), array)
    last = restore.run(np.moveaxis(array, 0, -1), "wavelet", noise=0.1)
    assert np.array_equal(np.moveaxis(restore.run(array, "wavelet", noise=0.1, channel_axis=0), 0, -1), last)


def test_a_matrix_is_taken_as_the_array_it_is() -> None:
    array = made((20, 24), np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        matrix = np.matrix(array)
    out = restore.run(matrix, "wavelet", noise=0.1)
    assert type(out) is np.ndarray
    assert np.array_equal(out, restore.run(array, "wavelet", noise=0.1))


def test_a_mask_is_refused_not_ignored() -> None:
    array = np.ma.masked_greater(made((20, 24), np.float32), 0.9)
    for call in (restore.run, restore.estimate_noise):
        with pytest.raises(ArrayError, match=r"masked array .*filled"):
            call(array)


def test_alpha_is_kept() -> None:
    array = made((16, 16, 4), np.uint8)
    out = restore.run(array, "wavelet", noise=0.2)
    assert np.array_equal(out[..., 3], array[..., 3])
    assert not np.array_equal(out[..., :3], array[..., :3])


def test_floats_outside_the_range_survive() -> None:
    array = np.array([[-0.5, 3.0], [0.2, 1.5]], np.float64)
    assert np.array_equal(restore.run(array, "none"), array.astype(np.float32))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros((4, 4), np.int32), "int32"),
        (np.zeros((4, 4), np.uint32), "uint32"),
        (np.zeros((4, 4), complex), "complex"),
        (np.zeros(4, np.float32), "two or three axes"),
        (np.zeros((0, 4), np.float32), "empty"),
        (np.zeros((2, 2, 2, 3), np.float32), "two or three axes"),
        (np.zeros((4, 4, 7), np.float32), "1 to 4 channels"),
        (np.full((4, 4), np.nan), "not finite"),
        (np.full((4, 4), 1e300), "not finite"),
    ],
)
def test_bad_arrays_are_refused(array, words) -> None:
    with pytest.raises(ArrayError, match=words):
        restore.run(array, "none")


@pytest.mark.parametrize("pixels", [np.zeros((0, 4, 3)), np.full((4, 4, 3), np.nan), np.full((4, 4, 3), 1e30)])
def test_bad_pictures_are_refused(pixels) -> None:
    image = restore.Image(pixels.astype(np.float32))
    for call in (restore.run, restore.estimate_noise):
        with pytest.raises(ArrayError):
            call(image)


def test_a_picture_is_made_of_floats() -> None:
    """Of 0...255 all would count as far beyond white."""
    for array in (made((4, 4, 3), np.uint8), np.zeros((4, 4, 3), complex), [[[0.5]]]):
        with pytest.raises(ArrayError, match="floats in which 1 is white"):
            restore.Image(array)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cfa", ((0, 1), (1,))),
        ("cfa", ((0, 9), (1, 2))),
        ("cfa", ()),
        ("cfa", ((0, 1), ())),
        ("black", 64.0),
        ("black", ((2000.0, 0.0), (0.0, 0.0))),
        ("white", np.nan),
        ("camera_to_srgb", np.eye(2, dtype=np.float32)),
    ],
)
def test_a_mosaic_that_no_sensor_gives_is_refused(field, value) -> None:
    mosaic, zeros = made((16, 16), np.float32), ((0.0, 0.0), (0.0, 0.0))
    fields = {"mosaic": mosaic, "cfa": [[0, 1], [1, 2]], "black": zeros, "white": 1023.0}
    assert restore.RawImage(**fields).is_bayer
    with pytest.raises(ArrayError):
        restore.RawImage(**{**fields, field: value})


def test_an_array_is_not_written_but_said_how(tmp_path) -> None:
    with pytest.raises(ArrayError, match=r"restore.Image\(array\)"):
        restore.write(tmp_path / "a.png", made((4, 4, 3), np.float32))


def test_half_floats_stay_finite() -> None:
    array = np.where(made((40, 40, 3), np.float32) > 0.5, 65504, 0).astype(np.float16)
    assert np.isfinite(restore.run(array, "wavelet", noise=0.1)).all()


@pytest.mark.parametrize("axis", ["0", 0.0, (0,), 3, None])
def test_a_wrong_channel_axis_is_refused(axis) -> None:
    with pytest.raises(ArrayError, match="channel_axis"):
        restore.run(made((3, 12, 14), np.float32), "none", channel_axis=axis)


def test_recipe_or_arguments() -> None:
    array = made((8, 8), np.uint8)
    recipe = restore.Recipe(steps=(restore.Step(method="none"),))
    assert np.array_equal(restore.run(array, recipe=recipe), array)
    with pytest.raises(RecipeError, match="not both"):
        restore.run(array, "wavelet", recipe=recipe)
    for more in ({"strength": 0.5}, {"noise": 0.1}, {"tile": 64}, {"precision": "fp32"}, {"seed": 1}):
        with pytest.raises(RecipeError, match="not both"):
            restore.run(array, recipe=recipe, **more)
    for call in (
        lambda: restore.run(array, recipe),
        lambda: restore.run(array, ["none"]),
        lambda: restore.run(array, recipe="night"),
        lambda: restore.run_with_uncertainty(array, "none"),
    ):
        with pytest.raises(RecipeError, match="got"):
            call()
    with pytest.raises(RecipeError, match="Did you mean 'threshold'"):
        restore.run(array, "wavelet", treshold=2)
    with pytest.raises(RecipeError, match="Did you mean 'wavelet'"):
        restore.run(array, "wavelett")


def test_noise_of_counts_is_a_fraction_of_what_is_white() -> None:
    ramp = np.linspace(0.2, 0.9, 128)[:, None] + np.zeros(128)
    noisy = 4000 * (ramp + 0.05 * np.random.default_rng(0).standard_normal((128, 128)))
    found = restore.estimate_noise(noisy)
    assert found.sigma == pytest.approx(0.05 / 0.9, rel=0.15)
    assert restore.run(noisy, "wavelet", noise=found.sigma).std() == pytest.approx(4000 * ramp.std(), rel=0.02)


def test_estimate() -> None:
    noisy = 0.5 + 0.1 * np.random.default_rng(0).standard_normal((128, 128, 3))
    assert restore.estimate_noise(noisy).sigma == pytest.approx(0.1, rel=0.1)


def test_byte_order_changes_nothing() -> None:
    counts = np.random.default_rng(0).poisson(np.full((64, 64), 300)).astype(np.uint16)
    expected = restore.run(counts, "wavelet", white=1000)
    found = restore.run(counts.astype(">u2"), "wavelet", white=1000)
    assert found.dtype == np.dtype(">u2")
    assert np.array_equal(found, expected) and not np.array_equal(found, counts)
