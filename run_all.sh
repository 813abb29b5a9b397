#!/usr/bin/env bash
# μCode, Algorithm 1 of Jain et al. (ICML 2025), as a shell script: the table of contents of the six stages.
#
#   bash run_all.sh                        the café: 2 iterations of 3 turns, 6 to 10 minutes on 2 CPU cores
#   METHODS="mucode rft" bash run_all.sh   the same beside the baseline. A method is a row of METHODS in stage 04; mucode+bce
#                                          trains its verifiers with the other loss, mucode+previous goes on from the last policy
#   SEEDS="0 1 2" bash run_all.sh          a run for each seed, and one report of all
#   PRESET=smoke bash run_all.sh           the whole chain in a minute or two, too small to learn: its numbers mean nothing
#   PRESET=paper bash run_all.sh           every method and table, 3 seeds: 1¾ hours. SEEDS=0 METHODS=mucode: a part of it
#   PRESET=mbpp bash run_all.sh            MODEL, a hub name or folder, on MBPP and HumanEval, with the paper's settings:
#                                          hours on a big GPU. LIMIT=20: few problems, for a first look
# A file appears under its name only when it is whole, and what is there is skipped: after a kill, run it again.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd) PRESET=${PRESET:-toy} SETTINGS=PRESET SEARCHED="" EXAMS=""
refuse() { echo "run_all.sh: $*" >&2; exit 2; }
default() {         # default NAME=VALUE…: what the environment leaves open. A number stays a number, and above 0 if it was
  local pair name number='^[0-9]+$'
  for pair in "$@"; do
    name=${pair%%=*} pair=${pair#*=}
    case " $SETTINGS " in *" $name "*) ;; *) SETTINGS="$SETTINGS $name" ;; esac
    [ -n "${!name:-}" ] || printf -v "$name" %s "$pair"
    [[ ! $pair =~ $number || ( ${!name} =~ $number && ( ${!name} -gt 0 || $pair -eq 0 ) ) ]] || refuse "$name=${!name}: a whole number like $pair is expected, above 0 if that is"
  done
}

# ── Settings: the environment's, then the preset's, then the café's ──────────────────────────────────────────────
[ "$PRESET" = mbpp ] || [ -z "${MODEL:-}${LIMIT:-}${POLICY_FLAGS:-}${VERIFIER_FLAGS:-}" ] || refuse "MODEL, LIMIT, POLICY_FLAGS and VERIFIER_FLAGS go with PRESET=mbpp"
case $PRESET in
  toy)   ;;
  smoke) default TURNS=2 ITERATIONS=1 TRAIN=80 TEST=40 SCHOOL=2000 TRAJECTORIES=4 STEPS=60 EPOCHS=1 SEARCH_TURNS=2 ;;
  paper) default SEARCH_TURNS=6 MANY=16 CONTROLS="fresh swapped failed removed"
         METHODS=${METHODS:-mucode mucode_ov mucode_lv mucode_drop mucode_code rft rft_lv} SEEDS=${SEEDS-12 13 14} ;;
  mbpp)  default MODEL=Qwen/Qwen2.5-1.5B-Instruct LIMIT=0 TRAJECTORIES=15 TOKENS=1000 VERIFIER_FLAGS=--gradient-checkpointing \
                 POLICY_FLAGS="--gradient-checkpointing --tokens-per-pass 8192"           # rates, epochs, batches: the stages' own, the paper's
         for name in MODEL MBPP HUMANEVAL; do [ ! -e "${!name:-}" ] || printf -v $name %s "$(cd "$(dirname "${!name}")" && pwd)/$(basename "${!name}")"; done ;;
  *)     refuse "PRESET=$PRESET is none of toy, paper, smoke, mbpp" ;;
esac
if [ "$PRESET" != mbpp ]; then
  default TRAIN=800 TEST=600 SCHOOL=6000 STEPS=600 EPOCHS=3
  default MODEL=base/policy POLICY_FLAGS="--lr 1e-3 --steps $STEPS" VERIFIER_FLAGS="--lr 1e-3 --batch-size 8 --epochs $EPOCHS"
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}        # threads that wait for each other after every small matrix crawl on a busy machine
fi
default SEED=0 SPLIT=test TURNS=3 ITERATIONS=2 TRAJECTORIES=8 TOKENS=48 SEARCH_TURNS=3 MANY=5 CONTROLS="fresh swapped"
[ "$SPLIT" = test ] || [ "$SPLIT" = dev ] || refuse "SPLIT=$SPLIT: test or dev is expected"
for name in $CONTROLS; do case $name in fresh | swapped | failed | removed) ;; *) refuse "CONTROLS: '$name' is none of fresh, swapped, failed, removed" ;; esac; done
for method in ${METHODS:=mucode}; do
  [[ $method =~ ^[a-z_]+([+](bce|previous))?$ ]] && grep -q "^    \"${method%+*}\":" "$HERE/04_relabel.py" ||
    refuse "METHODS: '$method' is no row of METHODS in 04_relabel.py, nor one with +bce or +previous (blanks between several)"
done
RUN=${RUN:-$HERE/runs/$PRESET}
if [ -n "${SEEDS:-}" ]; then                                                     # a run for each seed, and one report of all
  for seed in $SEEDS; do env SEEDS= SEED="$seed" METHODS="$METHODS" PRESET="$PRESET" RUN="$RUN/seed$seed" bash "$HERE/run_all.sh"; done
  cd "$RUN" && exec python "$HERE/06_eval.py" report --run $(printf "seed%s " $SEEDS) --out report.md
fi
mkdir -p "$RUN" && cd "$RUN"                # a folder belongs to one set of settings; methods share it
for name in $SETTINGS; do echo "$name=${!name}"; done > settings.part
if [ -e problems ] && [ -e settings ] && ! cmp -s settings settings.part; then
  { diff settings settings.part || true; } | sed -n 's/^< /  it has /p; s/^> /  you asked for /p' >&2
  rm settings.part; refuse "$RUN was started with other settings; go back to them, or choose another folder with RUN=
  (where only SPLIT, SEARCH_TURNS, MANY or CONTROLS differ: rm -f settings {,humaneval/}*/eval.jsonl there, and no policy is trained again)"
fi
mv settings.part settings; echo "── $(tr '\n' ' ' < settings)METHODS=$METHODS"

stage() {           # stage FILE ARGS… TARGET: make TARGET, unless it is there
  [ -e "${!#}" ] && return
  local began=$SECONDS
  python "$HERE/$1" "${@:2}"
  echo "  ($((SECONDS - began)) s, $SECONDS s in all)"
}
weights() { [ "$1" = base ] && echo "$MODEL" || echo "$1/policy"; }              # where the policy X lies
rollouts() {        # rollouts X SEED: T turns of the policy X on the training problems → X/turn*.steps.jsonl
  local t previous=""
  for t in $(seq "$TURNS"); do
    stage 01_rollout.py --problems problems/train.jsonl --policy "$(weights "$1")" --name "$1" --trajectories "$TRAJECTORIES" \
      --max-new-tokens "$TOKENS" --seed "$2" $previous --out "$1/turn$t.samples.jsonl"
    [ -e "$1/turn$t.samples.jsonl" ] || break                                    # every trajectory has passed its public tests
    stage 02_execute.py --problems problems/train.jsonl --samples "$1/turn$t.samples.jsonl" --out "$1/turn$t.steps.jsonl"
    previous="--previous $1/turn$t.steps.jsonl"
  done
}
verifier() {        # verifier X LOSS STEPS…: R_φ from all steps so far → X/verifier, and its scores → X/scored.jsonl
  stage 03_verifier.py train --problems problems/train.jsonl --steps "${@:3}" --base "$MODEL" --loss "$2" $VERIFIER_FLAGS --seed "$SEED" --out "$1/verifier"
  stage 03_verifier.py score --problems problems/train.jsonl --steps "${@:3}" --verifier "$1/verifier" --out "$1/scored.jsonl"
}
evaluate() {        # evaluate X "N…" VERIFIERS…: multi-turn best-of-N with X's policy; the first verifier picks
  local exam
  for exam in "" $EXAMS; do
    stage 06_eval.py search --problems "problems/$exam$SPLIT.jsonl" --policy "$(weights "$1")" --verifier "${@:3}" --name "$1" \
      --turns "$SEARCH_TURNS" --n $2 --controls $CONTROLS --max-new-tokens "$TOKENS" --seed "$SEED" --out "$exam$1/eval.jsonl"
  done
}
meanwhile() {       # meanwhile evaluate X …: on another core, as a process group of its own (a GPU does one thing at a time)
  SEARCHED="$SEARCHED $2"
  if [ "$PRESET" = mbpp ]; then "$@"; else set -m; "$@" > >(cat) 2>&1 & set +m; fi
}
trap 'for job in $(jobs -pr); do kill -- "-$job"; done' EXIT
trap 'refuse "cut off; run it again to go on"' INT

# ── The world, and π_0: a model that has been to school, and has not met the customers ───────────────────────────
if [ "$PRESET" = mbpp ]; then                                                    # a pretrained MODEL has been to school
  if [ ! -e problems/test.jsonl ]; then                                          # where you have put your own problems, they are taken
    python "$HERE/data/humaneval.py" ${HUMANEVAL:+--source "$HUMANEVAL"} --limit "$LIMIT" --out problems/humaneval
    python "$HERE/data/mbpp.py" ${MBPP:+--source "$MBPP"} --limit "$LIMIT" --out problems
  fi
  [ "$SPLIT" = dev ] || [ ! -e problems/humaneval ] || EXAMS=humaneval/
else
  [ -e model ] || python "$HERE/data/cafe.py" --seed "$SEED" --train "$TRAIN" --dev "$TEST" --test "$TEST" --demonstrations "$SCHOOL" --out .
  stage 05_train_policy.py --base model --examples problems/demonstrations.jsonl --lr 2e-3 --epochs 2 --seed "$SEED" --out base/policy
fi
rollouts base "$SEED"                                                            # D ← rollouts of π_0
verifier base bt base/turn*.steps.jsonl
meanwhile evaluate base 5 base/verifier

# ── Expert iteration ─────────────────────────────────────────────────────────────────────────────────────────────
for method in $METHODS; do
  last=base start=$MODEL steps="base/turn*.steps.jsonl" loss=bt
  case $method in *+bce) last=base/bce loss=bce; verifier $last bce $steps ;; esac
  for i in $(seq "$ITERATIONS"); do
    x=$method-$i; echo "── $x, after $SECONDS s"
    stage 04_relabel.py --scored "$last/scored.jsonl" --method "${method%+*}" --out "$x/examples.jsonl"      # Eqs. 4, 5
    stage 05_train_policy.py --base "$start" --examples "$x/examples.jsonl" $POLICY_FLAGS --seed "$SEED" --out "$x/policy"
    rollouts "$x" $((SEED + 1000 * i))                                           # D ← D ∪ D_i
    steps="$steps $x/turn*.steps.jsonl" last=$x
    verifier "$x" $loss $steps                                                   # R_φ on all of D
    case $method in *+previous) start=$x/policy ;; esac
    # Test time: the last policy of each method, of μCode also those on the way; and of μCode with MANY candidates and more verifiers
    if [ "$i" -eq "$ITERATIONS" ] && [ "$method" = mucode ] && [ "$MANY" -gt 5 ]; then
      verifier "$x/bce" bce $steps
      meanwhile evaluate "$x" "5 $MANY" "$x/verifier" "$x/bce/verifier" base/verifier
    elif [ "$i" -eq "$ITERATIONS" ]; then meanwhile evaluate "$x" 5 "$x/verifier"
    elif [ "$method" = mucode ]; then meanwhile evaluate "$x" $((MANY > 5 ? 5 : 1)) "$x/verifier"
    fi
  done
done
wait
for x in $SEARCHED; do [ -e "$x/eval.jsonl" ] || refuse "the search of $x has failed, see above"; done
for exam in "" $EXAMS; do python "$HERE/06_eval.py" report --run "./$exam" --out "${exam}report.md"; done
echo "── done in $SECONDS s: $RUN/report.md"
