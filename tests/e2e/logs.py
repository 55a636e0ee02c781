"""The mail log of the gateway (key=value lines) and the MTA's Maildir, read by the tests."""
import os
import re
import time

FIELD = re.compile(r'(?:^|\s)([a-z_0-9]+)=("(?:[^"\\]|\\.)*"|\S*)')


def _unquoted(value):
    if value.startswith('"') and value.endswith('"') and len(value) >= 2:
        value = value[1:-1]
        value = re.sub(r"\\(?:x([0-9a-f]{2})|(.))", lambda m: chr(int(m.group(1), 16)) if m.group(1) else m.group(2), value)
    return value


class Entry(dict):
    """One line: its fields, and `kind` (rcpt, message, session, notice)."""

    def __init__(self, line):
        self.line = line.rstrip("\n")
        super().__init__((key, _unquoted(value)) for key, value in FIELD.findall(self.line))
        self.kind = self.get("kind", "")


class Log:
    def __init__(self, path):
        self.path = path

    def mark(self):
        try:
            return os.path.getsize(self.path)
        except OSError:
            return 0

    def entries(self, since=0):
        try:
            with open(self.path, "rb") as f:
                f.seek(since)
                text = f.read()
        except OSError:
            return []
        return [Entry(line.decode("latin-1")) for line in text.split(b"\n")[:-1] if line]

    def find(self, kind, since=0, wait_s=3, **want):
        """The entries of that kind with those fields; waits until there is one, or answers []."""
        end = time.monotonic() + wait_s
        while True:
            found = [e for e in self.entries(since)
                     if e.kind == kind and all(e.get(k) == str(v) for k, v in want.items())]
            if found or time.monotonic() > end:
                return found
            time.sleep(0.05)


class Maildir:
    ADDED = re.compile(rb"(Return-Path|X-Original-To|Delivered-To|Received):", re.I)

    def __init__(self, path):
        self.path = path

    def files(self):
        folder = os.path.join(self.path, "new")
        try:
            return [os.path.join(folder, name) for name in os.listdir(folder)]
        except OSError:
            return []

    def forget(self):
        for path in self.files():
            os.unlink(path)

    def raw(self, needle, wait_s=10):
        """Files that contain the octets `needle`; waits for one."""
        end = time.monotonic() + wait_s
        while True:
            found = []
            for path in self.files():
                with open(path, "rb") as f:
                    text = f.read()
                if needle in text:
                    found.append(text)
            if found or time.monotonic() > end:
                return found
            time.sleep(0.1)

    @classmethod
    def content(cls, raw):
        """Octets as they were in DATA: the headers the MTA put on top removed, LF made CRLF (LAB.md)."""
        lines = raw.split(b"\n")
        at = 0
        while at < len(lines) and (cls.ADDED.match(lines[at]) or (at and lines[at][:1] in (b" ", b"\t"))):
            at += 1
        return b"\r\n".join(lines[at:])

    @staticmethod
    def received(raw):
        """The topmost Received header, unfolded."""
        found = re.search(rb"^Received: (.*(?:\n[ \t].*)*)", raw, re.M)
        return re.sub(r"\s+", " ", found.group(1).decode("latin-1")) if found else ""
