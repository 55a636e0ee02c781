#!/usr/bin/env python3
"""The include table of the layers: a folder includes itself and what its row names; headers compile by the same rule, transitively.

usage: check_layers.py SOURCE_ROOT
"""
import pathlib
import re
import sys

LAYERS = {
    "dataplane/base": [],
    "lmdb-schema": [],
    "dataplane/net": ["dataplane/base"],
    "dataplane/tcp": ["dataplane/base", "dataplane/net"],
    "dataplane/tls": ["dataplane/base"],
    "dataplane/smtp": ["dataplane/base"],
    "dataplane/relay": ["dataplane/base", "dataplane/smtp"],
    "dataplane/table": ["dataplane/base"],
    "dataplane/policy": ["dataplane/base", "dataplane/net", "dataplane/table", "lmdb-schema"],
    "dataplane/link": ["dataplane/base", "dataplane/table", "lmdb-schema"],
    "dataplane/port": ["dataplane/base", "dataplane/net"],
    # worker knows ports by the one header that is free of the EAL
    "dataplane/worker": ["dataplane/base", "dataplane/net", "dataplane/tcp", "dataplane/tls", "dataplane/smtp",
                         "dataplane/relay", "dataplane/table", "dataplane/policy", "dataplane/link", "lmdb-schema"],
    "dataplane": ["dataplane/base", "dataplane/net", "dataplane/link", "dataplane/port", "dataplane/worker", "dataplane/table", "dataplane/tls"],
    "control": ["dataplane/base", "dataplane/net", "dataplane/table", "dataplane/policy", "dataplane/link", "lmdb-schema", "control/cli"],
    "control/cli": ["control", "dataplane/base", "dataplane/table", "dataplane/policy", "lmdb-schema"],
}
ALLOWED_FILES = {"dataplane/worker": {"dataplane/port/port.h"}}
# libraries by folder: a header outside libc that only these may name
LIBRARIES = {
    r"rte_": ["dataplane/port"],
    r"openssl/": ["dataplane/tls"],
    r"lmdb\.h": ["control", "control/cli"],
    r"ares": ["control"],
    r"event2?[/.]": ["control"],
    r"jansson": ["control", "control/cli"],
    r"libconfig": ["control"],
    r"idn2": ["dataplane/policy"],
    r"cmocka": [],
}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def includes(path, cache={}):
    if path not in cache:
        cache[path] = INCLUDE.findall(path.read_text(errors="replace")) if path.exists() else []
    return cache[path]


def closure(root, path):
    """Every project header path reaches, with the way there."""
    seen, todo = {}, [(path, [path])]
    while todo:
        at, way = todo.pop()
        for mark, name in includes(at):
            target = root / name if mark == '"' else None
            if target is None or not target.exists() or target in seen:
                continue
            seen[target] = way + [target]
            todo.append((target, way + [target]))
    return seen


def main(root):
    errors, n_files = [], 0
    for folder, may in LAYERS.items():
        for path in sorted((root / folder).glob("*.[ch]")):
            n_files += 1
            rel = path.relative_to(root)
            for mark, name in includes(path):
                if mark == "<":
                    for pattern, folders in LIBRARIES.items():
                        if re.match(pattern, name) and folder not in folders:
                            errors.append(f"{rel}: <{name}> belongs to {', '.join(folders) or 'tests'} alone")
                elif not (root / name).exists():
                    errors.append(f'{rel}: "{name}" is not a path from the repository root')
            for target, way in closure(root, path).items():
                where = str(target.parent.relative_to(root))
                if where == folder or where in may:
                    continue
                if str(target.relative_to(root)) in ALLOWED_FILES.get(folder, ()):
                    continue
                chain = " -> ".join(str(p.relative_to(root)) for p in way)
                errors.append(f"{rel}: {folder} may not include {where} ({chain})")
    for path in sorted((root / "dataplane").rglob("*.[ch]")) + sorted((root / "control").rglob("*.[ch]")):
        if str(path.parent.relative_to(root)) not in LAYERS:
            errors.append(f"{path.relative_to(root)}: its folder has no row in the table of layers")
    for line in errors:
        print(line)
    print(f"{n_files} files, {len(errors)} against the layers")
    return 1 if errors or n_files == 0 else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()))
