"""The JSON schema of study files, with the methods that installed packages bring."""

from __future__ import annotations

from typing import Any

from clsweep.methods import METHODS
from clsweep.methods.own_methods import installed_names
from clsweep.study.method_tables import request_type
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
    return schema
