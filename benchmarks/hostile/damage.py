"""Damage that needs no knowledge of what is damaged."""

import random

SPECIAL = (b"\0", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"\n", b"\r", b",", b"{", b"[", b"\x1b[2J", b"\xc2\x9b")


def damaged(blob: bytes, rng: random.Random) -> bytes:
    """A few random wounds."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        blob = rng.choice((flipped, cut, spliced, without, repeated, moved, grown))(blob, rng)
    return blob


def flipped(blob: bytes, rng: random.Random) -> bytes:
    """Single bits."""
    changed = bytearray(blob or b"\0")
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(blob: bytes, rng: random.Random) -> bytes:
    return blob[: rng.randrange(len(blob) + 1)]


def spliced(blob: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(blob) + 1)
    piece = rng.choice((*SPECIAL, rng.randbytes(rng.randrange(1, 9))))
    return blob[:at] + piece + blob[at + rng.randrange(9) :]


def without(blob: bytes, rng: random.Random) -> bytes:
    low, high = _part(blob, rng)
    return blob[:low] + blob[high:]


def repeated(blob: bytes, rng: random.Random) -> bytes:
    low, high = _part(blob, rng)
    return blob[:high] + blob[low:high] * rng.choice((1, 1, 2, 7)) + blob[high:]


def moved(blob: bytes, rng: random.Random) -> bytes:
    (low, high), at = _part(blob, rng), rng.randrange(len(blob) + 1)
    return blob[:at] + blob[low:high] + blob[at + high - low :]


def grown(blob: bytes, rng: random.Random) -> bytes:
    return blob + rng.choice((b"\0", b"\n", rng.randbytes(64)))


def _part(blob: bytes, rng: random.Random) -> tuple[int, int]:
    low = rng.randrange(len(blob) + 1)
    return low, min(len(blob), low + rng.choice((1, 8, 100, 1000)))
