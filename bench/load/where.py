"""Where the worker's cycles go: perf's clock over the worker's thread while it serves over memif, by the layer a sample's source line belongs to.

Instructions by layer are gate.py's (--profile); this tells what they cost where caches miss. A sample is taken a few thousand times a second; its
address is resolved to the innermost line, whatever was inlined where. Shares are those of the samples outside the kernel, where the worker only naps; cycles
are the shares of the worker's own count (worker.busy_cycles a session), so that nothing has to be believed of perf's clock. Empty turns before a nap are sampled, too, and
lie in port and worker: the worker's busy share is printed beside, and where it is low the shares of these two are too high.
"""
import collections
import os
import re
import shutil
import signal
import subprocess
import time

from bench import common
from bench.load import run as load

RUNS = {
    "greylist": "the greylist dialogue, every triplet new, by layer and function; DNS off",
    "data": "a relayed message of 10 KB",
    "syn-spoofed": "a spoofed SYN",
}
HZ = 4999
SECONDS_MAX = 30
FUNCTIONS = 25
SEGMENTS = {"greylist": 15}
# files that every layer uses are shown apart, as in instructions/gate.py
APART = {"siphash.c": "hashes (SipHash)", "csum.c": "checksums", "csum.h": "checksums", "wheel.c": "timers (wheel)", "wheel.h": "timers (wheel)"}


def worker_thread(pid):
    """The worker's thread of the data plane: of its lcore threads the one that has used most time."""
    most = (0, None)
    for tid in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/stat" % (pid, tid)) as f:
            name, rest = f.read().split("(", 1)[1].rsplit(")", 1)
        fields = rest.split()
        if tid != str(pid) and ("worker" in name or "lcore" in name):
            most = max(most, (int(fields[11]) + int(fields[12]) + 1, int(tid)))
    if most[1] is None:
        raise common.BenchError("the data plane has no worker's thread")
    return most[1]


def maps_of(pid):
    """[(from, to, offset in the file, file)] of what may be executed."""
    out = []
    with open("/proc/%d/maps" % pid) as f:
        for line in f:
            words = line.split()
            if "x" in words[1] and len(words) > 5:
                low, high = (int(x, 16) for x in words[0].split("-"))
                out.append((low, high, int(words[2], 16), words[5]))
    return out


def vaddr_offset(path):
    """What is to be added to an offset of the file for the address addr2line wants: of the segment that is executed."""
    done = subprocess.run(["readelf", "-lW", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=dict(os.environ, LC_ALL="C"))
    for line in done.stdout.splitlines():
        words = line.split()
        if len(words) > 7 and words[0] == "LOAD" and "E" in words[6:-1]:
            return int(words[2], 16) - int(words[1], 16)
    return 0


def lines_of(path, addresses):
    """{address: (source file, function)}, the innermost of what was inlined there."""
    done = subprocess.run(["addr2line", "-f", "-a", "-e", path], input="".join("%x\n" % a for a in addresses), stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True)
    out, rows = {}, done.stdout.splitlines()
    for at, function, where in zip(rows[0::3], rows[1::3], rows[2::3]):
        out[int(at, 16)] = (where.rsplit(":", 1)[0], function.split(".")[0])
    return out


def layer_of(module, source):
    folder = re.search(r"dataplane/(\w+)/", source)
    if folder:
        return APART.get(os.path.basename(source)) or folder.group(1)
    name = os.path.basename(module)
    if "rte_" in name or "dpdk" in source or "rte_" in source:
        return "port driver (DPDK)"
    if name.startswith(("libc.", "libc-", "ld-")):
        return "libc"
    return "main" if name == "greyline-dataplane" else name


def resolve(samples, maps):
    """Samples by (layer, function); None: those of the kernel and the way into it."""
    by_file, out = {}, collections.Counter()
    for address, n in samples.items():
        for low, high, offset, path in maps:
            if low <= address < high:
                by_file.setdefault(path, {})[address - low + offset] = n
                break
        else:
            out[None] += n  # the kernel
    for path, offsets in by_file.items():
        if path.startswith("["):
            out[None] += sum(offsets.values())
            continue
        add = vaddr_offset(path)
        lines = lines_of(path, [o + add for o in offsets])
        for offset, n in offsets.items():
            source, function = lines.get(offset + add, ("", "??"))
            function = os.path.basename(path).split(".so")[0] if function == "??" else function
            out[None if "nanosleep" in function else (layer_of(path, source), function)] += n
    return out


def sampled(data):
    done = subprocess.run(["perf", "script", "-i", data, "-F", "ip"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return collections.Counter(int(word, 16) for word in done.stdout.split())


def one(name, build, seconds):
    text, arguments, changes, dns = load.RUNS[name]
    common.say("where/%s: %s" % (name, text))
    with load.Load(build, changes, dns) as b:
        b.start()
        b.load(arguments, 1, quiet=True)  # warm, and the worker's thread is known by its time
        pid = b.find("dataplane").pid
        maps, data = maps_of(pid), b.path("perf.data")
        perf = subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock" if os.geteuid() == 0 else "cpu-clock:u", "-F", str(HZ), "-t",
                                 str(worker_thread(pid)), "-o", data], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(0.5)
        if perf.poll() is not None:
            raise common.BenchError("perf record: %s" % perf.stderr.read().strip()[-300:])
        figures = b.load(arguments, seconds)
        perf.send_signal(signal.SIGINT)
        perf.wait(30)
        seen = resolve(sampled(data), maps)
    naps = seen.pop(None, 0)
    total = sum(seen.values())
    if total == 0:
        raise common.BenchError("perf saw nothing of the worker")
    cycles, layers, functions = figures["worker_cycles_a_unit"]["median"], collections.Counter(), collections.Counter()
    for (layer, function), n in seen.items():
        layers[layer] += n
        functions["%s: %s" % (layer, function)] += n
    rows = [{"name": n, "share": round(v / total, 4), "cycles": round(cycles * v / total)} for n, v in layers.most_common()]
    return {"what": RUNS[name], "samples": total, "samples_of_naps": naps, "cycles_each": figures["worker_cycles_a_unit"], "echo_cycles_each": figures["echo_cycles_a_unit"],
            "worker_busy": figures["worker_busy"]["median"], "units_a_second": figures["units_a_second"]["median"], "segments": SEGMENTS.get(name),
            "failed": figures["failed"], "layers": rows,
            "functions": [{"name": n, "share": round(v / total, 4), "cycles": round(cycles * v / total)} for n, v in functions.most_common(FUNCTIONS)]}


def run(names, options):
    for tool, package in (("perf", "linux-perf"), ("addr2line", "binutils"), ("readelf", "binutils")):
        if shutil.which(tool) is None:
            return {name: {"what": RUNS[name], "error": "%s is missing: apt-get install %s" % (tool, package)} for name in names}
    result = {}
    for name in names:
        try:
            result[name] = one(name, options.build, min(options.seconds, SECONDS_MAX))
        except common.BenchError as error:
            common.say("where/%s: %s" % (name, error))
            result[name] = {"what": RUNS[name], "error": str(error)}
    return result


def rows(result):
    out = [("", "layer, then function", "share", "cycles each", "a segment")]
    for name, f in result.items():
        if "error" in f:
            out.append((name, "not measured: " + f["error"].splitlines()[0], "", "", ""))
            continue
        c, n = f["cycles_each"], f["segments"]
        out.append((name, "all of it, the worker %.0f %% busy" % (100 * f["worker_busy"]), "%d samples" % f["samples"],
                    "%s (%s to %s)" % tuple(common.number(c[k]) for k in ("median", "p25", "p75")), common.number(c["median"] / n) if n else "-"))
        for row in f["layers"] + f["functions"]:
            out.append((name, row["name"], "%.1f %%" % (100 * row["share"]), common.number(row["cycles"]), common.number(row["cycles"] / n) if n else "-"))
    return out
