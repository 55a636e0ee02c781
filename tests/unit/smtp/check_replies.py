#!/usr/bin/env python3
"""Every reply text of the dialogue is expected by a scenario: takes a text away, and a scenario fails.

usage: check_replies.py SOURCE_ROOT
"""
import pathlib
import re
import sys

SOURCES = ["dataplane/smtp/" + name for name in ("smtp_cmd.c", "smtp_session.c", "smtp_body.c", "smtp_answer.c")]
COMMENT = re.compile(r"/\*.*?\*/", re.S)
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')
ENHANCED = re.compile(r"[245]\.\d\.\d+$")


def texts(path):
    """String literals that are words for a client: with a space in them, formats with their placeholders open."""
    for line in COMMENT.sub("", path.read_text()).splitlines():
        if line.startswith("#") or "static_assert" in line:
            continue
        for literal in LITERAL.findall(line):
            if " " in literal.strip() and not ENHANCED.match(literal):
                yield literal


def main(root):
    scenarios = [line[3:].rstrip("\n") for path in sorted((root / "tests/dialogues").rglob("*.txt"))
                 for line in path.read_text().splitlines() if line.startswith("S: ")]
    scenarios += [line.split(" ", 3)[3] for path in sorted((root / "tests/dialogues").rglob("*.txt"))
                  for line in path.read_text().splitlines() if re.match(r"repeat \d+ S: ", line)]
    missing, n = [], 0
    for source in SOURCES:
        for text in texts(root / source):
            n += 1
            pattern = ".*".join(re.escape(part) for part in re.split(r"%\w+|\\r\\n", text))
            if not any(re.search(pattern, line) for line in scenarios):
                missing.append(f"{source}: no scenario expects \"{text}\"")
    print("\n".join(missing + [f"{n} reply texts, {len(missing)} without a scenario"]))
    return 1 if missing or n == 0 else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()))
