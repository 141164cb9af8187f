#!/usr/bin/env python3
"""Checks the catalogue against its JSON Schema, and its converter against the rows of the sample. Runs in the virtual
environment of requirements.txt."""
import copy
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from jsonschema import Draft202012Validator

DATA = Path(__file__).parent.parent.parent / "command" / "built_in_catalogue" / "data"


def catalogue(path=DATA / "catalogue.json"):
    return json.loads(path.read_text())


def models(document):
    return {(model["provider"], model["model"]): model for model in document["models"]}


def check_schema():
    schema = json.loads((DATA / "catalogue.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    validator, document = Draft202012Validator(schema), catalogue()
    validator.validate(document)
    at = next(index for index, model in enumerate(document["models"]) if model.get("price", {}).get("tiers"))
    mistakes = {
        "a price that is a number": lambda model: model["price"].update(input_usd_per_mtok=2.5),
        "a negative price": lambda model: model["price"].update(input_usd_per_mtok="-1"),
        "a price that is too fine": lambda model: model["price"].update(input_usd_per_mtok="0.0000000001"),
        "a tier without a condition": lambda model: model["price"].update(tiers=[{"input_usd_per_mtok": "1"}]),
        "a tier without a price": lambda model: model["price"].update(tiers=[{"service_tier": "batch"}]),
        "an unknown field": lambda model: model.update(per_image_in="1"),
        "an unknown mode": lambda model: model.update(mode="video"),
    }
    for mistake, make in mistakes.items():
        wrong = copy.deepcopy(document)
        make(wrong["models"][at])
        assert not validator.is_valid(wrong), mistake


def check_converter(folder):
    """What it makes of the sample alone is what it made of these rows among all others."""
    source = {"taken_on": catalogue()["version"]}
    rows = (f'{json.dumps(row["key"])}:{text}' for row, text in sampled())
    prices = folder / "prices.json"
    prices.write_text('{"_source":' + json.dumps(source) + "," + ",".join(rows) + "}")
    made = [folder / name for name in ("one.json", "two.json")]
    for path in made:
        subprocess.run([sys.executable, DATA / "convert.py", prices, "--out", path], check=True, timeout=60,
                       stderr=subprocess.DEVNULL)
    assert made[0].read_bytes() == made[1].read_bytes(), "the same input gives the same bytes"
    again, shipped = models(catalogue(made[0])), models(catalogue())
    assert len(again) >= 40, len(again)
    for place, model in again.items():
        regional = model.pop("regional_prices", {})
        found = shipped[place]
        assert regional.items() <= found.get("regional_prices", {}).items(), place
        if any(row["provider"] == place[0] and row["model"] == place[1] and "region" not in row for row, _ in sampled()):
            for field in ("mode", "price", "context_window", "max_output_tokens", "dimensions", "capabilities"):
                assert model.get(field) == found.get(field), (place, field)


def sampled():
    """The rows of the sample, and the text of each: its decimals must not become floats."""
    for line in (DATA / "sample.json").read_text().splitlines()[1:-1]:
        line = line.removesuffix(",")
        yield json.loads(line), line.split(',"row":', 1)[1][:-1]


def main():
    check_schema()
    with tempfile.TemporaryDirectory(prefix="ledgerway-catalogue-") as folder:
        check_converter(Path(folder))


if __name__ == "__main__":
    main()
