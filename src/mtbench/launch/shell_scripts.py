"""What `mtbench completion SHELL` prints: each shell asks `mtbench completion --for SHELL` for the candidates of a word."""

BASH = """\
# Completion of mtbench in bash 3.2 and later: eval "$(mtbench completion bash)"
_mtbench() {
    local line="${COMP_LINE:0:COMP_POINT}" word before="" each
    word="${line##*[[:space:]]}"
    # bash replaces only what stands behind the last character that breaks words, such as =
    if [[ "$COMP_WORDBREAKS" == *=* && "$word" == *[=:]* ]]; then before="${word%"${word##*[=:]}"}"; fi
    COMPREPLY=()
    while IFS= read -r each; do
        COMPREPLY+=("${each#"$before"}")
    done < <(command mtbench completion --for bash "$line" 2>/dev/null)
}
complete -o nospace -F _mtbench mtbench
"""

ZSH = """\
#compdef mtbench
# Completion of mtbench in zsh: eval "$(mtbench completion zsh)" behind compinit, or as _mtbench in a folder of $fpath
_mtbench() {
    local -a found
    found=("${(@f)$(command mtbench completion --for zsh "${(@Q)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}")
    compadd -S '' -- ${found:#* }
    compadd -S ' ' -- ${${(M)found:#* }% }
}
if [ "$funcstack[1]" = "_mtbench" ]; then _mtbench "$@"; else compdef _mtbench mtbench; fi
"""

FISH = """\
# Completion of mtbench in fish: mtbench completion fish > ~/.config/fish/completions/mtbench.fish
function __mtbench_candidates
    set -l words (commandline -opc)
    set -e words[1]
    command mtbench completion --for fish $words (commandline -ct | string collect --allow-empty) 2>/dev/null
end
complete -c mtbench -f -a '(__mtbench_candidates)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
