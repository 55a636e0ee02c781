"""The roads of the interoperability lab: which backend, how it is told the client, over which family; and the lab itself.

A recipient's domain says it all: mail to someone@v2.exim6.example goes to the gateway's IPv6 address, listener "exim",
and from there by PROXY v2 to Exim over IPv6. Each MTA has a listener of its own, so that EHLO offers what that MTA has.
"""
import itertools
import os

from lab import addresses as a
from lab import exim, gateway, haproxy, mta, opensmtpd, roots
from lab.labs import TOP, Lab

BLOCK_S = 4
CORPUS_NETWORK = 240        # 198.19.240.0/24 is in clients.allow

LISTENERS = {"postfix": 25, "exim": 26, "opensmtpd": 27}    # backend -> the gateway's port

# backend, road, its port, client_address
ROADS = (
    ("postfix", "none", a.MTA_PORT_PLAIN, "none"),
    ("postfix", "v1", a.MTA_PORT_PROXY, "proxy_v1"),
    ("postfix", "v2", a.MTA_PORT_PROXY, "proxy_v2"),
    ("postfix", "xclient", a.MTA_PORT_XCLIENT, "xclient"),
    ("postfix", "postscreen1", a.POSTSCREEN_PORT, "proxy_v1"),
    ("postfix", "postscreen2", a.POSTSCREEN_PORT, "proxy_v2"),
    ("exim", "none", a.EXIM_PORT_PLAIN, "none"),
    ("exim", "v1", a.EXIM_PORT_PROXY, "proxy_v1"),
    ("exim", "v2", a.EXIM_PORT_PROXY, "proxy_v2"),
    ("opensmtpd", "none", a.OPENSMTPD_PORT_PLAIN, "none"),
    ("opensmtpd", "v2", a.OPENSMTPD_PORT_PROXY, "proxy_v2"),
)

# Each sender's own addresses; their PTR resolves back (pool of tests/lab/names.py).
SENDERS = {name: ("198.19.%d.1" % network, "2001:db8:1:%x::1" % network) for name, network in (
    ("postfix", 100), ("exim", 101), ("opensmtpd", 102), ("swaks", 103), ("smtplib", 104))}

# Where the backend puts what it took, below the lab's folder.
MAILDIRS = {"postfix": "mail/all", "exim": "mail/exim", "opensmtpd": "mail/opensmtpd"}


def domain(backend, road, family):
    return "%s.%s%d.example" % (road, backend, family)


def domains(backend):
    return [domain(b, road, family) for b, road, _, _ in ROADS for family in (4, 6) if b == backend]


def routes():
    """domain -> (address, port) of the gateway, for the sending MTAs."""
    return {domain(backend, road, family): (a.gateway(family), LISTENERS[backend])
            for backend, road, _, _ in ROADS for family in (4, 6)}


def _pool_name(backend, road, family):
    return "%s-%s-%d" % (backend, road, family)


def _pools():
    text = ""
    for (backend, road, port, how), family in itertools.product(ROADS, (4, 6)):
        name = _pool_name(backend, road, family)
        text += ',\n\t{ name = "%s"; domains = [ "%s" ];\n\t  backends = ( %s ); }' % (
            name, domain(backend, road, family),
            gateway.backend(name, address=a.backend(family), port=port, client_address=how))
    return text


def _quoted(words):
    return "[ " + ", ".join('"%s"' % w for w in words) + " ]"


def _listener(name, backend, port, extra=""):
    pools = [_pool_name(b, road, family) for b, road, _, _ in ROADS for family in (4, 6) if b == backend]
    return (',\n\t{ name = "%s"; role = "mx"; addresses = [ "%s", "%s" ]; port = %d;\n\t  domains = %s;\n\t  pools = %s;%s }' % (
        name, a.GATEWAY4, a.GATEWAY6, port, _quoted(domains(backend)), _quoted(pools), extra))


def choices():
    """Arguments of Lab.up() for the gateway's configuration."""
    postfix_pools = ["default"] + [_pool_name(b, road, f) for b, road, _, _ in ROADS for f in (4, 6) if b == "postfix"]
    balanced = ' trusted_proxies = [ "%s/32", "%s/128" ];' % (a.ROUTER4, a.ROUTER6)
    return dict(
        block="%ds" % BLOCK_S, more_pools=_pools(),
        domains=_quoted([a.DOMAIN, a.CORPUS_DOMAIN] + domains("postfix")), mx_pools=_quoted(postfix_pools),
        more_listeners=_listener("exim", "exim", LISTENERS["exim"])
        + _listener("opensmtpd", "opensmtpd", LISTENERS["opensmtpd"])
        + _listener("balanced", "postfix", a.BALANCED_PORT, balanced),
        allow='"198.19.%d.0/24", "2001:db8:1:%x::/64"' % (CORPUS_NETWORK, CORPUS_NETWORK),
        driver=os.environ.get("INTEROP_DRIVER", "net_af_packet"))


class InteropLab(Lab):
    """A lab with all the MTAs. Every sender is started by hand."""

    def up_all(self, tls=False):
        """tls: Postfix as sender makes use of STARTTLS, too; Exim and OpenSMTPD always do where it is offered."""
        self.roots = {name: roots.make(TOP, name) for name in (roots.LAB, exim.ROOT, opensmtpd.ROOT, haproxy.ROOT, "clients")}
        self.up(more=self._more, wait_s=90, mta_choices=dict(more_domains=domains("postfix"), routes=routes(),
                                                            senders=SENDERS["postfix"],
                                                            sender_tls="may" if tls else "none"), **choices())

    def _more(self):
        returns = [a.RETURNS_DOMAIN]
        exim.configure_mta(self.folder, self.roots["exim"], domains("exim") + returns)
        exim.configure_sender(self.folder, self.roots["exim"], routes(), *SENDERS["exim"])
        opensmtpd.configure_mta(self.folder, self.roots["opensmtpd"], domains("opensmtpd") + returns)
        opensmtpd.configure_sender(self.folder, self.roots["opensmtpd"], routes(), *SENDERS["opensmtpd"])
        haproxy.configure(self.folder)
        rows = [("mta", "exim", exim.service("exim"), "exim", []),
                ("client", "eximsender", exim.service("eximsender"), "exim", []),
                ("mta", "opensmtpd", opensmtpd.service("opensmtpd"), "opensmtpd", opensmtpd.binds("opensmtpd")),
                ("client", "opensmtpdsender", opensmtpd.service("opensmtpdsender"), "opensmtpd",
                 opensmtpd.binds("opensmtpdsender")),
                ("client", "haproxy", haproxy.service(), "haproxy", [])]
        for folder in ("exim", "eximsender"):
            path = self.path("mail", folder)
            os.makedirs(path, exist_ok=True)
            os.chown(path, mta.MAIL_UID, mta.MAIL_UID)
        return [self.service(role, name, argv, self.roots[root], binds=binds) for role, name, argv, root, binds in rows]

    def versions(self):
        """package -> version of everything that takes part."""
        wanted = {"postfix": roots.LAB, "exim4-daemon-heavy": "exim", "opensmtpd": "opensmtpd", "haproxy": "haproxy",
                  "swaks": "clients", "python3": "clients"}
        return {package: roots.version_of(self.roots[root], package) for package, root in wanted.items()}
