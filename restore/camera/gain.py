"""K, the gain in DN per photo-electron: by photon transfer, from noise profile files, tables, or a stated guess."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.camera.frames import above_black, sites
from restore.camera.stack import Frame
from restore.errors import ArrayError, ReadError
from restore.picture import RawImage


@dataclass(frozen=True)
class Gain:
    """K with its relative standard error and where it comes from."""

    K: float
    error: float
    source: str
    is_measured: bool = False


Point = tuple[float, float, int]
"""Mean above black, temporal variance of one frame, pixels: one site of one pair of flats."""


def photon_transfer(pairs: Sequence[tuple[Frame, Frame]], black_error: tuple[float, ...]) -> Gain:
    """Fit K to pairs of flat frames of several brightnesses: the slope of temporal variance over mean.

    The variance is half that of the pair's difference, each row's and column's mean taken off, so neither fixed
    pattern nor banding counts. Saturated levels are left out: those near white, and those whose variance falls.

    Raises
    ------
    ArrayError
        Too few levels below saturation.

    References
    ----------
    EMVA 1288 standard, release 3.1, section 6; Janesick, "Photon Transfer" (2007).
    """
    points: list[Point] = []
    for first, second in pairs:
        points += _points(first.load(), second.load(), black_error)
    x, v, n = np.array(sorted(points), np.float64).reshape(-1, 3).T
    keep = v > 0.7 * np.maximum.accumulate(v)
    keep &= np.logical_and.accumulate(keep | (x < 0.5 * x.max(initial=0)))
    x, v, n = x[keep], v[keep], n[keep]
    slope, error = _line(x, v, n) if len(x) >= 2 and x.max() >= 2 * max(x.min(), 1.0) else (0.0, 0.0)
    if not slope > 2 * error:  # a negative or doubtful one too, as of flats without noise of light
        raise ArrayError(
            f"the flat frames of ISO {pairs[0][0].iso:g} give no slope: {len(x)} usable levels; shoot pairs of flats"
            " at five or more exposures from dark to half of white"
        )
    return Gain(slope, error / slope, f"photon transfer over {len(pairs)} pairs of flats", is_measured=True)


def _points(first: RawImage, second: RawImage, black_error: tuple[float, ...]) -> list[Point]:
    """Mean and temporal variance at each site of a pair; none where more than 0.1 % of pixels are saturated."""
    period = len(first.cfa)
    top = first.white - float(np.mean(first.black))
    found: list[Point] = []
    planes = zip(sites(above_black(first), period), sites(above_black(second), period), black_error, strict=True)
    for a, b, error in planes:
        if np.mean(np.maximum(a, b) >= 0.98 * top) > 1e-3:
            continue
        level = float((a.mean(dtype=np.float64) + b.mean(dtype=np.float64)) / 2) - error
        share = (b.mean(dtype=np.float64) - error) / max(a.mean(dtype=np.float64) - error, 1e-9) if level > 50 else 1.0
        rest = (b - a * share).astype(np.float64)
        rest -= rest.mean(axis=1, keepdims=True)
        rest -= rest.mean(axis=0, keepdims=True)
        height, width = rest.shape
        variance = _trimmed_variance(rest) / ((1 - 1 / height) * (1 - 1 / width)) / (2 * share)
        found.append((level, variance, rest.size))
    return found


def _trimmed_variance(rest: NDArray[np.float64]) -> float:
    """Variance without pixels beyond eight sigmas, as hot ones and cosmic rays are."""
    first = rest.std()
    return float(np.var(rest[np.abs(rest) <= 8 * first]))


def _line(x: NDArray[np.float64], v: NDArray[np.float64], n: NDArray[np.float64]) -> tuple[float, float]:
    """Return slope and its standard error of a weighted straight line; variances are known to ``v sqrt(2 / n)``."""
    weights = n / (2 * v * v)
    centre = np.average(x, weights=weights)
    spread = float(np.sum(weights * (x - centre) ** 2))
    slope = float(np.sum(weights * (x - centre) * v) / spread)
    return slope, float(1 / np.sqrt(spread))


def of_noise_profile(scale: float, span: float) -> Gain:
    """Return K of a DNG's NoiseProfile: its variance is ``scale x + offset`` of light in 0...1."""
    return Gain(scale * span, 0.05, "the NoiseProfile tag of the raw files")


def of_darktable(path: Path, camera: str, iso: float, span: float) -> Gain | None:
    """Return K from a darktable ``noiseprofiles.json``, interpolated in log ISO; None where the camera is not in it.

    Raises
    ------
    ReadError
        The file is not a noise profile file.
    """
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["noiseprofiles"]
        found = next((model for maker in listed for model in maker["models"] if _is_of(maker, model, camera)), None)
        table = sorted((float(row["iso"]), float(row["a"][1])) for row in found["profiles"]) if found else []
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ReadError(path, "not a noise profile file of darktable (noiseprofiles.json)") from error
    if not table or min(min(row) for row in table) <= 0:
        return None
    isos, scales = np.log(np.array(table)).T
    at = float(np.log(iso))
    scale = np.exp(np.interp(at, isos, scales) + (at - np.clip(at, isos[0], isos[-1])))
    return Gain(float(scale * span), 0.1, f"{path.name} of darktable")


def _is_of(maker: dict[str, Any], model: dict[str, Any], camera: str) -> bool:
    """Whether an entry names the camera, apart from case, spaces and what makers add to their names."""
    name = plain(str(model["model"]))
    return (
        name == plain(camera)
        or plain(camera) in (plain(f"{maker['maker']} {model['model']}"),)
        or (plain(camera).startswith(plain(str(maker["maker"]))) and plain(camera).endswith(name))
    )


def plain(name: str) -> str:
    """Return letters and digits of a camera's name.

    >>> plain("SONY ILCE-7SM2")
    'sonyilce7sm2'
    """
    return "".join(letter for letter in name.lower() if letter.isalnum())


@cache
def _known() -> list[dict[str, Any]]:
    text = files("restore.camera").joinpath("known.json").read_text(encoding="utf-8")
    return list(json.loads(text)["cameras"])


def of_known(camera: str, iso: float) -> Gain | None:
    """Return K from the table of cameras that others have published; None for a camera not in it.

    >>> gain = of_known("Sony ILCE-7SM2", 200)
    >>> round(gain.K, 3), of_known("Restore Simulated", 200) is None
    (0.191, True)
    """
    for entry in _known():
        if plain(camera) in map(plain, entry["names"]):
            return Gain(entry["K_per_iso"] * iso, entry["error"], f"the published table of {entry['source']}")
    return None


def assumed(iso: float, span: float, *, is_iso: bool = True) -> Gain:
    """Return the guess for a camera of which nothing is known: 0.1 DN per electron at ISO 100 and 14 bits.

    ``is_iso`` is whether ``iso`` surely is an ISO speed, and no gain setting in another unit.

    >>> round(assumed(200, 15871.0).K, 3)
    0.2
    """
    doubt = "off by a factor of two" if is_iso else "far off, as a gain setting need not be an ISO speed"
    return Gain(iso / 1000 * span / 15871, 0.7, f"a guess (0.1 DN at ISO 100 and 14 bits), which may be {doubt}")
