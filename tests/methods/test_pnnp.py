"""What raw files may expect of ``pnnp`` whatever its weights are; its level is measured in benchmarks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from restore import files, noise, pipeline, tiling
from restore.camera import Branch, IsoNoise, Maps, Profile
from restore.errors import RecipeError
from restore.files import ifd
from restore.files.dng import write_dng
from restore.files.levels import SensorRecord, scaled, sensor_values
from restore.files.sensor import read_raw
from restore.method import Compute, Look, Scene
from restore.methods.pnnp import METHOD, PnnpSettings, load
from restore.nets.anscombe import SEEN_LINEAR
from restore.nets.sid_unet import SidUNet
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.noise import Noise
from restore.picture import Domain, Image, Meta, RawImage
from restore.raw import bayer
from restore.raw.mean import lost_mean
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

COMPUTE = Compute(torch.device("cpu"), torch.float32)
SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
WHITE = 1023.0


def raw_of(values, cfa=bayer.PHASES["RGGB"], **meta):
    """Raw image with its record, black 60, 66, 72, 78 row by row."""
    black = ((60.0, 66.0), (72.0, 78.0))
    record = SensorRecord(values, 0, 0, values.shape, cfa, black, WHITE, (2.0, 1.0, 1.5), (2.0, 1.0, 1.5))
    about = Meta(**{"camera": "Maker Model", "iso": 800.0, "exposure_s": 0.01, "extra": {"sensor": record}} | meta)
    return RawImage(scaled(values, black, WHITE), cfa, black, WHITE, meta=about)


def noisy_values(size=(96, 128), level=300, sigma=12.0, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    return np.rint(level + 40 * np.sin(x / 20) + 30 * np.cos(y / 15) + sigma * rng.standard_normal(size)).astype("u2")


def scene_of(raw, level=None):
    planes = torch.from_numpy(np.ascontiguousarray(bayer.pack(raw.mosaic, raw.cfa)))
    level = noise.estimate(raw) if level is None else level
    return Scene(planes, Domain.MOSAIC, raw.meta, level, COMPUTE, np.random.default_rng(0))


def keep(raw, strength=1.0, **settings):
    """Run the shipped weights and stop at the mosaic."""
    recipe = Recipe(steps=(Step(method="pnnp", settings=settings, strength=strength),), develop=None)
    return pipeline.run(raw, recipe, Runtime("cpu"))


@pytest.mark.parametrize("cfa", bayer.PHASES.values(), ids=bayer.PHASES)
@pytest.mark.parametrize("size", [(64, 80), (61, 83), (2, 3), (1, 40)])
def test_strength_0_gives_every_value_back(cfa, size):
    raw = raw_of(noisy_values(size), cfa)
    out = keep(raw, strength=0.0).picture
    np.testing.assert_array_equal(sensor_values(out), raw.meta.extra["sensor"].values)


def test_noise_goes_planes_keep_their_mean_and_negatives_stay():
    rng = np.random.default_rng(1)
    values = np.rint(70 + 12 * rng.standard_normal((256, 320))).clip(0, 1023).astype("u2")
    raw = raw_of(values)
    out = keep(raw).picture
    for before, after in zip(*(bayer.pack(r.mosaic, r.cfa) for r in (raw, out)), strict=True):
        assert after.mean() == pytest.approx(before.mean(), abs=2e-5)
        assert after.std() < 0.5 * before.std()
    assert out.mosaic.min() < 0


def test_saturated_pixels_stay_saturated():
    values = noisy_values(level=700)
    values[20:40, 30:60] = 1023
    values[50:52, 50] = 1023
    out = keep(raw_of(values)).picture
    assert (sensor_values(out)[values == 1023] == 1023).all()


def test_hot_pixels_are_repaired_unless_told_otherwise():
    rng, clean = np.random.default_rng(1), np.full((96, 128), 300.0)
    values = np.rint(clean + 12 * rng.standard_normal(clean.shape)).astype("u2")
    spots = values.copy()
    spots[9:90:40, 10:120:51] = 1023
    spots[25:90:40, 31:120:51] += 250
    is_hot = spots != values
    kept, repaired = (keep(raw_of(spots), hot=hot) for hot in (False, True))
    assert sensor_values(kept.picture)[is_hot].mean() > 450
    assert np.abs(sensor_values(repaired.picture)[is_hot] - 300.0).max() < 20
    assert not any(found.is_alarm for found in repaired.reports[0].evidence if found.name == "removed")
    again = keep(raw_of(values), hot=False), keep(raw_of(values))
    assert np.array_equal(*(result.picture.mosaic for result in again))


def test_a_bias_of_the_network_is_given_back_and_a_hot_pixel_leaves_no_halo():
    sigma = torch.full((4, 1, 1), 0.01)
    flat = torch.full((4, 128, 128), 0.2)
    biased = flat - torch.tensor([0.001, 0.002, -0.001, 0.003])[:, None, None]
    assert (biased + lost_mean(flat, biased, 0 * sigma, sigma) - flat).abs().max() < 1e-6
    spotted = flat.clone()
    spotted[:, 64, 64] = 0.95
    assert lost_mean(spotted, flat, 0 * sigma, sigma).max() < 0.005 * 0.01


@pytest.mark.parametrize("contrast", [0.05, 0.1])
@pytest.mark.parametrize("sigma", [0.002, 0.005])
def test_next_to_no_noise_beside_much_detail_makes_no_picture_worse(contrast, sigma):
    rng = np.random.default_rng(3)
    clean = (0.4 + contrast * rng.standard_normal((4, 96, 160))).clip(0.01, 0.95).astype(np.float32)
    noisy = clean + np.float32(sigma) * rng.standard_normal(clean.shape, np.float32)
    scene = Scene(torch.from_numpy(noisy), Domain.MOSAIC, Meta(), noise.given(sigma, 4), COMPUTE, rng)
    op = Runtime("cpu").load(Step(method="pnnp"), COMPUTE).restorer.prepare(scene)
    out = tiling.apply(op, scene.planes).numpy()
    assert 0 < scene.report["trust"] < 0.9
    assert ((out - clean) ** 2).mean() < ((noisy - clean) ** 2).mean()


def test_hot_pixels_cost_no_trust():
    rng = np.random.default_rng(3)
    clean = (0.4 + 0.05 * rng.standard_normal((4, 96, 160))).clip(0.01, 0.95).astype(np.float32)
    noisy = clean + np.float32(0.005) * rng.standard_normal(clean.shape, np.float32)
    hot = np.where(rng.random(clean.shape) < 3e-4, np.float32(0.9), noisy)
    restorer, trust = Runtime("cpu").load(Step(method="pnnp"), COMPUTE).restorer, []
    for planes in (noisy, hot):
        scene = Scene(torch.from_numpy(planes), Domain.MOSAIC, Meta(), noise.given(0.005, 4), COMPUTE, rng)
        restorer.prepare(scene)
        trust.append(scene.report["trust"])
    assert trust[1] == pytest.approx(trust[0], abs=0.05)


@pytest.mark.parametrize(("gain", "is_quiet"), [(4e-6, False), (9e-11, True)])
def test_only_what_no_sensor_shows_is_left_alone(gain, is_quiet):
    level = replace(noise.given(2e-6, 4), gain=gain)
    scene = replace(scene_of(raw_of(noisy_values())), noise=level)
    load(PnnpSettings(), None, COMPUTE).prepare(scene)
    assert ("no noise found: left unchanged" in scene.report["notes"]) == is_quiet


def test_who_says_how_noisy_it_is():
    raw = raw_of(noisy_values())
    restorer = load(PnnpSettings(), None, COMPUTE)
    measured = scene_of(raw)
    restorer.prepare(measured)
    assert measured.report["noise_from"] == "the picture itself"
    assert measured.report["read_sigma"] == pytest.approx(12 / (WHITE - 69), rel=0.15)
    given = scene_of(raw, noise.given(0.02, 4))
    restorer.prepare(given)
    assert (given.report["noise_from"], given.report["read_sigma"]) == ("the caller", 0.02)
    extra = raw.meta.extra | {"noise_profile": ((1e-4, 4e-6), (2e-4, 9e-6), (3e-4, 16e-6))}
    tagged = scene_of(replace(raw, meta=replace(raw.meta, extra=extra)))
    restorer.prepare(tagged)
    assert "NoiseProfile" in tagged.report["noise_from"]
    assert tagged.report["shot_gain"] == pytest.approx(2e-4, rel=1e-4)
    assert tagged.report["notes"]


def test_the_gain_of_a_known_camera_is_looked_up():
    scene = scene_of(raw_of(noisy_values(), camera="Canon EOS 5D Mark IV", iso=100.0))
    load(PnnpSettings(), None, COMPUTE).prepare(scene)
    assert "published table" in scene.report["noise_from"]
    assert scene.report["shot_gain"] == pytest.approx(0.0021819 * 100 / (WHITE - 69), rel=0.01)
    variance = scene.report["shot_gain"] * float(scene.planes.mean()) + scene.report["read_sigma"] ** 2
    assert variance == pytest.approx(scene.noise.sigma**2, rel=0.02)


def profile_of(size, shading, bad=(), **fields):
    maps = Maps(np.zeros((1, *size), np.float16), shading[None].astype(np.float16), np.array(bad, "i4").reshape(-1, 2))
    one = IsoNoise(800.0, K=0.5, sigma_px=3.0, black_error=(0.0,) * 4)
    settings = {
        "maker": "Maker", "model": "Model", "bits": 10, "cfa": bayer.PHASES["RGGB"],
        "black": ((60.0, 66.0), (72.0, 78.0)), "white": WHITE, "isos": (one,), "branches": (Branch((800.0,)),),
        "maps": maps,
    }  # fmt: skip
    return Profile(**settings | fields)


def test_a_profile_tells_the_noise_and_its_shading_is_subtracted(tmp_path):
    y, x = np.mgrid[:96, :128]
    shading = (8 * np.sin(x / 9) + 6 * (y % 2)).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, (0.5 * 131 + 9) ** 0.5, (96, 128))
    values = (200 + shading + noise).round().astype("u2")
    values[30, 40] = 900
    path = profile_of((96, 128), shading, [(30, 40)]).save(tmp_path / "a.noise")
    result = keep(raw_of(values), profile=str(path))
    facts = result.reports[0].facts
    assert facts["noise_from"] == "the profile of Maker Model at ISO 800"
    assert facts["shot_gain"] == pytest.approx(0.5 / (WHITE - 69), rel=0.01)
    assert "1 bad pixels" in facts["notes"][1]
    flat = bayer.pack(sensor_values(result.picture), result.picture.cfa).astype(float)
    assert max(plane.std() for plane in flat) < 1.5 < 5 < shading[::2].std()
    assert flat.max() < 210


def test_a_profile_of_another_camera_is_refused(tmp_path):
    shading = np.zeros((96, 128), np.float32)
    path = profile_of((96, 128), shading, model="Other").save(tmp_path / "a.noise")
    with pytest.raises(RecipeError, match="Maker Other"):
        keep(raw_of(noisy_values()), profile=str(path))
    good = profile_of((96, 128), shading).save(tmp_path / "b.noise")
    with pytest.raises(RecipeError, match="ISO"):
        keep(raw_of(noisy_values(), iso=None), profile=str(good))


def test_published_networks_run_on_any_size_without_a_change_of_brightness():
    state = SidUNet(2).state_dict()
    for name in state:
        state[name] = torch.zeros_like(state[name])
    state["conv10_1.bias"] += 0.25
    raw = raw_of(noisy_values((50, 70)))
    scene = scene_of(raw)
    op = load(PnnpSettings(ratio=1.0), state, COMPUTE).prepare(scene)
    assert op.multiple == 16
    assert torch.equal(tiling.apply(op, scene.planes, tile=16), torch.full((4, 25, 35), 0.25))
    bright = load(PnnpSettings(ratio=2.0), state, COMPUTE).prepare(scene)
    assert float(tiling.apply(bright, scene.planes).min()) == pytest.approx(0.125)


def test_a_network_is_shown_edges_as_it_learnt_them():
    """Weights that were trained on a camera before edges were shown as they are do not say how they are shown."""
    state = UnshuffleUNet(4, 5, (8, 12, 16), (1, 1, 1, 1, 1)).state_dict()
    assert load(PnnpSettings(), state, COMPUTE).linear == 4
    assert load(PnnpSettings(), state | {SEEN_LINEAR: torch.tensor(32.0)}, COMPUTE).linear == 32


def test_xtrans_and_developed_pictures_are_refused_with_what_to_do():
    xtrans = tuple(tuple(map(int, row)) for row in ["102120", "211011", "011211", "120102", "011211", "211011"])
    raw = RawImage(np.zeros((36, 36), np.float32), xtrans, ((0.0,) * 6,) * 6, 1.0)
    with pytest.raises(RecipeError, match="X-Trans .* --method denoise"):
        keep(raw)
    with pytest.raises(RecipeError, match="give it a raw file"):
        keep(Image(np.zeros((8, 8, 3), np.float32)))


def test_it_offers_itself_where_noise_will_show():
    def offered(sigma, brightness, domain=Domain.MOSAIC):
        return METHOD.offer(Look(domain, Noise(sigma, (sigma,) * 4), brightness, 4))

    assert offered(0.005, 0.05)
    assert offered(0.001, 0.005)
    assert offered(0.0005, 0.3) is None
    assert offered(0.05, 0.3, Domain.SRGB) is None


@pytest.mark.parametrize("name", ["canon_bayer14_ob_colorchart.dng", "nikon_dsc1339_rggb_crop.dng"])
def test_real_raws_keep_the_mean_of_each_plane_and_say_what_noise_is_left(name, tmp_path):
    path = SHARED / "raw" / name
    if not path.exists():
        pytest.skip(f"no shared data: {name}")
    whole = files.read(path)
    raw = replace(whole, mosaic=whole.mosaic[200:456, 200:456])
    result = keep(raw)
    for before, after in zip(*(bayer.pack(r.mosaic, r.cfa) for r in (raw, result.picture)), strict=True):
        assert after.mean(dtype=np.float64) == pytest.approx(before.mean(dtype=np.float64), rel=1e-3)
    write_dng(tmp_path / "out.dng", result.picture)
    again = read_raw(tmp_path / "out.dng")
    ((gain, square),) = result.picture.meta.extra["noise_profile"]
    step = 1 / (raw.white - np.mean(raw.black))
    assert again.meta.extra["noise_profile"] == (pytest.approx((gain, square + step**2 / 12)),)


@pytest.mark.parametrize("told", [((1e-4, 4e-6), (2e-4, 9e-6), (3e-4, 16e-6)), ((3e-4, 4e-6),), None])
def test_noise_that_is_mixed_in_again_is_said_to_be_left(told, tmp_path):
    raw = raw_of(noisy_values())
    raw = replace(raw, meta=replace(raw.meta, extra=raw.meta.extra | ({"noise_profile": told} if told else {})))
    result = keep(raw, strength=0.25)
    level = result.reports[0].noise
    before = told or ((level.gain, level.read**2),)
    said = result.picture.meta.extra["noise_profile"]
    assert len(said) == len(before)
    assert (np.array(said) >= 0.5625 * np.array(before)).all()
    write_dng(tmp_path / "a.dng", result.picture)
    assert [*ifd.directories((tmp_path / "a.dng").read_bytes())][-1][50935] == ifd.rational(0.25)
    untouched = pipeline.run(raw, Recipe(steps=(Step(method="none"),), develop=None), Runtime("cpu")).picture
    assert untouched.meta.extra == raw.meta.extra
