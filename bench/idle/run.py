"""Sessions that wait for their client: bench/idle/idle, resident octets of each, and what sessions beside a million of them cost."""
import json
import os
import subprocess

from bench import common

RUNS = {
    "between": "as million, of sessions that had a transaction and said RSET",
    "drip": "a million sessions that send an octet now and then, for six minutes of virtual time; good clients beside them",
    "paused": "as million, of sessions in the greet pause",
    "million": "1,024 to a million sessions that said EHLO; the greylist dialogue beside them and beside 1,024 of another worker, in turns",
}


def run(names, options):
    program = os.path.join(options.build, "bench", "idle", "idle")
    if not os.path.exists(program):
        raise common.BenchError("%s is missing: ./dev build" % program)
    result = {}
    for name in names:
        common.say("idle/%s: %s" % (name, RUNS[name]))
        if name == "drip":
            done = subprocess.run([program, "--drip", "360"], stdout=subprocess.PIPE, text=True)
            result[name] = json.loads(done.stdout) if done.stdout.endswith("}\n") else {}
            if done.returncode:
                result[name]["error"] = "good clients failed, or something grew"
            continue
        kind = ["--kind", name if name in ("between", "paused") else "idle"]
        done = subprocess.run([program, "--pairs", str(options.pairs)] + kind, stdout=subprocess.PIPE, text=True)
        if not done.stdout.endswith("}\n"):
            result[name] = {"error": "the program ended with %d" % done.returncode}
            continue
        result[name] = json.loads(done.stdout)
        for level in result[name]["levels"]:
            level["cpu_ns"] = common.spread([p["many_cpu_ns"] for p in level["pairs"]])
            level["ratio"] = common.spread([p["ratio"] for p in level["pairs"]])
        if done.returncode:
            result[name]["error"] = "a session costs more than it may, or holds a buffer"
    return result


def rows(result):
    out = [("", "open", "octets each", "MB", "CPU us a session", "to that with 1,024")]
    for name, f in result.items():
        if "error" in f:
            out.append((name, "not measured: " + f["error"], "", "", "", ""))
        if "dripping" in f:
            out.append((name, common.number(f["dripping"]), common.number(f["octets_each"], 1),
                        "%d of %d good sessions failed" % (f["good_failed"], f["good_done"] + f["good_failed"]), "", ""))
        out += [(name, common.number(m["open"]), common.number(m["octets_a_session"], 1), common.number(m["resident_octets"] / 1e6, 1),
                 common.number(m["cpu_ns"]["median"] / 1e3, 2), common.number(m["ratio"]["median"], 3)) for m in f.get("levels", [])]
    return out
