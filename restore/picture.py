"""The records that travel through the pipeline: pictures and what is known about them.

The one statement of range, axes and colour
-------------------------------------------
* ``Image.pixels`` is float32 ``(H, W, C)`` with C = 3 (R, G, B) or 1 (grey), display-encoded as in its file (sRGB
  unless ``meta.icc`` says otherwise: a profile is kept with the picture, pixels are never converted), nominal 0...1
  with 1 = white, **not clipped**.
* ``RawImage.mosaic`` is float32 ``(H, W)``: black subtracted, divided by ``white - black``; 1 = white, values below
  0 are kept because noise below black is signal. It covers the visible area only.
* Rows run from top to bottom as stored. ``meta.orientation`` is the EXIF value (1...8) still to be applied for
  display; pixels are never turned by the pipeline.
* Arrays are read-only; change a record by ``dataclasses.replace``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from restore.errors import ArrayError

Floats = NDArray[np.float32]

_FEW = 1 / 15
"""Share of white up to which values of 16 bits look like counts of a camera with 12."""


class Domain(StrEnum):
    """What a method works on."""

    MOSAIC = "mosaic"
    """Packed sensor planes ``(4, H/2, W/2)``, linear."""
    SRGB = "srgb"
    """Display-encoded planes ``(3 or 1, H, W)``."""


@dataclass(frozen=True)
class Meta:
    """What is known about a picture beside its pixels; every field may be unknown.

    Parameters
    ----------
    source
        The file it came from.
    format
        Container it came in: ``"jpeg"``, ``"png"``, ``"tiff"``, ``"webp"``, ``"bmp"``, ``"avif"``, ``"heic"``,
        ``"jxl"``, ``"raw"``.
    bits
        Bits a sample in the file: 8...16 for integers, 16 or 32 with ``is_float``.
    iso, exposure_s, camera
        ISO speed, exposure time in seconds, ``"maker model"``.
    orientation
        EXIF orientation 1...8, not yet applied.
    dpi
        Resolution, horizontal and vertical, in pixels per inch.
    icc, exif, xmp
        The profile, the EXIF block (TIFF header first, without the ``Exif`` marker) and the XMP packet, as bytes.
    extra
        Format details a writer needs to keep a file's character (JPEG quality, TIFF compression, ...);
        ``"dropped"`` is a tuple of phrases on what reading left out or changed, ``"not_in_dng"`` one on what a raw's
        DNG will lack.
    """

    source: Path | None = None
    format: str | None = None
    bits: int = 8
    is_float: bool = False
    iso: float | None = None
    exposure_s: float | None = None
    camera: str | None = None
    orientation: int = 1
    dpi: tuple[float, float] | None = None
    icc: bytes | None = field(default=None, repr=False)
    exif: bytes | None = field(default=None, repr=False)
    xmp: bytes | None = field(default=None, repr=False)
    extra: dict[str, Any] = field(default_factory=dict, repr=False)


def _locked(array: NDArray[Any], ndim: int, what: str) -> Floats:
    """Return a read-only float32 view of ``array``, or raise."""
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        found = getattr(array, "dtype", type(array).__name__)
        raise ArrayError(f"{what} must be a numpy array of floats in which 1 is white, got {found}")
    if array.ndim != ndim:
        raise ArrayError(f"{what} must have {ndim} axes, got shape {array.shape}")
    floats = array.astype(np.float32, copy=False).view()
    floats.flags.writeable = False
    return floats


@dataclass(frozen=True, eq=False)
class Image:
    """A developed picture.

    Parameters
    ----------
    pixels
        ``(H, W, C)``, C = 3 or 1; see the module for range and colour. Of float32 no copy is made: leave it alone.
    alpha
        ``(H, W)`` in 0...1, straight (not premultiplied), or None.

    Raises
    ------
    ArrayError
        The shapes do not fit, or it is no array of floats.
    """

    pixels: Floats
    alpha: Floats | None = None
    meta: Meta = field(default_factory=Meta)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", _locked(self.pixels, 3, "pixels"))
        if self.pixels.shape[2] not in (1, 3):
            raise ArrayError(f"pixels must have 1 or 3 channels last, got shape {self.pixels.shape}")
        if self.alpha is not None:
            object.__setattr__(self, "alpha", _locked(self.alpha, 2, "alpha"))
            if self.alpha.shape != self.pixels.shape[:2]:
                raise ArrayError(f"alpha {self.alpha.shape} does not fit pixels {self.pixels.shape}")

    @property
    def domain(self) -> Domain:
        """Where in the pipeline this picture stands."""
        return Domain.SRGB

    @property
    def size(self) -> tuple[int, int]:
        """Height and width as stored."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def are_counts(self) -> bool:
        """Whether more than 8 bits of integers end so far below white that they are rather counted than dark."""
        is_deep = self.meta.bits > 8 and not self.meta.is_float
        return is_deep and 0 < float(self.pixels.max(initial=0)) < _FEW

    def hint(self) -> str:
        """Return what its owner should say of a picture of which nobody said what is white; empty: nothing.

        >>> Image(np.full((2, 2, 1), 165 / 65535, np.float32), meta=Meta(bits=16)).hint()
        'values end at 165, far below white: if these are counts, say what is white (--white, as 4095)'
        """
        most = float(self.pixels.max(initial=0)) * (2**self.meta.bits - 1)
        how = f"values end at {most:.0f}, far below white: if these are counts, say what is white (--white, as 4095)"
        return how if self.are_counts else ""

    def unit(self, white: float | None = None) -> tuple[float, float] | None:
        """Return what counts as black and as white in float pictures whose values lie far from 0...1, else None.

        Counts, temperatures, heights: what most of the picture lies between. Values near 0...1, highlights beyond
        included, and integers are what they seem; but where ``white`` is told, in the picture's own numbers (4095 for
        12 bits stored in 16), that and 0 count.
        """
        if white is not None:
            return 0.0, white / (1 if self.meta.is_float else 2**self.meta.bits - 1)
        if not self.meta.is_float or not self.pixels.size:
            return None
        few = self.pixels[:: max(1, self.size[0] // 512), :: max(1, self.size[1] // 512)]
        low, high = (float(end) for end in np.quantile(few, (0.01, 0.99)))
        if (low >= -0.5 and 0.01 <= high <= 4) or low == high:
            return None
        return (0.0, high) if 0 <= low < high / 2 else (low, high)

    def usual(self) -> Self:
        """Return the picture with what `unit` counts as black and white at 0 and 1; others as they are."""
        unit = self.unit()
        return self if unit is None else self.between(*unit)

    def between(self, black: float, white: float) -> Self:
        """Return the picture with this black and this white at 0 and 1."""
        pixels = (self.pixels - np.float32(black)) / np.float32(white - black)
        return replace(self, pixels=pixels, meta=replace(self.meta, is_float=False))

    def thin(self) -> Self:
        """Return the picture with one channel where all three hold the same, as in black and white stored as RGB."""
        red, *others = np.moveaxis(self.pixels, 2, 0)
        few = np.s_[:: max(1, red.shape[0] // 64), :: max(1, red.shape[1] // 64)]  # tells most pictures apart
        for part in (few, np.s_[:]):
            if not others or not all(np.array_equal(red[part], other[part]) for other in others):
                return self
        return replace(self, pixels=self.pixels[..., :1])

    def widened(self, channels: int) -> Self:
        """Return a picture of one channel with so many that hold the same; any other as it is.

        >>> picture = Image(np.zeros((2, 3, 3), np.float32))
        >>> picture.thin().pixels.shape, picture.thin().widened(3).pixels.shape
        ((2, 3, 1), (2, 3, 3))
        """
        is_one = self.pixels.shape[2] == 1
        return replace(self, pixels=self.pixels.repeat(channels, 2)) if is_one and channels > 1 else self

    def upright(self) -> Self:
        """Return the picture turned for display, with orientation 1.

        >>> Image(np.zeros((2, 3, 1), np.float32), meta=Meta(orientation=6)).upright().size
        (3, 2)
        """
        turn = self.meta.orientation
        if turn == 1:
            return self

        def turned(array: Floats) -> Floats:
            array = np.swapaxes(array, 0, 1) if turn >= 5 else array
            array = array[::-1] if turn in (3, 4, 7, 8) else array
            return array[:, ::-1] if turn in (2, 3, 6, 7) else array

        alpha = None if self.alpha is None else turned(self.alpha)
        return replace(self, pixels=turned(self.pixels), alpha=alpha, meta=replace(self.meta, orientation=1))


@dataclass(frozen=True, eq=False)
class RawImage:
    """A sensor's mosaic with what is needed to develop it and to write it back.

    Parameters
    ----------
    mosaic
        ``(H, W)``, the visible area; see the module for range.
    cfa
        Colour of each site of the repeating pattern that starts at the visible area's top left pixel: rows of
        0 = R, 1 = G, 2 = B; 2x2 (Bayer) or 6x6 (X-Trans).
    black
        Black level in sensor units (DN) of each site of ``cfa``, same shape.
    white
        White level in DN: the value at which the sensor or converter saturates.
    white_balance
        Gains of R, G, B as shot, green = 1.
    camera_to_srgb
        ``(3, 3)`` from white-balanced camera RGB to linear sRGB; rows sum to 1.

    Raises
    ------
    ArrayError
        The shapes do not fit, it is no array of floats, or a pattern or levels that no sensor has.
    """

    mosaic: Floats
    cfa: tuple[tuple[int, ...], ...]
    black: tuple[tuple[float, ...], ...]
    white: float
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    camera_to_srgb: Floats = field(default_factory=lambda: np.eye(3, dtype=np.float32))
    meta: Meta = field(default_factory=Meta)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mosaic", _locked(self.mosaic, 2, "mosaic"))
        object.__setattr__(self, "camera_to_srgb", _locked(self.camera_to_srgb, 2, "camera_to_srgb"))
        try:
            for name in ("cfa", "black"):
                object.__setattr__(self, name, tuple(tuple(row) for row in getattr(self, name)))
            (width,) = {*map(len, self.cfa), *map(len, self.black)}
        except (TypeError, ValueError):
            width = 0
        if not width or len(self.cfa) != len(self.black):
            raise ArrayError(f"cfa and black must be tables of one shape, got {self.cfa} and {self.black}")
        if not {site for row in self.cfa for site in row} <= {0, 1, 2}:
            raise ArrayError(f"cfa holds 0 for red, 1 for green and 2 for blue, got {self.cfa}")
        black = float(np.max(self.black))
        if not black < self.white:
            raise ArrayError(f"white level {self.white} must lie above the black level {black}")
        if self.camera_to_srgb.shape != (3, 3):
            raise ArrayError(f"camera_to_srgb must be 3 x 3, got shape {self.camera_to_srgb.shape}")

    @property
    def domain(self) -> Domain:
        """Where in the pipeline this picture stands."""
        return Domain.MOSAIC

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the visible mosaic as stored."""
        return self.mosaic.shape[0], self.mosaic.shape[1]

    @property
    def is_bayer(self) -> bool:
        """Whether the pattern is 2x2 with one red, two green and one blue site, greens on a diagonal."""
        return self.cfa in {((0, 1), (1, 2)), ((1, 0), (2, 1)), ((1, 2), (0, 1)), ((2, 1), (1, 0))}


Picture = Image | RawImage
