"""All that is tried once on a call that was timed: that it did its work within the time, and does it on any inputs."""

from mtbench.bench.worker import integrity, unseen
from mtbench.bench.worker.blocks import Subject
from mtbench.bench.worker.gate import Gate
from mtbench.frameworks.base import Framework
from mtbench.plan.accuracy import Errors


def check(
    framework: Framework, subject: Subject, gate: Gate, call_ns: float, queued_calls: int, queued_ns: float
) -> tuple[Errors, list[str]]:
    """The errors on other inputs, and warnings. Raises Mismatch. `call_ns` is the shortest median that was measured,
    `queued_ns` the time of a call when the number of queued calls was chosen."""
    warnings = integrity.check_complete(framework, subject, call_ns)
    if not gate.problem.updates_inputs:
        integrity.check_fresh(framework, subject)
    warnings += integrity.check_linear(subject, queued_calls, queued_ns)
    errors, doubts = unseen.check(framework, subject, gate)
    return errors, warnings + doubts
