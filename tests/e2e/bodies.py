"""Message contents of many shapes, each a thing that has gone wrong somewhere: what arrives must be these octets.

All are legal DATA: lines end with CRLF, no bare CR or LF, no NUL.
"""
import random


def _lines(*lines):
    return b"".join(line + b"\r\n" for line in lines)


def _noise(seed, octets, alphabet=None):
    """Random 8-bit text with line ends, never CR, LF or NUL inside a line."""
    r = random.Random(seed)
    table = bytes(x if x not in (0, 10, 13) else 32 + x for x in range(256)) if alphabet is None else None
    parts, total = [], 0
    while total < octets:
        length = min(r.choice((0, 1, 2, 71, 72, 78, 80, 998, 3000)), max(0, octets - total - 2))
        line = r.randbytes(length).translate(table) if table else bytes(r.choice(alphabet) for _ in range(length))
        parts.append(line + b"\r\n")
        total += length + 2
    return b"".join(parts)


def small():
    """(label, content) of contents small enough to be cut at every border."""
    yield "nothing at all", b""
    yield "one empty line", b"\r\n"
    yield "header only", _lines(b"Subject: x", b"")
    yield "a dot alone", _lines(b".")
    yield "dots", _lines(b".", b"..", b"...", b".x", b"x.", b"..x", b". ")
    yield "dot at the start of every line", _lines(*[b".%d" % n for n in range(20)])
    yield "near misses of the end", _lines(b"Subject: x", b"", b"..", b". .", b" .", b".\t", b"\t.", b"x", b".", b"QUIT", b".", b"")
    yield "empty lines", b"\r\n" * 30
    yield "8-bit", _lines(b"Subject: \xc3\xa4", b"", bytes(range(128, 256)), b"\xff\xfe.", b".\xff")
    yield "control characters", _lines(bytes(x for x in range(1, 32) if x not in (10, 13)), b"\x7f")
    yield "commands in the text", _lines(b"RSET", b"MAIL FROM:<x@y>", b"RCPT TO:<x@y>", b"DATA", b".", b"QUIT", b"BDAT 5 LAST")
    yield "250 in the text", _lines(b"250 2.0.0 Ok", b"354 go on", b"421 4.3.2 bye")


def large():
    """(label, content) of contents that fill many segments."""
    yield "one line of 100,000 octets", b"x" * 100000 + b"\r\n"
    yield "one line of a million dots", b"." * 1000000 + b"\r\n"
    yield "a hundred thousand lines that are a dot", b".\r\n" * 100000
    yield "lines as long as a segment", _lines(*[b"%04d" % n + b"y" * 1454 for n in range(200)])
    yield "dots around segment borders", _lines(*[b"z" * (n % 97) + b"\r\n." for n in range(1400, 1600)])
    yield "8-bit noise of 300,000 octets", _noise(1, 300000)
    yield "short alphabet of dots and spaces", _noise(2, 60000, b". \tx")


def huge(seed, octets=20 * 1000 * 1000):
    """20 MB of 8-bit noise, quick to make."""
    r = random.Random(seed)
    table = bytes(x if x not in (0, 10, 13) else 32 + x for x in range(256))
    block = b"".join(r.randbytes(n).translate(table) + b"\r\n" for n in (76, 0, 998, 1, 500, 70, 1446, 2000))
    lines, total = [], 0
    while total + len(block) + 20 <= octets:
        stamp = b".%016x\r\n" % r.getrandbits(64)
        lines.append(stamp + block)
        total += len(block) + len(stamp)
    lines.append(b"e" * max(0, octets - total - 2) + b"\r\n")
    return b"".join(lines)


def first_difference(got, want):
    """A sentence that says where two octet strings part."""
    if got == want:
        return "equal"
    n = next((i for i, (x, y) in enumerate(zip(got, want)) if x != y), min(len(got), len(want)))
    return "differ at octet %d of %d/%d: got %r, want %r" % (n, len(got), len(want), got[n:n + 40], want[n:n + 40])
