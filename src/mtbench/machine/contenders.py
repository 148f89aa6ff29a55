"""What can run here and why not: each framework on each device, asked in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass


@dataclass(frozen=True)
class Contender:
    """One framework on one device. `works`: whether it can be measured here; `detail`: what it is, or why not."""

    framework: str
    device: str
    works: bool
    detail: str
    dtypes: tuple[str, ...] = ()


def contenders(
    names: Sequence[str] | None = None, devices: Sequence[str] = ("cpu", "gpu"), timeout_s: float = 120
) -> list[Contender]:
    """What each framework says of each device, each asked in a process of its own; takes as long as their imports."""
    if names is None:
        from mtbench.registry import names as known

        names = known("framework")
    pairs = [(name, device) for name in names for device in devices]
    with ThreadPoolExecutor(max_workers=max(1, (os.cpu_count() or 2) // 2)) as pool:
        return list(pool.map(lambda pair: _ask(pair[0], pair[1], timeout_s), pairs))


def _ask(framework: str, device: str, timeout_s: float) -> Contender:
    command = [sys.executable, "-m", "mtbench.machine.probe", framework, device]
    try:
        finished = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return Contender(framework, device, False, f"it did not answer within {timeout_s:.0f} s")
    if finished.returncode != 0:
        last = (finished.stderr.strip().splitlines() or [f"exit code {finished.returncode}"])[-1]
        return Contender(framework, device, False, f"its installation is broken: {last}")
    answer = json.loads(finished.stdout.strip().splitlines()[-1])
    if "unsupported" in answer:
        return Contender(framework, device, False, answer["unsupported"])
    facts = answer["description"]
    parts = (f"{facts['library']} {facts['version']}", facts["device_kind"], facts["device_name"], facts["blas"])
    detail = ", ".join(dict.fromkeys(part for part in parts if part))
    return Contender(framework, device, True, detail, tuple(answer["dtypes"]))
