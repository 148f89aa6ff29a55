"""The workers of a sweep, one process for each arm, and what their failures cost: the jobs that they were to measure."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from mtbench import environments, stats
from mtbench.bench.process import Died, Process
from mtbench.bench.progress import Progress
from mtbench.bench.protocol import Protocol
from mtbench.bench.tally import Tally
from mtbench.bench.wire import Message
from mtbench.errors import Unsupported
from mtbench.job import Arm


class Crew:
    """The workers that are alive, by arm.

    A worker that dies or refuses fails its jobs' tallies, which are handed to `record` where all of an arm's are concerned;
    a job that fails while it is asked for is recorded when its visit ends.
    """

    def __init__(
        self, tallies: Sequence[Tally], protocol: Protocol, progress: Progress, record: Callable[[Tally], None]
    ) -> None:
        self.tallies = tallies
        self.protocol = protocol
        self.progress = progress
        self.record = record
        self.workers: dict[Arm, Process] = {}
        self.interpreters: dict[Arm, str | None] = {}

    def start(self, arms: Sequence[Arm]) -> None:
        """Starts workers side by side; importing a library takes seconds."""
        started = {}
        for arm in arms:
            with self._failing(arm):
                process = self.workers[arm] = Process(python=self._interpreter(arm))
                process.tell("start", **_start_fields(arm, self.protocol))
                started[arm] = process
        stats.load()  # while the workers import their libraries
        for arm, process in started.items():
            with self._failing(arm):
                self._describe(arm, self._accept(arm, process.answer(self.protocol.timeout_s)))
        for arm in [arm for arm in started if arm in self.workers]:
            with self._failing(arm):
                self._describe(arm, self._accept(arm, self.workers[arm].ask(self.protocol.timeout_s, "floor")))

    def start_missing(self, tallies: Sequence[Tally]) -> None:
        """Starts the workers of arms whose last one died, one after the other."""
        for arm in [tally.job.arm for tally in tallies if tally.job.arm not in self.workers]:
            self.start([arm])

    def end(self) -> None:
        while self.workers:
            self.workers.popitem()[1].end()

    def ask(self, tally: Tally, do: str, **fields: object) -> Message | None:
        """Asks a job's worker; None where the job has failed, now or before."""
        if tally.failed:
            return None
        arm = tally.job.arm
        try:
            answer = self.workers[arm].ask(self.protocol.timeout_s, do, **fields)
        except Died as death:
            del self.workers[arm]
            tally.fail(death.status, str(death))
            return None
        if not answer["ok"]:
            tally.fail(answer["status"], answer["reason"], answer.get("verify_error"))
            self.ask_aside(tally, "release")  # what it holds would be missing to the other arms
            return None
        if do in ("prepare", "finish"):
            tally.note(answer)
        return answer

    def ask_aside(self, tally: Tally, do: str, **fields: object) -> Message | None:
        """Asks what is no part of the job's own measurement, so that a refusal costs it nothing; None where refused."""
        arm = tally.job.arm
        if arm not in self.workers:
            return None
        try:
            answer = self.workers[arm].ask(self.protocol.timeout_s, do, **fields)
        except Died as death:
            del self.workers[arm]
            if not tally.failed and do != "release":
                tally.fail(death.status, str(death))
            return None
        if not answer["ok"]:
            self.progress.warn(f"{do} of {tally.arm}: {answer['reason']}")
            return None
        return answer

    def ask_peaks(self, tally: Tally) -> Message | None:
        """Has a library measure its peak rates with a job's dtype; None, with a warning, where it cannot. A worker that dies
        over it is replaced: the job can be measured without."""
        arm = tally.job.arm
        try:
            answer = self.workers[arm].ask(self.protocol.timeout_s, "peaks", dtype=tally.job.cell.dtype)
        except Died as death:
            del self.workers[arm]
            self.progress.warn(f"{tally.arm} died while its peak rates were measured: {death}")
            self.start([arm])
            return None
        if answer["ok"]:
            return answer
        if answer["status"] != "unsupported":
            self.progress.warn(f"the peak rates of {tally.arm} could not be measured: {answer['reason']}")
        return None

    def _interpreter(self, arm: Arm) -> str | None:
        """What the arm runs under, found or made once a sweep. Raises Unsupported."""
        if arm not in self.interpreters:
            self.interpreters[arm] = environments.interpreter(arm, self.progress.note)
        return self.interpreters[arm]

    def _accept(self, arm: Arm, answer: Message) -> Message:
        """An answer that concerns an arm as a whole; a refusal ends all its jobs."""
        if not answer["ok"]:
            self._give_up(arm, answer["status"], answer["reason"])
            return {}
        return answer

    def _describe(self, arm: Arm, answer: Message) -> None:
        for tally in self._unfailed(arm):
            tally.description |= answer.get("description", {})
            if "floor_ns" in answer:
                tally.facts["floor_ns"] = answer["floor_ns"]

    @contextmanager
    def _failing(self, arm: Arm) -> Iterator[None]:
        try:
            yield
        except Died as death:
            self._give_up(arm, death.status, str(death))
        except Unsupported as error:
            self._give_up(arm, "unsupported", str(error))

    def _give_up(self, arm: Arm, status: str, reason: str) -> None:
        for tally in self._unfailed(arm):
            tally.fail(status, reason)
            self.record(tally)
        if arm in self.workers:
            self.workers.pop(arm).end()

    def _unfailed(self, arm: Arm) -> list[Tally]:
        return [tally for tally in self.tallies if tally.job.arm == arm and not tally.failed]


def _start_fields(arm: Arm, protocol: Protocol) -> Message:
    return {
        "framework": arm.framework,
        "file": arm.framework_file,
        "mode": arm.mode,
        "settings": {"device": arm.device, "matmul_precision": arm.matmul_precision},
        "protocol": asdict(protocol),
    }
