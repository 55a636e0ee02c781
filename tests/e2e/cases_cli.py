"""The operator's hand: greylinectl against the running gateway."""
import json
import re
import socket
import time

from lab import addresses as a
from lab.netns import open_socket

from .harness import case
from .smtp import Closed

ONCE = dict(variants=("packet", "packet2", "sanitized"), families=(None,))


def _json(t, *words):
    done = t.lab.ctl("--json", *words)
    try:
        return json.loads(done.stdout)
    except ValueError:
        t.check(False, "--json %s: %s" % (" ".join(words), done.stdout[:300]))


@case("status, stats, config, backend list, dnsbl status, report, grey list: text and JSON", **ONCE)
def every_group(t):
    for words in (["status"], ["stats"], ["config"], ["config", "--changed"], ["config", "greylist.block"], ["backend", "list"],
                  ["dnsbl", "status"], ["cert", "list"], ["report"], ["grey", "list"], ["dnsbl", "test", "198.18.20.10"],
                  ["client", "show", "198.18.20.10"], ["explain", "198.18.20.10"]):
        done = t.lab.ctl(*words)
        t.check(done.stdout.strip(), "%s says something" % " ".join(words))
        _json(t, *words)


@case("exit codes: 1 not found, 2 usage, 3 daemon not reachable", **ONCE)
def exit_codes(t):
    t.equal("unknown command", t.lab.ctl("frobnicate", check=False).returncode, 2)
    t.equal("no command", t.lab.ctl(check=False).returncode, 2)
    t.equal("why of nothing", t.lab.ctl("why", "0000000000", check=False).returncode, 1)
    t.equal("unknown option", t.lab.ctl("set", "greylist.blok", "1s", check=False).returncode in (1, 2), True)
    done = t.lab.ctl("--socket", "/nonexistent/control.sock", "status", check=False)
    t.equal("no daemon", done.returncode, 3)


@case("set, config and unset: the value, where it comes from, and back; nonsense is refused", **ONCE)
def settings(t):
    t.lab.ctl("set", "greylist.pass", "5h")
    try:
        out = t.lab.ctl("config", "greylist.pass").stdout
        t.check(re.search(r"5h|18000", out), "config greylist.pass: %s" % out)
        changed = t.lab.ctl("config", "--changed").stdout
        t.check("greylist.pass" in changed, "config --changed: %s" % changed)
    finally:
        t.lab.ctl("unset", "greylist.pass")
    out = t.lab.ctl("config", "greylist.pass").stdout
    t.check(re.search(r"6h|21600|360m", out), "after unset: %s" % out)
    for value in ("-1", "abc", "99999999d", ""):
        t.check(t.lab.ctl("set", "greylist.block", value, check=False).returncode != 0, "block %r is refused" % value)
    done = t.lab.ctl("set", "greylist.blok", "1s", check=False)
    t.check("greylist.block" in done.stdout + done.stderr, "the nearest known name: %s%s" % (done.stdout, done.stderr))


@case("reload applies a good file without touching a session, and refuses a bad one", **ONCE)
def reload_file(t):
    with open(t.lab.config) as f:
        good = f.read()
    source = "198.19.%d.%d" % (240, 77)
    try:
        with t.session(source) as s:
            s.open()
            with open(t.lab.config, "w") as f:
                f.write(re.sub(r'block = "[^"]*"', 'block = "77s"', good))
            t.lab.ctl("reload")
            t.code("the session goes on", s.ask("NOOP"), 250)
            t.family = 4
            reply = t.deliver(t.stranger(), t.sender(), "alice@example.org", b"").last
            t.equal("the new block", reply.seconds, 77)
            for label, bad in (("syntax", good.replace("greylist =", "greylist = = ", 1)),
                               ("unknown option", good.replace("block =", "blok =", 1)),
                               ("range", re.sub(r'block = "[^"]*"', 'block = "-5s"', good)),
                               ("a listener without domains", re.sub(r"domains = \[ \"example[^\]]*\]", "domains = [ ]", good)),
                               ("empty", "")):
                t.check(bad != good, label)
                with open(t.lab.config, "w") as f:
                    f.write(bad)
                done = t.lab.ctl("reload", check=False)
                t.check(done.returncode != 0, "%s is refused: %s" % (label, done.stdout))
                t.check(done.stdout + done.stderr, "%s: a reason" % label)
                reply = t.deliver(t.stranger(), t.sender(), "alice@example.org", b"").last
                t.equal("%s: the good one stays" % label, reply.seconds, 77)
            t.code("the session goes on", s.ask("NOOP"), 250)
    finally:
        with open(t.lab.config, "w") as f:
            f.write(good)
        t.lab.ctl("reload", check=False)


@case("explain says what would happen, with the numbers of the order of tests", **ONCE)
def explain(t):
    for client, recipient, want in ((a.client4("listed"), "alice@example.org", (8, 554)),
                                    (a.client4("noptr"), "alice@example.org", (8, 554)),
                                    (a.client4("listed"), "postmaster@example.org", (3, None)),
                                    ("198.19.240.1", "alice@example.org", (5, None)),
                                    (a.client4("good"), "x@elsewhere.example", (2, 550)),
                                    (a.client4("good"), "alice@example.org", (12, 451))):
        sender = t.sender()
        answer = _json(t, "explain", client, "x.example", sender, recipient)
        t.equal("rule for %s to %s" % (client, recipient), answer["rule"], want[0])
        if want[1]:
            t.equal("code for %s to %s" % (client, recipient), answer["code"], want[1])
        text = t.lab.ctl("explain", client, "x.example", sender, recipient).stdout
        t.check(re.search(r"by rule +%d" % want[0], text), text)
    t.family = 4
    before = t.deliver(t.stranger(), t.sender(), "alice@example.org", b"").last
    t.check(before.seconds, "explain starts no record")


@case("grey list, show, pass and del act on the next reply", **ONCE)
def grey(t):
    t.family = 4
    source, sender = t.stranger(), t.sender()
    t.check(t.deliver(source, sender, "alice@example.org", b"").last.seconds, "greylisted")
    listed = t.wait("the record in grey list", lambda: sender in t.lab.ctl("grey", "list", "--sender", sender, check=False).stdout, 5)
    t.check(listed, "grey list")
    for order, passes in (("pass", True), ("del", False)):
        t.lab.ctl("grey", order, source, sender, "alice@example.org")
        time.sleep(0.2)
        attempt = t.deliver(source, sender, "alice@example.org", t.content(t.word()))
        t.equal("after grey %s" % order, attempt.accepted, passes)


@case("client allow, deny and forget act on the next session", **ONCE)
def client(t):
    t.family = 4
    source, sender = t.stranger(), t.sender()
    try:
        t.lab.ctl("client", "deny", source)
        t.check(t.deliver(source, sender, "alice@example.org", b"").permanent, "denied")
        t.lab.ctl("client", "allow", source)
        t.check(t.deliver(source, sender, "alice@example.org", t.content(t.word())).accepted, "allowed")
    finally:
        t.lab.ctl("client", "forget", source)
    t.check(t.deliver(source, sender, "alice@example.org", b"").last.seconds, "forgotten: greylisted")


@case("limits.client_rate: beyond it 421, or silence; explain and stats show it; who passed is exempt", **ONCE)
def rates(t):
    t.family = 4
    source, known = t.stranger(), t.stranger()
    t.make_known(known, t.sender(), "alice@example.org")

    def codes(client, n):
        out = []
        for _ in range(n):
            with t.session(client) as s:
                out.append(s.reply().code)
        return out
    try:
        t.lab.ctl("set", "limits.client_rate", "3")
        t.equal("a stranger", codes(source, 5), [220, 220, 220, 421, 421])
        shown = _json(t, "explain", source)["source"]
        t.equal("the limit in explain", shown["address"]["rate_limit"], 3)
        t.equal("what of it is used", shown["address"]["rate"], 3)
        t.check(shown["stranger"] and shown["address"]["refused"] >= 2 and shown["address"]["over"] == "rate", "explain: %s" % shown)
        t.check("over_client_rate" in t.lab.ctl("stats").stdout, "stats")
        t.equal("who passed the greylist", codes(known, 5), [220] * 5)
        t.lab.ctl("set", "limits.answer", "silence")
        try:
            with t.session(source, connect_s=3) as s:
                t.check(False, "an answer: %s" % s.reply())
        except Closed as e:
            t.check("timed out" in str(e), "silence, not %s" % e)
    finally:
        t.lab.ctl("unset", "limits.answer", check=False)
        t.lab.ctl("unset", "limits.client_rate", check=False)


@case("dnsbl test shows the listing and its weight", **ONCE)
def dnsbl(t):
    out = t.lab.ctl("dnsbl", "test", a.client4("listed")).stdout
    t.check(a.BLOCKLIST in out and "127.0.0.2" in out, out)
    out = t.lab.ctl("dnsbl", "test", a.client4("good")).stdout
    t.check("127.0.0.2" not in out, out)


@case("dnsbl status, disable, enable: zones have proven themselves, and one switched off lists nobody", variants=("packet", "sanitized"), families=(4,))
def zone_switch(t):
    def zone():
        found = json.loads(t.lab.ctl("dnsbl", "status", "--json").stdout)
        return next(z for z in found["zones"] if z["zone"] == a.BLOCKLIST)
    t.equal("by its test points of rbldnsd", (zone()["state"], zone()["state6"]), ("active", "active"))
    try:
        t.lab.ctl("dnsbl", "disable", a.BLOCKLIST)
        t.equal("disabled", zone()["state"], "disabled")
        t.check(t.deliver(t.client("listed"), t.sender(), "alice@example.org", b"").last.seconds, "greylisted like any stranger")
    finally:
        t.lab.ctl("dnsbl", "enable", a.BLOCKLIST)
    t.wait("proven again", lambda: zone()["state"] == "active", 10)
    t.check(t.deliver(t.client("listed"), t.sender(), "alice@example.org", b"").permanent, "listed again")
    t.check(a.client4("listed") in t.lab.ctl("dns", "cache", "show", a.client4("listed")).stdout, "cached")
    t.lab.ctl("dns", "cache", "flush")


@case("set log.format json: each line is one JSON object with the same fields", variants=("packet", "sanitized"), families=(4,))
def json_log(t):
    mark, source = t.log.mark(), t.stranger()
    t.lab.ctl("set", "log.format", "json")
    try:
        t.deliver(source, t.sender(), "alice@example.org", b"", helo='x"y\\z')

        def lines():
            with open(t.lab.log_path, "rb") as f:
                f.seek(mark)
                return [json.loads(x) for x in f.read().split(b"\n") if x.startswith(b"{")]
        found = t.wait("a rcpt line", lambda: [x for x in lines() if x.get("kind") == "rcpt" and x.get("client") == source])
        t.equal("fields", (found[0]["rcpt"], found[0]["verdict"], found[0]["rule"]), ("alice@example.org", "defer", 12))
        t.equal("helo", found[0]["helo"], 'x"y\\\\z' if "\\\\" in found[0]["helo"] else 'x"y\\z')
    finally:
        t.lab.ctl("unset", "log.format")


@case("set replies.grey_reference: the reply carries what why knows", variants=("packet", "sanitized"), families=(4,))
def grey_reference(t):
    t.lab.ctl("set", "replies.grey_reference", "true")
    try:
        source, sender = t.stranger(), t.sender()
        reply = t.deliver(source, sender, "alice@example.org", b"").last
        found = re.fullmatch(r"451 4\.7\.1 Greylisted, please try again in \d+ seconds \(([0-9A-Z]+)\)", reply.text)
        t.check(found, "the reply: %s" % reply)
        why = t.wait("why", lambda: t.lab.ctl("why", found.group(1), check=False).stdout, 5)
        t.check(sender in why or "grey" in why.lower(), why)
    finally:
        t.lab.ctl("unset", "replies.grey_reference")


@case("set reject_at connect: 554 banner, then only QUIT", variants=("packet", "sanitized"), families=(4, 6))
def reject_at_connect(t):
    t.deliver(t.client("listed"), t.sender(), "alice@example.org", b"")         # the verdict is known from here on
    t.lab.ctl("set", "reject_at", "connect")
    try:
        with t.session(t.client("listed")) as s:
            t.code("banner", s.reply(), 554)
            t.code("EHLO", s.ask("EHLO x.example"), 503)
            t.code("QUIT", s.ask("QUIT"), 221)
        with t.session(t.stranger()) as s:
            t.code("a stranger's banner", s.reply(), 220)
    finally:
        t.lab.ctl("unset", "reject_at")


@case("a blocklist that answers 127.255.255.254 for everybody lists nobody", variants=("packet", "sanitized"), families=(4,))
def broken_zone(t):
    with open(t.lab.config) as f:
        good = f.read()
    zone = '{ zone = "%s"; filters = [ "127.[0..255].[0..255].[0..255]*9" ]; decisive = true; },' % a.ERROR_ZONE
    try:
        with open(t.lab.config, "w") as f:
            f.write(good.replace("zones = (\n", "zones = (\n\t\t%s\n" % zone, 1))
        t.lab.ctl("reload")
        reply = t.deliver(t.stranger(), t.sender(), "alice@example.org", b"").last
        t.check(reply.seconds, "a stranger: %s" % reply)
        out = t.lab.ctl("dnsbl", "test", a.client4("good")).stdout
        t.check("127.255.255.254" in out, "the zone was asked: %s" % out)
        t.wait("quarantine", lambda: "answers-errors" in t.lab.ctl("dnsbl", "status").stdout, 10)
    finally:
        with open(t.lab.config, "w") as f:
            f.write(good)
        t.lab.ctl("reload", check=False)


@case("a list of names at rbldnsd refuses a listed sender by its public name, and no other", variants=("packet", "sanitized"), families=(4,))
def names_zone(t):
    def state():
        found = json.loads(t.lab.ctl("dnsbl", "status", "--json").stdout)
        return [z["state"] for z in found["zones"] if z["asks"] == "sender"]
    with open(t.lab.config) as f:
        good = f.read()
    lists = 'sender_zones = ( { zone = "%s"; name = "names.public"; filters = [ "127.0.1.2*9" ]; decisive = true; } );' % a.NAMES_ZONE
    listed = "someone@mail.%s" % a.LISTED_DOMAIN
    try:
        with open(t.lab.config, "w") as f:
            f.write(good.replace("zones = (\n", "%s\n\tzones = (\n" % lists, 1))
        t.lab.ctl("reload")
        t.wait("proven by test and invalid", lambda: state() == ["active"], 20)
        reply = t.deliver(t.stranger(), listed, "alice@example.org", b"").last
        t.check(reply.code == 554 and "names.public" in str(reply), "a listed sender: %s" % reply)
        reply = t.deliver(t.stranger(), t.sender(), "alice@example.org", b"").last
        t.check(reply.seconds, "another one: %s" % reply)
        reply = t.deliver(t.stranger(), listed, "postmaster@example.org", b"").last
        t.check(reply.code != 554, "postmaster is reached: %s" % reply)
        out = t.lab.ctl("dnsbl", "test", "mail." + a.LISTED_DOMAIN).stdout
        t.check("names.public" in out and "127.0.1.2" in out and a.NAMES_ZONE not in out, out)
        out = t.lab.ctl("explain", a.client4("good"), "mail.x.example", listed, "alice@example.org").stdout
        t.check("sender's domain in names.public" in out, out)
    finally:
        with open(t.lab.config, "w") as f:
            f.write(good)
        t.lab.ctl("reload", check=False)


@case("/metrics counts in the format of Prometheus", variants=("packet", "sanitized"), families=(None,))
def metrics(t):
    with open_socket(t.lab.net["gateway"], socket.AF_INET) as s:
        s.settimeout(5)
        s.connect(("127.0.0.1", 9925))
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = b""
        while True:
            more = s.recv(65536)
            if not more:
                break
            text += more
    head, _, body = text.partition(b"\r\n\r\n")
    t.check(b" 200 " in head.split(b"\r\n")[0], head.decode("latin-1"))
    t.check(len(re.findall(rb"^greyline_\w+(\{[^}]*\})? [0-9.e+]+$", body, re.M)) > 20, body[:500].decode("latin-1"))
