"""What would disturb a measurement on a Mac only."""

import re
from collections.abc import Mapping
from typing import Any

from mtbench.machine import macos, macos_watch
from mtbench.machine.finding import Finding
from mtbench.machine.watch import Reading
from mtbench.results.format import percent

BUSY_GPU = 0.2
"""A desktop that only draws keeps below."""

FIRST_TENSOR_CHIP = 5
"""Of Apple's M series: the first whose GPU has matrix units, which MLX's wheel for macOS 26 alone uses."""


def on_mac(reading: Reading, description: Mapping[str, Any]) -> list[Finding]:
    """All of it; what fails to answer is left out, the rest stands."""
    findings = [
        *on_translation(macos.translated()),
        *on_background(macos_watch.background()),
        *on_gpu_load(reading.gpu_load),
        *on_tensor_units(str(description.get("chip")), _wheel_tag()),
    ]
    if macos.process_info() is None:
        cure = "pip install pyobjc-framework-Cocoa (or 'mtbench[metal]')"
        findings.append(Finding("note", "NSProcessInfo cannot be asked.", cure))
    return findings


def on_translation(translated: bool) -> list[Finding]:
    """Rosetta."""
    if not translated:
        return []
    return [
        Finding(
            "warning",
            "This Python is an Intel program that Rosetta translates: everything on the CPU is slower.",
            "Install an arm64 Python (python.org or Homebrew under /opt/homebrew), and mtbench with it.",
        )
    ]


def on_background(background: bool | None) -> list[Finding]:
    """A process in the background runs on efficiency cores alone."""
    if not background:
        return []
    return [
        Finding(
            "warning",
            "This process runs in the background, where macOS gives it only efficiency cores.",
            "Start it from a terminal, without taskpolicy -b, and not from a launchd job of ProcessType Background.",
        )
    ]


def on_gpu_load(load: float | None) -> list[Finding]:
    """Others on the GPU, which macOS does not name without administrator rights."""
    if load is None:
        return []
    if load > BUSY_GPU:
        return [
            Finding(
                "warning",
                f"Something keeps the GPU busy, {percent(load)} of the time.",
                "Close what draws or computes: Activity Monitor, Window > GPU History, shows when it is calm.",
            )
        ]
    return [Finding("ok", f"GPU: {percent(load)} busy.")]


def on_tensor_units(chip: str, wheel_tag: str | None) -> list[Finding]:
    """M5 and later: which build of MLX is installed, and what float32 means there."""
    named = re.match(r"Apple M(\d+)", chip)
    if named is None or int(named.group(1)) < FIRST_TENSOR_CHIP:
        return []
    findings = [
        Finding(
            "note",
            "By default MLX multiplies float32 in TF32 on this chip. matmul_precision=highest turns that off, so times are "
            "slower than MLX's users see.",
            "matmul_precision=tf32 measures what they see.",
        )
    ]
    if wheel_tag is not None and "macosx_26" not in wheel_tag:
        findings.append(
            Finding(
                "warning",
                f"The installed build of MLX ({wheel_tag}) does not use this chip's matrix units.",
                "pip chose it because this Python reports an older macOS. Use a newer Python, on macOS 26.2 or later.",
            )
        )
    return findings


def _wheel_tag() -> str | None:
    from mtbench.frameworks.mlx import wheel_tag

    return wheel_tag()
