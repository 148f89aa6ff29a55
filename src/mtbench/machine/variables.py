"""Environment variables that change what is measured."""

from collections.abc import Mapping

from mtbench.machine.finding import Finding

# What a variable does to a measurement when it has a value; with "0" and "" none of these is in force.
_VARIABLES = {
    "PYTORCH_ENABLE_MPS_FALLBACK": "silently runs operators on the CPU instead of the GPU",
    "MLX_DISABLE_COMPILE": "turns mx.compile off, so that mlx_compiled measures mlx",
    "TORCH_COMPILE_DISABLE": "turns torch.compile off, so that torch_compiled measures torch",
    "TORCHDYNAMO_DISABLE": "turns torch.compile off, so that torch_compiled measures torch",
    "CUDA_LAUNCH_BLOCKING": "makes every CUDA kernel wait for the one before, so that nothing overlaps",
    "PYTORCH_NO_CUDA_MEMORY_CACHING": "makes torch ask the driver for every piece of memory",
    "MTL_DEBUG_LAYER": "has Metal check every call",
    "MTL_SHADER_VALIDATION": "has Metal check every memory access",
    "METAL_DEVICE_WRAPPER_TYPE": "has Metal check every call",
    "PYTORCH_MPS_PREFER_METAL": "has torch multiply matrices by kernels of its own instead of Apple's",
    "PYTORCH_MPS_FAST_MATH": "has torch's kernels on MPS round less exactly",
    "PYTORCH_MPS_DISABLE_PREFILL_ATTENTION": "turns one of torch's attention kernels on MPS off",
    "PYTORCH_MPS_HIGH_WATERMARK_RATIO": "changes how much memory torch takes on MPS before it gives up",
    "MLX_METAL_FAST_SYNCH": "changes how MLX waits for the GPU",
    "MLX_MAX_OPS_PER_BUFFER": "changes how much work MLX hands to the GPU at a time",
    "MLX_MAX_MB_PER_BUFFER": "changes how much work MLX hands to the GPU at a time",
}
_WHATEVER_THE_VALUE = {
    "MLX_DISABLE_COMPILE",  # MLX looks whether it is there, not what it says
    "PYTORCH_MPS_HIGH_WATERMARK_RATIO",  # 0 is no limit
}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def on_environment(environment: Mapping[str, str], cores: int | None, on_macos: bool) -> list[Finding]:
    """Variables that change what is measured."""
    findings = [
        Finding("warning", f"{name}={environment[name]} {effect}.", f"unset {name}")
        for name, effect in _VARIABLES.items()
        if name in environment and (name in _WHATEVER_THE_VALUE or environment[name] not in ("", "0"))
    ]
    if environment.get("NVIDIA_TF32_OVERRIDE") is not None:
        value = environment["NVIDIA_TF32_OVERRIDE"]
        findings.append(
            Finding(
                "warning",
                f"NVIDIA_TF32_OVERRIDE={value} overrules matmul_precision in every library.",
                "unset NVIDIA_TF32_OVERRIDE",
            )
        )
    if environment.get("OMP_WAIT_POLICY", "").lower() == "active":
        findings.append(
            Finding("warning", "OMP_WAIT_POLICY=active lets idle workers burn cores.", "unset OMP_WAIT_POLICY")
        )
    threads = {name: environment[name] for name in _THREADS if name in environment}
    for name, value in threads.items():
        count = int(value) if value.isdecimal() else None
        if count is not None and cores is not None and count > cores:
            findings.append(
                Finding("warning", f"{name}={value} asks for more threads than {cores} cores can run.", f"unset {name}")
            )
        else:
            findings.append(
                Finding("note", f"{name}={value} limits the threads of libraries that read it.", f"unset {name}")
            )
    if on_macos and "OMP_NUM_THREADS" in threads and "VECLIB_MAXIMUM_THREADS" not in threads:
        findings.append(
            Finding(
                "note",
                "OMP_NUM_THREADS binds torch but not Accelerate, which multiplies matrices on a Mac.",
                "export VECLIB_MAXIMUM_THREADS to the same number, or unset both.",
            )
        )
    return findings or [Finding("ok", "Environment: nothing that changes what is measured.")]
