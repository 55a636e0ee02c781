"""A large mail over a long, lossy wire: ours beside Linux to Linux over the same wire, pair by pair.

A pair: the same octets, the same wire (loss, delay, seed), the same client program; once through the gateway with that wire on one side
of it, once straight from the client's kernel to the MTA's. "in": the wire is between client and gateway, and Linux sends. "out": it
is between gateway and backend, and we send. What is compared is the time from DATA's 354 to the reply after the dot.
"""
import socket
import statistics
import time

from e2e import smtp
from lab import addresses as a

from .bench import DIRECT, DIRECT_PORT, LAN, REFERENCE, WAN
from .result import Result

GOAL = 0.8
OCTETS = 10 * 1000 * 1000
LOSS_PM, DELAY_US = 10, 25000       # 1 % each way, 50 ms round trip


def carry(bench, content, recipient, algorithm, **where):
    """Seconds from 354 to the reply after the dot; an exception where it is not taken. algorithm: of the client's kernel."""
    with smtp.Session(bench.lab, where.pop("source"), wait_s=300, **where) as s:
        s.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, algorithm.encode())
        s.open()
        for command, code in (("MAIL FROM:<a@from.example>", 250), ("RCPT TO:<%s>" % recipient, 250), ("DATA", 354)):
            reply = s.ask(command)
            if reply.code != code:
                raise smtp.Closed("%s: %s" % (command, reply))
        started = time.monotonic()
        s.send(smtp.stuffed(content))
        reply = s.reply()
        seconds = time.monotonic() - started
        if reply.code != 250:
            raise smtp.Closed("after the dot: %s" % reply)
        s.ask("QUIT")
    return seconds


def arrived(sink, content):
    got = sink.find(complete=True)
    sink.forget()
    return len(got) == 1 and got[0].content == content


def one(bench, way, pair, octets, how, family, algorithm):
    """(ours, Linux's) octets a second."""
    content = bench.content("big", octets, pair)
    wires = {"in": (how, {}), "out": ({}, how)}[way]
    bench.wire("wan", WAN, seed=pair, **wires[0])
    bench.wire("lan", LAN, seed=pair, **wires[1])
    bench.wire("ref", DIRECT, seed=pair, **how)
    rates = []
    order = (0, 1) if pair % 2 else (1, 0)      # who is first alternates
    for which in order:
        if which == 0:
            seconds = carry(bench, content, "big@sink.example", algorithm, source=bench.allowed(family))
            same = arrived(bench.sink, content)
        else:
            here, there = REFERENCE[family]
            seconds = carry(bench, content, "big@sink.example", algorithm, source=here, dest=there, port=DIRECT_PORT)
            same = arrived(bench.direct, content)
        if not same:
            raise smtp.Closed("the octets that arrived are others")
        rates.append((which, octets / seconds))
    return dict(rates)[0], dict(rates)[1]


def run(bench, pairs=3, octets=OCTETS, families=(4,), algorithms=("cubic", "reno"), ways=("in", "out"), loss_pm=LOSS_PM, delay_us=DELAY_US, goal=GOAL):
    how = dict(loss=loss_pm, delay_us=delay_us)
    for algorithm in algorithms:
        for way in ways:
            for family in families:
                started, rows, why = time.monotonic(), [], ""
                try:
                    for pair in range(1, pairs + 1):
                        rows.append(one(bench, way, pair, octets, how, family, algorithm))
                except smtp.Closed as error:
                    why = str(error)
                ratios = sorted(o / l for o, l in rows)
                ratio = statistics.median(ratios) if ratios else 0
                # what Linux's Reno reaches is told, what its default reaches is the goal
                if not why and algorithm == algorithms[0] and ratio < goal:
                    why = "%.2f of Linux to Linux, want %.1f" % (ratio, goal)
                yield Result("%.1f MB %s, %.1f %% lost, %d ms, IPv%d, beside Linux with %s" % (
                    octets / 1e6, way, loss_pm / 10, 2 * delay_us / 1000, family, algorithm), why, time.monotonic() - started,
                    ratio=round(ratio, 2), ratios=" ".join("%.2f" % r for r in ratios), ours_kb_s=" ".join("%d" % (o / 1e3) for o, _ in rows),
                    linux_kb_s=" ".join("%d" % (l / 1e3) for _, l in rows))
    for name, ends in (("wan", WAN), ("lan", LAN), ("ref", DIRECT)):
        bench.wire(name, ends)
