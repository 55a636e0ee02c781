"""The servers that are compared: each in namespaces of its own, its own root where it is Debian's, its own control group.

    client ns: c0 198.18.0.1/24, all of 10/8 local ==== s0 198.18.0.2 server ns s1 198.18.1.2 ==== b0 198.18.1.3 backend ns: sink
"""
import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time

from bench import common
from bench.gateway import Gateway, Processes
from bench.peers.group import Group
from lab import mta, netns, roots, supervise

SERVER, BACKEND = "198.18.0.2", "198.18.1.3"


class Wires:
    """Three namespaces and two veths; receiving softirqs of each end stay on the CPU of who owns that end."""

    def __init__(self, name, cpu_server, cpu_other, kernel_server):
        self.ns = {role: "gl-bench-%s-%s" % (name, role) for role in ("client", "server", "backend")}
        for ns in self.ns.values():
            if netns.exists(ns):
                raise common.BenchError("namespace %s is there already: left by a run that was killed? ip netns delete it" % ns)
        for ns in self.ns.values():
            netns.run("ip", "netns", "add", ns)
        self.ip("server", "link add s0 type veth peer name c0 netns %s" % self.ns["client"],
                "link add s1 type veth peer name b0 netns %s" % self.ns["backend"])
        for role, device, cpu in (("client", "c0", cpu_other), ("server", "s0", cpu_server), ("server", "s1", cpu_server),
                                  ("backend", "b0", cpu_other)):
            netns.run("ip", "netns", "exec", self.ns[role], "ethtool", "-K", device, "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off")
            netns.run("ip", "netns", "exec", self.ns[role], "sh", "-c",
                      "echo %x >/sys/class/net/%s/queues/rx-0/rps_cpus" % (1 << cpu, device))
        self.ip("client", "link set lo up", "link set c0 up", "address add 198.18.0.1/24 dev c0", "route add local 10.0.0.0/8 dev lo")
        self.sysctl("client", "ipv4/conf/all/arp_announce=2", "ipv4/conf/c0/arp_announce=2", "ipv4/ip_nonlocal_bind=1", "ipv4/tcp_max_tw_buckets=1000000")
        self.ip("backend", "link set lo up", "link set b0 up", "address add %s/24 dev b0" % BACKEND)
        self.sysctl("server", "ipv6/conf/s0/disable_ipv6=1", "ipv6/conf/s1/disable_ipv6=1", "ipv4/ip_local_port_range=1024 65000",
                    "ipv4/tcp_max_syn_backlog=16384", "core/somaxconn=16384")
        self.sysctl("backend", "core/somaxconn=16384", "ipv4/tcp_max_syn_backlog=16384")
        self.ip("server", "link set lo up", "link set s0 up", "link set s1 up")
        if kernel_server:  # Greyline's own ends have no address (the kernel would answer for it)
            self.ip("server", "address add %s/24 dev s0" % SERVER, "address add 198.18.1.2/24 dev s1", "route add 10.0.0.0/8 via 198.18.0.1")

    def ip(self, role, *lines):
        netns.run("ip", "-n", self.ns[role], "-batch", "-", text="\n".join(lines) + "\n")

    def sysctl(self, role, *settings):
        with netns.inside(self.ns[role]):
            for setting in settings:
                path, value = setting.split("=")
                try:
                    with open("/proc/sys/net/" + path, "w") as f:
                        f.write(value)
                except FileNotFoundError:
                    pass  # not in this kernel's namespaces

    def close(self):
        for ns in self.ns.values():
            for pid in netns.pids(ns):
                try:
                    os.kill(pid, 9)
                except ProcessLookupError:
                    pass
            netns.run("ip", "netns", "delete", ns, check=False)


class Peer:
    """One server: start() until it answers, load() for a while, close(). Sessions come from ever new addresses of 10/8."""

    dialogue = "greylist"
    slots = 64
    idle = 1000  # sessions to hold open for their memory
    sink_rcpt = "250"
    kernel = True

    def __init__(self, name, build):
        self.name, self.build = name, build
        self.cpu_other, self.cpu_server = common.cpus()
        self.first = 0
        self.group = self.wires = self.tools = None

    def start(self):
        self.group = Group("greyline-bench-" + self.name)
        self.wires = Wires(self.name, self.cpu_server, self.cpu_other, self.kernel)
        self.tools = Processes(tempfile.mkdtemp(prefix="greyline-bench-"))
        self.tools.spawn("sink", [os.path.join(self.build, "bench/peers/sink"), "25", "--rcpt", self.sink_rcpt], self.cpu_other, self.wires.ns["backend"])
        self.tools.wait_for("sink", "ready")
        self.serve()
        until = time.monotonic() + 60
        while self.load(1, 1, quiet=True)["sessions"] == 0:
            if time.monotonic() > until:
                raise common.BenchError("%s does not serve within a minute: %s" % (self.name, self.words()))
            time.sleep(0.5)

    def serve(self):
        raise NotImplementedError

    def words(self):
        return ""

    def command(self, *arguments):
        return ["ip", "netns", "exec", self.wires.ns["client"], "taskset", "-c", str(self.cpu_other),
                os.path.join(self.build, "bench/peers/client"), "--server", SERVER, "--first", str(self.first)] + [str(a) for a in arguments]

    def load(self, seconds, slots=None, quiet=False, dialogue=None, message=10240):
        done = subprocess.run(self.command("--template", dialogue or self.dialogue, "--slots", slots or self.slots, "--seconds", seconds, "--message", message),
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if quiet else None, text=True)
        if done.returncode:
            raise common.BenchError("the load on %s ended with %d" % (self.name, done.returncode))
        figures = json.loads(done.stdout)
        self.first = figures["next"]
        return figures

    def hold(self, sessions):
        """(process, how many are open): sessions after EHLO that stay until its input is closed."""
        p = subprocess.Popen(self.command("--template", "idle", "--slots", sessions), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True)
        words = p.stdout.readline().split()
        self.first += sessions
        return p, int(words[1]) if len(words) == 2 else 0

    def memory_octets(self):
        return self.group.memory_octets()

    def stored(self):
        """Octets on disk, None where nothing is kept."""
        return None

    def kept(self):
        """Triplets on disk, None where every one is written at once."""
        return None

    def close(self):
        if self.tools is not None:  # what holds a root keeps SIGTERM for itself; killed, it takes all inside with it
            self.tools.stop(number=signal.SIGKILL)
        for part in (self.wires, self.group):
            if part is not None:
                part.close()
        if self.tools is not None:
            shutil.rmtree(self.tools.dir, ignore_errors=True)


class Rooted(Peer):
    """A server of Debian's in its root; its folder is /lab there."""

    root_name = "postgrey"

    def start(self):
        # in memory: what is compared is CPU time, not this machine's disk
        self.folder = tempfile.mkdtemp(prefix="greyline-bench-", dir="/dev/shm")
        os.chmod(self.folder, 0o755)
        os.mkdir(os.path.join(self.folder, "log"))
        os.chmod(os.path.join(self.folder, "log"), 0o1777)
        self.root = roots.make(common.TOP, self.root_name)
        super().start()

    def run_rooted(self, name, argv):
        spec = {"name": name, "namespace": self.wires.ns["server"], "root": self.root, "argv": argv}
        inside = supervise.Service(spec, self.folder).argv()
        self.tools.spawn(name, ["sh", "-c", 'ulimit -n "$(ulimit -Hn)"; exec "$@"', "sh"] + inside, self.cpu_server, before=self.group.enter())

    def memory_octets(self):
        """Without the files of its folder, which would be on a disk."""
        octets = 0
        for where, _, names in os.walk(self.folder):
            for name in names:
                try:
                    octets += os.lstat(os.path.join(where, name)).st_blocks * 512
                except FileNotFoundError:  # gone meanwhile
                    pass
        return super().memory_octets() - octets

    def words(self):
        text = "".join(self.tools.output(n)[-500:] for n, _ in self.tools.running)
        for name in os.listdir(os.path.join(self.folder, "log")):
            with open(os.path.join(self.folder, "log", name), errors="replace") as f:
                text += f.read()[-800:]
        return text

    def close(self):
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)


POSTFIX = """
mynetworks = 127.0.0.0/8
smtpd_banner = $myhostname ESMTP
smtpd_peername_lookup = no
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 2000
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_forbid_bare_newline = no
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
virtual_mailbox_domains = example.org
virtual_mailbox_maps = static:all/
virtual_mailbox_base = /lab
virtual_uid_maps = static:5000
virtual_gid_maps = static:5000
"""


class Postgrey(Rooted):
    """Postfix smtpd asking postgrey at RCPT."""

    slots = 100
    idle = 100  # a process each, and fewer than default_process_limit: full, Postfix shortens its time-outs

    def serve(self):
        db = os.path.join(self.folder, "postgrey")
        os.mkdir(db)
        uid, gid = _ids(self.root, "postgrey")
        os.chown(db, uid, gid)
        mta._instance(self.root, os.path.join(self.folder, "mta"), mta.COMMON % dict(folder="mta", name="postgrey.bench") + POSTFIX +
                      "inet_protocols = ipv4\nsmtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:10023\n",
                      mta.SERVICES + "25 inet n - n - - smtpd\n")
        self.run_rooted("postgrey", ["/usr/sbin/postgrey", "--inet=127.0.0.1:10023", "--dbdir=/lab/postgrey", "--user=postgrey", "--group=postgrey",
                                     "--delay=240"])
        time.sleep(2)
        self.run_rooted("postfix", mta.service("mta"))

    def stored(self):
        folder = os.path.join(self.folder, "postgrey")
        return sum(os.path.getsize(os.path.join(folder, n)) for n in os.listdir(folder) if n.endswith(".db"))


class Postscreen(Rooted):
    """postscreen with its tests after the banner on: new clients get 450 at RCPT. Its greet test is at least a second long."""

    slots = 1500
    accept_queue = 4000  # master listens with default_process_limit for a backlog; of 1,500 that come at once its 100 leave most to their SYN's repetition

    def serve(self):
        mta._instance(self.root, os.path.join(self.folder, "mta"), mta.COMMON % dict(folder="mta", name="postscreen.bench") + POSTFIX + """
inet_protocols = ipv4
postscreen_access_list =
postscreen_greet_wait = 1s
default_process_limit = %d
postscreen_greet_action = enforce
postscreen_pipelining_enable = yes
postscreen_non_smtp_command_enable = yes
postscreen_bare_newline_enable = yes
postscreen_pre_queue_limit = 20000
postscreen_post_queue_limit = 20000
postscreen_cache_map = btree:$data_directory/postscreen_cache
""" % self.accept_queue, mta.SERVICES + """
25        inet n - n - 1 postscreen
smtpd     pass - - n - - smtpd
dnsblog   unix - - n - 0 dnsblog
tlsproxy  unix - - n - 0 tlsproxy
""")
        self.run_rooted("postfix", mta.service("mta"))

    def stored(self):
        folder = os.path.join(self.folder, "mta", "lib")
        return sum(os.path.getsize(os.path.join(folder, n)) for n in os.listdir(folder) if n.startswith("postscreen_cache"))


class Haproxy(Rooted):
    """HAProxy in TCP mode in front of the sink, which says what a greylist would."""

    root_name = "haproxy"
    sink_rcpt = "451"

    def serve(self):
        with open(os.path.join(self.folder, "haproxy.cfg"), "w") as f:
            f.write("global\n maxconn %d\n nbthread 1\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 300s\n timeout server 300s\n"
                    "listen mx\n bind %s:25\n server sink %s:25\n" % (files_max() // 2 - 200, SERVER, BACKEND))
        self.run_rooted("haproxy", ["/usr/sbin/haproxy", "-db", "-f", "/lab/haproxy.cfg"])


def files_max():
    return min(40000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


class HaproxyMessages(Haproxy):
    dialogue = "data"
    sink_rcpt = "250"


def _ids(root, user):
    with open(os.path.join(root, "etc/passwd")) as f:
        words = next(line.split(":") for line in f if line.startswith(user + ":"))
    return int(words[2]), int(words[3])


class Greyline(Peer):
    """Control and data plane, both on the server's CPU, af_packet on both ends."""

    kernel = False
    idle = 16000  # a control group is charged by 256 KiB and CPU at a time, and these are small
    driver = "net_af_packet"
    changes = {}

    def serve(self):
        ports = ('{ name = "wan"; device = "%s0,iface=s0"; mtu = 1500; addresses = [ "198.18.0.2/24" ]; gateway4 = "198.18.0.1"; }, '
                 '{ name = "lan"; device = "%s1,iface=s1"; mtu = 1500; addresses = [ "198.18.1.2/24" ]; }') % (self.driver, self.driver)
        self.gateway = Gateway(self.build, self.wires.ns["server"], ports=ports, sessions=32768,
                               backend='{ name = "sink"; address = "%s"; port = 25; client_address = "proxy_v1"; }' % BACKEND, **self.changes)
        self.gateway.put_on(self.cpu_server, self.group.enter())
        self.gateway.start()

    def words(self):
        return self.gateway.output("control")[-500:] + self.gateway.output("dataplane")[-500:]

    def _database(self):
        return self.gateway.ctl("db", "stats", "--state-dir", self.gateway.path("state")) or {}

    def stored(self):
        return self._database().get("used_octets")

    def kept(self):
        return self._database().get("tables", {}).get("names")  # one for each triplet; entries hold pairs and clients besides

    def close(self):
        gateway = getattr(self, "gateway", None)
        if gateway is not None:
            gateway.close()
        super().close()


class GreylineXdp(Greyline):
    driver = "net_af_xdp"


class GreylineMessages(Greyline):
    dialogue = "data"
    changes = {"allow": '"10.0.0.0/8"'}


PEERS = {
    "postfix-postgrey": Postgrey,
    "postfix-postscreen": Postscreen,
    "haproxy": Haproxy,
    "greyline": Greyline,
    "greyline-xdp": GreylineXdp,
    "haproxy-messages": HaproxyMessages,
    "greyline-messages": GreylineMessages,
}
