# The Python that runs the project. Sourced by run_all.sh and tests/run.sh, which set HERE, the
# checkout. Plain bash 3.2, the one of macOS.

refuse() {          # refuse WORDS…: one line on stderr, exit status 2
  echo "${0##*/}: $*" >&2
  exit 2
}

# ── Choosing ─────────────────────────────────────────────────────────────────────────────────────

# choose_python MODULE…: sets PYTHON, which has these modules or gets them from install_packages.
choose_python() {
  local name missing
  BASE=""           # the Python that .venv is made from, if it has to be made
  WHY=""            # why the active environment is not taken

  # The active environment is the `python`, or else the `python3`, that a shell finds. Any versions
  # of the packages will do there: a machine with a GPU has its own build of torch.
  for name in python python3; do
    is_recent "$name" || continue
    missing=$(missing_modules "$name" "$@")
    if [ -z "$missing" ]; then
      PYTHON=$("$name" -c "import sys; print(sys.executable)")
      BASE=""
      return
    fi
    BASE=${BASE:-$name}
    WHY=${WHY:-$name lacks $missing; }
  done

  # Otherwise .venv in the checkout has the pinned packages. Its installation ends with a copy of
  # requirements.txt, so one that was cut off, or has other pins, is not taken for complete.
  PYTHON=$HERE/.venv/bin/python
  if cmp -s "$HERE/requirements.txt" "$HERE/.venv/complete" && is_recent "$PYTHON"; then
    BASE=""
    return
  fi
  for name in python3.13 python3.12 python3.11 python3.10; do
    if [ -z "$BASE" ] && is_recent "$name"; then BASE=$name; fi
  done
  [ -n "$BASE" ] || refuse "Python 3.10 or newer is needed, and none is on the PATH"
  "$BASE" -c "import ensurepip, venv" 2> /dev/null ||
    refuse "$BASE has no venv module to make .venv with (Debian, Ubuntu: apt install python3-venv)"
}

is_recent() {       # is_recent PYTHON: it runs, and is 3.10 or newer
  "$1" -c "import sys; sys.exit(sys.version_info < (3, 10))" 2> /dev/null
}

missing_modules() { # missing_modules PYTHON MODULE…: prints those that it does not find
  local look="import sys; from importlib.util import find_spec
print(*[name for name in sys.argv[1:] if find_spec(name) is None])"
  "$1" -c "$look" "${@:2}"
}

# ── Installing ───────────────────────────────────────────────────────────────────────────────────

install_packages() {    # makes or completes .venv, unless the chosen Python needs nothing
  local venv=$HERE/.venv wheels=https://download.pytorch.org/whl/cpu torch
  if [ -z "$BASE" ]; then
    echo "── Python: $PYTHON"
    return
  fi
  echo "── Python: ${WHY}installing the pinned packages in $venv, which takes minutes, once"
  "$BASE" -m venv "$venv" || refuse "$venv cannot be made; if it exists, remove it and try again"

  # On Linux the ordinary torch brings gigabytes for GPUs. Its CPU build has an index of its own;
  # where that does not answer within five seconds, the ordinary torch works as well.
  if [ "$(uname)" = Linux ] && ! command -v nvidia-smi > /dev/null; then
    torch=$(grep -o "^torch==[0-9.]*" "$HERE/requirements.txt")
    if timeout 5 "$PYTHON" -c "from urllib import request; request.urlopen('$wheels/torch/')" \
      2> /dev/null; then
      quiet_pip "$torch" --index-url "$wheels" || true
    fi
  fi
  if ! quiet_pip -r "$HERE/requirements.txt"; then
    cat "$venv/pip.log" >&2
    refuse "the packages of requirements.txt could not be installed in .venv, see above"
  fi
  cp "$HERE/requirements.txt" "$venv/complete"
}

quiet_pip() {       # quiet_pip ARGUMENTS…: installs in .venv; what pip prints goes to a file
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --timeout 15 --retries 2 "$@" \
    > "$HERE/.venv/pip.log" 2>&1
}
