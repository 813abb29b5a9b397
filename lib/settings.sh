# The settings of run_all.sh: environment variables, then the preset's values, then the café's.
# Sourced by run_all.sh after lib/setup.sh. Plain bash 3.2, the one of macOS.
#
#   PRESET          toy (the café), smoke, paper or mbpp
#   RUN             the folder of the run: runs/PRESET
#   METHODS         rows of METHODS in 04_relabel.py. mucode+bce trains its verifiers with the BCE
#                   loss, mucode+previous each policy from the one before, not from π_0
#   SEED, SEEDS     one seed; or several, with a run for each and one report of all
#   ITERATIONS      M, of expert iteration
#   TURNS           T, of a rollout; TRAJECTORIES of each problem; at most TOKENS in a program
#   SPLIT           the problems of the search: test or dev
#   SEARCH_TURNS    T, of the search
#   N               candidates a turn of the search. With 1 there is nothing for a verifier to pick,
#                   and that of the last policy is not trained (the expert needs π_0's all the same)
#   MANY            those of μCode's larger search, which also compares verifiers; N: no such search
#   FRESH           1: begin anew, and delete what an earlier run has made in the folder RUN
#   CONTROLS        rows of CONTROLS in 06_eval.py: searches that hear something else; or none
#
# The café alone:   TRAIN and TEST, problems · SCHOOL, demonstrations · STEPS, of the training of a
#                   policy · EPOCHS, of that of a verifier
# PRESET=mbpp:      MODEL, a hub name or folder · LIMIT, problems of each split (0: all) · MBPP and
#                   HUMANEVAL, local copies · SAMPLE_FLAGS for stage 01 and the search,
#                   VERIFIER_FLAGS for 03, POLICY_FLAGS for 05, each in place of the preset's

WHOLE_NUMBER='^(0|[1-9][0-9]*)$'
SETTINGS=PRESET     # what the folder of a run is bound to, in this order

# ── Misspelt names ───────────────────────────────────────────────────────────────────────────────

NUMBERS="SEED ITERATIONS TURNS TRAJECTORIES TOKENS SEARCH_TURNS MANY TRAIN TEST SCHOOL STEPS EPOCHS
  LIMIT"
WORDS="PRESET METHODS SEEDS SPLIT CONTROLS MODEL HUMANEVAL POLICY_FLAGS VERIFIER_FLAGS
  SAMPLE_FLAGS FRESH"

# Refused is an environment variable whose name is one letter away from a setting's: one too many,
# one too few, another one, or two that changed places. If that setting is a number, the value must
# begin with a digit, too: STEP=10 is refused, TOKEN=secret is not. MODE and SPEED are left alone as
# too common; N, RUN and MBPP, as too short, are not compared with.
refuse_misspelt_names() {
  local name setting
  for name in $(compgen -e); do
    is_one_of "$name" $NUMBERS $WORDS MODE SPEED && continue
    for setting in $NUMBERS $WORDS; do
      is_one_letter_from "$name" "$setting" || continue
      is_one_of "$setting" $WORDS || [[ ${!name:-} =~ ^[0-9] ]] || continue
      refuse "$name is no setting; is $setting meant? (If $name is another program's: env -u $name)"
    done
  done
}

is_one_of() {         # is_one_of WORD WORDS…
  local word
  for word in "${@:2}"; do
    [ "$1" != "$word" ] || return 0
  done
  return 1
}

is_one_letter_from() {  # is_one_letter_from NAME SETTING
  local i head tail
  [ $((${#1} - ${#2})) -le 1 ] && [ $((${#2} - ${#1})) -le 1 ] || return 1
  for ((i = 0; i <= ${#2}; i++)); do
    head=${2:0:i}
    tail=${2:i}
    case $1 in
      "$head"?"$tail" | "$head"?"${tail:1}" | "$head${tail:1}") return 0 ;;
      "$head${tail:1:1}${tail:0:1}${tail:2}") return 0 ;;
    esac
  done
  return 1
}

# ── Values ───────────────────────────────────────────────────────────────────────────────────────

# default NAME=VALUE…: the value of each NAME that the environment leaves open. Where VALUE is a
# number, the environment's must be one too, and above 0 unless VALUE is 0.
default() {
  local pair name value
  for pair in "$@"; do
    name=${pair%%=*}
    value=${pair#*=}
    case " $SETTINGS " in
      *" $name "*) ;;
      *) SETTINGS="$SETTINGS $name" ;;
    esac
    [ -n "${!name:-}" ] || printf -v "$name" %s "$value"
    [[ $value =~ $WHOLE_NUMBER ]] || continue
    [[ ${!name} =~ $WHOLE_NUMBER ]] ||
      refuse "$name=${!name}: a whole number is expected, such as $value, with no zero before it"
    [ "${!name}" != 0 ] || [ "$value" = 0 ] || refuse "$name=0: a number above 0 is expected"
  done
}

absolute_path() {   # absolute_path NAME: a file or folder that NAME holds is found from anywhere
  local path=${!1:-}
  [ ! -e "$path" ] || printf -v "$1" %s "$(cd "$(dirname "$path")" && pwd)/$(basename "$path")"
}

# ── From the environment to the settings ─────────────────────────────────────────────────────────

[ $# -eq 0 ] || refuse "'$1': settings come before the command, as in PRESET=smoke bash run_all.sh"
refuse_misspelt_names
PRESET=${PRESET:-toy}
is_one_of "$PRESET" toy smoke paper mbpp ||
  refuse "PRESET=$PRESET is none of toy, smoke, paper, mbpp"
for name in MODEL LIMIT SAMPLE_FLAGS POLICY_FLAGS VERIFIER_FLAGS; do
  [ "$PRESET" = mbpp ] || [ -z "${!name:-}" ] || refuse "$name goes with PRESET=mbpp"
done
for name in TRAIN TEST SCHOOL STEPS EPOCHS; do
  [ "$PRESET" != mbpp ] || [ -z "${!name:-}" ] || refuse "$name goes with the café, not with mbpp"
done

case $PRESET in
  smoke)
    default TURNS=2 ITERATIONS=1 TRAIN=80 TEST=40 SCHOOL=2000 TRAJECTORIES=4 STEPS=60 EPOCHS=1 \
      SEARCH_TURNS=2
    ;;
  paper)
    default SEARCH_TURNS=6 MANY=16 CONTROLS="fresh swapped failed removed"
    METHODS=${METHODS:-mucode mucode_ov mucode_lv mucode_drop mucode_code rft rft_lv}
    SEEDS=${SEEDS-12 13 14}
    ;;
  mbpp)
    # Learning rates, epochs and batch sizes are the stages' own, the paper's.
    default MODEL=Qwen/Qwen2.5-1.5B-Instruct LIMIT=0 TRAJECTORIES=15 TOKENS=1000 \
      SAMPLE_FLAGS="--batch-size 256" VERIFIER_FLAGS=--gradient-checkpointing \
      POLICY_FLAGS="--gradient-checkpointing --tokens-per-pass 8192"
    absolute_path MODEL
    for name in MBPP HUMANEVAL; do
      [ -z "${!name:-}" ] || [ -e "${!name}" ] || refuse "$name=${!name}: no such file"
      absolute_path "$name"
    done
    ;;
esac
if [ "$PRESET" != mbpp ]; then
  default TRAIN=800 TEST=600 SCHOOL=6000 STEPS=600 EPOCHS=3
  SAMPLE_FLAGS=""
  default MODEL=base/policy POLICY_FLAGS="--lr 1e-3 --steps $STEPS" \
    VERIFIER_FLAGS="--lr 1e-3 --batch-size 8 --epochs $EPOCHS"
  # Threads that wait for each other after every small matrix crawl on a busy machine.
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
fi
default SEED=0 SPLIT=test TURNS=3 ITERATIONS=2 TRAJECTORIES=8 TOKENS=48 SEARCH_TURNS=3 N=5 \
  CONTROLS="fresh swapped"
default MANY="$N"
[ "$N" != 1 ] || MANY=1

# Lists and words
is_one_of "$SPLIT" test dev || refuse "SPLIT=$SPLIT: test or dev is expected"
[ "$CONTROLS" != none ] || CONTROLS=""
for control in $CONTROLS; do
  grep -q "^    \"$control\":" "$HERE/06_eval.py" ||
    refuse "CONTROLS: '$control' is no row of CONTROLS in 06_eval.py"
  [ "$PRESET" != mbpp ] || [ "$control" != lying ] ||
    refuse "CONTROLS: 'lying' swaps the values of two public tests, and MBPP's problems have one"
done
METHODS=${METHODS:-mucode}
for method in $METHODS; do
  [[ $method =~ ^[a-z0-9_]+([+](bce|previous))?$ ]] &&
    grep -q "^    \"${method%+*}\":" "$HERE/04_relabel.py" ||
    refuse "METHODS: '$method' is no row of METHODS in 04_relabel.py (also with +bce or +previous)"
done
SEEDS=${SEEDS:-}
for seed in $SEEDS; do
  [[ $seed =~ $WHOLE_NUMBER ]] || refuse "SEEDS: '$seed' is no whole number such as 0 or 12"
done
RUN=${RUN:-$HERE/runs/$PRESET}
FRESH=${FRESH:-}
[[ $FRESH = "" || $FRESH = 1 ]] || refuse "FRESH=$FRESH: 1 is expected, or nothing"
