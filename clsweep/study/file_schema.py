"""The JSON schema of study files, with the methods that installed packages bring."""

from __future__ import annotations

from typing import Any

from clsweep.methods import METHODS
from clsweep.methods.own_methods import installed_names
from clsweep.study.method_tables import request_type
from clsweep.study.several_benchmarks import MAX_BENCHMARKS
from clsweep.study.study import Study


def file_schema() -> dict[str, Any]:
    """What an editor checks a study file by.

    Raises:
        StudyError: a method of an installed package cannot be imported.
    """
    schema = Study.model_json_schema()
    tables = schema["properties"]["methods"]["items"]
    for name in installed_names():
        if name in METHODS:
            continue
        own = request_type(name).model_json_schema()
        for shared, part in own.pop("$defs", {}).items():
            schema["$defs"].setdefault(shared, part)
        key = f"{name}_request"
        schema["$defs"][key] = own
        tables["oneOf"].append({"$ref": f"#/$defs/{key}"})
        if "discriminator" in tables:
            tables["discriminator"]["mapping"][name] = f"#/$defs/{key}"
    _allow_several(schema)
    return schema


def _allow_several(schema: dict[str, Any]) -> None:
    """Let a file have `[[benchmarks]]`, which complete [benchmark], or a list of data sets."""
    several = {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_BENCHMARKS,
        "description": "a benchmark each, which takes from [benchmark] what it does not say",
        "items": {
            "type": "object",
            "properties": {
                "label": {"type": "string", "description": "names its results folder"},
                "net": {"type": "object", "description": "keys of [net] for this benchmark"},
                "training": {"type": "object", "description": "keys of [training], likewise"},
            },
        },
    }
    properties = schema["properties"]
    one = properties["benchmark"]
    properties |= {"benchmark": {}, "benchmarks": several}
    schema["required"].remove("benchmark")
    schema["if"] = {"required": ["benchmarks"]}
    schema["then"] = {"properties": {"benchmark": {"type": "object"}}}
    schema["else"] = {"properties": {"benchmark": one}, "required": ["benchmark"]}
    for part in schema["$defs"].values():
        found = part.get("properties", {})
        if {"dataset", "data_seed"} <= found.keys() and "datasets" not in found:
            names = {"type": "array", "minItems": 1, "items": {"type": "string"}}
            text = {"type": found["dataset"].pop("type")}
            found["dataset"]["anyOf"] = [text, names]
