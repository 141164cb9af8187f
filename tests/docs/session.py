"""One shell that is typed the blocks of some pages, in a folder of its own."""
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

from pages import agrees

SECONDS = 60
DOCUMENTED_ORIGIN = "http://127.0.0.1:8080"
DOCUMENTED_UPSTREAM = "http://127.0.0.1:11434"
SERVE = re.compile(r"^(ledgerway serve\b.*)$", re.MULTILINE)

# `curl` of a page is one that fails where it is refused. A page that is about refusals, or streams that never end, says so.
PREAMBLE = """set -euo pipefail
at() { echo "$1" >"$TOLD/at"; exec >"$TOLD/$1.out" 2>"$TOLD/$1.err"; }
curl() {
  case $HOW in
    refused) command curl --max-time 20 "$@" ;;
    endless) command curl --fail-with-body --max-time 2 "$@" || [ $? -eq 28 ] ;;
    *) command curl --fail-with-body --max-time 20 "$@" ;;
  esac
}
is_listening() {
  for _ in $(seq 200); do
    grep -q '^ledgerway listening' "$1" && sleep 0.2 && return
    sleep 0.1
  done
  return 1
}
stop_serving() {
  [ -n "${SERVING:-}" ] || return 0
  kill "$SERVING"
  wait "$SERVING"
  SERVING=
}
trap 'status=$?; stop_serving; exit $status' EXIT
"""


class Session:
    def __init__(self, binary, folder, provider):
        self.folder, self.told = Path(folder, "work"), Path(folder, "told")
        self.programs = Path(folder, "bin")
        for each in (self.folder, self.told, self.programs):
            each.mkdir(parents=True)
        Path(self.programs, "ledgerway").symlink_to(Path(binary).resolve())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % free.getsockname()[1]
        self.provider = provider

    def here(self, text):
        """What a page says, for this machine."""
        text = text.replace("cargo run --release -- ", "ledgerway ")
        text = text.replace(DOCUMENTED_UPSTREAM, self.provider)
        return text.replace(DOCUMENTED_ORIGIN, f"http://{self.address}")

    def script(self, blocks):
        yield PREAMBLE
        for number, block in enumerate(blocks):
            text = self.here(block.text)
            if SERVE.search(text):
                # A page that serves once more has said that the gateway before is to be stopped.
                text = "stop_serving\n" + SERVE.sub(r"\1 & SERVING=$!", text) + f'is_listening "$TOLD/{number}.out"\n'
            yield f"HOW={block.how or 'plain'}; at {number}\n{text}"

    def run(self, blocks):
        """What is wrong with them; ends at the first command that fails."""
        path = Path(self.told, "script")
        path.write_text("\n".join(self.script(blocks)))
        status = self.typed(path)
        if status != 0:
            return [self.failed(blocks, status)]
        return [wrong for number, block in enumerate(blocks) for wrong in self.differs(number, block)]

    def typed(self, path):
        env = {name: value for name, value in os.environ.items() if not name.startswith(("LEDGERWAY_", "OTEL_", "OPENAI_"))}
        env |= {"LEDGERWAY_LISTEN": self.address, "LEDGERWAY_PROVIDERS_FROM_ENV": "off", "TOLD": str(self.told),
                "HOME": str(self.folder),
                "PATH": f"{self.programs}:{env['PATH']}"}
        shell = subprocess.Popen(["bash", str(path)], cwd=self.folder, env=env, stdin=subprocess.DEVNULL,
                                 start_new_session=True)
        try:
            return shell.wait(SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
            return f"nothing after {SECONDS} seconds"

    def told_by(self, number, stream):
        path = Path(self.told, f"{number}.{stream}")
        return path.read_text() if path.exists() else ""

    def failed(self, blocks, status):
        at = Path(self.told, "at")
        number = int(at.read_text()) if at.exists() else 0
        said = (self.told_by(number, "out") + self.told_by(number, "err"))[-2000:]
        return f"{blocks[number].where} ends with {status}:\n{blocks[number].text}{said}"

    def differs(self, number, block):
        came = self.told_by(number, "out")
        if block.answer is not None and not agrees(self.here(block.answer), came):
            yield f"{block.where} shows\n{block.answer}and answers\n{came[:2000]}"
