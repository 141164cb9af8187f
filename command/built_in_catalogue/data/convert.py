#!/usr/bin/env python3
"""Makes catalogue.json from a price list in the form of LiteLLM's, reduced: `convert.py PRICES`.

PRICES is one JSON object. `_source` says where it is from; every other key is a model as LiteLLM names it, with `provider`,
`mode`, `price` and `tiers` in US dollars a token, or `bands` by the size of the prompt. What the list does not have (providers,
explicit names, successors, fees for searches, what models lack and refuse, aliases) is in curated.json, which people edit. The
same input gives the same bytes.

Prices are decimals throughout: Python's floats are never used. A row that has no place in the catalogue is left out by a
rule in `rejected`, which says why; `--left-out` prints them all."""
import argparse
import json
import re
import sys
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path

HERE = Path(__file__).parent
MODES = ("chat", "completion", "responses", "embedding")
PER_TOKEN = {
    "input": "input_usd_per_mtok",
    "output": "output_usd_per_mtok",
    "cache_read": "cache_read_usd_per_mtok",
    "cache_write": "cache_write_usd_per_mtok",
    "cache_write_1h": "cache_write_1h_usd_per_mtok",
    "cache_write_12h": "cache_write_12h_usd_per_mtok",
    "reasoning": "reasoning_usd_per_mtok",
    "input_audio": "input_audio_usd_per_mtok",
    "cache_read_audio": "cache_read_audio_usd_per_mtok",
    "output_audio": "output_audio_usd_per_mtok",
    "input_image_token": "input_image_usd_per_mtok",
    "cache_read_image_token": "cache_read_image_usd_per_mtok",
    "output_image_token": "output_image_usd_per_mtok",
    "citation": "citation_usd_per_mtok",
}
# What a class costs that has no price of its own.
FOLLOWS = {
    "cache_read": "input", "cache_write": "input", "cache_write_1h": "cache_write", "cache_write_12h": "cache_write",
    "reasoning": "output", "input_audio": "input", "cache_read_audio": "cache_read", "output_audio": "output",
    "input_image_token": "input", "cache_read_image_token": "cache_read", "output_image_token": "output",
}
# Units that the gateway does not bill. Where tokens are priced too, they are the same cost in other words, or the cost of
# something that the gateway does not send.
NOT_BILLED = {"per_image_out", "per_second_in", "per_second_out", "per_char_in", "per_char_out", "per_query"}
SERVICE_TIERS = ("batch", "flex", "priority")
LIMIT_MAX = 100_000_000
# Prefixes by which LiteLLM names a provider. They are not part of what is sent.
PREFIXES = {
    "gemini": "gemini/", "groq": "groq/", "together": "together_ai/", "mistral": "mistral/", "perplexity": "perplexity/",
    "openrouter": "openrouter/", "xai": "xai/", "cohere": "cohere/", "azure_openai": "azure/", "dashscope": "dashscope/",
    "deepseek": "deepseek/", "ollama": "ollama/", "vertex_ai": "vertex_ai/",
}
AZURE_REGIONS = ("apac", "eu", "global", "global-standard", "us", "us-gov")
BEDROCK_GEOGRAPHIES = ("apac", "au", "eu", "global", "in", "jp", "us", "us-gov")
# Models that search for every answer, whatever the request says: by provider, all of the name.
ALWAYS_SEARCH = {
    "openai": r".*-search-(preview|api)(-[0-9-]+)?|.*deep-research.*",
    "azure_openai": r".*deep-research.*", "gemini": r".*deep-research.*", "vertex_ai": r".*deep-research.*",
    "perplexity": r"(perplexity/)?(sonar|pplx)(?!-embed).*(?<!-chat)|preset/.*",
}
HEADER = '"$schema":"catalogue.schema.json","schema":1'


class Row:
    """A row of the price list, and where it belongs: the model as it is sent, and the region if its price is of one."""

    def __init__(self, key, fields):
        self.key, self.fields, self.provider = key, fields, fields["provider"]
        self.region = self.geography = None
        self.model = key.removeprefix(PREFIXES.get(self.provider, ""))
        self.has_prefix = self.model != key
        if self.provider == "azure_openai" and "/" in self.model:
            self.region, self.model = self.model.split("/", 1)
        if self.provider == "bedrock":
            self.model = key.removeprefix("bedrock/")
            self.has_prefix = self.model == key
            if "/" in self.model:
                self.region, self.model = self.model.split("/", 1)
            beginning = self.model.split(".", 1)[0]
            self.geography = beginning if beginning in BEDROCK_GEOGRAPHIES else None
        self.place = (self.provider, self.model)

    def in_region(self):
        """The model without the geography of its inference profile."""
        return self.model.split(".", 1)[1] if self.geography else self.model


def rejected(row, providers):
    """Why a row is left out; None if it stays."""
    key, model = row.key, row.model
    if row.fields["mode"] not in MODES:
        return "another kind of model"
    if row.provider not in providers:
        return "of no provider here"
    if key.endswith("/container") or key == "azure/model-router" or "lyria" in key:
        return "no model that answers with text or vectors under a price a token"
    if row.provider == "openai" and model.startswith("ft:"):
        return "the price of fine-tuned models, which have names of their own"
    if row.provider == "together" and not row.has_prefix:
        return "the price of a size of models"
    if row.provider == "mistral" and not row.has_prefix:
        return "another host of Mistral's"
    if row.provider == "vertex_ai" and not re.match(r"claude-|gemini-|text-.*embedding|multimodalembedding", model):
        return "not served by Vertex AI's generateContent or rawPredict"
    if row.provider == "azure_openai" and row.region not in (None, *AZURE_REGIONS):
        return "a route of LiteLLM's"
    if row.provider == "bedrock":
        if key.startswith("bedrock_mantle/") or row.region in ("invoke", "claude_platform"):
            return "another API of AWS than Converse"
        if "commitment" in key:
            return "throughput that is paid for by the month"
        if "." not in model or "@" in model or "/" in model:
            return "no id of Bedrock's"
    return None


def per_mtok(dollars_per_token):
    """Exact: the gateway's money has nine fractional digits."""
    value = dollars_per_token * 1_000_000
    text = format(value.normalize(), "f")
    assert Decimal(text) / 1_000_000 == dollars_per_token, dollars_per_token
    assert value >= 0 and -value.normalize().as_tuple().exponent <= 9, dollars_per_token
    return text


def classes_of(prices):
    return {PER_TOKEN[name]: per_mtok(prices[name]) for name in PER_TOKEN if name in prices}


def without_repetitions(prices):
    """Without the classes that cost what they follow. In a tier, they follow that tier."""
    def followed(name):
        while name in FOLLOWS and (name == origin or name not in prices):
            name = FOLLOWS[name]
        return prices.get(name)

    kept = {}
    for origin, value in prices.items():
        if origin not in FOLLOWS or followed(origin) != value:
            kept[origin] = value
    return kept


def conditions(name):
    """The conditions of a tier, by its name: `above_200k_priority` has both."""
    found = re.fullmatch(r"(?:above_(\d+)k)?_?(batch|flex|priority)?", name)
    assert found and any(found.groups()), name
    above, tier = found.groups()
    return ({"above_input_tokens": int(above) * 1000} if above else {}) | ({"service_tier": tier} if tier else {})


def by_conditions(tier):
    order = (None, *SERVICE_TIERS)
    return tier.get("above_input_tokens", 0), order.index(tier.get("service_tier"))


def price_of(row):
    """The price by the names of the catalogue; None if it is unknown, or not one that tokens add up to."""
    fields, tiers = row.fields, []
    if row.provider == "ollama":
        return None  # What a machine of one's own costs is not known here.
    if "bands" in fields:
        assert "price" not in fields, row.key
        first, *later = sorted(fields["bands"], key=lambda band: band["range"][0])
        assert first["range"][0] == 0, row.key
        for before, band in zip([first, *later], later):
            assert before["range"][1] == band["range"][0], row.key
            # A band holds prompts of at least `from` tokens: more than `from` less one.
            tiers.append({"above_input_tokens": int(band["range"][0]) - 1} | classes_of(band))
        base = {name: value for name, value in first.items() if name != "range"}
    else:
        base = fields.get("price", {})
        for name, prices in fields.get("tiers", {}).items():
            assert set(prices) <= set(PER_TOKEN) | NOT_BILLED | {"per_image_in"}, (row.key, prices)
            if priced := classes_of(prices):
                tiers.append(conditions(name) | priced)
    unknown = set(base) - set(PER_TOKEN) - NOT_BILLED - {"per_image_in", "per_request"}
    assert not unknown, (row.key, unknown)
    is_embedding = fields["mode"] == "embedding"
    if is_embedding and "input" in base:
        base = {"output": Decimal(0)} | base  # Vectors are not billed as tokens.
    if "input" not in base or "output" not in base:
        return None
    if base["input"] == 0 or (base["output"] == 0 and not is_embedding):
        # Lists write zero for what is free and for what they do not know.
        if not row.model.endswith(":free") and "per_request" not in base:
            return None
    # A zero for cache writes beside a price for input stands for a provider that has no such class.
    base = {name: value for name, value in base.items() if not (name in FOLLOWS and value == 0 and base["input"] > 0)}
    price = classes_of(without_repetitions(base))
    if base.get("per_request"):
        price["request_usd"] = format(base["per_request"].normalize(), "f")
    # An image of a chat is counted in tokens, so that its price would be charged twice.
    if is_embedding and base.get("per_image_in"):
        price["input_image_usd"] = format(base["per_image_in"].normalize(), "f")
    if tiers:
        price["tiers"] = sorted(tiers, key=by_conditions)
    return price


def of_maker(model, hosts_turbo=False):
    """`Org/Model-Name` as its bare name. Precision and serving are not part of it."""
    if re.search(r":[a-z]+$", model):
        return None  # Another service for the same model, such as `:free`.
    name = model.rsplit("/", 1)[-1].lower()
    name = re.sub(r"-(fp8|fp4)$", "", name)
    if hosts_turbo:
        name = name.removesuffix("-turbo")
    name = name.removeprefix("meta-") if name.startswith("meta-llama") else name
    return re.sub(r"\.", "-", name) if name.startswith("claude-") else name


def of_bedrock(row):
    """`us.anthropic.claude-haiku-4-5-20251001-v1:0` as `claude-haiku-4-5-20251001`."""
    name = row.in_region().split(".", 1)[1].lower()
    name = re.sub(r"(-v?\d+)?:\d+$|-v1$", "", name)
    name = re.sub(r"^llama(\d)-(\d)-", r"llama-\1.\2-", name)
    return re.sub(r"^llama(\d)-", r"llama-\1-", name)


def candidate_names(row, explicit):
    """The names that a model may have, best first. Empty where a group would be a guess."""
    known = explicit.get(row.provider, {})
    for model in (row.model, row.in_region()):
        if model in known:
            return [known[model]] if known[model] else []
    if row.provider == "ollama":
        return []  # A tag says neither the size nor the precision.
    if row.provider == "bedrock":
        name = of_bedrock(row)
        return [undated(name), name]
    if row.provider == "vertex_ai":
        name = row.model.removesuffix("@default").replace("@", "-")
        return [undated(name), name] if name.startswith("claude-") else [name]
    if row.provider == "azure_openai":
        if row.model.endswith("latest"):
            return []  # What the newest is differs from host to host.
        return [row.model.replace("gpt-35-", "gpt-3.5-")]
    if row.provider in ("groq", "huggingface", "openrouter", "perplexity", "together"):
        name = of_maker(row.model, row.provider == "together")
        exact = of_maker(row.model)
        names = [name, exact] if name != exact else [name]
        return [] if name is None else [undated(name), *names] if name.startswith("claude-") else names
    return [row.model]


def undated(name):
    return re.sub(r"-20\d{6}$", "", name) if name.startswith("claude-") else name


def name_models(rows, explicit):
    """The bare name of every model, by its place. No two models of a provider in one geography share a name: the one that
    is called so keeps it. A date is part of the name of a Claude of which there are several."""
    every = {row.place: candidate_names(row, explicit) for row in rows}
    dates = defaultdict(set)
    for names in every.values():
        for name in names:
            if undated(name) != name:
                dates[undated(name)].add(name)
    taken, given = set(), {}
    for row in sorted(rows, key=lambda row: (every[row.place][:1] != [row.in_region()], row.place)):
        for name in every[row.place]:
            is_one_of_several = name != every[row.place][-1] and len(dates[name]) > 1
            shared = (row.provider, row.geography, name)
            if not is_one_of_several and shared not in taken:
                taken.add(shared)
                given[row.place] = name
                break
    return given


def limit(value):
    return value if isinstance(value, int) and 0 < value <= LIMIT_MAX else None


def facts_of(row, curated):
    """What models lack and refuse: no list has that. The first entry that says something of a model counts."""
    facts = {}
    for entry in curated["facts"]:
        if row.provider not in entry["providers"] or not re.fullmatch(entry["models"], row.model):
            continue
        if set(entry.get("capabilities", [])) <= set(row.fields.get("caps", [])):
            abilities = entry.get("abilities", {}) | facts.get("abilities", {})
            said = {name: entry[name] for name in ("window_counts_output", "refused_parameters") if name in entry}
            facts = said | facts | ({"abilities": abilities} if abilities else {})
    return facts


def model_of(row, name, curated):
    fields = row.fields
    # Ollama serves whatever it has at one address; which one LiteLLM calls is not the model's.
    mode = "chat" if row.provider == "ollama" and fields["mode"] == "completion" else fields["mode"]
    model = {
        "provider": row.provider, "model": row.model, "name": name, "mode": mode, "geography": row.geography,
        "context_window": limit(fields.get("max_in")), "max_output_tokens": limit(fields.get("max_out")),
        "facts": facts_of(row, curated) or None,
        "dimensions": limit(fields.get("dims")), "capabilities": sorted(fields.get("caps", [])) or None,
        "deprecated_on": fields.get("deprecated_on"),
        "successor": curated["successors"].get(row.provider, {}).get(row.model),
        "always_searches": bool(re.fullmatch(ALWAYS_SEARCH.get(row.provider, "(?!)"), row.model)) or None,
        "price": None if row.region else price_of(row),
    }
    if fees := curated["search_fees"].get(row.provider, {}).get(row.model):
        assert model["always_searches"] and model["price"], row.key
        model["price"] = {name: value for name, value in model["price"].items() if name != "tiers"} | fees | {
            name: value for name, value in model["price"].items() if name == "tiers"}
    return {field: value for field, value in model.items() if value is not None}


def models_of(rows, curated):
    """Every model once. Of two rows for one, the row without a region, and the one that LiteLLM documents, says what it
    is; rows of regions add their prices where these differ."""
    rows = sorted(rows, key=lambda row: (row.region is not None, not row.has_prefix, row.key))
    described = {}
    for row in rows:
        described.setdefault(row.place, row)
    names = name_models(described.values(), curated["names"])
    models = {place: model_of(row, names.get(place), curated) for place, row in described.items()}
    for row in rows:
        price = price_of(row)
        if row.region and price and price != models[row.place].get("price"):
            models[row.place].setdefault("regional_prices", {})[row.region] = price
    return [models[place] for place in sorted(models)]


def sources_of(source, rows):
    older = sorted({row.provider for row in rows if "catalogue" in row.fields})
    common = {"licence": "MIT", "taken_on": source["taken_on"]}
    origin = "LiteLLM, model_prices_and_context_window.json of the wheel "
    sources = [{"origin": origin + "1.109.1"} | common]
    return sources + [{"origin": origin + "1.80.0", "providers": older} | common] if older else sources


def text_of(document):
    """One provider, model or alias a line, so that a new version is readable as a difference."""
    line = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    lists = (f'"{name}":[\n' + ",\n".join(map(line, document[name])) + "\n]"
             for name in ("sources", "providers", "models"))
    aliases = ",\n".join(f"{line(name)}:{line(model)}" for name, model in sorted(document["aliases"].items()))
    return ("{" + HEADER + f',"version":"{document["version"]}",\n' + ",\n".join(lists)
            + ',\n"aliases":{\n' + aliases + "\n}}\n")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("prices", type=Path)
    arguments.add_argument("--left-out", action="store_true")
    arguments.add_argument("--out", type=Path, default=HERE / "catalogue.json")
    given = arguments.parse_args()
    listed = json.loads(given.prices.read_text(), parse_float=Decimal)
    source = listed.pop("_source")
    # Whole dollars and zeros are integers in JSON.
    for fields in listed.values():
        for prices in [fields.get("price", {}), *fields.get("tiers", {}).values(), *fields.get("bands", [])]:
            prices |= {name: Decimal(value) for name, value in prices.items() if name != "range"}
    curated = json.loads((HERE / "curated.json").read_text())
    providers = {provider["id"] for provider in curated["providers"]}
    rows, why = [], Counter()
    for row in (Row(key, fields) for key, fields in listed.items()):
        if reason := rejected(row, providers):
            why[reason] += 1
            if given.left_out:
                print(f"{row.key}: {reason}", file=sys.stderr)
        else:
            rows.append(row)
    document = {
        "version": source["taken_on"], "sources": sources_of(source, rows), "providers": curated["providers"],
        "models": models_of(rows, curated), "aliases": curated["aliases"],
    }
    given.out.write_text(text_of(document))
    print(f"{len(document['models'])} models of {len(rows)} rows; left out: {dict(why)}", file=sys.stderr)


if __name__ == "__main__":
    main()
