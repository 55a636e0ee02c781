"""Real programs around the gateway: the smuggling corpus at Postfix, HAProxy in front, drain and ready, splice of known
clients; and observe mode, under which the backend gets what direct delivery gives. ./dev interop does more of this."""
import json
import random
import ssl

from interop import corpus
from lab import addresses as a
from lab import haproxy

from . import bodies
from .harness import KNOWN_PORT, case
from .sink import DIRECT_PORT, Sink
from .smtp import Session, stuffed

CORPUS_STRINGS = 300        # beside all of up to three octets: about four seconds


# --- the smuggling corpus

@case("the smuggling corpus at Postfix: each string one message, none smuggled", variants=("packet", "sanitized"), families=(4,))
def smuggling(t):
    rows = corpus.sample(CORPUS_STRINGS, t.seed)
    accepted = corpus.Accepted("postfix", t.lab.path("log", "mta.log"))
    t.equal("replies", corpus.through(t.lab, rows, a.SMTP_PORT, "x@" + a.CORPUS_DOMAIN,
                                      [t.allowed(100 + n) for n in range(4)]), [])
    t.wait("the MTA's log", lambda: len(accepted.read()[0]) >= len(rows), 10)
    t.equal("at Postfix", corpus.judge(rows, *accepted.read()), [])
    t.note("%d strings, seed %d" % (len(rows), t.seed))


@case("the smuggling corpus at Postfix under STARTTLS: a cut is a record's border, and nothing else changes",
      variants=("packet", "sanitized"), families=(6,))
def smuggling_under_tls(t):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    rows = corpus.sample(CORPUS_STRINGS, t.seed + 1)
    accepted = corpus.Accepted("postfix", t.lab.path("log", "mta.log"))
    t.equal("replies", corpus.through(t.lab, rows, a.SMTP_PORT, "x@" + a.CORPUS_DOMAIN,
                                      [t.allowed(110 + n) for n in range(4)], tls=context), [])
    t.wait("the MTA's log", lambda: len(accepted.read()[0]) >= len(rows), 10)
    t.equal("at Postfix", corpus.judge(rows, *accepted.read()), [])


@case("the same strings said to Postfix directly do smuggle: the corpus can fail", variants=("packet",), families=(4,))
def smuggling_directly(t):
    rows = [(n, s) for n, s in corpus.sample(0, 0) if s in (b".\n", b"\n.\n", b"\n", b"a")]
    accepted = corpus.Accepted("postfix", t.lab.path("log", "mta.log"))
    corpus.directly(t.lab, rows, a.BACKEND4, a.MTA_PORT_PLAIN, "x@" + a.CORPUS_DOMAIN)
    t.wait("the MTA's log", lambda: len(sum(accepted.read(), [])) >= len(rows) + 2, 10)
    by_number = dict(rows)
    t.equal("smuggled", sorted(by_number[n] for n in accepted.read()[1]), [b"\n.\n", b".\n"])


# --- a load balancer in front

def _by_balancer(t, version, source, sender, content, recipient="alice@example.org", **kw):
    router = a.ROUTER4 if t.family == 4 else a.ROUTER6
    return t.deliver(source, sender, recipient, content, dest=router, port=haproxy.PORTS[version], **kw)


@case("HAProxy in front of us: its clients are judged and named as themselves, its health checks answered",
      variants=("packet", "xdp"), limit_s=90)
def balanced(t):
    t.lab.start("haproxy")
    router = a.ROUTER4 if t.family == 4 else a.ROUTER6
    first = []
    for version in haproxy.PORTS:
        word, sender, source = t.word("hap"), t.sender(), t.stranger()
        content = t.content(word, bodies.huge(t.family, 300000))
        t.wait("HAProxy", lambda: t.lab.banner("client", router, haproxy.PORTS[version], t.allowed(90)), 10)
        mark = t.log.mark()
        attempt = _by_balancer(t, version, source, sender, content)
        t.check(attempt.last is not None and attempt.last.seconds is not None, "%s: a stranger is greylisted: %s" % (version, attempt))
        t.check(t.log.find("rcpt", mark, client=source), "%s: logged as %s" % (version, source))
        other = _by_balancer(t, version, t.stranger(), sender, content)
        t.check(other.last is not None and other.last.seconds is not None, "%s: and so is another: %s" % (version, other))
        t.code("%s: a listed client is refused" % version, _by_balancer(t, version, t.client("listed"), t.sender(), content).last, 554)
        first.append((version, word, sender, source, content))
    for version, word, sender, source, content in first:        # the waits of both run at once
        t.wait("%s: passes" % version, lambda: _passed(t, version, source, sender, content), 10)
        raw = t.maildir.raw(word.encode())
        t.equal("%s: delivered" % version, len(raw), 1)
        t.equal("%s: octets" % version, t.maildir.content(raw[0]), content)
        want = "[%s%s]" % ("IPv6:" if t.family == 6 else "", source)
        t.check(want in t.maildir.received(raw[0]), "%s: the MTA sees the client: %s" % (version, t.maildir.received(raw[0])))
    # a check every half second for three seconds now: headers of version 1 and 2, LOCAL among them
    with open(t.lab.path("log", "haproxy.out"), errors="replace") as f:
        text = f.read()
    t.check("in_v2_%d" % t.family in text, "HAProxy has a log: %s" % text[-500:])
    t.check("is DOWN" not in text, "HAProxy took the gateway out: %s" % text[-500:])


def _passed(t, version, source, sender, content):
    attempt = _by_balancer(t, version, source, sender, content)
    return attempt if attempt.accepted else None


@case("a PROXY header of anybody else is a line like any other; the balancer without one is not heard", variants=("packet",))
def not_the_balancer(t):
    source = t.stranger()
    with Session(t.lab, source, port=a.BALANCED_PORT) as s:
        t.code("banner", s.reply(), 220)
        reply = s.ask("PROXY TCP%d %s %s 1000 25" % (t.family, t.allowed(91), t.gateway))
        t.check(reply.code >= 500, "PROXY of a stranger: %s" % reply)
        s.ask("EHLO client.lab.example")
        s.ask("MAIL FROM:<%s>" % t.sender())
        t.check(s.ask("RCPT TO:<alice@example.org>").seconds is not None, "he is himself: greylisted")
    router = a.ROUTER4 if t.family == 4 else a.ROUTER6
    mark = t.log.mark()
    with Session(t.lab, router, port=a.BALANCED_PORT) as s:     # the balancer's address without a header
        s.send(b"EHLO balancer.example\r\n")
        t.check(s.at_end(10), "closed unheard")
    t.check(t.log.find("session", mark, client=router), "and logged")


# --- drain and ready

def _states(t):
    backends = json.loads(t.lab.ctl("--json", "backend", "list").stdout)
    return {b["name"]: b for b in backends.get("backends", backends)}


@case("a drained Postfix finishes the sessions it has and gets no new one; ready brings it back, and nobody is bounced",
      variants=("packet",), families=(4,), limit_s=90)
def drain_and_ready(t):
    first, second, later = t.word("dr"), t.word("dr"), t.word("dr")
    source, sender = t.stranger(), t.sender()
    t.make_known(source, sender, "alice@example.org")
    with t.session(t.allowed(92)) as s:
        s.open()
        s.ask("MAIL FROM:<%s>" % t.sender())
        t.code("RCPT", s.ask("RCPT TO:<alice@example.org>"), 250)
        t.code("DATA", s.ask("DATA"), 354)
        s.send(t.content(first)[:20])
        t.lab.ctl("backend", "drain", "mta1")
        try:
            s.send(t.content(first)[20:] + b".\r\n")
            t.code("the message under way", s.reply(), 250)
            s.ask("MAIL FROM:<%s>" % t.sender())
            t.code("the session's next message", s.ask("RCPT TO:<alice@example.org>"), 250)
            t.code("DATA", s.ask("DATA"), 354)
            s.send(stuffed(t.content(second)))
            t.code("the next message", s.reply(), 250)
            attempt = t.deliver(source, sender, "alice@example.org", t.content(later))
            t.check(attempt.last is not None and attempt.last.code == 451 and attempt.last.seconds is None,
                    "a new session is deferred, never refused: %s" % attempt)
            t.check(_states(t)["mta1"]["state"] != "up", "the list says so: %s" % _states(t)["mta1"])
        finally:
            t.lab.ctl("backend", "ready", "mta1")
    attempt = t.deliver(source, sender, "alice@example.org", t.content(later))
    t.check(attempt.accepted, "ready: taken at once, WHITE as before: %s" % attempt)
    for word in (first, second, later):
        t.equal("delivered", len(t.maildir.raw(word.encode())), 1)


@case("a pool whose first backend is drained delivers to the real Postfix behind it", variants=("packet",))
def drain_tried(t):
    t.lab.ctl("backend", "drain", "tried1")
    try:
        word = t.word("dt")
        attempt = t.deliver(t.allowed(93), t.sender(), "alice@tried.example", t.content(word))
        t.check(attempt.accepted, "delivered: %s" % attempt)
        t.equal("at Postfix", len(t.maildir.raw(word.encode())), 1)
    finally:
        t.lab.ctl("backend", "ready", "tried1")


# --- splice of known clients

@case("splice of known clients: Postfix itself speaks to them, and to nobody else", variants=("packet", "xdp"))
def known_clients(t):
    known, stranger = t.allowed(94), t.stranger()
    t.lab.ctl("set", "smtp.known_clients", "splice")
    try:
        # nobody waits for the verdict of a client that is allowed; once it is there, he is spliced
        t.wait("a splice", lambda: "mta.lab.example" in (t.lab.banner("client", t.gateway, KNOWN_PORT, known) or ""), 10)
        word = t.word("kc")
        content = t.content(word, bodies.huge(60 + t.family, 1000000))
        with Session(t.lab, known, port=KNOWN_PORT) as s:
            banner = s.reply()
            t.check("mta.lab.example" in banner.text, "the MTA's own banner: %s" % banner)
            t.check("ETRN" in str(s.ask("EHLO client.lab.example")), "and its own EHLO")
            s.ask("MAIL FROM:<%s> BODY=8BITMIME" % t.sender())
            t.code("RCPT", s.ask("RCPT TO:<alice@example.org>"), 250)
            t.check(s.ask("RCPT TO:<x@elsewhere.example>").code == 554, "Postfix relays for nobody")
            t.code("DATA", s.ask("DATA"), 354)
            s.send(stuffed(content))
            t.code("dot", s.reply(), 250)
            t.code("QUIT", s.ask("QUIT"), 221)
        raw = t.maildir.raw(word.encode())
        t.equal("delivered", len(raw), 1)
        t.equal("octets", t.maildir.content(raw[0]), content)
        t.check(known in t.maildir.received(raw[0]), "the MTA sees the client: %s" % t.maildir.received(raw[0]))
        attempt = t.deliver(stranger, t.sender(), "alice@example.org", t.content(t.word()), port=KNOWN_PORT)
        t.check(attempt.last.seconds is not None, "a stranger is greylisted: %s" % attempt)
    finally:
        t.lab.ctl("unset", "smtp.known_clients", check=False)
    with Session(t.lab, known, port=KNOWN_PORT) as s:
        t.check("gw.lab.example" in s.reply().text, "relayed again once it is off")


# --- observe mode

def _dialogues(t, number):
    """Mixed traffic: (client, helo, transactions, ends properly?) with (sender, options, recipients, content) each."""
    r = random.Random(t.seed + t.family)
    small = [content for _, content in bodies.small()]
    clients = [t.client(kind) for kind in ("good", "listed", "hinted", "noptr", "unconfirmed")] + [t.stranger() for _ in range(8)]
    for n in range(number):
        transactions = []
        for k in range(r.choice((1, 1, 2, 5))):
            content = r.choice(small) if r.random() < 0.7 else bodies.huge(r.randrange(1000), r.choice((3000, 20000, 150000)))
            names = r.sample(("one", "two", "three", "unknown", "defer", "postmaster", "reject", "later"), r.choice((1, 1, 2, 4)))
            sender = "" if r.random() < 0.1 else "m%d.%d@observed.example" % (n, k)
            options = r.choice(("", " BODY=8BITMIME", " BODY=8BITMIME SIZE=%d" % len(content)))
            transactions.append((sender, options, [x + "@sink.example" for x in names], content))
        yield r.choice(clients), "host%d.example" % n, transactions, r.random() < 0.8, r.randrange(1 << 30)


def _play(s, helo, transactions, ends, seed):
    """One dialogue, cut as the seed says; the replies' codes."""
    r, codes = random.Random(seed), []
    s.open(helo)
    for sender, options, recipients, content in transactions:
        codes.append(s.ask("MAIL FROM:<%s>%s" % (sender, options)).code)
        accepted = [s.ask("RCPT TO:<%s>" % recipient).code for recipient in recipients]
        codes += accepted
        if 250 not in accepted:
            codes.append(s.ask("RSET").code)
            continue
        codes.append(s.ask("DATA").code)
        wire, at = stuffed(content), 0
        while at < len(wire):
            step = r.choice((1, 3, 100, 1448, 8000, 60000))
            s.send(wire[at:at + step])
            at += step
        codes.append(s.reply().code)
    if ends:
        codes.append(s.ask("QUIT").code)
    return codes


def _kept(messages):
    return [(m.sender, m.recipients, m.wire, m.complete, (m.answered or "")[:3]) for m in messages]


@case("observe: of mixed traffic the backend gets, octet for octet, what direct delivery gives",
      variants=("packet", "packet2", "xdp", "sanitized"), limit_s=120)
def observe_equals_direct(t):
    direct = Sink(t.lab, port=DIRECT_PORT, proxy=False).start()
    t.lab.ctl("set", "mode", "observe")
    messages = octets = 0
    try:
        for client, helo, transactions, ends, seed in _dialogues(t, 60):
            t.sink.forget()
            direct.forget()
            with t.session(client, wait_s=60) as s:
                got = _play(s, helo, transactions, ends, seed)
            with Session(t.lab, None, dest=a.backend(t.family), port=DIRECT_PORT, role="mta") as s:
                want = _play(s, helo, transactions, ends, seed)
            t.equal("codes to %s %s" % (client, helo), got, want)
            t.wait("%s: as many messages" % helo, lambda: len(t.sink.messages) >= len(direct.messages), 5)
            through, beside = _kept(t.sink.find()), _kept(direct.find())
            t.check(through == beside, "%s: the backend got %s, directly %s" % (
                helo, [m[:2] + m[3:] for m in through], [m[:2] + m[3:] for m in beside]))
            t.equal("the client at the backend", {m.client[0] for m in t.sink.messages} - {t.host(client)}, set())
            messages += len(through)
            octets += sum(len(m[2]) for m in through)
    finally:
        t.lab.ctl("unset", "mode", check=False)
        direct.stop()
        t.sink.forget()
    t.check(not direct.errors, "the direct sink: %s" % direct.errors)
    t.note("%d messages, %d octets, seed %d" % (messages, octets, t.seed))
