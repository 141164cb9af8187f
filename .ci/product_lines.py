#!/usr/bin/env python3
"""Counts the lines of the product: those of tracked Rust sources that are neither blank nor comment, without tests,
benches, fuzzing, examples, generated code, build scripts, and what is compiled only for tests. The lines of the migrations are counted apart from them."""
import re
import subprocess
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUTSIDE = {"tests", "benches", "testing", "fuzzing", "docs", "examples", "generated"}
TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<text>\bb?r(?P<hashes>\#*)".*?"(?P=hashes)|b?"(?:\\.|[^"\\])*"|b?'(?:\\[^']+|\\'|[^\\'\n])')""",
    re.DOTALL,
)
TEST = re.compile(r"#!?\[cfg\(test\)\]")
ATTRIBUTES = re.compile(r"(?:\s*#\[[^\]]*\])*\s*")
VISIBILITY = r"(?:pub(?:\([^)]*\))?\s+)?"
MODULE_FILE = re.compile(VISIBILITY + r"mod\s+(\w+)\s*;")
ENDS_IN_SEMICOLON = re.compile(VISIBILITY + r"(?:use|const(?!\s+fn)|static|type|let)\b")
ITEM = re.compile(VISIBILITY + r"(?:async|const|unsafe|extern|fn|mod|impl|struct|enum|trait|macro_rules!)")


def tracked(pattern):
    listed = subprocess.run(["git", "ls-files", "-z", pattern], cwd=ROOT, check=True, capture_output=True, text=True)
    return [Path(name) for name in listed.stdout.split("\0") if name]


def code_of(source):
    """The source with comments blank, and texts without a character that has a meaning to the grammar."""

    def plain(token):
        return re.sub(r"\S", " " if token["comment"] else "x", token[0])

    return TOKEN.sub(plain, source)


def end_of_item(code, start):
    """Where the item, field, arm or statement ends that starts there."""
    ends = ";" if ENDS_IN_SEMICOLON.match(code, start) else ";}" if ITEM.match(code, start) else ";},"
    depth = 0
    for at in range(start, len(code)):
        sign = code[at]
        depth += (sign in "([{") - (sign in ")]}")
        if depth < 0:
            return at
        if depth == 0 and sign in ends:
            return at + 1
    return len(code)


def without_tests(code):
    """The code without what is compiled only for tests, and the names of the modules left out that have their own file."""
    kept, names, at = [], [], 0
    while found := TEST.search(code, at):
        kept.append(code[at : found.start()])
        if found[0].startswith("#!"):
            return "", names
        start = ATTRIBUTES.match(code, found.end()).end()
        if module := MODULE_FILE.match(code, start):
            names.append(module[1])
        at = end_of_item(code, start)
    return "".join([*kept, code[at:]]), names


def main():
    sources, left_out = {}, set()
    for path in tracked("*.rs"):
        code, names = without_tests(code_of((ROOT / path).read_text()))
        sources[path] = sum(1 for line in code.split("\n") if line.strip())
        folder = path.parent if path.stem in ("lib", "main") else path.with_suffix("")
        left_out.update(folder / name for name in [*names, "tests"])
    lines = Counter()
    for path, count in sources.items():
        if path.name != "build.rs" and OUTSIDE.isdisjoint(path.parts) and left_out.isdisjoint([path.with_suffix(""), *path.parents]):
            lines[path.parts[0]] += count
    for folder, count in sorted(lines.items()):
        print(f"{folder:<14}{count:>8}")
    print(f"{'sum':<14}{lines.total():>8}")
    statements = (line for path in tracked("migrations/*.sql") for line in (ROOT / path).read_text().splitlines())
    print(f"{'migrations':<14}{sum(1 for line in statements if line.strip() and not line.strip().startswith('--')):>8}")


if __name__ == "__main__":
    main()
