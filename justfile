# Recipes for users and developers. All of them work in .venv, which `setup` makes and keeps up to date.

# "$@" keeps what is quoted.
set positional-arguments

python := ".venv/bin/python"

[private]
default:
    @'{{ just_executable() }}' --justfile '{{ justfile() }}' --list --unsorted

# Make the environment, or update it if pyproject.toml or constraints.txt changed
setup:
    #!/usr/bin/env sh
    set -eu
    [ -e {{ python }} ] || [ -L {{ python }} ] || python3 -m venv .venv
    sh .ci/can_install {{ python }}
    # The backend that fits this machine: Metal on macOS, CUDA where an NVIDIA driver answers, else the CPU.
    if [ "$(uname)" = Darwin ]; then extra=metal
    elif nvidia-smi -L 2>/dev/null | grep -q GPU; then extra=cuda
    else extra=cpu; fi
    checksum='import hashlib, sys; print(hashlib.sha256(b"".join(open(f, "rb").read() for f in sys.argv[1:])).hexdigest())'
    # Python's own version too, since packages of one are not those of another.
    wanted="$extra $({{ python }} --version) $({{ python }} -c "$checksum" pyproject.toml constraints.txt)"
    [ "$(cat .venv/installed 2>/dev/null || true)" != "$wanted" ] || exit 0
    echo "Installing mtbench[$extra,dev] into .venv; the first time takes some minutes."
    {{ python }} -m pip --version >/dev/null 2>&1 || {{ python }} -m ensurepip >/dev/null # uv makes environments without pip
    [ -t 1 ] && quiet= || quiet=--quiet
    {{ python }} -m pip install $quiet --constraint constraints.txt --editable ".[$extra,dev]"
    echo "$wanted" > .venv/installed

# Measure a small sweep in a minute or two and build its report
quick *args: setup
    {{ python }} -m mtbench +experiment=quick {{ args }} -m; measured=$?; {{ python }} -m mtbench report --out reports && exit $measured

# Run all tests, or those of a path; `--device gpu` runs the operators on MPS, Metal or CUDA
test *args: setup
    #!/usr/bin/env sh
    set -eu
    for arg in "$@"; do
        if [ -e "${arg%%::*}" ]; then exec {{ python }} -m pytest "$@"; fi
    done
    first=0 second=0 # 5: a part in which an option selects nothing
    {{ python }} -m pytest -n auto --maxprocesses 4 tests/operators "$@" || first=$?
    [ $first -eq 0 ] || [ $first -eq 5 ] || exit $first
    # By files: what the tests of one share, such as a sweep, is made by one process alone.
    {{ python }} -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --ignore tests/operators "$@" || second=$?
    [ $second -eq 5 ] && exit $first || exit $second

# Measure: `just run operator=mha framework=torch,mlx -m`
run *args: setup
    {{ python }} -m mtbench {{ args }}

# Build the report of all records in multirun/, or of the given folders
report *args: setup
    {{ python }} -m mtbench report {{ args }}

# List the operators, frameworks and experiments
list: setup
    {{ python }} -m mtbench list

# Show what this machine is and what would disturb a measurement; --report prints it for an issue
doctor *args: setup
    {{ python }} -m mtbench doctor {{ args }}

# Test the instrument on this machine; ten minutes, or a minute or two with --quick
selftest *args: setup
    {{ python }} -m mtbench selftest {{ args }}

# Break it in every way that it must survive: kills, full disks, bad operators, records and settings; an hour, --scale 0.1 a tenth
chaos *args: setup
    {{ python }} tests/chaos {{ args }}

# Lint, and check types for Linux and for macOS
check: setup
    {{ python }} -m ruff check
    {{ python }} -m ruff format --check
    {{ python }} -m mypy --platform linux
    {{ python }} -m mypy --platform darwin --cache-dir .mypy_cache/darwin

# Build the wheel into dist/
build: setup
    {{ python }} -m pip wheel --quiet --no-deps --wheel-dir dist .
    @ls dist

# Remove the environment, caches and builds; records and reports stay
clean:
    rm -rf .venv dist build .mypy_cache .pytest_cache .ruff_cache
