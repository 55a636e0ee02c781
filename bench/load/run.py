"""The gateway under load over memif, next to a bare echo: control, data plane, echo and generator on two CPUs, no kernel in between.

One worker on the last CPU, shared in turns with the echo; generator, control and all main threads on the first. bench/README.md says how
to read the figures.
"""
import json
import os
import socket
import subprocess
import time

from bench import common
from bench.gateway import DNS_PORT, EAL, Gateway

GREYLIST = ["--template", "greylist", "--slots", "256"]
ECDSA = "ec -pkeyopt ec_paramgen_curve:prime256v1"
WARM_ROUNDS, GEN_CLIENTS = 8, 65536
LEVELS = "0,1024,16384,131072,1000000"

# name: what it is, arguments of the generator, changes of the configuration, dns: off | cached | asked | dead
RUNS = {
    "greylist": ("closed loop, every triplet new, 65,536 known clients", GREYLIST, {}, "off"),
    "greylist-bursty": ("the same with 2,048 sessions at a time", ["--template", "greylist", "--slots", "2048"], {}, "off"),
    "dns-cached": ("closed loop, 65,536 clients that DNS was asked about before", GREYLIST, {}, "cached"),
    "dns-asked": ("closed loop, DNS asked about each client as it comes", GREYLIST, {}, "asked"),
    "dns-dead": ("open loop, all clients unknown and the resolver silent", ["--template", "greylist", "--slots", "65536", "--rate", "5000"],
                 {"sessions": 131072}, "dead"),
    "pipelined": ("MAIL, RCPT and QUIT in one segment", ["--template", "pipelined", "--slots", "256"], {}, "off"),
    "slow": ("clients that say four octets every 20 ms", ["--template", "slow", "--slots", "16384", "--pause", "20"], {"sessions": 32768}, "off"),
    "listed": ("closed loop, clients a DNSBL lists: 554", ["--template", "listed", "--slots", "256"], {}, "cached"),
    "denied": ("closed loop, denied clients: 554 at RCPT", ["--template", "denied", "--slots", "256"], {"deny": '"10.0.0.0/8"'}, "off"),
    "retry": ("4,096 triplets that come again and pass: the backend's 250", ["--template", "retry", "--slots", "256", "--triplets", "4096", "--clients", "4096"],
              {"block": "1s"}, "off"),
    "open": ("open loop at half of what a closed loop reaches: latencies, and the time from receive call to transmit call",
             ["--template", "greylist", "--slots", "1024", "--rate-share", "0.5", "--empty-phases"], {"idle": "spin"}, "off"),
    "syn-spoofed": ("spoofed SYNs alone, each answered by a cookie", ["--template", "none", "--slots", "2", "--flood", "400000", "--flood-burst", "64"], {}, "off"),
    "syn-denied": ("SYNs of denied clients alone, refused at SYN", ["--template", "none", "--slots", "2", "--flood", "400000", "--flood-burst", "64"],
                   {"deny": '"100.0.0.0/8"', "reject_at": "syn"}, "off"),
    "flood": ("known clients at 5,000 sessions a second beside 200,000 spoofed SYNs a second",
              ["--template", "retry", "--slots", "65536", "--rate", "5000", "--flood", "200000"], {"allow": '"10.0.0.0/8"', "sessions": 131072}, "off"),
    "overload": ("closed loop beside spoofed SYNs at twice its rate; known clients at 1,000 a second beside both",
                 ["--template", "greylist", "--slots", "256", "--overload", "2", "--beside", "--template", "retry", "--net", "12", "--slots", "16384",
                  "--rate", "1000"], {"allow": '"12.0.0.0/8"', "sessions": 65536}, "off"),
    "data": ("allowed clients, a message of 10 KB each, next to a plain forward of the same frames",
             ["--template", "data", "--slots", "64", "--message", "10240"], {"allow": '"10.0.0.0/8"'}, "off"),
    "data-large": ("allowed clients, messages of 4 MB, next to a plain forward of the same frames",
                   ["--template", "data", "--slots", "8", "--message", "4194304"], {"allow": '"10.0.0.0/8"'}, "off"),
    "tls": ("closed loop, every triplet new, STARTTLS with a full handshake, ECDSA P-256", ["--template", "tls", "--slots", "64"], {"key": ECDSA}, "off"),
    "tls-rsa": ("the same with RSA 2048", ["--template", "tls", "--slots", "64"], {"key": "rsa:2048"}, "off"),
    "tls-resumed": ("the same with ECDSA and a ticket of an earlier session", ["--template", "tls_resumed", "--slots", "64"], {"key": ECDSA}, "off"),
    "million": ("closed loop while 0 to 1,000,000 other sessions are open and silent, in turns with a second gateway where 1,024 are",
                GREYLIST + ["--levels", LEVELS, "--next-open", "1024"], {"sessions": 1100000, "memory_mb": 1024}, "off"),
    "levels": ("the same up to 131,072 open sessions", GREYLIST + ["--levels", LEVELS.rsplit(",", 1)[0]], {"sessions": 150000, "memory_mb": 1024}, "off"),
    "workers": ("closed loop with 1 to N workers, where there are CPUs for them", GREYLIST, {}, "off"),
}

DNS = {"resolvers": '"127.0.0.1:%d"' % DNS_PORT, "missing": "reject",
       "zones": '{ zone = "bl.bench.example"; filters = [ "127.0.0.2*5" ]; decisive = true; }'}


class Load(Gateway):
    """The gateway, the echo and, where it is asked, a resolver."""

    def __init__(self, build, changes, dns, listed=False, with_echo=True, is_double=False):
        changes = dict(changes)
        self.other = Gateway(build, **changes) if is_double else None  # the same again, for what is in turns with it
        key = changes.pop("key", None)      # of the gateway's certificate
        super().__init__(build, **dict(DNS if dns != "off" else {}, **changes))
        if key:
            self.conf["tls"] = self.certificate(key)
        self.dns, self.listed, self.with_echo = dns, listed, with_echo
        self.silent = None

    def start(self):
        if self.dns == "dead":  # bound and never read: the questions arrive and nobody answers
            self.silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.silent.bind(("127.0.0.1", DNS_PORT))
        elif self.dns != "off":
            self.spawn("answer", [self.program("bench", "load", "answer"), str(DNS_PORT)] + (["--list", "10"] if self.listed else []), self.cpu_main)
            self.wait_for("answer", "ready")
        super().start()
        if self.other:
            self.other.start()
        if not self.with_echo:
            return
        self.spawn("echo", [self.program("bench", "echo", "echo"), self.path("echo.counters"), "--"] + EAL + [
            "--log-level=warning", "-m128", "--lcores=0@%d" % self.cpu_worker,
            "--vdev=net_memif0,role=server,id=0,socket=%s,socket-abstract=no" % self.path("echo.sock")])
        self.wait_for("echo", "ready")

    def load(self, arguments, pairs, phase_ms=1000, quiet=False):
        command = [self.program("bench", "load", "load"), "--segment", self.segment_path, "--pairs", str(pairs), "--phase-ms", str(phase_ms)] + arguments
        command += ["--echo", self.path("echo.counters")] if self.with_echo else []
        command += ["--next-to", self.other.segment_path] if self.other else []
        command += ["--"] + EAL + ["--log-level=warning", "-m256", "--lcores=0@%d" % self.cpu_main,
                                   "--vdev=net_memif0,role=client,id=0,socket=%s,socket-abstract=no" % self.path("gateway.sock")]
        if self.with_echo:
            command.append("--vdev=net_memif1,role=client,id=0,socket=%s,socket-abstract=no" % self.path("echo.sock"))
        if self.other:
            command.append("--vdev=net_memif2,role=client,id=0,socket=%s,socket-abstract=no" % self.other.path("gateway.sock"))
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if quiet else None, text=True)
        try:
            figures = json.loads(done.stdout)
        except ValueError:
            raise common.BenchError("the generator ended with %d and said no figures\n%s\n%s" % (
                done.returncode, done.stdout[-2000:], self.output("dataplane")[-2000:]))
        figures["all_replies_right"] = done.returncode == 0
        return figures

    def close(self):
        if self.silent:
            self.silent.close()
        if self.other:
            self.other.close()
        super().close()


def one(name, build, pairs, phase_ms, changes=None):
    text, arguments, its_changes, dns = RUNS[name]
    common.say("%s: %s (DNS %s)" % (name, text, dns))
    with Load(build, dict(its_changes, **(changes or {})), dns, name == "listed", "--empty-phases" not in arguments, "--next-open" in arguments) as b:
        b.start()
        if dns == "cached":
            know_clients(b, "listed" if name == "listed" else "greylist")
        before, asked, began = b.cpu_s("control"), questions(b), time.monotonic()
        figures = b.load(arguments, pairs, phase_ms)
        figures["control_cpu_share"] = round((b.cpu_s("control") - before) / (time.monotonic() - began), 3)
        figures["dns"] = dns
        figures["table_pages"] = b.table_pages()
        figures["dns_questions"] = questions(b) - asked
        figures["what"] = text
        return figures


def know_clients(b, template):
    """Rounds over all clients until hardly one is asked about that was not before: control takes so many questions at a time."""
    common.say("asking DNS about the clients first")
    for _ in range(WARM_ROUNDS):
        asked = questions(b)
        b.load(["--template", template, "--slots", "4096", "--rate", "30000"], 1, 1500, quiet=True)
        if questions(b) - asked < GEN_CLIENTS // 100:
            break


def questions(b):
    stats = b.ctl("stats", "dns") or {}
    return stats.get("dns", stats).get("questions", 0)


def run(names, build, pairs, phase_ms=1000, changes=None):
    """Figures by run; changes of every configuration besides its own. A run that fails is said and leaves an error in its place; the others go on."""
    result = {}
    for name in names:
        try:
            if name == "workers":
                result.update(workers(build, pairs, phase_ms, changes))
            else:
                result[name] = one(name, build, pairs, phase_ms, changes)
        except (common.BenchError, common.Skipped) as error:
            common.say("%s: %s" % (name, error))
            result[name] = {"what": RUNS[name][0], "error": str(error)}
    return result


def workers(build, pairs, phase_ms, changes=None):
    spare = len(os.sched_getaffinity(0)) - 1
    if spare < 2:
        raise common.Skipped("%d CPUs: one worker and the generator have them" % (spare + 1))
    return {"workers-%d" % n: one("workers", build, pairs, phase_ms, dict(changes or {}, workers=n)) for n in range(1, spare + 1)}


def rows(result):
    out = [("run", "DNS", "a second", "cycles each", "echo", "ratio", "above echo", "worker busy", "generator busy", "failed", "control CPU")]
    for name, f in result.items():
        if "error" in f:
            out.append((name, "-", "not measured: " + f["error"].splitlines()[0]) + ("",) * 8)
            continue
        steps = [(name, f)]
        if "levels" in f:
            steps = [("%s, %s open" % (name, common.number(level["open"])), level) for level in f["levels"]]
        for label, s in steps:
            if s["units_a_second"]["median"] == 0 and "overload" in f:
                o = f["overload"]
                out.append((label, f["dns"], common.number(o["goodput_a_second"]["median"]), "", "", "",
                            "goodput %.0f %% of %s" % (100 * o["goodput_share"]["median"], common.number(o["peak_a_second"]["median"])), "", "",
                            "known %d of %d" % (o["known_failed"], o["known_done"] + o["known_failed"]), "%.0f %%" % (100 * f["control_cpu_share"])))
                continue
            if s.get("ratio_to_other", {}).get("median"):
                label += ", %.2f times the cycles with 1,024" % s["ratio_to_other"]["median"]
            out.append((label, f["dns"], common.number(s["units_a_second"]["median"]), common.number(s["worker_cycles_a_unit"]["median"]),
                        common.number(s["echo_cycles_a_unit"]["median"]), "%.1f" % s["ratio_to_echo"]["median"],
                        common.number(s["cycles_above_echo"]["median"]),
                        "%.0f %%%s" % (100 * s["worker_busy"]["median"], " BOUND" if s["worker_bound"] else ""),
                        "%.0f %%%s" % (100 * s["generator_busy"]["median"], " BOUND" if s["generator_bound"] else ""), str(f["failed"]),
                        "%.0f %%" % (100 * f["control_cpu_share"])))
    return out
