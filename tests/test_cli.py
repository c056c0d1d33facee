import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file, save

import restore
from restore import cli, files, metrics, weights
from restore.degrade import degrade
from restore.picture import Image, Meta, RawImage

ROOT = Path(__file__).parents[1]


@pytest.fixture
def call(monkeypatch, capsys):
    def calling(*words: object) -> tuple[int, list[str], str]:
        """Run the command in this process; return exit code, lines of its output, and its error output."""
        monkeypatch.setattr(sys, "argv", ["restore", *map(str, words)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        out, err = capsys.readouterr()
        return exit_.value.code or 0, out.splitlines(), err

    return calling


def picture(path: Path, *, side: int = 40, seed: int = 0, sigma: float = 0.1, bits: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(0.2, 0.8, side, dtype=np.float32)[:, None, None] * np.ones((1, side + 8, 3), np.float32)
    noise = np.random.default_rng(seed).normal(0, sigma, ramp.shape).astype(np.float32)
    files.write(path, Image(ramp + noise, meta=Meta(bits=bits)), bits=bits)
    return path


def test_help_is_quick() -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "restore", "--help"], cwd=ROOT, capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert b"run" in done.stdout
    assert min(seconds) < 1


def test_help_and_info_import_no_torch(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    code = (
        "import sys; from restore import cli; sys.argv = ['restore', 'info', sys.argv[1]]\n"
        "try: cli.main()\n"
        "except SystemExit: assert 'torch' not in sys.modules, 'torch'"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "wavlet"], "Did you mean 'wavelet'?"),
        (["--method", "none", "--set", "wavelet.shifts=2"], "this run has no such step"),
        (["--set", "wavelet.shift=2"], "Did you mean 'shifts'?"),
        (["--set", "shifts"], "method.knob=value"),
        (["--set", "wavelet.threshold=99"], "less than or equal to 4"),
        (["--noise", "loud"], "0.098 or 25/255"),
        (["--tile", "7"], "at least 16 pixels"),
        (["--tile", "big"], "tile"),
        (["--precision", "fp17"], "fp17"),
        (["--overwrite", "--skip-existing"], "either --overwrite or --skip-existing"),
        (["--depth", "12"], "8, 16 or 32"),
        (["--strength", "2"], "strength"),
        (["--recipe", "nowhere.toml"], "cannot be read as a recipe"),
        (["--recipe", "nigth"], "Did you mean 'night'?"),
        (["--max-megapixels", "inf"], "--max-megapixels is a limit, as 400, not inf"),
        (["--max-seconds", "inf"], "--max-seconds is a limit"),
        (["--address", "127.0.0.1:1"], "--address goes with --engine ray; give both"),
        (["--method", "none", "--recipe", "nowhere.toml"], "either --method or --recipe"),
        (["--jobs", "0"], "jobs"),
        (["--format", "jpeg", "--depth", "16"], "jpeg has no depth of 16 bits; give 8"),
        (["--format", "dng", "--depth", "8"], "dng has no depth of 8 bits; give 16"),
        (["--weights", "denoise=nowhere.safetensors"], "nowhere.safetensors: there is no such file"),
        (["--weights", f"denoise={'x' * 300}.safetensors"], "there is no such file"),
        (["--weights", "x" * 300], "say whose weights they are"),
        (["--recipe", "x" * 300], "cannot be read as a recipe"),
        (["--suffix", "/../../x"], "must not lead to another folder"),
        (["--bogus"], "No such option"),
    ],
)
def test_wrong_usage_exits_2_and_says_what(call, tmp_path: Path, words: list[str], message: str) -> None:
    path = picture(tmp_path / "a.png")
    code, out, err = call("run", path, "-o", tmp_path / "out", *words)
    assert code == 2
    assert message in err
    assert out == []
    assert not (tmp_path / "out").exists()


def test_run_writes_results_and_says_so(call, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "b.tif", bits=16)
    code, out, err = call("run", tmp_path / "in", "-o", tmp_path / "out", "--method", "wavelet", "--noise", "0.1")
    assert code == 0
    assert out[0].startswith(f"{tmp_path}/in/a.png -> {tmp_path}/out/a.png  wavelet")
    assert out[2].startswith("2 done in")
    assert files.read(tmp_path / "out" / "b.tif").meta.bits == 16
    roughness = [np.diff(files.read(tmp_path / x / "a.png").pixels, axis=1).std() for x in ("in", "out")]
    assert roughness[1] < 0.5 * roughness[0]


def test_options_reach_the_recipe_and_the_output(call, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    words = ["--set", "wavelet.shifts=2", "--strength", "0.5", "--noise", "51/255", "--tile", "off", "--seed", "3"]
    words += ["--precision", "fp32", "--format", "tiff", "--depth", "16", "--suffix", "_x", "--json"]
    code, out, _ = call("run", path, "-o", tmp_path / "out", *words)
    assert code == 0
    first, last = map(json.loads, out)
    assert first["type"] == "file"
    assert first["schema_version"] == last["schema_version"] == 1
    assert first["target"] == str(tmp_path / "out" / "a_x.tif")
    step = first["recipe"]["steps"][0]
    assert (step["method"], step["settings"], step["strength"]) == ("wavelet", {"shifts": 2}, 0.5)
    assert (first["recipe"]["noise"], first["recipe"]["tile"], first["recipe"]["seed"]) == (0.2, "off", 3)
    assert (last["done"], last["failed"], last["exit_code"]) == (1, 0, 0)
    assert files.read(tmp_path / "out" / "a_x.tif").meta.bits == 16


def test_the_side_file_makes_the_same_bytes_again(call, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    assert (
        call("run", path, "-o", tmp_path / "out", "--set", "wavelet.shifts=3", "--format", "tiff", "--depth", "16")[0]
        == 0
    )
    side = tmp_path / "out" / "a.tif.restore.json"
    assert call("run", path, "-o", tmp_path / "again", "--recipe", side)[0] == 0
    assert (tmp_path / "again" / "a.tif").read_bytes() == (tmp_path / "out" / "a.tif").read_bytes()
    assert call("run", path, "-o", tmp_path / "other", "--recipe", side, "--strength", "0.5")[0] == 0
    assert (tmp_path / "other" / "a.tif").read_bytes() != (tmp_path / "out" / "a.tif").read_bytes()
    words = ["--recipe", side, "--format", "jpeg"]
    assert call("run", path, "-o", tmp_path / "jpeg", *words)[0] == 0, "a depth of that format's own"


def test_the_side_file_of_a_named_file_knows_the_format_that_the_name_said(call, tmp_path: Path) -> None:
    path, words = picture(tmp_path / "a.png"), ["--method", "none", "--noise", "0"]
    assert call("run", path, "-o", tmp_path / "out" / "b.tif", *words)[0] == 0
    side = tmp_path / "out" / "b.tif.restore.json"
    assert call("run", path, "-o", tmp_path / "again", "--recipe", side)[0] == 0
    assert (tmp_path / "again" / "a.tif").read_bytes() == (tmp_path / "out" / "b.tif").read_bytes()
    assert call("run", path, "-o", tmp_path / "c.webp", "--recipe", side)[0] == 0, "another name says another format"
    assert files.read(tmp_path / "c.webp").meta.format == "webp"


def test_auto_says_why(call, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", side=128)
    code, out, _ = call("run", path, "-o", tmp_path / "out")
    assert code == 0
    assert "measured" in out[0]
    assert call("run", path, "-o", tmp_path / "kept", "--strength", "0")[0] == 0
    assert np.array_equal(files.read(tmp_path / "kept" / "a.png").pixels, files.read(path).pixels)


def test_limits_are_the_users(call, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", side=128)
    words = ["run", path, "-o", tmp_path / "out", "--method", "none", "--noise", "0"]
    for given, says in (
        (["--max-megapixels", "0.01"], "136 x 128 is 0.02 megapixels, the limit is 0.01; raise --max-megapixels"),
        (["--max-bytes", "100"], "the limit is 100; raise --max-bytes"),
    ):
        code, _, err = call(*words, *given)
        assert code == 1
        assert says in err
        code, _, err = call("info", path, *given)
        assert code == 1
        assert says in err
    assert call(*words, "--max-megapixels", "0.02", "--max-bytes", "1000000", "--max-seconds", "5")[0] == 0


def test_one_picture_to_one_file(call, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    assert call("run", path, "-o", tmp_path / "new" / "b.tif", "--method", "none", "--noise", "0")[0] == 0
    assert np.array_equal(files.read(tmp_path / "new" / "b.tif").pixels, files.read(path).pixels)
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["b.tif", "b.tif.restore.json"]
    code, _, err = call("run", path, "-o", tmp_path / "b.tif", "--format", "png")
    assert code == 2
    assert "does not fit --format png" in err
    code, _, err = call("run", path, "-o", tmp_path / "b.jpg", "--depth", "16")
    assert code == 2
    assert "jpeg has no depth of 16 bits" in err
    code, _, err = call("run", path, "-o", tmp_path / "new" / "b.tif", "--method", "none", "--resume")
    assert code == 2
    assert "--resume goes with a folder" in err
    before = path.read_bytes()
    assert call("run", path, "-o", path, "--method", "none", "--overwrite")[0] == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize("end", [".gif", ".HEIC", ".nef"])
def test_a_file_of_a_kind_that_cannot_be_written_is_no_folder(call, tmp_path: Path, end: str) -> None:
    path = picture(tmp_path / "a.png")
    words = ["run", path, "-o", tmp_path / f"b{end}", "--method", "none", "--noise", "0"]
    code, _, err = call(*words)
    assert code == 2
    assert f"cannot write files named '{end.lower()}'" in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png"]
    (tmp_path / f"b{end}").mkdir()
    assert call(*words)[0] == 0, "a folder may have any name"
    assert call("run", path, "-o", tmp_path / "v1.2", "--method", "none", "--noise", "0")[0] == 0


def test_what_is_not_kept_is_said_and_noted(call, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "ink.tif", np.zeros((40, 48, 4), np.uint8), photometric="separated")
    tifffile.imwrite(tmp_path / "wide.tif", np.full((40, 48), 0.1, np.float64), photometric="minisblack")
    code, out, _ = call("run", tmp_path, "-o", tmp_path / "out", "--method", "none")
    assert code == 0
    assert "; not kept: CMYK: converted to sRGB" in out[0]
    assert "; not kept: 64-bit floats: rounded to 32 bits" in out[1]
    side = json.loads((tmp_path / "out" / "ink.tif.restore.json").read_text())
    assert side["dropped"] == ["CMYK: converted to sRGB"]


def test_standard_errors_that_nobody_knows_are_said_of_each_step(call, tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(0.2, 0.6, (64, 64)).astype(np.float32)
    files.write(tmp_path / "a.dng", RawImage(values, ((0, 1), (1, 2)), ((500, 500), (500, 500)), 16000))
    words = ["-o", tmp_path / "out", "--uncertainty", "--precision", "fp32"]
    code, out, _ = call("run", tmp_path / "a.dng", *words, "-m", "pnnp", "--format", "dng")
    assert code == 0
    assert "; its standard errors are not known" in out[0]
    code, out, _ = call("run", picture(tmp_path / "b.png"), *words, "-m", "rampp,noiser")
    assert code == 0
    assert all(f"; {method}: its standard errors are not known" in out[0] for method in ("rampp", "noiser"))


def test_what_another_format_cannot_hold_is_said(call, tmp_path: Path) -> None:
    Pillow.new("RGB", (48, 40), "teal").save(tmp_path / "a.jpg", comment=b"by the sea")
    for end, said in (("jpeg", False), ("png", True)):
        code, out, _ = call("run", tmp_path / "a.jpg", "-o", tmp_path / end, "--method", "none", "--format", end)
        assert code == 0
        assert ("not kept: comments, IPTC and extended XMP" in out[0]) == said


@pytest.mark.parametrize(
    ("words", "is_said"), [([], False), (["--format", "png"], True), (["--depth", "16"], True)], ids=str
)
def test_floats_cut_to_integers_are_said(call, tmp_path: Path, words: list[str], is_said: bool) -> None:
    counts = np.random.default_rng(0).poisson(200, (48, 40)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", counts, photometric="minisblack")
    code, out, _ = call("run", tmp_path / "a.tif", "-o", tmp_path / "out", "--method", "none", *words)
    assert code == 0
    assert ("not kept: values beyond 0 to 1, 100% of all" in out[0]) is is_said


@pytest.mark.parametrize("words", [[], ["--dry-run"]])
def test_files_whose_kind_is_not_read_are_told_of_in_a_line(call, tmp_path: Path, words: list[str]) -> None:
    picture(tmp_path / "in" / "a.png")
    for name in ("b.GIF", "c.gif", "d.jp2"):
        (tmp_path / "in" / name).write_bytes(b"GIF89a")
    code, _, err = call("run", tmp_path / "in", "-o", tmp_path / "out", "--method", "none", *words)
    assert code == 0
    assert err.splitlines() == ["left out because their kind is not read: 3 (2 .gif, 1 .jp2)"]


def test_same_stems_and_output_inside_the_input(call, tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "ü ber/ä.png"):
        picture(tmp_path / name)
    words = [
        "run",
        tmp_path,
        "-o",
        tmp_path / "out",
        "--recursive",
        "--method",
        "none",
        "--noise",
        "0",
        "--format",
        "png",
    ]
    assert call(*words)[0] == 0
    made = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.png"))
    assert made == ["a.jpg.png", "a.png", "ü ber/ä.png"]
    code, out, err = call(*words)
    assert (code, len(out)) == (1, 1)
    assert err.count("exists already") == 3
    assert call(*words, "--resume")[0] == 0
    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.png")) == made


def test_resume_makes_what_another_suffix_asks_for(call, tmp_path: Path) -> None:
    path, words = picture(tmp_path / "a.png"), ["-o", tmp_path / "out", "--method", "none", "--noise", "0", "--resume"]
    for suffix, ended in ((".one", "1 done"), (".two", "1 done"), (".two", "0 done, 1 skipped")):
        assert call("run", path, *words, "--suffix", suffix)[1][-1].startswith(ended)
        assert (tmp_path / "out" / f"a{suffix}.png").exists()


def test_results_beside_inputs_need_another_name(call, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    before = path.read_bytes()
    code, _, err = call("run", tmp_path, "-o", tmp_path, "--method", "none", "--overwrite")
    assert code == 1
    assert "is an input itself" in err
    for _ in range(2):
        assert (
            call(
                "run",
                tmp_path,
                "-o",
                tmp_path,
                "--set",
                "wavelet.shifts=1",
                "--noise",
                "0.1",
                "--suffix",
                "_new",
                "--overwrite",
            )[0]
            == 0
        )
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["a.png", "a_new.png"]
    assert path.read_bytes() == before


def test_dry_run_only_says(call, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_text("text")
    code, out, _ = call("run", tmp_path / "in", "-o", tmp_path / "out", "--dry-run")
    assert code == 3
    assert out[0] == f"{tmp_path}/in/a.png -> {tmp_path}/out/a.png"
    assert "is not a picture" in out[1]
    lines = [json.loads(x) for x in call("run", tmp_path / "in", "-o", tmp_path / "out", "--dry-run", "--json")[1]]
    assert lines[0]["targets"] == [f"{tmp_path}/out/a.png"]
    assert not (tmp_path / "out").exists()


def test_dry_run_foresees_what_is_skipped_and_refused(call, tmp_path: Path) -> None:
    words = ["run", tmp_path / "in", "-o", tmp_path / "out", "--method", "none", "--noise", "0"]
    for name in "ab":
        picture(tmp_path / "in" / f"{name}.png")
    assert call(*words)[0] == 0
    picture(tmp_path / "in" / "b.png", seed=1)
    before = {path: path.stat().st_mtime_ns for path in [tmp_path / "out", *(tmp_path / "out").iterdir()]}
    code, out, _ = call(*words, "--dry-run")
    assert code == 1
    assert [row.startswith("failed  ") and "exists already" in row for row in out] == [True, True, False]
    for option, said in (("--skip-existing", ["exists"] * 2), ("--resume", ["done before", None])):
        code, out, _ = call(*words, "--dry-run", option, "--json")
        assert code == 0
        assert [json.loads(row)["skipped"] for row in out] == said
    code, out, _ = call(*words, "--dry-run", "--resume")
    assert out[:2] == [
        f"{tmp_path}/in/a.png: skipped, done before",
        f"{tmp_path}/in/b.png -> {tmp_path}/out/b.png",
    ]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert call(*words, "--dry-run", "--overwrite")[0] == 0
    (tmp_path / "none").mkdir()
    code, _, err = call("run", tmp_path / "none", "-o", tmp_path / "out", "--dry-run")
    assert (code, "no pictures found" in err) == (1, True)


def test_nothing_found_and_nothing_there(call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = call("run", tmp_path / "empty", "-o", tmp_path / "out")
    assert code == 1
    assert "no pictures found" in err
    code, _, err = call("run", tmp_path / "none.png", "-o", tmp_path / "out")
    assert code == 1
    assert "there is no such file" in err


def test_a_file_in_place_of_the_output_folder_is_one_line(call, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    (tmp_path / "out").write_text("")
    code, _, err = call("run", path, "-o", tmp_path / "out", "--method", "none")
    assert code == 1
    assert err.startswith("error: ")
    assert "the folder cannot be made" in err


def test_reference_prints_scores(call, tmp_path: Path) -> None:
    path = picture(tmp_path / "in" / "a.png")
    clean = picture(tmp_path / "clean" / "a.png", sigma=0)
    code, out, _ = call(
        "run", path, "-o", tmp_path / "out", "--method", "none", "--noise", "0", "--reference", tmp_path / "clean"
    )
    expected = metrics.psnr(files.read(path).pixels, files.read(clean).pixels)
    assert code == 0
    assert f"PSNR {expected:.4g}" in out[0]
    assert "SSIM" in out[0]


@pytest.mark.parametrize("depth", [[], ["--depth", "32"]])
def test_reference_scores_by_what_was_said_to_be_white(call, tmp_path: Path, depth: list[str]) -> None:
    """Counts of a few hundred in 16 bits scored 88 dB, whatever was done to them."""
    clean = np.add.outer(np.arange(48), 5 * np.arange(48))
    noisy = np.random.default_rng(0).poisson(clean)
    for folder, counts in ("in", noisy), ("clean", clean):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "a.tif", counts.astype(np.uint16))
    words = ["-m", "none", "--reference", tmp_path / "clean", "--white", "300", "--json", *depth]
    _, out, _ = call("run", tmp_path / "in", "-o", tmp_path / "out", *words)
    expected = 10 * np.log10(300**2 / np.mean((noisy - clean) ** 2))
    assert json.loads(out[0])["scores"]["psnr"] == pytest.approx(expected, abs=0.01)


def test_reference_scores_upright_pictures(call, tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.tif"
    picture(path)
    files.write(path, replace(files.read(path), meta=Meta(orientation=6)))
    words = ["-o", tmp_path / "out", "--method", "none", "--noise", "0", "--reference", tmp_path / "in", "--json"]
    _, out, _ = call("run", path, *words, "--format", "bmp")
    assert json.loads(out[0])["scores"]["ssim"] == pytest.approx(1)


def test_a_stack_is_not_scored(call, tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, np.zeros((3, 40, 48), np.uint8), photometric="minisblack")
    _, out, _ = call("run", path, "-o", tmp_path / "out", "--method", "none", "--reference", tmp_path / "in")
    assert "not scored: a stack, and only single pictures are" in out[0]


def test_info_says_what_is_known_and_what_is_broken(call, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.tif", side=128, bits=16)
    broken = tmp_path / "b.png"
    broken.write_text("text")
    code, out, err = call("info", path, broken)
    assert code == 3
    assert f"{path}: 136 x 128; tiff 16-bit RGB; " in out[0]
    assert "noise, sigma" in out[0]
    assert f"error: {broken}: is not a picture" in err
    assert call("info", broken)[0] == 1
    facts = [json.loads(line) for line in call("info", path, broken, "--json")[1]]
    assert (facts[0]["width"], facts[0]["height"], facts[0]["bits"]) == (136, 128, 16)
    assert facts[0]["noise"]["sigma"] == pytest.approx(0.1, rel=0.1)
    assert "is not a picture" in facts[1]["error"]


def test_info_asks_what_is_white_in_counts(call, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((40, 48), 165, np.uint16))
    assert "values end at 165, far below white" in call("info", tmp_path / "a.tif")[1][0]


def test_info_tells_alpha_from_another_channel(call, tmp_path: Path) -> None:
    samples = np.zeros((40, 48, 4), np.uint8)
    for kind, said in (("unassalpha", " RGB with alpha;"), ("unspecified", " RGB with a channel beside;")):
        tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", extrasamples=[kind])
        assert said in call("info", tmp_path / "a.tif")[1][0]
        assert json.loads(call("info", tmp_path / "a.tif", "--json")[1][0])["has_alpha"] is (kind == "unassalpha")


def test_info_of_counts_takes_their_range_for_black_and_white(call, tmp_path: Path) -> None:
    noisy = np.linspace(0.2, 0.9, 128)[:, None, None] + 0.05 * np.random.default_rng(0).standard_normal((128, 128, 1))
    counts = Image(4000 * noisy.astype(np.float32), meta=Meta(is_float=True, bits=32))
    files.write(tmp_path / "counts.tif", counts)
    _, out, _ = call("info", tmp_path / "counts.tif")
    assert "values from 0 to 3" in out[0]
    _, out, _ = call("info", tmp_path / "counts.tif", "--json")
    facts = json.loads(out[0])
    assert facts["noise"]["sigma"] == pytest.approx(0.05 / 0.9, rel=0.15)
    assert facts["unit"] == pytest.approx([0, 3600], rel=0.05)


def test_counts_are_degraded_and_scored_between_black_and_white(call, tmp_path: Path) -> None:
    """Taken as they are, all lie beyond white: white pictures, and an infinite score for anything."""
    ramp = np.linspace(0.2, 0.9, 128)[:, None, None] + np.zeros((128, 128, 1))
    path, spec = tmp_path / "in" / "counts.tif", "gaussian sigma=0.1"
    path.parent.mkdir()
    files.write(path, Image((4000 * ramp).astype(np.float32), meta=Meta(is_float=True, bits=32)))
    assert call("degrade", path, "-o", tmp_path / "out", "--kind", spec)[0] == 0
    assert np.std(files.read(tmp_path / "out" / "counts.png").pixels - ramp / 0.9) == pytest.approx(0.1, rel=0.2)
    _, out, _ = call("eval", path.parent, "--degrade", spec, "--method", "none", "--json")
    assert json.loads(out[0])["before"]["psnr"] == pytest.approx(20, abs=1)
    files.write(tmp_path / "counts.tif", Image((4000 * ramp + 360).astype(np.float32), meta=Meta(is_float=True)))
    words = "run", tmp_path / "counts.tif", "-o", tmp_path / "run", "--method", "none", "--reference", path.parent
    assert json.loads(call(*words, "--json")[1][0])["scores"]["psnr"] == pytest.approx(20, abs=0.2)


def test_info_of_a_raw(call, shared: Path) -> None:
    code, out, _ = call("info", shared / "data" / "raw" / "nikon_dsc1339_rggb_crop.dng")
    assert code == 0
    assert "14-bit RG/GB" in out[0]
    assert "white balance" in out[0]


def test_eval_scores_seeded_noise(call, tmp_path: Path) -> None:
    for index in range(2):
        picture(tmp_path / f"{index}.png", sigma=0.01, seed=index, side=64)
    words = ["eval", tmp_path, "--degrade", "gaussian sigma=25/255", "--method", "wavelet", "--noise", "known"]
    code, out, err = call(*words, "--json")
    assert code == 0
    rows = [json.loads(line) for line in out]
    clean = files.read(tmp_path / "1.png")
    noisy = degrade(clean, "gaussian sigma=25/255", seed=0)
    expected = metrics.psnr(noisy.pixels, clean.pixels, quantise=True)
    assert rows[1]["before"]["psnr"] == pytest.approx(expected, abs=1e-9)
    assert rows[1]["after"]["psnr"] > expected + 5
    assert rows[2]["type"] == "mean"
    assert rows[2]["after"]["psnr"] == pytest.approx((rows[0]["after"]["psnr"] + rows[1]["after"]["psnr"]) / 2)
    assert [json.loads(x)["after"] for x in call(*words, "--json")[1]] == [row["after"] for row in rows]
    assert "mean" in "".join(call(*words)[1])
    code, _, err = call("eval", tmp_path, "--degrade", "jpeg quality=20", "--noise", "known")
    assert code == 2
    assert "--noise known needs" in err


def test_methods_are_listed_with_their_knobs(call) -> None:
    code, out, _ = call("methods")
    assert code == 0
    assert any(line.startswith("wavelet: ") for line in out)
    assert any("wavelet.threshold = 1.0, 0.1...4: " in line for line in out)
    found = {json.loads(line)["name"]: json.loads(line) for line in call("methods", "--json")[1]}
    assert found["wavelet"]["knobs"]["threshold"]["default"] == 1.0


def test_weights_are_imported_only_when_allowed(call, tmp_path: Path) -> None:
    state = {"module.a": torch.arange(3.0), "module.b": torch.ones(2, 2)}
    torch.save({"params": state, "epoch": 3}, tmp_path / "net.pth")
    code, _, err = call("weights", "import", tmp_path / "net.pth", "-o", tmp_path / "net.safetensors")
    assert code == 1
    assert "--allow-pickle" in err
    assert not (tmp_path / "net.safetensors").exists()
    words = ["weights", "import", tmp_path / "net.pth", "-o", tmp_path / "net.safetensors", "--allow-pickle"]
    assert call(*words)[0] == 0
    found = load_file(tmp_path / "net.safetensors")
    assert torch.equal(found["a"], state["module.a"])
    assert torch.equal(found["b"], state["module.b"])
    before = (tmp_path / "net.safetensors").read_bytes()
    code, _, err = call(*words, "--licence", "MIT")
    assert code == 1
    assert "net.safetensors: exists already; use --overwrite" in err
    assert (tmp_path / "net.safetensors").read_bytes() == before
    assert call(*words, "--licence", "MIT", "--overwrite")[0] == 0


def test_weights_that_are_safetensors_need_no_import(call, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(save({"a": torch.ones(3)}))
    code, _, err = call("weights", "import", tmp_path / "net.pth", "-o", tmp_path / "b.safetensors")
    assert code == 2
    assert "is safetensors already; use it with --weights METHOD=" in err


def test_weights_are_listed_and_verified(call, tmp_path: Path, monkeypatch) -> None:
    content = save({"a": torch.ones(3)})
    for key in ("good", "bad"):
        (tmp_path / f"{key}.safetensors").write_bytes(content)
    facts = f'bytes = {len(content)}\nlicence = "Apache-2.0"\ndata = "photos"\ncommand = "restore train x"\n'
    right, wrong = hashlib.sha256(content).hexdigest(), "0" * 64
    (tmp_path / "manifest.toml").write_text(
        f'[good]\nsha256 = "{right}"\n{facts}scores = {{ kodak25 = 31.0 }}\n[bad]\nsha256 = "{wrong}"\n{facts}'
    )
    monkeypatch.setattr(weights, "folder", lambda: tmp_path)
    weights.manifest.cache_clear()
    try:
        code, out, _ = call("weights", "list")
        assert code == 0
        assert out[0].startswith(f"good: {len(content)} bytes, Apache-2.0; photos; restore train x; kodak25 31")
        code, out, _ = call("weights", "verify")
        assert code == 3
        assert out[0] == "good: as promised"
        assert "is not the file that the manifest promises" in out[1]
        assert json.loads(call("weights", "verify", "--json")[1][0])["error"] is None
    finally:
        weights.manifest.cache_clear()


def test_a_checkpoint_that_runs_code_is_refused(call, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"state_dict": Trap()}, tmp_path / "trap.pth")
    words = ["weights", "import", tmp_path / "trap.pth", "-o", tmp_path / "net.safetensors", "--allow-pickle"]
    code, _, err = call(*words)
    assert code == 1
    assert "cannot be read as a PyTorch checkpoint" in err
    assert "weights_only" not in err, "PyTorch's advice to let it run"
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["app.py", "restore/_page.py"])
def test_the_page_is_found_in_a_checkout_and_in_an_installation(call, tmp_path: Path, monkeypatch, name: str) -> None:
    (tmp_path / "restore").mkdir()
    (tmp_path / name).write_text("def main(*, host, port):\n    print('page at', host, port)\n")
    monkeypatch.setattr(cli.machine, "__file__", str(tmp_path / "restore" / "cli" / "machine.py"))
    monkeypatch.setattr(restore, "__path__", [str(tmp_path / "restore")])
    monkeypatch.delitem(sys.modules, "restore._page", raising=False)
    code, out, _ = call("ui", "--port", "8001")
    assert (code, out) == (0, ["page at 127.0.0.1 8001"])


def test_train_lists_what_there_is(call) -> None:
    code, out, _ = call("train")
    assert code == 0
    assert "denoise" in out
    code, _, err = call("train", "denoize")
    assert code == 2
    assert "Did you mean 'denoise'?" in err
    assert call("train", "denoise", "--help")[1][0].startswith("usage: restore train denoise")


def break_in_ten_ways(folder: Path) -> dict[str, str]:
    """Put ten broken files into a folder; return what must be said of each."""
    whole = picture(folder.parent / "whole.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("this is a letter, not a picture")
    size_at = 16
    (folder / "zero.png").write_bytes(whole[:size_at] + bytes(8) + whole[size_at + 8 :])
    side = (30000).to_bytes(4, "big")
    (folder / "bomb.png").write_bytes(whole[:size_at] + side + side + whole[size_at + 8 :])
    (folder / "unreadable.png").write_bytes(whole)
    (folder / "unreadable.png").chmod(0)
    (folder / "folder.tif").mkdir()
    (folder / "dangling.png").symlink_to(folder / "nothing.png")
    (folder / "unknown.x3f").write_bytes(b"FOVb" + bytes(range(256)) * 8)
    tifffile.imwrite(folder / "nan.tif", np.full((8, 8, 3), np.nan, np.float32), photometric="rgb")
    return {
        "truncated.png": "",
        "empty.jpg": "empty",
        "text.jpg": "is not a picture",
        "zero.png": "",
        "bomb.png": "900 megapixels",
        "unreadable.png": "Permission denied",
        "folder.tif": "is a folder",
        "dangling.png": "is a link to",
        "unknown.x3f": "",
        "nan.tif": "finite",
    }


def test_ten_broken_files_among_sixty(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for index in range(50):
        picture(folder / f"{index:02}.{('png', 'jpg', 'tif', 'webp')[index % 4]}", side=16, seed=index)
    causes = break_in_ten_ways(folder)
    originals = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}
    without_root = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-dac_override"]
    is_root = subprocess.run(["id", "-u"], capture_output=True, check=True).stdout.strip() == b"0"
    command = [sys.executable, "-m", "restore", "run", str(folder), "-o", str(tmp_path / "out")]
    command += ["--method", "none", "--noise", "0", "--json"]
    if is_root and subprocess.run([*without_root, "true"], capture_output=True, check=False).returncode:
        pytest.skip("the rights of root cannot be given up here")
    done = subprocess.run([*(without_root if is_root else []), *command], cwd=ROOT, capture_output=True, check=False)
    *lines, last = (json.loads(line) for line in done.stdout.splitlines())
    assert done.returncode == 3
    assert (last["done"], last["failed"]) == (50, 10)
    failed = {Path(line["source"]).name: line for line in lines if line["status"] == "failed"}
    assert failed.keys() == causes.keys()
    for name, cause in causes.items():
        assert cause in failed[name]["error"], name
        assert failed[name]["error_type"] != "internal error", name
        assert f"failed  {folder / name}: " in done.stderr.decode()
    assert len([p for p in (tmp_path / "out").iterdir() if not p.name.endswith((".json", ".jsonl"))]) == 50
    for path, sha256 in originals.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256


NASTY = "tab\tesc\x1b[31mred\nline.png"


@pytest.mark.parametrize("command", ["run", "degrade", "info", "eval"])
def test_names_do_not_act_on_the_terminal(call, tmp_path: Path, command: str) -> None:
    folder = tmp_path / "in"
    paths = picture(folder / NASTY, side=64), picture(folder / f"bad{NASTY}")
    paths[1].write_text("text")
    options = {
        "run": [folder, "-o", tmp_path / "out", "-m", "none"],
        "degrade": [folder, "-o", tmp_path / "out", "-k", "blur"],
        "info": paths,
        "eval": [folder, "--degrade", "blur", "-m", "none"],
    }
    code, out, err = call(command, *options[command])
    assert code == 3
    text = "\n".join(out) + err
    assert r"tab\tesc\x1b[31mred\nline.png" in text
    assert text.replace("\n", "").isprintable()
    assert not any(row.startswith("line.png") for row in text.splitlines())


def test_names_in_json_are_as_they_are(call, tmp_path: Path) -> None:
    path = picture(tmp_path / NASTY)
    lines = call("run", path, "-o", tmp_path / "out", "-m", "none", "--json")[1]
    assert json.loads(lines[0])["source"] == str(path)


def test_what_degrade_shall_do_must_be_said_once(call, tmp_path) -> None:
    source = picture(tmp_path / "a.png")
    for words in ([], ["--validation", "--kind", "rain"]):
        code, _, err = call("degrade", source, "-o", tmp_path / "out", *words)
        assert code == 2
        assert "--kind SPEC, or --validation" in err


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("is_full", [True, False])
def test_a_run_goes_on_where_nobody_hears_it(tmp_path: Path, stream: str, is_full: bool) -> None:
    for seed in range(3):
        picture(tmp_path / "in" / f"{seed}.png", seed=seed, side=300)
    (tmp_path / "in" / "bad.png").write_text("text")
    ours, theirs = (open("/dev/full", "wb"), open("/dev/full", "wb")) if is_full else map(os.fdopen, os.pipe(), "rw")  # noqa: PTH123, SIM115
    ours.close()
    words = [sys.executable, "-m", "restore", "run", tmp_path / "in", "-o", tmp_path / "out", "-m", "none", "--json"]
    with theirs:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {stream: theirs}
        process = subprocess.Popen(words, cwd=ROOT, **streams)
    out, err = process.communicate()
    assert process.returncode == 3
    assert len([*(tmp_path / "out").glob("*.png")]) == 3
    if stream == "stderr":
        assert json.loads(out.splitlines()[-1])["done"] == 3
    else:
        assert err.count(b"the standard output cannot be written (") == 1
        assert b"Traceback" not in err


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_run_whose_streams_are_closed_from_the_start(tmp_path: Path, closed: str) -> None:
    path = picture(tmp_path / "a.png")
    command = f'"$0" -m restore run "$1" -o "$2" -m none {closed}'
    words = ["sh", "-c", command, sys.executable, path, tmp_path / "out"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, (tmp_path / "out" / "a.png").is_file(), b"Traceback" in done.stderr) == (0, True, False)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_fit_is_kept_where_nobody_hears_it(tmp_path: Path) -> None:
    path, out = picture(tmp_path / "a.png", side=160), tmp_path / "mine.safetensors"
    command = (
        '"$0" -m restore adapt noise2score "$1" -o "$2" --minutes 0.01 --kind gaussian --level 0.1 --json > /dev/full'
    )
    done = subprocess.run(["sh", "-c", command, sys.executable, path, out], cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, out.is_file()) == (0, True), done.stderr.decode()
