"""llmfit's community results, schema version 1: tokens per second of whole answers, as a server reported them."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from mtbench.exchange.presets import language_model
from mtbench.exchange.published import WRONG, Figure, File, Unreadable
from mtbench.results.record import Record

NAME = "llmfit"

PROVIDERS = {"llamacpp": "llama.cpp"}

SYSTEMS = {"macos": "macOS", "linux": "Linux", "windows": "Windows"}


def recognises(file: File) -> bool:
    try:
        found = json.loads(file.text)
    except ValueError:
        return False
    return isinstance(found, dict) and found.keys() >= {"schemaVersion", "submittedAtUnix", "hardware", "results"}


def records(file: File) -> list[Record]:
    """Raises Unreadable where it is of another version, or does not say what it should."""
    found = json.loads(file.text)
    if found["schemaVersion"] != 1:
        raise Unreadable(f"schema version {found['schemaVersion']} is not known; 1 is")
    try:
        return [_figure(found, result).record() for result in found["results"]]
    except WRONG as error:
        raise Unreadable(f"{type(error).__name__} {error}") from error


def _figure(found: dict[str, Any], result: dict[str, Any]) -> Figure:
    hardware = found["hardware"]
    rate, least, most = (float(result[name]) for name in ("avgTps", "minTps", "maxTps"))
    runs = int(result["numRuns"])
    bounded = runs > 1 and 0 < least <= rate <= most
    name = str(result["model"])
    model, params = language_model(name, phase="decode")
    provider = str(result["provider"])
    on_gpu = hardware["hwClass"] != "CPU_ONLY"
    at = datetime.fromtimestamp(int(found["submittedAtUnix"]), UTC)
    gpu = hardware.get("hardwareName")
    return Figure(
        source=NAME,
        sweep=f"{at:%Y-%m-%d %H:%M:%S}",
        operator="causal_lm",
        framework=PROVIDERS.get(provider, provider),
        params=params,
        model=model,
        dtype=_dtype(name),
        seq_len=1,
        tokens=1,
        machine={
            "chip": hardware["cpu"],
            "cores": {"logical": int(hardware["cpuCores"])},
            "memory_bytes": round(float(hardware["ramGb"]) * 2**30),
            "gpus": [{"name": gpu}] if on_gpu and gpu else [],
            "os": SYSTEMS.get(hardware["os"], hardware["os"]),
        },
        device="gpu" if on_gpu else "cpu",
        device_name=gpu if on_gpu else hardware["cpu"],
        latency_ns=1e9 / rate,
        # The extremes of n runs hold their median with this confidence (results.stats.median_interval).
        bounds_ns=(1e9 / most, 1e9 / least) if bounded else None,
        confidence=1 - 2 ** (1 - runs) if bounded else None,
        details={"llmfit": found["tool"]["version"], "ttft_ms": result.get("avgTtftMs")},
        at=at,
        remarks=(f"a mean over {runs} whole answers of about {float(result['avgOutputTokens']):.0f} tokens",),
    )


def _dtype(model: str) -> str:
    """What a model's name says of its weights: `Qwen3-27B-4bit`, `llama3.2:1b-q4_K_M`."""
    match = re.search(r"(\d)[-_]?bit|(?<![a-z0-9])(i?q\d\w*|bf16|fp?16|fp?32|mxfp4)(?![a-z0-9])", model, re.IGNORECASE)
    if match is None:
        return "unknown"
    floats = {"bf16": "bfloat16", "f16": "float16", "fp16": "float16", "f32": "float32", "fp32": "float32"}
    return f"int{match[1]}" if match[1] else floats.get(match[2].lower(), match[2].lower())
