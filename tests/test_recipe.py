"""Recipes: checked, stored, read back."""

import json
from pathlib import Path

import numpy as np
import pytest

from restore.errors import RecipeError
from restore.recipe import Recipe, Step, presets


def test_round_trip_through_json_and_toml(tmp_path: Path) -> None:
    recipe = Recipe(steps=(Step(method="wavelet", settings={"threshold": 1.5}, strength=0.5),), noise=0.1, seed=3)
    stored = tmp_path / "a.json"
    stored.write_text(json.dumps({"schema_version": 1, "recipe": recipe.model_dump()}))
    assert Recipe.load(stored) == recipe
    toml = tmp_path / "a.toml"
    toml.write_text(
        'noise = 0.1\nseed = 3\n[[steps]]\nmethod = "wavelet"\nstrength = 0.5\nsettings = {threshold = 1.5}\n'
    )
    assert Recipe.load(toml) == recipe


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"steps": [{"method": "wavlet"}]}, "Did you mean 'wavelet'"),
        ({"steps": [{"method": "wavelet", "settings": {"treshold": 1}}]}, "Did you mean 'threshold'"),
        ({"steps": [{"method": "wavelet", "settings": {"threshold": 99}}]}, "less than or equal to 4"),
        ({"steps": [{"method": "wavelet", "strength": 2}]}, "less than or equal to 1"),
        ({"steps": [{"method": "auto", "settings": {"threshold": 1}}]}, "no knobs"),
        ({"noise": 25}, "less than or equal to 1"),
        ({"tile": 3}, "at least 16"),
        ({"colour": 3}, "colour"),
    ],
)
def test_errors_say_what_is_wrong(fields: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words.replace("(", r"\(")):
        Recipe(**fields)


def test_a_step_by_itself_is_checked_too() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'wavelet'"):
        Step(method="wavlet")
    with pytest.raises(RecipeError, match="less than or equal to 1"):
        Step(method="wavelet", strength=2)


def test_numbers_of_numpy_can_be_stored(tmp_path: Path) -> None:
    recipe = Recipe(steps=(Step(method="wavelet", settings={"threshold": np.float32(1.5), "shifts": np.int64(4)}),))
    stored = tmp_path / "a.json"
    stored.write_text(recipe.model_dump_json())
    assert Recipe.load(stored) == recipe


@pytest.mark.parametrize(("name", "text"), [("a.json", '{"steps": []}'), ("a.toml", "steps = []")])
def test_a_mark_that_editors_put_first_is_no_fault(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text("\ufeff" + text, encoding="utf-8")
    assert Recipe.load(tmp_path / name) == Recipe(steps=())


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 200_000)
    (tmp_path / "deep.toml").write_text("a=" + "[" * 200_000)
    (tmp_path / "list.json").write_text('{"recipe": [1]}')
    for path in (broken, tmp_path / "missing.json", tmp_path / "list.json", deep, tmp_path / "deep.toml"):
        with pytest.raises(RecipeError, match=path.name):
            Recipe.load(path)


def test_a_file_that_names_no_steps_is_no_recipe(tmp_path: Path) -> None:
    """Of any other JSON file as well nothing would be left but the defaults."""
    for name, text in (("a.json", "{}"), ("b.json", '{"recipe": {}}'), ("c.toml", "noise = 0.1"), ("d.toml", "")):
        (tmp_path / name).write_text(text)
        with pytest.raises(RecipeError, match=f"{name}: names no steps"):
            Recipe.load(tmp_path / name)
    (tmp_path / "none.json").write_text('{"recipe": {"steps": []}}')
    assert Recipe.load(tmp_path / "none.json").steps == (), "as of a raw that was left as it is"


def test_presets_are_recipes() -> None:
    assert "night" in presets()
    for name in presets():
        assert Recipe.load(name).steps
