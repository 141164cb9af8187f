#!/usr/bin/env python3
"""Types every command of the README and of docs/ into a shell, in the order of use, and compares the answers with the ones
shown. `run.py BINARY NODE_FOLDER`: the gateway, and a folder with node_modules, whose aimock stands for Ollama."""
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/clients"))

from pages import WrongPage, blocks, in_order  # noqa: E402
from session import Session  # noqa: E402
from started import HERE as CLIENTS, aimock  # noqa: E402


def run(binary, provider, folder, pages):
    every = [block for page in pages for block in blocks(ROOT, page)]
    for block in every:
        if block.why_not_run:
            print(f"not run: {block.where} ({block.why_not_run})")
    wanted = [block for block in every if not block.why_not_run]
    began = time.monotonic()
    wrong = Session(binary, folder, provider).run(wanted)
    if not wrong:
        shown = sum(block.answer is not None for block in wanted)
        print(f"ok {pages[0]} and {len(pages) - 1} more: {len(wanted)} blocks, {shown} answers, "
              f"{time.monotonic() - began:.1f} s")
    return wrong


def main():
    binary, node_folder = sys.argv[1:]
    shutil.copy(CLIENTS / "aimock.mjs", node_folder)  # Node looks for packages beside the script
    with tempfile.TemporaryDirectory(prefix="ledgerway-docs-") as folder:
        mock = aimock(node_folder, folder)
        try:
            wrong = run(binary, mock.origin, Path(folder, "readme"), ["README.md"])
            wrong += run(binary, mock.origin, Path(folder, "docs"), ["docs/README.md"] + in_order(ROOT))
        except WrongPage as error:
            wrong = [str(error)]
        finally:
            mock.process.kill()
            mock.process.wait()
    for each in wrong:
        print(f"FAIL {each}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
