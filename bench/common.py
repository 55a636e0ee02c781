"""What every benchmark says about itself: the machine, the spread of its figures, a table for people, progress while it runs."""
import datetime
import json
import os
import platform
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class BenchError(Exception):
    """Something that is needed is missing or failed; the text is for the person at the keyboard."""


class Skipped(Exception):
    """Cannot be measured here; the text says what is missing."""


def say(text):
    print("bench: " + text, file=sys.stderr, flush=True)


def cpus():
    """(of generator, control and main threads, of the worker): the first and the last we may use."""
    mine = sorted(os.sched_getaffinity(0))
    return mine[0], mine[-1]


def _first(argv):
    try:
        out = subprocess.run(argv, capture_output=True, text=True).stdout.splitlines()
    except OSError:
        out = []
    return out[0].strip() if out else "unknown"


def machine():
    with open("/proc/cpuinfo") as f:
        cpu = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), "unknown")
    with open("/etc/os-release") as f:
        system = dict(line.rstrip().split("=", 1) for line in f if "=" in line).get("PRETTY_NAME", "").strip('"')
    with open("/proc/meminfo") as f:
        memory = int(f.readline().split()[1]) >> 20
    return {"cpu": cpu, "cpus": len(os.sched_getaffinity(0)), "memory_gib": memory, "system": system, "kernel": platform.release(),
            "compiler": _first(["cc", "--version"]), "dpdk": _first(["pkg-config", "--modversion", "libdpdk"]),
            "commit": _first(["git", "-C", TOP, "describe", "--always", "--dirty"]),
            "load_average_before": [round(x, 1) for x in os.getloadavg()],
            "taken": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%MZ")}


def spread(values):
    v = sorted(values)
    n = len(v)
    if not n:
        return {"n": 0}
    return {"n": n, "median": v[n // 2], "p25": v[n // 4], "p75": v[n * 3 // 4], "min": v[0], "max": v[-1]}


def table(rows):
    """Columns as wide as they must be; the first row is the head."""
    rows = [[str(c) for c in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows)


def number(value, digits=0):
    """1234567.8 as 1,234,568; what is not known as a dash."""
    return "-" if value is None else "{:,.{}f}".format(value, digits)


def write(result, out, quiet=False):
    """JSON into a file, or to stdout without one."""
    text = json.dumps(result, indent=1)
    if not out:
        print(text)
        return
    with open(out, "w") as f:
        f.write(text + "\n")
    if not quiet:
        say("written: " + out)
