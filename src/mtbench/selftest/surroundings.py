"""Whether this machine looks dedicated or shared with others now."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from mtbench import machine
from mtbench.machine import doctor
from mtbench.machine.finding import Finding
from mtbench.machine.watch import Watch
from mtbench.selftest.goals import DEDICATED, SHARED


@dataclass(frozen=True)
class Surroundings:
    """The kind of machine, and why it is taken for that."""

    kind: str
    why: str


def look(on_gpu: bool, seconds: float = 0.5) -> Surroundings:
    """Looks at the machine for so long; no worker of ours may be running."""
    description = machine.describe()
    with Watch() as watch:
        watch.sample()
        time.sleep(seconds)
        reading = watch.sample()
        findings = [
            *doctor.on_power(reading),
            *doctor.on_load(reading, description),
            *doctor.on_memory(reading, description),
            *doctor.on_heat(reading),
            *doctor.on_virtual(reading, description),
        ]
        if on_gpu and watch.gpu is not None:
            foreign = [process for process in watch.gpu.processes() if process.pid != os.getpid()]
            findings += doctor.on_gpu(watch.gpu.read(), foreign, watch.gpu.utilisation())
    return judge(findings, bool(description.get("virtualised")), on_gpu)


def judge(findings: Sequence[Finding], virtualised: bool, on_gpu: bool) -> Surroundings:
    """Shared, where there is anything to warn of or the work is on the processors of a virtual machine.

    A virtual machine's GPU is its own, unless somebody else is seen on it.
    """
    reasons = [finding.what.rstrip(".") for finding in findings if finding.severity == "warning"]
    if virtualised and not on_gpu:
        reasons.append("this is a virtual machine, and others on its host can slow it down unseen")
    if reasons:
        return Surroundings(SHARED, "; ".join(reasons))
    own = "the work is on the GPU, and nothing was seen that would disturb it"
    return Surroundings(DEDICATED, own if on_gpu else "no virtual machine, and nothing was seen that would disturb it")
