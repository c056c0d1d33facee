"""The tabs that only tell: the methods with their weights, and what this page does with pictures."""

from __future__ import annotations

import restore
from restore import methods, weights
from restore.errors import WeightsError
from restore.files import Limits
from restore.method import Method
from restore.page import words
from restore.page.controls import problem
from restore.picture import Domain

_DOMAINS = {
    None: "raw mosaics and developed pictures",
    Domain.MOSAIC: "the raw mosaic, before development",
    Domain.SRGB: "developed pictures",
}


def models() -> list[str]:
    """Return a card for every method, in Markdown."""
    return [_card(method) for method in methods.registry().values()]


def _card(method: Method) -> str:
    facts = [("Name for the command", f"`{method.name}`"), ("Works on", _DOMAINS[method.domain])]
    facts += [("Paper", method.paper)] if method.paper else []
    facts.append(("Licence of the code", method.licence))
    lines = [f"### {method.title}", method.summary]
    if problem(method):
        lines.append(f"**Not available here:** {problem(method)}")
    elif method.weights is None:
        facts.append(("Weights", "needs none"))
    else:
        facts += _of_weights(method.weights)
    return "\n\n".join([*lines, "\n".join(f"- **{name}:** {value}" for name, value in facts)])


def _of_weights(key: str) -> list[tuple[str, str]]:
    try:
        entry = weights.manifest()[key]
    except (WeightsError, KeyError):
        return []
    scores = ", ".join(f"{name} {value:g}" for name, value in entry.scores.items())
    return [
        ("Weights", f"`{key}`, {words.size(entry.bytes)}, {entry.licence}, checked against the manifest"),
        ("SHA-256", f"`{entry.sha256}`"),
        ("Trained on", entry.data),
        ("Trained by", f"`{entry.command}` ({entry.hours:g} h)"),
        *([("Scores", scores)] if scores else []),
    ]


def about(limits: Limits, kept_seconds: int) -> str:
    """Return what this page is and what becomes of pictures, in Markdown."""
    return f"""
### restore {restore.__version__}

Denoises and restores photographs, raw and developed. This page, the command `restore` and the Python call
`restore.run` are three doors to one pipeline: for the same picture and recipe they write the same bytes.

**What you see is what you get.** The slider and the crop show the very file that you download, read back from the
disk, without lossy compression. The file itself keeps full depth, metadata and colour profile; a raw file whose
mosaic alone was worked on becomes a DNG.

**Your pictures stay here.** They are computed on this machine. Nothing is sent anywhere: no telemetry, no fonts or
scripts from other servers. Working files go when you close the tab, uploads and results after
{kept_seconds // 3600} hours, everything when the page ends. Where several people use one address, whoever learns the
(unguessable) address of a file can fetch it.

**Limits of this page.** {limits.max_pixels / 1e6:g} megapixels and {limits.max_bytes / 1e6:g} MB a file; the command
has wider ones, and `restore ui --max-megapixels N --max-bytes N` sets these. Raw files and rare formats are decoded in
a process of their own.

**The recipe** beside every result says how it was made: methods, settings, checksums, versions. Give it back under
*Advanced*, or to `restore run --recipe`, and the same picture is made again.

**For programs:** every control has a name; see *Use via API* at the foot of the page.
"""
