"""Training for one camera: pairs as its profile says, any clean pictures, and a weight file that can be used."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from proxies import straight
from safetensors.torch import save_file

from restore import pipeline, weights
from restore.camera import AS_MEASURED, BACKENDS, Branch, IsoNoise, Maps, Profile
from restore.errors import FileError, ReadError, RecipeError, WriteError
from restore.files.dng import write_dng
from restore.files.levels import SensorRecord, scaled
from restore.nets.anscombe import LINEAR, linear_of
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.picture import Meta, RawImage
from restore.raw import bayer
from restore.recipe import Recipe, Step
from restore.runtime import Runtime
from restore.train import loop, pnnp
from restore.train.camera_pairs import Camera, Clean, Dark, Pool, mosaic, pictures, read_clean, read_dark

GAIN, SIGMA, WHITE, SIZE = 0.5, 4.0, 1023.0, (160, 196)
BLACK = ((60.0, 66.0), (72.0, 78.0))
GBRG = bayer.PHASES["GBRG"]


ONE = IsoNoise(800.0, GAIN, SIGMA, tukey_sigma=SIGMA / 1.464, black_error=(0.3, -0.2, 0.1, 0.4))
MAPS = Maps(np.zeros((1, *SIZE), np.float16), np.full((1, *SIZE), 3, np.float16), np.zeros((0, 2), np.int32))
PROFILE = Profile(
    "Maker", "Model", 10, GBRG, BLACK, WHITE, (ONE,), (Branch((800.0,), straight(800.0, GAIN, SIGMA)),), maps=MAPS
)


def raw_of(values: np.ndarray, iso: float = 800.0) -> RawImage:
    record = SensorRecord(values, 0, 0, values.shape, GBRG, BLACK, WHITE, (2.0, 1.0, 1.5), (2.0, 1.0, 1.5))
    meta = Meta(camera="Maker Model", iso=iso, exposure_s=0.01, extra={"sensor": record})
    return RawImage(scaled(values, BLACK, WHITE), GBRG, BLACK, WHITE, meta=meta)


def dark(seed: int = 0, iso: float = 800.0) -> RawImage:
    levels = np.tile(np.array(BLACK), (SIZE[0] // 2, SIZE[1] // 2)) + PROFILE.dark_shading(800.0)
    return raw_of(np.rint(levels + SIGMA * np.random.default_rng(seed).standard_normal(SIZE)).astype("u2"), iso)


@pytest.mark.parametrize("backend", BACKENDS)
def test_pairs_have_the_noise_that_the_network_is_told(backend: str, tmp_path: Path) -> None:
    """Also in each plane by itself, whose span from black to white differs by up to 2 %."""
    write_dng(tmp_path / "dark.dng", dark())
    darks = Pool([tmp_path / "dark.dng"], lambda path: read_dark(path, PROFILE)) if backend == "sfrn" else None
    camera = Camera(PROFILE, backend, darks)
    rng = np.random.default_rng(1)
    for light in (0.0, 0.3):
        clean = np.full((130, 130), light, np.float32)
        shots = [camera.expose(clean, 800.0, rng, AS_MEASURED) for _ in range(12)]
        planes = np.stack([planes for planes, _ in shots]).astype(np.float64)
        gain, read = shots[0][1]
        assert planes.shape == (12, 4, 64, 64)
        assert gain.ravel() == pytest.approx(GAIN / (WHITE - np.array([72.0, 78.0, 60.0, 66.0])))
        assert planes.mean(axis=(0, 2, 3)) == pytest.approx(np.full(4, light), abs=2e-4)
        assert planes.var(axis=(0, 2, 3)) == pytest.approx((gain * light + read**2).ravel(), rel=0.05)
        assert (planes.min() < 0) == (light == 0)


@pytest.mark.parametrize("name", bayer.PHASES)
def test_a_mosaic_is_turned_onto_the_pattern_of_the_camera(name: str) -> None:
    cfa, rng = bayer.PHASES[name], np.random.default_rng(2)
    colours = np.array([1000, 2000, 3000], np.uint16)[np.tile(np.array(cfa), (12, 15))]
    seen = set()
    for _ in range(16):
        cut = mosaic(Clean(colours + np.arange(30, dtype=np.uint16) // 2, cfa), 9, GBRG, 2, rng)
        assert cut.shape == (18, 18)
        planes = np.rint(bayer.pack(cut, GBRG) * 65535)[:, 1:-1]
        assert [round(float(plane.mean()) / 1000) for plane in planes] == [1, 2, 2, 3]
        assert max(np.ptp(plane) for plane in planes) < 20
        seen.add(tuple(np.sign(np.rint(cut[[0, -1, 0], [0, 0, -1]] * 65535) - np.rint(cut[-1, -1] * 65535))))
    assert len(seen) > 1


def test_a_pool_holds_a_few_and_gives_all_a_turn(capsys: pytest.CaptureFixture[str]) -> None:
    reads: list[str] = []

    def read(path: Path) -> str:
        if path.name == "3":
            raise ReadError(path, "is damaged")
        reads.append(path.name)
        return path.name

    rng = np.random.default_rng(0)
    pool = Pool([Path(str(n)) for n in range(12)], read)
    drawn = [pool.draw(rng) for _ in range(64 * 30)]
    assert set(drawn) == {str(n) for n in range(12)} - {"3"}
    assert len(pool._held) == 8 and len(reads) < 64
    assert "left out: 3: is damaged" in capsys.readouterr().err
    with pytest.raises(RecipeError, match="none of the pictures"):
        Pool([Path("3")], read).draw(rng)


def test_what_cannot_be_learnt_is_said(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--noise eld"):
        Camera(replace(PROFILE, branches=(Branch((800.0,)),)))
    with pytest.raises(RecipeError, match="--darks"):
        Camera(PROFILE, "sfrn")
    with pytest.raises(RecipeError, match="Bayer"):
        Camera(replace(PROFILE, cfa=((1,),), black=((0.0,),)))
    with pytest.raises(RecipeError, match="no pictures"):
        pictures(tmp_path)
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((40, 60, 3), np.uint8))
    with pytest.raises(FileError, match="60x40 pixels"):
        read_clean(tmp_path / "small.png", 132)
    with pytest.raises(FileError, match="no raw file"):
        read_dark(tmp_path / "small.png", PROFILE)
    write_dng(tmp_path / "dark.dng", dark())
    with pytest.raises(FileError, match="no dark-shading maps"):
        read_dark(tmp_path / "dark.dng", PROFILE.model_only())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile, clean pictures of both kinds, and small weights to start from."""
    made = tmp_path_factory.mktemp("camera")
    PROFILE.save(made / "camera.noise")
    (made / "clean").mkdir()
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    values = 300 + 200 * np.sin(x / 7) * np.cos(y / 9)
    write_dng(made / "clean" / "a.dng", raw_of(values.astype("u2")))
    photo = np.stack([(values + 30 * channel).clip(0, 1020) / 4 for channel in range(3)], -1)
    for name in ("b.jpg", "c.jpg"):
        cv2.imwrite(str(made / "clean" / name), photo.astype(np.uint8))
    torch.manual_seed(0)
    net = UnshuffleUNet(4, 5, (8, 12, 16), (1, 1, 1, 1, 1))
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, made / "start.safetensors")
    return made


def trained(folder: Path, minutes: float, options: Sequence[str] = ()) -> int:
    pnnp.main([
        "--profile", str(folder / "camera.noise"), "--clean", str(folder / "clean"), "--run", str(folder / "run"),
        "--start", str(folder / "start.safetensors"), "--minutes", str(minutes), *options,
    ])  # fmt: skip
    path = folder / "run" / "pnnp-maker-model.safetensors"
    return int(weights.metadata(path)["steps"]) if path.exists() else 0


def test_old_weights_that_learn_nothing_see_edges_as_they_did(folder: Path) -> None:
    assert trained(folder, 0, ["--lean", "0.001"]) == 0
    assert linear_of(weights.read(str(folder / "run" / "pnnp-maker-model.safetensors")).state) == 4.0


def test_a_training_goes_on_where_it_was_and_its_file_denoises(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(weights, "folder", lambda: pytest.fail("nothing is to be shipped"))
    seconds = count()
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(seconds)))  # so long does a step take
    assert [trained(folder, minutes) for minutes in (2 / 60, 4 / 60)] == [2, 4]
    path = folder / "run" / "pnnp-maker-model.safetensors"
    assert capsys.readouterr().out.split() == [str(path)] * 2
    facts = weights.metadata(path)
    assert "--profile camera.noise" in facts["command"] and "Maker Model" in facts["data"]
    assert weights.notice(str(path), weights.read(str(path))) is None
    assert linear_of(weights.read(str(path)).state) == LINEAR
    step = Step(method="pnnp", weights=str(path), settings={"profile": str(folder / "camera.noise")})
    result = pipeline.run(dark(seed=5), Recipe(steps=(step,), develop=None), Runtime("cpu"))
    assert result.reports[0].facts["noise_from"] == "the profile of Maker Model at ISO 800"
    assert np.isfinite(result.picture.mosaic).all()


def test_no_training_writes_over_what_it_learns_from(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(RecipeError, match="must end in .safetensors"):
        trained(folder, 1, ["--out", str(folder / "camera.noise")])
    with pytest.raises(WriteError, match="is an input itself"):
        trained(folder, 1, ["--out", str(folder / "start.safetensors")])
    assert all(path.read_bytes() == content for path, content in before.items())


def test_other_processes_may_draw_the_pairs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "folder", lambda: pytest.fail("nothing is to be shipped"))
    options = ["--run", str(folder / "drawn"), "--workers", "1", "--batch", "4", "--half", "--steps", "3"]
    path = folder / "drawn" / "pnnp-maker-model.safetensors"
    trained(folder, 1, [*options, "--out", str(path)])
    facts = weights.metadata(path)
    assert facts["steps"] == "3" and "--batch 4 --half" in facts["command"] and "workers" not in facts["command"]


def test_dark_frames_are_drawn_with_their_own_iso() -> None:
    two = replace(ONE, iso=1600.0, K=2 * GAIN)
    profile = replace(PROFILE, isos=(ONE, two), branches=(Branch((800.0, 1600.0), straight(800.0, GAIN, SIGMA)),))
    pool = Pool([Path("x")], lambda _: Dark(1600.0, np.zeros((140, 140), np.float32)))
    _, (gain, _) = Camera(profile, "sfrn", pool).expose(
        np.zeros((66, 66), np.float32), 800.0, np.random.default_rng(0), AS_MEASURED
    )
    assert gain[0, 0, 0] == pytest.approx(2 * GAIN / (WHITE - 72))
