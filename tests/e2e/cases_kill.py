"""Each process killed by SIGKILL twenty times under traffic (DESIGN.md section 6: P1, P2, P3)."""
import json
import os
import shutil
import signal
import subprocess
import threading
import time

from . import smtp
from .harness import case

KILLS = 20
SENDERS = 4


class Traffic:
    """Senders of known triplets that never stop; what each was told is kept."""

    def __init__(self, t, recipient):
        self.t, self.recipient = t, recipient
        self.people = [(t.stranger(), t.sender()) for _ in range(SENDERS)]
        self.lock = threading.Lock()
        self.accepted, self.refused, self.greylisted = [], [], []
        self.deferred = self.cut = 0
        self.last_accepted = 0.0
        self.gap_s = 0.0
        self.ending = threading.Event()
        self.threads = []

    def start(self):
        first = [smtp.deliver(self.t.lab, source, sender, self.recipient, b"") for source, sender in self.people]
        time.sleep(max(x.last.seconds for x in first))
        for source, sender in self.people:
            attempt = smtp.deliver(self.t.lab, source, sender, self.recipient, self.t.content(self.t.word("known")))
            self.t.check(attempt.accepted, "known before the kills: %s" % attempt)
        time.sleep(1.5)             # a WHITE record of more than a second
        self.last_accepted = time.monotonic()
        for person in self.people:
            thread = threading.Thread(target=self._run, args=person)
            thread.start()
            self.threads.append(thread)

    def _run(self, source, sender):
        while not self.ending.is_set():
            with self.lock:
                word = self.t.word("kill")
            try:
                attempt = smtp.deliver(self.t.lab, source, sender, self.recipient, self.t.content(word, b"k" * 70 + b"\r\n"),
                                       wait_s=15, connect_s=0.3)   # no waiting for the kernel's second SYN
            except smtp.Malformed as error:
                self.refused.append("malformed: %s" % error)
                continue
            with self.lock:
                now = time.monotonic()
                if attempt.accepted:
                    self.accepted.append(word)
                    self.gap_s = max(self.gap_s, now - self.last_accepted)
                    self.last_accepted = now
                elif attempt.permanent:
                    self.refused.append(str(attempt))
                elif attempt.last is not None and attempt.last.seconds is not None:
                    self.greylisted.append(str(attempt))
                elif attempt.error:
                    self.cut += 1
                else:
                    self.deferred += 1
            if not attempt.accepted:
                time.sleep(0.05)
            else:
                time.sleep(0.01)

    def wait_accepted(self, more, wait_s):
        """Wait until that many more messages were accepted."""
        with self.lock:
            goal = len(self.accepted) + more
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            with self.lock:
                if len(self.accepted) >= goal:
                    return True
            time.sleep(0.005)
        return False

    def stop(self):
        self.ending.set()
        for thread in self.threads:
            thread.join()


def _tell_stuck(t, service):
    """What everybody was doing when a return was late: kept in build/e2e-late.txt, for who looks for the cause."""
    env = t.lab.environment()
    pid = t.lab.pid(service)
    ctl = "timeout 3 build/control/cli/greylinectl --socket %s " % env["LAB_SOCKET"]
    script = "; ".join([
        "date +%T.%N", "ps -L -o lwp,stat,wchan:30,comm,time -p %d" % pid,
        "for i in /proc/%d/task/*; do echo $i; cat $i/stack; done" % pid,
        ctl + "status", ctl + "stats",
        "tail -n 5 %s/log/supervise.log %s/log/dataplane.out" % (env["LAB_DIR"], env["LAB_DIR"]),
    ] + ["ip netns exec %s sh -c 'ip neigh; ss -tnoi'" % env[ns] for ns in ("LAB_CLIENT_NS", "LAB_MTA_NS")])
    text = subprocess.run(script, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True).stdout
    with open("build/e2e-late.txt", "a") as f:
        f.write("%s\n%s\n" % (service, text))


def _kill_twenty(t, service, recipient, back_s, find):
    traffic = Traffic(t, recipient)
    traffic.start()
    returns = []
    try:
        t.check(traffic.wait_accepted(8, 10), "traffic flows")
        for n in range(KILLS):
            t.wait("%s runs" % service, lambda: t.lab.pid(service), 5)
            started = time.monotonic()
            t.lab.kill(service)
            # each sender may have one under way that the kill does not touch: one more than that is new
            back = traffic.wait_accepted(SENDERS + 1, back_s)
            if not back:
                _tell_stuck(t, service)
            t.check(back or traffic.wait_accepted(1, 30), "mail flows again after kill %d of %s%s" % (n + 1, service, t.lab.tails()))
            returns.append(time.monotonic() - started)
            time.sleep(0.1 + 0.05 * (n % 7))
    finally:
        traffic.stop()
    slowest = max(returns)
    t.note("%d accepted, %d deferred, %d cut; back after %.2f s, at most %.2f s" % (
        len(traffic.accepted), traffic.deferred, traffic.cut, sorted(returns)[KILLS // 2], slowest))
    t.equal("5xx", traffic.refused[:3], [])
    t.equal("known senders greylisted", traffic.greylisted[:3], [])
    lost = find(traffic.accepted)
    t.equal("accepted and lost", lost[:5], [])
    t.check(slowest <= back_s, "service back within %g s: %s" % (back_s, ", ".join("%.2f" % r for r in returns)))
    for source, sender in traffic.people:
        attempt = smtp.deliver(t.lab, source, sender, recipient, t.content(t.word("after")))
        t.check(attempt.accepted, "still known afterwards: %s" % attempt)


def _lost_at_sink(t):
    def find(words):
        subjects = {m.content.split(b"\r\n", 1)[0] for m in t.sink.find(complete=True)}
        return [w for w in words if b"Subject: " + w.encode() not in subjects]
    return find


def _lost_at_maildir(t):
    def find(words):
        subjects = set()
        end = time.monotonic() + 30
        while time.monotonic() < end:
            subjects = set()
            for path in t.maildir.files():
                with open(path, "rb") as f:
                    subjects.update(line[9:].decode() for line in f if line.startswith(b"Subject: "))
            subjects = {s.strip() for s in subjects}
            if all(w in subjects for w in words):
                break
            time.sleep(0.5)
        return [w for w in words if w not in subjects]
    return find


@case("the data plane killed twenty times under traffic", variants=("packet", "packet2", "xdp"), families=(4,), limit_s=180,
      restarts=True)
def kill_dataplane(t):
    _kill_twenty(t, "dataplane", "kd@sink.example", 2.0, _lost_at_sink(t))


@case("control killed twenty times under traffic", variants=("packet", "packet2"), families=(4,), limit_s=120, restarts=True)
def kill_control(t):
    _kill_twenty(t, "control", "kc@sink.example", 2.0, _lost_at_sink(t))
    t.wait("control answers", lambda: t.lab.ctl("status", check=False).returncode == 0, 10)


@case("the MTA killed twenty times under traffic", variants=("packet",), families=(4,), limit_s=240, restarts=False)
def kill_mta(t):
    _kill_twenty(t, "mta", "alice@example.org", 10, _lost_at_maildir(t))
    t.maildir.forget()


@case("the resolver killed: mail flows, nobody is refused for it", variants=("packet",), families=(4,), limit_s=60)
def no_resolver(t):
    t.lab.stop("unbound")
    try:
        for n in range(5):
            began = time.monotonic()
            reply = t.deliver(t.stranger(), t.sender(), "alice@example.org", b"").last
            took_s = time.monotonic() - began
            t.check(reply is not None and reply.seconds is not None, "a stranger is greylisted: %s" % reply)
            t.check(took_s < 3, "nobody waits longer than the deadline of 2 s: the whole session took %.1f s" % took_s)
        source, sender = t.stranger(), t.sender()
        t.make_known(source, sender, "alice@example.org")
    finally:
        t.lab.start("unbound")
        t.wait("unbound", lambda: t.lab.dns("10.10.18.198.in-addr.arpa", "PTR")[0] == "NOERROR")


@case("control and data plane stopped and started: the state is there, with a cold segment, too", variants=("packet",),
      families=(4,), limit_s=90, restarts=True)
def cold_start(t):
    source, sender = t.stranger(), t.sender()
    t.make_known(source, sender, "alice@example.org")
    time.sleep(2)
    segments = t.lab.segments()
    t.check(segments, "there is a segment in /dev/shm")
    t.lab.stop("dataplane")
    t.lab.stop("control")
    for path in segments:
        shutil.rmtree(path, ignore_errors=True)
    t.lab.start("control")
    t.lab.start("dataplane")
    t.lab.wait_ready(wait_s=30)
    status = json.loads(t.lab.ctl("--json", "status").stdout)
    for part in ("table", "dataplane"):  # how many of them are huge is the kernel's
        pages = status[part].get("memory_octets", 0), status[part].get("memory_huge_octets", -1)
        t.check(pages[0] >= pages[1] >= 0 < pages[0], "status says which pages are behind %s: %s" % (part, pages))
    attempt = t.deliver(source, sender, "alice@example.org", t.content(t.word()))
    t.check(attempt.accepted, "WHITE came back from the database: %s" % attempt)


@case("without its database, damaged or gone, the gateway serves: one greylist delay", variants=("packet",), families=(4,),
      limit_s=90, restarts=True)
def damaged_database(t):
    t.lab.stop("control")
    damaged = 0
    for folder, _, names in os.walk(t.lab.path("state")):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.getsize(path) > 8192:
                with open(path, "r+b") as f:
                    f.write(b"\xa5" * 8192)
                damaged += 1
    t.check(damaged, "there is a database to damage")
    t.lab.start("control")
    t.wait("control answers", lambda: t.lab.ctl("status", check=False).returncode == 0, 20)
    source, sender = t.stranger(), t.sender()
    t.make_known(source, sender, "alice@example.org")


@case("SIGTERM: a message in flight finishes, idle sessions get 421, then it ends", variants=("packet",), families=(4,),
      limit_s=90, restarts=True)
def drain(t):
    sender = t.sender()
    with t.session(t.allowed(30)) as idle, t.session(t.allowed(31)) as busy:
        idle.open()
        busy.open()
        busy.ask("MAIL FROM:<%s>" % sender)
        t.code("RCPT", busy.ask("RCPT TO:<drain@sink.example>"), 250)
        t.code("DATA", busy.ask("DATA"), 354)
        busy.send(b"before\r\n")
        pid = t.lab.pid("dataplane")
        os.kill(pid, signal.SIGTERM)
        t.code("the idle session", idle.reply(), 421)
        time.sleep(0.5)
        busy.send(b"after\r\n.\r\n")
        t.code("the message in flight", busy.reply(), 250)
    t.equal("at the sink", [m.content for m in t.sink.find(sender=sender, complete=True)], [b"before\r\nafter\r\n"])
    t.wait("the process ends", lambda: t.lab.pid("dataplane") != pid, 65)
    t.lab.wait_ready(wait_s=20)
