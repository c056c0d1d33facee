"""Run a recipe on a picture: the only place where the order of stages is written.

::

    RawImage -[MOSAIC steps]-> RawImage -develop-> Image -[SRGB steps]-> Image
                                     (recipe.develop None: stop here)
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from restore import choose, evidence, methods, noise, uncertainty
from restore.errors import RecipeError, ResultError
from restore.evidence import Finding, Promise
from restore.memory import within_memory
from restore.method import Compute, Method, Role, Scene
from restore.noise import Noise
from restore.picture import Domain, Image, Picture, RawImage
from restore.planes import is_finite, planes_of, with_planes
from restore.raw.develop import develop
from restore.recipe import AUTO, Recipe, Step
from restore.result import Result, StepReport, fractions_of, noise_left
from restore.runtime import Loaded, Runtime, precision_of
from restore.tiling import Seams, TileOp

__all__ = ["Result", "StepReport", "run"]


def run(picture: Picture, recipe: Recipe, runtime: Runtime, *, with_uncertainty: bool = False) -> Result:
    """Run a recipe on a picture.

    Parameters
    ----------
    with_uncertainty
        Also compute the standard error of each value of the last step, where it can be known: four more runs at most.

    Raises
    ------
    RecipeError
        A step cannot work on this picture at its place.
    ResultError
        A method gave values that are not finite.
    MemoryLimitError
        Even the smallest tiles do not fit.
    Cancelled
        The caller asked to stop.
    """
    if isinstance(picture, Image) and (thin := picture.thin()) is not picture:
        return run(thin, recipe, runtime, with_uncertainty=with_uncertainty).widened(picture.pixels.shape[2])
    if isinstance(picture, Image) and (unit := choose.unit(picture, recipe)):
        scaled, as_usual = picture.between(*unit), recipe.model_copy(update={"white": None})
        found = _run(scaled, as_usual, runtime, with_uncertainty)
        assert isinstance(found.picture, Image)
        is_same = np.array_equal(found.picture.pixels, scaled.pixels)  # there and back would round
        decided, found = found.recipe.model_copy(update={"white": recipe.white}), found.unscaled(*unit, recipe.white)
        made = picture if is_same else replace(found.picture, meta=picture.meta)
        return replace(found, picture=made, recipe=decided)
    if isinstance(picture, Image) and choose.only_denoises(recipe.steps) and (toned := noise.toned(picture)):
        greys = run(toned[0].grey(picture), recipe, runtime, with_uncertainty=with_uncertainty)
        return greys.coloured(picture, toned[0])
    hint = picture.hint() if isinstance(picture, Image) else ""
    return _run(picture, recipe, runtime, with_uncertainty, hint)


def _run(picture: Picture, recipe: Recipe, runtime: Runtime, with_uncertainty: bool, hint: str = "") -> Result:
    """Run a recipe on a picture in the unit and with the channels that methods know; ``hint`` is noted."""
    start = time.perf_counter()
    _check_order(picture, recipe)
    work = _Run(picture, recipe, runtime, runtime.compute(recipe.precision), with_uncertainty, hint)
    for step in recipe.steps:
        if step.method == AUTO:
            work.choose(step.strength)
        else:
            work.do(step)
    if work.recipe.develop is None:
        work.measure_noise_left()
    else:
        work.develop()
    return Result(work.picture, work.decided(), tuple(work.reports), time.perf_counter() - start, work.uncertainty)


def _check_order(picture: Picture, recipe: Recipe) -> None:
    """Refuse steps on the mosaic where there is none, and a white of raws, before anything is computed."""
    is_mosaic = isinstance(picture, RawImage)
    if is_mosaic and recipe.white is not None:
        raise RecipeError("a raw file says itself what is white; leave white out")
    for step in recipe.steps:
        if step.method == AUTO or methods.get(step.method).domain is None:
            continue
        wants_mosaic = methods.get(step.method).domain is Domain.MOSAIC
        if wants_mosaic and not is_mosaic:
            where, advice = "on a developed picture", "give it a raw file first"
            if isinstance(picture, RawImage):
                where, advice = "after development", "put it first"
            elif picture.meta.format == "raw":
                advice = "this raw file has no mosaic, use --method denoise"
            raise RecipeError(f"method {step.method!r} works on raw mosaics and cannot run {where}; {advice}")
        if not wants_mosaic and isinstance(picture, RawImage) and recipe.develop is None:
            raise RecipeError(f"method {step.method!r} needs a developed picture, but the recipe keeps the mosaic")
        is_mosaic = wants_mosaic


class _Made(NamedTuple):
    """What a method made."""

    loaded: Loaded
    scene: Scene
    op: TileOp
    out: Tensor
    tile: tuple[int, int] | None


class _Run:
    """One picture on its way through a recipe."""

    def __init__(
        self, picture: Picture, recipe: Recipe, runtime: Runtime, compute: Compute, with_uncertainty: bool, hint: str
    ) -> None:
        self.picture, self.recipe, self.runtime, self.compute = picture, recipe, runtime, compute
        self.with_uncertainty = with_uncertainty
        self.rng, self._is_int8, self._is_changed = np.random.default_rng(recipe.seed), False, False
        self.reports = list[StepReport]()
        self.uncertainty: Image | None = None
        self._level: tuple[Picture, Noise] | None = None
        self._unit = picture.unit() if isinstance(picture, Image) else None
        self._hint = fractions_of(*self._unit) if self._unit else hint

    def develop(self) -> None:
        """Develop what is still a mosaic."""
        if isinstance(self.picture, RawImage):
            settings = self.recipe.develop
            if settings is None:
                raise RecipeError("this step needs a developed picture, but the recipe keeps the mosaic")
            self.picture = develop(self.picture, exposure_ev=settings.exposure_ev, white_balance=settings.white_balance)

    def measure_noise_left(self) -> None:
        """Note on a mosaic that steps have changed what the DNG says of its noise to the next program."""
        done = [r for r in self.reports if methods.get(r.step.method).domain is Domain.MOSAIC]
        if isinstance(self.picture, RawImage) and done:
            meta = self.picture.meta
            extra = meta.extra | noise_left(done, self._measured(), meta.extra.get("noise_profile"))
            self.picture = replace(self.picture, meta=replace(meta, extra=extra))

    def choose(self, strength: float) -> None:
        """Run what ``auto`` chooses, looking anew before each: on the mosaic first, then on the developed picture."""
        before, open_roles = len(self.reports), list(Role)
        if isinstance(self.picture, RawImage):
            open_roles = [role for role in open_roles if not self._take(role, strength)]
            if self.recipe.develop is None:
                return
            self._develop_exposed()
        for role in open_roles:
            self._take(role, strength)
        if len(self.reports) == before:
            self.do(choose.nothing(self.noise(), self._hint))

    def _take(self, role: Role, strength: float) -> bool:
        """Run the best offer for a role on the picture as it stands now, and tell whether there was one."""
        if (step := choose.step(self.picture, self.noise(), role, strength)) is not None:
            self.do(step)
        return step is not None

    def _develop_exposed(self) -> None:
        """Develop; a picture that turns out dark is exposed anew in linear light, where that is still exact."""
        raw = self.picture
        self.develop()
        settings = self.recipe.develop
        assert isinstance(raw, RawImage)
        assert isinstance(self.picture, Image)
        assert settings is not None
        stops = choose.exposure(raw) if settings.exposure_ev == 0 else 0.0
        if stops > 0 and choose.step(self.picture, self.noise(), Role.LIGHT):
            brighter = settings.model_copy(update={"exposure_ev": stops})
            self.recipe, self.picture = self.recipe.model_copy(update={"develop": brighter}), raw
            self.develop()

    def noise(self) -> Noise:
        """Return what is known of the noise now: what was stated holds until a step changes the picture."""
        if self.recipe.noise is None or self._is_changed:
            return self._measured()
        channels = 4 if isinstance(self.picture, RawImage) else self.picture.pixels.shape[2]
        return noise.given(self.recipe.noise, channels)

    def _measured(self) -> Noise:
        """Return the noise of the picture as it stands, measured once, in fractions of what is white in it."""
        if self._level is None or self._level[0] is not self.picture:
            seen = self.picture.between(*self._unit) if self._unit and isinstance(self.picture, Image) else self.picture
            self._level = self.picture, noise.estimate(seen)
        return self._level[1]

    def do(self, step: Step) -> None:
        """Run one step, and look whether it kept what it promised."""
        start = time.perf_counter()
        method = methods.get(step.method)
        if method.domain is Domain.SRGB:
            self.develop()
        self.runtime.tick(step.method, 0.0)
        planes = planes_of(self.picture, method.domain)
        made = self._finite(step, planes)
        out = torch.lerp(planes, made.out, step.strength) if step.strength < 1 else made.out
        if self.with_uncertainty:
            self._deviate(method, step, planes, made)
        self.picture = with_planes(self.picture, out)
        self._is_changed |= self.recipe.noise is not None and not torch.equal(planes, out)
        self._is_int8 |= made.op.is_int8
        found = self._evidence(method, step, planes, out, made.scene.noise)
        seconds, scene = time.perf_counter() - start, made.scene
        if self._hint and method.domain is not None:
            scene.note(self._hint)
        facts = (made.op.seams, made.tile, made.loaded.sha256, seconds, scene.report, found)
        self.reports.append(StepReport(step, scene.noise, *facts))

    def _deviate(self, method: Method, step: Step, planes: Tensor, made: _Made) -> None:
        """Work out the standard error of each value of this step's result; forget that of an earlier one."""
        if method.domain is None:
            return
        self.uncertainty, op, noise = None, made.op, made.scene.noise
        if op.deviation is not None:
            again: TileOp | None = replace(op, run=op.deviation)
        else:
            is_denoiser = method.keeps_level is not None and method.domain is Domain.SRGB
            again = uncertainty.operation(op, method.name, noise) if is_denoiser else None
        if again is None or not isinstance(self.picture, Image):
            made.scene.note("its standard errors are not known")
            return
        spread, _ = self.runtime.apply(again, planes, self.recipe.tile, made.scene.compute, step.method)
        spread = spread.mul_(step.strength)
        if step.strength < 1:
            spread = spread.hypot(torch.tensor((1 - step.strength) * noise.sigma))
        self.uncertainty = replace(self.picture, pixels=spread.numpy().transpose(1, 2, 0), alpha=None)

    def _finite(self, step: Step, planes: Tensor) -> _Made:
        """Run a method; where numbers of few bits overflow, once more in float32.

        Raises
        ------
        ResultError
            Its values are not finite.
        """
        made = self._make(step, planes, self.compute)
        if not is_finite(made.out) and self.compute.dtype is not torch.float32:
            made = self._make(step, planes, replace(self.compute, dtype=torch.float32, is_int8=False))
            made.scene.note("its values were not finite in arithmetic of 16 bits: done again in float32")
        if not is_finite(made.out):
            raise ResultError(
                f"method {step.method!r} gave values that are not finite, in float32 too; "
                "nothing was kept: try another method, or look whether its weights or the picture's values are sane"
            )
        return made

    def _make(self, step: Step, planes: Tensor, compute: Compute) -> _Made:
        scene = Scene(
            planes=planes,
            domain=self.picture.domain,
            meta=self.picture.meta,
            noise=self.noise(),
            compute=compute,
            rng=self.rng,
            tile=self._fold_tile(),
            tiles=self.recipe.tile,
            progress=lambda share: self.runtime.tick(step.method, share / 2),
        )
        with within_memory(f"method {step.method!r}"):
            loaded = self.runtime.load(step, compute)
            if loaded.notice:
                scene.note(loaded.notice)
            op = loaded.restorer.prepare(scene)
        out, tile = self.runtime.apply(op, planes, self.recipe.tile, compute, step.method)
        return _Made(loaded, scene, op, out, tile)

    def _evidence(self, method: Method, step: Step, before: Tensor, after: Tensor, level: Noise) -> tuple[Finding, ...]:
        if method.domain is None:
            return ()
        promise = Promise(method.keeps_level, method.keeps_edges, step.strength)
        if self._unit:
            before, after = ((x - self._unit[0]) / (self._unit[1] - self._unit[0]) for x in (before, after))
        return evidence.findings(before.numpy(), after.numpy(), level, self._measured, promise, self.picture.domain)

    def _fold_tile(self) -> int | None:
        tile = self.recipe.tile
        return tile if isinstance(tile, int) else None if tile == "off" else 1024

    def decided(self) -> Recipe:
        """Return the recipe with everything that was chosen on the way."""
        tiles = {r.tile[0] if r.tile else "off" for r in self.reports if r.seams is Seams.BLEND}
        return self.recipe.model_copy(
            update={
                "steps": tuple(r.step for r in self.reports),
                "precision": precision_of(self.compute, self._is_int8),
                "tile": tiles.pop() if len(tiles) == 1 else self.recipe.tile,
            }
        )
