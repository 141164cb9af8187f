#!/usr/bin/env python3
"""Checks a bundle of Ledgerway with nothing but Python's standard library: `verify.py FILE KEYS`, where KEYS are the lines of
/v1/log/key. It uses no code of the gateway. Exit 0: every event is in the signed log, and every charge follows from tokens and a
price that is in it. Exit 1: not so, or it cannot be read; the last line says why."""
import base64, hashlib, json, sys
from datetime import datetime
from decimal import Decimal
from functools import reduce

# --- Ed25519 (RFC 8032), for one signature -------------------------------------------------------------------------------------
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D, BASE_Y = -121665 * pow(121666, -1, P) % P, 4 * pow(5, -1, P) % P

def add(p, q):  # in extended coordinates
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P

def times(number, point):
    rest = times(number >> 1, add(point, point)) if number else (0, 1, 1, 0)
    return add(rest, point) if number & 1 else rest

def decoded(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    x2 = (y * y - 1) * pow(D * y * y + 1, -1, P)
    x = pow(x2, (P + 3) // 8, P)
    x = x * pow(2, (P - 1) // 4, P) % P if (x * x - x2) % P else x
    must(y < P and (x * x - x2) % P == 0 and (x or not sign), "a point is not on the curve")
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P

def is_signed(public, message, signature):
    s = int.from_bytes(signature[32:], "little")
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    left, right = times(s, decoded(BASE_Y.to_bytes(32, "little"))), add(decoded(signature[:32]), times(h, decoded(public)))
    same = (left[i] * right[2] % P == right[i] * left[2] % P for i in (0, 1))
    return s < L and all(same)

# --- The checkpoint (C2SP tlog-checkpoint) and the tree (RFC 6962) --------------------------------------------------------------
def must(holds, why):
    if not holds:
        sys.exit(f"broken: {why}")

def checkpoint(note, keys):
    text, signatures = note.rsplit("\n\n", 1)
    origin, size, root = (text + "\n").split("\n")[:3]
    for line in signatures.splitlines():
        dash, signer, signature = line.split(" ")
        signature = base64.b64decode(signature)
        for name, key_id, encoded in (key.split("+", 2) for key in keys.split()):
            public = base64.b64decode(encoded)
            if (dash, signer, signature[:4].hex(), origin, public[0]) == ("\u2014", name, key_id, name, 1):
                must(is_signed(public[1:], (text + "\n").encode(), signature[4:]), "the signature of the checkpoint is wrong")
                return int(size), base64.b64decode(root)
    return must(False, "the checkpoint is not signed with this key")

def leaf(line):
    if len(line.encode()) > 65535:  # such an event is hashed without its data
        start = line.index(',"data":') + 8
        end = json.JSONDecoder().raw_decode(line, start)[1]
        line = f'{line[:start - 3]}_sha256":"{hashlib.sha256(line[start:end].encode()).hexdigest()}"{line[end:]}'
    return hashlib.sha256(b"\x00" + line.encode()).digest()

class Tree:
    def __init__(self):
        self.size, self.roots = 0, []  # of the complete subtrees that the lines so far make, each with its height

    def add(self, height, root):
        must(0 <= height < 63 and self.size % (1 << height) == 0, f"such a subtree cannot begin after position {self.size}")
        self.size += 1 << height
        while self.roots and self.roots[-1][0] == height:
            height, root = height + 1, hashlib.sha256(b"\x01" + self.roots.pop()[1] + root).digest()
        self.roots.append((height, root))

    def root(self):
        return reduce(lambda right, left: hashlib.sha256(b"\x01" + left + right).digest(), [root for _, root in self.roots[::-1]])

# --- Costs, in nano-dollars -----------------------------------------------------------------------------------------------------
FOLLOWS = {  # the price of a class that has none of its own, in this order
    "input": None, "output": None, "cache_read": "input", "cache_write": "input", "reasoning": "output",
    "cache_write_30m": "cache_write", "cache_write_1h": "cache_write", "cache_write_12h": "cache_write",
    "input_audio": "input", "cache_read_audio": "cache_read", "output_audio": "output", "input_image": "input",
    "cache_read_image": "cache_read", "output_image": "output", "citation": None}
CLASSES = {
    "input": "input_uncached_tokens", "cache_read": "input_cache_read_tokens", "output": "output_text_tokens",
    "reasoning": "output_reasoning_tokens", "input_audio": "input_audio_tokens", "output_audio": "output_audio_tokens",
    "cache_read_audio": "input_cache_read_audio_tokens", "input_image": "input_image_tokens",
    "cache_read_image": "input_cache_read_image_tokens", "output_image": "output_image_tokens", "citation": "citation_tokens"}
LIFETIMES = {"5m": "cache_write", "30m": "cache_write_30m", "1h": "cache_write_1h", "12h": "cache_write_12h"}

def nanos(usd):
    return int(Decimal(usd or "0").scaleb(9))
def rates_of(prices):
    return {rate: nanos(prices[f"{rate}_usd_per_mtok"]) for rate in FOLLOWS if prices.get(f"{rate}_usd_per_mtok")}

def rates_for(price, prompt, service):
    """The price of each class for a prompt of this length, served by this tier."""
    def tier(of_service, is_longer):
        tiers = [t for t in price.get("tiers", [])
                 if t.get("service_tier") == of_service and is_longer(t.get("above_input_tokens"))]
        return rates_of(max(tiers, key=lambda t: t.get("above_input_tokens", 0), default={}))
    rates = rates_of(price)
    for rate in ("cache_read", "cache_write", "reasoning"):  # these are recorded although they may have been left out
        name = f"{rate}_usd_per_mtok"
        if name in price.get("defaulted", [name]) and rates.get(rate) == rates.get(FOLLOWS[rate]):
            rates.pop(rate, None)
    is_reached = lambda above: above is not None and prompt > above
    by_length, by_service = tier(None, is_reached), tier(service, lambda above: above is None) if service else {}
    rates |= {rate: max(by_length.get(rate, 0), by_service.get(rate, 0)) for rate in by_length | by_service}
    rates |= tier(service, is_reached) if service else {}
    for rate, followed in FOLLOWS.items():
        rates.setdefault(rate, rates.get(followed, 0))
    return rates | {"dearest": max(rates[rate] for rate in LIFETIMES.values())}

def cost(price, usage):
    used = lambda name: int(usage.get(name, 0))
    by_lifetime = {lifetime: int(tokens) for lifetime, tokens in usage.get("input_cache_write_by_ttl", {}).items()}
    prompt = sum(used(name) for name in [*CLASSES.values(), "input_cache_write_tokens"] if not name.startswith("output"))
    rates = rates_for(price, prompt, usage.get("service_tier"))
    millionths = sum(rates[rate] * used(name) for rate, name in CLASSES.items())
    millionths += sum(rates.get(LIFETIMES.get(lifetime), rates["dearest"]) * tokens for lifetime, tokens in by_lifetime.items())
    millionths += rates["cache_write"] * max(used("input_cache_write_tokens") - sum(by_lifetime.values()), 0)
    units = nanos(price.get("search_usd")) * used("searches") + nanos(price.get("input_image_usd")) * used("input_images")
    return units + nanos(price.get("request_usd")) - -millionths // 10**6

# --- The events -----------------------------------------------------------------------------------------------------------------
class Books:
    def __init__(self, header):
        times = header.get("from", "0001-01-01T00:00:00Z"), header.get("to", "9999-12-31T23:59:59Z")
        self.tenant, (self.since, self.until) = header["tenant_id"], map(datetime.fromisoformat, times)
        must(self.since < self.until, "its range ends before it begins")
        self.prices, self.requests, self.sequences, self.events, self.charged, self.ended = {}, {}, {}, 0, 0, 0

    def take(self, event, place):
        kind, data, stream = event["type"].rsplit(".v", 1)[0], event["data"], event["stream"]
        is_shared = kind.split(".")[0] in ("price", "budget", "rate_limit") and "tenant_id" not in event
        must(is_shared or event.get("tenant_id") == self.tenant, f"{place}: it is not of {self.tenant}")
        wanted, at = self.sequences.get(stream, 0) + 1, datetime.fromisoformat(event["recorded_at"])
        must(at < self.until, f"{place}: it was recorded after the range of the bundle")
        is_whole = not stream.startswith(("access-", "alert-"))
        must(not is_whole or event["sequence"] == wanted, f"{place}: event {wanted} of {stream} is missing")
        self.sequences[stream], self.events = event["sequence"], self.events + 1
        if kind in ("price.created", "price.changed"):
            self.prices[event["position"]] = data
        elif kind == "inference.admitted":
            self.requests[event["request_id"]] = {"prices": data["versions"]["prices"].values(), "failed": 0}
        elif stream.startswith(("inference-", "hold-")) and kind != "inference.refused":
            must(event["request_id"] in self.requests, f"{place}: its request was never admitted")
            charged = self.charge(kind, data, self.requests[event["request_id"]], place)
            self.charged += charged if at >= self.since else 0

    def charge(self, kind, data, request, place):
        """Checks an event of a request, and returns what it charges."""
        if kind == "budget.reserved":
            request["held"] = nanos(data["held_usd"])
        elif kind == "inference.attempt_failed":
            request["failed"] += self.right_cost(data, nanos(data.get("cost_usd")), request, place)
        elif kind.startswith("inference."):
            must("cost" not in request, f"{place}: the request ended before")
            request["cost"] = nanos(data["cost_usd"])
            self.right_cost(data, request["cost"] - request["failed"], request, place)
        elif kind == "budget.adjusted":
            return nanos(data["delta_usd"])
        else:
            must(request.pop("held", None) is not None, f"{place}: its hold is not open")
            must(nanos(data.get("charged_usd")) == request.get("cost"), f"{place}: it is charged another sum than its cost")
            self.ended += 1
            return request["cost"]
        return 0

    def right_cost(self, data, spent, request, place):
        usage, version = data.get("usage"), data.get("price_version")
        if not usage or usage["source"] == "unknown":  # by policy: nothing, or all that was held
            must(spent == 0 or usage and spent == request.get("held"), f"{place}: it used nothing, and has a cost")
            return spent
        must(version in request["prices"] and version in self.prices, f"{place}: its price is not one that it was admitted with")
        right = cost(self.prices[version], usage)
        must(right == spent, f"{place}: its tokens cost {right} nano-dollars, and it says {spent}")
        return spent

def main(file, keys):
    with open(file, encoding="utf-8", newline="\n") as lines:
        header = json.loads(next(lines))
        must(header["bundle"] == "ledgerway/bundle/1", "it is not a bundle")
        size, root = checkpoint(header["checkpoint"], keys)
        tree, books = Tree(), Books(header)
        for line in (line.removesuffix("\n") for line in lines):
            read = json.loads(line)
            if "height" in read:
                tree.add(read["height"], base64.b64decode(read["hash"]))
            else:
                tree.add(0, leaf(line))
                must(read["position"] == tree.size, f"position {tree.size}: the event says that it is at {read['position']}")
                books.take(read, f"position {tree.size}")
    must((tree.size, tree.root()) == (size, root), "the events are not those of the checkpoint")
    print(f"{books.events} events of {books.tenant} are in the log of {size}; {len(books.requests)} requests, {books.ended} ended, "
          f"{Decimal(books.charged).scaleb(-9):.9f} USD charged")
main(sys.argv[1], sys.argv[2])
