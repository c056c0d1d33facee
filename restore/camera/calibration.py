"""From dark and flat frames to a profile: ISO by ISO, gain branch by gain branch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from restore.camera import warnings
from restore.camera.converter import Converter, fine_histogram, fit
from restore.camera.divergence import OFFSET
from restore.camera.frames import tiled
from restore.camera.gain import Gain, photon_transfer
from restore.camera.groups import by_exposure, grouped, is_switched, paired, split_held_out, without_pushed
from restore.camera.iso import IsoNoise
from restore.camera.profile import Branch, Maps, Profile
from restore.camera.proxy import Proxy
from restore.camera.proxy_training import Lesson, train
from restore.camera.sample import unlit
from restore.camera.shading import Shading
from restore.camera.stack import Frame, StackNoise, black_of, measure
from restore.errors import ArrayError
from restore.files.metadata import body_of
from restore.picture import RawImage

Report = Callable[[float, str], None]
_MANY_CODES, _SAMPLES = 2.5, 4_000_000
LEAST_SIDE = 16
"""Rows and columns that a frame must have."""


@dataclass(frozen=True)
class Plan:
    """How to calibrate.

    Parameters
    ----------
    steps
        Training steps of each branch's proxy; 0 for none.
    held_out
        Frames of each ISO kept apart to judge the result; None for 3 of ten, 1 of five, else none.
    batch
        Samples a training step.
    """

    steps: int = 3000
    held_out: int | None = None
    batch: int = 8192
    seed: int = 0


def calibrate(
    darks: Sequence[Frame],
    flats: Sequence[Frame],
    gain_of: Callable[[float, float], Gain],
    plan: Plan,
    *,
    body: str = "",
    report: Report = lambda share, text: None,
) -> Profile:
    """Learn the noise profile of a camera.

    Parameters
    ----------
    darks
        Frames with the cap on, two at least of each ISO; ten or more are good. Long exposures beside short ones say
        where black lies in long exposures.
    flats
        Frames of an even field, in pairs of the same ISO and exposure; may be missing.
    gain_of
        K at an ISO, given the span from black to white in DN, where there are no flats.
    report
        Called with the share done and what is being done.

    Raises
    ------
    ArrayError
        Frames that do not belong together, one frame only, light in dark frames, ISO tags that cannot be right.
    """
    if not darks:
        raise ArrayError("no dark frames; shoot ten or more for each ISO with the cap on")
    reference = darks[0].load()
    checked = [_checked(frame, darks[0].name, reference) for frame in darks]
    groups, left_out = without_pushed(grouped(checked))
    rng, generator = np.random.default_rng(plan.seed), torch.Generator().manual_seed(plan.seed)
    if min(reference.size) < LEAST_SIDE:
        height, width = reference.size
        raise ArrayError(
            f"{darks[0].name}: {width}x{height} pixels are too few to tell the noise of pixels, rows and columns apart;"
            f" give frames of {LEAST_SIDE}x{LEAST_SIDE} or more"
        )
    period, span = len(reference.cfa), reference.white - float(np.mean(reference.black))
    stacks: list[StackNoise] = []
    shadings: list[Shading] = []
    bad, glows = np.zeros(reference.size, bool), list[str]()
    for index, (iso, frames) in enumerate(groups.items()):
        report(0.3 * index / len(groups), f"dark frames of ISO {iso:g}")
        short, long = by_exposure(frames)
        glows += warnings.of_exposures(frames, short, long)
        learn, _ = split_held_out(short, plan.held_out)
        if len(learn) < 2:
            raise ArrayError(
                f"one dark frame of ISO {iso:g} ({frames[0].name}): two at least are needed to tell noise from fixed"
                " pattern; ten or more are good"
            )
        stack = measure(learn, period, rng)
        if long:
            black, drift = black_of(long, period)
            stack = replace(stack, long_black_error=black, long_drift=drift)
        is_told = bool(np.any(reference.black))
        glows += warnings.refuse_light(stack, span, frames[0].name, is_black_told=is_told)
        if not shadings or is_switched(stacks[-len(shadings[-1].isos) :], stack):
            shadings.append(Shading())
        shadings[-1].add(stack)
        bad |= stack.bad
        stacks.append(replace(stack, shading=np.zeros((0, 0), np.float32)))
    warnings.refuse_wrong_isos(stacks, [shading.isos for shading in shadings])
    gains = _gains([_checked(flat, darks[0].name, reference) for flat in flats], stacks, span, gain_of)
    branches = _branches(shadings, stacks, gains, plan, generator, report)
    report(0.98, "converter")
    maker, _, model = (reference.meta.camera or "").partition(" ")
    profile = Profile(
        maker=maker,
        model=model,
        body=body,
        bits=int(np.ceil(np.log2(reference.white + 1))),
        cfa=reference.cfa,
        black=reference.black,
        white=reference.white,
        isos=tuple(_record(stack, gain) for stack, gain in zip(stacks, gains, strict=True)),
        branches=branches,
        maps=_maps(shadings, bad, period),
        notes=(*left_out, *glows, *warnings.notes(stacks, gains, [shading.isos for shading in shadings])),
    )
    return replace(profile, converter=_converter(profile, stacks, rng) if plan.steps else None)


def _converter(profile: Profile, stacks: Sequence[StackNoise], rng: np.random.Generator) -> Converter | None:
    """Compare the codes of dark frames with those of made ones over the ISOs whose noise spans many of them."""
    codes = np.zeros_like(stacks[0].codes)
    expected = np.zeros(0)
    for stack in stacks:
        if stack.sigma_px < _MANY_CODES:
            continue
        fixed = profile.dark_shading(stack.iso)
        size = fixed.shape[0], fixed.shape[1]
        fixed += tiled(profile.black, size)
        draws = max(1, round(_SAMPLES / fixed.size))
        noise = profile.at(stack.iso)
        made = sum(fine_histogram(fixed + unlit(size, profile, noise, rng)) for _ in range(draws))
        codes += stack.codes
        share = made * (stack.codes.sum() / np.sum(made))
        expected = share if not len(expected) else expected + share
    return fit(codes, OFFSET, expected) if len(expected) else None


def _checked(frame: Frame, name: str, reference: RawImage) -> Frame:
    """Return a frame that is refused on loading when it is not of the reference's camera and mode."""

    def load() -> RawImage:
        raw = frame.load()
        pairs = {
            "camera": (raw.meta.camera, reference.meta.camera),
            "hash of the serial number": (body_of(raw.meta), body_of(reference.meta)),
            "size": tuple(f"{found.size[1]}x{found.size[0]}" for found in (raw, reference)),
            "colour pattern": (raw.cfa, reference.cfa),
            "white level": (raw.white, reference.white),
            "black level": (raw.black, reference.black),
        }
        for what, (found, wanted) in pairs.items():
            if found != wanted and not (what == "black level" and _is_near(raw, reference)):
                raise ArrayError(
                    f"{frame.name}: {what} {found}, but {name} has {wanted}; calibrate each camera and raw mode by"
                    " itself"
                )
        return raw

    return replace(frame, load=load)


def _is_near(raw: RawImage, reference: RawImage) -> bool:
    """Whether black is where the reference has it, to a hundredth of white: cameras measure it anew in each picture."""
    off = tiled(raw.black, reference.size) - tiled(reference.black, reference.size)
    return float(np.abs(off).max()) <= 0.01 * reference.white


def _gains(
    flats: Sequence[Frame], stacks: Sequence[StackNoise], span: float, gain_of: Callable[[float, float], Gain]
) -> list[Gain]:
    """K of each ISO: from its own flats, else from those of the nearest ISO, else from elsewhere."""
    measured: dict[float, Gain] = {}
    for iso, frames in grouped(flats).items():
        nearest = min(stacks, key=lambda stack: abs(np.log(stack.iso / iso)))
        measured[iso] = photon_transfer(paired(frames), nearest.black_error)
    gains = []
    for stack in stacks:
        if not measured:
            gains.append(gain_of(stack.iso, span))
            continue
        iso = min(measured, key=lambda known: abs(np.log(known / stack.iso)))
        gain = measured[iso]
        source = f"{gain.source} at ISO {iso:g}, with ISO"
        scaled = Gain(gain.K * stack.iso / iso, max(gain.error, 0.02), source, gain.is_measured)
        gains.append(gain if iso == stack.iso else scaled)
    return gains


def _branches(
    shadings: Sequence[Shading],
    stacks: Sequence[StackNoise],
    gains: Sequence[Gain],
    plan: Plan,
    generator: torch.Generator,
    report: Report,
) -> tuple[Branch, ...]:
    """Train a proxy for each gain branch."""
    known: Mapping[float, tuple[StackNoise, Gain]] = {s.iso: (s, g) for s, g in zip(stacks, gains, strict=True)}
    made: list[Branch] = []
    for index, shading in enumerate(shadings):
        lessons = [
            Lesson(iso, known[iso][1].K, known[iso][0].residuals, known[iso][0].sigma_px) for iso in shading.isos
        ]
        words = f"proxy of ISO {shading.isos[0]:g} to {shading.isos[-1]:g}"

        def progress(share: float, index: int = index, words: str = words) -> None:
            report(0.3 + 0.7 * (index + share) / len(shadings), words)

        proxy: Proxy | None = None
        if plan.steps:
            proxy = train(lessons, generator, steps=plan.steps, batch=plan.batch, report=progress)
        made.append(Branch(tuple(shading.isos), proxy))
    return tuple(made)


def _maps(shadings: Sequence[Shading], bad: np.ndarray[tuple[int, int], np.dtype[np.bool_]], period: int) -> Maps:
    lines = [shading.line(bad, period) for shading in shadings]
    k, b = (np.stack([line[part] for line in lines]).clip(-60000, 60000).astype(np.float16) for part in (0, 1))
    return Maps(k, b, np.argwhere(bad).astype(np.int32))


def _record(stack: StackNoise, gain: Gain) -> IsoNoise:
    shape, scale, _ = stack.tukey
    return IsoNoise(
        iso=stack.iso,
        K=gain.K,
        K_source=gain.source,
        K_error=gain.error,
        sigma_px=stack.sigma_px,
        tukey_lambda=shape,
        tukey_sigma=scale,
        sigma_row=stack.sigma_row,
        sigma_col=stack.sigma_col,
        sigma_bias=stack.sigma_bias,
        black_error=stack.black_error,
        drift=stack.drift,
        long_black_error=stack.long_black_error,
        long_drift=stack.long_drift,
        temporal=stack.temporal,
        fixed=stack.fixed,
        exposure_s=stack.exposure_s,
        frames=stack.frames,
    )
