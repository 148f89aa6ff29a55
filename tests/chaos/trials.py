"""What a trial is, what it may not do, and the table of all of them."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

import mtbench
from mtbench.results import record as records

BRIEF = (
    "sweep=none", "protocol=quick", "protocol.restarts=1", "protocol.looks=[3]", "protocol.warmup_cap_s=0.3",
    "protocol.warmup_s=0.01", "protocol.block_ms=1", "protocol.timeout_s=60",
)  # fmt: skip
"""Measuring in earnest, but as briefly as can be."""

MARK = "MTBENCH_CHAOS"

SOURCES = Path(mtbench.__file__).resolve().parents[1]

HANGS_AFTER_S = 300.0
"""A sweep here takes seconds; a busy machine makes that a minute."""

ENDS_WITHIN_S = 20.0
"""From the end of a controller to that of its last worker."""

CODES = {0, 1, 2, 129, 130, 143, -signal.SIGKILL}
"""The documented exit codes, and that of a kill -9."""


@dataclass
class Tally:
    """How many trials of a kind there were, how they ended, and which broke a promise."""

    kind: str
    outcomes: Counter[str] = field(default_factory=Counter)
    beside: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        return sum(self.outcomes.values())

    def note(self, outcome: str, *faults: str) -> None:
        self.outcomes[outcome] += 1
        self.blame(*faults)

    def note_beside(self, what: str) -> None:
        """What happened as well, and is no trial of its own."""
        self.beside[what] += 1

    def blame(self, *faults: str) -> None:
        self.faults += faults
        for fault in faults:
            print(f"FAULT {self.kind}: {fault}", file=sys.stderr, flush=True)

    def row(self) -> str:
        told = ", ".join(f"{outcome} {count:,}" for outcome, count in sorted(self.outcomes.items()))
        if self.beside:
            told += f" (beside: {', '.join(f'{what} {count:,}' for what, count in sorted(self.beside.items()))})"
        return f"| {self.kind} | {self.tried:,} | {told} | {len(self.faults)} |"


def table(tallies: Sequence[Tally], seed: int) -> str:
    """The table of the documentation."""
    head = ["| what is done to it | trials | how they ended | faults |", "|---|---:|---|---:|"]
    return "\n".join([*head, *(tally.row() for tally in tallies), "", f"Seed {seed}."])


class Run:
    """A run of mtbench, with a mark that all its processes bear."""

    def __init__(
        self, *arguments: str, cwd: Path, environment: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        self.mark = uuid.uuid4().hex
        self.said = arguments
        ours = {"PYTHONPATH": str(SOURCES), "XDG_CACHE_HOME": str(cwd.parent / "cache"), MARK: self.mark}
        variables = {**os.environ, **ours, **(environment or {})}
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mtbench", *arguments],
            cwd=cwd,
            env=variables,
            start_new_session=True,
            **streams,
        )

    def workers(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children()
        except psutil.Error:
            return []

    def until(self, happens: Callable[[], bool], timeout_s: float = HANGS_AFTER_S) -> None:
        """Waits until something happens, or the run ends."""
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None and time.monotonic() < deadline and not happens():
            time.sleep(0.02)

    def kill(self, number: signal.Signals) -> None:
        """Sends a signal; one that can be handled not before the program has begun, since Python itself answers until then."""
        while number not in (signal.SIGKILL, signal.SIGSTOP) and self.process.poll() is None and not self._has_begun():
            time.sleep(0.005)
        if self.process.poll() is None:
            self.process.send_signal(number)

    def _has_begun(self) -> bool:
        """Whether it handles SIGTERM, as from its first line on; true where the system does not tell."""
        try:
            told = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return True
        caught = next(int(line.split()[1], 16) for line in told.splitlines() if line.startswith("SigCgt:"))
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    def ended(self, timeout_s: float = HANGS_AFTER_S) -> tuple[int, str, list[str]]:
        """The exit code, what was printed, and which promises were broken."""
        try:
            out, err = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            faults = ["it hung"]
        else:
            faults = []
        said = ((out or b"") + (err or b"")).decode(errors="replace")
        code = self.process.returncode
        if code not in CODES and not faults:
            faults.append(f"exit code {code}")
        if "Traceback (most recent call last)" in (err or b"").decode(errors="replace"):
            faults.append("a traceback: " + " | ".join(said.strip().splitlines()[-3:])[-300:])
        if left := self._orphans():
            faults.append(f"{left} processes were left behind")
        return code, said, [f"{fault} ({' '.join(self.said)[-120:]})" for fault in faults]

    def _orphans(self) -> int:
        """How many processes with our mark are still there after a while; they are ended then."""
        deadline = time.monotonic() + ENDS_WITHIN_S
        while (left := list(marked(self.mark))) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in left:
            process.kill()
        return len(left)


def marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def states(folder: Path) -> dict[Path, tuple[int, str]]:
    """The modification time and the status of every record. A torn one has the status `torn`."""
    files = sorted(folder.rglob(records.FILE_NAME))
    frame, problems = records.read(files)
    status = dict(zip(frame["path"], frame["status"], strict=True))
    found = {path: (path.stat().st_mtime_ns, str(status.get(str(path), "torn"))) for path in files}
    assert not problems or any(state == "torn" for _, state in found.values())
    return found
