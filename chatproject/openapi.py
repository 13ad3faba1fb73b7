"""What the OpenAPI document says of every call beyond what its view says: the errors, in one place."""

from http import HTTPStatus
from typing import Any

from accounts.errors import ErrorCode

PROBLEM = "application/problem+json"
# What has no such method is no call of the document, and the server's own mistakes are no promise.
DOCUMENTED = sorted({code.http_status for code in ErrorCode if code.http_status not in {405, 500}})


def declare_problems(document: dict[str, Any]) -> None:
    """Add to each call of an OpenAPI document every error that it may answer with: the protocol has one set of codes
    for all of them."""
    components = document["components"]
    components.setdefault("schemas", {})["Problem"] = problem_schema()
    components["responses"] = {_name(status): _response(status) for status in DOCUMENTED}
    references = {str(status): {"$ref": f"#/components/responses/{_name(status)}"} for status in DOCUMENTED}
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"] = {**references, **{str(k): v for k, v in operation["responses"].items()}}


def problem_schema() -> dict[str, Any]:
    """RFC 9457 with the protocol's `code`, and `retry_after` in seconds where it makes sense to come back."""
    properties = {
        "type": {"const": "about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"enum": [code.value for code in ErrorCode]},
        "detail": {"type": "string"},
        "retry_after": {"type": "number", "exclusiveMinimum": 0},
    }
    required = [name for name in properties if name != "retry_after"]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _response(status: int) -> dict[str, Any]:
    codes = [code.value for code in ErrorCode if code.http_status == status]
    own = {"properties": {"status": {"const": status}, "code": {"enum": codes}}}
    schema = {"allOf": [{"$ref": "#/components/schemas/Problem"}, own]}
    return {"description": " or ".join(f"`{code}`" for code in codes), "content": {PROBLEM: {"schema": schema}}}


def _name(status: int) -> str:
    return "".join(word.capitalize() for word in HTTPStatus(status).name.split("_"))
