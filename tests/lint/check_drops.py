#!/usr/bin/env python3
"""What is received in dataplane/port, net and tcp is handed on or dropped, and a drop counts its reason; a test expects each reason to move.

usage: check_drops.py SOURCE_ROOT

1. A function that takes something received (its parameters name a type of RECEIVED) leaves early by `return;`, or with a value of DROPPED.
   Such a way out stands in a block that counts (CTR_...) or calls another function that takes what was received, which is held to the same
   rule; or its condition calls one. All else stands in ALLOWED, with its reason.
2. Where a buffer is given back (GIVEN_BACK), the same block counts, or the function stands in ALLOWED.
3. A counter that stands at such a place, or is named like one (REASON), is expected to move by a test: CTR_... in a C file of tests/, or
   `counts` in a segment script; or it stands in UNREACHED, with the reason.
A row of ALLOWED or UNREACHED that is not needed any more is a complaint, too, and one that more places lean on than it was written for.
"""
import pathlib
import re
import sys

FOLDERS = ("dataplane/port", "dataplane/net", "dataplane/tcp")
RECEIVED = re.compile(r"struct (net_frame|net_seg|tcp_seg_in|tcp_hdr|net_icmp_error|port_frame|ip_packet|rte_mbuf|arp) ?\*")
DROPPED = re.compile(r"\breturn(?: (?:false|NULL|NET_NONE|REASM_DROPPED|TCP_OOO_DROPPED|-E\w+|0))?;")
GIVEN_BACK = re.compile(r"\b(?:rte_pktmbuf_free(?:_bulk)?|buf_unref|net_frame_drop)\(")
COUNTED = re.compile(r"\bCTR_(\w+)")
REASON = re.compile(r"^(drop_\w+|\w*_(full|limited|shed|refused|drop|none)|no_buffer)$")
PURE = re.compile(r"^(is|has|may|owes|parse|walk)_|_(is|has|may|find|parse|build|prefetch)_|_(find|parse|build|prefetch|equal)$|^l4_checksum_of$")
FUNCTION = re.compile(r"^(?:static )?(?:inline )?(?:__attribute__\(\(\w+\)\) )?[a-z][\w ]*[\w*]\n(\w+)\(([^{};]*)\)\n\{\n(.*?)^\}", re.M | re.S)

# file, function, how the way out begins, why nothing is counted there
ALLOWED = (
    ("dataplane/port/port_dpdk.c", "drain_ring", "rte_pktmbuf_free(", "the process ends"),
    ("dataplane/port/port_dpdk.c", "port_close", "rte_pktmbuf_free_bulk(", "the process ends"),
    ("dataplane/port/port_mbuf.c", "port_buf_unref", "rte_pktmbuf_free(", "whoever held the last reference has counted"),
    ("dataplane/port/port_mbuf.c", "chain_views", "if (m == NULL) return false;", "to send; port_tx() counts no_buffer"),
    ("dataplane/port/port_mbuf.c", "port_mbuf_of_frame", "rte_pktmbuf_free(", "to send; port_tx() counts no_buffer"),
    ("dataplane/port/port_mbuf.c", "in_one", "rte_pktmbuf_free(", "its octets go on in another mbuf, or port_frame_of_mbuf() counts no_buffer"),
    ("dataplane/port/port_mbuf.c", "port_frame_of_mbuf", "", "vlan_count_drop() counts by reason"),
    ("dataplane/net/net.c", "net_frame_drop", "buf_unref(", "its callers count"),
    ("dataplane/net/net.c", "net_destroy", "net_frame_drop(", "the process ends"),
    ("dataplane/net/net.c", "write_whole", "", "input_written() counts frag_drop"),
    ("dataplane/net/net.c", "input_written", "buf_unref(", "input_whole() or the branch before has counted"),
    ("dataplane/net/net.c", "input_fragment", "buf_unref(", "the pieces of a datagram made whole: answered, copied or counted just before"),
    ("dataplane/net/net.c", "input_fragment", "return NET_NONE;", "held until its datagram is whole"),
    ("dataplane/net/net.c", "input_ip", "return NET_NONE;", "neighbour discovery: each of three branches counts or hands on"),
    ("dataplane/net/net.c", "input_plain4", "", "what differs goes the long way and is judged there"),
    ("dataplane/net/net_hop.c", "say_arp", "if (f == NULL) return;", "net_queue_slot() counts out_full"),
    ("dataplane/net/net_hop.c", "answer_ns", "if (f == NULL) return;", "net_queue_slot() counts out_full"),
    ("dataplane/net/net_hop.c", "release_waiting", "net_frame_drop(", "to send; neigh_failed or out_full is counted"),
    ("dataplane/net/net_hop.c", "net_input_arp", "if (!for_us", "heard, counted as arp_in, and not a question to us"),
    ("dataplane/net/net_hop.c", "net_input_nd", "if (!nd.is_ns", "heard, counted as nd_in, and not a question to us"),
    ("dataplane/net/net_icmp.c", "net_input_icmp", "buf_unref(", "a reference of its own, after the answer"),
    ("dataplane/net/net_icmp.c", "net_input_icmp", "return NET_NONE;", "after net_answer_echo(), which counts either way"),
    ("dataplane/net/reasm.c", "drop_frags", "buf_unref(", "its datagram is counted: what reasm_add() and reasm_expire() return, reasm_lost()"),
    ("dataplane/net/reasm.c", "hold", "if (buf == NULL) return false;", "reasm_add() drops the datagram"),
    ("dataplane/net/reasm.c", "reasm_add", "if (", "input_fragment() counts what is REASM_DROPPED"),
    ("dataplane/tcp/tcp_input.c", "update_ts_recent", "if (", "takes a timestamp alone; the segment goes on"),
    ("dataplane/tcp/tcp_input.c", "step_sequence_rst_syn", "return false;", "tcp_challenge_ack() counts challenge_ack or challenge_limited"),
    ("dataplane/tcp/tcp_input.c", "discard_text", "return false;", "drop_after_close is counted on entry"),
    ("dataplane/tcp/tcp_input.c", "step_fin", "", "a FIN repeated, or behind a gap: its text has been judged, and it comes again"),
    ("dataplane/tcp/tcp_input.c", "tcp_in_syn_sent", "return;", "taken: a simultaneous open"),
    ("dataplane/tcp/tcp_input.c", "tcp_in_last_ack", "if (!tcp_fin_acked(c)) return;", "taken: its ACK moved what it could"),
    ("dataplane/port/port_mbuf.c", "port_room_of_mbuf", "if (dev->vlan != 0", "an answer goes out in a buffer of its own"),
    ("dataplane/tcp/tcp_input.c", "input_unseen", "if (c == NULL) return 0;", "tcp_rest_segment() counts wake_refused"),
    ("dataplane/tcp/tcp_listen.c", "tcp_listen_syn", "if (!may_accept(tcp)) return 0;", "may_accept() counts syn_refused"),
    ("dataplane/tcp/tcp_listen.c", "complete", "if (c == NULL) return false;", "establish() counts accept_no_block"),
    ("dataplane/tcp/tcp_listen.c", "on_ack", "if (h->payload_octets > 0) return false;", "cookie_bad is counted just before"),
    ("dataplane/tcp/tcp_piece.c", "tcp_pieces_destroy", "buf_unref(", "the process ends"),
    ("dataplane/tcp/tcp_piece.c", "compact_ready", "buf_unref(", "its octets were copied into another"),
    ("dataplane/tcp/tcp_piece.c", "tcp_piece_drop", "buf_unref(", "read, acknowledged, or of a connection that ended"),
    ("dataplane/tcp/tcp_piece.c", "tcp_queue_put_back", "buf_unref(", "its octets were copied into another"),
    ("dataplane/tcp/tcp_conn.c", "tcp_drop_unread", "buf_unref(", "the layer above has released the connection, or the process ends"),
    ("dataplane/tcp/tcp_user.c", "consume_view", "buf_unref(", "read"),
    ("dataplane/tcp/tcp_reply.c", "drop_refs", "buf_unref(", "the reply was sent"),
    ("dataplane/tcp/tcp_reply.c", "tcp_reply_rst", "if ((h->flags & TCP_RST) != 0) return;", "an RST is never answered; its drop is counted by who asks"),
    ("dataplane/tcp/tcp_time_wait.c", "tcp_time_wait_input", "return false;", "answered by an ACK"),
)

# rows that more than one place needs
PLACES = {
    ("dataplane/port/port_mbuf.c", "port_frame_of_mbuf", ""): 2,
    ("dataplane/net/net.c", "net_destroy", "net_frame_drop("): 2,
    ("dataplane/net/net.c", "write_whole", ""): 2,
    ("dataplane/net/net.c", "input_plain4", ""): 4,
    ("dataplane/net/reasm.c", "reasm_add", "if ("): 3,
    ("dataplane/tcp/tcp_input.c", "step_fin", ""): 2,
    ("dataplane/tcp/tcp_piece.c", "tcp_piece_drop", "buf_unref("): 2,
}

# counter: why no test expects it
UNREACHED = {
}

# what the rules above say of texts of which it is known
SAMPLES = (
    ("if (short) {\ncount(n, CTR_net_drop_short);\nreturn;\n}\nuse(f);", 0),
    ("if (short)\nreturn;\nuse(f);", 1),
    ("if (short) {\nreturn;\n}\nuse(f);", 1),
    ("if (a)\ncount(n, CTR_net_drop_short);\nif (short)\nreturn;\nuse(f);", 1),
    ("if (!other(n, f))\nreturn;\nuse(f);", 0),
    ("if (short) {\nother(n, f);\nreturn;\n}\nuse(f);", 0),
    ("if (odd) {\ncount(n, CTR_net_drop_mac);\n} else {\nuse(f);\n}\nreturn;", 1),
    ("if (odd) {\ncount(n, CTR_net_drop_mac);\n} else if (even) {\ncount(n, CTR_net_drop_short);\n} else {\nother(n, f);\n}\nreturn;", 0),
    ("if (short) {\nbuf_unref(p, f->buf);\n}\nuse(f);", 1),
    ("if (short) {\nbuf_unref(p, f->buf);\ncount(n, CTR_port_no_buffer);\n}\nuse(f);", 0),
)


def bare(text):
    """Without comments and preprocessor lines, each of which becomes spaces: places stay."""
    blank = lambda m: re.sub(r"[^\n]", " ", m.group())
    return re.sub(r"^#(?:\\\n|.)*$", blank, re.sub(r"/\*.*?\*/", blank, text, flags=re.S), flags=re.M)


def functions(text):
    for m in FUNCTION.finditer(text):
        yield m.group(1), m.group(2), m.group(3), text.count("\n", 0, m.start(3)) + 1


def block_of(body, at):
    """The innermost block around at, from its brace or case label on; None: the function's own. And where it ends."""
    depth, start = 0, at
    while start > 0:
        start -= 1
        if body[start] == "}":
            depth += 1
        elif body[start] == "{":
            depth -= 1
            if depth < 0:
                break
    else:
        return None, None
    depth, end = 0, at
    while end < len(body) and depth >= 0:
        depth += {"{": 1, "}": -1}.get(body[end], 0)
        end += 1
    return body[start:at], body[at:end]


def statement_before(body, at):
    """The last whole statement before at, and what stands between it and at: the condition of at, if it has one."""
    ends = [m.end() for m in re.finditer(r";|[{}]|\bcase \w+:|\bdefault:", body[:at])]
    # a ; inside of for (...) ends nothing
    ends = [e for e in ends if body[:e].count("(") == body[:e].count(")")]
    last = ends[-1] if ends else 0
    before = ends[-2] if len(ends) > 1 else 0
    return body[before:last], body[last:at]


def branches_before(body, at):
    """The branches, in braces, of an if that ends just before at and has an else; and where it begins. None, at: there is no such."""
    found, end, has_else = [], len(body[:at].rstrip()), False
    while end > 0 and body[end - 1] == "}":
        depth, start = 0, end
        while start > 0:
            start -= 1
            depth += {"}": 1, "{": -1}.get(body[start], 0)
            if depth == 0:
                break
        found.append(body[start:end])
        head = body[:start].rstrip()
        if re.search(r"\belse$", head):
            has_else = has_else or len(found) == 1
            end = len(head[:-4].rstrip())
            continue
        m = re.search(r"\belse\s+if\s*\([^{};]*$", head)
        if m is None:
            m = re.search(r"\bif\s*\([^{};]*$", head)
            return (found, m.start()) if has_else and m is not None else (None, at)
        end = len(head[:m.start()].rstrip())
    return None, at


def one_line(text):
    return " ".join(text.split())


class Check:
    def __init__(self, handlers):
        self.handlers = handlers
        self.found = []     # (file, line, function, text)
        self.reasons = {}   # counter -> where
        self.n = 0

    def calls(self, text, own):
        return any(w in self.handlers and w != own for w in re.findall(r"\b(\w+)\(", text))

    def counts(self, text, where):
        names = COUNTED.findall(text)
        for name in names:
            self.reasons.setdefault(name, where)
        return bool(names)

    def function(self, path, name, takes, body, first):
        places = [(m, False) for m in GIVEN_BACK.finditer(body)]
        if takes:
            places += [(m, True) for m in DROPPED.finditer(body)]
        for m, is_exit in places:
            at, where = m.start(), f"{path}:{first + body.count(chr(10), 0, m.start())}"
            block, rest = block_of(body, at)
            before, condition = statement_before(body, at)
            self.n += 1
            ok = self.counts(condition, where) or (is_exit and self.calls(condition, name))
            branches, begin = branches_before(body, at) if is_exit and not condition.strip() else (None, at)
            if branches is not None:
                ok = all(self.counts(b, where) or self.calls(b, name) for b in branches)
                before, _ = statement_before(body, begin)
                block = block[:len(block) - (at - begin)] if block is not None else None
            if not condition.strip():   # no condition of its own: what stands before it in its block is on the same way
                ok = ok or self.counts(before, where) or (is_exit and self.calls(before, name))
                if block is not None:
                    around = block if is_exit else block + rest
                    ok = ok or self.counts(around, where) or (is_exit and self.calls(around, name))
            if not ok:
                self.found.append((path, where, name, one_line(condition + m.group() if is_exit else m.group())))


def check_samples():
    errors = []
    for text, want in SAMPLES:
        c = Check({"sample", "other"})
        c.function("sample", "sample", True, text, 1)
        if len(c.found) != want:
            errors.append(f"check_drops.py: of {one_line(text)!r} it says {c.found}, want {want}")
    return errors


def counters(root):
    for path in sorted((root / "dataplane/base").glob("counters*.def")):
        yield from re.findall(r"^COUNTER\((port|net|tcp), (\w+),", path.read_text(), re.M)


def expected(root):
    """The counters that tests expect to move: named in C where they are not compared with 0, or in a segment script."""
    names = set()
    for path in sorted((root / "tests").rglob("*.c")):
        for line in bare(path.read_text()).splitlines():
            if not re.search(r"CTR_\w+\), 0\)", line):
                names.update(COUNTED.findall(line))
    for path in sorted((root / "tests/segments").rglob("*.seg")):
        for line in re.findall(r"^counts (.*?)(?:#.*)?$", path.read_text(), re.M):
            names.update("tcp_" + word for word in line.split())
    return names


def main(root):
    errors, used = check_samples(), []
    texts = {p.relative_to(root): bare(p.read_text()) for f in FOLDERS for p in sorted((root / f).glob("*.c"))}
    handlers = {name for text in texts.values() for name, params, _, _ in functions(text)
                if RECEIVED.search(params) and not PURE.search(name)}
    c = Check(handlers)
    for path, text in texts.items():
        for name, params, body, first in functions(text):
            c.function(str(path), name, name in handlers, body, first)
    for path, where, name, text in c.found:
        rows = [row for row in ALLOWED if row[0] == path and row[1] == name and text.startswith(row[2])]
        used += rows
        if not rows:
            errors.append(f"{where}: {name}(): {text!r} drops what was received and counts no reason")
    errors += [f"check_drops.py: nothing needs this any more: {row[:3]}" for row in ALLOWED if row not in used]
    errors += [f"check_drops.py: {used.count(row)} places need this, {PLACES.get(row[:3], 1)} are known: {row[:3]}" for row in ALLOWED
               if row in used and used.count(row) != PLACES.get(row[:3], 1)]
    moved = expected(root)
    known = [f"{group}_{name}" for group, name in counters(root)]
    wanted = [n for n in known if n in c.reasons or REASON.match(n.split("_", 1)[1])]
    for name in wanted:
        if name not in moved and name not in UNREACHED:
            errors.append(f"{c.reasons.get(name, 'counters.def')}: no test expects {name} to move")
    errors += [f"check_drops.py: {n} is no counter of a drop" for n in UNREACHED if n not in wanted]
    errors += [f"check_drops.py: {n} is expected by a test" for n in UNREACHED if n in moved]
    print("\n".join(errors + [f"{len(handlers)} functions take what was received, {c.n} places where it ends there, {len(ALLOWED)} allowed; "
                              f"{len(wanted)} reasons, {len(errors)} complaints"]))
    return 1 if errors or not handlers or not wanted else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()))
