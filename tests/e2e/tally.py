"""The last line of ./dev test: every test that ran, counted from the logs of meson, of the end-to-end runner and of the worlds played beside it.

A skipped test names what is missing. One that is not in the skips file counts as failed.
"""
import argparse
import json
import os
import sys

GOOD = ("OK", "EXPECTEDFAIL")


def meson_rows(folder):
    """(name, result, reason) of each test of a build folder's last run."""
    path = os.path.join(folder, "meson-logs", "testlog.json")
    try:
        with open(path) as f:
            rows = [json.loads(line) for line in f if line.strip()]
    except (OSError, ValueError) as error:
        yield folder + ": no result", "FAIL", str(error)
        return
    for row in rows:
        lines = [x for x in (row.get("stdout", "") + "\n" + row.get("stderr", "")).splitlines() if x.strip()]
        yield "%s: %s" % (folder, row["name"].split(" / ")[-1]), row["result"], lines[-1] if lines else ""


def own_rows(path):
    kind = os.path.splitext(os.path.basename(path))[0]
    try:
        with open(path) as f:
            rows = json.load(f)
    except (OSError, ValueError) as error:
        yield path + ": no result", "FAIL", str(error)
        return
    for row in rows:
        yield "%s: %s" % (kind, row["name"]), row["result"], row.get("reason", "")


def listed_skips(path):
    try:
        with open(path) as f:
            return {line.split("#")[0].strip() for line in f} - {""}
    except OSError:
        return set()


def main(argv):
    parser = argparse.ArgumentParser()
    parser.add_argument("--skips")
    parser.add_argument("where", nargs="+", help="meson build folders and result files of e2e.run")
    options = parser.parse_args(argv)
    allowed = listed_skips(options.skips)
    passed, failed, skipped = 0, [], []
    for where in options.where:
        for name, result, reason in own_rows(where) if where.endswith(".json") else meson_rows(where):
            if result in GOOD:
                passed += 1
            elif result == "SKIP" and name.split(": ", 1)[1] in allowed:
                skipped.append((name, reason))
            elif result == "SKIP":
                failed.append((name, "skipped, and not listed in %s: %s" % (options.skips, reason)))
            else:
                failed.append((name, "%s: %s" % (result, reason)))
    for name, reason in skipped:
        print("skipped: %s: %s" % (name, reason))
    for name, reason in failed:
        print("failed: %s: %s" % (name, reason))
    print("%d passed, %d failed%s" % (passed, len(failed), ", %d skipped" % len(skipped) if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
