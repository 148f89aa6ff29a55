"""Trials for which no process is needed: messages, settings and command lines, and records, each through the real reader."""

import json
import math
import os
import random
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields
from io import BytesIO, StringIO
from pathlib import Path

import polars as pl
from hydra.core.global_hydra import GlobalHydra
from trials import Tally

from mtbench.bench import wire
from mtbench.bench.channel import Channel, Closed, Garbled, TimedOut
from mtbench.bench.rates import Rates
from mtbench.errors import ConfigError
from mtbench.launch import app
from mtbench.launch.compose import plan_of
from mtbench.plain import to_plain
from mtbench.plan.accuracy import Errors
from mtbench.plan.jobs import Plan
from mtbench.plan.protocol import Protocol
from mtbench.results import record as records

# messages

ANSWERS = (
    (wire.TimeLatency(), wire.LatencyBlock([1200, 1180, 1210])),
    (wire.TimeThroughput(), wire.ThroughputBlock([1.5, 1.25])),
    (wire.TimeFloor(), wire.Floor(80.0)),
    (wire.TimeCanary(), wire.CallTime(5e4)),
    (wire.MeasurePeaks("float32"), Rates(1e12, {64: 1e9})),
    (wire.AskMemory(), wire.FreeMemory(1 << 30, None)),
    (wire.Release(), wire.Done()),
    (wire.TimeLatency(), wire.Refused("mismatch", "wrong by far", Errors(0.5, 1.0, 2.0))),
)
STRANGE = (None, True, -1, 10**40, -(10**40), 1e308, "", "ok", "\ud800", [], {}, [[]], [None], {"a": 1}, "x" * 5000)


def _damaged(line: bytes, rng: random.Random) -> bytes:
    """A message after something happened to it."""
    kind = rng.randrange(7)
    if kind == 0:  # flipped bytes
        data = bytearray(line)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(data)
    if kind == 1:  # cut short
        return line[: rng.randrange(len(line))] + b"\n"
    if kind == 2:  # somebody else's output in it
        place = rng.randrange(len(line))
        return (
            line[:place]
            + rng.choice([b"warning: deprecated\n", b"\x00\xff\x1b[31m", b"NaN", b"[" * 50_000])
            + line[place:]
        )
    if kind == 3:  # noise
        return rng.randbytes(rng.randint(1, 3000)) + b"\n"
    message = json.loads(line)
    inside = message[next(iter(message))]
    if kind == 4 and isinstance(inside, dict) and inside:  # a value of another kind
        inside[rng.choice(list(inside))] = rng.choice(STRANGE)
    elif kind == 5 and isinstance(inside, dict) and inside:  # a field too few, or too many
        if rng.random() < 0.5:
            inside.pop(rng.choice(list(inside)))
        else:
            inside["strange"] = rng.choice(STRANGE)
    else:
        message = {rng.choice(["answer", "refused", "do"]): rng.choice(STRANGE)}
    return json.dumps(message).replace("1e+308", "1e999").encode() + b"\n"


def messages(count: int, rng: random.Random) -> Tally:
    """Corrupted answers of a worker: each is refused as garbled, or is a sound answer of the right type."""
    tally = Tally("corrupted messages")
    for _ in range(count):
        request, answer = rng.choice(ANSWERS)
        whole = json.dumps({"refused" if isinstance(answer, wire.Refused) else "answer": to_plain(answer)}).encode()
        line = _damaged(whole, rng)
        reading, writing = os.pipe()
        unused, ours = os.pipe()
        channel = Channel(reading, ours)
        os.write(writing, line[:60_000])
        os.close(writing)
        try:
            got = channel.read_answer(request, 5)
        except (Garbled, Closed, TimedOut) as error:
            tally.note(type(error).__name__.lower())
        except BaseException as error:
            tally.note("fault", f"{type(error).__name__} for {line[:80]!r}")
        else:
            lies = _lies(got)
            tally.note("accepted as whole", *([f"{lies} from {line[:80]!r}"] if lies else []))
        channel.close()
        os.close(unused)
    return tally


def _lies(answer: object) -> str | None:
    if isinstance(answer, wire.LatencyBlock | wire.ThroughputBlock):
        times = answer.samples_ns if isinstance(answer, wire.LatencyBlock) else answer.parts_ns
        if not times or min(times) < 0 or max(times) > 1 << 63:
            return f"times that cannot be: {times[:3]}"
    numbers = [value for value in vars(answer).values() if isinstance(value, int | float)]
    return None if all(math.isfinite(value) and abs(value) < 1 << 63 for value in numbers) else "a number too large"


# settings and command lines

EXTREMES = (
    "nan", "inf", "-inf", "-1", "0", "1e300", "-1e300", "1e-300", "1e20", "100000000000000000000", "9223372036854775808",
    "-9223372036854775809", "", "null", "true", "x", "[]", "[1,inf]", "{a:1}",
)  # fmt: skip
SETTINGS = (
    *(f"protocol.{each.name}" for each in fields(Protocol)), "shape.batch_size", "shape.seq_len", "dtype.tolerance",
    "framework.threads", "operator.params.dim", "operator.tolerance.float32", "dtype.norm_tolerance",
)  # fmt: skip
PLACES = (
    "softmax",
    "linear",
    "no_such",
    "${x}",
    "\x00",
    "a" * 5000,
    "../../x",
    "größe",
    "'",
    '"',
    "[",
    "}",
    ",",
    "=",
    "1",
    "",
)
KEYS = (
    "operator", "framework", "dtype", "shape", "model", "device", "sweep", "+experiment", "protocol", "contenders", "nothing",
    "+nothing", "++nothing.a", "~protocol", "~nothing", "hydra.sweep.dir", "hydra.run.dir", "hydra.sweep.subdir", "hydra.mode",
    "hydra.sweeper.params", "hydra.sweeper.grids", "hydra.job.name", "hydra.searchpath", "hydra/launcher", "hydra/sweeper",
    "operator.name", "operator.variant", "framework.name", "framework.python", "framework.requirement", "framework.env.A",
    "framework.settings.a", "framework.compile.mode", "operator.params.embed_dim", "matmul_precision", "device.name", "+", "~",
    "operator@x", "shape@y.z", "hydra.output_subdir", "hydra.callbacks", "hydra", "--cfg", "--config-dir", "-m", "--resolve",
)  # fmt: skip
VALUES = (
    *EXTREMES, *PLACES, "softmax,linear", "glob(*)", "choice(a,b)", "range(1,5,0)", "range(1,3)", "sort(3,1)", "shuffle(1,2)",
    "interval(0,1)", "tag(a,b)", "float32,float16", "numpy", "none", "${oc.env:HOME}", "${hydra:}", "${shape.seq_len}", "~/x",
    "int(3.5)", "cast(x)", "\ud800", "numpy,torch", "16,32", "quick", "[framework]", "[framework,shape.seq_len]", "[dtype]",
)  # fmt: skip


def _asked(call: Callable[[], object]) -> tuple[str, str | None]:
    """How a command line is answered, and what is wrong with that."""
    GlobalHydra.instance().clear()
    os.environ.pop("HYDRA_FULL_ERROR", None)
    out, err = StringIO(), StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            call()
    except ConfigError as error:
        said = str(error)
    except SystemExit as error:
        if error.code in (0, None):
            return "accepted", None
        said = err.getvalue().rstrip("\n")
        if error.code != 2:
            return "fault", f"exit code {error.code}"
    except BaseException as error:
        return "fault", f"{type(error).__name__}: {str(error)[:100]!r}"
    else:
        return "accepted", None
    lines = said.count("\n") + 1
    return "refused in a line", None if lines == 1 and said else f"{lines} lines: {said[:100]!r}"


def settings(count: int, rng: random.Random) -> Tally:
    """Extreme values of each setting: refused in a line, or a plan that is the same when it was written and read."""
    tally = Tally("extreme settings")
    pairs = [(setting, value) for setting in SETTINGS for value in EXTREMES]
    for setting, value in rng.sample(pairs, min(count, len(pairs))):

        def call(setting: str = setting, value: str = value) -> None:
            plan = plan_of(
                ["operator=softmax", "framework=numpy", "shape.seq_len=4", "sweep=none", f"{setting}={value}"]
            )
            if Plan.from_json(plan.to_json()) != plan:
                raise AssertionError("the plan is another one when it is read")
            for job in plan.jobs:
                sizes = (job.task.shape.batch_size, job.task.shape.seq_len)
                assert max(sizes) < 1 << 63
                assert math.isfinite(job.task.problem.bytes_moved(job.task.shape, job.task.dtype))

        outcome, fault = _asked(call)
        tally.note(outcome, *([f"{setting}={value}: {fault}"] if fault else []))
    return tally


def command_lines(count: int, rng: random.Random) -> Tally:
    """Command lines of random settings: an answer, or one line that says what is wrong."""
    tally = Tally("command lines")
    for _ in range(count):
        line = []
        for _ in range(rng.randint(1, 3)):
            key, value = rng.choice(KEYS), rng.choice(VALUES)
            line.append(key if key in ("-m", "--resolve") else f"{key}={value}" if rng.random() < 0.97 else value)
        if rng.random() < 0.5:
            outcome, fault = _asked(lambda line=line: app.main([*line, "--cfg", "job"]))  # type: ignore[misc]
        else:
            outcome, fault = _asked(lambda line=line: _few(line))  # type: ignore[misc]
        tally.note(outcome, *([f"{[part[:60] for part in line]}: {fault}"] if fault else []))
    return tally


def _few(line: list[str]) -> None:
    plan_of([argument for argument in line if not argument.startswith("-")])


# records


def bad_records(count: int, rng: random.Random, folder: Path) -> Tally:
    """Damaged and alien records, each beside a good one, which must not be lost. `folder` holds a good sweep."""
    tally = Tally("bad records")
    good = sorted(folder.rglob(records.FILE_NAME))
    whole = good[0].read_bytes()
    frame = pl.read_parquet(BytesIO(whole))
    bad = folder.parent / "bad" / records.FILE_NAME
    bad.parent.mkdir(exist_ok=True)
    for _ in range(count):
        what, content = _spoilt(whole, frame, rng)
        bad.write_bytes(content)
        try:
            read, problems = records.read([*good, bad])
        except BaseException as error:
            tally.note("fault", f"{what}: {type(error).__name__}: {str(error)[:80]}")
            continue
        lost = [path for path in good if str(path) not in read["path"].to_list()]
        faults = [f"{what}: {len(lost)} good ones are lost"] if lost else []
        if str(bad) in read["path"].to_list():
            try:
                records.of_rows(read)
            except BaseException as error:
                faults.append(f"{what}: was let through as {type(error).__name__}: {str(error)[:80]}")
            tally.note("read", *faults)
        else:
            if not any(str(bad) in problem for problem in problems):
                faults.append(f"{what}: left out without a word")
            tally.note("left out by name", *faults)
    bad.unlink()
    return tally


def _spoilt(whole: bytes, frame: pl.DataFrame, rng: random.Random) -> tuple[str, bytes]:
    kind = rng.randrange(6)
    if kind == 0:
        data = bytearray(whole)
        for _ in range(rng.choice([1, 1, 1, 8, 64])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return "flipped bits", bytes(data)
    if kind == 1:
        return "cut short", whole[: rng.randrange(len(whole))]
    if kind == 2:
        return "noise", rng.randbytes(rng.randint(0, 4000))
    name = rng.choice(frame.columns)
    if kind == 3:
        spoilt, what = frame.drop(name), f"without {name}"
    elif kind == 4:
        spoilt, what = frame.with_columns(pl.lit(None, dtype=frame.schema[name]).alias(name)), f"{name} null"
    else:
        value = rng.choice(
            [math.nan, math.inf, -1.0, 1e308, "weird", "", "{", "[" * 3000, "</script>", "\u2028", "x" * 10**6]
        )
        spoilt, what = frame.with_columns(pl.lit(value).alias(name)), f"{name}={str(value)[:20]!r}"
    content = BytesIO()
    spoilt.write_parquet(content)
    return what, content.getvalue()
