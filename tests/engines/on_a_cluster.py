"""Runs sweeps on a real Ray cluster of several nodes on this machine: `python tests/engines/on_a_cluster.py`.

A node is killed in the middle and its shard goes on elsewhere; Ctrl-C cancels and a later command goes on; each kind of machine
measures the whole plan; two GPUs, which nobody has to have, are one shard's each. Takes some minutes, so that pytest leaves it
out; needs Ray.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

os.environ.setdefault("RAY_raylet_start_wait_time_s", "240")  # a small machine that is busy takes its time
from ray.cluster_utils import Cluster

from mtbench import machine
from mtbench.results import record as records

SWEEP = [
    f"--config-dir={Path(__file__).parent / 'user'}", "operator=softmax", "framework=located", "sweep=none",
    "protocol=quick", "protocol.restarts=2", "protocol.looks=[5]", "protocol.warmup_cap_s=0.5", "protocol.block_ms=50",
    "engine=ray",
]  # fmt: skip
SMALL = {"object_store_memory": 80 << 20}
PATIENCE_S = 240


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "mtbench", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def finish(process: "subprocess.Popen[str]", code: int) -> str:
    said, _ = process.communicate(timeout=PATIENCE_S)
    told = "\n".join(line for line in said.splitlines() if "[state-dump]" not in line and "(raylet)" not in line)
    print(told, flush=True)
    assert process.returncode == code, process.returncode
    return told


def until(happens: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happens():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def measured(folder: Path) -> int:
    return len(records.find([folder])) if folder.exists() else 0  # one that is missing is found, to be complained of


def read(folder: Path) -> pl.DataFrame:
    frame, problems = records.read(records.find([folder]))
    assert problems == []
    assert frame["status"].unique().to_list() == ["ok"]
    assert frame["restarts"].unique().to_list() == [2]
    assert frame["engine"].unique().to_list() == ["ray"]
    assert frame["engine_job"].null_count() == 0
    return frame


def a_node_dies(cluster: Cluster, folder: Path) -> None:
    nodes = [cluster.add_node(num_cpus=1, **SMALL) for _ in range(2)]
    to = [
        "shape.seq_len=1,2,3,4,5,6",
        "engine.shards=3",
        f"engine.address={cluster.address}",
        "hydra.sweep.dir=dies",
        "-m",
    ]
    process = start(folder, *SWEEP, *to)
    until(lambda: measured(folder / "dies") >= 2, process)
    cluster.remove_node(nodes[0], allow_graceful=False)
    said = finish(process, 0)
    assert "its machine is gone; it goes on elsewhere" in said
    assert read(folder / "dies").height == 6
    cluster.remove_node(nodes[1])


def interrupted(cluster: Cluster, folder: Path) -> None:
    node = cluster.add_node(num_cpus=1, **SMALL)
    to = ["shape.seq_len=1,2,3", "engine.shards=2", f"engine.address={cluster.address}", "hydra.sweep.dir=ends", "-m"]
    process = start(folder, *SWEEP, *to)
    until(lambda: measured(folder / "ends") >= 1, process)
    process.send_signal(signal.SIGINT)
    said = finish(process, 130)
    assert "Interrupted; the tasks are cancelled, and what they measured is kept." in said
    kept = {path: path.stat().st_mtime_ns for path in records.find([folder / "ends"])}
    assert kept
    finish(start(folder, "resume", "ends"), 0)
    assert read(folder / "ends").height == 3
    cluster.remove_node(node)


def each_kind(cluster: Cluster, folder: Path) -> None:
    nodes = [cluster.add_node(num_cpus=1, **SMALL) for _ in range(2)]
    to = ["shape.seq_len=1,2", "engine.each=machine", f"engine.address={cluster.address}", "hydra.sweep.dir=each", "-m"]
    finish(start(folder, *SWEEP, *to), 0)
    here = machine.identity(machine.describe())
    (place,) = {path.relative_to(folder / "each").parts[0] for path in records.find([folder / "each"])}
    assert place.endswith(here)  # two nodes of one kind: it is measured once
    assert read(folder / "each").height == 2
    finish(start(folder, "status", "each"), 0)
    for node in nodes:
        cluster.remove_node(node)


def two_gpus(cluster: Cluster, folder: Path) -> None:
    node = cluster.add_node(num_cpus=2, num_gpus=2, **SMALL)
    to = ["shape.seq_len=1,2", "engine.gpus=all", f"engine.address={cluster.address}", "hydra.sweep.dir=gpus", "-m"]
    finish(start(folder, *SWEEP, *to), 0)
    frame = read(folder / "gpus")
    where = [json.loads(details) for details in frame["library_details"]]
    assert {one["visible"] for one in where} == {"0", "1"}
    if len(os.sched_getaffinity(0)) > 1:
        assert len({one["processors"] for one in where}) == 2
        assert frame["side_by_side"].unique().to_list() == [2]
    cluster.remove_node(node)


def main() -> None:
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background job ignores it, and so would what we start
    head = {"num_cpus": 0, "include_dashboard": False, **SMALL}
    chosen = [
        each
        for each in (a_node_dies, interrupted, each_kind, two_gpus)
        if each.__name__ in (sys.argv[1:] or each.__name__)
    ]
    for each in chosen:
        cluster = Cluster(initialize_head=True, head_node_args=head)
        started = time.monotonic()
        try:
            with tempfile.TemporaryDirectory() as folder:
                print(f"== {each.__name__}", flush=True)
                each(cluster, Path(folder))
        finally:
            cluster.shutdown()
        print(f"== {each.__name__}: as it should be ({time.monotonic() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
