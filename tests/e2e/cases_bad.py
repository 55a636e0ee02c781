"""Bad input: a correct reply or a closed connection, never a crash. Random sessions print their seed (./dev e2e --seed N)."""
import random
import socket
import struct
import threading
import time

from lab import addresses as a
from lab.netns import inside, open_socket

from . import smtp
from .harness import case

RANDOM_SESSIONS = 5000      # per family and variant in a usual run; --sessions 100000 for the long one


def _talk(t, source, octets, wait_s=20, cuts=None):
    """Say `octets` after the banner, stop talking, read to the end. Answers the replies; malformed ones raise."""
    replies = []
    with t.session(source, wait_s=wait_s) as s:
        try:
            replies.append(s.reply())
            at = 0
            for cut in list(cuts or []) + [len(octets)]:
                s.send(octets[at:cut])
                at = cut
            s.socket.shutdown(socket.SHUT_WR)
        except (smtp.Closed, OSError):
            pass
        try:
            while True:
                replies.append(s.reply())
        except smtp.Closed as error:
            if "timed out" in str(error):
                t.check(False, "neither a reply nor an end within %d s after %r" % (wait_s, octets[:200]))
    return replies


BAD = (
    ("NUL in a command", b"EHLO a\0b\r\nQUIT\r\n"),
    ("NUL alone", b"\0\r\nQUIT\r\n"),
    ("bare LF", b"EHLO a\nQUIT\n"),
    ("bare CR", b"EHLO a\rQUIT\r\r\n"),
    ("CR CR LF", b"EHLO a\r\r\nQUIT\r\n"),
    ("a line of 100,000 octets", b"EHLO " + b"a" * 100000 + b"\r\nQUIT\r\n"),
    ("a line of 513 octets", b"NOOP " + b"a" * 506 + b"\r\nQUIT\r\n"),
    ("a line that never ends", b"EHLO " + b"b" * 2000000),
    ("an address of 5,000 octets", b"EHLO a\r\nMAIL FROM:<" + b"a" * 5000 + b"@b.example>\r\nQUIT\r\n"),
    ("nothing", b""),
    ("line ends only", b"\r\n" * 2000),
    ("8-bit noise", bytes(range(256)) * 40),
    ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x5a" * 500),
    ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("a PROXY v2 header", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\x10\0\0\x19EHLO a\r\nQUIT\r\n"),
    ("a PROXY v1 header", b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 25\r\nEHLO a\r\nQUIT\r\n"),
    ("quotes that never close", b'EHLO a\r\nMAIL FROM:<"a@b.example>\r\nRCPT TO:<"\\\r\nQUIT\r\n'),
    ("brackets", b"EHLO [[[\r\nMAIL FROM:<<<<a@b>>>>\r\nMAIL FROM:<>>\r\nRCPT TO:<@a,@b:@c>\r\nQUIT\r\n"),
    ("address literals", b"EHLO [IPv6:::::]\r\nMAIL FROM:<a@[999.1.1.1]>\r\nRCPT TO:<a@[IPv6:zz]>\r\nQUIT\r\n"),
    ("parameters", b"EHLO a\r\nMAIL FROM:<a@b.example> SIZE= SIZE=1 SIZE=-1\r\nMAIL FROM:<a@b.example> SIZE=99999999999999999999999\r\nQUIT\r\n"),
    ("a thousand unknown commands", b"FOO\r\n" * 1000),
    ("STARTTLS not offered", b"EHLO a\r\nSTARTTLS\r\nQUIT\r\n"),
    ("BDAT not offered", b"EHLO a\r\nBDAT 5 LAST\r\nhelloQUIT\r\n"),
)


@case("malformed commands, overlong lines, NUL, bare CR and LF, noise", variants=("packet", "sanitized"), limit_s=240)
def malformed(t):
    for label, octets in BAD:
        replies = _talk(t, t.allowed(40), octets)
        t.check(replies, "%s: not even a banner" % label)
        t.check(all(r.code < 600 for r in replies), label)
        for r in replies[1:]:
            t.check(r.code != 354, "%s: no data without a recipient" % label)
    t.code("served afterwards", t.deliver(t.allowed(41), t.sender(), "ok@sink.example", b"x\r\n").final, 250)


@case("the overlong command is answered 500 and the session goes on", variants=("packet", "sanitized"))
def overlong(t):
    with t.session(t.allowed(40)) as s:
        s.open()
        reply = s.ask(b"NOOP " + b"x" * 4000 + b"\r\n")
        t.check(reply.code == 500, "overlong: %s" % reply)
        t.code("NOOP", s.ask("NOOP"), 250)


WORDS = (b"EHLO", b"HELO", b"MAIL FROM:", b"RCPT TO:", b"DATA", b"RSET", b"NOOP", b"VRFY", b"QUIT", b"EXPN", b"HELP", b"AUTH",
         b"STARTTLS", b"BDAT", b"XCLIENT", b"PROXY", b"mail from:", b"rcpt to:", b"data")
ARGUMENTS = (b"<>", b"<a@b.example>", b"<alice@example.org>", b"<ok@sink.example>", b"<unknown@sink.example>", b"<postmaster>",
             b"<x@elsewhere.example>", b"<\"a b\"@sink.example>", b"<@r.example:a@sink.example>", b"a", b"[192.0.2.1]",
             b"[IPv6:::1]", b"SIZE=10", b"SIZE=x", b"BODY=8BITMIME", b"SMTPUTF8", b"\xc3\xa4", b"5 LAST", b"")
ENDS = (b"\r\n",) * 12 + (b"\n", b"\r", b"\r\r\n", b"\0\r\n", b"", b"\r\n.\r\n", b"\n.\n")


def random_session(r):
    """Octets of one random session: mostly commands, some of them half right, some noise."""
    parts = [b"EHLO a\r\n"] if r.random() < 0.7 else []
    for _ in range(r.randrange(1, 12)):
        kind = r.random()
        if kind < 0.25:
            parts.append(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<ok@sink.example>\r\nDATA\r\n" + r.randbytes(r.randrange(60)) + b"\r\n.\r\n")
        elif kind < 0.85:
            line = r.choice(WORDS) + b" " * r.randrange(2) + b" ".join(r.choice(ARGUMENTS) for _ in range(r.randrange(3)))
            if r.random() < 0.1:
                at = r.randrange(len(line) + 1)
                line = line[:at] + r.randbytes(r.randrange(1, 9)) + line[at:]
            parts.append(line + r.choice(ENDS))
        else:
            parts.append(r.randbytes(r.choice((1, 10, 100, 2000))))
    return b"".join(parts)


@case("random sessions: a correct reply or an end, never a crash", variants=("packet", "sanitized"), limit_s=1800)
def random_sessions(t):
    count = t.sessions or RANDOM_SESSIONS
    failures = []
    threads_n = 16          # some sessions end with a second of silence
    sources = [t.allowed(50 + n) for n in range(threads_n)]
    done = [0] * threads_n

    def worker(n):
        for k in range(n, count, threads_n):
            if failures:
                return
            r = random.Random(t.seed * 1000003 + k)
            octets = random_session(r)
            cuts = sorted(r.sample(range(len(octets) + 1), min(len(octets), r.choice((0, 0, 0, 1, 5)))))
            try:
                _talk(t, sources[n], octets, cuts=cuts, wait_s=45)
            except Exception as error:
                failures.append("session %d of seed %d: %s: %r" % (k, t.seed, error, octets[:300]))
            done[n] += 1
    started = time.monotonic()
    threads = [threading.Thread(target=worker, args=(n,)) for n in range(threads_n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    t.equal("failures", failures[:1], [])
    t.note("%d sessions, seed %d, %.0f a second" % (sum(done), t.seed, sum(done) / (time.monotonic() - started)))
    t.code("served afterwards", t.deliver(t.allowed(41), t.sender(), "ok@sink.example", b"x\r\n").final, 250)


@case("frames that are no TCP, ICMP or ARP of ours: dropped, served afterwards", variants=("packet", "xdp", "sanitized"), families=(4,))
def frames(t):
    """Random and half-right Ethernet frames on the client's wire."""
    r = random.Random(t.seed)
    with inside(t.lab.net["client"]):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        wire.bind(("cli0", 0))
    own = wire.getsockname()[4]
    gateway = _gateway_mac(t)
    with wire:
        for n in range(5000):
            kind = r.choice((0x0800, 0x86dd, 0x0806, 0x8100, r.randrange(65536)))
            body = bytearray(r.randbytes(r.choice((0, 10, 20, 28, 40, 60, 100, 600, 1500 - 14))))
            if kind == 0x0800 and len(body) >= 20:
                body[0] = r.choice((0x45, 0x45, 0x46, 0x4f, 0x40))
                body[2:4] = r.choice((len(body), len(body) + 1, 20, 19, 0, 65535)).to_bytes(2, "big")
                body[6:8] = r.choice((0, 0x2000, 0x1fff, 0x4000)).to_bytes(2, "big")
                body[9] = r.choice((6, 6, 1, 17, 0, 58))
                body[12:16] = socket.inet_aton(t.allowed(60))
                body[16:20] = socket.inet_aton(a.GATEWAY4)
                body[10:12] = b"\0\0"
                total = sum(int.from_bytes(body[i:i + 2], "big") for i in range(0, 20, 2))
                total = (total & 0xffff) + (total >> 16)
                total = (total & 0xffff) + (total >> 16)
                body[10:12] = (~total & 0xffff).to_bytes(2, "big")
            elif kind == 0x86dd and len(body) >= 40:
                body[0:4] = b"\x60\0\0\0"
                body[4:6] = r.choice((len(body) - 40, 0, 65535, 8)).to_bytes(2, "big")
                body[6] = r.choice((6, 6, 58, 44, 0, 43, 60, 59))
                body[8:24] = socket.inet_pton(socket.AF_INET6, a.client6("good"))
                body[24:40] = socket.inet_pton(socket.AF_INET6, a.GATEWAY6)
            wire.send(gateway + own + kind.to_bytes(2, "big") + bytes(body))
    t.wait("served afterwards", lambda: t.deliver(t.allowed(41), t.sender(), "ok@sink.example", b"x\r\n").accepted, 10)


def _gateway_mac(t):
    t.session(t.allowed(42)).close()
    out = t.lab.net.exec("client", "ip", "neighbour", "show", a.GATEWAY4)
    return bytes.fromhex(out.split("lladdr ")[1].split()[0].replace(":", ""))


@case("a thousand connections opened and dropped in every way", variants=("packet", "xdp", "sanitized"), limit_s=120)
def dropped(t):
    family = socket.AF_INET6 if t.family == 6 else socket.AF_INET
    for n in range(1000):
        s = open_socket(t.lab.net["client"], family)
        s.settimeout(5)
        s.bind((t.allowed(70 + n % 50), 0))
        s.connect((t.gateway, 25))
        if n % 4 == 1:
            s.recv(100)
        if n % 4 == 2:
            s.sendall(b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<ok@sink.example>\r\nDATA\r\nhalf")
        if n % 3 == 0:              # a reset instead of a FIN
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    t.wait("served afterwards", lambda: t.deliver(t.allowed(41), t.sender(), "ok@sink.example", b"x\r\n").accepted, 20)
