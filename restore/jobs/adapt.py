"""Fit the score network to somebody's own noisy pictures; no clean picture is needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore import files, noise, weights
from restore.arrays import from_array
from restore.errors import ArrayError, RecipeError, UnsupportedError, nearest
from restore.files import Limits
from restore.files.atomic import check_target, replacing
from restore.files.stack import Stack
from restore.jobs.fitting import Fit, Moment, Objective
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.objectives.family import POWERS, Family
from restore.objectives.identify import identify, refine, sample
from restore.objectives.removal import Removal, for_channels, networks, origin
from restore.picture import Image, Picture

Source = Path | str | Image | NDArray[Any]

Kind = Literal["auto", "gaussian", "poisson", "gamma"]

METHOD = "noise2score"
"""The method that takes the fitted weights."""
WORTH = 0.02
"""Decibels of SURE by which held-out parts must gain, for the fitted network to be kept."""
EXAM = 32
"""Rows that are held out of a picture at the least."""


@dataclass(frozen=True)
class Adapted:
    """What came of a fit.

    Parameters
    ----------
    kind, level
        Law of the noise found: sigma, the brightness of one count, or the number of looks.
    before, after
        SURE PSNR of held-out parts with the weights started from and with those fitted.
    helped
        Whether the fitted weights are better; if not, the file holds those started from.
    """

    out: Path
    kind: str
    level: float
    before: float
    after: float
    helped: bool
    curve: tuple[Moment, ...]
    notes: tuple[str, ...]


def adapt(
    pictures: Sequence[Source] | Path | str | Image,
    out: Path | str,
    *,
    minutes: float = 5,
    steps: int | None = None,
    objective: Objective = "gr2r",
    kind: Kind = "auto",
    level: float = 0.0,
    start: str = "noise2score",
    seed: int = 0,
    overwrite: bool = False,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    on_moment: Callable[[Moment], None] = lambda _: None,
    cancelled: Event | None = None,
) -> Adapted:
    """Fit the score network to noisy pictures and write it as a weight file for ``noise2score``.

    Parameters
    ----------
    pictures
        Files (all pages of a TIFF; of one beyond ``limits``, pages spread over it), ``Image`` records or arrays of one
        number of channels; one is enough. Values may be in any unit.
    out
        The ``.safetensors`` file to write.
    minutes, steps
        At most so long; with ``steps`` so many, whatever time they take. More than none.
    objective
        How to learn without clean pictures: ``"gr2r"`` splits them exactly, ``"ardae"`` matches the score with the
        perturbation half of sigma, ``"sure"`` minimises Stein's estimate.
    kind, level
        Law of the noise and its level (sigma, the brightness of one count, or the number of looks) where they are
        known; a level of 0 is measured.
    start
        Weights to start from: a key of the manifest or a file.
    overwrite
        Whether ``out`` may replace a file; never one of ``pictures``, nor ``start``.
    limits
        How large a picture may be.
    on_moment
        Called whenever the held-out parts were looked at; the first call is before the first step.
    cancelled
        Set it to end the fit early; what was learnt is kept.

    Raises
    ------
    ArrayError
        Pictures too small, or of different numbers of channels.
    RecipeError
        Nothing to learn from: no pictures, no noise, no time; an unknown objective or kind; a level beyond all values;
        or another file ending.
    FileError, WeightsError
        A picture or the start cannot be used, or ``out`` is there already.
    """
    path = Path(out)
    if path.suffix != ".safetensors":
        raise RecipeError(f"the model is written as .safetensors, not {path.name!r}")
    if not (minutes if steps is None else steps) > 0:
        raise RecipeError("nothing is learnt in no time; give more than 0 minutes, or more than 0 steps")
    for word, known in ((objective, get_args(Objective)), (kind, get_args(Kind))):
        if word not in known:
            raise RecipeError(f"there is no {word!r}.{nearest(str(word), known)}")
    pictures = [pictures] if isinstance(pictures, Path | str | Image) else pictures
    check_target(
        path, [Path(given) for given in (*pictures, start) if isinstance(given, Path | str)], overwrite=overwrite
    )
    notes: list[str] = []
    noisy = _planes(pictures, limits, notes)
    ends = [origin(p) for p in noisy] if kind in ("auto", "gaussian") else []
    black = min((low for low, high in ends if (low, high) != (0.0, 1.0)), default=0.0)
    if black:  # as the method will see them
        noisy = [p - black for p in noisy]
        notes.append(f"values are taken from {black:.4g} on")
    white = max(_near_white(noisy), 1e-12)
    if kind != "gamma" and level >= white:
        raise RecipeError(
            f"level {level:g}: these pictures go to {white:.3g} only; give it in their values, as 0.098 for 25/255 of 1"
        )
    noisy = [p / white for p in noisy]
    net = deepcopy(for_channels(networks(weights.load(start)[0]), noisy[0].shape[0]))
    if not isinstance(net, UnshuffleUNet):
        raise RecipeError(f"{start}: published checkpoints cannot be fitted further; start from noise2score")
    generator = torch.Generator().manual_seed(seed)
    if level > 0:
        law = Family.of(kind, level).scaled(1 / white)
    else:
        law = _law(Removal(net.eval()), noisy, POWERS.get(kind), generator, notes)
    if net.channels == 1 and noisy[0].shape[0] > 1:
        noisy = [plane[None] for picture in noisy for plane in picture]
    lessons, exam = _parted(noisy, generator)
    fit = Fit(net, law, objective, lessons, exam, generator)
    begun = fit.best
    curve = fit.run(60 * minutes, steps, on_moment, cancelled or Event())
    before, after = curve[0].sure_psnr, max(m.sure_psnr for m in curve)
    helped = after >= before + WORTH
    if fit.doubt:
        notes.append("the level of the noise was found a little too high: the decibels are rough")
    if not helped:
        notes.append("fitting did not help: the model holds the weights started from")
    told = law.scaled(white)
    level = told.level
    facts = {"kind": law.name, "level": f"{level:.6g}", "before": f"{before:.3f}", "after": f"{after:.3f}"}
    _write(path, fit.best if helped else begun, facts)
    return Adapted(path, law.name, level, before, after, helped, tuple(curve), tuple(notes))


def _planes(pictures: Sequence[Source], limits: Limits, notes: list[str]) -> list[Tensor]:
    """Read what was given as float32 ``(C, H, W)``."""
    images: list[Image] = []
    for source in pictures:
        if isinstance(source, np.ndarray):
            images.append(from_array(source))
        else:
            for page in [source] if isinstance(source, Image) else _pages(Path(source), limits, notes):
                if not isinstance(page, Image):
                    raise UnsupportedError(Path(str(source)), "is a raw file; develop it first (restore run -m none)")
                images.append(page)
    if not images:
        raise RecipeError("no pictures were given; give one or more noisy pictures of one kind")
    thin = [image.thin() for image in images]
    images = thin if all(image.pixels.shape[2] == 1 for image in thin) else images
    kinds = sorted({image.pixels.shape[2] for image in images})
    if len(kinds) > 1:
        raise ArrayError(f"the pictures have {kinds[0]} and {kinds[1]} channels; give pictures of one kind")
    planes = [torch.from_numpy(image.pixels.transpose(2, 0, 1).copy()) for image in images]
    small = min(min(p.shape[1:]) for p in planes)
    if small < Fit.patch or not all(torch.isfinite(p).all() for p in planes):
        raise ArrayError(
            f"pictures must be finite, with sides of {Fit.patch} pixels and more; the shortest has {small}"
        )
    return planes


def _pages(path: Path, limits: Limits, notes: list[str]) -> Sequence[Picture]:
    """Return the pages of a file; of a stack that is larger than a picture may be, as many as fit, spread over it."""
    pages = files.read_stack(path, limits=limits)
    together = sum(math.prod(size) for size in pages.sizes) if isinstance(pages, Stack) else 0
    if together <= limits.max_pixels:
        return pages
    count = len(pages) * limits.max_pixels // together
    notes.append(f"{path.name} is large: {count} of its {len(pages)} pages were learnt from")
    return [pages[int(number)] for number in np.linspace(0, len(pages) - 1, count).round()]


def _near_white(noisy: list[Tensor]) -> float:
    """Return the brightness that a thousandth of all values is beyond."""
    return float(np.quantile(np.concatenate([p.flatten()[::97].abs().numpy() for p in noisy]), 0.999))


def _law(
    removal: Removal, noisy: list[Tensor], power: float | None, generator: torch.Generator, notes: list[str]
) -> Family:
    """Find the law of the noise that the pictures share, and say how well the network's start fits it."""
    chosen = noisy[:: max(1, len(noisy) // 8)][:8]
    found = [noise.estimate(Image(p.numpy().transpose(1, 2, 0))) for p in chosen]
    sigma = float(np.sqrt(np.mean([f.sigma**2 for f in found])))
    if np.mean([f.correlation for f in found]) > 0.15:
        notes.append("the noise is correlated between neighbours, as after JPEG: expect little of this fit")
    shortest = min(min(p.shape[1:]) for p in chosen) // 32 * 32
    parts = [part[:, :shortest, :shortest] for p in chosen for part in sample(p)[:: -(-len(chosen) // 2)]]
    with torch.inference_mode():
        batch = torch.stack(parts)
        fits = [f for f in identify(removal, batch, sigma, generator) if power in (None, f.law.power)]
        if not fits or sigma <= 0:
            raise RecipeError("no noise was found in these pictures: there is nothing to fit")
        return refine(removal, batch, fits[0].law, generator).law


def _parted(noisy: list[Tensor], generator: torch.Generator) -> tuple[list[Tensor], Tensor]:
    """Return pictures to learn from, and parts ``(B, C, h, w)`` of others, or of their ends, to be tested on."""
    if len(noisy) >= 4:
        count = min(4, len(noisy) // 4)
        order = torch.randperm(len(noisy), generator=generator).tolist()
        tests, lessons = [noisy[i] for i in order[:count]], [noisy[i] for i in order[count:]]
    else:
        tall = [p if p.shape[1] >= p.shape[2] else p.transpose(1, 2) for p in noisy]
        shortest = min(p.shape[1] for p in tall)
        if shortest < Fit.patch + EXAM:
            raise ArrayError(
                f"one to three pictures must be {Fit.patch + EXAM} pixels long, as a part of each is kept to judge by;"
                f" one has {shortest}; give longer ones, or four"
            )
        cuts = [min(p.shape[1] * 4 // 5, p.shape[1] - EXAM) for p in tall]
        lessons = [p[:, :cut] for p, cut in zip(tall, cuts, strict=True)]
        tests = [p[:, cut:] for p, cut in zip(tall, cuts, strict=True)]
    height, width = (min(256, min(t.shape[axis] for t in tests) // 8 * 8) for axis in (1, 2))
    return lessons, torch.stack([part for t in tests for part in _spread(t, height, width)])


def _spread(picture: Tensor, height: int, width: int) -> list[Tensor]:
    """Return one or two parts of a picture, at its left and right."""
    lefts = {0, picture.shape[2] - width} if picture.shape[2] >= 2 * width else {(picture.shape[2] - width) // 2}
    top = (picture.shape[1] - height) // 2
    return [picture[:, top : top + height, left : left + width] for left in sorted(lefts)]


def _write(path: Path, state: dict[str, Tensor], facts: dict[str, str]) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        save_file({k: v.contiguous() for k, v in state.items()}, part, metadata={"method": METHOD} | facts)
