"""Calibration of a simulated sensor whose truth is drawn now; all five families: tests/benchmarks/camera_noise.py."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn import SEED

from restore.camera import Profile
from restore.camera.calibration import Plan, calibrate
from restore.camera.divergence import Counts, divergence, histogram
from restore.camera.evidence import Evidence
from restore.camera.gain import assumed, photon_transfer
from restore.camera.groups import paired, unused_share
from restore.camera.report import verdict
from restore.camera.simulate import Sensor
from restore.camera.stack import Frame, measure
from restore.errors import ArrayError
from restore.picture import RawImage

ISOS, DARKS, SIZE = (200.0, 800.0, 1600.0, 3200.0, 6400.0, 12800.0), 24, (192, 255)
PHASES = [((0, 1), (1, 2)), ((1, 0), (2, 1)), ((1, 2), (0, 1)), ((2, 1), (1, 0))]


def kept(raw: RawImage) -> Callable[[], RawImage]:
    return lambda: raw


def darks_of(sensor: Sensor, rng: np.random.Generator, isos: tuple[float, ...], count: int) -> list[Frame]:
    return [
        Frame(f"dark {iso:g} {index}", iso, 0.01, kept(sensor.frame(iso, rng)))
        for iso in isos
        for index in range(count)
    ]


@pytest.fixture(scope="module")
def truth_and_profile() -> tuple[Sensor, Profile]:
    seed = SEED
    rng = np.random.default_rng(seed)
    black = ((512.0, 500.0), (520.0, 512.0))
    sensor = Sensor.draw(rng, family="tukey", size=SIZE, cfa=PHASES[int(rng.integers(4))], isos=ISOS, black=black)
    flats = [
        Frame("flat", iso, light, kept(sensor.frame(iso, rng, light=light)))
        for iso in ISOS[:2]
        for light in np.linspace(100, 6000, 6)
        for _ in "ab"
    ]
    return sensor, calibrate(darks_of(sensor, rng, ISOS, DARKS), flats, assumed, Plan(steps=0, held_out=0))


def test_gain(truth_and_profile: tuple[Sensor, Profile]) -> None:
    sensor, profile = truth_and_profile
    for noise in profile.isos[:2]:
        assert pytest.approx(sensor.K(noise.iso), rel=0.015) == noise.K
        assert "photon transfer" in noise.K_source and 0 < noise.K_error < 0.01
    assert pytest.approx(sensor.K(12800), rel=0.015) == profile.at(12800).K
    assert "with ISO" in profile.at(12800).K_source


def test_sigmas(truth_and_profile: tuple[Sensor, Profile]) -> None:
    """Columns carry 3 % of the pixel noise: at this size their own chance alone is 5 %."""
    sensor, profile = truth_and_profile
    for noise in profile.isos:
        sigma = sensor.sigma(noise.iso)
        assert noise.sigma_px == pytest.approx(sigma, rel=0.015)
        assert noise.sigma_row == pytest.approx(0.16 * sigma, rel=0.05)
        assert noise.sigma_col == pytest.approx(0.03 * sigma, rel=0.25)


def test_what_means_take_is_given_back() -> None:
    """On small frames the means of rows, columns and sites take 3.6 % of the variance."""
    rng = np.random.default_rng(SEED)
    sensor = Sensor.draw(rng, family="gaussian", size=(48, 64), isos=(1600.0,), bands=(0.0, 0.0))
    found = measure(darks_of(sensor, rng, (1600.0,), 40), 2, rng)
    assert found.sigma_px == pytest.approx(sensor.sigma(1600.0), rel=0.01)
    assert found.sigma_row**2 + found.sigma_col**2 < (0.04 * found.sigma_px) ** 2


def test_tukey_lambda(truth_and_profile: tuple[Sensor, Profile]) -> None:
    sensor, profile = truth_and_profile
    found = [noise.tukey_lambda for noise in profile.isos if sensor.sigma(noise.iso) >= 2]
    assert np.mean(found) == pytest.approx(sensor.shape, abs=0.03)


def test_gain_switch_and_dark_shading(truth_and_profile: tuple[Sensor, Profile]) -> None:
    sensor, profile = truth_and_profile
    assert [branch.isos for branch in profile.branches] == [ISOS[:3], ISOS[3:]]
    good = sensor.hot == 0
    for iso in ISOS:
        found = profile.dark_shading(iso) - profile.black_error(iso, SIZE)
        error = (found - sensor.dark_shading(iso))[good]
        temporal = np.sqrt(sensor.sigma(iso) ** 2 * (1 + 0.16**2 + 0.03**2) + 1 / 12)
        limit = 0.85 if iso in (800, 6400) else 1.0
        assert np.sqrt(np.mean(error**2)) <= limit * temporal / DARKS**0.5, iso
        jitter = 0.002 * iso**0.5 / DARKS**0.5
        wanted = max(0.02, 0.01 * sensor.sigma(iso)) + 3 * jitter
        assert np.abs(np.subtract(profile.at(iso).black_error, sensor.black_error[iso])).max() <= wanted


@pytest.mark.parametrize(("split", "branches"), [(1600.0, [(100.0, 400.0), (1600.0, 6400.0, 25600.0)]), (None, None)])
def test_gain_switch_between_isos_two_stops_apart(
    split: float | None, branches: list[tuple[float, ...]] | None
) -> None:
    """The noise rises over the switch, from 1.7 to 2.3 DN, where one gain would give 6.0."""
    isos = (100.0, 400.0, 1600.0, 6400.0, 25600.0)
    rng = np.random.default_rng(SEED)
    sensor = replace(Sensor.draw(rng, size=(96, 128), isos=isos, split=split), family="gaussian")
    profile = calibrate(darks_of(sensor, rng, isos, 4), (), assumed, Plan(steps=0, held_out=0))
    assert [branch.isos for branch in profile.branches] == (branches or [isos])


def test_hot_pixels(truth_and_profile: tuple[Sensor, Profile]) -> None:
    sensor, profile = truth_and_profile
    assert profile.maps is not None
    found, hot = (
        {tuple(place) for place in profile.maps.bad.tolist()},
        set(map(tuple, np.argwhere(sensor.hot).tolist())),
    )
    assert hot <= found and len(found - hot) <= 1e-4 * SIZE[0] * SIZE[1]


def test_flats_that_are_all_saturated_give_no_gain() -> None:
    rng = np.random.default_rng(1)
    sensor = Sensor.draw(rng, size=(64, 64), isos=(100.0,))
    flat = Frame("flat", 100.0, 0.01, kept(sensor.frame(100.0, rng, light=1e6)))
    with pytest.raises(ArrayError, match="0 usable levels"):
        photon_transfer([(flat, flat)], (0.0,) * 4)


def test_flats_without_noise_of_light_give_no_gain() -> None:
    """Flats that are given twice, and levels that a program has added: K came out as no number, or below 0."""
    rng = np.random.default_rng(1)
    sensor = Sensor.draw(rng, size=(64, 64), isos=(100.0,))
    flats = [Frame("flat", 100.0, 0.01, kept(sensor.frame(100.0, rng, light=light))) for light in (500, 2000, 5000)]
    with pytest.raises(ArrayError, match="give no slope"):
        photon_transfer([(flat, flat) for flat in flats], (0.0,) * 4)

    def lifted(light: float) -> Frame:
        dark = sensor.frame(100.0, rng)
        return Frame("flat", 100.0, 0.01, kept(replace(dark, mosaic=dark.mosaic + np.float32(light))))

    with pytest.raises(ArrayError, match="give no slope"):
        photon_transfer([(lifted(light), lifted(light)) for light in (0.05, 0.1, 0.2, 0.3)], (0.0,) * 4)


def frames(rng: np.random.Generator, isos: tuple[float, ...] = (400.0,), count: int = 4) -> list[Frame]:
    sensor = Sensor.draw(rng, family="gaussian", size=(96, 128), isos=isos)
    return darks_of(sensor, rng, isos, count)


def changed(frame: Frame, change: Callable[[RawImage], RawImage]) -> Frame:
    return replace(frame, load=kept(change(frame.load())))


def fails(darks: list[Frame], words: str) -> None:
    with pytest.raises(ArrayError, match=words):
        calibrate(darks, (), assumed, Plan(steps=0))


def test_bad_frames_are_refused_by_name() -> None:
    rng = np.random.default_rng(1)
    good = frames(rng)
    fails([], "no dark frames")
    fails(good[:1], "one dark frame of ISO 400")
    other = changed(good[1], lambda raw: replace(raw, meta=replace(raw.meta, camera="Nikon D850")))
    fails([good[0], other, *good[2:]], "dark 400 1: camera Nikon D850, but dark 400 0 has Restore Simulated")
    small = changed(good[2], lambda raw: replace(raw, mosaic=raw.mosaic[:64]))
    fails([*good[:2], small], "dark 400 2: size")
    zeros = changed(good[3], lambda raw: replace(raw, mosaic=np.zeros_like(raw.mosaic)))
    fails([*good[:3], zeros], "dark 400 3: all pixels")


def test_light_is_refused() -> None:
    rng = np.random.default_rng(2)
    sensor = Sensor.draw(rng, family="gaussian", size=(128, 192), isos=(400.0,))
    even = [Frame(f"a{i}", 400.0, 0.01, kept(sensor.frame(400, rng, light=300.0))) for i in range(3)]
    fails(even, "light came in")
    leak = np.linspace(0, 60, 192, dtype=np.float32) * np.ones((128, 1), np.float32)
    uneven = [Frame(f"b{i}", 400.0, 0.01, kept(sensor.frame(400, rng, light=leak))) for i in range(3)]
    fails(uneven, "light leaks in")


def test_wrong_iso_tags_are_refused() -> None:
    rng = np.random.default_rng(3)
    darks = frames(rng, (100.0, 400.0, 800.0, 1600.0), 5)
    strayed = [replace(darks[-1], iso=400.0), *darks[:-1]]
    fails(strayed, "dark 1600 4: noise of .* the other dark frames of ISO 400 have .* ISO tag is wrong")
    swap = {100.0: 400.0, 400.0: 100.0, 800.0: 1600.0, 1600.0: 800.0}
    fails([replace(frame, iso=swap[frame.iso]) for frame in darks], "some ISO tags are wrong")


def test_isos_that_the_camera_makes_from_others_are_left_out() -> None:
    """ISO 6400 is every value of ISO 3200 times two, about 500: it has gaps."""
    isos = (1600.0, 3200.0, 6400.0)
    darks = frames(np.random.default_rng(4), isos)
    darks = [
        changed(frame, lambda raw: replace(raw, mosaic=np.float32(2) * raw.mosaic)) if frame.iso == 6400 else frame
        for frame in darks
    ]
    assert [unused_share(frame.load()) > 0.3 for frame in darks[::4]] == [False, False, True]
    profile = calibrate(darks, (), assumed, Plan(steps=0, held_out=0))
    assert [noise.iso for noise in profile.isos] == [1600, 3200]
    assert "ISO 6400 is left out" in profile.notes[0] and "never occur" in profile.notes[0]
    again = calibrate(darks[-4:], (), assumed, Plan(steps=0, held_out=0))  # all there is
    assert [noise.iso for noise in again.isos] == [6400]


@pytest.mark.parametrize("sigma", [0.1, 0.3, 1.0, 4.0, 60.0, 2000.0])
def test_noise_cut_off_at_black_and_fine_noise_are_not_taken_for_gaps(sigma: float) -> None:
    dn = np.rint(np.random.default_rng(5).normal(0, sigma, (200, 300)))
    dn[::50, ::50] = 5 * sigma + 2  # hot pixels
    for values in (dn, np.maximum(dn, 0)):
        mosaic = (values / (16383 - 512)).astype(np.float32)
        raw = RawImage(mosaic, ((0, 1), (1, 2)), ((512.0, 512.0), (512.0, 512.0)), 16383.0)
        assert unused_share(raw) == 0


def test_black_of_long_exposures_has_its_own_table(tmp_path: Path) -> None:
    """Beyond 1/8 s the camera corrects its black level, by whole DN: -4 + 0.1 t."""
    isos = (400.0, 1600.0)
    darks = []
    for number, frame in enumerate(frames(np.random.default_rng(6), isos, 10)):
        seconds = (0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 10.0, 20.0, 30.0, 50.0)[number % 10]
        off = np.float32((0 if seconds <= 0.1 else -4 + 0.1 * seconds) / 15871)
        moved = changed(frame, lambda raw, off=off: replace(raw, mosaic=raw.mosaic + off))
        darks.append(replace(moved, exposure_s=seconds))
    calibrate(darks, (), assumed, Plan(steps=0, held_out=0)).save(tmp_path / "a.noise")
    profile = Profile.load(tmp_path / "a.noise")
    for iso in (400.0, 800.0, 1600.0):
        base = profile.black_error(iso, (4, 4), 0.05)
        for seconds, wanted in ((0.09, 0.0), (15.0, -2.5), (40.0, 0.0)):
            assert profile.black_error(iso, (4, 4), seconds) - base == pytest.approx(wanted, abs=0.3)
    short = [frame for frame in darks if frame.exposure_s <= 0.1]
    alone = calibrate(short, (), assumed, Plan(steps=0, held_out=0))
    assert [noise.sigma_px for noise in alone.isos] == pytest.approx([noise.sigma_px for noise in profile.isos])


def test_notes_in_plain_words() -> None:
    rng = np.random.default_rng(4)
    profile = calibrate(frames(rng), (), assumed, Plan(steps=0))
    text = " | ".join(profile.notes)
    assert "need more frames at ISO 400: 4 were used" in text and "K, the gain, comes from a guess" in text


def lifted(frame: Frame, light: float | np.ndarray) -> Frame:
    """Return a frame with whole DN more at each pixel."""
    more = np.rint(light) / np.float32(16383 - 512)
    return changed(frame, lambda raw: replace(raw, mosaic=np.asarray(raw.mosaic + more, np.float32)))


@pytest.mark.parametrize("order", ["a1 b1 a2 b2", "a1 a2 b1 b2", "one is lost", "the lamp flickers"])
def test_flats_are_paired_by_brightness(order: str) -> None:
    rng = np.random.default_rng(4)
    sensor = Sensor.draw(rng, family="gaussian", size=(96, 128), isos=(400.0,))
    levels = np.geomspace(100, 6000, 6)
    both = [
        [sensor.frame(400, rng, light=float(light * factor)) for light in levels]
        for factor in (1, 1.2 if "flickers" in order else 1)
    ]
    series = [*both[0], *both[1]] if "a1 a2" in order else [raw for pair in zip(*both, strict=True) for raw in pair]
    if "lost" in order:
        del series[3], series[6]
    flats = [Frame(f"flat {index}", 400.0, 0.01, kept(raw)) for index, raw in enumerate(series)]
    gain = photon_transfer(paired(flats), sensor.black_error[400.0])
    assert pytest.approx(sensor.K(400), rel=0.03) == gain.K and gain.error < 0.02
    with pytest.raises(ArrayError, match="no second flat frame"):
        paired([flats[0], flats[-1]])


def test_a_frame_that_saw_a_little_light_is_named() -> None:
    darks = frames(np.random.default_rng(5), count=10)
    leak = np.linspace(0, 12, 128, dtype=np.float32) * np.ones((96, 1), np.float32)
    fails([*darks[:3], lifted(darks[3], leak), *darks[4:]], "dark 400 3 lies 6.* DN above .* light came in,")
    fails([*darks[:9], lifted(darks[9], -9.0)], "dark 400 9 lies .* DN below .* light came into the others")


def test_frames_given_twice_are_named() -> None:
    darks = frames(np.random.default_rng(6), count=4)
    fails(
        [*darks, replace(darks[1], name="copy")], "copy holds the same pixels as dark 400 1; give each dark frame once"
    )


def test_what_lifts_whole_frames_is_said_and_leaves_the_fixed_pattern_alone() -> None:
    rng = np.random.default_rng(7)
    sensor = Sensor.draw(rng, family="gaussian", size=(96, 128), isos=(400.0,))
    (k, b), pattern = sensor.shading[0], rng.standard_normal((96, 128)).astype(np.float32)
    sensor = replace(sensor, shading=((k, b + pattern),) * 2)
    steady = darks_of(sensor, rng, (400.0,), 12)
    warming = [lifted(frame, 2.0 * index) for index, frame in enumerate(steady)]
    errors = {}
    for name, darks in {"steady": steady, "warming": warming}.items():
        profile = calibrate(darks, (), assumed, Plan(steps=0, held_out=0))
        off = profile.dark_shading(400) - sensor.dark_shading(400)
        errors[name] = float(np.median(np.abs(off - np.median(off))))
        told = [note for note in profile.notes if "differs from frame to frame by 7.2" in note]
        assert len(told) == (name == "warming")
        assert profile.isos[0].fixed == pytest.approx(float(sensor.dark_shading(400).std()), rel=0.1)
    assert errors["warming"] == pytest.approx(errors["steady"], rel=0.05)


def test_black_that_the_camera_measures_anew_is_borne() -> None:
    darks = frames(np.random.default_rng(8), count=8)
    plain = calibrate(darks, (), assumed, Plan(steps=0, held_out=0))

    def said(raw: RawImage, by: float) -> RawImage:  # the same values of the file, another black level told
        black = tuple(tuple(level + by for level in row) for row in raw.black)
        span, other = np.float32(raw.white - 512), np.float32(raw.white - 512 - by)
        return replace(raw, black=black, mosaic=np.asarray((raw.mosaic * span - np.float32(by)) / other, np.float32))

    shifted = [changed(frame, lambda raw, by=index % 2: said(raw, float(by))) for index, frame in enumerate(darks)]
    found = calibrate(shifted, (), assumed, Plan(steps=0, held_out=0))
    assert found.isos[0].sigma_px == pytest.approx(plain.isos[0].sigma_px, rel=1e-3)
    assert np.mean(found.isos[0].black_error) == pytest.approx(np.mean(plain.isos[0].black_error) - 0.5, abs=0.01)
    fails([*darks[:7], changed(darks[7], lambda raw: said(raw, 200.0))], "black level")


def test_frames_without_room_or_noise_are_refused() -> None:
    darks = frames(np.random.default_rng(9), count=5)
    fails([changed(d, lambda raw: replace(raw, mosaic=raw.mosaic[:2])) for d in darks], "128x2 pixels are too few")
    still = np.where(np.arange(128) % 7, 0, 1 / np.float32(16383 - 512)) * np.ones((96, 1), np.float32)
    one = np.zeros((96, 128), np.float32)

    def lone(raw: RawImage, at: int) -> RawImage:
        spot = one.copy()
        spot[40, 40] = 100 + at
        return replace(raw, mosaic=np.asarray(still + spot / np.float32(16383 - 512), np.float32))

    coarse = [changed(d, lambda raw, at=index: lone(raw, at)) for index, d in enumerate(darks)]
    fails(coarse, "steps are coarser than its noise")


def test_the_verdict_bears_what_few_pixels_differ_by_chance(truth_and_profile: tuple[Sensor, Profile]) -> None:
    rng = np.random.default_rng(10)

    def drawn(sigma: float) -> Counts:
        return histogram(np.rint(rng.normal(0, sigma, 24576)).astype(np.float32))

    def evidence(sigma: float) -> Evidence:
        real, made = drawn(7.4), drawn(sigma)
        return Evidence(200.0, 1, real, {"pnnp": made}, {"pnnp": divergence(real, made)}, {}, {})

    equal = [evidence(7.4) for _ in range(20)]
    assert np.mean([found.kld["pnnp"] for found in equal]) == pytest.approx(equal[0].chance, rel=0.15)
    assert equal[0].chance > 0.0015
    said = [verdict(truth_and_profile[1], [found]) for found in equal]
    good = [words for words in said if words.startswith("Good: ")]
    assert len(good) >= 18 and all("by which so few pixels differ by chance" in words for words in good)
    assert verdict(truth_and_profile[1], [evidence(8.5)]).startswith("Fair: at ISO 200")
