"""Questions a second of control's resolver, next to dnsperf on the same server in the same run; unique clients, nothing cached.

One nsd with one process answers everything on loopback, in a network namespace of its own, on the first CPU; whoever asks has the last.
Both ask the same names (a PTR, its address, three zones for each client) with as many questions under way, in turns. bench/README.md says
how to read the figures.
"""
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import tempfile
import time

from bench import common
from lab import roots

PORT = 5399
ZONES = ("bl1.bench", "bl2.bench", "wl.bench")
QUESTIONS = 5                                   # of one client
PAIRS_MAX, SECONDS_MAX = 5, 4                   # nothing is learned by more: the ratio is steady
SOA = "$TTL 300\n@ IN SOA ns.bench. hostmaster.bench. 1 3600 600 86400 300\n@ IN NS ns.bench.\n"

# clients asked about at a time; the resolver takes 2,048 by default
RUNS = {
    "window-20": "20 clients, 100 questions under way",
    "window-200": "200 clients, 1,000 questions under way",
}


def zones():
    """Whatever is asked for has an answer of the usual kind: a PTR for each address, one address for the name, NXDOMAIN of the lists."""
    out = {z: SOA + "2.0.0.127 IN A 127.0.0.2\n" for z in ZONES}
    out["10.in-addr.arpa"] = SOA + "* IN PTR client.mail.bench.\n"
    out["mail.bench"] = SOA + "client IN A 10.0.0.1\n"
    return out


class Nsd:
    """nsd of the lab's root, chrooted, in a namespace of its own; ends with this object."""

    def __init__(self, namespace, cpu):
        self.root = roots.make(common.TOP)
        self.folder = tempfile.mkdtemp(prefix="bench-dns-", dir=os.path.join(self.root, "lab"))
        inside = "/" + os.path.relpath(self.folder, self.root)
        conf = 'server:\n ip-address: 127.0.0.1@%d\n username: ""\n zonesdir: "%s"\n pidfile: "%s/nsd.pid"\n xfrdfile: ""\n zonelistfile: "%s/zone.list"\n' \
               ' database: ""\n server-count: 1\n rrl-ratelimit: 0\n verbosity: 0\nremote-control:\n control-enable: no\n' % (PORT, inside, inside, inside)
        for zone, text in zones().items():
            self.write(zone + ".zone", "$ORIGIN %s.\n" % zone + text)
            conf += 'zone:\n name: "%s"\n zonefile: "%s.zone"\n' % (zone, zone)
        self.write("nsd.conf", conf)
        self.process = subprocess.Popen(namespace + ["taskset", "-c", str(cpu), "chroot", self.root, "/usr/sbin/nsd", "-d", "-c", inside + "/nsd.conf"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1)
        if self.process.poll() is not None:
            raise common.BenchError("nsd did not start in %s" % self.root)

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w") as f:
            f.write(text)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder)


def questions_file(path, clients):
    with open(path, "w") as f:
        for i in range(1, clients + 1):
            a = "%d.%d.%d.10" % (i & 255, i >> 8 & 255, i >> 16 & 255)
            f.write("%s.in-addr.arpa PTR\nclient.mail.bench A\n" % a)
            for zone in ZONES:
                f.write("%s.%s A\n" % (a, zone))


def _out(argv):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise common.BenchError("%s: %s" % (" ".join(argv[-5:]), done.stderr.strip()[-200:]))
    return done.stdout


def resolver(prefix, build, seconds, at_a_time):
    f = json.loads(_out(prefix + [os.path.join(build, "bench/dns/dns"), "127.0.0.1:%d" % PORT, str(seconds), str(at_a_time)]))
    f["questions_per_s"] = f["questions"] / f["seconds"]
    return f


def dnsperf(prefix, path, seconds, at_a_time):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = _out(prefix + ["dnsperf", "-s", "127.0.0.1", "-p", str(PORT), "-d", path, "-l", str(seconds), "-c", "1", "-T", "1", "-q", str(at_a_time * QUESTIONS)])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"questions_per_s": float(re.search(r"Queries per second:\s+([0-9.]+)", out).group(1)),
            "cpu_us": cpu_s * 1e6 / int(re.search(r"Queries sent:\s+(\d+)", out).group(1))}


def where(prefix, build, seconds, at_a_time, folder):
    """The functions that take most of the time, by perf's clock; empty where there is no perf."""
    data = os.path.join(folder, "perf.data")
    if shutil.which("perf") is None:
        return []
    resolver(prefix + ["perf", "record", "-q", "-e", "cpu-clock", "-o", data], build, seconds, at_a_time)
    out = _out(["perf", "report", "-i", data, "--stdio", "-q", "--no-children", "-F", "overhead,dso,sym", "--percent-limit", "1"])
    return [" ".join(line.split()) for line in out.splitlines() if line.strip() and not line.startswith("#")][:15]


def measure(name, namespace, build, pairs, seconds, folder):
    at_a_time = int(name.split("-")[1])
    prefix = namespace + ["taskset", "-c", str(common.cpus()[-1])]
    path = os.path.join(folder, "questions")
    ours, theirs = [], []
    for _ in range(pairs):
        ours.append(resolver(prefix, build, seconds, at_a_time))
        theirs.append(dnsperf(prefix, path, seconds, at_a_time))
    each = lambda key: statistics.median(f[key] / f["questions"] * 1e6 for f in ours)  # noqa: E731
    return {
        "what": RUNS[name],
        "control_questions_per_s": common.spread([f["questions_per_s"] for f in ours]),
        "control_clients_per_s": common.spread([f["clients"] / f["seconds"] for f in ours]),
        "dnsperf_questions_per_s": common.spread([t["questions_per_s"] for t in theirs]),
        "ratio": common.spread([f["questions_per_s"] / t["questions_per_s"] for f, t in zip(ours, theirs)]),
        "control_cpu_us_a_question": each("user_s") + each("system_s"),
        "dnsperf_cpu_us_a_question": statistics.median(t["cpu_us"] for t in theirs),
        "control_user_us_a_question": each("user_s"),
        "control_system_us_a_question": each("system_s"),
        "questions_a_round_of_the_loop": statistics.median(f["questions"] / f["rounds"] for f in ours),
        "timeouts": sum(f["timeouts"] for f in ours),
        "where": where(prefix, build, seconds, at_a_time, folder),
    }


def run(names, options):
    result, name = {}, "gl-bench-dns-%d" % os.getpid()
    _out(["ip", "netns", "add", name])
    try:
        namespace = ["ip", "netns", "exec", name]
        _out(namespace + ["ip", "link", "set", "lo", "up"])
        server = Nsd(namespace, common.cpus()[0])
        try:
            with tempfile.TemporaryDirectory() as folder:
                questions_file(os.path.join(folder, "questions"), 200000)
                for one in names:
                    common.say("dns/%s: %s" % (one, RUNS[one]))
                    result[one] = measure(one, namespace, options.build, min(options.pairs, PAIRS_MAX), min(options.seconds, SECONDS_MAX), folder)
        finally:
            server.stop()
    finally:
        _out(["ip", "netns", "del", name])
    return result


def rows(result):
    out = [("", "seen", "")]
    for name, f in result.items():
        for key, value in f.items():
            if key == "where":
                out.extend((name, "  " + line, "") for line in value)
            elif isinstance(value, dict):
                out.append((name, key, "%s (%s to %s)" % tuple(common.number(value[k], 2 if key == "ratio" else 0) for k in ("median", "min", "max"))))
            elif key != "what":
                out.append((name, key, common.number(value, 0 if isinstance(value, int) else 2)))
    return out
