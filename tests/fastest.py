"""How far each operator's form is from the fastest other way to write it, as a Markdown table.

    python tests/fastest.py torch,torch_graphs,mlx [DEVICE [OPERATOR,...]]

The other ways are methods of the classes in the files of `alternatives`, named as variants are. For each cell of its
`cells.yaml`, in bfloat16, all of them and the definition run in one process, queued, block by block in random order, and
compiled alike where the arm compiles. Ratios are of the time per call, native over the fastest other form, with the interval of
the paired comparison: below 1 the native form is the fastest. `waited` has the same ratio of calls that are waited for,
`device` that of the device's own clock, where the library has one. Answers that differ from the native form's are not
compared. For a GPU: the cells are far too large for a CPU.
"""

import random
import sys
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml

from mtbench import paths
from mtbench.bench.worker import blocks, forms
from mtbench.catalogue import registry
from mtbench.frameworks.base import CompileSettings, Framework, Settings
from mtbench.operators.base import Shape
from mtbench.plan.protocol import Protocol
from mtbench.results.stats import compare_paired

ALTERNATIVES = Path(__file__).parent / "alternatives"
DTYPE, TOLERANCE = "bfloat16", 2e-2
ROUNDS = 16
PROTOCOL = Protocol(block_ms=3.0, keep_warm_ms=2.0, warmup_gpu_s=0.05, warmup_cap_s=1.0)
COLUMNS = (
    "operator",
    "arm",
    "native µs",
    "fastest other",
    "its µs",
    "ratio",
    "interval",
    "waited",
    "device",
    "to portable",
)


def main(arms: str, device: str = "gpu", only: str = "") -> None:
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for arm in arms.split(","):
        chosen = yaml.safe_load((paths.conf() / "framework" / f"{arm}.yaml").read_text())
        settings = Settings(device, compile=CompileSettings(**chosen.get("compile", {})))
        framework = registry.load("framework", chosen["name"])(settings)
        for cell in yaml.safe_load((ALTERNATIVES / "cells.yaml").read_text()):
            if only and cell["operator"] not in only.split(","):
                continue
            try:
                found = row(framework, chosen["mode"] == "compiled", device, **cell)
                print(f"| {' | '.join([said(**cell), arm, *found])} |", flush=True)
            except Exception as error:  # the other cells are worth having
                print(f"{cell}: {type(error).__name__}: {error}", file=sys.stderr)
            framework.clear()


def row(
    framework: Framework, compiled: bool, device: str, operator: str, params: dict[str, Any], shape: dict[str, int]
) -> list[str]:
    problem = registry.load("operator", operator, str(ALTERNATIVES / f"{operator}.py")).from_params(params)
    rng = np.random.default_rng(0)
    inputs = [framework.array(value, DTYPE) for value in problem.inputs(rng, Shape(**shape)).values()]
    arrays = {name: framework.array(value, DTYPE) for name, value in problem.weights(rng).items()}
    others = [name for name in vars(type(problem)) if name.startswith(f"{framework.library}_")]
    subjects = {}
    for variant in ("native", "portable", *(name.partition("_")[2] for name in others)):
        try:
            call = forms.build(framework, problem, variant, SimpleNamespace(**arrays))
            if compiled:
                call = forms.compiled(framework, call)
            out = call(*inputs)
            framework.settle(out)
        except Exception as error:
            if variant == "native":
                raise
            print(f"{operator} {framework.library} {variant}: {str(error).splitlines()[0][:150]}", file=sys.stderr)
            continue
        answer = first_row(framework, out)
        if variant == "native":
            expected = answer
        if (off := np.linalg.norm(answer - expected) / np.linalg.norm(expected)) > TOLERANCE:
            print(f"{operator} {framework.library} {variant}: another answer ({off:.2g})", file=sys.stderr)
            continue
        subjects[variant] = blocks.Subject(
            call, [inputs], framework.wait, framework.submit, time.perf_counter_ns, on_gpu=device == "gpu"
        )
    return compared(framework, subjects)


def first_row(framework: Framework, out: Any) -> Any:
    """Enough of an answer to tell it from a wrong one, without copying all of it."""
    return np.concatenate([framework.host(leaf[:1] if leaf.ndim else leaf).ravel() for leaf in framework.leaves(out)])


def compared(framework: Framework, subjects: dict[str, blocks.Subject]) -> list[str]:
    queued_calls, waited_calls = {}, {}
    for variant, subject in subjects.items():
        warmth = blocks.warm_up(subject, PROTOCOL)
        queued_calls[variant] = blocks.calls_for_throughput(subject, warmth.call_ns, PROTOCOL)
        waited_calls[variant] = blocks.calls_for_block(warmth.call_ns, PROTOCOL)
    queued: dict[str, list[float]] = {variant: [] for variant in subjects}
    waited: dict[str, list[float]] = {variant: [] for variant in subjects}
    device: dict[str, list[float | None]] = {variant: [] for variant in subjects}
    order = list(subjects)
    for number in range(ROUNDS):
        random.Random(number).shuffle(order)
        for variant in order:
            subject, calls = subjects[variant], queued_calls[variant]
            queued[variant].append(median(blocks.throughput_block(subject, calls, PROTOCOL)))
            waited[variant].append(median(blocks.latency_block(subject, waited_calls[variant], PROTOCOL)))
            device[variant].append(framework.device_ns(subject.call, subject.inputs[0], calls))
    others = [variant for variant in queued if variant not in ("native", "portable")] or ["portable"]
    best = min(others, key=lambda variant: median(queued[variant]))
    found = compare_paired(queued[best], queued["native"])
    on_device = [[ns for ns in device[variant] if ns is not None] for variant in ("native", best)]
    by_device = median(on_device[0]) / median(on_device[1]) if all(on_device) else None
    return [
        f"{median(queued['native']) / 1e3:.1f}",
        best.replace("_", " "),
        f"{median(queued[best]) / 1e3:.1f}",
        f"{found.ratio:.3f}",
        f"{found.low:.3f}–{found.high:.3f}",
        f"{compare_paired(waited[best], waited['native']).ratio:.3f}",
        "" if by_device is None else f"{by_device:.3f}",
        f"{median(queued['native']) / median(queued['portable']):.2f}" if "portable" in queued else "",
    ]


def said(operator: str, params: dict[str, Any], shape: dict[str, int]) -> str:
    keys = f", {shape['kv_len']} keys" if "kv_len" in shape else ""
    others = "".join(f", {name} {str(value).lower()}" for name, value in params.items())
    return f"{operator} {shape['batch_size']}×{shape['seq_len']}{keys}{others}"


if __name__ == "__main__":
    main(*sys.argv[1:])
