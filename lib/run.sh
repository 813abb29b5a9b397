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

  # Until it has problems, a folder is bound to nothing.
  if [ -e problems ] && [ -e settings ] && ! echo "$asked" | cmp -s - settings; then
    differences=$(echo "$asked" | diff settings - |
      sed -n 's/^< /it has /p; s/^> /you asked for /p' | paste -s -d ";" -) || true
    # Rollouts and policies can stay if only the search differs. Else rows of two kinds would mix.
    advice=", or keep its policies and search anew: rm -f settings {,humaneval/}*/eval.jsonl there"
    for name in $SETTINGS; do
      is_one_of "$name" SPLIT ITERATIONS SEARCH_TURNS N MANY CONTROLS ||
        grep -qxF "$name=${!name}" settings || advice=""
    done
    refuse "RUN=$RUN was started with other settings (${differences//;/; }); go back to them," \
      "or choose another folder with RUN=$advice"
  fi
  echo "$asked" > settings.part
  mv settings.part settings
  echo "── $(tr '\n' ' ' < settings)METHODS=$METHODS"
}

# ── Problems, and π_0 ────────────────────────────────────────────────────────────────────────────

make_problems() {
  if [ "$PRESET" = mbpp ]; then
    # Your own problems are taken where they are. MODEL is π_0.
    if [ ! -e problems/test.jsonl ]; then
      [ ! -e problems/train.jsonl ] ||
        refuse "RUN=$RUN has problems/train.jsonl and no problems/test.jsonl; lay both, or neither"
      "$PYTHON" "$HERE/data/humaneval.py" ${HUMANEVAL:+--source "$HUMANEVAL"} --limit "$LIMIT" \
        --out problems/humaneval
      "$PYTHON" "$HERE/data/mbpp.py" ${MBPP:+--source "$MBPP"} --limit "$LIMIT" --out problems
    fi
    [ "$SPLIT" = dev ] || [ ! -e problems/humaneval ] || EXAMS=humaneval/
    # What would fail after hours is to fail now. A policy and a verifier an iteration, and π_0's.
    [ -e base/turn1.samples.jsonl ] ||
      "$PYTHON" "$HERE/data/check.py" --policy "$MODEL" --max-new-tokens "$TOKENS" \
        --problems problems/{train,"$SPLIT"}.jsonl --sample-flags="$SAMPLE_FLAGS" \
        --policy-flags="$POLICY_FLAGS" --verifier-flags="$VERIFIER_FLAGS" \
        --checkpoints $((1 + 2 * ITERATIONS * $(echo $METHODS | wc -w)))
  else
    # π_0 of the café has been to school, and has not met the customers.
    [ -e model ] || "$PYTHON" "$HERE/data/cafe.py" --seed "$SEED" --train "$TRAIN" --dev "$TEST" \
      --test "$TEST" --demonstrations "$SCHOOL" --out .
    stage 05_train_policy.py --base model --examples problems/demonstrations.jsonl --lr 2e-3 \
      --epochs 2 --seed "$SEED" --out base/policy
  fi
}

# ── Stages, one after another and beside each other ──────────────────────────────────────────────

stage() {           # stage FILE ARGUMENTS… TARGET: makes TARGET, unless it exists
  [ -e "${!#}" ] && return
  local began=$SECONDS
  "$PYTHON" "$HERE/$1" "${@:2}"
  echo "  ($((SECONDS - began)) s, $SECONDS s in all)"
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

# A run that ends, or is cut off, ends the searches beside it.
end_searches_at_exit() {
  trap 'for job in $(jobs -pr); do kill -- "-$job" 2> /dev/null || true; done' EXIT
  trap 'refuse "cut off; run it again to go on"' INT
}

# ── The report, and several seeds ────────────────────────────────────────────────────────────────

report() {
  local x exam
  wait
  for x in $SEARCHED; do
    [ -e "$x/eval.jsonl" ] || refuse "the search of $x has failed, see above"
  done
  for exam in "" $EXAMS; do
    "$PYTHON" "$HERE/06_eval.py" report --run "./$exam" --out "${exam}report.md"
  done
  echo "── done in $SECONDS s: $RUN/report.md"
}

run_seeds() {       # a run for each seed, in a folder of its own, and one report of all
  local seed
  for seed in $SEEDS; do
    env SEEDS= SEED="$seed" METHODS="$METHODS" PRESET="$PRESET" RUN="$RUN/seed$seed" \
      bash "$HERE/run_all.sh"
  done
  cd "$RUN"
  "$PYTHON" "$HERE/06_eval.py" report --run $(printf "seed%s " $SEEDS) --out report.md
}
