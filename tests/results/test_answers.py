"""The sentences of synthetic sweeps: what each must say, and what none may say."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mtbench.plain import to_json
from mtbench.results.answers import Answers, answers
from mtbench.results.answers.contests import of_records
from mtbench.results.answers.regimes import regime
from mtbench.results.certainty import certainty
from mtbench.results.comparison import between
from mtbench.results.format import deviation, span, times
from mtbench.results.limits import ROOF_UNSURE
from mtbench.results.machines import machine_names
from mtbench.results.record import Record
from record_builder import START, record, with_blocks

GQA = to_json({"embed_dim": 576, "num_heads": 9, "causal": True})
DECODE = {"operator": "gqa", "params": GQA, "seq_len": 1, "kv_len": 513, "model": "smollm2_135m"}
PREFILL = {"operator": "gqa", "params": GQA, "seq_len": 256, "model": "smollm2_135m"}


def timed(
    arm: str, ns: float, spread: float = 0.002, restarts: int = 5, rounds: int = 8, noise: int = 0, **values: Any
) -> Record:
    """An arm whose blocks lie so far around a time; `noise` is the seed of restarts that lie 20 times as far apart."""
    arm, values = values.pop("library", arm), values | {"arm": arm}
    draw = random.Random(f"{arm} {ns} {sorted(values.items(), key=str)}")
    own = random.Random(noise)
    centers = [ns * own.uniform(1 - 20 * spread, 1 + 20 * spread) if noise else ns for _ in range(restarts)]
    blocks = [[one * draw.uniform(1 - spread, 1 + spread) for _ in range(rounds)] for one in centers]
    return with_blocks(record(arm, **values), blocks)


def said(records: Sequence[Record], question: str = "fastest") -> list[str]:
    return [str(one) for one in answered(records).of(question)]


def answered(records: Sequence[Record], **folders: str) -> Answers:
    return answers(of_records(records), folders)


# who is fastest


def test_the_winner_of_each_regime_is_named_and_opposite_ones_never_meet() -> None:
    """Decoding, compiled MLX is the faster one and for a prompt far the slower: no mean of both says anything."""
    times_us = {"mlx": (70, 900), "mlx_compiled": (64, 860), "torch": (100, 110), "torch_compiled": (104, 120)}
    records = [
        timed(arm, 1000 * us, **of)
        for arm, both in times_us.items()
        for us, of in zip(both, (DECODE, PREFILL), strict=True)
    ]
    found = answered(records)
    assert found.headline == [
        "Decode, gqa of smollm2_135m, float32: mlx_compiled is 1.6x faster [1.6, 1.6] than torch (sure).",
        "Prefill, gqa of smollm2_135m, float32: torch is 7.8x faster [7.8, 7.8] than mlx_compiled (sure).",
    ]
    assert "0.64x" not in str(found)
    assert "mean" not in str(found)


def test_a_library_is_beaten_in_its_fastest_form_and_in_every_form() -> None:
    """torch's fastest form is the one that counts, and its noisy one must be beaten too before that is sure."""
    sure = [timed("mlx", 1e5), timed("torch", 1.5e5), timed("torch_compiled", 1.3e5)]
    assert said(sure) == ["Plain shapes, softmax, float32: mlx is 1.3x faster [1.3, 1.3] than torch_compiled (sure)."]
    noisy = with_blocks(record("torch"), [[1e5 * ns] * 8 for ns in (0.7, 2.4, 1.4, 0.8, 1.9)])
    assert said([sure[0], noisy, sure[2]]) == [
        "Plain shapes, softmax, float32: open between mlx and torch: 1.3x faster [1.3, 1.3] than torch_compiled, but torch "
        "could be either."
    ]


def test_what_is_less_sure_for_a_form_that_is_not_the_fastest_names_it() -> None:
    slow = with_blocks(record("torch"), [[9e5]])
    assert said([timed("mlx", 1e5), timed("torch_compiled", 1.3e5), slow]) == [
        "Plain shapes, softmax, float32: mlx is likely 1.3x faster [1.3, 1.3] than torch_compiled (likely: only 1 round of "
        "torch)."
    ]


def test_the_fastest_is_open_while_any_library_may_be_faster() -> None:
    """torch is beaten for sure; jax, farther away in the middle, could still be faster."""
    wild = with_blocks(record("jax"), [[1e5 * ns] * 8 for ns in (0.7, 2.4, 1.4, 0.8, 1.9)])
    records = [timed("mlx", 1e5), timed("torch", 1.3e5), wild]
    found = answered(records)
    (text,) = found.headline
    assert text.startswith("Plain shapes, softmax, float32: open between mlx and jax: anything from ")
    assert text.endswith(" faster (could be either); mlx is 1.3x faster [1.3, 1.3] than torch (sure).")
    assert [one.certainty for one in found.of("fastest")] == ["open"]
    many = [replace(one, operator=f"op{number}", cell_id=str(number)) for number in range(4) for one in records]
    assert answered(many).headline == ["Plain shapes, 4 cells: open in 4."]
    sizes = [replace(one, seq_len=seq, cell_id=str(seq)) for seq in (64, 128) for one in records]
    assert said(sizes)[0].startswith("Plain shapes, softmax, float32: open between jax and mlx at 2 of 2 shapes")


def test_a_rival_of_which_less_is_known_has_its_own_certainty() -> None:
    lone = with_blocks(record("jax"), [[9e5]])
    found = answered([timed("mlx", 1e5), timed("torch", 1.3e5), lone])
    assert found.headline == [
        "Plain shapes, softmax, float32: mlx is 1.3x faster [1.3, 1.3] than torch (sure), likely 9.0x faster than jax "
        "(likely: only 1 round)."
    ]
    assert [one.certainty for one in found.of("fastest")] == ["likely"]


def test_a_tie_is_a_result_of_its_own() -> None:
    records = [timed("mlx", 1e5, 0.001, rounds=20), timed("torch", 1.001e5, 0.001, rounds=20)]
    assert said(records) == ["Plain shapes, softmax, float32: mlx and torch are equally fast, within 0.13 % (likely)."]
    records = [timed(arm, 1e5, 0.001, rounds=20) for arm in ("mlx", "torch")]
    assert said(records) == ["Plain shapes, softmax, float32: torch and mlx are equally fast, within 0.07 % (sure)."]


def test_what_could_be_either_is_open_with_both_ends() -> None:
    records = [timed("mlx", 1e5, 0.01, noise=1), timed("torch", 1.03e5, 0.01, noise=2)]
    (text,) = said(records)
    assert text.startswith("Plain shapes, softmax, float32: open between ")
    assert "slower to" in text
    assert text.endswith("faster (could be either).")


def test_one_block_proves_nothing_however_far_apart() -> None:
    """45 times, but one round: likely, and never sure."""
    records = [timed("mlx", 1e5, restarts=1, rounds=1), timed("torch", 45e5, restarts=1, rounds=1)]
    (text,) = said(records)
    assert text == "Plain shapes, softmax, float32: mlx is likely 45x faster than torch (likely: only 1 round)."
    assert any("fewer than 3 restarts" in str(one) for one in answered(records).caveats)
    records = [timed("mlx", 1e5, restarts=1, rounds=1), timed("torch", 2e5, restarts=1, rounds=1)]
    assert said(records) == [
        "Plain shapes, softmax, float32: open between mlx and torch: measured 2.0x apart, without an interval (only 1 round)."
    ]


def test_a_difference_that_fails_the_correction_is_likely() -> None:
    rng = random.Random(5)
    records = []
    for seq_len in range(16, 16 + 40):
        records += [timed("mlx", 1e5, 0.01, restarts=3, noise=rng.randrange(1, 99), seq_len=seq_len)]
        records += [timed("torch", 1.6e5, 0.01, restarts=3, noise=rng.randrange(1, 99), seq_len=seq_len)]
    (one,) = answered(records).of("fastest")
    assert "likely" in one.text
    assert "sure at" not in one.text or one.certainty != "sure"


def test_over_shapes_there_is_a_range_and_no_mean() -> None:
    records = [
        timed(arm, ns * seq, seq_len=seq) for seq in (64, 128) for arm, ns in (("mlx", 1e3), ("torch", 1e3 + 10 * seq))
    ]
    assert said(records) == ["Plain shapes, softmax, float32: mlx is 1.6x to 2.3x faster than torch (sure)."]


def test_where_it_depends_on_the_shape_each_winner_has_its_shapes() -> None:
    records = [
        timed(arm, ns, seq_len=seq)
        for seq, both in ((64, (1e5, 2e5)), (128, (3e5, 3.3e5)), (256, (9e5, 3e5)))
        for arm, ns in zip(("mlx", "torch"), both, strict=True)
    ]
    assert said(records) == [
        "Plain shapes, softmax, float32: it depends on the shape: mlx is 1.1x to 2.0x faster than torch at seq 64 and seq 128 "
        "(sure); torch is 3.0x faster [3.0, 3.0] than mlx at seq 256 (sure)."
    ]


def test_numpy_is_no_reference_where_there_is_another() -> None:
    """numpy is neither the one that is beaten nor, faster in a tiny shape, the one that wins."""
    records = [timed("numpy", 5e4), timed("torch", 1e5), timed("mlx", 2e5)]
    assert "numpy does not compete; its times are shown for comparison." in answered(records).headline
    assert not any("compete" in line for line in answered(records[:2]).headline)
    assert said(records) == ["Plain shapes, softmax, float32: torch is 2.0x faster [2.0, 2.0] than mlx (sure)."]
    assert said(records[:2]) == ["Plain shapes, softmax, float32: numpy is 2.0x faster [2.0, 2.0] than torch (sure)."]


def test_numpy_is_in_no_answer_beside_two_forms_of_one_library() -> None:
    """The two forms are compared, also where numpy is faster than both, and also where nothing is decided."""
    one = [timed("numpy", 5e4), timed("torch", 1e5), timed("torch_compiled", 2e5)]
    assert said(one) == ["Plain shapes, softmax, float32: torch is 2.0x faster [2.0, 2.0] than torch_compiled (sure)."]
    lengths = (16, 32)
    eager = [timed("torch", 1e5, 0.01, noise=1, seq_len=seq) for seq in lengths]
    compiled = [timed("torch_compiled", 1.03e5, 0.01, noise=2, seq_len=seq) for seq in lengths]
    (text,) = said([*(timed("numpy", 5e4, seq_len=seq) for seq in lengths), *eager, *compiled])
    assert text.startswith("Plain shapes, softmax, float32: open between torch and torch_compiled at ")


def test_two_machines_are_never_set_against_each_other() -> None:
    epyc = {"machine_id": "other", "machine": to_json({"chip": "AMD EPYC"}), "sweep_id": "there"}
    records = [timed("mlx", 1e5), timed("torch", 2e5), timed("torch", 1e4, **epyc), timed("mlx", 9e4, **epyc)]
    found = answered(records)
    assert found.headline == [
        "Apple M3 Pro, plain shapes, softmax, float32: mlx is 2.0x faster [2.0, 2.0] than torch (sure).",
        "AMD EPYC, plain shapes, softmax, float32: torch is 9.0x faster [9.0, 9.0] than mlx (sure).",
    ]
    lone = answered([timed("mlx", 1e5), timed("torch", 1e4, **epyc)])
    assert all("only" in line for line in lone.headline)


def test_two_machines_of_one_chip_are_told_apart_by_their_identities() -> None:
    twin = {"machine_id": "9e8d7c6b5a", "sweep_id": "there"}
    records = [timed("mlx", 1e5), timed("torch", 2e5), timed("torch", 1e4, **twin), timed("mlx", 9e4, **twin)]
    found = answered(records)
    assert [line.partition(",")[0] for line in found.headline] == ["Apple M3 Pro (5f0c1d)", "Apple M3 Pro (9e8d7c)"]
    assert answered(records[:2]).headline[0].startswith("Plain shapes")


def test_each_machine_has_its_own_caveats() -> None:
    epyc = {"machine_id": "other", "machine": to_json({"chip": "AMD EPYC"}), "sweep_id": "there"}
    here = [timed("mlx", 1e5), timed("torch", 2e5)]
    there = [timed("mlx", 9e4, **epyc), timed("torch", 1e4, **epyc), timed("numpy", 1e6, **epyc)]
    for one in (here[0], there[0], there[1]):
        one.warnings = [f"overhead_bound: {len(one.machine_id)} % of a call"]
    assert [one.text for one in answered([*here, *there]).caveats] == [
        "Apple M3 Pro: 1 of 2 jobs mostly measured the overhead of a call (10 % of a call).",
        "AMD EPYC: 2 of 3 jobs mostly measured the overhead of a call (5 % of a call).",
    ]


def test_figures_of_others_tell_no_machines_apart_and_have_one_caveat() -> None:
    elsewhere = {"status": "unverified", "source": "a_tool"}
    m4 = to_json({"chip": "Apple M4"})
    others = [
        timed("mlx", 5e5, machine_id="twin", **elsewhere),
        timed("mlx", 4e5, machine=m4, machine_id="m4", **elsewhere),
    ]
    one = timed("mlx", 1e5)
    one.warnings = ["overhead_bound: 40 % of a call"]
    assert [each.text for each in answered([one, timed("torch", 2e5), *others]).caveats] == [
        "2 of 4 jobs are unverified (mlx): no answer was checked, so they are in no comparison.",
        "1 of 2 jobs mostly measured the overhead of a call (40 % of a call).",
    ]
    names = machine_names((one.machine, one.machine_id, one.source) for one in [one, *others])
    assert list(names.values()) == ["Apple M3 Pro", "Apple M3 Pro", "Apple M4"]


def test_each_kind_of_failure_has_its_own_reason() -> None:
    records = [
        timed("torch", 1e5),
        *(failed(arm, "mismatch", "relative error 0.04 exceeds the tolerance") for arm in ("mlx", "mlx_compiled")),
        failed("torch_compiled", "timeout", "the worker did not answer"),
    ]
    (caveat,) = [str(one) for one in answered(records).caveats if "gave no time" in str(one)]
    assert caveat.startswith(
        "3 of 4 jobs gave no time (mlx, mlx_compiled: relative error 0.04 exceeds the tolerance; "
        "torch_compiled: the worker did not answer)."
    )
    assert "--retry timeout` measures them again. A mismatch is a wrong result, by a fault of " in caveat
    (alone,) = [str(one) for one in answered(records[:-1]).caveats if "gave no time" in str(one)]
    assert "--retry" not in alone


@pytest.mark.parametrize(
    ("of", "known"),
    [
        ({"dtype": "bfloat16", "device_kind": "cpu"}, True),
        ({"dtype": "float32", "device_kind": "cpu"}, False),
        ({"dtype": "bfloat16", "device_kind": "gpu"}, False),
        ({"dtype": "bfloat16", "device_kind": "cpu", "params": "{}"}, False),
    ],
)
def test_a_known_fault_of_mlx_is_named_with_what_helps(of: dict[str, str], known: bool) -> None:
    of = {"operator": "causal_lm", "params": to_json({"weight_dtype": "int8"}), **of}
    wrong = [failed(arm, "mismatch", "relative error 0.04 exceeds the tolerance", **of) for arm in ("mlx", "jax")]
    wrong[1].framework = "jax"
    records = [timed("torch", 1e5, **of), *wrong]
    (caveat,) = [str(one) for one in answered(records).caveats if "gave no time" in str(one)]
    assert ("For mlx this is probably a known fault of MLX on CPUs" in caveat and "dtype=float32" in caveat) == known
    assert "docs/known_issues.md" in caveat
    (alone,) = [str(one) for one in answered(records[:-1]).caveats if "gave no time" in str(one)]
    assert ("This is probably a known fault of MLX on CPUs" in alone) == known


def test_a_caveat_of_one_job_is_a_correct_sentence() -> None:
    alone = timed("mlx", 1e5)
    alone.warnings = ["drifted: the canary changed by +21.0 % over a restart", "overhead_bound: 40 % of a call"]
    texts = [str(one) for one in answered([alone]).caveats]
    assert any(text.startswith("The one job ran while the machine's own speed drifted (the canary") for text in texts)
    assert any(text.startswith("The one job mostly measured the overhead of a call") for text in texts)


def test_a_caveat_tells_the_largest_figure_in_whatever_order_records_are_read() -> None:
    records = [timed("mlx", 1e5), timed("torch", 2e5)]
    for one, share in zip(records, (9, 22), strict=True):
        one.warnings = [f"overhead_bound: the cheapest call of this library takes {share} % of this time"]
    for read in (records, records[::-1]):
        assert any("takes 22 % of this time" in str(one) for one in answered(read).caveats)


def failed(arm: str, status: str, reason: str, **values: Any) -> Record:
    one = timed(arm, 1e5, **values)
    one.status, one.reason, one.latency_ns = status, reason, None
    return one


def test_an_arm_that_failed_is_said_and_is_not_beaten() -> None:
    lost = record("torch_compiled", status="crashed", reason="Traceback\nRuntimeError: no compiler")
    assert said([timed("mlx", 1e5), timed("torch", 2e5), lost]) == [
        "Plain shapes, softmax, float32: mlx is 2.0x faster [2.0, 2.0] than torch (sure); torch_compiled crashed."
    ]
    many = [record(arm, status="unsupported", reason="no") for arm in ("torch", "jax", "numpy")]
    assert said([timed("mlx", 1e5), timed("llama_cpp", 2e5), *many, lost]) == [
        "Plain shapes, softmax, float32: mlx is 2.0x faster [2.0, 2.0] than llama_cpp (sure); "
        "4 arms have no time (3 unsupported, 1 crashed)."
    ]
    assert said([timed("mlx", 1e5), record("torch", status="failed", reason="no")]) == [
        "Plain shapes, softmax, float32: only mlx was timed, 100 µs a call (torch failed: no)."
    ]
    assert said([record("torch", status="oom", reason="needs 9 GiB")]) == [
        "Plain shapes, softmax, float32: no time: torch oom: needs 9 GiB."
    ]
    alike = [record(arm, status="unsupported", reason="no kernel") for arm in ("torch_compiled", "torch")]
    assert said([timed("mlx", 1e5), *alike, record("jax", status="crashed", reason="no")]) == [
        "Plain shapes, softmax, float32: only mlx was timed, 100 µs a call (torch and torch_compiled unsupported: no kernel; "
        "jax crashed: no)."
    ]


def test_two_sweeps_are_described_and_not_judged() -> None:
    (text,) = said([timed("mlx", 1e5, sweep_id="a"), timed("torch", 2e5, sweep_id="b")])
    assert text.endswith("mlx is likely 2.0x faster [2.0, 2.0] than torch (likely: measured in two sweeps).")


def test_of_figures_that_others_published_nothing_is_concluded() -> None:
    theirs = record("mlx", status="unverified", source="llama-bench")
    theirs.latency_ns = 1.0
    assert said([timed("torch", 1e5), theirs]) == [
        "Plain shapes, softmax, float32: only torch was timed, 100 µs a call."
    ]
    assert answered([theirs]).headline == []


# what pays


def test_compiling_says_whether_it_pays_and_what_the_first_call_costs() -> None:
    records = [timed("mlx", 2e5), timed("mlx_compiled", 1e5), timed("torch", 1e5), timed("torch_compiled", 1.5e5)]
    for one in records:
        one.first_call_ns = 2_000_000_000 if one.mode == "compiled" else 1_000_000
    assert said(records, "compile") == [
        "Plain shapes, softmax, float32: compiling mlx pays: 2.0x faster [2.0, 2.0] (sure); the first call takes 2.00 s, won "
        "back after 20,000 calls.",
        "Plain shapes, softmax, float32: compiling torch does not pay: 1.5x slower [1.5, 1.5] (sure); the first call takes "
        "2.00 s.",
    ]


@pytest.mark.parametrize(
    ("contenders", "sure"),
    [(["framework", "dtype"], "sure"), (["framework"], "likely: measured in two cells")],
)
def test_a_dtype_pays_for_sure_only_where_dtypes_were_interleaved(contenders: list[str], sure: str) -> None:
    records = [
        timed(f"torch-{dtype}", ns, library="torch", dtype=dtype, contenders=contenders)
        for dtype, ns in (("float32", 2e5), ("bfloat16", 1e5))
    ]
    assert said(records, "dtype") == [
        f"Plain shapes, softmax: torch in bfloat16 is 2.0x faster [2.0, 2.0] than in float32 ({sure})."
    ]
    assert all("in bfloat16" not in text for text in said(records))  # dtypes are never rivals for the fastest


def test_fewer_bits_are_set_against_plain_weights_of_the_same_size() -> None:
    plain = {"operator": "linear", "params": to_json({"embed_dim": 1024, "out_dim": None, "bias": False})}
    four = {
        "operator": "quantized_linear",
        "params": to_json({"embed_dim": 1024, "out_dim": None, "bits": 4, "group_size": 64}),
    }
    of = {"dtype": "bfloat16", "seq_len": 1}
    assert said([timed("mlx", 3e5, **plain, **of), timed("mlx", 1e5, **four, **of)], "dtype") == [
        "Decode, quantized_linear: mlx in 4 bits in groups of 64 is 3.0x faster [3.0, 3.0] than in plain bfloat16 "
        "(likely: measured in two cells)."
    ]


def stored(weights: str, library: str, ns: float, error: float | None = None, kv_len: int = 128) -> Record:
    """A decode step of a model with weights of so many bits."""
    params = to_json({"phase": "decode", "weight_dtype": weights, "group_size": None, "config": "{}"})
    one = timed(
        f"{library}-{weights}", ns, library=library, operator="causal_lm", model="smollm2_135m", params=params,
        dtype="bfloat16", seq_len=1, kv_len=kv_len, contenders=["framework", "operator.params.weight_dtype"],
    )  # fmt: skip
    one.rounding_error = error
    return one


def test_fewer_bits_of_a_whole_model_are_set_against_its_own_and_their_cost_is_told() -> None:
    records = [
        stored("bf16", "mlx", 3e5), stored("int4", "mlx", 1e5, 0.14), stored("bf16", "llama_cpp", 2e5),
        stored("int4", "llama_cpp", 1e5, 0.2),
    ]  # fmt: skip
    of_a_checkpoint = records[3]
    of_a_checkpoint.kl_divergence_nats, of_a_checkpoint.top1_agreement = 0.034, 0.91
    of_a_checkpoint.rounding_positions = 128
    found = said(records, "dtype")
    assert [text.partition(": ")[2] for text in found] == [
        "llama_cpp in int4 weights is 2.0x faster [2.0, 2.0] than in bfloat16 (sure); its logits are off by 20 % (KL 0.034 "
        "nats, top-1 agrees at 91 % of 128 positions).",
        "mlx in int4 weights is 3.0x faster [3.0, 3.0] than in bfloat16 (sure); its logits are off by 14 %.",
    ]
    assert [text.partition(": ")[0] for text in found] == ["Decode, smollm2_135m weight_dtype=int4"] * 2
    assert any("llama_cpp-bf16 is 1.5x faster" in text for text in said(records))


def test_quantised_weights_are_always_told() -> None:
    """A sweep of int8 alone is none of bfloat16."""
    alone = [stored(weights, library, ns) for weights in ("int8",) for library, ns in (("mlx", 2e5), ("torch", 1e5))]
    whole = [stored("bf16", library, ns) for library, ns in (("mlx", 2e5), ("torch", 1e5))]
    assert [one.partition(": ")[0] for one in said(alone)] == ["Decode, smollm2_135m weight_dtype=int8, bfloat16"]
    assert [one.partition(": ")[0] for one in said(whole)] == ["Decode, smollm2_135m, bfloat16"]


def test_which_library_at_how_many_bits_is_one_sentence_with_what_it_gains_and_costs() -> None:
    records = [
        stored("bf16", "mlx", 3e5), stored("int8", "mlx", 1.5e5, 0.01), stored("int4", "mlx", 1e5, 0.14),
        stored("bf16", "llama_cpp", 2e5), stored("int4", "llama_cpp", 1.2e5, 0.2), stored("bf16", "torch", 6e5),
    ]  # fmt: skip
    (line,) = said(records, "bits")
    assert line == (
        "Decode, smollm2_135m, bfloat16, at any bits: mlx-int4 is 1.2x faster [1.2, 1.2] than llama_cpp-int4, 6.0x faster "
        "[6.0, 6.0] than torch-bf16 (sure); the winner's logits are off by 14 %; at 16 bits llama_cpp takes 2.0x as long "
        "(sure)."
    )
    assert answered(records).headline == [line]
    records.append(stored("int8", "mlx", 1e5, 0.01, kv_len=1024))
    records.append(stored("bf16", "llama_cpp", 3e5, kv_len=1024))
    (line,) = said(records, "bits")
    assert line.partition("at any bits: ")[2] == (
        "it depends on the shape: mlx-int4 is 1.2x faster [1.2, 1.2] than llama_cpp-int4 at kv 128 (sure); mlx-int8 is 3.0x "
        "faster [3.0, 3.0] than llama_cpp-bf16 at kv 1024 (sure); the winner's logits are off by up to 14 %; at 16 bits "
        "llama_cpp takes 2.0x to 3.0x as long (sure)."
    )


def test_weights_of_separate_sweeps_are_forms_of_their_own() -> None:
    """Each number of bits in a sweep of its own, whose arms are called alike: no verdict of one speaks for another."""

    def alone(weights: str | None, library: str, ns: float, error: float | None = None) -> Record:
        one = stored(str(weights), library, ns, error)
        params = to_json({"phase": "decode", "weight_dtype": weights})
        return replace(one, arm=library, params=params, contenders=["framework"], sweep_id=f"in {weights}")

    records = [
        alone(None, "llama_cpp", 2.5e5), alone(None, "torch", 5e5), alone("int8", "llama_cpp", 1.7e5, 0.01),
        alone("int8", "torch", 4.5e5, 0.01), alone("int4", "llama_cpp", 1e5, 0.14),
    ]  # fmt: skip
    assert said(records, "bits") == [
        "Decode, smollm2_135m, bfloat16, at any bits: llama_cpp (int4) is likely 4.5x faster [4.5, 4.5] than torch (int8) "
        "(likely: measured in two sweeps); the winner's logits are off by 14 %; at 16 bits llama_cpp takes 2.5x as long "
        "(likely: measured in two sweeps)."
    ]
    assert "Decode, smollm2_135m weight_dtype=null, bfloat16" in "".join(said(records))


def test_where_nobody_wins_the_logits_are_those_of_a_named_arm() -> None:
    records = [stored("int4", "mlx", 1e5, 0.14), stored("bf16", "torch", 1.02e5)]
    for one in records:
        one.latency_samples_ns = one.latency_samples_ns[:1]
    (line,) = said(records, "bits")
    assert "open between mlx-int4 and torch-bf16" in line
    assert "; mlx-int4's logits are off by 14 %" in line


def test_where_sixteen_bits_win_nothing_is_said_of_what_fewer_cost() -> None:
    records = [stored("bf16", "torch", 1e5), stored("int4", "mlx", 2e5, 0.14), stored("bf16", "mlx", 3e5)]
    (line,) = said(records, "bits")
    assert line.endswith("at any bits: torch-bf16 is 2.0x faster [2.0, 2.0] than mlx-int4 (sure).")
    assert said([stored("bf16", "torch", 1e5), stored("bf16", "mlx", 2e5)], "bits") == []


def test_the_distance_from_the_limit_is_the_winners_and_names_who_set_it() -> None:
    records = [timed("mlx", 1e5), timed("torch", 2e5)]
    for one in records:
        one.limit_fraction = 0.32 if one.framework == "mlx" else 0.16
    assert said(records, "limit") == ["Plain shapes, softmax, float32: mlx reaches 32 % of what this machine can do."]
    assert [one.certainty for one in answered(records).of("limit")] == ["sure"]


def test_a_distance_from_a_roof_that_is_unsure_is_likely_and_at_most_that() -> None:
    records = [timed(arm, ns, seq_len=seq) for seq in (64, 128) for arm, ns in (("mlx", 1e5), ("torch", 2e5))]
    for one in records:
        one.limit_fraction = one.seq_len / 200
    records[1].warnings = records[3].warnings = [ROOF_UNSURE]  # of torch, which is no winner
    assert [one.certainty for one in answered(records).of("limit")] == ["sure"]
    records[0].warnings = ["contended: load 9.1 on 2 processors", ROOF_UNSURE]
    assert said(records, "limit") == [
        "Plain shapes, softmax, float32: mlx reaches 32 % to 64 % of what this machine can do (likely: roof unsure at 1 of 2 "
        "shapes)."
    ]
    records[2].warnings = [ROOF_UNSURE]
    (found,) = answered(records).of("limit")
    assert found.text == "mlx reaches at most 32 % to 64 % of what this machine can do (likely: roof unsure)."
    assert found.certainty == "likely"


# what limits it, and what would settle it


def test_caveats_say_what_is_wrong_with_its_numbers_and_what_to_do() -> None:
    records = [timed("mlx", 1e5, blas="libblas.so.3"), timed("torch", 2e5, blas="mkl")]
    records[0].warnings = ["contended: load 9.1 on 2 processors", "measured while heat slowed a processor down"]
    texts = [str(one) for one in answered(records).caveats]
    assert any("reference BLAS (libblas.so.3)" in text and "framework.settings.blas=" in text for text in texts)
    assert any("says little about mlx on a Mac" in text for text in texts)
    assert any("1 of 2 jobs shared the machine with other work (load 9.1 on 2 processors)" in text for text in texts)
    assert any("hot" in text and "protocol=gentle" in text for text in texts)
    assert answered([timed("mlx", 1e5), timed("torch", 2e5)]).caveats == []


def test_what_is_open_comes_with_the_command_and_its_time() -> None:
    """Two restarts, each visit of which took 30 s: twice as many take another minute."""
    readings = to_json([{"taken_at": (START + timedelta(seconds=30 * n)).isoformat()} for n in (1, 2)])
    records = [
        timed(arm, 1e5, 0.01, restarts=2, noise=seed, conditions=readings, sweep_id="one")
        for arm, seed in (("mlx", 1), ("torch", 2))
    ]
    (one,) = answered(records, one="multirun/a").settle
    assert one.command == "python -m mtbench resume multirun/a --only-inconclusive"
    assert (one.cells, one.seconds) == (1, 60)
    assert str(answered(records, one="multirun/a")).endswith("(1 cell, about 60 s)")
    assert answered([timed("mlx", 1e5), timed("torch", 2e5)]).settle == []
    elsewhere = [replace(one, sweep_id="two", machine_id="another") for one in records]
    (both,) = answered([*records, *elsewhere]).settle  # as one file of both tells no folders
    assert (both.command.partition("resume ")[2], both.cells, both.seconds) == ("DIR --only-inconclusive", 2, 120)


def test_a_winner_beats_its_own_other_forms_and_not_its_own_name() -> None:
    records = [timed("torch", 1e5), timed("mlx", 9e5), timed("torch", 2e5, seq_len=128)]
    (text,) = said([*records, timed("torch_compiled", 4e5, seq_len=128)])
    assert "torch is 2.0x to 9.0x faster than mlx or its other forms (sure)" in text


def test_many_operators_are_counted_and_not_averaged() -> None:
    records = [
        timed(arm, ns, operator=f"op{number}")
        for number, both in enumerate([(1, 2), (1, 3), (2, 1), (1, 1.5)])
        for arm, ns in zip(("mlx", "torch"), (1e5 * each for each in both), strict=True)
    ]
    assert answered(records).headline == [
        "Plain shapes, 4 cells: mlx is fastest in 3 (sure in 3), torch is fastest in 1 (sure in 1)."
    ]
    assert len(said(records)) == 4


# words


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"params": to_json({"phase": "decode"}), "seq_len": 1, "kv_len": 128}, "decode"),
        ({"params": to_json({"phase": "prefill"}), "seq_len": 4}, "prefill"),
        ({"params": to_json({"phase": "generate"}), "seq_len": 4, "batch_size": 2}, "generate"),
        ({"params": GQA, "seq_len": 1, "kv_len": 513, "batch_size": 32}, "decode"),
        ({"params": GQA, "seq_len": 256}, "prefill"),
        ({"params": GQA, "seq_len": 256, "batch_size": 8}, "batch"),
        ({"seq_len": 256}, "plain shapes"),
        ({"seq_len": 256, "model": "smollm2_135m"}, "prefill"),
        ({"seq_len": 1, "batch_size": 64}, "plain shapes"),
        ({"seq_len": 1}, "decode"),
        ({"seq_len": 4}, "plain shapes"),
    ],
)
def test_regimes(values: dict[str, Any], expected: str) -> None:
    assert regime(vars(record("torch", **values))) == expected


def test_certainty_has_a_reason_for_each_kind_of_doubt() -> None:
    def why(a: Record, b: Record) -> str:
        found = between(a, b)
        assert found is not None
        return str(certainty(found))

    assert why(timed("mlx", 1e5), timed("torch", 2e5)) == "sure"
    assert (
        why(timed("mlx", 1e5, restarts=1, rounds=2), timed("torch", 1.01e5, restarts=1, rounds=2))
        == "open: only 2 rounds"
    )
    for few, said in ((1, "likely: only 1 restart"), (2, "likely: only 2 restarts"), (3, "sure")):
        assert why(timed("mlx", 1e5, restarts=few), timed("torch", 2e5, restarts=few)) == said
    assert why(timed("mlx", 1e5, sweep_id="a"), timed("torch", 1.1e5, 0.01, noise=4)) == "open: measured in two sweeps"
    assert why(timed("mlx", 1e5, 0.0001), timed("torch", 1.005e5, 0.0001)) == "likely: too little to matter"


@pytest.mark.parametrize(
    ("value", "text"), [(1.038, "1.04x"), (1.2, "1.2x"), (3.24, "3.2x"), (9.96, "10x"), (32.4, "32x")]
)
def test_factors_are_short(value: float, text: str) -> None:
    assert times(value) == text


@pytest.mark.parametrize(
    ("of", "text"),
    [
        ((1.12, 1.04, 1.2), "1.12x [1.04, 1.20]"),
        ((1.12, 0.98, 1.2), "1.1x [1.0, 1.2]"),  # holds 1
        ((3.2, 1.0004, 9.8), "3.2000x [1.0004, 9.8000]"),
        ((0.94, 0.88, 0.997), "0.940x [0.880, 0.997]"),
        ((250.0, 1.01, 400.0), "250x [<2.50, 400]"),  # an open bound is none
    ],
)
def test_an_interval_that_excludes_1_does_not_look_as_if_it_held_it(of: tuple[float, float, float], text: str) -> None:
    assert times(*of) == text


def test_a_deviation_that_excludes_0_does_not_look_as_if_it_held_it() -> None:
    assert deviation(1.0049, 1.0042, 1.006) == "+0.49 % [+0.42 %, +0.60 %]"
    assert deviation(0.9998, 0.9995, 0.99998) == "-0.020 % [-0.050 %, -0.002 %]"
    assert deviation(1.0, 0.99998, 1.0001) == "+0.00 % [-0.00 %, +0.01 %]"


@pytest.mark.parametrize(("seconds", "text"), [(40, "40 s"), (240, "4 min"), (4800, "1 h 20 min")])
def test_waits_are_told_in_words(seconds: float, text: str) -> None:
    assert span(seconds) == text
