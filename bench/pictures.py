"""SVG pictures of a result, made from its JSON alone: python3 -m bench pictures RESULT.json... DIR

Three kinds: rate and cycles against open sessions, percentiles of latency, and peers as bars. No library: a picture is a list of texts.
"""
import json
import math
import os
from xml.sax.saxutils import escape

from bench import common

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 90, 90, 60, 70
COLOURS = ("#1f5fa8", "#c2410c", "#2e7d32", "#6d28d9", "#a16207")


class Picture:
    def __init__(self, title, note):
        self.parts = []
        self.text(LEFT, 26, title, size=17, weight="bold")
        self.text(LEFT, 44, note, size=11, colour="#555")

    def text(self, x, y, text, size=12, anchor="start", colour="#222", weight="normal", turn=None):
        self.parts.append('<text x="%.1f" y="%.1f" font-size="%d" text-anchor="%s" fill="%s" font-weight="%s"%s>%s</text>' % (
            x, y, size, anchor, colour, weight, ' transform="rotate(%d %.1f %.1f)"' % (turn, x, y) if turn else "", escape(str(text))))

    def line(self, points, colour, width=2.0, dashed=False):
        self.parts.append('<polyline points="%s" fill="none" stroke="%s" stroke-width="%.1f"%s/>' % (
            " ".join("%.1f,%.1f" % p for p in points), colour, width, ' stroke-dasharray="5 4"' if dashed else ""))

    def dot(self, x, y, colour):
        self.parts.append('<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>' % (x, y, colour))

    def bar(self, x, y, width, height, colour):
        self.parts.append('<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>' % (x, y, width, height, colour))

    def svg(self):
        return ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif">\n'
                '<rect width="100%%" height="100%%" fill="white"/>\n%s\n</svg>\n' % (WIDTH, HEIGHT, WIDTH, HEIGHT, "\n".join(self.parts)))


def nice_top(value):
    """The next 1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= value)


def y_axis(picture, top, label, right=False):
    """Linear from 0; answers the function from value to y."""
    def to_y(value):
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / top
    for i in range(6):
        y = to_y(top * i / 5)
        if not right:
            picture.line([(LEFT, y), (WIDTH - RIGHT, y)], "#ddd", 1)
        picture.text(WIDTH - RIGHT + 6 if right else LEFT - 6, y + 4, common.number(top * i / 5, 0 if top >= 5 else 1), 11, "start" if right else "end")
    picture.text(WIDTH - 12 if right else 16, (TOP + HEIGHT - BOTTOM) / 2, label, 12, "middle", turn=90 if right else -90)
    return to_y


def rate_against_open(name, levels, note, units="sessions a second", cost="cycles, as a multiple of a bare echo's", dashes="ratio to the echo"):
    picture = Picture("Rate and cost against open sessions (%s)" % name, note)
    rates = [level["units_a_second"]["median"] for level in levels]
    ratios = [level["ratio_to_echo"] for level in levels]
    left = y_axis(picture, nice_top(max(level["units_a_second"]["p75"] for level in levels)), units)
    right = y_axis(picture, nice_top(max(r["p75"] for r in ratios)), cost, right=True)
    step = (WIDTH - LEFT - RIGHT) / max(1, len(levels) - 1)
    at = [LEFT + step * i for i in range(len(levels))]
    for x, level in zip(at, levels):
        picture.text(x, HEIGHT - BOTTOM + 18, common.number(level["open"]), 11, "middle")
    picture.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 28, "other sessions open and silent meanwhile", 12, "middle")
    for x, level in zip(at, levels):
        spread = level["units_a_second"]
        picture.line([(x - 3, left(spread["p25"])), (x - 3, left(spread["p75"]))], COLOURS[0], 1)
        spread = level["ratio_to_echo"]
        picture.line([(x + 3, right(spread["p25"])), (x + 3, right(spread["p75"]))], COLOURS[1], 1)
    picture.line([(x, left(v)) for x, v in zip(at, rates)], COLOURS[0])
    picture.line([(x, right(r["median"])) for x, r in zip(at, ratios)], COLOURS[1], dashed=True)
    for x, rate, ratio in zip(at, rates, ratios):
        picture.dot(x, left(rate), COLOURS[0])
        picture.dot(x, right(ratio["median"]), COLOURS[1])
    picture.text(LEFT + 10, HEIGHT - 10, "solid: %s (left)" % units, 11, colour=COLOURS[0])
    picture.text(LEFT + 240, HEIGHT - 10, "dashed: %s (right); bars: quartiles" % dashes, 11, colour=COLOURS[1])
    return picture


PERCENTILES = ("p50", "p90", "p99", "p99.9")


def latency(name, run, note):
    picture = Picture("Latency percentiles (%s)" % name, note)
    kinds = [("whole session, from its intended start", run["session_us"]), ("RCPT to its reply", run["rcpt_reply_us"]),
             ("receive call to transmit call, as measured", run["turn_us"]["raw"])]
    if run["turn_us"].get("without_pauses"):
        kinds.append(("the same without the machine's pauses", run["turn_us"]["without_pauses"]))
    values = [k[1][p] for k in kinds for p in PERCENTILES if k[1][p] > 0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)

    def to_y(value):
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (math.log10(max(value, 10.0 ** low)) - low) / (high - low)
    for power in range(low, high + 1):
        picture.line([(LEFT, to_y(10.0 ** power)), (WIDTH - RIGHT, to_y(10.0 ** power))], "#ddd", 1)
        picture.text(LEFT - 6, to_y(10.0 ** power) + 4, common.number(10.0 ** power, max(0, -power)), 11, "end")
    picture.text(16, (TOP + HEIGHT - BOTTOM) / 2, "microseconds", 12, "middle", turn=-90)
    at = [LEFT + 60 + (WIDTH - LEFT - RIGHT - 120) * i / 3 for i in range(4)]
    for x, p in zip(at, PERCENTILES):
        picture.text(x, HEIGHT - BOTTOM + 18, p, 12, "middle")
    for i, (label, f) in enumerate(kinds):
        picture.line([(x, to_y(f[p])) for x, p in zip(at, PERCENTILES)], COLOURS[i], dashed=i == 3)
        for x, p in zip(at, PERCENTILES):
            picture.dot(x, to_y(f[p]), COLOURS[i])
        picture.text(LEFT + 330 * (i % 2), HEIGHT - 28 + 16 * (i // 2), label, 11, colour=COLOURS[i])
    return picture


def peer_bars(runs, note):
    picture = Picture("Greylist dialogue over veth: sessions per CPU-second of the server", note)
    shown = [(name, f["sessions_a_cpu_second"]["median"]) for name, f in runs.items() if "sessions_a_cpu_second" in f]
    to_y = y_axis(picture, nice_top(max(v for _, v in shown)), "sessions per CPU-second, softirq counted")
    width = (WIDTH - LEFT - RIGHT) / len(shown)
    for i, (name, value) in enumerate(shown):
        x = LEFT + width * i
        picture.bar(x + width * 0.2, to_y(value), width * 0.6, HEIGHT - BOTTOM - to_y(value), COLOURS[0] if "greyline" in name else "#9aa5b1")
        picture.text(x + width / 2, to_y(value) - 5, common.number(value), 11, "middle")
        picture.text(x + width / 2, HEIGHT - BOTTOM + 18, name, 11, "middle")
    return picture


def draw(result, folder):
    """Writes what the result has figures for; names of the files."""
    m = result["machine"]
    note = "%s, %d CPUs, %s, commit %s, %s; load average before %s" % (
        m["cpu"], m["cpus"], m["system"], m["commit"], m["taken"], "/".join(str(x) for x in m["load_average_before"]))
    pictures = {}
    for name, run in result["benchmarks"].get("load", {}).items():
        if run.get("levels"):
            pictures["load-%s" % name] = rate_against_open(name, run["levels"], note)
        elif name == "open" and "turn_us" in run:
            pictures["load-latency"] = latency(name, run, note)
    for name, run in result["benchmarks"].get("idle", {}).items():
        levels = [{"open": v["open"], "units_a_second": {q: 1e9 / v["cpu_ns"][o] for q, o in (("median", "median"), ("p25", "p75"), ("p75", "p25"))},
                   "ratio_to_echo": v["ratio"]} for v in run.get("levels", []) if "cpu_ns" in v]
        if levels:
            pictures["idle-%s" % name] = rate_against_open("one worker without a port driver", levels, note, "sessions a CPU second",
                                                           "CPU time, as a multiple of that beside 1,024", "ratio to 1,024 open")
    runs = result["benchmarks"].get("peers", {})
    if any("sessions_a_cpu_second" in f for f in runs.values()):
        pictures["peers"] = peer_bars(runs, note)
    os.makedirs(folder, exist_ok=True)
    for name, picture in pictures.items():
        path = os.path.join(folder, name + ".svg")
        with open(path, "w") as f:
            f.write(picture.svg())
        common.say("picture: " + path)
    return sorted(pictures)


def main(argv):
    if len(argv) < 2:
        raise common.BenchError("usage: ./dev bench pictures RESULT.json... DIR")
    for path in argv[:-1]:
        try:
            with open(path) as f:
                result = json.load(f)
            result["machine"], result["benchmarks"]  # what every result has
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise common.BenchError("%s is no result of ./dev bench: %s" % (path, error))
        if not draw(result, argv[-1]):
            common.say("%s: nothing in it is drawn (load/million, load/levels, load/open, idle and peers are)" % path)
    return 0
