"""The controller: takes jobs, has workers measure them cell by cell, interleaved, epoch by epoch, and writes records.

After the first epoch every job has a result, which later epochs sharpen. Whatever goes wrong in a worker costs the jobs
that it was to measure, and nothing else.
"""

import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

from mtbench import machine
from mtbench.bench import memory
from mtbench.bench.crew import Crew
from mtbench.bench.energy import Meter
from mtbench.bench.gauges import Canary
from mtbench.bench.peaks import Kept, Peaks, Store
from mtbench.bench.progress import Plan, Progress
from mtbench.bench.protocol import Protocol, round_order, settled
from mtbench.bench.rates import Rates
from mtbench.bench.tally import Sweep, Tally
from mtbench.bench.wire import Message
from mtbench.job import Arm, Job
from mtbench.machine.watch import Watch
from mtbench.record import FILE_NAME, Record, write

INTERRUPTED_WRITING_S = 1.0
COOLDOWN_STEP_S = 5.0


def measure(
    jobs: Sequence[Job], protocol: Protocol, folder: Path, progress: Progress | None = None
) -> tuple[list[Record], bool]:
    """Measures jobs; their records are written into their folders as they come.

    Returns the last record of each job, and whether the user interrupted. `folder` is the sweep's, for messages only.
    """
    description = machine.describe()
    cache_bytes = max(description.get("last_level_cache_bytes") or 0, protocol.cold_cache_bytes)
    protocol = replace(protocol, cold_cache_bytes=cache_bytes)
    sweep = Sweep(uuid.uuid4().hex[:12], protocol, machine.identity(description), description)
    with Watch() as watch:
        return Controller(jobs, sweep, progress or Progress(), watch).run(folder)


class Controller:
    """One sweep."""

    def __init__(self, jobs: Sequence[Job], sweep: Sweep, progress: Progress, watch: Watch) -> None:
        self.sweep = sweep
        self.watch = watch
        self.protocol = sweep.protocol
        self.progress = progress
        self.tallies = [Tally(job) for job in jobs]
        self.crew = Crew(self.tallies, self.protocol, progress, self._record)
        self.records: dict[str, Record] = {}
        self.peaks = Peaks()
        self.kept_peaks = Store(sweep.machine_id, self.protocol.cpus)
        self.told_of_kept_peaks = False
        self.canary = Canary()
        self.meter = Meter(self.protocol.energy_s)
        self.thermal_flag: str | None = None  # of the last visit's rounds

    def run(self, folder: Path) -> tuple[list[Record], bool]:
        arms = list(dict.fromkeys(tally.job.arm for tally in self.tallies))
        cells = _by_cell(self.tallies)
        self.progress.sweep_started(Plan(len(cells), arms, len(self.tallies), self.protocol.epochs, folder))
        interrupted = False
        try:
            for epoch in range(self.protocol.epochs):
                self._run_epoch(epoch, arms, cells)
        except KeyboardInterrupt:
            interrupted = True
            self.crew.end()
            self._record_unfinished()
        finally:
            self.crew.end()
            self.meter.close()
        records = [self.records[tally.job.id] for tally in self.tallies if tally.job.id in self.records]
        self.progress.sweep_finished(records, interrupted)
        return records, interrupted

    def _run_epoch(self, epoch: int, arms: Sequence[Arm], cells: Sequence[Sequence[Tally]]) -> None:
        wanted = [arm for arm in arms if any(t.job.arm == arm and not t.failed for t in self.tallies)]
        if not wanted:
            return
        self.progress.epoch_started(epoch)
        self.crew.start(wanted)
        if epoch == 0 and self.protocol.energy_s > 0:
            for device in {tally.device for tally in self.tallies if not tally.failed}:
                self.meter.prepare(device)
        self.canary.clear()
        for cell in cells:
            started = time.monotonic()
            self._visit(epoch, cell)
            self._cool_down(time.monotonic() - started)
        self.crew.end()
        self._note_drift()
        self._note_peaks()

    def _visit(self, epoch: int, tallies: Sequence[Tally]) -> None:
        """Measures a cell's arms against each other, once; one by one where they would not fit in memory together."""
        cell = tallies[0].job.cell
        live = [tally for tally in tallies if not tally.failed]
        if not live:
            return
        self.progress.cell_started(cell, [tally.job.arm for tally in live])
        self.crew.start_missing(live)
        groups = self._groups([tally for tally in live if not tally.failed])
        for group in groups:
            for tally in group:
                tally.facts["paired"] = tally.facts.get("paired", True) and len(groups) == 1
            self._measure_together(epoch, group)
        self.progress.cell_finished(cell)

    def _groups(self, live: Sequence[Tally]) -> list[list[Tally]]:
        """The arms that are measured together: all of them, or each alone. One that would not fit even alone is `oom`,
        before it takes the machine into swap."""
        if not live:
            return []
        cell = live[0].job.cell
        needed = memory.needed_bytes(cell.problem, cell.shape, cell.dtype)
        fits = []
        for tally in live:
            free = self._free_bytes(tally)
            limit = self.protocol.memory_fraction * free.device
            if needed.device > limit or needed.host > self.protocol.memory_fraction * free.host:
                tally.fail("oom", needed.compared_with(free))
                self._record(tally)
            else:
                fits.append((tally, limit))
        together = len(fits) * needed.device
        if all(together <= limit for _, limit in fits):
            return [[tally for tally, _ in fits]] if fits else []
        return [[tally] for tally, _ in fits]

    def _free_bytes(self, tally: Tally) -> memory.Free:
        answer = self.crew.ask_aside(tally, "memory") if tally.device == "gpu" else None
        return memory.free(None if answer is None else answer["free_bytes"])

    def _measure_together(self, epoch: int, live: Sequence[Tally]) -> None:
        for tally in live:
            self.progress.arm_preparing(tally.job.arm)
            tally.begin_visit()
            self._measure_peaks(tally)
            self.crew.ask(tally, "prepare", **_prepare_fields(tally.job))
        self.watch.sample()
        self._rounds(epoch, live)
        reading = self.watch.sample()
        self.thermal_flag = reading.thermal_flag
        for tally in live:
            self._finish(epoch, tally)
        for tally in live:
            tally.conditions.append(reading)
            if not tally.failed:
                tally.end_visit()
            self.crew.ask_aside(tally, "release")
            self._record(tally)

    def _finish(self, epoch: int, tally: Tally) -> None:
        call_ns = tally.shortest_call_ns
        if call_ns is not None:
            roofs = self.peaks.best(tally).at(tally.facts["bytes_moved"]) if not self.protocol.cold_cache else {}
            answer = self.crew.ask(tally, "finish", thorough=epoch == 0, call_ns=call_ns, peaks=roofs)
            if answer is not None and answer["peaks"] is not None:
                self._take_peaks(tally, Rates.from_json(answer["peaks"]))
        if epoch == 0 and self.protocol.energy_s > 0 and not tally.failed:
            self._measure_energy(tally)

    def _measure_energy(self, tally: Tally) -> None:
        def work(seconds: float) -> int | None:
            answer = self.crew.ask_aside(tally, "work", seconds=seconds)
            return None if answer is None else int(answer["calls"])

        energy = self.meter.measure(tally.device, work)
        if energy is not None:
            tally.note_energy(energy)

    def _measure_peaks(self, tally: Tally) -> None:
        """What this arm's library can reach with this dtype, once a sweep: no result may exceed the best of the arms."""
        if self.peaks.has(tally) or tally.failed:
            return
        if self.protocol.peaks == "cached" and (kept := self.kept_peaks.read(tally)) is not None:
            self._tell_of_kept_peaks(kept)
            self.peaks.note(tally, kept.rates)
            return
        answer = self.crew.ask_peaks(tally)
        if answer is None:
            self.peaks.note(tally, Rates())
        else:
            self._take_peaks(tally, Rates.from_json(answer))

    def _take_peaks(self, tally: Tally, rates: Rates) -> None:
        self.kept_peaks.write(tally, self.peaks.note(tally, rates))

    def _tell_of_kept_peaks(self, kept: Kept) -> None:
        if not self.told_of_kept_peaks:
            self.told_of_kept_peaks = True
            self.progress.note(
                f"peak rates as measured here on {kept.measured_at:%Y-%m-%d}; protocol.peaks=measure measures them anew"
            )

    def _note_peaks(self) -> None:
        """Writes the records again whose peaks a later cell or arm has raised."""
        for tally in self.tallies:
            if self._has_old_peaks(tally):
                self._record(tally)

    def _has_old_peaks(self, tally: Tally) -> bool:
        return self._recorded_status(tally) == "ok" and tally.peaks != self.peaks.best(tally)

    def _ask_canary(self, live: Sequence[Tally]) -> None:
        """Times the canary once on each device, in the first arm's worker there."""
        for device, tally in {t.device: t for t in reversed(live) if not t.failed}.items():
            answer = self.crew.ask_aside(tally, "canary")
            if answer is not None:
                # A worker that was restarted may have a canary of another size.
                self.canary.note(device, self.crew.workers[tally.job.arm].pid, answer["call_ns"])

    def _note_drift(self) -> None:
        """Marks the records of an epoch in which the machine's own speed had a trend."""
        for device, drift in self.canary.drifts().items():
            for tally in self.tallies:
                if tally.device == device and tally.latency_ns and not tally.failed:
                    tally.note_drift(drift, self.protocol.drift)
                    self._record(tally)

    def _cool_down(self, worked_s: float) -> None:
        """Rests in proportion to the work, and after a thermal flag until it is gone or the cap is reached."""
        if self.protocol.cooldown_fraction > 0:
            time.sleep(self.protocol.cooldown_fraction * worked_s)
        started = time.monotonic()
        flag, self.thermal_flag = self.thermal_flag, None
        while flag and time.monotonic() - started < self.protocol.cooldown_cap_s:
            self.progress.warn(f"waiting for the machine to cool down: {flag}")
            time.sleep(COOLDOWN_STEP_S)
            flag = self.watch.sample().thermal_flag

    def _rounds(self, epoch: int, live: Sequence[Tally]) -> None:
        """Rounds of blocks until every arm is settled or the visit's budget is spent."""
        by_arm = {tally.arm: tally for tally in live}
        cell = live[0].job.cell.id
        started = time.monotonic()
        for number in range(1, self.protocol.rounds + 1):
            running = [tally.arm for tally in live if not tally.failed]
            if not running:
                return
            for arm in round_order(running, self.protocol.seed, cell, epoch, number):
                tally = by_arm[arm]
                latency = self.crew.ask(tally, "latency")
                throughput = self.crew.ask(tally, "throughput")
                if latency is not None and throughput is not None:
                    tally.visit_latency_ns.append(latency["samples_ns"])
                    tally.visit_throughput_ns.append(throughput["call_ns"])
            self._ask_canary(live)
            medians = {t.arm: t.running_median_ns for t in live if not t.failed}
            self.progress.round_finished(
                number, self.protocol.rounds, {arm: value for arm, value in medians.items() if value is not None}
            )
            if number in self.protocol.looks:
                blocks = {t.arm: _medians(t) for t in live if not t.failed}
                if settled(blocks, self.protocol):
                    return
            if time.monotonic() - started > self.protocol.visit_budget_s:
                return

    def _record(self, tally: Tally) -> None:
        tally.peaks = self.peaks.best(tally)
        record = tally.record(self.sweep)
        write(record, tally.job.folder)
        self.records[tally.job.id] = record
        self.progress.job_recorded(record)

    def _record_unfinished(self) -> None:
        """Records failures that were not written yet, then gives jobs without any record one that says `interrupted`, as
        far as the user's patience goes. A record that an earlier sweep left in the same folder stays."""
        deadline = time.monotonic() + INTERRUPTED_WRITING_S
        missed = [t for t in self.tallies if t.failed and self._recorded_status(t) != t.status]
        new = [t for t in self.tallies if not t.failed and self._recorded_status(t) is None]
        new = [tally for tally in new if not (tally.job.folder / FILE_NAME).exists()]
        for tally in missed + new + [tally for tally in self.tallies if self._has_old_peaks(tally)]:
            if time.monotonic() < deadline:
                self._record(tally)

    def _recorded_status(self, tally: Tally) -> str | None:
        record = self.records.get(tally.job.id)
        return None if record is None else record.status


def _by_cell(tallies: Sequence[Tally]) -> list[list[Tally]]:
    """The jobs that are measured against each other, in the order in which they were given."""
    cells: dict[str, list[Tally]] = {}
    for tally in tallies:
        cells.setdefault(tally.job.cell.id, []).append(tally)
    return list(cells.values())


def _medians(tally: Tally) -> list[float]:
    return [median(block) for block in tally.visit_latency_ns]


def _prepare_fields(job: Job) -> Message:
    cell = job.cell
    return {
        "operator": cell.operator,
        "file": cell.operator_file,
        "params": dict(cell.params),
        "variant": job.arm.variant,
        "dtype": cell.dtype,
        "shape": asdict(cell.shape),
        "tolerance": job.tolerance,
    }
