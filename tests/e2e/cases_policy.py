"""Policy as senders meet it: greylist, DNS verdicts, order of tests, dialogue (POLICY.md sections 2 to 4, 6 and 7)."""
import re
import socket
import time

from lab import addresses as a

from .harness import BLOCK_S, case
from .smtp import Closed, stuffed

REJECT = r"554 5\.7\.1 Sending address not accepted due to spam filter; %s \([0-9A-Za-z-]+\)"


@case("the greylist counts down, passes the retry, then passes at once",
      variants=("packet", "packet2", "xdp", "sanitized"))
def greylist_timeline(t):
    source, sender, recipient, word = t.stranger(), t.sender(), "alice@example.org", t.word("tl")
    content = t.content(word)
    first = t.deliver(source, sender, recipient, content)
    t.equal("first attempt", str(first.last), "451 4.7.1 Greylisted, please try again in %d seconds" % BLOCK_S)
    time.sleep(1.2)
    early = t.deliver(source, sender, recipient, content)
    t.check(early.last.seconds is not None and 1 <= early.last.seconds < BLOCK_S, "a smaller number: %s" % early)
    time.sleep(early.last.seconds)
    retry = t.deliver(source, sender, recipient, content)
    t.check(retry.accepted, "the retry passes: %s" % retry)
    raw = t.maildir.raw(word.encode())
    t.equal("messages in the MTA", len(raw), 1)
    t.check("[%s%s]" % ("IPv6:" if t.family == 6 else "", source) in t.maildir.received(raw[0]),
            "the client's own address in Received: %s" % t.maildir.received(raw[0]))
    t.equal("content", t.maildir.content(raw[0]), content)
    again = t.deliver(source, sender, recipient, t.content(t.word()))
    t.check(again.accepted, "the next passes at once: %s" % again)


@case("the greylist's triplet: another sender or recipient is new, another host of the network is not")
def greylist_key(t):
    source, sender = t.stranger(), t.sender()
    t.make_known(source, sender, "alice@example.org")
    t.check(t.deliver(source, t.sender(), "alice@example.org", b"").last.seconds, "another sender is new")
    t.check(t.deliver(source, sender, "bob@example.org", b"").last.seconds, "another recipient is new")
    neighbour = t.neighbour(source, 200)       # has no reverse DNS: the client verdict comes before the greylist
    attempt = t.deliver(neighbour, t.sender(), "alice@example.org", b"")
    t.check(attempt.permanent and "no reverse DNS" in str(attempt.last), "the client verdict is first: %s" % attempt)
    attempt = t.deliver(t.neighbour(source, 2), sender, "alice@example.org", t.content(t.word()))
    t.check(attempt.accepted, "another host of the network has the same triplet: %s" % attempt)
    attempt = t.deliver(source, sender.upper(), "Alice@EXAMPLE.org", t.content(t.word()))
    t.check(attempt.accepted, "ASCII case is folded: %s" % attempt)


@case("a listed address is refused with the zone's name and a reference that why knows")
def listed(t):
    mark = t.log.mark()
    with t.session(t.client("listed")) as s:
        s.open()
        t.code("MAIL", s.ask("MAIL FROM:<%s>" % t.sender()), 250)
        reply = s.ask("RCPT TO:<alice@example.org>")
        t.check(re.fullmatch(REJECT % re.escape(a.BLOCKLIST), str(reply)), "the reply: %s" % reply)
        t.code("DATA after nothing but refusals", s.ask("DATA"), 554)
        t.code("QUIT", s.ask("QUIT"), 221)
    reference = re.search(r"\((.*)\)$", reply.text).group(1)
    t.check(t.log.find("rcpt", mark, client=t.client("listed"), ref=reference), "a rcpt line with the reference %s" % reference)
    why = t.lab.ctl("why", reference)
    t.check(t.client("listed") in why.stdout, "why %s: %s" % (reference, why.stdout))


@case("no reverse DNS is refused; DNS that fails is not")
def reverse_dns(t):
    reply = t.deliver(t.client("noptr"), t.sender(), "alice@example.org", b"").last
    t.check(re.fullmatch(REJECT % "no reverse DNS", str(reply)), "without PTR: %s" % reply)
    for kind in ("unconfirmed", "dnsfail", "dnstimeout", "hinted"):
        started = time.monotonic()
        reply = t.deliver(t.client(kind), t.sender(), "alice@example.org", b"").last
        took = time.monotonic() - started
        t.check(reply is not None and reply.seconds, "%s is greylisted: %s" % (kind, reply))
        t.check(took < 3.0, "%s is answered within the deadline: %.1f s" % (kind, took))


@case("postmaster and abuse pass from a listed client without greylisting")
def postmaster(t):
    for recipient in ("postmaster@example.org", "Postmaster@EXAMPLE.ORG", "abuse@example.org"):
        word = t.word("pm")
        attempt = t.deliver(t.client("listed"), t.sender(), recipient, t.content(word))
        t.check(attempt.accepted, "%s: %s" % (recipient, attempt))
        t.equal("delivered to %s" % recipient, len(t.maildir.raw(word.encode())), 1)
    with t.session(t.client("listed")) as s:
        s.open()
        s.ask("MAIL FROM:<%s>" % t.sender())
        reply = s.ask("RCPT TO:<postmaster>")
        t.check(reply.code == 250 or "spam filter" not in reply.text, "<postmaster> is not for us to refuse: %s" % reply)


@case("relaying is denied before DNS, greylist and backend")
def relaying(t):
    for source in (t.stranger(), t.client("noptr"), t.allowed()):
        with t.session(source) as s:
            s.open()
            t.code("MAIL", s.ask("MAIL FROM:<%s>" % t.sender()), 250)
            for recipient in ("x@elsewhere.example", "x@sub.example.org", "@example.org:x@elsewhere.example",
                              '"x@example.org"@elsewhere.example'):
                t.code("RCPT TO:<%s> from %s" % (recipient, source), s.ask("RCPT TO:<%s>" % recipient), 550,
                       "5.7.1 Relaying denied")


@case("550 for an unknown user is the backend's own, and leaves no WHITE behind")
def unknown_user(t):
    source, sender, recipient = t.stranger(), t.sender(), "%s@sink.example" % t.word("unknown")
    first = t.deliver(source, sender, recipient, b"")
    t.check(first.last.seconds, "greylisted first: %s" % first)
    time.sleep(first.last.seconds)
    t.code("after the block", t.deliver(source, sender, recipient, b"").last, 550,
           "5.1.1 <%s>: nobody of that name at the sink" % recipient)
    shown = t.lab.ctl("--json", "grey", "list", "--sender", sender, check=False).stdout
    t.check('"WHITE"' not in shown.upper(), "the record is what it was: %s" % shown)


@case("a known and a new recipient in one message: 250 and 451, delivered once")
def mixed_recipients(t):
    source, sender, word = t.stranger(), t.sender(), t.word("mixed")
    t.make_known(source, sender, "carol@example.org")
    attempt = t.deliver(source, sender, ["carol@example.org", "dave@example.org"], t.content(word))
    t.equal("codes", [r.code for r in attempt.rcpt], [250, 451])
    t.check(attempt.accepted, "the message: %s" % attempt)
    raw = t.maildir.raw(word.encode())
    t.equal("delivered", [b"Delivered-To: carol@example.org" in r for r in raw], [True])


@case("the null sender: RCPT is the backend's, DATA is greylisted, the retry passes",
      variants=("packet", "packet2", "xdp", "sanitized"))
def null_sender(t):
    source, word, recipient = t.stranger(), t.word("null"), "%s@sink.example" % t.word("cb")
    with t.session(source) as s:
        s.open()
        t.code("MAIL", s.ask("MAIL FROM:<>"), 250)
        t.code("a call-out to nobody", s.ask("RCPT TO:<unknown@sink.example>"), 550)
        t.code("a call-out", s.ask("RCPT TO:<%s>" % recipient), 250)
        reply = s.ask("DATA")
        t.check(reply.seconds is not None and 1 <= reply.seconds <= BLOCK_S, "DATA: %s" % reply)
        t.code("QUIT", s.ask("QUIT"), 221)
    time.sleep(reply.seconds)
    attempt = t.deliver(source, "", recipient, t.content(word))
    t.check(attempt.accepted, "the retry: %s" % attempt)
    t.equal("at the sink", [m.content for m in t.sink.find(complete=True, recipients=[recipient])], [t.content(word)])


@case("DATA without an accepted recipient: 451 after a deferral, 554 after refusals, 503 after none")
def data_without_recipient(t):
    with t.session(t.stranger()) as s:
        s.open()
        s.ask("MAIL FROM:<%s>" % t.sender())
        t.code("DATA without RCPT", s.ask("DATA"), 503)
        t.code("relay", s.ask("RCPT TO:<x@elsewhere.example>"), 550)
        t.code("DATA after a refusal", s.ask("DATA"), 554)
        t.check(s.ask("RCPT TO:<alice@example.org>").seconds, "greylisted")
        reply = s.ask("DATA")
        t.check(str(reply).startswith("451 4.7.1"), "DATA after a deferral: %s" % reply)


@case("EHLO offers what every backend has, and nothing we cannot carry")
def extensions(t):
    with t.session(t.stranger()) as s:
        reply = s.open()
        t.code("EHLO", reply, 250)
        words = {line[4:].split(" ")[0].upper(): line[4:] for line in reply.lines[1:]}
        for name in ("PIPELINING", "STARTTLS", "8BITMIME", "ENHANCEDSTATUSCODES", "SIZE"):
            t.check(name in words, "%s is offered: %s" % (name, reply))
        t.equal("SIZE", words["SIZE"], "SIZE 40000000")
        for name in ("AUTH", "XCLIENT", "XFORWARD", "ETRN", "VRFY", "CHUNKING", "BINARYMIME", "PRDR", "REQUIRETLS"):
            t.check(name not in words, "%s is not offered: %s" % (name, reply))


@case("commands outside a transaction, wrong order, unknown words")
def commands(t):
    with t.session(t.stranger()) as s:
        t.code("banner", s.reply(), 220)
        t.code("MAIL before EHLO", s.ask("MAIL FROM:<a@b.example>"), 503)
        t.code("HELO", s.ask("HELO me.example"), 250)
        for command, code in (("NOOP", 250), ("noop x", 250), ("VRFY alice", 252), ("RSET", 250), ("RCPT TO:<a@example.org>", 503),
                              ("DATA", 503), ("AUTH PLAIN AAAA", 502)):
            t.code(command, s.ask(command), code)
        for command in ("XCLIENT ADDR=192.0.2.1", "XFORWARD ADDR=192.0.2.1", "PROXY TCP4 192.0.2.1 192.0.2.2 1 25", "FOO", ""):
            reply = s.ask(command)
            t.check(reply.code in (500, 502, 503, 550), "%r: %s" % (command, reply))
        t.code("EHLO again", s.ask("EHLO me.example"), 250)
        for command in ("MAIL FROM:a b", "MAIL FROM:<a@b.example> FOO=bar", "MAIL TO:<a@b.example>", "MAIL FROM:<a@b.example"):
            reply = s.ask(command)
            t.check(reply.code in (501, 504, 555), "%s: %s" % (command, reply))
        t.code("MAIL", s.ask("MAIL FROM:<a@b.example>"), 250)
        t.code("MAIL twice", s.ask("MAIL FROM:<a@b.example>"), 503)
        t.code("8-bit without SMTPUTF8", s.ask("RCPT TO:<\u00e4@example.org>"), 553)
        t.code("QUIT", s.ask("QUIT"), 221)
        t.check(s.at_end(), "closed after QUIT")


@case("pipelined commands are answered in order, from one segment or octet by octet",
      variants=("packet", "packet2", "xdp", "sanitized"))
def pipelining(t):
    script = ("EHLO p.example\r\nMAIL FROM:<%s>\r\nRCPT TO:<x@elsewhere.example>\r\nRCPT TO:<alice@example.org>\r\n"
              "NOOP\r\nVRFY a\r\nRSET\r\nDATA\r\nQUIT\r\n" % t.sender()).encode()
    want = [250, 250, 550, 451, 250, 252, 250, 503, 221]
    for step in (len(script), 1, 7):
        with t.session(t.stranger()) as s:
            t.code("banner", s.reply(), 220)
            for at in range(0, len(script), step):
                s.send(script[at:at + step])
            t.equal("codes in pieces of %d" % step, [s.reply().code for _ in want], want)
            t.check(s.at_end(), "closed after QUIT")


@case("who talks before the banner is served all the same")
def early_talker(t):
    with t.session(t.stranger()) as s:
        s.send(b"EHLO early.example\r\n")
        t.code("banner", s.reply(), 220)
        t.code("EHLO", s.reply(), 250)
        s.ask("MAIL FROM:<%s>" % t.sender())
        reply = s.ask("RCPT TO:<alice@example.org>")
        t.check(reply.code < 500, "early talking alone is never a 5xx: %s" % reply)


@case("a bare LF in a command is refused at once; in data it is normalised")
def bare_lf(t):
    with t.session(t.allowed()) as s:
        s.open()
        reply = s.ask(b"MAIL FROM:<a@b.example>\n")
        t.check(str(reply).startswith("500 5.5.2"), "a bare LF: %s" % reply)
    recipient = "%s@sink.example" % t.word("lf")
    sender = t.sender()
    with t.session(t.allowed()) as s:
        s.open()
        s.ask("MAIL FROM:<%s>" % sender)
        t.code("RCPT", s.ask("RCPT TO:<%s>" % recipient), 250)
        t.code("DATA", s.ask("DATA"), 354)
        s.send(b"one\ntwo\rthree\r\n.\n.\r\nMAIL FROM:<evil@x.example>\n.\nRSET\r\n\r\n.\r\n")
        # the first CRLF.CRLF is the end; LF.LF, LF.CRLF and CRLF.LF are not
        t.code("the dot", s.reply(), 250)
        t.code("QUIT", s.ask("QUIT"), 221)
    got = t.sink.find(sender=sender, complete=True)
    t.equal("messages", len(got), 1)
    t.equal("normalised", got[0].content, b"one\r\ntwo three\r\n.\r\n.\r\nMAIL FROM:<evil@x.example>\r\n.\r\nRSET\r\n\r\n")


@case("SIZE above the largest is 552 at MAIL; a smaller one is taken")
def size(t):
    with t.session(t.stranger()) as s:
        s.open()
        t.code("too large", s.ask("MAIL FROM:<a@b.example> SIZE=40000001"), 552)
        t.code("as large as offered", s.ask("MAIL FROM:<a@b.example> SIZE=40000000"), 250)


@case("a hundred recipients are taken, the next is 452 4.5.3", limit_s=120)
def many_recipients(t):
    sender = t.sender()
    with t.session(t.allowed()) as s:
        s.open()
        s.ask("MAIL FROM:<%s>" % sender)
        s.send("".join("RCPT TO:<r%d@sink.example>\r\n" % n for n in range(101)).encode())
        replies = [s.reply() for _ in range(101)]
        t.equal("codes", [r.code for r in replies], [250] * 100 + [452])
        t.check(replies[-1].text.startswith("452 4.5.3"), "the last: %s" % replies[-1])
        t.code("DATA", s.ask("DATA"), 354)
        s.send(stuffed(b"x\r\n"))
        t.code("dot", s.reply(), 250)
    t.equal("recipients at the sink", [len(m.recipients) for m in t.sink.find(sender=sender, complete=True)], [100])


@case("several messages in a session, RSET and EHLO between them",
      variants=("packet", "packet2", "xdp", "sanitized"))
def several_messages(t):
    sender, contents = t.sender(), [b"one\r\n", b"two\r\n", b"three\r\n"]
    with t.session(t.allowed()) as s:
        s.open()
        for n, content in enumerate(contents):
            s.ask("MAIL FROM:<%s>" % sender)
            s.ask("RCPT TO:<lost@sink.example>")
            if n == 1:
                t.code("RSET", s.ask("RSET"), 250)
            else:
                t.code("EHLO", s.ask("EHLO again.example"), 250)
            t.code("MAIL", s.ask("MAIL FROM:<%s>" % sender), 250)
            t.code("RCPT", s.ask("RCPT TO:<m%d@sink.example>" % n), 250)
            t.code("DATA", s.ask("DATA"), 354)
            s.send(stuffed(content))
            t.code("dot", s.reply(), 250)
        t.code("QUIT", s.ask("QUIT"), 221)
    t.equal("at the sink", [(m.recipients, m.content) for m in t.sink.find(sender=sender, complete=True)],
            [(["m%d@sink.example" % n], content) for n, content in enumerate(contents)])


@case("set greylist.block acts on an existing record in the next reply", families=(4,))
def set_block(t):
    source, sender = t.stranger(), t.sender()
    try:
        t.check(t.deliver(source, sender, "alice@example.org", b"").last.seconds == BLOCK_S, "block as configured")
        t.lab.ctl("set", "greylist.block", "100s")
        reply = t.deliver(source, sender, "alice@example.org", b"").last
        t.check(reply.seconds is not None and 95 <= reply.seconds <= 100, "the number grows: %s" % reply)
        t.lab.ctl("set", "greylist.block", "1s")
        time.sleep(1)
        attempt = t.deliver(source, sender, "alice@example.org", t.content(t.word()))
        t.check(attempt.accepted, "a shorter block lets it through: %s" % attempt)
    finally:
        t.lab.ctl("unset", "greylist.block", check=False)


@case("modes: observe refuses and delays nothing, soft defers, enforce refuses", families=(4,))
def modes(t):
    try:
        t.lab.ctl("set", "mode", "observe")
        mark, sender = t.log.mark(), t.sender()
        word = t.word("observe")
        attempt = t.deliver(t.client("listed"), sender, "alice@example.org", t.content(word))
        t.check(attempt.accepted, "observe passes a listed client: %s" % attempt)
        entries = t.log.find("rcpt", mark, client=t.client("listed"))
        t.check(entries and entries[0].get("would") not in (None, "", "-", "pass"), "would= in the log: %s" % [e.line for e in entries])
        source, known = t.stranger(), t.sender()
        t.check(t.deliver(source, known, "alice@example.org", t.content(t.word())).accepted, "observe never greylists")
        t.code("relaying stays denied", t.deliver(source, known, "x@elsewhere.example", b"").last, 550, "5.7.1 Relaying denied")
        t.lab.ctl("set", "mode", "soft")
        reply = t.deliver(t.client("listed"), t.sender(), "alice@example.org", b"").last
        t.code("soft", reply, 451)
        t.lab.ctl("set", "mode", "enforce")
        reply = t.deliver(t.client("listed"), t.sender(), "alice@example.org", b"").last
        t.code("enforce", reply, 554)
        t.check(t.deliver(source, known, "alice@example.org", t.content(t.word())).accepted,
                "what was delivered under observe is WHITE when enforcing begins")
    finally:
        t.lab.ctl("unset", "mode", check=False)


@case("nothing a client sends can forge a field of the log")
def forged_log(t):
    mark, source = t.log.mark(), t.stranger()
    helo = 'x"verdict=pass'
    with t.session(source) as s:
        t.code("banner", s.reply(), 220)
        s.ask("EHLO " + helo)
        s.ask('MAIL FROM:<"a verdict=pass b=\\"c"@b.example>')
        s.ask("RCPT TO:<alice@example.org>")
        s.ask("QUIT")
    entries = t.log.find("rcpt", mark, client=source)
    for entry in entries:
        t.check(entry.get("verdict") not in ("pass", "PASS"), "forged: %s" % entry.line)
    t.check(t.log.find("session", mark, client=source), "the session is logged")


@case("log lines have the fields of POLICY section 8")
def log_fields(t):
    mark, source, sender, word = t.log.mark(), t.stranger(), t.sender(), t.word("log")
    t.make_known(source, sender, "alice@example.org")
    attempt = t.deliver(source, sender, "alice@example.org", t.content(word))
    t.check(attempt.accepted, str(attempt))
    t.equal("message lines", len(t.wait("two messages", lambda: t.log.find("message", mark, **{"from": sender})[1:])), 1)
    rcpt = t.log.find("rcpt", mark, **{"from": sender})
    t.equal("rcpt lines", [e["verdict"] for e in rcpt], ["defer", "pass", "pass"])
    always = "ref listener client ptr_state helo tls from rcpt verdict rule score mode would reply dns_ms"
    for entry, more in ((rcpt[0], " ptr left_s"), (rcpt[1], " waited_s backend"), (rcpt[2], " backend")):
        missing = [f for f in (always + more).split() if f not in entry]
        t.check(not missing, "rcpt lacks %s: %s" % (" ".join(missing), entry.line))
        t.equal("fields of %s" % entry.line, (entry["rcpt"], entry["client"], entry["rule"], entry["mode"], entry["helo"]),
                ("alice@example.org", source, "12", "enforce", "client.lab.example"))
    t.equal("left_s", rcpt[0]["left_s"], str(BLOCK_S))
    t.check(BLOCK_S <= int(rcpt[1]["waited_s"]) <= BLOCK_S + 3, "waited_s: %s" % rcpt[1].line)
    message = t.log.find("message", mark, **{"from": sender})[-1]
    missing = [f for f in "ref from rcpts octets backend backend_reply result stage".split() if f not in message]
    t.check(not missing, "message lacks %s: %s" % (" ".join(missing), message.line))
    t.equal("octets", message["octets"], str(len(t.content(word))))
    queue_id = re.search(r"queued as (\w+)", attempt.final.text).group(1)
    t.check(queue_id in message["backend_reply"], "the MTA's queue id in backend_reply: %s" % message.line)
    session = t.wait("three sessions", lambda: t.log.find("session", mark, client=source)[2:])[0]
    missing = [f for f in "client duration_s msgs octets end".split() if f not in session]
    t.check(not missing, "session lacks %s: %s" % (" ".join(missing), session.line))
    t.equal("msgs", session["msgs"], "1")
    refused = t.deliver(t.client("noptr"), t.sender(), "alice@example.org", b"").last
    entry = t.log.find("rcpt", mark, client=t.client("noptr"), verdict="reject")[-1]
    t.equal("rule and reason", (entry["rule"], entry["reason"]), ("8", "no-ptr"))
    t.check(entry["ref"] in refused.text, "the reference of the reply: %s" % entry.line)


@case("five hundred idle sessions, and mail flows beside them",
      variants=("packet", "packet2", "xdp", "sanitized"))
def idle_sessions(t):
    sessions = []
    try:
        for n in range(500):
            try:
                sessions.append(t.session(t.stranger() if n % 50 == 0 else t.allowed(1 + n % 200), wait_s=10))
            except Closed as error:
                t.check(False, "session %d: %s" % (n, error))
        for s in sessions:
            t.code("banner", s.reply(), 220)
        attempt = t.deliver(t.allowed(), t.sender(), "alice@example.org", t.content(t.word()))
        t.check(attempt.accepted, "mail beside 500 sessions: %s" % attempt)
        for s in sessions:
            s.send(b"QUIT\r\n")
        for s in sessions:
            t.code("QUIT", s.reply(), 221)
    finally:
        for s in sessions:
            s.close()


@case("half-closed: replies to commands sent before the client's FIN still arrive")
def half_close(t):
    with t.session(t.stranger()) as s:
        t.code("banner", s.reply(), 220)
        s.send(b"EHLO half.example\r\nNOOP\r\nQUIT\r\n")
        s.socket.shutdown(socket.SHUT_WR)
        t.equal("codes", [s.reply().code for _ in range(3)], [250, 250, 221])
        t.check(s.at_end(), "closed")


@case("the same sender and recipient from a fourth network is let through")
def fourth_network(t):
    """A record has one octet for each network, so once in 43 times two of four look the same and the fifth passes: then others are taken."""
    for _ in range(3):
        sender, recipient, word = t.sender(), "alice@example.org", t.word("pool")
        for n in range(3):
            attempt = t.deliver(t.stranger(), sender, recipient, b"")
            t.check(attempt.last is not None and attempt.last.seconds, "network %d is greylisted: %s" % (n + 1, attempt))
        attempt = t.deliver(t.stranger(), sender, recipient, t.content(word))
        if attempt.accepted:
            return
    t.check(False, "the fourth, three times: %s" % attempt)
