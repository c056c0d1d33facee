"""Noise on files: dark and flat frames of a simulated sensor, and a camera's noise over a clean raw file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from restore import files
from restore.camera.frames import tiled, unlit_dn
from restore.camera.profile import Profile
from restore.camera.sample import Backend, sample
from restore.camera.simulate import FAMILIES, Sensor
from restore.errors import ArrayError, ReadError, RecipeError, UnsupportedError, WriteError, nearest
from restore.files import ifd
from restore.files.atomic import check_target, make_folder
from restore.files.dng import write_dng
from restore.files.metadata import described, exif_tree, with_iso
from restore.picture import Floats, Meta, RawImage
from restore.raw.bayer import phase


@dataclass(frozen=True)
class Shoot:
    """Which frames a simulated sensor gives.

    Parameters
    ----------
    family
        Of its pixel noise; see `restore.camera.simulate.FAMILIES`.
    pattern
        Bayer phase, as ``"RGGB"``.
    flats
        Pairs of flats at each ISO, from 100 to 6000 DN; 0 for none.
    """

    family: str = "outliers"
    size: tuple[int, int] = (512, 768)
    pattern: str = "RGGB"
    isos: tuple[float, ...] = (100, 400, 1600, 3200, 12800)
    darks: int = 13
    flats: int = 10
    seed: int = 0


def simulate(shoot: Shoot, folder: Path) -> tuple[Sensor, list[Path]]:
    """Write dark frames and flats of a simulated sensor as DNG into ``folder/darks`` and ``folder/flats``.

    Returns
    -------
    The sensor with its truth, and the files.

    Raises
    ------
    RecipeError
        An unknown family.
    WriteError
        The folder cannot be written, or holds frames already.
    """
    if shoot.family not in FAMILIES:
        raise RecipeError(f"unknown noise family {shoot.family!r}.{nearest(shoot.family, FAMILIES)}")
    rng = np.random.default_rng(shoot.seed)
    isos = tuple(sorted(set(shoot.isos)))
    sensor = Sensor.draw(rng, family=shoot.family, size=shoot.size, cfa=phase(shoot.pattern), isos=isos)
    paths: list[Path] = []
    for kind in ("darks", "flats"):
        make_folder(folder / kind)
        if any((folder / kind).iterdir()):
            raise WriteError(folder / kind, "holds files already; choose another folder")
    for iso in isos:
        for index in range(shoot.darks):
            paths.append(folder / "darks" / f"iso{iso:g}_{index:03d}.dng")
            write_dng(paths[-1], sensor.frame(iso, rng))
        for index, light in enumerate(np.linspace(100, 6000, shoot.flats) if shoot.flats else ()):
            for half in "ab":
                paths.append(folder / "flats" / f"iso{iso:g}_{index:03d}{half}.dng")
                write_dng(paths[-1], sensor.frame(iso, rng, light=float(light), exposure_s=(index + 1) / 1000))
    return sensor, paths


def add(
    path: Path,
    out: Path,
    profile: Path,
    *,
    iso: float,
    ratio: float,
    backend: Backend = "pnnp",
    seed: int = 0,
    darks: Sequence[Path] = (),
    overwrite: bool = False,
) -> None:
    """Write a clean raw file as a camera would have shot it at ``iso`` with a ``ratio``-th of the light, made bright.

    Parameters
    ----------
    darks
        Dark frames at ``iso`` of the profile's body, for ``sfrn``.
    overwrite
        Whether ``out`` may replace a file; never an input.

    Raises
    ------
    RecipeError
        ``out`` is not named as a DNG, or a number is not finite.
    UnsupportedError
        ``path`` is no raw file.
    ReadError
        The profile cannot be read, or is of another sensor.
    WriteError
        ``out`` is there already, or cannot be written.
    """
    check_target(out, [path, profile, *darks], overwrite=overwrite)
    if out.suffix.lower() != ".dng":
        raise RecipeError(f"--out {out}: what is written is a DNG; let its name end in .dng")
    if not (math.isfinite(iso) and math.isfinite(ratio)):
        raise RecipeError(f"--iso {iso:g} and --ratio {ratio:g} must be finite numbers")
    raw, known = _raw(path), Profile.load(profile)
    if len(raw.cfa) != len(known.cfa):
        raise ReadError(path, f"a pattern of {len(raw.cfa)} pixels; the profile is of one of {len(known.cfa)}")
    rng = np.random.default_rng(seed)
    frames = [_dark(dark, known, iso) for dark in darks]
    mosaic = sample(raw.mosaic, known, iso, ratio, rng, backend=backend, darks=frames)
    write_dng(out, _lifted(replace(raw, mosaic=mosaic, meta=_with_iso(raw.meta, iso))))


def _lifted(raw: RawImage) -> RawImage:
    """Raise black, and white with it, so that what lies below black fits into whole DN from 0 on."""
    below = (-raw.mosaic * (np.float32(raw.white) - tiled(raw.black, raw.size)) - tiled(raw.black, raw.size)).max()
    lift = min(math.ceil(below), 65535 - math.ceil(raw.white))
    if lift <= 0:
        return raw
    return replace(raw, black=tuple(tuple(x + lift for x in row) for row in raw.black), white=raw.white + lift)


def _with_iso(meta: Meta, iso: float) -> Meta:
    """Say another ISO speed, in the EXIF block too."""
    tags = described(exif_tree(meta.exif)[0])
    photo = with_iso(ifd.branch(tags, ifd.EXIF), iso)
    return replace(meta, iso=iso, exif=ifd.block(tags | {ifd.EXIF: photo}))


def _dark(path: Path, profile: Profile, iso: float) -> Floats:
    """Return a dark frame in DN with its dark shading taken off."""
    try:
        return unlit_dn(_raw(path), profile, iso)
    except ArrayError as error:
        raise ReadError(path, str(error)) from error


def _raw(path: Path) -> RawImage:
    picture = files.read(path)
    if not isinstance(picture, RawImage):
        raise UnsupportedError(path, "a developed picture; sensor noise needs a raw file (DNG)")
    return picture
