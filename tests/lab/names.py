"""Zones and configurations of unbound (the resolver), nsd (reverse and forward zones) and rbldnsd (block lists)."""
import ipaddress
import os

from . import addresses as a

REVERSE4 = ("18.198.in-addr.arpa", "19.198.in-addr.arpa")
REVERSE6 = "8.b.d.0.1.0.0.2.ip6.arpa"
SOA = "@ 60 IN SOA ns.%s. hostmaster.%s. 1 3600 600 86400 5\n@ 60 IN NS ns.%s.\n" % (a.ZONE, a.ZONE, a.ZONE)


def reverse_name(address):
    return ipaddress.ip_address(address).reverse_pointer


def _address_record(name, address):
    return "%s. 60 IN %s %s\n" % (name, "AAAA" if ":" in address else "A", address)


def _hosts():
    """(name, address) of everything whose PTR resolves back."""
    for kind in ("good", "sender", "listed", "hinted"):
        for family in (4, 6):
            yield "%s.%s" % (kind, a.ZONE), a.client(kind, family)
    for network in range(256):
        for host in range(1, a.POOL_HOSTS4 + 1):
            yield "p4-%d-%d.pool.%s" % (network, host, a.ZONE), "198.19.%d.%d" % (network, host)
    for network in range(a.POOL_NETWORKS6):
        for host in range(1, a.POOL_HOSTS6 + 1):
            yield "p6-%x-%x.pool.%s" % (network, host, a.ZONE), "2001:db8:1:%x::%x" % (network, host)


def _failing_zones():
    """(reverse zone, server) of the clients whose DNS fails."""
    refuses = "127.0.0.1@%d" % a.RBLDNSD_PORT       # it does not know the zone: REFUSED, and unbound says SERVFAIL
    for kind, server in (("dnsfail", refuses), ("dnstimeout", a.SILENT_SERVER + "@53")):
        yield "%d.18.198.in-addr.arpa" % a.CLIENTS[kind], server
        # one label for each of the 16 nibbles of the /64
        yield ".".join(reverse_name(a.client6(kind)).split(".")[16:]), server


def _write(folder, name, text):
    with open(os.path.join(folder, name), "w") as f:
        f.write(text)


def _zones():
    zones = {zone: SOA for zone in REVERSE4 + (REVERSE6, a.ZONE)}
    zones[a.ZONE] += _address_record("ns." + a.ZONE, a.RESOLVER4)
    for name, address in _hosts():
        zones[a.ZONE] += _address_record(name, address)
        zone = next(z for z in zones if reverse_name(address).endswith(z))
        zones[zone] += "%s. 60 IN PTR %s.\n" % (reverse_name(address), name)
    name = "unconfirmed." + a.ZONE
    zones[a.ZONE] += _address_record(name, "198.18.41.1") + _address_record(name, "2001:db8:0:41::1")
    for family in (4, 6):
        address = a.client("unconfirmed", family)
        zone = next(z for z in zones if reverse_name(address).endswith(z))
        zones[zone] += "%s. 60 IN PTR %s.\n" % (reverse_name(address), name)
    return zones


def configure(folder):
    """Write everything into `folder`, which the services see as /lab/dns."""
    os.makedirs(folder, exist_ok=True)
    zones = _zones()
    nsd = """
server:
    ip-address: 127.0.0.1@%d
    username: ""
    zonesdir: "/lab/dns"
    pidfile: "/lab/dns/nsd.pid"
    xfrdfile: ""
    zonelistfile: "/lab/dns/zone.list"
    database: ""
    server-count: 1
    verbosity: 1
remote-control:
    control-enable: no
""" % a.NSD_PORT
    for zone, text in zones.items():
        _write(folder, zone + ".zone", "$ORIGIN %s.\n" % zone + text)
        nsd += 'zone:\n    name: "%s"\n    zonefile: "%s.zone"\n' % (zone, zone)
    _write(folder, "nsd.conf", nsd)

    soa = "$SOA 60 ns.%s hostmaster.%s 1 3600 600 86400 5\n$NS 60 ns.%s\n" % (a.ZONE, a.ZONE, a.ZONE)
    for zone, kind in ((a.BLOCKLIST, "listed"), (a.GREYLIST_ZONE, "hinted")):
        text = ":127.0.0.2:%s is listed in the lab\n" % kind
        _write(folder, zone + ".4", soa + text + "127.0.0.2\n%s\n" % a.client4(kind))
        _write(folder, zone + ".6", soa + text + "::ffff:7f00:2/128\n%s/128\n" % a.client6(kind))
    _write(folder, a.NAMES_ZONE + ".names", soa + ":127.0.1.2:listed in the lab\ntest\n.%s\n" % a.LISTED_DOMAIN)
    _write(folder, a.ERROR_ZONE + ".4", soa + "0.0.0.0/0 :127.255.255.254:query refused, open resolver\n")

    unbound = """
server:
    interface: %s
    port: 53
    access-control: 0.0.0.0/0 allow
    access-control: ::0/0 allow
    do-ip6: no
    do-daemonize: no
    username: ""
    chroot: ""
    directory: "/lab/dns"
    pidfile: "/lab/dns/unbound.pid"
    use-syslog: no
    logfile: ""
    verbosity: 1
    num-threads: 1
    module-config: "iterator"
    do-not-query-localhost: no
    cache-max-ttl: 60
    cache-max-negative-ttl: 5
    infra-host-ttl: 5
    root-hints: "/lab/dns/root.hints"
    local-zone: "%s." nodefault
remote-control:
    control-enable: no
""" % (a.RESOLVER4, REVERSE6)
    # The lab has no way out: a root server that is the lab's nsd refuses, and the answer is a quick SERVFAIL.
    _write(folder, "root.hints", ". 3600 NS ns.%s.\nns.%s. 3600 A 127.0.0.1\n" % (a.ZONE, a.ZONE))
    stubs = [(zone, "127.0.0.1@%d" % a.NSD_PORT) for zone in zones]
    stubs += [(zone, "127.0.0.1@%d" % a.RBLDNSD_PORT) for zone in (a.BLOCKLIST, a.GREYLIST_ZONE, a.ERROR_ZONE, a.NAMES_ZONE)]
    stubs += list(_failing_zones())
    for zone, server in stubs:
        unbound += 'stub-zone:\n    name: "%s."\n    stub-addr: %s\n' % (zone, server)
    _write(folder, "unbound.conf", unbound)


def services():
    """What the supervisor runs in the dns namespace: (name, argv inside the root)."""
    sets = ["%s:ip4trie:/lab/dns/%s.4" % (z, z) for z in (a.BLOCKLIST, a.GREYLIST_ZONE, a.ERROR_ZONE)]
    sets += ["%s:ip6trie:/lab/dns/%s.6" % (z, z) for z in (a.BLOCKLIST, a.GREYLIST_ZONE)]
    sets.append("%s:dnset:/lab/dns/%s.names" % (a.NAMES_ZONE, a.NAMES_ZONE))
    return [
        ("nsd", ["/usr/sbin/nsd", "-d", "-c", "/lab/dns/nsd.conf"]),
        ("rbldnsd", ["/usr/sbin/rbldnsd", "-n", "-c", "1", "-u", "rbldns", "-b", "127.0.0.1/%d" % a.RBLDNSD_PORT] + sets),
        ("unbound", ["/usr/sbin/unbound", "-d", "-c", "/lab/dns/unbound.conf"]),
    ]
