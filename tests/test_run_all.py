"""run_all.sh, tests/run.sh and their set-up, with a Python that only notes what it is asked for."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

# A Python for the shell to find. It notes each call in $CALLS and makes what a stage would make.
# $LACKS: modules that it does not have. $FAILS: a part of the calls that fail.
FAKE_PYTHON = """#!/bin/sh
case "$*" in
  *version_info*) exit $TOO_OLD ;;
  *find_spec*) echo $LACKS; exit ;;
  *sys.executable*) echo "$0"; exit ;;
  *flock*) exit ${LOCKED:-0} ;;
  *importlib.metadata*) echo "torch ${VERSION:-1}"; exit ;;
esac
echo "$*" >> "$CALLS"
case "$*" in
  *"${FAILS:-no such call}"*) echo "fake failure" >&2; exit 1 ;;
  *request.urlopen*) sleep "$INDEX_TAKES" ;;
  "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  "-m pytest "*) echo "OMP_NUM_THREADS is $OMP_NUM_THREADS" ;;
  *cafe.py*) mkdir -p model problems; touch problems/train.jsonl ;;
  *--out*)
    while [ "$1" != --out ]; do shift; done
    mkdir -p "$(dirname "$2")"
    touch "$2"
    ;;
esac
"""
KILL_SHELL = "kill -TERM $PPID; sleep 5"  # what a stage does whose run is cut off
TOOLS = (
    "bash sh basename cat cmp cp diff dirname env grep mkdir mv paste printf sed seq sleep touch"
    " ls rm timeout tr uname wc"
)
NO_GPU_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone")


class Machine:
    """A machine with a checkout, a few tools, and the fake Python under the names `pythons`."""

    def __init__(self, folder, pythons=("python3",)):
        self.bin = folder / "bin"
        self.bin.mkdir()
        for tool in TOOLS.split():
            if shutil.which(tool):
                (self.bin / tool).symlink_to(shutil.which(tool))
        for name in pythons:
            self.program(name, FAKE_PYTHON)

        self.checkout = folder / "checkout"
        shutil.copytree(f"{ROOT}/lib", self.checkout / "lib")
        shutil.copytree(f"{ROOT}/data", self.checkout / "data")
        (self.checkout / "tests").mkdir()
        tables = ("04_relabel.py", "06_eval.py")  # of METHODS and CONTROLS
        for name in ("run_all.sh", "tests/run.sh", "requirements.txt", *tables):
            shutil.copy(f"{ROOT}/{name}", self.checkout / name)
        self.run_folder = folder / "run"
        self.call_file = folder / "calls"

    def program(self, name, text):
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def bash(self, command="run_all.sh", *args, shell="bash", **environment):
        """Run a script of the checkout. `calls` holds what Python was asked for meanwhile."""
        self.call_file.write_text("")
        variables = {
            "PATH": str(self.bin),
            "RUN": str(self.run_folder),
            "CALLS": str(self.call_file),
            "TOO_OLD": "0",
            "INDEX_TAKES": "0",
            **environment,
        }
        done = subprocess.run(
            [self.bin / shell, self.checkout / command, *args],
            env=variables,
            cwd=self.checkout,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.calls = self.call_file.read_text().replace(f"{self.checkout}/", "").splitlines()
        return done

    def stages(self):
        """The calls of stages in order, without the searches, which run beside them."""
        return [call.split()[0] for call in self.calls if "06_eval.py search" not in call]

    def pip_calls(self):
        return [call.partition("--retries 2 ")[2] for call in self.calls if "pip install" in call]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def assert_refused(machine, done, *words, script="run_all.sh"):
    """One line on stderr that holds all words, exit status 2, and nothing made."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"{script}: ")
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert not machine.run_folder.exists()
    assert not (machine.checkout / ".venv").exists()
    assert machine.calls == []


# ── Algorithm 1 ──────────────────────────────────────────────────────────────────────────────────


def test_the_stages_run_in_the_order_of_the_algorithm(machine):
    done = machine.bash(PRESET="smoke", METHODS="mucode rft")
    assert done.returncode == 0, done.stderr
    rollouts = ["01_rollout.py", "02_execute.py"] * 2
    verifier = ["03_verifier.py", "03_verifier.py"]
    iteration = ["04_relabel.py", "05_train_policy.py", *rollouts, *verifier]
    school = ["data/cafe.py", "05_train_policy.py"]
    expected = [*school, *rollouts, *verifier, *iteration, *iteration, "06_eval.py"]
    assert machine.stages() == expected

    # Each policy is searched with the verifier of all steps up to its own.
    searches = [call for call in machine.calls if "06_eval.py search" in call]
    verifiers = sorted(re.search("--verifier (.*) --turns", call)[1] for call in searches)
    assert verifiers == ["base/verifier", "mucode-1/verifier", "rft-1/verifier"]
    steps = "base/turn1.steps.jsonl base/turn2.steps.jsonl mucode-1/turn1.steps.jsonl"
    assert any("03_verifier.py train" in call and steps in call for call in machine.calls)


def test_one_candidate_needs_no_verifier_to_pick(machine):
    """N = 1: R_φ is what the expert asks, so the last policy's own is not made."""
    done = machine.bash(PRESET="smoke", ITERATIONS="2", N="1", MANY="7", METHODS="mucode rft")
    assert done.returncode == 0, done.stderr
    trained = [call for call in machine.calls if "03_verifier.py train" in call]
    folders = [re.search("--out (.*)/verifier", call)[1] for call in trained]
    assert folders == ["base", "mucode-1", "rft-1"]
    sampled = [call for call in machine.calls if "01_rollout.py" in call]
    assert {re.search("--name (.*?) ", call)[1] for call in sampled} == set(folders)

    searches = [call for call in machine.calls if "06_eval.py search" in call]
    assert not any("--verifier" in call for call in searches)
    names = {re.search("--name (.*?) --n 1 ", call)[1] for call in searches}
    assert names == {"base", "mucode-1", "mucode-2", "rft-2"}


def test_only_one_candidate_saves_the_last_verifier(machine):
    """Eleven candidates and iteration 2 of 12 are not one candidate and the last iteration."""
    done = machine.bash(PRESET="smoke", ITERATIONS="12", TURNS="1", N="11")
    assert done.returncode == 0, done.stderr
    trained = [call for call in machine.calls if "03_verifier.py train" in call]
    assert len(trained) == 1 + 12


@pytest.mark.parametrize("threads, has_gpu", [("2", False), ("1", True)])
def test_a_search_waits_for_a_gpu_or_for_all_cores(machine, threads, has_gpu):
    """A search in front that fails ends the run there. One beside it would be missed at the end."""
    if has_gpu:
        machine.program("nvidia-smi", "#!/bin/sh\n")
    done = machine.bash(PRESET="mbpp", OMP_NUM_THREADS=threads, FAILS="06_eval.py search")
    assert done.returncode == 1
    assert not any("04_relabel.py" in call for call in machine.calls)


def test_a_search_runs_beside_where_a_core_is_free(machine):
    done = machine.bash(PRESET="mbpp", OMP_NUM_THREADS="1", FAILS="06_eval.py search")
    assert done.returncode == 2
    assert any("04_relabel.py" in call for call in machine.calls)


def test_the_flags_of_sampling_are_those_of_stage_01_and_of_the_search(machine):
    machine.bash(PRESET="mbpp", SAMPLE_FLAGS="--batch-size 9")
    sampling = [call for call in machine.calls if re.match("01_|06_eval.py search", call)]
    assert len(sampling) > 9
    assert all("--batch-size 9 --seed" in call for call in sampling)

    # The same flags are checked before the rollouts.
    (check,) = (call for call in machine.calls if "data/check.py" in call)
    assert "--sample-flags=--batch-size 9 --policy-flags=--gradient-checkpointing --tok" in check
    assert "--verifier-flags=--gradient-checkpointing --checkpoints 5" in check


def test_existing_outputs_are_skipped(machine):
    machine.bash(PRESET="smoke")
    (machine.run_folder / "mucode-1/scored.jsonl").unlink()
    machine.bash(PRESET="smoke")
    assert [call.split()[:2] for call in machine.calls] == [
        ["03_verifier.py", "score"],
        ["06_eval.py", "report"],
    ]


def test_variants_of_a_method(machine):
    machine.bash(METHODS="mucode+bce rft+previous")
    losses = [
        (re.search("--out (.*)/verifier", call)[1], re.search("--loss (.*?) ", call)[1])
        for call in machine.calls
        if "03_verifier.py train" in call
    ]
    assert losses == [
        ("base", "bt"),
        ("base/bce", "bce"),
        ("mucode+bce-1", "bce"),
        ("mucode+bce-2", "bce"),
        ("rft+previous-1", "bt"),
        ("rft+previous-2", "bt"),
    ]
    starts = [call.split()[2] for call in machine.calls if "05_train_policy.py" in call]
    assert starts == ["model", "base/policy", "base/policy", "base/policy", "rft+previous-1/policy"]
    scored = [call.split()[2] for call in machine.calls if "04_relabel.py" in call]
    assert scored[:2] == ["base/bce/scored.jsonl", "mucode+bce-1/scored.jsonl"]


def test_a_run_for_each_seed_and_one_report(machine):
    done = machine.bash(PRESET="smoke", SEEDS="3 5")
    assert done.returncode == 0, done.stderr
    assert "SEED=5" in (machine.run_folder / "seed5/settings").read_text().split()
    assert machine.calls[-1] == "06_eval.py report --run seed3 seed5 --out report.md"


def test_the_stages_have_the_flags_that_they_are_called_with(machine):
    machine.bash(PRESET="paper", SEEDS="0")
    calls = list(machine.calls)
    shutil.rmtree(machine.run_folder)
    machine.bash(PRESET="mbpp")
    for call in {*calls, *machine.calls}:
        program, *words = call.split()
        source = pathlib.Path(ROOT, program).read_text(encoding="utf-8")
        for flag in (word for word in words if word.startswith("--")):
            assert program.startswith("data/") or f'"{flag}"' in source, call


def test_problems_of_your_own_are_taken_and_nothing_is_fetched(machine):
    problems = machine.run_folder / "problems"
    problems.mkdir(parents=True)
    (problems / "test.jsonl").touch()
    machine.bash(PRESET="mbpp")
    assert not any("mbpp.py" in call or "humaneval" in call for call in machine.calls)
    # What the model and the problems must have is asked before anything else.
    assert machine.calls[0].startswith("data/check.py --policy Qwen/Qwen2.5-1.5B-Instruct")

    # HumanEval beside them is searched and reported, too.
    (problems / "humaneval").mkdir()
    machine.bash(PRESET="mbpp")
    searches = [call for call in machine.calls if "06_eval.py search" in call]
    assert all("--problems problems/humaneval/test.jsonl" in call for call in searches)
    assert len(searches) == 3
    assert machine.calls[-1].endswith("report --run ./humaneval/ --out humaneval/report.md")


def test_half_of_your_own_problems_is_refused(machine):
    """What would be fetched for the other half would take their place."""
    (machine.run_folder / "problems").mkdir(parents=True)
    (machine.run_folder / "problems/train.jsonl").touch()
    done = machine.bash(PRESET="mbpp")
    assert done.returncode == 2
    assert "problems/test.jsonl" in done.stderr
    assert machine.calls == []


def test_a_run_without_controls(machine):
    machine.bash(PRESET="smoke", CONTROLS="none")
    searches = [call for call in machine.calls if "06_eval.py search" in call]
    assert all("--controls --max-new-tokens" in call for call in searches)


def test_a_search_that_fails_beside_the_training_is_not_overlooked(machine):
    done = machine.bash(PRESET="smoke", FAILS="06_eval.py search")
    assert done.returncode == 2
    assert done.stderr == "run_all.sh: the search of base has failed, see above\n"
    assert (machine.run_folder / "mucode-1/scored.jsonl").exists()
    assert not (machine.run_folder / "report.md").exists()


def test_a_stage_that_fails_ends_the_run(machine):
    done = machine.bash(PRESET="smoke", FAILS="04_relabel.py")
    assert done.returncode == 1
    assert machine.stages()[-1] == "04_relabel.py"
    done = machine.bash(PRESET="smoke", FAILS="04_relabel.py", SEEDS="0 1")
    assert done.returncode == 1
    assert not (machine.run_folder / "seed1").exists()


# ── Refusals ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"PRESET": "nope"}, ["PRESET=nope"]),
        ({"PRESET": "toy smoke"}, ["PRESET=toy smoke"]),
        ({"TURNS": "abc"}, ["TURNS=abc"]),
        ({"TURNS": "0"}, ["TURNS=0", "above 0"]),
        ({"STEPS": "08"}, ["STEPS=08", "no zero before it"]),
        ({"SEED": "-1"}, ["SEED=-1"]),
        ({"SEEDS": "0 1 x"}, ["SEEDS", "'x'"]),
        ({"SEEDS": "0 01"}, ["SEEDS", "'01'"]),
        ({"LIMIT": "20"}, ["PRESET=mbpp"]),
        ({"MODEL": "gpt2"}, ["PRESET=mbpp"]),
        ({"SAMPLE_FLAGS": "--batch-size 9"}, ["PRESET=mbpp"]),
        ({"PRESET": "mbpp", "EPOCHS": "3"}, ["EPOCHS", "café"]),
        ({"PRESET": "mbpp", "HUMANEVAL": "/nofile"}, ["HUMANEVAL=/nofile"]),
        ({"SPLIT": "train"}, ["SPLIT=train"]),
        ({"CONTROLS": "fresh frsh"}, ["'frsh'"]),
        ({"PRESET": "mbpp", "CONTROLS": "swapped lying"}, ["'lying'"]),
        ({"METHODS": "mucode ppo"}, ["'ppo'"]),
        ({"METHODS": "mucode+mse"}, ["+bce"]),
        ({"STEP": "10"}, ["STEP is no setting", "STEPS"]),
        ({"ITERATION": "08"}, ["ITERATION is no setting", "ITERATIONS"]),
        ({"SEEED": "1"}, ["SEEED is no setting", "SEED"]),
        ({"TRUNS": "1"}, ["TRUNS is no setting", "TURNS"]),
        ({"METHOD": "rft"}, ["METHOD is no setting", "METHODS"]),
        ({"PRESENT": "paper"}, ["PRESENT is no setting", "PRESET"]),
        ({"POLICY_FLAG": "--lr 1"}, ["POLICY_FLAG is no setting", "POLICY_FLAGS"]),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_made(machine, settings, words):
    done = machine.bash(**{"PRESET": "smoke", **settings})
    assert_refused(machine, done, *words)


def test_ordinary_variables_are_no_misspelt_settings(machine):
    ordinary = (
        "CI COLUMNS DISPLAY EDITOR HOME HOST LANG LINES LOGNAME MODE OMP_NUM_THREADS PAGER PORT PWD"
        " PYTHONPATH RUNS SHELL SHLVL SPEED TERM TMPDIR TZ USER VERBOSE VIRTUAL_ENV"
    )
    environment = dict.fromkeys(ordinary.split(), "1")
    environment |= {"TOKEN": "secret", "TESTS": "unit", "TEXT": "a", "steps": "1"}
    done = machine.bash(PRESET="nope", **environment)
    assert_refused(machine, done, "PRESET=nope")


def test_settings_behind_the_command_are_refused(machine):
    assert_refused(machine, machine.bash("run_all.sh", "PRESET=smoke"), "PRESET=smoke", "before")


def test_a_folder_belongs_to_one_set_of_settings(machine):
    machine.bash(PRESET="smoke", SEED="3")
    before = (machine.run_folder / "settings").read_text()
    done = machine.bash(PRESET="smoke", SEED="4")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "(it has SEED=3; you asked for SEED=4)" in done.stderr
    assert (machine.run_folder / "settings").read_text() == before
    assert machine.calls == []
    assert not (machine.run_folder / "settings.part").exists()


def test_only_a_search_can_be_made_anew_in_a_folder(machine):
    """Rows of three trajectories in a folder that says six would be a lie."""
    machine.bash(PRESET="smoke")
    for search, others, may_stay in [
        (dict(N="3"), {}, True),
        (dict(SPLIT="dev", SEARCH_TURNS="2", CONTROLS="none"), {}, True),
        ({}, dict(TRAJECTORIES="3"), False),
        (dict(N="3"), dict(TOKENS="9"), False),
    ]:
        done = machine.bash(PRESET="smoke", **search, **others)
        assert done.returncode == 2
        assert ("delete all eval.jsonl" in done.stderr) == may_stay, done.stderr
        assert "another folder with RUN=" in done.stderr
    for path in machine.run_folder.glob("*/eval.jsonl"):
        path.unlink()
    assert machine.bash(PRESET="smoke", N="3").returncode == 0
    assert "N=3" in (machine.run_folder / "settings").read_text()


def test_the_second_run_in_a_folder_leaves(machine):
    done = machine.bash(PRESET="smoke", LOCKED="3")
    line = f"run_all.sh: RUN={machine.run_folder}: another run is at work in this folder\n"
    assert (done.returncode, done.stderr, machine.calls) == (2, line, [])
    # Where a folder cannot be locked, it goes unlocked.
    assert machine.bash(PRESET="smoke", LOCKED="1").returncode == 0


def test_the_lock_holds_as_long_as_the_run_or_a_process_of_it(tmp_path):
    """With the real Python: two runs at once, at six distances."""
    script = f"""
        . {ROOT}/lib/setup.sh; . {ROOT}/lib/run.sh; BASE={sys.executable}; RUN={tmp_path}; cd $RUN
        lock_folder; echo locked; $*"""
    lock = ["bash", "-c", script, "run_all.sh"]
    for distance in ("0", "0.1", "0.2", "0.4", "0.6", "0.8"):
        with subprocess.Popen([*lock, "sleep", "1.5"], stdout=subprocess.PIPE) as first:
            assert first.stdout.readline() == b"locked\n"
            subprocess.run(["sleep", distance])
            second = subprocess.run(lock, capture_output=True, text=True)
            assert (second.returncode, second.stdout) == (2, "")
            assert second.stderr.count("\n") == 1 and "another run is at work" in second.stderr
        assert subprocess.run(lock, capture_output=True).returncode == 0


def test_what_the_check_refuses_can_be_corrected_in_the_same_folder(machine):
    mbpp = dict(PRESET="mbpp", MODEL="hub/model", LIMIT="2")
    assert machine.bash(POLICY_FLAGS="--lr 1", FAILS="check.py", **mbpp).returncode != 0
    # Its problems are there, so LIMIT is not to be corrected.
    assert "LIMIT=3" in machine.bash(**dict(mbpp, LIMIT="3")).stderr
    assert machine.bash(POLICY_FLAGS="--lr 2", FAILS="check.py", **mbpp).returncode != 0
    assert machine.bash(POLICY_FLAGS="--lr 3", **mbpp).returncode == 0
    # From the first rollouts on it is bound.
    assert "started with other settings" in machine.bash(POLICY_FLAGS="--lr 4", **mbpp).stderr


def test_what_has_changed_since_a_run_began_is_told(machine):
    assert "changed since" not in machine.bash(PRESET="smoke").stdout
    assert "changed since" not in machine.bash(PRESET="smoke").stdout
    with open(machine.checkout / "04_relabel.py", "a") as file:
        file.write("# another text\n")
    for _ in range(2):
        done = machine.bash(PRESET="smoke", VERSION="2")
        assert "changed since this run began: 04_relabel.py versions." in done.stdout
        assert "FRESH=1" in done.stdout
    assert "another" not in (machine.run_folder / "code/04_relabel.py").read_text()
    assert "changed since" not in machine.bash(PRESET="smoke", FRESH="1").stdout


def test_a_fresh_start_deletes_what_runs_make_and_nothing_else(machine):
    settings = dict(PRESET="smoke", METHODS="mucode rft+bce")
    machine.bash(**settings)
    made = sorted(path.name for path in machine.run_folder.iterdir())
    mine = ["notes.md", "try.examples.jsonl", "my-data-2", "mucode", "rft-plan"]
    mine += ["mucode-1.backup", "mucode-10-notes", "rft-2-old", "base.old"]
    for name in mine:
        (machine.run_folder / name).mkdir()
        (machine.run_folder / name / "eval.jsonl").touch()
    calls = machine.calls
    done = machine.bash(FRESH="1", **settings)
    assert done.returncode == 0
    named = " mucode-1 rft+bce-1 base report.md problems model code settings\n"
    assert f"FRESH=1 deletes in {machine.run_folder}:{named}" in done.stdout
    assert "cafe.py" in " ".join(machine.calls) and "05_train_policy.py" in " ".join(machine.calls)
    assert sorted(path.name for path in machine.run_folder.iterdir()) == sorted(made + mine)
    assert calls != []

    # Other settings are no obstacle, nor is it that there are none.
    (machine.run_folder / "settings").unlink()
    assert "no file settings" in machine.bash(PRESET="smoke").stderr
    assert machine.bash(FRESH="1", PRESET="smoke", SEED="5").returncode == 0
    assert "SEED=5" in (machine.run_folder / "settings").read_text()
    assert "FRESH=yes: 1 is expected" in machine.bash(FRESH="yes").stderr


def test_a_stage_that_was_killed_is_named(machine):
    machine.program("python3", FAKE_PYTHON.replace('echo "fake failure" >&2; exit 1', "kill -9 $$"))
    done = machine.bash(PRESET="smoke", FAILS="03_verifier.py")
    assert done.returncode == 137
    line = "run_all.sh: 03_verifier.py was ended by signal 9 (out of memory?); run it again"
    assert done.stderr.splitlines() == [f"{line} to go on"]

    # With several seeds, too.
    done = machine.bash(PRESET="smoke", FAILS="03_verifier.py", SEEDS="0 1", FRESH="1")
    assert done.stderr.splitlines() == [f"{line} to go on"]


def test_a_run_that_is_cut_off_says_how_to_go_on(machine):
    machine.program("python3", FAKE_PYTHON.replace('echo "fake failure" >&2; exit 1', KILL_SHELL))
    for fresh, more in [({}, ""), (dict(FRESH="1"), ", without FRESH=1,")]:
        done = machine.bash(PRESET="smoke", FAILS="03_verifier.py", **fresh)
        line = f"run_all.sh: cut off; run it again{more} to go on\n"
        assert (done.returncode, done.stderr) == (143, line)


@pytest.mark.parametrize("seeds", ["", "0 1"])
def test_a_folder_that_cannot_be_made_is_refused(machine, seeds):
    machine.run_folder.write_text("a file")
    (machine.checkout / "settings").write_text("precious")
    done = machine.bash(RUN=f"{machine.run_folder}/deeper", SEEDS=seeds)
    assert done.returncode == 2
    assert done.stderr.startswith(f"run_all.sh: RUN={machine.run_folder}/deeper")
    assert done.stderr.count("\n") == 1
    assert (machine.checkout / "settings").read_text() == "precious"
    assert machine.calls == []


# ── The shell and the Python ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pythons", [["python"], ["python3"], ["python", "python3"]])
def test_either_name_of_python_will_do(tmp_path, pythons):
    machine = Machine(tmp_path, pythons)
    done = machine.bash(PRESET="smoke")
    assert done.returncode == 0, done.stderr
    assert f"── Python: {machine.bin}/{pythons[0]}\n" in done.stdout
    assert machine.pip_calls() == []


def test_sh_is_as_good_as_bash(machine):
    done = machine.bash(shell="sh", PRESET="smoke")
    assert done.returncode == 0, done.stderr
    assert machine.stages()[-1] == "06_eval.py"


@pytest.mark.parametrize("script", ["run_all.sh", "tests/run.sh"])
def test_a_python_that_will_not_do_is_refused(machine, script):
    name = os.path.basename(script)
    done = machine.bash(script, TOO_OLD="1")
    assert_refused(machine, done, "Python 3.10 or newer", script=name)
    done = machine.bash(script, LACKS="torch", FAILS="ensurepip")
    machine.calls.remove("-c import ensurepip, venv")
    assert_refused(machine, done, "no venv module", script=name)


def test_missing_packages_go_to_a_venv_once(machine):
    done = machine.bash(
        "tests/run.sh", "-x", "tests/test_x.py", LACKS="torch tqdm", FAILS="urlopen"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("──") == 1
    assert "── Python: python3 lacks torch tqdm; installing" in done.stdout
    assert machine.pip_calls() == ["-r requirements.txt"]
    assert machine.calls[-1] == "-m pytest -q -x tests/test_x.py"
    assert "OMP_NUM_THREADS is 1\n" in done.stdout

    # The next time it is there, for both commands.
    for script in ("tests/run.sh", "run_all.sh"):
        done = machine.bash(script, LACKS="torch tqdm", PRESET="smoke", OMP_NUM_THREADS="3")
        assert done.returncode == 0, done.stderr
        assert f"── Python: {machine.checkout}/.venv/bin/python\n" in done.stdout
        assert machine.pip_calls() == []


def test_an_incomplete_venv_is_not_trusted(machine):
    environment = {"LACKS": "torch", "FAILS": "pip install"}
    done = machine.bash("tests/run.sh", **environment)
    assert done.returncode == 2
    assert done.stderr.startswith("fake failure\nrun.sh: ")
    assert not any("pytest" in call for call in machine.calls)

    # It is completed; and again where the pins have changed, or its Python has gone.
    for spoil in (
        lambda venv: None,
        lambda venv: (machine.checkout / "requirements.txt").write_text("torch==9.9.9\n"),
        lambda venv: (venv / "bin/python").unlink(),
    ):
        spoil(machine.checkout / ".venv")
        assert machine.bash("tests/run.sh", LACKS="torch").returncode == 0
        assert machine.pip_calls() != []
        assert machine.bash("tests/run.sh", LACKS="torch").returncode == 0
        assert machine.pip_calls() == []


@NO_GPU_LINUX
@pytest.mark.parametrize("fails", ["", "--index-url"])
def test_the_cpu_build_of_torch_is_tried_first(machine, fails):
    done = machine.bash("tests/run.sh", LACKS="torch", FAILS=fails)
    assert done.returncode == 0, done.stderr
    cpu, everything = machine.pip_calls()
    assert re.fullmatch(r"torch==[\d.]+ --index-url https://download.pytorch.org/whl/cpu", cpu)
    assert everything == "-r requirements.txt"


@NO_GPU_LINUX
def test_an_index_that_does_not_answer_costs_seconds(machine):
    real = os.path.realpath(machine.bin / "timeout")
    (machine.bin / "timeout").unlink()
    machine.program("timeout", f'#!/bin/sh\n[ "$1" = 5 ] && shift && exec {real} 0.2 "$@"\n')
    done = machine.bash("tests/run.sh", LACKS="torch", INDEX_TAKES="50")
    assert done.returncode == 0, done.stderr
    assert machine.pip_calls() == ["-r requirements.txt"]


@NO_GPU_LINUX
def test_a_machine_with_a_gpu_gets_the_ordinary_torch(machine):
    machine.program("nvidia-smi", "#!/bin/sh\n")
    machine.bash("tests/run.sh", LACKS="torch")
    assert machine.pip_calls() == ["-r requirements.txt"]
    assert not any("urlopen" in call for call in machine.calls)
