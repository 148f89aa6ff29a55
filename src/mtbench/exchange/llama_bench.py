"""llama.cpp's llama-bench: `-o json`, `-o jsonl` and `-o csv`. JSON has the samples, CSV only their mean and deviation."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import PureWindowsPath
from typing import Any

from mtbench.exchange.presets import language_model
from mtbench.exchange.published import WRONG, Figure, File, Unreadable, dtype
from mtbench.results.record import Record

NAME = "llama-bench"

TELLING = {"n_prompt", "n_gen", "avg_ns", "model_type"}

SETTINGS = ("flash_attn", "n_gpu_layers", "n_batch", "n_ubatch", "type_k", "type_v", "split_mode", "no_kv_offload")

VARIED = (*SETTINGS, "n_threads")
"""Settings that one command may give several values, such as `-fa 0,1 -t 4,8`. Those that differ are part of the arm."""


def recognises(file: File) -> bool:
    try:
        rows = _rows(file)
    except (Unreadable, ValueError, csv.Error):
        return False
    return bool(rows) and rows[0].keys() >= TELLING


def records(file: File) -> list[Record]:
    """One for each row. Raises Unreadable where a row does not say what it should."""
    found, rows = [], _rows(file)
    varied = [name for name in VARIED if len({str(row.get(name)) for row in rows}) > 1]
    for number, row in enumerate(rows, 1):
        setup = " ".join(f"{name}={row.get(name)}".lower() for name in varied)
        try:
            found += [figure.record() for figure in _figures(row, file.path.stem, setup)]
        except (*WRONG, Unreadable) as error:
            raise Unreadable(f"row {number}: {type(error).__name__} {error}") from error
    return found


def _rows(file: File) -> list[dict[str, Any]]:
    text = file.text.strip()
    rows: list[dict[str, Any]]
    if text.startswith("["):
        rows = json.loads(text)
    elif text.startswith("{"):
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    else:
        rows = list(csv.DictReader(io.StringIO(text)))
    if not all(isinstance(row, dict) for row in rows):
        raise Unreadable("not a list of results")
    return rows


def _figures(row: Mapping[str, Any], stem: str, setup: str) -> Iterator[Figure]:
    """A row times a prompt of n_prompt tokens, or n_gen tokens one after the other, behind n_depth others; a row of both
    together has no place among our operators and is left out."""
    prompt, generated, depth = (int(row.get(name) or 0) for name in ("n_prompt", "n_gen", "n_depth"))
    if prompt and generated:
        return
    calls = generated or 1
    samples = [one / calls for one in row.get("samples_ns") or []]
    phase = "decode" if generated else "prefill"
    gguf = PureWindowsPath(
        str(row.get("model_filename") or "")
    ).name  # not the folders, which may name persons; of Windows, too
    kind = str(row["model_type"])
    model, params = language_model(*filter(None, (gguf.removesuffix(".gguf"), kind)), phase=phase)
    cpu, gpu = ((row.get(name) or "").strip() for name in ("cpu_info", "gpu_info"))
    on_gpu = bool(gpu) and int(row.get("n_gpu_layers") or 0) != 0
    behind = f", behind {depth} others" if depth else ""
    remarks = [f"a mean over {generated} tokens{behind}"] if generated else []
    remarks += [] if samples else ["a mean of calls"]
    yield Figure(
        source=NAME,
        sweep=f"{stem} {row.get('test_time', '')[:10]}".strip(),
        operator="causal_lm",
        framework="llama.cpp",
        params=params,
        setup=setup or None,
        model=model,
        dtype=dtype(_quantisation(kind)),
        seq_len=1 if generated else prompt,
        kv_len=depth if generated or depth else None,
        tokens=1 if generated else prompt,
        machine={"chip": cpu.partition(",")[0] or None, "gpus": [{"name": gpu}] if gpu else []},
        device="gpu" if on_gpu else "cpu",
        device_kind=str(row.get("backends") or ("gpu" if on_gpu else "cpu")).lower(),
        device_name=gpu if on_gpu else cpu,
        threads=int(row["n_threads"]) if row.get("n_threads") else None,
        latency_ns=None if samples else float(row["avg_ns"]) / calls,
        restarts_ns=[samples] if samples else [],
        library_version=f"b{row['build_number']}" if row.get("build_number") else None,
        details={name: row[name] for name in SETTINGS if row.get(name) not in (None, "")},
        at=datetime.fromisoformat(row["test_time"]) if row.get("test_time") else None,
        remarks=remarks,
    )


def _quantisation(model_type: str) -> str:
    """Of `qwen2 7B Q4_K - Medium`: what follows the size."""
    match = re.search(r"\d+(?:\.\d+)?[KMBT](?:\.A\d+(?:\.\d+)?[KMBT])?\s+(.*)", model_type)
    return match[1] if match else "unknown"
