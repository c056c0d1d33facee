"""Bring weights of other programs into the safetensors format."""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restore.errors import WeightsError, nearest

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 4 * 2**30
"""Bytes of the most weights that are taken."""

WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "netG", "model", "net")
"""Keys under which training programs put a state dict, the best first."""

TYPES = (
    "float16", "bfloat16", "float32", "float64", "complex64", "bool",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
)  # fmt: skip
"""Types of tensors that are taken."""

UNSTATED = "not stated"
"""Terms of weights of which nobody said any, and none are known."""

PLANE_ORDERS = {"rggb": (0, 1, 2, 3), "rgbg": (0, 1, 3, 2)}
"""Places of R, G on red rows, G on blue rows, B in the planes that raw networks of other programs were trained on."""


def converted(source: Path, *, may_unpickle: bool, licence: str = UNSTATED, planes: str = "rgbg") -> bytes:
    """Return a PyTorch checkpoint as the bytes of a safetensors file.

    The raw U-Net of SID, ELD, PMN and PNNP is recognised by its names, and its first and last layers are turned
    from the plane order ``planes`` (those projects': ``"rgbg"``) into that of `restore.raw.bayer`.

    What RAM and RAM++ publish is recognised, too: names and shapes are checked, and its non-commercial terms are
    stated unless others are given.

    Only tensors are taken. The file is a pickle, which is read with PyTorch's restricted reader that runs no code of
    the file; still, it is read only when the caller says that it may be. Origin and licence go into the header.

    Raises
    ------
    WeightsError
        Not allowed, not readable, too large, without a state dict of finite tensors, or an unknown plane order.
    """
    import torch
    from safetensors.torch import save

    from restore.nets.ram_published import LICENCE, Kind, built, kind_of
    from restore.nets.sid_unet import SidUNet, in_our_order, is_sid

    if not may_unpickle:
        raise WeightsError(f"{source}: is a pickle; pass --allow-pickle if you trust where it comes from")
    try:
        content = _checked(source)
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        state = state_dict(loaded)
    except Exception as error:  # noqa: BLE001 - a made-up pickle can make its reader raise anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # PyTorch's words advise to let the file run code
            reason = "it is damaged, or holds more than tensors in plain tables"
        raise WeightsError(f"{source}: cannot be read as a PyTorch checkpoint ({reason})") from error
    if not state:
        raise WeightsError(f"{source}: holds no state dict (a table of names to tensors)")
    odd = [name for name, value in state.items() if not _is_plain(value)]
    if odd:
        found = "sparse, nested, without values or of a rare type"
        raise WeightsError(f"{source}: weights are {found} ({', '.join(odd[:3])}); save dense ones of 32 bits")
    size = sum(value.numel() * value.itemsize for value in state.values())
    if size > LARGEST:
        raise WeightsError(f"{source}: its tensors would fill {size} bytes; weights of {LARGEST} are the most taken")
    broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise WeightsError(f"{source}: weights are not finite ({', '.join(broken[:3])}); get the file again")
    about = {}
    if is_sid(state):
        SidUNet.from_state(state)  # raises where a shape differs
        if planes not in PLANE_ORDERS:
            raise WeightsError(f"unknown plane order {planes!r}.{nearest(planes, PLANE_ORDERS)}")
        state = in_our_order(state, PLANE_ORDERS[planes])
        about = {"method": "pnnp", "architecture": "SID raw U-Net, for --method pnnp"}
        about |= {"plane_order": "rggb", "trained_on": planes}
    kind = kind_of(state)
    if kind is not None:
        if kind is not Kind.SWINIR:  # that one is built by a package that need not be here yet
            built(state, kind)  # raises where a name or a shape differs
        about = {"method": "rampp", "architecture": f"{kind}, for --method rampp"}
        licence = LICENCE if licence == UNSTATED else licence
    origin = {"source": source.name, "source_sha256": hashlib.sha256(content).hexdigest(), "licence": licence}
    made: bytes = save({name: value.contiguous().clone() for name, value in state.items()}, metadata=about | origin)
    return made


def _checked(source: Path) -> bytes:
    """Return a checkpoint's bytes once they, and what its archive would unpack to, are known to be few enough."""
    size = source.stat().st_size
    if size > LARGEST:
        raise ValueError(f"it has {size} bytes, more than any weights we know")
    content = source.read_bytes()
    if zipfile.is_zipfile(io.BytesIO(content)):
        unpacked = sum(item.file_size for item in zipfile.ZipFile(io.BytesIO(content)).infolist())
        if unpacked > 2 * len(content) + 2**20:
            raise ValueError(f"its archive would unpack to {unpacked} bytes")
    return content


def _is_plain(value: Tensor) -> bool:
    is_there = str(value.layout) == "torch.strided" and value.device.type == "cpu" and not value.is_nested
    return is_there and str(value.dtype).removeprefix("torch.") in TYPES


def state_dict(content: Any) -> dict[str, Tensor]:
    """Find the state dict in a checkpoint, without the prefix that parallel training gives to all names.

    The members of a list of tensors (averaged weights) are named by their place.

    >>> import torch
    >>> list(state_dict({"params": {"module.a": torch.zeros(1), "module.b": torch.ones(1)}, "epoch": 3}))
    ['a', 'b']
    >>> list(state_dict({"decay": 0.9, "shadow_params": [torch.zeros(1), torch.ones(1)]}))
    ['shadow_params.0', 'shadow_params.1']
    """
    from torch import Tensor

    if not isinstance(content, dict):
        return {}
    for _ in WRAPPERS:  # no deeper: a table may hold itself
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content = inner
    lists = {f"{k}.{i}": value for k, v in content.items() if isinstance(v, list) for i, value in enumerate(v)}
    state = {str(name): value for name, value in (content | lists).items() if isinstance(value, Tensor)}
    has_prefix = bool(state) and all(name.startswith("module.") for name in state)
    return {name.removeprefix("module."): value for name, value in state.items()} if has_prefix else state
