"""The roots that hold Postfix, unbound, Exim and whatever else serves, so that nothing of them enters the running system.

Each is made once by mmdebstrap and kept under build/roots. Services run chrooted in one, in the namespaces of a lab, from
configurations of the lab's own; policy-rc.d says no to starting anything at installation. MTAs conflict with each other
as packages, so each has a root to itself.
"""
import fcntl
import os
import shutil
import subprocess
import sys

from .netns import LabError, run

SUITE = "bookworm"
LAB = SUITE                                     # the one every lab needs
# name -> (version, packages); raise the version when the contents change: the root is made anew
ROOTS = {
    LAB: ("1", ("postfix", "postfix-pcre", "unbound", "nsd", "rbldnsd")),
    "exim": ("1", ("exim4-daemon-heavy",)),
    "opensmtpd": ("1", ("opensmtpd",)),
    "haproxy": ("1", ("haproxy",)),
    "postgrey": ("1", ("postfix", "postgrey")),
    "clients": ("2", ("swaks", "libnet-ssleay-perl", "libio-socket-inet6-perl", "netbase", "python3")),
}


def _archives():
    """Lines for mmdebstrap: where this machine gets Debian from, else none (mmdebstrap then knows the public archive)."""
    try:
        out = run("apt-get", "indextargets", "--format", "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)",
                  "Created-By: Packages")
    except (LabError, OSError):
        return []
    lines = []
    for row in out.splitlines():
        origin, uri, release, component = (row.split("|") + ["", "", "", ""])[:4]
        line = "deb %s %s %s" % (uri, release, component)
        if origin == "Debian" and component == "main" and release.startswith(SUITE) and line not in lines:
            lines.append(line)
    return lines if any(line.split()[2] == SUITE for line in lines) else []


def _is_current(stamp, version):
    try:
        with open(stamp) as f:
            return f.read() == version
    except OSError:
        return False


def make(top, name=LAB):
    """Path of the root, made if it is not there. Half-made ones are removed."""
    root = os.path.join(top, "build", "roots", name)
    stamp = os.path.join(root, "lab-root-version")
    version = ROOTS[name][0]
    if _is_current(stamp, version):
        return root
    if not shutil.which("mmdebstrap"):
        raise LabError("mmdebstrap is missing: run './dev setup'")
    os.makedirs(os.path.dirname(root), exist_ok=True)
    with open(os.path.join(os.path.dirname(root), name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)        # a second lab waits here and then finds it made
        if not _is_current(stamp, version):
            _make(root, stamp, name)
    return root


def _make(root, stamp, name):
    version, packages = ROOTS[name]
    shutil.rmtree(root, ignore_errors=True)
    print("lab: making the root for %s (once, about half a minute)" % ", ".join(packages), flush=True)
    argv = ["mmdebstrap", "--quiet", "--variant=essential", "--mode=root", "--include=" + ",".join(packages),
            "--essential-hook=printf '#!/bin/sh\\nexit 101\\n' >\"$1/usr/sbin/policy-rc.d\"; chmod 755 \"$1/usr/sbin/policy-rc.d\"",
            "--aptopt=APT::Install-Recommends \"false\"",
            "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            SUITE, root] + _archives()
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive", TMPDIR=os.environ.get("TMPDIR", "/tmp"))
    if subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode:
        shutil.rmtree(root, ignore_errors=True)
        raise LabError("mmdebstrap failed; its messages are above")
    for folder in ("lab", "proc"):
        os.makedirs(os.path.join(root, folder), exist_ok=True)
    with open(stamp, "w") as f:
        f.write(version)


def version_of(root, package):
    """Version of a package inside a root."""
    return run("dpkg-query", "--root=" + root, "-W", "-f", "${Version}", package)
