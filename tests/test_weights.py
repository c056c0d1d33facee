"""Weight files: what is shipped is what the manifest promises, and damaged files are refused."""

import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from restore import methods, weights
from restore.errors import WeightsError


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


def test_unknown_key() -> None:
    with pytest.raises(WeightsError, match="there are no weights 'denois'"):
        weights.load("denois")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty", b"", "claims 0 bytes"),
        ("text", b"hello, this is not a weight file", "cannot be read"),
        ("huge header", struct.pack("<Q", 10**10) + b"{}", "claims 10000000000 bytes"),
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
