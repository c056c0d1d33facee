"""The Camera tab: dark frames in, a profile and its report out."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image as Pillow
from serving import Server

from restore.camera.profile import Profile
from restore.jobs.noise_files import Shoot, simulate


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    return Client(server.url, verbose=False)


def asked(client: Client, darks: list[Path], flats: list[Path]) -> tuple[str, str, list[dict[str, str]]]:
    given = [[handle_file(str(path)) for path in paths] for paths in (darks, flats)]
    result: tuple[str, str, list[dict[str, str]]] = client.predict(
        darks=given[0], flats=given[1], iso=0, exact=False, share=False, api_name="/calibrate"
    )
    return result


def test_dark_frames_become_a_profile_and_plots(client: Client, tmp_path: Path) -> None:
    sensor, paths = simulate(Shoot(size=(64, 96), isos=(400.0, 800.0), darks=6, flats=4), tmp_path)
    darks = [path for path in paths if path.parent.name == "darks"]
    flats = [path for path in paths if path.parent.name == "flats"]
    profile, says, plots = asked(client, darks, flats)
    found = Profile.load(Path(profile))
    assert [noise.iso for noise in found.isos] == [400.0, 800.0]
    assert pytest.approx(sensor.K_per_iso * 800, rel=0.1) == found.at(800.0).K
    assert "| 400 |" in says
    assert {"gain and sigma", "dark shading"} <= {plot["caption"] for plot in plots}
    for plot in plots:
        assert np.asarray(Pillow.open(plot["image"])).std() > 1


def test_the_bits_of_grey_frames_can_be_told(client: Client, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    darks = [tmp_path / f"{number}.png" for number in range(6)]
    for path in darks:
        cv2.imwrite(str(path), np.uint16(np.clip(rng.normal(6, 4, (64, 96)), 0, 4095)))
    given = {"darks": [handle_file(str(path)) for path in darks], "flats": [], "iso": 100, "exact": False}
    guessed, says, _ = client.predict(**given, share=False, api_name="/calibrate")
    assert "is a guess" in says and Profile.load(Path(guessed)).white == 255
    told, says, _ = client.predict(**given, bits=12, share=False, api_name="/calibrate")
    assert "is a guess" not in says and Profile.load(Path(told)).white == 4095


def test_frames_beyond_the_limit_are_refused(client: Client, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "dark.png"), np.zeros((1600, 1600), np.uint16))
    with pytest.raises(AppError, match=r"dark\.png.*the limit is 2\.5"):
        asked(client, [tmp_path / "dark.png"], [])


def test_pictures_that_are_no_dark_frames_are_refused_in_words(client: Client, pictures: dict[str, Path]) -> None:
    with pytest.raises(AppError, match=r"photo\.jpg.*raw"):
        asked(client, [pictures["photo.jpg"]], [])
    with pytest.raises(AppError, match="dark frames"):
        asked(client, [], [])
