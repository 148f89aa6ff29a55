"""The measured roofs beside two busy processes and on the idle machine: `python tests/bench/roofs_under_load.py [FRAMEWORK]`.

Three sweeps share an empty cache folder: the first and the last beside the load, the one between without. What is sure in any
of them must agree with the idle one within 10 %; the program ends with 1 where it does not.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

BUSY = 2
TOLD_AFTER_S = 20
"""The system tells of a load as a mean over the last 10 s."""
AGREE = 0.1
SIZES = (4, 64, 512)
"""Sequence lengths of batch 64 and width 768: 1.5 MiB to 192 MiB are moved by a copy in float32."""

Roofs = dict[str, tuple[float, bool]]
"""By name: FLOP/s or bytes/s, and whether it is sure."""


@contextmanager
def load(processes: int) -> Iterator[None]:
    """So many processes that do nothing but compute, and have done so for a while."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        time.sleep(TOLD_AFTER_S)
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def roofs(framework: str, folder: str) -> Roofs:
    """Those that a sweep measures, or takes from the cache."""
    import mtbench

    brief = {"restarts": 1, "looks": [3], "block_ms": 5}
    found: Roofs = {}
    for operator, lengths in (("linear", SIZES[:1]), ("copy", SIZES)):
        asked = {"operator": operator, "shape": {"batch_size": 64, "seq_len": list(lengths)}, "protocol": brief}
        results = mtbench.measure(framework=framework, folder=f"{folder}/{operator}", **asked)
        found |= _roofs_of(results.records.sort("bytes_moved").to_dicts())
    return found


def _roofs_of(rows: Sequence[dict[str, Any]]) -> Roofs:
    """Those that set the limits of records."""
    from mtbench.results import limits

    found: Roofs = {}
    for row in rows:
        if row["status"] != "ok" or row["limit_ns"] is None:
            print(f"{row['operator']} {row['seq_len']}: {row['status']} {row['reason'] or 'no roof'}", file=sys.stderr)
        elif limits.by_flops(row):
            found["products, FLOP/s"] = row["peak_flops_per_s"], limits.sure(row)
        else:
            found[f"moving {row['bytes_moved'] / 2**20:.0f} MiB, B/s"] = row["peak_bytes_per_s"], limits.sure(row)
    return found


def told(first: Roofs, idle: Roofs, last: Roofs) -> tuple[list[str], bool]:
    """A table of the three, and whether all that are sure agree with the idle ones."""
    lines = ["| roof | beside load | idle | beside load again |", "| --- | --- | --- | --- |"]
    agree = True
    for name, (rate, sure) in idle.items():
        cells = [f"{rate:.3g}{'' if sure else ' (unsure)'}"]
        for place, found in ((0, first), (2, last)):
            other, certain = found.get(name, (0.0, False))
            apart = abs(other / rate - 1)
            agree &= apart <= AGREE or not (certain and sure)
            cells.insert(place, f"{other:.3g}, {other / rate - 1:+.0%}{'' if certain else ' (unsure)'}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines, agree


def main(arguments: Sequence[str]) -> int:
    framework = arguments[0] if arguments else "torch"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        with load(BUSY):
            first = roofs(framework, f"{folder}/first")
        idle = roofs(framework, f"{folder}/idle")
        with load(BUSY):
            last = roofs(framework, f"{folder}/last")
    lines, agree = told(first, idle, last)
    print(
        "\n".join(
            [*lines, "", "Every sure roof agrees within 10 %." if agree else "Sure roofs differ by more than 10 %."]
        )
    )
    return 0 if agree and idle else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
