#!/usr/bin/env bash
# μCode, Algorithm 1 of Jain et al. (ICML 2025), as a shell script. This file is the table of contents.
#
#   bash run_all.sh                            the café: 2 iterations of 3 turns, 7 to 11 minutes on 2 CPU cores
#   METHODS="mucode rft" bash run_all.sh       the same, beside the baseline; what is already there is not made again
#   PRESET=paper bash run_all.sh               every method and table, 3 seeds: 2 hours; METHODS=mucode SEEDS=12: 15 minutes
#   PRESET=smoke bash run_all.sh               the whole chain in 90 seconds, too small to learn: its numbers mean nothing
#
# Every file appears under its name only when it is whole, and what is there is skipped: after a kill, run it again.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)

# ── Settings: environment variables; a preset fills in the rest ─────────────────────────────────────────────────
PRESET=${PRESET:-toy} RUN=${RUN:-$HERE/runs/$PRESET}
cafe="SEED=0 TURNS=3 ITERATIONS=2 TRAIN=800 TEST=600 SCHOOL=6000 TRAJECTORIES=8 STEPS=600 EPOCHS=3"
tiny="SEED=0 TURNS=2 ITERATIONS=1 TRAIN=80 TEST=40 SCHOOL=2000 TRAJECTORIES=4 STEPS=60 EPOCHS=1"
preset="LOSS=bt START=base SPLIT=test"      # the verifier's loss; what each iteration fine-tunes; the problems to search on
case $PRESET in
  toy)   preset="$cafe SEARCH_TURNS=3 MANY=5 $preset" CONTROLS="fresh swapped" METHODS=${METHODS:-mucode} ;;
  smoke) preset="$tiny SEARCH_TURNS=2 MANY=5 $preset" CONTROLS="fresh swapped" METHODS=${METHODS:-mucode} ;;
  paper) preset="$cafe SEARCH_TURNS=6 MANY=16 $preset" CONTROLS="fresh swapped failed removed" SEEDS=${SEEDS-12 13 14}
         METHODS=${METHODS:-mucode mucode_ov mucode_lv mucode_drop mucode_code rft rft_lv} ;;
  *) echo "run_all.sh: PRESET=$PRESET is none of toy, paper, smoke" >&2; exit 2 ;;
esac
if [ -n "${SEEDS:-}" ]; then                # a run for each seed, in a folder of its own, and one report of all
  for seed in $SEEDS; do SEEDS="" SEED=$seed METHODS=$METHODS PRESET=$PRESET RUN=$RUN/seed$seed bash "$HERE/run_all.sh"; done
  cd "$RUN" && exec python "$HERE/06_eval.py" report --run $(printf "seed%s " $SEEDS) --out report.md
fi
for setting in $preset; do
  name=${setting%=*}; [ -n "${!name:-}" ] || declare "$setting"
  case $name=${!name} in LOSS=* | START=* | SPLIT=*) ;; *=*[!0-9]*) echo "run_all.sh: $name=${!name} is not a number" >&2; exit 2 ;; esac
done
either() { [ "$2" = "$3" ] || [ "$2" = "$4" ] || { echo "run_all.sh: $1=$2 is neither $3 nor $4" >&2; exit 2; }; }
either LOSS "$LOSS" bt bce; either START "$START" base previous; either SPLIT "$SPLIT" dev test
for method in $METHODS; do
  grep -q "^    \"$method\":" "$HERE/04_relabel.py" || { echo "run_all.sh: METHODS: '$method' is no row of METHODS in 04_relabel.py" >&2; exit 2; }
done
mkdir -p "$RUN" && cd "$RUN"

# A folder belongs to one set of settings. METHODS is not among them: methods share a folder.
for setting in PRESET= $preset; do name=${setting%=*}; echo "$name=${!name}"; done > settings.part
if [ -e settings ] && ! cmp -s settings settings.part; then
  echo "run_all.sh: $RUN was started with other settings; go back to them, or choose another folder with RUN=" >&2
  { diff settings settings.part || true; } | sed -n 's/^< /  it has /p; s/^> /  you asked for /p' >&2
  rm settings.part; exit 2
fi

stage() {           # stage FILE ARGS… TARGET: make TARGET, unless it is there
  [ -e "${!#}" ] && return
  local began=$SECONDS
  python "$HERE/$1" "${@:2}"
  echo "  ($((SECONDS - began)) s, $SECONDS s in all)"
}

rollouts() {        # rollouts X SEED: T turns of the policy X on the training problems → X/turn*.steps.jsonl
  local t previous=""
  for t in $(seq "$TURNS"); do
    stage 01_rollout.py --problems problems/train.jsonl --policy "$1/policy" --name "$1" --trajectories "$TRAJECTORIES" \
      --max-new-tokens 48 --seed "$2" $previous --out "$1/turn$t.samples.jsonl"
    [ -e "$1/turn$t.samples.jsonl" ] || break                                    # every trajectory has passed its public tests
    stage 02_execute.py --problems problems/train.jsonl --samples "$1/turn$t.samples.jsonl" --out "$1/turn$t.steps.jsonl"
    previous="--previous $1/turn$t.steps.jsonl"
  done
}

verifier() {        # verifier X LOSS STEPS…: R_φ from all steps so far → X/verifier, and its scores → X/scored.jsonl
  stage 03_verifier.py train --problems problems/train.jsonl --steps "${@:3}" --base base/policy --loss "$2" \
    --lr 1e-3 --batch-size 8 --epochs "$EPOCHS" --seed "$SEED" --out "$1/verifier"
  stage 03_verifier.py score --problems problems/train.jsonl --steps "${@:3}" --verifier "$1/verifier" --out "$1/scored.jsonl"
}

evaluate() {        # evaluate X "N…" VERIFIERS…: multi-turn best-of-N with X's policy; the first verifier picks
  stage 06_eval.py search --problems "problems/$SPLIT.jsonl" --policy "$1/policy" --verifier "${@:3}" --name "$1" \
    --turns "$SEARCH_TURNS" --n $2 --controls $CONTROLS --max-new-tokens 48 --seed "$SEED" --out "$1/eval.jsonl"
}

# ── The world, and π_0: a model that has been to school, and has not met the customers ───────────────────────────
[ -e model ] || python "$HERE/data/cafe.py" --seed "$SEED" --train "$TRAIN" --dev "$TEST" --test "$TEST" --demonstrations "$SCHOOL" --out .
mv settings.part settings                                                        # the folder is theirs from here on
mkdir -p base
stage 05_train_policy.py --base model --examples problems/demonstrations.jsonl --lr 2e-3 --epochs 2 --seed "$SEED" --out base/policy
rollouts base "$SEED"                                                            # D ← rollouts of π_0
verifier base "$LOSS" base/turn*.steps.jsonl

# ── Expert iteration ─────────────────────────────────────────────────────────────────────────────────────────────
for method in $METHODS; do
  previous=base steps="base/turn*.steps.jsonl"
  for i in $(seq "$ITERATIONS"); do
    x=$method-$i; mkdir -p "$x"; echo "── $x, after $SECONDS s"
    start=base; [ "$START" = base ] || start=$previous
    stage 04_relabel.py --scored "$previous/scored.jsonl" --method "$method" --out "$x/examples.jsonl"      # Eqs. 4, 5
    stage 05_train_policy.py --base $start/policy --examples "$x/examples.jsonl" --lr 1e-3 --steps "$STEPS" --seed "$SEED" --out "$x/policy"
    rollouts "$x" $((SEED + 1000 * i))                                           # D ← D ∪ D_i
    steps="$steps $x/turn*.steps.jsonl"
    verifier "$x" "$LOSS" $steps                                                 # R_φ on all of D
    previous=$x
  done
done

# ── Test time ────────────────────────────────────────────────────────────────────────────────────────────────────
echo "── evaluation, after $SECONDS s"
evaluate base 5 base/verifier
for method in $METHODS; do
  for i in $(seq "$ITERATIONS"); do
    x=$method-$i
    if [ "$MANY" -gt 5 ] && [ "$x" = "mucode-$ITERATIONS" ]; then            # the full table: more candidates, and rivals of its verifier
      mkdir -p "$x/bce"; verifier "$x/bce" bce base/turn*.steps.jsonl $method-*/turn*.steps.jsonl
      evaluate "$x" "5 $MANY" "$x/verifier" "$x/bce/verifier" base/verifier
    else evaluate "$x" 5 "$x/verifier"; fi
  done
done
python "$HERE/06_eval.py" report --run . --out report.md
echo "── done in $SECONDS s: $RUN/report.md"
