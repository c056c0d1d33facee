import json
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restore.camera import Branch, IsoNoise, Maps, Profile, Proxy
from restore.camera.converter import Converter, rounded
from restore.camera.frames import above_black, bad_pixels, corrected
from restore.camera.profile_file import MODEL_LIMIT, to_bytes
from restore.camera.proxy import expected_shapes
from restore.errors import ArrayError, ReadError
from restore.picture import Meta, RawImage

RGGB, BLACK = ((0, 1), (1, 2)), ((512.0, 510.0), (511.0, 512.0))
SIZE = (33, 47)


def sigma(iso: float) -> float:
    return float(np.hypot(1e-3 * iso * 3.9, 0.94)) if iso <= 1600 else float(np.hypot(1e-3 * iso * 1.2, 1.4))


def made(isos: tuple[tuple[float, ...], ...] = ((100.0, 200.0, 400.0, 1600.0), (3200.0, 12800.0))) -> Profile:
    rng = np.random.default_rng(1)
    weights = {key: rng.standard_normal(shape).astype(np.float32) for key, shape in expected_shapes().items()}
    noises = tuple(
        IsoNoise(iso, 1e-3 * iso, sigma(iso), sigma_row=0.1 * sigma(iso), black_error=(iso / 1000, 0.0, 0.0, -1.0))
        for part in isos
        for iso in part
    )
    k, b = rng.standard_normal((2, len(isos), *SIZE)).astype(np.float16)
    return Profile(
        maker="Restore", model="Simulated", bits=14, cfa=RGGB, black=BLACK, white=16383.0, isos=noises,
        branches=tuple(Branch(part, Proxy(weights, part, (0.0,) * len(part))) for part in isos),
        body="ab12", maps=Maps(k, b, np.array([[4, 5], [32, 46]], np.int32)),
        converter=Converter(510, (509.5, 510.7, 511.5)), notes=("a note",),
    )  # fmt: skip


def raw(values: np.ndarray, **about: object) -> RawImage:
    black = np.tile(np.array(BLACK), (40, 40))[: values.shape[0], : values.shape[1]]
    mosaic = ((values - black) / (16383.0 - black)).astype(np.float32)
    return RawImage(mosaic, RGGB, BLACK, 16383.0, meta=Meta(camera="Restore Simulated", iso=200.0, **about))


def test_file_gives_the_profile_again(tmp_path: Path) -> None:
    profile = made()
    again = Profile.load(profile.save(tmp_path / "a.noise"))
    assert (again.isos, again.cfa, again.black, again.notes) == (profile.isos, RGGB, BLACK, ("a note",))
    assert again.converter == profile.converter and again.body == "ab12"
    for iso in (100, 333, 5000):
        assert np.array_equal(again.dark_shading(iso), profile.dark_shading(iso))
    first, second = again.branches[1].proxy, profile.branches[1].proxy
    assert first is not None and second is not None and first.isos == second.isos
    assert all(np.array_equal(first.weights[key], second.weights[key]) for key in second.weights)


def test_writers_at_the_same_time_leave_one_whole_profile(tmp_path: Path) -> None:
    profile, path = made(), tmp_path / "a.noise"
    with ThreadPoolExecutor(4) as pool:
        for saved in [pool.submit(profile.save, path) for _ in range(80)]:
            saved.result()
    assert path.read_bytes() == to_bytes(profile)
    assert [*tmp_path.iterdir()] == [path]


def test_model_alone_is_small_and_holds_nothing_of_the_body(tmp_path: Path) -> None:
    profile = made()
    content = to_bytes(profile.model_only())
    assert len(content) <= MODEL_LIMIT < 20 * len(content)
    assert b"maps" not in content and b"ab12" not in content
    path = tmp_path / "m.noise"
    path.write_bytes(content)
    with pytest.raises(ArrayError, match="dark frames of this body"):
        Profile.load(path).dark_shading(100)


def told(text: str) -> bytes:
    header = json.dumps({"__metadata__": {"restore.noise": text}}).encode()
    return struct.pack("<Q", len(header)) + header


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x" * 100,
        b"\xff" * 8,
        to_bytes(made())[:500],
        told('{"schema": 1, "isos": [1], "branches": []}'),
        told("[" * 200_000),
    ],
    ids=["empty", "text", "length", "cut", "isos", "deep"],
)
def test_damaged_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.noise"
    path.write_bytes(content)
    with pytest.raises(ReadError, match="not a noise profile"):
        Profile.load(path)
    with pytest.raises(ReadError, match="cannot be read"):
        Profile.load(tmp_path / "none.noise")


def test_what_can_be_no_profile_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.noise").open("wb") as file:
        file.truncate(2**42)
    os.mkfifo(tmp_path / "pipe.noise")
    for name in ("huge.noise", "pipe.noise", ""):
        with pytest.raises(ReadError, match="not a noise profile"):
            Profile.load(tmp_path / name)


@pytest.mark.parametrize(
    "wrong", [{"K": float("nan")}, {"K": -1.0}, {"K": 0.0}, {"sigma_px": float("inf")}, {"sigma_row": -1}]
)
def test_a_profile_of_impossible_noise_is_not_read(tmp_path: Path, wrong: dict[str, float]) -> None:
    """A file with K below 0 left pictures unchanged: "no noise found"."""
    profile = made()
    with pytest.raises(ArrayError, match="noise at ISO 100 is no number, or negative"):
        replace(profile, isos=(replace(profile.isos[0], **wrong), *profile.isos[1:]))
    ((name, value),) = wrong.items()
    content = to_bytes(profile)
    length = struct.unpack_from("<Q", content)[0]
    header = json.loads(content[8 : 8 + length])
    about = json.loads(header["__metadata__"]["restore.noise"])
    about["isos"][0][name] = value
    header["__metadata__"]["restore.noise"] = json.dumps(about)
    head = json.dumps(header).encode()
    (tmp_path / "odd.noise").write_bytes(struct.pack("<Q", len(head)) + head + content[8 + length :])
    with pytest.raises(ReadError, match=r"odd\.noise: not a noise profile, or damaged"):
        Profile.load(tmp_path / "odd.noise")


def test_between_isos_within_a_branch() -> None:
    profile = made()
    assert profile.at(400) is profile.isos[2]
    for iso in (150, 800, 6400):
        noise = profile.at(iso)
        assert pytest.approx(1e-3 * iso, rel=1e-6) == noise.K
        assert noise.sigma_px == pytest.approx(sigma(iso), rel=0.03)
        assert noise.frames == 0
    assert profile.at(150).black_error[0] == pytest.approx(0.1 + 0.1 * np.log2(1.5))
    assert pytest.approx(25.6) == profile.at(25600).K
    assert profile.branch_of(2000) == 0 and profile.branch_of(3000) == 1
    for wrong in (0, -5, float("nan")):
        with pytest.raises(ArrayError, match="ISO speed"):
            profile.at(wrong)


def test_noise_of_one_iso_is_not_that_of_all() -> None:
    """Told the read noise of ISO 3200, pictures of ISO 100 lost their shadows' detail."""
    alone = made(((3200.0,),))
    for iso in (100, 400, 12800):
        noise = alone.at(iso)
        assert (
            noise.sigma_px == pytest.approx(sigma(3200) * (iso / 3200) ** 0.6) and pytest.approx(1e-3 * iso) == noise.K
        )
        assert noise.sigma_row == pytest.approx(0.1 * noise.sigma_px)
    assert alone.at(3200) is alone.isos[0]


def test_correction_undoes_dark_shading_and_repairs() -> None:
    profile = made()
    values = profile.dark_shading(200).astype(np.float64)
    values += np.tile(np.array(BLACK), (40, 40))[: SIZE[0], : SIZE[1]]
    values[4, 5] += 3000
    fixed = corrected(raw(values), profile)
    np.testing.assert_allclose(fixed.mosaic, 0, atol=1e-6)


def test_whose_profile_it_is() -> None:
    profile = made()
    picture = raw(np.full(SIZE, 600.0))
    assert profile.misfit(picture) == ""
    other = replace(picture, meta=Meta(camera="Nikon D850"))
    assert "Nikon D850" in profile.misfit(other)
    assert "white level" in profile.misfit(replace(picture, white=4095.0))
    cropped = profile.misfit(raw(np.full((20, 47), 600.0)))
    assert "maps are 47x33 pixels, the picture is 47x20: cropped" in cropped and "--model-only" in cropped
    turned = profile.misfit(replace(picture, cfa=((1, 2), (0, 1))))
    assert turned.endswith("for the pattern RGGB, the picture has GBRG")
    assert profile.model_only().misfit(raw(np.full((20, 47), 600.0))) == ""
    xtrans = tuple((0, 1, 1, 2, 1, 1) for _ in range(6))
    assert "pattern" in profile.misfit(RawImage(np.zeros(SIZE, np.float32), xtrans, ((0.0,) * 6,) * 6, 16383.0))
    with pytest.raises(ArrayError, match="Nikon"):
        corrected(other, profile)


def test_where_a_profile_was_not_measured_is_said() -> None:
    profile = made()
    assert profile.source(800) == profile.source(800, 30) == "the profile of Restore Simulated at ISO 800"
    assert profile.source(50).endswith(" at ISO 50, beyond the ISO 100 to 12800 it was measured at")
    assert made(((800.0,),)).source(1600).endswith(" at ISO 1600, beyond the ISO 800 it was measured at")
    short = replace(profile, isos=tuple(replace(noise, exposure_s=(0.01, 0.02)) for noise in profile.isos))
    assert short.source(800, 0.1) == short.model_only().source(800, 30) == profile.source(800)
    assert short.source(800, 30).endswith(" at ISO 800, with black of frames of 0.02 s, not 30 s")
    long = replace(short, isos=tuple(replace(noise, long_black_error=(0.0,)) for noise in short.isos))
    assert long.source(800, 30) == profile.source(800)
    stars = replace(profile, isos=tuple(replace(noise, exposure_s=(300.0, 300.0)) for noise in profile.isos))
    assert stars.source(800, 300) == stars.source(800) == profile.source(800)
    assert stars.source(800, 0.01).endswith(" at ISO 800, with black of frames of 300 s, not 0.01 s")


def test_counts_survive_the_scaling() -> None:
    values = np.random.default_rng(3).integers(0, 16384, SIZE).astype(np.float64)
    black = np.tile(np.array(BLACK), (40, 40))[: SIZE[0], : SIZE[1]]
    assert np.array_equal(above_black(raw(values)), (values - black).astype(np.float32))


def test_bad_pixels_must_be_bad_twice() -> None:
    rng = np.random.default_rng(4)
    even, odd = rng.standard_normal((2, 80, 80)).astype(np.float32)
    even[10, 11] = odd[10, 11] = 40
    even[0, 0] = odd[0, 0] = -40
    even[30, 31] = 60
    assert np.argwhere(bad_pixels(even, odd, 2)).tolist() == [[0, 0], [10, 11]]


def test_uneven_steps() -> None:
    steps = Converter(-1, (-1.5, -0.2, 0.5))
    assert rounded(np.array([-1.6, -0.3, -0.1, 0.6], np.float32), steps).tolist() == [-2, -1, 0, 1]
