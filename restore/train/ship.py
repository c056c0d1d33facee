"""Put trained weights where the package finds them: a safetensors file and its table in the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from restore import weights
from restore.files.atomic import replacing
from restore.train.loop import Progress

FREE_PHOTOS = "462 crops of 195 photos under CC0, public domain, CC-BY or CC-BY-SA"


def ship(
    key: str,
    state: Mapping[str, Tensor],
    progress: Progress,
    *,
    command: str,
    data: str = FREE_PHOTOS,
    seed: int = 0,
    scores: Mapping[str, float] | None = None,
    folder: Path | None = None,
    dtype: torch.dtype = torch.float16,
) -> Path:
    """Write ``<key>.safetensors`` and replace its table in ``manifest.toml``; return the weight file.

    Tensors are stored as ``dtype``: float16 keeps 11 bits, which costs a denoiser less than 0.001 dB.
    """
    folder = folder or weights.folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{key}.safetensors"
    save(path, state, {"method": key.split("-")[0], "command": command, "data": data}, dtype=dtype)
    entry = weights.Entry(
        sha256=weights.sha256(path),
        bytes=path.stat().st_size,
        licence="Apache-2.0",
        data=data,
        command=command,
        steps=progress.steps,
        hours=round(progress.seconds / 3600, 3),
        seed=seed,
        scores={name: round(value, 4) for name, value in (scores or {}).items()},
    )
    manifest = folder / "manifest.toml"
    old = manifest.read_text(encoding="utf-8") if manifest.exists() else ""
    with replacing(manifest) as part:
        part.write_text(_with_table(old, key, entry), encoding="utf-8")
    weights.manifest.cache_clear()
    return path


def save(
    path: Path,
    state: Mapping[str, Tensor],
    texts: Mapping[str, str] | None = None,
    *,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a weight file for ``restore run --weights``, with texts that say where it comes from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = {name: tensor.detach().cpu().to(dtype).contiguous() for name, tensor in state.items()}
    with replacing(path) as part:
        save_file(stored, part, dict(texts) if texts else None)


def _with_table(manifest: str, key: str, entry: weights.Entry) -> str:
    """Return a manifest with the table ``key`` (and its sub-tables) replaced, all others as they were."""
    blocks = [""]
    for line in manifest.splitlines(keepends=True):
        if line.startswith("["):
            blocks.append("")
        blocks[-1] += line
    others = [b.rstrip() for b in blocks if b.strip() and not b.startswith((f"[{key}]", f"[{key}."))]
    fields = entry.model_dump(exclude_defaults=True)
    scores = fields.pop("scores", {})
    lines = [f"[{key}]", *(f"{name} = {_toml(value)}" for name, value in fields.items())]
    if scores:
        lines += ["", f"[{key}.scores]", *(f"{_toml(name)} = {value!r}" for name, value in scores.items())]
    return "\n\n".join([*others, "\n".join(lines)]) + "\n"


def _toml(value: str | float) -> str:
    r"""Return a number or a one-line string as TOML.

    >>> _toml('a "b"'), _toml(3)
    ('"a \\"b\\""', '3')
    """
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if isinstance(value, str) else repr(value)
