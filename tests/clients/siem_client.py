"""Checks lines by the JSON Schema of OCSF 1.3.0 for their classes, which allow no field that they do not know."""
import json
import os
import sys
from pathlib import Path

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

CLASSES = {3001, 3002, 6003}

ocsf = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.3.0"))
validators = {
    uid: Draft202012Validator(ocsf.get_class_schema(class_name=ocsf.lookup_class_name_from_uid(class_uid=uid)))
    for uid in CLASSES
}
lines = [line for file in json.loads(os.environ["CLIENT_TEST"])["files"] for line in Path(file).read_text().splitlines()]
wrong = []
for line in lines:
    event = json.loads(line)
    uid = event["class_uid"]
    if uid not in CLASSES or event["type_uid"] != uid * 100 + event["activity_id"]:
        wrong.append(f"the class or the type is wrong in {line}")
        continue
    wrong += [f"{each.json_path}: {each.message[:300]} in {line[:2000]}" for each in validators[uid].iter_errors(event)]
if missing := CLASSES - {json.loads(line)["class_uid"] for line in lines}:
    wrong.append(f"no line is of {missing}")
print("\n".join(wrong) or f"{len(lines)} lines are valid")
sys.exit(bool(wrong))
