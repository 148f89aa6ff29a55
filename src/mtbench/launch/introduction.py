"""What `mtbench` says when it is asked for nothing: the few commands to begin with, within 80 columns."""

from mtbench.console.lines import tell

TEXT = """\
mtbench tells which library runs a small transformer fastest on this machine,
and how sure that is.

Ask for the answer:
  mtbench which                         a small language model, in five minutes
  mtbench which model=qwen3_0_6b --minutes 20
                                        another model; or model=PATH/config.json

Measure what you like; several values, separated by commas, compete:
  mtbench operator=mha framework=torch,mlx
  mtbench operator=mha framework=torch,torch_compiled dtype=float32,bfloat16
  mtbench +experiment=decode_vs_prefill
  mtbench ... --dry-run                 what that would measure, and how long

Look at it:
  mtbench report --open                 all that was measured, as pages
  mtbench compare multirun/A multirun/B

Find your way:
  mtbench list                          every name, with a line on each
  mtbench doctor                        what would disturb a measurement here
  mtbench help                          all settings; mtbench help COMMAND
  mtbench completion bash               for your shell; or zsh, fish
"""


def introduce() -> None:
    """Prints it."""
    tell(TEXT)
