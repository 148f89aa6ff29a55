"""Signals, from the first line of the program on: one line, the code of a shell, and nothing lost however often they come."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hearing import hear_signals

LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks /proc when the program has taken over")


def takes_over(pid: int) -> None:
    """Waits until a process handles SIGTERM: before that it is Python that starts, and not yet us."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        if int(status["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.001)
    raise AssertionError("it never did")


@LINUX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("wait_s", [0.0, 0.3, 1.2])
def test_a_signal_while_it_starts_is_one_line_and_its_code(tmp_path, number, code, wait_s):
    shapes = ",".join(map(str, range(1, 4000)))  # composing takes longer than we wait
    process = subprocess.Popen(
        [sys.executable, "-m", "mtbench", "operator=softmax", f"shape.seq_len={shapes}", "hydra.sweep.dir=out", "-m"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_signals,
    )
    try:
        takes_over(process.pid)
        time.sleep(wait_s * random.Random(number).uniform(0.5, 1))
        for _ in range(5):
            process.send_signal(number)
        _, said = process.communicate(timeout=240)
    finally:
        process.kill()  # one that did not hear would go on measuring beside the other tests
    assert process.returncode == code
    assert said == "mtbench: interrupted\n"


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "import os, signal, time\nfrom mtbench import interrupts\n" + program],
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_a_signal_waits_for_the_end_of_what_must_not_be_interrupted():
    result = run(
        "interrupts.install()\n"
        "try:\n"
        "    with interrupts.held():\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        print('written')\n"
        "    print('went on')\n"
        "except KeyboardInterrupt:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('tidied', interrupts.exit_code())\n"
    )
    assert (result.stdout, result.stderr) == ("written\ntidied 143\n", "")


def test_a_signal_that_somebody_caught_is_noticed_and_an_impatient_one_ends_at_once():
    result = run(
        "interrupts.install()\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "except BaseException:\n"
        "    pass\n"
        "try:\n"
        "    interrupts.check()\n"
        "except KeyboardInterrupt:\n"
        "    print('noticed', flush=True)\n"
        "interrupts.IMPATIENT_S = 0\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "print('went on')\n"
    )
    assert (result.stdout, result.returncode) == ("noticed\n", 130)


def test_a_signal_while_a_text_is_executed_leaves_the_exit_code_to_us(tmp_path):
    """As where a dataclass is made: Python remembers a plain KeyboardInterrupt there, and ends a module by SIGINT for it."""
    (tmp_path / "executing.py").write_text(
        "import os, signal\n"
        "from mtbench import interrupts\n"
        "interrupts.install()\n"
        "try:\n"
        "    exec('os.kill(os.getpid(), signal.SIGINT)')\n"
        "except KeyboardInterrupt:\n"
        "    raise SystemExit(interrupts.exit_code())\n"
    )
    assert subprocess.run([sys.executable, "-m", "executing"], cwd=tmp_path, timeout=240).returncode == 130


def test_what_is_ignored_stays_ignored():
    result = run(
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "interrupts.install()\n"
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('goes on')\n"
    )
    assert (result.stdout, result.returncode) == ("goes on\n", 0)
