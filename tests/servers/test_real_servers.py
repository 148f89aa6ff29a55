"""Servers that people run, as processes here: a tiny model with random weights, and a tokenizer that the tests make."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest
import tiny
from test_openai_server import BRIEF, NEW, called, start

import mtbench
from mtbench.results.comparison import between

SECONDS = 240
"""For all servers to start: what they import takes some seconds alone, and far longer on a busy machine."""

pytest.importorskip("tokenizers", reason="tokenizers is not installed, which makes the models' tokenizer")


@dataclass(frozen=True)
class Kind:
    """A server's command, for a folder or a file and a port; `needs` are modules without which it does not start."""

    module: str
    needs: Sequence[str]
    model: str  # the file below the folder of both forms
    arguments: Sequence[str]  # with {model} and {port}
    named: str | None = None  # its model's name there, else the path

    @property
    def missing(self) -> list[str]:
        return [name for name in self.needs if importlib.util.find_spec(name) is None]


KINDS = {
    "mlx_lm.server": Kind("mlx_lm.server", ["mlx_lm"], "folder", ["--model", "{model}", "--port", "{port}"]),
    "llama_cpp.server": Kind(
        "llama_cpp.server",
        ["llama_cpp", "fastapi", "uvicorn", "sse_starlette", "starlette_context", "pydantic_settings", "gguf"],
        "tiny.gguf",
        [
            "--model",
            "{model}",
            "--port",
            "{port}",
            "--model_alias",
            "tiny",
            "--n_threads",
            "1",
            "--interrupt_requests",
            "false",
        ],
        named="tiny",
    ),
    "transformers serve": Kind(
        "transformers.cli.transformers",
        ["transformers", "fastapi", "uvicorn", "openai", "accelerate"],
        "folder",
        ["serve", "{model}", "--port", "{port}", "--host", "127.0.0.1", "--device", "cpu"],
    ),
}


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[bytes]
    port: int
    model: str
    log: Path

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            try:
                connection.request("GET", "/v1/models")
                return connection.getresponse().status == 200
            except OSError:
                return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("served")
    tiny.write_folder(made / "folder")
    if not KINDS["llama_cpp.server"].missing:
        tiny.write_gguf(made / "tiny.gguf")
    return made


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[dict[str, Running]]:
    """All servers that can be here, started side by side."""
    (folder / "hub").mkdir()  # where mlx_lm.server looks for models
    offline = {"HF_HOME": str(folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with ExitStack() as stack:
        found = {}
        for name, kind in KINDS.items():
            if kind.missing:
                continue
            with closing(socket.create_server(("127.0.0.1", 0))) as free:
                port = free.getsockname()[1]
            path, log = folder / kind.model, folder / f"{name}.log"
            arguments = [each.format(model=path, port=port) for each in kind.arguments]
            output = stack.enter_context(log.open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", kind.module, *arguments],
                stdout=output,
                stderr=output,
                env={**os.environ, **offline},
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            found[name] = Running(process, port, kind.named or str(path), log)
        until = time.monotonic() + SECONDS
        while not all(each.is_ready() for each in found.values()):
            assert time.monotonic() < until, "a server did not start"
            time.sleep(0.2)
        yield found


@pytest.fixture
def server(request: pytest.FixtureRequest, running: dict[str, Running]) -> Running:
    if missing := KINDS[request.param].missing:
        pytest.skip(f"{request.param} needs {', '.join(missing)}, which is not installed")
    return running[request.param]


@pytest.mark.parametrize("server", KINDS, indirect=True)
def test_a_server_is_asked_for_texts(server: Running) -> None:
    call, came = called(server.port, server.model, batch=2, prompt=40, times=2)
    assert came.tolist() == [NEW] * 2
    assert all(0 < first < second for first, second in call.stamps)
    assert not any("prompts" in each or "early" in each for each in call.caveats())
    assert start(server.port, server.model).describe().details["endpoint"] == "completions"


def test_a_server_stands_beside_a_library_that_runs_the_same_weights(
    folder: Path, running: dict[str, Running], tmp_path: Path
) -> None:
    """The one is verified and the other is not, so that there is no verdict."""
    if "mlx_lm.server" not in running:
        pytest.skip("mlx_lm is not installed")
    found = mtbench.measure(
        folder=tmp_path,
        operator="causal_lm",
        framework=["mlx", "openai_server"],
        dtype="bfloat16",
        device="cpu",
        params={"phase": "generate", "new_tokens": NEW, "checkpoint": str(folder / "folder")},
        shape={"batch_size": 1, "seq_len": 40},
        overrides=[f"framework.url=http://127.0.0.1:{running['mlx_lm.server'].port}/v1", *BRIEF],
    )
    mlx, server = sorted(found.rows, key=lambda one: one.framework)
    assert (mlx.status, server.status, mlx.cell_id == server.cell_id) == ("ok", "unverified", True)
    assert mlx.tokens == server.tokens == NEW
    assert min(mlx.decode_tokens_per_s or 0, server.decode_tokens_per_s or 0) > 0
    assert between(mlx, server) is None
    assert [one.arm for one in found.best()] == ["mlx-cpu"]
    (sentence,) = found.answers().headline
    assert "server" not in sentence
