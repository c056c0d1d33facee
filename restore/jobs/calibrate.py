"""Calibrate a camera from files: read what they are, group them, learn the profile, write it and its report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from restore import files
from restore.camera import gain as gains
from restore.camera.profile import Profile
from restore.camera.stack import Frame
from restore.errors import FileError, ReadError, RecipeError, UnsupportedError, WriteError
from restore.files import Limits, ifd
from restore.files.atomic import check_target
from restore.files.folder import find
from restore.files.metadata import exif_tree
from restore.paths import is_folder
from restore.picture import Floats, Image, Picture, RawImage

if TYPE_CHECKING:
    from restore.camera.calibration import Plan

_BODY_SERIAL, _DNG_SERIAL, _NOISE_PROFILE = 42033, 50735, 51041
GREY = ((1,),)
Reader = Callable[[Path], Picture]


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
class _About:
    """What the files say beside their pixels: camera, hash of its serial number, the NoiseProfile tag of each ISO."""

    camera: str
    body: str
    noise_scales: dict[float, float]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Scale:
    """Of grey frames: white in DN, 0 for raw files, and what a DN is in the values of the files."""

    white: float = 0.0
    step: int = 1


def calibrate(
    darks: Sequence[Path | str] | Path | str,
    *,
    flats: Sequence[Path | str] | Path | str = (),
    out: Path | str | None = None,
    report_to: Path | str | None = None,
    iso: float | None = None,
    bits: int | None = None,
    darktable: Path | str | None = None,
    model_only: bool = False,
    overwrite: bool = False,
    plan: Plan | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    progress: Callable[[float, str], None] = lambda share, text: None,
    tell: Callable[[str], None] = lambda text: None,
) -> Profile:
    """Learn the noise profile of a camera from dark frames.

    Parameters
    ----------
    darks
        Raw files shot with the cap on, folders of them, or one folder: ten or more for each ISO, at 1/10 s or less; two
        or more longer ones beside them say where black lies in long exposures.
    flats
        Pairs of raw files of an evenly lit surface at several brightnesses, to measure the gain K.
    out
        Where to write the profile, as ``CAMERA.noise``.
    report_to
        Folder for plots and a table.
    iso, bits
        For grey frames without a header; see `Headerless`.
    darktable
        A ``noiseprofiles.json`` of darktable, to take K from when there are no flats.
    model_only
        Whether the file leaves out the maps of this body.
    overwrite
        Whether ``out`` may replace a file, and the report files in its folder; never one of the inputs.
    plan
        Effort and seed; see `restore.camera.calibration.Plan`.
    limits
        How large a file may be.
    progress
        Called with the share done and what is being done; what it raises ends the calibration.
    tell
        Called once with the report in words, as Markdown.

    Returns
    -------
    Profile
        With the maps of this body; ``profile.model_only()`` is what may be shared.

    Raises
    ------
    FileError
        A file cannot be read, is no raw file, or would be replaced.
    ArrayError
        The frames do not belong together, are too few, saw light, or have wrong ISO tags.
    """
    from restore.camera import calibration, evidence, groups, report

    plan = plan or calibration.Plan()
    darks, flats = ([given] if isinstance(given, Path | str) else given for given in (darks, flats))  # no letters
    inputs = [found.path for found in find([Path(given) for given in (*darks, *flats)], is_recursive=True)]
    if report_to is not None and Path(report_to).resolve() in {path.resolve().parent for path in inputs}:
        raise WriteError(Path(report_to), "holds the frames; choose another folder for the report")
    if out is not None:
        check_target(Path(out), [*inputs, *([Path(darktable)] if darktable else [])], overwrite=overwrite)
    if report_to is not None and not overwrite and is_folder(report_to) and any(Path(report_to).iterdir()):
        raise WriteError(Path(report_to), "holds files already; use --overwrite, or choose another folder")
    dark_frames, flat_frames, about = frames_of(darks, flats, Headerless(iso, bits), limits)
    table = None if darktable is None else Path(darktable)

    def gain_of(speed: float, span: float) -> gains.Gain:
        return _gain(about, speed, span, table)

    profile = calibration.calibrate(
        dark_frames,
        flat_frames,
        gain_of,
        plan,
        body=about.body,
        report=lambda share, text: progress(0.9 * share, text),
    )
    profile = replace(profile, notes=(*about.notes, *profile.notes))
    rng = np.random.default_rng(plan.seed)
    found = []
    known = {noise.iso for noise in profile.isos}
    for speed, group in groups.grouped(dark_frames).items():
        _, held_out = groups.split_held_out(groups.by_exposure(group)[0], plan.held_out)
        if held_out and speed in known:
            progress(0.9, f"checking against {len(held_out)} held-out frames of ISO {speed:g}")
            found.append(evidence.compare(profile, speed, held_out, rng))
    profile = evidence.with_divergence(profile, found)
    progress(0.97, "writing")
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        (profile.model_only() if model_only else profile).save(out)
    if report_to is not None:
        report.write(profile, found, Path(report_to))
    progress(1.0, "done")
    tell(report.words(profile, found))
    return profile


def frames_of(
    darks: Sequence[Path | str],
    flats: Sequence[Path | str],
    headerless: Headerless,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> tuple[list[Frame], list[Frame], _About]:
    """List the frames of files and folders with ISO and exposure; they are loaded later, one at a time.

    Raises
    ------
    ReadError
        There are none, or one says no ISO.
    UnsupportedError
        One is no sensor data: a JPEG, a developed picture.
    TooLargeError
        One is beyond the limits.
    """
    read = partial(files.read, limits=limits)
    paths = [
        [found.path for found in find([Path(path) for path in group], is_recursive=True)] for group in (darks, flats)
    ]
    if not paths[0]:
        raise ReadError(Path(darks[0]) if darks else Path(), "no dark frames here; give raw files or folders of them")
    first = read(paths[0][0])
    scale = _scale(read, paths[0] + paths[1], headerless) if isinstance(first, Image) else _Scale()
    scales: dict[float, float] = {}
    made = [[_frame(read, path, headerless, scale, scales) for path in group] for group in paths]
    notes = []
    if scale.step > 1:
        notes.append(f"the values of the files are multiples of {scale.step}: a DN is that much of them")
    if scale.white and headerless.bits is None and not paths[1]:
        notes.append(
            f"white at {scale.white:g} DN is a guess from dark frames alone; say the camera's bits with --bits"
        )
    return made[0], made[1], _About(first.meta.camera or "", _body(first), scales, tuple(notes))


def _frame(read: Reader, path: Path, headerless: Headerless, grey: _Scale, scales: dict[float, float]) -> Frame:
    """Return one frame, to be loaded later; its NoiseProfile tag goes into ``scales`` under its ISO."""
    picture = read(path)
    exposure = picture.meta.exposure_s or 0.0
    iso = picture.meta.iso if isinstance(picture, RawImage) else headerless.iso
    _as_raw(path, picture, headerless, grey)
    if iso is None:
        iso = headerless.iso
    if iso is None:
        raise ReadError(path, "says no ISO speed; give it with --iso, one ISO at a time")
    record = picture.meta.extra.get("sensor")
    scale = next(iter(ifd.numbers({**record.tags, **record.raw_tags}, _NOISE_PROFILE)), 0.0) if record else 0.0
    if scale > 0:
        scales[float(iso)] = scale
    return Frame(str(path), float(iso), float(exposure), lambda: _as_raw(path, read(path), headerless, grey))


def _as_raw(path: Path, picture: Picture, headerless: Headerless, grey: _Scale) -> RawImage:
    """Return a raw picture, or grey values as one of a sensor without colours."""
    if isinstance(picture, RawImage):
        return picture
    if picture.meta.format not in ("png", "tiff") or picture.pixels.shape[2] != 1:
        kind = (picture.meta.format or "picture").upper()
        raise UnsupportedError(path, f"a developed {kind} holds no sensor noise any more; give the camera's raw files")
    if headerless.iso is None:
        raise UnsupportedError(path, "grey frames do not say their ISO or gain setting; give it with --iso")
    if not grey.white:
        raise UnsupportedError(path, "grey frames cannot be mixed with raw files")
    mosaic = _values(picture) / np.float32(grey.white * grey.step)
    return RawImage(mosaic, GREY, ((0.0,),), grey.white, meta=replace(picture.meta, iso=headerless.iso))


def _values(picture: Image) -> Floats:
    top = 255 if picture.meta.bits <= 8 else 65535
    return np.asarray(np.rint(picture.pixels[..., 0] * np.float32(top)), np.float32)


def _scale(read: Reader, paths: Sequence[Path], headerless: Headerless) -> _Scale:
    """White of the stated bits, or the fewest that hold every value, 8 at least; in steps of 4 or more one is a DN.

    Raises
    ------
    RecipeError
        The stated bits do not hold a value.
    """
    used = 0
    for picture in map(read, paths):
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


def _body(picture: Picture) -> str:
    """Return a hash of the body's serial number, empty when the file does not say it."""
    record = picture.meta.extra.get("sensor")
    serial = ifd.text(ifd.branch(exif_tree(picture.meta.exif)[0], ifd.EXIF), _BODY_SERIAL)
    serial = serial or (ifd.text(record.tags, _DNG_SERIAL) if record else "")
    return hashlib.sha256(serial.encode()).hexdigest()[:16] if serial else ""


def _gain(about: _About, iso: float, span: float, darktable: Path | None) -> gains.Gain:
    """K where there are no flats: the user's file, the raw file's own word, published tables, a guess."""
    if darktable is not None:
        found = gains.of_darktable(darktable, about.camera, iso, span)
        if found is None:
            raise FileError(
                darktable, f"has no profile of {about.camera or 'an unknown camera'}; leave --darktable out"
            )
        return found
    if iso in about.noise_scales:
        return gains.of_noise_profile(about.noise_scales[iso], span)
    return gains.of_known(about.camera, iso) or gains.assumed(iso, span)
