"""Dark and flat frames as files: raw files, grey pictures of industrial cameras, and the pages of stacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from restore import files
from restore.camera.stack import Frame
from restore.errors import FileError, ReadError, RecipeError, UnsupportedError
from restore.files import Limits, ifd
from restore.files.folder import find
from restore.files.metadata import body_of
from restore.picture import Floats, Image, Picture, RawImage

_NOISE_PROFILE = 51041
GREY = ((1,),)


@dataclass(frozen=True)
class Headerless:
    """What grey frames (16-bit PNG or TIFF of industrial cameras) do not say themselves.

    Parameters
    ----------
    iso
        Their ISO speed, or the gain setting in any unit; None refuses such frames.
    bits
        Bits of the converter; None takes the fewest that hold all frames' values, 8 at least.
    """

    iso: float | None = None
    bits: int | None = None


@dataclass(frozen=True)
class About:
    """What files say beside pixels: camera, hash of its serial number, NoiseProfile of each ISO; and whether grey."""

    camera: str
    body: str
    noise_scales: dict[float, float]
    notes: tuple[str, ...]
    is_grey: bool


@dataclass(frozen=True)
class _Scale:
    """Of grey frames: white in DN, 0 for raw files, and what a DN is in the values of the files."""

    white: float = 0.0
    step: int = 1


@dataclass(frozen=True)
class _Shot:
    """One frame: a file, or a page of a stack, which is read anew each time."""

    path: Path
    name: str
    read: Callable[[], Picture]


def frames_of(
    darks: Sequence[Path | str],
    flats: Sequence[Path | str],
    headerless: Headerless,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> tuple[list[Frame], list[Frame], About]:
    """List the frames of files and folders with ISO and exposure; they are loaded later, one at a time.

    What a folder holds beside frames (a camera's JPEGs, damaged files) is left out, and the notes say so.

    Raises
    ------
    ReadError
        There are none, one that was named cannot be read, or one says no ISO.
    UnsupportedError
        One that was named is no sensor data: a JPEG, a developed picture.
    TooLargeError
        One that was named is beyond the limits.
    """
    left_out: dict[str, list[str]] = {}
    shots = [_shots([Path(path) for path in group], limits, left_out) for group in (darks, flats)]
    if not shots[0]:
        raise ReadError(Path(darks[0]) if darks else Path(), "no dark frames here; give raw files or folders of them")
    first = shots[0][0].read()
    scale = _scale(shots[0] + shots[1], headerless) if isinstance(first, Image) else _Scale()
    scales: dict[float, float] = {}
    made = [[_frame(shot, headerless, scale, scales) for shot in group] for group in shots]
    notes = [
        f"{names[0]} {f'and {len(names) - 1} more are' if len(names) > 1 else 'is'} left out: {problem}"
        for problem, names in left_out.items()
    ]
    if scale.step > 1:
        notes.append(f"the values of the files are multiples of {scale.step}: a DN is that much of them")
    if scale.white and headerless.bits is None and not shots[1]:
        notes.append(
            f"white at {scale.white:g} DN is a guess from dark frames alone; say the camera's bits with --bits"
        )
    return made[0], made[1], About(first.meta.camera or "", body_of(first.meta), scales, tuple(notes), scale.white > 0)


def _shots(given: Sequence[Path], limits: Limits, left_out: dict[str, list[str]]) -> list[_Shot]:
    """List the frames among files and folders; what a folder holds beside them goes into ``left_out`` by its problem.

    Raises
    ------
    FileError
        A file that was named will not do, or none of a folder's.
    """
    opened = lru_cache(maxsize=1)(partial(files.read_stack, limits=limits))
    page: Callable[[Path, int], Picture] = lambda path, number: opened(path)[number]  # noqa: E731
    shots: list[_Shot] = []
    worst: FileError | None = None
    for path in (found.path for found in find(given, is_recursive=True)):
        try:
            count = len(opened(path))
            _check_is_frame(path, page(path, 0))
        except FileError as error:
            if path in given:
                raise
            worst = worst or error
            left_out.setdefault(error.problem, []).append(path.name)
            continue
        numbered = [(f"{path}, page {n + 1}" if count > 1 else str(path), n) for n in range(count)]
        shots += [_Shot(path, name, partial(page, path, number)) for name, number in numbered]
    if worst and not shots:
        raise worst
    return shots


def _check_is_frame(path: Path, picture: Picture) -> None:
    """Refuse a developed picture, and values that are no DN.

    Raises
    ------
    UnsupportedError
        It is one.
    """
    if isinstance(picture, RawImage):
        return
    if picture.meta.format not in ("png", "tiff") or picture.pixels.shape[2] != 1:
        kind = (picture.meta.format or "picture").upper()
        raise UnsupportedError(path, f"a developed {kind} holds no sensor noise any more; give the camera's raw files")
    if picture.meta.bits > 16:
        raise UnsupportedError(path, "holds floats or more than 16 bits; give frames in whole DN of 8 to 16 bits")


def _frame(shot: _Shot, headerless: Headerless, grey: _Scale, scales: dict[float, float]) -> Frame:
    """Return one frame, to be loaded later; its NoiseProfile tag goes into ``scales`` under its ISO."""
    picture = shot.read()
    exposure = picture.meta.exposure_s or 0.0
    iso = picture.meta.iso if isinstance(picture, RawImage) else headerless.iso
    _as_raw(shot.path, picture, headerless, grey)
    if iso is None:
        iso = headerless.iso
    if iso is None:
        raise ReadError(shot.path, "says no ISO speed; give it with --iso, one ISO at a time")
    record = picture.meta.extra.get("sensor")
    scale = next(iter(ifd.numbers({**record.tags, **record.raw_tags}, _NOISE_PROFILE)), 0.0) if record else 0.0
    if scale > 0:
        scales[float(iso)] = scale
    return Frame(shot.name, float(iso), float(exposure), lambda: _as_raw(shot.path, shot.read(), headerless, grey))


def _as_raw(path: Path, picture: Picture, headerless: Headerless, grey: _Scale) -> RawImage:
    """Return a raw picture, or grey values as one of a sensor without colours."""
    _check_is_frame(path, picture)
    if isinstance(picture, RawImage):
        return picture
    if headerless.iso is None:
        raise UnsupportedError(path, "grey frames do not say their ISO or gain setting; give it with --iso")
    if not grey.white:
        raise UnsupportedError(path, "grey frames cannot be mixed with raw files")
    mosaic = _values(picture) / np.float32(grey.white * grey.step)
    return RawImage(mosaic, GREY, ((0.0,),), grey.white, meta=replace(picture.meta, iso=headerless.iso))


def _values(picture: Image) -> Floats:
    top = 255 if picture.meta.bits <= 8 else 65535
    return np.asarray(np.rint(picture.pixels[..., 0] * np.float32(top)), np.float32)


def _scale(shots: Sequence[_Shot], headerless: Headerless) -> _Scale:
    """White of the stated bits, or the fewest that hold every value, 8 at least; in steps of 4 or more one is a DN.

    Raises
    ------
    RecipeError
        The stated bits do not hold a value.
    """
    used = 0
    for picture in (shot.read() for shot in shots):
        if isinstance(picture, Image):
            used |= int(np.bitwise_or.reduce(_values(picture).astype(np.int64), axis=None))
    step = used & -used  # as cameras of 10 to 14 bits fill 16 from above
    step = step if step >= 4 and used > 255 else 1
    needed = (used // step).bit_length()
    if headerless.bits is not None and needed > headerless.bits:
        raise RecipeError(
            f"--bits {headerless.bits} does not hold the values of these frames, which take {needed} bits"
        )
    return _Scale(float(2 ** (headerless.bits or max(8, needed)) - 1), step)
