"""What a report says of a model: its name where its shapes differ, and the rates of whole ones."""

import re
from pathlib import Path

from mtbench.plain import to_json
from mtbench.report import build, tables
from mtbench.results.record import Record, write
from record_builder import record, with_samples


def timed(**values: object) -> Record:
    return with_samples(record(**values), [[[4_000_000] * 5] * 8] * 2, [[2_000_000.0] * 8] * 2)


def page(folder: Path, *records: Record) -> tuple[str, Path]:
    for number, one in enumerate(records):
        write(one, folder / "sweep" / str(number))
    out = folder / "report"
    build([folder / "sweep"], out)
    return (out / f"{records[0].operator}.html").read_text(), out


def test_sections_of_models_are_headed_by_them(tmp_path: Path) -> None:
    same = {"operator": "linear", "params": to_json({"embed_dim": 768})}
    html, _ = page(tmp_path, timed(**same), timed(**same, model="qwen3_0_6b"), timed(**same, model="gemma3_1b"))
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    assert [heading for heading in headings if "model" in heading] == [
        "without model",
        "model gemma3_1b",
        "model qwen3_0_6b",
    ]
    read = tables.load([tmp_path / "sweep"])
    assert len(read.charted) == 3  # one does not stand for another


def test_a_whole_model_is_told_by_its_name_and_its_rates(tmp_path: Path) -> None:
    def lm(phase: str, **values: object) -> Record:
        params = to_json({"config": '{"hidden_size": 1}', "phase": phase, "checkpoint": None})
        found = timed(operator="causal_lm", model="qwen3_0_6b", params=params, **values)
        found.tokens = found.seq_len
        found.tokens_per_s = found.tokens / 2e-3
        return found

    prefill, decode = lm("prefill", seq_len=128), lm("decode", seq_len=1, kv_len=512)
    prefill.time_to_first_token_ns = prefill.latency_ns
    html, out = page(tmp_path, prefill, decode)
    assert "hidden_size" not in html
    headings = [heading for heading in re.findall(r"<h2>(.*?)</h2>", html) if "phase" in heading]
    assert headings == ["kv_len 512, phase decode", "phase prefill"]
    jobs = html[html.index('id="jobs"') :]
    assert "64000 tokens/s" in jobs
    assert "500 tokens/s" in jobs
    assert jobs.count("first after 4.00 ms<") == 1  # which decode has not
    assert "no-tokens" not in jobs
    charts = (out / "assets" / "charts-causal_lm.js").read_text()
    assert "32000 tokens/s" in charts  # by latency, in the tooltip of a point


def test_other_operators_have_no_such_columns(tmp_path: Path) -> None:
    html, _ = page(tmp_path, timed())
    assert 'own no-params no-tokens"' in html
