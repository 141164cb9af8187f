"""Alerts and dashboards: that each alert fires, and that every metric and label in them is what a running gateway shows."""
import json
import re
import subprocess
from pathlib import Path

import yaml

from files import ROOT
from queries import Query

HERE = Path(ROOT, "compose/monitoring")
PAGE = Path(ROOT, "docs/observability.md")
ALERTS_MIN = 12


def rules():
    groups = yaml.safe_load(Path(HERE, "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels():
    for path in sorted(Path(HERE, "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            yield f"{path.name}: {panel['title']}", panel


def queries():
    """Where each stands, the query, and the labels in its legend or its words."""
    for rule in rules():
        words = " ".join(rule["annotations"].values())
        yield rule["alert"], Query(rule["expr"]), re.findall(r"\$labels\.(\w+)", words)
    for where, panel in panels():
        for target in panel["targets"]:
            yield where, Query(target["expr"]), re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])


def on_the_page():
    names = re.findall(r"^\| `((?:ledgerway|process)_\w+)`", PAGE.read_text(), re.MULTILINE)
    return set(names)


def base(metric):
    return re.sub(r"_(bucket|sum|count)$", "", metric)


def wrong_files():
    """What can be seen without a gateway."""
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]):
        ended = subprocess.run(["promtool", *command], cwd=HERE, text=True, capture_output=True, timeout=120)
        if ended.returncode != 0:
            yield f"promtool {' '.join(command)}: {ended.stdout}{ended.stderr}"
    tests = yaml.safe_load(Path(HERE, "alerts_test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")}
    names = [rule["alert"] for rule in rules()]
    yield from (f"no test fires the alert {name}" for name in names if name not in fired)
    if len(set(names)) < ALERTS_MIN or len(set(names)) < len(names):
        yield f"there must be {ALERTS_MIN} alerts with different names: {names}"
    listed = {(name, at) for row in re.findall(r"^\| [\w ]+ \| ((?:`[A-Z]\w+` ?)+) \| ((?:`[A-Z]\w+` ?)+) \|$", PAGE.read_text(), re.MULTILINE)
              for at, cell in zip(("page", "ticket"), row) for name in re.findall(r"\w+", cell)}
    yield from (f"the page and alerts.yml differ in {name} ({at})"
                for name, at in sorted(listed ^ {(rule["alert"], rule["labels"]["severity"]) for rule in rules()}))
    used = {base(metric) for _, query, _ in queries() for metric, _ in query.selected}
    yield from (f"{name} is on the page, and in no alert and no dashboard" for name in sorted(on_the_page() - used))


def wrong_queries(series):
    """What the queries name that is in no /metrics of the processes in `series`."""
    for where, query, shown in queries():
        yield from (f"{where}: {wrong}" for wrong in query.wrong_with(series, shown))
