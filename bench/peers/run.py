"""Greyline next to what a user would pick instead: the same dialogue over veth, by one load generator on the kernel's sockets.

All servers of a comparison are up at once, each in namespaces, root and control group of its own; rounds alternate between them, so that a
change of the machine's speed meets all. A server and all it needs has the last CPU, load generator and backend the first. See bench/README.md.
"""
import subprocess
import time

from bench import common
from bench.peers.group import softirq_s
from bench.peers.servers import PEERS
from lab.netns import LabError

ROUNDS = 5

RUNS = {
    "postfix-postgrey": "Postfix smtpd asking postgrey; every triplet new: 450 at RCPT",
    "postfix-postscreen": "Postfix postscreen with deep tests; every client new: 450 at RCPT",
    "haproxy": "HAProxy in TCP mode, the backend says 451: what relaying alone costs",
    "greyline": "Greyline over af_packet; every triplet and client new: 451 at RCPT, DNS off",
    "greyline-xdp": "the same over af_xdp",
    "haproxy-messages": "HAProxy in TCP mode, a message of 10 KB in each session",
    "greyline-messages": "Greyline over af_packet, allowed clients, a message of 10 KB in each session",
}


def measured_round(peer, seconds):
    cpu, soft, began = peer.group.cpu_s(), softirq_s(peer.cpu_server), time.monotonic()
    figures = peer.load(seconds)
    wall = time.monotonic() - began
    cpu, soft = peer.group.cpu_s() - cpu, softirq_s(peer.cpu_server) - soft
    # what softirqs did while others or nobody had the CPU; the rest is in the group's time already
    outside = soft * max(0.0, 1 - cpu / wall)
    figures.update(cpu_s=cpu, softirq_s=soft, server_s=cpu + outside, wall_s=wall)
    return figures


def idle_memory(peer):
    """Octets for each session that is open and silent, and how many there were."""
    before = peer.memory_octets()
    process, opened = peer.hold(peer.idle)
    time.sleep(0.5)
    after = peer.memory_octets()
    process.stdin.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return {"sessions": opened, "octets_a_session": round((after - before) / opened) if opened else None}


def summary(name, rounds):
    done = [r for r in rounds if r["sessions"] > 0 and r["server_s"] > 0]
    result = {"what": RUNS[name], "rounds": len(done), "sessions": sum(r["sessions"] for r in rounds), "failed": sum(r["failed"] for r in rounds),
              "wrong": sum(r["wrong"] for r in rounds)}
    if not done:
        return dict(result, error="no session was served")
    result.update(
        sessions_a_second=common.spread([r["sessions"] / r["seconds"] for r in done]),
        sessions_a_cpu_second=common.spread([r["sessions"] / r["server_s"] for r in done]),
        sessions_a_cpu_second_without_softirq=common.spread([r["sessions"] / r["cpu_s"] for r in done]),
        softirq_share=common.spread([(r["server_s"] - r["cpu_s"]) / r["server_s"] for r in done]),
        generator_busy=common.spread([r["generator_busy"] for r in done]),
        octets_a_cpu_second=common.spread([r["octets"] / r["server_s"] for r in done]))
    return result


def start_all(names, options):
    peers, result = {}, {}
    for name in names:
        peer = PEERS[name](name, options.build)
        common.say("peers/%s: starting" % name)
        try:
            peer.start()
            peers[name] = peer
        except BaseException as error:
            peer.close()
            if not isinstance(error, (common.BenchError, LabError, OSError)):
                close_all(peers)
                raise
            common.say("peers/%s: %s" % (name, error))
            result[name] = {"what": RUNS[name], "error": str(error)}
    return peers, result


def close_all(peers):
    for peer in peers.values():
        peer.close()


def run(names, options):
    peers, result = start_all(names, options)
    seconds = max(1, options.seconds // ROUNDS)
    try:
        rounds = {name: [] for name in peers}
        idle = {name: idle_memory(peer) for name, peer in peers.items()}  # first: later, processes and memory of the rounds would be used again
        stored = {name: peer.stored() for name, peer in peers.items()}
        memory = {name: peer.memory_octets() for name, peer in peers.items()}
        for i in range(ROUNDS):
            for name, peer in peers.items():
                r = measured_round(peer, seconds)
                rounds[name].append(r)
                common.say("peers/%s: round %d of %d: %d sessions, %d failed, %s per CPU-second, generator %.0f %% busy" % (
                    name, i + 1, ROUNDS, r["sessions"], r["failed"], common.number(r["sessions"] / max(r["server_s"], 1e-9)), 100 * r["generator_busy"]))
        for name, peer in peers.items():
            result[name] = summary(name, rounds[name])
            served = result[name]["sessions"]
            grown = peer.memory_octets() - memory[name]
            if peer.stored() is not None and served:
                time.sleep(2)  # what is still on its way to disk
                on_disk = peer.kept() or served
                result[name]["a_triplet"] = {"triplets": served, "stored_triplets": on_disk,
                                             "disk_octets": round((peer.stored() - (stored[name] or 0)) / on_disk, 1),
                                             "memory_octets": round(grown / served, 1)}
            result[name]["idle"] = idle[name]
    finally:
        close_all(peers)
    compare(result)
    return result


def compare(result):
    """Pairwise, by medians: how many times the best peer's sessions per CPU-second."""
    for ours, others, key in (("greyline", ("postfix-postgrey", "postfix-postscreen", "haproxy"), "sessions_a_cpu_second"),
                              ("greyline-xdp", ("postfix-postgrey", "postfix-postscreen", "haproxy"), "sessions_a_cpu_second"),
                              ("greyline-messages", ("haproxy-messages",), "octets_a_cpu_second")):
        known = [(result[o][key]["median"], o) for o in others if key in result.get(o, {})]
        if key in result.get(ours, {}) and known:
            best = max(known)
            result[ours]["times_the_best_peer"] = {"peer": best[1], "ratio": round(result[ours][key]["median"] / best[0], 2)}


def rows(result):
    out = [("server", "sessions/CPU-s", "p25 to p75", "sessions/s", "softirq outside", "failed", "idle session", "disk a triplet", "next to the best peer")]
    for name, f in result.items():
        if "error" in f:
            out.append((name, "not measured: " + f["error"].splitlines()[0]) + ("",) * 7)
            continue
        s = f["sessions_a_cpu_second"]
        times = f.get("times_the_best_peer")
        out.append((name, common.number(s["median"]), "%s to %s" % (common.number(s["p25"]), common.number(s["p75"])),
                    common.number(f["sessions_a_second"]["median"]), "%.0f %%" % (100 * f["softirq_share"]["median"]), str(f["failed"]),
                    common.number(f["idle"]["octets_a_session"]) + " octets", common.number(f.get("a_triplet", {}).get("disk_octets"), 1),
                    "%.2f times %s" % (times["ratio"], times["peer"]) if times else "-"))
    return out
