"""The contract every method keeps: what it is, what it may know, and how it answers.

All that depends on the picture happens once, in ``prepare(scene)``; what remains is a pure function of a tile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from restore.noise import Noise
from restore.picture import Domain, Meta

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from restore.tiling import TileOp

State = Mapping[str, "Tensor"]
"""A checked state dict: names to tensors."""


class Settings(BaseModel):
    """Knobs of a method. Each is a field made by :func:`knob`; flags, page controls and checks come from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _as_text(cls, value: Any, info: ValidationInfo) -> Any:
        """Take a number for text where text is wanted: nobody quotes the 2 of ``blind.stride=2``."""
        wanted = cls.model_fields[info.field_name or ""].annotation
        is_text = wanted is str or all(isinstance(choice, str) for choice in get_args(wanted) or (0,))
        return str(value) if is_text and type(value) in (int, float) else value


def knob(
    default: Any,
    help: str,  # noqa: A002 - the word users know
    *,
    low: float | None = None,
    high: float | None = None,
    names: Literal["file", "folder"] | None = None,
) -> Any:
    """Return a field of :class:`Settings`: its default, one line of help, and its range (ends included).

    ``names`` says of a text what on the disk it names: the page takes such a path from nobody.
    """
    return Field(default, description=help, ge=low, le=high, json_schema_extra={"names": names} if names else None)


class Role(StrEnum):
    """What a method does to a picture; ``auto`` takes at most one method of each role, in this order.

    Light comes first: on dark, noisy pictures that measured better than denoising first, and noise that lighting
    brings out is then seen.
    """

    LIGHT = "light"
    RESTORE = "restore"
    DENOISE = "denoise"


@dataclass(frozen=True)
class Look:
    """What ``auto`` may know of a picture before it chooses.

    Parameters
    ----------
    domain
        Where the picture stands: a mosaic is looked at as MOSAIC first, then again as SRGB after development.
    brightness
        Mean luma, 0...1, as displayed.
    lights
        How bright its brightest thousandth is at the least, by the largest channel, 0...1.
    """

    domain: Domain
    noise: Noise
    brightness: float
    channels: int
    lights: float = 0.0


@dataclass(frozen=True)
class Offer:
    """A method's bid for a picture: the highest score of each role wins, ``reason`` tells the user why."""

    score: float
    reason: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Compute:
    """Where and how finely networks compute: tiles arrive as float32 on ``device``.

    Parameters
    ----------
    is_int8
        Networks whose weights hold ranges compute in 8-bit integers what they can, and the rest in ``dtype``.
    """

    device: torch.device
    dtype: torch.dtype
    is_int8: bool = False


@dataclass(frozen=True, eq=False)
class Scene:
    """All a method may know of the picture.

    Parameters
    ----------
    planes
        float32 ``(C, H, W)`` on the CPU, read only. MOSAIC: C = 4 in the order of ``raw.bayer``; SRGB: C = 3 or 1.
    noise
        Estimated or given.
    tile
        Side of tiles for folds over the picture; None means whole.
    tiles
        What the recipe says of tiles: a side, ``"off"``, or ``"auto"``, which leaves it to the method.
    rng
        The only source of randomness.
    report
        Facts for the user and the recipe, as JSON values; ``report["notes"]`` is a list of sentences.
    progress
        Call it with 0...1 during a long ``prepare``, and with 1...2 during a long operation on one tile; it raises
        ``Cancelled`` when the user asked to stop.
    """

    planes: Tensor
    domain: Domain
    meta: Meta
    noise: Noise
    compute: Compute
    rng: np.random.Generator
    tile: int | None = None
    tiles: int | str = "auto"
    report: dict[str, Any] = field(default_factory=dict)
    progress: Callable[[float], None] = lambda _: None

    def note(self, sentence: str) -> None:
        """Tell the user something about this picture."""
        self.report.setdefault("notes", []).append(sentence)


class Restorer(Protocol):
    """A loaded method: the only behaviour it must offer."""

    def prepare(self, scene: Scene, /) -> TileOp:
        """Look at the picture once and return a pure function of a tile."""
        ...


def no_offer(look: Look) -> Offer | None:
    """Decline: the method runs only when it is asked for by name."""
    del look
    return None  # noqa: RET501 - the type says that an offer may be missing


@dataclass(frozen=True)
class Method:
    """A method as data.

    Parameters
    ----------
    name
        Name of its module, and what users type.
    title, summary
        A few words, and a sentence, for people.
    domain
        What it works on; None for what it is given, value by value (a mosaic then is one plane ``(1, H, W)``).
    load
        ``load(settings, state, compute)``; ``state`` is None for methods without weights, and in tests, where a
        tiny seeded network must be built. Never touches the disk.
    weights
        Key in the weights manifest, or None.
    role, offer
        How ``auto`` may choose it.
    fits_per_image
        Whether ``prepare`` optimises on the picture, that is, takes long.
    keeps_level
        By how much it may move the mean of a channel, in fractions of white; None for methods that change light.
        Results of methods that state it are checked as those of denoisers (see ``restore.evidence``).
    keeps_edges
        How much of the finest detail it may remove, as a multiple of what it leaves.
    takes_any_unit
        Whether it finds out by itself what is white in pictures whose values lie far from 0...1 (counts, temperatures);
        others are given such pictures between 0 and 1.
    """

    name: str
    title: str
    summary: str
    domain: Domain | None
    settings: type[Settings]
    load: Callable[[Any, State | None, Compute], Restorer]
    weights: str | None = None
    role: Role | None = None
    offer: Callable[[Look], Offer | None] = no_offer
    paper: str | None = None
    licence: str = "Apache-2.0"
    fits_per_image: bool = False
    keeps_level: float | None = None
    keeps_edges: float | None = None
    takes_any_unit: bool = False
