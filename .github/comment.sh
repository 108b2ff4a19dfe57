#!/usr/bin/env bash
# Write how the study in this folder differs from that of BASE, as Markdown for a pull request:
#
#   .github/comment.sh BASE > comment.md
#
# BASE is a branch, tag or commit; the study is compared with the commit where this branch left BASE.
# Needs git and DVC, but neither photos nor models. The link to the chart is the local file, or below
# the URL in $RAW_URL, which is that of the git repository: the study may be in a subfolder of it.
# shellcheck disable=SC2016  # backticks in single quotes are Markdown
set -euo pipefail
cd "$(dirname "$0")/.."

branch=${1:?"usage: $0 BASE"}
if ! fork=$(git merge-base "$branch" HEAD); then
    echo "error: no common history with $branch: fetch all of it (actions/checkout: fetch-depth: 0)" >&2
    exit 2
fi
base=$(git rev-parse --short "$fork")

answer() { sed '/^## /,$d'; } # the part of study.md before its first table

filled() { [ "$(wc -l <<< "$1")" -gt 2 ]; } # whether a table has rows below its head

folded() { printf '<details><summary>%s</summary>\n\n%s\n\n</details>\n\n' "$1" "$2"; }

# What has changed since dvc.lock was written: "- `stage`: file or parameter". In a clone without data
# every output is missing; these do not count.
stale=$(dvc status | awk '
    /^[^\t]/ { stage = $0; sub(/:$/, "", stage) }
    /^\t+(modified|new):|^\t\t\tdeleted:/ { print "- `" stage "`: " $2 }
    /^\tchanged command/ { print "- `" stage "`: its command" }')
uncommitted=$(git status --porcelain -- params.yaml dvc.lock data/dvc.lock metrics)

printf '## The study, compared with `%s`\n\n' "$base"

if [ -n "$stale" ]; then
    printf '> [!WARNING]\n> **Out of step**: code, parameters or photos have changed since the numbers '
    printf 'below were made.\n> Run `dvc repro`, then commit `dvc.lock` and `metrics/` '
    printf '(and `dvc push`, if there is a remote).\n\n'
    folded "What has changed" "$stale"
elif [ -n "$uncommitted" ]; then
    printf '> [!WARNING]\n> **Not committed**: the numbers below were computed for this comment. '
    printf 'Run `dvc repro`, then commit\n> `dvc.lock` and `metrics/`.\n\n'
fi

printf '### Answer\n\n'
if [ -f metrics/study.md ]; then
    now=$(answer < metrics/study.md)
    before=$(git show "$fork:./metrics/study.md" 2> /dev/null | answer) || before=''
    printf '%s\n\n' "$now"
    if [ -n "$before" ] && [ "$before" != "$now" ]; then folded "Before" "$before"; fi
else
    printf 'None yet: `dvc repro` makes `metrics/study.md`.\n\n'
fi

printf '### Metrics\n\n'
if git cat-file -e "$fork:./metrics/metrics.json" 2> /dev/null; then
    metrics=$(dvc metrics diff --md --no-path "$base")
    brief=$(grep -vE '_(low|high) +\|' <<< "$metrics")
    if filled "$brief"; then printf '%s\n\n' "$brief"; fi
    if ! filled "$metrics"; then
        printf 'No change.\n\n'
    elif [ "$brief" != "$metrics" ]; then
        folded "With intervals" "$metrics"
    fi
else
    printf '`%s` has none to compare with.\n\n' "$base"
fi

printf '### Parameters\n\n'
params=$(dvc params diff --md --no-path "$base")
if filled "$params"; then printf '%s\n\n' "$params"; else printf 'No change.\n\n'; fi

if [ -f metrics/accuracy_vs_size.png ]; then
    prefix=$(git rev-parse --show-prefix) # of this folder in the repository
    below=${RAW_URL:+$RAW_URL/${prefix// /%20}}
    printf '### Chart\n\n![Test accuracy against the number of training photos](%s)\n' \
        "${below:-./}metrics/accuracy_vs_size.png"
fi
