"""mlx_transformers_benchmark, from which this project descends: its CSV files of layers and of language models.

`measurements/{layer,llm}_benchmarks/<hardware>/<date>/benchmark_results.csv` with `settings.json` beside it. Columns are read
by name, since headers differ: the committed files have counts and `median_ms` (a mean, like `duration_ms`), later ones do
not; a fork adds `*_std` after each value. Times are means of calls of one arm after the other.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mtbench.exchange.presets import language_model
from mtbench.exchange.published import WRONG, Figure, File, Unreadable, merged
from mtbench.results.record import Record

NAME = "mlx_transformers_benchmark"

LAYER = {"name", "framework", "backend", "compile", "batch_size", "sequence_length", "duration_ms", "dtype"}
LLM = {"name", "framework", "backend", "batch_size", "dtype", "num_prompt_tokens", "prompt_time_sec", "generation_tps"}

MEANS = "a mean of calls, with the arms measured one after the other"

_LAYER = {"bias": True, "eps": 1e-5, "norm_first": True, "activation": "relu", "mlp_dim": None, "head_dim": None}

OPERATORS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "LayerNorm": ("layer_norm", {"eps": 1e-5, "bias": True}),
    "Linear": ("linear", {"bias": True}),
    "Softmax": ("softmax", {}),
    "MHSA": ("mha", {"head_dim": None, "bias": True}),
    "ScaledDotProductAttention": (
        "sdpa",
        {
            "num_kv_heads": None,
            "head_dim": None,
            "v_head_dim": None,
            "window": None,
            "mask": "none",
            "additive_bias": False,
        },
    ),
    "TransformerEncoderLayer": ("transformer_encoder_layer", _LAYER),
    "TransformerDecoderLayer": ("transformer_decoder_layer", _LAYER),
}
"""Its layers, our operators of the same maths, and the parameters that their code fixes."""


def recognises(file: File) -> bool:
    try:
        header = set(next(csv.reader(io.StringIO(file.text)), []))
    except csv.Error:  # a field of more than 131,072 characters, as in another program's JSON
        return False
    return header >= LAYER or header >= LLM


def records(file: File) -> list[Record]:
    """Raises Unreadable where a row does not say what it should."""
    return [one.record() for one in merged(list(_figures(file)))]


@dataclass(frozen=True)
class _Settings:
    """What stands beside the figures, as far as it is there; the folder's name is the surest name of the machine."""

    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    python: str | None
    at: datetime | None
    sweep: str


def _figures(file: File) -> Iterator[Figure]:
    settings = _settings(file)
    for number, row in enumerate(csv.DictReader(io.StringIO(file.text)), 2):
        try:
            yield from _layer(row, settings) if "duration_ms" in row else _language_model(row, settings)
        except (*WRONG, Unreadable) as error:
            raise Unreadable(f"line {number}: {type(error).__name__} {error}") from error


def _layer(row: Mapping[str, str], settings: _Settings) -> Iterator[Figure]:
    operator, params = _operator(row["name"])
    yield Figure(
        operator=operator,
        params=params,
        mode="compiled" if row["compile"] == "True" else "eager",
        seq_len=int(float(row["sequence_length"])),
        latency_ns=float(row["duration_ms"]) * 1e6,
        remarks=(MEANS,),
        **_common(row, settings),
    )


def _language_model(row: Mapping[str, str], settings: _Settings) -> Iterator[Figure]:
    """Two figures: the prompt, and one of the tokens after it."""
    prompt, generated = int(float(row["num_prompt_tokens"])), float(row["num_generated_tokens"])
    batch, memory = int(float(row["batch_size"])), float(row.get("peak_memory_gib") or 0)
    common = _common(row, settings) | {"operator": "causal_lm", "peak_bytes": int(memory * 2**30) or None}
    if row.get("optimization") not in (None, "", "none"):
        common["setup"] = row["optimization"]
    model, params = language_model(row["name"], phase="prefill")
    yield Figure(
        model=model,
        params=params,
        seq_len=prompt,
        tokens=batch * prompt,
        latency_ns=float(row["prompt_time_sec"]) * 1e9,
        remarks=(MEANS,),
        **common,
    )
    model, params = language_model(row["name"], phase="decode")
    yield Figure(
        model=model,
        params=params,
        seq_len=1,
        kv_len=prompt,
        tokens=batch,
        latency_ns=batch / float(row["generation_tps"]) * 1e9,
        remarks=(MEANS, f"a mean over the {generated:g} tokens after the prompt"),
        **common,
    )


def _common(row: Mapping[str, str], settings: _Settings) -> dict[str, Any]:
    framework, backend = row["framework"], row["backend"]
    return {
        "source": NAME,
        "sweep": settings.sweep,
        "framework": framework,
        "dtype": row["dtype"],
        "batch_size": int(float(row["batch_size"])),
        "machine": settings.machine,
        "device": "cpu" if backend == "cpu" else "gpu",
        "device_kind": backend,
        "library_version": settings.versions.get(framework),
        "details": {name: version for name, version in settings.versions.items() if name != framework},
        "python_version": settings.python,
        "at": settings.at,
    }


def _operator(name: str) -> tuple[str, dict[str, Any]]:
    """`MHSA(dim=768, num_heads=8, mask=causal)` as our operator with its parameters."""
    match = re.fullmatch(r"(\w+)\((.*)\)", name.strip())
    if match is None or match[1] not in OPERATORS:
        raise Unreadable(f"no layer '{name}' is known")
    given = dict(part.strip().split("=", 1) for part in match[2].split(",") if part.strip())
    operator, fixed = OPERATORS[match[1]]
    params = dict(fixed) | {"embed_dim": int(given.get("dim") or given["in"])}
    if "num_heads" in given:
        params |= {"num_heads": int(given["num_heads"]), "causal": given["mask"] == "causal"}
    if "out" in given:
        params["out_dim"] = None if given["out"] == given["in"] else int(given["out"])
    return operator, params


def _settings(file: File) -> _Settings:
    try:
        told = json.loads(file.beside("settings.json") or "{}")
    except ValueError as error:
        raise Unreadable(f"settings.json beside it is no JSON ({error})") from error
    hardware, software = told.get("hardware_info", {}), told.get("software_info", {})
    folder = re.search(r"\d{4}-\d\d-\d\d__\d\d:\d\d:\d\d", file.path.resolve().parent.name)
    date = told.get("datetime") or (folder and folder[0])
    named = file.path.resolve().parent.parent.name if folder else hardware.get("hardware_string", "")
    versions = {
        name.removesuffix("_version"): version.splitlines()[-1]
        for name, version in software.items()
        if name.endswith("_version") and name != "python_version" and version and version != "not running"
    }
    return _Settings(
        machine=_machine(hardware, software, named),
        versions=versions,
        python=software.get("python_version"),
        at=None if not date else datetime.strptime(date, "%Y-%m-%d__%H:%M:%S"),
        sweep=date or file.path.stem,
    )


def _machine(hardware: Mapping[str, Any], software: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """The machine as records describe it. The folder's name, such as `Apple_M4_Pro_10P+4E+20GPU_24GB`, comes first: early
    settings lack the GPU's cores."""
    named = re.fullmatch(r"(?P<chip>.+?)_(\d+|X)P\+(\d+|X)E\+(?P<gpu>\d+)GPU_(?P<memory>\d+)GB", folder)
    chip = hardware.get("chip") or (named["chip"].replace("_", " ") if named else folder.replace("_", " ") or None)
    memory = named["memory"] if named else re.sub(r"\D", "", str(hardware.get("memory", "")))
    gpu = named["gpu"] if named else hardware.get("gpu_cores")
    counted = {"physical": "total_cores", "performance": "performance_cores", "efficiency": "efficiency_cores"}
    counts = {kind: str(hardware.get(name)) for kind, name in counted.items()}  # "X" where its reader found none
    cores = {kind: int(count) for kind, count in counts.items() if count.isdecimal()}
    system = re.fullmatch(r"macOS-([\d.]+)-.*", str(software.get("platform", "")))
    return {
        "chip": chip,
        "model": hardware.get("model_name"),
        "cores": cores,
        "memory_bytes": int(memory) * 2**30 if memory else None,
        "gpus": [{"name": chip, "cores": int(gpu)}] if gpu else [],
        "os": "macOS",
        "os_version": system[1] if system else None,
    }
