"""The three stages of ``rampp``, at a small size, and what each promises."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from restore.errors import WeightsError
from restore.nets.ram_unet import CODE, KINDS, RamUNet
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.train import ram_data, rampp
from restore.train.data import Photos
from restore.train.loop import Progress
from restore.train.mac import conductance, edge_energy, freeze
from restore.train.ram_data import TURNS, batches, varied
from restore.train.ship import save, ship

SMALL = (8, 8, 8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(40):  # the last is held out
        rough = rng.integers(0, 256, (12, 12, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i:02}.png"), cv2.resize(rough, (168, 168), interpolation=cv2.INTER_CUBIC))
    return folder


def test_three_stages_run_and_what_they_leave_serves_the_next(photos: Path, tmp_path: Path) -> None:
    common = [str(photos), "--run", str(tmp_path), "--widths", "8", "8", "8", "--patch", "64", "--batch", "8"]
    rampp.main([*common, "--stage", "pretrain", "--steps", "3"])
    rampp.main([*common, "--stage", "mac"])
    ranking = json.loads((tmp_path / "mac.json").read_text())
    assert list(ranking.values()) == sorted(ranking.values(), reverse=True)
    assert {"net.head", "net.tail", "net.middle.0.conv1"} <= set(ranking)
    rampp.main(
        [
            *common,
            "--stage",
            "finetune",
            "--content-steps",
            "2",
            "--recogniser-steps",
            "2",
            "--steps",
            "3",
            "--ratio",
            "0.3",
        ]
    )
    stage1 = torch.load(tmp_path / "stage1.pt", weights_only=True)
    tuned = torch.load(tmp_path / "finetune.pt", weights_only=True)["net"]
    RamUNet.from_state(tuned)
    moved = {name for name, value in tuned.items() if not torch.equal(value, stage1.get(f"restorer.{name}", value))}
    first = set(list(ranking)[: round(0.3 * len(ranking))])
    assert {name.rpartition(".")[0] for name in moved if name.startswith("net.")} <= first
    assert cv2.imread(str(tmp_path / "finetune.png")).shape == (8 * 168, 3 * 168, 3)
    found = torch.load(tmp_path / "finetune tuned.pt", weights_only=True)
    save(tmp_path / "tuned.safetensors", found)
    start = ["--start", str(tmp_path / "tuned.safetensors")]
    again = [*start, "--recogniser-steps", "1", "--steps", "1", "--name", "again"]
    rampp.main([*common, "--stage", "finetune", *again])
    after = torch.load(tmp_path / "again tuned.pt", weights_only=True)
    assert all((after[name] - value).abs().max() < 0.05 for name, value in found.items() if name != "amounts")


def test_changes_are_scaled_by_what_they_are_worth(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = RamUNet(SMALL).eval()
    truth = {}

    def halfway(x: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """Go twice as far as the truth for noise, and the wrong way for rain."""
        kind = int(code[0, 1:9, 0, 0].argmax())
        return x + (truth["y"] - x) * {"noise": 2.0, "rain": -1.0}.get(KINDS[kind], 1.0)

    def told(x: torch.Tensor) -> torch.Tensor:
        code = torch.zeros(1, CODE, 1, 1)
        code[0, 1 + truth["kind"]] = 1
        return code

    def cases(clean: np.ndarray, kind: int, rng: np.random.Generator) -> np.ndarray:
        made = clean if kind == 0 else clean + rng.normal(0, 0.1, clean.shape).astype(np.float32)
        seen.append((kind, clean))
        return made

    seen: list[tuple[int, np.ndarray]] = []
    monkeypatch.setattr(ram_data, "spoilt", cases)
    monkeypatch.setattr(ram_data, "from_camera", lambda p, side, rng: (seen[3][1] + 0.1, seen[3][1]))

    def code_of(x: torch.Tensor) -> torch.Tensor:
        kind, clean = (*seen, (3, seen[3][1]))[truth.setdefault("turn", 0)]
        truth.update(kind=kind, y=torch.from_numpy(clean).permute(2, 0, 1)[None], turn=truth["turn"] + 1)
        return told(x)

    monkeypatch.setattr(net, "code_of", code_of)
    monkeypatch.setattr(net, "forward", halfway)
    amounts = ram_data.fitted_amounts(net, Photos(photos, held_out=True), np.random.default_rng(0), draws=1)
    found = dict(zip(KINDS, amounts.tolist(), strict=True))
    assert found["noise"] == pytest.approx(0.5)
    assert found["rain"] == 0
    assert found["haze"] == found["low light"] == pytest.approx(1)


@pytest.mark.parametrize("inner", [{}, {"middle.0": 4, "enc1.1": 2}])
def test_it_can_begin_as_a_denoiser(inner: dict[str, int], tmp_path: Path) -> None:
    torch.manual_seed(0)
    denoiser = UnshuffleUNet(3, 2, SMALL, inner=inner)
    nn.init.normal_(denoiser.middle[0].conv2.weight, std=1e-2)
    nn.init.normal_(denoiser.tail.weight, std=1e-3)
    file = ship("denoise", denoiser.state_dict(), Progress(1, 0), command="", folder=tmp_path)
    args = argparse.Namespace(start=str(file), method="rampp")
    net = rampp.started(rampp.Config(widths=SMALL), args)
    assert net.net.middle[0].conv1.out_channels == SMALL[2]
    with pytest.raises(WeightsError, match="--widths"):
        rampp.started(rampp.Config(widths=(16, 16, 16)), args)
    x = torch.rand(1, 3, 32, 32)
    told = torch.tensor([25 / 255, 0]).view(1, 2, 1, 1)
    change = denoiser(x, told)
    assert (x - net(x) - change).abs().max() < 0.01 * change.abs().max()  # the file holds 16 bits
    assert change.abs().max() > 0.01


def test_a_small_restorer_looks_through_the_encoder_of_other_weights(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    large = RamUNet((16, 16, 24))
    save(tmp_path / "large.safetensors", large.state_dict())
    save(tmp_path / "blank.safetensors", RamUNet(SMALL, has_features=False).state_dict())
    common = [str(photos), "--run", str(tmp_path), "--widths", "8", "8", "8", "--patch", "64", "--stage", "finetune"]
    few = ["--scratch", "--recogniser-steps", "1", "--steps", "3"]
    rampp.main([*common, *few, "--content", str(tmp_path / "large.safetensors")])
    tuned = RamUNet.from_state(torch.load(tmp_path / "finetune tuned.pt", weights_only=True))
    assert tuned.net.head.out_channels == 8
    for name, value in large.content.state_dict().items():
        assert torch.equal(tuned.content.state_dict()[name], value.half().float()), name
    assert tuned.inject8.weight.shape == (8, 24 + 8, 1, 1)
    assert tuned.inject8.weight.abs().max() > 0
    with pytest.raises(WeightsError, match="no content encoder"):
        rampp.main([*common, *few, "--content", str(tmp_path / "blank.safetensors"), "--name", "other"])


def test_the_mask_network_learns_to_hide_where_errors_are_large() -> None:
    torch.manual_seed(0)
    model = rampp.Masked(RamUNet(SMALL, has_features=False), rampp.Config(patch=64)).eval()
    x = torch.full((8, 3, 64, 64), 0.5)
    x[..., :32] += 0.2 * torch.randn(8, 3, 64, 32)  # rough on the left
    optimiser = torch.optim.Adam(model.masker.parameters(), 1e-3)
    for _ in range(25):
        optimiser.zero_grad()
        model.loss((x, x, torch.zeros(8), x), 0.5).backward()
        optimiser.step()
    chance = model.masker(x - rampp.MEAN).view(8, 8, 8)
    assert chance[..., :4].sum() > 1.2 * chance[..., 4:].sum()


def test_hidden_pixels_do_not_reach_the_restorer(monkeypatch: pytest.MonkeyPatch) -> None:
    model = rampp.Masked(RamUNet(SMALL, has_features=False), rampp.Config(patch=64))
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(model.restorer, "forward", lambda x: seen.append(x) or x)
    x = torch.rand(2, 3, 64, 64) / 4  # the mean of photos does not occur in it
    model.loss((x, x, torch.zeros(2), x), 0.5)
    hidden = (seen[0] == rampp.MEAN).all(1)
    assert hidden.float().mean() == 0.5
    assert torch.equal(seen[0].permute(0, 2, 3, 1)[~hidden], x.permute(0, 2, 3, 1)[~hidden])


class _Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 3, 1, bias=False)
        nn.init.zeros_(self.idle.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        used: torch.Tensor = self.used(x)
        return used + self.idle(x)


def test_conductance_is_what_a_loop_over_revealed_pixels_finds() -> None:
    torch.manual_seed(0)
    net, steps = _Chain(), 8
    x = torch.randn(2, 3, 8, 8)
    order = torch.rand(2, 64).argsort(1)
    found = conductance(net, net, x, order, steps)
    assert list(found) == ["used", "idle"]
    assert found["idle"] == 0
    total, before = torch.zeros_like(x), None
    for step in range(steps):
        seen = torch.zeros(2, 64)
        for picture in range(2):
            for pixel in order[picture, : round((0.5 + 0.5 * step / steps) * 64)]:
                seen[picture, pixel] = 1
        y = net.used(x * seen.view(2, 1, 8, 8)).detach().requires_grad_()
        edge_energy(y).backward()
        if before is not None:
            total += y.grad * (y.detach() - before)
        before = y.detach()
    assert found["used"] == pytest.approx(float(total.abs().mean((1, 2, 3)).sum()), rel=1e-5)


def test_only_the_chosen_layers_learn() -> None:
    net = RamUNet(SMALL)
    learning = freeze(net, ["net.tail", "net.head", "net.enc1.0.conv1"], 0.34, ("inject",))
    assert sorted(learning) == ["inject4.weight", "inject8.weight", "net.tail.weight"]
    assert {name.partition(".")[0] for name in freeze(net, [], 1.0)} == {"net", "inject4", "inject8"}


def test_kinds_come_in_turns_and_seeds_repeat(photos: Path) -> None:
    size = len(TURNS)
    first, again = (batches(Photos(photos), size, 64, np.random.default_rng(3)) for _ in range(2))
    for _ in range(2):
        (x, y, kinds, seen), (same, *_) = next(first), next(again)
        assert [KINDS[kind] for kind in kinds] == [name.replace("camera", "noise") for name in TURNS]
        assert torch.equal(x, same)
        assert torch.equal(x[0], y[0])  # clean
        assert seen.shape == (size, 3, 128, 128)
        windows = seen[0].unfold(1, 64, 1).unfold(2, 64, 1)  # (3, 65, 65, 64, 64)
        assert (windows == x[0][:, None, None]).all(-1).all(-1).all(0).any()  # the patch is a part of its region
        assert all(not torch.equal(x[i], y[i]) for i in range(1, size))


def test_varied_scenes_are_paler_and_brighter_in_half_of_the_draws(photos: Path) -> None:
    clean, rng = Photos(photos).crop(64, np.random.default_rng(0)), np.random.default_rng(1)
    scenes = [varied(clean, rng) for _ in range(200)]
    changed = [scene for scene in scenes if not np.array_equal(scene, clean)]
    assert 70 < len(changed) < 130
    assert all(scene.min() >= 0 and scene.max() <= 1 and scene.dtype == np.float32 for scene in scenes)
    assert min(np.ptp(scene, -1).mean() for scene in changed) < 0.2 * np.ptp(clean, -1).mean()  # nearly grey
    assert clean.mean() - 0.01 < min(scene.mean() for scene in changed) < max(scene.mean() for scene in changed)


def test_masks_are_sought_where_errors_are_large_and_nothing_is_never_hidden() -> None:
    """Half of each patch has half the contrast: it is hidden less, but a baseline would soon never hide it."""
    torch.manual_seed(0)
    config = rampp.Config(patch=64, widths=SMALL)
    model = rampp.Masked(RamUNet(SMALL, has_features=False).requires_grad_(False), config)
    clean = torch.rand(2, 3, 64, 64)
    clean[..., :32] = rampp.MEAN + 0.5 * (clean[..., :32] - 0.5)
    optimiser = torch.optim.AdamW(model.masker.parameters(), 3e-3, weight_decay=0.0)
    for _ in range(60):
        optimiser.zero_grad()
        model.loss((clean, clean, torch.zeros(2, dtype=torch.long), clean), config.hidden_share).backward()
        optimiser.step()
    with torch.no_grad():
        chances = 64 * model.eval().masker(clean - rampp.MEAN).view(-1, 8, 8)
    assert 0.05 < chances[..., :4].mean() < 0.6
