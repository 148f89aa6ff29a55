"""Breaks mtbench in every way that it must survive: `python tests/chaos`, seeded, bounded in time.

    python tests/chaos                        all of it, about a quarter of an hour on an idle machine
    python tests/chaos --only kills,disks     some kinds
    python tests/chaos --scale 0.1            a tenth of the trials
    python tests/chaos --out docs/robustness.md   also writes the table into the page

Exits with 1 where a promise was broken.
"""

import argparse
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import in_process
import processes
from trials import Run, Tally, table

SEED = 16
COUNTS = {
    "kills": 200, "forty": 10, "sharpen": 12, "disks": 100, "operators": 100, "messages": 1_000, "settings": 200,
    "command_lines": 1_000, "records": 1_000,
}  # fmt: skip
"""How many trials the full form has, by kind."""


def break_it(kind: str, count: int, seed: int, folder: Path) -> Tally:
    """So many trials of a kind, in a folder of their own."""
    rng = random.Random(f"{seed} {kind}")
    kinds: dict[str, Callable[[], Tally]] = {
        "kills": lambda: processes.kills(count, rng, folder / kind),
        "forty": lambda: processes.forty(rng, folder / kind, count),
        "sharpen": lambda: processes.sharpen(count, rng, folder / kind),
        "disks": lambda: processes.disks(count, rng, folder / kind),
        "operators": lambda: processes.operators(count, rng, folder / kind),
        "messages": lambda: in_process.messages(count, rng),
        "settings": lambda: in_process.settings(count, rng),
        "command_lines": lambda: in_process.command_lines(count, rng),
        "records": lambda: in_process.bad_records(count, rng, good_sweep(folder)),
    }
    return kinds[kind]()


def good_sweep(folder: Path) -> Path:
    """A small sweep in which all went well."""
    home = folder / "good"
    if not home.exists():
        home.mkdir(parents=True)
        code, said, _ = Run(*processes.SIX, cwd=home).ended()
        assert code == 0, said
    return home / "out"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(COUNTS), help="kinds, separated by commas")
    parser.add_argument("--scale", type=float, default=1.0, help="so many times as many trials")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument(
        "--out", type=Path, help="a Markdown page with the mark <!-- chaos -->, to write the table into"
    )
    asked = parser.parse_args()
    tallies = []
    with tempfile.TemporaryDirectory(prefix="mtbench-chaos-") as folder:
        for kind in asked.only.split(","):
            started = time.monotonic()
            tally = break_it(kind, max(1, round(asked.scale * COUNTS[kind])), asked.seed, Path(folder))
            print(f"{tally.row()} {time.monotonic() - started:.0f} s", flush=True)
            tallies.append(tally)
    told = table(tallies, asked.seed)
    print(f"\n{told}")
    if asked.out is not None:
        page = asked.out.read_text(encoding="utf-8")
        marks = "<!-- chaos -->\n", "<!-- end -->"
        made = re.sub(rf"(?s){marks[0]}.*{marks[1]}", lambda _: f"{marks[0]}{told}\n{marks[1]}", page)
        asked.out.write_text(made, encoding="utf-8")
    return 1 if any(tally.faults for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
