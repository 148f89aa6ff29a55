"""mtbench from end to end where everything says that this is macOS: describe, doctor, sweeps, an interrupt, a report."""

import json
import os
import signal
import sys
import time

import pytest

from mtbench.results import record as records

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pretends macOS on Linux")

BRIEF = (
    "protocol=quick", "protocol.restarts=1", "protocol.looks=[3]", "protocol.warmup_cap_s=0.5", "protocol.block_ms=2",
    "protocol.cooldown_cap_s=0", "sweep=none", "device=cpu", "dtype=float32",
)  # fmt: skip


def read(mac):
    frame, problems = records.read(records.find([mac.folder / "multirun"]))
    assert problems == []
    return frame


def test_the_machine_is_described_as_macos_says_it(mac):
    facts = json.loads(mac.python("import json; from mtbench.machine import describe; print(json.dumps(describe()))"))
    assert (facts["chip"], facts["model"]) == ("Apple M5", "Mac17,2")
    assert (facts["os"], facts["os_version"], facts["architecture"]) == ("macOS", "26.2", "arm64")
    assert (facts["cores"]["performance"], facts["cores"]["efficiency"]) == (4, 6)
    assert facts["gpus"] == [{"name": "Apple M5 GPU", "cores": 10}]
    assert facts["last_level_cache_bytes"] == 16 << 20
    assert facts["not_read"] == []


def test_memory_is_counted_as_macos_means_it(mac):
    printed = mac.python("from mtbench.bench.controller import memory; f = memory.free(None); print(f.host, f.shared)")
    assert printed.split() == [str(float(260000 * 16384)), "True"]


def test_the_doctor_examines_it(mac):
    mac.set(memory_pressure="4\n", thermal="2\n", pmset=" powermode 1\n", **{"xcode-select": "2\n"})
    mac.accelerator(load=63)
    found = json.loads(
        mac.python(
            "import json; from dataclasses import asdict; from mtbench.machine import doctor; "
            "print(json.dumps([asdict(finding) for finding in doctor.examine(seconds=0.01)]))"
        )
    )
    said = {finding["what"]: finding["severity"] for finding in found}
    warnings = " ".join(what for what, severity in said.items() if severity == "warning")
    for words in (
        "memory pressure 'critical'",
        "thermal pressure 'heavy'",
        "Low-power mode",
        "63 %",
        "no C++ compiler",
    ):
        assert words in warnings, words
    notes = " ".join(what for what, severity in said.items() if severity == "note")
    for words in ("NSProcessInfo cannot be asked", "TF32", "zeus-apple-silicon"):
        assert words in notes, words


def test_the_doctors_report_comes_out(mac):
    report = mac.run("doctor", "--report")
    assert report.returncode == 0, report.stderr
    assert "| chip | Apple M5 (Mac17,2) |" in report.stdout
    assert "| numpy | cpu |" in report.stdout
    assert str(mac.folder) not in report.stdout


def test_a_sweep_and_its_report(mac):
    mac.set(thermal="2\n")
    sweep = mac.run("operator=softmax", "framework=numpy,mlx", "shape.seq_len=16,32", *BRIEF, "-m")
    assert sweep.returncode == 0, sweep.stdout + sweep.stderr
    frame = read(mac)
    assert frame["status"].to_list() == ["ok"] * 4
    for row in frame.iter_rows(named=True):
        assert "measured under thermal pressure 'heavy'" in row["warnings"]
        (reading,) = json.loads(row["conditions"])
        assert (reading["thermal_pressure"], reading["memory_pressure"], reading["gpu_load"]) == (
            "heavy",
            "normal",
            0.03,
        )
        assert (reading["power_mode"], reading["low_power_mode"]) == ("automatic", False)
        assert json.loads(row["machine"])["os_version"] == "26.2"
    # its sensors' libraries are not here, which ends nothing and is said once
    assert (sweep.stdout + sweep.stderr).count("could not read this machine's sensors") == 1
    (kept_awake,) = [line for line in mac.asked() if line.startswith("caffeinate")]
    assert kept_awake.startswith("caffeinate -i -m -w ")
    assert not _runs(int((mac.state / "caffeinate.pid").read_text()))

    report = mac.run("report")
    assert report.returncode == 0, report.stderr
    assert "Apple M5" in (mac.folder / "reports" / "index.html").read_text()


def test_a_tool_that_does_not_answer_costs_a_fact_and_no_sweep(mac):
    mac.set(slow="")
    sweep = mac.run("operator=softmax", "framework=numpy", "shape.seq_len=16,32", *BRIEF, "-m")
    assert sweep.returncode == 0, sweep.stdout + sweep.stderr
    assert read(mac)["status"].to_list() == ["ok"] * 2
    assert (sweep.stdout + sweep.stderr).count("could not read this machine's low_power_mode: TimeoutExpired") == 1
    assert len([line for line in mac.asked() if line.startswith("pmset")]) == 1


def test_an_interrupted_sweep_keeps_what_it_has_and_lets_the_mac_sleep(mac):
    long = ("protocol.looks=[100000]", "protocol.target=1e-9", "protocol.cell_budget_s=600")
    running = mac.start("operator=softmax", "framework=numpy,mlx", "shape.seq_len=16", *BRIEF, *long, "-m")
    pid_file = mac.state / "caffeinate.pid"
    deadline = time.monotonic() + 240
    while len([line for line in mac.asked() if "IOAccelerator" in line]) < 2:  # sampled before the first and its rounds
        assert running.poll() is None, running.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(running.pid, signal.SIGINT)
    printed, _ = running.communicate(timeout=240)
    assert running.returncode == 130, printed
    assert read(mac)["status"].to_list() == ["interrupted"] * 2
    assert not _runs(int(pid_file.read_text()))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
