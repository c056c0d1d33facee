"""The Python front: arrays, pictures or paths in, the same kind out."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore import files, pipeline
from restore.errors import ArrayError, RecipeError
from restore.noise import Noise, relative
from restore.picture import Floats, Image, Meta, Picture, RawImage
from restore.recipe import AUTO, Precision, Recipe, Step, Tile
from restore.result import Result
from restore.runtime import Device, Runtime

Array = NDArray[Any]

LARGEST = 1e9
"""Largest value of a float array, in multiples of white: the sums of squares of larger ones overflow."""


def run(
    picture: Array | Picture | Path | str,
    method: str = AUTO,
    *,
    noise: float | None = None,
    white: float | None = None,
    strength: float = 1.0,
    device: Device = "auto",
    tile: Tile = "auto",
    precision: Precision = "auto",
    seed: int = 0,
    recipe: Recipe | None = None,
    channel_axis: int | None = -1,
    **settings: Any,
) -> Any:
    """Restore a picture.

    Parameters
    ----------
    picture
        An array ``(H, W)`` or ``(H, W, C)``, C = 1...4 (grey, grey and alpha, RGB, RGB and alpha): uint8 and uint16
        with the type's maximum as white, float16/32/64 with 1.0 as white (values outside 0...1 are welcome; counts of
        a few photons should be floats, as integers are rounded and their mean is lost). Or an ``Image``, a
        ``RawImage``, or the path of a picture file.
    method
        A name in ``restore.methods.registry()``, several joined by commas, or ``"auto"``.
    noise
        Noise sigma as a fraction of white; None estimates it.
    white
        Value that counts as white where that is not the type's maximum: 4095 for 12 bits stored in uint16.
    strength
        0...1: how much of the change is kept.
    device, tile, precision, seed
        As in the command: ``"auto"``, or what you want.
    recipe
        A whole recipe, in place of all arguments before it but the device.
    channel_axis
        Which axis of an array holds the channels; None for a grey array of two axes. Arrays of two axes are grey
        whatever this says.
    settings
        Knobs of the method.

    Returns
    -------
    array or Image
        For an array: a new array of the same shape and type (the input is never changed). For a picture or a path:
        a developed ``Image``; a ``RawImage`` where the recipe keeps the mosaic.

    Raises
    ------
    ArrayError
        Not a picture: wrong shape or type, or values that are not finite or absurdly large.
    RecipeError
        Unknown method or knob, or a value out of range; a recipe and what it holds.
    FileError
        The file cannot be read.
    RestoreError
        Another of `restore.errors`: weights, memory, or a result that must not be kept.
    """
    _check_kinds(method, recipe)
    if recipe is None:
        steps = tuple(Step(method=name.strip(), strength=strength, settings=settings) for name in method.split(","))
        recipe = Recipe(steps=steps, noise=noise, white=white, tile=tile, precision=precision, seed=seed)
    elif settings or (method, noise, white, strength, tile, precision, seed) != (
        AUTO, None, None, 1.0, "auto", "auto", 0,
    ):  # fmt: skip
        raise RecipeError("give either a recipe, or what it holds (method, knobs, noise, strength, ...), not both")
    runtime = _runtime(device)
    if isinstance(picture, np.ndarray):
        result = pipeline.run(from_array(picture, channel_axis), recipe, runtime).picture
        assert isinstance(result, Image)
        return to_array(result, like=picture, channel_axis=channel_axis)
    return pipeline.run(_read(picture), recipe, runtime).picture


def run_with_uncertainty(
    picture: Array | Picture | Path | str,
    recipe: Recipe,
    device: Device = "auto",
    *,
    channel_axis: int | None = -1,
) -> Result:
    """Run a recipe and also work out the standard error of each value of the last step.

    Parameters
    ----------
    channel_axis
        Where an array's channels lie; None: it has none. In the result they are last.

    Returns
    -------
    Result
        ``result.picture`` and ``result.uncertainty`` are an ``Image`` each, in fractions of white; the second is None
        where the last step's errors cannot be known. ``result.alarms`` says what to look at.

    Raises
    ------
    RestoreError
        As :func:`run`.
    """
    _check_kinds(AUTO, recipe)
    given = from_array(picture, channel_axis) if isinstance(picture, np.ndarray) else _read(picture)
    return pipeline.run(given, recipe, _runtime(device), with_uncertainty=True)


@cache
def _runtime(device: Device) -> Runtime:
    """Return what all calls on a device share, so that weights are loaded by the first alone."""
    return Runtime(device=device)


if hasattr(os, "register_at_fork"):
    # a thread of the parent may have held its lock
    os.register_at_fork(after_in_child=_runtime.cache_clear)


def _check_kinds(method: object, recipe: object) -> None:
    if not isinstance(method, str):
        raise RecipeError(f"a method is a name, or several joined by commas; got {method!r} (a recipe goes to recipe=)")
    if not isinstance(recipe, Recipe | None):
        raise RecipeError(f"a recipe is a restore.Recipe, as restore.Recipe.load(path) reads it; got {recipe!r}")


def _read(picture: Picture | Path | str) -> Picture:
    if isinstance(picture, str | Path):
        picture = files.read(picture)
    if not isinstance(picture, Image | RawImage):
        raise ArrayError(
            f"a picture is a numpy array, an Image, a RawImage or the path of a file; got {type(picture).__name__}"
        )
    _check_values(picture.pixels if isinstance(picture, Image) else picture.mosaic)
    return picture


def from_array(array: Array, channel_axis: int | None = -1) -> Image:
    """Return an array as an ``Image``; see :func:`run` for what is taken.

    Raises
    ------
    ArrayError
        Not a picture: wrong shape or type, masked, or values that are not finite.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise ArrayError("the mask of a masked array would be ignored; give array.filled(value), or array.data")
    array = np.asarray(array)  # a matrix would stay two-dimensional whatever is done to it
    if array.dtype.kind not in "uf" or (array.dtype.kind == "u" and array.dtype.itemsize > 2):
        raise ArrayError(f"arrays of {array.dtype} are not pictures; use uint8, uint16, float16, float32 or float64")
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise ArrayError(f"a picture has two or three axes, none of them empty; got shape {array.shape}")
    pixels = array[..., None] if array.ndim == 2 else np.moveaxis(array, _axis(array, channel_axis), -1)
    if pixels.shape[-1] not in (1, 2, 3, 4):
        raise ArrayError(
            f"a picture has 1 to 4 channels; got {pixels.shape[-1]} of shape {array.shape} (see channel_axis)"
        )
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            floats = pixels.astype(np.float32)
        _check_values(floats)
    else:
        floats = pixels.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
    colours = pixels.shape[-1] - (pixels.shape[-1] + 1) % 2  # 1, 1, 3, 3
    alpha = floats[..., -1] if pixels.shape[-1] in (2, 4) else None
    bits = 16 if array.dtype.itemsize == 2 else 8  # of either byte order
    return Image(floats[..., :colours], alpha, Meta(bits=bits, is_float=array.dtype.kind == "f"))


def _check_values(floats: Floats) -> None:
    low, high = (floats.min(), floats.max()) if floats.size else (np.nan, np.nan)
    if not np.isfinite([low, high]).all():
        raise ArrayError(
            "the picture is empty, or has values that are not finite (NaN, infinite, beyond float32); clean it first"
        )
    if max(-low, high) > LARGEST:
        raise ArrayError(f"values beyond {LARGEST:g} times white are no picture; divide by what is white")


def to_array(image: Image, *, like: Array, channel_axis: int | None = -1) -> Array:
    """Return an ``Image`` as an array with the shape and type of ``like``; alpha is taken from ``like`` unchanged."""
    pixels, like = image.pixels, np.asarray(like)
    if like.dtype.kind == "u":
        white = np.iinfo(like.dtype).max
        pixels = np.rint(np.clip(pixels, 0, 1) * np.float32(white))
    elif like.dtype.itemsize == 2:
        pixels = np.clip(pixels, np.finfo(like.dtype).min, np.finfo(like.dtype).max)  # beyond lies infinity
    if like.ndim == 2:
        return pixels[..., 0].astype(like.dtype)
    out = np.moveaxis(like.copy(), _axis(like, channel_axis), -1)
    out[..., : pixels.shape[2]] = pixels
    return np.ascontiguousarray(np.moveaxis(out, -1, _axis(like, channel_axis)))


def _axis(array: Array, channel_axis: object) -> int:
    if not isinstance(channel_axis, int | np.integer) or not -array.ndim <= channel_axis < array.ndim:
        raise ArrayError(f"channel_axis {channel_axis} does not fit an array of shape {array.shape}")
    return int(channel_axis)


def estimate_noise(picture: Array | Picture | Path | str, *, channel_axis: int | None = -1) -> Noise:
    """Return the :class:`restore.Noise` of an array, a picture or a picture file.

    It is in fractions of white; of floats far from 0...1, of what `run` takes for white.

    Parameters
    ----------
    picture
        An array ``(H, W)`` or ``(H, W, C)``, C = 1...4, of the types that `run` takes; a picture, or the path of one.
    channel_axis
        Where an array's channels lie; None: it has none.

    Raises
    ------
    ArrayError
        The array is of another shape or type.
    ReadError
        The file cannot be read.
    """
    return relative(from_array(picture, channel_axis) if isinstance(picture, np.ndarray) else _read(picture))
