"""A provider for the topology: what it answers follows from the model's name."""
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
ABSURD = {"prompt_tokens": 900_000_000, "completion_tokens": 3, "total_tokens": 900_000_003}


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if request["model"] == "fails":
            return self.whole({"error": {"message": "out of order"}}, 500)
        usage = ABSURD if request["model"] == "lies" else USAGE
        if request.get("stream"):
            return self.stream(request["model"], usage)
        message = {"role": "assistant", "content": "one two three"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self.whole({"id": "c", "object": "chat.completion", "created": 1, "model": request["model"], "choices": [choice],
                    "usage": usage})

    def whole(self, body, status=200):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, model, usage):
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model}
        said = [{"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None} for word in ("one", "two")]
        ended = {"index": 0, "delta": {}, "finish_reason": "stop"}
        chunks = [chunk | {"choices": [choice]} for choice in [*said, ended]] + [chunk | {"choices": [], "usage": usage}]
        body = "".join(f"data: {json.dumps(each)}\n\n" for each in chunks) + "data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A gateway was killed while it read."""


class Upstream:
    def __init__(self):
        self.server = Server(("127.0.0.1", 0), Answer)
        self.origin = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
