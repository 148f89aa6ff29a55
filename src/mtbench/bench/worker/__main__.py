"""Starts a worker: `python -m mtbench.bench.worker READ_FD WRITE_FD`."""

from mtbench.bench.worker.worker import Worker, serve

serve(Worker())
