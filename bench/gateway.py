"""A gateway for a benchmark: configuration, control and data plane as processes of this run, nothing left behind.

Everything lies in one temporary folder; the segment's folder in /dev/shm is removed with it. Processes are ended by their ids.
"""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

from bench import common

EAL = ["--no-huge", "--no-pci", "--no-shconf", "--no-telemetry"]
DNS_PORT = 5399

CONFIG = """
run_dir = "%(dir)s/run"; state_dir = "%(dir)s/state"; hostname = "gw.bench"; mode = "enforce"; reject_at = "%(reject_at)s";
dataplane = { workers = %(workers)d; lcores = "%(lcores)s"; memory_mb = %(memory_mb)d; sessions = %(sessions)d; idle = "%(idle)s";
	huge_pages = %(huge_pages)s; eal = [ %(eal)s ]; };
ports = ( %(ports)s );
pools = ( { name = "default"; domains = [ ]; backends = ( %(backend)s ); } );
listeners = ( { name = "mx"; role = "mx"; addresses = [ "%(address)s" ]; port = 25; domains = [ "example.org" ]; pools = [ "default" ]; } );
greylist = { block = "%(block)s"; pass = "6h"; expire = "36d"; source_budget = 1000000; };
reverse_dns = { missing = "%(missing)s"; unconfirmed = "nothing"; generic = "nothing"; };
dnsbl = { reject_threshold = 5; zones = ( %(zones)s ); };
dns = { resolvers = [ %(resolvers)s ]; deadline_ms = 2000; };
clients = { allow = [ %(allow)s ]; deny = [ %(deny)s ]; };
tls = { certificates = "%(tls)s"; };
smtp = { command_timeout = "1h"; };
limits = { client_sessions = 0; network_sessions = 0; client_rate = 0; network_rate = 0; reserve = 0; };
log = { file = "%(dir)s/log"; format = "kv"; grey_per_s = 1000; };
state = { entries = %(entries)d; };
metrics = { listen = ""; };
"""

MEMIF_PORT = """{ name = "wan"; device = "net_memif0,role=server,id=0,socket=%(dir)s/gateway.sock,socket-abstract=no"; mtu = 1500;
	addresses = [ "198.18.0.2/24" ]; gateway4 = "198.18.0.1"; }"""


class Processes:
    """Programs of one run: started, watched for a word, stopped."""

    def __init__(self, folder):
        self.dir = folder
        self.running = []

    def path(self, name):
        return os.path.join(self.dir, name)

    def spawn(self, name, command, cpu=None, namespace=None, before=()):
        if cpu is not None:
            command = ["taskset", "-c", str(cpu)] + command
        if namespace:
            command = ["ip", "netns", "exec", namespace] + command
        command = list(before) + command
        with open(self.path(name + ".out"), "w") as out:
            p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        self.running.append((name, p))
        return p

    def find(self, name):
        return next(p for n, p in self.running if n == name)

    def output(self, name):
        with open(self.path(name + ".out"), errors="replace") as f:
            return f.read()

    def wait_for(self, name, word, seconds=60):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if word in self.output(name):
                return
            if self.find(name).poll() is not None:
                break
            time.sleep(0.05)
        raise common.BenchError("%s did not say '%s':\n%s" % (name, word, self.output(name)[-3000:]))

    def stop(self, name=None, number=signal.SIGTERM):
        ending = [(n, p) for n, p in self.running[::-1] if name in (None, n)]
        for _, p in ending:
            if p.poll() is None:
                p.send_signal(number)
        for _, p in ending:
            try:
                p.wait(20)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        self.running = [(n, p) for n, p in self.running if p.poll() is None]

    def cpu_s(self, name):
        with open("/proc/%d/stat" % self.find(name).pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Gateway(Processes):
    """Control and data plane with one port, memif unless the caller says what else. changes: values of CONFIG."""

    def __init__(self, build, namespace=None, **changes):
        super().__init__(tempfile.mkdtemp(prefix="greyline-bench-"))
        self.build = build
        self.namespace = namespace
        self.segment_path = None
        self.cpu_main, self.cpu_worker = common.cpus()
        self.conf = dict(dir=self.dir, memory_mb=512, sessions=16384, block="4m", resolvers="", deny="", allow="", zones="", entries=16777216,
                         idle="nap", huge_pages="true", reject_at="rcpt", missing="nothing", workers=1, address="198.18.0.2", ports=MEMIF_PORT % {"dir": self.dir},
                         tls="", backend='{ name = "mta"; address = "198.18.0.3"; port = 25; client_address = "proxy_v1"; }',
                         eal=", ".join('"%s"' % word for word in EAL))
        unknown = set(changes) - set(self.conf)
        if unknown:
            raise KeyError("the configuration has no %s" % ", ".join(sorted(unknown)))
        self.conf.update(changes)
        self.before = []
        for folder in ("run", "state"):
            os.mkdir(self.path(folder))

    def put_on(self, cpu, before=()):
        """Everything on one CPU, and words before each command (a control group)."""
        self.cpu_main = self.cpu_worker = cpu
        self.before = list(before)

    def certificate(self, key):
        """One for the gateway's name, by words of openssl, where the data plane reads it."""
        folder = os.path.join(self.dir, "tls", "gw")
        os.makedirs(folder)
        made = subprocess.run(["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=gw.bench", "-addext", "subjectAltName=DNS:gw.bench",
                               "-newkey"] + key.split() + ["-keyout", os.path.join(folder, "privkey.pem"), "-out", os.path.join(folder, "fullchain.pem")],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if made.returncode != 0:
            raise common.BenchError("openssl: %s" % made.stderr[-500:])
        os.chmod(os.path.join(folder, "privkey.pem"), 0o400)
        return os.path.join(self.dir, "tls")

    def configure(self):
        spare = [c for c in sorted(os.sched_getaffinity(0)) if c != self.cpu_main] or [self.cpu_main]
        self.conf["lcores"] = ",".join(["0@%d" % self.cpu_main] + [
            "%d@%d" % (n + 1, self.cpu_worker if self.conf["workers"] == 1 else spare[n % len(spare)]) for n in range(self.conf["workers"])])
        with open(self.path("greyline.conf"), "w") as f:
            f.write(CONFIG % self.conf)

    def program(self, *parts):
        path = os.path.join(self.build, *parts)
        if not os.path.exists(path):
            raise common.BenchError("%s is missing: ./dev build" % path)
        return path

    def start_control(self):
        self.configure()
        self.spawn("control", [self.program("control", "greyline-control"), "--config", self.path("greyline.conf"), "--foreground"],
                   self.cpu_main, self.namespace, self.before)

    def start_dataplane(self):
        self.spawn("dataplane", [self.program("dataplane", "greyline-dataplane"), "--run-dir", self.path("run")], namespace=self.namespace,
                   before=self.before)
        self.wait_for("dataplane", "ready", 120)

    def start(self):
        self.start_control()
        self.start_dataplane()
        self.segment_path = self.find_segment()

    def ctl(self, *words):
        """The result of a command of greylinectl, or None when the daemon does not answer."""
        done = subprocess.run([self.program("control", "cli", "greylinectl"), "--socket", self.path("run/control.sock"), "--json"] +
                              [str(w) for w in words], capture_output=True, text=True)
        try:
            return json.loads(done.stdout) if done.returncode == 0 else None
        except ValueError:
            return None

    def table_pages(self):
        """Which pages are behind the segment and the data plane's other memory, as status has it: octets in all and in pages of 2 MiB."""
        status = self.ctl("status") or {}
        return {"%s_%s" % (name, "huge_octets" if huge else "octets"): status.get(part, {}).get("memory_huge_octets" if huge else "memory_octets")
                for name, part in (("segment", "table"), ("memory", "dataplane")) for huge in (False, True)}

    def find_segment(self):
        """Path of the segment, from what control has mapped: it names it after its run directory."""
        with open("/proc/%d/maps" % self.find("control").pid) as f:
            for line in f:
                path = line.split()[-1]
                if path.startswith("/") and path.endswith("/segment"):
                    return path
        raise common.BenchError("control has no segment mapped")

    def close(self):
        try:
            segment = self.segment_path or self.find_segment()
        except (common.BenchError, OSError, StopIteration):  # interrupted before there was one
            segment = None
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)
        if segment and segment.startswith("/dev/shm/greyline-"):  # of this run's directory alone
            shutil.rmtree(os.path.dirname(segment), ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
