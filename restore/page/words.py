"""What a run did, in sentences for people."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from typing import Any

from restore import methods
from restore.jobs.show import of_pages
from restore.metrics import Scores
from restore.noise import CORRELATED, Noise
from restore.picture import Picture, RawImage

_MARKS = re.compile(r"[\\`*_{}\[\]#!|~$@]|:(?=//)|(?<=www)\.", re.IGNORECASE)
_STRENGTHS = ((0.5, "next to none"), (3.0, "little"), (8.0, "moderate"), (20.0, "strong"), (math.inf, "very strong"))


def literal(text: object) -> str:
    r"""Return text of a file or of a visitor for Markdown, which shows it as it is: no picture, link or markup.

    >>> literal("![x](http://a) <b> 1/2 photo.jpg")
    '\\!\\[x\\](http\\://a) &lt;b&gt; 1/2 photo.jpg'
    """
    return _MARKS.sub(r"\\\g<0>", escape(re.sub(r"\s+", " ", str(text)), quote=False))


def duration(seconds: float) -> str:
    """Say how long.

    >>> duration(0.4), duration(12.3), duration(200), duration(9000)
    ('0.4 s', '12 s', '3 min 20 s', '2 h 30 min')
    """
    if seconds < 9.5:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: int) -> str:
    """Say how many bytes.

    >>> size(1_570), size(5_950_680)
    ('1.6 kB', '6.0 MB')
    """
    return f"{count / 1e6:.1f} MB" if count > 1e5 else f"{count / 1e3:.1f} kB"


def left(share: float, seconds: float) -> str:
    """Say how long a run will still take that did ``share`` of its work in ``seconds``.

    >>> left(0.25, 10), left(0, 3)
    ('about 30 s left', 'starting')
    """
    if share <= 0.01:
        return "starting"
    return f"about {duration(seconds * (1 - share) / share)} left"


def exposure(seconds: float) -> str:
    """Say an exposure time as cameras do.

    >>> exposure(1 / 250), exposure(1 / 3), exposure(0.4), exposure(2)
    ('1/250 s', '1/3 s', '0.4 s', '2 s')
    """
    part = round(1 / seconds)
    return f"1/{part} s" if seconds < 0.5 and abs(part * seconds - 1) < 0.03 else f"{seconds:g} s"


def facts(picture: Picture, pages: int = 1) -> str:
    """Say what a picture is, the first of so many pages."""
    meta = picture.meta
    height, width = picture.size if meta.orientation < 5 else picture.size[::-1]
    parts = [f"**{width} × {height}**", f"{width * height / 1e6:.1f} MP"]
    kind = "raw" if isinstance(picture, RawImage) else (meta.format or "").upper()
    parts.append(f"{kind}, {meta.bits} bit{' float' if meta.is_float else ''}".strip(", "))
    if isinstance(picture, RawImage) and not picture.is_bayer:
        parts.append("not a Bayer pattern")
    parts += [f"the first of **{pages} pages** is shown"] if pages > 1 else []
    parts += [literal(meta.camera)] if meta.camera else []
    parts += [f"ISO {meta.iso:.0f}"] if meta.iso else []
    parts += [exposure(meta.exposure_s)] if meta.exposure_s else []
    return " · ".join(parts)


def noise(level: Mapping[str, Any]) -> str:
    """Say how much noise of what grain there is."""
    sigma = float(level["sigma"]) * 255
    strength = next(word for limit, word in _STRENGTHS if sigma < limit or limit == math.inf)
    if sigma < 0.5:
        return f"{strength} ({sigma:.1f} of 255)"
    grain = "coarse grain, as cameras and JPEG leave it" if level["correlation"] > CORRELATED else "fine grain"
    return f"{strength} ({sigma:.1f} of 255), {grain}"


def looked(picture: Picture, level: Noise, pages: int = 1) -> str:
    """Say what a picture is and how noisy, before anything is done to it; see `facts`."""
    return f"{facts(picture, pages)}\n\n**Noise found:** {noise(asdict(level))}"


def step(made: Mapping[str, Any]) -> str:
    """Say what one step was, and why."""
    said = methods.get(made["step"]["method"]).title
    if made["step"]["strength"] != 1:
        said += f" at strength {made['step']['strength']:g}"
    return f"{said}: {made['step']['reason']}" if made["step"]["reason"] else said


def helped(evidence: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say whether a step helped: alarms first, then what else was looked at.

    >>> helped([{"says": "no seam found", "is_alarm": False, "weight": "strong"}])
    ['**Did it help?** Nothing speaks against it.', '- no seam found (strong evidence)']
    """
    if not evidence:
        return []
    ordered = sorted(evidence, key=lambda found: not found["is_alarm"])
    alarms = sum(found["is_alarm"] for found in evidence)
    verdict = f"{alarms} of {len(ordered)} checks say: look closely." if alarms else "Nothing speaks against it."
    marked = [
        ("⚠ " if found["is_alarm"] else "") + f"{literal(found['says'])} ({found['weight']} evidence)"
        for found in ordered
    ]
    return [f"**Did it help?** {verdict}", *(f"- {line}" for line in marked)]


def report(record: Mapping[str, Any], seconds: float) -> str:
    """Say what a run did, from the side file of its result."""
    lines = [f"**All pages:** {of_pages(record['pages'])}:"] if record["pages"] else []
    lines += [f"**Not kept:** {literal(what)}" for what in record["dropped"]]
    for made in record["reports"]:
        lines.append(f"**Noise found:** {noise(made['noise'])}")
        lines.append(f"**Done:** {literal(step(made))} · {duration(made['seconds'])}")
        lines += [f"- {literal(note)}" for note in made["facts"].get("notes", ())]
        lines += helped(made["evidence"])
    tiles = {str(made["tile"]) for made in record["reports"]}
    whole = "in one piece" if tiles <= {"None"} else "in tiles"
    precision = record["recipe"]["precision"]
    lines.append(f"**Time:** {duration(seconds)} on {record['device']}, {precision}, {whole}")
    return "\n\n".join(dict.fromkeys(lines))


def scores(before: Scores, after: Scores) -> str:
    """Say how much nearer to a clean reference a result is."""
    rows = [("PSNR", before.psnr, after.psnr, " dB", 2), ("SSIM", before.ssim, after.ssim, "", 4)]
    said = [
        f"{name} {old:.{digits}f} → **{new:.{digits}f}**{unit}"
        for name, old, new, unit, digits in rows
        if not math.isnan(new)
    ]
    return "**Against the reference:** " + ", ".join(said)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an HTML table whose rows a narrow screen can stack; file names cannot smuggle markup in.

    >>> table(["A"], [["<b>"]])
    '<table class="figures"><thead><tr><th>A</th></tr></thead><tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>'
    """
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f'<table class="figures"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
