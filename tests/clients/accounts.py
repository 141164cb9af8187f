"""Whether the gateway's accounts agree with what the clients saw."""
import json
import time
from collections import Counter

ENDS = ("inference.completed.v1", "inference.aborted.v1", "inference.failed.v1")
HOLDS = ("budget.settled.v1", "budget.released.v1", "budget.expired.v1")
CLASSES_IN = ("input_uncached_tokens", "input_cache_read_tokens", "input_cache_write_tokens")
CLASSES_OUT = ("output_text_tokens", "output_reasoning_tokens")
SETTLE_SECONDS = 15


def wait_until_settled(gateway):
    """A client that goes away is not told of its settlement: it comes a moment later."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (still := open_holds(gateway)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [f"open hold: {stream}" for stream in still]


def open_holds(gateway):
    held = {event["stream"] for event in gateway.events("budget.reserved.v1")}
    return held - {event["stream"] for event in gateway.events(*HOLDS)}


def tokens(usage, classes):
    return sum(usage[name] for name in classes)


def is_counted_embedding(usage):
    """Where the upstream reports nothing, the gateway counts, and the client may be told something else."""
    return usage["source"] == "counted" and tokens(usage, CLASSES_OUT) == 0


def of_client(gateway, key_ids, report):
    """What differs between a client's report and the events of its keys. The report counts what it was answered, with
    the tokens that it was told of; what it left in the middle; and what its budget refused it."""
    ends = [event for event in gateway.events(*ENDS) if event["key_id"] in key_ids]
    done = [event["data"]["usage"] for event in ends if event["type"] == "inference.completed.v1"]
    left = [event for event in ends if event["type"] == "inference.aborted.v1"]
    settled = {event["request_id"] for event in gateway.events("budget.settled.v1")}
    refused = Counter()
    for event in gateway.events("inference.refused.v1"):
        if event["key_id"] in key_ids:
            refused[event["data"]["code"]] += event["data"].get("count", 1)
    wanted = {
        "answers": len(done), "input": sum(tokens(usage, CLASSES_IN) for usage in done if not is_counted_embedding(usage)),
        "output": sum(tokens(usage, CLASSES_OUT) for usage in done), "aborted": len(left),
        "budget_refusals": refused["BUDGET_EXCEEDED"]}
    wrong = [f"{name}: the client says {report.get(name)}, the gateway {value}" for name, value in wanted.items()
             if report.get(name) != value]
    wrong += [f"aborted and not settled: {event['request_id']}" for event in left if event["request_id"] not in settled]
    wrong += [f"aborted because of {event['data']['reason']}" for event in left
              if event["data"]["reason"] != "client_closed"]
    return wrong


def of_usage(gateway):
    """What differs between the view of usage and the events that it is made of, and between both and the money."""
    events = gateway.events(*ENDS)
    by_key = Counter()
    for event in events:
        usage = event["data"].get("usage") or {}
        by_key[event["key_id"]] += sum(usage.get(name, 0) for name in CLASSES_IN + CLASSES_OUT)
    head = json.loads(gateway.call("GET", "/v1/log/head"))["position"]
    rows = json.loads(gateway.call("GET", f"/v1/usage?group_by=key&min_position={head}"))["items"]
    seen = {row["key"]: tokens(row, CLASSES_IN + CLASSES_OUT) for row in rows}
    wrong = [f"usage of {key}: {seen.get(key)} in the view, {total} in the events"
             for key, total in by_key.items() if seen.get(key) != total]
    budgets = json.loads(gateway.call("GET", f"/v1/budgets?min_position={head}"))["items"]
    wrong += [f"budget {budget['id']} still holds {budget['held_usd']}" for budget in budgets
              if float(budget["held_usd"])]
    return wrong
