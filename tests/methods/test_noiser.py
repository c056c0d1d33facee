"""NoiSER as a method: exact in tiles, hues kept, good pictures left alone, and better than the simple ways."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data as pictures
from skimage import exposure
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.restoration import estimate_sigma

from restore import tiling, weights
from restore.colour import Floats, luma
from restore.errors import WeightsError
from restore.method import Compute, Look, Role, Scene
from restore.methods import noiser, wavelet
from restore.nets.noiser import Noiser
from restore.noise import Noise
from restore.picture import Domain, Meta
from restore.tiling import Seams, TileOp
from restore.train import noiser as training

COMPUTE = Compute(torch.device("cpu"), torch.float32)
DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "test"
NAMES = ("astronaut", "coffee", "chelsea", "rocket")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no shared pictures beside this checkout")


def clean(name: str) -> Floats:
    return (getattr(pictures, name)() / 255).astype(np.float32)


def eight_bits(pixels: Floats) -> Floats:
    return (np.rint(np.clip(pixels, 0, 1) * 255) / 255).astype(np.float32)


def darkened(pixels: Floats, seed: int = 0) -> Floats:
    noise = np.random.default_rng(seed).normal(0, 0.01, pixels.shape)
    return eight_bits(0.12 * pixels + noise)


def read(path: Path) -> Floats:
    return (cv2.imread(str(path))[..., ::-1] / 255).astype(np.float32)  # type: ignore[index]


def scene(pixels: Floats, sigma: float = 0.0) -> Scene:
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    level = Noise(sigma, (sigma,) * len(planes))
    return Scene(planes, Domain.SRGB, Meta(), level, COMPUTE, np.random.default_rng(0))


def operation(pixels: Floats, **knobs: object) -> TileOp:
    restorer = noiser.load(noiser.NoiserSettings(**{"protect": False} | knobs), weights.load("noiser")[0], COMPUTE)
    return restorer.prepare(scene(pixels))


def lit(pixels: Floats, tile: int | None = None, **knobs: object) -> Floats:
    out = tiling.apply(operation(pixels, **knobs), scene(pixels).planes, tile=tile)
    return np.asarray(out.numpy().transpose(1, 2, 0))


def denoised(pixels: Floats) -> Floats:
    levels = tuple(float(s) for s in estimate_sigma(pixels, channel_axis=-1))
    look = scene(pixels)
    look = Scene(look.planes, look.domain, look.meta, Noise(max(levels), levels), COMPUTE, look.rng)
    op = wavelet.load(wavelet.WaveletSettings(), None, COMPUTE).prepare(look)
    out: Floats = tiling.apply(op, look.planes).numpy().transpose(1, 2, 0)
    return out


def night(pixels: Floats) -> Floats:
    return lit(denoised(pixels))


def psnr(found: Floats, truth: Floats) -> float:
    return float(peak_signal_noise_ratio(truth, eight_bits(found), data_range=1))


def ssim(found: Floats, truth: Floats) -> float:
    return float(
        structural_similarity(
            truth,
            eight_bits(found),
            data_range=1,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def gained(pixels: Floats) -> Floats:
    return pixels * np.float32(0.5 / pixels.mean())


def gamma(pixels: Floats) -> Floats:
    return pixels ** np.float32(np.log(0.5) / np.log(pixels.mean()))


def on_brightness(change: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    def run(pixels: Floats) -> Floats:
        hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
        hsv[..., 2] = change(hsv[..., 2])
        return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.float32)

    return run


def clahe(plane: Floats) -> Floats:
    return cv2.createCLAHE(2.0, (8, 8)).apply(np.rint(plane * 255).astype(np.uint8)).astype(np.float32) / 255


RIVALS = {
    "gain": gained,
    "gamma": gamma,
    "histogram": on_brightness(exposure.equalize_hist),
    "clahe": on_brightness(clahe),
}


def test_gray_world_is_the_network_with_replicated_borders() -> None:
    dark = darkened(clean("chelsea")[:97, :131])
    net = Noiser(padding="replicate", eps=1e-8).double()
    net.load_state_dict(weights.load("noiser")[0])
    x = torch.from_numpy(dark.transpose(2, 0, 1).copy())[None].double()
    with torch.inference_mode():
        expected = (net(2 * x - 1)[0].permute(1, 2, 0).numpy() + 1) / 2
    assert np.abs(lit(dark, colour="gray-world") - expected).max() < 2e-5


@pytest.mark.parametrize("colour", ["preserve", "gray-world"])
@pytest.mark.parametrize("tile", [16, 61, 200])
def test_tiles_do_not_show(colour: str, tile: int) -> None:
    dark = darkened(clean("coffee"))[:211, :307]
    assert operation(dark, colour=colour).seams is Seams.EXACT
    assert np.abs(lit(dark, tile, colour=colour) - lit(dark, colour=colour)).max() < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_gray_world_means_and_no_frame(name: str) -> None:
    out = lit(darkened(clean(name)), colour="gray-world")
    assert np.abs(out.mean((0, 1)) - 0.5).max() < 0.06
    assert np.abs(out[0] - out[8]).mean() < 0.12


def test_exposure_does_not_matter_to_gray_world() -> None:
    picture = clean("astronaut")
    assert np.abs(lit(0.05 * picture + 0.01, colour="gray-world") - lit(picture, colour="gray-world")).max() < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_preserve_keeps_hues_and_stays_below_white(name: str) -> None:
    dark = darkened(clean(name))
    out = lit(dark)
    is_seen = luma(dark) > 4 / 255
    before, after = (x[is_seen] / luma(x)[is_seen][:, None] for x in (dark, out))
    np.testing.assert_allclose(after, before, atol=1e-4)
    assert out.max() <= 1 + 1e-6
    assert luma(out).mean() > 3 * luma(dark).mean()


def test_knobs_do_what_they_say() -> None:
    dark = darkened(clean("astronaut"))
    paper = {"colour": "gray-world"}
    assert luma(lit(dark, target_mean=0.3, **paper)).mean() < luma(lit(dark, **paper)).mean() - 0.1
    assert lit(dark, contrast=2, **paper).std() > 1.3 * lit(dark, **paper).std()
    even, local = lit(dark, local=0), lit(dark, local=1)
    is_shadow = luma(clean("astronaut")) < 0.1
    assert luma(local)[is_shadow].mean() > 1.3 * luma(even)[is_shadow].mean()
    np.testing.assert_allclose(even[dark.max(-1) < 0.1] / 8, dark[dark.max(-1) < 0.1], atol=0.02)


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("colour", ["preserve", "gray-world"])
def test_constant_pictures_are_returned(value: float, colour: str) -> None:
    flat = np.full((20, 30, 3), value, np.float32)
    np.testing.assert_array_equal(lit(flat, colour=colour), flat)


@pytest.mark.parametrize("colour", ["preserve", "gray-world"])
def test_grey_pictures_are_lit_as_three_equal_channels(colour: str) -> None:
    grey = luma(darkened(clean("chelsea")))[..., None]
    three = lit(np.repeat(grey, 3, 2), colour=colour)
    np.testing.assert_allclose(lit(grey, colour=colour)[..., 0], three.mean(2), atol=1e-5)


def test_protect_leaves_well_exposed_pictures_alone_and_says_so() -> None:
    picture = scene(clean("astronaut"))
    restorer = noiser.load(noiser.NoiserSettings(), weights.load("noiser")[0], COMPUTE)
    assert torch.equal(tiling.apply(restorer.prepare(picture), picture.planes), picture.planes)
    assert "well exposed" in picture.report["notes"][0]
    assert np.abs(lit(clean("astronaut"), colour="gray-world") - clean("astronaut")).mean() > 0.05


def test_lifted_noise_is_announced() -> None:
    restorer = noiser.load(noiser.NoiserSettings(), weights.load("noiser")[0], COMPUTE)
    noisy, quiet = scene(darkened(clean("coffee")), sigma=0.01), scene(darkened(clean("coffee")), sigma=0.001)
    for picture in (noisy, quiet):
        restorer.prepare(picture)
    assert "denoiser" in noisy.report["notes"][0]
    assert "notes" not in quiet.report


def test_foreign_weights_are_refused() -> None:
    for state in ({}, {"network.0.bias": torch.zeros(32)}):
        with pytest.raises(WeightsError, match="not weights of noiser"):
            noiser.load(noiser.NoiserSettings(), state, COMPUTE)


def test_offers_for_dark_pictures_only() -> None:
    def look(brightness: float) -> Look:
        return Look(Domain.SRGB, Noise(0.01, (0.01,) * 3), brightness, 3)

    offer = noiser.METHOD.offer(look(0.05))
    assert offer is not None
    assert "0.05" in offer.reason
    assert noiser.METHOD.offer(look(0.3)) is None
    assert noiser.METHOD.offer(look(0.009)) is None  # its noise is stronger than that
    assert noiser.METHOD.role is Role.LIGHT


@needs_data
def test_hues_of_unpaired_pictures_stay_and_no_frame_appears() -> None:
    paths = sorted((DATA / "lowlight" / "unpaired_dicm").glob("*.jpg"))
    assert len(paths) == 4
    for path in paths:
        before = read(path)
        after = lit(before, protect=False)
        old, new = (x @ np.exp(2j * np.pi / 3 * np.arange(3)) for x in (before, after))
        turned = np.angle(new * old.conj())  # of each pixel; grey ones count for little
        assert abs(np.average(turned, weights=np.abs(old))) / (2 * np.pi) < 0.02, path.name
        inner, edge = (np.s_[8:-8, 8:-8], np.s_[:])
        border = [luma(x)[edge].sum() - luma(x)[inner].sum() for x in (before, after)]
        gains = border[1] / border[0], luma(after)[inner].sum() / luma(before)[inner].sum()
        assert 0.7 < gains[0] / gains[1] < 1.4, path.name


@needs_data
def test_normal_pictures_get_no_offer() -> None:
    paths = sorted((DATA / "kodak").glob("*.png"))
    assert len(paths) == 12
    means = [float(luma(read(path)).mean()) for path in paths]
    offers = [noiser.offer(Look(Domain.SRGB, Noise(0.0, (0.0,) * 3), mean, 3)) for mean in means]
    assert offers.count(None) >= 11


def test_gray_world_reaches_the_published_methods_figure() -> None:
    scores = [psnr(lit(darkened(clean(n), i), colour="gray-world"), clean(n)) for i, n in enumerate(NAMES)]
    assert np.mean(scores) == pytest.approx(15.25, abs=0.5)


@pytest.mark.slow
def test_denoise_then_light_beats_a_gain_on_darkened_pictures() -> None:
    pairs = [(darkened(clean(n), i), clean(n)) for i, n in enumerate(NAMES)]
    ours = [psnr(night(dark), truth) for dark, truth in pairs]
    theirs = [psnr(gained(dark), truth) for dark, truth in pairs]
    assert np.mean(ours) >= 18.5
    assert sum(a > b for a, b in zip(ours, theirs, strict=True)) >= 3


@needs_data
@pytest.mark.slow
def test_best_or_second_best_on_real_dark_pairs() -> None:
    folder = DATA / "lowlight" / "lol"
    pairs = [(read(p), read(folder / "high" / p.name)) for p in sorted((folder / "low").glob("*.png"))]
    assert len(pairs) == 3
    ways = RIVALS | {"night": night}
    for score in (psnr, ssim):
        table = {name: [score(run(dark), truth) for dark, truth in pairs] for name, run in ways.items()}
        ranks = sorted(ways, key=lambda name: -np.mean(table[name]))
        assert "night" in ranks[:2], {name: np.mean(values) for name, values in table.items()}
        assert all(a > score(dark, truth) for a, (dark, truth) in zip(table["night"], pairs, strict=True))


@pytest.mark.slow
def test_a_quick_training_learns_to_light() -> None:
    net, scores = training.train(training.Config(steps=500, rate=5e-4), log_every=10**6)
    assert scores["l1"] + scores["tv"] <= 0.80
    dark = scene(0.12 * clean("astronaut")[::2, ::2])
    op = noiser.load(noiser.NoiserSettings(colour="gray-world"), net.state_dict(), COMPUTE).prepare(dark)
    assert luma(tiling.apply(op, dark.planes).numpy().transpose(1, 2, 0)).mean() > 0.4


def test_training_writes_weights_and_its_own_table_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = (
        '[other]\nsha256 = "00"\nbytes = 1\nlicence = "MIT"\ndata = "a [b]"\ncommand = "c"\n\n[other.scores]\nx = 1.5\n'
    )
    (tmp_path / "manifest.toml").write_text(other + '\n[noiser]\nold = 1\n\n[noiser.scores]\n"y" = 2\n')
    for _ in range(2):
        training.main(["--steps", "3", "--side", "16", "--seed", "4", "--folder", str(tmp_path)])
    monkeypatch.setattr(weights, "folder", lambda: tmp_path)
    weights.manifest.cache_clear()
    try:
        entries = weights.manifest()
        weights.verify("noiser")
    finally:
        weights.manifest.cache_clear()
    assert (tmp_path / "manifest.toml").read_text().startswith(other)
    assert sorted(entries) == ["noiser", "other"]
    assert (entries["noiser"].steps, entries["noiser"].seed) == (3, 4)
    assert entries["noiser"].command == "restore train noiser --steps 3 --side 16 --seed 4"


def test_training_is_repeatable() -> None:
    one, two = (training.train(training.Config(steps=3, side=16))[0].state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
