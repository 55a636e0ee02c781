"""The tables of docs/interop.md, from the results of a run; between two marks, so that the words around them stay."""
import json
import os

from . import roads, sends

BEGIN, END = "<!-- tables of ./dev interop --write: do not edit by hand -->", "<!-- end of the tables -->"
MARK = {True: "yes", False: "**no**"}


def _rows(header, rows):
    lines = ["| " + " | ".join(header) + " |", "| " + " | ".join("---" for _ in header) + " |"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows] + [""]


def _pick(results, **want):
    return [s for s in results["sends"] if all(s[key] == value for key, value in want.items())]


def _cell(found):
    """How the two families of one combination went."""
    if not found:
        return ""
    bad = [s for s in found if s["problems"]]
    if bad:
        return "**fails** over " + " and ".join("IPv%d" % s["family"] for s in bad)
    if all(not s["offered"] for s in found):
        return "not offered, sender told"
    waits = [s["waited_s"] for s in found if "waited_s" in s]
    return ("yes, in ASCII" if any(s["downgraded"] for s in found) else "yes") + (", %s s" % "-".join(str(n) for n in sorted({min(waits), max(waits)})) if waits else "")


def _roads(results):
    rows = []
    for backend, road, port, how in roads.ROADS:
        rows.append([backend, road, str(port), how] + [_cell(_pick(results, sender=s, backend=backend, road=road, kind="text"))
                                                       for s in sends.CAN])
    return _rows(["backend", "road", "its port", "`client_address`"] + list(sends.CAN), rows)


def _kinds(results):
    rows = []
    for kind, what in sends.KINDS.items():
        for backend in sends.LACKS:
            found = [_cell(_pick(results, sender=s, backend=backend, road=sends.MAIN_ROAD, kind=kind)) for s in sends.CAN]
            if kind != "text" and any(found):
                rows.append([kind, backend] + found)
    return _rows(["kind", "backend"] + list(sends.CAN), rows)


def _ehlo(results):
    rows = []
    for name, said in sorted(results["ehlo"].items()):
        words = [{line.split()[0] for line in said[way] if line.split()[0] != "HELP"} for way in ("directly", "through")]
        rows.append([name, " ".join(sorted(words[0])), " ".join(sorted(words[1])), " ".join(sorted(words[0] - words[1])) or "-",
                     " ".join(sorted(words[1] - words[0])) or "-"])
    return _rows(["MTA", "says itself", "through the gateway", "left out", "added"], rows)


def _corpus(results):
    return _rows(["MTA", "strings", "messages", "smuggled", "smuggled when said to it directly (strings up to three octets)"],
                 [[name, str(c["strings"]), str(c["messages"]), str(c["smuggled"]),
                   " ".join("`%s`" % s for s in c["smuggled_directly"]) or "none"]
                  for name, c in sorted(results["corpus"].items())])


def _starttls(results):
    """A run in which every sender had to use STARTTLS."""
    held = [s for s in results["sends"] if not s["problems"]]
    used = ["%s: %s" % (sender, ", ".join(sorted({t for s in held if s["sender"] == sender for t in s.get("tls", [])})).replace("_", "\\_"))
            for sender in sends.CAN]
    return ["**The same under STARTTLS**", "", "Run of %s (every sender has to use it; without the corpus): %d of %d messages as expected. "
            "Used by %s." % (results["date"], len(held), len(results["sends"]), "; ".join(used)), ""]


def text(results, starttls=None):
    held = [s for s in results["sends"] if not s["problems"]]
    lines = [BEGIN, "", "Run of %s, block %d s: %d of %d messages as expected. Versions: %s." % (
        results["date"], results["block_s"], len(held), len(results["sends"]),
        ", ".join("%s %s" % row for row in sorted(results["versions"].items()))), ""]
    lines += ["**Every road, both families.** \"yes\": greylisted, came again by itself, arrived once with its octets, the MTA names "
              "the client's address (road `none`: the gateway's). The seconds are from the first attempt to the one let through.", ""]
    lines += _roads(results)
    lines += ["**What a message may need**, on the road `%s`, both families (%s)." % (
        sends.MAIN_ROAD, "; ".join("%s: %s" % row for row in sends.KINDS.items() if row[0] != "text")), ""]
    lines += _kinds(results)
    lines += ["**EHLO**", ""] + _ehlo(results)
    if results["corpus"]:
        lines += ["**The smuggling corpus**", ""] + _corpus(results)
    if starttls:
        lines += _starttls(starttls)
    return "\n".join(lines + [END])


def _load(path):
    try:
        with open(path) as f:
            return json.load(f)
    except OSError:
        return None


def keep(top, results):
    """Results into tests/interop/results (a run under STARTTLS beside the other one), tables of both into docs/interop.md."""
    folder = os.path.join(top, "tests", "interop", "results")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "starttls.json" if results.get("starttls") else "latest.json"), "w") as f:
        json.dump(results, f, indent=1, sort_keys=True)
        f.write("\n")
    latest = _load(os.path.join(folder, "latest.json"))
    if latest is None:
        return
    path = os.path.join(top, "docs", "interop.md")
    with open(path) as f:
        before, _, rest = f.read().partition(BEGIN)
    with open(path, "w") as f:
        f.write(before + text(latest, _load(os.path.join(folder, "starttls.json"))) + rest.partition(END)[2])
