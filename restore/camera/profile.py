"""The noise profile of a camera: what is known about its noise at each ISO, and the dark shading of one body."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from restore.camera.converter import Converter
from restore.camera.iso import LONG_S, IsoNoise, between
from restore.camera.proxy import Proxy
from restore.errors import ArrayError
from restore.picture import Floats, Meta, RawImage

Table = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, eq=False)
class Branch:
    """ISO speeds, ascending, that share one analog gain path, and their proxy where one was trained."""

    isos: tuple[float, ...]
    proxy: Proxy | None = None


@dataclass(frozen=True, eq=False)
class Maps:
    """Fixed pattern of one body: ``k iso / 1000 + b`` in DN for each branch, without the black error.

    Parameters
    ----------
    k, b
        float16 ``(branches, H, W)``.
    bad
        int32 ``(n, 2)``, row and column of pixels that are hot, dead or stuck.
    """

    k: NDArray[np.float16]
    b: NDArray[np.float16]
    bad: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Profile:
    """What is known about the noise of a camera.

    Parameters
    ----------
    maker, model
        As in EXIF.
    body
        Hash of the body's serial number; empty when unknown.
    bits
        Bits a sample.
    cfa, black, white
        As in `RawImage`; a grey sensor has ``cfa = ((1,),)``.
    isos
        Measured ISO speeds, ascending.
    branches
        Gain branches, ascending, which share out ``isos``.
    maps
        Of the body; None in a profile of the model.
    converter
        Unequal steps of the converter around black; None for equal ones.
    notes
        What to know about the calibration, in plain words.
    sha256
        Of the file it was read from; empty where it was not.
    """

    maker: str
    model: str
    bits: int
    cfa: tuple[tuple[int, ...], ...]
    black: Table
    white: float
    isos: tuple[IsoNoise, ...]
    branches: tuple[Branch, ...]
    body: str = ""
    maps: Maps | None = None
    converter: Converter | None = None
    notes: tuple[str, ...] = ()
    sha256: str = ""

    def __post_init__(self) -> None:
        shared = [iso for branch in self.branches for iso in branch.isos]
        if not self.isos or shared != [noise.iso for noise in self.isos]:
            raise ArrayError("the branches of a profile must share out its ISO speeds in ascending order")
        for noise in self.isos:
            scales = np.array([noise.sigma_px, noise.sigma_row, noise.sigma_col, noise.sigma_bias, *noise.black_error])
            if not (
                0 < noise.K < np.inf and 0 < noise.iso < np.inf and np.isfinite(scales).all() and scales[:4].min() >= 0
            ):
                raise ArrayError(f"a profile whose noise at ISO {noise.iso:g} is no number, or negative")

    @property
    def camera(self) -> str:
        """``"maker model"``, the maker once."""
        first = self.maker.split(" ")[0]
        return (self.model if first and self.model.startswith(first) else f"{self.maker} {self.model}").strip()

    def branch_of(self, iso: float) -> int:
        """Index of the branch whose ISO range holds ``iso`` or is nearest to it in stops."""
        ends = np.log([(branch.isos[0], branch.isos[-1]) for branch in self.branches])
        outside = np.maximum(np.maximum(ends[:, 0] - np.log(iso), np.log(iso) - ends[:, 1]), 0)
        return int(outside.argmin())

    def at(self, iso: float) -> IsoNoise:
        """Return the noise at any ISO: as measured, or by `between` within its branch."""
        _check_iso(iso)
        chosen = self.branches[self.branch_of(iso)].isos
        known = [noise for noise in self.isos if noise.iso in chosen]
        return between(known, iso)

    def source(self, iso: float, exposure_s: float = 0.0) -> str:
        """Name the profile as the source of a noise level, and say where it was not measured for that."""
        noise, lowest, highest = self.at(iso), self.isos[0].iso, self.isos[-1].iso
        words = f"the profile of {self.camera} at ISO {iso:g}"
        if not lowest <= iso <= highest:
            words += f", beyond the ISO {lowest:g}{f' to {highest:g}' * (lowest < highest)} it was measured at"
        shortest, longest = noise.exposure_s
        is_longer = longest and not noise.long_black_error and exposure_s > max(LONG_S, 2 * longest)
        is_shorter = 0 < exposure_s < shortest / 2 and shortest > LONG_S
        if self.maps and (is_longer or is_shorter):
            words += f", with black of frames of {longest if is_longer else shortest:g} s, not {exposure_s:g} s"
        return words

    def black_error(self, iso: float, size: tuple[int, int], exposure_s: float = 0.0) -> Floats:
        """Return what the black level is off by at each pixel of ``size`` ``(H, W)``, in DN."""
        noise, rows, columns = self.at(iso), len(self.cfa), len(self.cfa[0])
        is_long = bool(noise.long_black_error) and exposure_s > LONG_S
        errors, drift = (noise.long_black_error, noise.long_drift) if is_long else (noise.black_error, noise.drift)
        sites = np.resize(np.array(errors, np.float32), (rows, columns))  # one number stands for all
        repeats = -(-size[0] // rows), -(-size[1] // columns)
        return np.tile(sites + np.float32(drift * exposure_s), repeats)[: size[0], : size[1]]

    def dark_shading(self, iso: float, exposure_s: float = 0.0) -> Floats:
        """Return what to subtract from a mosaic of this body at ``iso``: ``(H, W)``, DN, black error included.

        Raises
        ------
        ArrayError
            The profile has no maps.
        """
        if self.maps is None:
            raise ArrayError("this profile is of the camera model alone; calibrate with dark frames of this body")
        _check_iso(iso)
        index = self.branch_of(iso)
        isos = self.branches[index].isos
        within = np.float32(np.clip(iso, isos[0], isos[-1]) / 1000)
        k, b = (maps[index].astype(np.float32) for maps in (self.maps.k, self.maps.b))
        size = (k.shape[0], k.shape[1])
        return np.asarray(k * within + b + self.black_error(iso, size, exposure_s), np.float32)

    def misfit(self, raw: RawImage) -> str:
        """Say why the profile does not belong to a raw picture; an empty text when it does."""
        if raw.meta.camera and self.camera and raw.meta.camera.lower() != self.camera.lower():
            return f"the noise profile is of a {self.camera}, the picture of a {raw.meta.camera}"
        if len(raw.cfa) != len(self.cfa):
            return f"the noise profile is of a sensor with a {len(self.cfa)}-pixel pattern, not {len(raw.cfa)}"
        span, own = raw.white - np.mean(raw.black), self.white - np.mean(self.black)
        if abs(span / own - 1) > 0.02:
            return (
                f"the noise profile is for a white level of {self.white:g} ({self.bits} bits), the picture has"
                f" {raw.white:g}: another raw mode of the camera"
            )
        if self.maps is not None and self.maps.k.shape[1:] != raw.size:
            height, width = self.maps.k.shape[1:]
            return (
                f"the dark-shading maps are {width}x{height} pixels, the picture is {raw.size[1]}x{raw.size[0]}:"
                " cropped or of another mode, which a profile without maps fits (restore calibrate --model-only)"
            )
        if self.maps is not None and self.cfa != raw.cfa:
            ours, other = ("".join("RGB"[colour] for row in cfa for colour in row) for cfa in (self.cfa, raw.cfa))
            return f"the noise profile is for the pattern {ours}, the picture has {other}"
        return ""

    def is_of(self, meta: Meta) -> bool:
        """Tell whether a picture may be of the body that the maps are of: both say its serial number, or not."""
        from restore.files.metadata import body_of

        other = body_of(meta)
        return not (self.body and other) or other == self.body

    def model_only(self) -> Self:
        """Return the part that holds for every body of this model: no maps, no serial number."""
        return replace(self, maps=None, body="", sha256="")

    def save(self, path: Path | str) -> Path:
        """Write the profile to one file; return its path."""
        from restore.camera import profile_file

        return profile_file.save(self, Path(path))

    @staticmethod
    def load(path: Path | str) -> Profile:
        """Read a profile.

        Raises
        ------
        ReadError
            The file is missing, damaged, or not a noise profile.
        """
        from restore.camera import profile_file

        return profile_file.load(Path(path))


def _check_iso(iso: float) -> None:
    if not (np.isfinite(iso) and iso > 0):
        raise ArrayError(f"ISO speed {iso} is not a positive number")
