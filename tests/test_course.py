"""The course: markers and the student version, points, and a grader that only code convinces."""

import contextlib
import doctest
import importlib
import inspect
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import grading
import make_student
import pytest
from conftest import ROOT, STAGES, stage
from gradescope import Points
from grading import HERE, Student, graded_tests, run_test
from mutants import MUTANTS

NUMBERS = range(1, 7)
WORKER = os.path.join(HERE, "grading_worker.py")
GRADED = {k: importlib.import_module(f"test_{k:02}_graded") for k in NUMBERS}
TESTS = {k: graded_tests(GRADED[k]) for k in NUMBERS}


def source_of(number):
    """The text of a stage."""
    with open(os.path.join(ROOT, f"{STAGES[number - 1]}.py")) as file:
        return file.read()


def solutions_of(number):
    """{function: the text between its markers} of a stage."""
    source = source_of(number)
    lines = source.split("\n")
    solutions = make_student.find_solutions(source, STAGES[number - 1])
    return {name: "\n".join(lines[first + 1 : last]) for name, first, last in solutions}


SOLUTIONS = {k: solutions_of(k) for k in NUMBERS}


class Desk:
    """The six stages of some folder or other, graded in six processes."""

    def __init__(self):
        self.students = {k: Student(ROOT, k) for k in NUMBERS}

    def put(self, number, path):
        """Let the functions of a stage be those of this file."""
        student = self.students[number]
        student.path = str(path)
        student.is_loaded = False
        student.fault = None

    def outcomes(self, number):
        """{test: None or why it fails} of a stage."""
        student = self.students[number]
        tests = TESTS[number].items()
        return {name: run_test(test, student, random.Random(name)) for name, (test, _) in tests}

    def first_failure(self, number):
        """The first test of a stage that fails, and why: None if none does."""
        for name, (test, _) in TESTS[number].items():
            if reason := run_test(test, self.students[number], random.Random(name)):
                return f"{name}: {reason}"
        return None


@pytest.fixture(scope="module")
def desk():
    desk = Desk()
    yield desk
    for student in desk.students.values():
        student.close()


# ── Solutions ────────────────────────────────────────────────────────────────────────────────────


def test_two_or_three_functions_of_each_stage_are_to_be_written():
    counts = [len(SOLUTIONS[k]) for k in NUMBERS]
    assert all(2 <= count <= 3 for count in counts)
    assert 10 <= sum(counts) <= 14


@pytest.mark.parametrize("number", NUMBERS)
def test_every_docstring_has_an_example_that_holds(number):
    module = stage(number)
    for name in SOLUTIONS[number]:
        finder = doctest.DocTestFinder()
        (examples,) = finder.find(getattr(module, name), name, globs=vars(module))
        assert examples.examples, f"{name} has no example"
        report = []
        runner = doctest.DocTestRunner(verbose=False)
        runner.run(examples, out=report.append)
        assert not runner.failures, "".join(report)


@pytest.mark.parametrize(
    "body, line, words",
    [
        (
            "    # BEGIN SOLUTION\n    # BEGIN SOLUTION\n    return 1\n    # END SOLUTION",
            4,
            "within",
        ),
        ("    # BEGIN SOLUTION\n    return 1", 3, "does not end"),
        ("    return 1\n    # END SOLUTION", 4, "has not begun"),
        ("    return 1  # BEGIN SOLUTION\n    # END SOLUTION", 3, "a line of its own"),
        (
            "    x = 1\n    # BEGIN SOLUTION\n    return x\n    # END SOLUTION",
            4,
            "all that follows",
        ),
        (
            "    # BEGIN SOLUTION\n    x = 1\n    # END SOLUTION\n    return x",
            3,
            "all that follows",
        ),
        (
            "    if x:\n        # BEGIN SOLUTION\n        return x\n        # END SOLUTION",
            4,
            "all that",
        ),
        ("    # BEGIN SOLUTION\n    return 1\n  # END SOLUTION", 3, "indented"),
        ("    return 1\n\n\n# BEGIN SOLUTION\ny = 1\n# END SOLUTION", 6, "all that follows"),
    ],
)
def test_a_marker_that_is_out_of_place_is_refused_by_file_and_line(refused, body, line, words):
    source = f'def f(x):\n    """What it does."""\n{body}\n'
    refused(lambda: make_student.find_solutions(source, "04.py"), f"04.py, line {line}:", words)


def call_make_student(*args):
    command = [sys.executable, os.path.join(ROOT, "tests", "make_student.py"), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """versions(stages) → the folder of the student version in which these are blank."""
    made = {}

    def make(stages):
        if stages not in made:
            made[stages] = tmp_path_factory.mktemp("student") / "version"
            call = call_make_student("--stages", stages, "--out", made[stages])
            assert call.returncode == 0, call.stderr
        return made[stages]

    return make


def test_the_student_version_lacks_the_solutions_and_has_the_rest(versions):
    version = versions("03,04")
    for number in NUMBERS:
        name = f"{STAGES[number - 1]}.py"
        text = (version / name).read_text()
        if number not in (3, 4):
            assert text == source_of(number)
            continue
        for function, solution in SOLUTIONS[number].items():
            assert solution not in text
            words = f'    """\n    raise NotImplementedError("stage {number:02}: {function}")\n'
            assert words in text
        assert "SOLUTION" not in text
        compile(text, name, "exec")
        # What is not to be written is there, line by line.
        assert set(text.split("\n")) - set(source_of(number).split("\n")) <= set(
            f'    raise NotImplementedError("stage {number:02}: {function}")'
            for function in SOLUTIONS[number]
        )
    names = {path.name for path in version.rglob("*")}
    assert {"run_all.sh", "README.md", "test_04_graded.py", "assignment.md"} <= names
    hidden = {"mutants.py", "test_course.py", "make_student.py", ".git", ".github", "__pycache__"}
    assert not hidden & names


def test_answers_are_for_instructors(versions, tmp_path):
    answers = "What a good answer contains"
    with open(os.path.join(ROOT, "docs", "assignment.md")) as file:
        assert file.read().count(answers) > 5
    handout = (versions("03,04") / "docs" / "assignment.md").read_text()
    assert answers not in handout
    assert "SOLUTION" not in handout
    out = tmp_path / "all"
    call_make_student("--stages", "01", "--with-answers", "--out", out)
    assert answers in (out / "docs" / "assignment.md").read_text()


@pytest.mark.parametrize(
    "handout, line, words",
    [
        ("<!-- BEGIN SOLUTION -->\nx\n<!-- BEGIN SOLUTION -->\n", 3, "END SOLUTION"),
        ("x\n<!-- END SOLUTION -->\n", 2, "BEGIN SOLUTION"),
        ("<!-- BEGIN SOLUTION -->\nx\n", 1, "does not end"),
        ("<!--BEGIN SOLUTION-->\nx\n<!--END SOLUTION-->\n", 1, "<!--BEGIN"),
        ("<!-- BEGIN SOLUTION --> \nx\n<!-- END SOLUTION -->\n", 1, "BEGIN SOLUTION"),
    ],
)
def test_an_answer_whose_marker_is_out_of_place_is_refused(refused, handout, line, words):
    refused(lambda: make_student.without_answers(handout), f"assignment.md, line {line}:", words)


def test_a_function_that_the_handout_does_not_list_is_refused(refused):
    table = "| 04 | `best_step` | the expert | 6 |\n| 04 | `relabel` | Eq. 5 | 5 |\n"
    make_student.check_table(table, {("04", "best_step"), ("04", "relabel")})
    for functions in ({("04", "best_step")}, {("04", "best_step"), ("04", "by_problem")}):
        refused(lambda names=functions: make_student.check_table(table, names), "stage 04")


@pytest.mark.parametrize(
    "flags, words",
    [(["--stages", "03,7"], "'07' is none of 01, 02"), (["--stages", "03"], "exists")],
)
def test_a_bad_flag_is_refused_in_one_line(tmp_path, flags, words):
    out = tmp_path if "exists" in words else tmp_path / "out"
    call = call_make_student(*flags, "--out", out)
    assert call.returncode == 2
    assert call.stderr.count("\n") == 1
    assert words in call.stderr


# ── The matrix ───────────────────────────────────────────────────────────────────────────────────


def test_every_graded_test_passes_on_the_solution(desk):
    for number in NUMBERS:
        desk.put(number, os.path.join(ROOT, f"{STAGES[number - 1]}.py"))
        assert set(desk.outcomes(number).values()) == {None}


@pytest.mark.parametrize("blank", NUMBERS)
def test_with_one_stage_blank_its_graded_tests_fail_and_no_others(desk, versions, blank):
    version = versions(f"{blank:02}")
    for number in NUMBERS:
        desk.put(number, version / f"{STAGES[number - 1]}.py")
        for name, reason in desk.outcomes(number).items():
            if number == blank:
                assert reason.startswith(f"NotImplementedError: stage {number:02}: "), name
            else:
                assert reason is None, name


# ── Wrong solutions ──────────────────────────────────────────────────────────────────────────────


def replace_solution(number, function, solution):
    """The text of a stage with another solution of one function."""
    source = source_of(number)
    old = SOLUTIONS[number][function]
    assert source.count(old) == 1
    return source.replace(old, solution)


@pytest.mark.parametrize("number", NUMBERS)
def test_every_plausible_mistake_is_found_by_the_tests_of_its_stage(desk, tmp_path, number):
    assert len(MUTANTS) >= 40
    path = tmp_path / "mutant.py"
    for own, function, words, other, mistake in MUTANTS:
        if own != number:
            continue
        solution = SOLUTIONS[number][function]
        assert solution.count(words) == 1, f"{function}: {words}"
        path.write_text(replace_solution(number, function, solution.replace(words, other)))
        desk.put(number, path)
        failure = desk.first_failure(number)
        assert failure, f"{function}, {mistake}: every test passes"
        assert "NotImplementedError" not in failure


# What a function gives if it returns zeros.
ZEROS = {
    "next_messages": "[]",
    "choose": "torch.zeros_like(uniform).long()",
    "choose_block": '""',
    "reward": "0",
    "make_verdict": "Verdict(False, False, '')",
    "bt_loss": "scores.sum() * 0",
    "pairwise_accuracy": "0.0",
    "best_step": "{}",
    "relabel": "[]",
    "collate": "(torch.zeros(len(examples), 9).long(), torch.zeros(len(examples), 9).long())",
    "completion_loss": "logits.sum() * 0",
    "pick": "0",
    "episode": "0",
    "recovery": "(0.0, 0.0)",
}


@pytest.mark.parametrize("number", NUMBERS)
def test_no_graded_test_passes_on_a_stub(desk, tmp_path, number):
    path = tmp_path / "stub.py"
    for function in SOLUTIONS[number]:
        first = re.search(rf"def {function}\((\w+)", source_of(number))[1]
        for value in ("None", first, ZEROS[function]):
            path.write_text(replace_solution(number, function, f"    return {value}"))
            desk.put(number, path)
            about = [name for name in TESTS[number] if function in calls_of(number, name)]
            assert about
            for name in about:
                test, _ = TESTS[number][name]
                reason = run_test(test, desk.students[number], random.Random(name))
                assert reason, f"{function} returns {value}: {name} passes"


def calls_of(number, name):
    """The functions of a stage that a graded test calls, by its source."""
    test, _ = TESTS[number][name]
    source = inspect.getsource(test)
    functions = set(re.findall(r"student\.(?:drive\()?\"?(\w+)", source))
    # Helpers of these two files, which call one function each.
    if "draw(student" in source:
        functions.add("choose")
    if "ask(student" in source:
        functions.add("completion_loss")
    return functions - {"drive"}


class Recorder:
    """A student whose answers are kept, or one who gives the answers that were kept."""

    def __init__(self, student=None, answers=()):
        self.student = student
        self.answers = list(answers)

    def __getattr__(self, name):
        return lambda *args, **more: self.answer(name, args, more)

    def answer(self, name, args, more):
        if self.student:
            self.answers.append(getattr(self.student, name)(*args, **more))
            return self.answers[-1]
        return self.answers.pop(0)


@pytest.mark.parametrize("number", NUMBERS)
def test_answers_that_are_known_by_heart_are_worth_little_under_another_seed(desk, number):
    desk.put(number, os.path.join(ROOT, f"{STAGES[number - 1]}.py"))
    by_heart = 0
    for name, (test, worth) in TESTS[number].items():
        recorder = Recorder(desk.students[number])
        assert run_test(test, recorder, random.Random(f"0 {name}")) is None
        parrot = Recorder(answers=recorder.answers)
        if run_test(test, parrot, random.Random(f"1 {name}")) is None:
            by_heart += worth
    assert by_heart <= 0.1 * sum(worth for _, worth in TESTS[number].values())


# ── Points ───────────────────────────────────────────────────────────────────────────────────────


def test_the_points_of_the_handout_are_those_of_the_markers():
    with open(os.path.join(ROOT, "docs", "assignment.md")) as file:
        handout = file.read()
    # A row of a table: | 04 | `relabel` | … | 5 |
    rows = re.findall(r"^\| (0\d) \| `(\w+)` \|.*\| (\d+) \|$", handout, re.M)
    listed = {(int(number), function): int(worth) for number, function, worth in rows}
    marked = {}
    for number in NUMBERS:
        for function in SOLUTIONS[number]:
            about = [name for name in TESTS[number] if function in calls_of(number, name)]
            marked[number, function] = sum(TESTS[number][name][1] for name in about)
    assert listed == marked
    total = sum(worth for tests in TESTS.values() for _, worth in tests.values())
    assert sum(marked.values()) == total  # each test is about one function
    assert f"{total} points" in handout

    # Each set: its code, its questions, and what that comes to.
    for code, questions, together in re.findall(r"(\d+) \+ (\d+) = (\d+) points", handout):
        assert int(code) + int(questions) == int(together)
    sums = re.findall(r"(\d+) \+ (\d+) = (\d+) points", handout)
    assert sum(int(code) for code, _, _ in sums) == total
    worth = sum(map(int, re.findall(r"^\*\*Q[\d.]+\*\* \((\d+)\)", handout, re.M)))
    assert worth == sum(int(questions) for _, questions, _ in sums)


# ── The grader ───────────────────────────────────────────────────────────────────────────────────


def run_grader(folder, tmp_path, *flags):
    """Grade a folder as an autograder would → (the results file, the run of pytest)."""
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--repo={folder}"]
    command += [f"--gradescope={results}", *flags]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, errors="replace")
    return json.loads(results.read_text()), run


def earned(results, number):
    """(points earned, points possible) of a stage."""
    tests = [test for test in results["tests"] if int(test["number"]) == number]
    return sum(test["score"] for test in tests), sum(test["max_score"] for test in tests)


FULL = {k: sum(worth for _, worth in TESTS[k].values()) for k in NUMBERS}


def test_with_everything_blank_all_is_collected_and_nothing_earned(versions, tmp_path):
    version = versions(",".join(f"{k:02}" for k in NUMBERS))
    junit = tmp_path / "junit.xml"
    results, run = run_grader(version, tmp_path, f"--junitxml={junit}")
    assert run.returncode == 1, run.stderr
    assert results["score"] == 0
    for number in NUMBERS:
        assert earned(results, number) == (0, FULL[number])
    assert all("NotImplementedError" in test["output"] for test in results["tests"])
    assert f"together: 0 of {sum(FULL.values())}" in run.stdout
    assert junit.read_text().count("<testcase") == len(results["tests"])
    assert 'name="points" value="2"' in junit.read_text()


def test_another_folder_is_graded_by_the_tests_of_this_one(versions, tmp_path):
    """However --repo is written, and whatever tests the other folder has."""
    version = versions("04")
    (version / "tests" / "test_04_graded.py").write_text("def test_nothing(): pass\n")
    for flags in ([f"--repo={version}"], ["--repo", str(version)]):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "stage04"]
        run = subprocess.run([*command, *flags], capture_output=True, text=True, cwd=ROOT)
        assert f"stage 04: 0 of {FULL[4]}" in run.stdout


def test_a_stage_that_was_not_handed_in_is_told(tmp_path):
    folder = tmp_path / "submission"
    folder.mkdir()
    (folder / "04_relabel.py").write_text(source_of(4))
    results, run = run_grader(folder, tmp_path, "-m", "stage02 or stage04")
    assert (earned(results, 2), earned(results, 4)) == ((0, FULL[2]), (FULL[4], FULL[4]))
    missing = [test for test in results["tests"] if not test["score"]]
    assert all("02_execute.py was not handed in" in test["output"] for test in missing)
    assert all("Traceback" not in test["output"] for test in missing)
    assert f"graded: {folder}" in run.stdout


def test_a_path_is_that_of_the_caller(tmp_path, versions):
    """tests/run.sh works in the checkout, and is called from anywhere."""
    version = versions("04")
    command = ["bash", os.path.join(ROOT, "tests", "run.sh"), "-m", "stage04"]
    command += ["-p", "no:cacheprovider", "--repo", ".", "--gradescope", "out.json"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=version)
    assert f"stage 04: 0 of {FULL[4]}" in run.stdout, run.stderr
    assert json.loads((version / "out.json").read_text())["score"] == 0


def test_a_stage_that_does_not_exist_is_refused():
    command = [sys.executable, "-m", "pytest", "-m", "stage4"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 4
    assert "there is no stage4" in run.stderr


def test_other_inputs_by_another_seed(tmp_path):
    for seed in ("1", "autumn"):
        results, run = run_grader(ROOT, tmp_path, "-m", "stage04 or stage02", "--seed", seed)
        assert results["score"] == FULL[4] + FULL[2], run.stdout
        assert f"drawn with --seed {seed}" in run.stdout


def test_stages_02_and_04_are_graded_without_torch(desk, tmp_path):
    script = (
        "import sys, pytest\n"
        "code = pytest.main(['-q', '-p', 'no:cacheprovider', '-m', 'stage02 or stage04'])\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "sys.exit(code)"
    )
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stdout

    # The process of the submission does not load it, either.
    look = "    import sys\n    assert 'torch' not in sys.modules\n"
    for number, function in ((2, "reward"), (4, "best_step")):
        path = tmp_path / "submission.py"
        path.write_text(replace_solution(number, function, look + SOLUTIONS[number][function]))
        desk.put(number, path)
        assert desk.first_failure(number) is None


# ── Hostile submissions ──────────────────────────────────────────────────────────────────────────

WRONG = "    return True"  # of `reward`: its test must fail
RIGHT = SOLUTIONS[2]["reward"]
FORGED = '{"score": 1000, "tests": []}'
BOM = "\ufeff"
HOSTILE = {
    "exits as it is imported": ("import os; os._exit(0)", RIGHT, 0),
    "exits politely as it is imported": ("raise SystemExit(0)", RIGHT, 0),
    "hangs as it is imported": ("while True: pass", RIGHT, 0),
    "exits in a function": ("", "    import os\n    os._exit(0)", FULL[2] - 2),
    "raises SystemExit in a function": ("", "    raise SystemExit(0)", FULL[2] - 2),
    "hangs in a function": ("", "    while True: pass", FULL[2] - 2),
    "prints 1 GB": (
        "",
        f"    for _ in range(1000):\n        print('x' * 10**6)\n{RIGHT}",
        FULL[2],
    ),
    "prints a forged reply": (
        "",
        "    for fd in range(64):\n"
        '        try: os.write(fd, b\'{"value": true, "has_changed": false}\\n\')\n'
        "        except OSError: pass\n" + WRONG,
        FULL[2] - 2,
    ),
    "patches pytest": (
        "import pytest, sys\n"
        "pytest.fail = lambda *args, **more: None\n"
        "pytest.fail.Exception = KeyError\n"
        "sys.modules['conftest'] = sys.modules['grading'] = None\n",
        WRONG,
        FULL[2] - 2,
    ),
    "writes the results by hand": ("open(RESULTS, 'w').write(FORGED)", WRONG, None),
    "kills its parent": (
        "",
        "    import os, signal\n    try: os.kill(os.getppid(), 9)\n    except OSError: pass\n"
        + WRONG,
        FULL[2] - 2,
    ),
    "leaves a process behind": (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(4)\n"
        "        open(RESULTS, 'w').write(FORGED)\n"
        "        time.sleep(60)\n"
        "    os._exit(0)",
        WRONG,
        None,
    ),
    "returns what equals everything": (
        "class Same:\n    def __eq__(self, other): return True",
        "    return Same()",
        FULL[2] - 2,
    ),
    "looks for another version of the stage": (
        "import gc\n"
        "for f in gc.get_objects():\n"
        "    if type(f).__name__ == 'function' and f.__module__ == __name__\\\n"
        "            and f.__globals__ is not globals():\n"
        "        globals()[f.__name__] = f\n",
        "    return FOUND",
        FULL[2] - 2,
    ),
    "raises half a surrogate": ("", r"    raise ValueError('\\ud800\\x00')", FULL[2] - 2),
    "prints half a surrogate": (
        "",
        "    sys.stdout.buffer.write(bytes(range(256)))\n" + WRONG,
        FULL[2] - 2,
    ),
    "returns a dictionary whose keys collide": (
        "class Slow(dict):\n"
        "    def items(self): return ((k * (2**61 - 1), 0) for k in range(300000))\n",
        "    return Slow()",
        FULL[2] - 2,
    ),
    "returns a number of 400 digits": ("", "    return 10**400", FULL[2] - 2),
    "begins with a byte order mark": (BOM, RIGHT, FULL[2]),
    "returns 100 MB": ("", "    return 'x' * 10**8", FULL[2] - 2),
    "nests 100,000 lists": (
        "",
        "    x = []\n    for _ in range(100000):\n        x = [x]\n    return x",
        FULL[2] - 2,
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_submission_scores_what_its_code_is_worth(tmp_path, case):
    at_import, solution, expected = HOSTILE[case]
    results = tmp_path / "results.json"
    head = f"import os\nRESULTS = {str(results)!r}\nFORGED = {FORGED!r}\n{at_import}\n"
    folder = tmp_path / "submission"
    folder.mkdir()
    text = head + replace_solution(2, "reward", solution)
    (folder / "02_execute.py").write_text(BOM * (at_import == BOM) + text.replace(f"\n{BOM}", "\n"))
    (folder / "conftest.py").write_text("raise SystemExit('a conftest of theirs')")
    results.write_text(FORGED)
    begun = time.monotonic()
    written, run = run_grader(folder, tmp_path, "-m", "stage02")
    # In the cage, to fork or to write is an error; without one, it is undone.
    assert earned(written, 2) == (written["score"], FULL[2]), run.stdout
    allowed = {expected} if expected is not None else {0, FULL[2] - 2}
    assert written["score"] in allowed, run.stdout
    assert all(len(test["output"]) <= 5000 for test in written["tests"])
    if "behind" in case:
        time.sleep(max(0.0, 6 - (time.monotonic() - begun)))
        assert json.loads(results.read_text()) == written
        assert not workers_left()


def workers_left():
    """The processes of submissions that this checkout has started and these tests do not hold."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc") else []):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read().decode(errors="replace")
            with open(f"/proc/{pid}/stat") as file:
                parent = int(file.read().rpartition(") ")[2].split()[1])
            if WORKER in command and parent != os.getpid():
                found.append(int(pid))
    return found


def test_what_the_code_has_printed_stands_beside_its_failure(tmp_path):
    folder = tmp_path / "submission"
    folder.mkdir()
    solution = "    print('looking at', sorted(row))\n" + WRONG
    (folder / "02_execute.py").write_text(replace_solution(2, "reward", solution))
    results, _ = run_grader(folder, tmp_path, "-m", "stage02")
    (failed,) = [test for test in results["tests"] if not test["score"]]
    assert "printed by the code:\nlooking at ['feedback', 'hidden_passed'" in failed["output"]
    assert "hint:" in failed["output"]

    # However much, and of what letters: they are escaped, and cut to what a page can show.
    solution = "    print(chr(27) * 9000)\n" + WRONG
    (folder / "02_execute.py").write_text(replace_solution(2, "reward", solution))
    results, _ = run_grader(folder, tmp_path, "-m", "stage02")
    (failed,) = [test for test in results["tests"] if not test["score"]]
    assert failed["output"].endswith(r"\x1b\x1b")
    assert len(failed["output"]) == 5000


NAN = float("nan")


@pytest.mark.parametrize(
    "value, other, equal",
    [
        ((1, [2.0]), [1, (2.0,)], True),  # lists and tuples are alike
        (1.0, 1.000001, True),
        (1.0, 1.0001, False),
        (1, 1.0, True),
        (1.0, 1, False),  # callers index with a whole number
        (True, 1, True),
        (NAN, NAN, True),
        (10**400, 1.0, False),
        (grading.Tensor([1.0]), grading.Tensor([1.0]), True),
        ([1.0], grading.Tensor([1.0]), False),
        (grading.Tensor([1.0]), [1.0], False),
        ({"a": 1.0}, {"a": 1.0000001}, True),
        ({"a": 1}, {"b": 1}, False),
        ("1", 1, False),
        ([1], [1, 2], False),
        (None, 0, False),
    ],
)
def test_what_counts_as_the_same_answer(value, other, equal):
    assert grading.same(value, other) is equal


def test_what_a_slow_reader_has_not_read_yet_is_waited_for(tmp_path):
    """As on a busy machine: what was printed is in the pipe for a while after the reply."""
    solution = replace_solution(2, "reward", "    print('looking')\n" + WRONG)
    (tmp_path / "02_execute.py").write_text(solution)
    student = Student(tmp_path, 2)
    try:
        student.load()
        student.take_printed()
        with student.reading:  # the reader is kept from reading
            student.reward(dict(public_passed=True, hidden_passed=True))
            assert student.printed == b""
        assert student.take_printed() == "looking"
    finally:
        student.close()


def test_time_is_limited_by_call_and_by_stage(tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "LIMIT", 1.0)
    monkeypatch.setattr(grading, "SHORT_LIMIT", 0.3)
    (tmp_path / "02_execute.py").write_text(replace_solution(2, "reward", "    while True: pass"))
    student = Student(tmp_path, 2)
    seconds = []
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(pytest.fail.Exception, match="an endless loop"):
            student.reward({})
        seconds.append(time.monotonic() - began)
    assert student.left == pytest.approx(grading.BUDGET - 2.3, abs=1.0)
    assert min(seconds[:2]) >= 1.0

    # What is left of the stage's time is all that a call has, and then there is none.
    student.left = 0.0
    began = time.monotonic()
    with pytest.raises(pytest.fail.Exception, match="no more are made"):
        student.choose_block([], "f")
    assert student.process is None or time.monotonic() - began < 5
    student.close()


@pytest.mark.parametrize("missing", [[], ["Landlock"], ["Landlock", "seccomp"]])
def test_a_cage_that_is_not_complete_is_told(missing, pytestconfig):
    points = Points(pytestconfig)
    points.missing = missing
    assert all(word in points.warning() for word in missing)
    assert bool(points.warning()) == bool(missing)


def test_the_process_says_what_its_cage_lacks(desk):
    """On the machine of these tests the judge's own zygote says the same."""
    desk.put(2, os.path.join(ROOT, "02_execute.py"))
    assert desk.first_failure(2) is None
    script = "from lib import zygote; import json; print(json.dumps(zygote.cage()[0]))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert desk.students[2].missing == json.loads(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_grader_that_is_interrupted_leaves_no_process(tmp_path):
    folder = tmp_path / "submission"
    folder.mkdir()
    (folder / "02_execute.py").write_text("while True: pass")
    command = [sys.executable, "-m", "pytest", "-q", f"--repo={folder}", "-m", "stage02"]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 20
    while not workers_left() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers_left()
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    deadline = time.monotonic() + 5
    while workers_left() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not workers_left()
