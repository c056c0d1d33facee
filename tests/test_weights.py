"""Weight files: what is shipped is what the manifest promises, and damaged files are refused."""

import json
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from restore import methods, pipeline, weight_import, weights
from restore.errors import RecipeError, WeightsError
from restore.nets.unshuffle_unet import UnshuffleUNet
from restore.picture import Image
from restore.recipe import Recipe, Step
from restore.runtime import Runtime


def test_everything_shipped_is_in_the_manifest_and_whole() -> None:
    files = {p.stem for p in weights.folder().glob("*.safetensors")}
    assert files == set(weights.manifest())
    for key in files:
        assert weights.verify(key).is_file()


def test_every_method_finds_its_weights() -> None:
    for method in methods.registry().values():
        if method.weights is not None:
            state, checksum = weights.load(method.weights)
            assert state
            assert checksum == weights.manifest()[method.weights].sha256


@pytest.mark.parametrize("method", ["denoise", "noise2score", "pnnp", "blind", "noiser", "rampp"])
def test_weights_of_another_method_are_refused(method: str) -> None:
    """Four methods share an architecture; with wrong weights they failed in the middle of a picture."""
    runtime = Runtime(device="cpu")
    for key in set(weights.manifest()) - {method}:
        with pytest.raises(WeightsError, match=f"does not fit method '{method}'"):
            runtime.load(Step(method=method, weights=key), runtime.compute("fp32"))


def test_unknown_key() -> None:
    with pytest.raises(WeightsError, match="there are no weights 'denois'"):
        weights.load("denois")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty", b"", "claims 0 bytes"),
        ("text", b"hello, this is not a weight file", "cannot be read"),
        ("huge header", struct.pack("<Q", 10**10) + b"{}", "claims 10000000000 bytes"),
        ("deep", struct.pack("<Q", 200_000) + b"[" * 200_000, "nested too deeply"),
        ("list", struct.pack("<Q", 2) + b"[]", "not a table"),
        ("pickle", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.", "cannot be read"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / f"{name}.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=words):
        weights.load(str(path))


def test_truncated_and_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match="cannot be read"):
        weights.load(str(path))
    save_file({"x": torch.tensor([1.0, float("nan")])}, path)
    with pytest.raises(WeightsError, match="not finite"):
        weights.load(str(path))


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of shipped weights of our own: ``ours.safetensors`` and its manifest, not for sale."""
    content = save({"x": torch.ones(3)})
    (tmp_path / "ours.safetensors").write_bytes(content)
    entry = weights.Entry(
        sha256=weights.sha256(tmp_path / "ours.safetensors"),
        bytes=len(content),
        licence="CC-BY-NC-4.0",
        data="d",
        command="c",
    )
    lines = [f"{name} = {json.dumps(value)}" for name, value in entry.model_dump(exclude_defaults=True).items()]
    (tmp_path / "manifest.toml").write_text("\n".join(["[ours]", *lines]))
    monkeypatch.setattr(weights, "folder", lambda: tmp_path)
    weights.manifest.cache_clear()
    yield tmp_path
    weights.manifest.cache_clear()


def test_swapped_files_are_refused_though_their_length_is_right(shipped: Path) -> None:
    assert weights.load("ours")[0]["x"].tolist() == [1, 1, 1]
    (shipped / "ours.safetensors").write_bytes(save({"x": torch.zeros(3)}))
    for refuse in (weights.load, weights.verify):
        with pytest.raises(WeightsError, match="not the file that the manifest promises"):
            refuse("ours")
    (shipped / "ours.safetensors").unlink()
    with pytest.raises(WeightsError, match="is missing; install the package again"):
        weights.load("ours")


def test_what_is_checked_is_what_is_used(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = weights._bytes

    def read_then_swap(path: Path) -> bytes:
        content = read(path)
        path.write_bytes(save({"x": torch.full((3,), 666.0)}))
        return content

    monkeypatch.setattr(weights, "_bytes", read_then_swap)
    state, sha256 = weights.load("ours")
    assert state["x"].tolist() == [1, 1, 1]
    assert sha256 == weights.manifest()["ours"].sha256


def test_huge_claims_cost_no_memory(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse.safetensors"
    with sparse.open("wb") as file:
        file.write(struct.pack("<Q", 10 * 2**30))
        file.truncate(11 * 2**30)
    claim = tmp_path / "claim.safetensors"
    claim.write_bytes(struct.pack("<Q", 10**10) + bytes(100))
    header = json.dumps({"x": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 4]}}).encode()
    shape = tmp_path / "shape.safetensors"
    shape.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    tracemalloc.start()
    for path in (sparse, claim, shape):
        with pytest.raises(WeightsError, match="cannot be read as safetensors"):
            weights.load(str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_folders_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(WeightsError, match="not a file"):
        weights.load(str(tmp_path / "a.safetensors"))
    with pytest.raises(WeightsError, match="is missing; check the path"):
        weights.load(str(tmp_path / "b.safetensors"))


def small_net() -> UnshuffleUNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UnshuffleUNet(widths=(8, 12, 16), blocks=(1, 1, 1, 1, 1))


def run_with(path: Path, method: str = "denoise", machine: Runtime | None = None) -> pipeline.Result:
    picture = Image(np.random.default_rng(0).random((24, 24, 3), np.float32))
    recipe = Recipe(steps=(Step(method=method, weights=str(path)),), noise=0.1, precision="fp32")
    return pipeline.run(picture, recipe, machine or Runtime(device="cpu"))


@pytest.mark.parametrize(
    "break_it",
    [
        lambda state: state | {"head.weight": torch.zeros(8, 14, 5, 5)},
        lambda state: state | {"head.weight": torch.tensor(1.0)},
        lambda state: state | {"head.weight": torch.zeros(200_000, 14, 1, 1), "down1.weight": torch.zeros(200_000)},
        lambda state: {name: value for name, value in state.items() if name != "tail.weight"},
        lambda state: state | {"extra.weight": torch.zeros(3)},
        lambda state: {name: value.int() for name, value in state.items()},
        lambda state: {"x": torch.ones(3)},
    ],
)
@pytest.mark.parametrize("method", [name for name, method in methods.registry().items() if method.weights])
def test_weights_of_another_shape_are_refused_by_every_method(tmp_path: Path, break_it, method: str) -> None:
    path = tmp_path / "net.safetensors"
    save_file(break_it(dict(small_net().state_dict())), path)
    with pytest.raises((WeightsError, RecipeError), match=r"not fit method|needs|mosaic"):
        run_with(path, method)


def test_a_method_without_weights_takes_none(tmp_path: Path) -> None:
    save_file(small_net().state_dict(), tmp_path / "net.safetensors")
    with pytest.raises(RecipeError, match="uses no weights"):
        run_with(tmp_path / "net.safetensors", "wavelet")


def test_imported_weights_run_and_their_terms_are_told_once(tmp_path: Path) -> None:
    net = small_net()
    torch.nn.init.normal_(net.tail.weight, std=0.01)
    torch.save({"params": net.state_dict()}, tmp_path / "net.pth")
    path = tmp_path / "net.safetensors"
    path.write_bytes(weight_import.converted(tmp_path / "net.pth", may_unpickle=True, licence="CC-BY-NC-SA-4.0"))
    told: list[str] = []
    machine = Runtime(device="cpu", told=told.append)
    results = [run_with(path, machine=machine) for _ in range(2)]
    assert told == ["weights net.safetensors: licence CC-BY-NC-SA-4.0; check that your use is allowed"]
    assert all(result.reports[0].facts["notes"][0] == told[0] for result in results)
    assert results[0].reports[0].weights_sha256 == weights.sha256(path)
    assert not np.array_equal(results[0].picture.pixels, np.random.default_rng(0).random((24, 24, 3), np.float32))
    path.write_bytes(weight_import.converted(tmp_path / "net.pth", may_unpickle=True, licence="MIT"))
    run_with(path, machine=Runtime(device="cpu", told=told.append))
    both = "MIT AND LicenseRef-NonCommercial"
    path.write_bytes(weight_import.converted(tmp_path / "net.pth", may_unpickle=True, licence=both))
    run_with(path, machine=Runtime(device="cpu", told=told.append))
    assert told[1:] == [f"weights net.safetensors: licence {both}; check that your use is allowed"]
    path.write_bytes(weight_import.converted(tmp_path / "net.pth", may_unpickle=True))
    run_with(path, machine=Runtime(device="cpu", told=told.append))
    assert told[2:] == ["weights net.safetensors: licence not stated; check that your use is allowed"]


def test_terms_of_shipped_weights_are_told(shipped: Path) -> None:
    assert "CC-BY-NC-4.0" in (weights.notice("ours", weights.read("ours")) or "")


@pytest.mark.parametrize("key", ["denoise", "noiser"])
def test_our_own_weights_need_no_notice(key: str) -> None:
    assert weights.notice(key, weights.read(key)) is None


def endless() -> dict[str, object]:
    content: dict[str, object] = {}
    content["params"] = content
    return content


def expanded() -> torch.Tensor:
    return torch.zeros(1).expand(2**40)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"a": torch.tensor([1.0, float("inf")])}, "not finite"),
        ({"a": torch.tensor([1.0, complex("nan")])}, "not finite"),
        ({"epoch": 3}, "no state dict"),
        ({"a": expanded()}, "would fill"),
        (endless(), "no state dict"),
        ({"a": torch.eye(3).to_sparse()}, "sparse"),
        ({"a": torch.empty(3, device="meta")}, "without values"),
        ({"a": torch.zeros(3, dtype=torch.float8_e4m3fn)}, "rare type"),
    ],
)
def test_checkpoints_that_are_refused(tmp_path: Path, content: dict[str, object], words: str) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=words):
        weight_import.converted(tmp_path / "net.pth", may_unpickle=True)


def test_a_checkpoint_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(50_000_000))
    with pytest.raises(WeightsError, match="would unpack to 50000004 bytes"):
        weight_import.converted(tmp_path / "bomb.pth", may_unpickle=True)


def test_cut_and_flipped_checkpoints_are_refused_or_finite(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(12.0)}, tmp_path / "whole.pth")
    whole, rng = (tmp_path / "whole.pth").read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        broken = bytearray(whole[: int(rng.integers(1, len(whole) + 1))] if rng.random() < 0.3 else whole)
        for at in rng.integers(0, len(broken), 4):
            broken[at] = rng.integers(0, 256)
        (tmp_path / "broken.pth").write_bytes(broken)
        try:
            weight_import.converted(tmp_path / "broken.pth", may_unpickle=True)
        except WeightsError:
            refused += 1
    assert refused > 50
