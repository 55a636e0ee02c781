"""The smuggling corpus at real MTAs: each string stands before the commands of a second message, and one message must arrive.

tests/sim/test_smuggling.c plays the same strings at every border against a reference, octet for octet. Here each string
goes through the gateway once more, cut somewhere, and the MTA's own log is counted: one message a string, none smuggled.
The same strings said to the MTA directly are the proof that this could fail.

OpenSMTPD takes no command that another follows in the same buffer, so to it the second message comes line by line: an
attacker would do no less.
"""
import itertools
import random
import re
import socket
import threading
import time

from e2e.smtp import Closed, Session

ALPHABET = (b"\r", b"\n", b".", b"\0", b"a")
BEFORE = b"Subject: corpus\r\n\r\nb\r\n"
PER_SESSION = 90            # below smtp.messages_max
PACED = {"opensmtpd": 0.004}        # seconds before each line of the second message
PACED_DIRECTLY = {"opensmtpd": 0.03}


def strings(length_max):
    for length in range(length_max + 1):
        for octets in itertools.product(ALPHABET, repeat=length):
            yield b"".join(octets)


def has_true_end(string):
    """CRLF.CRLF: what follows are the client's own commands, and nothing is smuggled."""
    return b"\r\n.\r\n" in b"\r\n" + string


def sample(count, seed):
    """All strings of up to three octets, and `count` of the longer ones; those that end a message truly are left out."""
    longer = [s for s in strings(6) if len(s) > 3 and not has_true_end(s)]
    chosen = [s for s in strings(3) if not has_true_end(s)] + random.Random(seed).sample(longer, count)
    return list(enumerate(chosen))


def whole():
    return [(n, s) for n, s in enumerate(strings(6)) if not has_true_end(s)]


def payload(number, recipient):
    """The second message, as it follows the string."""
    return ("MAIL FROM:<s%d@smuggled.example>\r\nRCPT TO:<%s>\r\nDATA\r\nSubject: smuggled\r\n\r\nsmuggled\r\n.\r\n" % (
        number, recipient)).encode()


def _say(session, octets, pace_s):
    for line in octets.splitlines(True) if pace_s else [octets]:
        if pace_s:
            time.sleep(pace_s)
        session.send(line)


class Accepted:
    """What an MTA's log says it took, by number of the string."""

    # how each writes the sender of a message it took
    LINES = {
        "postfix": rb"qmgr\[\d+\]: \w+: from=<([cs])(\d+)@(?:corpus|smuggled)\.example>, size=\d+, nrcpt=\d+ \(queue active\)",
        "exim": rb" <= ([cs])(\d+)@(?:corpus|smuggled)\.example ",
        "opensmtpd": rb"smtp envelope evpid=\w+ from=<([cs])(\d+)@(?:corpus|smuggled)\.example>",
    }

    def __init__(self, mta, path):
        self.line, self.path = re.compile(self.LINES[mta]), path
        self.start = self._size()

    def _size(self):
        try:
            with open(self.path, "rb") as f:
                return f.seek(0, 2)
        except OSError:
            return 0

    def read(self):
        """(numbers of the corpus, numbers smuggled), in the order of the log; a number twice is a message twice."""
        with open(self.path, "rb") as f:
            f.seek(self.start)
            found = self.line.findall(f.read())
        return ([int(n) for kind, n in found if kind == b"c"], [int(n) for kind, n in found if kind == b"s"])


def _session(lab, source, port, recipient, rows, failures, pace_s, tls):
    """Rows through one session of the gateway; any reply that is not due is a failure. tls: a context, for STARTTLS first."""
    with Session(lab, source, port=port, wait_s=60) as s:
        s.open()
        if tls:
            s.starttls(tls)
        for number, string in rows:
            s.send(("MAIL FROM:<c%d@corpus.example>\r\nRCPT TO:<%s>\r\nDATA\r\n" % (number, recipient)).encode())
            codes = [s.reply() for _ in range(3)]
            if [r.code for r in codes] != [250, 250, 354]:
                failures.append("%r: the envelope: %s" % (string, [str(r) for r in codes]))
                return
            cut = number % (len(string) + 1)
            s.send(BEFORE + string[:cut])
            if pace_s:
                s.send(string[cut:])
                _say(s, payload(number, recipient), pace_s)
            else:
                s.send(string[cut:] + payload(number, recipient))
            reply = s.reply()
            if reply.code != 250:
                failures.append("%r: after the dot: %s" % (string, reply))
        reply = s.ask("QUIT")
        if reply.code != 221 or not s.at_end():
            failures.append("after %r: %s instead of the end" % (rows[-1][1], reply))


def through(lab, rows, port, recipient, sources, at_once=4, pace_s=0, tls=None):
    """All rows through the gateway, some sessions at once; answers failures (sentences). Under TLS a cut is a record's border, too."""
    failures, lock = [], threading.Lock()
    batches = iter([rows[n:n + PER_SESSION] for n in range(0, len(rows), PER_SESSION)])

    def work(source):
        while True:
            with lock:
                batch = next(batches, None)
            if batch is None or len(failures) > 20:
                return
            try:
                _session(lab, source, port, recipient, batch, failures, pace_s, tls)
            except Exception as error:
                failures.append("%s: %s" % (type(error).__name__, error))
    threads = [threading.Thread(target=work, args=(source,)) for source in sources[:at_once]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def directly(lab, rows, dest, port, recipient, pace_s=0):
    """Rows to the MTA itself, a connection each: whatever it makes of them."""
    for number, string in rows:
        with Session(lab, None, dest=dest, port=port, role="mta", wait_s=3) as s:
            s.open()
            for command in ("MAIL FROM:<c%d@corpus.example>" % number, "RCPT TO:<%s>" % recipient, "DATA"):
                s.ask(command)
            try:
                s.send(BEFORE + string)
                _say(s, payload(number, recipient) + b"QUIT\r\n", pace_s)
                while s.socket.recv(65536):
                    pass
            except (Closed, ConnectionError, socket.timeout):
                pass


def judge(rows, accepted, smuggled):
    """Failures, as sentences: each row's message once, nothing smuggled."""
    failures = []
    by_number = dict(rows)
    for number in smuggled[:10]:
        failures.append("smuggled behind %r" % by_number.get(number))
    counts = {}
    for number in accepted:
        counts[number] = counts.get(number, 0) + 1
    wrong = [n for n, _ in rows if counts.get(n, 0) != 1]
    for number in wrong[:10]:
        failures.append("%r: %d messages" % (by_number[number], counts.get(number, 0)))
    if len(wrong) > 10:
        failures.append("and %d more strings without their one message" % (len(wrong) - 10))
    return failures
