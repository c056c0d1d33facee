"""RAM++: one network for haze, rain, noise, motion blur, low light, blur and JPEG, without being told which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restore import tiling
from restore.errors import RecipeError, WeightsError
from restore.memory import free_memory
from restore.method import Compute, Method, Restorer, Role, Scene, Settings, State, knob
from restore.nets.dinov2 import DinoV2, Taps
from restore.nets.ram_published import Kind, Published, kind_of, listening
from restore.nets.ram_unet import KINDS, RamUNet, statistics
from restore.nets.restormer import padded
from restore.picture import Domain
from restore.tiling import Seams, Span, TileOp

TAUGHT = -1.0, 3.0  # values that the network can bear; what lies beyond, as light in HDR pictures, is kept

PART, PARTS = 128, (3, 4)
"""Side of the parts that are looked at, and how many of them down and across at the most."""

LEAST_SHARE = 0.2
"""Probability from which a degradation is believed to be there."""

SURE = 0.5
"""Probability that one degradation must have for ``protect`` to let the picture be changed.

On photos held out nothing is lost by it, while clean pictures that looked a little hazy or noisy stay as they are.
"""

CLEAN = 0.5
"""Probability of "clean" from which ``protect`` leaves a picture alone."""

HARDLY_CLEAN = 0.05
"""Probability of "clean" below which something is surely wrong, though it may not be sure what: two things at once."""

WHOLE_BYTES, STRIP_BYTES, FEATURE_BYTES = 12_000, 1_800, 1_600
"""Working memory for a pixel of published networks in float32: at once, in strips, and DINOv2 with its features."""

STRIP = 65_536
"""Pixels of a strip."""

TILE, FADE = 384, 32
"""Side of blended tiles, and over how much of each side they fade into their neighbours."""


class RamppSettings(Settings):
    """Knobs of ``rampp``."""

    protect: bool = knob(True, "Leave a picture alone that looks clean, or of which nothing can be told for sure")
    dino: str = knob("", "Published RAM++ only: config.json, model.safetensors of DINOv2 giant", names="folder")
    taps: Taps = knob("six", "Published RAM++ only: features of six depths, as in its test code, or of one (deep1)")
    pretrained: bool = knob(False, "Run weights of the masked pretraining, too, which were not tuned on whole pictures")


@dataclass(frozen=True, eq=False)
class Ours:
    """Our network, which depends on nothing far away, so that tiles are exact; it also says what it saw.

    References
    ----------
    Zhang et al., "RAM++: Robust representation learning via adaptive mask" (arXiv 2509.12039): how it is trained. The
    network and the head that names degradations are ours.
    """

    settings: RamppSettings
    net: RamUNet
    compute: Compute

    def prepare(self, scene: Scene, /) -> TileOp:
        """Look at parts of the picture, and leave it alone where it looks clean."""
        shares, code = self._seen(scene.planes.clamp(*TAUGHT))
        scene.report["recognised"] = {kind: round(share, 3) for kind, share in shares.items()}
        says = f"looks clean ({shares['clean']:.0%})" if shares["clean"] >= CLEAN else in_words(shares)
        if self.settings.protect and not is_spoilt(shares):
            doubt = ", none of it surely" if says.startswith("believed") else ""
            scene.note(f"{says}{doubt}: left unchanged; turn protect off to restore it")
            return TileOp(lambda tile: tile)
        scene.note(says)
        if scene.planes.shape[0] == 1:
            scene.note("the network learnt from colour pictures and does little about the noise of grey ones")

        def run(tile: Tensor) -> Tensor:
            seen = tile.clamp(*TAUGHT)
            restored: Tensor = self.net(seen.expand(3, -1, -1)[None].to(self.compute.dtype), code)[0].float()
            return (restored.mean(0, keepdim=True) if tile.shape[0] == 1 else restored) + (tile - seen)

        size = 80 * self.compute.dtype.itemsize
        return TileOp(run, halo=self.net.radius, multiple=self.net.multiple, bytes_per_pixel=size)

    def _seen(self, planes: Tensor) -> tuple[dict[str, float], Tensor]:
        """Return the probability of each kind, from the mean answer for all parts, and the code of the picture."""
        to = self.compute.device, self.compute.dtype
        with torch.inference_mode():
            shares = self.net.recogniser(parts(planes).expand(-1, 3, -1, -1).to(*to)).mean(0, keepdim=True).softmax(1)
            code = self.net.code(shares, statistics(planes.expand(3, -1, -1)[None].to(*to)))
        return dict(zip(KINDS, shares[0].float().tolist(), strict=True)), code


def is_spoilt(shares: dict[str, float]) -> bool:
    """Whether a picture is surely not clean: one thing is likely wrong with it, or hardly nothing is.

    >>> is_spoilt({"clean": 0.3, "haze": 0.4, "rain": 0.3}), is_spoilt({"clean": 0.02, "haze": 0.45, "rain": 0.48})
    (False, True)
    """
    surest = max(share for kind, share in shares.items() if kind != "clean")
    return shares["clean"] < CLEAN and (surest >= SURE or shares["clean"] < HARDLY_CLEAN)


def parts(planes: Tensor) -> Tensor:
    """Return parts ``(N, C, h, w)`` spread evenly over ``(C, H, W)``; a small picture whole, reflected to 8 n."""

    def along(length: int, most: int) -> list[Span]:
        side = min(PART, -(-length // 8) * 8)
        count = min(most, max(1, length // PART))
        last = max(0, length - side)
        starts = [last // 2] if count == 1 else [last * i // (count - 1) for i in range(count)]
        return [Span(start, start + side, start, min(start + side, length)) for start in starts]

    across = [along(n, most) for n, most in zip(planes.shape[1:], PARTS, strict=True)]
    return torch.stack([tiling.cut(planes, rows, columns) for rows in across[0] for columns in across[1]])


def in_words(shares: dict[str, float]) -> str:
    """Say which degradations are believed to be there, the likeliest first.

    >>> in_words({"clean": 0.1, "rain": 0.25, "noise": 0.61})
    'believed to be there: noise (61%), rain (25%)'
    """
    likely = sorted((kind for kind in shares if kind != "clean"), key=lambda kind: -shares[kind])
    told = [f"{kind} ({shares[kind]:.0%})" for kind in likely if shares[kind] >= LEAST_SHARE]
    return f"believed to be there: {', '.join(told)}" if told else "what is wrong with the picture could not be told"


@dataclass(frozen=True, eq=False)
class Official:
    """A published network, which looks at all of the picture at once.

    It is computed whole, or in strips of rows, which gives the same, or, where even strips do not fit into memory
    or tiles are asked for, in tiles that fade into each other, each restored as a picture of its own.
    """

    settings: RamppSettings
    net: Published
    compute: Compute

    def prepare(self, scene: Scene, /) -> TileOp:
        """Find the features' network, and choose how to compute by the memory there is."""
        dino = self._dino()
        strip = STRIP_BYTES if self.net.has_strips else WHOLE_BYTES
        more, size = FEATURE_BYTES if dino else 0, self.compute.dtype.itemsize
        per_pixel = [round((each + more) * size / 4) for each in (WHOLE_BYTES, strip)]
        _, height, width = scene.planes.shape
        way, side = chosen(scene.tiles, (height, width), per_pixel, free_memory(self.compute.device))
        says = {
            "whole": "at once",
            "strips": f"in exact strips of {side} rows",
            "tiles": f"in tiles of {side}, blended",
        }
        scene.note(f"{self.net.kind}, computed {says[way]}; it does not tell what it saw")
        scene.report.update(network=str(self.net.kind), computed=way, rows_or_side=side)
        is_tiled = way == "tiles"
        windows = tiling.plan(scene.planes, tile=side if is_tiled else None, halo=FADE if is_tiled else 0, multiple=16)
        sizes = [(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in windows]
        heard = counted(sum(self._work(dino, *size) for size in sizes), scene.progress)
        run = partial(self._run, dino=dino, rows=side if way == "strips" else 0, heard=heard)
        if not is_tiled:
            return TileOp(run, seams=Seams.WHOLE, bytes_per_pixel=per_pixel[way == "strips"])
        return TileOp(run, halo=FADE, multiple=16, seams=Seams.BLEND, tile=side, bytes_per_pixel=per_pixel[0])

    def _dino(self) -> DinoV2 | None:
        if self.net.kind is not Kind.RFR:
            return None
        if not self.settings.dino:
            raise RecipeError(
                f"{self.net.kind} needs the features of DINOv2 giant: give the folder that holds its config.json and "
                f"model.safetensors (facebook/dinov2-giant) as rampp.dino; {Kind.PROMPTIR} and the shipped weights "
                "run without it"
            )
        dino = DinoV2.at(Path(self.settings.dino))
        wanted = self.net.net.get_parameter("dr_adaptation1.adaptation.0.weight").shape[1]
        if dino.width != wanted:
            raise RecipeError(
                f"{self.settings.dino}: this DINOv2 has {dino.width} features, {self.net.kind} was trained with "
                f"{wanted}; give the folder of dinov2-giant"
            )
        return dino

    def _work(self, dino: DinoV2 | None, height: int, width: int) -> float:
        whole = (-(-height // 16) * 16, -(-width // 16) * 16)
        return (dino.work(*whole, dino.taps(self.settings.taps)) if dino else 0.0) + self.net.work(height, width)

    def _run(self, tile: Tensor, dino: DinoV2 | None, rows: int, heard: Callable[[float], None]) -> Tensor:
        picture = tile.expand(3, -1, -1)[None]
        features: Sequence[Tensor] = ()
        if dino:
            taps = dino.taps(self.settings.taps)
            features = dino.features(padded(picture.clamp(0, 1)), taps, self.compute.dtype, heard)
        with listening(heard):
            restored = self.net(picture, features, rows)[0]
        return restored.mean(0, keepdim=True) if tile.shape[0] == 1 else restored


def chosen(tiles: int | str, size: tuple[int, int], per_pixel: Sequence[int], free: int) -> tuple[str, int]:
    """Return whether to compute whole, in strips (and of how many rows) or in tiles (and of what side).

    Parameters
    ----------
    tiles
        What the recipe says: a side, ``"auto"``, or ``"off"``.
    per_pixel
        Bytes for a pixel, whole and in strips; the same where there are no strips.
    free
        Bytes there are, of which half is used at once and three quarters in strips.

    >>> [chosen("auto", (1000, 1000), (12_000, 2_200), n * 10**9)[0] for n in (30, 4, 2)]
    ['whole', 'strips', 'tiles']
    >>> [chosen(kind, (1000, 1000), (12_000, 12_000), 15 * 10**9)[0] for kind in ("auto", "off")]
    ['tiles', 'whole']
    >>> chosen(256, (1000, 1000), (12_000, 2_200), 30 * 10**9)
    ('tiles', 256)
    """
    height, width = size
    if isinstance(tiles, int):
        return ("whole", 0) if tiles >= max(size) else ("tiles", max(16, tiles // 16 * 16))
    whole, strips = (height * width * each for each in per_pixel)
    if whole <= free // 2:
        return "whole", 0
    if strips < whole and (tiles == "off" or strips <= free // 4 * 3):
        return "strips", max(16, STRIP // width // 16 * 16)
    return ("whole", 0) if tiles == "off" else ("tiles", TILE)


def counted(total: float, progress: Callable[[float], None]) -> Callable[[float], None]:
    """Return what adds up work that is done, and reports it as 0...2: the operation is all there is to it."""
    done = 0.0

    def heard(work: float) -> None:
        nonlocal done
        done += work
        progress(min(2.0, 2 * done / total))

    return heard


def load(settings: RamppSettings, state: State | None, compute: Compute) -> Restorer:
    """Build the network that the state dict describes, ours or a published one; without one, a tiny seeded one."""
    kind = None if state is None else kind_of(state)
    if state is not None and kind is not None:
        _check(kind, settings)
        return Official(settings, Published.of(state, kind, compute.device, compute.dtype), compute)
    net = _tiny() if state is None else RamUNet.from_state(state)
    ready: Any = net.to(compute.device, compute.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Ours(settings, ready.eval().requires_grad_(False), compute)


def _check(kind: Kind, settings: RamppSettings) -> None:
    """Refuse published files that restore nothing, or nothing well."""
    if kind is Kind.MASKER:
        raise WeightsError(f"this is the {kind} of the pretraining, which restores nothing; give RestormerRFR's")
    if kind is Kind.PRETRAINED and not settings.pretrained:
        raise WeightsError(
            f"these are weights of {kind}: masked pretraining teaches to fill in hidden pixels, and whole pictures are "
            "spoilt; give RestormerRFR's or RAM-PromptIR's, or set rampp.pretrained=true"
        )


def _tiny() -> RamUNet:
    """Return a small seeded network that believes in noise."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = RamUNet((8, 12, 16), (1, 1, 1, 1, 1), recogniser=4)
        for layer in (net.net.tail, net.inject4, net.inject8):
            torch.nn.init.normal_(layer.weight, std=0.01)
        *_, answer = net.recogniser.answer
        assert isinstance(answer, torch.nn.Linear)
        torch.nn.init.zeros_(answer.weight)
        torch.nn.init.constant_(answer.bias[KINDS.index("noise")], 2.0)
    return net


METHOD = Method(
    name="rampp",
    title="Restore all in one (RAM++)",
    summary="One network for haze, rain, noise, blur, low light and JPEG; says what it saw.",
    domain=Domain.SRGB,
    settings=RamppSettings,
    load=load,
    weights="rampp",
    role=Role.RESTORE,
    paper="Zhang et al., 2025 (arXiv:2509.12039)",
)
