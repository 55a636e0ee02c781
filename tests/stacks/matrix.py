"""Linux on both sides: every set of TCP options, MTUs, families, with and without loss.

A cell is one message through the gateway to Postfix: Linux is the client of the first connection and the server of the second. What it
offers and takes is set by sysctl in both namespaces; loss is nftables' at its devices, both ways where the kernel has the egress hook.
"""
import itertools
import time

from e2e import bodies
from lab import addresses as a
from lab.netns import LabError

from .result import Result

OCTETS = 400 * 1000
MTUS = (1280, 1500, 9000)
LOSS_PERCENT = 2
SETTINGS = ("sack", "timestamps", "window_scaling")
# A cell with loss may not take longer: its slowest road is a few time-outs of the peer
LIMIT_S = 60


def options_of(net, sack, timestamps, window_scaling):
    for role in ("client", "mta"):
        net.sysctl(role, "ipv4/tcp_sack=%d" % sack, "ipv4/tcp_timestamps=%d" % timestamps,
                   "ipv4/tcp_window_scaling=%d" % window_scaling)


def lossy(net, percent):
    """Both ways at cli0 and mta0; answers False where the kernel loses only what arrives there."""
    net.lossy(percent)
    try:
        for role, device in (("client", "cli0"), ("mta", "mta0")):
            net.nft(role, "table netdev lab_loss_out\ndelete table netdev lab_loss_out\n")
            if percent:
                net.nft(role, """
                    table netdev lab_loss_out {
                        chain out {
                            type filter hook egress device %s priority 0
                            ip protocol tcp numgen random mod 1000 < %d counter drop
                            ip6 nexthdr tcp numgen random mod 1000 < %d counter drop
                        }
                    }
                    """ % (device, round(percent * 10), round(percent * 10)))
    except LabError:
        return False
    return True


def cell(bench, family, octets, recipient="alice@" + a.DOMAIN):
    """Why it failed ("" if not), seconds, segments we sent again."""
    before = bench.counters()
    word = bench.word()
    content = bench.content(word, octets, len(word) + octets)
    attempt, seconds = bench.send(family, content, recipient)
    after = bench.counters()
    again = sum(after[n] - before[n] for n in ("retransmit",) if n in after)
    if not attempt.accepted:
        return str(attempt), seconds, again
    got = bench.maildir.raw(b"Subject: %s\n" % word.encode())
    bench.maildir.forget()
    if len(got) != 1:
        return "%d messages arrived" % len(got), seconds, again
    text = bench.maildir.content(got[0])
    return ("" if text == content else bodies.first_difference(text, content)), seconds, again


def run(bench, losses=(0, LOSS_PERCENT), families=(4, 6), octets=OCTETS, sets=tuple(itertools.product((1, 0), repeat=3))):
    """One result a cell, for the MTU the bench has."""
    for loss in losses:
        both = lossy(bench.lab.net, loss)
        for family, chosen in itertools.product(families, sets):
            options_of(bench.lab.net, *chosen)
            name = "Linux MTU %d IPv%d %s%s" % (bench.lab.net.mtu, family, " ".join(
                "%s %s" % (n.replace("window_scaling", "scaling"), "on" if on else "off") for n, on in zip(SETTINGS, chosen)),
                ", %d %% lost%s" % (loss, "" if both else " of what we send") if loss else "")
            started = time.monotonic()
            why, seconds, again = cell(bench, family, octets)
            if not why and seconds > LIMIT_S:
                why = "%.1f s" % seconds
            if not why and not loss and again:
                why = "%d segments sent again on a clean wire" % again
            yield Result(name, why, time.monotonic() - started, session_s=round(seconds, 3), sent_again=again, octets=octets,
                         loss_percent=loss)
    lossy(bench.lab.net, 0)
    options_of(bench.lab.net, 1, 1, 1)
