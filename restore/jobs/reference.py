"""Score a written picture against a clean one of the same name."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from restore import files, metrics
from restore.errors import RestoreError
from restore.files.folder import is_picture_name
from restore.paths import is_file
from restore.picture import Floats, Image, Picture, RawImage


def find(name: str, folder: Path) -> Path | None:
    """Return the picture in a folder that has this name, else one that has it but for the suffix."""
    if is_file(folder / name):
        return folder / name
    stem = Path(name).stem
    return next((p for p in sorted(folder.iterdir()) if p.stem == stem and is_picture_name(p.name)), None)


def score(target: Path, source: Path, folder: Path, white: float | None = None) -> dict[str, float | str]:
    """Score a picture as it was written against the clean picture named like its source.

    Parameters
    ----------
    white
        Value of the clean picture that counts as white, where its user said so.

    Returns
    -------
    dict
        PSNR in decibels, SSIM and MS-SSIM; or under ``"problem"`` why there are none.
    """
    clean = find(source.name, folder)
    if clean is None:
        return {"problem": f"no reference named {source.stem!r}"}
    try:
        results, truths = files.read_stack(target), files.read_stack(clean)
        if max(len(results), len(truths)) > 1:
            return {"problem": "not scored: a stack, and only single pictures are"}
        result, truth = results[0], truths[0]
        if isinstance(result, Image) and isinstance(truth, Image) and (unit := truth.unit(white)):
            result, truth = result.between(*unit), truth.between(*unit)
        return asdict(metrics.compare(_pixels(result), _pixels(truth)))
    except RestoreError as error:
        return {"problem": f"not scored: {error}"}


def _pixels(picture: Picture) -> Floats:
    """Return the values of a picture, upright, since some formats turn it."""
    return picture.mosaic[..., None] if isinstance(picture, RawImage) else picture.upright().pixels
