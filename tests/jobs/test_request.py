"""From what a user typed to a recipe: weight files."""

import pytest

from restore.errors import RecipeError
from restore.jobs.request import Request, recipe_for


def test_weights_go_to_the_only_step_or_to_the_named_one() -> None:
    (step,) = recipe_for(Request(method="denoise", weights=["mine.safetensors"])).steps
    assert step.weights == "mine.safetensors"
    first, second = recipe_for(Request(method="noiser,denoise", weights=["denoise=a/b.safetensors"])).steps
    assert (first.weights, second.weights) == (None, "a/b.safetensors")


@pytest.mark.parametrize(
    ("method", "text"), [(None, "x.safetensors"), ("noiser,denoise", "x.safetensors"), ("denoise", "noiser=x.pt")]
)
def test_weights_without_an_owner_are_refused(method: str | None, text: str) -> None:
    with pytest.raises(RecipeError, match="--weights"):
        recipe_for(Request(method=method, weights=[text]))
