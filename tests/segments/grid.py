#!/usr/bin/env python3
"""The grid of segment scripts: each state meets each kind of segment, at, before, beyond and across the edges of the window.

usage: grid.py FOLDER          writes the scripts
       grid.py --check FOLDER  says whether they are what this table gives

What is expected here is written from RFC 9293 section 3.10.7 as changed by RFC 5961 (RST, SYN and ACK) and RFC 7323 (timestamps), not from
what the endpoint does. Where Greyline differs on purpose, the row stands in DEPARTURES with its reason, and the script says so.
"""
import pathlib
import sys

SYNCHRONISED = ("ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING", "LAST-ACK", "TIME-WAIT")
HAS_TEXT = ("ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2")    # where text and a FIN of the peer are still taken
FIN_OUT = ("FIN-WAIT-1", "CLOSING", "LAST-ACK")           # our FIN is out and not acknowledged: SND.UNA = SND.NXT - 1

# Places of SEG.SEQ; the window is [0, edge).
PLACES = {"far-before": "-1000", "before": "-1", "at-left": "0", "inside": "1", "at-last": "edge-1", "at-edge": "edge",
          "beyond": "edge+1", "far-beyond": "edge+1000"}
IN_WINDOW = ("at-left", "inside", "at-last")


class Answer:
    """What is said and the state after it. say: lines of the script."""

    def __init__(self, say, then, event=None):
        self.say, self.then, self.event = say, then, event


def ack(state, number=0, then=None):
    return Answer("out A seq=0 ack=%d len=0" % number, then or state)


def silence(state, event=None):
    return Answer("silence", state, event)


def una(state):
    return -1 if state in FIN_OUT else 0


# --- the synchronised states ---

def on_syn(state, place):
    """RFC 5961 section 4.2: an ACK whatever the sequence number (in TIME-WAIT: RFC 9293 section 3.10.7.4, fourth, and 3.6.1)."""
    if state == "TIME-WAIT" and place in ("at-left", "inside", "at-last", "at-edge", "beyond", "far-beyond"):
        # a number beyond what was seen before, and a later timestamp: a new connection
        return Answer("out SA", "SYN-RECEIVED")
    return ack(state)


def on_syn_ack(state, place):
    return ack(state)


def on_rst(state, place):
    """RFC 5961 section 3.2; in TIME-WAIT RFC 1337: an RST does not end it."""
    if state == "TIME-WAIT":
        return silence(state)
    if place == "at-left":
        done = state in ("CLOSING", "LAST-ACK")
        return silence("CLOSED", "CLOSED" if done else "RESET")
    if place in IN_WINDOW:
        return ack(state)
    return silence(state)


def on_ack(state, place):
    """First: an unacceptable segment gets an ACK. Fifth: an ACK of nothing new changes nothing."""
    if place in IN_WINDOW:
        return silence(state)
    return ack(state)


def on_ack_number(state, number):
    """Fifth, with RFC 5961 section 5.2. number is relative to SND.NXT."""
    if number == "nxt" and state in FIN_OUT:
        return {"FIN-WAIT-1": silence("FIN-WAIT-2"), "CLOSING": silence("TIME-WAIT", "CLOSED"),
                "LAST-ACK": silence("CLOSED", "CLOSED")}[state]
    if number in ("beyond", "far-beyond"):
        return ack(state)
    if number == "ancient":      # before SND.UNA - MAX.SND.WND
        return ack(state)
    return silence(state)


def on_fin(state, place):
    if place not in IN_WINDOW:
        return ack(state)        # unacceptable; of TIME-WAIT's repeated FIN, too
    if state not in HAS_TEXT:
        return silence(state)    # eighth: remain
    if place == "at-left":
        then = {"ESTABLISHED": "CLOSE-WAIT", "FIN-WAIT-1": "CLOSING", "FIN-WAIT-2": "TIME-WAIT"}[state]
        return ack(state, 1, then)
    return ack(state)            # out of order: a duplicate ACK at once (RFC 5681 section 4.2)


def on_data(state, place):
    """Five octets of text."""
    if place in ("far-before", "ends-at-left", "at-edge", "beyond", "far-beyond"):
        return ack(state)
    if state not in HAS_TEXT:
        return silence(state)    # seventh: should not occur, ignore the text
    if place == "at-left":
        return Answer("out later A seq=0 ack=5 len=0", state, "READABLE")
    if place == "across-left":   # three of five octets are new
        return Answer("out A seq=0 ack=3 len=0", state, "READABLE")
    return ack(state)            # beyond a gap: a duplicate ACK at once


DATA_PLACES = {"far-before": "-1000", "ends-at-left": "-5", "across-left": "-2", "at-left": "0", "beyond-a-gap": "1",
               "fits-the-edge": "edge-5", "across-edge": "edge-2", "at-edge": "edge", "beyond": "edge+1", "far-beyond": "edge+1000"}


def on_fin_text(state, place):
    """Five octets of text and a FIN behind them."""
    if place in ("far-before", "ends-at-left", "at-edge", "beyond", "far-beyond"):
        return ack(state)
    if state not in HAS_TEXT:
        return silence(state)    # seventh and eighth: ignore the text, remain
    taken = {"fin-at-left": 1, "across-left": 4, "at-left": 6}.get(place)
    if taken is None:
        return ack(state)        # beyond a gap: a duplicate ACK at once
    then = {"ESTABLISHED": "CLOSE-WAIT", "FIN-WAIT-1": "CLOSING", "FIN-WAIT-2": "TIME-WAIT"}[state]
    return Answer("out A seq=0 ack=%d len=0" % taken, then, ("EOF" if taken == 1 else "READABLE") + (" CLOSED" if state == "FIN-WAIT-2" else ""))


FIN_TEXT_PLACES = {"far-before": "-1000", "ends-at-left": "-6", "fin-at-left": "-5", "across-left": "-2", "at-left": "0", "beyond-a-gap": "1",
                   "fits-the-edge": "edge-6", "fin-at-edge": "edge-5", "across-edge": "edge-2", "at-edge": "edge", "beyond": "edge+1",
                   "far-beyond": "edge+1000"}


def on_no_ack(state):
    """Fifth: without the ACK bit the segment is dropped."""
    return silence(state)


def on_old_timestamp(state, kind):
    """RFC 7323 section 5.3, R1: an ACK, and the segment is dropped."""
    return ack(state)


def on_no_timestamp(state):
    """RFC 7323 section 3.2: without the option that was negotiated, silently dropped."""
    return silence(state)


# Where Greyline differs, and why: pattern of a case's name -> (expectation, reason).
def departure(name, state, what, place):
    if what == "ack" and place == "at-edge" and state != "TIME-WAIT":
        return silence(state), ("RFC 9293 has an ACK. A peer that has filled our window acknowledges from its right edge; its ACKs must count "
                                "while our window is closed.")
    if state == "TIME-WAIT":
        if what in ("ack", "ack-number", "old-ts-ack"):
            return silence(state), "RFC 9293 has an ACK for some. Our record answers only what occupies sequence space: two ends never ACK for ever."
        if what == "data" and place not in ("far-before", "ends-at-left", "at-edge", "beyond", "far-beyond"):
            return ack(state), "RFC 9293 ignores it. The record has no window; an ACK tells the peer where we stand."
        if what == "fin-text" and place not in ("far-before", "ends-at-left", "at-edge", "beyond", "far-beyond"):
            return ack(state), "RFC 9293 ignores text and FIN. The record has no window; an ACK tells the peer where we stand."
        if what == "fin" and place in IN_WINDOW:
            return ack(state), "RFC 9293 acknowledges a repeated FIN alone. The record has no window; an ACK tells the peer where we stand."
        if what in ("no-ack", "no-ts"):
            if place in ("text", "fin"):
                return ack(state), "RFC 9293 drops it. The record answers all that occupies sequence space."
        if what == "syn-ack" :
            return ack(state), None
        if what == "syn" and place in ("before", "far-before"):
            return Answer("out SA", "SYN-RECEIVED"), "RFC 9293 has an ACK. RFC 6191: a later timestamp is a new connection, whatever its number."
    if state in ("CLOSE-WAIT", "CLOSING", "LAST-ACK") and what in ("data", "fin-text") and place in ("across-left", "across-edge", "fin-at-left"):
        return ack(state), "RFC 9293 ignores the text. Octets known already or beyond the window show a peer that missed an ACK: it gets one."
    if what == "fin" and place == "at-edge" and state in HAS_TEXT:
        return ack(state), None
    return None, None


def synchronised():
    """Cases of the synchronised states: name, state line, lines in, Answer, reason of a departure."""
    for state in SYNCHRONISED:
        u = una(state)

        def case(what, place, line, answer, options=""):
            name = "-".join(x for x in (state.lower(), what, place) if x)
            other, reason = departure(name, state, what, place)
            return name, state + options, line, other or answer, reason
        for place, seq in PLACES.items():
            yield case("syn", place, "in S seq=%s ts=+10" % seq, on_syn(state, place))
            yield case("syn-ack", place, "in SA seq=%s ack=%d ts=+10" % (seq, u), on_syn_ack(state, place))
            yield case("rst", place, "in R seq=%s" % seq, on_rst(state, place))
            yield case("rst-ack", place, "in RA seq=%s ack=%d" % (seq, u), on_rst(state, place))
            yield case("ack", place, "in A seq=%s ack=%d" % (seq, u), on_ack(state, place))
            yield case("fin", place, "in FA seq=%s ack=%d" % (seq, u), on_fin(state, place))
        for place, seq in DATA_PLACES.items():
            yield case("data", place, "in A seq=%s ack=%d len=5" % (seq, u), on_data(state, place))
        for place, seq in FIN_TEXT_PLACES.items():
            yield case("fin-text", place, "in FA seq=%s ack=%d len=5" % (seq, u), on_fin_text(state, place))
        for place, number in (("ancient", -3000000), ("old", u - 1), ("una", u), ("nxt", 0), ("beyond", 1), ("far-beyond", 100000)):
            yield case("ack-number", place, "in A seq=0 ack=%d" % number, on_ack_number(state, place))
        for place, line in (("empty", "in - seq=0"), ("text", "in P seq=0 len=5"), ("fin", "in F seq=0")):
            yield case("no-ack", place, line, on_no_ack(state))
        for place, line in (("ack", "in A seq=0 ack=%d ts=-100000"), ("data", "in A seq=0 ack=%d len=5 ts=-100000"),
                            ("fin", "in FA seq=0 ack=%d ts=-100000")):
            yield case("old-ts-" + place, "", line % u, on_old_timestamp(state, place))
        yield case("old-ts-rst", "", "in R seq=0 ts=-100000", on_rst(state, "at-left"))
        for place, line in (("ack", "in A seq=0 ack=%d ts=none"), ("text", "in A seq=0 ack=%d len=5 ts=none"),
                            ("fin", "in FA seq=0 ack=%d ts=none")):
            yield case("no-ts", place, line % u, on_no_timestamp(state))
        yield case("bad-checksum", "", "in RA seq=0 ack=%d bad-checksum" % u, silence(state))


def closed_window():
    """The window is full: RFC 9293 section 3.10.7.4, first: text is not acceptable, but valid ACKs, URGs and RSTs are."""
    fill = "in A seq=0 ack=0 len=2000\nout later A seq=0 ack=2000 len=0 wnd=0"
    for name, line, answer in (
            ("ack", "in A seq=2000 ack=0", silence("ESTABLISHED")),
            ("probe", "in A seq=2000 ack=0 len=1", ack("ESTABLISHED", 2000)),
            ("probe-of-keepalive", "in A seq=1999 ack=0 len=0", ack("ESTABLISHED", 2000)),
            ("probe-of-old-octet", "in A seq=1999 ack=0 len=1", ack("ESTABLISHED", 2000)),
            ("text", "in A seq=2000 ack=0 len=1000", ack("ESTABLISHED", 2000)),
            ("beyond", "in A seq=3000 ack=0 len=1000", ack("ESTABLISHED", 2000)),
            ("rst", "in R seq=2000", silence("CLOSED", "RESET")),
            ("rst-beyond", "in R seq=2001", silence("ESTABLISHED")),
            ("syn", "in S seq=2000", ack("ESTABLISHED", 2000)),
            ("fin", "in FA seq=2000 ack=0", ack("ESTABLISHED", 2001, "CLOSE-WAIT")),
            ("fin-behind-text", "in FA seq=2000 ack=0 len=1", ack("ESTABLISHED", 2000)),
            ("ack-too-high", "in A seq=2000 ack=1", ack("ESTABLISHED", 2000))):
        event = {"rst": "RESET", "fin": None}.get(name)
        reason = "RFC 9293 allows to refuse it. A FIN needs no room, and a peer must be able to close." if name == "fin" else None
        answer.event = event
        yield "closed-window-" + name, "ESTABLISHED no-ts no-wscale rcv=2000", fill + "\nevent READABLE\n" + line, answer, reason


# --- the other states ---

def closed():
    """Section 3.10.7.1."""
    for name, line, answer in (
            ("syn", "in S seq=0", "out RA seq=0 ack=1"), ("syn-text", "in S seq=0 len=5", "out RA ack=6"),
            ("ack", "in A seq=0 ack=700", "out R seq=700"), ("syn-ack", "in SA seq=0 ack=700", "out R seq=700"),
            ("data", "in A seq=0 ack=700 len=5", "out R seq=700"), ("fin", "in FA seq=0 ack=700", "out R seq=700"),
            ("fin-no-ack", "in F seq=0", "out RA ack=1"), ("empty", "in - seq=0", "out RA ack=0"),
            ("text-no-ack", "in P seq=0 len=5", "out RA ack=5"), ("rst", "in R seq=0", "silence"),
            ("rst-ack", "in RA seq=0 ack=700", "silence"), ("all-flags", "in SFRPAU seq=0", "silence"),
            ("bad-checksum", "in S seq=0 bad-checksum", "silence")):
        yield "closed-" + name, "CLOSED", line, Answer(answer, "CLOSED"), None


def listen():
    """Section 3.10.7.2."""
    for name, line, answer, then in (
            ("syn", "in S seq=0", "out SA ack=1 mss=1460", "SYN-RECEIVED"),
            ("syn-text", "in S seq=0 len=5", "out SA ack=1", "SYN-RECEIVED"),
            ("syn-ack", "in SA seq=0 ack=700", "out R seq=700", "LISTEN"),
            ("ack", "in A seq=0 ack=700", "out R seq=700", "LISTEN"), ("data", "in A seq=0 ack=700 len=5", "out R seq=700", "LISTEN"),
            ("fin", "in FA seq=0 ack=700", "out R seq=700", "LISTEN"), ("rst", "in R seq=0", "silence", "LISTEN"),
            ("rst-ack", "in RA seq=0 ack=700", "silence", "LISTEN"), ("rst-syn", "in SR seq=0", "silence", "LISTEN"),
            ("empty", "in - seq=0", "silence", "LISTEN"), ("fin-no-ack", "in F seq=0", "silence", "LISTEN"),
            ("text-no-ack", "in P seq=0 len=5", "silence", "LISTEN"), ("bad-checksum", "in S seq=0 bad-checksum", "silence", "LISTEN"),
            ("syn-fin", "in SF seq=0", "silence", "LISTEN")):
        reason = {"syn-text": "RFC 9293 queues the text. We acknowledge the SYN alone: a stranger's text is not held, and comes again.",
                  "syn-fin": "RFC 9293 queues the FIN. No honest peer sends both: dropped."}.get(name)
        yield "listen-" + name, "LISTEN", line, Answer(answer, then), reason


def syn_sent():
    """Section 3.10.7.3. ISS + 1 is number 0."""
    both = "SYN-RECEIVED (both)"
    for name, line, answer in (
            ("syn-ack", "in SA seq=0 ack=0", Answer("out A seq=0 ack=1", "ESTABLISHED", "CONNECTED")),
            ("syn-ack-too-low", "in SA seq=0 ack=-1", Answer("out R seq=-1", "SYN-SENT")),
            ("syn-ack-too-high", "in SA seq=0 ack=1", Answer("out R seq=1", "SYN-SENT")),
            ("syn", "in S seq=0", Answer("out SA seq=-1 ack=1", both)),
            ("ack-good", "in A seq=0 ack=0", silence("SYN-SENT")),
            ("ack-too-low", "in A seq=0 ack=-1", Answer("out R seq=-1", "SYN-SENT")),
            ("ack-too-high", "in A seq=0 ack=1", Answer("out R seq=1", "SYN-SENT")),
            ("rst", "in R seq=0", silence("SYN-SENT")),
            ("rst-ack-good", "in RA seq=0 ack=0", silence("CLOSED", "REFUSED")),
            ("rst-ack-good-any-seq", "in RA seq=123456 ack=0", silence("CLOSED", "REFUSED")),
            ("rst-ack-too-low", "in RA seq=0 ack=-1", silence("SYN-SENT")),
            ("rst-ack-too-high", "in RA seq=0 ack=1", silence("SYN-SENT")),
            ("fin", "in FA seq=0 ack=0", silence("SYN-SENT")), ("empty", "in - seq=0", silence("SYN-SENT")),
            ("data", "in A seq=0 ack=0 len=5", silence("SYN-SENT")),
            ("syn-ack-text", "in SA seq=0 ack=0 len=5", Answer("out A seq=0 ack=6", "ESTABLISHED", "CONNECTED READABLE")),
            ("syn-ack-fin", "in SFA seq=0 ack=0", Answer("out A seq=0 ack=2", "CLOSE-WAIT", "CONNECTED EOF")),
            ("bad-checksum", "in SA seq=0 ack=0 bad-checksum", silence("SYN-SENT"))):
        yield "syn-sent-" + name, "SYN-SENT", line, answer, None


def syn_received():
    """Passive: section 3.10.7.4 with SND.UNA = ISS. Number 0 is ISS + 1 of ours, IRS + 1 of the peer."""
    state = "SYN-RECEIVED"
    ring = "RFC 9293 has an ACK. What is remembered of a SYN answers nothing that proves nothing: a stranger's numbers earn no reply."
    rows = [
        ("ack", "in A seq=0 ack=0", silence("ESTABLISHED", "ACCEPTED"), None),
        ("ack-too-low", "in A seq=0 ack=-1", Answer("out R seq=-1", state), None),
        ("ack-too-high", "in A seq=0 ack=1", Answer("out R seq=1", state), None),
        ("ack-before", "in A seq=-1000 ack=0", silence(state), ring),
        ("ack-beyond", "in A seq=edge+1000 ack=0", silence(state), ring),
        ("data", "in A seq=0 ack=0 len=5", Answer("out later A seq=0 ack=5", "ESTABLISHED", "ACCEPTED READABLE"), None),
        ("data-beyond-a-gap", "in A seq=100 ack=0 len=5", Answer("out A seq=0 ack=0", "ESTABLISHED", "ACCEPTED"), None),
        ("fin", "in FA seq=0 ack=0", Answer("out A seq=0 ack=1", "CLOSE-WAIT", "ACCEPTED EOF"), None),
        ("rst", "in R seq=0", silence("LISTEN"), None),
        ("rst-ack", "in RA seq=0 ack=0", silence("LISTEN"), None),
        ("rst-inside", "in R seq=1", silence(state), ring),
        ("rst-beyond", "in R seq=edge+1000", silence(state), None),
        ("rst-before", "in R seq=-1000", silence(state), None),
        ("syn-again", "in S seq=-1", Answer("out SA seq=-1 ack=0", state), "RFC 9293 has an ACK; a SYN-ACK says the same and more: the first was lost."),
        ("syn-other", "in S seq=5000", Answer("out SA ack=5001", state),
         "RFC 9293 returns to LISTEN and says nothing. The new SYN is answered at once; the old handshake still completes by its cookie."),
        ("syn-ack", "in SA seq=0 ack=0", Answer("out R seq=0", state), None),
        ("empty", "in - seq=0", silence(state), None), ("text-no-ack", "in P seq=0 len=5", silence(state), None),
        ("no-ts", "in A seq=0 ack=0 ts=none", silence(state), None),
        ("old-ts", "in A seq=0 ack=0 ts=-100000", silence(state), ring),
        ("bad-checksum", "in A seq=0 ack=0 bad-checksum", silence(state), None)]
    for name, line, answer, reason in rows:
        yield "syn-received-" + name, state, line, answer, reason


def syn_received_edges():
    """The same state, each kind of segment at each place of the window. The ACK number is good: what is acceptable completes the handshake."""
    state = "SYN-RECEIVED"
    ring = "RFC 9293 has an ACK. What is remembered of a SYN answers nothing that proves nothing: a stranger's numbers earn no reply."
    new = ("RFC 9293 section 3.10.7.4 has an ACK, or LISTEN again. A SYN of another number is a new incarnation, or a forger: it is answered, and "
           "the old handshake still completes by its cookie.")
    edge = ("RFC 9293 has an ACK. The window's edge counts as inside, as it does once connected, for the ACKs of a peer that has filled our window; "
            "a good ACK number completes.")
    cut = "RFC 9293 would take what is new of it. Before the first ACK nothing of the peer's text can be old: silence, and the ACK comes again."
    for place, seq in PLACES.items():
        number = {"far-before": -999, "before": 0, "at-left": 1, "inside": 2}.get(place)
        yield ("syn-" + place, "in S seq=%s ts=+10" % seq, Answer("out SA" + (" ack=%d" % number if number is not None else ""), state), new)
        yield ("syn-ack-" + place, "in SA seq=%s ack=0 ts=+10" % seq, Answer("out R seq=0", state),
               "RFC 9293 has an ACK. A SYN-ACK to a SYN-ACK is nothing that a client of ours says: an RST as in LISTEN.")
        yield "rst-" + place, "in R seq=%s" % seq, silence("LISTEN" if place == "at-left" else state), ring if place in ("inside", "at-last") else None
        inside = place in IN_WINDOW + ("at-edge",)
        why = edge if place == "at-edge" else None if inside else ring
        yield "ack-" + place, "in A seq=%s ack=0" % seq, silence("ESTABLISHED", "ACCEPTED") if inside else silence(state), why
        fin = Answer("out A seq=0 ack=1", "CLOSE-WAIT", "ACCEPTED EOF") if place == "at-left" else Answer("out A seq=0 ack=0", "ESTABLISHED", "ACCEPTED")
        yield "fin-" + place, "in FA seq=%s ack=0" % seq, fin if inside else silence(state), why
    for what, flags, places in (("data", "A", DATA_PLACES), ("fin-text", "FA", FIN_TEXT_PLACES)):
        for place, seq in places.items():
            if place == "at-left":
                answer = (Answer("out later A seq=0 ack=5", "ESTABLISHED", "ACCEPTED READABLE") if what == "data" else
                          Answer("out A seq=0 ack=6", "CLOSE-WAIT", "ACCEPTED READABLE"))
            elif place in ("beyond-a-gap", "fits-the-edge", "fin-at-edge", "across-edge", "at-edge"):
                answer = Answer("out A seq=0 ack=0", "ESTABLISHED", "ACCEPTED")
            else:
                yield what + "-" + place, "in %s seq=%s ack=0 len=5" % (flags, seq), silence(state), cut if "left" in place else ring
                continue
            yield what + "-" + place, "in %s seq=%s ack=0 len=5" % (flags, seq), answer, edge if place == "at-edge" else None


def syn_received_both_edges():
    """Of a simultaneous open: the rules of the synchronised states, and a good ACK number makes it one of them."""
    state = "SYN-RECEIVED (both)"
    edge = ("RFC 9293 has an ACK. A peer that has filled our window acknowledges from its right edge; its ACKs must count while our window is "
            "closed, and a good number completes.")
    for place, seq in PLACES.items():
        inside = place in IN_WINDOW
        yield "syn-" + place, "in S seq=%s ts=+10" % seq, ack(state), None
        # before: the peer's own, said again with an ACK of ours, which is how two opens at once end
        yield "syn-ack-" + place, "in SA seq=%s ack=0 ts=+10" % seq, silence("ESTABLISHED", "CONNECTED") if place == "before" else ack(state), None
        yield "rst-" + place, "in R seq=%s" % seq, (
            silence("CLOSED", "RESET") if place == "at-left" else ack(state) if inside else silence(state)), None
        if place == "at-edge":
            yield "ack-at-edge", "in A seq=edge ack=0", silence("ESTABLISHED", "CONNECTED"), edge
            yield "fin-at-edge", "in FA seq=edge ack=0", Answer("out A seq=0 ack=0", "ESTABLISHED", "CONNECTED"), edge
            continue
        yield "ack-" + place, "in A seq=%s ack=0" % seq, silence("ESTABLISHED", "CONNECTED") if inside else ack(state), None
        fin = Answer("out A seq=0 ack=1", "CLOSE-WAIT", "CONNECTED EOF") if place == "at-left" else Answer("out A seq=0 ack=0", "ESTABLISHED", "CONNECTED")
        yield "fin-" + place, "in FA seq=%s ack=0" % seq, fin if inside else ack(state), None
    for what, flags, places in (("data", "A", DATA_PLACES), ("fin-text", "FA", FIN_TEXT_PLACES)):
        for place, seq in places.items():
            line = "in %s seq=%s ack=0 len=5" % (flags, seq)
            if place in ("far-before", "ends-at-left", "at-edge", "beyond", "far-beyond"):
                yield what + "-" + place, line, ack(state), None
            elif place in ("across-left", "at-left", "fin-at-left"):
                taken = {"across-left": 3, "at-left": 5, "fin-at-left": 0}[place] + (what == "fin-text")
                later = "later " if what == "data" and place == "at-left" else ""
                yield what + "-" + place, line, Answer("out %sA seq=0 ack=%d" % (later, taken), "CLOSE-WAIT" if what == "fin-text" else "ESTABLISHED",
                                                       "CONNECTED EOF" if place == "fin-at-left" else "CONNECTED READABLE"), None
            else:
                yield what + "-" + place, line, Answer("out A seq=0 ack=0", "ESTABLISHED", "CONNECTED"), None


def edges():
    for prefix, state, cases in (("syn-received-edge-", "SYN-RECEIVED", syn_received_edges()),
                                 ("syn-received-both-edge-", "SYN-RECEIVED-BOTH", syn_received_both_edges())):
        for name, line, answer, reason in cases:
            yield prefix + name, state, line, answer, reason


def small_window():
    """Text in order that is longer than the window: what fits is taken, what does not is the peer's to say again."""
    for state in HAS_TEXT:
        u = una(state)
        for name, line in (("text", "in A seq=0 ack=%d len=3000"), ("fin-text", "in FA seq=0 ack=%d len=3000")):
            yield ("%s-%s-longer-than-the-window" % (state.lower(), name), state + " no-ts no-wscale rcv=2000", line % u,
                   Answer("out later A seq=0 ack=2000 wnd=0", state, "READABLE"), None)


def syn_received_both():
    """Of a simultaneous open. Number 0 is ISS + 1 of both."""
    state = "SYN-RECEIVED (both)"
    rows = [
        ("ack", "in A seq=0 ack=0", silence("ESTABLISHED", "CONNECTED")),
        ("ack-too-high", "in A seq=0 ack=1", Answer("out R seq=1", state)),
        ("ack-too-low", "in A seq=0 ack=-1", Answer("out R seq=-1", state)),
        ("syn-ack", "in SA seq=-1 ack=0", silence("ESTABLISHED", "CONNECTED")),
        ("syn-again", "in S seq=-1", ack(state)),
        ("syn-inside", "in S seq=1000", ack(state)),
        ("rst", "in R seq=0", silence("CLOSED", "RESET")),
        ("rst-inside", "in R seq=1", ack(state)),
        ("rst-beyond", "in R seq=edge+1", silence(state)),
        ("data", "in A seq=0 ack=0 len=5", Answer("out later A seq=0 ack=5", "ESTABLISHED", "CONNECTED READABLE")),
        ("fin", "in FA seq=0 ack=0", Answer("out A seq=0 ack=1", "CLOSE-WAIT", "CONNECTED EOF")),
        ("empty", "in - seq=0", silence(state)),
        ("data-beyond", "in A seq=edge+1000 ack=0 len=5", ack(state))]
    for name, line, answer in rows:
        yield "syn-received-both-" + name, "SYN-RECEIVED-BOTH", line, answer, None


def scripts():
    for cases in (closed(), listen(), syn_sent(), syn_received(), syn_received_both(), edges(), synchronised(), small_window(), closed_window()):
        for name, state, line, answer, reason in cases:
            lines = []
            if reason:
                lines += ["# A departure. " + reason]
            lines += ["state " + state] + line.split("\n") + [answer.say]
            if answer.say != "silence":
                lines.append("silence")
            lines.append("then " + answer.then.replace("SYN-RECEIVED (both)", "SYN-RECEIVED-BOTH"))
            if answer.event:
                lines.append("event " + answer.event)
            yield name + ".seg", "\n".join(lines) + "\n"


def main(argv):
    check = argv[:1] == ["--check"]
    folder = pathlib.Path(argv[-1])
    want = dict(scripts())
    have = {p.name: p.read_text() for p in folder.glob("*.seg")}
    if not check:
        for name in have.keys() - want.keys():
            (folder / name).unlink()
        for name, text in want.items():
            (folder / name).write_text(text)
        print("%d scripts" % len(want))
        return 0
    for name in sorted(want.keys() ^ have.keys()) + sorted(n for n in want.keys() & have.keys() if want[n] != have[n]):
        print("%s: not as the table has it; run tests/segments/grid.py %s" % (name, folder))
    print("%d scripts" % len(want))
    return 0 if want == have and len(want) >= 300 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
