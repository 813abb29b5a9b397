#!/usr/bin/env bash
# μCode, Algorithm 1 of Jain et al. (ICML 2025), as a shell script. This file is the table of contents.
#
#   bash run_all.sh                            the café: 2 iterations of 3 turns, 7 to 11 minutes on 2 CPU cores
#   METHODS="mucode rft" bash run_all.sh       the same, beside the baseline; what is already there is not made again
#   PRESET=paper bash run_all.sh               every method and table, 3 seeds: 2 hours; SEEDS= METHODS=mucode: one, 15 minutes
#   PRESET=smoke bash run_all.sh               the whole chain in 90 seconds, too small to learn: its numbers mean nothing
#   PRESET=mbpp bash run_all.sh                MODEL, a hub name or folder, on MBPP and HumanEval, with the paper's settings:
#                                              hours on a big GPU. LIMIT=20: few problems, for a first look
#
# A method is a row of METHODS in stage 04; mucode+bce trains its verifiers with the other loss, mucode+previous
# fine-tunes the policy before and not π_0. Every file appears under its name only when it is whole, and what is
# there is skipped: after a kill, run it again.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
refuse() { echo "run_all.sh: $*" >&2; exit 2; }

# ── Settings: environment variables; a preset fills in the rest ─────────────────────────────────────────────────
PRESET=${PRESET:-toy} RUN=${RUN:-$HERE/runs/${PRESET:-toy}} CONTROLS="fresh swapped"
cafe="SEED=0 SPLIT=test TURNS=3 ITERATIONS=2 TRAIN=800 TEST=600 SCHOOL=6000 TRAJECTORIES=8 TOKENS=48 STEPS=600 EPOCHS=3"
tiny="SEED=0 SPLIT=test TURNS=2 ITERATIONS=1 TRAIN=80 TEST=40 SCHOOL=2000 TRAJECTORIES=4 TOKENS=48 STEPS=60 EPOCHS=1"
case $PRESET in
  toy)   preset="$cafe SEARCH_TURNS=3 MANY=5" ;;
  smoke) preset="$tiny SEARCH_TURNS=2 MANY=5" ;;
  paper) preset="$cafe SEARCH_TURNS=6 MANY=16" CONTROLS="$CONTROLS failed removed" SEEDS=${SEEDS-12 13 14}
         METHODS=${METHODS:-mucode mucode_ov mucode_lv mucode_drop mucode_code rft rft_lv} ;;
  mbpp)  preset="SEED=0 SPLIT=test TURNS=3 ITERATIONS=2 LIMIT=0 TRAJECTORIES=15 TOKENS=1000 SEARCH_TURNS=3 MANY=5" ;;
  *) refuse "PRESET=$PRESET is none of toy, paper, smoke, mbpp" ;;
esac
METHODS=${METHODS:-mucode} EXAMS=""
for setting in $preset; do
  name=${setting%=*}; [ -n "${!name:-}" ] || declare "$setting"
  case $name=${!name} in SPLIT=dev | SPLIT=test) ;; *=*[!0-9]*) refuse "$name=${!name}: ${setting#*=} or the like is expected" ;; esac
done
if [ "$PRESET" = mbpp ]; then               # rates, epochs and batches that are not said are the stages' own: the paper's
  MODEL=${MODEL:-Qwen/Qwen2.5-1.5B-Instruct} FIT=${FIT:---gradient-checkpointing --tokens-per-pass 8192} JUDGE=${JUDGE:---gradient-checkpointing}
  [ "$SPLIT" = dev ] || EXAMS=humaneval/
  for name in MODEL MBPP HUMANEVAL; do      # paths outlive the cd below
    case ${!name:-} in "" | /*) ;; *) [ ! -e "${!name}" ] || declare "$name=$PWD/${!name}" ;; esac
  done
else
  [ -z "${MODEL:-}" ] || refuse "MODEL=$MODEL goes with PRESET=mbpp"
  MODEL=base/policy FIT="--lr 1e-3 --steps $STEPS" JUDGE="--lr 1e-3 --batch-size 8 --epochs $EPOCHS"
fi
for method in $METHODS; do
  case ${method#"${method%+*}"} in "" | +bce | +previous) ;; *) refuse "METHODS: '$method': +bce or +previous is expected" ;; esac
  grep -q "^    \"${method%+*}\":" "$HERE/04_relabel.py" || refuse "METHODS: '$method' is no row of METHODS in 04_relabel.py"
done
if [ -n "${SEEDS:-}" ]; then                # a run for each seed, in a folder of its own, and one report of all
  for seed in $SEEDS; do SEEDS="" SEED=$seed METHODS=$METHODS PRESET=$PRESET RUN=$RUN/seed$seed bash "$HERE/run_all.sh"; done
  cd "$RUN" && exec python "$HERE/06_eval.py" report --run $(printf "seed%s " $SEEDS) --out report.md
fi
mkdir -p "$RUN" && cd "$RUN"

# A folder belongs to one set of settings. METHODS is not among them: methods share a folder.
for setting in PRESET= $preset MODEL= FIT= JUDGE=; do name=${setting%=*}; echo "$name=${!name}"; done > settings.part
if [ -e settings ] && ! cmp -s settings settings.part; then
  { diff settings settings.part || true; } | sed -n 's/^< /  it has /p; s/^> /  you asked for /p' >&2
  rm settings.part
  refuse "$RUN was started with other settings; go back to them, or choose another folder with RUN="
fi

stage() {           # stage FILE ARGS… TARGET: make TARGET, unless it is there
  [ -e "${!#}" ] && return
  local began=$SECONDS
  python "$HERE/$1" "${@:2}"
  echo "  ($((SECONDS - began)) s, $SECONDS s in all)"
}

weights() { [ "$1" = base ] && echo "$MODEL" || echo "$1/policy"; }                # where the policy X lies

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
  mkdir -p "$1"
  stage 03_verifier.py train --problems problems/train.jsonl --steps "${@:3}" --base "$MODEL" --loss "$2" $JUDGE --seed "$SEED" --out "$1/verifier"
  stage 03_verifier.py score --problems problems/train.jsonl --steps "${@:3}" --verifier "$1/verifier" --out "$1/scored.jsonl"
}

evaluate() {        # evaluate X "N…" VERIFIERS…: multi-turn best-of-N with X's policy; the first verifier picks
  local exam
  for exam in "" $EXAMS; do
    stage 06_eval.py search --problems "problems/$exam$SPLIT.jsonl" --policy "$(weights "$1")" --verifier "${@:3}" --name "$1" \
      --turns "$SEARCH_TURNS" --n $2 --controls $CONTROLS --max-new-tokens "$TOKENS" --seed "$SEED" --out "$exam$1/eval.jsonl"
  done
}

# ── The world, and π_0: a model that has been to school, and has not met the customers ───────────────────────────
if [ "$PRESET" = mbpp ]; then                                                    # a pretrained MODEL has been to school
  [ -e problems/test.jsonl ] || python "$HERE/data/mbpp.py" ${MBPP:+--source "$MBPP"} --limit "$LIMIT" --out problems
  [ -e problems/humaneval/test.jsonl ] || python "$HERE/data/humaneval.py" ${HUMANEVAL:+--source "$HUMANEVAL"} --limit "$LIMIT" --out problems/humaneval
else
  [ -e model ] || python "$HERE/data/cafe.py" --seed "$SEED" --train "$TRAIN" --dev "$TEST" --test "$TEST" --demonstrations "$SCHOOL" --out .
fi
mv settings.part settings                                                        # the folder is theirs from here on
mkdir -p base
[ "$PRESET" = mbpp ] ||
  stage 05_train_policy.py --base model --examples problems/demonstrations.jsonl --lr 2e-3 --epochs 2 --seed "$SEED" --out base/policy
rollouts base "$SEED"                                                            # D ← rollouts of π_0
verifier base bt base/turn*.steps.jsonl

# ── Expert iteration ─────────────────────────────────────────────────────────────────────────────────────────────
for method in $METHODS; do
  last=base start=$MODEL steps="base/turn*.steps.jsonl" loss=bt
  case $method in *+bce) last=base/bce loss=bce; verifier $last bce $steps ;; esac
  for i in $(seq "$ITERATIONS"); do
    x=$method-$i; mkdir -p "$x"; echo "── $x, after $SECONDS s"
    stage 04_relabel.py --scored "$last/scored.jsonl" --method "${method%+*}" --out "$x/examples.jsonl"      # Eqs. 4, 5
    stage 05_train_policy.py --base "$start" --examples "$x/examples.jsonl" $FIT --seed "$SEED" --out "$x/policy"
    rollouts "$x" $((SEED + 1000 * i))                                           # D ← D ∪ D_i
    steps="$steps $x/turn*.steps.jsonl" last=$x
    verifier "$x" $loss $steps                                                   # R_φ on all of D
    case $method in *+previous) start=$x/policy ;; esac
  done
done

# ── Test time ────────────────────────────────────────────────────────────────────────────────────────────────────
echo "── evaluation, after $SECONDS s"
evaluate base 5 base/verifier
for method in $METHODS; do
  for i in $(seq "$ITERATIONS"); do
    x=$method-$i n=5 others=""
    if [ "$i" -lt "$ITERATIONS" ]; then                                          # on the way, of μCode alone
      [ "$method" = mucode ] || continue
      [ "$MANY" -gt 5 ] || n=1
    elif [ "$MANY" -gt 5 ] && [ "$method" = mucode ]; then                       # the full table: more candidates, other verifiers
      verifier "$x/bce" bce base/turn*.steps.jsonl $method-*/turn*.steps.jsonl
      n="5 $MANY" others="$x/bce/verifier base/verifier"
    fi
    evaluate "$x" "$n" "$x/verifier" $others
  done
done
for exam in "" $EXAMS; do python "$HERE/06_eval.py" report --run "./$exam" --out "${exam}report.md"; done
echo "── done in $SECONDS s: $RUN/report.md"
