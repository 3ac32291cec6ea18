"""JSON Schemas of frozen dataclasses, from their types and the words of their docstrings."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from onnxslim_snacs.config.fields import in_files, is_plain

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_SINGLE: Mapping[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": ["number", "null"]},  # infinities are none of JSON's numbers
    type(None): {"type": "null"},
}


def schema_of(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a dataclass.

    Args:
        kind: the dataclass.
        definitions: name -> schema, to which those of all dataclasses inside are added.
    """
    hints, own = get_type_hints(kind), [f for f in fields(kind) if f.init and in_files(f)]
    words = described(kind)
    found = {}
    for field in own:
        text = {"description": words[field.name]} if field.name in words else {}
        found[field.name] = {**_schema(hints[field.name], definitions), **text}
    needed = [f.name for f in own if f.default is MISSING and f.default_factory is MISSING]
    return {
        "type": "object",
        "description": (inspect.getdoc(kind) or "").partition("\n")[0],
        "properties": found,
        "required": needed,
    }


def _schema(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, members = get_origin(hint), get_args(hint)
    if hint in _SINGLE:
        return dict(_SINGLE[hint])
    if is_dataclass(hint) and isinstance(hint, type):
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = {}  # it may lie within itself
            definitions[hint.__name__] = schema_of(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    if origin in (Union, types.UnionType):
        written = [member for member in members if is_plain(member)]  # the rest is held in memory
        return {"anyOf": [_schema(member, definitions) for member in written]}
    if origin is tuple and not (len(members) == 2 and members[1] is ...):
        each = [_schema(member, definitions) for member in members]
        return {"type": "array", "prefixItems": each, "minItems": len(each), "maxItems": len(each)}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(members[1], definitions)}
    if origin is not None and issubclass(origin, Sequence):
        return {"type": "array", "items": _schema(members[0], definitions)}
    return {}


def described(kind: type) -> dict[str, str]:
    """Attribute -> what the docstring of a dataclass says of it."""
    _, _, text = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", text, re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in found}
