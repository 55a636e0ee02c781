#!/usr/bin/env python3
"""The gateway under load over memif, next to a bare echo: starts control, data plane, echo and generator, writes JSON and a table.

Usage: run.py [--build DIR] [--out FILE] [--pairs N] [NAME...]      --list names the runs

One worker on the last CPU, shared in turns with the echo; generator, control and all main threads on the first. Nothing goes through the
kernel's network. bench/README.md says how to read the figures.
"""
import argparse
import datetime
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))

CONFIG = """
run_dir = "%(dir)s/run"; state_dir = "%(dir)s/state"; hostname = "gw.bench"; mode = "enforce";
dataplane = { workers = 1; lcores = "0@%(cpu_main)d,1@%(cpu_worker)d"; memory_mb = %(memory_mb)d; sessions = %(sessions)d; idle = "nap";
	eal = [ "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry" ]; };
ports = ( { name = "wan"; device = "net_memif0,role=server,id=0,socket=%(dir)s/gateway.sock,socket-abstract=no"; mtu = 1500;
	addresses = [ "198.18.0.2/24" ]; gateway4 = "198.18.0.1"; } );
pools = ( { name = "default"; domains = [ ]; backends = ( { name = "mta"; address = "198.18.0.3"; port = 25; client_address = "proxy_v1"; } ); } );
listeners = ( { name = "mx"; role = "mx"; addresses = [ "198.18.0.2" ]; port = 25; domains = [ "example.org" ]; pools = [ "default" ]; } );
greylist = { block = "%(block)s"; pass = "6h"; expire = "36d"; };
reverse_dns = { missing = "nothing"; unconfirmed = "nothing"; generic = "nothing"; };
dnsbl = { zones = ( ); };
dns = { resolvers = [ %(resolvers)s ]; deadline_ms = 2000; };
clients = { allow = [ ]; deny = [ %(deny)s ]; };
log = { file = "%(dir)s/log"; format = "kv"; grey_per_s = 1000; };
state = { entries = %(entries)d; };
metrics = { listen = ""; };
"""

# name: what it is, arguments of the generator, changes of the configuration
RUNS = {
    "greylist": ("closed loop, every triplet new, 65,536 clients", ["--template", "greylist", "--slots", "256"], {}),
    "greylist-bursty": ("the same with 2,048 sessions at a time", ["--template", "greylist", "--slots", "2048"], {}),
    "denied": ("closed loop, denied clients", ["--template", "denied", "--slots", "256"], {"deny": '"10.0.0.0/8"'}),
    "open": ("open loop at a set rate: latencies", ["--template", "greylist", "--slots", "8192", "--rate", "20000"], {}),
    "flood": ("open loop beside spoofed SYNs", ["--template", "greylist", "--slots", "8192", "--rate", "5000", "--flood", "200000"], {}),
    "data": ("4,096 triplets that pass after a second; a message of 10 KB each", ["--template", "data", "--slots", "64", "--triplets", "4096", "--clients", "4096",
                                                            "--message", "10240"], {"block": "1s"}),
}


class Bench:
    def __init__(self, build, changes):
        self.build = build
        self.dir = tempfile.mkdtemp(prefix="greyline-bench-")
        self.processes = []
        self.segment_path = None
        cpus = sorted(os.sched_getaffinity(0))
        self.cpu_main, self.cpu_worker = cpus[0], cpus[-1]
        self.conf = dict(dir=self.dir, cpu_main=self.cpu_main, cpu_worker=self.cpu_worker, memory_mb=512, sessions=16384, block="4m",
                         resolvers="", deny="", entries=16777216)
        self.conf.update((k, v) for k, v in changes.items() if k in self.conf)
        for folder in ("run", "state"):
            os.mkdir(os.path.join(self.dir, folder))

    def path(self, name):
        return os.path.join(self.dir, name)

    def spawn(self, name, command, cpu=None):
        if cpu is not None:
            command = ["taskset", "-c", str(cpu)] + command
        with open(self.path(name + ".out"), "w") as out:
            p = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        self.processes.append((name, p))
        return p

    def wait_for(self, name, word, seconds=60):
        until = time.time() + seconds
        while time.time() < until:
            with open(self.path(name + ".out")) as f:
                if word in f.read():
                    return
            for n, p in self.processes:
                if n == name and p.poll() is not None:
                    break
            time.sleep(0.1)
        with open(self.path(name + ".out")) as f:
            raise SystemExit("bench: %s did not say '%s':\n%s" % (name, word, f.read()[-3000:]))

    def start(self):
        with open(self.path("greyline.conf"), "w") as f:
            f.write(CONFIG % self.conf)
        self.spawn("control", [os.path.join(self.build, "control/greyline-control"), "--config", self.path("greyline.conf"), "--foreground"],
                   self.cpu_main)
        self.spawn("dataplane", [os.path.join(self.build, "dataplane/greyline-dataplane"), "--run-dir", self.path("run")])
        self.wait_for("dataplane", "ready")
        self.segment_path = self.segment()
        self.spawn("echo", [os.path.join(self.build, "bench/echo/echo"), self.path("echo.counters"), "--", "--no-huge", "--no-pci", "--no-shconf",
                            "--no-telemetry", "--log-level=warning", "-m128", "--lcores=0@%d" % self.cpu_worker,
                            "--vdev=net_memif0,role=server,id=0,socket=%s,socket-abstract=no" % self.path("echo.sock")])
        self.wait_for("echo", "ready")

    def segment(self):
        for line in self.control("status").splitlines():
            for word in line.replace('"', " ").replace(",", " ").split():
                if word.endswith("/segment"):
                    return word
        raise SystemExit("bench: status names no segment:\n" + self.control("status"))

    def control(self, *words):
        return subprocess.run([os.path.join(self.build, "control/cli/greylinectl"), "--socket", self.path("run/control.sock"), "--json"] +
                              list(words), capture_output=True, text=True).stdout

    def load(self, arguments, pairs, phase_ms=1000):
        command = [os.path.join(self.build, "bench/load/load"), "--segment", self.segment_path, "--echo", self.path("echo.counters"), "--pairs",
                   str(pairs), "--phase-ms", str(phase_ms)] + arguments + [
                       "--", "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "--log-level=warning", "-m256",
                       "--lcores=0@%d" % self.cpu_main, "--vdev=net_memif0,role=client,id=0,socket=%s,socket-abstract=no" % self.path("gateway.sock"),
                       "--vdev=net_memif1,role=client,id=0,socket=%s,socket-abstract=no" % self.path("echo.sock")]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit("bench: the generator ended with %d\n%s" % (done.returncode, done.stdout))
        return json.loads(done.stdout)

    def cpu_s(self, name):
        for n, p in self.processes:
            if n == name:
                with open("/proc/%d/stat" % p.pid) as f:
                    fields = f.read().rsplit(")", 1)[1].split()
                return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return 0.0

    def stop(self):
        for _, p in reversed(self.processes):
            if p.poll() is None:
                p.send_signal(signal.SIGTERM)
        for _, p in reversed(self.processes):
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
        if self.segment_path and self.segment_path.startswith("/dev/shm/greyline-"):  # half a GiB, of this run directory alone
            shutil.rmtree(os.path.dirname(self.segment_path), ignore_errors=True)


def machine(build):
    with open("/proc/cpuinfo") as f:
        cpu = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), "unknown")
    with open("/etc/os-release") as f:
        system = dict(line.rstrip().split("=", 1) for line in f if "=" in line).get("PRETTY_NAME", "").strip('"')
    commit = subprocess.run(["git", "-C", TOP, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    dpdk = subprocess.run(["pkg-config", "--modversion", "libdpdk"], capture_output=True, text=True).stdout.strip()
    return {"cpu": cpu, "cpus": os.cpu_count(), "system": system, "kernel": platform.release(), "dpdk": dpdk, "commit": commit,
            "load_average_before": list(os.getloadavg()), "taken": datetime.datetime.utcnow().strftime("%Y-%m-%dT%H:%MZ")}


def one(name, build, pairs):
    text, arguments, changes = RUNS[name]
    print("bench: %s: %s" % (name, text), file=sys.stderr, flush=True)
    b = Bench(build, changes)
    try:
        b.start()
        before, began = b.cpu_s("control"), time.time()
        figures = b.load(arguments, pairs)
        figures["control_cpu_share"] = round((b.cpu_s("control") - before) / (time.time() - began), 3)
        figures["what"] = text
        return figures
    finally:
        b.stop()


def table(result):
    rows = [("run", "sessions/s", "cycles a session", "echo, 15 frames", "ratio", "generator busy", "failed", "RCPT reply p50/p99 us")]
    for name, f in result["runs"].items():
        rows.append((name, "%.0f" % f["sessions_a_second"]["median"], "%.0f" % f["worker_cycles_a_session"]["median"],
                     "%.0f" % f["echo_cycles_15_frames"]["median"], "%.1f" % f["ratio_to_echo"]["median"],
                     "%.0f %%%s" % (f["generator_busy"]["median"] * 100, " BOUND" if f["generator_bound"] else ""), str(f["failed"]),
                     "%.0f / %.0f" % (f["rcpt_reply_us"]["p50"], f["rcpt_reply_us"]["p99"])))
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip() for r in rows)


def main(argv):
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=os.path.join(TOP, "build"))
    parser.add_argument("--out", default=None)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args(argv)
    if options.list:
        for name, row in RUNS.items():
            print("%-16s %s" % (name, row[0]))
        return 0
    unknown = [n for n in options.names if n not in RUNS]
    if unknown:
        print("bench: no run '%s' (--list)" % unknown[0], file=sys.stderr)
        return 2
    result = {"machine": machine(options.build), "pairs": options.pairs, "runs": {}}
    for name in options.names or list(RUNS):
        result["runs"][name] = one(name, options.build, options.pairs)
    text = json.dumps(result, indent=1)
    if options.out:
        with open(options.out, "w") as f:
            f.write(text + "\n")
    else:
        print(text)
    print(table(result), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
