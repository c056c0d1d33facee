"""DINOv2, read from a folder block by block: the same as PyTorch's own transformer, and clear about bad folders."""

import json
from pathlib import Path

import pytest
import torch
from dino import dino_folder
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from restore.errors import WeightsError
from restore.nets.dinov2 import DEVIATION, MEAN, DinoV2


def picture(height: int = 32, width: int = 32) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def tokens(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The input of the first block at the size of its own grid, by other means than ours."""
    seen = F.interpolate(x, scale_factor=1.75, mode="bicubic", antialias=True)
    seen = (seen - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)
    kernel = state["embeddings.patch_embeddings.projection.weight"].flatten(1)
    made = F.unfold(seen, 14, stride=14).transpose(1, 2) @ kernel.T
    made = made + state["embeddings.patch_embeddings.projection.bias"]
    return torch.cat([state["embeddings.cls_token"], made], 1) + state["embeddings.position_embeddings"]


def torch_layer(state: dict[str, Tensor], index: int) -> nn.Module:
    """A block of PyTorch's with the same weights: the layer scales become part of the matrices before them."""
    own = {k.removeprefix(f"encoder.layer.{index}."): v for k, v in state.items() if f".layer.{index}." in k}
    width, hidden = own["mlp.fc2.weight"].shape
    layer = nn.TransformerEncoderLayer(width, 4, hidden, 0, F.gelu, 1e-6, batch_first=True, norm_first=True)
    one, two = own["layer_scale1.lambda1"], own["layer_scale2.lambda1"]
    parts = [f"attention.attention.{name}" for name in ("query", "key", "value")]
    layer.load_state_dict(
        {
            "self_attn.in_proj_weight": torch.cat([own[f"{name}.weight"] for name in parts]),
            "self_attn.in_proj_bias": torch.cat([own[f"{name}.bias"] for name in parts]),
            "self_attn.out_proj.weight": one[:, None] * own["attention.output.dense.weight"],
            "self_attn.out_proj.bias": one * own["attention.output.dense.bias"],
            "linear1.weight": own["mlp.fc1.weight"],
            "linear1.bias": own["mlp.fc1.bias"],
            "linear2.weight": two[:, None] * own["mlp.fc2.weight"],
            "linear2.bias": two * own["mlp.fc2.bias"],
            **{f"norm{i}.{name}": own[f"norm{i}.{name}"] for i in (1, 2) for name in ("weight", "bias")},
        }
    )
    return layer.eval()


def test_same_as_the_transformer_of_torch(tmp_path: Path) -> None:
    state = dino_folder(tmp_path, gated=False)
    expected = tokens(state, picture())
    found = DinoV2.at(tmp_path).features(picture(), range(5))
    for depth, features in enumerate(found):
        if depth:
            expected = torch_layer(state, depth - 1)(expected)
        assert features.shape == (1, 32, 4, 4)
        torch.testing.assert_close(features.flatten(2).transpose(1, 2), expected[:, 1:], rtol=1e-4, atol=1e-4)


def test_the_gated_part_of_giant(tmp_path: Path) -> None:
    state = dino_folder(tmp_path, gated=True, blocks=1)
    plain = dict(state)
    for name in list(plain):
        if ".mlp." in name:
            plain[name] = torch.zeros_like(plain[name])
    (tmp_path / "plain").mkdir()
    save_file(plain, tmp_path / "plain" / "model.safetensors")
    (tmp_path / "plain" / "config.json").write_text((tmp_path / "config.json").read_text())
    full, attended = (DinoV2.at(folder).features(picture(), [1])[0] for folder in (tmp_path, tmp_path / "plain"))
    own = {k.removeprefix("encoder.layer.0."): v for k, v in state.items()}
    x = attended.flatten(2).transpose(1, 2)
    y = F.layer_norm(x, (32,), own["norm2.weight"], own["norm2.bias"], 1e-6)
    first, second = (y @ own["mlp.weights_in.weight"].T + own["mlp.weights_in.bias"]).split(48, -1)
    y = (first * torch.sigmoid(first) * second) @ own["mlp.weights_out.weight"].T + own["mlp.weights_out.bias"]
    expected = x + own["layer_scale2.lambda1"] * y
    torch.testing.assert_close(full.flatten(2).transpose(1, 2), expected, rtol=1e-4, atol=1e-4)


def test_other_sizes_places_and_taps(tmp_path: Path) -> None:
    dino_folder(tmp_path, gated=True, blocks=40, width=16, hidden=24)
    dino = DinoV2.at(tmp_path)
    assert dino.taps("six") == (7, 20, 33, 15, 22, 39)
    assert dino.taps("deep1") == (33,) * 6
    done: list[float] = []
    found = dino.features(picture(48, 80), dino.taps("six"), heard=done.append)
    assert [f.shape for f in found] == [(1, 16, 6, 10)] * 6
    assert len(done) == 39
    assert sum(done) == pytest.approx(dino.work(48, 80, dino.taps("six")))
    twice = dino.features(picture(48, 80).repeat(2, 1, 1, 1), [7])[0]
    torch.testing.assert_close(twice[1:], found[0], rtol=1e-4, atol=1e-4)


def test_blocks_that_are_not_needed_are_not_read(tmp_path: Path) -> None:
    state = dino_folder(tmp_path, gated=False)
    state["encoder.layer.3.mlp.fc1.bias"][0] = torch.nan
    save_file(state, tmp_path / "model.safetensors")
    dino = DinoV2.at(tmp_path)
    assert torch.isfinite(dino.features(picture(), [3])[0]).all()
    with pytest.raises(WeightsError, match="not finite"):
        dino.features(picture(), [4])


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "dinov2_with_registers"}, "not of DINOv2"),
        ([], "not of DINOv2"),
        ({"model_type": "dinov2"}, "lacks 'num_attention_heads'"),
        ({"model_type": "dinov2", "num_attention_heads": 7, "num_hidden_layers": 4}, "are no DINOv2"),
        ({"model_type": "dinov2", "num_attention_heads": "x", "num_hidden_layers": 4}, "cannot be read as DINOv2"),
    ],
)
def test_other_configurations_are_refused(tmp_path: Path, config: object, words: str) -> None:
    dino_folder(tmp_path, gated=False, blocks=1)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=words):
        DinoV2.at(tmp_path)


def test_missing_cut_and_incomplete_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="needs config.json and model.safetensors"):
        DinoV2.at(tmp_path)
    state = dino_folder(tmp_path, gated=False)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(WeightsError, match="cannot be read as DINOv2"):
        DinoV2.at(tmp_path)
    del state["encoder.layer.2.norm1.bias"]
    state["encoder.layer.1.mlp.fc2.weight"] = torch.zeros(3, 3)
    save_file(state, tmp_path / "model.safetensors")
    for depth in (2, 3):
        with pytest.raises(WeightsError, match="not a whole DINOv2"):
            DinoV2.at(tmp_path).features(picture(), [depth])
