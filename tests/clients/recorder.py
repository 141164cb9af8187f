"""An upstream of every family that remembers what it was sent. `GET /recorded` gives the requests since it was last asked.
Streams are refused with a 400: only what they were asked with matters. Serves until its standard input ends; its address
is the first line that it prints."""
import base64
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWERS = {
    r"/v1/messages": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "Yes."}],
        "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 2}},
    r"/api/chat": {
        "model": "m", "created_at": "2026-11-22T08:00:00Z", "message": {"role": "assistant", "content": "Yes."},
        "done": True, "done_reason": "stop", "prompt_eval_count": 9, "eval_count": 2},
    r".*:generateContent": {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "Yes."}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11}, "modelVersion": "m"},
    r"/model/.*/converse": {
        "output": {"message": {"role": "assistant", "content": [{"text": "Yes."}]}}, "stopReason": "end_turn",
        "usage": {"inputTokens": 9, "outputTokens": 2, "totalTokens": 11}, "metrics": {"latencyMs": 1}},
    r"/v2/chat": {
        "id": "c1", "message": {"role": "assistant", "content": [{"type": "text", "text": "Yes."}]},
        "finish_reason": "COMPLETE",
        "usage": {"billed_units": {"input_tokens": 9, "output_tokens": 2}, "tokens": {"input_tokens": 9, "output_tokens": 2}}},
    r"/v2/embed": {
        "id": "e1", "embeddings": {"float": [[0.5, -0.25], [0.25, 1.0]]}, "texts": ["a", "b"],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 9}},
        "response_type": "embeddings_by_type"},
    r"/api/embed": {"model": "m", "embeddings": [[0.5, -0.25], [0.25, 1.0]], "prompt_eval_count": 9},
    r".*:batchEmbedContents": {"embeddings": [{"values": [0.5, -0.25]}, {"values": [0.25, 1.0]}]},
    r".*/chat/completions": {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}}}
recorded, lock = [], threading.Lock()


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        with lock:
            recorded.append({
                "path": self.path, "headers": {name.lower(): value for name, value in self.headers.items()},
                "body": base64.b64encode(body).decode()})
        path = self.path.partition("?")[0]
        found = [answer for pattern, answer in ANSWERS.items() if re.fullmatch(pattern, path)]
        is_streamed = b'"stream":true' in body.replace(b" ", b"") or "stream" in path
        self.answer(200 if found and not is_streamed else 400, found[0] if found else {"error": path})

    def do_GET(self):
        with lock:
            given, recorded[:] = recorded[:], []
        self.answer(200, given)

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"http://127.0.0.1:{server.server_port}", flush=True)
sys.stdin.read()
