"""The lab itself: two of them side by side, and nothing left after a start that failed half-way or a run that was killed."""
import os
import shutil
import subprocess
import sys

from lab.labs import Lab
from lab.netns import TOP, LabError, exists, pids

from . import smtp
from .harness import case


@case("two labs of different names run side by side; down leaves nothing behind", variants=("packet",), families=(None,), limit_s=120)
def side_by_side(t):
    other = Lab("e2eother", build=t.lab.build)
    other.down()
    try:
        other.up(block="3s")
        for lab in (t.lab, other):
            attempt = smtp.deliver(lab, "198.18.10.10", t.sender(), "alice@example.org", b"")
            t.check(attempt.last is not None and attempt.last.seconds == 3, "lab %s: %s" % (lab.name, attempt))
        segments = other.segments()
        t.check(segments and not set(segments) & set(t.lab.segments()), "each has a segment of its own: %s" % segments)
        try:
            Lab("e2eother").up()
            t.check(False, "a second lab of the same name came up")
        except LabError as error:
            t.check("is there already" in str(error), str(error))
    finally:
        left = other.down()
    t.equal("left behind", left + [s for s in segments if os.path.exists(s)], [])
    t.check(t.lab.banner("client", "198.18.0.2", 25, "198.18.10.10"), "the first one serves on")


@case("down cleans up after an up that failed half-way", variants=("packet",), families=(None,), limit_s=60)
def half_failed(t):
    other = Lab("e2ehalf", build=t.lab.build)
    other.down()

    class Stopped(Exception):
        pass

    def fail():
        raise Stopped
    try:
        other.up(prepare=fail)
    except Stopped:
        pass
    t.check(exists(other.net["gateway"]) and os.path.isdir(other.folder), "it stopped half-way")
    t.equal("left behind", other.down(), [])
    t.check(not any(exists(name) for name in other.net.names.values()), "no namespace")
    with open("/proc/mounts") as f:
        t.check("e2ehalf" not in f.read(), "no mount")
    t.equal("down of what is not there", other.down(), [])


@case("a lab ends with the run that brought it up, and the next run makes its own from what is left", variants=("packet",), families=(None,),
      limit_s=120)
def killed_run(t):
    other = Lab("e2ekilled", build=t.lab.build)
    other.down()
    line = "from lab.labs import Lab\nLab('e2ekilled').up(greyline=False)\nprint('up', flush=True)\nwhile True: input()"
    run = subprocess.Popen([sys.executable, "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True,
                           env=dict(os.environ, PYTHONPATH=os.path.join(TOP, "tests")))
    try:
        t.equal("the run", run.stdout.readline(), "up\n")
        lives = lambda: [p for name in other.net.names.values() for p in pids(name)]
        t.check(lives(), "services run")
        run.kill()
        run.wait()
        t.wait("the services end", lambda: not lives(), 10)
        t.check(exists(other.net["gateway"]), "the namespaces are left")
        shutil.rmtree(other.folder)
        other.up(greyline=False)
        t.check(lives(), "services run again")
    finally:
        run.kill()
        left = other.down()
    t.equal("left behind", left, [])
