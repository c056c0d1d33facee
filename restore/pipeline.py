"""Run a recipe on a picture: the only place where the order of stages is written.

::

    RawImage -[MOSAIC steps]-> RawImage -develop-> Image -[SRGB steps]-> Image
                                     (recipe.develop None: stop here)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from restore import methods, noise, tiling
from restore.colour import luma
from restore.errors import MemoryLimitError, RecipeError, ResultError
from restore.method import Compute, Look, Offer, Role, Scene
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
    compute = runtime.compute(recipe.precision)
    rng = np.random.default_rng(recipe.seed)
    reports: list[StepReport] = []
    uncertainty: Image | None = None
    for step in recipe.steps:
        chosen_steps = [step] if step.method != AUTO else _offered(picture, recipe, step.strength)
        for chosen in chosen_steps:
            if isinstance(picture, RawImage) and methods.get(chosen.method).domain is Domain.SRGB:
                picture = _developed(picture, recipe)
            done = _run_step(picture, chosen, recipe, runtime, compute, rng, with_uncertainty)
            picture, uncertainty = done.picture, done.uncertainty or uncertainty
            reports.append(done.report)
    if isinstance(picture, RawImage) and recipe.develop is not None:
        picture = _developed(picture, recipe)
    tiles = {r.tile[0] if r.tile else "off" for r in reports if r.seams is Seams.BLEND}
    decided = recipe.model_copy(
        update={
            "steps": tuple(r.step for r in reports),
            "precision": next(name for name, dtype in DTYPES.items() if dtype is compute.dtype),
            "tile": tiles.pop() if len(tiles) == 1 else recipe.tile,
        }
    )
    return Result(picture, decided, tuple(reports), time.perf_counter() - start, uncertainty)


def _check_order(picture: Picture, recipe: Recipe) -> None:
    """Refuse steps on the mosaic where there is none, before anything is computed."""
    is_mosaic = isinstance(picture, RawImage)
    for step in recipe.steps:
        if step.method == AUTO:
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


def _developed(raw: RawImage, recipe: Recipe) -> Image:
    settings = recipe.develop
    if settings is None:
        raise RecipeError("this step needs a developed picture, but the recipe keeps the mosaic")
    return develop(raw, exposure_ev=settings.exposure_ev, white_balance=settings.white_balance)


def _offered(picture: Picture, recipe: Recipe, strength: float) -> Iterator[Step]:
    """Yield the steps that ``auto`` chooses: for a mosaic those on it, else the best of each role."""
    best: dict[Role, tuple[Offer, str]] = {}
    level = _noise(picture, recipe)
    if isinstance(picture, RawImage):
        look = Look(Domain.MOSAIC, level, float(np.clip(picture.mosaic, 0, 1).mean()), 4)
    else:
        look = Look(Domain.SRGB, level, float(luma(picture.pixels).mean()), picture.pixels.shape[2])
    for name, method in methods.registry().items():
        can_run = method.domain is look.domain and not (isinstance(picture, RawImage) and not picture.is_bayer)
        offer = method.offer(look) if can_run and method.role else None
        if (
            offer is not None
            and method.role is not None
            and offer.score > best.get(method.role, (Offer(-1, ""), ""))[0].score
        ):
            best[method.role] = offer, name
    for role in Role:
        if role in best:
            offer, name = best[role]
            yield Step(method=name, settings=dict(offer.settings), strength=strength, reason=offer.reason)
    if not best and look.domain is Domain.MOSAIC and recipe.develop is not None:
        yield from _offered(_developed(picture, recipe), recipe, strength) if isinstance(picture, RawImage) else ()
    elif not best and recipe.develop is not None:
        yield Step(method="none", reason=f"noise of {level.sigma * 255:.1f}/255 measured: nothing to do")


def _noise(picture: Picture, recipe: Recipe) -> Noise:
    if recipe.noise is None:
        return noise.estimate(picture)
    return noise.given(recipe.noise, 4 if isinstance(picture, RawImage) else picture.pixels.shape[2])


class _Done(NamedTuple):
    picture: Picture
    report: StepReport
    uncertainty: Image | None


def _run_step(
    picture: Picture,
    step: Step,
    recipe: Recipe,
    runtime: Runtime,
    compute: Compute,
    rng: np.random.Generator,
    with_uncertainty: bool,
) -> _Done:
    start = time.perf_counter()
    runtime.tick(step.method, 0.0)
    planes = _planes(picture)
    loaded = runtime.load(step, compute)
    level = _noise(picture, recipe)
    scene = Scene(
        planes=planes,
        domain=picture.domain,
        meta=picture.meta,
        noise=level,
        compute=compute,
        rng=rng,
        tile=recipe.tile if isinstance(recipe.tile, int) else (None if recipe.tile == "off" else 1024),
        progress=lambda share: runtime.tick(step.method, share / 2),
    )
    op = loaded.restorer.prepare(scene)
    out, tile = _apply_within_memory(op, planes, recipe, runtime, compute, step)
    if not torch.isfinite(out).all():
        raise ResultError(f"method {step.method!r} gave values that are not finite; try --precision fp32")
    if step.strength < 1:
        out = torch.lerp(planes, out, step.strength)
    seconds = time.perf_counter() - start
    report = StepReport(step, level, op.seams, tile, loaded.sha256, seconds, scene.report)
    deviation = None
    if with_uncertainty and op.deviation is not None and isinstance(picture, Image):
        spread, _ = _apply_within_memory(replace(op, run=op.deviation), planes, recipe, runtime, compute, step)
        deviation = replace(picture, pixels=spread.mul_(step.strength).numpy().transpose(1, 2, 0), alpha=None)
    return _Done(_with_planes(picture, out), report, deviation)


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


def _planes(picture: Picture) -> Tensor:
    """Return float32 ``(C, H, W)``, a copy."""
    if isinstance(picture, RawImage):
        if not picture.is_bayer:
            raise RecipeError(
                "this sensor's pattern is not a 2x2 Bayer mosaic; use methods that work after development"
            )
        return torch.from_numpy(np.ascontiguousarray(bayer.pack(picture.mosaic, picture.cfa)))
    return torch.from_numpy(np.ascontiguousarray(picture.pixels.transpose(2, 0, 1)).copy())


def _with_planes(picture: Picture, planes: Tensor) -> Picture:
    """Return the picture with other pixels, everything else kept."""
    if isinstance(picture, RawImage):
        return replace(picture, mosaic=bayer.unpack(planes.numpy(), picture.cfa, picture.size))
    return replace(picture, pixels=planes.numpy().transpose(1, 2, 0))
