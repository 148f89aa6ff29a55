"""What this machine is, and what would disturb a measurement on it.

`describe` and `identity` say what it is; `doctor` what is wrong with it now, `contenders` what can run on it, and `console`
shows all three in a terminal; `watch` says what happens to it during a run, `energy` what a run costs. The readers of each
system stand apart: `linux`, `macos`, `nvidia`.
Nothing here imports a framework, needs administrator rights, or keeps anything that names a person or a host.
"""

from mtbench.machine.description import describe, identity

__all__ = ["describe", "identity"]
