"""nmap -O: what the stack looks like from the outside, and how well its numbers can be guessed."""
import re
import time
import xml.etree.ElementTree as xml

from lab import addresses as a
from lab.netns import run

from .result import Result

# nmap's index is eight times the logarithm of how far apart ISNs are: 32 free bits come to about 256, from 16 on it says "Good luck!".
# Ours are keyed cookies with two bits of time in front (tcp_listen.c), so thirty bits are free; the rest is the chance of six samples.
TCP_INDEX_MIN = 230
IP_ID_GOOD = ("All zeros", "Randomized")
SCANS = 3


def scan(lab, address):
    words = ["nmap", "-n", "-Pn", "-O", "-p", "25,26,587", "--max-os-tries", "1", "-oX", "-", "--source-port", "0"]
    words = words[:-2] + (["-6"] if ":" in address else []) + [address]
    tree = xml.fromstring(lab.net.exec("client", *words, timeout=120))
    host = tree.find("host")

    def values(name):
        found = host.find(name)
        return dict(found.attrib) if found is not None else {}
    os_part = host.find("os")
    prints = [f.get("fingerprint") for f in os_part.findall("osfingerprint")] if os_part is not None else []
    matches = [m.get("name") for m in os_part.findall("osmatch")] if os_part is not None else []
    return dict(sequence=values("tcpsequence"), ip_id=values("ipidsequence"), timestamps=values("tcptssequence"),
                ports={p.get("portid"): p.find("state").get("state") for p in host.iter("port")},
                fingerprint=prints[0] if prints else "", matches=matches)


def stable(fingerprint, family):
    """The part of a fingerprint that must not differ from scan to scan: what options and flags are answered to which probe."""
    kept = {}
    for test in fingerprint.replace("\nOS:", "").replace("\n", "").split(")"):
        name, _, values = test.partition("(")
        if family == 4 and name in ("OPS", "WIN", "ECN", "T1", "T2", "T3", "T4", "T5", "T6", "T7", "U1", "IE"):
            # RD and CK are sums over what the probe held, RUCK and RIPCK over what was quoted
            kept[name] = "%".join(v for v in values.split("%") if not v.startswith(("RD=", "CK=")))
        elif family == 6 and values.startswith("P=") and name != "EXTRA":
            kept[name] = shape(values[2:].split("%")[0])
    return kept


def shape(packet):
    """Of an IPv6 packet in nmap's hexadecimal (XX: an address, n{k}: k times): lengths, hop limit, TCP flags, window, options without times."""
    octets = re.sub(r"([0-9A-Fa-fX]{2})\{(\d+)\}", lambda m: m.group(1) * int(m.group(2)), packet)
    head, tcp = octets[8:16], octets[80:]
    if octets[12:14] != "06":
        return head
    options = re.sub(r"^(.*080a).{16}", r"\1", tcp[40:])
    return "%s flags %s window %s options %s" % (head, tcp[24:28], tcp[28:32], options)


def isns(fingerprint):
    """Of the six SYN-ACKs nmap asks for: sequence numbers, as an IPv6 fingerprint holds them."""
    found = []
    for test in fingerprint.replace("\nOS:", "").replace("\n", "").split(")"):
        name, _, values = test.partition("(")
        if re.fullmatch("S[1-6]", name):
            octets = re.sub(r"([0-9A-Fa-fX]{2})\{(\d+)\}", lambda m: m.group(1) * int(m.group(2)), values[2:].split("%")[0])
            found.append(int(octets[88:96], 16))
    return found


def run_scans(bench):
    for family in (4, 6):
        started = time.monotonic()
        scans = [scan(bench.lab, a.gateway(family)) for _ in range(SCANS)]
        why = []
        for s in scans:
            index = int(s["sequence"].get("index", 0))
            if family == 4 and index < TCP_INDEX_MIN:
                why.append("ISN index %d, want %d" % (index, TCP_INDEX_MIN))
            if family == 4 and s["ip_id"].get("class") not in IP_ID_GOOD:
                why.append("IP ID class %s" % s["ip_id"].get("class"))
            want = {"25": "open", "26": "closed", "587": "open"}
            if s["ports"] != want:
                why.append("ports %s, want %s" % (s["ports"], want))
        if family == 6:         # nmap has no index for it: six numbers a scan, which must neither rise nor be near each other
            numbers = [isns(s["fingerprint"]) for s in scans]
            for six in numbers:
                gaps = [(y - x) % (1 << 32) for x, y in zip(six, six[1:])]
                if len(six) < 4 or six == sorted(six) or min(min(g, (1 << 32) - g) for g in gaps) < 1 << 12:
                    why.append("ISNs %s" % six)
        looks = [stable(s["fingerprint"], family) for s in scans]
        parts = sorted({name for look in looks for name in look if any(other.get(name) != look[name] for other in looks)})
        if parts:
            why.append("the stack looks different from scan to scan in %s: %s" % (parts, [[look.get(p) for look in looks] for p in parts]))
        yield Result("nmap -O IPv%d, %d scans" % (family, SCANS), "; ".join(dict.fromkeys(why)), time.monotonic() - started,
                     tcp_index=",".join(s["sequence"].get("index", "-") for s in scans),
                     ip_id=",".join(sorted({s["ip_id"].get("class", "-") for s in scans})),
                     timestamps=",".join(sorted({s["timestamps"].get("class", "-") for s in scans})),
                     matches=scans[0]["matches"], looks=looks[0], fingerprint=[scans[0]["fingerprint"]])
