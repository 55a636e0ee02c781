"""A recording sink: an SMTP server in the MTA's namespace that keeps every octet it got.

It wants a PROXY v2 header first, as the pool that leads to it is configured, and does by recipient name what a real
MTA does only when something is broken:

    unknown...      550 at RCPT         defer...    450 at RCPT
    diercpt...      closes at RCPT      diedata...  closes inside the data
    diedot...       takes all the data, then closes without an answer
    reject...       554 after the dot   later...    452 after the dot
    slowdot...      250 after two seconds
"""
import socket
import struct
import threading
import time

from lab import addresses as a
from lab.netns import open_socket

PROXY_V2 = b"\r\n\r\n\0\r\nQUIT\n"
PORT = 2600
DIRECT_PORT = 2690          # where a case compares with direct delivery
DOMAIN = "sink.example"


class Message:
    def __init__(self, client, sender, recipients):
        self.client, self.sender, self.recipients = client, sender, recipients
        self.wire = b""             # between 354 and the end of data, dots as they came; with the last CRLF, without the dot
        self.complete = False       # the end of data was seen
        self.answered = None        # our reply

    @property
    def content(self):
        body = self.wire
        if body.startswith(b"."):
            body = body[1:]
        return body.replace(b"\r\n.", b"\r\n")


class Sink:
    def __init__(self, lab, port=PORT, proxy=True, domain=DOMAIN):
        self.lab, self.port, self.proxy, self.domain = lab, port, proxy, domain
        self.messages, self.errors, self.connections = [], [], 0
        self.lock = threading.Lock()
        self.listeners = []
        self.closing = False

    def start(self):
        self.closing = False
        for family, address in ((socket.AF_INET, a.BACKEND4), (socket.AF_INET6, a.BACKEND6)):
            listener = open_socket(self.lab.net["mta"], family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, self.port))
            listener.listen(256)
            self.listeners.append(listener)
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return self

    def stop(self):
        """No new connection is accepted: the port answers with a reset."""
        self.closing = True
        for listener in self.listeners:
            try:
                listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            listener.close()
        self.listeners = []

    def find(self, **want):
        """Messages whose attributes are as wanted, e.g. sender=..., client=..., complete=True."""
        with self.lock:
            return [m for m in self.messages if all(getattr(m, key) == value for key, value in want.items())]

    def forget(self):
        with self.lock:
            self.messages = []

    def _accept(self, listener):
        while not self.closing:
            try:
                connection, peer = listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection, peer), daemon=True).start()

    def _serve(self, connection, peer):
        with connection:
            connection.settimeout(120)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                _Dialogue(self, connection, peer).run()
            except (OSError, EOFError):
                pass
            except ValueError as error:
                self.errors.append(str(error))


class _Dialogue:
    def __init__(self, sink, connection, peer):
        self.sink, self.connection = sink, connection
        self.client, self.buffer = (peer[0], peer[1]), b""
        self.sender, self.recipients = None, []

    def more(self):
        octets = self.connection.recv(262144)
        if not octets:
            raise EOFError
        return octets

    def exactly(self, count):
        while len(self.buffer) < count:
            self.buffer += self.more()
        octets, self.buffer = self.buffer[:count], self.buffer[count:]
        return octets

    def line(self):
        while b"\n" not in self.buffer:
            self.buffer += self.more()
        line, self.buffer = self.buffer.split(b"\n", 1)
        if not line.endswith(b"\r") or b"\r" in line[:-1] or b"\0" in line:
            raise ValueError("the backend got a command with bare CR, LF or NUL: %r" % line)
        return line[:-1].decode("latin-1")

    def say(self, text):
        self.connection.sendall(text.encode() + b"\r\n")

    def proxy_header(self):
        head = self.exactly(16)
        if head[:12] != PROXY_V2 or head[12] >> 4 != 2:
            raise ValueError("no PROXY v2 header: %r" % head)
        length = struct.unpack("!H", head[14:16])[0]
        if length > 512:
            raise ValueError("PROXY v2 header of %d octets" % length)
        rest = self.exactly(length)
        if head[12] & 15 == 0:
            return                  # LOCAL
        if head[13] == 0x11:
            self.client = (socket.inet_ntop(socket.AF_INET, rest[:4]), struct.unpack("!H", rest[8:10])[0])
        elif head[13] == 0x21:
            self.client = (socket.inet_ntop(socket.AF_INET6, rest[:16]), struct.unpack("!H", rest[32:34])[0])
        else:
            raise ValueError("PROXY v2 family %#x" % head[13])

    def run(self):
        if self.sink.proxy:
            self.proxy_header()
        self.say("220 sink.lab.example ESMTP")
        while True:
            line = self.line()
            verb = line.split(" ")[0].split(":")[0].upper()
            if verb == "EHLO":
                self.say("250-sink.lab.example\r\n250-PIPELINING\r\n250-SIZE 40000000\r\n250-ENHANCEDSTATUSCODES\r\n"
                         "250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN")
            elif verb == "HELO":
                self.say("250 sink.lab.example")
            elif verb == "MAIL":
                self.sender, self.recipients = line[line.index("<") + 1:line.index(">")], []
                self.say("250 2.1.0 Ok")
            elif verb == "RCPT":
                self.rcpt(line[line.index("<") + 1:line.index(">")])
            elif verb == "DATA":
                if not self.recipients:
                    self.say("554 5.5.1 no valid recipients")
                else:
                    self.say("354 go on")
                    self.data()
            elif verb == "RSET":
                self.sender, self.recipients = None, []
                self.say("250 2.0.0 Ok")
            elif verb == "NOOP":
                self.say("250 2.0.0 Ok")
            elif verb == "QUIT":
                self.say("221 2.0.0 Bye")
                return
            else:
                self.say("502 5.5.2 not here")

    def rcpt(self, address):
        local, _, domain = address.rpartition("@")
        if domain.lower() != self.sink.domain:
            self.say("554 5.7.1 <%s>: Relay access denied" % address)
        elif local.startswith("unknown"):
            self.say("550 5.1.1 <%s>: nobody of that name at the sink" % address)
        elif local.startswith("defer"):
            self.say("450 4.2.0 <%s>: mailbox busy at the sink" % address)
        elif local.startswith("diercpt"):
            raise EOFError
        else:
            self.recipients.append(address)
            self.say("250 2.1.5 Ok")

    def has(self, name):
        return any(r.startswith(name) for r in self.recipients)

    def data(self):
        message = Message(self.client, self.sender, list(self.recipients))
        with self.sink.lock:
            self.sink.messages.append(message)
        got, at = bytearray(b"\r\n" + self.buffer), 0     # as after a line end, so that a dot alone is found, too
        while True:
            end = got.find(b"\r\n.\r\n", at)
            if end >= 0:
                break
            if self.has("diedata") and len(got) > 1000:
                message.wire = bytes(got[2:])
                raise EOFError
            at = max(0, len(got) - 4)
            got += self.more()
        message.wire, self.buffer = bytes(got[2:end + 2]), bytes(got[end + 5:])
        message.complete = True
        if self.has("diedot"):
            raise EOFError
        if self.has("slowdot"):
            time.sleep(2)
        if self.has("reject"):
            message.answered = "554 5.6.0 the sink does not like it"
        elif self.has("later"):
            message.answered = "452 4.3.1 the sink is full"
        else:
            message.answered = "250 2.0.0 Ok: queued as SINK%08X" % id(message)
        self.sender, self.recipients = None, []
        self.say(message.answered)
