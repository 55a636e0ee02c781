"""The road to the backend: PROXY and XCLIENT, replies passed or replaced, pools, splice (POLICY.md sections 1 and 5)."""
import json
import os
import re
import socket
import ssl
import struct
import time

from lab import addresses as a

from .harness import case
from .sink import DOMAIN
from .smtp import Session, stuffed


def _received(t, domain):
    """Deliver to a recipient of the domain as an allowed client; the Received header of the MTA."""
    word = t.word("road")
    attempt = t.deliver(t.allowed(3), t.sender(), "alice@" + domain, t.content(word), helo="helo.lab.example")
    t.check(attempt.accepted, "%s: %s" % (domain, attempt))
    raw = t.maildir.raw(word.encode())
    t.equal("delivered by way of %s" % domain, len(raw), 1)
    t.equal("content by way of %s" % domain, t.maildir.content(raw[0]), t.content(word))
    return t.maildir.received(raw[0])


@case("PROXY v1, PROXY v2, XCLIENT, a backend over IPv6: the MTA sees the client's address and HELO",
      variants=("packet", "packet2", "xdp", "sanitized"))
def client_address(t):
    want = "[%s%s]" % ("IPv6:" if t.family == 6 else "", t.allowed(3))
    for domain in ("example.org", "v1.example", "xclient.example", "six.example"):
        received = _received(t, domain)
        t.check(want in received and "from helo.lab.example" in received, "%s: %s" % (domain, received))
    received = _received(t, "none.example")
    t.check(want not in received and a.LAN4 in received, "client_address = none: the gateway's own address: %s" % received)


@case("a pool whose first backend is dead uses the second")
def tried_in_turn(t):
    t.bench.mortal.stop()
    try:
        t.check(t.allowed(3) in _received(t, "tried.example"), "delivered by the second")
    finally:
        t.bench.mortal.start()


@case("a transaction belongs to one pool: recipients of another get 452 4.5.3")
def one_pool(t):
    sender = t.sender()
    with t.session(t.allowed()) as s:
        s.open()
        s.ask("MAIL FROM:<%s>" % sender)
        t.code("first", s.ask("RCPT TO:<one@sink.example>"), 250)
        reply = s.ask("RCPT TO:<two@example.org>")
        t.check(str(reply).startswith("452 4.5.3"), "of another pool: %s" % reply)
        t.code("third", s.ask("RCPT TO:<three@sink.example>"), 250)
        t.code("DATA", s.ask("DATA"), 354)
        s.send(stuffed(b"x\r\n"))
        t.code("dot", s.reply(), 250)
    t.equal("at the sink", [m.recipients for m in t.sink.find(sender=sender, complete=True)],
            [["one@sink.example", "three@sink.example"]])


@case("the backend's own words to RCPT and after the dot reach the client unchanged")
def passed_replies(t):
    defer, reject, later = (t.word(x) + "@" + DOMAIN for x in ("defer", "reject", "later"))
    with t.session(t.allowed()) as s:
        s.open()
        s.ask("MAIL FROM:<%s>" % t.sender())
        t.code("450", s.ask("RCPT TO:<%s>" % defer), 450, "4.2.0 <%s>: mailbox busy at the sink" % defer)
        t.code("another is taken", s.ask("RCPT TO:<ok@sink.example>"), 250)
    attempt = t.deliver(t.allowed(), t.sender(), reject, b"x\r\n")
    t.code("554 after the dot", attempt.final, 554, "5.6.0 the sink does not like it")
    attempt = t.deliver(t.allowed(), t.sender(), later, b"x\r\n")
    t.code("452 after the dot", attempt.final, 452, "4.3.1 the sink is full")


@case("a backend that closes at RCPT, inside DATA or after the dot costs a 451 4.3.0, never the session",
      variants=("packet", "packet2", "xdp", "sanitized"))
def backend_closes(t):
    for name in ("diercpt", "diedata", "diedot"):
        recipient, sender = t.word(name) + "@" + DOMAIN, t.sender()
        with t.session(t.allowed()) as s:
            s.open()
            s.ask("MAIL FROM:<%s>" % sender)
            reply = s.ask("RCPT TO:<%s>" % recipient)
            if name == "diercpt":
                t.check(str(reply).startswith("451 4.3.0"), "%s: %s" % (name, reply))
            else:
                t.code("RCPT", reply, 250)
                t.code("DATA", s.ask("DATA"), 354)
                for _ in range(40):         # the client goes on; its data is swallowed to the end
                    s.send(b"y" * 998 + b"\r\n")
                    time.sleep(0.002)
                s.send(b".\r\n")
                reply = s.reply()
                t.check(str(reply).startswith("451 4.3.0"), "%s: %s" % (name, reply))
            t.code("the session goes on", s.ask("RSET"), 250)
            s.ask("MAIL FROM:<%s>" % sender)
            t.code("the next message", s.ask("RCPT TO:<ok@sink.example>"), 250)
            t.code("DATA", s.ask("DATA"), 354)
            s.send(stuffed(b"after %s\r\n" % name.encode()))
            t.code("dot", s.reply(), 250)
            t.code("QUIT", s.ask("QUIT"), 221)


@case("a client gone before the dot leaves nothing complete at the backend; gone after it is logged unheard")
def client_gone(t):
    sender = t.sender()
    with t.session(t.allowed()) as s:
        s.open()
        s.ask("MAIL FROM:<%s>" % sender)
        s.ask("RCPT TO:<gone@sink.example>")
        t.code("DATA", s.ask("DATA"), 354)
        s.send(b"half a message\r\n.")
    t.wait("the sink has begun", lambda: t.sink.find(sender=sender), 5)
    time.sleep(1)
    t.equal("complete at the sink", [m.wire for m in t.sink.find(sender=sender, complete=True)], [])
    mark, sender = t.log.mark(), t.sender()
    with t.session(t.allowed()) as s:
        s.open()
        s.ask("MAIL FROM:<%s>" % sender)
        s.ask("RCPT TO:<%s@sink.example>" % t.word("slowdot"))
        t.code("DATA", s.ask("DATA"), 354)
        s.send(stuffed(b"x\r\n"))
        t.wait("the sink has all", lambda: t.sink.find(sender=sender, complete=True), 5)
        s.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))      # a reset, not a FIN
    entries = t.log.find("message", mark, wait_s=6, **{"from": sender})
    t.check(entries and "unheard" in entries[-1].line, "logged unheard: %s" % [e.line for e in entries])


@case("the submission listener is spliced: the MTA's banner, the client's address, STARTTLS end to end",
      variants=("packet", "packet2", "xdp", "sanitized"))
def submission(t):
    word = t.word("sub")
    attempt = t.deliver(t.client("noptr"), t.sender(), "alice@example.org", t.content(word), port=a.SUBMISSION_PORT)
    t.check(attempt.accepted, "neither DNS nor greylist: %s" % attempt)
    raw = t.maildir.raw(word.encode())
    t.check(t.client("noptr") in t.maildir.received(raw[0]), "the client's address: %s" % t.maildir.received(raw[0]))
    with Session(t.lab, t.stranger(), dest=t.gateway, port=a.SUBMISSION_PORT) as s:
        banner = s.reply()
        t.check("submission.lab.example" in banner.text, "the MTA's own banner: %s" % banner)
        t.check("STARTTLS" in str(s.ask("EHLO tls.example")), "STARTTLS is the MTA's")
        t.code("STARTTLS", s.ask("STARTTLS"), 220)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        s.socket = context.wrap_socket(s.socket)
        t.code("EHLO under TLS", s.ask("EHLO tls.example"), 250)
        content = t.content(t.word("tls"), b"under TLS\r\n" * 5000)
        s.ask("MAIL FROM:<%s>" % t.sender())
        t.code("RCPT", s.ask("RCPT TO:<alice@example.org>"), 250)
        t.code("DATA", s.ask("DATA"), 354)
        s.send(stuffed(content))
        t.code("dot", s.reply(), 250)


@case("the MTA down: 451 4.3.0, then delivered; what was WHITE stays WHITE", families=(4,), variants=("packet",))
def backend_down(t):
    source, sender, word = t.stranger(), t.sender(), t.word("down")
    t.make_known(source, sender, "alice@example.org")
    t.lab.stop("mta")
    try:
        attempt = t.deliver(source, sender, "alice@example.org", t.content(word))
        t.check(attempt.last is not None and str(attempt.last).startswith("451 4.3.0"), "while it is down: %s" % attempt)
    finally:
        t.lab.start("mta")
    t.wait("the MTA", lambda: t.lab.banner("mta", a.BACKEND4, a.MTA_PORT_PLAIN))
    attempt = t.wait("delivered at a retry", lambda: _accepted(t, source, sender, word), 45)
    t.equal("once", len(t.maildir.raw(word.encode())), 1)


def _accepted(t, source, sender, word):
    attempt = t.deliver(source, sender, "alice@example.org", t.content(word))
    t.check(attempt.last is None or attempt.last.seconds is None, "never greylisted again: %s" % attempt)
    t.check(not attempt.permanent, "never a 5xx: %s" % attempt)
    time.sleep(0.3)
    return attempt if attempt.accepted else None


@case("swaks delivers", variants=("packet", "xdp"))
def swaks(t):
    word = t.word("swaks")
    out = t.lab.net.exec("client", "swaks", "--server", t.gateway, "--local-interface", t.allowed(4), "--from", t.sender(),
                         "--to", "alice@example.org", "--helo", "swaks.lab.example", "--header", "Subject: " + word,
                         "--body", "from swaks", "--timeout", "30s", *(["-6"] if t.family == 6 else []))
    t.check(re.search(r"<\S*\s+250 2\.0\.0 Ok: queued as", out), "swaks says: %s" % out)
    t.equal("delivered", len(t.maildir.raw(word.encode())), 1)


@case("a real Postfix as sender queues, retries and delivers by itself", variants=("packet", "xdp"), families=(4,), limit_s=90)
def postfix_sender(t):
    word = t.word("postfix")
    t.lab.start("sender")
    t.wait("the sender", lambda: os.path.exists(t.lab.path("sender", "spool", "public", "pickup")))
    t.lab.in_root("client", "/usr/sbin/sendmail", "-C", "/lab/sender", "-f", t.word("x") + "@sender.lab.example",
                  "alice@example.org", text="Subject: %s\n\nby way of Postfix\n" % word)
    raw = t.maildir.raw(word.encode(), wait_s=60)
    t.equal("delivered", len(raw), 1)
    t.check(a.client4("sender") in t.maildir.received(raw[0]), "from the sender's address: %s" % t.maildir.received(raw[0]))
    with open(t.lab.path("log", "sender.log")) as f:
        text = f.read()
    t.check("Greylisted, please try again in" in text, "it met the greylist first")


@case("the gateway's probes keep a reachable backend up and name the one that is not", families=(None,), variants=("packet",))
def probes(t):
    def is_up(name):
        backends = json.loads(t.lab.ctl("--json", "backend", "list").stdout)
        backends = backends.get("backends", backends)
        return next(b["state"] for b in backends if b["name"] == name) == "up"
    t.wait("all are up", lambda: all(is_up(n) for n in ("mta1", "sink1", "v1", "xclient1", "six1", "none1", "tried1", "tried2")), 40)
    t.bench.mortal.stop()
    try:
        for _ in range(3):          # one failure alone is no verdict
            t.lab.ctl("backend", "probe", "tried1", check=False)
        t.wait("tried1 is down", lambda: not is_up("tried1"), 5)
        t.check(is_up("mta1") and is_up("tried2"), "the others are up")
    finally:
        t.bench.mortal.start()
        t.lab.ctl("backend", "probe", "tried1", check=False)
    t.wait("tried1 is up again", lambda: is_up("tried1"), 5)


@case("an open relay behind the gateway is taken out of service", families=(None,), variants=("packet",), limit_s=90)
def open_relay(t):
    path = t.lab.path("mta", "main.cf")
    with open(path) as f:
        before = f.read()
    try:
        with open(path, "w") as f:
            f.write(before.replace("mynetworks = 127.0.0.0/8", "mynetworks = 127.0.0.0/8 198.18.1.0/24 192.0.2.0/24 [2001:db8::]/32"))
        t.lab.stop("mta")
        t.lab.start("mta")
        t.wait("the MTA", lambda: t.lab.banner("mta", a.BACKEND4, a.MTA_PORT_PLAIN))
        t.lab.ctl("backend", "probe", "mta1", check=False)
        t.wait("mynetworks is named", lambda: "mynetworks" in t.lab.ctl("backend", "list").stdout
               or "mynetworks" in t.lab.ctl("--json", "backend", "list").stdout, 45)
    finally:
        with open(path, "w") as f:
            f.write(before)
        t.lab.stop("mta")
        t.lab.start("mta")
        t.wait("the MTA", lambda: t.lab.banner("mta", a.BACKEND4, a.MTA_PORT_PLAIN))
        t.lab.ctl("backend", "probe", "mta1", check=False)
        t.wait("served again", lambda: t.deliver("198.19.240.9", t.sender(), "alice@example.org",
                                                 t.content(t.word())).accepted, 45)
