"""Fixtures that more than one test module needs."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[1] / ".." / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared pictures; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the shared pictures are not here")
    return SHARED.resolve()
