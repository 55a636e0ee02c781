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


def text(results):
    held = [s for s in results["sends"] if not s["problems"]]
    lines = [BEGIN, "", "Run of %s, block %d s: %d of %d messages as expected. Versions: %s." % (
        results["date"], results["block_s"], len(held), len(results["sends"]),
        ", ".join("%s %s" % row for row in sorted(results["versions"].items()))), ""]
    lines += ["**Every road, both families.** \"yes\": greylisted, came again by itself, arrived once with its octets, the MTA names "
              "the client's address (road `none`: the gateway's). The seconds are from the first attempt to the one let through.", ""]
    lines += _roads(results)
    if results.get("starttls"):
        lines += ["Every message came under STARTTLS (%s)." % ", ".join(sorted({t for s in held for t in s.get("tls", [])})), ""]
    lines += ["**What a message may need**, on the road `%s`, both families (%s)." % (
        sends.MAIN_ROAD, "; ".join("%s: %s" % row for row in sends.KINDS.items() if row[0] != "text")), ""]
    lines += _kinds(results)
    lines += ["**EHLO**", ""] + _ehlo(results)
    if results["corpus"]:
        lines += ["**The smuggling corpus**", ""] + _corpus(results)
    return "\n".join(lines + [END])


def keep(top, results):
    """Results into tests/interop/results/latest.json, tables into docs/interop.md."""
    folder = os.path.join(top, "tests", "interop", "results")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "latest.json"), "w") as f:
        json.dump(results, f, indent=1, sort_keys=True)
        f.write("\n")
    path = os.path.join(top, "docs", "interop.md")
    with open(path) as f:
        before, _, rest = f.read().partition(BEGIN)
    with open(path, "w") as f:
        f.write(before + text(results) + rest.partition(END)[2])
