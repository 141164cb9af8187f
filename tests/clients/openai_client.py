"""The `openai` package as it is installed, against a gateway."""
import json

import openai
import pydantic
from asked import (BACKENDS, BASE_URL, BREAK, BUSY, CALL, CITY, DIMENSIONS, HELLO, INPUTS, LONG, PIXEL, RESULT, SHORT, SLOW,
                   STRUCTURED, TEST, THINK, TOOL, embedded, per_backend, refused, report, same, same_vectors, saw, seen)

client = openai.OpenAI(base_url=BASE_URL, api_key=TEST["rich_key"], timeout=30)
create = client.chat.completions.create
FUNCTION = {"name": TOOL, "description": "The weather", "parameters": CITY, "strict": True}
TOOLS = [{"type": "function", "function": FUNCTION}]


class City(pydantic.BaseModel):
    city: str = pydantic.Field(json_schema_extra={"enum": ["Paris", "Rome"]})


def asking(text):
    return [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": text}]}]


def answered(answer):
    saw(answer.usage.prompt_tokens, answer.usage.completion_tokens)
    same(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens, "total")
    return answer.choices[0]


# Holds: inf.openai, inf.frontend-name
def whole(backend):
    answer = create(
        model=backend["model"], messages=asking(HELLO), max_completion_tokens=SHORT, store=False, seed=1, n=1,
        parallel_tool_calls=True, tools=TOOLS, tool_choice="none", user="u", metadata={"team": "red"}, top_p=0.9)
    choice = answered(answer)
    same((answer.model, answer.object), (backend["model"], "chat.completion"), "the answer's model")
    same(bool(choice.message.content), True, "text")
    if backend["text"]:
        same((choice.message.content, choice.finish_reason), (backend["text"], "stop"), "text")


# Holds: inf.openai, inf.openai-stream
def streamed(backend):
    stream = create(
        model=backend["model"], messages=asking(HELLO), max_tokens=SHORT, stream=True,
        stream_options={"include_usage": True})
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    same(text, backend["text"] or text, "streamed text")
    same(([bool(chunk.usage) for chunk in chunks].count(True), chunks[-1].choices), (1, []), "chunks with usage")
    same({chunk.model for chunk in chunks}, {backend["model"]}, "model of the chunks")
    same(len({chunk.id for chunk in chunks}), 1, "ids of the chunks")
    saw(chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens)


# Holds: inf.openai, inf.tools
def tools(backend):
    ask = {"model": backend["model"], "messages": asking(CALL), "tools": TOOLS, "max_tokens": SHORT}
    choice = answered(create(**ask))
    call = choice.message.tool_calls[0]
    same((choice.finish_reason, call.function.name, call.type), ("tool_calls", TOOL, "function"), "tool call")
    arguments = json.loads(call.function.arguments)
    same(arguments, backend["arguments"] or arguments, "arguments")
    with client.chat.completions.stream(**ask, stream_options={"include_usage": True}) as stream:
        final = stream.get_final_completion()
    choice = answered(final)
    same((choice.finish_reason, choice.message.tool_calls[0].function.name), ("tool_calls", TOOL), "streamed tool call")
    arguments = json.loads(choice.message.tool_calls[0].function.arguments)
    same(arguments, backend["arguments"] or arguments, "streamed arguments")
    call = choice.message.tool_calls[0]
    function = {"name": call.function.name, "arguments": call.function.arguments}
    said = [{"role": "assistant", "content": None, "tool_calls": [{"id": call.id, "type": "function", "function": function}]}]
    said.append({"role": "tool", "tool_call_id": call.id, "content": RESULT})
    choice = answered(create(**ask | {"messages": ask["messages"] + said}))
    same((bool(choice.message.content), choice.message.tool_calls), (True, None), "an answer after the tool's result")


# Holds: inf.structured
def structured(backend):
    if backend["structured"]:
        parsed = client.chat.completions.parse(
            model=backend["model"], messages=asking(STRUCTURED), max_tokens=SHORT, response_format=City)
        same(answered(parsed).message.parsed.city in ("Paris", "Rome"), True, "the parsed city")


# Holds: inf.reasoning
def reasoning(backend):
    if backend["thinks"]:
        message = answered(create(model=backend["model"], messages=asking(THINK), max_tokens=SHORT)).message
        same((message.reasoning_content, message.content), ("Six and six make twelve.", "Twelve."), "thought and text")


# Holds: inf.images
def pictured(backend):
    if backend["mocked"]:
        parts = [{"type": "text", "text": HELLO}, {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}]
        choice = answered(create(model=backend["model"], messages=[{"role": "user", "content": parts}], max_tokens=SHORT))
        same(choice.message.content, backend["text"], "text about a picture")


def probabilities(backend):
    ask = {"model": backend["model"], "messages": asking(HELLO), "max_tokens": SHORT, "logprobs": True, "top_logprobs": 2}
    if backend["name"] == "llama":
        same(len(answered(create(**ask)).logprobs.content[0].top_logprobs), 2, "the likeliest tokens")
    if backend["name"] == "anthropic":
        with refused(openai.BadRequestError, 400, "logprobs"):
            create(**ask)


def aborted(backend):
    with create(model=backend["slow_model"], messages=asking(SLOW), max_tokens=LONG, stream=True) as stream:
        for count, _ in enumerate(stream):
            if count == 5:
                break
    seen["aborted"] += 1


def busy(backend):
    if backend["mocked"]:
        strict = client.with_options(max_retries=0)
        with refused(openai.RateLimitError, 429, "rate_limit_exceeded"):
            strict.chat.completions.create(model=backend["model"], messages=asking(BUSY))


def broken(backend):
    if backend["mocked"]:
        with refused(openai.APIError, None, "upstream"):
            list(create(model=backend["model"], messages=asking(BREAK), max_tokens=SHORT, stream=True))


def embed(backend, given, **more):
    answer = client.embeddings.create(model=backend["embed_model"], input=given, **more)
    embedded(answer.usage.prompt_tokens, backend)
    same((answer.object, answer.model), ("list", backend["embed_model"]), "the embeddings' model")
    same([each.index for each in answer.data], list(range(len(answer.data))), "order of the embeddings")
    return [each.embedding for each in answer.data]


# Holds: inf.embeddings, inf.embeddings-exact
def embeddings(backend):
    if backend["name"] in ("anthropic", "vertex", "bedrock"):
        with refused(openai.BadRequestError, 400, "have no embeddings"):
            client.embeddings.create(model=backend["model"], input=INPUTS)
    if not backend["embeds"]:
        return
    floats = embed(backend, INPUTS, encoding_format="float")
    # The client asks for base64 of itself.
    same_vectors(embed(backend, INPUTS), floats, "embeddings in base64", backend)
    same({type(vector) for vector in embed(backend, INPUTS, encoding_format="base64")}, {str}, "base64 that was asked for")
    same_vectors(embed(backend, INPUTS[1]), floats[1:2], "the embedding of one text", backend)
    same_vectors(floats[2:], floats[:1], "embeddings of the same text", backend)
    same(floats[0] == floats[1], False, "the embeddings of two texts are one")
    if backend["sizes"]:
        same([len(vector) for vector in embed(backend, INPUTS, dimensions=DIMENSIONS)], [DIMENSIONS] * 3, "dimensions")


# Holds: http.openai-errors, http.should-retry
def refusals():
    ask = {"model": BACKENDS[0]["model"], "messages": asking(HELLO), "max_tokens": SHORT}
    with refused(openai.AuthenticationError, 401, "invalid_api_key"):
        client.with_options(api_key="sgk_garbage").chat.completions.create(**ask)
    with refused(openai.NotFoundError, 404, "model_not_found"):
        create(**ask | {"model": "no-such-model"})
    with refused(openai.BadRequestError, 400, "max_tokens"):
        create(**ask | {"max_tokens": -1})
    # The client retries a 429 twice, unless it is told that it should not.
    with refused(openai.RateLimitError, 429, "insufficient_quota"):
        client.with_options(api_key=TEST["poor_key"], max_retries=2).chat.completions.create(**ask)
    seen["budget_refusals"] += 1
    rare = client.with_options(api_key=TEST["rare_key"], max_retries=0)
    answered(rare.chat.completions.create(**ask))
    with refused(openai.RateLimitError, 429, "rate_limit_exceeded"):
        rare.chat.completions.create(**ask)


per_backend(whole, streamed, tools, structured, reasoning, pictured, probabilities, embeddings, aborted, busy, broken)
refusals()
listed = {model.id for model in client.models.list()}
same({backend["model"] for backend in BACKENDS} - listed, set(), "models that are not listed")
same(client.models.retrieve(BACKENDS[0]["model"]).id, BACKENDS[0]["model"], "a model by its name")
with refused(openai.NotFoundError, 404, "model_not_found"):
    client.models.retrieve("no-such-model")
report()
