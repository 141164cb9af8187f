"""The official client under load, whole answers and streams in turn. It retries nothing: an error of one request ends it."""
import json
import os
from concurrent.futures import ThreadPoolExecutor

import openai

TEST = json.loads(os.environ["CLIENT_TEST"])
ASK = {"model": TEST["model"], "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 64}
client = openai.OpenAI(base_url=TEST["base_url"], api_key=TEST["key"], timeout=30, max_retries=0)


def whole():
    raw = client.chat.completions.with_raw_response.create(**ASK)
    answer = raw.parse()
    return raw.headers, answer.choices[0].message.content, answer.usage


def streamed():
    raw = client.chat.completions.with_raw_response.create(**ASK, stream=True, stream_options={"include_usage": True})
    chunks = list(raw.parse())
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    return raw.headers, text, chunks[-1].usage


def ask(number):
    headers, text, usage = streamed() if number % 2 else whole()
    return {"text": text, "cost_usd": headers.get("x-ledgerway-cost-usd"),
            "tokens": (usage.prompt_tokens, usage.completion_tokens)}


with ThreadPoolExecutor(TEST["threads"]) as pool:
    print(json.dumps(list(pool.map(ask, range(TEST["requests"])))))
