"""The operator's hand: greylinectl against the running gateway."""
import json
import re
import time

from lab import addresses as a

from .harness import case

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
                  ["dnsbl", "status"], ["report"], ["grey", "list"], ["dnsbl", "test", "198.18.20.10"],
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
    out = t.lab.ctl("explain", a.client4("listed"), "x.example", "a@b.example", "alice@example.org").stdout
    t.check(re.search(r"\b8\b", out) and "554" in out or "reject" in out.lower(), "a listed client: %s" % out)
    out = t.lab.ctl("explain", a.client4("good"), "x.example", t.sender(), "alice@example.org").stdout
    t.check(re.search(r"\b12\b", out), "a stranger meets test 12: %s" % out)
    out = t.lab.ctl("explain", a.client4("good"), "x.example", t.sender(), "x@elsewhere.example").stdout
    t.check("Relaying denied" in out or re.search(r"\b2\b", out), "relaying: %s" % out)
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


@case("dnsbl test shows the listing and its weight", **ONCE)
def dnsbl(t):
    out = t.lab.ctl("dnsbl", "test", a.client4("listed")).stdout
    t.check(a.BLOCKLIST in out and "127.0.0.2" in out, out)
    out = t.lab.ctl("dnsbl", "test", a.client4("good")).stdout
    t.check("127.0.0.2" not in out, out)
