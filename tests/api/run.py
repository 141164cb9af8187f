#!/usr/bin/env python3
"""Asks the gateway whatever its own description allows and forbids. `run.py BINARY FOLDER [EXAMPLES] [SEED]`: the
gateway, a folder with the virtual environment of requirements.txt, how many examples an operation, and of which seed.
Checks the description against the meta-schema of OpenAPI 3.1 first."""
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
OPERATOR_KEY = "operator-key-of-the-api-tests-0123456789"
READY_SECONDS, ASKING_SECONDS = 30, 3000
EXAMPLES, SEED = 4, 1


def start(binary, folder, log):
    """The gateway on a free port, with models that work: its process and its address."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("LEDGERWAY_")}
    process = subprocess.Popen(
        [binary, "serve", "--dev", "--listen", "127.0.0.1:0", "--data", str(Path(folder, "data"))], text=True,
        env=env | {"LEDGERWAY_ADMIN_KEY": OPERATOR_KEY, "LEDGERWAY_PROVIDERS_FROM_ENV": "off"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
    late = threading.Timer(READY_SECONDS, process.kill)
    late.start()
    found = None
    while found is None and (line := process.stdout.readline()):
        found = re.fullmatch(r"ledgerway listening on (http://\S+)\n", line)
    late.cancel()
    if found is None:
        raise SystemExit("the gateway does not start")
    threading.Thread(target=process.stdout.read, daemon=True).start()
    return process, found[1]


def call(origin, method, path, body=None):
    request = urllib.request.Request(
        origin + path, method=method, data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {OPERATOR_KEY}", "content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def set_up(origin):
    """Something of every kind, so that no list is empty: the tenant."""
    tenant = call(origin, "POST", "/v1/admin/tenants", {"name": "asked"})["id"]
    user = call(origin, "POST", "/v1/admin/users", {"name": "asked", "tenant_id": tenant})["id"]
    call(origin, "POST", "/v1/admin/keys", {"name": "asked", "user_id": user})
    scope = {"user_id": user}
    call(origin, "POST", "/v1/admin/budgets", {"scope": scope, "limit_usd": "1", "period": "day"})
    call(origin, "POST", "/v1/admin/rate-limits", {"scope": scope, "requests_per_minute": 60})
    asked = {"model": "sim-small", "messages": [{"role": "user", "content": "hello"}]}
    call(origin, "POST", "/v1/inference/chat", asked)
    call(origin, "POST", "/v1/chat/completions", asked)
    return tenant


def main():
    binary, environment = sys.argv[1:3]
    examples, seed = (sys.argv[3:5] + [EXAMPLES, SEED][len(sys.argv[3:5]):])
    tools = Path(environment).absolute() / "venv" / "bin"
    with tempfile.TemporaryDirectory(prefix="ledgerway-api-") as folder:
        log = Path(folder, "stderr")
        with log.open("w") as stderr:
            process, origin = start(binary, folder, stderr)
        try:
            document = Path(folder, "openapi.json")
            document.write_text(json.dumps(call(origin, "GET", "/openapi.json")))
            subprocess.run([tools / "openapi-spec-validator", document], check=True, timeout=120)
            env = os.environ | {"OPERATOR_KEY": OPERATOR_KEY, "TENANT": set_up(origin)}
            asked = subprocess.run(
                [tools / "schemathesis", "--config-file", HERE / "schemathesis.toml", "run", f"{origin}/openapi.json",
                 "--max-examples", str(examples), "--seed", str(seed), "--no-color"],
                cwd=folder, env=env, timeout=ASKING_SECONDS)
            defects = [line for line in log.read_text().splitlines() if '"status":500' in line or "panicked" in line]
            for line in defects:
                print(f"FAIL a defect: {line}")
            return 1 if asked.returncode or defects or process.poll() is not None else 0
        finally:
            process.terminate()
            process.wait(40)


if __name__ == "__main__":
    sys.exit(main())
