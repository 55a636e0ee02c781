"""What a whole run of ./dev stacks said, kept in docs/stacks.md between its two marks."""
import os
import re

from lab.labs import TOP

PAGE = os.path.join(TOP, "docs", "stacks.md")
BEGIN, END = "<!-- a run of ./dev stacks --write: do not edit by hand -->\n", "<!-- end of the run -->\n"


def table(head, rows):
    line = lambda cells: "| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |\n"       # noqa: E731
    return line(head) + line("---" for _ in head) + "".join(line(r) for r in rows) + "\n" if rows else ""


def span(values, form="%.2f"):
    values = sorted(v for v in values if v is not None)
    return (form % values[0] if values[0] == values[-1] else (form + " to " + form) % (values[0], values[-1])) if values else "-"


def linux(cells):
    """Of each MTU and kind of wire: cells, messages' seconds and segments sent again."""
    groups = {}
    for c in cells:
        found = re.match(r"Linux MTU (\d+) .*?(?:, (.*) lost)?$", c["name"])
        if found:
            groups.setdefault((int(found.group(1)), found.group(2) or "none"), []).append(c)
    return table(("MTU", "lost", "messages", "arrived whole", "seconds of a session", "segments sent again, all"),
                 [(mtu, lost, len(g), sum(c["ok"] for c in g), span([c.get("session_s") for c in g]), sum(c.get("sent_again") or 0 for c in g))
                  for (mtu, lost), g in sorted(groups.items())])


def render(outcome):
    of = {part: [r for r in outcome["results"] if r["part"] == part] for part in outcome["parts"]}
    failed = [r for r in outcome["results"] if not r["ok"]]
    out = ["Run of %s, Linux %s, %d s: %d of %d checks as they have to be.\n\n" % (
        outcome["date"], outcome["kernel"], outcome["took_s"], len(outcome["results"]) - len(failed), len(outcome["results"]))]
    out.append(table(("part", "checks", "failed", "seconds", "load average, before and after"),
                     [(name, p["checks"], p["failed"], "%.0f" % p["took_s"], "%.1f, %.1f" % (p["load"], p["load_after"]) if p["load"] else "-")
                      for name, p in outcome["parts"].items()]))
    out += ["**Failed: %s.** %s\n\n" % (r["name"], " ".join(r["why"].split())) for r in failed]
    out.append("**Linux.** Message of 400 KB each, a cell: SACK, timestamps and scaling on and off, both families.\n\n")
    out.append(linux(of.get("linux", [])))
    out.append("**lwIP.**\n\n")
    out.append(table(("", "seconds of the session", "frames lost"),
                     [(r["name"], r["session_s"], r.get("lost", "")) for r in of.get("lwip", []) if "session_s" in r]))
    out.append("**nmap.**\n\n")
    out.append(table(("", "index of ISNs", "IP ID", "timestamps", "taken for"),
                     [(r["name"], r.get("tcp_index"), r.get("ip_id"), r.get("timestamps"), ", ".join(r.get("matches", [])) or "nothing known")
                      for r in of.get("nmap", []) if "tcp_index" in r]))
    for part, what in (("floods", "Attacks"), ("toolkit", "ipv6toolkit, at a sanitized build")):
        out.append("**%s.** Good clients' sessions meanwhile.\n\n" % what)
        out.append(table(("", "succeeded", "failed", "slowest, s", "memory grown, KiB"),
                         [(r["name"], r["good"], r["failed"], r["slowest_s"], r["grown_kb"]) for r in of.get(part, []) if "good" in r]))
    out.append("**Throughput**, pair by pair over the same wire; the median is what counts.\n\n")
    out.append(table(("", "of Linux to Linux", "pairs", "ours, KB/s", "Linux, KB/s"),
                     [(r["name"], r["ratio"], r["ratios"], r["ours_kb_s"], r["linux_kb_s"]) for r in of.get("throughput", []) if "ratio" in r]))
    judged = [r for r in outcome["results"] if r["name"].startswith("tshark: ")]
    out.append("**tshark** judged %d packets in %d captures; %d had something unexplained.\n\n" % (
        sum(r.get("packets", 0) for r in judged), len(judged), sum(not r["ok"] for r in judged)))
    return "".join(out)


def write(outcome, page=PAGE):
    with open(page) as f:
        text = f.read()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    with open(page, "w") as f:
        f.write(before + BEGIN + "\n" + render(outcome) + END + after)
