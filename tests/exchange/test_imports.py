"""What others published becomes records: beside ours in every column that tells a cell, and never verified."""

import json
from pathlib import Path

import pytest
from published_files import (
    DATE,
    HARDWARE,
    LANGUAGE_MODELS,
    LATER_LAYERS,
    LAYERS,
    LLAMA_CSV,
    LLAMA_ROWS,
    LLMFIT,
    SETTINGS,
    WITH_DEVIATIONS,
    WITH_MEMORY,
)

from mtbench.errors import ConfigError
from mtbench.exchange import presets, pyperf
from mtbench.exchange.imports import import_files
from mtbench.launch import commands
from mtbench.launch.compose import plan_of
from mtbench.plain import to_json
from mtbench.results import comparison, record
from mtbench.results.record import Record


def imported(tmp_path: Path, text: str, name: str) -> list[Record]:
    """The records of one file with this text."""
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    import_files([file], tmp_path / "out")
    frame, problems = record.read(record.find([tmp_path / "out"]))
    assert problems == []
    return record.of_rows(frame.sort("operator", "params", "framework", "mode", "seq_len"))


@pytest.fixture
def measurements(tmp_path: Path) -> Path:
    """The folder of one run, as that repository has it."""
    folder = tmp_path / "measurements" / "layer_benchmarks" / HARDWARE / DATE
    folder.mkdir(parents=True)
    (folder / "benchmark_results.csv").write_text(LAYERS)
    (folder / "settings.json").write_text(SETTINGS)
    return tmp_path / "measurements"


def test_layers_of_the_ancestor(measurements: Path, tmp_path: Path) -> None:
    found = import_files([measurements], tmp_path / "out")
    assert found.counts == {"mlx_transformers_benchmark": 9}
    assert found.left_out == []
    records = record.of_rows(record.read(record.find([tmp_path / "out"]))[0])
    (one,) = [one for one in records if one.operator == "mha" and one.arm == "mlx_compiled"]
    assert (one.status, one.source, one.device, one.device_kind) == (
        "unverified",
        "mlx_transformers_benchmark",
        "gpu",
        "metal",
    )
    assert one.latency_samples_ns == [[[42421643], [42387068]]]  # the cell stands twice in the file
    assert one.latency_ns == pytest.approx(42404355, abs=1)
    assert (one.library_version, one.python_version) == ("0.24.1", "3.11.11")
    assert str(one.started_at) == "2025-04-12 16:51:12+00:00"
    machine = json.loads(one.machine)
    assert (machine["chip"], machine["memory_bytes"], machine["gpus"][0]["cores"]) == ("Apple M4 Pro", 24 * 2**30, 20)
    (single,) = [one for one in records if one.operator == "softmax"]
    assert (single.latency_ns, single.latency_low_ns, single.confidence) == (pytest.approx(1055948.8), None, None)


def test_layers_of_the_ancestor_stand_in_the_sections_of_our_own(measurements: Path, tmp_path: Path) -> None:
    """The report puts side by side what is equal in operator, parameters, dtype and shape."""
    import_files([measurements], tmp_path / "out")
    records = record.of_rows(record.read(record.find([tmp_path / "out"]))[0])
    for one in records:
        params = json.loads(one.params)
        given = [f"operator.params.{name}={params[name]}" for name in ("num_heads", "causal") if name in params]
        (job,) = plan_of([f"operator={one.operator}", "framework=torch", "sweep=none", *given]).jobs
        assert one.params == to_json(dict(job.task.params)), one.operator


@pytest.mark.parametrize("text", [LANGUAGE_MODELS, WITH_MEMORY, WITH_DEVIATIONS])
def test_language_models_of_the_ancestor(tmp_path: Path, text: str) -> None:
    row = dict(zip(*(line.split(",") for line in text.splitlines()[:2]), strict=True))
    name, prompt = row["name"], int(float(row["num_prompt_tokens"]))
    records = [
        one
        for one in imported(tmp_path, text, "benchmark_results.csv")
        if one.model == presets.language_model(name, phase="decode")[0]
    ]
    prefill, decode = sorted(records, key=lambda one: -one.seq_len)
    assert (prefill.seq_len, prefill.kv_len, prefill.tokens) == (prompt, None, prompt)
    assert prefill.latency_ns == pytest.approx(float(row["prompt_time_sec"]) * 1e9)
    assert (decode.seq_len, decode.kv_len, decode.tokens) == (1, prompt, 1)
    assert decode.tokens_per_s == pytest.approx(float(row["generation_tps"]))
    known = float(row.get("peak_memory_gib", 0))
    assert decode.peak_bytes == (int(known * 2**30) if known else None)


def test_the_later_header_and_no_settings(tmp_path: Path) -> None:
    (one,) = imported(tmp_path, LATER_LAYERS, "benchmark_results.csv")
    assert (one.operator, one.dtype, one.mode, one.latency_ns) == ("mha", "float16", "eager", 310000.0)
    assert json.loads(one.params)["causal"] is False
    assert one.library_version is None


@pytest.mark.parametrize("lines", [False, True])
def test_llama_bench_with_its_samples(tmp_path: Path, lines: bool) -> None:
    text = "\n".join(map(json.dumps, LLAMA_ROWS)) if lines else json.dumps(LLAMA_ROWS)
    decode, prefill = imported(tmp_path, text, "bench.jsonl" if lines else "bench.json")
    assert (prefill.framework, prefill.dtype, prefill.model) == ("llama.cpp", "q4_k_m", "qwen3_0_6b")
    assert (prefill.seq_len, prefill.kv_len, prefill.library_version) == (512, None, "b5163")
    assert prefill.latency_ns == 71745200
    assert prefill.latency_low_ns is not None
    assert prefill.latency_low_ns <= 70745500
    assert (decode.seq_len, decode.kv_len, decode.rounds) == (1, 512, 5)
    assert decode.latency_ns == pytest.approx(1075361300 / 128)
    assert decode.tokens_per_s == pytest.approx(119.03, abs=0.01)
    assert "someone" not in repr(prefill)
    assert "someone" not in repr(decode)


def test_llama_bench_csv_has_means_alone_and_a_test_of_both_is_left_out(tmp_path: Path) -> None:
    (one,) = imported(tmp_path, LLAMA_CSV, "bench.csv")
    assert (one.model, one.dtype, one.seq_len) == ("Qwen3.6-27B-Q4_K_S", "q4_k_s", 4096)
    assert (one.latency_ns, one.latency_low_ns, one.confidence) == (42102228666.0, None, None)
    assert (one.device, one.device_kind, json.loads(one.machine)["chip"]) == ("gpu", "blas,mtl", "Accelerate")


def test_llama_bench_with_several_values_of_a_setting_has_an_arm_for_each(tmp_path: Path) -> None:
    one = LLAMA_ROWS[0]
    rows = [one, one | {"flash_attn": True}, one | {"n_threads": 4}, one | {"n_gpu_layers": 0}]
    found = imported(tmp_path, json.dumps(rows), "bench.json")
    assert sorted(record.arm for record in found) == [
        "llama.cpp-flash_attn=false-n_gpu_layers=0-n_threads=8",
        "llama.cpp-flash_attn=false-n_gpu_layers=99-n_threads=4",
        "llama.cpp-flash_attn=false-n_gpu_layers=99-n_threads=8",
        "llama.cpp-flash_attn=true-n_gpu_layers=99-n_threads=8",
    ]


def test_files_of_one_name_from_two_builds_are_both_kept(tmp_path: Path) -> None:
    for build in (5163, 5164):
        (tmp_path / str(build)).mkdir()
        (tmp_path / str(build) / "bench.json").write_text(json.dumps([LLAMA_ROWS[0] | {"build_number": build}]))
    import_files([tmp_path / "5163", tmp_path / "5164"], tmp_path / "out")
    frame, _ = record.read(record.find([tmp_path / "out"]))
    assert sorted(frame["library_version"]) == ["b5163", "b5164"]


def test_llmfit_gives_the_extremes_of_its_runs_what_they_are_worth(tmp_path: Path) -> None:
    (one,) = imported(tmp_path, LLMFIT, "1789212954-e7ddf6d6.json")
    assert (one.framework, one.dtype, one.device) == ("mlx", "int4", "gpu")
    assert one.tokens_per_s == pytest.approx(118.51)
    assert one.latency_low_ns == pytest.approx(1e9 / 149.8)
    assert one.latency_high_ns == pytest.approx(1e9 / 96.37)
    assert one.confidence == 0.75  # of three runs
    assert str(one.started_at).startswith("2026-09-1")


def test_pyperf_as_pyperf_writes_it(tmp_path: Path) -> None:
    theirs = pytest.importorskip("pyperf")
    runs = [theirs.Run([0.011, 0.012, 0.013], collect_metadata=False, metadata={"name": "sort"}) for _ in range(3)]
    theirs.Benchmark(runs).dump(str(tmp_path / "sort.json"))
    (one,) = imported(tmp_path, (tmp_path / "sort.json").read_text(), "again/sort.json")
    assert (one.operator, one.source, one.restarts, one.rounds) == ("sort", "pyperf", 3, 9)
    assert one.latency_ns == pytest.approx(12e6)


def test_a_presets_configuration_is_that_of_a_plan() -> None:
    (job,) = plan_of(["operator=causal_lm", "model=qwen3_0_6b", "framework=torch", "sweep=none"]).jobs
    model, params = presets.language_model("qwen3 0.6B Q4_K - Medium", phase="prefill")
    assert model == job.task.model
    assert to_json(params) == to_json(dict(job.task.params))


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("Qwen3-0.6B-Q4_K_M", "qwen3_0_6b"),
        ("qwen-3-0.6b-it", "qwen3_0_6b"),
        ("llama3.2:1b", "llama3_2_1b"),
        ("mlx-community/Llama-3.2-1B-Instruct-4bit", "llama3_2_1b"),
        ("gemma-3-1b-it", "gemma3_1b"),
        ("SmolLM2-135M-Instruct-Q4_K_M", "smollm2_135m"),
        ("gemma-3-12b-it", None),
        ("gemma-31b", None),
        ("Qwen3-Embedding-0.6B", None),
        ("llama-3.21b", None),
    ],
)
def test_published_names_of_presets(name: str, preset: str | None) -> None:
    assert presets.language_model(name, phase="decode")[0] == (preset or name)


@pytest.mark.parametrize("name", ["..", ".", "../..", "/", "...", "x" * 300])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    told = {"name": name} | {f"{pyperf.OURS}{field}": name for field in ("framework", "dtype")}
    benchmark = {"metadata": told, "runs": [{"values": [0.01, 0.012]}]}
    (one,) = imported(tmp_path, json.dumps({"version": "1.0", "benchmarks": [benchmark]}), "sort.json")
    assert one.operator == name
    (file,) = tmp_path.rglob(record.FILE_NAME)
    assert len(file.relative_to(tmp_path / "out").parts) == 6


def test_importing_again_replaces(measurements: Path, tmp_path: Path) -> None:
    for _ in range(2):
        import_files([measurements], tmp_path / "out")
    assert len(record.find([tmp_path / "out"])) == 9


def test_no_verdict_with_what_was_published(measurements: Path, tmp_path: Path) -> None:
    import_files([measurements], tmp_path / "out")
    mlx, torch = (
        one
        for one in record.of_rows(record.read(record.find([tmp_path / "out"]))[0])
        if one.operator == "mha" and one.mode == "eager"
    )
    assert comparison.between(mlx, torch) is None


def test_a_record_with_a_source_cannot_be_ok(measurements: Path, tmp_path: Path) -> None:
    import_files([measurements], tmp_path / "out")
    row = record.read(record.find([tmp_path / "out"]))[0].drop("path").row(0, named=True)
    with pytest.raises(ValueError, match="not verified"):
        Record(**row | {"status": "ok"})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("notes.csv", "a,b\n1,2\n", "has no known format"),
        ("broken.json", "{", "has no known format"),
        ("new.json", LLMFIT.replace('"schemaVersion": 1', '"schemaVersion": 2'), "schema version 2 is not known"),
        ("benchmark_results.csv", LATER_LAYERS.replace("MHSA", "Mamba"), "line 2: .*no layer 'Mamba"),
        ("benchmark_results.csv", LATER_LAYERS.replace("0.31", "nan"), "line 2|no time above 0"),
        ("benchmark_results.csv", LATER_LAYERS.replace("0.31", "fast"), "line 2: ValueError"),
        ("bench.json", json.dumps([LLAMA_ROWS[0] | {"samples_ns": [0]}]), "row 1: .*no time above 0"),
        ("pyperf.json", '{"version": "1.0", "benchmarks": [{"runs": []}]}', "no value of"),
        ("pyperf.json", '{"version": "1.0", "benchmarks": [{"runs": [3]}]}', "is no pyperf file that can be read"),
        ("pytest.json", '{"version": "5.1.0", "benchmarks": [{"stats": {}}]}', "has no known format"),
        ("picture.json", json.dumps("x" * 200_000), "has no known format"),
        ("bench.json", json.dumps([LLAMA_ROWS[0] | {"cpu_info": 3}]), "row 1: AttributeError"),
    ],
)
def test_bad_files_get_one_line_and_nothing_is_written(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        import_files([tmp_path / name], tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_strangers(measurements: Path, tmp_path: Path) -> None:
    (measurements / "quality_results.csv").write_text("a,b\n1,2\n")
    found = import_files([measurements], tmp_path / "out")
    assert [line.partition(":")[0] for line in found.left_out] == [str(measurements / "quality_results.csv")]


def test_the_command_says_how_much_it_read(
    measurements: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.app(["import", str(measurements), "--out", str(tmp_path / "out")], standalone_mode=False)
    assert "9 of mlx_transformers_benchmark" in capsys.readouterr().out


def test_the_command_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        commands.app(["import", str(tmp_path / "nothing.csv")], standalone_mode=False)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"mtbench import: There is no file {tmp_path / 'nothing.csv'}.\n"
