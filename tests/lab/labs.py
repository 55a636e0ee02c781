"""One lab: bring it up, say where everything is, take it down.

Everything a lab owns is in build/lab/NAME (configuration, queues, mail, logs, PID files) and in four namespaces
gl-CHECKOUT-NAME-*. It ends with the process that brought it up, unless that one called outlive(). Mounts are made in mount namespaces of the services and end with them. So `down` has three things to do,
and does each of them whatever state the others are in.
"""
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time

from . import addresses as a
from . import certs, gateway, mta, names, probe, roots, supervise
from .netns import TOP, LabError, Net, exists, open_socket, pids, run


class Lab:
    def __init__(self, name="lab", build=None):
        if not re.fullmatch(r"[a-z0-9]{1,16}", name):
            raise LabError("a lab's name has 1 to 16 letters and digits")
        self.name = name
        self.folder = os.path.join(TOP, "build", "lab", name)
        self.build = os.path.abspath(build or os.environ.get("GREYLINE_BUILD") or os.path.join(TOP, "build"))
        self.net = Net(name)
        self.config = os.path.join(self.folder, "greyline.conf")

    # --- paths and facts

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def config_value(self, key, default):
        try:
            with open(self.config) as f:
                found = re.search(r'^\s*%s\s*[=:]\s*"([^"]*)"' % key, f.read(), re.M)
        except OSError:
            found = None
        return found.group(1) if found else default

    @property
    def run_dir(self):
        return self.config_value("run_dir", self.path("run", "greyline"))

    @property
    def socket_path(self):
        return os.path.join(self.run_dir, "control.sock")

    @property
    def log_path(self):
        try:
            with open(self.config) as f:
                found = re.search(r'\blog\s*[=:]\s*\{[^}]*?\bfile\s*[=:]\s*"([^"]*)"', f.read())
        except OSError:
            found = None
        return found.group(1) if found else self.path("log", "greyline.log")

    @property
    def maildir(self):
        return self.path("mail", "all")

    def program(self, name):
        """Path of one of ours in the build folder."""
        for sub in ("", "dataplane", "control", "control/cli"):
            path = os.path.join(self.build, sub, name)
            if os.access(path, os.X_OK) and os.path.isfile(path):
                return path
        raise LabError("%s is not in %s: run './dev build'" % (name, self.build))

    def environment(self):
        """What `lab env` prints."""
        values = {
            "LAB_NAME": self.name, "LAB_DIR": self.folder,
            "LAB_CLIENT_NS": self.net["client"], "LAB_MTA_NS": self.net["mta"], "LAB_GATEWAY_NS": self.net["gateway"],
            "LAB_DNS_NS": self.net["dns"],
            "LAB_GATEWAY4": a.GATEWAY4, "LAB_GATEWAY6": a.GATEWAY6,
            "LAB_SMTP_PORT": a.SMTP_PORT, "LAB_SUBMISSION_PORT": a.SUBMISSION_PORT,
            "LAB_BACKEND4": a.BACKEND4, "LAB_BACKEND6": a.BACKEND6, "LAB_RESOLVER": a.RESOLVER4,
            "LAB_MAILDIR": self.maildir, "LAB_SOCKET": self.socket_path, "LAB_CONFIG": self.config,
            "LAB_LOG": self.log_path, "LAB_MTA_LOG": self.path("log", "mta.log"), "LAB_DOMAIN": a.DOMAIN,
            "LAB_POOL4": a.POOL4, "LAB_POOL6": a.POOL6,
        }
        for kind in a.CLIENTS:
            values["LAB_%s4" % kind.upper()] = a.client4(kind)
            values["LAB_%s6" % kind.upper()] = a.client6(kind)
        return values

    # --- up

    def up(self, config=None, greyline=True, wait_s=60, prepare=None, more=None, mta_choices=None, **choices):
        """Everything, or an exception after which `down` cleans up.

        config: text of a configuration file instead of the generated one. prepare: called when the namespaces are
        there and no service runs yet (a backend of the caller's own). more: called at the same time, answers the
        service()s that this lab has beside the usual ones. mta_choices: of mta.configure().
        """
        if os.geteuid():
            raise LabError("the lab needs root: sudo ./dev lab up")
        if os.path.exists(self.folder):
            raise LabError("lab %s is there already: ./dev lab down --name %s" % (self.name, self.name))
        if greyline:
            self.program("greyline-control"), self.program("greyline-dataplane"), self.program("greylinectl")
        root = roots.make(TOP)
        for sub in ("run", "log", "state", "run/greyline"):
            os.makedirs(self.path(sub))
        os.chmod(self.path("log"), 0o1777)         # Postfix's postlogd writes here as itself
        self.net.up()
        names.configure(self.path("dns"))
        mta.configure(self.folder, root, **(mta_choices or {}))
        self.mta_pair = certs.configure(self.folder)
        with open(self.config, "w") as f:
            f.write(config.replace("@folder@", self.folder) if config else gateway.render(
                self.folder, MTA_FINGERPRINT=self.mta_pair.sha256, **choices))
        if prepare:
            prepare()
        services = [self.service("dns", name, argv, root) for name, argv in names.services()]
        services.append(self.service("mta", "mta", mta.service("mta"), root))
        services.append(self.service("client", "sender", mta.service("sender"), root, manual=True))
        if more:
            services += more()
        if greyline:
            services.append(self.service("gateway", "control", [
                self.program("greyline-control"), "--config", self.config, "--foreground"], manual=True))
            services.append(self.service("gateway", "dataplane", [
                self.program("greyline-dataplane"), "--run-dir", self.run_dir], manual=True))
        self._supervise(services)
        self.wait_ready(False, wait_s)
        if greyline:                # not before: a first probe that finds no MTA is repeated only seconds later
            self.start("control")
            self.start("dataplane")
            self.wait_ready(True, wait_s)

    def service(self, role, name, argv, root=None, **more):
        """What the supervisor is told of a service; more: manual=True (waits for start()), binds (see supervise.py)."""
        spec = dict(more, name=name, namespace=self.net[role], argv=argv)
        if root:
            spec["root"] = root
        return spec

    def _supervise(self, services):
        with open(self.path("services.json"), "w") as f:
            json.dump(services, f, indent=1)
        environment = dict(os.environ, PYTHONPATH=os.path.join(TOP, "tests"), PYTHONDONTWRITEBYTECODE="1")
        with open(self.path("log", "supervise.out"), "ab") as log:
            process = subprocess.Popen(["/usr/bin/python3", "-m", "lab.supervise", self.folder], stdin=subprocess.PIPE,
                                       stdout=log, stderr=log, cwd="/", env=environment, start_new_session=True)
        with open(self.path("run", "supervise.pid"), "w") as f:
            f.write("%d\n" % process.pid)
        self._reaper = process      # ours until we end; then init's

    def _wait(self, what, ready, end):
        while True:
            try:
                if ready():
                    return
            except OSError:
                pass
            if time.monotonic() > end:
                raise LabError("lab: %s: not ready in time%s" % (what, self.tails()))
            time.sleep(0.05)

    def wait_ready(self, greyline=True, wait_s=60):
        end = time.monotonic() + wait_s
        self._wait("unbound", lambda: self.dns(names.reverse_name(a.client4("good")), "PTR")[0] == "NOERROR", end)
        for address in (a.BACKEND4, a.BACKEND6):
            self._wait("Postfix on %s" % address, lambda: self.banner("mta", address, a.MTA_PORT_PLAIN), end)
        if greyline:
            for family in (4, 6):
                self._wait("the gateway over IPv%d" % family, lambda: self.banner(
                    "client", a.gateway(family), a.SMTP_PORT, a.client("good", family)), end)
            self._wait("the backends' probes", self.backends_up, end)

    def tails(self):
        """The last lines of every service's output, for the message of a failure."""
        text = ""
        try:
            files = sorted(os.listdir(self.path("log")))
        except OSError:
            return text
        for name in files:
            with open(self.path("log", name), errors="replace") as f:
                lines = f.readlines()[-6:]
            if lines and (name.endswith(".out") or name == "supervise.log"):
                text += "\n--- %s\n%s" % (name, "".join(lines))
        return text

    # --- questions and orders

    def dns(self, name, kind):
        """(rcode, answers) of the lab's resolver, asked from the gateway's namespace."""
        return probe.dns_query(lambda: open_socket(self.net["gateway"], kind=socket.SOCK_DGRAM), a.RESOLVER4, name, kind)

    def banner(self, role, address, port, source=None):
        return probe.banner(lambda family: open_socket(self.net[role], family), address, port, source)

    def backends_up(self):
        """Every backend was probed, and one at least is up."""
        done = self.ctl("--json", "backend", "list", check=False)
        if done.returncode:
            return False
        answer = json.loads(done.stdout)
        states = [b["state"] for b in (answer["backends"] if isinstance(answer, dict) else answer)]
        return "up" in states and "unprobed" not in states

    def ctl(self, *words, check=True):
        """Run greylinectl; the finished process (returncode, stdout, stderr)."""
        done = subprocess.run([self.program("greylinectl"), "--socket", self.socket_path] + [str(w) for w in words],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True, timeout=60)
        if check and done.returncode:
            raise LabError("greylinectl %s: exit %d: %s%s" % (
                " ".join(map(str, words)), done.returncode, done.stdout, done.stderr))
        return done

    def outlive(self):
        """The lab stays up when this process ends."""
        self.ask(do="outlive")

    def ask(self, **request):
        return supervise.ask(self.folder, **request)

    def pid(self, service):
        """Process id of the service now, 0 while it is down."""
        try:
            with open(self.path("run", service + ".pid")) as f:
                return int(f.read())
        except (OSError, ValueError):
            return 0

    def kill(self, service):
        """SIGKILL, by process id; the supervisor starts it again. Answers the id that was killed."""
        pid = self.pid(service)
        if not pid:
            raise LabError("%s does not run" % service)
        inner = supervise.children(pid) if service in ("mta", "sender", "nsd", "rbldnsd", "unbound") else []
        for victim in inner or [pid]:       # in a root: process 1 of its namespace, and with it all the others at once
            os.kill(victim, signal.SIGKILL)
        return pid

    def stop(self, service):
        self.ask(do="stop", service=service)

    def start(self, service):
        self.ask(do="start", service=service)

    def ended_with(self, service):
        """Exit status of the service's last life, negative for a signal, None if it never died."""
        return self.ask(do="status")["services"][service]["last_exit"]

    def in_root(self, role, *argv, text=None, check=True, root=roots.LAB, timeout=60, **more):
        """A command of Postfix and the like inside the root, seeing this lab as /lab."""
        spec = self.service(role, "command", list(argv), roots.make(TOP, root), **more)
        line = supervise.Service(spec, self.folder).argv()
        done = subprocess.run(line, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, cwd="/",
                              universal_newlines=True)
        if check and done.returncode:
            raise LabError("%s: exit %d: %s" % (" ".join(argv), done.returncode, done.stdout))
        return done.stdout

    # --- down

    def down(self):
        """Leaves nothing behind, whatever is there; answers what could not be removed."""
        segments = self.segments()
        pid = self._supervisor_pid()
        if pid:
            try:
                os.kill(pid, signal.SIGTERM)
                self._wait_gone([pid], 10)
            except ProcessLookupError:
                pass
        left = [p for name in self.net.names.values() for p in pids(name) if p != os.getpid()]
        for p in left:
            try:
                os.kill(p, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._wait_gone(left, 5)
        for segment in segments:
            shutil.rmtree(segment, ignore_errors=True)
        self.net.down()
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            os.rmdir(os.path.dirname(self.folder))
        except OSError:
            pass
        return [n for n in self.net.names.values() if exists(n)] + ([self.folder] if os.path.exists(self.folder) else [])

    def _supervisor_pid(self):
        """The id in the PID file if it is still our supervisor's."""
        pid = self.pid("supervise")
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as f:
                return pid if self.folder.encode() in f.read().split(b"\0") else 0
        except OSError:
            return 0

    def _wait_gone(self, some, wait_s):
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            reaper = getattr(self, "_reaper", None)
            if reaper is not None:
                reaper.poll()
            if not any(os.path.exists("/proc/%d" % p) for p in some):
                return
            time.sleep(0.02)

    def segments(self):
        """Folders of this lab in /dev/shm: those the daemons have mapped, and those the snapshot names."""
        places = ["/proc/%d/maps" % self.pid(service) for service in ("control", "dataplane")]
        if os.path.isdir(self.run_dir):
            places += [os.path.join(self.run_dir, name) for name in os.listdir(self.run_dir)]
        found = set()
        for path in places:
            if os.path.isfile(path):
                try:
                    with open(path, "rb") as f:
                        found.update(re.findall(rb"/dev/shm/greyline-[0-9a-zA-Z_.-]+", f.read()))
                except OSError:
                    continue            # the process ended meanwhile
        return [path.decode() for path in found if os.path.isdir(path)]


def assignments(lab):
    return "\n".join("%s=%s" % (key, shlex.quote(str(value))) for key, value in lab.environment().items())


def main(argv):
    import argparse
    parser = argparse.ArgumentParser(prog="./dev lab", description="A client, the gateway and a real MTA in namespaces.")
    parser.add_argument("order", choices=("up", "down", "env"))
    parser.add_argument("--name", default="lab", help="labs of different names run side by side (default: lab)")
    parser.add_argument("--config", help="a configuration file instead of the generated one; @folder@ in it stands "
                                         "for the lab's folder")
    parser.add_argument("--driver", default="net_af_packet", choices=("net_af_packet", "net_af_xdp"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--block", default="4m", help="greylist.block of the generated configuration")
    parser.add_argument("--without-gateway", action="store_true", help="everything but the two daemons")
    options = parser.parse_args(argv)
    lab = Lab(options.name)
    if options.order == "env":
        if not os.path.exists(lab.config):
            raise LabError("lab %s is not up" % options.name)
        print(assignments(lab))
    elif options.order == "down":
        left = lab.down()
        if left:
            raise LabError("left behind: %s" % ", ".join(left))
    else:
        config = None
        if options.config:
            with open(options.config) as f:
                config = f.read()
        if os.path.exists(lab.folder):
            raise LabError("lab %s is there already: ./dev lab down --name %s" % (options.name, options.name))
        try:
            lab.up(config, greyline=not options.without_gateway, driver=options.driver, workers=options.workers,
                   block=options.block)
        except BaseException:
            lab.down()
            raise
        lab.outlive()
        print("lab %s is up: eval \"$(./dev lab env --name %s)\"" % (options.name, options.name))
    return 0
