"""What the readers of exported files demand, as JSON schemas."""

from typing import Any

BMF: dict[str, Any] = {
    "$id": "https://bencher.dev/bmf.json",
    "$schema": "http://json-schema.org/draft-07/schema",
    "type": "object",
    "patternProperties": {
        ".+": {
            "type": "object",
            "patternProperties": {
                ".+": {
                    "type": "object",
                    "properties": {
                        "value": {"type": "number"},
                        "lower_value": {"type": "number"},
                        "upper_value": {"type": "number"},
                    },
                    "required": ["value"],
                }
            },
        }
    },
}
"""As https://bencher.dev/docs/reference/bencher-metric-format publishes it. Names have 1024 characters at most."""

_TEXT, _COUNT = {"type": "string"}, {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}


def _tuple(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "additionalProperties": False}


PYTORCH: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["benchmark", "model", "metric"],
        "additionalProperties": False,
        "properties": {
            "benchmark": _tuple(name=_TEXT, mode=_TEXT, dtype=_TEXT, extra_info=_TEXTS),
            "model": _tuple(
                name=_TEXT, type=_TEXT, backend=_TEXT, origins={"type": "array", "items": _TEXT}, extra_info=_TEXTS
            ),
            "inputs": {"type": "object", "additionalProperties": _tuple(dtype=_TEXT, extra_info=_TEXTS)},
            "metric": _tuple(
                name=_TEXT,
                benchmark_values={"type": "array", "items": {"type": "number"}, "minItems": 1},
                target_value={"type": "number"},
                extra_info=_TEXTS,
            ),
            "runners": {
                "type": "array",
                "items": _tuple(
                    name=_TEXT,
                    type=_TEXT,
                    cpu_info=_TEXT,
                    cpu_count=_COUNT,
                    mem_info=_TEXT,
                    avail_mem_in_gb=_COUNT,
                    gpu_info=_TEXT,
                    gpu_count=_COUNT,
                    gpu_mem_info=_TEXT,
                    avail_gpu_mem_in_gb=_COUNT,
                    extra_info=_TEXTS,
                ),
            },
            "dependencies": {
                "type": "object",
                "additionalProperties": _tuple(repo=_TEXT, branch=_TEXT, sha=_TEXT, version=_TEXT, extra_info=_TEXTS),
            },
        },
    },
}
"""The tuples of pytorch/test-infra's table `oss_ci_benchmark_v3` that a benchmark writes itself."""

GITHUB_ACTION_BENCHMARK: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name", "unit", "value"],
        "additionalProperties": False,
        "properties": {
            "name": _TEXT,
            "unit": _TEXT,
            "value": {"type": "number"},
            "range": _TEXT,
            "extra": _TEXT,
        },
    },
}
"""As its README describes customSmallerIsBetter."""
