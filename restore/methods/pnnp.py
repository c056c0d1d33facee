"""Denoise raw files before anything else touches them, by what is known of the sensor's noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore import tiling
from restore.camera import Profile
from restore.camera.gain import of_known
from restore.errors import RecipeError
from restore.files.levels import SensorRecord
from restore.method import Compute, Look, Method, Offer, Role, Scene, Settings, State, knob
from restore.nets.anscombe import LINEAR, WINDOW, compressed, linear_of, restored, stabilise
from restore.nets.sid_unet import SidUNet, is_sid
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.objectives import sure
from restore.picture import Domain, RawImage
from restore.raw import bayer, hot
from restore.raw.mean import COARSE, HALO, lost_mean
from restore.tiling import Finish, Seams, TileOp

_TILE = 1024
_MOST = 4_600_000
"""Bytes of one plane of an automatic tile, so that a raw of 24 megapixels takes less than 2 GB."""
_QUIET = 1e-5
"""Noise, at white, below this fraction of it is below one step of any sensor."""

_SAMPLE, _PARTS, _ENOUGH = 96, 16, 0.5
"""Side in packed pixels, and number, of the parts of a picture on which the network is doubted; and which share of the
noise's power it must take not to be."""


class PnnpSettings(Settings):
    """Knobs of ``pnnp``."""

    profile: str = knob("", "Noise profile of the camera, made by 'restore calibrate'; empty: none", names="file")
    iso: float = knob(0.0, "ISO speed to look up in the profile; 0: as the file says", low=0, high=10_000_000)
    ratio: float = knob(
        0.0,
        "Published networks only: how much they shall brighten the picture before they look; 0: as far as it goes",
        low=0,
        high=1000,
    )
    hot: bool = knob(True, "Repair hot pixels: single sites that shine far out of calm surroundings")


class Level(NamedTuple):
    """Noise in fractions of white, ``(4, 1, 1)`` for the planes: variance ``gain x + read**2``; and who says so."""

    gain: Tensor
    read: Tensor
    source: str


@dataclass(frozen=True, eq=False)
class RawDenoiser:
    """One network for all cameras and ISO speeds: it sees the mosaic with its noise stabilised to one.

    References
    ----------
    Feng et al., "Learning physics-informed noise models from dark frames for low-light raw image denoising" (TPAMI
    2026): noise of dark frames, dark shading; Foi, "Clipped noisy images" (2009): Poisson-Gaussian noise, stabilised.
    """

    settings: PnnpSettings
    net: UnshuffleUNet | SidUNet
    compute: Compute
    linear: float = LINEAR

    def prepare(self, scene: Scene, /) -> TileOp:
        """Find out how noisy the sensor was, and what its dark frames look like."""
        if scene.planes.shape[0] != 4:
            raise RecipeError("pnnp works on Bayer mosaics; develop this picture first, then use --method denoise")
        profile = _profile(self.settings, scene)
        level = _from_profile(profile, self.settings, scene) if profile else _from_file(scene)
        gain, read = (round(float(value.mean()), 9) for value in (level.gain, level.read))
        scene.report.update({"noise_from": level.source, "shot_gain": gain, "read_sigma": read})
        scene.report.update({} if profile is None else {"profile_sha256": profile.sha256})
        scene.note(f"noise level from {level.source}")
        op = self._sid(scene) if isinstance(self.net, SidUNet) else self._generic(level, scene)
        return op if profile is None or profile.maps is None else _corrected(op, profile, self.settings, scene)

    def _generic(self, level: Level, scene: Scene) -> TileOp:
        if float((level.gain + level.read**2).max()) < _QUIET**2:
            scene.note("no noise found: left unchanged")
            return TileOp(_same)
        device, dtype = self.compute.device, self.compute.dtype
        gain, read = level.gain.to(device), level.read.clamp_min(_QUIET / 10).to(device)

        def stable_of(tile: Tensor) -> Tensor:
            stable = stabilise(tile, gain, read)
            return hot.cooled(stable) if self.settings.hot else stable

        def noise(stable: Tensor) -> Tensor:
            details, beside = compressed(stable[None], self.linear)
            found: Tensor = self.net(details.to(dtype), beside.to(dtype))[0].float()
            return found

        def weigh(stable: Tensor) -> Tensor:
            """Variance of the noise, which is the slope of `restored` squared; of saturated pixels nothing is taken."""
            values = restored(stable, gain, read)
            return _local_mean(gain * values.clamp_min(0) + read * read) * (values < 0.9999)

        with torch.inference_mode():
            parts = [stable_of(part.to(device)) for part in _parts(scene.planes)]
            trust = round(sure.trust(noise, parts, weigh, step=0.1, enough=_ENOUGH), 3)
        if trust < 0.95:
            scene.report["trust"] = trust
            scene.note(
                f"little noise beside much detail: {trust:.0%} of the change is kept, where least error is expected"
            )

        def run(tile: Tensor) -> Tensor:
            stable = stable_of(tile)
            return restored(stable - trust * noise(stable), gain, read)

        def finish(tile: Tensor, clean: Tensor) -> Tensor:
            here = gain.to(tile.device), read.to(tile.device)
            is_blown = tile >= 1  # nothing is known of the light there
            if self.settings.hot and is_blown.any():
                stable = stabilise(tile, *here)
                is_blown &= hot.cooled(stable) == stable
            return torch.where(is_blown, tile, clean + lost_mean(tile, clean, *here))

        return TileOp(
            run,
            halo=self.net.radius + WINDOW // 2 + hot.REACH,
            multiple=COARSE,
            finish=Finish(finish, HALO, COARSE),
            bytes_per_pixel=120 + 170 * dtype.itemsize,  # measured: 390 in bfloat16, 790 in float32
            most=_MOST // dtype.itemsize,
        )

    def _sid(self, scene: Scene) -> TileOp:
        """Brighten for networks that were trained on brightened pictures, and undo it."""
        net, dtype = self.net, self.compute.dtype
        bright = float(np.quantile(scene.planes[:, ::4, ::4].numpy(), 0.999))
        ratio = self.settings.ratio or float(np.clip(1 / max(bright, 1e-6), 1, 300))
        scene.note(f"brightened {ratio:.3g} times for the network")

        def run(tile: Tensor) -> Tensor:
            seen = (tile * ratio).clamp_max(1)
            clean = net(seen[None].to(dtype))[0].float() / ratio
            return torch.where(tile * ratio >= 1, tile, clean)

        return TileOp(run, halo=net.radius, multiple=net.multiple, bytes_per_pixel=1400)


def _same(tile: Tensor) -> Tensor:
    return tile.clone()


def _parts(planes: Tensor) -> list[Tensor]:
    """Cut up to `_PARTS` parts of `_SAMPLE` packed pixels from anywhere in a picture."""
    windows = tiling.plan(planes, tile=_SAMPLE, halo=0, multiple=COARSE)
    return [tiling.cut(planes, *windows[i]) for i in np.random.default_rng(0).permutation(len(windows))[:_PARTS]]


def _local_mean(values: Tensor) -> Tensor:
    return F.avg_pool2d(values, WINDOW, 1, WINDOW // 2, count_include_pad=False)


def _spans(record: SensorRecord) -> Tensor:
    """DN between black and white of each packed plane, ``(4, 1, 1)``."""
    row, column = bayer.red_site(record.cfa)
    sites = [(row + i // 2) % 2 * 2 + (column + i % 2) % 2 for i in range(4)]
    levels = [level for line in record.black for level in line]
    return torch.tensor([record.white - levels[site] for site in sites])[:, None, None]


def _record(scene: Scene) -> SensorRecord:
    if not isinstance(record := scene.meta.extra.get("sensor"), SensorRecord):
        raise RecipeError("a noise profile needs the levels of the raw file; give the file itself, not an array")
    return record


def _iso(settings: PnnpSettings, scene: Scene) -> float:
    if not (iso := settings.iso or scene.meta.iso):
        raise RecipeError("the file does not say its ISO speed, which the noise profile needs; give it as pnnp.iso")
    return iso


def _profile(settings: PnnpSettings, scene: Scene) -> Profile | None:
    """Return the profile asked for, after checking that it belongs to this picture."""
    if not settings.profile:
        return None
    profile, record = Profile.load(Path(settings.profile)), _record(scene)
    dark = np.broadcast_to(np.float32(0), record.size)
    if misfit := profile.misfit(RawImage(dark, record.cfa, record.black, record.white, meta=scene.meta)):
        raise RecipeError(f"{misfit}; give the profile of this camera, or none")
    if profile.maps is None or profile.is_of(scene.meta):
        return profile
    scene.note("the profile is of another body of this camera: its dark shading and bad pixels are left out")
    return replace(profile, maps=None)


def _from_profile(profile: Profile, settings: PnnpSettings, scene: Scene) -> Level:
    iso, spans = _iso(settings, scene), _spans(_record(scene))
    noise, source = profile.at(iso), profile.source(iso, scene.meta.exposure_s or 0.0)
    return Level(noise.K / spans, noise.sigma_read / spans, source)


def _from_file(scene: Scene) -> Level:
    """Noise as the caller states it, else the DNG's NoiseProfile tag, a known camera's gain, or the picture."""
    found = scene.noise
    pairs = scene.meta.extra.get("noise_profile")
    is_given = found.confidence == 1  # never so when it was measured
    if pairs and not is_given:
        table = torch.tensor([pairs[i if len(pairs) == 3 else 0] for i in (0, 1, 1, 2)], dtype=torch.float32)
        gain, square = table.clamp_min(0).T[:, :, None, None]
        return Level(gain, square.sqrt(), "the NoiseProfile tag of the DNG")
    gain, read = (torch.full((4, 1, 1), value) for value in (found.gain, found.read))
    if is_given:
        return Level(gain, read, "the caller")
    source, meta = "the picture itself", scene.meta
    if "sensor" in meta.extra:
        spans = _spans(_record(scene))
        known = of_known(meta.camera, meta.iso) if meta.camera and meta.iso else None
        if known:
            source = f"{known.source} (gain) and the picture itself (read noise)"
            gain = known.K / spans
            read = (found.sigma**2 - gain * scene.planes.mean().clamp_min(0)).clamp_min(0).sqrt()
        read = torch.maximum(read, 12**-0.5 / spans)  # no sensor has less noise than rounding makes
    return Level(gain, read, source)


def _corrected(op: TileOp, profile: Profile, settings: PnnpSettings, scene: Scene) -> TileOp:
    """Subtract the dark shading of this body and repair its bad pixels before ``op``: places matter, so no tiles."""
    record = _record(scene)
    shading = profile.dark_shading(_iso(settings, scene), scene.meta.exposure_s or 0.0)
    planes = torch.from_numpy(np.ascontiguousarray(bayer.pack(shading, record.cfa))) / _spans(record)
    bad = _bad_planes(profile, record)
    scene.note(f"dark shading subtracted, {int(bad.sum())} bad pixels repaired")

    def run(whole: Tensor) -> Tensor:
        height, width = whole.shape[1:]
        level = torch.where(whole >= 1, whole, whole - planes[:, :height, :width].to(whole.device))
        level[bad] = hot.median_of_neighbours(level)[bad]
        return tiling.apply(op, level, tile=_TILE, device=str(whole.device)).to(whole.device)

    return TileOp(run, seams=Seams.WHOLE, bytes_per_pixel=64)


def _bad_planes(profile: Profile, record: SensorRecord) -> Tensor:
    """Where bad pixels lie in the packed planes: bool ``(4, h, w)``."""
    mask = np.zeros(record.size, bool)
    if profile.maps is not None:
        rows, columns = profile.maps.bad.T
        mask[rows, columns] = True
    return torch.from_numpy(np.ascontiguousarray(bayer.pack(mask, record.cfa)))


def load(settings: PnnpSettings, state: State | None, compute: Compute) -> RawDenoiser:
    """Build the network that the state dict describes, generic or published; without one, a tiny seeded one."""
    net: UnshuffleUNet | SidUNet
    if state is None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = UnshuffleUNet(4, 5, (8, 12, 16), (1, 1, 1, 1, 1))
            nn.init.normal_(net.tail.weight, std=0.01)
    else:
        net = SidUNet.from_state(state) if is_sid(state) else UnshuffleUNet.from_state(state).checked(5, 4)
    net = net.to(compute.device, compute.dtype, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return RawDenoiser(settings, net.requires_grad_(False), compute, linear_of(state or {}))


def offer(look: Look) -> Offer | None:
    """Offer for raws whose noise will show once they are developed."""
    if look.domain is not Domain.MOSAIC or look.channels != 4:
        return None
    middle = max(look.brightness, 0.002)
    shown = look.noise.sigma * 0.44 * middle ** (1 / 2.4 - 1)  # slope of the sRGB curve at the picture's mean
    if shown < 1.5 / 255:
        return None
    return Offer(3.0, f"noise on the sensor that would show as {shown * 255:.1f}/255")


METHOD = Method(
    name="pnnp",
    title="Denoise raw",
    summary="Denoises raw files on the sensor's mosaic, by a camera's noise profile or by what the picture shows.",
    domain=Domain.MOSAIC,
    settings=PnnpSettings,
    load=load,
    weights="pnnp",
    role=Role.DENOISE,
    keeps_level=0.001,
    offer=offer,
    paper="Feng et al., TPAMI 2026 (arXiv:2310.09126)",
)
