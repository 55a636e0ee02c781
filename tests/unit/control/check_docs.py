#!/usr/bin/env python3
"""The documentation of the settings is what the program says, and its sample is a configuration it takes.

usage: check_docs.py GREYLINE-CONTROL SOURCE_ROOT [--write]
"""
import pathlib
import re
import subprocess
import sys
import tempfile

FILES = {"md": "docs/configuration.md", "man": "docs/greyline.conf.5"}


def dump(program, form):
    return subprocess.run([program, "--dump-options=" + form], check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout


def main(program, root, write):
    wrong = 0
    for form, name in FILES.items():
        path, text = root / name, dump(program, form)
        if write:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print("%s is not what --dump-options=%s says: tests/unit/control/check_docs.py PROGRAM ROOT --write" % (name, form))
            wrong += 1
    sample = dump(program, "sample")
    # once as it is, once with every default written out
    opened = re.sub(r"(?m)^dns = .*$", "", sample)
    opened = re.sub(r"(?m)^# (?=(?:\t?[a-z_0-9]+ = (?:\{|[^({].*;)|\};)$)", "", opened)
    for label, text in (("the sample", sample), ("the sample with its defaults", opened)):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
            f.write(text)
            f.flush()
            done = subprocess.run([program, "--check", f.name], stderr=subprocess.PIPE, universal_newlines=True)
        if done.returncode:
            print("%s is refused:\n%s" % (label, done.stderr))
            wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], pathlib.Path(sys.argv[2]), "--write" in sys.argv))
