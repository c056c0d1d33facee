"""What the page shows and scores of pictures in other units, and of few levels: in the input's unit, in full depth."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image as Pillow
from serving import Server

from restore.files import read
from restore.page import shown
from restore.picture import Image, Meta

Y, X = np.mgrid[0:120, 0:160] / 30
CLEAN = np.float32(0.5 + 0.4 * np.sin(X) * np.cos(Y))
NOISY = CLEAN + np.random.default_rng(0).normal(0, 0.05, CLEAN.shape).astype(np.float32)


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    return Client(server.url, verbose=False)


def counts(path: Path, pixels: np.ndarray) -> Path:
    tifffile.imwrite(path, np.float32(300 * pixels), photometric="minisblack")
    return path


def dark(path: Path, pixels: np.ndarray) -> Path:
    """Write a 16-bit PNG that fills no more than two of the levels that 8 bits have."""
    cv2.imwrite(str(path), np.uint16(np.clip(pixels, 0, 1) * 500))
    return path


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a.astype(np.float64) - b) ** 2)))


@pytest.mark.parametrize(("kind", "name"), [(counts, "x.tif"), (dark, "x.png")])
def test_scores_are_of_the_pixels_themselves(client: Client, tmp_path: Path, kind, name: str) -> None:
    noisy, clean = kind(tmp_path / name, NOISY), kind(tmp_path / f"clean-{name}", CLEAN)
    given = {"picture": handle_file(str(noisy)), "reference": handle_file(str(clean))}
    result, _, says, pair, *_ = client.predict(**given, method="wavelet", api_name="/restore")
    unit = read(noisy).unit() or (0.0, 1.0)
    before, after, truth = (read(Path(path)).between(*unit).pixels for path in (noisy, result, clean))
    old, new = (float(word) for word in re.search(r"PSNR ([\d.]+) → \*\*([\d.]+)\*\*", says).groups())
    assert (old, new) == pytest.approx((psnr(before, truth), psnr(after, truth)), abs=0.006)
    for path, pixels in zip(pair, (before, after), strict=True):
        expected = np.rint(np.clip(pixels[..., 0], 0, 1) * 255)
        np.testing.assert_array_equal(np.asarray(Pillow.open(path)), expected)
    rows = client.predict(**given, methods=["wavelet"], api_name="/compare")[1]
    assert float(rows[0][3]) == pytest.approx(old, abs=0.006)
    assert float(rows[1][3]) == pytest.approx(new, abs=0.1)  # there before it is rounded to the file's levels


def test_turned_pictures_are_scored_as_they_are_seen(client: Client, tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[274] = 6
    pixels = np.uint8(np.clip(NOISY, 0, 1) * 255)
    Pillow.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    Pillow.fromarray(np.rot90(pixels, -1)).save(tmp_path / "upright.png")
    given = {n: handle_file(str(tmp_path / f)) for n, f in (("picture", "turned.png"), ("reference", "upright.png"))}
    assert "PSNR inf" in client.predict(**given, method="wavelet", api_name="/restore")[2]


def test_a_result_without_floats_is_shown_as_it_is() -> None:
    source = Image(np.full((8, 8, 1), 150, np.float32), meta=Meta(is_float=True))
    ramp = Image(np.linspace(0, 300, 64, dtype=np.float32).reshape(8, 8, 1), meta=Meta(is_float=True))
    written = Image(np.full((8, 8, 1), 0.5, np.float32))
    assert shown.screen(written, like=ramp).pixels.max() == 128
    assert 120 < shown.screen(source, like=ramp).pixels.max() < 140


def test_an_unreadable_reference_is_told_before_anything_is_computed(
    client: Client, pictures: dict[str, Path], big: Path
) -> None:
    given = {"picture": handle_file(str(big)), "reference": handle_file(str(pictures["text.png"]))}
    job = client.submit(**given, method="wavelet", wavelet_shifts=16, tile="64", noise="20/255", api_name="/restore")
    with pytest.raises(AppError, match=r"text\.png: is not a picture"):
        job.result(timeout=8)
