"""What a plan will take, before anything is measured: about how long, and how many bytes."""

import math
import os
from typing import cast

from mtbench.catalogue import registry
from mtbench.engines import cut
from mtbench.operators.causal_lm import CausalLM
from mtbench.plan.jobs import Job, Plan

WHOLE = "causal_lm"

START_S = {"torch": 7.0, "jax": 5.0, "llama_cpp": 5.0, "mlx": 3.0}
"""To start a library's worker and measure its peaks, in each restart; seen on two cores."""

COMPILE_LAYER_S, COMPILE_LAYER_AGAIN_S = 3.0, 0.7
"""What torch.compile takes for each layer of a whole model the first time, and in later restarts, whose cache knows it."""

BUSY = 1.5
"""From so many times as long on, it is said."""

FREE_LOAD = 1.0
"""Tasks for each processor that slow nobody down much: those of a machine with a browser open."""

JOB_BYTES = 64 * 1024
"""Of a job's record and its configuration; sweeps of 4 to 79 jobs took 55 to 120 KiB for each, most of them 65."""


def seconds(plan: Plan) -> float:
    """About how long a plan takes: its cells, the start of each arm's worker, and what compiling a whole model takes."""
    restarts = plan.protocol.restarts
    cells = sum(cut.seconds(cell, plan.protocol) for cell in plan.by_cell())
    starts = restarts * sum(START_S.get(arm.framework, max(START_S.values())) for arm in plan.arms)
    layers = sum(len(cast(CausalLM, job.task.problem).model.layers) for job in plan.jobs if compiles_for_minutes(job))
    compiling = layers * (COMPILE_LAYER_S + (restarts - 1) * COMPILE_LAYER_AGAIN_S)
    return cells + starts + compiling


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
    """What the random weights of whole models, in bfloat16, take in the cache folder where they are not there yet."""
    whole = [job.task.problem for job in plan.jobs if job.task.operator == WHOLE and job.task.operator_file is None]
    models = {one.config: one.model for one in cast(list[CausalLM], whole) if one.checkpoint is None}
    return 2.0 * sum(math.prod(size) for model in models.values() for size in model.tensors().values())


def busy() -> float:
    """How many times as long everything takes because others want the processors, by the load of the last minute."""
    return max(1.0, (os.getloadavg()[0] + 1) / (os.cpu_count() or 1) - FREE_LOAD)
