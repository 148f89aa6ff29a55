"""How far each operator's form is from the fastest way to write it, as a Markdown table.

Measure, then read the records (on a machine without a GPU at smaller shapes, and other grids with `operator=...`):

    python -m mtbench --config-dir tests/alternatives +experiment=alternatives device=gpu hydra.sweep.dir=DIR -m
    python tests/alternatives/fastest.py DIR

The other forms are called other1, other2... whatever the operator, since each name is a process of its own; what each does
is said by its docstring. Ratios are of the time per queued call, native over the fastest other form, paired by rounds: below
1 the native form is the fastest. `device` has the same of the device's own clock, where the library has one.
"""

import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mtbench import record, registry
from mtbench.verdicts import compare, throughput_blocks


def main(folder: Path) -> None:
    frame, problems = record.read(record.find([folder]))
    for problem in problems:
        print(problem, file=sys.stderr)
    cells: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    for row in frame.sort("started_at").iter_rows(named=True):
        if row["status"] == "ok":
            cells[row["cell_id"], row["framework"]][row["variant"]] = SimpleNamespace(**row)
        elif row["status"] != "unsupported":
            print(f"{row['operator']} {row['arm']}: {row['status']}: {row['reason']}", file=sys.stderr)
    print(
        "| operator | library | native µs | fastest other | µs | native / it | interval | device | native / portable |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for (_, library), forms in cells.items():
        native = forms.pop("native", None)
        others = {name: form for name, form in forms.items() if name != "portable"}
        if native is None or not forms:
            continue
        name, best = min((others or forms).items(), key=lambda item: item[1].throughput_ns)
        found = compare(throughput_blocks(best), throughput_blocks(native))
        device = native.device_ns / best.device_ns if native.device_ns and best.device_ns else None
        portable = forms.get("portable")
        cells_of_row = [
            f"{native.operator} {_shape(native)}",
            library,
            f"{native.throughput_ns / 1e3:.1f}",
            _said(native.operator, library, name),
            f"{best.throughput_ns / 1e3:.1f}",
            f"{found.ratio:.3f}" if found else "",
            f"{found.low:.3f}–{found.high:.3f}" if found else "",
            f"{device:.3f}" if device else "",
            f"{native.throughput_ns / portable.throughput_ns:.2f}" if portable else "",
        ]
        print(f"| {' | '.join(cells_of_row)} |")


def _said(operator: str, library: str, variant: str) -> str:
    """What the docstring of an alternative calls it."""
    if variant == "portable":
        return variant
    file = Path(__file__).parent / "operator" / f"{operator}.py"
    return str(getattr(registry.load("operator", operator, str(file)), f"{library}_{variant}").__doc__)


def _shape(row: Any) -> str:
    keys = "" if row.kv_len is None else f", {row.kv_len} keys"
    return f"{row.batch_size}×{row.seq_len}{keys}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
