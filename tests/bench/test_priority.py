"""A worker asks macOS for performance cores, and nothing of other systems."""

from types import SimpleNamespace

import pytest

from mtbench.bench import wire
from mtbench.bench.worker import worker
from mtbench.bench.worker.priority import raise_priority
from mtbench.frameworks.base import Settings
from mtbench.plan.protocol import Protocol


class Setter:
    """Stands in for pthread_set_qos_class_self_np(qos_class, relative_priority)."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def __call__(self, quality: int, relative: int) -> int:
        self.calls.append((quality, relative))
        return 0


def test_macos_is_asked_for_what_a_person_waits_for():
    setter = Setter()
    raise_priority("darwin", SimpleNamespace(pthread_set_qos_class_self_np=setter))
    assert setter.calls == [(0x19, 0)]


def test_a_system_that_has_no_such_thing_is_no_error():
    raise_priority("darwin", SimpleNamespace())
    raise_priority("linux", SimpleNamespace(pthread_set_qos_class_self_np=lambda *_: pytest.fail("asked")))


def test_a_worker_asks_before_its_library_makes_threads(tmp_path):
    class Asked(Exception):
        pass

    def asked() -> None:
        raise Asked

    library = tmp_path / "greedy.py"
    library.write_text("raise AssertionError('the library came first')\n")
    with pytest.raises(Asked):
        worker.Worker(asked).start(wire.Start("greedy", str(library), "eager", Settings(), Protocol()))
