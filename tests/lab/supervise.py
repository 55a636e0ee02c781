"""A small supervisor: starts the services of one lab, restarts what dies, answers on a Unix socket.

Flow:   lab up writes services.json and starts this program detached; lab down says "quit" on the socket.
Keeps:  it ends with the process that started it, which holds the other end of its standard input, unless told to
        outlive it: a run of tests that was killed leaves no daemons behind.
        run/NAME.pid names the process to kill for "NAME died"; a service that dies is back at once (one that keeps
        dying young is started five times a second).

A service with `root` runs chrooted there, in mount and PID namespaces of its own that end with it: nothing stays
mounted, and killing it kills everything it started, as a crashed host would. Its `binds` are folders of the lab that it
finds at fixed places of the root (programs whose spool has no setting).
"""
import json
import os
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import time

FIRST_PAUSE_S = 0.02
LAST_PAUSE_S = 0.2      # the promise of the gateway's return counts on this
YOUNG_S = 0.2           # a life shorter than this doubles the pause before the next
STOP_S = 5.0            # from SIGTERM to SIGKILL


class Service:
    def __init__(self, spec, folder):
        self.spec, self.folder, self.name = spec, folder, spec["name"]
        self.process = None
        self.wanted = not spec.get("manual")     # a manual one waits for "start"
        self.started = self.next_start = 0.0
        self.pause_s = FIRST_PAUSE_S
        self.starts = 0
        self.last_exit = None

    @property
    def pid_file(self):
        return os.path.join(self.folder, "run", self.name + ".pid")

    def argv(self):
        spec = self.spec
        argv = ["ip", "netns", "exec", spec["namespace"]]
        if not spec.get("root"):
            return argv + spec["argv"]
        root = spec["root"]
        binds = [(root, root), (self.folder, root + "/lab")]
        binds += [(os.path.join(self.folder, inside), root + place) for inside, place in spec.get("binds", ())]
        script = "set -e; %s; mount --rbind /dev %s; mount -t proc proc %s; exec chroot %s %s" % (
            "; ".join("mount --bind %s %s" % (shlex.quote(x), shlex.quote(y)) for x, y in binds),
            shlex.quote(root + "/dev"), shlex.quote(root + "/proc"), shlex.quote(root), shlex.join(spec["argv"]))
        return argv + ["unshare", "--pid", "--fork", "--kill-child=SIGKILL", "--mount", "sh", "-c", script]

    def start(self):
        log = open(os.path.join(self.folder, "log", self.name + ".out"), "ab")
        environment = dict(os.environ, **self.spec.get("environment", {}))
        self.process = subprocess.Popen(self.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                                        env=environment, start_new_session=True)
        log.close()
        self.started = time.monotonic()
        self.starts += 1
        temporary = self.pid_file + ".new"
        with open(temporary, "w") as f:
            f.write("%d\n" % self.process.pid)
        os.rename(temporary, self.pid_file)

    def reap(self, say):
        """Note a death and set the time of the next start."""
        if self.process is None or self.process.poll() is None:
            return
        now = time.monotonic()
        self.last_exit = self.process.returncode
        self.process = None
        try:
            os.unlink(self.pid_file)
        except FileNotFoundError:
            pass
        if self.wanted:
            young = now - self.started < YOUNG_S
            self.pause_s = min(self.pause_s * 2, LAST_PAUSE_S) if young else FIRST_PAUSE_S
            self.next_start = now + self.pause_s
        say("%s ended with %d%s" % (self.name, self.last_exit, "" if self.wanted else " as asked"))

    def signal(self, number):
        """To the process itself; in a root, SIGTERM goes to the service's own process 1."""
        if self.process is None:
            return
        pid = self.process.pid
        if self.spec.get("root") and number != signal.SIGKILL:
            pid = next(iter(children(pid)), pid)
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def children(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            return [int(word) for word in f.read().split()]
    except OSError:
        return []


class Supervisor:
    def __init__(self, folder):
        self.folder = folder
        with open(os.path.join(folder, "services.json")) as f:
            self.services = {spec["name"]: Service(spec, folder) for spec in json.load(f)}
        self.log = open(os.path.join(folder, "log", "supervise.log"), "a", buffering=1)
        self.selector = selectors.DefaultSelector()
        self.ending = False

    def say(self, text):
        self.log.write("%.3f %s\n" % (time.time(), text))

    def stop(self, services):
        """SIGTERM, then SIGKILL; in the order given, each waited for."""
        for service in services:
            service.wanted = False
            service.signal(signal.SIGTERM)
        end = time.monotonic() + STOP_S
        for service in services:
            while service.process is not None and time.monotonic() < end:
                service.reap(self.say)
                time.sleep(0.01)
            if service.process is not None:
                self.say("%s ignores SIGTERM" % service.name)
                service.signal(signal.SIGKILL)
                service.process.wait()
                service.reap(self.say)

    def answer(self, request):
        word = request.get("do")
        if word == "status":
            return {"services": {s.name: {"pid": s.process.pid if s.process else 0, "starts": s.starts,
                                          "last_exit": s.last_exit} for s in self.services.values()}}
        if word == "quit":
            self.ending = True
            return {"ok": True}
        if word == "outlive":
            if sys.stdin in (key.fileobj for key in self.selector.get_map().values()):
                self.selector.unregister(sys.stdin)
            return {"ok": True}
        service = self.services.get(request.get("service"))
        if service is None:
            return {"error": "no such service"}
        if word == "stop":
            self.stop([service])
        elif word == "start":
            service.wanted, service.next_start, service.pause_s = True, 0.0, FIRST_PAUSE_S
        elif word == "signal":
            service.signal(request["number"])
        elif word == "replace":             # other arguments for the next start
            service.spec["argv"] = request["argv"]
        else:
            return {"error": "no such request"}
        return {"ok": True}

    def serve(self, listener):
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(2)
            try:
                line = connection.makefile("r").readline(65536)
                connection.sendall((json.dumps(self.answer(json.loads(line))) + "\n").encode())
            except (OSError, ValueError, KeyError) as error:
                self.say("request: %s" % error)

    def run(self):
        path = os.path.join(self.folder, "run", "supervise.sock")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen(8)
        wake_r, wake_w = os.pipe()
        os.set_blocking(wake_r, False)
        os.set_blocking(wake_w, False)
        signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "ending", True))
        self.selector.register(listener, selectors.EVENT_READ)
        self.selector.register(sys.stdin, selectors.EVENT_READ)
        self.selector.register(wake_r, selectors.EVENT_READ)
        while not self.ending:
            now = time.monotonic()
            pause = 5.0
            for service in self.services.values():
                service.reap(self.say)
                if service.process is None and service.wanted:
                    if service.next_start <= now:
                        try:
                            service.start()
                        except OSError as error:
                            self.say("%s: %s" % (service.name, error))
                            service.next_start = now + LAST_PAUSE_S
                    else:
                        pause = min(pause, service.next_start - now)
            for key, _ in self.selector.select(pause):
                if key.fileobj is listener:
                    self.serve(listener)
                elif key.fileobj is sys.stdin:      # its end: nothing is ever written there
                    self.say("the process this lab belongs to ended")
                    self.ending = True
                else:
                    try:
                        os.read(wake_r, 4096)
                    except BlockingIOError:
                        pass
        self.stop(list(self.services.values())[::-1])
        os.unlink(path)


def ask(folder, **request):
    """One request to the supervisor of the lab in `folder`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(30)
        s.connect(os.path.join(folder, "run", "supervise.sock"))
        s.sendall((json.dumps(request) + "\n").encode())
        answer = json.loads(s.makefile("r").readline())
    if "error" in answer:
        raise RuntimeError("supervisor: %s: %s" % (request, answer["error"]))
    return answer


if __name__ == "__main__":
    Supervisor(sys.argv[1]).run()
