#!/usr/bin/env python3
"""Has Go's packages for its own module log check a log that the gateway or the crate `tlog` wrote, and then the same log with a
byte changed in each kind of file, which they must refuse. `check.py GO FOLDER`: the command `go`, and a folder as main.go
describes it. Go's packages (golang.org/x/mod/sumdb) are those of the toolchain, so that nothing is downloaded."""
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
BUILD_SECONDS, CHECK_SECONDS = 300, 300


def build(go, folder):
    """The program, with the toolchain's copy of golang.org/x/mod as the only package that is not of the standard library."""
    root = Path(subprocess.run([go, "env", "GOROOT"], check=True, capture_output=True, text=True).stdout.strip())
    packages = folder / "gopath/src/golang.org/x"
    packages.mkdir(parents=True)
    shutil.copytree(root / "src/cmd/vendor/golang.org/x/mod", packages / "mod")
    source = folder / "gopath/src/checker"
    source.mkdir()
    shutil.copy(HERE / "main.go", source)
    environment = os.environ | {"GO111MODULE": "off", "GOPATH": str(folder / "gopath"), "GOFLAGS": "", "GOTOOLCHAIN": "local",
                                "GOCACHE": str(folder / "cache"), "CGO_ENABLED": "0", "GOMAXPROCS": "2"}
    subprocess.run([go, "build", "-o", str(folder / "checker"), "."], cwd=source, env=environment, check=True,
                   timeout=BUILD_SECONDS)
    return folder / "checker"


def check(checker, log):
    return subprocess.run([checker, log], capture_output=True, text=True, timeout=CHECK_SECONDS)


def spoiled(log, copy):
    """Copies of the log with one file changed, for one file of each kind, and what was changed."""
    newest_first = sorted(log.glob("tile/**/*"), key=lambda path: (path.name, str(path)), reverse=True)
    tiles = [path for path in newest_first if path.is_file()]
    kinds = {
        "the newest checkpoint": [log / "checkpoint"],
        "the key": [log / "vkey"],
        "an older checkpoint": sorted(log.glob("checkpoints/*")),
        "a full tile": [path for path in tiles if "entries" not in path.parts and path.stat().st_size == 8192],
        "a full bundle": [path for path in tiles if "entries" in path.parts and ".p" not in str(path)],
        "a proof": sorted(log.glob("proofs/*.tlog-proof")),
        "an entry": [path for path in sorted(log.glob("proofs/*.entry")) if path.stat().st_size > 0],
    }
    for kind, files in kinds.items():
        if not files:
            sys.exit(f"the log has not {kind}")
        shutil.copytree(log, copy)
        changed = copy / files[0].relative_to(log)
        content = bytearray(changed.read_bytes())
        content[len(content) // 2] ^= 1
        changed.write_bytes(content)
        yield f"{kind} ({changed.relative_to(copy)})"
        shutil.rmtree(copy)


def main():
    # The program is built in a folder of its own, where a relative path to the command would lead nowhere.
    go, log = os.path.abspath(sys.argv[1]), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        checker = build(go, folder)
        checked = check(checker, log)
        print(checked.stdout + checked.stderr, end="")
        if checked.returncode != 0:
            return 1
        refusals = 0
        for what in spoiled(log, folder / "spoiled"):
            refused = check(checker, folder / "spoiled")
            if refused.returncode == 0:
                print(f"a changed byte in {what} went unnoticed")
                return 1
            refusals += 1
        print(f"refused {refusals} logs with a changed byte")
    return 0


if __name__ == "__main__":
    sys.exit(main())
