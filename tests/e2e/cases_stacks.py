"""A short share of ./dev stacks (tests/stacks): Linux with other TCP options than its usual ones, and floods beside good clients."""
import json

from lab import addresses as a
from lab.netns import LabError
from stacks import matrix, others

from .harness import Failed, case


class _Bench:
    """What the checks of tests/stacks need, from the lab that is up."""

    def __init__(self, t):
        from stacks.bench import Bench
        self.t, self.lab, self.sink, self.maildir = t, t.lab, t.sink, t.maildir
        self.content, self.serial = Bench.content, 0
        for name in ("tool", "send", "counters", "memory_kb", "starts", "allowed", "word"):
            setattr(self, name, getattr(Bench, name).__get__(self))

    def crashes(self):
        return []               # ./dev e2e looks for them at the end of each lab


def _one(result):
    if not result.ok:
        raise Failed("%s: %s" % (result.name, result.why))


@case("Linux without SACK, timestamps or window scaling, on either side", variants=("packet",), families=(None,))
def options(t):
    bench = _Bench(t)
    results = []
    try:
        for result in matrix.run(bench, losses=(0,), octets=200 * 1000):
            results.append(result)
            _one(result)
        for result in matrix.run(bench, losses=(2,), octets=100 * 1000, sets=((0, 0, 0), (1, 0, 1))):
            results.append(result)
            _one(result)
    finally:
        matrix.lossy(t.lab.net, 0)
        matrix.options_of(t.lab.net, 1, 1, 1)
    t.check(len(results) == 20, "%d cells" % len(results))
    t.note("%d cells, %d segments sent again" % (len(results), sum(r.figures["sent_again"] for r in results)))


@case("spoofed floods leave good clients alone", variants=("packet", "sanitized"), families=(None,), limit_s=120)
def floods(t):
    bench = _Bench(t)
    try:
        bench.tool("flood")
    except LabError as error:
        raise Failed(str(error)) from error
    rate = 5000 if t.bench.variant == "packet" else 1000
    for kind in ("syn", "ack", "rst"):
        result = others.under(bench, kind, others.spoofed(bench, kind, 4, 2, rate), least=20, settle_s=0.5)
        _one(result)
        t.note("%s: %d good, %d failed" % (kind, result.figures["good"], result.figures["failed"]))
