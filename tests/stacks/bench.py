"""The lab of ./dev stacks: wires that pass through the simulator's, a capture of everything, a client and sinks.

    client ns           wire ns            gateway ns          wire ns            mta ns
    cli0 ======== w-cli0 | w-wan0 ======== wan0 | lan0 ======== w-lan0 | w-mta0 ======== mta0
    ref0 ========================== w-ref0 | w-ref1 ============================ ref1      (Linux to Linux)

Between each pair w-* stands tests/stacks/wire_bridge, which is tests/sim/wire.c between two devices. Where nothing is to happen to
frames (Bench(wired=False)) the plain lab is used: veth from end to end.
"""
import contextlib
import json
import os
import signal
import subprocess
import time

from e2e import bodies, smtp
from e2e.logs import Log, Maildir
from e2e.sink import DOMAIN as SINK_DOMAIN
from e2e.sink import DIRECT_PORT
from e2e.sink import PORT as SINK_PORT
from e2e.sink import Sink
from lab import addresses as a
from lab import gateway
from lab.labs import TOP, Lab
from lab.netns import LabError, Net, WiredNet, open_socket

LWIP4, LWIP6 = "198.18.0.77", "2001:db8:0:1::77"
REFERENCE = {4: ("198.18.3.1", "198.18.3.3"), 6: ("2001:db8:0:3::1", "2001:db8:0:3::3")}     # client's end, MTA's end
ALLOWED_NETWORK = 240
WAN, LAN, DIRECT = WiredNet.WAN, WiredNet.LAN, ("w-ref0", "w-ref1")


class ReferenceNet(WiredNet):
    """The same, and a wire from client to MTA beside the gateway."""

    def up(self):
        super().up()
        for role, far, n in (("client", "w-ref0", 0), ("mta", "w-ref1", 1)):
            end = "ref%d" % n
            Net._wire(self, "wire", far, role, end)
            self._up(far)
            self.ip(role, "link set %s up" % end, "address add %s/24 dev %s" % (REFERENCE[4][n], end),
                    "address add %s/64 dev %s nodad" % (REFERENCE[6][n], end))
            self._offload_off(role, end)


class StacksLab(Lab):
    def __init__(self, name, build=None, wired=False, mtu=1500):
        super().__init__(name, build)
        self.net = (ReferenceNet if wired else Net)(name, mtu)
        self.wired, self.mtu = wired, mtu


class Bench:
    """One lab, up, with a sink behind the gateway and one beside it."""

    def __init__(self, name, build=None, wired=False, mtu=1500, workers=1):
        self.lab = StacksLab(name, build, wired, mtu)
        self.sink = Sink(self.lab)
        self.direct = Sink(self.lab, port=DIRECT_PORT, proxy=False)
        self.workers = workers
        self.bridges = {}
        self.serial = 0

    def __enter__(self):
        if os.path.exists(self.lab.folder):
            self.lab.down()
        quoted = '[ "%s", "%s" ]' % (a.DOMAIN, SINK_DOMAIN)
        roads = ',\n\t{ name = "sink"; domains = [ "%s" ];\n\t  backends = ( %s, %s ); }' % (
            SINK_DOMAIN, gateway.backend("sink1", port=SINK_PORT), gateway.backend("sink6", address=a.BACKEND6, port=SINK_PORT))
        allow = ", ".join('"%s"' % net for net in (
            "198.19.%d.0/24" % ALLOWED_NETWORK, "2001:db8:1:%x::/64" % ALLOWED_NETWORK,
            LWIP4 + "/32", LWIP6 + "/128"))
        try:
            self.lab.up(prepare=self._prepare, block="3s", workers=self.workers, more_pools=roads, domains=quoted,
                        mx_pools='[ "default", "sink" ]', allow=allow, mtu=str(self.lab.mtu))
        except BaseException:
            self.__exit__()
            raise
        self.log, self.maildir = Log(self.lab.log_path), Maildir(self.lab.maildir)
        return self

    def _prepare(self):
        if self.lab.wired:
            self.wire("wan", WAN)
            self.wire("lan", LAN)
            self.wire("ref", DIRECT)
        self.sink.start()
        self._direct_sink()

    def _direct_sink(self):
        """On every address of the MTA's namespace: also that of the reference wire."""
        import socket
        import threading
        self.direct.closing = False
        for family, anywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            listener = open_socket(self.lab.net["mta"], family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((anywhere, DIRECT_PORT))
            listener.listen(64)
            self.direct.listeners.append(listener)
            threading.Thread(target=self.direct._accept, args=(listener,), daemon=True).start()

    def __exit__(self, *_):
        for name in list(self.bridges):
            self.unwire(name)
        self.sink.stop()
        self.direct.stop()
        left = self.lab.down()
        if left:
            raise LabError("left behind: %s" % ", ".join(left))

    # --- wires

    def wire(self, name, ends, **how):
        """The wire of that name from now on: loss, delay_us, ... of wire_bridge; answers what the former one carried."""
        before = self.unwire(name)
        words = [word for key, value in how.items() for word in ("--" + key.replace("_", "-"), str(value))]
        process = subprocess.Popen(["ip", "netns", "exec", self.lab.net["wire"], self.tool("wire_bridge")] + words + list(ends),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, universal_newlines=True)
        self.bridges[name] = process
        if process.stdout.readline() != "ready\n":
            raise LabError("wire_bridge %s does not start" % " ".join(words))
        return before

    def unwire(self, name):
        process = self.bridges.pop(name, None)
        if process is None:
            return {}
        process.send_signal(signal.SIGTERM)
        try:
            said = process.communicate(timeout=5)[0].strip()
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return {}
        return json.loads(said.splitlines()[-1]) if said else {}

    def tool(self, name):
        path = os.path.join(TOP, "build", "tests", "stacks", name)
        if not os.access(path, os.X_OK):
            raise LabError("%s is not built%s" % (path, ": liblwip-dev is missing" if name.startswith("lwip") else ""))
        return path

    # --- messages

    def word(self):
        self.serial += 1
        return "w%d" % self.serial

    @staticmethod
    def content(word, octets, seed=1):
        """A header that holds the word, and noise."""
        head = b"Subject: %s\r\n\r\n" % word.encode()
        return head + bodies.huge(seed, octets - len(head))

    def allowed(self, family, host=1):
        return "198.19.%d.%d" % (ALLOWED_NETWORK, host) if family == 4 else "2001:db8:1:%x::%x" % (ALLOWED_NETWORK, host)

    def send(self, family, content, recipient, source=None, **where):
        """(attempt, seconds of the whole session)"""
        started = time.monotonic()
        attempt = smtp.deliver(self.lab, source or self.allowed(family), "a@from.example", recipient, content, wait_s=100, **where)
        return attempt, time.monotonic() - started

    def counters(self, group="tcp"):
        return json.loads(self.lab.ctl("--json", "stats", group).stdout)[group]

    def memory_kb(self):
        with open("/proc/%d/status" % self.lab.pid("dataplane")) as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

    def crashes(self):
        from e2e.run import crashes
        return crashes(self)

    def starts(self):
        services = self.lab.ask(do="status")["services"]
        return {name: services[name]["starts"] for name in ("control", "dataplane")}

    # --- capture

    @contextlib.contextmanager
    def capture(self, path, *ends):
        """Everything on those ends, (role, device), into path-ROLE.pcap for the length of the block."""
        processes = []
        for role, device in ends or (("client", "cli0"), ("mta", "mta0")):
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.lab.net[role], "tcpdump", "-i", device, "-U", "-n", "-s", "0", "-B", "65536", "-Z", "root",
                 "-w", "%s-%s.pcap" % (path, role)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                universal_newlines=True)
            processes.append(process)
            process.stderr.readline()       # "listening on"
        time.sleep(0.2)
        try:
            yield
        finally:
            time.sleep(0.3)
            for process in processes:
                process.send_signal(signal.SIGINT)
            self.captured = "".join(process.communicate(timeout=10)[1] for process in processes)
