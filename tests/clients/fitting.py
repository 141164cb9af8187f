"""The SDKs of OpenAI and Anthropic against models whose first target does not fit: its window is too small, it takes no images, or it
refuses parameters. By every strategy, the request goes where it fits, and no target is sent what it does not take."""
import base64
import json
import tempfile

from started import HERE, Gateway, recorder, run

CLIENT_SECONDS = 120
STRATEGIES = ("priority", "weighted", "cost", "latency", "balanced", "quality")
SMALL_WINDOW, LARGE_WINDOW = 300, 200_000
SAMPLING = ("temperature", "top_p")


def models(gateway, origin):
    """Of each strategy a model with a small target, which comes first, and a large one; and one whose only target refuses parameters."""
    provider = gateway.make(
        "/providers", name="recorder", kind="openai", base_url=f"{origin}/v1", api_key="k", allow_private_network=True)["id"]
    for backend, price in (("small", "1"), ("large", "9"), ("refusing", "1")):
        gateway.make("/prices", provider_id=provider, model=backend, input_usd_per_mtok=price, output_usd_per_mtok=price)
    target = {"provider_id": provider, "default_max_output_tokens": 64}
    small = target | {"model": "small", "quality": 90, "weight": 1000, "context_window": SMALL_WINDOW, "abilities": {"inputs": ["text"]}}
    large = target | {"model": "large", "priority": 1, "weight": 1, "context_window": LARGE_WINDOW,
                      "abilities": {"inputs": ["text", "image"]}}
    for strategy in STRATEGIES:
        gateway.make("/models", name=f"fitting-{strategy}", strategy=strategy, targets=[small, large])
        gateway.make("/models", name=f"refusing-{strategy}", strategy=strategy,
                     targets=[target | {"model": "refusing", "refused_parameters": list(SAMPLING)}])


def wrongly_sent(recorded):
    """Yields each request that a target was sent although it does not take it."""
    for request in recorded:
        body = json.loads(base64.b64decode(request["body"]))
        text = json.dumps(body["messages"])
        if body["model"] == "small" and (len(text) > 4 * SMALL_WINDOW or "image" in text):
            yield f"small was sent {text[:200]}"
        if body["model"] == "refusing" and any(name in body for name in SAMPLING):
            yield f"refusing was sent {sorted(body)}"
        if body["model"] != "refusing" and body.get("temperature") != 0.5:
            yield f"{body['model']} was sent no temperature"


def check(binary, python):
    """Runs the client; yields what is wrong."""
    with tempfile.TemporaryDirectory(prefix="ledgerway-fitting-") as folder:
        started = [recording := recorder(python, folder)]
        try:
            started.append(gateway := Gateway(binary, folder))
            models(gateway, recording.origin)
            tenant = gateway.make("/tenants", partner_id=gateway.make("/partners", name="p")["id"], name="t")["id"]
            user = gateway.make("/users", tenant_id=tenant, name="u", email="u@example.com")["id"]
            test = {"origin": gateway.origin, "key": gateway.make("/keys", user_id=user, name="k")["secret"],
                    "strategies": STRATEGIES, "recorder": recording.origin}
            status, said, complained = run([python, str(HERE / "fitting_client.py")], test, CLIENT_SECONDS)
            wrong = [] if status == 0 else [(said + complained).strip()[-3000:]]
            wrong += [] if wrong else wrongly_sent(json.loads(said.splitlines()[-1]))
            if (status := gateway.stop()) != 0:
                wrong.append(f"the gateway ends with {status}")
        finally:
            for each in started:
                each.process.kill()
                each.process.wait()
    print("FAIL fitting: " + "\n".join(wrong) if wrong else "ok fitting", flush=True)
    yield from wrong
