#!/usr/bin/env python3
"""Fails where a crate depends on another that none of its sources names, or where the workspace lists one that no crate
takes. A path (`name::…`), a macro or a `use … as` names it; a comment does not."""
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMENT = re.compile(r"//[^\n]*")
# Taken for their versions: another dependency's dependency is held back with them.
PINS = {"bolero-generator-derive", "idna_adapter"}
# What a macro of `events` writes in the crate that calls it.
OF_MACROS = {"serde": "named! {"}
PATH = re.compile(r'#\[path = "([^"]+)"\]')
SECTIONS = ("dependencies", "dev-dependencies", "build-dependencies")


def tracked(pattern):
    listed = subprocess.run(["git", "ls-files", "-z", pattern], cwd=ROOT, check=True, capture_output=True, text=True)
    return [Path(name) for name in listed.stdout.split("\0") if name]


def crate_of(source, folders):
    """The innermost folder with a Cargo.toml above a source."""
    return next(folder for folder in source.parents if folder in folders)


def dependencies(manifest):
    """Section and name of each, those of some platforms alone included."""
    for table in [manifest, *manifest.get("target", {}).values()]:
        for section in SECTIONS:
            for name in table.get(section, {}):
                yield section, name


def main():
    manifests = {path.parent: tomllib.loads((ROOT / path).read_text()) for path in tracked("*Cargo.toml")}
    sources = {folder: [] for folder in manifests}
    for source in tracked("*.rs"):
        text = (ROOT / source).read_text()
        # A crate also has the sources of others that it names by their paths.
        named = [(ROOT / source).parent / path for path in PATH.findall(text)]
        for text in [text, *(path.read_text() for path in named)]:
            sources[crate_of(source, manifests)].append(COMMENT.sub("", text))
    unused, taken = [], set()
    for folder, manifest in manifests.items():
        text = "\n".join(sources[folder])
        for section, name in dependencies(manifest):
            taken.add(name)
            is_written = name in OF_MACROS and OF_MACROS[name] in text
            if name not in PINS and not is_written and not re.search(rf"\b{name.replace('-', '_')}(::|!|;| as )", text):
                unused.append(f"{folder / 'Cargo.toml'}: {name} of [{section}] is named by no source")
    listed = manifests[Path(".")].get("workspace", {}).get("dependencies", {})
    unused += [f"Cargo.toml: {name} of [workspace.dependencies] is taken by no crate" for name in listed if name not in taken]
    print("\n".join(unused) or "every dependency is used")
    return 1 if unused else 0


if __name__ == "__main__":
    sys.exit(main())
