"""The end of the stream on NATS, asked in its own protocol."""
import json
import re
import socket

SECONDS = 10
STREAM = "LEDGERWAY"
# Users may subscribe to such subjects alone.
ANSWER = "_INBOX.answer"


def last_sequence(url):
    """Of the stream that has the copy of the log; `url` is `nats://USER:PASSWORD@HOST:PORT`."""
    user, password, host, port = re.fullmatch(r"nats://(\w+):(\w+)@([\w.]+):(\d+)", url).groups()
    with socket.create_connection((host, int(port)), SECONDS) as connection, connection.makefile("rwb") as stream:
        stream.readline()
        connect = json.dumps({"user": user, "pass": password, "verbose": False, "pedantic": False})
        stream.write(f"CONNECT {connect}\r\nSUB {ANSWER} 1\r\nPUB $JS.API.STREAM.INFO.{STREAM} {ANSWER} 0\r\n\r\n".encode())
        stream.flush()
        while line := stream.readline():
            if line.startswith(b"MSG "):
                return json.loads(stream.read(int(line.split()[-1])))["state"]["last_seq"]
            if line.startswith(b"-ERR"):
                break
    raise SystemExit(f"NATS does not answer: {line}")
