"""The `anthropic` package as it is installed, against a gateway."""
import anthropic
import pydantic
from asked import (BACKENDS, BREAK, BUSY, CALL, CITY, HELLO, LONG, ORIGIN, PIXEL, RESULT, SHORT, SLOW, STRUCTURED, TEST,
                   THINK, TOOL, per_backend, refused, report, same, saw, seen)

client = anthropic.Anthropic(base_url=ORIGIN, api_key=TEST["rich_key"], timeout=30)
create = client.messages.create
TOOLS = [{"name": TOOL, "description": "The weather", "input_schema": CITY}]


class City(pydantic.BaseModel):
    city: str = pydantic.Field(json_schema_extra={"enum": ["Paris", "Rome"]})


def asking(text):
    return [{"role": "user", "content": [{"type": "text", "text": text}]}]


def answered(answer):
    usage = answer.usage
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    saw(usage.input_tokens + read + written, usage.output_tokens)
    same((answer.type, answer.role), ("message", "assistant"), "the answer's kind")
    return answer


def text_of(answer):
    return "".join(block.text for block in answer.content if block.type == "text")


# Holds: inf.anthropic, inf.frontend-name
def whole(backend):
    answer = answered(create(
        model=backend["model"], max_tokens=SHORT, system=[{"type": "text", "text": "Be brief."}], messages=asking(HELLO),
        tools=TOOLS, tool_choice={"type": "none"}, metadata={"user_id": "u"}, stop_sequences=["END OF IT"]))
    same(answer.model, backend["model"], "the answer's model")
    same(bool(text_of(answer)), True, "text")
    if backend["text"]:
        same((text_of(answer), answer.stop_reason), (backend["text"], "end_turn"), "text")


# Holds: inf.anthropic-stream
def streamed(backend):
    with client.messages.stream(model=backend["model"], max_tokens=SHORT, messages=asking(HELLO)) as stream:
        text = "".join(stream.text_stream)
        final = answered(stream.get_final_message())
    same((text_of(final), final.model), (text, backend["model"]), "the streamed text and model")
    same(text, backend["text"] or text, "streamed text")


# Holds: inf.anthropic, inf.tools
def tools(backend):
    ask = {"model": backend["model"], "messages": asking(CALL), "tools": TOOLS, "max_tokens": SHORT}
    answer = answered(create(**ask))
    call = next(block for block in answer.content if block.type == "tool_use")
    same((answer.stop_reason, call.name), ("tool_use", TOOL), "tool call")
    same(call.input, backend["arguments"] or call.input, "arguments")
    with client.messages.stream(**ask) as stream:
        answer = answered(stream.get_final_message())
    call = next(block for block in answer.content if block.type == "tool_use")
    same((answer.stop_reason, call.name), ("tool_use", TOOL), "streamed tool call")
    same(call.input, backend["arguments"] or call.input, "streamed arguments")
    said = [{"role": "assistant", "content": [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": RESULT}]}]
    answer = answered(create(**ask | {"messages": ask["messages"] + said}))
    same((bool(text_of(answer)), answer.stop_reason == "tool_use"), (True, False), "an answer after the tool's result")


# Holds: inf.structured
def structured(backend):
    if backend["structured"]:
        parsed = client.messages.parse(
            model=backend["model"], messages=asking(STRUCTURED), max_tokens=SHORT, output_format=City)
        same(answered(parsed).parsed_output.city in ("Paris", "Rome"), True, "the parsed city")


# Holds: inf.reasoning
def reasoning(backend):
    if backend["thinks"]:
        answer = answered(create(model=backend["model"], messages=asking(THINK), max_tokens=SHORT))
        thoughts = "".join(block.thinking for block in answer.content if block.type == "thinking")
        same((thoughts, text_of(answer)), ("Six and six make twelve.", "Twelve."), "thought and text")
        with client.messages.stream(model=backend["model"], messages=asking(THINK), max_tokens=SHORT) as stream:
            final = answered(stream.get_final_message())
        same([block.type for block in final.content], ["thinking", "text"], "streamed blocks")


# Holds: inf.images
def pictured(backend):
    if backend["mocked"]:
        source = {"type": "base64", "media_type": "image/png", "data": PIXEL.partition(",")[2]}
        content = [{"type": "text", "text": HELLO}, {"type": "image", "source": source}]
        answer = answered(create(
            model=backend["model"], messages=[{"role": "user", "content": content}], max_tokens=SHORT))
        same(text_of(answer), backend["text"], "text about a picture")


def aborted(backend):
    with client.messages.stream(model=backend["slow_model"], messages=asking(SLOW), max_tokens=LONG) as stream:
        for count, _ in enumerate(stream.text_stream):
            if count == 5:
                break
    seen["aborted"] += 1


def busy(backend):
    if backend["mocked"]:
        strict = client.with_options(max_retries=0)
        with refused(anthropic.RateLimitError, 429, "rate_limit_error"):
            strict.messages.create(model=backend["model"], messages=asking(BUSY), max_tokens=SHORT)


def broken(backend):
    if backend["mocked"]:
        with refused(anthropic.APIError, 200, "api_error"):
            with client.messages.stream(model=backend["model"], messages=asking(BREAK), max_tokens=SHORT) as stream:
                stream.get_final_message()


def counted(backend):
    if backend["name"] == "anthropic":
        return  # the mock does not count
    count = client.messages.count_tokens(model=backend["model"], messages=asking(HELLO))
    same(count.input_tokens > 0, True, "counted tokens")


# Holds: http.anthropic-errors, http.should-retry
def refusals():
    ask = {"model": BACKENDS[0]["model"], "messages": asking(HELLO), "max_tokens": SHORT}
    with refused(anthropic.AuthenticationError, 401, "authentication_error"):
        client.with_options(api_key="sgk_garbage").messages.create(**ask)
    with refused(anthropic.NotFoundError, 404, "not_found_error"):
        create(**ask | {"model": "no-such-model"})
    with refused(anthropic.BadRequestError, 400, "max_tokens"):
        create(**ask | {"max_tokens": -1})
    # The client retries a 429 twice, unless it is told that it should not.
    with refused(anthropic.RateLimitError, 429, "rate_limit_error"):
        client.with_options(api_key=TEST["poor_key"], max_retries=2).messages.create(**ask)
    seen["budget_refusals"] += 1
    rare = client.with_options(api_key=TEST["rare_key"], max_retries=0)
    answered(rare.messages.create(**ask))
    with refused(anthropic.RateLimitError, 429, "rate_limit_error"):
        rare.messages.create(**ask)


per_backend(whole, streamed, tools, structured, reasoning, pictured, aborted, busy, broken, counted)
refusals()
report()
