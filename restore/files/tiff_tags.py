"""Which tags of a TIFF say something of the photograph, and where they are kept."""

from __future__ import annotations

from restore.files import ifd
from restore.files.segments import resources

_PHOTOSHOP, _LAYERS, _IMAGEJ = 34377, 37724, {50838, 50839}
_DROPPED = {_LAYERS: "Photoshop's layers", ifd.SUB_IFDS: "smaller copies (a pyramid's, SubIFDs)"}
STRUCTURE = frozenset(
    {*range(254, 260), *range(262, 267), 273, *range(277, 282), 284, *range(288, 294), 297, 301, 317, 320, 321}
    | {*range(322, 328), 330, *range(332, 348), *range(512, 522), 529, 530, 532}
    | {ifd.XMP, ifd.ICC, _PHOTOSHOP, _LAYERS, *_IMAGEJ}
)
"""Tags that describe the file and not the photograph, or that are stored on their own."""
_LARGEST, _MOST = 60_000, 64 << 20


def only_in_tiff(tags: ifd.Tree) -> tuple[ifd.Entries, list[str]]:
    """Return the tags that a TIFF alone keeps, and what is dropped, in phrases.

    Those are ImageJ's, Photoshop's without thumbnail and layers, and what is too large for EXIF; 64 MiB at most.
    Smaller copies are dropped, too, as they show the old picture.
    """
    found, dropped = {}, [words for tag, words in _DROPPED.items() if tag in tags]
    for tag, item in tags.items():
        if not isinstance(item, ifd.Entry):
            continue
        if tag in _IMAGEJ or (tag not in STRUCTURE and len(item.data) > _LARGEST):
            found[tag] = item
        if tag == _PHOTOSHOP and (blocks := resources(item.data)):
            found[tag] = ifd.Entry(ifd.BYTE, blocks)
    if sum(len(entry.data) for entry in found.values()) > _MOST:
        return {}, [*dropped, "tags of more than 64 MiB"]
    return found, dropped


def exif_of(tags: ifd.Tree, order: str) -> bytes | None:
    """Return an EXIF block of all tags that describe the photograph, or None if there are none."""
    kept: ifd.Tree = {}
    for tag, item in tags.items():
        is_small = not isinstance(item, ifd.Entry) or len(item.data) <= _LARGEST
        if tag not in STRUCTURE and is_small:
            kept[tag] = item
    if not set(tags) - STRUCTURE.difference(_IMAGEJ) - {ifd.ORIENTATION, ifd.X_RESOLUTION, ifd.Y_RESOLUTION, ifd.UNIT}:
        return None
    return ifd.block(kept, order)
