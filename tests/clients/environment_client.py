"""The official clients against a gateway whose provider is from its environment: each asks every model once in whole and once
as a stream, and reports the requests by their ids."""
import json
import os

import anthropic
import openai

TEST = json.loads(os.environ["CLIENT_TEST"])
HELLO = [{"role": "user", "content": "Hello"}]
client = openai.OpenAI(base_url=TEST["base_url"], api_key=TEST["key"], timeout=30, max_retries=0)


def of_openai(model):
    raw = client.chat.completions.with_raw_response.create(model=model, messages=HELLO)
    answer = raw.parse()
    yield raw.headers, answer.choices[0].message.content, (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=HELLO, stream=True, stream_options={"include_usage": True})
    chunks = list(raw.parse())
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    yield raw.headers, text, (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens)


def of_anthropic(model):
    messages = anthropic.Anthropic(
        base_url=TEST["base_url"].removesuffix("/v1"), api_key=TEST["key"], timeout=30, max_retries=0).messages
    raw = messages.with_raw_response.create(model=model, messages=HELLO, max_tokens=256)
    answer = raw.parse()
    yield raw.headers, answer.content[0].text, (answer.usage.input_tokens, answer.usage.output_tokens)


asked = []
for each in TEST["models"]:
    speaks = [of_openai, of_anthropic] if TEST["anthropic"] else [of_openai]
    for headers, text, tokens in (answer for speak in speaks for answer in speak(each)):
        asked.append({
            "model": each, "request_id": headers["x-request-id"], "cost_usd": headers.get("x-ledgerway-cost-usd"),
            "streamed": headers["content-type"].startswith("text/event-stream"),
            "text": text, "tokens": tokens})
print(json.dumps(asked))
