"""LiteLLM as it is installed, used as a client of a gateway, in OpenAI's dialect or in Anthropic's."""
import gc
import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would ask the network for prices otherwise
import litellm
from asked import (BACKENDS, BASE_URL, CALL, CITY, DIALECT, HELLO, INPUTS, LONG, ORIGIN, RESULT, SHORT, SLOW, STRUCTURED, TEST, THINK,
                   TOOL, embedded, per_backend, refused, report, same, same_vectors, saw, seen)

# LiteLLM does not read Anthropic's streams to their ends, and httpcore closes one when it is collected. If that happens while
# the pool's lock is held, the process waits for itself forever.
gc.disable()

TOOLS = [{"type": "function", "function": {"name": TOOL, "description": "The weather", "parameters": CITY}}]


def ask(model, messages, key="rich_key", **more):
    asked = {"max_tokens": SHORT, "max_retries": 0, "timeout": 30} | more
    return litellm.completion(
        model=f"{DIALECT}/{model}", api_base=ORIGIN if DIALECT == "anthropic" else BASE_URL, api_key=TEST.get(key, key), messages=messages, **asked)


def asking(text):
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]


def answered(answer):
    saw(answer.usage.prompt_tokens, answer.usage.completion_tokens)
    return answer.choices[0]


def in_pieces(model, messages, **more):
    pieces = list(ask(model, messages, stream=True, stream_options={"include_usage": True}, **more))
    return litellm.stream_chunk_builder(pieces, messages=messages)


def whole(backend):
    choice = answered(ask(backend["model"], asking(HELLO), temperature=0.5))
    same(bool(choice.message.content), True, "text")
    same(choice.message.content, backend["text"] or choice.message.content, "text")


def streamed(backend):
    choice = answered(in_pieces(backend["model"], asking(HELLO)))
    same(choice.message.content, backend["text"] or choice.message.content, "streamed text")


def tools(backend):
    conversation = asking(CALL)
    choice = answered(in_pieces(backend["model"], conversation, tools=TOOLS))
    same(choice.message.tool_calls[0].function.name, TOOL, "streamed tool call")
    choice = answered(ask(backend["model"], conversation, tools=TOOLS, tool_choice="auto"))
    call = choice.message.tool_calls[0]
    arguments = json.loads(call.function.arguments)
    same((choice.finish_reason, call.function.name), ("tool_calls", TOOL), "tool call")
    same(arguments, backend["arguments"] or arguments, "arguments")
    conversation += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
    choice = answered(ask(backend["model"], conversation, tools=TOOLS))
    same((bool(choice.message.content), choice.message.tool_calls), (True, None), "an answer after the tool's result")


def structured(backend):
    # For Anthropic, it asks for a call of a certain tool, which not every dialect can express.
    if backend["structured"] and (DIALECT == "openai" or backend["one_call"]):
        schema = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
        choice = answered(ask(backend["model"], asking(STRUCTURED), response_format=schema))
        same(json.loads(choice.message.content)["city"] in ("Paris", "Rome"), True, "the city")


def reasoning(backend):
    if backend["thinks"]:
        message = answered(ask(backend["model"], asking(THINK))).message
        same((message.reasoning_content, message.content), ("Six and six make twelve.", "Twelve."), "thought and text")


def embed(backend, **more):
    answer = litellm.embedding(
        model=f"openai/{backend['embed_model']}", input=INPUTS, api_base=BASE_URL, api_key=TEST["rich_key"], max_retries=0, **more)
    embedded(answer.usage.prompt_tokens, backend)
    return [each["embedding"] for each in answer.data]


def embeddings(backend):
    if backend["embeds"] and DIALECT == "openai":
        found = embed(backend)
        same((len(found), found[0] == found[1]), (len(INPUTS), False), "embeddings")
        same_vectors(embed(backend, encoding_format="float"), found, "embeddings as numbers", backend)


def aborted(backend):
    stream = ask(backend["slow_model"], asking(SLOW), max_tokens=LONG, stream=True)
    for count, _ in enumerate(stream):
        if count == 5:
            break
    stream.completion_stream.close()
    seen["aborted"] += 1


def refusals():
    name, hello = BACKENDS[0]["model"], asking(HELLO)
    with refused(litellm.AuthenticationError, 401):
        ask(name, hello, "sgk_garbage")
    with refused(litellm.NotFoundError, 404):
        ask("no-such-model", hello)
    with refused(litellm.RateLimitError, 429):
        ask(name, hello, "poor_key", max_retries=2)
    seen["budget_refusals"] += 1
    answered(ask(name, hello, "rare_key"))
    with refused(litellm.RateLimitError, 429):
        ask(name, hello, "rare_key")


# Streams of its provider for Anthropic cannot be closed.
per_backend(whole, streamed, tools, structured, reasoning, embeddings, *([aborted] if DIALECT == "openai" else []))
refusals()
report()
