"""Run a recipe on a picture: the only place where the order of stages is written.

::

    RawImage -[MOSAIC steps]-> RawImage -develop-> Image -[SRGB steps]-> Image
                                     (recipe.develop None: stop here)
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from restore import choose, methods, noise, tiling
from restore.errors import MemoryLimitError, RecipeError, ResultError
from restore.method import Compute, Role, Scene
from restore.noise import Noise
from restore.picture import Domain, Image, Picture, RawImage
from restore.raw import bayer
from restore.raw.develop import develop
from restore.recipe import AUTO, Recipe, Step
from restore.runtime import DTYPES, Runtime, tile_size
from restore.tiling import Seams, TileOp


@dataclass(frozen=True)
class StepReport:
    """What one step did.

    Parameters
    ----------
    noise
        What was known of the noise before the step.
    tile
        Height and width of the tiles used, None for the whole picture at once.
    facts
        What the method reported, as JSON values.
    """

    step: Step
    noise: Noise
    seams: Seams
    tile: tuple[int, int] | None
    weights_sha256: str | None
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(replace(self, step=None)) | {"step": self.step.model_dump()}  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Result:
    """A restored picture and how it was made.

    Parameters
    ----------
    picture
        An ``Image``; a ``RawImage`` when the recipe stops before development.
    recipe
        The recipe with everything decided: methods chosen, precision, tiles. It makes the same pixels again.
    uncertainty
        Standard error of each value, where it was asked for and the method knows it.
    """

    picture: Picture
    recipe: Recipe
    reports: tuple[StepReport, ...]
    seconds: float
    uncertainty: Image | None = None


def run(picture: Picture, recipe: Recipe, runtime: Runtime, *, with_uncertainty: bool = False) -> Result:
    """Run a recipe on a picture.

    Parameters
    ----------
    with_uncertainty
        Also compute the standard error of each value, where a method knows it.

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
    start = time.perf_counter()
    _check_order(picture, recipe)
    work = _Run(picture, recipe, runtime, runtime.compute(recipe.precision), with_uncertainty)
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
    """Refuse steps on the mosaic where there is none, before anything is computed."""
    is_mosaic = isinstance(picture, RawImage)
    for step in recipe.steps:
        if step.method == AUTO or methods.get(step.method).domain is None:
            continue
        wants_mosaic = methods.get(step.method).domain is Domain.MOSAIC
        if wants_mosaic and not is_mosaic:
            where = "after development" if isinstance(picture, RawImage) else "on a developed picture"
            raise RecipeError(
                f"method {step.method!r} works on raw mosaics and cannot run {where}; give it a raw file first"
            )
        if not wants_mosaic and isinstance(picture, RawImage) and recipe.develop is None:
            raise RecipeError(f"method {step.method!r} needs a developed picture, but the recipe keeps the mosaic")
        is_mosaic = wants_mosaic


class _Run:
    """One picture on its way through a recipe."""

    def __init__(
        self, picture: Picture, recipe: Recipe, runtime: Runtime, compute: Compute, with_uncertainty: bool
    ) -> None:
        self.picture, self.recipe, self.runtime, self.compute = picture, recipe, runtime, compute
        self.with_uncertainty = with_uncertainty
        self.rng = np.random.default_rng(recipe.seed)
        self.reports: list[StepReport] = []
        self.uncertainty: Image | None = None

    def develop(self) -> None:
        """Develop what is still a mosaic."""
        if isinstance(self.picture, RawImage):
            settings = self.recipe.develop
            if settings is None:
                raise RecipeError("this step needs a developed picture, but the recipe keeps the mosaic")
            self.picture = develop(self.picture, exposure_ev=settings.exposure_ev, white_balance=settings.white_balance)

    def measure_noise_left(self) -> None:
        """Note on a mosaic that steps have changed what noise it has now: the DNG says it to the next program."""
        if isinstance(self.picture, RawImage) and self.reports:
            left = noise.estimate(self.picture)
            pair = left.gain, left.read**2
            extra = self.picture.meta.extra | {"noise_left": pair, "noise_profile": (pair,)}
            self.picture = replace(self.picture, meta=replace(self.picture.meta, extra=extra))

    def choose(self, strength: float) -> None:
        """Run what ``auto`` chooses, looking anew before each: on the mosaic first, then on the developed picture."""
        before = len(self.reports)
        open_roles = list(Role)
        if isinstance(self.picture, RawImage):
            open_roles = [role for role in open_roles if not self._take(role, strength)]
            if self.recipe.develop is None:
                return
            self._develop_exposed()
        for role in open_roles:
            self._take(role, strength)
        if len(self.reports) == before:
            level = self.noise().sigma * 255
            self.do(Step(method="none", reason=f"no visible noise ({level:.1f}/255 measured): nothing to do"))

    def _take(self, role: Role, strength: float) -> bool:
        """Run the best offer for a role on the picture as it stands now, and tell whether there was one."""
        step = choose.step(self.picture, self.noise(), role, strength)
        if step is not None:
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
        """Return what is known of the noise now."""
        if self.recipe.noise is None:
            return noise.estimate(self.picture)
        channels = 4 if isinstance(self.picture, RawImage) else self.picture.pixels.shape[2]
        return noise.given(self.recipe.noise, channels)

    def do(self, step: Step) -> None:
        """Run one step."""
        start = time.perf_counter()
        domain = methods.get(step.method).domain
        if domain is Domain.SRGB:
            self.develop()
        self.runtime.tick(step.method, 0.0)
        planes = _planes(self.picture, domain)
        loaded = self.runtime.load(step, self.compute)
        scene = Scene(
            planes=planes,
            domain=self.picture.domain,
            meta=self.picture.meta,
            noise=self.noise(),
            compute=self.compute,
            rng=self.rng,
            tile=self._fold_tile(),
            progress=lambda share: self.runtime.tick(step.method, share / 2),
        )
        op = loaded.restorer.prepare(scene)
        out, tile = _apply_within_memory(op, planes, self.recipe, self.runtime, self.compute, step)
        if not torch.isfinite(out).all():
            raise ResultError(f"method {step.method!r} gave values that are not finite; try --precision fp32")
        if step.strength < 1:
            out = torch.lerp(planes, out, step.strength)
        if self.with_uncertainty and op.deviation is not None and isinstance(self.picture, Image):
            again = replace(op, run=op.deviation)
            spread, _ = _apply_within_memory(again, planes, self.recipe, self.runtime, self.compute, step)
            pixels = spread.mul_(step.strength).numpy().transpose(1, 2, 0)
            self.uncertainty = replace(self.picture, pixels=pixels, alpha=None)
        self.picture = _with_planes(self.picture, out)
        seconds = time.perf_counter() - start
        self.reports.append(StepReport(step, scene.noise, op.seams, tile, loaded.sha256, seconds, scene.report))

    def _fold_tile(self) -> int | None:
        if isinstance(self.recipe.tile, int):
            return self.recipe.tile
        return None if self.recipe.tile == "off" else 1024

    def decided(self) -> Recipe:
        """Return the recipe with everything that was chosen on the way."""
        tiles = {r.tile[0] if r.tile else "off" for r in self.reports if r.seams is Seams.BLEND}
        return self.recipe.model_copy(
            update={
                "steps": tuple(r.step for r in self.reports),
                "precision": next(name for name, dtype in DTYPES.items() if dtype is self.compute.dtype),
                "tile": tiles.pop() if len(tiles) == 1 else self.recipe.tile,
            }
        )


def _apply_within_memory(
    op: TileOp, planes: Tensor, recipe: Recipe, runtime: Runtime, compute: Compute, step: Step
) -> tuple[Tensor, tuple[int, int] | None]:
    """Run an operation, starting again with smaller tiles when memory runs out."""
    size = (planes.shape[1], planes.shape[2])
    tile = tile_size(op, recipe.tile, size, compute.device)
    while True:
        try:
            out = tiling.apply(
                op,
                planes,
                tile=tile,
                device=str(compute.device),
                on_tile=lambda done, total: runtime.tick(step.method, done / total),
            )
        except (torch.OutOfMemoryError, MemoryError) as error:
            height, width = tile or size
            if op.seams is Seams.WHOLE or max(height, width) < 2 * max(16, op.multiple):
                raise MemoryLimitError(
                    f"method {step.method!r} does not fit into memory, even in tiles of {height} x {width} pixels; "
                    "use a smaller picture or another device"
                ) from error
            tile = (height // 2, width) if height >= width else (height, width // 2)
        else:
            return out, tile


def _planes(picture: Picture, domain: Domain | None) -> Tensor:
    """Return float32 ``(C, H, W)``, a copy."""
    if isinstance(picture, Image):
        return torch.from_numpy(np.ascontiguousarray(picture.pixels.transpose(2, 0, 1)).copy())
    if domain is None:
        return torch.from_numpy(picture.mosaic[None].copy())
    if not picture.is_bayer:
        raise RecipeError(
            f"{bayer.phase_name(picture.cfa)} is not a 2x2 Bayer mosaic, which methods on the mosaic need;"
            " leave them out: the picture is developed first, then use --method denoise"
        )
    return torch.from_numpy(np.ascontiguousarray(bayer.pack(picture.mosaic, picture.cfa)))


def _with_planes(picture: Picture, planes: Tensor) -> Picture:
    """Return the picture with other pixels, everything else kept."""
    values = planes.numpy()
    if isinstance(picture, Image):
        return replace(picture, pixels=values.transpose(1, 2, 0))
    mosaic = values[0] if len(values) == 1 else bayer.unpack(values, picture.cfa, picture.size)
    return replace(picture, mosaic=mosaic)
