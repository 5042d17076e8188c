"""The OpenAPI document of a project's predictions, made from its schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml_assets.serving.predicting.bulk import ARROW, PARQUET

if TYPE_CHECKING:
    from ml_assets.serving.predicting.served import Served

# Rows of a request whose predictions are explained, at most: each costs as much as hundreds of predictions.
EXPLAINED = 10
MISTAKE = {
    "type": "object",
    "properties": {
        "row": {"type": "integer", "description": "Place of the row, from 0."},
        "field": {"type": "string"},
        "value": {"type": "string", "description": "What stood there, cut short."},
        "message": {"type": "string"},
    },
    "required": ["row", "field", "value", "message"],
}
ERROR = {
    "type": "object",
    "properties": {
        "error": {"type": "string", "description": "What is wrong, and what was expected."},
        "mistakes": {"type": "array", "items": MISTAKE},
        "more": {"type": "integer", "description": "At least so many mistakes are not listed."},
    },
    "required": ["error"],
}
REFUSALS = {
    "400": "The body cannot be read.",
    "401": "No key was shown, or one that opens nothing.",
    "403": "The key does not allow it: the scope predict, in this project.",
    "404": "There is no such project or version, or no champion yet.",
    "405": "Rows are sent by POST.",
    "408": "The body has not come in time.",
    "409": "The version cannot be served, or its predictions not be explained.",
    "413": "The body is too large.",
    "415": "Neither JSON, Arrow nor Parquet.",
    "422": "A value is not as the schema wants it: field, value, limit. Or no prediction, or a wrong parameter.",
    "429": "Too many requests.",
    "503": "The champion is being loaded, or cannot be, or the lake is away.",
}


def document(served: Served) -> dict[str, Any]:
    """The document: OpenAPI 3.1."""
    project, contract = served.project, served.contract
    row = contract.row.json_schema(ref_template="#/components/schemas/{model}")
    most = served.max_rows
    listed = {"type": "array", "items": {"$ref": "#/components/schemas/Row"}, "minItems": 1, "maxItems": most}
    many = {
        "type": "object",
        "properties": {"rows": listed},
        "required": ["rows"],
        "additionalProperties": False,
    }  # fmt: skip
    binary = {"schema": {"type": "string", "format": "binary"}}
    error = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    example = row.get("examples", [None])[0]
    asked: dict[str, Any] = {"anyOf": [{"$ref": "#/components/schemas/Row"}, {"$ref": "#/components/schemas/Rows"}]}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Predictions of {project.name}", "description": project.description,
            "version": str(served.number),
        },
        "paths": {
            f"/predict/{project.name}": {
                "post": {
                    "operationId": "predict",
                    "summary": f"Predict {project.target}",
                    "parameters": [
                        {"name": "version", "in": "query", "required": False,
                         "description": "A version of the project; the champion where it is left out.",
                         "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999}},
                        {"name": "explain", "in": "query", "required": False,
                         "description": f"Whether what moved the predictions of the first {EXPLAINED} rows is told.",
                         "schema": {"type": "boolean"}},
                    ],
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/json": {"schema": asked} | ({"example": example} if example else {}),
                            ARROW: binary,
                            PARQUET: binary,
                        },
                    },
                    "responses": {
                        "200": {
                            "description": "A prediction for each row, in their order.",
                            "content": {
                                "application/json": {"schema": {"$ref": "#/components/schemas/Answer"}},
                                ARROW: binary,
                                PARQUET: binary,
                            },
                        },
                        **{code: {"description": words, **error} for code, words in REFUSALS.items()},
                    },
                }
            }
        },
        "components": {"schemas": {"Row": row, "Rows": many, "Error": ERROR, "Answer": _answer(served)}},
    }  # fmt: skip


def _answer(served: Served) -> dict[str, Any]:
    version = served.scorer.version
    one: dict[str, Any] = {
        "type": "object",
        "properties": {"prediction": {"type": "number"}},
        "required": ["prediction"],
    }
    if version.task != "regression":
        label = {"type": "string", "enum": list(version.classes)}
        shares = {name: {"type": "number"} for name in version.classes}
        one["properties"] |= {"label": label, "probabilities": {"type": "object", "properties": shares}}
        one["required"] += ["label", "probabilities"]
    one["properties"]["explanation"] = {"type": "object"}
    return {
        "type": "object",
        "properties": {
            "project": {"const": served.project.name},
            "version": {"type": "integer"},
            "engine": {"enum": ["onnx", "scikit-learn"]},
            "predictions": {"type": "array", "items": one},
            "warning": {"type": "string", "description": "That the data are simulated, where they are."},
        },
        "required": ["project", "version", "engine", "predictions"],
    }
