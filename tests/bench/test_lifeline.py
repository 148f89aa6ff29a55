"""A worker ends with its controller, whatever it is doing."""

import os
import subprocess
import sys

import psutil
import pytest

HUNG = """
import sys, time
from mtbench.bench.worker import lifeline
{before}
lifeline.hold(0)
print("ready", flush=True)
{call}
"""


@pytest.mark.parametrize(
    ("before", "call"),
    [
        ("pass", "time.sleep(600)"),
        ("pass", "exec('while True: pass')"),
        ("lifeline._told_by_linux = lambda: False; lifeline.LOOKS_S = 0.05", "exec('while True: pass')"),
    ],
    ids=["sleeps", "computes", "where the system only answers"],
)
def test_a_worker_in_a_call_that_hangs_ends_with_its_controller(before, call):
    program = HUNG.format(before=before, call=call)
    parent = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent, program], stdout=subprocess.PIPE, text=True) as controller:
        assert controller.stdout is not None
        worker = psutil.Process(int(controller.stdout.readline()))
        try:
            assert worker.is_running()
            controller.kill()
            controller.wait()
            assert psutil.wait_procs([worker], timeout=240)[1] == []
        finally:
            if worker.is_running():
                worker.kill()


def test_a_worker_whose_controller_is_gone_already_does_not_start():
    read, write = os.pipe()
    program = "from mtbench.bench.worker import lifeline; lifeline.hold(0); print('goes on')"
    os.close(write)
    ended = subprocess.run([sys.executable, "-c", program], stdin=read, capture_output=True, text=True, timeout=240)
    os.close(read)
    assert (ended.returncode, ended.stdout) == (1, "")
