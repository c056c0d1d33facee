"""All-in-one restoration: what it says, what it leaves alone, and the published networks behind it."""

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from dino import dino_folder
from parity import shapes_of
from safetensors.torch import save_file
from torch import Tensor, nn

from restore import choose, files, methods, pipeline, weight_import, weights
from restore.degrade import degrade
from restore.errors import Cancelled, RecipeError, WeightsError
from restore.method import Compute, Role
from restore.methods import rampp
from restore.nets.adasam import AdaSAM
from restore.nets.dinov2 import DEVIATION, MEAN
from restore.nets.promptir import PromptIR
from restore.nets.ram_published import LICENCE
from restore.nets.ram_unet import KINDS, RamUNet
from restore.nets.restormer import Restormer
from restore.nets.restormer_rfr import RestormerRFR
from restore.noise import Noise, estimate
from restore.picture import Floats, Image
from restore.pipeline import Result
from restore.recipe import Recipe, Step
from restore.runtime import Runtime, Tick

KODAK = Path(__file__).parents[2] / ".." / "shared" / "data" / "test" / "kodak"
COMPUTE = Compute(torch.device("cpu"), torch.float32)


def photo(height: int = 40, width: int = 56, channels: int = 3) -> Floats:
    y, x = np.mgrid[:height, :width] / 50
    waves = [0.5 + 0.3 * np.sin(7 * x + 3 * y * k) for k in range(channels)]
    return np.stack(waves, -1).astype(np.float32)


def ours(folder: Path, **logits: float) -> Path:
    """Weights of a small network that believes what it is told to."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = RamUNet((8, 12, 16), (1, 1, 1, 1, 1))
        for layer in (net.net.tail, net.inject4, net.inject8):
            nn.init.normal_(layer.weight, std=0.01)
    *_, answer = net.recogniser.answer
    nn.init.zeros_(answer.weight)
    nn.init.zeros_(answer.bias)
    with torch.no_grad():
        for kind, value in logits.items():
            answer.bias[KINDS.index(kind)] = value
    save_file(net.state_dict(), folder / "ours.safetensors")
    return folder / "ours.safetensors"


def run(
    path: Path, pixels: Floats, machine: Runtime | None = None, tile: int | str = "auto", **knobs: object
) -> Result:
    step = Step(method="rampp", weights=str(path), settings=knobs)
    recipe = Recipe(steps=(step,), noise=0.0, precision="fp32", tile=tile)  # type: ignore[arg-type]
    return pipeline.run(Image(pixels), recipe, machine or Runtime(device="cpu"))


def pixels_of(result: Result) -> Floats:
    assert isinstance(result.picture, Image)
    return result.picture.pixels


@cache
def random_state(kind: type[nn.Module]) -> Mapping[str, Tensor]:
    """Weights of published size, as large as trained ones."""
    rng = torch.Generator().manual_seed(0)

    def drawn(name: str, shape: list[int]) -> Tensor:
        if len(shape) == 1 or np.prod(shape[1:]) == 1:
            return torch.full(shape, 0.01 if name.endswith("bias") else 1.0)
        return torch.randn(shape, generator=rng) * float(np.prod(shape[1:])) ** -0.5

    return {name: drawn(name, shape) for name, shape in shapes_of(kind).items()}


# Ours


def test_a_picture_that_looks_clean_is_left_alone_unless_asked(tmp_path: Path) -> None:
    path = ours(tmp_path, clean=2.0)
    kept = run(path, photo())
    assert np.array_equal(pixels_of(kept), photo())
    assert kept.reports[0].facts["notes"] == ["looks clean (51%): left unchanged; turn protect off to restore it"]
    assert kept.reports[0].evidence[-1].says == "nothing was changed"
    assert not np.array_equal(pixels_of(run(path, photo(), protect=False)), photo())


def test_it_says_what_it_saw_and_how_much_it_changed(tmp_path: Path) -> None:
    result = run(ours(tmp_path, rain=3.0, noise=2.5), photo())
    report = result.reports[0]
    assert report.facts["notes"] == ["believed to be there: rain (52%), noise (32%)"]
    assert set(report.facts["recognised"]) == set(KINDS)
    assert sum(report.facts["recognised"].values()) == pytest.approx(1, abs=0.01)
    rms = float(np.sqrt(np.mean((pixels_of(result) - photo()) ** 2)))
    assert report.evidence[-1].name == "changed"
    assert report.evidence[-1].value == pytest.approx(rms, rel=1e-4)
    assert report.evidence[-1].says == f"changed by {rms * 255:.1f}/255 (root mean square)"


def test_where_nothing_can_be_told_nothing_is_done_unless_asked(tmp_path: Path) -> None:
    kept, done = (run(ours(tmp_path), photo(), protect=protect) for protect in (True, False))
    says = "what is wrong with the picture could not be told"
    assert kept.reports[0].facts["notes"] == [f"{says}: left unchanged; turn protect off to restore it"]
    assert np.array_equal(pixels_of(kept), photo())
    assert done.reports[0].facts["notes"] == [says]
    assert not np.array_equal(pixels_of(done), photo())


def test_tiles_do_not_change_the_answer_or_what_is_said(tmp_path: Path) -> None:
    path, pixels = ours(tmp_path, blur=1.0), photo(150, 170)
    whole, tiled = run(path, pixels, tile="off"), run(path, pixels, tile=48)
    assert np.abs(pixels_of(whole) - pixels_of(tiled)).max() < 1e-5
    assert whole.reports[0].facts == tiled.reports[0].facts


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (7, 300, 1), (33, 8, 3)])
def test_grey_and_tiny_pictures(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    found = pixels_of(run(ours(tmp_path, haze=3.0), photo(*shape)))
    assert found.shape == shape
    assert np.isfinite(found).all()


def test_light_beyond_white_is_kept(tmp_path: Path) -> None:
    """The network never saw HDR: next to a sun of 12 it left patterns, and everywhere more noise than there was."""
    sun, around = photo(64, 64), np.s_[48:]
    sun[:16, :16] = 12
    dim = np.minimum(sun, 3).astype(np.float32)
    bright, usual = (pixels_of(run(ours(tmp_path, noise=5), picture)) for picture in (sun, dim))
    assert np.array_equal(bright[around], usual[around])
    assert np.abs(bright - usual - (sun - dim)).max() < 1e-5


def test_parts_cover_a_picture_evenly() -> None:
    planes = torch.arange(400.0).expand(3, 300, 400)
    found = rampp.parts(planes)
    assert found.shape == (6, 3, 128, 128)
    assert found[:3, 0, 0, 0].tolist() == [0, 136, 272]
    assert rampp.parts(planes[:, :50, :9]).shape == (1, 3, 56, 16)
    assert len(rampp.parts(torch.zeros(1, 5000, 6000))) == 12


def test_auto_never_takes_it() -> None:
    for picture in (Image(photo() * 0.1), Image(photo() * 0.2 + 0.75)):
        assert choose.step(picture, estimate(picture), Role.RESTORE) is None
    assert choose.step(Image(photo()), Noise(0.2, (0.2,) * 3), Role.RESTORE) is None


@pytest.mark.skipif(not KODAK.exists(), reason="the shared photographs are not here")
@pytest.mark.parametrize("name", ["kodim05", "kodim19"])
def test_the_shipped_weights_know_clean_from_spoilt(name: str) -> None:
    clean = files.read(KODAK / f"{name}.png")
    assert isinstance(clean, Image)
    clean = Image(clean.pixels[:256, :384])
    spoilt = degrade(clean, "gaussian sigma=25/255, quantise", seed=0)

    def restored(image: Image) -> tuple[Floats, list[str]]:
        step = Step(method="rampp")
        result = pipeline.run(image, Recipe(steps=(step,), precision="fp32"), Runtime(device="cpu"))
        return pixels_of(result), result.reports[0].facts["notes"]

    def decibels(one: Floats) -> float:
        return float(-10 * np.log10(max(np.mean((one - clean.pixels) ** 2), 1e-12)))

    assert decibels(restored(clean)[0]) >= 38
    found, notes = restored(spoilt)
    assert notes[0].startswith("believed to be there: noise")
    assert decibels(found) > decibels(spoilt.pixels) + 4


# Published


@pytest.fixture(scope="module")
def promptir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("promptir") / "promptir.safetensors"
    save_file(dict(random_state(PromptIR)), path, metadata={"licence": LICENCE})
    return path


def test_strips_give_what_the_whole_gives_and_progress_runs_to_the_end(
    promptir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[float] = []
    told: list[str] = []
    machine = Runtime(device="cpu", progress=lambda tick: shares.append(tick.share), told=told.append)
    monkeypatch.setattr(rampp, "free_memory", lambda _: 10**12)
    whole = run(promptir, photo(), machine)
    monkeypatch.setattr(rampp, "free_memory", lambda _: 2 * 10**7)
    monkeypatch.setattr(rampp, "STRIP", 0)
    strips = run(promptir, photo(), machine)
    scale = np.abs(pixels_of(whole)).max()
    assert np.abs(pixels_of(whole) - pixels_of(strips)).max() < 1e-4 * scale
    facts = [result.reports[0].facts for result in (whole, strips)]
    assert [f["computed"] for f in facts] == ["whole", "strips"]
    assert facts[1]["notes"][1] == "RAM-PromptIR, computed in exact strips of 16 rows; it does not tell what it saw"
    assert told == [facts[0]["notes"][0]]
    assert "non-commercial" in told[0]
    for of_run in (shares[: len(shares) // 2], shares[len(shares) // 2 :]):
        assert of_run == sorted(of_run)
        assert len(of_run) > 40
        assert of_run[-2] == pytest.approx(1.0)


def test_blended_tiles_where_they_are_asked_for(promptir: Path) -> None:
    shares: list[float] = []
    result = run(promptir, photo(20, 60), Runtime(device="cpu", progress=lambda t: shares.append(t.share)), tile=32)
    report = result.reports[0]
    assert (report.facts["computed"], report.tile) == ("tiles", (32, 32))
    assert result.recipe.tile == 32
    assert np.isfinite(pixels_of(result)).all()
    assert shares == sorted(shares)
    assert max(shares) == 1


def test_it_can_be_stopped_between_blocks(promptir: Path) -> None:
    machine = Runtime(device="cpu")

    def stop_early(tick: Tick) -> None:
        if tick.share > 0.3:
            machine.cancelled.set()

    machine.progress = stop_early
    with pytest.raises(Cancelled):
        run(promptir, photo(16, 16), machine)


def test_the_network_of_the_paper_needs_dinov2(tmp_path: Path) -> None:
    state = random_state(RestormerRFR)
    pixels = torch.from_numpy(photo(20, 24).transpose(2, 0, 1).copy())

    def restored(**knobs: object) -> Tensor:
        method = methods.get("rampp")
        found = method.load(method.settings(**knobs), state, COMPUTE)
        return found.prepare(scene(pixels)).run(pixels)

    with pytest.raises(RecipeError, match=r"rampp\.dino; RAM-PromptIR and the shipped weights run without it"):
        restored()
    with pytest.raises(WeightsError, match="cannot be read as DINOv2"):
        restored(dino=str(tmp_path / "nowhere"))
    dino_folder(tmp_path / "small", gated=False)
    with pytest.raises(RecipeError, match="has 32 features, .* was trained with 1536"):
        restored(dino=str(tmp_path / "small"))
    dino_folder(tmp_path / "giant", gated=True, width=1536, heads=24, blocks=2, hidden=16)
    six, again, deep = (restored(dino=str(tmp_path / "giant"), taps=taps) for taps in ("six", "six", "deep1"))
    assert six.shape == pixels.shape
    assert torch.equal(six, again)
    assert not torch.allclose(six, deep)


def scene(planes: Tensor):
    from restore.method import Scene
    from restore.picture import Domain, Meta

    level = Noise(0.0, (0.0,) * planes.shape[0])
    return Scene(planes, Domain.SRGB, Meta(), level, COMPUTE, np.random.default_rng(0))


def test_files_that_restore_nothing_are_refused() -> None:
    settings = rampp.RamppSettings()
    with pytest.raises(WeightsError, match="mask network of the pretraining, which restores nothing"):
        rampp.load(settings, random_state(AdaSAM), COMPUTE)
    state = random_state(Restormer)
    with pytest.raises(WeightsError, match=r"whole pictures are spoilt; .* rampp\.pretrained=true"):
        rampp.load(settings, state, COMPUTE)
    net = rampp.load(rampp.RamppSettings(pretrained=True), state, COMPUTE)
    grey = torch.from_numpy(photo(9, 11, 1).transpose(2, 0, 1).copy())
    assert net.prepare(scene(grey)).run(grey).shape == grey.shape
    damaged = {name: value for name, value in state.items() if name != "output.weight"}
    with pytest.raises(WeightsError, match=r"not whole weights .*output\.weight"):
        rampp.load(rampp.RamppSettings(pretrained=True), damaged, COMPUTE)


def test_swinir_says_which_package_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    state = {"layers.0.residual_group.blocks.0.attn.relative_position_bias_table": torch.zeros(225, 6)}
    with pytest.raises(WeightsError, match="pip install spandrel; or take weights of RAM-PromptIR"):
        rampp.load(rampp.RamppSettings(), state, COMPUTE)


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
def test_swinir_by_spandrel() -> None:
    pytest.importorskip("spandrel")
    from spandrel.architectures.SwinIR import SwinIR

    sizes = {"in_chans": 3, "embed_dim": 12, "depths": [2, 2], "num_heads": [2, 2], "window_size": 8, "mlp_ratio": 2.0}
    other = SwinIR(img_size=64, patch_size=1, upscale=1, img_range=1.0, upsampler="", resi_connection="1conv", **sizes)
    other.conv_first = nn.Conv2d(3, 12, 1)
    rng = torch.Generator().manual_seed(0)
    for value in other.parameters():
        nn.init.normal_(value, std=0.1, generator=rng)
    state = dict(other.state_dict()) | {"mask_token": torch.zeros(1, 3, 64, 64)}
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, DEVIATION))
    picture = torch.from_numpy(photo(30, 43).transpose(2, 0, 1).copy())
    with torch.inference_mode():
        x = other.check_image_size(((picture - mean) / deviation)[None])
        first = other.conv_first(x)
        body = other.conv_after_body(other.forward_features(first)) + first
        expected = other.conv_last(body)[0, :, :30, :43] * deviation + mean
        net = rampp.load(rampp.RamppSettings(), state, COMPUTE)
        found = net.prepare(scene(picture)).run(picture)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_published_files_are_known_when_they_are_imported(tmp_path: Path) -> None:
    state = dict(random_state(AdaSAM))
    torch.save({"params": state}, tmp_path / "mask.pth")
    (tmp_path / "a.safetensors").write_bytes(weight_import.converted(tmp_path / "mask.pth", may_unpickle=True))
    about = weights.metadata(tmp_path / "a.safetensors")
    assert about["architecture"] == "AdaSAM mask network, for --method rampp"
    assert about["licence"] == LICENCE
    given = weight_import.converted(tmp_path / "mask.pth", may_unpickle=True, licence="MIT")
    (tmp_path / "a.safetensors").write_bytes(given)
    assert weights.metadata(tmp_path / "a.safetensors")["licence"] == "MIT"
    state["patch_embed.proj.bias"] = torch.zeros(5)
    torch.save({"params": state}, tmp_path / "mask.pth")
    with pytest.raises(WeightsError, match="not whole weights of AdaSAM mask network"):
        weight_import.converted(tmp_path / "mask.pth", may_unpickle=True)
