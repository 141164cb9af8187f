"""Programs that are started on a free port of 127.0.0.1, say where they listen, and are stopped by their process id."""
import json
import os
import re
import subprocess
import threading
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
OPERATOR_KEY = "operator-key-of-the-client-tests-0123456789"
READY_SECONDS, STOP_SECONDS, CALL_SECONDS = 60, 20, 20


class Started:
    """A program whose first line on standard output that has an address says where it listens. What it says otherwise
    is in `log`. It keeps its standard input for as long as it is wanted."""

    def __init__(self, name, command, folder, env=None):
        self.name, self.log = name, Path(folder, f"{name}.stderr")
        self.process = subprocess.Popen(
            command, text=True, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log.open("w"))
        late = threading.Timer(READY_SECONDS, self.process.kill)
        late.start()
        found = None
        while found is None and (line := self.process.stdout.readline()):
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
        late.cancel()
        if found is None:
            raise SystemExit(f"{name} does not start: {self.log.read_text()[-2000:]}")
        self.origin = found[0]
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def stop(self):
        self.process.stdin.close()
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise SystemExit(f"{self.name} does not stop") from None


def aimock(node_folder, folder, *keys):
    """With keys, it answers nobody who has none of them."""
    name = "-".join(["aimock"] + ["keyed"] * len(keys))
    return Started(name, ["node", str(Path(node_folder, "aimock.mjs")), *keys], folder)


def llama(python, folder):
    return Started("llama", [python, str(HERE / "llama.py"), str(Path(folder, "model.gguf"))], folder)


def recorder(python, folder):
    return Started("recorder", [python, str(HERE / "recorder.py")], folder)


class Gateway(Started):
    def __init__(self, binary, folder, variables=None):
        self.binary, self.data = binary, str(Path(folder, "data"))
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("LEDGERWAY_")}
        command = [binary, "serve", "--listen", "127.0.0.1:0", "--data", self.data]
        # What is recorded a while after a read is off, unless a test is about it.
        settings = {"LEDGERWAY_ADMIN_KEY": OPERATOR_KEY, "LEDGERWAY_PROVIDERS_FROM_ENV": "off",
                    "LEDGERWAY_RECORD_READS": "false"}
        super().__init__("gateway", command, folder, self.env | settings | (variables or {}))

    def call(self, method, path, body=None, key=OPERATOR_KEY):
        request = urllib.request.Request(
            self.origin + path, method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {key}", "content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:
            return answer.read()

    def make(self, path, **body):
        return json.loads(self.call("POST", f"/v1/admin{path}", body))

    def events(self, *types):
        after, found = 0, []
        wanted = f"&types={','.join(types)}" if types else ""
        while lines := self.call("GET", f"/v1/events?limit=1000&after={after}{wanted}").splitlines():
            found += map(json.loads, lines)
            after = found[-1]["position"]
        return found

    def verify(self):
        """What is wrong with its data folder, once it has stopped; nothing where it is sound."""
        command = [self.binary, "verify", "--data", self.data]
        ended = subprocess.run(command, env=self.env, text=True, capture_output=True, timeout=60)
        return None if ended.returncode == 0 else f"verify says {ended.returncode}: {ended.stdout}{ended.stderr}"


def run(command, test, seconds):
    """Exit status, standard output and error of a client."""
    env = os.environ | {"CLIENT_TEST": json.dumps(test)}
    try:
        ended = subprocess.run(command, env=env, text=True, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired as late:
        return 1, "", f"not done after {seconds} s: {late.stdout} {late.stderr}"
    return ended.returncode, ended.stdout, ended.stderr
