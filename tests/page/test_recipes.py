"""What a recipe asks for beside its steps: standard errors are written, files that are others now are told."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from browsing import in_browser, upload
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image as Pillow
from serving import Server, by_command

from restore.camera.calibration import Plan
from restore.jobs.calibrate import calibrate
from restore.jobs.noise_files import Shoot, simulate


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    return Client(server.url, verbose=False)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory, pictures: dict[str, Path]) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.png"
    with Pillow.open(pictures["photo.jpg"]) as image:
        image.crop((0, 0, 160, 120)).save(path)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, photo: Path) -> dict[str, bytes]:
    return by_command(tmp_path_factory.mktemp("made"), photo, "--uncertainty", "-m", "denoise")


@pytest.fixture
def recipe(tmp_path: Path, made: dict[str, bytes]) -> Path:
    path = tmp_path / "small.png.restore.json"
    path.write_bytes(made[path.name])
    return path


def test_standard_errors_come_with_the_result(
    client: Client, photo: Path, made: dict[str, bytes], recipe: Path
) -> None:
    given = {"picture": handle_file(str(photo)), "recipe": handle_file(str(recipe))}
    result, side, says, _, _, errors = client.predict(**given, api_name="/restore")
    assert Path(result).read_bytes() == made["small.png"]
    assert Path(errors).read_bytes() == made["small.png.sigma.tiff"]
    assert "small.png.sigma.tiff (" in says and json.loads(Path(side).read_text())["output"]["uncertainty"]
    plain = client.predict(picture=given["picture"], method="wavelet", api_name="/restore")
    assert plain[5] is None and "sigma" not in plain[2]
    archive = client.predict(pictures=[given["picture"]], recipe=given["recipe"], api_name="/restore_all")[0]
    with zipfile.ZipFile(archive) as packed:
        assert {name: packed.read(name) for name in packed.namelist() if not name.endswith(".json")} == {
            name: content for name, content in made.items() if not name.endswith(".json")
        }


def test_weights_that_are_others_now_are_told(client: Client, photo: Path, recipe: Path) -> None:
    content = json.loads(recipe.read_text())
    content["reports"][0]["weights_sha256"] = "0" * 64
    recipe.write_text(json.dumps(content))
    given = {"picture": handle_file(str(photo)), "recipe": handle_file(str(recipe))}
    told = "**Note:** denoise.safetensors: is not the file that small.png.restore.json was made with"
    assert client.predict(**given, api_name="/restore")[2].startswith(told)
    says = client.predict(pictures=[given["picture"]], recipe=given["recipe"], api_name="/restore_all")[1]
    assert says.startswith(told) and "**1 of 1** files" in says


@in_browser
def test_the_button_for_standard_errors_is_there_when_they_are(tab: Any, photo: Path, recipe: Path) -> None:
    button = tab.get_by_role("button", name="Standard errors")
    upload(tab, photo)
    tab.locator("#report").get_by_text("Noise found").wait_for()
    assert not button.is_visible()
    tab.get_by_role("button", name="Advanced").first.click()
    given = tab.locator(".block").filter(has_text="Recipe file, in place").last
    given.locator("input[type=file]").set_input_files(str(recipe))
    given.get_by_text(recipe.name).wait_for()
    tab.get_by_role("button", name="Restore", exact=True).click()
    with tab.expect_download() as waiting:
        button.click()
    assert waiting.value.suggested_filename == "small.png.sigma.tiff"


@pytest.mark.parametrize("path", ["/etc/passwd", "/no/such/file", "app.py", "x.safetensors"])
@pytest.mark.parametrize(("method", "knob"), [("pnnp", "profile"), ("rampp", "dino"), ("denoise", "")])
def test_a_recipe_cannot_ask_for_files_of_the_server(
    client: Client, photo: Path, tmp_path: Path, method: str, knob: str, path: str
) -> None:
    wanted = {"settings": {knob: path}} if knob else {"weights": path}
    (tmp_path / "x.json").write_text(json.dumps({"steps": [{"method": method, **wanted}]}))
    given = {"picture": handle_file(str(photo)), "recipe": handle_file(str(tmp_path / "x.json"))}
    with pytest.raises(
        AppError, match=r"x\.json: (names a (file|folder) of another machine|this page takes no weights)"
    ):
        client.predict(**given, api_name="/restore")


def test_a_profile_is_uploaded_and_named_without_its_folder(client: Client, tmp_path: Path) -> None:
    _, frames = simulate(Shoot(size=(64, 96), isos=(400.0,), darks=6, flats=4), tmp_path)
    darks, flats = ([path for path in frames if path.parent.name == kind] for kind in ("darks", "flats"))
    calibrate(darks, flats=flats, plan=Plan(steps=0)).save(tmp_path / "my.noise")
    given = {"picture": handle_file(str(flats[0])), "file": handle_file(str(tmp_path / "my.noise"))}
    result, side, says, *_ = client.predict(**given, method="pnnp", api_name="/restore")
    step = json.loads(Path(side).read_text())["recipe"]["steps"][0]
    assert step["settings"]["profile"] == "my.noise" and "the profile of" in says
    recipe = tmp_path / "made.json"
    recipe.write_bytes(Path(side).read_bytes())
    again = client.predict(**given, recipe=handle_file(str(recipe)), api_name="/restore")
    assert Path(again[0]).read_bytes() == Path(result).read_bytes()
    (tmp_path / "my.noise").write_text("no profile")
    given["file"] = handle_file(str(tmp_path / "my.noise"))
    with pytest.raises(AppError, match=r"my\.noise") as caught:
        client.predict(**given, method="pnnp", api_name="/restore")
    assert "/" not in str(caught.value)


def test_a_file_is_uploaded_and_has_a_use(client: Client, photo: Path, recipe: Path) -> None:
    given = {"picture": handle_file(str(photo)), "file": handle_file(str(recipe))}
    with pytest.raises(AppError, match="no use for the file"):
        client.predict(**given, method="auto", api_name="/restore")
    api = client.view_api(return_format="dict")
    fields = [field["parameter_name"] for field in api["named_endpoints"]["/restore"]["parameters"]]
    assert "file" in fields and not {"pnnp_profile", "rampp_dino"} & set(fields)
