"""Every address of the lab, in one place.

The same addresses serve each lab: labs of different names live in namespaces of their own. Each test client has a
/24 (or /64) to itself, because that is the client part of a greylist triplet.

            client ns               gateway ns                 mta ns
    test clients - cli0 .1 ===== .2 wan0 | lan0 .2 ===== .3 .4 mta0 - Postfix
                   198.18.0.0/24         | mgmt0 .2 ==== .3 dns0 - unbound, nsd, rbldnsd   (dns ns)
                                           198.18.2.0/24 (kernel addresses: control's way to the resolver)
"""

# WAN: the client's kernel is the router in front of the gateway.
ROUTER4, ROUTER6 = "198.18.0.1", "2001:db8:0:1::1"
GATEWAY4, GATEWAY6 = "198.18.0.2", "2001:db8:0:1::2"
# LAN: the gateway's second port and the MTA, which has two addresses so that a pool can have two members.
LAN4, LAN6 = "198.18.1.2", "2001:db8:0:2::2"
BACKEND4, BACKEND6 = "198.18.1.3", "2001:db8:0:2::3"
BACKEND4_SECOND, BACKEND6_SECOND = "198.18.1.4", "2001:db8:0:2::4"
# Management: kernel addresses on both sides.
MANAGEMENT4, RESOLVER4 = "198.18.2.2", "198.18.2.3"

SMTP_PORT = 25
SUBMISSION_PORT = 587
BALANCED_PORT = 28                  # where a load balancer in front speaks to the gateway

# Ports of the MTA (each on both of its addresses, IPv4 and IPv6).
MTA_PORT_PROXY, MTA_PORT_XCLIENT, MTA_PORT_PLAIN, MTA_PORT_SUBMISSION = 25, 2525, 2526, 587
# Demanding TLS: behind PROXY, behind XCLIENT, and one that relays for everybody.
MTA_PORT_TLS_PROXY, MTA_PORT_TLS_XCLIENT, MTA_PORT_TLS_OPEN = 2528, 2529, 2530

# Ports of the other MTAs in the same namespace.
EXIM_PORT_PROXY, EXIM_PORT_PLAIN = 2700, 2701
OPENSMTPD_PORT_PROXY, OPENSMTPD_PORT_PLAIN = 2800, 2801
POSTSCREEN_PORT = 2527

# Inside the dns namespace.
NSD_PORT, RBLDNSD_PORT = 5301, 5302
SILENT_SERVER = "127.0.0.99"        # what arrives there is dropped

DOMAIN = "example.org"              # what the MTA receives mail for
# The same, by other roads in the end-to-end tests: each of these is a pool of its own.
DOMAINS = (DOMAIN, "v1.example", "xclient.example", "six.example", "none.example", "tried.example")
CORPUS_DOMAIN = "corpus.example"    # taken by the MTA and thrown away there: what counts is its log
RETURNS_DOMAIN = "returns.example"  # senders' domain of the interoperability tests: reports on deliveries come back to it
ZONE = "lab.example"                # names of the lab's hosts
BLOCKLIST = "bl.lab.example"        # listing is decisive
GREYLIST_ZONE = "grey.lab.example"  # listing is a hint
NAMES_ZONE = "names.lab.example"      # a list of names: has LISTED_DOMAIN and what is below it
LISTED_DOMAIN = "listed-sender.example"
ERROR_ZONE = "err.lab.example"      # answers 127.255.255.254 for everybody: a blocked resolver

# kind -> third number of 198.18.N.10 and fourth group of 2001:db8:0:N::10
CLIENTS = {
    "good": 10,             # PTR that resolves back
    "sender": 11,           # the same, for the sending Postfix
    "listed": 20,           # PTR that resolves back, and listed in BLOCKLIST
    "hinted": 21,           # PTR that resolves back, and listed in GREYLIST_ZONE
    "noptr": 30,            # NXDOMAIN
    "unconfirmed": 40,      # PTR to a name that has another address
    "dnsfail": 50,          # reverse zone delegated to a server that refuses: SERVFAIL at once
    "dnstimeout": 60,       # reverse zone delegated to a server that swallows every question
}

# Strangers without number: any address here is local to the client namespace.
POOL4, POOL6 = "198.19.0.0/16", "2001:db8:1::/48"
POOL_HOSTS4, POOL_HOSTS6 = 16, 4    # .1 to .16 of each /24 and ::1 to ::4 of each /64 have a PTR that resolves back
POOL_NETWORKS6 = 256


def client4(kind):
    return "198.18.%d.10" % CLIENTS[kind]


def client6(kind):
    return "2001:db8:0:%d::10" % CLIENTS[kind]


def client(kind, family):
    return client4(kind) if family == 4 else client6(kind)


def gateway(family):
    return GATEWAY4 if family == 4 else GATEWAY6


def backend(family):
    return BACKEND4 if family == 4 else BACKEND6


def stranger(number, family):
    """The address of stranger `number`, each in a network of its own until they repeat (256 networks a family)."""
    network, host = number % 256, 1 + number // 256
    if family == 4:
        return "198.19.%d.%d" % (network, host)
    return "2001:db8:1:%x::%x" % (network, host)
