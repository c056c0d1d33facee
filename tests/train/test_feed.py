"""Examples drawn by other processes arrive whole, are used again, and give way to new ones."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from restore.train.feed import Feed


def counted(rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Chunks of three pairs: a number that says who drew it and when, and the same beside it."""
    worker = float(rng.integers(1 << 20))
    for turn in range(1 << 30):
        numbers = worker + (3 * turn + torch.arange(3, dtype=torch.float64)) / (1 << 40)
        yield numbers, numbers[:, None].expand(-1, 2)


def test_examples_of_all_processes_are_used_again_and_replaced() -> None:
    feed = Feed(counted, [4], workers=2, size=64, held=50, least=50)
    try:
        first, again = next(feed), next(feed)
        assert first[0].shape == (64,) and first[1].shape == (64, 2)
        assert torch.equal(first[0], first[1][:, 0]), "parts of an example stay together"
        assert set(first[0].tolist()) & set(again[0].tolist())
        assert len(set(torch.cat([first[0], again[0]]).floor().tolist())) == 2, "both processes draw"
        end = time.monotonic() + 30
        while set(next(feed)[0].tolist()) & set(first[0].tolist()) and time.monotonic() < end:
            time.sleep(0.01)
        assert time.monotonic() < end, "old examples give way"
    finally:
        feed.close()
    assert not multiprocessing.active_children()


def broken(rng: np.random.Generator) -> Iterator[tuple[Tensor]]:
    yield (torch.zeros(4),)
    raise ValueError("no such photo")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_process_that_fails_ends_the_training() -> None:
    feed = Feed(broken, [0], workers=1, size=2, held=8, least=8)
    with pytest.raises(RuntimeError, match="has failed"):
        next(feed)
