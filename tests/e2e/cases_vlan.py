"""Ports in VLANs: the kernel beside our tags (net_af_packet has them taken off and put back, net_af_xdp sees them), frames of no VLAN of ours."""
import json
import select
import socket
import struct
import time

from lab import addresses as a
from lab.netns import WiredNet, open_socket

from .harness import BLOCK_S, case

VARIANTS = ("vlan", "vlanxdp")
ETH_P_ALL, SOL_PACKET, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING = 3, 263, 8, 23
STATION = bytes.fromhex("020000000077")
ASKER4 = "198.18.0.77"


@case("in a VLAN: ping is answered, up to the whole MTU", variants=VARIANTS)
def ping(t):
    whole = 1500 - (28 if t.family == 4 else 48)
    for octets in (0, 56, whole):
        out = t.lab.net.exec("client", "ping", "-%d" % t.family, "-M", "do", "-c", "3", "-i", "0.05", "-W", "1", "-s", octets, t.gateway)
        t.check(" 3 received" in out, "%d octets: %s" % (octets, out))


@case("in a VLAN: a stranger is greylisted, retries, and the MTA has its message whole", variants=VARIANTS)
def delivered(t):
    source, sender, word = t.stranger(), t.sender(), t.word()
    content = t.content(word, b"x" * 98 + b"\r\n" + (b"y" * 998 + b"\r\n") * 300)
    first = t.deliver(source, sender, "alice@example.org", content)
    t.check(first.last is not None and first.last.seconds == BLOCK_S, "greylisted: %s" % first)
    time.sleep(BLOCK_S)
    second = t.deliver(source, sender, "alice@example.org", content)
    t.check(second.accepted, "the retry: %s" % second)
    raw = t.maildir.raw(word.encode(), wait_s=20)
    t.equal("copies", len(raw), 1)
    t.check(t.maildir.content(raw[0]) == content, "octets differ")
    t.check(source in t.maildir.received(raw[0]), "the MTA sees the client: %s" % t.maildir.received(raw[0]))


@case("in a VLAN: frames without the tag are handed over between workers like any", variants=("vlan",))
def handed_over(t):
    def redirected():
        return json.loads(t.lab.ctl("--json", "stats", "port").stdout)["port"]["redirect_in"]
    before = redirected()
    for n in range(16):
        attempt = t.deliver(t.allowed(1 + n), t.sender(), "v%d@sink.example" % n, b"x\r\n")
        t.check(attempt.accepted, "session %d: %s" % (n, attempt))
    t.wait("frames were handed over", lambda: redirected() > before + 20, 3)


def _trunk(t):
    """A socket on the gateway's side of the switch."""
    sock = open_socket(t.lab.net["wire"], socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    sock.bind((WiredNet.WAN[1], ETH_P_ALL))
    return sock


def _question(tags):
    """Who has the gateway's address?, with these octets between addresses and EtherType."""
    return (b"\xff" * 6 + STATION + tags + bytes.fromhex("0806000108000604""0001") + STATION + socket.inet_aton(ASKER4) + bytes(6)
            + socket.inet_aton(a.GATEWAY4))


def _answer(sock, wait_s):
    """The number of the VLAN in which the gateway answered the station, None: it did not."""
    end = time.monotonic() + wait_s
    while select.select([sock], [], [], max(0, end - time.monotonic()))[0]:
        frame, more, _, _ = sock.recvmsg(2048, 256)
        if frame[:6] != STATION or frame[12:14] != b"\x08\x06" or frame[20:22] != b"\0\2":
            continue
        for level, kind, data in more:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", data[:20])
                return (tci & 0xfff, tpid) if status & 0x10 else (0, 0)
    return None


@case("in a VLAN: frames of no VLAN or another are dropped and counted by reason", variants=VARIANTS, families=(None,))
def dropped(t):
    vlan = t.bench.vlans[0]

    def tag(vid, tpid=0x8100):
        return struct.pack(">HH", tpid, vid)

    def counters():
        return json.loads(t.lab.ctl("--json", "stats", "net").stdout)["net"]
    # the kernel below net_af_packet tells a provider's tag as any other: that driver cannot know
    rows = (
        ("ours", tag(vlan), None),
        ("ours with a priority", tag(vlan | 0xa000), None),
        ("untagged", b"", "drop_untagged"),
        ("a priority alone", tag(0xe000), "drop_untagged"),
        ("another VLAN", tag(vlan + 1), "drop_vlan"),
        ("the other port's VLAN", tag(t.bench.vlans[1]), "drop_vlan"),
        ("a provider's tag of another number", tag(vlan + 1, 0x88a8), "drop_vlan"),
        ("two tags", tag(vlan) + tag(vlan), "drop_double_tag"),
        ("ours inside of another's", tag(vlan + 1) + tag(vlan), "drop_vlan"),
    )
    with _trunk(t) as sock:
        for label, tags, reason in rows:
            before = counters()
            sock.send(_question(tags))
            if reason is None:
                t.equal("%s: answered in" % label, _answer(sock, 2), (vlan, 0x8100))
                continue
            t.wait("%s: net.%s moves" % (label, reason), lambda: counters()[reason] > before[reason], 3)
            t.equal("%s: answered in" % label, _answer(sock, 0.1), None)
            after = counters()
            moved = [name for name in ("drop_untagged", "drop_vlan", "drop_double_tag") if after[name] != before[name]]
            t.equal("%s: counted as" % label, moved, [reason])
