"""Network namespaces: make them, join them by veth, open sockets in them from one process.

A socket belongs to the namespace its thread was in when it was made, whatever the thread does later. So the demo and
the end-to-end tests are one process that holds sockets in the client's, the gateway's and the MTA's namespace.
"""
import contextlib
import ctypes
import hashlib
import os
import socket
import subprocess
import threading

from . import addresses as a

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

ROLES = ("client", "gateway", "mta", "dns")


TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# namespaces belong to the machine and a lab to its checkout: two checkouts may test at once
CHECKOUT = hashlib.sha256(TOP.encode()).hexdigest()[:4]


class LabError(Exception):
    """Something the lab needs is missing or failed; the text is for the person at the keyboard."""


def run(*argv, check=True, text=None, timeout=120):
    done = subprocess.run([str(x) for x in argv], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, timeout=timeout)
    if check and done.returncode:
        raise LabError("%s: exit %d: %s" % (" ".join(str(x) for x in argv), done.returncode, done.stdout.strip()))
    return done.stdout


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, "setns: " + os.strerror(number))


@contextlib.contextmanager
def inside(namespace):
    """The calling thread is in `namespace` for the length of the block."""
    task = "/proc/self/task/%d/ns/net" % threading.get_native_id()
    home = os.open(task, os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open("/run/netns/" + namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def open_socket(namespace, family=socket.AF_INET, kind=socket.SOCK_STREAM, protocol=0):
    with inside(namespace):
        return socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)


def exists(namespace):
    return os.path.exists("/run/netns/" + namespace)


def pids(namespace):
    """Processes that live in the namespace."""
    if not exists(namespace):
        return []
    out = run("ip", "netns", "pids", namespace, check=False)
    return [int(word) for word in out.split() if word.isdigit()]


class Net:
    """The namespaces of one lab and the wires between them."""

    roles = ROLES

    def __init__(self, name, mtu=1500):
        self.names = {role: "gl-%s-%s-%s" % (CHECKOUT, name, role) for role in self.roles}
        self.mtu = mtu

    def __getitem__(self, role):
        return self.names[role]

    def ip(self, role, *lines):
        run("ip", "-n", self[role], "-batch", "-", text="\n".join(lines) + "\n")

    def sysctl(self, role, *settings):
        """Settings below /proc/sys/net, as path=value."""
        with inside(self[role]):
            for setting in settings:
                path, value = setting.split("=")
                with open("/proc/sys/net/" + path, "w") as f:
                    f.write(value)

    def exec(self, role, *argv, **kw):
        return run("ip", "netns", "exec", self[role], *argv, **kw)

    def up(self):
        for name in self.names.values():
            if pids(name):
                raise LabError("somebody lives in namespace %s; './dev lab down' with the name of that lab ends it" % name)
        self.down()             # what a run that was killed left
        for role in self.roles:
            run("ip", "netns", "add", self[role])
        self._wire("gateway", "wan0", "client", "cli0")
        self._wire("gateway", "lan0", "mta", "mta0")
        self._wire("gateway", "mgmt0", "dns", "dns0")
        self._gateway()
        self._client()
        self._mta()
        self._dns()

    def _wire(self, role, end, far_role, far_end):
        self.ip(role, "link add %s mtu %d type veth peer name %s mtu %d netns %s" % (
            end, self.mtu, far_end, self.mtu, self[far_role]))

    def _offload_off(self, role, device):
        self.exec(role, "ethtool", "-K", device, "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off")

    def _gateway(self):
        """The data plane's ends carry no address, or the kernel would answer for it (PITFALLS 26, 30c)."""
        self.sysctl("gateway", "ipv6/conf/wan0/disable_ipv6=1", "ipv6/conf/lan0/disable_ipv6=1")
        self.ip("gateway", "link set lo up", "link set wan0 up", "link set lan0 up", "link set mgmt0 up",
                "address add %s/24 dev mgmt0" % a.MANAGEMENT4)
        self._offload_off("gateway", "wan0")
        self._offload_off("gateway", "lan0")

    def _client(self):
        self.sysctl("client", "ipv4/conf/all/arp_announce=2", "ipv4/conf/cli0/arp_announce=2",
                    "ipv4/ip_nonlocal_bind=1", "ipv6/ip_nonlocal_bind=1",
                    "ipv4/ip_local_port_range=10000 65000")
        lines = ["link set lo up", "link set cli0 up",
                 "address add %s/24 dev cli0" % a.ROUTER4,
                 "address add %s/64 dev cli0 nodad" % a.ROUTER6]
        for kind in a.CLIENTS:
            lines.append("address add %s/32 dev lo" % a.client4(kind))
            lines.append("address add %s/128 dev lo nodad" % a.client6(kind))
        lines.append("route add local %s dev lo" % a.POOL4)
        lines.append("route add local %s dev lo" % a.POOL6)
        self.ip("client", *lines)
        self._offload_off("client", "cli0")

    def _mta(self):
        self.ip("mta", "link set lo up", "link set mta0 up",
                "address add %s/24 dev mta0" % a.BACKEND4, "address add %s/24 dev mta0" % a.BACKEND4_SECOND,
                "address add %s/64 dev mta0 nodad" % a.BACKEND6,
                "address add %s/64 dev mta0 nodad" % a.BACKEND6_SECOND)
        self._offload_off("mta", "mta0")

    def _dns(self):
        self.ip("dns", "link set lo up", "link set dns0 up", "address add %s/24 dev dns0" % a.RESOLVER4)
        self.nft("dns", """
            table inet lab {
                chain silent {
                    type filter hook input priority 0
                    ip daddr %s drop
                }
            }
            """ % a.SILENT_SERVER)

    def nft(self, role, rules):
        self.exec(role, "nft", "-f", "-", text=rules)

    def lossy(self, percent):
        """Drop that share of what arrives at the client and at the MTA; 0 takes the rule away."""
        for role, device in (("client", "cli0"), ("mta", "mta0")):
            self.nft(role, """
                table netdev lab_loss
                delete table netdev lab_loss
                """)
            if percent:
                self.nft(role, """
                    table netdev lab_loss {
                        chain in {
                            type filter hook ingress device %s priority 0
                            ip protocol tcp numgen random mod 1000 < %d counter drop
                            ip6 nexthdr tcp numgen random mod 1000 < %d counter drop
                        }
                    }
                    """ % (device, round(percent * 10), round(percent * 10)))

    def down(self):
        for name in self.names.values():
            if exists(name):
                run("ip", "netns", "delete", name, check=False)


class WiredNet(Net):
    """wan0 and lan0 lead to their far ends by way of a namespace in which a program stands between them (tests/stacks/wire_bridge)."""
    roles = ROLES + ("wire",)
    WAN, LAN = ("w-cli0", "w-wan0"), ("w-mta0", "w-lan0")       # far end, gateway's end

    def _wire(self, role, end, far_role, far_end):
        if end not in ("wan0", "lan0"):
            super()._wire(role, end, far_role, far_end)
            return
        for here, there, name in ((role, end, "w-" + end), (far_role, far_end, "w-" + far_end)):
            super()._wire("wire", name, here, there)
            self._up(name)

    def _up(self, name):
        self.sysctl("wire", "ipv6/conf/%s/disable_ipv6=1" % name)
        self.ip("wire", "link set %s up" % name)
        self._offload_off("wire", name)
