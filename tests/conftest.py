"""Fixtures that more than one test module needs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

collect_ignore = ["benchmarks"]
"""Scripts, not tests."""

SHARED = Path(__file__).parents[1] / ".." / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared pictures; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the shared pictures are not here")
    return SHARED.resolve()


@pytest.fixture(autouse=True)
def _threads_as_they_were() -> Iterator[None]:
    """Give every test the threads it would have alone: training scripts set their own."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    yield
    torch = sys.modules.get("torch")
    if torch and before is not None:
        torch.set_num_threads(before)
