"""A provider with two API keys, one of which is revoked there under load: the official client sees no error, and the accounts are
as if nothing had happened. The provider is the third-party mock. It checks keys itself, answers every request and counts its
tokens; but it cannot revoke a key while it runs, so that the refusals come from a handler of ours inside it (aimock.mjs), with the
status and the body of OpenAI."""
import json
import tempfile
import time
from collections import Counter
from decimal import Decimal

from environment import OWN_PRICE, cost
from started import HERE, Gateway, run

REVOKED, KEPT = "sk-proj-revoked-in-mid-load-41d7", "sk-proj-of-the-second-account-9c02"
REQUESTS, THREADS, ANSWERED_WITH_REVOKED = 200, 8, 40
KEYS_OF_MOCK = (f"{REVOKED}:revoked-after={ANSWERED_WITH_REVOKED}", KEPT)
# What aimock.mjs has it report, of a whole answer and of a stream.
TOKENS = (40, 12)
CLIENT_SECONDS, RECORDED_SECONDS = 120, 10
SET_ASIDE = "provider_key.set_aside.v1"
ALERT = "a provider does not accept an API key"


def set_up(gateway, mock):
    """The provider, and a key of the gateway."""
    provider = gateway.make(
        "/providers", name="two-keys", kind="openai", base_url=f"{mock.origin}/v1", api_key=REVOKED,
        allow_private_network=True)["id"]
    second = gateway.make("/provider-keys", provider_id=provider, name="second account", api_key=KEPT)["id"]
    gateway.make("/prices", provider_id=provider, model="m", **OWN_PRICE)
    gateway.make("/models", name="two-keys", targets=[
        {"provider_id": provider, "model": "m", "context_window": 16_384, "max_output_tokens": 4_096,
         "default_max_output_tokens": 256}])
    user = gateway.make("/users", name="u", email="u@example.com")["id"]
    key = gateway.make("/keys", user_id=user, name="k")
    gateway.make("/budgets", scope={"key_id": key["id"]}, limit_usd="100", period="total")
    return provider, second, key["secret"]


def when_recorded(gateway):
    """The key is set aside beside the request that met the refusal, which may be answered first."""
    deadline = time.monotonic() + RECORDED_SECONDS
    while not (events := gateway.events(SET_ASIDE)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return events


def of_keys(gateway, provider, second):
    """What is wrong with the key that was revoked: it served, was refused, and was then set aside once."""
    found = [(event["data"]["provider_id"], event["data"].get("provider_key_id"), event["data"]["reason"], event["data"]["status"])
             for event in when_recorded(gateway)]
    if found != [(provider, None, "refused", 401)]:
        yield f"set aside: {found}"
    served = Counter(event["data"]["backend"].get("provider_key_id") for event in gateway.events("inference.completed.v1"))
    if served != {None: ANSWERED_WITH_REVOKED, second: REQUESTS - ANSWERED_WITH_REVOKED}:
        yield f"served with each key: {served}"
    refused = Counter(event["data"]["backend"].get("provider_key_id") for event in gateway.events("inference.attempt_failed.v1"))
    if set(refused) != {None} or refused[None] > THREADS:
        yield f"refused with each key: {refused}"


def of_log(lines):
    """What is wrong with the gateway's log, once it has stopped: it has the alert once, and no key."""
    alerts = [json.loads(line) for line in lines if ALERT in line]
    if [(alert["level"], alert["name"], alert["status"]) for alert in alerts] != [("ERROR", "the provider's own", 401)]:
        yield f"alerts: {alerts}"
    yield from (f"a key is in the log: {line}" for line in lines if REVOKED in line or KEPT in line)


def of_money(gateway, told):
    """What differs between what the requests must cost and what the log, the view and the client say."""
    each = cost(OWN_PRICE, TOKENS)
    settled = Counter(Decimal(event["data"]["charged_usd"]) for event in gateway.events("budget.settled.v1"))
    if settled != {each: REQUESTS}:
        yield f"charged: {settled}, and each costs {each}"
    if others := gateway.events("budget.released.v1", "budget.expired.v1", "budget.adjusted.v1", "inference.failed.v1"):
        yield f"others: {others[:3]}"
    head = json.loads(gateway.call("GET", "/v1/log/head"))["position"]
    totals = json.loads(gateway.call("GET", f"/v1/usage?group_by=provider&min_position={head}"))["totals"]
    if (Decimal(totals["cost_usd"]), totals["requests"], totals["failed"]) != (each * REQUESTS, REQUESTS, 0):
        yield f"usage: {totals}"
    wrong = [one for one in told if tuple(one["tokens"]) != TOKENS or Decimal(one["cost_usd"] or each) != each or not one["text"]]
    if len(told) != REQUESTS or wrong:
        yield f"the client was told {len(told)} times, and otherwise: {wrong[:3]}"


# Holds: inf.several-keys, inf.keys-set-aside
def under_load(gateway, python, mock):
    provider, second, key = set_up(gateway, mock)
    test = {"base_url": f"{gateway.origin}/v1", "key": key, "model": "two-keys", "requests": REQUESTS, "threads": THREADS}
    status, said, complained = run([python, str(HERE / "revoked_key_client.py")], test, CLIENT_SECONDS)
    if status != 0:
        return [(said + complained).strip()[-2000:]]
    return [*of_keys(gateway, provider, second), *of_money(gateway, json.loads(said.splitlines()[-1]))]


def check(binary, python, mock):
    """Runs it; yields what is wrong."""
    with tempfile.TemporaryDirectory(prefix="ledgerway-revoked-key-") as folder:
        gateway = Gateway(binary, folder)
        try:
            wrong = under_load(gateway, python, mock)
            if (status := gateway.stop()) != 0:
                wrong.append(f"the gateway ends with {status}")
            wrong += filter(None, [gateway.verify()])
            wrong += of_log(gateway.log.read_text().splitlines())
        finally:
            gateway.process.kill()
            gateway.process.wait()
    print("FAIL revoked_key: " + "\n".join(wrong) if wrong else "ok revoked_key", flush=True)
    yield from wrong
