"""The audit as OCSF, judged by the schema of OCSF: what a gateway gives after a bit of everything, and the golden line of each type
that is audited. rsyslog, which is not made for this gateway, takes the stream of the same entries."""
import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
from pathlib import Path

from started import HERE, Gateway, run

GOLDEN = HERE.parent / "golden/siem/ocsf.lines"
ALL = "category=administration,money,access,inference,reads"
TYPES_MIN, CLIENT_SECONDS, SOON_SECONDS = 25, 60, 30
RSYSLOG = """
global(maxMessageSize="128k" workDirectory="{folder}")
module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="0" listenPortFileName="{folder}/port")
template(name="whole" type="string" string="%app-name% %msgid% %msg%\\n")
action(type="omfile" file="{folder}/received" template="whole" flushOnTXEnd="on")
"""


class Rsyslog:
    """A receiver on a free port that writes what it gets into a file."""

    def __init__(self, folder):
        self.folder = Path(folder, "rsyslog")
        self.folder.mkdir()
        config = Path(self.folder, "conf")
        config.write_text(RSYSLOG.format(folder=self.folder))
        program = shutil.which("rsyslogd") or "/usr/sbin/rsyslogd"
        self.process = subprocess.Popen([program, "-n", "-f", config, "-i", Path(self.folder, "pid")])
        self.port = until(lambda: Path(self.folder, "port").exists() and Path(self.folder, "port").read_text().strip())

    def received(self):
        path = Path(self.folder, "received")
        return path.read_text().splitlines() if path.exists() else []


def until(found):
    deadline = time.monotonic() + SOON_SECONDS
    while not (value := found()):
        if time.monotonic() > deadline:
            raise SystemExit("siem: what was waited for has not come")
        time.sleep(0.05)
    return value


def refused(gateway, *call, **more):
    try:
        gateway.call(*call, **more)
    except urllib.error.HTTPError:
        return
    raise SystemExit(f"siem: {call} is not refused")


def change_everything(gateway):
    """Kinds of resources, made, changed and ended; and refusals of each kind, of a key that has ended too."""
    made = {}

    def make(path, **body):
        made[path] = gateway.make(path, **body)["id"]
        return made[path]

    partner = make("/partners", name="a|b=c\\d")
    tenant = make("/tenants", partner_id=partner, name="north")
    user = make("/users", tenant_id=tenant, name="Grace", email="grace@example.com")
    make("/teams", tenant_id=tenant, name="search", user_ids=[user])
    provider = make("/providers", name="sim", kind="simulator")
    make("/prices", provider_id=provider, model="echo", input_usd_per_mtok="1", output_usd_per_mtok="2")
    make("/models", name="echo", targets=[{"provider_id": provider, "model": "echo"}])
    make("/budgets", scope={"tenant_id": tenant}, limit_usd="0.000000001", period="total")
    make("/rate-limits", scope={"tenant_id": tenant}, requests_per_minute=3)
    make("/audit-searches", tenant_id=tenant, name="keys", filter={"action": "key.created"})
    key = gateway.make("/keys", user_id=user, name="app", permissions=["models:use"])
    made["/keys"] = key["id"]
    chat = {"model": "echo", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 16}
    for _ in range(5):
        refused(gateway, "POST", "/v1/chat/completions", chat, key=key["secret"])
    refused(gateway, "GET", "/v1/usage", key="sgk_wrong")
    refused(gateway, "POST", "/v1/admin/providers", {"name": "sim", "kind": "simulator"})
    gateway.call("POST", f"/v1/admin/keys/{key['id']}/rotate", {})
    for path, change in (("/partners", {"name": "p"}), ("/tenants", {"name": "t"}), ("/users", {"name": "Ada"}), ("/teams", {"user_ids": []}),
                         ("/keys", {"name": "k"}), ("/providers", {"timeout_ms": 1000}), ("/models", {"name": "e"}),
                         ("/budgets", {"limit_usd": "1"}), ("/rate-limits", {"requests_per_minute": 4}),
                         ("/audit-searches", {"name": "k"})):
        gateway.call("PATCH", f"/v1/admin{path}/{made[path]}", change)
    for path in ("/keys", "/models", "/prices", "/providers", "/budgets", "/rate-limits", "/audit-searches", "/teams", "/users", "/tenants",
                 "/partners"):
        gateway.call("DELETE", f"/v1/admin{path}/{made[path]}")
    refused(gateway, "GET", "/v1/usage", key=key["secret"])
    gateway.call("GET", "/v1/audit")


def lines_of(gateway, form):
    head = json.loads(gateway.call("GET", "/v1/log/head"))["position"]
    return gateway.call("GET", f"/v1/audit?format={form}&limit=1000&min_position={head}&{ALL}").decode().splitlines()


def check_stream(rsyslog, lines):
    """Each entry after the first that came, once or more, as queries give it but for names."""
    came = {}
    for text in rsyslog.received():
        app, kind, line = text.split(" ", 2)
        event = json.loads(line)
        came[event["metadata"]["sequence"]] = event
        if (app, kind) != ("ledgerway", event["metadata"]["event_code"]):
            yield f"rsyslog reads {app} and {kind} from {line}"
    for line in lines:
        event = json.loads(line)
        for named in (event.get("actor", {}).get("user", {}), *event.get("resources", []), event.get("user", {})):
            if "uid" in named:
                named.pop("name", None)
        if event["metadata"]["sequence"] >= min(came) and came.get(event["metadata"]["sequence"]) != event:
            yield f"rsyslog has {came.get(event['metadata']['sequence'])} for {event}"


# Holds: query.audit-ocsf, audit.stream
def check(binary, python):
    """Runs it; yields what is wrong."""
    wrong = []
    with tempfile.TemporaryDirectory(prefix="ledgerway-siem-") as folder:
        rsyslog = Rsyslog(folder)
        settings = {
            "LEDGERWAY_RECORD_READS": "true",
            "LEDGERWAY_AUDIT_SYSLOG": f"tcp://127.0.0.1:{rsyslog.port}",
            # Queries give whole entries, and rsyslog takes as much here.
            "LEDGERWAY_AUDIT_MESSAGE_BYTES": "131072",
        }
        gateway = Gateway(binary, folder, settings)
        try:
            until(lambda: b'"audit_stream":"working"' in gateway.call("GET", "/health").replace(b" ", b""))
            change_everything(gateway)
            until(lambda: any('"access.read"' in line for line in lines_of(gateway, "ocsf")))
            lines = lines_of(gateway, "ocsf")
            last = json.loads(lines[0])["metadata"]["sequence"]
            until(lambda: any(f'"sequence":{last},' in line for line in rsyslog.received()))
            wrong += check_stream(rsyslog, lines)
            types = {json.loads(line)["metadata"]["event_code"] for line in lines}
            if len(types) < TYPES_MIN:
                wrong.append(f"only {len(types)} types: {sorted(types)}")
            command = [python, str(HERE / "siem_client.py")]
            given = Path(folder, "ocsf.lines")
            given.write_text("".join(line + "\n" for line in lines))
            status, said, complained = run(command, {"files": [str(given), str(GOLDEN)]}, CLIENT_SECONDS)
            if status != 0:
                wrong.append((said + complained)[-3000:])
            if (status := gateway.stop()) != 0:
                wrong.append(f"the gateway ends with {status}")
        finally:
            for process in (gateway.process, rsyslog.process):
                process.kill()
                process.wait()
    print("FAIL siem: " + "\n".join(wrong) if wrong else "ok siem", flush=True)
    yield from wrong
