"""What a case gets: a lab with its sink, fresh addresses, checks. And the labs the cases run in."""
import ipaddress
import itertools
import os
import time

from lab import addresses as a
from lab import certs, gateway, haproxy, roots
from lab.labs import TOP, Lab
from lab.netns import WiredNet

from . import smtp
from .logs import Log, Maildir
from .sink import DOMAIN as SINK_DOMAIN
from .sink import PORT as SINK_PORT
from .sink import Sink

BLOCK_S = 3                 # greylist.block of these labs; policy time has whole seconds, so 2 could be over after one
ALLOWED_NETWORK = 240       # 198.19.240.0/24 and 2001:db8:1:f0::/64 are in clients.allow
STRANGERS = 224             # networks that belong to nobody in particular
TLS_BAD_PORT = 30           # a listener that routes to what TLS keeps mail from: no good one should wait for their extensions
KNOWN_PORT = 29             # a listener that routes to one pool: where known clients may be spliced

# name -> how that lab differs from the first
VARIANTS = {
    "packet": dict(driver="net_af_packet", workers=1),
    "packet2": dict(driver="net_af_packet", workers=2),
    "xdp": dict(driver="net_af_xdp", workers=1),
    "xdp2": dict(driver="net_af_xdp", workers=2),
    "sanitized": dict(driver="net_af_packet", workers=1, build="build-san"),
    # both ports in VLANs of their own, on trunks of a switch in user space
    "vlan": dict(driver="net_af_packet", workers=2, vlans=(7, 4094)),
    "vlanxdp": dict(driver="net_af_xdp", workers=1, vlans=(7, 4094)),
}


class Failed(Exception):
    pass


class Skipped(Exception):
    """The text names what is missing."""


class Case:
    registry = []

    def __init__(self, function, title, variants, families, limit_s, restarts):
        self.function, self.title = function, title
        self.variants, self.families = variants, families
        self.limit_s = limit_s
        self.restarts = restarts        # the case itself ends daemons


def case(title, variants=("packet", "xdp", "sanitized"), families=(4, 6), limit_s=60, restarts=False):
    """Register a case: run in each of the variants, for each of the address families (None: once, no family)."""
    def register(function):
        Case.registry.append(Case(function, title, variants, families, limit_s, restarts))
        return function
    return register


def pools():
    """The pools of the end-to-end tests, one for each road to a backend."""
    roads = (
        ("sink", [gateway.backend("sink1", port=SINK_PORT)]),
        ("v1", [gateway.backend("v1", client_address="proxy_v1")]),
        ("xclient", [gateway.backend("xclient1", port=a.MTA_PORT_XCLIENT, client_address="xclient")]),
        ("six", [gateway.backend("six1", address=a.BACKEND6)]),
        ("none", [gateway.backend("none1", port=a.MTA_PORT_PLAIN, client_address="none")]),
        ("tried", [gateway.backend("tried1", port=SINK_PORT + 1), gateway.backend("tried2")]),
    )
    roads += tls_roads() + tls_bad_roads()
    return "".join(',\n\t{ name = "%s"; domains = [ "%s.example" ];\n\t  backends = ( %s ); }' % (
        name, name, ", ".join(backends)) for name, backends in roads)


def tls_roads():
    """Backends spoken to by TLS. The fingerprint is the MTA's, filled in by Bench.up() once there is a certificate."""
    ca = "@folder@/ca/ca.pem"
    checked = ' tls = "require"; tls_ca = "%s"; tls_name = "%s";'
    rows = (
        ("tlsmay", a.MTA_PORT_PROXY, ' tls = "may";'),
        ("tlsca", a.MTA_PORT_PROXY, checked % (ca, certs.MTA_NAME)),
        ("tlspin", a.MTA_PORT_PROXY, ' tls = "require"; tls_fingerprints = [ "@MTA_FINGERPRINT@" ];'),
        ("tlsdemand", a.MTA_PORT_TLS_PROXY, ' tls = "require";'),
    )
    return _roads(rows) + (("tlsxclient", [gateway.backend("tlsxclient1", port=a.MTA_PORT_TLS_XCLIENT, client_address="xclient",
                                                             more=' tls = "require";')]),)


def tls_bad_roads():
    """Backends that TLS, or what is found out behind it, keeps mail from."""
    ca, other = "@folder@/ca/ca.pem", "@folder@/other/ca.pem"
    checked = ' tls = "require"; tls_ca = "%s"; tls_name = "%s";'
    return _roads((
        ("tlsbadname", a.MTA_PORT_PROXY, checked % (ca, "other.lab.example")),
        ("tlsbadpin", a.MTA_PORT_PROXY, ' tls = "require"; tls_fingerprints = [ "%s" ];' % ("00" * 32)),
        ("tlsbadca", a.MTA_PORT_PROXY, checked % (other, certs.MTA_NAME)),
        ("tlssink", SINK_PORT, ' tls = "require";'),
        ("tlsopen", a.MTA_PORT_TLS_OPEN, ' tls = "may";'),
    ))


def _roads(rows):
    return tuple((name, [gateway.backend(name + "1", port=port, more=more)]) for name, port, more in rows)


def listeners():
    """Behind HAProxy, and where known clients may be spliced: both lead to Postfix alone. And what leads nowhere."""
    row = (',\n\t{ name = "%s"; role = "mx"; addresses = [ "' + a.GATEWAY4 + '", "' + a.GATEWAY6 + '" ]; port = %d; '
           'domains = [ "' + a.DOMAIN + '" ];\n\t  pools = [ "default" ];%s }')
    return row % ("balanced", a.BALANCED_PORT, ' trusted_proxies = [ "%s/32", "%s/128" ];' % (a.ROUTER4, a.ROUTER6)) + row % (
        "known", KNOWN_PORT, "") + (
            ',\n\t{ name = "badtls"; role = "mx"; addresses = [ "' + a.GATEWAY4 + '" ]; port = %d;\n\t  domains = [ %s ]; pools = [ %s ]; }' % (
                TLS_BAD_PORT, ", ".join('"%s.example"' % name for name, _ in tls_bad_roads()),
                ", ".join('"%s"' % name for name, _ in tls_bad_roads())))


def choices(variant):
    """Arguments of Lab.up for the variant."""
    domains = list(a.DOMAINS) + [SINK_DOMAIN, a.CORPUS_DOMAIN] + TLS_DOMAINS
    quoted = "[ " + ", ".join('"%s"' % d for d in domains) + " ]"
    chosen = dict(VARIANTS[variant], block="%ds" % BLOCK_S, more_pools=pools(), more_listeners=listeners(), domains=quoted,
                  mx_pools='[ "default", "sink", "v1", "xclient", "six", "none", "tried", '
                  + ", ".join('"%s"' % name for name, _ in tls_roads()) + " ]",
                  allow='"198.19.%d.0/24", "2001:db8:1:%x::/64"' % (ALLOWED_NETWORK, ALLOWED_NETWORK))
    chosen.pop("build", None)
    vlans = chosen.pop("vlans", None)
    if vlans:
        chosen.update(wan_more=" vlan = %d;" % vlans[0], lan_more=" vlan = %d;" % vlans[1])
    return chosen


TLS_DOMAINS = ["%s.example" % name for name, _ in tls_roads() + tls_bad_roads()]


class Bench:
    """One lab of the tests, up."""

    def __init__(self, variant, lab="e2e"):
        self.variant = variant
        build = os.path.join(TOP, VARIANTS[variant].get("build", "build"))
        self.lab = Lab(lab + variant, build=os.environ.get("GREYLINE_BUILD", build))
        self.vlans = VARIANTS[variant].get("vlans")
        if self.vlans:
            self.lab.net = WiredNet(self.lab.name)
        self.sink = Sink(self.lab)
        # first of the pool "tried"; cases stop it
        self.mortal = Sink(self.lab, port=SINK_PORT + 1, domain="tried.example")
        self.numbers = {4: itertools.count(), 6: itertools.count()}
        self.serial = itertools.count(1)

    def up(self):
        self.lab.down()         # what a run that was killed left
        try:
            self.lab.up(prepare=self._backends, more=self._services, mta_choices=dict(more_domains=TLS_DOMAINS),
                        **choices(self.variant))
        except BaseException:
            self.down()
            raise
        self.log, self.maildir = Log(self.lab.log_path), Maildir(self.lab.maildir)

    def _backends(self):
        certs.Authority(self.lab.path("other"), "Another CA")
        self.sink.start()
        self.mortal.start()

    def _services(self):
        haproxy.configure(self.lab.folder)
        return self._switches() + [self.lab.service("client", "haproxy", haproxy.service(), roots.make(TOP, haproxy.ROOT), manual=True)]

    def _switches(self):
        """Between each port and its network, where there are VLANs: tags on the port's side alone."""
        if not self.vlans:
            return []
        bridge = self.lab.program("tests/stacks/wire_bridge")
        return [self.lab.service("wire", "switch%d" % vlan, [bridge, "--vlan", str(vlan)] + list(ends))
                for vlan, ends in zip(self.vlans, (WiredNet.WAN, WiredNet.LAN))]

    def down(self):
        self.sink.stop()
        self.mortal.stop()
        return self.lab.down()

    def starts(self):
        services = self.lab.ask(do="status")["services"]
        return {name: services[name]["starts"] for name in ("control", "dataplane")}


class Test:
    """What one run of one case is given."""

    def __init__(self, bench, family, seed=0, sessions=0):
        self.bench, self.family, self.seed, self.sessions = bench, family, seed, sessions
        self.lab, self.sink, self.log, self.maildir = bench.lab, bench.sink, bench.log, bench.maildir
        self.notes = []

    # --- addresses and names nobody used before

    def stranger(self, family=None):
        family = family or self.family
        number = next(self.bench.numbers[family])
        network, host = number % STRANGERS, 1 + number // STRANGERS
        if host > (a.POOL_HOSTS4 if family == 4 else a.POOL_HOSTS6):
            raise Failed("no fresh addresses left: raise POOL_HOSTS in tests/lab/addresses.py")
        return self.host("198.19.%d.%d" % (network, host) if family == 4 else "2001:db8:1:%x::%x" % (network, host))

    @staticmethod
    def host(address):
        """As everybody writes it: the shortest form."""
        return str(ipaddress.ip_address(address))

    def neighbour(self, address, host):
        """Another host of the address's /24 or /64."""
        bits = 24 if ":" not in address else 64
        return str(ipaddress.ip_network("%s/%d" % (address, bits), strict=False)[host])

    def allowed(self, host=1):
        if self.family == 4:
            return "198.19.%d.%d" % (ALLOWED_NETWORK, host)
        return "2001:db8:1:%x::%x" % (ALLOWED_NETWORK, host)

    def client(self, kind):
        return a.client(kind, self.family)

    @property
    def gateway(self):
        return a.gateway(self.family)

    def word(self, prefix="w"):
        return "%s%dx%d" % (prefix, next(self.bench.serial), self.family or 0)

    def sender(self):
        # letters only: digits of a local part are normalised for the greylist's key, as VERP needs it
        number = next(self.bench.serial)
        letters = "".join(chr(97 + int(d)) for d in str(number))
        return "s%s@from-%s.example" % (letters, letters)

    def content(self, word, text=b"hello\r\n"):
        return b"Subject: %s\r\n\r\n" % word.encode() + text

    # --- dialogue

    def session(self, source, **kw):
        return smtp.Session(self.lab, source, **kw)

    def deliver(self, source, sender, recipients, content, **kw):
        return smtp.deliver(self.lab, source, sender, recipients, content, **kw)

    def make_known(self, source, sender, recipient):
        """First attempt, wait, second: the triplet is WHITE afterwards."""
        first, second = smtp.deliver_after_greylist(self.lab, source, sender, recipient, self.content(self.word()))
        self.check(first.last is not None and first.last.seconds is not None, "the stranger is greylisted: %s" % first)
        self.check(second.accepted, "the retry after the block is accepted: %s" % second)

    # --- checks

    def check(self, condition, what):
        if not condition:
            raise Failed(what)

    def equal(self, what, got, want):
        if got != want:
            raise Failed("%s: got %r, want %r" % (what, got, want))

    def code(self, what, reply, code, text=None):
        """The reply has this code and, if given, exactly this text after the code."""
        if reply is None:
            raise Failed("%s: no reply" % what)
        if reply.code != code or (text is not None and reply.text[4:] != text):
            raise Failed("%s: got '%s', want %d %s" % (what, reply, code, text or ""))

    def wait(self, what, ready, wait_s=10):
        end = time.monotonic() + wait_s
        while True:
            value = ready()
            if value:
                return value
            if time.monotonic() > end:
                raise Failed("%s: not within %g s" % (what, wait_s))
            time.sleep(0.05)

    def note(self, text):
        """Shown beside the result."""
        self.notes.append(text)
