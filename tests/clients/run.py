#!/usr/bin/env python3
"""Runs third-party clients, unmodified, through the gateway: to the simulator, to an OpenAI-compatible upstream and to
one that speaks Anthropic. `run.py BINARY PYTHON NODE_FOLDER`: the gateway, a Python that has the packages of
requirements.txt, and a folder with node_modules. The Python of this script needs nothing but itself."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

from provider import ARGUMENTS, TEXT, TOOL, Provider

HERE = Path(__file__).parent
OPERATOR_KEY = "operator-key-of-the-client-tests-0123456789"
READY_SECONDS, CLIENT_SECONDS = 30, 120


class Gateway:
    """The binary on a free port. Its log stands in `stderr` of the folder."""

    def __init__(self, binary, folder):
        env = {name: value for name, value in os.environ.items() if not name.startswith("LEDGERWAY_")}
        self.log = Path(folder, "stderr")
        self.process = subprocess.Popen(
            [binary, "serve", "--listen", "127.0.0.1:0", "--data", str(Path(folder, "data"))], text=True,
            env=env | {"LEDGERWAY_ADMIN_KEY": OPERATOR_KEY}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=self.log.open("w"))
        late = threading.Timer(READY_SECONDS, self.process.kill)
        late.start()
        found = None
        while found is None and (line := self.process.stdout.readline()):
            found = re.fullmatch(r"ledgerway listening on (http://\S+)\n", line)
        late.cancel()
        if found is None:
            raise SystemExit(f"the gateway does not start: {self.log.read_text()}")
        self.origin = found[1]
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def call(self, method, path, body=None):
        request = urllib.request.Request(
            self.origin + path, method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {OPERATOR_KEY}", "content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read()

    def make(self, path, **body):
        return json.loads(self.call("POST", f"/v1/admin{path}", body))

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise SystemExit("the gateway does not stop") from None


def set_up(gateway, provider):
    """What the clients ask: a model that talks and one that calls a tool, by backend."""
    partner = gateway.make("/partners", name="clients")["id"]
    tenant = gateway.make("/tenants", partner_id=partner, name="clients")["id"]
    user = gateway.make("/users", tenant_id=tenant, name="clients", email="clients@example.com")["id"]
    backends = [backend(gateway, "simulator", None, "echo", "echo")]
    for kind, base_url in (("openai", f"{provider.origin}/v1"), ("anthropic", provider.origin)):
        backends.append(backend(gateway, kind, base_url, "ok", "tools"))
    key, poor = (gateway.make("/keys", user_id=user, name=name) for name in ("rich", "poor"))
    gateway.make("/budgets", scope={"key_id": poor["id"]}, limit_usd="0.000000001", period="total")
    return {"base_url": f"{gateway.origin}/v1", "key": key["secret"], "poor_key": poor["secret"], "tool": TOOL,
            "backends": backends}


def backend(gateway, kind, base_url, talks, calls):
    upstream = {} if base_url is None else {"base_url": base_url, "api_key": "k", "allow_private_network": True}
    provider = gateway.make("/providers", name=kind, kind=kind, **upstream)["id"]
    for model in {talks, calls}:
        gateway.make("/prices", provider_id=provider, model=model, input_usd_per_mtok="1", output_usd_per_mtok="2")
        target = {"provider_id": provider, "model": model, "priority": 0, "weight": 1, "context_window": 8192,
                  "max_output_tokens": 1024, "default_max_output_tokens": 256}
        gateway.make("/models", name=f"{kind}/{model}", strategy="priority", targets=[target])
    says, arguments = (None, None) if base_url is None else (TEXT, ARGUMENTS)
    return {"model": f"{kind}/{talks}", "tools_model": f"{kind}/{calls}", "text": says, "arguments": arguments}


def run_clients(gateway, test, python, node_folder):
    """How many of them failed."""
    failed, env = 0, os.environ | {"CLIENT_TEST": json.dumps(test), "PYTHONDONTWRITEBYTECODE": "1"}
    for name, command in (("python openai", [python, str(HERE / "client.py")]),
                          ("node openai", ["node", str(Path(node_folder, "client.mjs"))])):
        refusals = budget_refusals(gateway)
        ended = subprocess.run(command, env=env, text=True, capture_output=True, timeout=CLIENT_SECONDS)
        said = (ended.stdout + ended.stderr).strip()
        if ended.returncode == 0 and budget_refusals(gateway) != refusals + 1:
            ended.returncode, said = 1, "an empty budget was asked again, in spite of x-should-retry: false"
        print(f"ok {name}" if ended.returncode == 0 else f"FAIL {name}: {said}", flush=True)
        failed += ended.returncode != 0
    return failed


def budget_refusals(gateway):
    lines = gateway.call("GET", "/v1/events?after=0&types=inference.refused.v1").splitlines()
    events = [json.loads(line)["data"] for line in lines if line]
    return sum(event.get("count", 1) for event in events if event["code"] == "BUDGET_EXCEEDED")


def main():
    binary, python, node_folder = sys.argv[1:]
    shutil.copy(HERE / "client.mjs", node_folder)  # Node looks for packages beside the script
    with tempfile.TemporaryDirectory(prefix="ledgerway-clients-") as folder:
        provider, gateway = Provider(), Gateway(binary, folder)
        try:
            failed = run_clients(gateway, set_up(gateway, provider), python, node_folder)
            gateway.stop()
        finally:
            gateway.process.kill()
            provider.close()
        if failed:
            print(gateway.log.read_text()[-2000:], file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
