"""What the gateway does not have yet, as `compose/local` lists it, in one place for the script and for the tests."""
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def absent(kind):
    """`SETTINGS`, `PROCESSES`, `METRICS` or `CHECKS`."""
    script = Path(ROOT, "compose/local").read_text()
    return re.search(rf"^ABSENT_{kind}=\((.*)\)$", script, re.MULTILINE)[1].split()
