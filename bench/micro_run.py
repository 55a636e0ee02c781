"""The micro benchmarks: bench/micro/micro, one group of rows at a time."""
import json
import os
import subprocess

from bench import common

RUNS = {
    "table": "verdict table: lookups and updates, hit, miss, full",
    "threads": "verdict table: 1 to N threads together",
    "lists": "network lists: a million networks built, found, missed",
    "names": "sets of names",
    "rings": "rings between the daemons",
    "hash": "SipHash and Toeplitz hashes, checksums, SYN cookies",
    "smtp": "SMTP lines and addresses, message data, replies",
    "store": "LMDB in batches as control writes it, and read back",
    "snapshot": "a snapshot mapped and checked",
}


def run(names, options):
    program = os.path.join(options.build, "bench", "micro", "micro")
    if not os.path.exists(program):
        raise common.BenchError("%s is missing: ./dev build" % program)
    result = {}
    for name in names:
        common.say("micro/%s: %s" % (name, RUNS[name]))
        done = subprocess.run([program, "--json", name], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            result[name] = {"error": "the program ended with %d" % done.returncode}
        else:
            result[name] = json.loads(done.stdout)
    return result


def rows(result):
    out = [("", "best", "middle", "unit")]
    for name, f in result.items():
        if "error" in f:
            out.append((name, "not measured: " + f["error"], "", ""))
        out += [(r["name"], common.number(r["best"], 2), common.number(r["middle"], 2), r["unit"]) for r in f.get("rows", [])]
    return out
