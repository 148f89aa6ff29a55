"""A server as a contender: what is asked of it, what is counted, and what it costs where it fails."""

import io
import json
import socket
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from misbehaving import KEY, TEMPLATE, Handler, Server

import mtbench
from conftest import held_port, misbehaving
from mtbench import paths
from mtbench.bench.controller.begun import state_of
from mtbench.bench.controller.job_record import record_of
from mtbench.bench.controller.job_state import Sweep
from mtbench.bench.worker import forms
from mtbench.catalogue import registry
from mtbench.engines import resume
from mtbench.errors import ConfigError, ServerFailed, Unsupported
from mtbench.exchange import check
from mtbench.frameworks import _address
from mtbench.frameworks._openai_client import Client
from mtbench.frameworks.base import Settings
from mtbench.operators.base import Operator
from mtbench.plan.arm import Arm
from mtbench.results.cells import by_cell
from mtbench.results.comparison import between
from mtbench.results.record import Record

NEW = 6

BRIEF = [
    "protocol=quick", "protocol.restarts=1", "protocol.looks=[3]", "protocol.block_ms=1", "protocol.block_calls=2",
    "protocol.warmup_calls=1", "protocol.warmup_s=0", "protocol.warmup_cap_s=0.05", "protocol.cell_budget_s=60",
]  # fmt: skip


def text(**params: Any) -> Operator:
    problem: Operator = registry.load("operator", "causal_lm").from_params(
        {"phase": "generate", "new_tokens": NEW} | params
    )
    return problem


def start(port: int, model: str | None, **own: Any) -> Any:
    given = {"url": f"http://127.0.0.1:{port}/v1", **({} if model is None else {"model": model}), **own}
    return registry.load("framework", "openai_server")(Settings(own=tuple(sorted(given.items()))))


def build_call(framework: Any, problem: Operator) -> Any:
    weights = problem.weights(np.random.default_rng(0))
    return forms.build(
        framework, problem, "native", SimpleNamespace(**{n: framework.array(v, "float32") for n, v in weights.items()})
    )


def called(port: int, model: str, batch: int = 1, prompt: int = 20, times: int = 1, **own: Any) -> tuple[Any, Any]:
    """The call of a model after some calls, and its last answer."""
    framework = start(port, model, **own)
    call = build_call(framework, text())
    tokens = framework.array(np.zeros((batch, prompt), np.int64), "float32")
    for _ in range(times):
        out = call(tokens)
    assert framework.leaves(out) == [out]
    return call, framework.host(out)


def test_a_text_comes_with_the_tokens_that_were_asked_for(port: int, seen: Callable[[], Any]) -> None:
    call, came = called(port, "good", batch=3, times=2)
    assert came.tolist() == [NEW] * 3
    assert call.tokens_per_call == 3 * NEW
    assert call.caveats() == []
    assert len(call.stamps) == 2
    assert all(0 < first < second for first, second in call.stamps)
    body = seen()["bodies"][-1]
    assert (body["max_tokens"], body["temperature"], body["stream"], body["chat"]) == (NEW, 0, True, False)
    assert len(body["prompt"].split()) == 20


def test_requests_are_at_once_and_no_prompt_is_sent_twice(port: int, seen: Callable[[], Any]) -> None:
    before = len(seen()["prompts"])  # of other tests: some have one word
    called(port, "good", batch=4, prompt=30, times=5)
    prompts = [tuple(prompt.split()) for prompt in seen()["prompts"][before:]]
    assert len(prompts) >= 20
    assert len(set(prompts)) == len(prompts)
    shared = [next((i for i in range(len(b)) if a[: i + 1] != b[: i + 1]), 0) for a, b in pairwise(prompts)]
    assert max(shared) < 10  # of 100 words: no cache of prefixes helps
    assert seen()["at_once"] > 1


@pytest.mark.parametrize(
    ("model", "prompt", "came", "says"),
    [
        ("chunked", 20, NEW, None),
        ("splits", 20, NEW, None),
        ("thinks", 20, NEW, None),
        ("strict", 20, NEW, None),
        ("talks", 20, NEW, None),
        ("talks", 3, NEW, f"prompts had {TEMPLATE + 1} tokens by the server's count, where 3 were asked for"),
        ("pairs", 20, NEW, "2.0 tokens came in a chunk on average, by speculative decoding"),
        (
            "uncounted",
            20,
            NEW,
            "tokens are counted by chunks, of 2.00 tokens each: the server's streams do not count them",
        ),
        ("early", 20, NEW // 2, f"1 of 1 texts ended early, with {NEW // 2} of {NEW} tokens on average"),
        ("drafts", 20, NEW, "speculative decoding: the server drafted tokens"),
        ("cached", 20, NEW, "100 % of the prompts came from the server's cache"),
    ],
)
def test_tokens_are_those_that_the_server_counts(
    port: int, model: str, prompt: int, came: int, says: str | None
) -> None:
    call, found = called(port, model, prompt=prompt)
    assert found.tolist() == [came]
    assert len(call.caveats()) == (says is not None)
    assert says is None or call.caveats()[0].startswith(says)


def test_a_chat_is_asked_for_where_there_are_no_completions(port: int, seen: Callable[[], Any]) -> None:
    framework = start(port, "talks")
    assert framework.describe().details == {"model": "talks", "endpoint": "chat"}
    build_call(framework, text())(np.zeros((1, 20)))
    body = seen()["bodies"][-1]
    assert body["chat"]
    assert len(body["messages"][0]["content"].split()) == 20 - TEMPLATE
    assert start(port, "good").describe().details["endpoint"] == "completions"
    assert start(port, "good", endpoint="chat").describe().details["endpoint"] == "chat"


def test_a_server_that_counts_nothing_is_counted_by_chunks(port: int) -> None:
    call, came = called(port, "silent")
    assert came.tolist() == [NEW]
    assert call.caveats() == [
        "prompts have one word for each token asked for: the server does not count a prompt's tokens",
        "each chunk is taken for one token: the server does not count them",
    ]


def test_what_a_chunk_without_text_says_is_no_token(port: int) -> None:
    """A chat's first chunk names a role alone."""
    framework = start(port, "talks")
    found = framework.server.text(framework.server.prompt(20), NEW)
    assert (len(found.arrivals), found.tokens) == (NEW, NEW)


HERE = r"the server at http://127\.0\.0\.1:\d+/v1"


@pytest.mark.parametrize(
    ("model", "status", "says"),
    [
        (
            "breaks",
            "crashed",
            rf"^{HERE} closed its connection in the middle of a text, after 2 chunks of it; its own log",
        ),
        (
            "hangs",
            "timeout",
            rf"^{HERE} sent nothing for 3 s in the middle of a text, after 2 chunks of it \(",
        ),
        ("babbles", "failed", rf"^{HERE} sent something that is not an event of a stream: {{no json at all$"),
        ("lists", "failed", rf"^{HERE} sent something that is not an event of a stream: \[1, 2, 3\]$"),
        (
            "page",
            "failed",
            rf"^{HERE} sent something that is not an event of a stream: <html><body>Welcome</body></html>$",
        ),
        ("refuses", "failed", rf"^{HERE} answered HTTP 500: out of luck$"),
        ("complains", "failed", rf"^{HERE} ended a text with an error: the model fell over$"),
        ("empty", "failed", rf"^{HERE} answered with a text of no tokens\.$"),
        ("forgets", "failed", rf"^{HERE} ended a text without the number of its tokens, which it gave before\.$"),
        ("missing", "failed", rf"^{HERE} answered HTTP 404: no model or place for missing$"),
    ],
)
def test_a_failure_is_one_line(port: int, model: str, status: str, says: str) -> None:
    with pytest.raises(ServerFailed, match=says) as failed:
        called(port, model, silence_s=3)
    assert failed.value.status == status
    assert "\n" not in str(failed.value)


def test_a_server_that_is_gone_is_one_line() -> None:
    with held_port() as port:
        with misbehaving(port):
            call = build_call(start(port, "good"), text())
            with pytest.raises(ServerFailed, match=r"broke off|closed its connection"):
                called(port, "exits")
        with pytest.raises(ServerFailed, match="no longer answers: connection refused") as failed:
            call(np.zeros((2, 20)))
    assert failed.value.status == "crashed"


def test_what_is_no_server_is_one_line() -> None:
    with held_port() as free:
        says = rf"^There is no server at http://127\.0\.0\.1:{free}/v1 \(connection refused\)"
        with pytest.raises(Unsupported, match=says):
            start(free, "good")


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
def test_no_proxy_is_asked(port: int, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    with held_port() as refusing:
        for name in (variable, variable.upper()):
            monkeypatch.setenv(name, f"http://127.0.0.1:{refusing}")
        assert start(port, "good").server.model == "good"


def test_localhost_is_found_by_either_kind_of_address(port: int) -> None:
    """The name stands for ::1 as well on most machines, and a server may listen on one of the two alone."""
    assert start(port, "good", url=f"http://localhost:{port}/v1").server.model == "good"
    try:
        server = Server6(("::1", 0), Handler)
    except OSError:
        pytest.skip("there is no ::1 here")
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        framework = start(server.server_port, "good", url=f"http://[::1]:{server.server_port}/v1")
        server.shutdown()
    assert (framework.server.model, framework.caveats()) == ("good", [])


class Server6(Server):
    address_family = socket.AF_INET6


DATA = b'data: {"choices": []}\n\n'


@pytest.mark.parametrize("end", [b"", b"d", b"data", b"data:", b'data: {"choi', b": a com"])
def test_a_stream_that_is_cut_anywhere_is_no_garbage(end: bytes) -> None:
    assert len(list(client()._events(io.BytesIO(DATA + end)))) == 1


@pytest.mark.parametrize("end", [b"data: [DONE]", b"data: [DONE]\n\n", b"data: [DONE]\r\n\r\n", b"data:[DONE]\n"])
def test_a_stream_ends_with_or_without_a_line_of_its_own(end: bytes) -> None:
    assert list(client()._events(io.BytesIO(DATA + end)))[-1] is None


def test_comments_without_end_are_silence() -> None:
    """Servers send them while they compute, and go on where that hangs."""
    assert len(list(client()._events(io.BytesIO(b": ping\n\n" * 9 + DATA)))) == 1
    with pytest.raises(TimeoutError):
        list(client(silence_s=0)._events(io.BytesIO(b": ping\n\n" * 9 + DATA)))


def client(silence_s: float = 60) -> Any:
    return Client(_address.parse(_address.EXAMPLE), silence_s)


def test_a_key_is_sent_and_told_to_nobody(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    assert called(port, "locked", key_variable="MY_KEY")[1].tolist() == [NEW]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another-key-of-mine")
    with pytest.raises(ServerFailed, match=r"HTTP 401 \(a key is taken .*\): wrong key Bearer \(the key\)$"):
        start(port, "locked")


@pytest.mark.parametrize(
    ("model", "own", "says"),
    [
        (None, {}, "Give framework.model=NAME, a model of the server at .*: it has good, chunked"),
        ("god", {}, "does not list this model. No model 'god'. Did you mean 'good'?"),
        ("good", {"endpoint": "responses"}, "No framework.settings.endpoint 'responses'. Known: chat, completions"),
        ("good", {"silence_s": 0}, "framework.settings.silence_s=0 must be a number of seconds above 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(port: int, model: str | None, own: dict[str, Any], says: str) -> None:
    with pytest.raises(Unsupported, match=says.replace("?", r"\?")):
        start(port, model, **own)


def test_a_server_says_what_it_is(port: int) -> None:
    assert start(port, "small").server.model == "small:latest"
    said = start(port, "good").describe()
    assert (said.version, said.device, said.device_kind) == ("ollama 0.0.1", "auto", "server")


def test_a_server_makes_whole_texts_alone(port: int) -> None:
    framework = start(port, "good")
    published = yaml.safe_load((paths.conf() / "model" / "smollm2_135m.yaml").read_text())["config"]
    with pytest.raises(Unsupported, match=r"gives whole texts, no phase=decode: use .*phase=generate"):
        build_call(framework, text(config=json.dumps(published), phase="decode", new_tokens=None))
    with pytest.raises(Unsupported, match="openai_server runs only whole texts"):
        build_call(framework, registry.load("operator", "softmax")())


def test_a_model_has_to_be_chosen_where_no_server_has_one() -> None:
    text().check_library("openai_server")
    for library in ("torch", "mlx", "llama_cpp"):
        with pytest.raises(ConfigError, match="runs a whole model; choose one"):
            text().check_library(library)
    with pytest.raises(ConfigError, match=r"Only a server brings its own, for operator.params.phase=generate"):
        text(phase="decode", new_tokens=None)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://127.0.0.1:8080/v1", "127.0.0.1_8080"),
        ("http://localhost:11434", "localhost_11434"),
        ("http://[::1]:8080/v1", None),
        ("https://somebody.example/v1", None),
        ("http://localhost:8080/other", None),
    ],
)
def test_an_arm_is_named_by_a_port_of_this_machine_and_by_no_other_address(url: str, word: str | None) -> None:
    arm = Arm("openai_server", own=(("model", "org/tiny-4bit"), ("url", url)))
    assert arm.name.startswith("openai_server-model=org_tiny-4bit-url=")
    assert arm.name.endswith(f"url={word}") is (word is not None)
    assert "somebody" not in arm.name
    assert "Users" not in Arm("openai_server", own=(("model", "/Users/somebody/tiny"),)).name


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("127.0.0.1:8080", "is no address of a server; write it as http://127.0.0.1:8080/v1"),
        ("http://me:pw@127.0.0.1/v1", "must not name a user or go on after its path"),
        ("http://127.0.0.1/v1?key=abcdef", "must not name a user or go on after its path"),
        ("http://127.0.0.1:x/v1", "framework.url is no address"),
    ],
)
def test_what_is_no_address_or_tells_a_secret_is_refused(url: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        _address.parse(url)
    assert says in str(refused.value)
    assert "pw" not in str(refused.value)
    assert "abcdef" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ([], "framework=openai_server needs framework.url, such as framework.url=http://127.0.0.1:8080/v1"),
        (["framework.url=127.0.0.1:8080"], "is no address of a server"),
        (
            ["framework.url=http://127.0.0.1/v1", "framework.env.OPENAI_API_KEY=sk-x"],
            "set OPENAI_API_KEY in the shell instead",
        ),
    ],
)
def test_a_mistake_is_said_before_anything_is_asked(settings: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        mtbench.make_plan(
            operator="causal_lm", framework="openai_server", params={"phase": "generate"}, overrides=settings
        )
    assert says in str(refused.value)
    assert "sk-x" not in str(refused.value)


def test_other_libraries_of_a_sweep_are_asked_for_no_server() -> None:
    made = mtbench.make_plan(
        operator="causal_lm",
        model="smollm2_135m",
        framework=["torch", "openai_server"],
        params={"phase": "generate"},
        overrides=["framework.url=http://127.0.0.1:1/v1", "framework.model=a,b"],
    )
    assert [arm.name for arm in made.arms] == [
        "torch", "openai_server-model=a-url=127.0.0.1_1", "openai_server-model=b-url=127.0.0.1_1"
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"framework\.url is a setting of a server, and torch is no server"):
        mtbench.make_plan(operator="softmax", framework="torch", overrides=["framework.url=http://127.0.0.1:1/v1"])


# a sweep


@pytest.fixture(scope="module")
def sweep(port: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several models of one server against each other, of which some fail; NumPy beside them, with what it can."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", KEY)
        mtbench.measure(
            folder=folder,
            operator="causal_lm",
            framework="openai_server",
            params={"phase": "generate", "new_tokens": NEW},
            shape={"batch_size": 2, "seq_len": 20},
            overrides=[
                f"framework.url=http://127.0.0.1:{port}/v1",
                "framework.model=locked,early,breaks,refuses,babbles",
                *BRIEF,
            ],
        )
    return folder


@pytest.fixture(scope="module")
def rows(sweep: Path) -> dict[str, Record]:
    return {json.loads(one.asked_settings)["settings"]["model"]: one for one in mtbench.read(sweep).rows}


def test_a_server_that_fails_costs_its_own_job_one_line(rows: dict[str, Record]) -> None:
    assert {model: one.status for model, one in rows.items()} == {
        "locked": "unverified", "early": "unverified", "breaks": "crashed", "refuses": "failed", "babbles": "failed"
    }  # fmt: skip
    for model in ("breaks", "refuses", "babbles"):
        assert rows[model].latency_ns is None
        assert "\n" not in (rows[model].reason or "\n")


def test_a_speed_of_a_server_is_unverified(rows: dict[str, Record]) -> None:
    for model, came in (("locked", NEW), ("early", NEW // 2)):
        one = rows[model]
        assert one.latency_ns is not None
        assert one.throughput_ns is not None
        assert one.tokens == 2 * came
        assert one.tokens_per_s == pytest.approx(2 * came * 1e9 / one.throughput_ns)
        assert 0 < (one.time_to_first_token_ns or 0) < one.latency_ns
        assert (one.decode_tokens_per_s or 0) > 0
        assert one.verify_error is one.verify_tolerance is one.flops is one.limit_fraction is one.peak_bytes is None
        assert (one.reason or "").startswith("no answer was checked")
    assert any(f"ended early, with {NEW // 2} of {NEW} tokens" in one for one in rows["early"].warnings)


def test_it_is_in_no_verdict_and_no_ranking(sweep: Path, rows: dict[str, Record]) -> None:
    found = mtbench.read(sweep)
    assert found.best() == []
    answers = found.answers()
    assert not any(one.contests for one in answers.rounds)
    assert any("2 of 5 jobs are unverified" in str(one) for one in answers.caveats)
    assert between(rows["locked"], rows["early"]) is None
    assert any("unverified" in reason for reason in check.reasons(rows["locked"]))
    assert "unverified" in repr(found)
    assert len(by_cell(found.rows)) == 1


def test_nothing_is_left_of_a_sweep_of_servers(sweep: Path) -> None:
    plan = resume.read_plan(sweep)
    said = str(resume.rest(plan, sweep))
    assert said == "all 5 jobs are done (3 without a result, which --retry measures again); nothing is left"
    again = resume.rest(plan, sweep, protocol=resume.sharpened(plan.protocol, 2))
    assert {job.arm.name.split("model=")[1].split("-")[0] for job in again.jobs} == {"locked", "early"}
    assert [state.counted_tokens for state in again.begun.states.values()] == [2 * NEW, NEW]


def test_no_file_holds_the_key(sweep: Path) -> None:
    for file in sweep.rglob("*"):
        assert file.is_dir() or KEY.encode() not in file.read_bytes(), file


@pytest.mark.parametrize("status", ["crashed", "timeout", "unsupported"])
def test_a_server_that_dies_later_keeps_what_was_measured_before(
    rows: dict[str, Record], sweep: Path, status: str
) -> None:
    """One that is not there when its worker starts again is `unsupported`."""
    plan = resume.read_plan(sweep)
    job = next(job for job in plan.jobs if job.id == rows["locked"].job_id)
    state = state_of(job, rows["locked"], 1)
    state.fail(status, "there is no server any more")
    one = record_of(state, Sweep("a", plan.protocol, "m", {}))
    assert (one.status, one.latency_ns) == ("unverified", rows["locked"].latency_ns)
    assert one.tokens_per_s == pytest.approx(rows["locked"].tokens_per_s)
    assert f"ended early: {status} in restart 2: there is no server any more" in one.warnings
