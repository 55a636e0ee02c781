#!/usr/bin/env python3
"""A short run of the benchmarks' own machinery: does it still start, check replies and write what it should? Proves no figure.

Usage: smoke.py BUILD_DIR      exit 0 all well, 1 not, 77 where it cannot run (one CPU)
"""
import os
import sys
import tempfile
import xml.dom.minidom

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
sys.dont_write_bytecode = True

from bench import common, micro_run, pictures  # noqa: E402
from bench.control import run as control  # noqa: E402
from bench.load import run as load  # noqa: E402

PHASE_MS = 200
ENTRIES = 262144  # a small table: its pages are made anew for each run
LEVELS = ["--template", "greylist", "--slots", "64", "--levels", "0,256"]


def check(what, good, seen):
    print("%-58s %s" % (what, "ok" if good else "WRONG: %s" % (seen,)), flush=True)
    return good


def check_load(build):
    well = True
    load.RUNS["levels-smoke"] = ("a few open sessions", LEVELS, {}, "off")
    result = load.run(["greylist", "pipelined", "data", "tls", "tls-resumed", "levels-smoke"], build, 1, PHASE_MS, {"entries": ENTRIES})
    for name, f in result.items():
        well &= check("load/%s was measured" % name, "error" not in f, f.get("error"))
        if "error" in f:
            continue
        well &= check("load/%s: every reply was right" % name, f["all_replies_right"] and f["wrong_replies"] == 0 and f["failed"] == 0,
                      {k: f[k] for k in ("wrong_replies", "failed", "bad_checksums", "units")})
    f = result["greylist"]
    if "error" not in f:
        well &= check("load/greylist: eight segments a session", 7.9 < f["segments_in"] < 8.6, f["segments_in"])
        well &= check("load/greylist: cycles were counted", f["worker_cycles_a_unit"]["median"] > 500 and f["echo_cycles_a_unit"]["median"] > 100, f)
        pages = f["table_pages"]
        well &= check("load/greylist: the pages behind the table are known", (pages["segment_octets"] or 0) >= pages["segment_huge_octets"] >= 0 < pages["memory_octets"], pages)
        well &= check("load/greylist: turns have their time", f["turn_us"]["n"] > 0, f["turn_us"])
    f = result["data"]
    if "error" not in f:
        well &= check("load/data: the backend got the messages", f["backend_messages"] > 0 and f["backend_octets"] > 10000 * f["backend_messages"], f["backend_octets"])
    for name, resumed in (("tls", False), ("tls-resumed", True)):
        f = result[name]
        if "error" not in f:
            shaken, again = f["tls_handshakes"], f["tls_resumed"]
            well &= check("load/%s: each session had its handshake%s" % (name, ", resumed" if resumed else ""),
                          shaken >= f["sessions"] > 0 and (again > shaken / 2 if resumed else again == 0), (f["sessions"], shaken, again))
    levels = result["levels-smoke"].get("levels", [])
    well &= check("load/levels: the sessions were open", [level["open"] for level in levels] == [0, 256], levels)
    return well, result


def check_control(build):
    f = control.flood(build, 1, rate=50000, white=1000, entries=ENTRIES)
    return check("control/flood: nothing WHITE is lost", f["promoted"] > 0 and f["white_lost"] == 0, {k: f[k] for k in ("promoted", "white_lost")}) & check(
        "control/flood: names told and lost are all names", f["names_told"] + f["names_lost"] + f["refused_full"] == f["offered"], f)


def check_micro(build):
    class Options:
        pass
    Options.build = build
    rows = micro_run.run(["hash"], Options)["hash"].get("rows", [])
    return check("micro/hash has figures above zero", rows and all(0 < r["best"] <= r["middle"] for r in rows), rows)


def check_pictures(result):
    with tempfile.TemporaryDirectory() as folder:
        whole = {"machine": common.machine(), "benchmarks": {"load": dict(result, open=result["greylist"])}}
        names = pictures.draw(whole, folder)
        for name in names:
            xml.dom.minidom.parse(os.path.join(folder, name + ".svg"))
    return check("pictures are drawn and well formed", names == ["load-latency", "load-levels-smoke"], names)


def main(argv):
    build = os.path.abspath(argv[0])
    if len(os.sched_getaffinity(0)) < 2:
        print("skipped: two CPUs are wanted")
        return 77
    well, result = check_load(build)
    well &= check_control(build)
    well &= check_micro(build)
    if well:
        well &= check_pictures(result)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
