"""docs/openapi.json: true, and enough for a generated client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from laser_tools.wire import AnswerBody, ZoomBody
from tests.worker.openapi import FILE, document

DOCUMENT = json.loads(document())
SCHEMAS = DOCUMENT["components"]["schemas"]


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for operation in methods.values():
            yield path, operation


def test_the_committed_document_is_the_workers() -> None:
    """Else: python -m tests.worker.openapi"""
    assert FILE.read_text(encoding="utf-8") == document()


def test_operations_have_readable_names_and_tags() -> None:
    named = [operation["operationId"] for _, operation in operations()]
    assert sorted(named) == [
        "answer", "get_image", "livez", "metrics", "put_image", "readyz", "zoom",
    ]  # fmt: skip
    known = {tag["name"] for tag in DOCUMENT["tags"]}
    assert all(set(operation["tags"]) <= known for _, operation in operations())


def test_an_upload_is_bytes() -> None:
    body = DOCUMENT["paths"]["/v1/images/{sha256}"]["put"]["requestBody"]
    assert body["required"]
    schema = body["content"]["application/octet-stream"]["schema"]
    assert schema == {"type": "string", "format": "binary"}


def test_headers_are_told() -> None:
    for path, operation in operations():
        sent = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "header"}
        assert sent == ({"X-Deadline-S", "X-Request-Id"} if path.startswith("/v1") else set())
        for status, response in operation["responses"].items():
            assert "X-Request-Id" in response["headers"], (path, status)
            assert ("Retry-After" in response["headers"]) == (status in ("429", "503"))


@pytest.mark.parametrize("name", ["AnswerBody", "ZoomBody", "Box", "ErrorDetail", "ImageInfo"])
def test_fields_are_described(name: str) -> None:
    fields = SCHEMAS[name]["properties"]
    assert all("description" in field or "$ref" in field for field in fields.values()), fields


def test_examples_are_good_requests() -> None:
    for kind in (AnswerBody, ZoomBody):
        (example,) = SCHEMAS[kind.__name__]["examples"]
        kind.model_validate_json(json.dumps(example))
