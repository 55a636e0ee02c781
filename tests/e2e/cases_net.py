"""What the wire sees: ping, sockets the kernel does not hold, counters, a data plane at rest."""
import json
import os
import time

from lab import addresses as a

from .harness import BLOCK_S, case


@case("ping is answered, small and full-sized", variants=("packet", "packet2", "xdp", "xdp2"))
def ping(t):
    for octets in (0, 56, 1400):
        out = t.lab.net.exec("client", "ping", "-%d" % t.family, "-c", "3", "-i", "0.05", "-W", "1", "-s", octets, t.gateway)
        t.check(" 3 received" in out, "%d octets: %s" % (octets, out))


@case("a port nobody listens on answers with a reset, not with silence")
def closed_port(t):
    from .smtp import Closed
    started = time.monotonic()
    try:
        t.session(t.stranger(), port=26, connect_s=5).close()
    except Closed as error:
        t.check("refused" in str(error).lower(), "port 26: %s" % error)
        t.check(time.monotonic() - started < 1, "at once")
        return
    t.check(False, "port 26 accepts connections")


@case("the kernel holds no port-25 socket and no address of ours while the port's counters move")
def no_kernel_socket(t):
    def octets():
        with open(t.lab.path("run", "dataplane.pid")) as f:
            pid = int(f.read())
        with open("/proc/%d/net/dev" % pid) as f:       # of that process's namespace
            line = next(x for x in f if x.strip().startswith("wan0:"))
        fields = line.split(":")[1].split()
        return int(fields[0]), int(fields[8])
    before = octets()
    t.check(t.deliver(t.allowed(), t.sender(), "alice@example.org", t.content(t.word(), b"x" * 900 + b"\r\n" * 100)).accepted, "mail")
    after = octets()
    t.check(after[0] > before[0] + 1000 and after[1] > before[1] + 500, "wan0 moved: %s, %s" % (before, after))
    with open("/proc/%d/net/tcp" % t.lab.pid("dataplane")) as f, open("/proc/%d/net/tcp6" % t.lab.pid("dataplane")) as f6:
        held = [line.split()[1] for line in list(f)[1:] + list(f6)[1:] if line.split()[1].endswith((":0019", ":024B"))]
    t.equal("kernel sockets at ports 25 and 587", held, [])
    out = t.lab.net.exec("gateway", "ip", "-o", "address", "show")
    t.check(a.GATEWAY4 not in out and a.GATEWAY6 not in out, "our addresses are not the kernel's: %s" % out)


@case("kernels at the other ends of the wires send whole checksums and nothing larger than a frame", families=(None,))
def far_ends(t):
    """PITFALLS 26: what a veth hands over is what its kernel left undone."""
    for role, device in (("client", "cli0"), ("mta", "mta0"), ("gateway", "wan0"), ("gateway", "lan0")):
        features = dict(line.strip().split(": ", 1) for line in t.lab.net.exec(role, "ethtool", "-k", device).splitlines() if ": " in line)
        for name in ("tx-checksumming", "tcp-segmentation-offload", "generic-segmentation-offload", "generic-receive-offload"):
            t.check(features[name].startswith("off"), "%s of %s: %s" % (name, device, features[name]))
    addresses = t.lab.net.exec("gateway", "ip", "-o", "address", "show")
    t.check("wan0" not in addresses and "lan0" not in addresses, "the kernel has an address on our ends: %s" % addresses)


@case("at rest the data plane leaves a core free", families=(None,), variants=("packet", "packet2", "xdp", "xdp2"))
def at_rest(t):
    ticks = os.sysconf("SC_CLK_TCK")

    def used():
        with open("/proc/%d/stat" % t.lab.pid("dataplane")) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / ticks
    time.sleep(1)
    before, started = used(), time.monotonic()
    time.sleep(4)
    share = (used() - before) / (time.monotonic() - started)
    t.note("%.1f %% of a core" % (100 * share))
    t.check(share < 0.5, "the data plane takes %.0f %% of a core with nothing to do" % (100 * share))


@case("stats has the counters of the ports and of the sessions", families=(None,), variants=("packet", "packet2", "xdp", "xdp2"))
def stats(t):
    before = json.loads(t.lab.ctl("--json", "stats").stdout)
    t.check(before, "stats is not empty")
    t.deliver("198.19.%d.1" % 240, t.sender(), "alice@example.org", t.content(t.word()))

    def total(tree):
        if isinstance(tree, dict):
            return sum(total(x) for x in tree.values())
        if isinstance(tree, list):
            return sum(total(x) for x in tree)
        return tree if isinstance(tree, (int, float)) and not isinstance(tree, bool) else 0
    t.wait("counters move", lambda: total(json.loads(t.lab.ctl("--json", "stats").stdout)) > total(before), 5)


@case("two workers share the sessions, and frames find the owner of their flow", families=(4, 6), variants=("packet2", "xdp2"))
def two_workers(t):
    """Enough flows that both owners get some; each correct, whichever lcore receives them."""
    def redirected():
        return json.loads(t.lab.ctl("--json", "stats", "port").stdout)["port"]["redirect_in"]
    before = redirected()
    for n in range(64):
        attempt = t.deliver(t.allowed(1 + n), t.sender(), "w%d@sink.example" % n, b"x\r\n")
        t.check(attempt.accepted, "session %d: %s" % (n, attempt))
    t.wait("frames were handed over", lambda: redirected() > before + 100, 3)


@case("a session that sleeps past the greylist's block is judged by the time of its RCPT", families=(4,), variants=("packet",))
def slow_session(t):
    source, sender = t.stranger(), t.sender()
    with t.session(source) as s:
        s.open()
        s.ask("MAIL FROM:<%s>" % sender)
        reply = s.ask("RCPT TO:<alice@example.org>")
        t.check(reply.seconds == BLOCK_S, str(reply))
        time.sleep(reply.seconds)
        t.code("the same session after the block", s.ask("RCPT TO:<alice@example.org>"), 250)
