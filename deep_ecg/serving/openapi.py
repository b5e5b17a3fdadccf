"""The OpenAPI description of the paths for programs (https://spec.openapis.org/oas/v3.1.0)."""

from config import CLASSES
from deep_ecg import __version__
from deep_ecg.labelling.live import UNITS
from deep_ecg.serving.jobs import RANGE

NUMBER_OR_NONE = {"type": ["number", "null"]}
CLASS = {"type": "string", "enum": list(CLASSES)}
SIGNAL = {
    "type": "object",
    "required": ["signal", "fs"],
    "additionalProperties": False,
    "properties": {
        "signal": {
            "description": "Samples of one lead; null where one is lost.",
            "type": "array",
            "minItems": 1,
            "items": {"type": ["number", "null"], "minimum": -RANGE, "maximum": RANGE},
        },
        "fs": {"description": "Sampling rate in Hz.", "type": "number", "minimum": 100, "maximum": 1000},
        "unit": {"type": "string", "enum": list(UNITS), "default": "mV"},
    },
    "example": {"signal": [0.01, 0.02, None, 0.03], "fs": 360, "unit": "mV"},
}
BEAT = {
    "type": "object",
    "required": ["sample", "time_s", "class", "probabilities", "signal", "sure"],
    "properties": {
        "sample": {"type": "integer", "minimum": 0, "description": "R-peak, from the first sample on."},
        "time_s": {"type": "number"},
        "class": CLASS,
        "probabilities": {"type": "object", "required": list(CLASSES), "additionalProperties": {"type": "number"}},
        "signal": {"type": "string", "description": "State of the signal around the beat."},
        "sure": {"type": "boolean"},
    },
}
LABELS = {
    "type": "object",
    "required": ["fs", "synthetic", "summary", "beats", "rhythm"],
    "properties": {
        "fs": {"type": "number"},
        "synthetic": {"type": "boolean", "description": "Labels of a SYNTHETIC network or record demonstrate only."},
        "summary": {
            "type": "object",
            "required": ["lead", "beats", "counts", "ectopic_percent", "v_percent", "silent", "trust"],
            "properties": {
                "beats": {"type": "integer"},
                "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
                "ectopic_percent": NUMBER_OR_NONE,
                "v_percent": NUMBER_OR_NONE,
            },
        },
        "beats": {"type": "array", "items": BEAT},
        "rhythm": {"type": "array", "items": {"type": "object", "required": ["kind", "start_sample", "end_sample"]}},
    },
}
ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
REFUSALS = {
    "400": "The request is not as described.",
    "401": "The token is missing.",
    "403": "The request comes from a page of another site.",
    "408": "The upload took too long.",
    "409": "There are too many records of this visitor.",
    "413": "The request is too large.",
    "415": "The kind of content is another than described.",
    "421": "The host is not one of this server's.",
    "422": "The file is no ECG that can be read; the line says why.",
    "500": "The labelling went wrong.",
    "503": "Too many others wait.",
    "504": "The labelling took too long.",
    "507": "There is no room or memory.",
}


def description(token: bool) -> dict:
    """The description of a server that asks for a `token`, or does not."""
    secured: dict = {"security": [{"token": []}]} if token else {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Deep-ECG",
            "version": __version__,
            "description": "Heartbeats of an ECG labelled by the AAMI classes. Research code, not a medical device.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": {
            "/health": {"get": {"operationId": "health", "responses": {"200": _answer("It answers.", HEALTH)}}},
            "/predict": {"post": _predict() | secured},
        },
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}} if token else {},
    }


HEALTH = {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}}


def _predict() -> dict:
    return {
        "operationId": "predict",
        "summary": "Labels the beats of one lead",
        "description": (
            "Besides samples in JSON, a record in a file of any kind that `main.py predict` reads is taken as the body "
            "(application/octet-stream), or in a form with several files (multipart/form-data), as WFDB has them."
        ),
        "requestBody": {"required": True, "content": {"application/json": {"schema": SIGNAL}}},
        "responses": {
            "200": _answer("The beats, in order of time.", LABELS),
            **{status: _answer(why, ERROR) for status, why in REFUSALS.items()},
        },
    }


def _answer(what: str, schema: dict) -> dict:
    return {"description": what, "content": {"application/json": {"schema": schema}}}
