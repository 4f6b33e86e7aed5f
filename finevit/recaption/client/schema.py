"""Structured output: the form that an answer is asked to have."""

from collections.abc import Mapping
from typing import Any


def list_schema(name: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """A ``response_format`` for an object that holds one list of items."""
    listed = {"type": "object", "properties": {name: {"type": "array", "items": item}}, "required": [name]}
    schema = {**listed, "additionalProperties": False}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}}
