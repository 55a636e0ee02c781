"""An SMTP client that hides nothing: exact octets out, replies checked to the letter.

Every reply is checked for what no reply of the gateway may be: not CRLF, not a code, different codes in one reply,
octets outside printable ASCII, lines over 512 octets.
"""
import re
import socket
import time

from lab import addresses as a
from lab.netns import open_socket

REPLY_LINE_MAX_OCTETS = 512


class Malformed(Exception):
    """What came is not an SMTP reply."""


class Closed(Exception):
    """The gateway closed or reset the connection, or was silent too long, where a reply was due."""


class Reply:
    def __init__(self, code, lines):
        self.code, self.lines = code, lines

    @property
    def text(self):
        return self.lines[-1]

    @property
    def seconds(self):
        """The number a sender would read from a greylisting reply, or None."""
        found = re.fullmatch(r"451 4\.7\.1 Greylisted, please try again in (\d+) seconds", self.text)
        return int(found.group(1)) if found else None

    def __str__(self):
        return " | ".join(self.lines)


class Session:
    """One connection from `source` to the gateway (or to `dest`)."""

    def __init__(self, lab, source, dest=None, port=a.SMTP_PORT, role="client", wait_s=40, connect_s=10):
        if dest is None:
            dest = a.gateway(6 if ":" in source else 4)
        family = socket.AF_INET6 if ":" in dest else socket.AF_INET
        self.buffer = b""
        self.socket = open_socket(lab.net[role], family)
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.settimeout(connect_s)
            if source:
                self.socket.bind((source, 0))
            self.socket.connect((dest, port))
            self.socket.settimeout(wait_s)
        except OSError as error:
            self.socket.close()
            raise Closed("connect to %s port %d: %s" % (dest, port, error)) from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, octets):
        try:
            self.socket.sendall(octets)
        except OSError as error:
            raise Closed(str(error)) from error

    def line(self):
        while b"\n" not in self.buffer:
            if len(self.buffer) > 65536:
                raise Malformed("no line end in 64 KiB")
            try:
                more = self.socket.recv(65536)
            except OSError as error:
                raise Closed(str(error)) from error
            if not more:
                raise Closed("closed" if not self.buffer else "closed inside a line: %r" % self.buffer[:80])
            self.buffer += more
        line, self.buffer = self.buffer.split(b"\n", 1)
        if not line.endswith(b"\r"):
            raise Malformed("bare LF after %r" % line[:80])
        line = line[:-1]
        if len(line) + 2 > REPLY_LINE_MAX_OCTETS:
            raise Malformed("%d octets in a reply line" % (len(line) + 2))
        if not re.fullmatch(rb"[\x20-\x7e\t]*", line):
            raise Malformed("octets outside printable ASCII: %r" % line[:120])
        return line.decode("ascii")

    def reply(self):
        lines, code = [], None
        while True:
            line = self.line()
            found = re.match(r"([2-5][0-9][0-9])([- ]|$)", line)
            if not found:
                raise Malformed("no reply line: %r" % line)
            if code is not None and found.group(1) != code:
                raise Malformed("two codes in one reply: %s" % (lines + [line]))
            code = found.group(1)
            lines.append(line)
            if len(lines) > 100:
                raise Malformed("endless reply")
            if found.group(2) != "-":
                return Reply(int(code), lines)

    def ask(self, command):
        self.send(command.encode("utf-8") + b"\r\n" if isinstance(command, str) else command)
        return self.reply()

    def starttls(self, context, name=None, helo="client.lab.example"):
        """STARTTLS and the handshake; answers the EHLO reply inside. The socket is then an ssl.SSLSocket."""
        reply = self.ask("STARTTLS")
        if reply.code != 220:
            raise Closed("STARTTLS: %s" % reply)
        try:
            self.socket = context.wrap_socket(self.socket, server_hostname=name)
        except OSError as error:
            raise Closed("handshake: %s" % error) from error
        return self.ask("EHLO " + helo)

    def at_end(self, wait_s=5):
        """True when the gateway has closed; left-over octets are an error."""
        self.socket.settimeout(wait_s)
        try:
            more = self.buffer or self.socket.recv(1)
        except ConnectionError:
            return True
        except OSError:
            return False
        if more:
            raise Malformed("octets where an end was due: %r" % more)
        return True

    def open(self, helo="client.lab.example", verb="EHLO"):
        """Banner and EHLO; answers the EHLO reply."""
        banner = self.reply()
        if banner.code != 220:
            raise Malformed("banner: %s" % banner)
        return self.ask("%s %s" % (verb, helo))


def stuffed(content):
    """Octets for DATA from message content (CRLF lines), dots stuffed, with the end of data."""
    body = content
    if body.startswith(b"."):
        body = b"." + body
    body = body.replace(b"\r\n.", b"\r\n..")
    if body and not body.endswith(b"\r\n"):
        raise ValueError("content of DATA ends with CRLF")
    return body + b".\r\n"


class Attempt:
    """What came of one try to deliver: replies by stage. `queued` is the text of the final 250."""

    def __init__(self):
        self.stage, self.rcpt, self.final, self.error = "connect", [], None, None

    @property
    def accepted(self):
        return self.final is not None and self.final.code == 250

    @property
    def last(self):
        return self.final or (self.rcpt[-1] if self.rcpt else None)

    @property
    def permanent(self):
        """A 5xx anywhere."""
        return any(r is not None and r.code >= 500 for r in self.rcpt + [self.final])

    def __str__(self):
        return "%s: %s%s" % (self.stage, self.last, "; %s" % self.error if self.error else "")


def deliver(lab, source, sender, recipients, content, helo="client.lab.example", wait_s=40, mail_options="", tls=None, name=None, **where):
    """One attempt, as an MTA makes it, after STARTTLS by the context `tls`. Never raises for what the gateway does but a malformed reply."""
    attempt = Attempt()
    if isinstance(recipients, str):
        recipients = [recipients]
    try:
        with Session(lab, source, wait_s=wait_s, **where) as s:
            attempt.stage = "banner"
            greeting = s.reply()
            if greeting.code != 220:
                attempt.final = greeting
                return attempt
            attempt.stage = "ehlo"
            s.ask("EHLO " + helo)
            if tls:
                attempt.stage = "starttls"
                s.starttls(tls, name, helo)
            attempt.stage = "mail"
            reply = s.ask("MAIL FROM:<%s>%s" % (sender, mail_options))
            if reply.code != 250:
                attempt.final = reply
                return attempt
            attempt.stage = "rcpt"
            for recipient in recipients:
                attempt.rcpt.append(s.ask("RCPT TO:<%s>" % recipient))
            if not any(r.code == 250 for r in attempt.rcpt):
                s.send(b"QUIT\r\n")
                s.reply()
                return attempt
            attempt.stage = "data"
            reply = s.ask("DATA")
            if reply.code != 354:
                attempt.final = reply
                return attempt
            s.send(stuffed(content))
            attempt.stage = "dot"
            attempt.final = s.reply()
            s.send(b"QUIT\r\n")
            attempt.stage = "done"
            s.reply()
    except Closed as error:
        attempt.error = str(error)
    return attempt


def deliver_after_greylist(lab, source, sender, recipient, content, **kw):
    """First attempt, the wait it was told, second attempt; answers both."""
    first = deliver(lab, source, sender, recipient, content, **kw)
    reply = first.last
    if reply is not None and reply.seconds is not None:
        time.sleep(reply.seconds)
    return first, deliver(lab, source, sender, recipient, content, **kw)
