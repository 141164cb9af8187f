"""LangChain's `langchain-openai` or `langchain-anthropic` as it is installed, against a gateway."""
import json

import anthropic
import httpx
import openai
from asked import (BACKENDS, BASE_URL, CALL, CITY, DIALECT, HELLO, INPUTS, LONG, ORIGIN, RESULT, SHORT, SLOW, STRUCTURED, TEST, THINK,
                   TOOL, embedded, per_backend, refused, report, said, same, same_vectors, saw, seen)
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

FUNCTION = {"name": TOOL, "description": "The weather", "parameters": CITY}
ERRORS = {"openai": openai, "anthropic": anthropic}[DIALECT]


def model(name, key="rich_key", **more):
    given = {"model": name, "api_key": TEST.get(key, key), "max_tokens": SHORT, "timeout": 30, "stream_usage": True} | more
    if DIALECT == "anthropic":
        return ChatAnthropic(base_url=ORIGIN, **given)
    return ChatOpenAI(base_url=BASE_URL, **given)


def asking(text):
    return [SystemMessage("Be brief."), HumanMessage(text)]


def answered(message):
    saw(message.usage_metadata["input_tokens"], message.usage_metadata["output_tokens"])
    return message


def whole(backend):
    answer = answered(model(backend["model"], **({"temperature": 0.5} if DIALECT == "openai" else {})).invoke(asking(HELLO)))
    same((bool(answer.text), answer.response_metadata["model_name"]), (True, backend["model"]), "text and model")
    same(answer.text, backend["text"] or answer.text, "text")


def streamed(backend):
    parts = list(model(backend["model"]).stream(asking(HELLO)))
    total = parts[0]
    for part in parts[1:]:
        total += part
    same(answered(total).text, backend["text"] or total.text, "streamed text")


def tools(backend):
    armed, conversation = model(backend["model"]).bind_tools([FUNCTION]), asking(CALL)
    total = None
    for part in armed.stream(conversation):
        total = part if total is None else total + part
    call = answered(total).tool_calls[0]
    same(call["name"], TOOL, "streamed tool call")
    answer = answered(armed.invoke(conversation))
    call = answer.tool_calls[0]
    same((call["name"], call["args"]), (TOOL, backend["arguments"] or call["args"]), "tool call")
    conversation += [answer, ToolMessage(RESULT, tool_call_id=call["id"])]
    answer = answered(armed.invoke(conversation))
    same((bool(answer.text), answer.tool_calls), (True, []), "an answer after the tool's result")


def structured(backend):
    if backend["structured"]:
        schema = CITY | {"title": "City", "description": "Where"}
        strict = {"strict": True} if DIALECT == "openai" else {}
        found = model(backend["model"]).with_structured_output(
            schema, method="json_schema", include_raw=True, **strict).invoke(asking(STRUCTURED))
        answered(found["raw"])
        same((found["parsed"]["city"] in ("Paris", "Rome"), found["parsing_error"]), (True, None), "the parsed city")


def reasoning(backend):
    if backend["thinks"]:
        same(answered(model(backend["model"]).invoke(asking(THINK))).text, "Twelve.", "text after a thought")


def embeddings(backend):
    if backend["embeds"] and DIALECT == "openai":
        # It says nothing of their usage.
        def note_usage(answer):
            embedded(json.loads(answer.read())["usage"]["prompt_tokens"], backend)

        # It would fetch a tokenizer from the network to count what it sends.
        embed = OpenAIEmbeddings(
            model=backend["embed_model"], api_key=TEST["rich_key"], base_url=BASE_URL, check_embedding_ctx_length=False,
            http_client=httpx.Client(event_hooks={"response": [note_usage]}))
        found = embed.embed_documents(INPUTS)
        same((len(found), found[0] == found[1]), (len(INPUTS), False), "embeddings")
        same_vectors([embed.embed_query(INPUTS[1])], found[1:2], "the embedding of a query", backend)


def aborted(backend):
    stream = model(backend["slow_model"], max_tokens=LONG).stream(asking(SLOW))
    for count, _ in enumerate(stream):
        if count == 5:
            break
    stream.close()
    seen["aborted"] += 1


def refusals():
    name, ask = BACKENDS[0]["model"], asking(HELLO)
    with refused(ERRORS.AuthenticationError, 401, said("invalid_api_key")):
        model(name, "sgk_garbage").invoke(ask)
    with refused(ERRORS.NotFoundError, 404, said("model_not_found")):
        model("no-such-model").invoke(ask)
    with refused(ERRORS.RateLimitError, 429, said("insufficient_quota")):
        model(name, "poor_key", max_retries=2).invoke(ask)
    seen["budget_refusals"] += 1
    rare = model(name, "rare_key", max_retries=0)
    answered(rare.invoke(ask))
    with refused(ERRORS.RateLimitError, 429, said("rate_limit_exceeded")):
        rare.invoke(ask)


# The mock's last event lacks the input tokens, and langchain-anthropic takes them from no other.
without = ("anthropic",) if DIALECT == "anthropic" else ()
per_backend(whole, streamed, tools, structured, reasoning, embeddings, aborted, without=without)
refusals()
report()
