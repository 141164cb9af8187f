"""Checks lines by the JSON Schema of OCSF 1.3.0 for API Activity, which allows no field that it does not know."""
import json
import os
import sys
from pathlib import Path

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

CLASS = 6003

ocsf = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.3.0"))
schema = ocsf.get_class_schema(class_name=ocsf.lookup_class_name_from_uid(class_uid=CLASS))
validator = Draft202012Validator(schema)
lines = [line for file in json.loads(os.environ["CLIENT_TEST"])["files"] for line in Path(file).read_text().splitlines()]
wrong = []
for line in lines:
    event = json.loads(line)
    wrong += [f"{each.json_path}: {each.message[:300]} in {line[:2000]}" for each in validator.iter_errors(event)]
    if event["class_uid"] != CLASS or event["type_uid"] != CLASS * 100 + event["activity_id"]:
        wrong.append(f"the class or the type is wrong in {line}")
print("\n".join(wrong) or f"{len(lines)} lines are valid")
sys.exit(bool(wrong))
