"""The consumer of docs/billing.md that is written in Python, killed at any time, as NATS is, and two at once: what they have counted is
what the gateway charged. tests/blackbox/billing.rs does the same with the one in Rust, and kills the gateway as well."""
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import accounts
from started import HERE, Gateway, run

CONSUMER = HERE.parents[1] / "docs/examples/billing/consumer.py"
MAKE_SECRETS = HERE.parents[1] / "compose/make-secrets"
CHARGES = {"budget.settled.v1": "charged_usd", "budget.expired.v1": "charged_usd", "budget.adjusted.v1": "delta_usd"}
ROUNDS, SEED, LOCKED_SECONDS, TOGETHER_SECONDS = 24, 16, 0.3, 8
READY_SECONDS, COUNTS_SECONDS, COUNTED_SECONDS = 20, 5, 90


class Nats:
    """A server on a free port, which keeps it when it is started again. With users, they are those of the topology."""

    def __init__(self, folder, with_users=False):
        self.program = shutil.which("nats-server") or "/usr/sbin/nats-server"
        # Below the ports from which the system takes those of clients.
        while not self.is_free(port := random.SystemRandom().randrange(10_000, 20_000)):
            pass
        self.port, self.folder, self.with_users = port, folder, with_users
        if with_users:
            subprocess.run([MAKE_SECRETS, folder], env=os.environ | {"NATS_AT": f"127.0.0.1:{port}"}, check=True)
        self.start()

    def secret(self, name):
        return Path(self.folder, name).read_text().strip()

    @staticmethod
    def is_free(port):
        with socket.socket() as trial:
            return trial.connect_ex(("127.0.0.1", port)) != 0

    def start(self):
        config = Path(self.folder, "nats.conf")
        store = Path(self.folder, "nats")
        # With the permissions that the topology gives to the gateway and to consumers.
        users = 'include "nats_users.conf"\n' if self.with_users else ""
        config.write_text(f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{store}" }}\n{users}')
        log = Path(self.folder, "nats.stderr").open("a")
        self.process = subprocess.Popen([self.program, "-c", config], stdout=log, stderr=log)
        deadline = time.monotonic() + READY_SECONDS
        while self.is_free(self.port):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise SystemExit("nats-server does not start")
            time.sleep(0.01)

    def kill(self):
        self.process.kill()
        self.process.wait()


class Consumer:
    def __init__(self, python, folder, nats):
        self.database = str(Path(folder, "billing.db"))
        self.command = [python, str(CONSUMER), f"nats://127.0.0.1:{nats.port}", self.database]
        self.env = os.environ | {"NATS_USER": "consumer", "NATS_PASSWORD": nats.secret("nats_consumer_password")}
        self.log = Path(folder, "billing.stderr")
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self.command, env=self.env, stderr=self.log.open("a"))

    def start_counting(self):
        """Starts it, and waits until it has counted something, unless it ends or has nothing to count."""
        before, deadline = self.ask("SELECT position FROM progress"), time.monotonic() + COUNTS_SECONDS
        self.start()
        while self.ask("SELECT position FROM progress") in (before, []) and time.monotonic() < deadline and self.process.poll() is None:
            time.sleep(0.01)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def kill_before_commit(self):
        """Kills it when it has got messages and cannot write what it has counted."""
        lock = sqlite3.connect(self.database, isolation_level=None, timeout=10)
        lock.execute("BEGIN IMMEDIATE")
        time.sleep(LOCKED_SECONDS)
        self.kill()
        lock.execute("ROLLBACK")
        lock.close()

    def ask(self, sql):
        database = sqlite3.connect(self.database)
        try:
            return database.execute(sql).fetchall()
        except sqlite3.OperationalError:
            return []  # it was killed before it had its tables
        finally:
            database.close()

    def come_to(self, position):
        """Lets it work, and starts it again if it ends. Whether it has come there."""
        deadline = time.monotonic() + COUNTED_SECONDS
        while self.ask("SELECT position FROM progress") != [(position,)] and time.monotonic() < deadline:
            if self.process.poll() is not None:
                self.start()
            time.sleep(0.1)
        self.kill()
        return self.ask("SELECT position FROM progress") == [(position,)]


def set_up(gateway):
    """Two tenants, each with a key."""
    provider = gateway.make("/providers", name="simulator", kind="simulator")["id"]
    gateway.make("/prices", provider_id=provider, model="echo", input_usd_per_mtok="0.3", output_usd_per_mtok="1.7", request_usd="0.000000001")
    target = {"provider_id": provider, "model": "echo", "context_window": 16_384, "max_output_tokens": 4_096}
    gateway.make("/models", name="m", targets=[target])
    for name in ("one", "two"):
        tenant = gateway.make("/tenants", name=name)["id"]
        user = gateway.make("/users", tenant_id=tenant, name=name, email=f"{name}@example.com")["id"]
        yield gateway.make("/keys", user_id=user, name=name)["secret"]


def load(gateway, keys, stopped):
    number = 0
    while not stopped.is_set():
        number += 1
        body = {"model": "m", "messages": [{"role": "user", "content": "word " * (number % 13 + 1)}]}
        gateway.call("POST", "/v1/inference/chat", body, key=keys[number % len(keys)])


def nano_usd(dollars):
    return int(dollars.replace(".", ""))


def under_load(gateway, nats, consumer, second):
    keys, stopped, draw = list(set_up(gateway)), threading.Event(), random.Random(SEED)
    asking = [threading.Thread(target=load, args=(gateway, keys, stopped)) for _ in range(2)]
    for thread in asking:
        thread.start()
    for number in range(ROUNDS):
        consumer.start_counting()
        time.sleep(draw.uniform(0, 0.2))
        (consumer.kill_before_commit if number % 2 else consumer.kill)()
        if number % 8 == 6:
            nats.kill()
            time.sleep(draw.uniform(0, 0.3))
            nats.start()
    for each in (consumer, second):
        each.start()
    time.sleep(TOGETHER_SECONDS)
    for each in (consumer, second):
        each.kill()
    stopped.set()
    for thread in asking:
        thread.join()
    wrong = accounts.wait_until_settled(gateway)
    events = gateway.events()
    charged = Counter()
    for event in events:
        if field := CHARGES.get(event["type"]):
            charged[event["tenant_id"]] += nano_usd(event["data"][field])
    consumer.start()
    if not consumer.come_to(events[-1]["position"]):
        wrong.append(f"it has not come to the end: {consumer.log.read_text()[-2000:]}")
    counted = dict(consumer.ask("SELECT tenant_id, nano_usd FROM charged"))
    if counted != charged or len(charged) != 2 or min(charged.values()) <= 0:
        wrong.append(f"counted {counted}, and charged was {dict(charged)}")
    return wrong


def without_messages(python):
    """What is wrong if messages are missing: they are on a server without the gateway's stream."""
    with tempfile.TemporaryDirectory(prefix="ledgerway-billing-") as folder:
        nats = Nats(folder)
        try:
            command = [python, str(HERE / "billing_client.py"), f"nats://127.0.0.1:{nats.port}", folder, str(CONSUMER)]
            status, said, complained = run(command, {}, COUNTED_SECONDS)
        finally:
            nats.kill()
    return [] if status == 0 else [(said + complained)[-2000:]]


# Holds: nats.billing
def check(binary, python):
    """Runs it; yields what is wrong."""
    with tempfile.TemporaryDirectory(prefix="ledgerway-billing-") as folder:
        nats = Nats(folder, with_users=True)
        gateway = Gateway(binary, folder, {"LEDGERWAY_NATS_URL": nats.secret("nats_url")})
        consumer, second = (Consumer(python, folder, nats) for _ in range(2))
        try:
            wrong = under_load(gateway, nats, consumer, second)
            if (status := gateway.stop()) != 0:
                wrong.append(f"the gateway ends with {status}")
            wrong += without_messages(python)
        finally:
            for process in filter(None, (gateway.process, nats.process, consumer.process, second.process)):
                process.kill()
                process.wait()
    print("FAIL billing: " + "\n".join(wrong) if wrong else "ok billing", flush=True)
    yield from wrong
