"""./dev interop: real programs on both sides of the gateway, and the whole smuggling corpus at real MTAs.

Flow:   the lab with all MTAs -> every message of sends.py to its sender -> meanwhile the corpus -> judge.py -> table.py
Keeps:  a message not said to arrive, to be greylisted first, to arrive once and with its octets, is a failure.
"""
import argparse
import json
import os
import sys
import threading
import time

from e2e.harness import Failed
from lab import addresses as a
from lab import opensmtpd
from lab.labs import TOP
from lab.netns import LabError

from . import corpus, judge, roads, senders, sends, table

# The slowest is OpenSMTPD's built-in first retry; the rest is for its queue of retries and a busy machine.
ARRIVAL_LIMIT_S = opensmtpd.RETRY_S + 200
QUIET_S = 15                # after the last one: a second copy would come
CORPUS = {                  # mta -> listener's port, recipient, its log, its port without PROXY
    "postfix": (25, "x@" + a.CORPUS_DOMAIN, "mta.log", a.MTA_PORT_PLAIN),
    "exim": (26, "x@" + roads.domain("exim", "v2", 4), "exim-main.log", a.EXIM_PORT_PLAIN),
    "opensmtpd": (27, "x@" + roads.domain("opensmtpd", "v2", 4), "opensmtpd.out", a.OPENSMTPD_PORT_PLAIN),
}


def say(text):
    print("interop: %7.1f s  %s" % (time.monotonic() - say.start, text), flush=True)


say.start = time.monotonic()


def _in_threads(work):
    """name -> function, all at once; a failure of one does not stop the others."""
    failures = []

    def one(name, function):
        try:
            function()
        except Exception as error:
            failures.append("%s: %s: %s" % (name, type(error).__name__, error))
    threads = [threading.Thread(target=one, args=row) for row in work.items()]
    for thread in threads:
        thread.start()
    return threads, failures


def _ehlo(lab):
    """What each MTA says to EHLO, directly and by way of the gateway (a client that is allowed)."""
    said = {}
    for name, (port, _, _, plain) in CORPUS.items():
        said[name] = {
            "directly": _extensions(senders.Session(lab, None, dest=a.BACKEND4, port=plain, role="mta")),
            "through": _extensions(senders.Session(lab, "198.19.%d.200" % roads.CORPUS_NETWORK, port=port))}
    return said


def _extensions(session):
    with session as s:
        lines = [line[4:] for line in s.open().lines[1:]]
        s.ask("QUIT")
    return lines


def _play_corpus(lab, name, rows):
    port, recipient, log, plain = CORPUS[name]
    accepted = corpus.Accepted(name, lab.path("log", log))
    sources = ["198.19.%d.%d" % (roads.CORPUS_NETWORK, n + 10 * list(CORPUS).index(name)) for n in range(1, 7)]
    started = time.monotonic()
    failures = corpus.through(lab, rows, port, recipient, sources, pace_s=corpus.PACED.get(name, 0),
                              at_once=6 if name in corpus.PACED else 3)
    end = time.monotonic() + 20
    while len(accepted.read()[0]) < len(rows) and time.monotonic() < end:
        time.sleep(0.5)
    took, smuggled = accepted.read()
    failures += corpus.judge(rows, took, smuggled)
    # the same without the gateway, all strings of up to three octets: what that MTA by itself would let through
    directly = corpus.sample(0, 0)
    accepted = corpus.Accepted(name, lab.path("log", log))
    corpus.directly(lab, directly, a.BACKEND4, plain, recipient, corpus.PACED_DIRECTLY.get(name, 0))
    time.sleep(1)
    by_number = dict(directly)
    return {"strings": len(rows), "messages": len(took), "smuggled": len(smuggled), "failures": failures,
            "seconds": round(time.monotonic() - started, 1),
            "smuggled_directly": sorted(repr(by_number[n])[2:-1] for n in accepted.read()[1])}


def _wait_for_arrival(rows, backends):
    """Until everything is there or its time is over."""
    end, said = time.monotonic() + ARRIVAL_LIMIT_S, 0
    while time.monotonic() < end:
        left = judge.missing(rows, backends)
        if not left:
            break
        if time.monotonic() - said > 30:
            said = time.monotonic()
            by = {s: sum(1 for x in left if x.sender == s) for s in sends.CAN}
            say("still to arrive: %s" % ", ".join("%d by %s" % (n, s) for s, n in by.items() if n))
        time.sleep(2)
    time.sleep(QUIET_S)


def run(lab, options):
    results = {"date": time.strftime("%Y-%m-%d"), "starttls": options.starttls, "versions": lab.versions(), "block_s": roads.BLOCK_S, "failures": []}
    rows = sends.all_sends(options.sender, options.backend, options.kind)
    by_sender = {s: [row for row in rows if row.sender == s] for s in sends.CAN}
    lab.start("sender")
    time.sleep(2)
    results["ehlo"] = _ehlo(lab)
    say("%d messages" % len(rows))
    work = {s: lambda s=s: senders.inject(lab, by_sender[s]) for s in senders.INJECTION}
    work["smtplib"] = lambda: senders.run_smtplib(lab, by_sender["smtplib"], options.starttls) if by_sender["smtplib"] else None
    work["swaks"] = lambda: senders.run_swaks(lab, by_sender["swaks"], options.starttls)
    threads, failures = _in_threads(work)
    results["corpus"] = {}
    if not options.no_corpus:
        strings = corpus.whole() if not options.strings else corpus.sample(options.strings, options.seed)
        for name in CORPUS:
            results["corpus"][name] = _play_corpus(lab, name, strings)
            say("corpus at %s: %s" % (name, results["corpus"][name]))
            results["failures"] += ["corpus at %s: %s" % (name, f) for f in results["corpus"][name]["failures"]]
    for thread in threads:
        thread.join()
    backends, at_senders = judge.sides(lab)
    _wait_for_arrival(rows, backends)
    results["failures"] += failures
    for send in judge.judge(lab, rows, backends, at_senders, options.starttls):
        results["failures"] += ["%s: %s" % (send.name, p) for p in send.problems]
    results["sends"] = [dict(sender=s.sender, backend=s.backend, road=s.road, family=s.family, kind=s.kind, offered=s.offered,
                             downgraded=s.downgraded, recipients=len(s.recipients), problems=s.problems, **s.result) for s in rows]
    return results


def main(argv):
    parser = argparse.ArgumentParser(prog="./dev interop")
    parser.add_argument("--sender", action="append", choices=sorted(sends.CAN))
    parser.add_argument("--backend", action="append", choices=sorted(sends.LACKS))
    parser.add_argument("--kind", action="append", choices=sorted(sends.KINDS))
    parser.add_argument("--no-corpus", action="store_true", help="without the smuggling corpus")
    parser.add_argument("--strings", type=int, default=0, help="that many of the corpus instead of all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--starttls", action="store_true", help="every sender has to use STARTTLS")
    parser.add_argument("--json", default=os.path.join(TOP, "build", "interop.json"), help="results go there")
    parser.add_argument("--write", action="store_true", help="keep the results in tests/interop/results and the table in docs/interop.md")
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    parser.add_argument("--name", default="interop", help="the lab's name")
    options = parser.parse_args(argv)
    os.umask(0o022)
    lab = roads.InteropLab(options.name)
    if os.path.exists(lab.folder):
        lab.down()
    try:
        lab.up_all(options.starttls)
        say("lab %s is up" % lab.name)
        results = run(lab, options)
    except (LabError, Failed, OSError) as error:
        print("interop: %s%s" % (error, lab.tails()), file=sys.stderr)
        return 1
    finally:
        if options.keep:
            lab.outlive()
        left = [] if options.keep else lab.down()
    if left:
        results["failures"].append("left behind: %s" % ", ".join(left))
    with open(options.json, "w") as f:
        json.dump(results, f, indent=1, sort_keys=True)
    for failure in results["failures"]:
        print("interop: failed: %s" % failure)
    if options.write:
        table.keep(TOP, results)
    say("%d messages, %d failures; results in %s" % (len(results["sends"]), len(results["failures"]), options.json))
    return 1 if results["failures"] or not results["sends"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
