"""Calibration from files: DNGs of a simulated sensor, grey frames of a real one, and files that will not do."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import restore
from restore.camera import Profile
from restore.camera.calibration import Plan
from restore.cli.options import app
from restore.errors import ArrayError, ReadError, RecipeError, RestoreError, UnsupportedError, WriteError
from restore.files.dng import write_dng
from restore.jobs.frame_files import Headerless, frames_of
from restore.jobs.noise_files import Shoot, add, simulate


@pytest.fixture(scope="module")
def shot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shot")
    simulate(Shoot("student", (96, 129), "GBRG", (200.0, 800.0), darks=6, flats=4, seed=3), folder)
    return folder


def hashes(folder: Path) -> dict[Path, str]:
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def profile(shot: Path) -> Path:
    report = shot / "report"
    restore.calibrate(
        [shot / "darks"],
        flats=[shot / "flats"],
        out=shot / "a.noise",
        report_to=report,
        plan=Plan(steps=40, batch=1024),
    )
    return shot / "a.noise"


def test_files_to_profile_and_report(shot: Path, profile: Path) -> None:
    known = Profile.load(profile)
    assert known.camera == "Restore Simulated" and known.cfa == ((1, 2), (0, 1)) and known.bits == 14
    assert [noise.iso for noise in known.isos] == [200.0, 800.0]
    assert [noise.frames for noise in known.isos] == [5, 5] and all(noise.kld is not None for noise in known.isos)
    for noise in known.isos:
        assert pytest.approx(9.5e-4 * noise.iso, rel=0.05) == noise.K
    names = {path.name for path in (shot / "report").iterdir()}
    assert {"report.md", "dark_shading.png", "gain_and_sigma.png", "quantiles_iso200.png"} <= names
    for path in (shot / "report").glob("*.png"):
        picture = cv2.imread(str(path))
        assert picture is not None and picture.std() > 5
    assert "need more frames at ISO 200" in (shot / "report" / "report.md").read_text()


def test_command_says_what_it_found(shot: Path, tmp_path: Path) -> None:
    darks = [str(path) for path in sorted((shot / "darks").glob("iso800*"))]
    out = tmp_path / "c.noise"
    done = CliRunner().invoke(app, ["calibrate", *darks, "-o", str(out), "--steps", "0", "--model-only"])
    assert done.exit_code == 0, done.output
    assert "K, the gain, comes from a guess" in done.output and Profile.load(out).maps is None


def test_command_judges_by_the_frames_held_out(shot: Path, tmp_path: Path) -> None:
    darks = [str(path) for path in sorted((shot / "darks").glob("iso800*"))]
    done = CliRunner().invoke(app, ["calibrate", *darks, "-o", str(tmp_path / "c.noise"), "--steps", "40"])
    assert done.exit_code == 0, done.output
    kld = next(line for line in done.output.splitlines() if line.startswith("| 800")).split("|")[-4:-1]
    assert "Not checked" not in done.output and all(0 < float(value) < 1 for value in kld)


def test_noise_on_a_clean_file(shot: Path, profile: Path, tmp_path: Path) -> None:
    known = Profile.load(profile)
    assert known.maps is not None
    source = restore.read(shot / "darks" / "iso200_000.dng")
    assert isinstance(source, restore.RawImage)
    grey = np.full(source.size, 0.2, np.float32)
    clean = tmp_path / "clean.dng"
    write_dng(clean, restore.RawImage(grey, source.cfa, source.black, source.white, meta=source.meta))
    darks = sorted((shot / "darks").glob("iso800*"))
    for backend in ("pnnp", "eld", "sfrn"):
        out = tmp_path / f"{backend}.dng"
        add(clean, out, profile, iso=800, ratio=1, backend=backend, darks=darks)
        noisy = restore.read(out)
        assert isinstance(noisy, restore.RawImage) and noisy.meta.iso == 800 and noisy.cfa == source.cfa
        dn = noisy.mosaic.astype(np.float64) * (16383 - 512)
        assert dn.mean() == pytest.approx(0.2 * 15871, rel=0.01)
        assert dn.var() == pytest.approx(known.at(800).K * dn.mean() + known.at(800).sigma_read ** 2, rel=0.1)


def words(*given: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(word) for word in given])
    return done.exit_code, str(done.exception)


@pytest.mark.parametrize("flag", [[], ["--overwrite"]])
def test_no_command_writes_over_its_input(shot: Path, profile: Path, tmp_path: Path, flag: list[str]) -> None:
    """By any name: the same file under another is no other file."""
    dark, model = (tmp_path / name for name in ("in.dng", "p.noise"))
    shutil.copy(shot / "darks" / "iso200_000.dng", dark)
    shutil.copy(profile, model)
    (tmp_path / "link.dng").hardlink_to(dark)
    before = hashes(tmp_path)
    noise = ["noise", "add", dark, "--profile", model, "--iso", 800, "--model", "eld"]
    for out in (dark, tmp_path / "link.dng", model):
        assert words(*noise, "-o", out, *flag)[1].endswith("is an input itself; choose another name")
    calibrate = ["calibrate", tmp_path, "--flats", dark, "--steps", "0"]
    assert words(*calibrate, "-o", dark, *flag)[1].endswith("is an input itself; choose another name")
    assert hashes(tmp_path) == before


def test_what_is_there_is_kept_unless_asked(shot: Path, profile: Path, tmp_path: Path) -> None:
    dark, own, report = shot / "darks" / "iso200_000.dng", tmp_path / "own.dng", tmp_path / "report"
    darks = sorted((shot / "darks").glob("iso800*"))
    report.mkdir()
    for path in (own, report / "report.md"):
        path.write_bytes(b"the user's own")
    before = hashes(tmp_path)
    noise = ["noise", "add", dark, "--profile", profile, "--iso", 800, "--model", "eld", "-o", own]
    learn = ["calibrate", *darks, "--steps", "0", "-o"]
    for command in (noise, [*learn, own], [*learn, tmp_path / "new.noise", "--report", report]):
        code, says = words(*command)
        assert code == 1 and "already; use --overwrite" in says
    assert hashes(tmp_path) == before
    assert words(*noise, "--overwrite")[0] == 0 and restore.read(own).meta.iso == 800
    assert words(*learn, own, "--report", report, "--overwrite")[0] == 0 and Profile.load(own).maps is not None


@pytest.mark.parametrize("iso", ["nan", "inf", "100,inf"])
def test_speeds_that_are_no_numbers_are_refused(shot: Path, profile: Path, tmp_path: Path, iso: str) -> None:
    assert "ISO speeds above 0" in words("noise", "simulate", "-o", tmp_path / "new", "--iso", iso)[1]
    if iso == "inf":
        dark = shot / "darks" / "iso200_000.dng"
        says = words("noise", "add", dark, "--profile", profile, "--iso", iso, "-o", tmp_path / "own.dng")[1]
        assert "must be finite numbers" in says
    assert not [*tmp_path.iterdir()]


def test_a_speed_that_is_said_twice_is_shot_once(tmp_path: Path) -> None:
    _, paths = simulate(Shoot(size=(64, 64), isos=(100, 100), darks=2, flats=0), tmp_path)
    assert len(paths) == len({*paths}) == 2


@pytest.mark.parametrize("name", ["own.png", "own"])
def test_noise_goes_into_files_that_are_named_as_what_they_are(
    shot: Path, profile: Path, tmp_path: Path, name: str
) -> None:
    dark = shot / "darks" / "iso200_000.dng"
    says = words("noise", "add", dark, "--profile", profile, "--iso", 800, "-o", tmp_path / name)[1]
    assert says.endswith("let its name end in .dng")
    assert not [*tmp_path.iterdir()]


def test_a_recipe_tells_when_the_profile_is_another_than_it_was(
    shot: Path, profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(profile, "my.noise")
    dark, side = shot / "darks" / "iso200_000.dng", tmp_path / "out" / "iso200_000.dng.restore.json"
    run = ["run", dark, "--precision", "fp32", "-o"]
    assert words(*run, "out", "-m", "pnnp", "--set", "pnnp.profile=my.noise", "--format", "dng")[0] == 0
    facts = json.loads(side.read_text())["reports"][0]["facts"]
    assert facts["profile_sha256"] == hashlib.sha256(profile.read_bytes()).hexdigest()
    capsys.readouterr()

    def replayed(out: str, *more: str) -> str:
        app([str(word) for word in (*run, out, "--recipe", side, *more)], standalone_mode=False)
        return capsys.readouterr().err

    assert "results will differ" not in replayed("same")
    known = Profile.load(profile)
    replace(known, isos=tuple(replace(noise, K=2 * noise.K) for noise in known.isos)).save("my.noise")
    assert f"my.noise: is not the file that {side} was made with: results will differ" in replayed("other")
    assert "results will differ" not in replayed("given", "--set", f"pnnp.profile={profile}")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert "my.noise: cannot be read (No such file or directory); check the path" in replayed("out")


def test_frames_are_simulated_into_a_folder_without_any(tmp_path: Path) -> None:
    few = Shoot(size=(64, 64), isos=(100.0,), darks=1, flats=0)
    simulate(few, tmp_path)
    before = hashes(tmp_path)
    with pytest.raises(WriteError, match="darks: holds files already; choose another folder"):
        simulate(few, tmp_path)
    assert hashes(tmp_path) == before


def test_files_that_will_not_do(shot: Path, tmp_path: Path) -> None:
    jpeg, grey, colour = (tmp_path / name for name in ("a.jpg", "g.png", "c.png"))
    pixels = np.random.default_rng(1).integers(0, 40, (64, 64), dtype=np.uint16)
    cv2.imwrite(str(jpeg), pixels.astype(np.uint8))
    cv2.imwrite(str(grey), pixels)
    cv2.imwrite(str(colour), np.dstack([pixels] * 3))
    cases = {
        (jpeg,): (UnsupportedError, "JPEG holds no sensor noise"),
        (colour,): (UnsupportedError, "PNG holds no sensor noise"),
        (grey,): (UnsupportedError, "--iso"),
        (tmp_path / "none.dng",): (ReadError, "none.dng"),
        (shot / "darks" / "iso200_000.dng", jpeg): (UnsupportedError, "JPEG"),
    }
    for paths, (kind, words) in cases.items():
        with pytest.raises(kind, match=words):
            restore.calibrate(paths, plan=Plan(steps=0))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ReadError, match="no dark frames here"):
        restore.calibrate([empty])
    with pytest.raises(ReadError, match=r"empty: no dark frames here"):
        restore.calibrate(str(empty))  # one path, no sequence of letters
    with pytest.raises(RestoreError, match="noiseprofiles"):
        restore.calibrate([shot / "darks"], darktable=jpeg, plan=Plan(steps=0))
    (tmp_path / "deep.json").write_text("[" * 200_000)
    with pytest.raises(ReadError, match=r"deep\.json"):
        restore.calibrate([shot / "darks"], darktable=tmp_path / "deep.json", plan=Plan(steps=0))
    with pytest.raises(ArrayError, match="one dark frame"):
        restore.calibrate([shot / "darks" / "iso200_000.dng"], plan=Plan(steps=0))


def test_gain_from_darktables_file(shot: Path, tmp_path: Path) -> None:
    table = tmp_path / "noiseprofiles.json"
    rows = ",".join(f'{{"iso": {iso}, "a": [9, {iso * 1e-7}, 9], "b": [0, 0, 0]}}' for iso in (100, 1600))
    model = f'{{"model": "Simulated", "profiles": [{rows}]}}'
    table.write_text(f'{{"noiseprofiles": [{{"maker": "Restore", "models": [{model}]}}]}}')
    found = restore.calibrate([shot / "darks"], darktable=table, plan=Plan(steps=0))
    for noise in found.isos:
        assert pytest.approx(noise.iso * 1e-7 * (16383 - 512), rel=1e-6) == noise.K
        assert "darktable" in noise.K_source


def test_grey_frames_of_a_real_sensor(shared: Path) -> None:
    """EMVA 1288 reference CCD; 0.70 DN is the spread of the mean of 20 frames, the noise left in it included."""
    folder = shared / "data" / "dark" / "emva_ccd12"
    flats = sorted(folder.glob("b_*.png"))
    found = restore.calibrate(sorted(folder.glob("d_s_*.png")), flats=flats, iso=100, plan=Plan(steps=0, held_out=0))
    noise = found.isos[0]
    assert found.bits == 12 and found.cfa == ((1,),)
    assert 0.275 * 0.97 <= noise.K <= 0.288 * 1.03
    assert noise.temporal == pytest.approx(3.04, rel=0.02)
    assert noise.sigma_row == pytest.approx(0.50, rel=0.1)
    assert np.hypot(noise.fixed, noise.temporal / 20**0.5) == pytest.approx(0.70, rel=0.1)


def test_frames_are_loaded_when_needed(shot: Path) -> None:
    darks, flats, about = frames_of([shot / "darks"], [shot / "flats"], Headerless())
    assert {frame.iso for frame in darks} == {200.0, 800.0} and len(darks) == 12 and len(flats) == 16
    assert about.camera == "Restore Simulated"
    assert darks[0].load().cfa == ((1, 2), (0, 1))


def grey_frames(folder: Path, step: int = 1) -> tuple[list[Path], list[Path]]:
    """Write darks and pairs of flats of a 12-bit camera: black 64, K 0.5, noise of 4 DN; a DN is ``step`` values."""
    rng = np.random.default_rng(1)
    paths: list[Path] = []
    for index, light in enumerate([0.0] * 6 + [level for level in (200.0, 600.0, 1200.0, 2000.0) for _ in "ab"]):
        made = 64 + 0.5 * rng.poisson(light / 0.5, (96, 128)) + rng.normal(0, 4, (96, 128))
        paths.append(folder / f"{index:02}.png")
        cv2.imwrite(str(paths[-1]), (np.rint(made).clip(0, 4095) * step).astype(np.uint16))
    return paths[:6], paths[6:]


@pytest.mark.parametrize("step", [1, 16])
def test_grey_frames_whose_black_is_not_zero(tmp_path: Path, step: int) -> None:
    """Cameras of 12 bits with an offset, their values at the lower or at the upper end of 16 bits."""
    darks, flats = grey_frames(tmp_path, step)
    found = restore.calibrate(darks, flats=flats, iso=100, plan=Plan(steps=0))
    noise = found.isos[0]
    assert found.bits == 12 and found.white == 4095
    assert pytest.approx(0.5, rel=0.05) == noise.K and noise.sigma_px == pytest.approx(4, rel=0.03)
    assert noise.black_error[0] == pytest.approx(64, abs=0.1)
    assert any("multiples of 16" in note for note in found.notes) is (step == 16)
    with pytest.raises(RecipeError, match="--bits 10 does not hold the values of these frames, which take 12 bits"):
        restore.calibrate(darks, flats=flats, iso=100, bits=10, plan=Plan(steps=0))


def test_what_is_guessed_of_grey_frames_is_said(tmp_path: Path) -> None:
    darks, flats = grey_frames(tmp_path)
    with pytest.raises(ArrayError, match="light came in"):  # a quarter of white
        restore.calibrate(darks, iso=100, bits=8, plan=Plan(steps=0))
    for path in darks:
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED) - 45)
    alone = restore.calibrate(darks, iso=100, plan=Plan(steps=0))
    assert any("white at 255 DN is a guess" in note for note in alone.notes)
    few = restore.calibrate(darks, flats=flats[:4], iso=100, bits=12, plan=Plan(steps=0))
    assert "K, the gain, is known at ISO 100 to" in " ".join(few.notes) and "comes from photon" not in str(few.notes)


def test_where_nothing_can_be_written_is_said_first_and_folders_are_made(shot: Path, tmp_path: Path) -> None:
    """After all the frames were read and the proxies trained, it was too late."""
    (tmp_path / "file").write_text("x")
    for out, words in ((tmp_path, "is a folder"), (tmp_path / "file" / "a.noise", "is no folder")):
        with pytest.raises(WriteError, match=words):
            restore.calibrate(["nowhere"], out=out, overwrite=True)
    with pytest.raises(WriteError, match="holds the frames"):  # its plots would be taken for frames the next time
        restore.calibrate([shot / "darks"], report_to=shot / "darks", overwrite=True)
    made = tmp_path / "new" / "a.noise"
    restore.calibrate([shot / "darks"], out=made, plan=Plan(steps=0))
    assert Profile.load(made).camera == "Restore Simulated"
