"""Octet for octet: contents of every shape, cut at every border, large ones over a clean and a lossy wire."""
import hashlib
import threading
import time

from . import bodies, smtp
from .harness import case
from .smtp import stuffed


def _sent(t, sender, recipient, wire, cuts=None, pause_s=0.0, source=None):
    """One message by raw octets; `cuts` are offsets at which a new segment begins. The reply after the dot."""
    with t.session(source or t.allowed(5), wait_s=120) as s:
        s.open()
        t.code("MAIL", s.ask("MAIL FROM:<%s> BODY=8BITMIME" % sender), 250)
        t.code("RCPT", s.ask("RCPT TO:<%s>" % recipient), 250)
        t.code("DATA", s.ask("DATA"), 354)
        at = 0
        for cut in list(cuts or []) + [len(wire)]:
            s.send(wire[at:cut])
            at = cut
            if pause_s:
                time.sleep(pause_s)
        reply = s.reply()
        s.ask("QUIT")
    return reply


def _arrived(t, label, sender, content, wire):
    """Exactly one complete message of that sender at the sink, with these octets; dots stuffed as we sent them."""
    got = t.sink.find(sender=sender, complete=True)
    t.equal("%s: messages" % label, len(got), 1)
    t.check(got[0].content == content, "%s: %s" % (label, bodies.first_difference(got[0].content, content)))
    t.check(got[0].wire + b".\r\n" == wire, "%s, on the wire: %s" % (label, bodies.first_difference(got[0].wire + b".\r\n", wire)))


@case("small contents arrive octet for octet", variants=("packet", "packet2", "xdp", "xdp2", "sanitized"))
def small(t):
    for label, content in bodies.small():
        sender, wire = t.sender(), stuffed(content)
        t.code(label, _sent(t, sender, "small@sink.example", wire), 250)
        _arrived(t, label, sender, content, wire)
    t.sink.forget()


@case("small contents cut at every border arrive octet for octet", variants=("packet", "sanitized"), limit_s=240)
def every_border(t):
    """Each border once: the octets before it in one segment, the rest in another; and all of them one octet a segment.

    Many messages go through one session, so that the border is all that differs.
    """
    count = 0
    for label, content in bodies.small():
        wire = stuffed(content)
        borders = range(1, len(wire))
        if len(wire) > 120:                     # the interesting ones: around dots and line ends
            borders = [n for n in borders if wire[n - 1:n] in (b"\r", b"\n", b".") or wire[n:n + 1] in (b"\r", b"\n", b".")]
        with t.session(t.allowed(6), wait_s=60) as s:
            s.open()
            for cuts in [[n] for n in borders] + [list(range(1, len(wire)))]:
                sender = t.sender()
                t.code("MAIL", s.ask("MAIL FROM:<%s> BODY=8BITMIME" % sender), 250)
                t.code("RCPT", s.ask("RCPT TO:<cut@sink.example>"), 250)
                t.code("DATA", s.ask("DATA"), 354)
                at = 0
                for cut in cuts + [len(wire)]:
                    s.send(wire[at:cut])
                    at = cut
                    time.sleep(0.0005)          # TCP_NODELAY: what was written apart leaves apart
                t.code("%s cut at %s" % (label, cuts[:3]), s.reply(), 250)
                _arrived(t, "%s cut at %s" % (label, cuts[:3]), sender, content, wire)
                count += 1
            t.sink.forget()
    t.note("%d messages" % count)


@case("large contents arrive octet for octet", variants=("packet", "packet2", "xdp", "xdp2", "sanitized"), limit_s=120)
def large(t):
    for label, content in bodies.large():
        sender, wire = t.sender(), stuffed(content)
        t.code(label, _sent(t, sender, "large@sink.example", wire), 250)
        _arrived(t, label, sender, content, wire)
        t.sink.forget()


@case("contents arrive in the Maildir octet for octet", variants=("packet", "xdp"))
def maildir(t):
    for label, content in list(bodies.small()) + list(bodies.large())[2:]:
        if b"\x00" in content:
            continue
        word = t.word("md")
        content = t.content(word, content)
        t.code(label, _sent(t, t.sender(), "alice@example.org", stuffed(content)), 250)
        raw = t.maildir.raw(word.encode(), wait_s=20)
        t.equal("%s: messages" % label, len(raw), 1)
        got = t.maildir.content(raw[0])
        t.check(got == content, "%s: %s" % (label, bodies.first_difference(got, content)))
    t.maildir.forget()


@case("several transactions and commands in one segment with the data", variants=("packet", "packet2", "xdp", "sanitized"))
def pipelined_data(t):
    """After 354 the data, its end and the next transaction come in one write: the end is found exactly."""
    first, second = t.sender(), t.sender()
    with t.session(t.allowed(7)) as s:
        s.open()
        s.send(("MAIL FROM:<%s>\r\nRCPT TO:<p1@sink.example>\r\nDATA\r\n" % first).encode())
        t.equal("codes", [s.reply().code for _ in range(3)], [250, 250, 354])
        s.send(b"..one\r\n.\r\nMAIL FROM:<%s>\r\nRCPT TO:<p2@sink.example>\r\nDATA\r\n" % second.encode())
        t.equal("codes", [s.reply().code for _ in range(4)], [250, 250, 250, 354])
        s.send(b".\r\nQUIT\r\n")
        t.equal("codes", [s.reply().code for _ in range(2)], [250, 221])
    t.equal("first", [m.content for m in t.sink.find(sender=first, complete=True)], [b".one\r\n"])
    t.equal("second", [m.content for m in t.sink.find(sender=second, complete=True)], [b""])


def _twenty_megabytes(t, label, limit_s):
    content = bodies.huge(t.family)
    wire, sender = stuffed(content), t.sender()
    started = time.monotonic()
    reply = _sent(t, sender, "huge@sink.example", wire)
    took = time.monotonic() - started
    t.code(label, reply, 250)
    _arrived(t, label, sender, content, wire)
    t.note("%s: %.1f MB/s" % (label, len(wire) / took / 1e6))
    t.check(took < limit_s, "%s took %.0f s" % (label, took))
    t.sink.forget()


@case("20 MB over a clean wire", variants=("packet", "packet2", "xdp", "xdp2", "sanitized"), limit_s=120)
def huge_clean(t):
    _twenty_megabytes(t, "clean", 100)


@case("20 MB over a wire that loses one segment in a hundred, both ways", variants=("packet", "packet2", "xdp"), limit_s=300)
def huge_lossy(t):
    t.lab.net.lossy(1)
    try:
        _twenty_megabytes(t, "1 % lost", 280)
    finally:
        t.lab.net.lossy(0)


@case("20 MB back: what the splice carries from the MTA's side is the same octets", variants=("packet", "xdp"), limit_s=200)
def huge_back(t):
    """A peer behind the submission listener's pool that talks: 20 MB towards the client over the spliced connection."""
    import socket

    from lab import addresses as a
    from lab.netns import open_socket
    octets = bodies.huge(9)
    digest = hashlib.sha256(octets).hexdigest()
    t.lab.stop("mta")
    failure = []
    with open_socket(t.lab.net["mta"]) as listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((a.BACKEND4, a.MTA_PORT_SUBMISSION))
            listener.listen(16)
            listener.settimeout(60)

            def serve():
                try:
                    while True:
                        connection, _ = listener.accept()
                        with connection:
                            connection.settimeout(60)
                            head = connection.recv(16, socket.MSG_WAITALL)
                            connection.recv(int.from_bytes(head[14:16], "big"), socket.MSG_WAITALL)
                            connection.sendall(b"220 talker\r\n")
                            command = connection.recv(64)
                            if command.startswith(b"SEND"):
                                connection.sendall(octets)
                                connection.shutdown(socket.SHUT_WR)
                                connection.recv(1)
                            else:
                                connection.sendall(b"250 talker\r\n")
                except OSError as error:
                    failure.append(error)
            threading.Thread(target=serve, daemon=True).start()
            for label, percent in (("clean", 0), ("1 % lost", 1)):
                t.lab.net.lossy(percent)
                s = t.wait("the spliced listener", lambda: _talker(t), 45)
                with s:
                    started = time.monotonic()
                    s.send(b"SEND\r\n")
                    got = hashlib.sha256()
                    total = 0
                    while True:
                        more = s.socket.recv(262144)
                        if not more:
                            break
                        got.update(more)
                        total += len(more)
                    t.note("%s: %.1f MB/s" % (label, total / (time.monotonic() - started) / 1e6))
                t.equal("%s: octets" % label, total, len(octets))
                t.equal("%s: sha256" % label, got.hexdigest(), digest)
        finally:
            t.lab.net.lossy(0)
            try:
                listener.shutdown(socket.SHUT_RDWR)     # wakes accept(), which would hold the port
            except OSError:
                pass
            listener.close()
            t.lab.start("mta")
            t.wait("the MTA", lambda: t.lab.banner("mta", a.BACKEND4, a.MTA_PORT_PLAIN))
            t.lab.ctl("backend", "probe", "submission1", check=False)


def _talker(t):
    try:
        s = t.session(t.allowed(8), port=587, wait_s=60)
        if s.reply().text == "220 talker":
            return s
        s.close()
    except (smtp.Closed, smtp.Malformed):
        time.sleep(0.5)
    return None


@case("ten messages of 2 MB at once, over a lossy wire", variants=("packet", "packet2", "xdp"), families=(4,), limit_s=200)
def parallel(t):
    contents = [bodies.huge(100 + n, 2000000) for n in range(10)]
    senders = [t.sender() for _ in contents]
    failures = []

    def one(n):
        try:
            reply = _sent(t, senders[n], "par@sink.example", stuffed(contents[n]), source=t.allowed(20 + n))
            if reply.code != 250:
                failures.append("message %d: %s" % (n, reply))
        except Exception as error:
            failures.append("message %d: %s" % (n, error))
    t.lab.net.lossy(0.5)
    try:
        threads = [threading.Thread(target=one, args=(n,)) for n in range(len(contents))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        t.lab.net.lossy(0)
    t.equal("failures", failures, [])
    for n, content in enumerate(contents):
        _arrived(t, "message %d" % n, senders[n], content, stuffed(content))
    t.sink.forget()
