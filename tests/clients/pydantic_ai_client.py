"""pydantic-ai as it is installed, with its provider for OpenAI, against a gateway."""
import asyncio
from typing import Literal

import openai
import pydantic
from asked import (BACKENDS, BASE_URL, CALL, HELLO, LONG, RESULT, SHORT, SLOW, STRUCTURED, TEST, TOOL, per_backend, refused, report,
                   same, saw, seen)
from pydantic_ai import Agent, ModelHTTPError, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


class City(pydantic.BaseModel):
    city: Literal["Paris", "Rome"]


def agent(name, key="rich_key", max_retries=0, **more):
    client = openai.AsyncOpenAI(base_url=BASE_URL, api_key=TEST.get(key, key), max_retries=max_retries, timeout=30)
    model = OpenAIChatModel(name, provider=OpenAIProvider(openai_client=client))
    return Agent(model, **{"instructions": "Be brief.", "model_settings": {"max_tokens": SHORT}} | more)


def answered(run, answers=1):
    usage = run.usage() if callable(run.usage) else run.usage
    same(usage.requests, answers, "requests")
    saw(usage.input_tokens, usage.output_tokens, answers)
    return run


async def whole(backend):
    run = answered(await agent(backend["model"]).run(HELLO))
    same(run.output, backend["text"] or run.output, "text")


async def streamed(backend):
    async with agent(backend["model"]).run_stream(HELLO) as run:
        text = await run.get_output()
    same(answered(run) and text, backend["text"] or text, "streamed text")


def armed(backend, calls):
    made = agent(backend["model"])

    @made.tool_plain(name=TOOL)
    def weather(city: Literal["Paris", "Rome"]) -> str:
        """The weather."""
        calls.append(city)
        return RESULT

    return made


async def tools(backend):
    calls = []
    run = answered(await armed(backend, calls).run(CALL), 2)
    same((len(calls), bool(run.output)), (1, True), "calls of the tool, and an answer after its result")
    async with armed(backend, calls).run_stream(CALL) as run:
        text = await run.get_output()
    answered(run, 2)
    same((len(calls), bool(text)), (2, True), "calls of the tool while streamed, and an answer after its result")


async def structured(backend):
    if backend["structured"]:
        run = answered(await agent(backend["model"], output_type=NativeOutput(City)).run(STRUCTURED))
        same(run.output.city in ("Paris", "Rome"), True, "the city")


async def aborted(backend):
    slow = agent(backend["slow_model"], model_settings={"max_tokens": LONG})
    async with slow.run_stream(SLOW) as run:
        async for _ in run.stream_text(delta=True, debounce_by=None):
            break
    seen["aborted"] += 1


async def refusals():
    name = BACKENDS[0]["model"]
    with refused(ModelHTTPError, 401, "invalid_api_key"):
        await agent(name, "sgk_garbage").run(HELLO)
    with refused(ModelHTTPError, 404, "model_not_found"):
        await agent("no-such-model").run(HELLO)
    with refused(ModelHTTPError, 429, "insufficient_quota"):
        await agent(name, "poor_key", max_retries=2).run(HELLO)
    seen["budget_refusals"] += 1
    rare = agent(name, "rare_key")
    answered(await rare.run(HELLO))
    with refused(ModelHTTPError, 429, "rate_limit_exceeded"):
        await rare.run(HELLO)


def once(check):
    def run(*given):
        asyncio.run(check(*given))

    run.__name__ = check.__name__
    return run


per_backend(*map(once, (whole, streamed, tools, structured, aborted)))
once(refusals)()
report()
