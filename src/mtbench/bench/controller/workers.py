"""The workers of a sweep, one process for each arm, and what their failures cost: the jobs that they were to measure."""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from mtbench.bench import wire
from mtbench.bench.controller import environments
from mtbench.bench.controller.job_state import JobState
from mtbench.bench.controller.process import Died, Process
from mtbench.bench.rates import Rates
from mtbench.errors import Unsupported
from mtbench.plan.jobs import Arm
from mtbench.plan.progress import Progress
from mtbench.plan.protocol import Protocol
from mtbench.results import files, stats

A = TypeVar("A")

StartProcess = Callable[..., Process]

COMPILES = "; its first call compiles, which takes minutes for a whole model: set protocol.timeout_s higher"
"""Added where the worker of a compiled arm did not answer in time. torch.compile took 3 to 4 s of a processor for each of
SmolLM2's 30 layers."""


class Workers:
    """The workers that are alive, by arm.

    Where a worker dies or refuses, its jobs fail (`JobState.fail`). If all jobs of an arm fail, they are handed to `record`; a
    single job that fails is recorded when its visit ends. `waiting_s` adds up, by request, how long they were waited for.
    """

    def __init__(
        self,
        states: Sequence[JobState],
        protocol: Protocol,
        progress: Progress,
        record: Callable[[JobState], None],
        start_process: StartProcess = Process,
    ) -> None:
        self.start_process = start_process
        self.states = states
        self.protocol = protocol
        self.progress = progress
        self.record = record
        self.alive: dict[Arm, Process] = {}
        self.interpreters: dict[Arm, str | None] = {}
        self.waiting_s: dict[str, float] = defaultdict(float)
        self._caches: tempfile.TemporaryDirectory[str] | None = None  # removed with this object
        self._cache_of: dict[Arm, str] = {}
        self.guests: dict[
            Arm, str | None
        ] = {}  # the file of the operator that a worker has run, where it is the user's
        self.fallen: list[Arm] | None = None  # whose workers died while they started, if they get a second try

    def start(self, arms: Sequence[Arm], meanwhile: Callable[[], None] = lambda: None) -> None:
        """Starts workers side by side; importing a library takes seconds, in which `meanwhile` is called. A worker that dies
        while it starts is started once more."""
        self.fallen = []
        self._start_all(arms, meanwhile)
        if again := self.fallen:
            self.fallen = None
            self._start_all(again)
        self.fallen = None

    def _start_all(self, arms: Sequence[Arm], meanwhile: Callable[[], None] = lambda: None) -> None:
        requests: dict[Arm, wire.Start] = {}
        for arm in arms:
            self.guests.pop(arm, None)
            with self._failing(arm):
                process = self.alive[arm] = self.start_process(
                    environment=arm.variables, python=self._interpreter(arm), waiting_s=self.waiting_s
                )
                requests[arm] = _start(arm, self.protocol, self._compiler_cache(arm))
                process.tell(requests[arm])
        stats.load()  # while the workers import their libraries
        files.load()
        meanwhile()
        for arm, request in requests.items():
            if arm not in self.alive:
                continue
            with self._failing(arm):
                answer = self.alive[arm].answer(request, self.protocol.timeout_s)
                started = self._accept(arm, answer)
                for state in self._unfailed(arm):
                    state.worker = started
        for arm in [arm for arm in requests if arm in self.alive]:
            with self._failing(arm):
                timed = self.alive[arm].ask(wire.TimeFloor(), self.protocol.timeout_s)
                floor = self._accept(arm, timed)
                for state in self._unfailed(arm):
                    state.floor_ns = None if floor is None else floor.floor_ns

    def start_missing(self, states: Sequence[JobState]) -> None:
        """Starts workers for arms that have none, one after the other. A worker that has run another operator of the user's own
        is replaced, since that may have left something behind: a thread, an alarm, a limit."""
        for state in states:
            guest = self.guests.get(state.job.arm)
            if guest is not None and guest != state.job.task.operator_file:
                self._dismiss(state.job.arm)
        for arm in [state.job.arm for state in states if state.job.arm not in self.alive]:
            self.start([arm])

    def end(self) -> None:
        while self.alive:
            self.alive.popitem()[1].end()

    def ask(self, state: JobState, request: wire.Request[A]) -> A | None:
        """Asks a job's worker; None where the job has failed, now or before."""
        if state.failed:
            return None
        arm = state.job.arm
        if isinstance(request, wire.Prepare):
            self.guests[arm] = state.job.task.operator_file
        try:
            answer = self.alive[arm].ask(request, self.protocol.timeout_s)
        except Died as death:
            del self.alive[arm]
            compiling = death.status == "timeout" and arm.mode == "compiled" and isinstance(request, wire.Prepare)
            state.fail(death.status, f"{death}{COMPILES if compiling else ''}")
            return None
        if isinstance(answer, wire.Refused):
            state.fail(answer.status, answer.reason, answer.errors)
            if isinstance(request, wire.Finish) and answer.status == "mismatch":
                self._dismiss(arm)  # it may still be computing, which would count as the next job's work
            self.ask_aside(state, wire.Release())  # the other arms need the memory that it holds
            return None
        return answer

    def ask_aside(self, state: JobState, request: wire.Request[A]) -> A | None:
        """Asks something that is not part of the job's measurement, so that a refusal costs the job nothing; None where
        refused."""
        arm = state.job.arm
        if arm not in self.alive:
            return None
        try:
            answer = self.alive[arm].ask(request, self.protocol.timeout_s)
        except Died as death:
            del self.alive[arm]
            if not state.failed and not isinstance(request, wire.Release):
                state.fail(death.status, str(death))
            return None
        if isinstance(answer, wire.Refused):
            self.progress.warn(f"{request.do} of {state.arm}: {answer.reason}")
            return None
        return answer

    def ask_peaks(self, state: JobState, within_s: float | None = None) -> Rates | None:
        """Has a library measure its peak rates with a job's dtype; None, with a warning, where it cannot. A worker that dies
        over it is replaced: the job can be measured without."""
        arm = state.job.arm
        try:
            answer = self.alive[arm].ask(wire.MeasurePeaks(state.job.task.dtype, within_s), self.protocol.timeout_s)
        except Died as death:
            del self.alive[arm]
            self.progress.warn(f"{state.arm} died while its peak rates were measured: {death}")
            self.start([arm])
            return None
        if not isinstance(answer, wire.Refused):
            return answer
        if answer.status != "unsupported":
            self.progress.warn(f"the peak rates of {state.arm} could not be measured: {answer.reason}")
        return None

    def _compiler_cache(self, arm: Arm) -> str | None:
        """A folder for the cache of an arm's compiler, empty at first and the arm's own for the whole sweep. So the first
        restart, whose first calls are reported, compiles anew, and later restarts need not. None for the compiler's usual
        cache."""
        if self.protocol.compiler_cache == "kept":
            return None
        if self._caches is None:
            self._caches = tempfile.TemporaryDirectory(prefix="mtbench-compiled-", ignore_cleanup_errors=True)
        if arm not in self._cache_of:
            self._cache_of[arm] = tempfile.mkdtemp(dir=self._caches.name)
        return self._cache_of[arm]

    def _interpreter(self, arm: Arm) -> str | None:
        """The interpreter of the arm, found or made once a sweep. Raises Unsupported."""
        if arm not in self.interpreters:
            self.interpreters[arm] = environments.interpreter(arm, self.progress.note)
        return self.interpreters[arm]

    def _accept(self, arm: Arm, answer: A | wire.Refused) -> A | None:
        """An answer about the whole arm: a refusal ends all its jobs."""
        if isinstance(answer, wire.Refused):
            self._give_up(arm, answer.status, answer.reason)
            return None
        return answer

    @contextmanager
    def _failing(self, arm: Arm) -> Iterator[None]:
        try:
            yield
        except Died as death:
            if self.fallen is not None and death.status == "crashed":
                self.fallen.append(arm)
                self.progress.note(f"the worker of {arm.name} died while it started; it is started again")
                self._dismiss(arm)
            else:
                self._give_up(arm, death.status, str(death))
        except Unsupported as error:
            self._give_up(arm, "unsupported", str(error))
        except OSError as error:  # no room for temporary files, or no more descriptors
            self._give_up(arm, "failed", f"the worker could not be started: {error.strerror or error}")

    def _give_up(self, arm: Arm, status: str, reason: str) -> None:
        for state in self._unfailed(arm):
            state.fail(status, reason)
            self.record(state)
        self._dismiss(arm)

    def _dismiss(self, arm: Arm) -> None:
        """Ends an arm's worker, if there is one."""
        if arm in self.alive:
            self.alive.pop(arm).end()

    def _unfailed(self, arm: Arm) -> list[JobState]:
        return [state for state in self.states if state.job.arm == arm and not state.failed]


def _start(arm: Arm, protocol: Protocol, compiler_cache: str | None) -> wire.Start:
    return wire.Start(arm.framework, arm.framework_file, arm.mode, arm.library_settings, protocol, compiler_cache)


def prepare(state: JobState, restart: int) -> wire.Prepare:
    """What a worker is to build for a job."""
    task = state.job.task
    return wire.Prepare(
        operator=task.operator,
        file=task.operator_file,
        params=dict(task.params),
        variant=state.job.arm.variant,
        dtype=task.dtype,
        shape=task.shape,
        limits=state.job.limits,
        check_seed=(state.check_seed or 0) + restart,
    )
