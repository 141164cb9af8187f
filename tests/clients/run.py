#!/usr/bin/env python3
"""Runs third-party clients, unmodified, through the gateway to third-party upstreams, and compares the gateway's accounts
with what the clients saw. `run.py BINARY PYTHON NODE_FOLDER [CLIENT…]`: the gateway, a Python that has the packages of
requirements.txt, a folder with node_modules, and which clients (all by default). The Python of this script needs nothing
but itself. `environment`, `revoked_key`, `billing`, `grpc`, `fitting` and `siem` are clients as well, with gateways of their own."""
import json
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import accounts
import billing
import environment
import fitting
import over_grpc
import revoked_key
import siem
from started import HERE, Gateway, aimock, llama, recorder, run

PYTHON = ("openai", "openai_responses", "langchain", "litellm", "pydantic_ai", "witness", "anthropic")
NODE = ("openai", "ai_sdk", "anthropic")
# pydantic-ai cannot be told of Anthropic here: it needs an older `anthropic` than the others.
IN_BOTH_DIALECTS = ("langchain", "litellm")
CLIENT_SECONDS, AT_ONCE = 120, 2
TOOL, TEXT = "get_weather", "The quick brown fox jumps over the lazy dog"
OUTPUT_MAX = 12_000
UPSTREAM_KEY = "key-of-the-recorder"
CLAUDE = "anthropic.claude-sonnet-4-6"
AWS = {"region": "us-east-1", "api_key": "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
# By kind: what follows the origin in base_url, the key, and other fields.
WITNESSED = {
    "ollama": ("", UPSTREAM_KEY, {}),
    "anthropic": ("", UPSTREAM_KEY, {}),
    "gemini": ("/v1beta", UPSTREAM_KEY, {}),
    "cohere": ("", UPSTREAM_KEY, {}),
    "bedrock": ("", AWS["api_key"], {"region": AWS["region"]}),
}


def backend(gateway, name, kind, base_url, model, slow_model, more=None, **expected):
    """One provider, and the models that it serves: what it is asked for, and what it should say."""
    upstream = {} if base_url is None else {"base_url": base_url, "api_key": "k", "allow_private_network": True}
    upstream |= more or {}
    provider = gateway.make("/providers", name=name, kind=kind, **upstream)["id"]
    for backend_model in {model, slow_model}:
        gateway.make(
            "/prices", provider_id=provider, model=backend_model, input_usd_per_mtok="1", output_usd_per_mtok="2",
            cache_read_usd_per_mtok="0.1")
    for frontend, backend_model in ((f"{name}/talk", model), (f"{name}/slow", slow_model)):
        target = {"provider_id": provider, "model": backend_model, "priority": 0, "weight": 1,
                  "context_window": 16_384, "max_output_tokens": OUTPUT_MAX, "default_max_output_tokens": 256}
        gateway.make("/models", name=frontend, strategy="priority", targets=[target])
    if expected["embeds"]:
        target = {"provider_id": provider, "model": model}
        gateway.make("/models", name=f"{name}/embed", strategy="priority", targets=[target])
    return {"name": name, "model": f"{name}/talk", "slow_model": f"{name}/slow", "embed_model": f"{name}/embed"} | expected


def backends(gateway, mock, llama_server):
    # Of embeddings, the mock has the answers of OpenAI and of Cohere, and an old one of Ollama.
    mocked = {"text": TEXT, "arguments": {"city": "Paris"}, "structured": True, "mocked": True, "thinks": True,
              "one_call": False, "embeds": False, "sizes": False}
    plain = {"text": None, "arguments": None, "mocked": False, "thinks": False, "one_call": False, "embeds": True,
             "sizes": False}
    embeds = {"embeds": True, "sizes": True}
    slow_echo = "echo?pace_ms=25&output_tokens=3000"
    return [
        backend(gateway, "simulator", "simulator", None, "echo", slow_echo, structured=False, **plain),
        backend(gateway, "openai", "openai", f"{mock.origin}/v1", "m", "m", **mocked | embeds | {"one_call": True}),
        backend(gateway, "anthropic", "anthropic", mock.origin, "m", "m", **mocked | {"one_call": True}),
        backend(gateway, "azure", "azure_openai", mock.origin, "m", "m", {"api_version": "2024-10-21"}, **mocked | embeds),
        backend(gateway, "gemini", "gemini", f"{mock.origin}/v1beta", "m", "m", **mocked),
        backend(gateway, "vertex", "vertex", f"{mock.origin}/v1/projects/p/locations/l", "m", "m", **mocked),
        backend(gateway, "bedrock", "bedrock", mock.origin, CLAUDE, CLAUDE, AWS, **mocked),
        # The mock writes thoughts as text, Cohere as thinking.
        backend(gateway, "cohere", "cohere", mock.origin, "m", "m", **mocked | {"thinks": False, "embeds": True}),
        # The mock puts thoughts into reasoning_content, Ollama into thinking.
        backend(gateway, "ollama", "ollama", mock.origin, "m", "m", **mocked | {"thinks": False}),
        backend(gateway, "llama", "openai", f"{llama_server.origin}/v1", "tiny", "tiny", structured=True, **plain),
        # The same server by its Messages API, which calls tools although it is told not to; the other clients would notice.
        backend(gateway, "llama_messages", "anthropic", llama_server.origin, "tiny", "tiny", structured=False,
                only=["node openai", "node anthropic"], **plain | {"embeds": False})]


def witnessed(gateway, recorder):
    """Providers that only remember what they are sent, one of each kind whose official SDK is a witness."""
    for kind, (path, api_key, more) in WITNESSED.items():
        provider = gateway.make(
            "/providers", name=f"witness-{kind}", kind=kind, base_url=recorder.origin + path, api_key=api_key,
            allow_private_network=True, **more)["id"]
        gateway.make(
            "/prices", provider_id=provider, model="m", input_usd_per_mtok="1", output_usd_per_mtok="2")
        target = {"provider_id": provider, "model": "m", "context_window": 16_384, "max_output_tokens": OUTPUT_MAX}
        gateway.make("/models", name=f"witness/{kind}", targets=[target])
        gateway.make("/models", name=f"witness/{kind}/embed", targets=[{"provider_id": provider, "model": "m"}])
    return {"recorder": recorder.origin, "upstream_key": UPSTREAM_KEY, "witnessed": list(WITNESSED)}


def keys(gateway, user, client):
    """A key with money, one with next to none, and one that may ask once a minute."""
    made = {name: gateway.make("/keys", user_id=user, name=f"{client}-{name}") for name in ("rich", "poor", "rare")}
    gateway.make("/budgets", scope={"key_id": made["poor"]["id"]}, limit_usd="0.000000001", period="total")
    gateway.make("/rate-limits", scope={"key_id": made["rare"]["id"]}, requests_per_minute=1)
    return made


def set_up(gateway, mock, llama_server, recording):
    partner = gateway.make("/partners", name="clients")["id"]
    tenant = gateway.make("/tenants", partner_id=partner, name="clients")["id"]
    gateway.make("/budgets", scope={"tenant_id": tenant}, limit_usd="100", period="total")
    user = gateway.make("/users", tenant_id=tenant, name="clients", email="clients@example.com")["id"]
    test = {"base_url": f"{gateway.origin}/v1", "tool": TOOL, "backends": backends(gateway, mock, llama_server)}
    return user, test | witnessed(gateway, recording)


def commands(python, node_folder, wanted):
    every = {f"python {name}": [python, str(HERE / f"{name}_client.py")] for name in PYTHON}
    every |= {f"python {name} anthropic": every[f"python {name}"] + ["anthropic"] for name in IN_BOTH_DIALECTS}
    every |= {f"node {name}": ["node", str(Path(node_folder, f"{name}_client.mjs"))] for name in NODE}
    every["node ai_sdk anthropic"] = every["node ai_sdk"] + ["anthropic"]
    return {name: command for name, command in every.items() if not wanted or name in wanted}


def run_client(gateway, user, test, name, command):
    """What is wrong with it."""
    began, made = time.monotonic(), keys(gateway, user, name)
    secrets = {f"{key}_key": each["secret"] for key, each in made.items()}
    asked = [backend for backend in test["backends"] if name in backend.get("only", [name])]
    status, said, complained = run(command, test | secrets | {"backends": asked}, CLIENT_SECONDS)
    if status != 0:
        return name, [(said + complained).strip()[-3000:]], time.monotonic() - began
    accounts.wait_until_settled(gateway)
    report = json.loads(said.splitlines()[-1])
    return name, accounts.of_client(gateway, {each["id"] for each in made.values()}, report), time.monotonic() - began


def run_all(gateway, upstreams, clients):
    user, test = set_up(gateway, *upstreams)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = [pool.submit(run_client, gateway, user, test, *client) for client in clients.items()]
        for result in results:
            name, wrong, seconds = result.result()
            print(f"FAIL {name}: " + "\n".join(wrong) if wrong else f"ok {name} ({seconds:.1f} s)", flush=True)
            yield from wrong
    for wrong in accounts.wait_until_settled(gateway) + accounts.of_usage(gateway):
        print(f"FAIL accounts: {wrong}", flush=True)
        yield wrong


def main():
    binary, python, node_folder, *wanted = sys.argv[1:]
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, node_folder)  # Node looks for packages beside the script
    started = []
    with tempfile.TemporaryDirectory(prefix="ledgerway-clients-") as folder:
        try:
            started.append(mock := aimock(node_folder, folder))
            started.append(llama_server := llama(python, folder))
            started.append(recording := recorder(python, folder))
            started.append(gateway := Gateway(binary, folder))
            wrong = list(run_all(gateway, (mock, llama_server, recording), commands(python, node_folder, wanted)))
            if (status := gateway.stop()) != 0:
                wrong.append(f"the gateway ends with {status}")
            if broken := gateway.verify():
                wrong.append(broken)
                print(f"FAIL {broken}", flush=True)
            if not wanted or "environment" in wanted:
                started.append(keyed := aimock(node_folder, folder, environment.KEY))
                wrong += environment.check(binary, python, mock, keyed)
            if not wanted or "revoked_key" in wanted:
                started.append(revoking := aimock(node_folder, folder, *revoked_key.KEYS_OF_MOCK))
                wrong += revoked_key.check(binary, python, revoking)
            if not wanted or "billing" in wanted:
                wrong += billing.check(binary, python)
            if not wanted or "grpc" in wanted:
                wrong += over_grpc.check(binary, python)
            if not wanted or "fitting" in wanted:
                wrong += fitting.check(binary, python)
            if not wanted or "siem" in wanted:
                wrong += siem.check(binary, python)
            if wrong:
                print(gateway.log.read_text()[-3000:], file=sys.stderr)
        finally:
            for each in started:
                each.process.kill()
                each.process.wait()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
