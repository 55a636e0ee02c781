"""Plain sessions beside a flood of handshakes, next to the same plain sessions alone: what a handshake costs those who ask for none.

One gateway over memif, one worker. Phases of one process alternate: plain sessions at a fixed rate alone, then the same beside as many clients
as the slots allow that say EHLO, STARTTLS and a ClientHello, and go away at the first octet of the answer: it costs them nothing, and the
worker a key exchange and a signature each. Latencies count from when a session was meant to begin; ratios are taken within each pair.
"""
from bench import common
from bench.load.run import Load
from lab import certs

GOAL = 2.0
RATE = 500
NAME = "gw.bench"
HELLOS = 4000  # a second: more than an lcore has handshakes for, so that the queue is full
# few addresses, known after the phase that warms up: control has nothing to say, so the worker alone is measured
ARGUMENTS = ["--alternate", "--template", "greylist", "--slots", "4096", "--clients", "64", "--rate", str(RATE), "--beside", "--template", "hello",
             "--slots", "4096", "--clients", "64", "--rate", str(HELLOS)]

RUNS = {
    "nap": ("a worker that naps between turns, as shipped; %d plain sessions a second" % RATE, {"idle": "nap"}),
    "spin": ("a worker that spins; %d plain sessions a second" % RATE, {"idle": "spin"}),
}


def one(name, build, pairs, phase_ms):
    text, changes = RUNS[name]
    common.say("tls-flood/%s: %s" % (name, text))
    with Load(build, dict(changes, sessions=16384), "off") as b:
        authority = certs.Authority(b.path("ca"))
        certs.install(b.path("tls"), NAME, authority.pair([NAME]))
        certs.install(b.path("tls"), NAME + "-rsa", authority.pair([NAME], "rsa"))
        b.conf["tls"] = b.path("tls")
        b.start()
        figures = b.load(ARGUMENTS, pairs, phase_ms)
        pairs_seen = figures["alternate"]
        if not pairs_seen["pairs"] or not pairs_seen["handshake_steps_a_second"]["median"]:
            raise common.BenchError("no handshake came about:\n%s" % b.output("dataplane")[-2000:])
        figures.update(what=text, goal=GOAL, reached=pairs_seen["times_session_p99"]["median"] <= GOAL)
        return figures


def run(names, options):
    result = {}
    for name in names:
        try:
            result[name] = one(name, options.build, options.pairs, options.phase_ms)
        except (common.BenchError, common.Skipped) as error:
            common.say("tls-flood/%s: %s" % (name, error))
            result[name] = {"what": RUNS[name][0], "error": str(error)}
    return result


def rows(result):
    out = [("run", "p99 of a session alone, us", "beside, us", "times (goal %g)" % GOAL, "p25 to p75", "p99 of a reply, times", "steps/s", "454", "failed")]
    for name, f in result.items():
        if "error" in f:
            out.append((name, "not measured: " + f["error"].splitlines()[0]) + ("",) * 7)
            continue
        a = f["alternate"]
        t = a["times_session_p99"]
        out.append((name, common.number(a["alone_session_p99_us"]["median"]), common.number(a["beside_session_p99_us"]["median"]), "%.2f" % t["median"],
                    "%.2f to %.2f" % (t["p25"], t["p75"]), "%.2f" % a["times_rcpt_reply_p99"]["median"],
                    common.number(a["handshake_steps_a_second"]["median"]), a["answered_454"], f["failed"]))
    return out
