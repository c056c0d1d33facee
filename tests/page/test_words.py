"""What is said of a picture is what is seen of it."""

import numpy as np
import pytest

from restore.page import words
from restore.picture import Image, Meta


@pytest.mark.parametrize(("turn", "size"), [(1, "30 × 20"), (3, "30 × 20"), (6, "20 × 30"), (8, "20 × 30")])
def test_the_size_is_that_of_the_upright_picture(turn: int, size: str) -> None:
    assert f"**{size}**" in words.facts(Image(np.zeros((20, 30, 3), np.float32), meta=Meta(orientation=turn)))


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0.4 s"), (0.3, "0.3 s"), (1 / 60, "1/60 s"), (0.5, "0.5 s")])
def test_exposures_are_said_as_they_were(seconds: float, said: str) -> None:
    picture = Image(np.zeros((20, 30, 3), np.float32), meta=Meta(exposure_s=seconds))
    assert words.facts(picture).endswith(f" · {said}")
