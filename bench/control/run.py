"""What half a million new triplets a second do to control, and how long restarts with many entries take.

The flood is made by bench/control/flood in the data plane's place: entries into the verdict table and names into the event ring, as a worker
does it, so that the rate is not the data plane's. Control has the last CPU, the flood the first.
"""
import json
import os
import shutil
import statistics
import subprocess
import time

from bench import common
from bench.gateway import Gateway

RUNS = {
    "flood": "500,000 new triplets a second for 10 s, 5,000 of them a second becoming WHITE; nothing WHITE may be lost",
    "restart": "10 million entries: control and data plane started again warm, after a kill, and cold from the database",
}
DURABLE_S = 20
GREY_PER_S = 5000  # state.grey_per_s, its default
NAME_BURST_S = 10
GROWS_MIB = 64  # queues of control at their caps
RECORD_OCTETS = 512  # of the file for a record written: pages half full, and those of the transactions before
PROMISE_S = 1.0


def cpu_s(pid):
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid):
    with open("/proc/%d/status" % pid) as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon")) / 1024


def counters(g, group):
    stats = g.ctl("stats", group) or {}
    return stats.get(group, stats)


def start_control(g):
    """Starts control; seconds until it answers `status`."""
    began = time.monotonic()
    g.start_control()
    while g.ctl("status") is None:
        if g.find("control").poll() is not None or time.monotonic() - began > 120:
            raise common.BenchError("control does not answer:\n" + g.output("control")[-2000:])
        time.sleep(0.01)
    return time.monotonic() - began


def tool(g, *arguments):
    done = subprocess.run([g.program("bench", "control", "flood")] + [str(a) for a in arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise common.BenchError("flood %s ended with %d" % (arguments[0], done.returncode))
    return json.loads(done.stdout)


def flood(build, seconds, rate=500000, white=5000, entries=16777216):
    with Gateway(build, entries=entries) as g:
        g.put_on(common.cpus()[1])
        start_control(g)
        g.segment_path = g.find_segment()
        pid = g.find("control").pid
        disk = os.stat(g.path("state/greyline.mdb")).st_blocks * 512
        before, cpu, resident, began = counters(g, "store"), cpu_s(pid), resident_mib(pid), time.monotonic()
        out = g.path("promoted")
        p = subprocess.Popen(["taskset", "-c", str(common.cpus()[0]), g.program("bench", "control", "flood"), "flood", g.segment_path, "--out", out, "--rate", str(rate),
                              "--white", str(white), "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True)
        answers, largest = [], resident
        while p.poll() is None:
            asked = time.monotonic()
            if g.ctl("status") is None:
                raise common.BenchError("control does not answer under the flood:\n" + g.output("control")[-2000:])
            answers.append(time.monotonic() - asked)
            largest = max(largest, resident_mib(pid))
            common.say("control/flood: %2.0f s, status answered in %.0f ms, control has %.0f MiB and %.0f %% of a CPU" % (
                time.monotonic() - began, answers[-1] * 1000, largest, 100 * (cpu_s(pid) - cpu) / (time.monotonic() - began)))
            time.sleep(0.5)
        if p.returncode:
            raise common.BenchError("the flood ended with %d" % p.returncode)
        result = json.loads(p.stdout.read())
        ended = time.monotonic()
        share = (cpu_s(pid) - cpu) / (ended - began)
        while True:  # until all that became WHITE is on disk
            stored = tool(g, "check", g.path("state"), out)
            lag = time.monotonic() - ended
            if stored["stored"] == stored["promoted"] or lag > DURABLE_S:
                break
            time.sleep(0.1)
        after = counters(g, "store")
        grown = os.stat(g.path("state/greyline.mdb")).st_blocks * 512 - disk
        written = after["records_written"] - before.get("records_written", 0)
        # what may be written: GREY and names at state.grey_per_s (each with a burst), and everything WHITE
        may = 2 * GREY_PER_S * (ended - began + lag) + GREY_PER_S * (1 + NAME_BURST_S) + result["promoted"] * 2
        for what, is_so in (("something WHITE was lost", stored["stored"] == stored["promoted"] and result["white_evicted"] == 0),
                            ("control grew by more than %d MiB" % GROWS_MIB, largest - resident <= GROWS_MIB),
                            ("%d records written, %d may be" % (written, may), written <= may),
                            ("the database grew by %d octets" % grown, grown <= may * RECORD_OCTETS),
                            ("what was offered is not what is counted", result["names_told"] + result["names_lost"] + result["refused_full"] == result["offered"])):
            if not is_so:
                raise common.BenchError(what)
        result.update(what=RUNS["flood"], seconds=seconds, control_cpu_share=round(share, 3), control_mib_before=round(resident, 1), control_mib_most=round(largest, 1),
                      status_answer_s=common.spread([round(a, 4) for a in answers]), white_on_disk=stored["stored"],
                      white_lost=stored["promoted"] - stored["stored"] + result["white_evicted"], white_on_disk_after_s=round(lag, 2),
                      database_grew_octets=grown, records_may_be_written=round(may), commits_a_second=round((after["commits"] - before.get("commits", 0)) / (ended - began + lag), 1),
                      store={k: after[k] - before.get(k, 0) for k in after if isinstance(after[k], int)})
        return result


def loaded_in(g, began):
    """Waits for the end of loading: (seconds from began, what `status` shows of it halfway). Control says the end; asking it costs it time."""
    shown = {}
    while "records loaded" not in g.output("control"):
        if g.find("control").poll() is not None or time.monotonic() - began > 600:
            raise common.BenchError("control did not load its records:\n" + g.output("control")[-2000:])
        if not shown and time.monotonic() - began > 1:
            table = (g.ctl("status") or {}).get("table", {})
            shown = {k: v for k, v in table.items() if "load" in k}
        time.sleep(0.005)
    return time.monotonic() - began, shown


def cold(g, times, name, forget=False):
    """Control without a segment, as after a reboot; forget: the file is not in the page cache either. (seconds until all is loaded, what `status` shows)"""
    shutil.rmtree(os.path.dirname(g.segment_path))
    if forget:
        fd = os.open(g.path("state/greyline.mdb"), os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
    began = time.monotonic()
    times[name + "_answering_s"].append(start_control(g))
    took, shown = loaded_in(g, began)
    times[name + "_loaded_s"].append(took)
    return took, shown


def restart(build, entries=10000000, rounds=3):
    with Gateway(build, entries=max(16777216, entries * 3 // 2), idle="nap") as g:
        common.say("control/restart: %s records into the database" % common.number(entries))
        start_control(g)
        g.segment_path = g.find_segment()
        g.stop("control")
        tool(g, "fill", g.segment_path, g.path("state"), "--entries", entries)
        disk = os.stat(g.path("state/greyline.mdb")).st_blocks * 512
        figures = {"what": RUNS["restart"], "entries": entries, "database_octets": disk}
        times = {"cold_answering_s": [], "cold_loaded_s": [], "cold_control_cpu_s": [], "cold_disk_answering_s": [], "cold_disk_loaded_s": [], "warm_answering_s": [], "killed_answering_s": [], "dataplane_ready_s": []}
        for i in range(rounds):
            took, _ = cold(g, times, "cold_disk", forget=True)
            g.stop("control")
            took, shown = cold(g, times, "cold")
            times["cold_control_cpu_s"].append(cpu_s(g.find("control").pid))
            status = g.ctl("status")
            figures["entries_loaded"] = status["table"]["used"]
            figures["shown_while_loading"] = shown
            began = time.monotonic()
            g.start_dataplane()
            times["dataplane_ready_s"].append(time.monotonic() - began)
            g.stop("dataplane")
            g.stop("control")
            times["warm_answering_s"].append(start_control(g))
            g.find("control").kill()
            g.find("control").wait()
            g.running = [(n, p) for n, p in g.running if p.poll() is None]
            times["killed_answering_s"].append(start_control(g))
            figures["entries_after_warm"] = g.ctl("status")["table"]["used"]
            g.stop("control")
            common.say("control/restart: round %d of %d: %s" % (i + 1, rounds, ", ".join("%s %.2f" % (k, v[-1]) for k, v in times.items())))
        figures.update({k: common.spread([round(x, 3) for x in v]) for k, v in times.items()})
        figures["cold_entries_a_cpu_second"] = round(figures["entries_loaded"] / max(0.01, statistics.median(times["cold_control_cpu_s"])))
        figures["cold_entries_a_second"] = round(figures["entries_loaded"] / statistics.median(times["cold_loaded_s"]))
        return figures


def run(names, options):
    result = {}
    for name in names:
        common.say("control/%s: %s" % (name, RUNS[name]))
        try:
            result[name] = flood(options.build, options.seconds) if name == "flood" else restart(options.build, options.entries, options.rounds)
        except common.BenchError as error:
            common.say("control/%s: %s" % (name, error))
            result[name] = {"what": RUNS[name], "error": str(error)}
    return result


def rows(result):
    out = [("", "seen", "")]
    for name, f in result.items():
        if "error" in f:
            out.append((name, "not measured: " + f["error"].splitlines()[0], ""))
            continue
        keep = {k: v for k, v in f.items() if k not in ("what", "store", "shown_while_loading")}
        for key, value in keep.items():
            text = "%s (%s to %s)" % (value["median"], value["min"], value["max"]) if isinstance(value, dict) else common.number(value, 0 if isinstance(value, int) else 2)
            out.append((name, key, text))
    return out
