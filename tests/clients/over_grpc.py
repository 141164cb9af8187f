"""gRPC's own client against a gateway that has served a few requests: what it reads is what HTTP answers."""
import json
import tempfile
import urllib.error

from started import HERE, OPERATOR_KEY, Gateway, run

CLIENT_SECONDS = 120
REQUESTS = 3


def address(gateway):
    lines = gateway.log.read_text().splitlines()
    return next(json.loads(line)["address"] for line in lines if "gRPC is served" in line)


def spend(gateway):
    """Requests to the simulator, of which one is refused, because its model does not exist."""
    provider = gateway.make("/providers", name="s", kind="simulator")["id"]
    gateway.make("/prices", provider_id=provider, model="echo", input_usd_per_mtok="1", output_usd_per_mtok="2")
    gateway.make("/models", name="m", targets=[{"provider_id": provider, "model": "echo", "max_output_tokens": 64}])
    for model in ["m"] * REQUESTS + ["none"]:
        try:
            gateway.call("POST", "/v1/inference/chat", {"model": model, "messages": [{"role": "user", "content": "Hello"}]})
        except urllib.error.HTTPError as refused:
            assert model == "none", refused.read()


def check(binary, python):
    """Runs the client; yields what is wrong."""
    with tempfile.TemporaryDirectory(prefix="ledgerway-grpc-") as folder:
        gateway = Gateway(binary, folder, {"LEDGERWAY_GRPC_LISTEN": "127.0.0.1:0"})
        try:
            spend(gateway)
            events = gateway.events()
            usage = json.loads(gateway.call("GET", f"/v1/usage?group_by=model&min_position={len(events)}"))["items"]
            test = {"address": address(gateway), "key": OPERATOR_KEY, "events": events, "usage": usage}
            status, said, complained = run([python, str(HERE / "grpc_client.py")], test, CLIENT_SECONDS)
            wrong = [] if status == 0 else [(said + complained).strip()[-3000:]]
            if (status := gateway.stop()) != 0:
                wrong.append(f"the gateway ends with {status}")
        finally:
            gateway.process.kill()
            gateway.process.wait()
    print("FAIL grpc: " + "\n".join(wrong) if wrong else "ok grpc", flush=True)
    yield from wrong
