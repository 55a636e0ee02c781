"""./dev demo: what Greyline is for, step by step, on real mail, with a table at the end.

A step is as it should be, or its row says what was seen instead; the status is 0 only if every step was.
Steps that have to wait for the greylist share their wait: first attempts are made early, retries when the block is over.
"""
import hashlib
import json
import os
import re
import subprocess
import sys
import textwrap
import time

from . import addresses as a
from .labs import Lab
from .netns import LabError

BLOCK_S = 10
KNOWN, NEW, LATER = "alice@example.org", "bob@example.org", "carol@example.org"


class Wrong(Exception):
    pass


class Row:
    def __init__(self, step):
        self.step, self.sent, self.reply, self.log, self.queue_id, self.wrong = step, "", "", "", "", None


def need(condition, what):
    if not condition:
        raise Wrong(what)


class Demo:
    def __init__(self, lab):
        # imported here: the pieces live with the end-to-end tests
        from e2e import smtp
        from e2e.logs import Log, Maildir
        self.smtp, self.lab = smtp, lab
        self.log, self.maildir = Log(lab.log_path), Maildir(lab.maildir)
        self.rows = []
        self.serial = 0
        self.first_attempt = 0.0

    def step(self, title, function):
        row = Row(title)
        self.rows.append(row)
        started = time.monotonic()
        try:
            function(row)
        except (Wrong, self.smtp.Closed, self.smtp.Malformed, LabError, OSError, subprocess.SubprocessError, ValueError) as error:
            row.wrong = str(error) or type(error).__name__
        print("%-5s %5.1f s  %s%s" % ("ok" if row.wrong is None else "WRONG", time.monotonic() - started, title,
                                     "" if row.wrong is None else ": " + row.wrong), flush=True)

    # --- pieces of the steps

    def message(self):
        self.serial += 1
        word = "demo-%d-%d-" % (os.getpid(), self.serial)
        return word, ("From: Sender <sender@from.example>\r\nSubject: %s\r\n\r\nThe body of %s.\r\n.\r\n..two dots\r\n" % (word, word)).encode()

    def attempt(self, row, source, sender, recipients, content=b"x\r\n"):
        mark = self.log.mark()
        what = recipients if isinstance(recipients, str) else ", ".join(recipients)
        row.sent = (row.sent + "; " if row.sent else "") + "%s: <%s> to %s" % (source, sender, what)
        attempt = self.smtp.deliver(self.lab, source, sender, recipients, content)
        replies = attempt.rcpt if not attempt.accepted else attempt.rcpt[1:] + [attempt.final]
        if attempt.final is not None and not attempt.accepted:
            replies = replies + [attempt.final]
        row.reply = (row.reply + "; " if row.reply else "") + (" / ".join(r.text for r in replies) or str(attempt))
        entries = self.log.find("message" if attempt.accepted else "rcpt", mark, wait_s=2, **{"from": sender})
        if entries:
            row.log = entries[-1].line
        if attempt.accepted:
            found = re.search(r"queued as (\w+)", attempt.final.text)
            row.queue_id = found.group(1) if found else ""
        return attempt

    def delivered(self, word, content, source=None, times=1):
        raw = self.maildir.raw(word.encode())
        need(len(raw) == times, "%d copies in the MTA, want %d" % (len(raw), times))
        got, want = (hashlib.sha256(x).hexdigest() for x in (self.maildir.content(raw[0]), content))
        need(got == want, "sha256 at the MTA %s, sent %s" % (got, want))
        if source:
            need(source in self.maildir.received(raw[0]), "Received lacks %s: %s" % (source, self.maildir.received(raw[0])))
        return want

    def wait_for_block(self):
        time.sleep(max(0.0, self.first_attempt + BLOCK_S - time.monotonic()))

    # --- the steps, in the order of the table

    def stranger(self, row):
        self.first_attempt = time.monotonic()
        attempt = self.attempt(row, a.client4("good"), "one@from.example", KNOWN)
        need(attempt.last is not None and attempt.last.seconds == BLOCK_S, "want 451 with %d seconds" % BLOCK_S)
        # first attempts of the later steps
        for sender, recipient in (("one@from.example", "unknown@example.org"), ("one@from.example", LATER)):
            other = self.smtp.deliver(self.lab, a.client4("good"), sender, recipient, b"x\r\n")
            need(other.last is not None and other.last.seconds, "first attempt to %s: %s" % (recipient, other))
        six = self.smtp.deliver(self.lab, a.client6("good"), "six@from.example", KNOWN, b"x\r\n")
        need(six.last is not None and six.last.seconds, "over IPv6: %s" % six)
        self.first_attempt = time.monotonic()

    def early(self, row):
        time.sleep(2)
        attempt = self.attempt(row, a.client4("good"), "one@from.example", KNOWN)
        need(attempt.last is not None and attempt.last.seconds is not None and 1 <= attempt.last.seconds < BLOCK_S - 1,
             "want 451 with a smaller number")

    def listed(self, row):
        reply = self.attempt(row, a.client4("listed"), "two@from.example", KNOWN).last
        need(reply is not None and re.fullmatch(
            r"554 5\.7\.1 Sending address not accepted due to spam filter; %s \(\S+\)" % re.escape(a.BLOCKLIST), reply.text), "want 554")
        self.reference = re.search(r"\((\S+)\)$", reply.text).group(1)

    def no_reverse_dns(self, row):
        reply = self.attempt(row, a.client4("noptr"), "three@from.example", KNOWN).last
        need(reply is not None and reply.code == 554 and "no reverse DNS" in reply.text, "want 554 no reverse DNS")

    def postmaster(self, row):
        word, content = self.message()
        attempt = self.attempt(row, a.client4("listed"), "two@from.example", "postmaster@example.org", content)
        need(attempt.accepted, "want 250")
        self.delivered(word, content, a.client4("listed"))

    def relaying(self, row):
        reply = self.attempt(row, a.client4("good"), "one@from.example", "x@elsewhere.example").last
        need(reply is not None and reply.text == "550 5.7.1 Relaying denied", "want 550 5.7.1 Relaying denied")

    def explain_why(self, row):
        why = self.lab.ctl("why", self.reference).stdout
        explain = self.lab.ctl("explain", a.client4("listed"), "helo.example", "two@from.example", KNOWN).stdout
        row.sent = "greylinectl why %s; explain %s ..." % (self.reference, a.client4("listed"))
        row.reply = " | ".join(x.strip() for x in (why.splitlines() + explain.splitlines()) if x.strip())
        need(a.client4("listed") in why, "why does not name the client")
        need(a.BLOCKLIST in explain, "explain does not name the zone")
        json.loads(self.lab.ctl("--json", "explain", a.client4("listed")).stdout)

    def set_block(self, row):
        sender, source = "block@from.example", a.stranger(203, 4)
        self.attempt(row, source, sender, KNOWN)
        self.lab.ctl("set", "greylist.block", "300s")
        try:
            reply = self.attempt(row, source, sender, KNOWN).last
        finally:
            self.lab.ctl("unset", "greylist.block")
        row.sent += " around greylinectl set greylist.block 300s"
        need(reply is not None and reply.seconds is not None and 290 <= reply.seconds <= 300, "want a number near 300")

    def retry(self, row):
        self.wait_for_block()
        word, content = self.message()
        attempt = self.attempt(row, a.client4("good"), "one@from.example", KNOWN, content)
        need(attempt.accepted, "want 250")
        row.sent += ", sha256 " + self.delivered(word, content, "[%s]" % a.client4("good"))[:12]

    def at_once(self, row):
        word, content = self.message()
        attempt = self.attempt(row, a.client4("good"), "one@from.example", KNOWN, content)
        need(attempt.accepted, "want 250")
        self.delivered(word, content)

    def six(self, row):
        word, content = self.message()
        attempt = self.attempt(row, a.client6("good"), "six@from.example", KNOWN, content)
        need(attempt.accepted, "want 250")
        self.delivered(word, content, "[IPv6:%s]" % a.client6("good"))

    def unknown_user(self, row):
        reply = self.attempt(row, a.client4("good"), "one@from.example", "unknown@example.org").last
        need(reply is not None and reply.code == 550 and "User unknown" in reply.text, "want the MTA's 550")

    def mixed(self, row):
        word, content = self.message()
        attempt = self.attempt(row, a.client4("good"), "one@from.example", [KNOWN, NEW], content)
        row.reply = " / ".join(r.text for r in attempt.rcpt) + (" / " + attempt.final.text if attempt.final else "")
        need([r.code for r in attempt.rcpt] == [250, 451] and attempt.accepted, "want 250 and 451, then 250")
        self.delivered(word, content)

    def resolver_stopped(self, row):
        self.lab.stop("unbound")
        try:
            word, content = self.message()
            attempt = self.attempt(row, a.client4("good"), "one@from.example", KNOWN, content)
            need(attempt.accepted, "mail of the known sender does not flow")
            self.delivered(word, content)
            for number in (201, 202):
                reply = self.attempt(row, a.stranger(number, 4), "dns@from.example", KNOWN).last
                need(reply is not None and reply.seconds, "a stranger gets something else than 451")
        finally:
            self.lab.start("unbound")

    def control_killed(self, row):
        self.lab.kill("control")
        word, content = self.message()
        attempt = self.attempt(row, a.client4("good"), "one@from.example", KNOWN, content)
        row.sent += " right after SIGKILL of greyline-control"
        need(attempt.accepted, "want 250")
        self.delivered(word, content)
        need(self._again(lambda: self.lab.ctl("status", check=False).returncode == 0, 5), "control does not come back")

    def backend_killed(self, row):
        word, content = self.message()
        row.sent = "%s: %s; the MTA killed inside DATA; the same again" % (a.client4("good"), KNOWN)
        with self.smtp.Session(self.lab, a.client4("good")) as s:
            s.open()
            s.ask("MAIL FROM:<one@from.example>")
            need(s.ask("RCPT TO:<%s>" % KNOWN).code == 250, "RCPT")
            need(s.ask("DATA").code == 354, "DATA")
            wire = self.smtp.stuffed(content)
            s.send(wire[:60])
            time.sleep(0.2)
            self.lab.kill("mta")
            time.sleep(0.2)
            s.send(wire[60:])
            reply = s.reply()
        row.reply = reply.text
        need(reply.text.startswith("451 4.3.0"), "want 451 4.3.0")

        def again():
            attempt = self.smtp.deliver(self.lab, a.client4("good"), "one@from.example", KNOWN, content)
            need(not attempt.permanent and not (attempt.last and attempt.last.seconds), "the retry: %s" % attempt)
            if attempt.accepted:
                row.reply += "; " + attempt.final.text
                row.queue_id = attempt.final.text.split()[-1]
            return attempt.accepted
        mark = self.log.mark()
        need(self._again(again, 40, 0.3), "not delivered after the MTA was back")
        entries = self.log.find("message", mark, **{"from": "one@from.example"})
        row.log = entries[-1].line if entries else ""
        self.delivered(word, content)

    def dataplane_killed(self, row):
        word, content = self.message()
        self.lab.kill("dataplane")
        started = time.monotonic()
        row.sent = "%s: <one@from.example> to %s after SIGKILL of greyline-dataplane" % (a.client4("good"), KNOWN)
        while True:
            mark = self.log.mark()
            attempt = self.smtp.deliver(self.lab, a.client4("good"), "one@from.example", KNOWN, content, connect_s=0.3, wait_s=10)
            if attempt.accepted:
                break
            need(not attempt.permanent and not (attempt.last and attempt.last.seconds), "refused or greylisted: %s" % attempt)
            need(time.monotonic() < started + 10, "not back: %s" % attempt)
            time.sleep(0.02)
        took = time.monotonic() - started
        row.reply = "%s, %.1f s after the kill" % (attempt.final.text, took)
        row.queue_id = attempt.final.text.split()[-1]
        entries = self.log.find("message", mark, **{"from": "one@from.example"})
        row.log = entries[-1].line if entries else ""
        need(took < 2.0, "back after %.1f s, want 2" % took)
        self.delivered(word, content)

    def start_postfix(self):
        self.postfix_word, _ = self.message()
        self.lab.start("sender")
        need(self._again(lambda: os.path.exists(self.lab.path("sender", "spool", "public", "pickup")), 10), "the sender does not start")
        self.lab.in_root("client", "/usr/sbin/sendmail", "-C", "/lab/sender", "-f", "joe@sender.lab.example", KNOWN,
                         text="Subject: %s\n\nqueued and retried by Postfix\n" % self.postfix_word)

    def postfix(self, row):
        raw = self.maildir.raw(self.postfix_word.encode(), wait_s=40)

        def told():
            with open(self.lab.path("log", "sender.log")) as f:
                return [line.strip() for line in f if "postfix/smtp" in line and " to=<" in line]
        self._again(lambda: any("status=sent" in line for line in told()), 3)
        lines = told()
        row.sent = "sendmail on the client's side, relayhost = the gateway"
        row.reply = "; ".join(re.sub(r".*status=", "", line) for line in lines)
        need(len(raw) == 1, "%d copies in the MTA" % len(raw))
        need("Greylisted, please try again in" in row.reply and "status=sent" in lines[-1], "want deferred, then sent")
        row.queue_id = re.search(r"queued as (\w+)", lines[-1]).group(1)
        entries = self.log.find("message", 0, **{"from": "joe@sender.lab.example"})
        row.log = entries[-1].line if entries else ""
        need(a.client4("sender") in self.maildir.received(raw[0]), "Received: %s" % self.maildir.received(raw[0]))

    def no_kernel_socket(self, row):
        pid = self.lab.pid("dataplane")

        def moved():
            with open("/proc/%d/net/dev" % pid) as f:
                fields = next(x for x in f if x.strip().startswith("wan0:")).split(":")[1].split()
            return int(fields[1]), int(fields[9])
        before = moved()
        attempt = self.attempt(row, a.client4("good"), "one@from.example", KNOWN)
        after = moved()
        need(attempt.accepted, "want 250")
        sockets = []
        for name in ("tcp", "tcp6"):
            with open("/proc/%d/net/%s" % (pid, name)) as f:
                sockets += [line for line in list(f)[1:] if line.split()[1].endswith(":0019")]
        stats = json.loads(self.lab.ctl("--json", "stats").stdout)
        row.reply += "; kernel sockets at port 25: %d; wan0 frames in +%d, out +%d" % (
            len(sockets), after[0] - before[0], after[1] - before[1])
        need(not sockets and stats, "the kernel holds a port-25 socket")
        need(after[0] > before[0] and after[1] > before[1], "the port's counters do not move")

    def _again(self, question, wait_s, pause_s=0.05):
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            if question():
                return True
            time.sleep(pause_s)
        return False

    def run(self):
        try:
            self.start_postfix()
        except (Wrong, LabError, OSError) as error:
            print("the sending Postfix: %s" % error, file=sys.stderr)
        self.step("a stranger is greylisted, with a countdown", self.stranger)
        self.step("an early retry sees a smaller number", self.early)
        self.step("a listed address is refused", self.listed)
        self.step("no reverse DNS is refused", self.no_reverse_dns)
        self.step("postmaster@ from the listed client passes", self.postmaster)
        self.step("relaying is denied", self.relaying)
        self.step("explain and why tell of the rejected one", self.explain_why)
        self.step("set greylist.block changes the next reply", self.set_block)
        self.step("the retry after the block passes", self.retry)
        self.step("the next passes at once", self.at_once)
        self.step("the same over IPv6", self.six)
        self.step("550 for an unknown user is the MTA's own", self.unknown_user)
        self.step("a known and a new recipient: delivered once", self.mixed)
        self.step("the resolver stopped: mail flows, no 554", self.resolver_stopped)
        self.step("control killed: mail goes on", self.control_killed)
        self.step("the backend killed inside DATA: 451, then once", self.backend_killed)
        self.step("the data plane killed: back, the sender known", self.dataplane_killed)
        self.step("a real Postfix queues, retries, delivers", self.postfix)
        self.step("no kernel socket; the port's counters move", self.no_kernel_socket)
        return all(row.wrong is None for row in self.rows)

    def table(self):
        widths = (46, 44, 52, 60, 12)
        heads = ("step", "sent", "reply", "log line", "queue id")
        rule = "+".join("-" * (w + 2) for w in widths)
        print("\n" + " | ".join(h.ljust(w) for h, w in zip(heads, widths)) + "\n" + rule)
        for number, row in enumerate(self.rows, 1):
            step = "%2d %s %s" % (number, "ok   " if row.wrong is None else "WRONG", row.step)
            reply = row.reply + ("" if row.wrong is None else " [WRONG: %s]" % row.wrong)
            cells = [textwrap.wrap(text[:600], w, break_long_words=True) or [""]
                     for text, w in zip((step, row.sent, reply, row.log, row.queue_id), widths)]
            for n in range(max(len(c) for c in cells)):
                print(" | ".join((c[n] if n < len(c) else "").ljust(w) for c, w in zip(cells, widths)).rstrip())
            print(rule)


def main(argv):
    import argparse
    parser = argparse.ArgumentParser(prog="./dev demo", description="The first run, shown step by step on real mail.")
    parser.add_argument("--driver", default="net_af_packet", choices=("net_af_packet", "net_af_xdp"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="leave the lab 'demo' up afterwards")
    options = parser.parse_args(argv)
    lab = Lab("demo")
    lab.down()
    started = time.monotonic()
    print("demo: bringing the lab up", flush=True)
    good = False
    try:
        lab.up(driver=options.driver, workers=options.workers, block="%ds" % BLOCK_S)
        print("demo: the lab is up after %.1f s" % (time.monotonic() - started), flush=True)
        demo = Demo(lab)
        good = demo.run()
        demo.table()
        print("\ndemo: %d of %d steps as they should be, %.0f s" % (
            sum(row.wrong is None for row in demo.rows), len(demo.rows), time.monotonic() - started))
        if not good:
            print(lab.tails())
    finally:
        if options.keep:
            lab.outlive()
        else:
            left = lab.down()
            if left:
                print("demo: left behind: %s" % ", ".join(left))
                good = False
    return 0 if good else 1
