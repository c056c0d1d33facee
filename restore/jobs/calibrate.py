"""Calibrate a camera from files: read what they are, group them, learn the profile, write it and its report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from restore.camera import gain as gains
from restore.camera.profile import Profile
from restore.errors import FileError, WriteError
from restore.files import Limits
from restore.files.atomic import check_target
from restore.files.folder import find
from restore.jobs.frame_files import About, Headerless, frames_of
from restore.paths import is_folder

if TYPE_CHECKING:
    from restore.camera.calibration import Plan


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


def _gain(about: About, iso: float, span: float, darktable: Path | None) -> gains.Gain:
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
    return gains.of_known(about.camera, iso) or gains.assumed(iso, span, is_iso=not about.is_grey)
