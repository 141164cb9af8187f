"""A mock provider that speaks OpenAI and Anthropic. The model `tools` calls a tool, any other says `TEXT`."""
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = "The quick brown fox jumps over the lazy dog"
TOOL, ARGUMENTS = "get_weather", {"city": "Paris", "unit": "C"}
TOKENS_IN, TOKENS_OUT = 12, 9
WORDS = [word if first == 0 else f" {word}" for first, word in enumerate(TEXT.split(" "))]
HALVES = (json.dumps(ARGUMENTS)[:9], json.dumps(ARGUMENTS)[9:])


class Provider:
    """Serves on a free port of 127.0.0.1 until `close()`."""

    def __init__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.origin = f"http://127.0.0.1:{self.server.server_port}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        calls_tool, model = body["model"] == "tools", body["model"]
        if self.path.endswith("/messages"):
            whole, frames = anthropic_message(model, calls_tool), anthropic_frames(model, calls_tool)
        else:
            include_usage = (body.get("stream_options") or {}).get("include_usage")
            whole, frames = openai_answer(model, calls_tool), openai_frames(model, calls_tool, include_usage)
        text = "".join(frames) if body.get("stream") else json.dumps(whole)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream" if body.get("stream") else "application/json")
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())


def openai_usage():
    return {"prompt_tokens": TOKENS_IN, "completion_tokens": TOKENS_OUT, "total_tokens": TOKENS_IN + TOKENS_OUT}


def openai_answer(model, calls_tool):
    message = {"role": "assistant", "content": None if calls_tool else TEXT}
    if calls_tool:
        function = {"name": TOOL, "arguments": json.dumps(ARGUMENTS)}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls_tool else "stop"}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice],
            "usage": openai_usage()}


def openai_frames(model, calls_tool, include_usage):
    def chunk(choices, **more):
        body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
        return f"data: {json.dumps({**body, 'choices': choices, **more})}\n\n"

    def delta(finish_reason=None, **fields):
        return chunk([{"index": 0, "delta": fields, "finish_reason": finish_reason}])

    yield delta(role="assistant", content="")
    if calls_tool:
        function = {"name": TOOL, "arguments": HALVES[0]}
        yield delta(tool_calls=[{"index": 0, "id": "call_1", "type": "function", "function": function}])
        yield delta(tool_calls=[{"index": 0, "function": {"arguments": HALVES[1]}}])
    else:
        yield from (delta(content=word) for word in WORDS)
    yield delta("tool_calls" if calls_tool else "stop")
    if include_usage:
        yield chunk([], usage=openai_usage())
    yield "data: [DONE]\n\n"


def anthropic_message(model, calls_tool):
    block = {"type": "text", "text": TEXT}
    if calls_tool:
        block = {"type": "tool_use", "id": "toolu_1", "name": TOOL, "input": ARGUMENTS}
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [block],
            "stop_reason": "tool_use" if calls_tool else "end_turn", "stop_sequence": None,
            "usage": {"input_tokens": TOKENS_IN, "output_tokens": TOKENS_OUT}}


def anthropic_frames(model, calls_tool):
    def frame(type, **data):
        return f"event: {type}\ndata: {json.dumps({'type': type, **data})}\n\n"

    start = anthropic_message(model, calls_tool) | {"content": [], "stop_reason": None}
    start["usage"] = {"input_tokens": TOKENS_IN, "output_tokens": 1}
    yield frame("message_start", message=start)
    if calls_tool:
        block = {"type": "tool_use", "id": "toolu_1", "name": TOOL, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": half} for half in HALVES]
    else:
        block = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": word} for word in WORDS]
    yield frame("content_block_start", index=0, content_block=block)
    yield frame("ping")
    yield from (frame("content_block_delta", index=0, delta=delta) for delta in deltas)
    yield frame("content_block_stop", index=0)
    stop = {"stop_reason": "tool_use" if calls_tool else "end_turn", "stop_sequence": None}
    yield frame("message_delta", delta=stop, usage={"output_tokens": TOKENS_OUT})
    yield frame("message_stop")
