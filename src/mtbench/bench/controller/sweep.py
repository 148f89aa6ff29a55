"""The controller: takes jobs, has workers measure them cell by cell, interleaved, restart by restart, and writes records.

After the first restart every job has a result, which later restarts sharpen. Whatever goes wrong in a worker costs the jobs
that it was to measure, and nothing else.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mtbench import interrupts
from mtbench.bench import wire
from mtbench.bench.controller import memory
from mtbench.bench.controller.begun import Begun
from mtbench.bench.controller.conditions import contended, contention, joined, warnings_of
from mtbench.bench.controller.cooling import Cooling
from mtbench.bench.controller.deadline import Deadline
from mtbench.bench.controller.drift import Canary
from mtbench.bench.controller.energy import Meter
from mtbench.bench.controller.job_record import record_of
from mtbench.bench.controller.job_state import JobState, Sweep
from mtbench.bench.controller.keeping import Keeping
from mtbench.bench.controller.peaks import AGAIN_PART, Kept, Peaks, Store
from mtbench.bench.controller.process import Process
from mtbench.bench.controller.rounds import round_order, settled
from mtbench.bench.controller.workers import StartProcess, Workers, prepare
from mtbench.bench.rates import Rates, Roofs
from mtbench.machine.watch import Reading, Watch
from mtbench.plan.jobs import Arm, Plan
from mtbench.plan.progress import Extent, Progress
from mtbench.results.record import FILE_NAME, MEASURED, Record

INTERRUPTED_WRITING_S = 1.0


class Controller:
    """One sweep."""

    def __init__(
        self,
        plan: Plan,
        sweep: Sweep,
        progress: Progress,
        watch: Watch,
        meter: Meter | None = None,
        free: Callable[[int | None, int | None], memory.Free] = memory.free,
        start_process: StartProcess = Process,
        begun: Begun | None = None,
    ) -> None:
        self.plan = plan
        self.sweep = sweep
        self.watch = watch
        self.protocol = sweep.protocol
        self.progress = progress
        self.begun = begun or Begun()
        self.states = [self.begun.states.get(job.id) or JobState(job) for job in plan.jobs]
        self.workers = Workers(self.states, self.protocol, progress, self._record, start_process)
        self.records: dict[str, Record] = {}
        self.peaks = Peaks()
        self.kept_peaks = Store(sweep.machine_id, self.protocol.cpus or list(sweep.place.processors))
        self.told_of_kept_peaks = False
        self.canary = Canary()
        self.meter = meter or Meter(self.protocol.energy_s)
        self.free = free
        self.cooling = Cooling(self.protocol, watch, progress)
        self.told_of_gaps: set[str] = set()
        self.check_seed = secrets.randbits(31)  # nobody can know beforehand what will be checked
        self.visited: set[str] = set()  # the jobs that the current restart has measured

    def run(self, folder: Path) -> tuple[list[Record], bool]:
        """Measures, and gives the records of all jobs that have one, and whether it was interrupted."""
        self.folder = folder
        self.keeping = Keeping(folder, self.progress)
        self.deadline = Deadline(self.protocol.stop_after, self.progress)
        arms = self.plan.arms
        by_id = {state.job.id: state for state in self.states}
        cells = [[by_id[job.id] for job in cell] for cell in self.plan.by_cell()]
        first = min((self._begun_restarts(cell) for cell in cells), default=0)
        self.progress.sweep_started(Extent(len(cells), arms, len(self.states), self.protocol.restarts, folder, first))
        interrupted = False
        try:
            for restart in range(first, self.protocol.restarts):
                self._run_restart(restart, arms, [cell for cell in cells if self._begun_restarts(cell) <= restart])
            self._record_anew()
        except KeyboardInterrupt:
            interrupted = True
            self.workers.end()
            self._record_unfinished()
        finally:
            self.workers.end()
            self.meter.close()
        self.unwritten = self.keeping.finish()
        measured = [self.records[state.job.id] for state in self.states if state.job.id in self.records]
        records = self.begun.with_kept(measured)
        self.progress.sweep_finished(records, interrupted)
        return records, interrupted

    def _run_restart(self, restart: int, arms: Sequence[Arm], cells: Sequence[Sequence[JobState]]) -> None:
        states = [state for cell in cells for state in cell]
        wanted = [arm for arm in arms if any(t.job.arm == arm and not t.failed for t in states)]
        if not wanted:
            return
        self.visited.clear()
        self.progress.restart_started(restart)
        self.workers.start(wanted, meanwhile=self._record_anew)
        self.begun.check(states)
        if restart == 0 and self.protocol.energy_s > 0:
            for device, gpu in {(state.device, state.gpu) for state in self.states if not state.failed}:
                self.meter.prepare(device, gpu)
        self.canary.clear()
        began = time.monotonic()
        for cell in cells:
            if any(not state.failed for state in cell):
                self.cooling.before_visit()
            started = time.monotonic()
            self._visit(restart, cell)
            self.cooling.visited(time.monotonic() - started)
        self._measure_peaks_again(time.monotonic() - began)
        self.workers.end()
        self._note_drift()

    def _visit(self, restart: int, states: Sequence[JobState]) -> None:
        """Measures a cell's arms against each other, once; one by one if they do not fit in memory together."""
        cell = states[0].job.cell
        self.deadline.check()
        live = [state for state in states if not state.failed]
        if not live:
            return
        self.visited.update(state.job.id for state in live)
        self.progress.cell_started(cell, [state.job.arm for state in live])
        self.workers.start_missing(live)
        groups = self._groups([state for state in live if not state.failed])
        for group in groups:
            for state in group:
                state.paired = state.paired is not False and len(groups) == 1
            self._measure_together(restart, group)
        self.progress.cell_finished(cell)

    def _groups(self, live: Sequence[JobState]) -> list[list[JobState]]:
        """The arms that are measured together: all of them, or each alone. One that would not fit even alone is `oom`,
        before it takes the machine into swap."""
        if not live:
            return []
        fits = []
        for state in live:
            task = state.job.task
            try:
                elsewhere = state.unverified is not None  # a server has its model in memory already
                needed = memory.NOTHING if elsewhere else memory.needed_bytes(task.problem, task.shape, task.dtype)
            except Exception as error:  # of a user's own operator, which must not cost the others
                state.fail("failed", f"the operator cannot say what memory it needs: {type(error).__name__}: {error}")
                self._record(state)
                continue
            free = self._free_bytes(state)
            if memory.fits([needed], free, self.protocol.memory_fraction):
                fits.append((state, free, needed))
            else:
                state.fail("oom", needed.compared_with(free))
                self._record(state)
        needs = [needed for _, _, needed in fits]
        if all(memory.fits(needs, free, self.protocol.memory_fraction) for _, free, _ in fits):
            return [[state for state, _, _ in fits]] if fits else []
        return [[state] for state, _, _ in fits]

    def _free_bytes(self, state: JobState) -> memory.Free:
        answer = self.workers.ask_aside(state, wire.AskMemory()) if state.device == "gpu" else None
        return self.free(*((None, None) if answer is None else (answer.free_bytes, answer.working_set_bytes)))

    def _measure_together(self, restart: int, live: Sequence[JobState]) -> None:
        for state in live:
            self.progress.arm_preparing(state.job.arm)
            state.begin_visit()
            state.gpu_id = self.watch.identity_of(state.gpu) if state.device == "gpu" else None
            self._measure_peaks(state)
            state.check_seed = self.check_seed
            answer = self.workers.ask(state, prepare(state, restart))
            if answer is not None:
                state.note_prepared(answer)
        before, after = self._watched_rounds(restart, live)
        for state in live:
            self._finish(restart, state)
        for state, earlier, reading in zip(live, before, after, strict=True):
            state.conditions.append(reading)
            shared = contended(reading, state.visit_disturbance, self.sweep.processors)
            state.warnings = joined(state.warnings, [*warnings_of(earlier, reading), *shared])
            if not state.failed:
                with interrupts.held():
                    state.end_visit()
            self.workers.ask_aside(state, wire.Release())
            self._record(state)
        self.cooling.seen(after, [state.gpu for state in live])

    def _watched_rounds(self, restart: int, live: Sequence[JobState]) -> tuple[list[Reading], list[Reading]]:
        """The rounds, with the machine before and after them, for each arm with its GPU; again if it slept meanwhile."""
        gpus = [state.gpu for state in live]
        before = self.watch.sample_with(gpus)
        self._rounds(restart, live)
        after = self.watch.sample_with(gpus)
        if after[0].slept_s:
            self.progress.note(f"the machine slept for {after[0].slept_s:.0f} s: this visit is measured again")
            for state in live:
                state.begin_visit()
            self._rounds(restart, live)
            after = self.watch.sample_with(gpus)
        for gap in set(self.watch.not_read) - self.told_of_gaps:
            self.progress.note(f"could not read this machine's {gap}")
            self.told_of_gaps.add(gap)
        return before, after

    def _finish(self, restart: int, state: JobState) -> None:
        call_ns = state.shortest_call_ns
        if call_ns is not None:
            best = self.peaks.best(state)
            unbound = self.protocol.cold_cache or state.unverified is not None
            roofs = Roofs() if unbound else best.at(state.bytes_moved, beyond=True)
            busy = contention(self.watch.sample(), self.sweep.processors) is not None
            answer = self.workers.ask(state, wire.Finish(restart == 0, call_ns, roofs, busy))
            if answer is not None:
                state.note_finished(answer)
                if answer.peaks is not None:
                    self._take_peaks(state, answer.peaks)
        if restart == 0 and self.protocol.energy_s > 0 and not state.failed:
            self._measure_energy(state)

    def _measure_energy(self, state: JobState) -> None:
        def work(seconds: float) -> int | None:
            answer = self.workers.ask_aside(state, wire.Work(seconds))
            return None if answer is None else answer.calls

        state.energy = self.meter.measure(state.device, work, state.gpu) or state.energy

    def _measure_peaks(self, state: JobState) -> None:
        """Measures the peak rates of the arm's library with this dtype, once a sweep. No result may exceed the best."""
        if not state.failed and not self.peaks.knows_others(state):
            self.peaks.note_others(state, self.kept_peaks.others(state))
        if self.peaks.has(state) or state.failed:
            return
        self.peaks.own.add(self.kept_peaks.file(state))
        if self.protocol.peaks == "cached" and (kept := self.kept_peaks.read(state)) is not None:
            self._tell_of_kept_peaks(kept)
            self.peaks.note(state, kept.rates)
            return
        rates = self.workers.ask_peaks(state)
        if rates is None:
            self.peaks.note(state, Rates())
        else:
            self._take_peaks(state, rates)

    def _measure_peaks_again(self, restart_s: float) -> None:
        """Measures each library's peak rates again, briefly, after a restart: the machine may have been busy before."""
        live = [state for state in self.states if not state.failed and state.job.arm in self.workers.alive]
        sources = self.peaks.sources(live)
        for state in sources:
            rates = self.workers.ask_peaks(state, within_s=AGAIN_PART * restart_s / len(sources))
            if rates is not None:
                self._take_peaks(state, rates)

    def _take_peaks(self, state: JobState, rates: Rates) -> None:
        if contention(self.watch.sample(), self.sweep.processors) is not None:
            rates = rates.doubted()
        self.kept_peaks.write(state, self.peaks.note(state, rates))

    def _tell_of_kept_peaks(self, kept: Kept) -> None:
        if not self.told_of_kept_peaks:
            self.told_of_kept_peaks = True
            self.progress.note(
                f"peak rates are those measured here on {kept.measured_at:%Y-%m-%d}; protocol.peaks=measure measures them again"
            )

    def _record_anew(self) -> None:
        """Writes the records again of all jobs of which more is known by now."""
        for state in self.states:
            if self._is_outdated(state):
                self._record(state)

    def _is_outdated(self, state: JobState) -> bool:
        """Whether a later cell or arm has raised the peaks of a job's record, or its restart is known to have drifted."""
        record = self.records.get(state.job.id)
        if record is None or record.status not in MEASURED:
            return False
        return record.canary_drift != state.canary_drift or (record.status == "ok" and self.peaks.raised(state))

    def _ask_canary(self, live: Sequence[JobState]) -> None:
        """Times the canary once on each device, in the first arm's worker there."""
        for device, state in {t.device: t for t in reversed(live) if not t.failed}.items():
            answer = self.workers.ask_aside(state, wire.TimeCanary())
            if answer is not None:
                # A worker that was restarted may have a canary of another size.
                self.canary.note(device, self.workers.alive[state.job.arm].pid, answer.call_ns)

    def _note_drift(self) -> None:
        """Marks the jobs of a restart in which the machine's own speed had a trend."""
        for device, drift in self.canary.drifts().items():
            for state in self.states:
                was_there = state.job.id in self.visited and state.latency_ns and not state.failed
                if state.device == device and was_there:
                    state.note_drift(drift, self.protocol.drift)

    def _rounds(self, restart: int, live: Sequence[JobState]) -> None:
        """Rounds of blocks until every arm is settled or the visit's budget is spent."""
        by_arm = {state.arm: state for state in live}
        cell = live[0].job.cell.id
        started = time.monotonic()
        for number in range(1, self.protocol.rounds + 1):
            running = [state.arm for state in live if not state.failed]
            if not running:
                return
            for arm in round_order(running, self.protocol.seed, cell, restart, number):
                state = by_arm[arm]
                latency = self.workers.ask(state, wire.TimeLatency())
                throughput = self.workers.ask(state, wire.TimeThroughput())
                if latency is not None and throughput is not None:
                    state.note_round(latency, throughput)
            self.deadline.check()
            self._ask_canary(live)
            medians = {t.arm: t.running_median_ns for t in live if not t.failed}
            self.progress.round_finished(
                number, self.protocol.rounds, {arm: value for arm, value in medians.items() if value is not None}
            )
            blocks = {t.arm: t.visit_blocks_ns for t in live if not t.failed}
            if number in self.protocol.looks and settled(blocks, self.protocol):
                return
            if time.monotonic() - started > self.protocol.visit_budget_s:
                return

    def _record(self, state: JobState) -> None:
        state.peaks = self.peaks.best(state)
        state.roofs_set_by = self.peaks.set_by(state, state.bytes_moved)
        record = self.records[state.job.id] = record_of(state, self.sweep)
        self.keeping.write(record, state.job.folder)
        self.progress.job_recorded(record)

    def _record_unfinished(self) -> None:
        """Records failures that were not written yet, then gives jobs without any record one that says `interrupted`, for at
        most INTERRUPTED_WRITING_S. A record that an earlier sweep left in the same folder stays."""
        deadline = time.monotonic() + INTERRUPTED_WRITING_S
        missed = [t for t in self.states if t.failed and self._recorded_status(t) != t.status]
        new = [t for t in self.states if not t.failed and self._recorded_status(t) is None]
        new = [state for state in new if not (self.folder / state.job.folder / FILE_NAME).exists()]
        for state in missed + new + [state for state in self.states if self._is_outdated(state)]:
            if time.monotonic() < deadline:
                self._record(state)

    def _begun_restarts(self, cell: Sequence[JobState]) -> int:
        return self.begun.restarts.get(cell[0].job.cell.id, 0)

    def _recorded_status(self, state: JobState) -> str | None:
        record = self.records.get(state.job.id)
        return None if record is None else record.status
