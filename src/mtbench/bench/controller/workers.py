"""The workers of a sweep, one process for each arm, and what their failures cost: the jobs that they were to measure."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from mtbench import environments
from mtbench.bench.controller.job_state import JobState
from mtbench.bench.controller.process import Died, Process
from mtbench.bench.controller.progress import Progress
from mtbench.bench.protocol import Protocol
from mtbench.bench.wire import Message
from mtbench.errors import Unsupported
from mtbench.plan import Arm
from mtbench.results import stats


class Workers:
    """The workers that are alive, by arm.

    A worker that dies or refuses fails its jobs' states, which are handed to `record` where all of an arm's are concerned;
    a job that fails while it is asked for is recorded when its visit ends.
    """

    def __init__(
        self, states: Sequence[JobState], protocol: Protocol, progress: Progress, record: Callable[[JobState], None]
    ) -> None:
        self.states = states
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

    def start_missing(self, states: Sequence[JobState]) -> None:
        """Starts the workers of arms whose last one died, one after the other."""
        for arm in [state.job.arm for state in states if state.job.arm not in self.workers]:
            self.start([arm])

    def end(self) -> None:
        while self.workers:
            self.workers.popitem()[1].end()

    def ask(self, state: JobState, do: str, **fields: object) -> Message | None:
        """Asks a job's worker; None where the job has failed, now or before."""
        if state.failed:
            return None
        arm = state.job.arm
        try:
            answer = self.workers[arm].ask(self.protocol.timeout_s, do, **fields)
        except Died as death:
            del self.workers[arm]
            state.fail(death.status, str(death))
            return None
        if not answer["ok"]:
            state.fail(answer["status"], answer["reason"], answer.get("verify_error"))
            self.ask_aside(state, "release")  # what it holds would be missing to the other arms
            return None
        if do in ("prepare", "finish"):
            state.note(answer)
        return answer

    def ask_aside(self, state: JobState, do: str, **fields: object) -> Message | None:
        """Asks what is no part of the job's own measurement, so that a refusal costs it nothing; None where refused."""
        arm = state.job.arm
        if arm not in self.workers:
            return None
        try:
            answer = self.workers[arm].ask(self.protocol.timeout_s, do, **fields)
        except Died as death:
            del self.workers[arm]
            if not state.failed and do != "release":
                state.fail(death.status, str(death))
            return None
        if not answer["ok"]:
            self.progress.warn(f"{do} of {state.arm}: {answer['reason']}")
            return None
        return answer

    def ask_peaks(self, state: JobState) -> Message | None:
        """Has a library measure its peak rates with a job's dtype; None, with a warning, where it cannot. A worker that dies
        over it is replaced: the job can be measured without."""
        arm = state.job.arm
        try:
            answer = self.workers[arm].ask(self.protocol.timeout_s, "peaks", dtype=state.job.cell.dtype)
        except Died as death:
            del self.workers[arm]
            self.progress.warn(f"{state.arm} died while its peak rates were measured: {death}")
            self.start([arm])
            return None
        if answer["ok"]:
            return answer
        if answer["status"] != "unsupported":
            self.progress.warn(f"the peak rates of {state.arm} could not be measured: {answer['reason']}")
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
        for state in self._unfailed(arm):
            state.description |= answer.get("description", {})
            if "floor_ns" in answer:
                state.facts["floor_ns"] = answer["floor_ns"]

    @contextmanager
    def _failing(self, arm: Arm) -> Iterator[None]:
        try:
            yield
        except Died as death:
            self._give_up(arm, death.status, str(death))
        except Unsupported as error:
            self._give_up(arm, "unsupported", str(error))

    def _give_up(self, arm: Arm, status: str, reason: str) -> None:
        for state in self._unfailed(arm):
            state.fail(status, reason)
            self.record(state)
        if arm in self.workers:
            self.workers.pop(arm).end()

    def _unfailed(self, arm: Arm) -> list[JobState]:
        return [state for state in self.states if state.job.arm == arm and not state.failed]


def _start_fields(arm: Arm, protocol: Protocol) -> Message:
    return {
        "framework": arm.framework,
        "file": arm.framework_file,
        "mode": arm.mode,
        "settings": {"device": arm.device, "matmul_precision": arm.matmul_precision},
        "protocol": asdict(protocol),
    }
