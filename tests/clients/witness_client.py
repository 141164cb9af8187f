"""Official SDKs as witnesses of what the gateway sends: each says the same thing to a recording upstream as the gateway is
asked to say, and the two requests are equal in path, credentials and body."""
import base64
import json
import urllib.request

import anthropic
import boto3
import cohere
import httpx
import ollama
from asked import CITY, INPUTS, PIXEL, RESULT, TEST, TOOL, embedded, report, same, saw
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from google import genai
from google.genai import types

RECORDER, KEY = TEST["recorder"], TEST["upstream_key"]
PICTURE = PIXEL.partition(",")[2]
SYSTEM, ASK, MODEL, CAP = "Be brief.", "What is the weather in Paris and in Rome?", "m", 64
PLACES = {"call_a": "Paris", "call_b": "Rome"}
DESCRIPTION = "The weather"
# As many inputs as the recorder has vectors.
TEXTS = INPUTS[:2]
# What Ollama's SDK knows of JSON Schema.
ARGUMENTS = {name: value for name, value in CITY.items() if name != "additionalProperties"}
AWS_ACCESS, AWS_SECRET, AWS_REGION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1"


def sent():
    """What the upstream was sent since it was last asked."""
    with urllib.request.urlopen(f"{RECORDER}/recorded", timeout=10) as answer:
        return json.loads(answer.read())


def only_request():
    found = sent()
    same(len(found), 1, "requests to the upstream")
    return found[0]


def body_of(request):
    return json.loads(base64.b64decode(request["body"]))


def ask_gateway(kind, native, stream=False):
    """What the gateway sends for a native request."""
    body = {"model": f"witness/{kind}", "max_output_tokens": CAP, "stream": stream} | native
    answer = httpx.post(
        f"{TEST['base_url']}/inference/chat", json=body, headers={"authorization": f"Bearer {TEST['rich_key']}"}, timeout=20)
    if not stream:
        same(answer.status_code, 200, f"the gateway's answer at {kind}: {answer.text}")
        usage = answer.json()["usage"]
        saw(usage["input_uncached_tokens"], usage["output_text_tokens"])
    return only_request()


def embed_with_gateway(kind):
    """What the gateway sends for a request of OpenAI's embeddings."""
    answer = httpx.post(
        f"{TEST['base_url']}/embeddings", json={"model": f"witness/{kind}/embed", "input": TEXTS},
        headers={"authorization": f"Bearer {TEST['rich_key']}"}, timeout=20)
    same(answer.status_code, 200, f"the gateway's embeddings of {kind}: {answer.text}")
    same([each["embedding"] for each in answer.json()["data"]], [[0.5, -0.25], [0.25, 1.0]], f"embeddings of {kind}")
    embedded(answer.json()["usage"]["prompt_tokens"])
    return only_request()


def calls(make):
    return [make(call_id, {"city": city}) for call_id, city in PLACES.items()]


def native_cases():
    ask = {"role": "user", "content": ASK}
    system = {"role": "system", "content": SYSTEM}
    tool = {"name": TOOL, "description": DESCRIPTION, "parameters": ARGUMENTS}
    called = calls(lambda call_id, arguments: {"type": "tool_call", "id": call_id, "name": TOOL, "arguments": arguments})
    results = [{"type": "tool_result", "id": call_id, "content": RESULT} for call_id in PLACES]
    picture = {"type": "image", "media_type": "image/png", "data": PICTURE}
    return {
        "text": {"messages": [system, ask], "temperature": 0.5, "top_p": 0.9, "stop": ["END"]},
        "tools": {"tools": [tool], "messages": [ask, {"role": "assistant", "content": called}, {"role": "tool", "content": results}]},
        "picture": {"messages": [{"role": "user", "content": [{"type": "text", "text": ASK}, picture]}]},
        "structured": {
            "messages": [ask],
            "response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}}}


class Ollama:
    """Results name the tool; the SDK leaves the ids out as well. It leaves out an empty content, and sends an
    empty list of tools."""

    kind = "ollama"

    def say(self, case, stream=False):
        client = ollama.Client(host=RECORDER, headers={"authorization": f"Bearer {KEY}"})
        ask, options = {"role": "user", "content": ASK}, {"num_predict": CAP, "num_ctx": 16_384}
        called = calls(lambda _, arguments: {"function": {"name": TOOL, "arguments": arguments}})
        results = [{"role": "tool", "content": RESULT, "tool_name": TOOL} for _ in PLACES]
        tool = {"type": "function", "function": {"name": TOOL, "description": DESCRIPTION, "parameters": ARGUMENTS}}
        given = {
            "text": {
                "messages": [{"role": "system", "content": SYSTEM}, ask],
                "options": options | {"temperature": 0.5, "top_p": 0.9, "stop": ["END"]}},
            "tools": {"messages": [ask, {"role": "assistant", "content": "", "tool_calls": called}, *results], "tools": [tool]},
            "picture": {"messages": [ask | {"images": [PICTURE]}]},
            "structured": {"messages": [ask], "format": CITY}}[case]
        answer = client.chat(model=MODEL, stream=stream, **({"options": options} | given))
        if stream:
            list(answer)

    def embed(self):
        client = ollama.Client(host=RECORDER, headers={"authorization": f"Bearer {KEY}"})
        return client.embed(model=MODEL, input=TEXTS, truncate=False).embeddings

    def normal(self, body):
        messages = [{name: value for name, value in message.items() if value != ""} for message in body["messages"]]
        return {name: value for name, value in body.items() if value != []} | {"messages": messages}

    def credentials(self, request):
        return request["headers"].get("authorization")


class Anthropic:
    """The SDK is asked for the version that the gateway speaks, which still takes temperature and top_p."""

    kind = "anthropic"

    def say(self, case, stream=False):
        client = anthropic.Anthropic(base_url=RECORDER, api_key=KEY, max_retries=0)
        ask = {"role": "user", "content": [{"type": "text", "text": ASK}]}
        called = calls(lambda call_id, arguments: {"type": "tool_use", "id": call_id, "name": TOOL, "input": arguments})
        results = [{"type": "tool_result", "tool_use_id": call_id, "content": [{"type": "text", "text": RESULT}]}
                   for call_id in PLACES]
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}
        given = {
            "text": {
                "system": SYSTEM, "messages": [ask], "stop_sequences": ["END"],
                "extra_body": {"temperature": 0.5, "top_p": 0.9}},
            "tools": {
                "messages": [ask, {"role": "assistant", "content": called}, {"role": "user", "content": results}],
                "tools": [{"name": TOOL, "description": DESCRIPTION, "input_schema": ARGUMENTS}]},
            "picture": {"messages": [{"role": "user", "content": [*ask["content"], image]}]},
            "structured": {
                "messages": [ask], "output_config": {"format": {"type": "json_schema", "schema": CITY}}}}[case]
        client.messages.create(
            model=MODEL, max_tokens=CAP, stream=stream, **given,
            extra_headers={"anthropic-version": "2023-06-01"})

    def normal(self, body):
        return {name: value for name, value in body.items() if (name, value) != ("stream", False)}

    def credentials(self, request):
        """The newest SDK sends its key as a bearer token, which the API takes as well."""
        bearer = request["headers"].get("authorization", "").removeprefix("Bearer ")
        return request["headers"]["anthropic-version"], request["headers"].get("x-api-key") or bearer


class Gemini:
    """Calls and results have no ids: models before the third generation do not know them."""

    kind = "gemini"

    def say(self, case, stream=False):
        client = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=RECORDER, api_version="v1beta"))
        ask = types.Content(role="user", parts=[types.Part(text=ASK)])
        called = types.Content(role="model", parts=calls(
            lambda _, arguments: types.Part(function_call=types.FunctionCall(name=TOOL, args=arguments))))
        results = types.Content(role="user", parts=[
            types.Part(function_response=types.FunctionResponse(name=TOOL, response={"output": RESULT}))
            for _ in PLACES])
        tool = types.Tool(function_declarations=[
            types.FunctionDeclaration(name=TOOL, description=DESCRIPTION, parameters_json_schema=ARGUMENTS)])
        picture = types.Part(inline_data=types.Blob(mime_type="image/png", data=base64.b64decode(PICTURE)))
        contents, config = {
            "text": ([ask], {"system_instruction": SYSTEM, "temperature": 0.5, "top_p": 0.9, "stop_sequences": ["END"]}),
            "tools": ([ask, called, results], {"tools": [tool]}),
            "picture": ([types.Content(role="user", parts=[*ask.parts, picture])], {}),
            "structured": ([ask], {"response_mime_type": "application/json", "response_json_schema": CITY})}[case]
        models, config = client.models, types.GenerateContentConfig(max_output_tokens=CAP, **config)
        if stream:
            list(models.generate_content_stream(model=MODEL, contents=contents, config=config))
        else:
            models.generate_content(model=MODEL, contents=contents, config=config)

    def normal(self, body):
        """The SDK gives the system instruction a role, which says nothing, and has some names as Python spells them and
        the other base64: the API takes both."""
        body.get("systemInstruction", {}).pop("role", None)
        text = json.dumps(body)
        for name in ("parameters_json_schema", "mime_type"):
            first, *others = name.split("_")
            text = text.replace(name, first + "".join(map(str.capitalize, others)))
        body = json.loads(text)
        for part in (part for content in body["contents"] for part in content["parts"] if "inlineData" in part):
            part["inlineData"]["data"] = base64.b64encode(base64.urlsafe_b64decode(
                part["inlineData"]["data"].replace("+", "-").replace("/", "_"))).decode()
        return body

    def credentials(self, request):
        return request["headers"].get("x-goog-api-key")


class Bedrock:
    kind = "bedrock"

    def say(self, case, stream=False):
        client = boto3.client(
            "bedrock-runtime", endpoint_url=RECORDER, region_name=AWS_REGION, aws_access_key_id=AWS_ACCESS,
            aws_secret_access_key=AWS_SECRET, config=Config(retries={"total_max_attempts": 1}))
        ask = {"role": "user", "content": [{"text": ASK}]}
        called = calls(lambda call_id, arguments: {"toolUse": {"toolUseId": call_id, "name": TOOL, "input": arguments}})
        results = [{"toolResult": {"toolUseId": call_id, "content": [{"text": RESULT}]}}
                   for call_id in PLACES]
        tool = {"toolSpec": {"name": TOOL, "description": DESCRIPTION, "inputSchema": {"json": ARGUMENTS}}}
        picture = {"image": {"format": "png", "source": {"bytes": base64.b64decode(PICTURE)}}}
        limits = {"maxTokens": CAP}
        schema = {"jsonSchema": {"name": "city", "schema": json.dumps(CITY, separators=(",", ":"))}}
        given = {
            "text": {
                "system": [{"text": SYSTEM}], "messages": [ask],
                "inferenceConfig": limits | {"temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]}},
            "tools": {
                "messages": [ask, {"role": "assistant", "content": called}, {"role": "user", "content": results}],
                "toolConfig": {"tools": [tool]}},
            "picture": {"messages": [{"role": "user", "content": [{"text": ASK}, picture]}]},
            "structured": {
                "messages": [ask],
                "outputConfig": {"textFormat": {"type": "json_schema", "structure": schema}}}}[case]
        converse = client.converse_stream if stream else client.converse
        converse(modelId=MODEL, **({"inferenceConfig": limits} | given))

    def normal(self, body):
        return body

    def credentials(self, request):
        """The signature is the one that botocore makes for this request at its time."""
        given = request["headers"]
        scheme, _, fields = given["authorization"].partition(" ")
        fields = dict(field.strip().split("=", 1) for field in fields.split(","))
        names = fields["SignedHeaders"].split(";")
        again = AWSRequest(
            "POST", RECORDER + request["path"], data=base64.b64decode(request["body"]),
            headers={name: given[name] for name in names if name != "host"})
        again.context["timestamp"] = given["x-amz-date"]
        signer = SigV4Auth(Credentials(AWS_ACCESS, AWS_SECRET), "bedrock", AWS_REGION)
        canonical = signer.canonical_request(again)
        signature = signer.signature(signer.string_to_sign(again, canonical), again)
        same(signature, fields["Signature"], "the signature")
        return scheme, fields["Credential"].split("/")[::2]


class Cohere:
    kind = "cohere"

    def say(self, case, stream=False):
        client = cohere.ClientV2(api_key=KEY, base_url=RECORDER, max_retries=0)
        ask = {"role": "user", "content": ASK}
        called = calls(lambda call_id, arguments: {
            "id": call_id, "type": "function", "function": {"name": TOOL, "arguments": json.dumps(arguments, separators=(",", ":"))}})
        results = [{"role": "tool", "tool_call_id": call_id, "content": RESULT} for call_id in PLACES]
        tool = {"type": "function", "function": {"name": TOOL, "description": DESCRIPTION, "parameters": ARGUMENTS}}
        picture = {"type": "image_url", "image_url": {"url": PIXEL}}
        given = {
            "text": {
                "messages": [{"role": "system", "content": SYSTEM}, ask], "temperature": 0.5, "p": 0.9,
                "stop_sequences": ["END"]},
            "tools": {"messages": [ask, {"role": "assistant", "tool_calls": called}, *results], "tools": [tool]},
            "picture": {"messages": [{"role": "user", "content": [{"type": "text", "text": ASK}, picture]}]},
            "structured": {
                "messages": [ask], "response_format": {"type": "json_object", "json_schema": CITY}}}[case]
        if stream:
            list(client.chat_stream(model=MODEL, max_tokens=CAP, **given))
        else:
            client.chat(model=MODEL, max_tokens=CAP, **given)

    def embed(self):
        client = cohere.ClientV2(api_key=KEY, base_url=RECORDER, max_retries=0)
        return client.embed(
            model=MODEL, texts=TEXTS, input_type="search_document", embedding_types=["float"], truncate="NONE").embeddings.float_

    def normal(self, body):
        return {name: value for name, value in body.items() if (name, value) != ("stream", False)}

    def credentials(self, request):
        return request["headers"].get("authorization")


def says_the_same(witness, case, native):
    witness.say(case)
    theirs, ours = only_request(), ask_gateway(witness.kind, native)
    compare(witness, case, theirs, ours)


def embeds_the_same(witness):
    same([list(vector) for vector in witness.embed()], [[0.5, -0.25], [0.25, 1.0]], f"what {witness.kind}'s SDK reads")
    theirs, ours = only_request(), embed_with_gateway(witness.kind)
    compare(witness, "embeddings", theirs, ours, normal=dict)


def asks_for_the_same_stream(witness, native):
    try:
        witness.say("text", stream=True)
    except Exception:
        pass  # the recorder refuses every stream: only the request matters
    theirs = only_request()
    compare(witness, "a stream", theirs, ask_gateway(witness.kind, native, stream=True))


def compare(witness, case, theirs, ours, normal=None):
    normal = normal or witness.normal
    what = f"{case} at {witness.kind}"
    same(ours["path"], theirs["path"], f"path of {what}")
    same(ours["headers"]["content-type"], theirs["headers"]["content-type"], f"content type of {what}")
    same(witness.credentials(ours), witness.credentials(theirs), f"credentials of {what}")
    same(normal(body_of(ours)), normal(body_of(theirs)), f"body of {what}")


for witness in (Ollama(), Anthropic(), Gemini(), Bedrock(), Cohere()):
    if witness.kind in TEST["witnessed"]:
        for case, native in native_cases().items():
            says_the_same(witness, case, native)
        asks_for_the_same_stream(witness, native_cases()["text"])
        if hasattr(witness, "embed"):
            embeds_the_same(witness)
report()
