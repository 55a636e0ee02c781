"""Handshakes on one lcore next to the same calls of OpenSSL in memory, and what an idle session takes: tls_bench, which says how."""
import os
import re
import subprocess

from bench import common

RUNS = {"handshakes": "full and resumed handshakes a second, ECDSA and RSA, and octets of an idle session"}

ROW = re.compile(r"^(\S+) +(full|resumed) +bare +(\d+) a second +stream +(\d+) a second +share +([\d.]+) %$", re.M)
IDLE = re.compile(r"^an idle session of TLS: ([\d.]+) KiB .* at most (\d+)$", re.M)
WORKER = re.compile(r"^a session in a simulated worker: (\d+) cycles plain, (\d+) with", re.M)
WORST = re.compile(r"^worst share of the bare calls: ([\d.]+) %, goal at least (\d+) %$", re.M)


def run(names, options):
    path = os.path.join(options.build, "bench", "tls", "tls_bench")
    if not os.path.exists(path):
        return {name: {"what": RUNS[name], "error": "%s is missing: ./dev build" % path} for name in names}
    done = subprocess.run(["taskset", "-c", str(common.cpus()[1]), path], stdout=subprocess.PIPE, text=True)
    idle, worker, worst = IDLE.search(done.stdout), WORKER.search(done.stdout), WORST.search(done.stdout)
    if not (idle and worker and worst):
        return {name: {"what": RUNS[name], "error": "tls_bench ended with %d and said: %s" % (done.returncode, done.stdout[-500:])} for name in names}
    figures = {
        "what": RUNS["handshakes"],
        "kinds": [{"key": key, "kind": kind, "bare_a_second": int(bare), "stream_a_second": int(stream), "share": float(share) / 100}
                  for key, kind, bare, stream, share in ROW.findall(done.stdout)],
        "worst_share": float(worst.group(1)) / 100, "goal_share": int(worst.group(2)) / 100,
        "idle_kib": float(idle.group(1)), "goal_idle_kib": int(idle.group(2)),
        "worker_cycles_plain": int(worker.group(1)), "worker_cycles_full": int(worker.group(2)),
        "reached": done.returncode == 0,
    }
    return {name: figures for name in names}


def rows(result):
    out = [("key", "handshake", "OpenSSL in memory", "our stream", "share")]
    for f in result.values():
        if "error" in f:
            out.append(("not measured: " + f["error"].splitlines()[0], "", "", "", ""))
            continue
        out.extend((k["key"], k["kind"], common.number(k["bare_a_second"]), common.number(k["stream_a_second"]), "%.1f %%" % (100 * k["share"]))
                   for k in f["kinds"])
        out.append(("worst", "", "", "goal %.0f %%" % (100 * f["goal_share"]), "%.1f %%" % (100 * f["worst_share"])))
        out.append(("idle session", "", "", "goal %d KiB" % f["goal_idle_kib"], "%.1f KiB" % f["idle_kib"]))
    return out
