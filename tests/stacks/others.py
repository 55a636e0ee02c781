"""lwIP as a peer, and the attackers: Debian's ipv6toolkit, spoofed floods, peers that never read or hardly speak.

While they are at it, good clients deliver. What has to hold: 99 of 100 good sessions succeed, no daemon dies or complains, and memory
and connections stay within bounds and come back.
"""
import contextlib
import json
import re
import socket
import subprocess
import threading
import time

from e2e import bodies, smtp
from lab import addresses as a
from lab.netns import LabError, open_socket, run

from .bench import ALLOWED_NETWORK, LWIP4, LWIP6
from .result import Result

GOOD_SHARE = 0.99
GOOD_SESSIONS_MIN = 100
GROWTH_KB = 64 * 1024           # of the data plane's memory over an attack: pools are touched as they fill, nothing else grows
TINY_SOCKETS, ZERO_SOCKETS, SLOW_SOCKETS = 200, 200, 1000


# --- lwIP

def lwip(bench, losses=(0, 20), octets=300 * 1000, families=(4, 6)):
    for loss in losses:
        for family in families:
            started = time.monotonic()
            word = bench.word()
            content = bench.content(word, octets, 7)
            path = bench.lab.path("lwip.txt")
            with open(path, "wb") as f:
                f.write(smtp.stuffed(content))
            bench.sink.forget()
            out = bench.lab.net.exec("client", bench.tool("lwip_smtp"), "cli0", LWIP4 if family == 4 else LWIP6, a.gateway(family), a.SMTP_PORT,
                                     "lwip@from.example", word + "@sink.example", path, loss, 1 + loss + family, check=False, timeout=150)
            why, said = "", {}
            try:
                said = json.loads(out.strip().splitlines()[-1])
            except (ValueError, IndexError):
                why = "lwip_smtp: %s" % out.strip()
            if said and not said["ok"]:
                why = str(said)
            if not why:
                got = bench.sink.find(complete=True)
                if len(got) != 1:
                    why = "%d messages arrived" % len(got)
                elif got[0].content != content:
                    why = bodies.first_difference(got[0].content, content)
            bench.sink.forget()
            yield Result("lwIP IPv%d, %.1f %% lost" % (family, loss / 10), why, time.monotonic() - started,
                         session_s=said.get("seconds"), lost=said.get("lost_in", 0) + said.get("lost_out", 0))


# --- good clients meanwhile

class Good(threading.Thread):
    """Sessions of clients in good standing, one after another, until stopped; then succeeded and failed."""

    def __init__(self, bench, number, family=4):
        super().__init__(daemon=True)
        self.bench, self.number, self.family = bench, number, family
        self.ended = threading.Event()
        self.succeeded, self.failures, self.slowest = 0, [], 0.0

    def run(self):
        while not self.ended.is_set():
            started = time.monotonic()
            source = self.bench.allowed(self.family, 200 + self.number)
            attempt = smtp.deliver(self.bench.lab, source, "good@from.example", "g%d@sink.example" % self.number,
                                   b"Subject: good\r\n\r\nhello\r\n", wait_s=20)
            if attempt.accepted:
                self.succeeded += 1
            else:
                self.failures.append(str(attempt))
            self.slowest = max(self.slowest, time.monotonic() - started)
            self.bench.sink.forget()


@contextlib.contextmanager
def good_clients(bench, outcome, sessions=GOOD_SESSIONS_MIN, limit_s=60):
    """For the length of the block; afterwards it goes on until there were enough sessions to speak of one in a hundred."""
    threads = [Good(bench, n + 1, 4 if n % 2 == 0 else 6) for n in range(4)]
    for t in threads:
        t.start()
    try:
        yield lambda: sum(t.succeeded + len(t.failures) for t in threads)
    finally:
        for t in threads:
            t.ended.set()
        for t in threads:
            t.join(40)
        outcome["good"] = sum(t.succeeded for t in threads)
        outcome["failures"] = [f for t in threads for f in t.failures]
        outcome["slowest"] = max(t.slowest for t in threads)


def under(bench, name, attack, least=GOOD_SESSIONS_MIN, settle_s=2.0):
    """One attack, a function that ends by itself, beside good clients: the result."""
    started = time.monotonic()
    starts, memory, outcome, why = bench.starts(), bench.memory_kb(), {}, []
    figures = {}
    before = bench.counters()
    try:
        with good_clients(bench, outcome):
            figures = attack() or {}
    except (OSError, LabError, subprocess.SubprocessError) as error:
        why.append("the attack itself: %s: %s" % (type(error).__name__, error))
    sessions = outcome["good"] + len(outcome["failures"])
    if sessions < least:
        why.append("only %d good sessions were tried: nothing can be said of one in a hundred" % sessions)
    if outcome["good"] < GOOD_SHARE * sessions:
        why.append("%d of %d good sessions failed, first: %s" % (len(outcome["failures"]), sessions, outcome["failures"][0]))
    time.sleep(settle_s)
    grown = bench.memory_kb() - memory
    if grown > GROWTH_KB:
        why.append("the data plane grew by %d KiB" % grown)
    if bench.starts() != starts:
        why.append("a daemon died: starts %s, before %s" % (bench.starts(), starts))
    why += bench.crashes()
    attempt, _ = bench.send(4, b"Subject: after\r\n\r\nx\r\n", "after@sink.example")
    if not attempt.accepted:
        why.append("afterwards: %s" % attempt)
    after = bench.counters()
    moved = {n: after[n] - before[n] for n in after if isinstance(after[n], int) and after[n] - before[n] > 0}
    return Result(name, "; ".join(why), time.monotonic() - started, good=outcome["good"], failed=len(outcome["failures"]),
                  slowest_s=round(outcome["slowest"], 2), grown_kb=grown, counters=moved, **figures)


# --- floods

def gateway_mac(bench):
    out = bench.lab.net.exec("gateway", "cat", "/sys/class/net/wan0/address")
    return out.strip()


def spoofed(bench, kind, family, seconds, rate):
    """Frames out of nothing. RSTs go at the tuples of the good clients: their addresses, ports drawn."""
    prefix = ("198.19.%d.1" % ALLOWED_NETWORK if kind == "rst" else "203.0.113.1") if family == 4 else "2001:db8:99::1"

    def attack():
        out = bench.lab.net.exec("client", bench.tool("flood"), kind, "cli0", gateway_mac(bench), a.gateway(family), a.SMTP_PORT, prefix,
                                 seconds, rate, timeout=seconds + 30)
        return json.loads(out.strip().splitlines()[-1])
    return attack


def sockets_of(bench, count, first, host=0):
    """Connections from many addresses, so that no limit of one address answers for us."""
    made = []
    for n in range(count):
        s = open_socket(bench.lab.net["client"])
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first(s)
        s.bind(("198.19.%d.%d" % (n % 200, 1 + host + n // 200 % 8), 0))
        s.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            s.connect((a.GATEWAY4, a.SMTP_PORT))
        made.append(s)
    return made


def hold(made, seconds, step, pause_s):
    """step(socket) for each in turn until the time is over; then all are closed."""
    end, lost = time.monotonic() + seconds, 0
    alive = list(made)
    while time.monotonic() < end:
        for s in list(alive):
            try:
                step(s)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                alive.remove(s)
                lost += 1
                s.close()
        time.sleep(pause_s)
    for s in made:
        s.close()
    return {"sockets": len(made), "closed_by_us": lost}


def drain(s):
    with contextlib.suppress(BlockingIOError):
        if not s.recv(65536):
            raise ConnectionResetError


def tiny(bench, seconds, count=TINY_SOCKETS):
    """One octet a segment."""
    def first(s):
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def step(s):
        drain(s)
        for octet in (b"N", b"O", b"O", b"P", b"\r", b"\n"):
            s.send(octet)
    return lambda: hold(sockets_of(bench, count, first), seconds, step, 0.01)


def zero_window(bench, seconds, count=ZERO_SOCKETS):
    """Asks and asks, and takes nothing from its socket."""
    def first(s):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    return lambda: hold(sockets_of(bench, count, first, 1), seconds, lambda s: s.send(b"NOOP\r\n" * 20), 0.05)


def slowloris(bench, seconds, count=SLOW_SOCKETS):
    """An octet now and then."""
    return lambda: hold(sockets_of(bench, count, lambda s: None, 2), seconds, lambda s: s.send(b"E"), 2.0)


def floods(bench, seconds, rate, families=(4, 6), least=GOOD_SESSIONS_MIN):
    for kind in ("syn", "ack", "rst", "push"):
        for family in families:
            if kind == "rst" and family == 6:
                continue            # the good clients' tuples it aims at are IPv4
            yield under(bench, "flood of %ss, IPv%d, %d a second" % (kind, family, rate), spoofed(bench, kind, family, seconds, rate), least)
    yield under(bench, "one octet a segment, %d peers" % TINY_SOCKETS, tiny(bench, seconds), least)
    yield under(bench, "windows of zero, %d peers" % ZERO_SOCKETS, zero_window(bench, seconds), least)
    yield under(bench, "slowloris, %d peers" % SLOW_SOCKETS, slowloris(bench, seconds), least)


# --- ipv6toolkit

def toolkit_orders(bench):
    """
    (label, argv); each ends by itself or is ended after its share of the time. TCP and UDP floods are some thousand frames and a pause: they
    are to say something of what is in the frames; how many a sanitized build can take is no question of this part.
    Left out: rs6 and icmp6's parameter problem, which end by SIGSEGV before they have sent anything (2.0+ds.1-2+b1).
    """
    us, router, mac = a.GATEWAY6, a.ROUTER6, gateway_mac(bench)
    link = ["-i", "cli0"]
    out = lambda *words: list(words)
    prefix = "2001:db8:0:1::/64"
    return [
        ("frag6: first fragments only", out("frag6", *link, "--flood-frags", "50", "-d", us, "-D", mac, "-l", "-z", "1")),
        ("frag6: overlap policy", out("frag6", *link, "-p", "-d", us, "-D", mac)),
        ("frag6: fragment identification", out("frag6", *link, "-W", "-d", us, "-D", mac)),
        ("frag6: atomic fragments", out("frag6", *link, "-O", "atomic", "-F", "50", "-d", us, "-D", mac, "-l", "-z", "1")),
        ("frag6: ping of death", out("frag6", *link, "-X", "-d", us, "-D", mac, "-F", "20", "-l", "-z", "1")),
        ("icmp6: packet too big", out("icmp6", *link, "-d", us, "-D", mac, "--icmp6-packet-too-big", "-m", "1280", "-t", us, "-a", "25", "-o", "4000", "-l", "-z", "1")),
        ("icmp6: packet too big below 1280", out("icmp6", *link, "-d", us, "-D", mac, "--icmp6-packet-too-big", "-m", "68", "-t", us, "-a", "25", "-o", "4000", "-l", "-z", "1")),
        ("icmp6: unreachable", out("icmp6", *link, "-d", us, "-D", mac, "--icmp6-dest-unreach", "-c", "4", "-t", us, "-a", "25", "-o", "4000", "-l", "-z", "1")),
        ("ns6: flood of sources", out("ns6", *link, "-d", us, "-D", mac, "-t", us, "-F", "100", "-e", "-l", "-z", "1")),
        ("ns6: flood of targets", out("ns6", *link, "-d", us, "-D", mac, "-s", prefix, "-t", us, "-T", "100", "-E", "02:00:00:00:00:99", "-l", "-z", "1")),
        ("na6: our router is elsewhere", out("na6", *link, "-d", us, "-D", mac, "-t", "2001:db8:0:1::dead", "-E", "02:00:00:00:00:99", "-o", "-c", "-l", "-z", "1")),
        ("na6: flood of targets", out("na6", *link, "-d", us, "-D", mac, "-T", "100", "-e", "-o", "-l", "-z", "1")),
        ("ra6: flood of routers", out("ra6", *link, "-d", us, "-D", mac, "-F", "50", "-e", "-l", "-z", "1")),
        ("ra6: prefixes, MTU 1280 and a short lifetime", out("ra6", *link, "-d", us, "-D", mac, "-s", "fe80::1", "-P", "2001:db8:dead::/64#LA", "-M", "1280", "-t", "1", "-l", "-z", "1")),
        ("rd6: redirects", out("rd6", *link, "-d", us, "-D", mac, "-s", router, "-r", "2001:db8:99::1", "-t", "2001:db8:0:1::dead", "-l", "-z", "1")),
        ("ni6: node information", out("ni6", *link, "-d", us, "-D", mac, "-l", "-z", "1")),
        ("tcp6: SYNs", out("tcp6", *link, "-s", prefix, "-d", us, "-D", mac, "-a", "25", "-X", "S", "-F", "100", "-T", "20")),
        ("tcp6: every flag at once", out("tcp6", *link, "-s", prefix, "-d", us, "-D", mac, "-a", "25", "-X", "FSRPAU", "-F", "100")),
        ("tcp6: behind destination options and fragments", out("tcp6", *link, "-s", prefix, "-d", us, "-D", mac, "-a", "25", "-X", "S", "-u", "64", "-y", "16", "-F", "20")),
        ("tcp6: text of no connection", out("tcp6", *link, "-s", prefix, "-d", us, "-D", mac, "-a", "25", "-X", "A", "-Z", "100", "-F", "20")),
        ("udp6: at a TCP's port", out("udp6", *link, "-s", prefix, "-d", us, "-D", mac, "-a", "25", "-F", "50")),
        ("flow6: flow labels", out("flow6", *link, "-d", us, "-D", mac, "-P", "TCP", "-p", "25", "-W")),
        ("jumbo6: jumbograms", out("jumbo6", *link, "-d", us, "-D", mac, "-q", "100", "-Q", "70000", "-l", "-z", "1")),
        ("jumbo6: a jumbo option of the wrong size", out("jumbo6", *link, "-d", us, "-D", mac, "-q", "1280", "-P", "100", "-l", "-z", "1")),
    ]


def toolkit(bench, seconds_each=4):
    """Each tool for a while, good clients meanwhile; a tool that does not start says so and fails."""
    for label, words in toolkit_orders(bench):
        def attack():
            end, runs = time.monotonic() + seconds_each, 0
            while time.monotonic() < end:       # what ends by itself is begun again after a moment
                done = subprocess.run(["ip", "netns", "exec", bench.lab.net["client"], "timeout", "-k", "1", str(seconds_each)] + words,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      universal_newlines=True, timeout=60)
                if done.returncode not in (0, 124, 137, 1):
                    raise LabError("exit %d: %s" % (done.returncode, done.stdout[-300:]))
                if re.search(r"usage|invalid|unrecogni|not valid|could not|cannot|error", done.stdout, re.I):
                    raise LabError("%s: %s" % (" ".join(words), done.stdout[-300:]))
                runs += 1
                time.sleep(0.2)
            return {"runs": runs, "said": done.stdout.strip()[-200:].replace("\n", " | ")}
        yield under(bench, label, attack, least=10, settle_s=0.2)
