#!/usr/bin/env bash
# μCode: Algorithm 1 of Jain et al. (ICML 2025), as calls of the six stages.
#
#   bash run_all.sh                        the café, 2 iterations: 6 to 10 minutes on 2 CPU cores
#   METHODS="mucode rft" bash run_all.sh   the same beside the baseline, rejection fine-tuning
#   SEEDS="0 1 2" bash run_all.sh          a run for each seed, and one report of all
#   PRESET=smoke bash run_all.sh           the whole chain, too small to learn: 1 to 2 minutes
#   PRESET=paper bash run_all.sh           the paper's tables, 7 methods, 3 seeds: 1¾ hours
#   PRESET=mbpp bash run_all.sh            a pretrained MODEL on MBPP: hours on a big GPU
#
# Existing outputs are skipped: after a kill, run it again. All settings: lib/settings.sh.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail +o posix

# `stage` calls a stage, unless its last argument, the output, exists. `meanwhile` need not wait.
main() {
  make_problems                             # x (data/cafe.py), and π_0: school (stage 05)
  rollouts base "$SEED"                     # D ← rollouts of π_0
  verifier base bt base/turn*.steps.jsonl   # R_φ, trained on D
  meanwhile evaluate base $N base/verifier  # Algorithm 2: multi-turn best-of-N with π_0
  for method in $METHODS; do
    algorithm_1 "$method"
  done
  report
}

algorithm_1() {     # algorithm_1 METHOD: expert iteration, from π_0 to π_M
  local method=$1 i pi
  local D="base/turn*.steps.jsonl"          # all steps (s, y, o, r) so far; first those of π_0
  local scored=base/scored.jsonl            # D with R_φ(x, y)
  local start=$MODEL                        # π_0, from which every π_i is trained
  local loss=bt                             # the verifier's; METHOD+bce takes the other
  if [[ $method = *+bce ]]; then
    loss=bce
    scored=base/bce/scored.jsonl
    verifier base/bce bce $D
  fi

  for i in $(seq "$ITERATIONS"); do
    pi=$method-$i
    echo "── $pi, after $SECONDS s"

    # The expert: y*(x) = argmax of β_O·R(x, y) + β_L·R_φ(x, y) over all y in D, for every s in D
    stage 04_relabel.py --scored "$scored" --method "${method%+*}" --out "$pi/examples.jsonl"
    # π_i: fine-tuned on all (s, y*(x))
    stage 05_train_policy.py --base "$start" --examples "$pi/examples.jsonl" $POLICY_FLAGS \
      --seed "$SEED" --out "$pi/policy"
    # After the last iteration these two serve the search alone: R_φ picks, if N > 1.
    if [ "$i" -lt "$ITERATIONS" ] || [ "$N" -gt 1 ]; then
      # D ← D ∪ D_i: rollouts of π_i
      rollouts "$pi" $((SEED + 1000 * i))
      D="$D $pi/turn*.steps.jsonl"
      # R_φ: trained on all of D
      verifier "$pi" $loss $D
    fi
    scored=$pi/scored.jsonl
    if [[ $method = *+previous ]]; then start=$pi/policy; fi      # an experiment
    search_after "$method" "$i" $D
  done
}

# ── The steps ────────────────────────────────────────────────────────────────────────────────────

rollouts() {        # rollouts X SEED: T turns of X's policy on all problems → X/turn*.steps.jsonl
  local t previous=""
  for t in $(seq "$TURNS"); do
    stage 01_rollout.py --problems problems/train.jsonl --policy "$(policy "$1")" --name "$1" \
      --trajectories "$TRAJECTORIES" --max-new-tokens "$TOKENS" $SAMPLE_FLAGS --seed "$2" \
      $previous --out "$1/turn$t.samples.jsonl"
    # No samples: every trajectory has passed its public tests.
    [ -e "$1/turn$t.samples.jsonl" ] || break
    stage 02_execute.py --problems problems/train.jsonl --samples "$1/turn$t.samples.jsonl" \
      --out "$1/turn$t.steps.jsonl"
    previous="--previous $1/turn$t.steps.jsonl"
  done
}

policy() {          # where the policy of the folder X lies
  [ "$1" = base ] && echo "$MODEL" || echo "$1/policy"
}

verifier() {        # verifier X LOSS STEPS…: R_φ → X/verifier, steps with scores → X/scored.jsonl
  stage 03_verifier.py train --problems problems/train.jsonl --steps "${@:3}" --base "$MODEL" \
    --loss "$2" $VERIFIER_FLAGS --seed "$SEED" --out "$1/verifier"
  stage 03_verifier.py score --problems problems/train.jsonl --steps "${@:3}" \
    --verifier "$1/verifier" --out "$1/scored.jsonl"
}

evaluate() {        # evaluate X "N…" VERIFIERS…: multi-turn best-of-N; the first verifier picks
  local exam picking="--verifier ${*:3}"
  [ "$N" -gt 1 ] || picking=""      # nothing to pick
  for exam in "" $EXAMS; do         # EXAMS: humaneval/, where there is one
    stage 06_eval.py search --problems "problems/$exam$SPLIT.jsonl" --policy "$(policy "$1")" \
      --name "$1" --n $2 $picking --turns "$SEARCH_TURNS" --controls $CONTROLS \
      --max-new-tokens "$TOKENS" $SAMPLE_FLAGS --seed "$SEED" --out "$exam$1/eval.jsonl"
  done
}

HERE=$(cd "$(dirname "$0")" && pwd)
for part in setup settings run; do . "$HERE/lib/$part.sh"; done
choose_python torch transformers numpy tqdm
end_jobs_at_exit
if [ -n "$SEEDS" ]; then
  run_seeds
else
  open_run
  install_packages
  know_code
  main
fi
