"""Made-up inputs: bytes cut, doubled and mixed, and values no sane client sends. Everything follows from one seed."""

import random

#: Values that parsers have stumbled over.
NUMBERS = (
    "0", "-1", "1", "2", "99", "1e9", "nan", "inf", "-inf", "1.5", "0x10", "", " 1", "1 ", "٣", "+1", "1_0",
    "9223372036854775807", "9223372036854775808", "18446744073709551616", "1" * 400,
)  # fmt: skip
TEXTS = (
    "", " ", ".", "..", "../x", "/", "a/b", "%", "%00", "%2e%2e%2f", "%ff", "%0d%0a", "\x00", "\x1b]0;x\x07", "\u202e",
    "é", "ü" * 600, "x" * 1025, "\\[/x]", "'", '"', "*", "\U0001f600", "\ud800",
)  # fmt: skip


def mutated(rng: random.Random, data: bytes, words: tuple[bytes, ...], times_max: int = 6) -> bytes:
    """Return the bytes after a few random cuts, flips, doublings and insertions of `words`."""
    out = bytearray(data)
    for _ in range(rng.randint(1, times_max)):
        at = rng.randint(0, len(out))
        end = min(len(out), at + rng.choice((1, 1, 2, 8, 40)))
        match rng.randrange(6):
            case 0:
                del out[at:end]
            case 1:
                out[at:at] = rng.choice(words)
            case 2 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 3:
                out[at:at] = out[at:end] * rng.choice((1, 3, 30))
            case 4:
                out[at:end] = rng.randbytes(end - at)
            case _:
                out[at:at] = rng.choice(words)
                del out[end : end + 1]
    return bytes(out)


def text(rng: random.Random) -> str:
    """Return a text that is seldom what was asked for."""
    if rng.random() < 0.5:
        return rng.choice(TEXTS)
    if rng.random() < 0.5:
        return rng.choice(NUMBERS)
    return "".join(chr(rng.choice((rng.randrange(32, 127), rng.randrange(0x250)))) for _ in range(rng.randrange(20)))


def json_value(rng: random.Random, depth: int = 0) -> object:
    """Return something that JSON can hold."""
    match rng.randrange(8 if depth < 4 else 5):
        case 0:
            return text(rng)
        case 1:
            return rng.choice((0, 1, 2, 3, -1, 2**31, 2**63, 2**64, 0.5, 1e308, -0.0))
        case 2:
            return rng.choice((True, False, None))
        case 3:
            return rng.choice(("n1", "n2", "n9", "join", "leave", "replace", "weight", "zone", "default"))
        case 4:
            return rng.random() * 10 ** rng.randrange(-5, 20)
        case 5:
            return [json_value(rng, depth + 1) for _ in range(rng.randrange(4))]
        case _:
            return {text(rng): json_value(rng, depth + 1) for _ in range(rng.randrange(4))}
