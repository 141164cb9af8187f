"""The `openai` package as it is installed, with its Responses API and its legacy completions, against a gateway."""
import json

import openai
import pydantic
from asked import (BACKENDS, BASE_URL, BREAK, CALL, CITY, HELLO, PIXEL, RESULT, SHORT, STRUCTURED, TEST, THINK, TOOL,
                   per_backend, refused, report, same, saw)

client = openai.OpenAI(base_url=BASE_URL, api_key=TEST["rich_key"], timeout=30)
create = client.responses.create
TOOLS = [{"type": "function", "name": TOOL, "description": "The weather", "parameters": CITY, "strict": True}]


class City(pydantic.BaseModel):
    city: str = pydantic.Field(json_schema_extra={"enum": ["Paris", "Rome"]})


def answered(response):
    """An answer that came to its end, or to the cap: the small model says whatever comes to its mind."""
    saw(response.usage.input_tokens, response.usage.output_tokens)
    same(response.usage.total_tokens, response.usage.input_tokens + response.usage.output_tokens, "total")
    same((response.error, response.object), (None, "response"), "how it ended")
    same(response.status in ("completed", "incomplete"), True, "how it ended")
    return response


def calls(response):
    return [item for item in response.output if item.type == "function_call"]


# Holds: inf.responses, inf.frontend-name
def whole(backend):
    response = answered(create(
        model=backend["model"], instructions="Be brief.", input=HELLO, max_output_tokens=SHORT, store=False, top_p=0.9,
        tools=TOOLS, tool_choice="none", parallel_tool_calls=True, metadata={"team": "red"}, user="u", truncation="disabled"))
    same((response.model, response.instructions), (backend["model"], "Be brief."), "what it repeats")
    same((response.metadata, response.tools[0].name), ({"team": "red"}, TOOL), "what it repeats")
    same(bool(response.output_text), True, "text")
    if backend["text"]:
        same(response.output_text, backend["text"], "text")


# Holds: inf.responses-stream
def streamed(backend):
    events = list(create(model=backend["model"], input=HELLO, max_output_tokens=SHORT, stream=True))
    same([event.sequence_number for event in events], list(range(len(events))), "numbers of the events")
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    ends = ("response.completed",) if backend["text"] else ("response.completed", "response.incomplete")
    same((events[0].type, events[-1].type in ends), ("response.created", True), "first and last event")
    same(answered(events[-1].response).output_text, text, "the last event's text")
    same(text, backend["text"] or text, "streamed text")


# Holds: inf.responses, inf.responses-stream, inf.tools
def tools(backend):
    ask = {"model": backend["model"], "tools": TOOLS, "max_output_tokens": SHORT}
    said = [{"role": "user", "content": [{"type": "input_text", "text": CALL}]}]
    first = answered(create(**ask, input=said))
    same(calls(first)[0].name, TOOL, "tool call")
    arguments = json.loads(calls(first)[0].arguments)
    same(arguments, backend["arguments"] or arguments, "arguments")
    with client.responses.stream(**ask, input=said) as stream:
        final = answered(stream.get_final_response())
    same((calls(final)[0].name, bool(json.loads(calls(final)[0].arguments))), (TOOL, True), "streamed tool call")
    outputs = [{"type": "function_call_output", "call_id": call.call_id, "output": RESULT} for call in calls(final)]
    then = answered(create(**ask, input=said + final.output + outputs))
    same((bool(then.output_text), calls(then)), (True, []), "an answer after the tool's result")


# Holds: inf.responses, inf.structured
def structured(backend):
    if backend["structured"]:
        response = client.responses.parse(
            model=backend["model"], input=STRUCTURED, max_output_tokens=SHORT, text_format=City)
        same(answered(response).output_parsed.city in ("Paris", "Rome"), True, "the parsed city")


# Holds: inf.reasoning
def reasoning(backend):
    if backend["thinks"]:
        thought, said = answered(create(model=backend["model"], input=THINK, max_output_tokens=SHORT)).output
        same((thought.summary[0].text, said.content[0].text), ("Six and six make twelve.", "Twelve."), "thought and text")


# Holds: inf.images
def pictured(backend):
    if backend["mocked"]:
        parts = [{"type": "input_text", "text": HELLO}, {"type": "input_image", "image_url": PIXEL, "detail": "low"}]
        response = create(model=backend["model"], input=[{"role": "user", "content": parts}], max_output_tokens=SHORT)
        same(answered(response).output_text, backend["text"], "text about a picture")


def broken(backend):
    if backend["mocked"]:
        with refused(openai.APIError, None, "upstream"):
            list(create(model=backend["model"], input=BREAK, max_output_tokens=SHORT, stream=True))


# Holds: inf.completions
def completed(backend):
    ask = {"model": backend["model"], "prompt": HELLO, "max_tokens": SHORT}
    completion = client.completions.create(**ask)
    saw(completion.usage.prompt_tokens, completion.usage.completion_tokens)
    same((completion.object, completion.model), ("text_completion", backend["model"]), "the completion")
    text = completion.choices[0].text
    same(text, backend["text"] or text, "text")
    chunks = list(client.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    saw(chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens)
    streamed_text = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    same((bool(streamed_text), chunks[-1].choices), (True, []), "chunks")
    same(streamed_text, backend["text"] or streamed_text, "streamed text")


# Holds: inf.responses, inf.completions, http.openai-errors
def refusals():
    ask = {"model": BACKENDS[0]["model"], "input": HELLO}
    with refused(openai.BadRequestError, 400, "store"):
        create(**ask, store=True)
    with refused(openai.BadRequestError, 400, "previous_response_id"):
        create(**ask, previous_response_id="resp_1")
    with refused(openai.BadRequestError, 400, "tools[0].type"):
        create(**ask, tools=[{"type": "web_search"}])
    with refused(openai.NotFoundError, 404, "stored responses"):
        client.responses.retrieve("resp_1")
    with refused(openai.BadRequestError, 400, "suffix"):
        client.completions.create(model=BACKENDS[0]["model"], prompt=HELLO, suffix="end")


per_backend(whole, streamed, tools, structured, reasoning, pictured, broken, completed)
refusals()
report()
