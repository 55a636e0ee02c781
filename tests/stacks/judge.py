"""Every packet of a run judged by tshark's expert analysis: what it finds is explained here, or it fails the run.

A rule says where it holds: which finding, on what kind of run, and whose segment may show it. "ours" are those the gateway sent.
"""
import collections
import re

from lab import addresses as a
from lab.netns import run

OURS = {a.GATEWAY4, a.GATEWAY6, a.LAN4, a.LAN6}
SEVERITY = {"1048576": "comment", "2097152": "chat", "4194304": "note", "6291456": "warning", "8388608": "error"}

# (finding, runs, whose, reason). Runs: "clean" and "lossy" wires; "hostile": tools that send nonsense on purpose.
ALLOWED = (
    (r"Previous segment\(s\) not captured", "lossy", "any", "a segment was lost before the place where we listen"),
    (r"ACKed segment that wasn't captured", "lossy", "any", "it was lost on the way here, not on the way there"),
    (r"\(suspected\) out-of-order segment", "lossy", "any", "a retransmission that fills a hole soon after it was reported"),
    (r"D-SACK Sequence", "lossy", "theirs", "Linux tells of a retransmission whose original came after all"),
    (r"\(suspected\) (fast |spurious )?retransmission", "lossy", "any", "what is lost is sent again"),
    (r"Duplicate ACK", "lossy", "any", "of the segments behind a hole"),
    (r"TCP window specified by the receiver is now completely full", "any", "any",
     "the sender is faster than the reader: Postfix's socket buffer, or our limit for one session"),
    (r"TCP Zero ?Window (segment|probe)", "any", "any", "the reader waits: the relay hands a backend's pause on to the client"),
    (r"Connection reset \(RST\)", "any", "theirs", "Postfix and Linux close with octets unread, clients of this test give up"),
    (r"TCP keep-alive", "any", "any", "a window probe of one octet, or a relay that waits for an answer"),
    (r"Connection reset \(RST\)", "hostile", "ours", "segments of no connection are answered so (RFC 9293 section 3.10.7.1)"),
    (r".", "hostile", "theirs", "sent on purpose"),
)
FIELDS = ("frame.number", "ip.src", "ipv6.src", "tcp.stream", "_ws.expert.severity", "_ws.expert.message")


def findings(path):
    """(whose, severity, message, frame, stream) of each packet's warnings and errors; (None, ...) where it has none. What a message holds is not judged."""
    words = ["tshark", "-n", "-r", path, "-d", "tcp.port==1-65535,data", "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE",
             "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=|"]
    for field in FIELDS:
        words += ["-e", field]
    for line in run(*words, timeout=600).splitlines():
        parts = line.split("\t")
        if len(parts) != len(FIELDS):
            continue                # tshark's own remarks
        frame, v4, v6, stream, severities, messages = parts
        source = (v4 or v6).split("|")[0]
        found = [(SEVERITY.get(s, s), m) for s, m in zip(severities.split("|"), messages.split("|"))]
        found = [(s, m) for s, m in found if s in ("warning", "error")]
        for severity, message in found or [(None, "")]:
            yield "ours" if source in OURS else "theirs", severity, message, frame, stream


def explained(kind, whose, message):
    """The reason, or None."""
    for pattern, runs, of, reason in ALLOWED:
        if runs in (kind, "any") and of in (whose, "any") and re.search(pattern, message, re.I):
            return reason
    return None


def judge(path, kind):
    """(packets, {finding: count}, [unexplained])."""
    packets, counts, bad = set(), collections.Counter(), collections.OrderedDict()
    for whose, severity, message, frame, stream in findings(path):
        packets.add(frame)
        if severity is None:
            continue
        message = re.sub(r"\s*\(common at capture start\)", "", message)
        label = "%s of %s: %s" % (severity, whose, re.sub(r"[0-9]+", "N", message))
        counts[label] += 1
        if explained(kind, whose, message) is None:
            entry = bad.setdefault(label, [0, "frame %s, stream %s" % (frame, stream)])
            entry[0] += 1
    return len(packets), dict(counts), ["%s (%d times, first in %s)" % (name, n, where) for name, (n, where) in bad.items()]
