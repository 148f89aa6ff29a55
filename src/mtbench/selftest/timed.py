"""Runs mtbench as `python -m mtbench` does, and writes down how long the controller waited for workers, by request.

Started as `python -m mtbench.selftest.timed FILE ARGUMENT...`. The program is the same but for two looks at the clock
for each request.
"""

import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from mtbench.bench.controller import workers as workers
from mtbench.bench.controller.process import Process
from mtbench.bench.wire import Message
from mtbench.launch import app

WAITING_S: dict[str, float] = defaultdict(float)


class Timed(Process):
    """A worker process that adds up, by request, how long the controller waited for its answers."""

    asked = ""

    def tell(self, do: str, **fields: Any) -> None:
        self.asked = do
        super().tell(do, **fields)

    def answer(self, timeout_s: float) -> Message:
        started = time.monotonic()
        try:
            return super().answer(timeout_s)
        finally:
            WAITING_S[self.asked] += time.monotonic() - started


def main() -> None:
    file, arguments = Path(sys.argv[1]), sys.argv[2:]
    sys.argv = [sys.argv[0], *arguments]  # Hydra reads them there
    workers.Process = Timed  # type: ignore[attr-defined]
    try:
        app.main(arguments)
    finally:
        file.write_text(json.dumps(WAITING_S))


if __name__ == "__main__":
    main()
