"""Starts a worker: `python -m mtbench.bench.worker READ_FD WRITE_FD`."""

import sys

from mtbench.bench.worker import lifeline

lifeline.hold(int(sys.argv[1]))  # first, since what comes next takes a while

from mtbench.bench.worker.worker import Worker, serve  # noqa: E402

serve(Worker())
