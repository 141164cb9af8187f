"""What every Python client asks, and what it reports: CLIENT_TEST (JSON) says whom, the first argument in which dialect
where the client speaks several. Not a client itself."""
import json
import os
import sys
from contextlib import contextmanager

TEST = json.loads(os.environ["CLIENT_TEST"])
BACKENDS, BASE_URL, TOOL = TEST["backends"], TEST["base_url"], TEST["tool"]
HELLO, CALL, STRUCTURED, SLOW = "Hello", f"Please use {TOOL}.", "Answer in JSON.", "Go on and on."
BUSY, BREAK, THINK = "Are you busy?", "Please break.", "Please think."
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
RESULT = "12 degrees"
INPUTS = ["The food was delicious.", "The waiter was not.", "The food was delicious."]
# How long a vector is asked to be, where the upstream takes that.
DIMENSIONS = 8
CITY = {"type": "object", "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}}, "required": ["city"],
        "additionalProperties": False}
SECRET = "sk-upstream"
DIALECT = sys.argv[1] if len(sys.argv) > 1 else "openai"
ORIGIN = BASE_URL.removesuffix("/v1")
# What Anthropic calls OpenAI's codes.
ANTHROPIC_TYPES = {
    "invalid_api_key": "authentication_error", "model_not_found": "not_found_error",
    "insufficient_quota": "rate_limit_error", "rate_limit_exceeded": "rate_limit_error"}
# Output tokens for an answer, and for one that is left in the middle.
SHORT, LONG = 300, 10_000

seen = {"answers": 0, "input": 0, "output": 0, "aborted": 0, "budget_refusals": 0}


def saw(tokens_in, tokens_out, answers=1):
    """An answer that came to its end."""
    same(tokens_in > 0 and tokens_out > 0, True, "tokens are reported")
    for name, count in (("answers", answers), ("input", tokens_in), ("output", tokens_out)):
        seen[name] += count


def embedded(tokens_in, backend=None):
    """Embeddings. The mock reports no tokens or none used, which the gateway does not take for their number."""
    seen["answers"] += 1
    if backend is None or not backend["mocked"]:
        same(tokens_in > 0, True, "tokens are reported")
        seen["input"] += tokens_in


def same(got, wanted, what):
    if got != wanted:
        raise AssertionError(f"{what}: wanted {wanted!r}, got {got!r}")


def same_vectors(got, wanted, what, backend):
    """As a number of 32 bits can say them. Those of llama.cpp also depend on what else it is asked for at the time."""
    same([len(vector) for vector in got], [len(vector) for vector in wanted], f"lengths of {what}")
    same(bool(got) and all(got), True, f"{what} are there")
    for vector, right in zip(got, wanted) if backend["name"] != "llama" else ():
        for number, exact in zip(vector, right):
            same(abs(number - exact) < 1e-6, True, f"{what}: {number} for {exact}")


@contextmanager
def refused(kind, status, code=None):
    """The block raises this, with the gateway's own words."""
    try:
        yield
    except kind as error:
        same(getattr(error, "status_code", None), status, f"status of {error!r}")
        if code is not None:
            same(code in str(error), True, f"{code} is in {error!r}")
        same(SECRET in repr(error), False, "the upstream's own words in a refusal")
    else:
        raise AssertionError(f"no {kind.__name__}")


def said(code):
    """A code of OpenAI's in the dialect that is spoken."""
    return ANTHROPIC_TYPES[code] if DIALECT == "anthropic" else code


def per_backend(*checks, without=()):
    for backend in BACKENDS:
        for check in checks if backend["name"] not in without else ():
            try:
                check(backend)
            except Exception as error:
                error.add_note(f"in {check.__name__} at {backend['name']}")
                raise


def report():
    print(json.dumps(seen))
