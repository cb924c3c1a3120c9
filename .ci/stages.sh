# Sourced by the scripts beside it: a copy of the checkout to work on, and stages with a time budget.
# shellcheck shell=bash

export CI=true PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 MPLBACKEND=Agg
exec </dev/null

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
work="$(mktemp -d)"
times=()

finish() {
  local code=$?
  printf '\n== times\n'
  printf '%s\n' "${times[@]}"
  printf '%6ds in all\n' "$SECONDS"
  rm -rf "$work"
  exit "$code"
}
trap finish EXIT

# stage NAME BUDGET COMMAND...: budgets are seconds on two idle cores; four times as long is a failure.
stage() {
  local name=$1 budget=$2 begin=$SECONDS took
  shift 2
  printf '\n== %s\n' "$name"
  "$@"
  took=$((SECONDS - begin))
  times+=("$(printf '%6ds of %5ds  %s' "$took" "$budget" "$name")")
  if [ "$took" -gt $((4 * budget)) ]; then
    echo "'$name' took ${took}s, more than four times its budget of ${budget}s: make it faster, or say why it may not be." >&2
    exit 1
  fi
}

# What git knows and what it would add, or all of a copy that has no git: the checkout itself stays as it was.
copy_checkout() {
  mkdir "$work/checkout"
  if [ -e "$root/.git" ]; then
    (cd "$root" && git ls-files -z --cached --others --exclude-standard |
      while IFS= read -r -d '' file; do [ -e "$file" ] && printf '%s\0' "$file"; done |
      tar --null --files-from=- -cf -) | tar -xf - -C "$work/checkout"
  else
    tar --exclude=./build --exclude='./*.egg-info' -C "$root" -cf - . | tar -xf - -C "$work/checkout"
  fi
  cd "$work/checkout"
}

fresh_venv() {
  "${PYTHON:-python3}" -m venv "$work/$1"
  # shellcheck disable=SC1091
  . "$work/$1/bin/activate"
}
