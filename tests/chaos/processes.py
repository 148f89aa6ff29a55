"""Trials of real sweeps: killed, on disks that fail, and with operators that misbehave."""

import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from trials import BRIEF, Run, Tally, states

from mtbench.results import record as records

SWEEP = ("operator=softmax", "framework=numpy", *BRIEF)
FORTY = (*SWEEP, "shape.seq_len=" + ",".join(map(str, range(1, 41))), "hydra.sweep.dir=out", "-m")
SIX = (*SWEEP, "shape.seq_len=1,2,3,4,5,6", "hydra.sweep.dir=out", "-m")

ENDINGS = ("controller -9", "Ctrl-C", "Ctrl-C twice", "SIGTERM", "SIGHUP")
PASSING = ("worker -9", "worker stopped", "controller stopped")
KILLS = (*ENDINGS, "worker -9")

BEGINNING = 0.2
"""The part of the kills of a controller that come while it starts."""


# kills


def kills(count: int, rng: random.Random, folder: Path) -> Tally:
    """So many kills at random moments of a sweep of forty jobs; it is resumed until it is whole, and then begun anew."""
    tally = Tally("kills")
    sweep = 0
    while tally.tried < count:
        home = folder / f"sweep{sweep}"
        home.mkdir(parents=True)
        command = FORTY
        while tally.tried < count:
            before = states(home / "out") if (home / "out").exists() else {}
            finished = _one_life(command, rng, home, before, tally)
            command = ("resume", "out") if (home / "out" / "plan.json").exists() else FORTY
            if finished:
                break
        sweep += 1
    return tally


def _one_life(
    command: tuple[str, ...], rng: random.Random, home: Path, before: dict[Path, tuple[int, str]], tally: Tally
) -> bool:
    """A run of a sweep in which workers are killed and all is stopped now and then, until it is ended: while it starts, or
    after some of its cells. Whether it came to its end before that: with exit code 1 where a killed worker cost a job."""
    run = Run(*command, cwd=home)
    done: list[str] = []
    if rng.random() < BEGINNING:
        time.sleep(rng.uniform(0, 2))
    else:
        wanted = _count(home / "out") + rng.randrange(6)
        run.until(lambda: bool(run.workers()) and _count(home / "out") >= wanted)
        for _ in range(rng.randrange(6)):
            done += _passing(run, rng)
            time.sleep(rng.uniform(0, 0.3))
    ending = rng.choice(ENDINGS)
    alive = run.process.poll() is None
    if ending == "controller -9":
        run.kill(signal.SIGKILL)
    else:
        number = {"SIGTERM": signal.SIGTERM, "SIGHUP": signal.SIGHUP}.get(ending, signal.SIGINT)
        for _ in range(1 if ending == "Ctrl-C" else 3):
            run.kill(number)
            time.sleep(0.05)
    code, _, faults = run.ended()
    faults += _records_broken(home, before)
    for what in [*done, ending if alive else "was over"]:
        (tally.note if what in KILLS else tally.note_beside)(what)
    tally.blame(*faults)
    return not alive and code in (0, 1)


def _passing(run: Run, rng: random.Random) -> list[str]:
    """Something that a sweep survives, if it could be done."""
    what = rng.choice(PASSING)
    workers = run.workers()
    if run.process.poll() is not None or not workers:
        return []
    with suppress(psutil.Error, ProcessLookupError):
        if what == "worker -9":
            rng.choice(workers).kill()
        else:
            stopped = rng.choice(workers) if what == "worker stopped" else psutil.Process(run.process.pid)
            stopped.suspend()
            time.sleep(rng.uniform(0, 0.3))
            stopped.resume()
        return [what]
    return []


def _records_broken(home: Path, before: dict[Path, tuple[int, str]]) -> list[str]:
    """Which records are torn, or were there as `ok` before and are not, or were measured again."""
    after = states(home / "out") if (home / "out").exists() else {}
    torn = [path for path, (_, status) in after.items() if status == "torn"]
    whole = {path: state for path, state in before.items() if state[1] == "ok"}
    lost = [path for path in whole if path not in after]
    again = [path for path, state in whole.items() if path in after and after[path] != state]
    left = list((home / "out").rglob("*.partial")) if (home / "out").exists() else []
    return [
        f"{len(found)} records {what}"
        for found, what in ((torn, "are torn"), (lost, "are lost"), (again, "were measured again"))
        if found
    ] + ([f"{len(left)} files half written"] if len(left) > 1 else [])


def forty(rng: random.Random, folder: Path, kills: int = 10) -> Tally:
    """Kill -9 of the controller in a sweep of forty jobs, again and again, each followed by `resume`: all are `ok` in the end,
    and none was measured twice."""
    tally = Tally("kill -9 and resume, forty jobs")
    folder.mkdir(parents=True)
    kept: dict[Path, tuple[int, str]] = {}
    command = FORTY
    for life in range(kills + 1):
        run = Run(*command, cwd=folder)
        wanted = min(len(kept) + rng.randint(1, 4), 40) if life < kills else 41
        run.until(lambda wanted=wanted: _count(folder / "out") >= wanted)  # type: ignore[misc]
        if life < kills:
            time.sleep(rng.uniform(0, 0.3))
            run.kill(signal.SIGKILL)
        code, _, faults = run.ended()
        now = states(folder / "out")
        again = [path for path, state in kept.items() if now.get(path) != state]
        faults += [f"{len(again)} records were lost or measured again in life {life}"] if again else []
        kept = {path: state for path, state in now.items() if state[1] == "ok"}
        print(f"life {life}: exit {code}, {len(kept)} of 40 ok, {len(again)} of the earlier ones changed", flush=True)
        tally.note("killed" if code == -signal.SIGKILL else f"exit {code}", *faults)
        command = ("resume", "out")
    if len(kept) != 40:
        frame, _ = records.read(records.find([folder / "out"]))
        others = [f"{record.status}: {record.reason}" for record in records.of_rows(frame) if record.status != "ok"]
        tally.blame(f"{len(kept)} of 40 are ok; {others}")
    return tally


def sharpen(cells: int, rng: random.Random, folder: Path) -> Tally:
    """A sweep of three restarts, sharpened to six: those that were there stay as they are, and intervals get narrower."""
    tally = Tally("sharpened from 3 to 6 restarts, intervals")
    folder.mkdir(parents=True)
    lengths = ",".join(str(rng.randrange(8, 4096)) for _ in range(cells))
    arguments = (
        *SWEEP,
        "protocol.restarts=3",
        "protocol.looks=[8]",
        f"shape.seq_len={lengths}",
        "hydra.sweep.dir=out",
        "-m",
    )
    found = []
    for command in (arguments, ("resume", "out", "protocol.restarts=6")):
        code, said, faults = Run(*command, cwd=folder).ended()
        tally.blame(*faults, *([f"exit {code}: {said[-200:]!r}"] if code else []))
        frame, _ = records.read(records.find([folder / "out"]))
        found.append({record.job_id: record for record in records.of_rows(frame)})
    narrowed = []
    for job, before in found[0].items():
        after = found[1][job]
        if after.latency_samples_ns[:3] != before.latency_samples_ns or (after.status, after.restarts) != ("ok", 6):
            tally.blame(f"{job}: {after.status}, {after.restarts} restarts")
        widths = [(one.latency_high_ns or 0.0) / (one.latency_low_ns or 1.0) - 1 for one in (before, after)]
        narrowed.append(widths[1] / widths[0] if widths[0] else 1.0)
        tally.note("narrower" if widths[1] < widths[0] else "not narrower")
    print(
        f"widths after sharpening, of those before: {', '.join(f'{one:.2f}' for one in sorted(narrowed))}", flush=True
    )
    return tally


def _count(folder: Path) -> int:
    return len(list(folder.rglob("record.parquet")))


# disks, folders and streams

LIMITS = (0, 512, 4096, 20_000)


@dataclass(frozen=True)
class Place:
    """Where a sweep runs, and how. `codes` are those that it may end with; `meanwhile` happens as soon as it measures."""

    arguments: tuple[str, ...] = SIX
    environment: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    meanwhile: Callable[[], None] | None = None
    codes: tuple[int, ...] = (0, 1, 2)


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


def can_mount(folder: Path) -> bool:
    try:
        with _mounted(folder, "size=64k"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def _limited(kind: int, amount: int) -> dict[str, Any]:
    return {"preexec_fn": lambda: resource.setrlimit(kind, (amount, amount))}


def disk_faults(
    rng: random.Random, home: Path, stack: ExitStack, mounts: bool
) -> list[tuple[str, Callable[[], Place]]]:
    """Each kind of fault, and how it is brought about in an empty folder."""
    out = home / "out"

    def mount(options: str, where: Path = out) -> Place:
        stack.enter_context(_mounted(where, options))
        return Place()

    def remounted() -> Place:
        stack.enter_context(_mounted(out, "size=10m"))
        again = ["mount", "-o", "remount,ro", str(out)]
        return Place(meanwhile=lambda: void(subprocess.run(again, check=False, capture_output=True)))

    def fifo(name: str) -> Place:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(out / name)
        return Place()

    def in_the_way(name: str, as_folder: bool) -> Place:
        place = (out / name) if name else out
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir() if as_folder else place.write_text("in the way")
        return Place()

    def vanishing(what: Path) -> Place:
        return Place(meanwhile=lambda: shutil.rmtree(what, ignore_errors=True))

    def piped() -> Place:
        reading, writing = os.pipe()
        stack.callback(lambda: void(os.close(writing)))
        stack.callback(lambda: void(os.close(reading)))
        return Place(options={"stdout": writing}, meanwhile=lambda: void(os.close(os.dup(reading))))

    def head() -> Place:
        reader = subprocess.Popen(["head", "-n", "1"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        stack.callback(lambda: void(reader.kill(), reader.wait()))
        return Place(options={"stdout": reader.stdin}, codes=(0,))

    def to(file: str, stream: str, codes: tuple[int, ...] = (0,)) -> Place:
        return Place(options={stream: stack.enter_context(Path(file).open("wb"))}, codes=codes)

    def closed(*descriptors: int) -> Place:
        def close() -> None:
            for descriptor in descriptors:
                os.close(descriptor)

        return Place(options={"preexec_fn": close}, codes=(0,))

    def cache(spoil: Callable[[Path], None]) -> Place:
        place = home / "spoilt-cache"
        spoil(place)
        return Place(environment={"XDG_CACHE_HOME": str(place)}, codes=(0,))

    def deep(place: Path) -> None:
        (place / "mtbench" / "peaks").mkdir(parents=True)
        for source in (home.parent / "cache" / "mtbench" / "peaks").glob("*.json"):
            (place / "mtbench" / "peaks" / source.name).write_text(rng.choice(["[" * 100_000, "", "{}", "\x00", "3"]))

    def at_the_start(folder: str) -> Place:
        return Place((*SIX[:-2], f"hydra.sweep.dir={folder}", "-m"))

    kinds: list[tuple[str, Callable[[], Place]]] = [
        ("a limit on the size of files", lambda: Place(options=_limited(resource.RLIMIT_FSIZE, rng.choice(LIMITS)))),
        ("few descriptors", lambda: Place(options=_limited(resource.RLIMIT_NOFILE, rng.choice([12, 20, 32])))),
        ("a file where the folder should be", lambda: in_the_way("", False)),
        ("a folder where a record should be", lambda: in_the_way(f"softmax/numpy/float32/{rng.randint(1, 6)}", True)),
        ("a file where a job's folder should be", lambda: in_the_way("softmax", False)),
        ("a folder where multirun.yaml should be", lambda: in_the_way("multirun.yaml", True)),
        ("a folder where the plan should be", lambda: in_the_way("plan.json", True)),
        ("a broken plan", lambda: in_the_way("plan.json", False)),
        ("a FIFO as multirun.yaml", lambda: fifo("multirun.yaml")),
        ("a FIFO as the plan", lambda: fifo("plan.json")),
        ("a FIFO as timing.json", lambda: fifo("timing.json")),
        ("a FIFO as the lock", lambda: fifo("running.lock")),
        ("the folder vanishes", lambda: vanishing(out)),
        ("the working folder vanishes", lambda: vanishing(home)),
        ("the reader goes away at once", head),
        ("the reader is slow", piped),
        ("stdout is full", lambda: to("/dev/full", "stdout")),
        ("stderr is full", lambda: to("/dev/full", "stderr")),
        ("stdin is closed", lambda: closed(0)),
        ("stdout is closed", lambda: closed(1)),
        ("all streams are closed", lambda: closed(0, 1, 2)),
        ("the cache is a file", lambda: cache(lambda place: void(place.write_text("x")))),
        ("the cache is broken", lambda: cache(deep)),
        ("no home", lambda: Place(environment={"HOME": rng.choice(["/", "/nowhere", "", "relative"])}, codes=(0,))),
        ("no folder for temporary files", lambda: Place(environment={"TMPDIR": "/nowhere"}, codes=(0,))),
        ("a module of ours shadowed", lambda: shadowed(home, rng)),
        ("a folder that cannot be", lambda: at_the_start(rng.choice(["/proc/x", "/dev/null/x", "a" * 300, "/sys/x"]))),
        ("a folder whose name is a pattern", lambda: Place((*SIX[:-2], "hydra.sweep.dir='run[1]*?'", "-m"), codes=(0,))),
    ]  # fmt: skip
    if mounts:
        kinds += [
            ("a full disk", lambda: mount(f"size={rng.choice([4, 8, 16, 64, 128, 200, 300])}k")),
            ("no inodes", lambda: mount(f"size=10m,nr_inodes={rng.randint(2, 40)}")),
            ("a read-only disk", lambda: mount("size=10m,ro")),
            ("a disk that becomes read-only", remounted),
            ("temporary files on a full disk", lambda: full_temporary(home, stack)),
        ]
    return kinds


def full_temporary(home: Path, stack: ExitStack) -> Place:
    stack.enter_context(_mounted(home / "tmp", "size=4k"))
    return Place(environment={"TMPDIR": str(home / "tmp")}, codes=(0, 1))


def shadowed(home: Path, rng: random.Random) -> Place:
    (home / f"{rng.choice(['types', 'random', 'numpy', 'json', 'psutil'])}.py").write_text(
        "raise ImportError('not me')\n"
    )
    return Place(codes=(0, 1, 2))


def void(*_: Any) -> None:
    """Nothing, of whatever was done."""


def disks(count: int, rng: random.Random, folder: Path) -> Tally:
    """Faults of file system, folders and streams, each in a sweep of six jobs: nothing torn, no traceback, no hang."""
    tally = Tally("disks, folders, streams")
    mounts = can_mount(folder / "probe")
    for number in range(count):
        home = folder / f"place{number}"
        home.mkdir(parents=True)
        with ExitStack() as stack:
            kinds = disk_faults(rng, home, stack, mounts)
            what, bring_about = kinds[number % len(kinds)]
            place = bring_about()
            run = Run(*place.arguments, cwd=home, environment=place.environment, **place.options)
            if place.meanwhile is not None:
                run.until(lambda out=home / "out": _count(out) > 0)  # type: ignore[misc]
                place.meanwhile()
            code, said, faults = run.ended()
            if code not in place.codes:
                faults.append(f"exit code {code}, not {place.codes}: {said[-200:]!r}")
            with suppress(OSError):
                if any(status == "torn" for _, status in states(home).values()):
                    faults.append("a torn record")
            tally.note(f"exit {code}", *(f"{what}: {fault}" for fault in faults))
        shutil.rmtree(home, ignore_errors=True)
    return tally


# operators

GOOD = """\
import os, signal, subprocess, sys, threading, time
from dataclasses import dataclass
from mtbench.operators.base import Operator, array_bytes
{at_import}

@dataclass(frozen=True)
class Own(Operator):
    how: str = "well"

    def __post_init__(self):
        super().__post_init__()
        {at_post_init}

    def inputs(self, rng, shape):
        return {{"x": rng.standard_normal((shape.batch_size, shape.seq_len))}}

    def check(self, shape):
        {at_check}

    def flops(self, shape):
        {at_flops}
        return 1.0 * shape.batch_size * shape.seq_len

    def bytes_moved(self, shape, dtype):
        {at_bytes}
        return array_bytes({{"x": (shape.batch_size, shape.seq_len)}}, dtype) * 2

    def host_bytes(self, shape):
        {at_host_bytes}
        return 64.0

    def tokens(self, shape):
        {at_tokens}
        return 1

    counts_tokens = True

    def portable(self, xp, w, *inputs):
        return 2 * inputs[0]

    def numpy(self, w):
        def call(x):
            {at_call}
            return 2 * x
        return call
"""
DEEDS = (
    "raise ZeroDivisionError('mine')", "raise KeyboardInterrupt", "raise SystemExit(0)", "sys.exit(3)", "os._exit(0)",
    "raise RuntimeError('\\ud800 lone')", "raise MemoryError", "os.kill(os.getpid(), signal.SIGKILL)", "os.abort()",
    "return None", "return 'text'", "return float('nan')", "return float('inf')", "return -1", "return 10**400", "return [1]",
    "print('x' * 100_000)", "raise BaseException('base')", "raise RecursionError", "raise Exception('')", "time.sleep(3600)",
)  # fmt: skip
CALLS = (
    "[os.write(fd, b'garbage\\n') for fd in range(3, 12) if os.path.exists(f'/proc/self/fd/{fd}') and _pipe(fd)]",
    "[os.write(fd, b'{\"answer\": {\"samples_ns\": [1]}}\\n') for fd in range(3, 12) if _pipe(fd)]",
    "[os.write(fd, b'x' * 60000) for fd in range(3, 12) if _pipe(fd)]",
    "[os.close(fd) for fd in range(3, 12) if _pipe(fd)]",
    "subprocess.Popen(['sleep', '3600'], start_new_session=True)",
    "os.fork() or time.sleep(3600)",
    "threading.Thread(target=time.sleep, args=(3600,)).start()",
    "os.chdir('/')", "os.environ.clear()", "signal.alarm(1)", "[signal.signal(n, signal.SIG_IGN) for n in (2, 15, 1)]",
    "os.close(1)", "os.closerange(0, 3)", "sys.setrecursionlimit(60)", "sys.stdout.close()",
)  # fmt: skip
PIPE = "import stat\ndef _pipe(fd):\n    try: return stat.S_ISFIFO(os.fstat(fd).st_mode)\n    except OSError: return False\n"
PLACES_OF_DEEDS = (
    "at_import",
    "at_post_init",
    "at_check",
    "at_flops",
    "at_bytes",
    "at_host_bytes",
    "at_tokens",
    "at_call",
)
FILES = (
    b"\x00", b"def (:\n", b"", b"import nothing_of_that_name\n", b"\xff\xfe\x00", b"x = 1\n", b"class A: pass\n",
    b"from mtbench.operators.base import Operator\n", b"import numpy as np\nnp.nothing\n",
)  # fmt: skip
YAMLS = (b"\xff\xfe", b"name: [", b"\x00", b"name: own\nparams: 3\n", b"- a\n", b"name: null\n", b"name: ../../own\n")


def operators(count: int, rng: random.Random, folder: Path) -> Tally:
    """Operators that misbehave, each beside a good one, which is measured whatever the other does, or the sweep is refused in a
    line before it starts."""
    tally = Tally("misbehaving operators")
    cases: list[tuple[str, dict[str, str] | bytes, bytes]] = []
    for place in PLACES_OF_DEEDS:
        cases += [
            (f"{place[3:]}: {deed}", {place: deed}, b"") for deed in (*DEEDS, *(CALLS if place == "at_call" else ()))
        ]
    cases += [(f"a file {content[:20]!r}", content, b"") for content in FILES]
    cases += [(f"a YAML {content[:20]!r}", {}, content) for content in YAMLS]
    rng.shuffle(cases)
    for number, (what, deeds, yaml) in enumerate(cases[:count]):
        home = folder / f"operator{number}"
        (home / "mine" / "operator").mkdir(parents=True)
        own = home / "mine" / "operator" / "own"
        own.with_suffix(".yaml").write_bytes(yaml or b"name: own\nparams: {how: well}\n")
        filled = dict.fromkeys(PLACES_OF_DEEDS, "pass") | (deeds if isinstance(deeds, dict) else {})
        if filled["at_import"].startswith("return"):
            filled["at_import"] = "x = " + filled["at_import"].removeprefix("return ")
        own.with_suffix(".py").write_bytes(
            deeds
            if isinstance(deeds, bytes)
            else GOOD.format(**filled | {"at_import": PIPE + filled["at_import"]}).encode()
        )
        run = Run(
            "--config-dir", "mine", "operator=own,softmax", "framework=numpy", *BRIEF, "protocol.timeout_s=20",
            "shape.seq_len=8", "hydra.sweep.dir=out", "-m", cwd=home,
        )  # fmt: skip
        code, said, faults = run.ended()
        found = {path.parts[-5]: status for path, (_, status) in states(home / "out").items()} if code != 2 else {}
        if code == 2 and said.strip().count("\n") > 0:
            faults.append(f"more than a line: {said[:200]!r}")
        if code != 2 and found.get("softmax") != "ok":
            faults.append(f"its neighbour is {found.get('softmax')}; exit {code}")
        tally.note(
            "refused at once" if code == 2 else found.get("own", "nothing"), *(f"{what}: {fault}" for fault in faults)
        )
        shutil.rmtree(home, ignore_errors=True)
    return tally
