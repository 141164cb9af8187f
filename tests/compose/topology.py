"""The topology of compose.yaml as processes of this machine: requests through nginx while each process is killed in turn, and
whether the ledger has what clients were told."""
import http.client
import itertools
import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import nats
from files import ROOT
from series import Series
from upstream import Upstream

SCRIPT = str(Path(ROOT, "compose/local"))
COMMAND_SECONDS, CALL_SECONDS, BACK_SECONDS, KNOWN_SECONDS = 300, 30, 90, 10
CLIENTS = 4
LIMIT = "1000"
# Below what is asked for: a budget that some hundred requests use up, and requests a minute.
TIGHT_LIMIT, REQUESTS_A_MINUTE, NODES = "0.004", 60, 2
# Each node is killed once, and counts as another one when it has started again.
NODES_SEEN = 2 * NODES
# So that the archive has everything soon after the load.
SETTINGS = "LEDGERWAY_ARCHIVE_SEGMENT_SECONDS=5\n"
# A gRPC message of no bytes, and one that says SERVING.
EMPTY, SERVING = bytes(5), bytes([0, 0, 0, 0, 2, 8, 1])
ENDS = ("inference.completed.v1", "inference.aborted.v1", "inference.failed.v1")
CHARGES = {"budget.settled.v1": "charged_usd", "budget.expired.v1": "charged_usd", "budget.adjusted.v1": "delta_usd"}
# A killed database refuses all requests, a killed node or a killed nginx those that it had.
KILLED = ("http-1", "nats", "redis", "worker", "s3", "postgres", "grpc", "http-2", "nginx")


class Refused(Exception):
    def __init__(self, status, body):
        super().__init__(f"{status}: {body[:300]}")
        self.status, self.body = status, body


class Topology:
    def __init__(self, folder, binary):
        self.folder, self.binary = Path(folder), binary
        self.settings = Path(self.folder.parent, "settings.env")
        self.settings.write_text(SETTINGS)

    def run(self, *arguments, seconds=COMMAND_SECONDS):
        """Exit code, and what it says."""
        # A pipe that a process keeps open would never end.
        with Path(self.folder.parent, "said").open("w+") as said:
            common = ["--folder", self.folder, "--binary", self.binary, "--settings", self.settings]
            ended = subprocess.run([SCRIPT, *common, *arguments], stdout=said, stderr=said, stdin=subprocess.DEVNULL,
                                   timeout=seconds)
            said.seek(0)
            return ended.returncode, said.read()

    def must(self, *arguments):
        code, said = self.run(*arguments)
        if code != 0:
            raise SystemExit(f"compose/local {' '.join(arguments)} ends with {code}: {said}{self.logs()}")
        return said

    def logs(self):
        return "".join(f"\n{path.name}: {path.read_text(errors='replace')[-1500:]}" for path in sorted(self.folder.glob("*.log")))

    def names(self):
        return [line.split()[0] for line in self.run("status")[1].splitlines()]

    def process(self, name):
        """Its id, and when it was started, by which it is told from a later one."""
        return tuple(Path(self.folder, f"{name}.pid").read_text().split())

    def port(self, name):
        return Path(self.folder, f"{name}.port").read_text().strip()

    def secret(self, name):
        return Path(self.folder, "secrets", name).read_text().strip()

    def call(self, method, path, body=None, key=None, headers=None):
        """The headers and the body of a response through nginx."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port('nginx')}{path}", method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {key or self.secret('admin_key')}", "content-type": "application/json"} | (headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:
                return answer.headers, answer.read().decode()
        except urllib.error.HTTPError as refused:
            raise Refused(refused.code, refused.read().decode(errors="replace")) from None

    def make(self, path, **body):
        """What was made by one node is known to the other within a second."""
        until = time.monotonic() + KNOWN_SECONDS
        while True:
            try:
                return json.loads(self.call("POST", f"/v1/admin{path}", body)[1])
            except Refused as refused:
                if refused.status != 404 or time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def events(self, *types):
        after, found = 0, []
        while lines := self.call("GET", f"/v1/events?limit=1000&after={after}&types={','.join(types)}")[1].splitlines():
            found += map(json.loads, lines)
            after = found[-1]["position"]
        return found

    def calls_grpc(self):
        """Whether nginx passes gRPC on to a process that serves it."""
        call = ["curl", "--silent", "--noproxy", "*", "--http2-prior-knowledge", "--max-time", str(CALL_SECONDS),
                "--data-binary", "@-", "--header", "content-type: application/grpc", "--header", "te: trailers",
                f"http://127.0.0.1:{self.port('nginx-grpc')}/grpc.health.v1.Health/Check"]
        return subprocess.run(call, input=EMPTY, capture_output=True, timeout=2 * CALL_SECONDS).stdout == SERVING

    def series(self):
        """What all processes show under /metrics."""
        series = Series()
        for path in self.folder.glob("*-metrics.port"):
            if path.name.removesuffix("-metrics.port") in self.names():
                address = f"http://127.0.0.1:{path.read_text().strip()}/metrics"
                with urllib.request.urlopen(address, timeout=CALL_SECONDS) as answer:
                    series.add(answer.read().decode())
        return series

    def ledgerway(self, *arguments):
        secrets = {"DATABASE_URL": "owner_url", "NODE_KEY": "node_key", "OBJECT_STORE_URL": "object_store_url"}
        env = {f"LEDGERWAY_{name}_FILE": str(Path(self.folder, "secrets", file)) for name, file in secrets.items()}
        env |= {"PATH": os.environ["PATH"], "LEDGERWAY_DATA": str(self.folder / "http-1")}
        ended = subprocess.run([self.binary, *arguments], env=env, text=True, capture_output=True, timeout=COMMAND_SECONDS)
        return ended.returncode, ended.stdout + ended.stderr


class World:
    """A tenant with a budget, and models that are served, fail, and report what cannot be."""

    def __init__(self, topology, upstream):
        self.topology, self.upstream = topology, upstream
        provider = topology.make("/providers", name="upstream", kind="openai", base_url=upstream.origin, api_key="k",
                                 allow_private_network=True)["id"]
        self.prices = {}
        for model in ("serves", "fails", "lies"):
            self.prices[model] = topology.make("/prices", provider_id=provider, model=model, input_usd_per_mtok="1",
                                               output_usd_per_mtok="2")["id"]
            target = {"provider_id": provider, "model": model, "context_window": 4096, "max_output_tokens": 512,
                      "default_max_output_tokens": 64}
            topology.make("/models", name=model, targets=[target])
        self.tenant = topology.make("/tenants", name="topology")["id"]
        user = topology.make("/users", tenant_id=self.tenant, name="u", email="u@example.com")["id"]
        self.budget = topology.make("/budgets", scope={"tenant_id": self.tenant}, limit_usd=LIMIT, period="total")["id"]
        names = ("rich", "poor", "tight", "limited")
        self.key, self.poor, self.tight, self.limited = (topology.make("/keys", user_id=user, name=name) for name in names)
        topology.make("/budgets", scope={"key_id": self.poor["id"]}, limit_usd="0.000000001", period="total")
        tight = {"key_id": self.tight["id"]}
        self.tight_budget = topology.make("/budgets", scope=tight, limit_usd=TIGHT_LIMIT, period="total")["id"]
        topology.make("/rate-limits", scope={"key_id": self.limited["id"]}, requests_per_minute=REQUESTS_A_MINUTE)
        topology.make("/rate-limits", scope={"tenant_id": self.tenant}, requests_per_minute=1_000_000)
        time.sleep(1)

    def chat(self, model="serves", key=None, **fields):
        """The id of the request."""
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}]} | fields
        headers, text = self.topology.call("POST", "/v1/chat/completions", body, (key or self.key)["secret"],
                                           {"idempotency-key": uuid.uuid4().hex})
        if fields.get("stream") and not text.rstrip().endswith("data: [DONE]"):
            raise Refused(200, f"a stream without its end: {text[-300:]}")
        return headers["x-request-id"]

    def refused(self, status, *arguments, **fields):
        try:
            self.chat(*arguments, **fields)
        except Refused as refused:
            if refused.status == status:
                return
            raise
        raise SystemExit(f"{arguments} {fields} is served, and not refused with {status}")

    def traffic(self):
        """Something for every metric."""
        for _ in range(3):
            self.chat()
            self.chat(stream=True, stream_options={"include_usage": True})
        self.refused(429, "serves", self.poor)
        self.refused(502, "fails")
        self.chat("lies")
        # A feature that the provider's dialect does not have, and a count of tokens.
        said = {"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}
        message = {"model": "serves", "messages": [{"role": "user", "content": [said]}]}
        for path, body in (("/v1/messages", message | {"max_tokens": 16}), ("/v1/messages/count_tokens", message)):
            self.topology.call("POST", path, body, self.key["secret"])
        # A price that was wrong.
        self.topology.call("PATCH", f"/v1/admin/prices/{self.prices['serves']}", {"output_usd_per_mtok": "3"})
        return wait_until("charges are corrected", lambda: self.topology.events("budget.adjusted.v1"))


class Load:
    """Clients that send one request after the other, and remember which were served. Two of three keys have less than they ask
    for."""

    def __init__(self, world):
        self.world, self.served, self.failed, self.ended = world, [], 0, threading.Event()
        self.refused = {"insufficient_quota": 0, "rate_limit_exceeded": 0}
        self.threads = [threading.Thread(target=self.run, args=(bool(number % 2),)) for number in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def run(self, is_stream):
        fields = {"max_tokens": 16} | ({"stream": True} if is_stream else {})
        for key in itertools.cycle((self.world.key, self.world.tight, self.world.limited)):
            if self.ended.is_set():
                return
            try:
                self.served.append(self.world.chat(key=key, **fields))
            except (Refused, OSError, http.client.HTTPException) as failure:
                if not self.note_refusal(failure, key):
                    self.failed += 1
                    time.sleep(0.05)

    def note_refusal(self, failure, key):
        """Whether it is what the key's budget or limit is there for."""
        wanted = {self.world.tight["id"]: "insufficient_quota", self.world.limited["id"]: "rate_limit_exceeded"}.get(key["id"])
        if not isinstance(failure, Refused) or failure.status != 429 or f'"{wanted}"' not in failure.body:
            return False
        self.refused[wanted] += 1
        return True

    def wait_for_more(self, name):
        """Every client is served again."""
        until, wanted = time.monotonic() + BACK_SECONDS, len(self.served) + 3 * CLIENTS
        while len(self.served) < wanted:
            if time.monotonic() > until:
                raise SystemExit(f"requests are not served {BACK_SECONDS} s after {name} was killed{self.world.topology.logs()}")
            time.sleep(0.05)

    def stop(self):
        """Whether every client was there until the end."""
        self.ended.set()
        all_there = all(thread.is_alive() for thread in self.threads)
        for thread in self.threads:
            thread.join(CALL_SECONDS + 5)
        return all_there


def kill_in_turn(topology, load, seconds):
    names = [name for name in KILLED if name in topology.names()]
    for name in names:
        process, failed = topology.process(name), load.failed
        topology.must("kill", name)
        code, said = topology.run("status")
        if code == 0 or not any(line.split()[:2] == [name, "stopped"] for line in said.splitlines()):
            yield f"{name} was killed, and status ends with {code}: {said}"
        if name not in ("postgres", "nginx"):
            load.wait_for_more(name)
        time.sleep(seconds / len(names))
        topology.must("start", name)
        if topology.process(name) == process:
            yield f"{name} was not started again"
        load.wait_for_more(name)
        print(f"ok {name} was killed and started: {load.failed - failed} requests failed meanwhile", flush=True)


def wait_until(what, is_so):
    until = time.monotonic() + BACK_SECONDS
    while not is_so():
        if time.monotonic() > until:
            return [f"after {BACK_SECONDS} s, it is not so that {what}"]
        time.sleep(0.3)
    return []


def wrong_books(topology, world, load):
    """Whether the log has every request that was served, and the money adds up."""
    completed = {event["request_id"] for event in topology.events("inference.completed.v1")}
    missing = [request for request in load.served if request not in completed]
    if missing:
        yield f"{len(missing)} of {len(load.served)} requests that were served are not in the log: {missing[:3]}"
    charged = sum(Decimal(event["data"][CHARGES[event["type"]]]) for event in topology.events(*CHARGES))
    head = json.loads(topology.call("GET", "/v1/log/head")[1])["position"]
    budget = json.loads(topology.call("GET", f"/v1/budgets/{world.budget}?min_position={head}")[1])
    if Decimal(budget["settled_usd"]) != charged or not 0 < charged <= Decimal(LIMIT):
        yield f"the budget has {budget['settled_usd']} of {LIMIT}, and the log {charged}"
    tight = json.loads(topology.call("GET", f"/v1/budgets/{world.tight_budget}?min_position={head}")[1])
    if not 0 < Decimal(tight["settled_usd"]) <= Decimal(TIGHT_LIMIT):
        yield f"the tight budget has {tight['settled_usd']} of {TIGHT_LIMIT}"
    yield from (f"nothing was refused with {code}" for code, number in load.refused.items() if number == 0)
    yield from wrong_windows(topology, world)
    code, said = topology.ledgerway("verify")
    if code != 0:
        yield f"verify ends with {code}: {said}"


def wrong_windows(topology, world):
    """Whether more was admitted in a minute than docs/limits.md says of a Redis that keeps its data."""
    admitted = [datetime.fromisoformat(event["recorded_at"]) for event in topology.events("inference.admitted.v1")
                if event["key_id"] == world.limited["id"]]
    first, fullest = 0, 0
    for number, at in enumerate(admitted):
        while at - admitted[first] >= timedelta(minutes=1):
            first += 1
        fullest = max(fullest, number - first + 1)
    if not 0 < fullest <= REQUESTS_A_MINUTE + REQUESTS_A_MINUTE // NODES * (NODES_SEEN - 1):
        yield f"{fullest} requests were admitted in a minute, and the limit is {REQUESTS_A_MINUTE}"


def wrong_roles(topology):
    """Whether what workers copy has come to the end of the log."""
    def is_copied():
        text = Series()
        address = f"http://127.0.0.1:{topology.port('worker-metrics')}/metrics"
        with urllib.request.urlopen(address, timeout=CALL_SECONDS) as answer:
            body = answer.read().decode()
        text.add(body)
        lags = [line.split() for line in body.splitlines() if line.startswith("ledgerway_role_lag_events{")]
        return len(lags) == len(text.samples["ledgerway_role_working"]) and all(lag == "0" for _, lag in lags)
    yield from wait_until("each role has copied the log to its end", is_copied)


def wrong_copies(topology):
    """Whether the stream on NATS, the archive and the analysts have the whole log. Nothing is recorded meanwhile, except for what
    says who has read it."""
    head = json.loads(topology.call("GET", "/v1/log/head")[1])["position"]
    url = topology.secret("nats_url")
    yield from wait_until(f"the stream on NATS has {head}", lambda: nats.last_sequence(url) >= head)
    said = ""

    def is_archived():
        nonlocal said
        code, said = topology.ledgerway("verify", "--json", "--archive", topology.secret("object_store_url"))
        archived = next((json.loads(line)["events"] for line in said.splitlines() if line.startswith("{")), 0)
        return code == 0 and archived >= head
    yield from (f"{late}: {said}" for late in wait_until(f"verify --archive ends with 0 and has {head} events", is_archived))
    code, said = topology.ledgerway("verify", "--copy", topology.secret("owner_url"))
    if code != 0:
        yield f"verify --copy ends with {code}: {said}"


def wrong_outside(topology):
    """What nginx keeps from outside, and what it does not."""
    try:
        topology.call("GET", "/metrics")
        yield "nginx serves /metrics"
    except Refused as refused:
        if refused.status != 404:
            yield f"/metrics is {refused.status}"
    if any(path.stat().st_mode & 0o077 for path in [topology.folder / "secrets"]):
        yield "others can enter the folder of the secrets"


def check(folder, binary, seconds, wrong_queries):
    """What is wrong with a topology in `folder`; `wrong_queries` looks at its metrics."""
    topology, upstream = Topology(Path(folder, "topology"), binary), Upstream()
    processes = []
    try:
        topology.must("up")
        processes = [topology.process(name) for name in topology.names()]
        world = World(topology, upstream)
        yield from world.traffic()
        yield from wrong_outside(topology)
        if not topology.calls_grpc():
            yield "gRPC is not served through nginx"
        yield from wrong_queries(topology.series())
        load = Load(world)
        try:
            load.wait_for_more("nothing")
            yield from kill_in_turn(topology, load, seconds)
        finally:
            all_there = load.stop()
        if not all_there:
            yield "a client of the test has ended by itself"
        processes += [topology.process(name) for name in topology.names()]
        # Those whose process was killed expire, unless their node ended them.
        yield from wrong_books(topology, world, load)
        yield from wrong_roles(topology)
        yield from wrong_copies(topology)
        topology.must("status")
        print(f"ok topology: {len(topology.names())} processes, {len(load.served)} requests served, {load.failed} not")
    finally:
        topology.run("down", "--volumes")
        upstream.stop()
    if topology.folder.exists():
        yield "down --volumes leaves the folder"
    yield from (f"process {number} is left over" for number, started in processes if is_running(number, started))


def is_running(process, started):
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    # One that has ended and that nobody has asked for is no process any more.
    return fields[0] != "Z" and fields[19] == started
