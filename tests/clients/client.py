"""The `openai` package as it is installed, against a gateway. Reads what to ask from CLIENT_TEST (JSON)."""
import json
import os

import openai

test = json.loads(os.environ["CLIENT_TEST"])
client = openai.OpenAI(base_url=test["base_url"], api_key=test["key"], timeout=20)
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": test["tool"], "description": "The weather", "parameters": PARAMETERS}}]
ASK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


def same(got, wanted, what):
    if got != wanted:
        raise SystemExit(f"{what}: wanted {wanted!r}, got {got!r}")


def whole(backend):
    answer = client.chat.completions.create(model=backend["model"], messages=ASK, max_tokens=100)
    choice = answer.choices[0]
    same((answer.model, choice.finish_reason), (backend["model"], "stop"), "whole answer")
    same(bool(choice.message.content), True, "text")
    if backend["text"]:
        same(choice.message.content, backend["text"], "text")
    usage = answer.usage
    same(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens, "usage")
    return choice.message.content


def streamed(backend, text):
    stream = client.chat.completions.create(
        model=backend["model"], messages=ASK, max_tokens=100, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    same("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), text, "streamed text")
    same([bool(chunk.usage) for chunk in chunks].count(True), 1, "chunks with usage")
    same((chunks[-1].choices, chunks[-1].usage.total_tokens > 0), ([], True), "the last chunk")
    same({chunk.model for chunk in chunks}, {backend["model"]}, "model of the chunks")


def tool_calls(backend):
    ask = {"model": backend["tools_model"], "messages": ASK, "tools": TOOLS,
           "tool_choice": {"type": "function", "function": {"name": test["tool"]}}}
    choice = client.chat.completions.create(**ask).choices[0]
    call = choice.message.tool_calls[0]
    same((choice.finish_reason, call.function.name), ("tool_calls", test["tool"]), "tool call")
    arguments = json.loads(call.function.arguments)
    if backend["arguments"] is not None:
        same(arguments, backend["arguments"], "arguments")
    with client.chat.completions.stream(**ask) as stream:
        final = stream.get_final_completion().choices[0]
    call = final.message.tool_calls[0]
    same((final.finish_reason, call.function.name), ("tool_calls", test["tool"]), "streamed tool call")
    same(json.loads(call.function.arguments), arguments, "streamed arguments")
    result = [{"role": "assistant", "content": None, "tool_calls": [
        {"id": call.id, "type": "function", "function": {"name": test["tool"], "arguments": call.function.arguments}}]},
        {"role": "tool", "tool_call_id": call.id, "content": "12 degrees"}]
    answer = client.chat.completions.create(model=backend["model"], messages=ASK + result, tools=TOOLS)
    same(bool(answer.choices[0].message.content), True, "an answer after the tool's result")


def raised(kind, action):
    try:
        action()
    except kind as error:
        return error
    raise SystemExit(f"no {kind.__name__}")


def refusals():
    ask = {"model": test["backends"][0]["model"], "messages": ASK}
    stranger = openai.OpenAI(base_url=test["base_url"], api_key="sgk_garbage", max_retries=0)
    error = raised(openai.AuthenticationError, lambda: stranger.chat.completions.create(**ask))
    same(error.code, "invalid_api_key", "code of a bad key")
    unknown = ask | {"model": "no-such-model"}
    error = raised(openai.NotFoundError, lambda: client.chat.completions.create(**unknown))
    same(error.code, "model_not_found", "code of an unknown model")
    poor = openai.OpenAI(base_url=test["base_url"], api_key=test["poor_key"], max_retries=2)
    error = raised(openai.RateLimitError, lambda: poor.chat.completions.create(**ask))
    same((error.code, error.type), ("insufficient_quota",) * 2, "code of an empty budget")


for backend in test["backends"]:
    streamed(backend, whole(backend))
    tool_calls(backend)
refusals()
listed = {model.id for model in client.models.list()}
same({backend["model"] for backend in test["backends"]} - listed, set(), "models that are not listed")
