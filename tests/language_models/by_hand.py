"""How fast mtbench's arms generate beside the libraries' own loops, in one process:

    python tests/language_models/by_hand.py [--device cpu|gpu] [--tokens 128] [--prompt 512] MODEL ...

Random weights in bfloat16. By hand: transformers' `generate` with its default cache, which runs eagerly, and with a static one,
which it compiles by itself on CUDA; mlx-lm's `generate_step`. Beside each, the arm of mtbench that stands for it, as the worker
builds it for `operator=causal_lm operator.params.phase=generate`. A rate is that of the tokens after the first one: the
difference between the times of all new tokens and of one. All take turns in random order, an arm right before or after its
library; Ctrl-C ends a model's turns. The median of the turns is printed, and the ratio of an arm's time per token to its
library's, turn by turn: below 1 the arm is the faster one.
"""

import argparse
import itertools
import json
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml

from mtbench import paths
from mtbench.bench.worker import forms
from mtbench.catalogue import registry
from mtbench.frameworks.base import Settings
from mtbench.language_models import mlx as mlx_lm
from mtbench.language_models import torch as transformers
from mtbench.operators.causal_lm import CausalLM
from mtbench.results.stats import compare_paired

DTYPE = "bfloat16"
EAGER, STATIC, STEP = "transformers' generate", "transformers' generate, static cache", "mlx-lm's generate_step"

Loop = Callable[[int], None]
"""Decodes so many new tokens."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--turns", type=int, default=8)
    asked = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored by what runs in the background
    print("| model | loop | tokens/s | by hand | time, ratio | interval |\n|---|---|---|---|---|---|")
    for name in asked.models:
        for row in measure(name, asked.device, asked.prompt, asked.tokens, asked.turns):
            print(f"| {name} | {' | '.join(row)} |", flush=True)


def measure(name: str, device: str, prompt: int, new: int, turns: int) -> list[list[str]]:
    """A row for each loop, those by hand first."""
    published = json.dumps(yaml.safe_load((paths.conf() / "model" / f"{name}.yaml").read_text())["config"])
    problem = CausalLM(config=published, phase="generate")
    tokens = np.random.default_rng(0).integers(problem.model.vocab_size, size=(1, prompt))
    arrays = problem.weights(np.random.default_rng(0))
    folder = problem.stored(int(arrays["seed"][0])).folder
    loops = transformers_loops(folder, device, tokens) | mlx_loops(folder, device, tokens)
    stands_for = {"torch": EAGER, "mlx": STEP} | ({"torch_compiled": STATIC} if device == "gpu" else {})
    for framework in stands_for:
        loops[framework] = arm(framework, problem, device, arrays, tokens, new)
    for loop in loops.values():
        for count in (1, new, 1, new):  # compiles, and captures graphs
            loop(count)
    each: dict[str, list[float]] = {name: [] for name in loops}
    # Neighbours share what the machine does at the time.
    groups = [[key, *(one for one, hand in stands_for.items() if hand == key)] for key in (EAGER, STATIC, STEP)]
    try:
        for turn in range(turns):
            rng = random.Random(turn)
            order = itertools.chain(*(rng.sample(group, len(group)) for group in rng.sample(groups, len(groups))))
            turned = {key: (seconds(loops[key], new) - seconds(loops[key], 1)) / (new - 1) for key in order}
            for key, value in turned.items():
                each[key].append(value)
    except KeyboardInterrupt:  # the whole turns before it have their worth, too
        if not each[STEP]:
            raise
        print(f"{name}: interrupted after {len(each[STEP])} turns", file=sys.stderr)
    rows = []
    for key, found in each.items():
        rate = f"{1 / statistics.median(found):.4g}"
        if key in stands_for:
            pair = compare_paired(each[stands_for[key]], found)
            rows.append([key, rate, stands_for[key], f"{pair.ratio:.3f}", f"{pair.low:.3f}–{pair.high:.3f}"])
        else:
            rows.append([key, rate, "", "", ""])
    return rows


def seconds(loop: Loop, count: int) -> float:
    start = time.perf_counter()
    loop(count)
    return time.perf_counter() - start


def transformers_loops(folder: Path, device: str, tokens: Any) -> dict[str, Loop]:
    import torch

    where = "cpu" if device == "cpu" else "cuda" if torch.cuda.is_available() else "mps"
    model = transformers.load(folder, torch.empty(0, dtype=torch.bfloat16, device=where))
    ids = torch.tensor(tokens).to(where)

    def loop(cache: str | None) -> Loop:
        def run(count: int) -> None:
            kinds = {} if cache is None else {"cache_implementation": cache}
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                min_new_tokens=count,
                max_new_tokens=count,
                pad_token_id=0,
                **kinds,
            )
            assert out.shape[1] == ids.shape[1] + count, out.shape
            out.cpu()

        return run

    return {EAGER: loop(None), STATIC: loop("static")}


def mlx_loops(folder: Path, device: str, tokens: Any) -> dict[str, Loop]:
    import mlx.core as mx
    from mlx_lm.generate import generate_step

    mx.set_default_device(mx.cpu if device == "cpu" else mx.gpu)
    model = mlx_lm.load(folder, mx.zeros(1, dtype=mx.bfloat16))

    def run(count: int) -> None:
        assert len(list(generate_step(mx.array(tokens[0]), model, max_tokens=count))) == count

    return {STEP: run}


def arm(name: str, problem: CausalLM, device: str, arrays: dict[str, Any], tokens: Any, new: int) -> Loop:
    """An arm of mtbench, which knows beforehand how many tokens it is to generate: a call for each of the two counts."""
    chosen = yaml.safe_load((paths.conf() / "framework" / f"{name}.yaml").read_text())
    framework = registry.load("framework", chosen["name"])(Settings(device))
    weights = SimpleNamespace(**{key: framework.array(value, DTYPE) for key, value in arrays.items()})
    given = framework.array(tokens, DTYPE)
    calls = {}
    for count in (1, new):
        call = forms.build(framework, replace(problem, new_tokens=count), "native", weights)
        calls[count] = forms.compiled(framework, call) if chosen["mode"] == "compiled" else call

    def run(count: int) -> None:
        framework.wait(calls[count](given))

    return run


if __name__ == "__main__":
    main()
