"""Small questions to the lab: a DNS query and an SMTP banner, over sockets the caller opens where it likes."""
import os
import socket
import struct

TYPES = {"A": 1, "PTR": 12, "TXT": 16, "AAAA": 28}
RCODES = {0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}


def _name(message, at):
    """(name, offset behind it); a pointer may be followed at most 32 times."""
    labels, behind, jumps = [], None, 0
    while message[at]:
        if message[at] & 0xc0:
            behind = behind or at + 2
            at = struct.unpack_from("!H", message, at)[0] & 0x3fff
            jumps += 1
            if jumps > 32:
                raise ValueError("DNS name loops")
            continue
        labels.append(message[at + 1:at + 1 + message[at]].decode("latin-1"))
        at += 1 + message[at]
    return ".".join(labels), behind or at + 1


def dns_query(open_udp, server, name, kind, wait_s=3.0):
    """(rcode, [answers of that type]); rcode is TIMEOUT when nothing came."""
    number = int.from_bytes(os.urandom(2), "big")
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.rstrip(".").split(".")) + b"\0"
    message = struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + question + struct.pack("!2H", TYPES[kind], 1)
    with open_udp() as s:
        s.settimeout(wait_s)
        s.sendto(message, (server, 53))
        try:
            while True:
                answer = s.recv(4096)
                if len(answer) >= 12 and answer[:2] == message[:2]:
                    break
        except (socket.timeout, ConnectionError):
            return "TIMEOUT", []
    flags, _, answers = struct.unpack_from("!3H", answer, 2)
    at = _name(answer, 12)[1] + 4
    found = []
    for _ in range(answers):
        at = _name(answer, at)[1]
        rtype, _, _, length = struct.unpack_from("!2HIH", answer, at)
        at += 10
        if rtype == TYPES[kind]:
            if kind in ("A", "AAAA"):
                found.append(socket.inet_ntop(socket.AF_INET if kind == "A" else socket.AF_INET6, answer[at:at + length]))
            elif kind == "PTR":
                found.append(_name(answer, at)[0])
            else:
                found.append(answer[at + 1:at + 1 + answer[at]].decode("latin-1"))
        at += length
    return RCODES.get(flags & 15, str(flags & 15)), found


def banner(open_tcp, address, port, source=None, wait_s=2.0):
    """The greeting line, or None."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with open_tcp(family) as s:
        s.settimeout(wait_s)
        try:
            if source:
                s.bind((source, 0))
            s.connect((address, port))
            line = s.recv(1024)
            s.sendall(b"QUIT\r\n")
            s.recv(1024)
        except OSError:
            return None
    return line.decode("latin-1").rstrip() if line.startswith(b"220") else None
