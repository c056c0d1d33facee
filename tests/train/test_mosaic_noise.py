"""The fit behind the estimate of a mosaic's noise: what it draws, and that its file answers as the network does."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from restore.noise import mosaic
from restore.train import mosaic_noise
from restore.train.mosaic_noise import Config, Net, examples, fit

SMALL = Config(draws=6, regions=16, batch=8, steps=200, hidden=8, summary=6)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(4):
        coarse = rng.integers(0, 255, (12, 12, 3), np.uint8)
        cv2.imwrite(str(folder / f"scene{number}_0.png"), cv2.resize(coarse, (300, 280), interpolation=cv2.INTER_CUBIC))
    (folder / "note.png").write_text("no picture")
    return folder


def test_a_fit_learns_and_its_numbers_answer_as_the_network(photos: Path) -> None:
    every = examples(photos, SMALL)
    assert {example.is_held_out for example in every} == {False, True}
    assert {example.kind.split(",")[0] for example in every} >= {"bright", "dark"}
    start, end = (fit(every, replace(SMALL, steps=steps)) for steps in (0, SMALL.steps))
    errors = []
    for network in (start, end):
        found = [np.log(mosaic.variances(e.seen, network)[0] / e.seen.reference) - e.target for e in every]
        errors.append(np.mean(np.abs(np.concatenate(found))))
    assert errors[1] < 0.7 * errors[0]
    net = Net(every[0].seen.seen.shape[1], SMALL)
    net.load_state_dict({name: torch.from_numpy(value) for name, value in end.items()})
    share, spread = net(torch.from_numpy(every[0].seen.seen)[None])
    variance, told = mosaic.variances(every[0].seen, end)
    assert np.allclose(variance / every[0].seen.reference, share[0].exp().detach(), rtol=1e-3)
    assert np.allclose(told, spread[0].exp().detach(), rtol=1e-3)


def test_the_command_writes_a_file_that_the_estimate_reads(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mosaic_noise, "Config", lambda: SMALL)
    monkeypatch.setattr("sys.argv", ["mosaic_noise", str(photos), "--out", str(tmp_path / "mosaic.json")])
    mosaic_noise.main()
    monkeypatch.setattr(mosaic, "files", lambda _: tmp_path)
    mosaic._network.cache_clear()
    try:
        (raw, *_) = mosaic_noise.drawn(np.full((64, 64, 3), 0.5, np.float32), np.random.default_rng(1))
        found = mosaic.regions(raw)
        assert found is not None
        assert np.isfinite(mosaic.variances(found)).all()
    finally:
        mosaic._network.cache_clear()
