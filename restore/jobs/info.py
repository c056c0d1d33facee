"""What is known about a picture file, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from restore import files, noise
from restore.errors import RestoreError
from restore.files import Limits
from restore.jobs import lines
from restore.noise import Noise
from restore.picture import Picture, RawImage


def describe(path: Path, limits: Limits) -> dict[str, Any]:
    """Return what a file says of itself, and its noise as measured; of a stack, what its first page says.

    Raises
    ------
    FileError
        It cannot be read.
    """
    pages = files.read_stack(path, limits=limits)
    picture = pages[0]
    meta, (height, width) = picture.meta, picture.size
    level = noise.relative(picture)
    return {
        "source": str(path),
        "format": meta.format,
        "pages": len(pages),
        "width": width,
        "height": height,
        "bits": meta.bits,
        "is_float": meta.is_float,
        "camera": meta.camera,
        "iso": meta.iso,
        "exposure_s": meta.exposure_s,
        "orientation": meta.orientation,
        "has_profile": meta.icc is not None,
        **_kind(picture),
        "noise": asdict(level) | {"words": in_words(level)},
    }


def _kind(picture: Picture) -> dict[str, Any]:
    """Return what only a mosaic has, or only a developed picture."""
    if isinstance(picture, RawImage):
        return {
            "kind": "raw",
            "cfa": ["".join("RGB"[site] for site in row) for row in picture.cfa],
            "black": [list(row) for row in picture.black],
            "white": picture.white,
            "white_balance": list(picture.white_balance),
        }
    facts: dict[str, Any]
    has_more, is_beside = picture.alpha is not None, bool(picture.meta.extra.get("is_alpha_beside"))
    facts = {"has_alpha": has_more and not is_beside, "has_channel_beside": has_more and is_beside}
    facts |= {"unit": picture.unit(), "hint": picture.hint()}
    return {"kind": "developed", "channels": picture.pixels.shape[2], **facts}


def in_words(level: Noise) -> str:
    """Say a noise level for people.

    >>> in_words(Noise(12 / 255, (12 / 255,), confidence=0.9))
    'clear noise, sigma 12.0/255, measured with confidence'
    """
    amounts = ((1, "hardly any"), (5, "light"), (15, "clear"), (35, "strong"), (256, "very strong"))
    amount = next((word for limit, word in amounts if level.sigma * 255 < limit), "very strong")
    sure = "with confidence" if level.confidence >= 0.8 else "fairly well" if level.confidence >= 0.4 else "roughly"
    shape = ", growing with light" if level.gain > 0 and level.gain > level.read**2 else ""
    return f"{amount} noise, sigma {level.sigma * 255:.1f}/255{shape}, measured {sure}"


def sentences(facts: dict[str, Any]) -> str:
    """Say what `describe` found in a line for people."""
    colours = {1: "grey", 3: "RGB"}.get(facts.get("channels", 0), "")
    beside = {"has_alpha": " with alpha", "has_channel_beside": " with a channel beside"}
    more = "".join(said for name, said in beside.items() if facts.get(name))
    kind = "/".join(facts["cfa"]) if facts["kind"] == "raw" else colours + more
    bits = f"{facts['bits']}-bit{' float' if facts['is_float'] else ''}"
    pages = f"{facts['pages']} pages, the first of " if facts["pages"] > 1 else ""
    parts = [f"{pages}{facts['width']} x {facts['height']}", f"{facts['format']} {bits} {kind}", facts["camera"]]
    parts += [f"ISO {facts['iso']:g}" if facts["iso"] else None]
    parts += [f"{facts['exposure_s']:g} s" if facts["exposure_s"] else None]
    if facts["kind"] == "raw":
        black = "/".join(f"{value:g}" for value in sorted({v for row in facts["black"] for v in row}))
        gains = " ".join(f"{gain:.3g}" for gain in facts["white_balance"])
        parts += [f"black {black}, white {facts['white']:g}", f"white balance {gains}"]
    if facts.get("unit"):
        parts.append("values from {:.6g} to {:.6g} are taken for 0 to 1".format(*facts["unit"]))
    parts += [facts.get("hint")]
    parts += [f"orientation {facts['orientation']}" if facts["orientation"] != 1 else None, facts["noise"]["words"]]
    return f"{facts['source']}: " + "; ".join(part for part in parts if part)


def show(paths: Sequence[Path], limits: Limits, *, is_json: bool) -> int:
    """Describe files, each on a line; return 0, or 3 where some and 1 where all cannot be read."""
    failed = 0
    for path in paths:
        try:
            facts = describe(path, limits)
        except RestoreError as error:
            failed += 1
            if is_json:
                lines.say(lines.line("info", source=str(path), error=str(error)))
            else:
                lines.say_aside(f"error: {error}")
        else:
            lines.say(lines.line("info", **facts) if is_json else sentences(facts))
    return 0 if not failed else 1 if failed == len(paths) else 3
