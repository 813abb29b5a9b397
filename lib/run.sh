# What surrounds Algorithm 1 in run_all.sh: the folder of a run, its problems, stages that run one
# after another or beside each other, and the report. Plain bash 3.2, the one of macOS.

SEARCHED=""         # the folders of the policies that are searched
EXAMS=""            # the folders, with a slash, of problems that are searched beside `problems`

# ── The folder of a run ──────────────────────────────────────────────────────────────────────────

# A folder belongs to one set of settings, which it keeps in its file `settings`. Methods share it.
open_run() {
  local name asked differences advice
  asked=$(for name in $SETTINGS; do echo "$name=${!name}"; done)
  { mkdir -p "$RUN" && cd "$RUN" && [ -w . ]; } 2> /dev/null ||
    refuse "RUN=$RUN: this folder cannot be made, or not written in"
  lock_folder
  [ -z "$FRESH" ] || start_over
  [ ! -e base ] || [ -e settings ] ||
    refuse "RUN=$RUN has results and no file settings, which says of what; FRESH=1 starts over, or" \
      "choose another folder with RUN="

  # Until it has problems, a folder is bound to nothing. Until π_0 has answered one, MODEL and flags may
  # still be corrected: the check comes before.
  if [ "$PRESET" = mbpp ] && [ ! -e base ] && grep -qx "LIMIT=$LIMIT" settings 2> /dev/null; then
    rm settings
  fi
  if [ -e problems ] && [ -e settings ] && ! echo "$asked" | cmp -s - settings; then
    differences=$(echo "$asked" | diff settings - |
      sed -n 's/^< /it has /p; s/^> /you asked for /p' | paste -s -d ";" -) || true
    # Rollouts and policies can stay if only the search differs. Else rows of two kinds would mix.
    advice=", or keep its policies and search anew: delete all eval.jsonl in it"
    for name in $SETTINGS; do
      is_one_of "$name" SPLIT ITERATIONS SEARCH_TURNS N MANY CONTROLS ||
        grep -qxF "$name=${!name}" settings || advice=""
    done
    if [ -z "$advice" ] || compgen -G "*/eval.jsonl" > /dev/null ||
      compgen -G "humaneval/*/eval.jsonl" > /dev/null; then
      refuse "RUN=$RUN was started with other settings (${differences//;/; }); go back to them," \
        "or choose another folder with RUN=$advice"
    fi
  fi
  echo "$asked" > settings.part
  mv settings.part settings
  echo "── $(tr '\n' ' ' < settings)METHODS=$METHODS"
}

# One run a folder. The lock is on the open file, which this shell and its stages share, so it ends
# with the last of them, whatever ended them. (bash has no such lock of its own on macOS.)
lock_folder() {
  local status=0
  exec 9>> .lock
  "${BASE:-$PYTHON}" -c "$LOCK" || status=$?
  [ "$status" != 3 ] || refuse "RUN=$RUN: another run is at work in this folder"
}
LOCK="import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(3)"

# FRESH=1: what a run has made goes, and is named: the folders of policies, reports, the café and its
# untrained model. Problems of your own (PRESET=mbpp) stay, and so does what no run makes.
start_over() {
  local methods x made=""
  methods=$(sed -n 's/^    "\([a-z_]*\)": (.*/\1/p' "$HERE/04_relabel.py" | paste -s -d "|" -)
  for x in {,humaneval/}{*-*,base,report.{md,html,svg}}; do
    if [ -e "$x" ] && [[ ! $x = *-* || ${x#humaneval/} =~ ^($methods)([+](bce|previous))?-[0-9]+$ ]]; then
      made="$made $x"
    fi
  done
  [ "$PRESET" = mbpp ] || made="$made problems model"
  # A folder without either is no run's.
  if [ -e base ] || [ -e settings ]; then
    echo "── FRESH=1 deletes in $RUN:$made code settings"
    rm -rf $made code
    rm -f settings
  fi
}

# The text of the project and the versions that a run was begun with lie in its folder `code`. What
# has changed since is told each time that the run goes on.
know_code() {
  local name changed=""
  mkdir -p code.part
  cp "$HERE"/0?_*.py "$HERE"/run_all.sh "$HERE"/lib/*.py "$HERE"/lib/*.sh "$HERE"/data/*.py code.part
  "$PYTHON" -c "$VERSIONS" > code.part/versions
  if [ ! -e code ]; then
    mv code.part code
    return
  fi
  for name in code.part/*; do
    cmp -s "$name" "code/${name#*/}" || changed="$changed ${name#*/}"
  done
  rm -rf code.part
  [ -z "$changed" ] || echo "── changed since this run began:$changed. What is finished stays, what" \
    "was under way begins anew; FRESH=1 starts over (the old text is in $RUN/code)"
}
VERSIONS="import sys
from importlib.metadata import version
print('python', sys.version.split()[0])
for name in ('torch', 'transformers', 'numpy'):
    print(name, version(name))"

# ── Problems, and π_0 ────────────────────────────────────────────────────────────────────────────

make_problems() {
  if [ "$PRESET" = mbpp ]; then
    # Your own problems are taken where they are. MODEL is π_0.
    if [ ! -e problems/test.jsonl ]; then
      [ ! -e problems/train.jsonl ] ||
        refuse "RUN=$RUN has problems/train.jsonl and no problems/test.jsonl; lay both, or neither"
      alone "$PYTHON" "$HERE/data/humaneval.py" ${HUMANEVAL:+--source "$HUMANEVAL"} --limit "$LIMIT" \
        --out problems/humaneval
      alone "$PYTHON" "$HERE/data/mbpp.py" ${MBPP:+--source "$MBPP"} --limit "$LIMIT" --out problems
    fi
    [ "$SPLIT" = dev ] || [ ! -e problems/humaneval ] || EXAMS=humaneval/
    # What would fail after hours is to fail now. A policy and a verifier an iteration, and π_0's.
    [ -e base/turn1.samples.jsonl ] ||
      alone "$PYTHON" "$HERE/data/check.py" --policy "$MODEL" --max-new-tokens "$TOKENS" \
        --problems problems/{train,"$SPLIT"}.jsonl --sample-flags="$SAMPLE_FLAGS" \
        --policy-flags="$POLICY_FLAGS" --verifier-flags="$VERIFIER_FLAGS" \
        --checkpoints $((1 + 2 * ITERATIONS * $(echo $METHODS | wc -w)))
  else
    # π_0 of the café has been to school, and has not met the customers.
    [ -e model ] || alone "$PYTHON" "$HERE/data/cafe.py" --seed "$SEED" --train "$TRAIN" --dev "$TEST" \
      --test "$TEST" --demonstrations "$SCHOOL" --out .
    stage 05_train_policy.py --base model --examples problems/demonstrations.jsonl --lr 2e-3 \
      --epochs 2 --seed "$SEED" --out base/policy
  fi
}

# ── Stages, one after another and beside each other ──────────────────────────────────────────────

stage() {           # stage FILE ARGUMENTS… TARGET: makes TARGET, unless it exists
  [ -e "${!#}" ] && return
  local began=$SECONDS
  alone "$PYTHON" "$HERE/$1" "${@:2}"
  echo "  ($((SECONDS - began)) s, $SECONDS s in all)"
}

# alone COMMAND…: a job with its own process group, which is waited for. A signal to this shell is then
# heard at once, and ends the job, all of it; and Ctrl-C is this shell's to answer.
alone() {
  local status=0 why=""
  set -m
  "$@" &
  set +m
  { wait $! || status=$?; } 2> /dev/null      # what bash itself says of a killed job is no help
  # A stage says why it stops, but not that it was killed.
  if [ "$status" -gt 128 ] && [[ $2 = *.py ]]; then
    [ "$status" != 137 ] || why=" (out of memory?)"
    echo "${0##*/}: ${2##*/} was ended by signal $((status - 128))$why; run it again to go on" >&2
  fi
  return "$status"
}

# meanwhile evaluate X …: the search of X. Where a process has one thread (the café, or real weights
# on a CPU with OMP_NUM_THREADS=1), it runs beside what follows, on another core. The job has its own
# process group, so that all of it can be ended; a pipe keeps its progress bars off the screen.
meanwhile() {
  SEARCHED="$SEARCHED $2"
  # A GPU has room for one large model at a time, and all cores do one thing at a time.
  if [ "${OMP_NUM_THREADS:-}" != 1 ] ||
    { [ "$PRESET" = mbpp ] && command -v nvidia-smi > /dev/null; }; then
    "$@"
  else
    set -m
    "$@" > >(cat) 2>&1 &
    set +m
  fi
}

# search_after METHOD I D…: the searches of the policy METHOD-I. On the way to the last policy μCode's
# alone is searched, with one candidate a turn unless MANY asks for the larger tables.
search_after() {
  local x=$1-$2
  if [ "$2" -lt "$ITERATIONS" ]; then
    [ "$1" != mucode ] || meanwhile evaluate "$x" $((MANY > N ? N : 1)) "$x/verifier"
  elif [ "$1" = mucode ] && [ "$MANY" -gt "$N" ]; then
    # Many candidates, picked by three verifiers: of all D by either loss, and of π_0's steps.
    verifier "$x/bce" bce "${@:3}"
    meanwhile evaluate "$x" "$N $MANY" "$x/verifier" "$x/bce/verifier" base/verifier
  else
    meanwhile evaluate "$x" "$N" "$x/verifier"
  fi
}

# A run that ends, or is cut off, ends its jobs. Should it be killed, its stages see that it is gone
# (lib/ends.py).
end_jobs_at_exit() {
  trap 'for job in $(jobs -pr); do kill -- "-$job" 2> /dev/null || true; done' EXIT
  trap 'cut_off 130' INT
  trap 'cut_off 143' TERM
  trap 'cut_off 129' HUP
  export RUN_PID="${RUN_PID:-} $$"
  exec 8>&2         # for cut_off, which may be called while `alone` has turned stderr off
}

cut_off() {         # cut_off STATUS: of several runs in each other, the outermost one speaks
  [ "$RUN_PID" != " $$" ] ||
    echo "${0##*/}: cut off; run it again${FRESH:+, without FRESH=1,} to go on" >&8 || true
  exit "$1"
}

# ── The report, and several seeds ────────────────────────────────────────────────────────────────

report() {
  local x exam
  wait
  for x in $SEARCHED; do
    [ -e "$x/eval.jsonl" ] || refuse "the search of $x has failed, see above"
  done
  for exam in "" $EXAMS; do
    alone "$PYTHON" "$HERE/06_eval.py" report --run "./$exam" --out "${exam}report.md"
  done
  echo "── done in $SECONDS s: $RUN/report.md"
}

run_seeds() {       # a run for each seed, in a folder of its own, and one report of all
  local seed
  for seed in $SEEDS; do
    alone env SEEDS= SEED="$seed" METHODS="$METHODS" PRESET="$PRESET" RUN="$RUN/seed$seed" \
      bash "$HERE/run_all.sh"
  done
  cd "$RUN"
  alone "$PYTHON" "$HERE/06_eval.py" report --run $(printf "seed%s " $SEEDS) --out report.md
}
