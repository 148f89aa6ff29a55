"""What limits an answer, with a remedy for each: a busy or hot machine, a slow matrix library, mostly overhead."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from mtbench.results.answers.contests import Row
from mtbench.results.answers.words import and_
from mtbench.results.format import natural, one_line, plural
from mtbench.results.inference import FEWEST_RESTARTS
from mtbench.results.machines import machine_names
from mtbench.results.reference_blas import is_reference, remedy, told

FAILURES = ("mismatch", "oom", "timeout", "crashed", "failed")

HOT = ("measured under thermal", "measured while heat", "measured while the GPU's clocks", "measured in low-power mode")


@dataclass(frozen=True)
class Caveat:
    """What a reader should know, and what to do about it."""

    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.text} {self.remedy}"


def caveats(rows: Sequence[Row], folder: str = "DIR") -> list[Caveat]:
    """All that limits what these records say, the most important first; `folder` is where they are. Where several machines
    measured, each has its own, and is named."""
    names = machine_names((row["machine"], row["machine_id"], row["source"]) for row in rows)
    by_machine: dict[str, list[Row]] = {}
    for row in rows:
        if row["source"] is None:
            by_machine.setdefault(names[row["machine"], row["machine_id"]], []).append(row)
    machines = by_machine if len(by_machine) > 1 else {"": rows}
    kinds = zip(*(_of_a_machine(own, folder) for own in machines.values()), strict=True)
    failed, *others = ([_named(*each) for each in zip(machines, kind, strict=True)] for kind in kinds)
    found = [*failed, _unverified(rows), *chain.from_iterable(others)]
    return [one for one in found if one is not None]


def _of_a_machine(rows: Sequence[Row], folder: str) -> list[Caveat | None]:
    timed = [row for row in rows if row["status"] == "ok" and row["latency_ns"] is not None]
    return [
        _failed(rows, folder),
        _reference_blas(timed),
        _contended(timed),
        _hot(timed),
        _drifted(timed),
        _few(timed, folder),
        _informed(timed),
        _overhead(timed),
        _battery(timed),
    ]


def _named(machine: str, one: Caveat | None) -> Caveat | None:
    return replace(one, text=f"{machine}: {one.text}") if one is not None and machine else one


def _failed(rows: Sequence[Row], folder: str) -> Caveat | None:
    failed = [row for row in rows if row["status"] in FAILURES]
    if not failed:
        return None
    statuses = list(dict.fromkeys(row["status"] for row in failed))
    why = []
    for status in statuses:  # the first reason of each stands for the others
        alike = [row for row in failed if row["status"] == status]
        arms = ", ".join(dict.fromkeys(row["arm"] for row in alike))
        why.append(f"{arms}: {one_line(alike[0]['reason'] or status)}")
    retry = ",".join(status for status in statuses if status != "mismatch")
    remedies = [f"`python -m mtbench resume {folder} --retry {retry}` measures them again."] if retry else []
    if "mismatch" in statuses:
        remedies.append(_of_mismatches([row for row in failed if row["status"] == "mismatch"]))
    return Caveat(f"{_jobs(len(failed), len(rows))} gave no time ({'; '.join(why)}).", " ".join(remedies))


def _of_mismatches(rows: Sequence[Row]) -> str:
    known = [row for row in rows if _mlx_sums_in_half(row)]
    if not known:
        return (
            "A mismatch is a wrong result, by a fault of the library or of the operator; measuring again does not help. "
            "docs/known_issues.md lists known faults."
        )
    arms = and_(list(dict.fromkeys(row["arm"] for row in known)))
    which = "This is" if len(known) == len(rows) else f"For {arms} this is"
    return (
        f"{which} probably a known fault of MLX on CPUs: its quantised products are summed in half precision, "
        "which is up to 4 % off. Measuring again does not help; dtype=float32 gives right results (docs/known_issues.md)."
    )


def _mlx_sums_in_half(row: Row) -> bool:
    """Whether it multiplied quantised weights in half precision in MLX on a CPU, whose kernel on x86 is up to 4 % off."""
    return (
        (row["framework"], row["device_kind"]) == ("mlx", "cpu")
        and row["dtype"] in ("bfloat16", "float16")
        and (row["operator"] == "quantized_linear" or json.loads(row["params"]).get("weight_dtype") in ("int8", "int4"))
    )


def _unverified(rows: Sequence[Row]) -> Caveat | None:
    """For records of servers and for other tools' figures alike."""
    unverified = [row for row in rows if row["status"] == "unverified"]
    if not unverified:
        return None
    arms = ", ".join(dict.fromkeys(row["arm"] for row in unverified))
    verb = "is" if len(unverified) == 1 else "are"
    return Caveat(
        f"{_jobs(len(unverified), len(rows))} {verb} unverified ({arms}): no answer was checked, so they are in no comparison.",
        "The table has them, and the report's charts draw them hollow.",
    )


def _reference_blas(timed: Sequence[Row]) -> Caveat | None:
    slow = [row for row in timed if uses_reference_blas(row)]
    if not slow:
        return None
    library = slow[0]["framework"]
    return Caveat(
        f"{told(library, slow[0]['blas'])} So this says little about {library} on a Mac or a GPU.",
        remedy(library),
    )


def uses_reference_blas(row: Row) -> bool:
    """Whether a record's library had the reference BLAS for its products on the CPU."""
    return row["device_kind"] == "cpu" and is_reference(row["blas"])


def _contended(timed: Sequence[Row]) -> Caveat | None:
    return _warned(
        timed,
        ("contended",),
        "shared the machine with other work",
        "`python -m mtbench doctor` shows which work that is. Stop it, then measure again.",
    )


def _hot(timed: Sequence[Row]) -> Caveat | None:
    return _warned(
        timed,
        HOT,
        "ran on a machine that was hot or held back",
        "With protocol=gentle, a sweep rests as long as it measures.",
    )


def _drifted(timed: Sequence[Row]) -> Caveat | None:
    return _warned(
        timed, ("drifted",), "ran while the machine's own speed drifted", "Measure again when the machine is idle."
    )


def _few(timed: Sequence[Row], folder: str) -> Caveat | None:
    few = [row for row in timed if 0 < row["restarts"] < FEWEST_RESTARTS and not _is_informed(row)]
    if not few:
        return None
    return Caveat(
        f"{_jobs(len(few), len(timed))} had fewer than {FEWEST_RESTARTS} restarts, so the spread between restarts is assumed.",
        f"`python -m mtbench resume {folder} protocol.restarts=5` adds some.",
    )


def _informed(timed: Sequence[Row]) -> Caveat | None:
    informed = [row for row in timed if _is_informed(row)]
    if not informed:
        return None
    return Caveat(
        f"{_jobs(len(informed), len(timed))} got intervals with the spread of earlier sweeps of this machine.",
        "The p values of verdicts do not use it.",
    )


def _is_informed(row: Row) -> bool:
    """Whether its interval uses the spread of earlier sweeps."""
    return row["restarts"] > 1 and row.get("earlier_spread") is not None


def _overhead(timed: Sequence[Row]) -> Caveat | None:
    return _warned(
        timed,
        ("overhead_bound",),
        "mostly measured the overhead of a call",
        "Larger shapes tell more about the operator.",
    )


def _battery(timed: Sequence[Row]) -> Caveat | None:
    on_battery = [row for row in timed if "battery" in _power(row)]
    if not on_battery:
        return None
    return Caveat(f"{_jobs(len(on_battery), len(timed))} ran on battery.", "Plug the machine in.")


def _power(row: Row) -> set[Any]:
    return {reading.get("power_source") for reading in json.loads(row["conditions"] or "[]")}


def _warned(timed: Sequence[Row], beginnings: Iterable[str], what: str, remedy: str) -> Caveat | None:
    begins = tuple(beginnings)
    warned = [row for row in timed if any(warning.startswith(begins) for warning in row["warnings"] or ())]
    if not warned:
        return None
    told = (warning for row in warned for warning in row["warnings"] if warning.startswith(begins))
    said = max(told, key=natural)  # the same one in whatever order records are read
    _, _, detail = one_line(said).partition(": ")
    return Caveat(f"{_jobs(len(warned), len(timed))} {what}{f' ({detail})' if detail else ''}.", remedy)


def _jobs(some: int, of: int) -> str:
    if some < of:
        return f"{some} of {of} {plural(of, 'job')}"
    return {1: "The one job", 2: "Both jobs"}.get(of, f"All {of} jobs")
