"""Whether a call does on inputs that it has not seen what it did on those that were timed: the same maths, in the same time.

Other values are put into the very arrays that the call was timed with, right before it, so that a call that knows its inputs by
where they are, by some of their values, or by being called again at once, is wrong or slow.
"""

from itertools import combinations
from typing import Any

import numpy as np

from mtbench.bench import failures
from mtbench.bench.worker.blocks import Subject
from mtbench.bench.worker.correctness import Case, Mismatch
from mtbench.bench.worker.gate import Gate, Others
from mtbench.frameworks.base import Framework
from mtbench.plan.accuracy import Errors

FEWEST_TRIES, MOST_TRIES = 3, 25
"""How often both are timed, at least and at most: until unseen inputs have once been about as quick as seen ones."""

MOST_TRIES_NS = 2e9
"""There are no more tries than would take this long on a quiet machine: a long call that cheats differs by much. Time that
other programs take does not count, since the tries are there because of it."""

SUSPECT_FACTOR, IMPOSSIBLE_FACTOR = 1.5, 3.0
"""Calls on unseen inputs took from 1.00 to 1.15 times as long as on seen ones, those of a call that keeps its answers 99 and
332 times. Above the first factor there is a warning; above the second the call is not honest."""

OFTEN = 0.75
"""A call is accused only if unseen inputs took longer than the seen ones right before in this part of the tries; those of a
cheat do in nearly all. The shortest times are not enough: beside a load of 15 to 24 on two processors, where hardly any call
runs undisturbed, the shortest of some 20 honest calls on unseen inputs took 3 to 24 times as long as on seen ones in one job of
six."""

ALIVE = 4
"""Outputs that are held at a time: more than a ring of some buffers has."""


def check(framework: Framework, subject: Subject, gate: Gate) -> tuple[Errors, list[str]]:
    """The errors on other inputs, and warnings. Raises Mismatch."""
    errors, warnings = Errors(), []
    other = gate.other()
    assert other is not None
    case, answers = other
    keeps = bool(gate.problem.kept_inputs) or gate.problem.updates_inputs
    seen = [] if keeps else [framework.copy(array) for array in subject.inputs[0]]
    errors = errors.worst(_check_answers(framework, subject, gate, case, answers))
    if not keeps:
        try:
            warnings += check_times(framework, subject, seen, case, gate)
            seen.clear()
            if not framework.static_outputs:
                check_outputs(framework, subject, case, answers, gate)
        except (MemoryError, RuntimeError) as error:
            if failures.status_of(error) != "oom":
                raise
            warnings.append("there was too little memory to try the call on inputs that it had not seen")
    telling = gate.other(telling=True)
    if telling is not None:
        case, answers = telling
        errors = errors.worst(answers.check(subject.run_with(*gate.arrays(case))))
    return errors, warnings


def _check_answers(framework: Framework, subject: Subject, gate: Gate, case: Case, answers: Others) -> Errors:
    """Checks the answer on other inputs, for which a stored answer would be wrong."""
    others = gate.arrays(case)
    if gate.problem.kept_inputs or gate.problem.updates_inputs:
        return answers.check(subject.run_with(*others))
    subject.run()  # right before, so that a call that only works after a pause does not
    inputs = overwritten(framework, subject, others)
    return answers.check(subject.keep(subject.run_with(*inputs)))


def overwritten(framework: Framework, subject: Subject, values: list[Any]) -> list[Any]:
    """The arrays of the subject's inputs with other values; new ones, where a library's arrays never change."""
    return [framework.overwrite(array, value) for array, value in zip(subject.inputs[0], values, strict=True)]


def check_times(framework: Framework, subject: Subject, seen: list[Any], case: Case, gate: Gate) -> list[str]:
    """Raises Mismatch where a call on values that it has not seen takes far longer than one on `seen`, those that were timed.

    Both are put into the same arrays before, so that both come after the same pause and find caches alike. Where a library's
    arrays never change, the original ones still hold the seen values."""
    subject.run_with(*overwritten(framework, subject, seen))
    rng = np.random.default_rng([gate.seed, 5])
    seen_ns: list[int] = []
    unseen_ns: list[int] = []

    def timed(values: list[Any]) -> int:
        inputs = overwritten(framework, subject, values)
        if values is seen and any(new is not old for new, old in zip(inputs, subject.inputs[0], strict=True)):
            inputs = list(subject.inputs[0])
        start = subject.clock()
        subject.run_with(*inputs)
        return subject.clock() - start

    while len(seen_ns) < FEWEST_TRIES or (
        len(seen_ns) < MOST_TRIES
        and min(unseen_ns) > SUSPECT_FACTOR * min(seen_ns)
        and len(seen_ns) * (min(seen_ns) + min(unseen_ns)) < MOST_TRIES_NS
    ):
        others = [framework.array(_rolled(host, rng), gate.dtype) for host in case.inputs.values()]
        seen_ns.append(timed(seen))
        unseen_ns.append(timed(others))
    slower = min(unseen_ns) / max(min(seen_ns), 1)
    times = f"a call on new values took {slower:.1f} times as long as on earlier ones"
    often = sum(new > old for old, new in zip(seen_ns, unseen_ns, strict=True)) >= OFTEN * len(seen_ns)
    if slower > IMPOSSIBLE_FACTOR and often:
        raise Mismatch(f"{times}, so the measured time is not that of the work")
    return [times] if slower > SUSPECT_FACTOR else []


def _rolled(host: Any, rng: np.random.Generator) -> Any:
    """The same values in other places: as valid as before, indices and masks too, and as quick to work on."""
    return host if host.size < 2 else np.roll(host, int(rng.integers(1, host.size)))


def check_outputs(framework: Framework, subject: Subject, case: Case, answers: Others, gate: Gate) -> None:
    """Several outputs at a time, of two inputs in turn, queued one behind the other: each has memory of its own, which no later
    call changes, and is right."""
    rng = np.random.default_rng([gate.seed, 6])
    first = overwritten(framework, subject, gate.arrays(case))
    second = [framework.array(_rolled(host, rng), gate.dtype) for host in case.inputs.values()]
    outputs = []
    for number in range(ALIVE):
        outputs.append(subject.call(*(second if number % 2 else first)))
        subject.submit(outputs[-1])
    for out in outputs:
        subject.wait(out)
    copies = [subject.keep(out) for out in outputs]
    held = [framework.leaves(out) for out in outputs]
    if any(framework.same(a, b) for one, other in combinations(held, 2) for a in one for b in other):
        raise Mismatch("two calls returned the same memory, so that one result is lost when the next is computed")
    for out in (copies[0], copies[2], outputs[0]):
        answers.check(out)
