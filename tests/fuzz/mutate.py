"""Ways to damage a file: flipped bits, cuts, lying length fields, pieces of other files."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Sequence

NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    8,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFF0,
)
NUMBERS += (0xFFFFFFFF, 0x100000000, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 10_000, 30_000, 65_000, 1 << 24, 1 << 28)
PNG = b"\x89PNG\r\n\x1a\n"


def _place(body: bytearray, rng: random.Random) -> int:
    """Return a place, mostly in the header, where the structure is."""
    return rng.randrange(min(len(body), rng.choice((64, 400, 4000, len(body)))))


def flip(body: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        body[_place(body, rng)] ^= 1 << rng.randrange(8)


def overwrite(body: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    for _ in range(rng.choice((1, 2, 5))):
        body[_place(body, rng)] = rng.choice((0, 255, rng.randrange(256)))


def truncate(body: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    del body[max(1, rng.randrange(len(body))) :]


def lie(body: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    """Overwrite what may be a length, a count, a size or an offset."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        code, number = rng.choice("HIIIQ"), rng.choice((rng.choice(NUMBERS), rng.randrange(2 * len(body) + 2)))
        width = struct.calcsize("<" + code)
        at = _place(body, rng) & ~(rng.choice((1, 2)) - 1)
        field = struct.pack(rng.choice("<>") + code, number & ((1 << 8 * width) - 1))
        body[at : at + width] = field[: max(0, len(body) - at)]


def splice(body: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    """Go on with another file's end, or carry a piece of it."""
    other = rng.choice(others)
    at, start = rng.randrange(len(body)), rng.randrange(len(other))
    if rng.random() < 0.5:
        body[at:] = other[start:]
    else:
        piece = other[start : start + rng.choice((4, 16, 100, 1000))]
        body[at : at + rng.choice((0, len(piece)))] = piece


def move(body: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    """Leave out a piece, or repeat one."""
    at, length = _place(body, rng), rng.choice((1, 2, 4, 12, 50, 500))
    piece = body[at : at + length]
    if rng.random() < 0.5:
        del body[at : at + length]
    else:
        body[at:at] = piece * rng.choice((1, 2, 30))


WAYS: tuple[Callable[[bytearray, random.Random, Sequence[bytes]], None], ...] = (
    flip, overwrite, truncate, lie, lie, splice, move,
)  # fmt: skip


def mutant(body: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Return a damaged copy."""
    made = bytearray(body)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choice(WAYS)(made, rng, others)
        if not made:
            made += b"\0"
    return with_sums(bytes(made)) if made.startswith(PNG) and rng.random() < 0.8 else bytes(made)


def with_sums(body: bytes) -> bytes:
    """Return a PNG whose chunks have the right check sums, so that damage gets past them."""
    made, at = bytearray(body), 8
    while at + 12 <= len(made):
        (length,) = struct.unpack_from(">I", made, at)
        end = at + 8 + length
        if end + 4 > len(made):
            break
        made[end : end + 4] = struct.pack(">I", zlib.crc32(bytes(made[at + 4 : end])))
        at = end + 4
    return bytes(made)
