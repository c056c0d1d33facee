import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from restore import files, pipeline
from restore.files.folder import find
from restore.jobs.plan import Naming, plan
from restore.jobs.report import Options
from restore.jobs.room import TILED, WHOLE, Room
from restore.jobs.run import run_folder
from restore.picture import Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime

PIXELS = 1000
NEED = PIXELS * (TILED + WHOLE)


def most_at_once(room: Room, count: int, wanted: int) -> int:
    inside, most, changed = 0, 0, threading.Condition()

    def work() -> None:
        nonlocal inside, most
        with room.entered(PIXELS), changed:
            inside += 1
            most = max(most, inside)
            changed.notify_all()
            changed.wait_for(lambda: most >= wanted, 20)
            changed.wait(0.02)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return most


@pytest.mark.parametrize(("free", "most"), [(0.0, 1), (0.5 * NEED, 1), (2.5 * NEED, 2), (100 * NEED, 5)])
def test_as_many_as_fit_and_one_always(free: float, most: int) -> None:
    assert most_at_once(Room(5, 8, free), 5, most) == most


@pytest.mark.parametrize(("free", "threads"), [(0.5, 8), (1.0, 8), (2.0, 4), (3.9, 2), (100.0, 2)])
def test_those_who_fit_share_the_cores(free: float, threads: int) -> None:
    with Room(4, 8, free * NEED).entered(PIXELS) as given:
        assert given == threads


def test_room_is_given_back_after_an_error() -> None:
    room = Room(2, 2, NEED)
    with pytest.raises(ValueError, match="damaged"), room.entered(PIXELS):
        raise ValueError("damaged")
    with room.entered(PIXELS) as given:
        assert given == 2


@pytest.mark.parametrize(
    ("free", "is_heavy", "fits"), [(1 << 40, False, True), (1, False, False), (1 << 40, True, False)]
)
def test_a_folder_is_worked_on_by_several_where_they_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, is_heavy: bool, fits: bool
) -> None:
    """Nobody says how many at a time; each job waits for another one, in vain where one alone fits."""
    for number in range(8):
        (tmp_path / "in").mkdir(exist_ok=True)
        files.write(tmp_path / f"in/{number}.png", Image(np.full((16, 16, 3), number / 8, np.float32)))
    together, met, run = threading.Barrier(2), [], pipeline.run

    def watched(*given: object, **named: object) -> pipeline.Result:
        try:
            together.wait(20 if fits else 0.1)
            met.append(torch.get_num_threads())
        except threading.BrokenBarrierError:
            together.reset()
        return run(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("restore.jobs.worker.pipeline.run", watched)
    monkeypatch.setattr("restore.jobs.run.free_memory", lambda _: free)
    cores = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        recipe, out = Recipe(steps=(Step(method="none"),)), tmp_path / "out"
        works = plan(find([tmp_path / "in"], is_recursive=False, output=out), recipe, Naming(out))
        report = run_folder(works, recipe, Runtime(device="cpu"), Options(out, uncertainty=is_heavy))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(cores)
    assert report.exit_code == 0
    assert bool(met) == fits
    assert set(met) <= {1}
