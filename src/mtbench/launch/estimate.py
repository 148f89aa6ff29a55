"""What a plan will take, before anything is measured: about how long, and how many bytes."""

import os
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import cast

from mtbench.catalogue import registry
from mtbench.engines import cut, known
from mtbench.language_models import gguf
from mtbench.operators.causal_lm import CausalLM
from mtbench.plan.jobs import Job, Plan

WHOLE = "causal_lm"

START_S = {"torch": 7.0, "jax": 5.0, "llama_cpp": 5.0, "mlx": 3.0}
"""To start a library's worker and measure its peaks, in each restart; seen on two cores."""

COMPILE_LAYER_S, COMPILE_LAYER_AGAIN_S = 3.0, 0.7
"""What torch.compile takes for each layer of a whole model the first time, and in later restarts, whose cache knows it."""

ONCE_CALLS, RESTART_CALLS = 20, 8
"""Calls of an arm, however slow it is: once a sweep for the checks of its honesty, and in each restart to compile, to warm up,
for a round of two blocks, and to see its memory."""

BUSY = 1.5
"""From so many times as long on, it is said."""

FREE_LOAD = 1.0
"""Tasks for each processor that slow nobody down much: those of a machine with a browser open."""

JOB_BYTES = 64 * 1024
"""Of a job's record and its configuration; sweeps of 4 to 79 jobs took 55 to 120 KiB for each, most of them 65."""


def seconds(plan: Plan) -> float:
    """About how long a plan takes: its cells, the start of each arm's worker, what compiling a whole model takes, and what slow
    libraries take."""
    restarts = plan.protocol.restarts
    cells = sum(cut.seconds(cell, plan.protocol) for cell in plan.by_cell())
    starts = restarts * sum(START_S.get(arm.framework, max(START_S.values())) for arm in plan.arms)
    layers = sum(len(cast(CausalLM, job.task.problem).model.layers) for job in plan.jobs if compiles_for_minutes(job))
    compiling = layers * (COMPILE_LAYER_S + (restarts - 1) * COMPILE_LAYER_AGAIN_S)
    return cells + starts + compiling + sum(slow_s(plan).values())


def slow_s(plan: Plan) -> dict[str, float]:
    """About how many seconds more a plan takes for libraries that are known to be slow on this machine, by their names: at the
    rate that such a library was measured to reach here, if that is kept."""
    calls = ONCE_CALLS + plan.protocol.restarts * RESTART_CALLS
    found: dict[str, float] = {}
    kept_rate = cache(lambda arm, dtype: known.product_flops_per_s(arm, dtype, plan.protocol))  # reads files
    for job in plan.jobs:
        arm = job.arm
        framework = registry.load("framework", arm.framework, arm.framework_file)
        flops_per_s = framework.slow_flops_per_s(arm.device, dict(arm.env), dict(arm.own))
        if flops_per_s is not None and arm.python is None and arm.requirement is None:
            with suppress(Exception):  # of a user's own operator, whose failure will be its record's
                rate = kept_rate(arm, job.task.dtype) or flops_per_s
                call_s = (job.task.problem.flops(job.task.shape) or 0.0) / rate
                found[arm.framework] = found.get(arm.framework, 0.0) + calls * call_s
    return found


def compiles_for_minutes(job: Job) -> bool:
    """Whether a whole model is compiled, by a library that takes minutes for it."""
    if job.task.operator != WHOLE or job.arm.mode != "compiled":
        return False
    framework = registry.load("framework", job.arm.framework, job.arm.framework_file)
    return bool(framework.compiles_for_minutes)


def record_bytes(plan: Plan) -> int:
    """About how much the records and configurations take on disk."""
    return JOB_BYTES * len(plan.jobs)


def drawn_bytes(plan: Plan) -> float:
    """What the random weights of whole models take in the cache folder where they are not there yet: once in bfloat16, and
    again in each number format in which llama.cpp reads them."""
    files: dict[tuple[str, str], float] = {}
    for job in plan.jobs:
        if job.task.operator != WHOLE or job.task.operator_file is not None:
            continue
        problem, dtype = cast(CausalLM, job.task.problem), job.task.dtype
        if problem.config is None or problem.checkpoint is not None:
            continue
        files[problem.config, "drawn"] = replace(problem, weight_dtype=None).weight_bytes("bfloat16")
        if job.arm.framework == "llama_cpp":
            kind = gguf.NUMBER_TYPES[f"int{problem.bits}" if problem.bits else dtype]
            files[problem.config, kind] = replace(problem, group_size=32).weight_bytes(dtype)  # gguf.BLOCK
    return sum(files.values())


def busy() -> float:
    """How many times as long everything takes because others want the processors, by the load of the last minute."""
    return max(1.0, (os.getloadavg()[0] + 1) / (os.cpu_count() or 1) - FREE_LOAD)
