"""The sixteen providers from the environment: for each a fresh folder, a key of the third-party mock in its variable, the mock at
its address, and the official clients. What a request must cost is computed here, from the catalogue's document and from what
the mock reports when it is asked without the gateway."""
import json
import tempfile
import urllib.request
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from pathlib import Path

from started import HERE, Gateway, run

CATALOGUE = HERE.parent.parent / "command/built_in_catalogue/data/catalogue.json"
KEY = "key-in-the-variable-5b2e91"
HELLO = [{"role": "user", "content": "Hello"}]
CLIENT_SECONDS = 60
NANO = Decimal("0.000000001")


@dataclass(frozen=True)
class Provider:
    """A provider of the catalogue: the variables besides those of its key and address, the model to ask for, what its bare
    name is, and the dialect in which the mock is asked."""

    id: str
    key: str
    address: str
    path: str
    model: str
    name: str
    dialect: str = "openai"
    more: dict = field(default_factory=dict)
    # Whether the mock reports usage in streams as this provider does.
    streams: bool = True


PROVIDERS = (
    Provider("openai", "OPENAI_API_KEY", "OPENAI_BASE_URL", "/v1", "gpt-4o-mini", "gpt-4o-mini"),
    Provider("anthropic", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "", "claude-haiku-4-5", "claude-haiku-4-5", "anthropic"),
    Provider("gemini", "GEMINI_API_KEY", "GEMINI_BASE_URL", "/v1beta", "gemini-2.5-flash", "gemini-2.5-flash", "gemini"),
    Provider("groq", "GROQ_API_KEY", "GROQ_BASE_URL", "/openai/v1", "openai/gpt-oss-120b", "gpt-oss-120b"),
    Provider("together", "TOGETHER_API_KEY", "TOGETHER_BASE_URL", "/v1", "MiniMaxAI/MiniMax-M2.7", "minimax-m2.7"),
    # Its streams report usage unasked, and it refuses to be asked. The mock reports what it is asked for.
    Provider(
        "mistral", "MISTRAL_API_KEY", "MISTRAL_BASE_URL", "/v1", "codestral-2508", "codestral-2508", streams=False),
    Provider("perplexity", "PERPLEXITY_API_KEY", "PERPLEXITY_BASE_URL", "", "sonar", "sonar"),
    Provider("openrouter", "OPENROUTER_API_KEY", "OPENROUTER_BASE_URL", "/api/v1", "anthropic/claude-3-haiku", "claude-3-haiku"),
    Provider("xai", "XAI_API_KEY", "XAI_BASE_URL", "/v1", "grok-4.20", "grok-4.20"),
    Provider("cohere", "COHERE_API_KEY", "COHERE_BASE_URL", "", "command-a-03-2025", "command-a-03-2025", "cohere"),
    Provider(
        "azure_openai", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "", "gpt-4.1", "gpt-4.1", "azure",
        {"AZURE_OPENAI_DEPLOYMENTS": "gpt-4.1=my-deployment"}),
    Provider(
        "bedrock", "AWS_BEARER_TOKEN_BEDROCK", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "",
        "anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5", "bedrock", {"AWS_REGION": "us-east-1"}),
    Provider("huggingface", "HF_TOKEN", "HF_BASE_URL", "/v1", "openai/gpt-oss-120b:cerebras", ""),
    Provider("dashscope", "DASHSCOPE_API_KEY", "DASHSCOPE_BASE_URL", "/compatible-mode/v1", "qwen-flash", "qwen-flash"),
    Provider("deepseek", "DEEPSEEK_API_KEY", "DEEPSEEK_BASE_URL", "", "deepseek-v3", "deepseek-v3"),
    Provider("ollama", "", "OLLAMA_URL", "", "llama3:latest", "llama3", "ollama"),
)
# What a user knows of a model that the catalogue has no price of.
OWN_PRICE = {"input_usd_per_mtok": "0.123", "output_usd_per_mtok": "4.567"}
# The mock lists its own models as Ollama's.
LISTED_BY_MOCK = "gpt-4o"


def reported(mock, provider):
    """The tokens of input and output that the mock reports, asked in the provider's dialect without the gateway."""
    model = provider.model
    chat = {"model": model, "messages": HELLO}
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {KEY}"} if provider.key else {})
    path, body, read = {
        "openai": (f"{provider.path}/chat/completions", chat, of_openai),
        "azure": ("/openai/deployments/my-deployment/chat/completions?api-version=2024-10-21", chat, of_openai),
        "anthropic": ("/v1/messages", chat | {"max_tokens": 256}, lambda said: (
            said["usage"]["input_tokens"], said["usage"]["output_tokens"])),
        "gemini": (f"/v1beta/models/{model}:generateContent", {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]},
                   lambda said: (
                       said["usageMetadata"]["promptTokenCount"], said["usageMetadata"]["candidatesTokenCount"])),
        "cohere": ("/v2/chat", chat, lambda said: (
            said["usage"]["billed_units"]["input_tokens"], said["usage"]["billed_units"]["output_tokens"])),
        "bedrock": (f"/model/{model}/converse", {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]},
                    lambda said: (said["usage"]["inputTokens"], said["usage"]["outputTokens"])),
        "ollama": ("/api/chat", chat | {"stream": False}, lambda said: (said["prompt_eval_count"], said["eval_count"])),
    }[provider.dialect]
    request = urllib.request.Request(mock.origin + path, data=json.dumps(body).encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return tuple(int(tokens) for tokens in read(json.load(answer)))


def of_openai(said):
    usage = said["usage"]
    for details in ("prompt_tokens_details", "completion_tokens_details"):
        assert not any((usage.get(details) or {}).values()), f"the mock reports classes of tokens: {usage}"
    return usage["prompt_tokens"], usage["completion_tokens"]


def price_of(provider):
    if provider.id == "huggingface":
        return OWN_PRICE
    if provider.id == "ollama":
        return {"input_usd_per_mtok": "0", "output_usd_per_mtok": "0"}
    models = json.loads(CATALOGUE.read_text())["models"]
    model = next(each for each in models if (each["provider"], each["model"]) == (provider.id, provider.model))
    assert model.get("name", "") == provider.name, f"{provider.id}: {model}"
    return model["price"]


def cost(price, tokens):
    """In US dollars, rounded up to a nano-dollar."""
    given, said = (Decimal(price[name]) / 1_000_000 for name in ("input_usd_per_mtok", "output_usd_per_mtok"))
    exact = given * tokens[0] + said * tokens[1] + Decimal(price.get("request_usd", "0"))
    return exact.quantize(NANO, rounding=ROUND_CEILING)


def models_of(gateway, provider):
    """What to ask for. A model without a price in the catalogue gets one, and a name, from the operator."""
    if provider.id == "ollama":
        return [f"ollama/{LISTED_BY_MOCK}", LISTED_BY_MOCK]
    if provider.name:
        return [f"{provider.id}/{provider.model}", provider.name]
    found = json.loads(gateway.call("GET", "/v1/admin/providers"))["items"]
    made = next(each for each in found if each["name"] == provider.id)
    gateway.make("/prices", provider_id=made["id"], model=provider.model, **OWN_PRICE)
    name = f"{provider.id}/{provider.model}"
    gateway.make("/models", name=name, targets=[
        {"provider_id": made["id"], "model": provider.model, "context_window": 131_072, "max_output_tokens": 32_768,
         "default_max_output_tokens": 4_096}])
    return [name]


def variables(mock, provider):
    address = {provider.address: mock.origin + provider.path} | provider.more
    own = {"LEDGERWAY_PROVIDERS_FROM_ENV": "on"} | ({provider.key: KEY} if provider.key else {})
    # No Ollama that runs here by chance.
    return {"OLLAMA_URL": "http://127.0.0.1:9"} | own | address


# Holds: environment.sixteen
def of_provider(gateway, python, mock, provider):
    """What is wrong with it."""
    models = models_of(gateway, provider)
    user = gateway.make("/users", name="u", email="u@example.com")["id"]
    key = gateway.make("/keys", user_id=user, name="k")
    gateway.make("/budgets", scope={"key_id": key["id"]}, limit_usd="100", period="total")
    test = {"base_url": f"{gateway.origin}/v1", "key": key["secret"], "models": models,
            "anthropic": provider.id == "anthropic"}
    status, said, complained = run([python, str(HERE / "environment_client.py")], test, CLIENT_SECONDS)
    if status != 0:
        return [(said + complained).strip()[-2000:]]
    tokens = reported(mock, provider)
    wanted = cost(price_of(provider), tokens)
    # As an Ollama, the mock counts no tokens, and the gateway then counts for itself; it costs nothing.
    counts = provider.id != "ollama"
    wrong = [] if (min(tokens) > 0) == counts else [f"the mock reports {tokens}"]
    head = json.loads(gateway.call("GET", "/v1/log/head"))["position"]
    for asked in json.loads(said.splitlines()[-1]):
        if asked["streamed"] and not provider.streams:
            continue
        charged = json.loads(gateway.call("GET", f"/v1/inferences/{asked['request_id']}?min_position={head}"))["cost_usd"]
        seen = {charged} | ({asked["cost_usd"]} - {None})
        if {Decimal(each) for each in seen} != {wanted} or (counts and tuple(asked["tokens"]) != tokens):
            wrong.append(f"{asked['model']}: {asked['tokens']} tokens cost {seen}, the mock reports {tokens}, which cost {wanted}")
        if not asked["text"]:
            wrong.append(f"{asked['model']}: no text")
    return wrong


def check(binary, python, open_mock, keyed_mock):
    """Runs every provider; yields what is wrong. All but a local server need the key."""
    for provider in PROVIDERS:
        mock = keyed_mock if provider.key else open_mock
        with tempfile.TemporaryDirectory(prefix="ledgerway-environment-") as folder:
            gateway = Gateway(binary, folder, variables(mock, provider))
            try:
                wrong = of_provider(gateway, python, mock, provider)
                if (status := gateway.stop()) != 0:
                    wrong.append(f"the gateway ends with {status}")
                wrong += filter(None, [gateway.verify()])
                if any(KEY.encode() in file.read_bytes() for file in Path(folder).rglob("*") if file.is_file()):
                    wrong.append("its key is in a file")
            finally:
                gateway.process.kill()
                gateway.process.wait()
        print(f"FAIL environment {provider.id}: " + "\n".join(wrong) if wrong else f"ok environment {provider.id}", flush=True)
        yield from wrong
