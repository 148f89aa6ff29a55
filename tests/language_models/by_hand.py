"""How fast the libraries' own generation loops decode, to hold `operator=causal_lm operator.params.phase=decode` against:

    python tests/language_models/by_hand.py [--device cpu|gpu] [--tokens 128] [--prompt 512] MODEL ...

Random weights in bfloat16. transformers' `generate` with its default cache, which runs eagerly, and with a static cache, which
it compiles by itself on CUDA; mlx-lm's `generate_step`. A rate is that of the tokens after the first one: the difference
between the times of all new tokens and of one. The loops take turns, and the median of the turns is printed.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mtbench import paths
from mtbench.language_models import mlx as mlx_lm
from mtbench.language_models import torch as transformers
from mtbench.operators.causal_lm import CausalLM

TURNS = 5

Loop = Callable[[int], None]
"""Decodes so many new tokens."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--prompt", type=int, default=512)
    asked = parser.parse_args()
    print("| model | loop | tokens/s | of each turn |\n|---|---|---|---|")
    for name in asked.models:
        for loop, rates in measure(name, asked.device, asked.prompt, asked.tokens).items():
            turns = ", ".join(f"{rate:.4g}" for rate in rates)
            print(f"| {name} | {loop} | {statistics.median(rates):.4g} | {turns} |", flush=True)


def measure(name: str, device: str, prompt: int, new: int) -> dict[str, list[float]]:
    published = json.dumps(yaml.safe_load((paths.conf() / "model" / f"{name}.yaml").read_text())["config"])
    problem = CausalLM(config=published)
    tokens = np.random.default_rng(0).integers(problem.model.vocab_size, size=prompt)
    folder = problem.stored(0).folder
    loops = transformers_loops(folder, device, tokens) | mlx_loops(folder, device, tokens)
    for loop in loops.values():
        for count in (1, new, 1, new):  # compiles, and captures graphs
            loop(count)
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(TURNS):
        for key, loop in loops.items():
            rates[key].append((new - 1) / (seconds(loop, new) - seconds(loop, 1)))
    return rates


def seconds(loop: Loop, count: int) -> float:
    start = time.perf_counter()
    loop(count)
    return time.perf_counter() - start


def transformers_loops(folder: Path, device: str, tokens: Any) -> dict[str, Loop]:
    import torch

    where = "cpu" if device == "cpu" else "cuda" if torch.cuda.is_available() else "mps"
    model = transformers.load(folder, torch.empty(0, dtype=torch.bfloat16, device=where))
    ids = torch.tensor(tokens)[None].to(where)

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

    return {"transformers.generate": loop(None), "transformers.generate, static cache": loop("static")}


def mlx_loops(folder: Path, device: str, tokens: Any) -> dict[str, Loop]:
    import mlx.core as mx
    from mlx_lm.generate import generate_step

    mx.set_default_device(mx.cpu if device == "cpu" else mx.gpu)
    model = mlx_lm.load(folder, mx.zeros(1, dtype=mx.bfloat16))

    def run(count: int) -> None:
        assert len(list(generate_step(mx.array(tokens), model, max_tokens=count))) == count

    return {"mlx_lm.generate_step": run}


if __name__ == "__main__":
    main()
