"""The OpenAPI text of an answer, out of the type that is answered: pydantic never sees the arrays."""

from __future__ import annotations

from typing import Any

import msgspec

from trueline_cloud.api.answers import Problem

__all__ = ["documented"]


def _inlined(schema: Any, components: dict[str, Any]) -> Any:
    # OpenAPI as FastAPI writes it has no place for msgspec's components; the types are small, so each is written out.
    if isinstance(schema, dict):
        reference = schema.get("$ref")
        if reference is not None:
            return _inlined(components[reference.rpartition("/")[2]], components)
        return {key: _inlined(value, components) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_inlined(value, components) for value in schema]
    return schema


def _content(answer: type) -> dict[str, Any]:
    (schema,), components = msgspec.json.schema_components([answer], ref_template="{name}")
    return {"application/json": {"schema": _inlined(schema, components)}}


def documented(answer: type, summary: str) -> dict[str, Any]:
    """The arguments of a path decorator that describe what is answered."""
    problem = {"description": "What is wrong, and what to do about it.", "content": _content(Problem)}
    responses: dict[int | str, dict[str, Any]] = {
        200: {"description": answer.__doc__ or summary, "content": _content(answer)},
        "4XX": problem,
        "5XX": problem,
        422: problem,
    }
    return {"summary": summary, "responses": responses, "response_model": None}
