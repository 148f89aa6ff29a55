"""Servers with OpenAI's API on this machine (Ollama, LM Studio, llama-server, mlx_lm.server, vLLM): whole texts, as streams."""

import os
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mtbench.errors import ServerFailed, Unsupported, unknown
from mtbench.frameworks._address import EXAMPLE, parse
from mtbench.frameworks._host_arrays import HostArray, HostArrays
from mtbench.frameworks.base import Call, Description, Settings, refuse
from mtbench.reference import array_namespace

if TYPE_CHECKING:
    from mtbench.frameworks._openai_client import Client

KEY_VARIABLE = "OPENAI_API_KEY"

SILENCE_S = 120.0
"""How long a server may send nothing, where framework.settings.silence_s does not say. Some load a model only when they are
first asked for it."""

VERSIONS = (
    ("/version", "version", "vllm"),
    ("/api/version", "version", "ollama"),
    ("/props", "build_info", "llama.cpp"),
)
"""Where servers report their version: the path, the field, and which program has them."""

METRICS, DRAFTS = "/metrics", "spec_decode_num_draft"
"""Where vLLM shows that it drafts tokens: only then it has such counters."""


class OpenAIServer(HostArrays):
    """One model of one server. What is timed is what a client sees: its requests, until they are answered."""

    library = "openai_server"
    array_type = HostArray
    own_settings = ("url", "model", "endpoint", "key_variable", "silence_s")
    needs = MappingProxyType({"url": EXAMPLE})
    own_forms_only = "only whole texts: operator=causal_lm operator.params.phase=generate"
    unverified = "no answer was checked: a server's text has no reference, and its model and precision are what it says"
    measures_peaks = False

    def __init__(self, settings: Settings) -> None:
        own = dict(settings.own)
        if own.get("url") is None:
            raise Unsupported(f"openai_server asks a server that runs already: give framework.url={EXAMPLE}.")
        if settings.matmul_precision == "tf32":
            raise Unsupported("A server takes no precision of products; leave matmul_precision at highest.")
        refuse(settings, "A server")
        from mtbench.frameworks import _openai_server  # here, since this file is read for its names alone, too

        self.client = _client(own)
        endpoint = own.get("endpoint")
        if endpoint is not None and endpoint not in _openai_server.ENDPOINTS:
            raise Unsupported(unknown("framework.settings.endpoint", str(endpoint), _openai_server.ENDPOINTS))
        model, says = self._model(own.get("model"))
        self.server = _openai_server.found(self.client, model, endpoint)
        self.version = self._version() or says or "not told"
        self.device = settings.device
        self.drafts = DRAFTS in str(self._said(METRICS))
        self.xp: SimpleNamespace = array_namespace()
        self.wait = self.submit

    def _model(self, asked: Any) -> tuple[str, str | None]:
        """The model's name as the server has it, and the name of its program. Raises Unsupported and ServerFailed."""
        known, program = self._listed()
        if asked is None and len(known) == 1:
            return known[0], program
        if asked is None:
            there = f"it has {', '.join(known)}" if known else "it lists none"
            raise Unsupported(f"Give framework.model=NAME, a model of {self.client.named}: {there}.")
        name = next((each for each in (f"{asked}", f"{asked}:latest") if each in known), f"{asked}")  # Ollama's tag
        if known and name not in known and not name.startswith("/"):  # some servers load a folder that they do not list
            raise Unsupported(f"{self.client.named} does not list this model. {unknown('model', name, known)}")
        return name, program

    def _listed(self) -> tuple[list[str], str | None]:
        """The names of the server's models, none where it does not list them, and the name of its program."""
        from mtbench.frameworks._openai_client import Refusal

        try:
            said, headers = self.client.get("/models")
        except TimeoutError:
            silent = f"{self.client.named} did not answer within {self.client.silence_s:g} s."
            raise ServerFailed("timeout", silent) from None
        except ConnectionRefusedError:
            raise self._absent("connection refused") from None
        except ConnectionError:  # as from mlx_lm.server where there is no cache of models
            return [], None
        except OSError as error:
            raise self._absent(error.strerror or str(error)) from None
        except Refusal as refusal:
            if refusal.code in (401, 403):
                raise ServerFailed("failed", str(refusal)) from None
            return [], None
        listed = said.get("data") if isinstance(said, dict) else None
        models = listed if isinstance(listed, list) else []
        return [str(each["id"]) for each in models if isinstance(each, dict) and "id" in each], headers.get("Server")

    def _absent(self, why: str) -> Unsupported:
        return Unsupported(f"There is no server at {self.client.address} ({why}): start it, or correct framework.url.")

    def _version(self) -> str | None:
        """The server's program and its version, as far as it says."""
        for path, name, program in VERSIONS:
            said = self._said(path)
            if isinstance(said, dict) and isinstance(said.get(name), str):
                return f"{program} {said[name]}"
        return None

    def _said(self, path: str) -> Any:
        """What the server answers at a path below its root; None where it does not."""
        from mtbench.frameworks._openai_client import FAILURES

        try:
            return self.client.get(path, below=False)[0]
        except FAILURES:
            return None

    def array(self, host: NDArray[Any], dtype: str) -> Any:
        return HostArray.of(host, dtype, self.server)

    def compile(self, call: Call, **usual: Any) -> Call:
        raise Unsupported("A server compiles nothing for us; choose framework=openai_server.")

    def null(self) -> Call:
        """Asks nothing of the server, whose log would fill up otherwise."""
        out = self.array(np.full(1, 2.0), "float32")
        return lambda: out

    def reset_peak(self) -> None:
        """Nothing to reset: the memory is the server's."""

    def peak_bytes(self) -> int | None:
        return None

    def caveats(self) -> list[str]:
        far = [] if self.client.address.is_local else ["the server is on another host: the network is in these times"]
        return far + (["speculative decoding: this server drafts tokens"] if self.drafts else [])

    def describe(self) -> Description:
        return Description(
            library=self.library,
            version=self.version,
            device=self.device,
            device_kind="server",
            device_name="not told",
            threads=None,
            blas=None,
            peak_kind="none: the memory is the server's",
            details={"model": self.server.model, "endpoint": self.server.endpoint},
        )


def _client(own: dict[str, Any]) -> "Client":
    """Raises Unsupported for a setting whose value does not fit."""
    from mtbench.frameworks._openai_client import Client

    silence_s, variable = own.get("silence_s", SILENCE_S), str(own.get("key_variable", KEY_VARIABLE))
    if isinstance(silence_s, bool) or not isinstance(silence_s, int | float) or not 0 < silence_s < 1e6:
        raise Unsupported(f"framework.settings.silence_s={silence_s} must be a number of seconds above 0.")
    return Client(parse(str(own["url"])), float(silence_s), os.environ.get(variable) or None)
