"""What is sent: every message of the matrix, with the octets, the envelope and what is expected of it."""
import base64
import hashlib
import random

from . import roads

MANY = 100                  # recipients of "many": what RFC 5321 4.5.3.1.8 makes everybody take
# OpenSMTPD closes a connection after some ten refused recipients in a row ("Too many consecutive errors"), whatever the code: of 100
# it brought 22 at its second attempt, and the others have to wait for the third, 1,600 s after the first.
MANY_BY = {"opensmtpd": 10}
LARGE_OCTETS = 5000000

# kind -> what it shows
KINDS = {
    "text": "lines of all lengths up to 998, dots at their start",
    "many": "%d recipients in one transaction (by OpenSMTPD: %d)" % (MANY, MANY_BY["opensmtpd"]),
    "8bit": "8BITMIME: octets above 127 in the body",
    "smtputf8": "SMTPUTF8: a recipient and a subject beyond ASCII",
    "dsn": "DSN: a report of success asked for, with ENVID and ORCPT",
    "large": "a body of 5 MB",
    "bdat": "CHUNKING: three BDAT commands in one write",
    "haproxy1": "by way of HAProxy that speaks PROXY v1 to the gateway",
    "haproxy2": "by way of HAProxy that speaks PROXY v2 to the gateway",
}
# The road on which every kind is tried; "text" is tried on all.
MAIN_ROAD = "v2"

# sender -> kinds it can send at all
CAN = {
    "postfix": ("text", "many", "8bit", "smtputf8", "dsn", "large"),
    "exim": ("text", "many", "8bit", "smtputf8", "dsn", "large"),
    "opensmtpd": ("text", "many", "8bit", "dsn", "large"),
    "swaks": ("text", "many", "8bit", "large", "haproxy1", "haproxy2"),
    "smtplib": ("text", "many", "8bit", "smtputf8", "dsn", "large", "bdat", "haproxy1", "haproxy2"),
}
# backend -> kinds it does not offer: nothing may arrive, and the sender has to tell its user
LACKS = {"postfix": (), "exim": (), "opensmtpd": ("smtputf8", "bdat")}
# (sender, kind) that is written anew where it is not offered: Exim makes an ASCII address of one beyond ASCII
DOWNGRADED = {("exim", "smtputf8")}


def _letters(number):
    """Digits of a sender are normalised for the greylist's key, so senders are told apart by letters."""
    return "".join(chr(97 + int(d)) for d in str(number))


class Send:
    def __init__(self, number, sender, backend, road, family, kind):
        self.sender, self.backend, self.road, self.family, self.kind = sender, backend, road, family, kind
        self.marker = "interop-%d-" % number
        self.mail_from = "s%s@returns.example" % _letters(number)
        domain = roads.domain(backend, road, family)
        names = ["r%dx%d" % (number, n) for n in range(MANY_BY.get(sender, MANY) if kind == "many" else 1)]
        if kind == "smtputf8":
            names = ["gr\u00fc\u00dfe%d" % number]
        self.recipients = ["%s@%s" % (name, domain) for name in names]
        self.envid = "ENV%d" % number
        self.body = _body(kind, number)
        self.downgraded = kind in LACKS[backend] and (sender, kind) in DOWNGRADED
        self.offered = kind not in LACKS[backend] or self.downgraded
        self.result, self.problems = {}, []

    @property
    def name(self):
        return "%s to %s over IPv%d, %s, %s" % (self.sender, self.backend, self.family, self.road, self.kind)

    @property
    def sha256(self):
        return hashlib.sha256(self.body).hexdigest()

    @property
    def content(self):
        subject = self.marker + (" gr\u00fc\u00dfe" if self.kind == "smtputf8" else "")
        lines = ["From: <%s>" % self.mail_from, "To: <%s>" % self.recipients[0], "Subject: %s" % subject,
                 "Date: Sat, 21 Nov 2026 12:00:00 +0000", "Message-ID: <%s@returns.example>" % self.marker]
        if self.kind in ("8bit", "smtputf8"):
            lines += ["MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + self.body

    @property
    def mail_options(self):
        options = {"8bit": ["BODY=8BITMIME"], "smtputf8": ["BODY=8BITMIME", "SMTPUTF8"],
                   "dsn": ["RET=HDRS", "ENVID=" + self.envid]}
        return options.get(self.kind, [])

    @property
    def rcpt_options(self):
        return ["NOTIFY=SUCCESS", "ORCPT=rfc822;%s" % self.recipients[0]] if self.kind == "dsn" else []

    def fail(self, what):
        self.problems.append(what)


def _body(kind, number):
    r = random.Random(number)
    if kind == "large":
        text = base64.encodebytes(r.randbytes(LARGE_OCTETS * 57 // 77))
        return b"".join((b"." if r.random() < 0.01 else b"") + line + b"\r\n" for line in text.splitlines())
    lines = [b"x" * n for n in (0, 1, 70, 76, 77, 512, 997, 998)] + [b".", b"..", b". ", b".x", b"", b"the end"]
    if kind in ("8bit", "smtputf8"):
        lines += ["z\u00e4hes \u20ac".encode(), bytes(range(128, 256)), b"." + bytes(range(255, 127, -1))]
    return b"".join(line + b"\r\n" for line in lines)


def all_sends(senders=None, backends=None, kinds=None):
    rows, number = [], 1000
    for sender, can in CAN.items():
        for backend, road, _, _ in roads.ROADS:
            for family in (4, 6):
                for kind in can:
                    number += 1
                    if kind != "text" and road != MAIN_ROAD or kind.startswith("haproxy") and backend != "postfix":
                        continue
                    if sender in (senders or CAN) and backend in (backends or LACKS) and kind in (kinds or KINDS):
                        rows.append(Send(number, sender, backend, road, family, kind))
    return rows
