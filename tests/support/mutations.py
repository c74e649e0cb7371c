"""Random changes to valid files, for fuzzers."""

from __future__ import annotations

import random
import re
import struct

# What a count, an index, a length or a coordinate must survive; in JSON, whatever still parses.
BOTH = ["0", "-1", "1", "2", "3", "255", "65536", "2147483648", "99999999999999999999", "0.5", "1e39", "-1e30", "1e-45"]
HOSTILE = [*BOTH, "4294967295", "nan", "inf", "-inf", "x", "", "1 1"]
JSON_HOSTILE = [*BOTH, "5126", "5121", "1e400", "NaN", "-Infinity", "null", "true", '"x"', "[]", "{}", "[0]"]


def mutated(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """`data` with one to four changes: bits, numbers that hurt, pieces cut out, doubled or taken from elsewhere."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(7):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                width = rng.choice([1, 2, 4, 8])
                number = rng.choice([0, 1, -1, 1 << (8 * width - 1), rng.getrandbits(8 * width)]) % (1 << 8 * width)
                at -= at % width  # fields are aligned
                changed[at : at + width] = number.to_bytes(width, rng.choice(["little", "big"]))
            case 2:
                del changed[at : at + rng.randint(1, 16)]
            case 3:
                changed[at:at] = changed[at : at + rng.randint(1, 32)]
            case 4:
                changed[at:at] = rng.randbytes(rng.randint(1, 8))
            case 5:
                other = rng.choice(others)
                length = rng.randint(1, 64)
                changed[at : at + length] = other[at : at + length]
            case _ if at + 4 <= len(changed):
                at -= at % 4
                (number,) = struct.unpack_from("<I", changed, at)
                struct.pack_into("<I", changed, at, (number + rng.choice([-4, -1, 1, 4])) % (1 << 32))
        if not changed:
            changed = bytearray(b"\0")
    return bytes(changed)


def with_other_words(text: bytes, rng: random.Random, hostile: list[str]) -> bytes:
    """`text` with one to three numbers replaced by `hostile` ones or by each other, or lines doubled or left out."""
    for _ in range(rng.randint(1, 3)):
        numbers = [match.span() for match in re.finditer(rb"(?<![\w.])-?\d+(\.\d+)?([eE][-+]?\d+)?(?![\w.])", text)]
        lines = text.split(b"\n")
        at = rng.randrange(len(lines))
        match rng.randrange(6):
            case 0 if len(lines) > 3:
                text = b"\n".join(lines[:at] + lines[at + 1 :])
            case 1 if len(lines) > 3:
                text = b"\n".join([*lines[: at + 1], *lines[at:]])
            case 2 if len(numbers) > 1:
                (first, last), (start, end) = rng.sample(numbers, 2)
                text = text[:first] + text[start:end] + text[last:]
            case _ if numbers:
                first, last = rng.choice(numbers)
                text = text[:first] + rng.choice(hostile).encode() + text[last:]
    return text
