"""From what a user typed to a recipe."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from restore import weights
from restore.errors import RecipeError
from restore.jobs.request import Request, recipe_for
from restore.jobs.side import output_options, replaced


def test_weights_go_to_the_only_step_or_to_the_named_one() -> None:
    (step,) = recipe_for(Request(method="denoise", weights=["mine.safetensors"])).steps
    assert step.weights == "mine.safetensors"
    first, second = recipe_for(Request(method="noiser,denoise", weights=["denoise=a/b.safetensors"])).steps
    assert (first.weights, second.weights) == (None, "a/b.safetensors")


def test_weights_that_name_their_method_need_no_other_word(tmp_path: Path) -> None:
    """As ``restore adapt`` writes them."""
    path = tmp_path / "mine.safetensors"
    save_file({"x": np.zeros(3, np.float32)}, path, {"method": "noise2score"})
    (step,) = recipe_for(Request(weights=[str(path)], strength=0.5)).steps
    assert (step.method, step.weights, step.strength) == ("noise2score", str(path), 0.5)
    (step,) = recipe_for(Request(weights=["denoise=a.safetensors"])).steps
    assert (step.method, step.weights) == ("denoise", "a.safetensors")
    first, second = recipe_for(Request(method="noiser,noise2score", weights=[str(path)])).steps
    assert (first.weights, second.weights) == (None, str(path))
    with pytest.raises(RecipeError, match="no step 'noise2score'"):
        recipe_for(Request(method="noiser,denoise", weights=[str(path)]))
    save_file({"x": np.zeros(3, np.float32)}, path, {"method": "nonsense"})
    with pytest.raises(RecipeError, match="no method 'nonsense'"):
        recipe_for(Request(weights=[str(path)]))


@pytest.mark.parametrize(
    ("method", "text"), [(None, "x.safetensors"), ("noiser,denoise", "x.safetensors"), ("denoise", "noiser=x.pt")]
)
def test_weights_without_an_owner_are_refused(method: str | None, text: str) -> None:
    with pytest.raises(RecipeError, match="--weights"):
        recipe_for(Request(method=method, weights=[text]))


def test_weights_that_are_others_than_a_side_file_says_are_told(tmp_path: Path) -> None:
    (tmp_path / "other.safetensors").write_bytes(b"other")
    for given, sha256, told in (
        (None, weights.manifest()["denoise"].sha256, []),
        (None, "0" * 64, [weights.folder() / "denoise.safetensors"]),
        (f"{tmp_path}/other.safetensors", "0" * 64, [tmp_path / "other.safetensors"]),
        (f"{tmp_path}/missing.safetensors", "0" * 64, []),
    ):
        step = {"method": "denoise", "weights": given}
        side = tmp_path / "a.png.restore.json"
        side.write_text(
            json.dumps({"recipe": {"steps": [step]}, "reports": [{"step": step, "weights_sha256": sha256}]})
        )
        assert replaced(recipe_for(Request(recipe=side)), output_options(side)) == told


@pytest.mark.parametrize(
    "output", [{"format": "gif"}, {"format": 3}, {"format": ["png"]}, {"depth": "16"}, {"depth": 12}]
)
def test_a_side_file_of_no_result_of_ours_is_refused(tmp_path: Path, output: dict) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"output": output}))
    with pytest.raises(RecipeError, match="no result has the format"):
        output_options(tmp_path / "a.json")


def test_text_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="threshold"):
        recipe_for(Request(settings=["wavelet.threshold=" + "[" * 200_000]))
    (tmp_path / "deep.json").write_text("[" * 200_000)
    with pytest.raises(RecipeError, match=r"deep\.json"):
        output_options(tmp_path / "deep.json")


@pytest.mark.parametrize(
    ("text", "value"), [("blind.stride=2", "2"), ("blind.stride=auto", "auto"), ('blind.stride="3"', "3")]
)
def test_a_number_is_text_where_text_is_wanted(text: str, value: str) -> None:
    (step,) = recipe_for(Request(method="blind", settings=[text])).steps
    assert step.checked().model_dump()["stride"] == value
