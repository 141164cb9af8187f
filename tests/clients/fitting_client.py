"""OpenAI's and Anthropic's SDKs, which ask models of every strategy on every surface that they have for what only one of their targets
can serve. CLIENT_TEST (JSON) says where. Prints what the upstream was sent."""
import json
import os
import urllib.request

import anthropic
import openai

TEST = json.loads(os.environ["CLIENT_TEST"])
SECONDS, SHORT = 30, 16
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
LONG = "word " * 2_000
IMAGE_URL = f"data:image/png;base64,{PIXEL}"
CLIENT = openai.OpenAI(base_url=f"{TEST['origin']}/v1", api_key=TEST["key"], timeout=SECONDS, max_retries=0)
CLAUDE = anthropic.Anthropic(base_url=TEST["origin"], auth_token=TEST["key"], timeout=SECONDS, max_retries=0)


def chat(model, text, image):
    parts = [{"type": "text", "text": text}] + [{"type": "image_url", "image_url": {"url": IMAGE_URL}}] * image
    return CLIENT.chat.completions.with_raw_response.create(
        model=model, max_tokens=SHORT, messages=[{"role": "user", "content": parts}], temperature=0.5)


def responses(model, text, image):
    parts = [{"type": "input_text", "text": text}] + [{"type": "input_image", "image_url": IMAGE_URL, "detail": "auto"}] * image
    return CLIENT.responses.with_raw_response.create(
        model=model, max_output_tokens=SHORT, input=[{"role": "user", "content": parts}], temperature=0.5)


def completions(model, text, image):
    assert not image
    return CLIENT.completions.with_raw_response.create(model=model, max_tokens=SHORT, prompt=text, temperature=0.5)


def messages(model, text, image):
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    parts = [{"type": "text", "text": text}] + [{"type": "image", "source": source}] * image
    # The SDK has no parameter for it any more; clients of the versions before send it.
    return CLAUDE.messages.with_raw_response.create(
        model=model, max_tokens=SHORT, messages=[{"role": "user", "content": parts}], extra_body={"temperature": 0.5})


def told(answer, name):
    return answer.headers.get(f"x-ledgerway-{name}")


def served_by(answer):
    return told(answer, "backend").rpartition("/")[2], told(answer, "ignored")


def same(got, wanted, what):
    if got != wanted:
        raise AssertionError(f"{what}: wanted {wanted!r}, got {got!r}")


# Holds: inf.context-window
def check_window(ask, strategy):
    same(served_by(ask(f"fitting-{strategy}", LONG, False)), ("large", None), f"a long prompt to {strategy}")


# Holds: inf.abilities
def check_image(ask, strategy):
    same(served_by(ask(f"fitting-{strategy}", "Look.", True)), ("large", None), f"an image to {strategy}")


# Holds: inf.refused-parameters
def check_refused(ask, strategy):
    same(served_by(ask(f"refusing-{strategy}", "Hello", False)), ("refusing", "temperature"), f"a temperature to {strategy}")


def main():
    for strategy in TEST["strategies"]:
        for ask in (chat, responses, completions, messages):
            check_window(ask, strategy)
            check_refused(ask, strategy)
            if ask is not completions:
                check_image(ask, strategy)
    # The small target is not left out for nothing.
    same(served_by(chat("fitting-priority", "Hello", False)), ("small", None), "a short prompt without an image")
    with urllib.request.urlopen(f"{TEST['recorder']}/recorded", timeout=SECONDS) as recorded:
        print(recorded.read().decode())


main()
