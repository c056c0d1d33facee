"""Training pairs of one camera: clean raws or photographs, and over them the noise that its profile draws."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from restore import files
from restore.camera import AS_MEASURED, Backend, Profile, Spread, sample
from restore.camera.frames import tiled, unlit_dn
from restore.colour import Floats
from restore.degrade.mosaic import resized, unprocess
from restore.errors import ArrayError, FileError, ReadError, RecipeError, UnsupportedError, printable
from restore.files.folder import find
from restore.picture import RawImage
from restore.raw import bayer

Read = TypeVar("Read")
_HELD, _TURN = 8, 64
_MARGIN = 1
"""Packed pixels read around an example, so that every Bayer phase has whole cells."""


class Pool(Generic[Read]):
    """Files of which a few are in memory; after some draws one is exchanged, so that all get their turn.

    Parameters
    ----------
    paths
        Those that cannot be read are named on standard error and left out.
    read
        Reads one.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[Path], Read]) -> None:
        self._paths, self._read, self._draws = list(paths), read, 0
        self._held: dict[Path, Read] = {}

    def draw(self, rng: np.random.Generator) -> Read:
        """Return one of them at random.

        Raises
        ------
        RecipeError
            None of them can be used.
        """
        is_full = len(self._held) == min(_HELD, len(self._paths))
        if not is_full or (self._draws % _TURN == 0 and len(self._held) < len(self._paths)):
            self._take_one(rng)
        self._draws += 1
        if not self._held:
            raise RecipeError("none of the pictures can be used for training; give clean raw files (Bayer) or photos")
        return list(self._held.values())[rng.integers(len(self._held))]

    def _take_one(self, rng: np.random.Generator) -> None:
        while waiting := [path for path in self._paths if path not in self._held]:
            path = waiting[rng.integers(len(waiting))]
            try:
                fresh = self._read(path)
            except (FileError, ArrayError) as error:
                sys.stderr.write(f"left out: {printable(str(error))}\n")
                self._paths.remove(path)
                continue
            if len(self._held) == _HELD:
                del self._held[next(iter(self._held))]
            self._held[path] = fresh
            return


@dataclass(frozen=True, eq=False)
class Clean:
    """A clean picture: a mosaic uint16 ``(H, W)`` of pattern ``cfa``, 65535 = white, or a photo uint8 ``(H, W, 3)``."""

    pixels: NDArray[np.uint16] | NDArray[np.uint8]
    cfa: bayer.Cfa | None


@dataclass(frozen=True, eq=False)
class Dark:
    """What a dark frame of an ISO holds beside dark shading, ``(H, W)`` in DN."""

    iso: float
    dn: Floats


def read_clean(path: Path, side: int) -> Clean:
    """Read a clean raw file or a photo that has ``side`` pixels at least.

    Raises
    ------
    FileError
        It cannot be read, is too small, or its mosaic is not of the Bayer kind.
    """
    picture = files.read(path)
    shape = picture.mosaic.shape if isinstance(picture, RawImage) else picture.pixels.shape
    if min(shape[:2]) < side:
        raise UnsupportedError(path, f"{shape[1]}x{shape[0]} pixels; training needs {side} on each side")
    if not isinstance(picture, RawImage):
        colour = np.broadcast_to(picture.pixels[..., :3], (*shape[:2], 3))
        return Clean(np.rint(colour.clip(0, 1) * 255).astype(np.uint8), None)
    if picture.cfa not in bayer.PHASES.values():
        raise UnsupportedError(path, f"{bayer.phase_name(picture.cfa)} sensor; training needs Bayer mosaics or photos")
    return Clean(np.rint(picture.mosaic.clip(0, 1) * 65535).astype(np.uint16), picture.cfa)


def read_dark(path: Path, profile: Profile) -> Dark:
    """Read a dark frame of the profile's body.

    Raises
    ------
    FileError
        It is no raw file, or says no ISO.
    ArrayError
        It is of another camera, or the profile has no maps.
    """
    raw = files.read(path)
    if not isinstance(raw, RawImage) or raw.meta.iso is None:
        raise ReadError(path, "no raw file that says its ISO speed; give dark frames as the camera wrote them")
    try:
        return Dark(raw.meta.iso, unlit_dn(raw, profile, raw.meta.iso))
    except ArrayError as error:
        raise ReadError(path, str(error)) from error


def pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """List the pictures of a folder: those to learn from, and one in up to forty held out for validation.

    Raises
    ------
    RecipeError
        There are none.
    """
    found = [item.path for item in find([folder], is_recursive=True)] if folder.is_dir() else []
    if not found:
        raise RecipeError(f"{folder}: no pictures to learn from; give a folder of clean raw files or of photos")
    every = max(2, min(40, len(found)))
    held_out = found[every - 1 :: every]
    return [path for path in found if path not in held_out], held_out


@dataclass(frozen=True, eq=False)
class Camera:
    """What draws the noise.

    Parameters
    ----------
    darks
        Dark frames for the model ``sfrn``; None for the others.
    ratio_max
        How much less light than the clean pictures had there may be.
    told_error
        Relative standard error of the noise level that the network is told.
    """

    profile: Profile
    backend: Backend = "pnnp"
    darks: Pool[Dark] | None = None
    ratio_max: float = 300.0
    told_error: float = 0.05

    def __post_init__(self) -> None:
        profile = self.profile
        if profile.cfa not in bayer.PHASES.values():
            raise RecipeError(f"the profile of {profile.camera} is of a sensor without Bayer pattern; pnnp needs one")
        if self.backend == "sfrn" and self.darks is None:
            raise RecipeError("the model 'sfrn' samples dark frames; give their folder with --darks")
        if self.backend == "pnnp" and any(branch.proxy is None for branch in profile.branches):
            raise RecipeError("the profile has no trained proxy; calibrate with --steps, or train with --noise eld")

    def iso(self, rng: np.random.Generator) -> float:
        """Draw an ISO speed: a gain branch, then evenly in stops within it."""
        isos = self.profile.branches[rng.integers(len(self.profile.branches))].isos
        return float(np.exp(rng.uniform(np.log(isos[0]), np.log(isos[-1]))))

    def expose(
        self, clean: Floats, iso: float, rng: np.random.Generator, spread: Spread
    ) -> tuple[Floats, tuple[Floats, Floats]]:
        """Shoot a clean mosaic ``(2P + 2, 2P + 2)`` on the profile's pattern.

        Returns
        -------
        Noisy planes ``(4, P, P)``, and shot gain and read sigma of each plane ``(4, 1, 1)`` as `restore run` finds them
        in the profile; for ``sfrn`` the ISO is that of the dark frame drawn.
        """
        dark = self.darks.draw(rng) if self.darks is not None else None
        iso, darks = (iso, []) if dark is None else (dark.iso, [dark.dn])
        noisy = sample(clean, self.profile, iso, 1.0, rng, backend=self.backend, spread=spread, darks=darks)
        spans = np.float32(self.profile.white) - tiled(self.profile.black, (clean.shape[0], clean.shape[1]))
        plane = self.planes(spans)[:, :1, :1]
        noise = self.profile.at(iso)
        return self.planes(noisy), (np.float32(noise.K) / plane, np.float32(noise.sigma_read) / plane)

    def planes(self, mosaic: Floats) -> Floats:
        """Pack a mosaic on the profile's pattern and cut the margin: ``(4, P, P)``."""
        side = mosaic.shape[0] // 2 - _MARGIN
        packed = bayer.pack(mosaic, self.profile.cfa)
        return np.ascontiguousarray(packed[:, _MARGIN : _MARGIN + side, _MARGIN : _MARGIN + side], np.float32)

    def example(
        self, pool: Pool[Clean], patch: int, candidates: int, rng: np.random.Generator
    ) -> tuple[Floats, Floats, tuple[Floats, Floats]]:
        """Return noisy and clean planes ``(4, P, P)``, and the noise level told, ``(4, 1, 1)`` each."""
        light = mosaic(pool.draw(rng), patch + _MARGIN, self.profile.cfa, candidates, rng)
        ratio = np.exp(rng.uniform(0, np.log(self.ratio_max))) if rng.random() < 0.8 else 1.0
        light = np.clip(light * (rng.uniform(0.8, 1.3) / ratio), 0, 1).astype(np.float32)
        noisy, told = self.expose(light, self.iso(rng), rng, Spread())
        gain, read = (x * np.float32(np.exp(rng.normal(0, self.told_error))) for x in told)
        return noisy, self.planes(light), (gain, read)

    def cases(self, pool: Pool[Clean], patch: int = 128, seed: int = 1) -> Iterator[tuple[str, Floats, Floats, Any]]:
        """Give validation pairs: the name of an ISO and a ratio, noisy and clean planes, and their level."""
        rng = np.random.default_rng(seed)
        isos = sorted({iso for branch in self.profile.branches for iso in (branch.isos[0], branch.isos[-1])})
        for _ in range(4):
            whole = mosaic(pool.draw(rng), patch + _MARGIN, self.profile.cfa, 3, rng)
            for iso in isos:
                for ratio in (1, 30):
                    light = whole / np.float32(ratio)
                    noisy, told = self.expose(light, iso, rng, AS_MEASURED)
                    name = f"x{ratio}" if self.darks is not None else f"ISO {iso:g} x{ratio}"
                    yield name, noisy, self.planes(light), told


def mosaic(clean: Clean, cells: int, cfa: bayer.Cfa, candidates: int, rng: np.random.Generator) -> Floats:
    """Cut a random mosaic ``(2 cells, 2 cells)`` in 0...1 on the pattern ``cfa``, turned and mirrored.

    Of some candidates the one with most texture is taken. Photos are made up to twice smaller and half as often
    larger, and unprocessed; mosaics stay as they are, and only whole cells of the pattern are turned.
    """
    side, shape = 2 * cells, clean.pixels.shape[:2]
    if clean.cfa is None:
        scale = 2 ** rng.uniform(-0.7, 1.0)
        crop = _crop(clean.pixels, min(512, round((side + 2) * scale), *shape), candidates, rng)
        photo = resized(np.ascontiguousarray(crop, np.float32) / np.float32(255), side + 2)
        pattern = bayer.PHASES["RGGB"]
        turned = bayer.unpack(unprocess(photo, rng), pattern, (side + 2, side + 2))
    else:
        crop = _crop(clean.pixels, side + 2, candidates, rng, step=2)
        turn, is_mirrored = int(rng.integers(4)), bool(rng.integers(2))
        whole, sites = (np.rot90(x, turn) for x in (crop, np.array(clean.cfa)))
        whole, sites = (x[:, ::-1] if is_mirrored else x for x in (whole, sites))
        turned = np.asarray(whole, np.float32) / np.float32(65535)
        pattern = tuple(tuple(int(colour) for colour in line) for line in sites)
    (row, column), (to_row, to_column) = bayer.red_site(pattern), bayer.red_site(cfa)
    top, left = (row - to_row) % 2, (column - to_column) % 2
    return np.ascontiguousarray(turned[top : top + side, left : left + side], np.float32)


def _crop(pixels: NDArray[Any], side: int, candidates: int, rng: np.random.Generator, step: int = 1) -> NDArray[Any]:
    """Cut out the most textured of some random squares, at multiples of ``step``."""
    found = []
    for _ in range(candidates):
        top, left = (step * int(rng.integers((n - side) // step + 1)) for n in pixels.shape[:2])
        found.append(pixels[top : top + side, left : left + side])
    return max(found, key=_texture)


def _texture(crop: NDArray[Any]) -> float:
    """Mean difference of neighbours two pixels apart, of the green of a photo or one site of a mosaic."""
    green = crop[..., 1] if crop.ndim == 3 else crop
    values = green[::2, ::2].astype(np.float32)
    return float(np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values, axis=1)).mean())
