"""A schema whose alternatives a tag tells apart."""

from __future__ import annotations

from typing import Any

PET: dict[str, Any] = {
    "$defs": {
        "Cat": {
            "type": "object",
            "properties": {
                "kind": {"const": "cat", "type": "string"},
                "lives": {"type": "integer"},
            },
            "required": ["kind", "lives"],
        },
        "Dog": {
            "type": "object",
            "properties": {"kind": {"const": "dog", "type": "string"}, "name": {"type": "string"}},
            "required": ["kind", "name"],
        },
    },
    "discriminator": {
        "propertyName": "kind",
        "mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"},
    },
    "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
}
