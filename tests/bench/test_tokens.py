"""Rates per token, where a call takes tokens through a whole model."""

import json
from pathlib import Path
from typing import Any

import pytest

from mtbench.bench.controller.begun import state_of
from mtbench.bench.controller.energy import Energy
from mtbench.bench.controller.job_record import record_of
from mtbench.bench.controller.job_state import JobState, Sweep
from mtbench.bench.rates import Rates
from mtbench.bench.wire import Finished, Prepared
from mtbench.operators.base import Shape
from mtbench.plan.accuracy import Divergence, Errors
from mtbench.plan.jobs import Arm, Task, job
from mtbench.plan.protocol import Protocol
from mtbench.results.record import Record

CONFIG = {
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "vocab_size": 8,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
}


def recorded(operator: str, shape: Shape, **params: Any) -> Record:
    task = Task(operator, tuple(sorted(params.items())), "float32", shape)
    state = JobState(job(task, Arm("numpy"), 1e-5))
    state.latency_ns, state.throughput_ns = [[[4000, 4000, 4000]] * 8], [[2000.0] * 8]
    state.energy = Energy(joule=6.0, idle_watt=0.0, covers="all")
    return record_of(state, Sweep("s", Protocol(), "m", {}))


def test_a_prompt_has_tokens_a_second_and_a_first_token() -> None:
    record = recorded("causal_lm", Shape(2, 30), config=json.dumps(CONFIG), phase="prefill")
    assert record.tokens == 60
    assert record.tokens_per_s == pytest.approx(60 / 2000e-9)  # by throughput
    assert record.time_to_first_token_ns == pytest.approx(4000)  # by latency
    assert record.energy_joule_per_token == pytest.approx(0.1)


def test_a_step_has_a_token_a_sequence() -> None:
    record = recorded("causal_lm", Shape(3, 1, 50), config=json.dumps(CONFIG), phase="decode")
    assert record.tokens == 3
    assert record.tokens_per_s == pytest.approx(3 / 2000e-9)
    assert record.time_to_first_token_ns is None
    assert record.energy_joule_per_token == 2.0


def test_a_record_does_not_say_in_whose_home_a_checkpoint_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jane" / "model").mkdir(parents=True)
    (tmp_path / "jane" / "model" / "config.json").write_text(json.dumps(CONFIG))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "jane")
    record = recorded("causal_lm", Shape(1, 2), checkpoint=str(tmp_path / "jane" / "model"))
    assert json.loads(record.params)["checkpoint"] == "~/model"


def test_a_single_operator_claims_no_rate_of_tokens() -> None:
    record = recorded("softmax", Shape(3, 2))
    assert (record.tokens, record.tokens_per_s, record.time_to_first_token_ns) == (None, None, None)
    assert record.energy_joule_per_token == 1.0


def test_how_far_quantised_logits_are_is_in_the_record_and_survives_going_on() -> None:
    params = {"config": json.dumps(CONFIG), "phase": "decode", "weight_dtype": "int4"}
    one = job(Task("causal_lm", tuple(sorted(params.items())), "bfloat16", Shape(1, 1, 9)), Arm("numpy"), 1e-2)
    state = JobState(one)
    state.latency_ns, state.throughput_ns = [[[4000] * 3] * 8], [[2000.0] * 8]
    state.finished = [
        Finished(Errors(), "memory", divergence=Divergence(0.1, 4, kl, top)) for kl, top in ((0.1, 1.0), (0.3, 0.5))
    ]
    record = record_of(state, Sweep("s", Protocol(), "m", {}))
    assert (record.kl_divergence_nats, record.top1_agreement) == (pytest.approx(0.2), 0.75)
    assert (record.rounding_error, record.rounding_positions) == (pytest.approx(0.1), 4)
    again = record_of(state_of(one, record, restarts=1), Sweep("s", Protocol(), "m", {}))
    assert (again.kl_divergence_nats, again.top1_agreement) == (pytest.approx(0.2), 0.75)
    assert (again.rounding_error, again.rounding_positions) == (pytest.approx(0.1), 4)
    state.finished = [Finished(Errors(), "memory", divergence=Divergence(0.1, 1))]  # of random weights
    record = record_of(state, Sweep("s", Protocol(), "m", {}))
    assert (record.rounding_error, record.kl_divergence_nats, record.top1_agreement) == (0.1, None, None)


def test_no_peak_of_a_dtype_bounds_quantised_products() -> None:
    def limited(**params: Any) -> Record:
        task = Task("causal_lm", tuple(sorted(params.items())), "bfloat16", Shape(1, 1, 9))
        state = JobState(job(task, Arm("numpy"), 1e-2))
        state.latency_ns, state.throughput_ns = [[[4000] * 3] * 8], [[2000.0] * 8]
        state.prepared = [
            Prepared(1, 1, Errors(), flops=1e6, bytes_moved=1000.0, calls_per_block=1, throughput_calls=1)
        ]
        state.peaks = Rates(1e9, {1024: 1e9})
        return record_of(state, Sweep("s", Protocol(), "m", {}))

    config = {"config": json.dumps(CONFIG), "phase": "decode"}
    assert limited(**config).limit_ns == pytest.approx(1e6)
    assert limited(**config, weight_dtype="int8").limit_ns == pytest.approx(1e3)
