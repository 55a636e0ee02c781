#!/usr/bin/env python3
"""greyline-dataplane as a process: waits, serves, takes a new snapshot, refuses a second instance, drains, notices a lost segment.

usage: test_process.py GREYLINE_DATAPLANE MAKE_RUN

Runs as any user: the port is a net_null that receives nothing.
"""
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

DATAPLANE, MAKE_RUN = sys.argv[1:3]
DEVICE = "net_null0,no-rx=1"
failures = []


class Process:
    """One greyline-dataplane; what it says is read from a file."""

    def __init__(self, run):
        self.log = run.parent / f"log-{time.monotonic_ns()}"
        with self.log.open("w") as out:
            self.popen = subprocess.Popen([DATAPLANE, "--run-dir", str(run)], stderr=out, stdout=out)

    def said(self):
        return self.log.read_text()

    def wait_for(self, text, seconds=10.0):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if text in self.said():
                return True
            if self.popen.poll() is not None:
                return text in self.said()
            time.sleep(0.02)
        return False

    def status(self, seconds=10.0):
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            return None


def make_run(run, *args):
    return subprocess.run([MAKE_RUN, str(run), *args], check=True, capture_output=True, text=True).stdout


def make(run, workers="1", memory="64"):
    make_run(run, "make", workers, memory, "nap", "--no-huge --no-pci", DEVICE, "198.18.0.2/24,2001:db8:0:1::2/64", "198.18.0.1",
             "2001:db8:0:1::1")


def live(run):
    words = make_run(run, "live").split()
    return {"state": int(words[1]), "pid": int(words[3]), "generation": int(words[5]), "second": int(words[6])}


def wait_generation(run, which, want):
    end = time.monotonic() + 5
    while live(run)[which] != want and time.monotonic() < end:
        time.sleep(0.02)
    return live(run)[which] == want


def check(label, got, want=True):
    if got != want:
        failures.append(f"{label}: got {got!r}, want {want!r}")


def test_usage(_):
    for args, want in ((["--help"], 0), (["--version"], 0), (["--nonsense"], 2), (["argument"], 2)):
        got = subprocess.run([DATAPLANE, *args], capture_output=True, check=False, timeout=20).returncode
        check(f"status of {args}", got, want)


def test_waits_serves_and_ends(folder):
    run = folder / "run"
    p = Process(run)
    check("says what it waits for", p.wait_for("waiting for greyline-control"))
    make(run)
    check("serves when control has come", p.wait_for("ready"))
    check("state", live(run)["state"], 2)
    check("pid", live(run)["pid"], p.popen.pid)
    second = Process(run)
    check("a second instance refuses", second.status(), 1)
    check("and says why", "another data plane" in second.said())
    make_run(run, "again", "2")
    check("a new snapshot is in force", wait_generation(run, "generation", 2))
    # a snapshot that cannot be used: the old one stays, the reason is said once, and a good one is taken again
    file = run / "policy.snapshot"
    broken = bytearray(file.read_bytes())
    broken[-1] ^= 1
    (run / "broken").write_bytes(broken)
    (run / "broken").rename(file)
    make_run(run, "wish", "3")
    check("a broken snapshot is refused", p.wait_for("snapshot 3 is not used"))
    time.sleep(0.2)
    check("said once", p.said().count("is not used"), 1)
    check("the old one stays", live(run)["generation"], 2)
    broken[-1] ^= 1
    file.write_bytes(broken)
    make_run(run, "again", "4")
    check("a good one is taken", wait_generation(run, "generation", 4))
    p.popen.send_signal(signal.SIGTERM)
    check("ends in order", p.status(), 0)
    check("drained", "draining, 0 sessions" in p.said())
    check("state after the end", live(run)["state"], 0)


def test_two_workers_confirm(folder):
    run = folder / "two"
    make(run, workers="2", memory="96")
    p = Process(run)
    check("serves", p.wait_for("ready"))
    make_run(run, "again", "2")
    check("the first confirms", wait_generation(run, "generation", 2))
    check("the second confirms", wait_generation(run, "second", 2))
    p.popen.kill()
    p.status()
    again = Process(run)
    began = time.monotonic()
    check("back after SIGKILL", again.wait_for("ready"))
    check("within two seconds", time.monotonic() - began < 2.0)
    again.popen.send_signal(signal.SIGTERM)
    check("ends in order", again.status(), 0)


def test_rests(folder):
    """A worker without frames naps: the process takes a small part of a CPU."""
    run = folder / "rest"
    make(run)
    p = Process(run)
    check("serves", p.wait_for("ready"))
    time.sleep(0.5)
    stat = pathlib.Path(f"/proc/{p.popen.pid}/stat")
    ticks = [sum(int(x) for x in stat.read_text().rsplit(")", 1)[1].split()[11:13]) for n in range(4) if time.sleep(n > 0) is None]
    # the least of three seconds: what runs beside it makes each of a thousand naps a second dearer, never cheaper
    share = min(b - a for a, b in zip(ticks, ticks[1:])) / os.sysconf("SC_CLK_TCK")
    check(f"CPU at rest below a tenth ({share:.3f})", share < 0.1)
    p.popen.send_signal(signal.SIGTERM)
    p.status()


def test_notices_a_lost_segment(folder):
    run = folder / "lost"
    make(run)
    p = Process(run)
    check("serves", p.wait_for("ready"))
    (run / "segment").unlink()
    check("noticed", p.wait_for("was deleted or replaced", 1.5))
    check("asks for a restart", p.status(), 75)


def test_refuses_ports_that_do_not_exist(folder):
    run = folder / "none"
    make_run(run, "make", "1", "64", "nap", "--no-huge --no-pci", "net_af_packet0,iface=glnothere0", "198.18.0.2/24", "-", "-")
    p = Process(run)
    check("does not start", p.status() not in (0, None))
    check("says why", "EAL does not start" in p.said() or "no device" in p.said())


def main():
    with tempfile.TemporaryDirectory(prefix="greyline-") as folder:
        for name, test in sorted(globals().items()):
            if name.startswith("test_"):
                before = len(failures)
                test(pathlib.Path(folder))
                print(f"{'ok' if len(failures) == before else 'FAILED'} {name}")
    for line in failures:
        print(line)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
