"""What a JPEG says of a picture beside EXIF, profile and XMP: comments, extended XMP, and Photoshop's with IPTC."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable

_PHOTOSHOP = b"Photoshop 3.0\0"
EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_POINTER = re.compile(rb"""\s*xmpNote:HasExtendedXMP\s*=\s*["']\w*["']|<xmpNote:HasExtendedXMP>\w*</[\w:]*>""")
_THUMBNAILS = {1033, 1036}
_LONGEST = 65533
_MOST = 64 << 20


def kept(segments: Iterable[tuple[str, bytes]]) -> bytes | None:
    """Return the segments that a restored picture keeps, as they stand in its file; None for 64 MiB and more.

    Parameters
    ----------
    segments
        Name (``"APP1"``, ``"COM"``, ...) and content of each.
    """
    found, photoshop = [], []
    for name, data in segments:
        if name == "COM":
            found.append(_segment(0xFE, data))
        elif name == "APP1" and data.startswith(EXTENDED_XMP):
            found.append(_segment(0xE1, data))
        elif name == "APP13" and data.startswith(_PHOTOSHOP):
            photoshop.append(data.removeprefix(_PHOTOSHOP))
    blocks, room = resources(b"".join(photoshop)), _LONGEST - len(_PHOTOSHOP)
    found += [_segment(0xED, _PHOTOSHOP + blocks[at : at + room]) for at in range(0, len(blocks), room)]
    body = b"".join(found)
    return body if len(body) < _MOST else None


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def resources(blocks: bytes) -> bytes:
    r"""Return Photoshop's image resources (IPTC, paths, ...) without its thumbnails, which show the old picture.

    >>> iptc = b"8BIM\4\4\0\0\0\0\0\2ab"
    >>> resources(iptc + b"8BIM\4\x0c\0\0\0\0\0\3jpg\0") == iptc
    True
    """
    at, found = 0, []
    while at + 12 <= len(blocks):
        code, name = struct.unpack_from(">4xHB", blocks, at)
        start = at + 10 + (name + 2) // 2 * 2
        length = int.from_bytes(blocks[start - 4 : start], "big")
        end = start + length + length % 2
        if start + length > len(blocks):
            break
        if code not in _THUMBNAILS:
            found.append(blocks[at:end])
        at = end
    return b"".join(found)


def without_pointer(xmp: bytes) -> bytes:
    r"""Return an XMP packet that does not tell of an extension, for where that is not kept.

    >>> without_pointer(b'<rdf:Description a="b" xmpNote:HasExtendedXMP="0F"/>')
    b'<rdf:Description a="b"/>'
    """
    return _POINTER.sub(b"", xmp)
