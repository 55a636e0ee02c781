"""What became of each message: copies at the backend, octets, the client's address there, the gateway's log, reports."""
import hashlib
import os
import re

from e2e.logs import Log
from lab import addresses as a

from . import roads

HEADERS_MAX_OCTETS = 65536
MARKER = re.compile(rb"^Subject: .*?(interop-\d+-)", re.M)
ENVID = re.compile(rb"^Original-Envelope-Id: ?(\S+)", re.M | re.I)


class Copy:
    """One file of a Maildir."""

    def __init__(self, path):
        with open(path, "rb") as f:
            text = f.read()
        head, _, body = text.partition(b"\n\n")
        found = MARKER.search(head[:HEADERS_MAX_OCTETS])
        subject = re.search(rb"^Subject: (.*)", head, re.M)
        self.marker = found.group(1).decode() if found else None
        self.subject = subject.group(1) if subject else b""
        self.sha256 = hashlib.sha256(body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")).hexdigest()
        received = re.search(rb"^Received: (.*(?:\n[ \t].*)*)", head, re.M)
        self.received = re.sub(r"\s+", " ", received.group(1).decode("latin-1")) if received else ""
        # a report on delivery: of whose message (its envelope's id), and every marker it quotes
        envid = ENVID.search(body)
        self.envid = envid.group(1).decode("latin-1") if envid else None
        self.quoted = set() if self.marker else {m.decode() for m in re.findall(rb"interop-\d+-", body)}


class Maildirs:
    """All that lies in the Maildirs of one side; read once each."""

    def __init__(self, lab, folders):
        self.folders = [lab.path(folder) for folder in folders]
        self.copies = {}

    def read(self):
        for folder in self.folders:
            try:
                names = os.listdir(os.path.join(folder, "new"))
            except OSError:
                continue
            for name in names:
                path = os.path.join(folder, "new", name)
                if path not in self.copies:
                    self.copies[path] = Copy(path)
        return self

    def count(self):
        """marker -> number of copies."""
        counts = {}
        for copy in self.copies.values():
            if copy.marker:
                counts[copy.marker] = counts.get(copy.marker, 0) + 1
        return counts


def sides(lab):
    """(backends' Maildirs, senders' Maildirs)"""
    return (Maildirs(lab, roads.MAILDIRS.values()),
            Maildirs(lab, ("mail/sender", "mail/eximsender", "mail/opensmtpdsender")))


def missing(rows, backends):
    """Rows that have not all arrived yet."""
    counts = backends.read().count()
    return [s for s in rows if s.offered and not s.problems and counts.get(s.marker, 0) < len(s.recipients)]


def _log_by_sender(lab):
    """sender address -> its rcpt and message lines."""
    found = {}
    for entry in Log(lab.log_path).entries():
        if entry.kind in ("rcpt", "message") and entry.get("from"):
            found.setdefault(entry["from"], []).append(entry)
    return found


def _client(send):
    return roads.SENDERS[send.sender][0 if send.family == 4 else 1]


EXIM_DELIVERY = re.compile(r"[-=]> (\S+) R=out .*?\](?: X=\S+)?((?: CV=\S+)?(?: [LK]\*?)*) C=")


def _exim_flags(lab):
    """recipient -> letters of Exim's delivery line: K for CHUNKING, L for PIPELINING."""
    try:
        with open(lab.path("log", "eximsender-main.log"), errors="replace") as f:
            return {r: flags.split() for r, flags in EXIM_DELIVERY.findall(f.read())}
    except OSError:
        return {}


def _judge_log(send, entries):
    rcpts = [e for e in entries if e.kind == "rcpt"]
    messages = [e for e in entries if e.kind == "message"]
    for address in {e.get("client") for e in entries} - {_client(send)}:
        send.fail("the log names client %s" % address)
    first = [e for e in rcpts if e.get("verdict") == "defer" and e.get("reason") == "greylist"]
    passed = [e for e in rcpts if e.get("verdict") == "pass"]
    if send.offered and len({e.get("rcpt") for e in first}) < len(send.recipients):
        send.fail("not every recipient was greylisted")
    if send.offered and len(passed) < len(send.recipients):
        send.fail("%d of %d recipients passed" % (len(passed), len(send.recipients)))
    if passed:
        send.result["waited_s"] = max(int(e.get("waited_s", 0)) for e in passed)
    delivered = [e for e in messages if e.get("result") == "delivered"]
    # a sender may bring its recipients in several transactions; each has to be in one
    if send.offered and sum(int(e.get("rcpts", 0)) for e in delivered) != len(send.recipients):
        send.fail("deliveries in the log to %s recipients" % [e.get("rcpts") for e in delivered])
    if delivered:
        send.result["tls"] = sorted({e.get("tls", "no") for e in passed})


def _judge_copies(send, copies):
    send.result["copies"] = len(copies)
    wanted = len(send.recipients) if send.offered else 0
    if len(copies) != wanted:
        send.fail("%d copies instead of %d" % (len(copies), wanted))
    if any(c.sha256 != send.sha256 for c in copies):
        send.fail("another body arrived")
    if send.kind == "smtputf8" and not send.downgraded and any("gr\u00fc\u00dfe".encode() not in c.subject for c in copies):
        send.fail("another subject arrived: %r" % copies[0].subject)
    if not copies:
        return
    if send.road == "none":
        seen = a.LAN4 if send.family == 4 else a.LAN6
    else:
        seen = _client(send)
    if not re.search(r"\[(?:IPv6:)?%s\]" % re.escape(seen), copies[0].received):
        send.fail("the MTA names another client: %s" % copies[0].received)


def judge(lab, rows, backends, senders, starttls=False):
    """Fills problems and results of each row. To be called once everything had its time.

    starttls: the recipients let through must have come under TLS.
    """
    backends.read(), senders.read()
    by_sender, flags = _log_by_sender(lab), _exim_flags(lab)
    for send in rows:
        _judge_copies(send, [c for c in backends.copies.values() if c.marker == send.marker])
        _judge_log(send, by_sender.get(send.mail_from, []))
        if send.sender == "exim" and send.offered and not send.downgraded:
            seen = flags.get(send.recipients[0], [])
            send.result["chunked"], send.result["pipelined"] = "K" in seen, "L" in seen
            if ("K" in seen) != (send.backend != "opensmtpd") or "L" not in seen:
                send.fail("Exim as sender made use of %s" % seen)
        if starttls and send.offered and "no" in send.result.get("tls", ["no"]):
            send.fail("not under TLS")
        if send.kind == "dsn" and send.offered:
            reports = [c for c in backends.copies.values() if send.marker in c.quoted]
            send.result["reports"] = len(reports)
            send.result["envid"] = [c.envid for c in reports] == [send.envid]
            if len(reports) != 1:
                send.fail("%d reports of the MTA" % len(reports))
            # OpenSMTPD's reports never name the envelope's id
            if send.backend != "opensmtpd" and not send.result["envid"]:
                send.fail("the report does not name the envelope's id")
        if not send.offered:
            told = bool(send.result.get("not_offered")) or any(send.marker in c.quoted for c in senders.copies.values())
            send.result["sender_told"] = told
            if not told:
                send.fail("the sender's user was not told that it cannot be sent")
    return [s for s in rows if s.problems]
