#!/usr/bin/env python3
"""Checks what is in compose/: the files, the alerts and dashboards, and the whole topology as processes of this machine.
`run.py BINARY`: the gateway. COMPOSE_SECONDS: for how long processes are down, all together (default: 9).

It needs Debian's docker-compose (which checks the files, and brings the YAML of Python), prometheus, systemd, and what
`compose/local` installs."""
import os
import sys
import tempfile
from pathlib import Path

import files
import monitoring
import topology


def main():
    binary = str(Path(sys.argv[1]).resolve())
    seconds = float(os.environ.get("COMPOSE_SECONDS", "9"))
    wrong = []
    # Its servers, which are other users if this is root, have to reach their own folders in there.
    with tempfile.TemporaryDirectory(prefix="ledgerway-compose-") as folder:
        os.chmod(folder, 0o711)
        for check in (files.wrong(folder), monitoring.wrong_files(),
                      topology.check(folder, binary, seconds, monitoring.wrong_queries)):
            for each in check:
                print(f"FAIL {each}", flush=True)
                wrong.append(each)
    if not wrong:
        print(f"ok compose: files, {len(monitoring.rules())} alerts, {len(list(monitoring.panels()))} panels")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
