"""lib/report.py: what a table cell says, each section by hand, the picture, and a whole report."""

import random
import re
import shutil
from xml.etree import ElementTree

from lib import chart, report
from lib import results as results_of

import numpy as np
import pytest
from conftest import candidate, chat, environment, problem, read, run, stage, write

evaluate = stage(6)

ONE = evaluate.Arm("Random", 1, 0.7, "real")
GREEDY = ONE._replace(temperature=0.0)
SWAPPED = ONE._replace(variant="swapped")
LV = evaluate.Arm("LV", 5, 0.7, "real")
PT_LV = evaluate.Arm("PT+LV", 5, 0.7, "real")

UP = "+100.0 [+100.0, +100.0] above zero"
SAME = "+0.0 [+0.0, +0.0] inside the noise"


def make_results(keys, right=None, **fields):
    """Results of problems, a run or a group unless named; right: {(policy, arm): (turns, K)}."""
    keys = [key if isinstance(key, tuple) else ("r", key, key) for key in keys]
    results = results_of.Results(measures=evaluate, runs=["r"], keys=keys, **fields)
    results.drawn = results_of.resample(keys)
    results.right = right or {}
    results.picks = results.picks or dict.fromkeys(results.right, {})
    if right:
        results.turns = len(next(iter(right.values())))
    return results


def right_after(*shares):
    """Of two problems, which are correct after turn 1, 2, …: none, the first, or both."""
    return np.array([[share >= 0.5, share == 1.0] for share in shares], float)


# ── Cells ────────────────────────────────────────────────────────────────────────────────────────


def test_the_names_of_arms_and_methods():
    assert results_of.label(GREEDY) == "greedy"
    assert results_of.label(ONE) == "N = 1"
    assert results_of.label(SWAPPED) == "N = 1, swapped"
    assert results_of.label(PT_LV) == "PT+LV, N = 5"
    assert report.method_of("mucode_code-12") == "mucode_code"
    assert report.method_of("base") == "base"


def test_policies_stand_in_the_order_of_methods_and_iterations():
    policies = {"rft-1", "mucode-10", "mucode-2", "other-1", "base"}
    expected = ["base", "mucode-2", "mucode-10", "rft-1", "other-1"]
    assert results_of.in_order(policies, evaluate) == expected


def test_a_share_is_in_percent_and_of_the_problems_that_count():
    results = make_results("ab")
    assert report.share(results, np.array([1.0, 1.0])) == "100.0 [100.0, 100.0]"
    assert report.share(results, np.array([1.0, 0.0])) == "50.0 [0.0, 100.0]"
    assert report.share(results, np.array([1.0, np.nan])) == "100.0 [100.0, 100.0]"
    assert report.share(results, np.array([np.nan, np.nan])) == "–"


def test_a_difference_is_paired_by_problem():
    """The accuracies vary from problem to problem, their difference does not."""
    rng = random.Random(0)
    keys = [("r", group, f"{group}{k}") for group in range(40) for k in range(5)]
    results = make_results(keys)
    base = np.array([float(rng.random() < 0.5) for _ in keys])
    assert report.difference(results, base, base) == SAME
    assert report.difference(results, base + 0.01, base) == "+1.0 [+1.0, +1.0] above zero"
    assert report.difference(results, base, base + 0.01) == "-1.0 [-1.0, -1.0] below zero"
    assert report.difference(results, base, base * np.nan) == "–"


def test_differences_are_of_the_first_three_turns_and_the_last():
    right = {
        ("a", ONE): np.array([[0.0], [0], [0], [1], [0], [1]]),
        ("b", ONE): np.array([[0.0], [1], [0], [0], [1], [0]]),
    }
    results = make_results("x", right)
    text = report.contrasts(results, ["which"], [(["a − b"], ("a", ONE), ("b", ONE))])
    head, _, row = text.splitlines()
    assert head == "| which | turn 1 | turn 2 | turn 3 | turn 6 |"
    means = [cell.split()[0] for cell in row.split(" | ")[1:]]
    assert means == ["+0.0", "-100.0", "+0.0", "+100.0"]


# ── Verdicts ─────────────────────────────────────────────────────────────────────────────────────


def test_three_sentences_say_what_the_run_has_shown():
    """By hand: 100 points above the base, feedback that makes it worse, rules that are equal."""
    chance = PT_LV._replace(rule=results_of.BY_CHANCE)
    right = {
        ("base", GREEDY): right_after(0, 0, 0),
        ("m-1", GREEDY): right_after(1, 1, 1),
        ("m-1", ONE): right_after(0, 0, 0),
        ("m-1", SWAPPED): right_after(0, 1, 1),
        ("m-1", PT_LV): right_after(0, 0, 0.5),
        ("m-1", chance): right_after(0, 0, 0.5),
    }
    results = make_results("ab", right, policies=["base", "m-1"])
    beats, reads, earns = report.verdicts(results, "m-1", ONE)
    assert beats.startswith("Does m-1 beat its base? **yes**, +100.0 [+100.0, +100.0] points")
    assert "after turn 3" in beats
    assert reads.startswith("Does m-1 read feedback? **no**, -100.0 [-100.0, -100.0] points")
    assert earns.startswith("Does the verifier of m-1 earn its place? **inside the noise**, +0.0 [")
    assert "N = 5" in earns

    # More on the whole, but not for sure.
    right["m-1", GREEDY] = right_after(0, 0, 0.5)
    results = make_results("ab", right, policies=["base", "m-1"])
    beats, *_ = report.verdicts(results, "m-1", ONE)
    assert "**inside the noise**, +50.0 [+0.0, +100.0]" in beats

    # RFT is a rival too, and other methods are not.
    right["rft-2", GREEDY] = right_after(1, 1, 1)
    results = make_results("ab", right, policies=["base", "m-1", "other-1", "rft-2"])
    _, beats, *_ = report.verdicts(results, "m-1", ONE)
    assert beats.startswith("Does m-1 beat rft-2? **inside the noise**, -50.0 [-100.0, +0.0]")
    assert len(report.verdicts(results, "m-1", ONE)) == 4

    # What was not searched is not answered.
    alone = make_results("ab", {("base", GREEDY): right_after(0, 0)}, policies=["base"])
    assert report.verdicts(alone, "base", ONE) == []


# ── Sections ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def four_turns():
    """Two problems, four turns, a base and an RFT policy that is better in every arm."""
    right = {
        ("base", GREEDY): right_after(0, 0, 0, 1),
        ("base", ONE): right_after(0, 0, 0, 0),
        ("base", LV): right_after(0, 0, 0, 0),
        ("base", PT_LV): right_after(0, 0, 0.5, 0.5),
        ("rft-1", GREEDY): right_after(0, 0, 0.5, 0),
        ("rft-1", ONE): right_after(0, 0, 0, 0),
        ("rft-1", LV): right_after(0, 0, 0.5, 0),
        ("rft-1", PT_LV): right_after(0.5, 0.5, 1, 1),
    }
    return make_results("ab", right, policies=["base", "rft-1"])


def test_beside_the_papers_tables(four_turns):
    """They are of turn 3, though there is a fourth."""
    text = report.paper_section(four_turns, ["base", "rft-1"], "rft-1")
    head, _, base, rft = text.splitlines()[:4]
    assert head == (
        "| after turn 3 | greedy | the paper's | rft-1 − this row "
        "| PT+LV, N = 5 | the paper's | rft-1 − this row |"
    )
    gain = "+50.0 [+0.0, +100.0] inside the noise"
    assert base == (
        f"| base | 0.0 [0.0, 0.0] | 35.1 | {gain} | 50.0 [0.0, 100.0] | 47.3 | {gain} |"
    )
    assert rft == ("| rft-1 | 50.0 [0.0, 100.0] | 31.1 |  | 100.0 [100.0, 100.0] | 46.7 |  |")
    assert "| LV | 50.0 [0.0, 100.0] | 43.3 |" in text
    assert "| PT+LV | 100.0 [100.0, 100.0] | 51.1 |" in text


def test_the_share_of_the_gain_that_is_the_content_of_feedback():
    """Real feedback repairs 2 problems of 4, the control one of them: half of the gain is lost."""

    def section(times):
        def repeat(*turns):
            return np.array(turns).repeat(times, axis=1)

        right = {
            ("p", ONE): repeat([0, 0, 0, 1.0], [1, 1, 0, 1]),
            ("p", SWAPPED): repeat([0, 0, 0, 1.0], [1, 0, 0, 1]),
        }
        results = make_results(list(map(str, range(4 * times))), right)
        return report.feedback_section(results, ["p"], ONE)

    start = "| p | another problem's feedback |"
    assert f"{start} +25.0 [+" in section(10)
    assert f"{start} 50 [" in section(10)

    # Of four problems nobody can tell that anything was gained.
    assert f"{start} – |" in section(1)


def test_recovery_beside_fresh_samples_for_the_same_problems():
    """After turn 1 a and c are open; a is repaired. Of fresh samples 3 of 4 and 3 of 3 are right.

    b has stopped with a hidden fail: one problem of three.
    """
    wrong = candidate(True)
    correct = candidate(True, True)
    keys = [("r", "g", "a"), ("r", "g", "b"), ("r", "h", "c")]
    picks = [
        [(False, False), (True, True)],
        [(True, False)],
        [(False, False), (False, False), (True, True)],
    ]
    turn1 = [[wrong, wrong, *[correct] * 3], [wrong] * 5, [wrong, *[correct] * 3]]
    results = make_results(keys, picks={("p", ONE): dict(zip(keys, picks))})
    results.turn1 = {"p": dict(zip(keys, turn1))}
    results.turns = 3
    head, _, first, second = report.recovery_section(results, ["p"], ONE).splitlines()
    assert head.startswith("| policy | t | open after turn t | correct at turn t + 1 |")
    assert head.endswith("| of all, by turn 3: stopped by a public pass with a hidden fail |")
    assert re.sub(r" \[.*?\]", "", first) == (
        "| p | 1 | 2 | 50.0 | 87.5 | -37.5 inside the noise | 33.3 |"
    )
    assert second == "| p | 2 | 1 | 100.0 [100.0, 100.0] | 100.0 [100.0, 100.0] | " + SAME + " |  |"


def test_the_share_of_answers_with_a_program_and_with_the_last_one():
    """Turn 2: of two open episodes one repeats itself, one has no program. Turn 3: a new one."""
    keys = [("r", "g", "a"), ("r", "g", "b"), ("r", "h", "c")]
    results = make_results(keys)
    results.turns = 3
    results.codes = {("p", ONE): dict(zip(keys, [["x", "x", "y"], ["z"], ["x", ""]]))}
    head, _, row = report.answers_section(results, ["p"], [ONE]).splitlines()
    assert re.sub(r" \[.*?\]", "", row) == "| p | N = 1 | 100.0 | 50.0 | 50.0 | 100.0 | 0.0 |"
    assert head.startswith(
        "| policy | rule | turn 1: a program | turn 2: a program | turn 2: the sa"
    )


def test_accuracy_by_the_number_of_candidates_and_by_verifier():
    """Two verifiers: the first likes the wrong program, the second the correct one."""
    two = [
        dict(candidate(True, False, code="bad"), scores=[1.0, 0.0]),
        dict(candidate(True, True, code="good"), scores=[0.0, 1.0]),
    ]
    results = make_results("a", verifiers=dict(p=["own", "other"]))
    results.turn1 = dict(p={results.keys[0]: two})
    none, half, full = (f"{share} [{share}, {share}]" for share in ("0.0", "50.0", "100.0"))
    assert report.candidates_section(results, "p").splitlines() == [
        "| rule | N = 1 | N = 2 |",
        "| --- | --- | --- |",
        f"| Random | {half} | {half} |",
        f"| PT | {none} | {none} |",
        f"| oracle | {half} | {full} |",
        f"| LV, own | {none} | {none} |",
        f"| PT+LV, own | {none} | {none} |",
        f"| LV, other | {none} | {full} |",
        f"| PT+LV, other | {none} | {full} |",
    ]


def test_a_verifier_is_held_against_the_policys_own():
    """Of one pair the own verifier has it right, the other not. The second problem has no pair."""
    pair = [
        dict(candidate(True, True, code="good"), scores=[1.0, 0.0]),
        dict(candidate(code="bad"), scores=[0.0, 1.0]),
    ]
    results = make_results("ab", policies=["p"], verifiers=dict(p=["own", "other"]))
    results.turn1 = dict(p=dict(zip(results.keys, [pair, pair[:1]])))
    # A policy with one candidate a turn has no pairs, and no row.
    results.policies.append("q")
    results.verifiers["q"] = ["own"]
    results.turn1["q"] = dict(zip(results.keys, [pair[:1], pair[:1]]))
    _, _, first, second = report.verifier_section(results).splitlines()
    assert first == "| p | own | 100.0 [100.0, 100.0] | 1 |  |"
    assert second == f"| p | other | 0.0 [0.0, 0.0] | 1 | {UP} |"


# ── The picture ──────────────────────────────────────────────────────────────────────────────────

SVG = "{http://www.w3.org/2000/svg}"


def texts_in(element):
    """The SVG texts below an element."""
    return list(element.iter(f"{SVG}text"))


def drawn(what):
    """A chart as an SVG element."""
    return ElementTree.fromstring(chart.line_chart(*what))


def heights_of(line):
    """The y of each point of a polyline."""
    return [float(point.split(",")[1]) for point in line.get("points").split()]


def test_the_picture_by_hand(four_turns):
    """A panel for greedy and one for PT+LV; in each a line and its intervals for each policy.

    A panel's plot is 334 pixels wide from x = 52, and 226 high from y = 34. Of four turns the
    third stands at 52 + 334 · 2.5 / 4 = 260.75; two policies stand 3 to its left and right.
    """
    root = drawn(chart.turns_chart(four_turns, ["base", "rft-1"]))
    greedy, best = root.findall(f"{SVG}g")
    titles = [text.text for text in texts_in(root) if text.get("font-weight") == "bold"]
    assert len(titles) == 2
    assert "greedy" in titles[0]
    assert "PT+LV, N = 5" in titles[1]

    # Heights of 0, 50 and 100 %: 260, 147 and 34. PT+LV of the base: 0, 0, 50, 50 %.
    base, rft = best.findall(f"{SVG}polyline")
    assert heights_of(base) == [260.0, 260.0, 147.0, 147.0]
    assert heights_of(rft) == [147.0, 147.0, 34.0, 34.0]
    assert base.get("points").split()[2] == "257.8,147.0"
    assert rft.get("points").split()[2] == "263.8,34.0"

    # At turn 3 the interval of the base is all, and the other policy's has no height.
    bars = [bar.get("d") for bar in best.findall(f"{SVG}path") if bar.get("stroke-width") == "2"]
    assert len(bars) == 8
    assert bars[2] == "M257.8 260.0V34.0"
    assert bars[6] == "M263.8 34.0V34.0"

    # The other panel holds the other arm. The grid says that 100 % is at the top.
    assert heights_of(greedy.find(f"{SVG}polyline")) == [260.0, 260.0, 260.0, 34.0]
    grid = {text.text: float(text.get("y")) - 4 for text in texts_in(greedy) if "%" in text.text}
    assert (grid["0 %"], grid["100 %"]) == (260.0, 34.0)


def test_the_legend_names_each_policy_in_the_colour_of_its_line(four_turns):
    root = drawn(chart.turns_chart(four_turns, ["base", "rft-1"]))
    names = {
        int(text.get("x")): text.text for text in texts_in(root) if text.text in ("base", "rft-1")
    }
    dots = [dot for dot in root.iter(f"{SVG}circle") if dot.get("r") == "5"]
    # Each name stands 10 pixels to the right of its dot.
    legend = {names[int(dot.get("cx")) + 10]: dot.get("fill") for dot in dots}
    assert list(legend) == ["base", "rft-1"]
    assert len(set(legend.values())) == 2
    for panel in root.findall(f"{SVG}g"):
        lines = panel.findall(f"{SVG}polyline")
        assert [line.get("stroke") for line in lines] == list(legend.values())


@pytest.mark.parametrize("count, panels, rows", [(3, 1, 1), (5, 1, 2), (8, 1, 3), (8, 2, 2)])
def test_a_legend_has_room_for_every_name(count, panels, rows):
    """Up to 3 names in a row of a panel that is 400 pixels wide, and up to 6 in one of 800."""
    lines = {f"mucode_code-{k}": [(0.5, 0.4, 0.6)] for k in range(count)}
    root = ElementTree.fromstring(
        chart.line_chart({str(k): lines for k in range(panels)}, ["turn 1"])
    )
    names = [text for text in texts_in(root) if text.text in lines]
    assert [text.text for text in names] == list(lines)
    places = [(int(text.get("x")), int(text.get("y"))) for text in names]
    assert len({y for _, y in places}) == rows
    assert all(x + 100 <= int(root.get("width")) for x, _ in places)
    assert all(y < int(root.get("height")) for _, y in places)
    for (x, y), (other_x, other_y) in zip(places, places[1:]):
        assert other_x - x >= 100 or other_y - y >= 20


def test_labels_by_iteration_are_a_line_for_each_method(tmp_path):
    for policy, wrong in (("mucode-1", 20), ("mucode-2", 5), ("rft-1", 50)):
        (tmp_path / policy).mkdir()
        write(tmp_path / policy / "examples.metrics.jsonl", [dict(wrong=wrong, examples=100)])
    results = make_results("x")
    root = drawn(chart.labels_chart(results, tmp_path))
    (panel,) = root.findall(f"{SVG}g")
    # 0 % is at 260 and 100 % at 34: 20, 5 and 50 %.
    mucode, rft = panel.findall(f"{SVG}polyline")
    assert heights_of(mucode) == [214.8, 248.7]
    assert heights_of(rft) == [147.0]
    # Two ticks, at 52 + 334 / 4 and 52 + 334 · 3 / 4, and two methods, 3 to the left and right.
    assert mucode.get("points") == "132.5,214.8 299.5,248.7"
    assert rft.get("points") == "138.5,147.0"
    texts = [text.text for text in texts_in(root)]
    assert {"iteration 1", "iteration 2", "mucode", "rft"} <= set(texts)
    # In the colours that the two have beside a base.
    both = [mucode.get("stroke"), rft.get("stroke")]
    assert both == list(chart.COLOURS[1:3])
    panels, *_ = chart.labels_chart(results, tmp_path / "mucode-1")
    assert panels == {}


def test_accuracy_by_n_has_a_panel_for_the_base_if_it_saw_as_many():
    # The policy's own verifier, the first, likes the correct one. The other does not.
    few = [
        dict(candidate(), scores=[1.0, 2.0]),
        dict(candidate(True, True), scores=[2.0, 1.0]),
    ]
    for count, panels in ((2, 2), (3, 1)):
        many = [*few, *few][:count]
        results = make_results("x", policies=["base", "m-1"])
        results.turn1 = {"base": {results.keys[0]: few}, "m-1": {results.keys[0]: many}}
        results.verifiers = {"base": ["base/v"], "m-1": ["m-1/v", "base/v"]}
        root = drawn(chart.candidates_chart(results, ["base", "m-1"], "m-1"))
        assert len(root.findall(f"{SVG}g")) == panels
        for panel in root.findall(f"{SVG}g"):
            lines = panel.findall(f"{SVG}polyline")
            assert [len(heights_of(line)) for line in lines] == [count] * len(evaluate.RULES)
            # Not in the colours of the policies.
            assert lines[0].get("stroke") == chart.COLOURS[3]
            # 0 and 100 % of LV at N = 1 and 2.
            assert heights_of(lines[evaluate.RULES.index("LV")])[:2] == [260.0, 34.0]


def test_pairs_are_of_each_policys_own_verifier():
    """The base's ranks both pairs right, ours one of two; the third policy has none."""
    keys = [("r", "g", "x"), ("r", "h", "y")]
    results = make_results(keys, policies=["base", "m-1", "rft-1"])
    right = [
        dict(candidate(code="bad"), scores=[1.0, 9.0]),
        dict(candidate(True, True, code="good"), scores=[2.0, 0.0]),
    ]
    wrong = [dict(right[0], scores=[3.0, 0.0]), right[1]]
    results.turn1 = {
        "base": dict(zip(keys, [right, right])),
        "m-1": dict(zip(keys, [right, wrong])),
        "rft-1": dict(zip(keys, [right, right])),
    }
    results.verifiers = {"base": ["b/v"], "m-1": ["m/v", "b/v"], "rft-1": []}
    root = drawn(chart.pairs_chart(results, results.policies))
    lines = root.findall(f"{SVG}g/{SVG}polyline")
    assert [heights_of(line) for line in lines] == [[34.0], [147.0]]


# ── A whole report ───────────────────────────────────────────────────────────────────────────────


def make_run(path):
    """The rows of two policies on two problems: the base stays wrong on a, mucode-1 repairs it."""
    arms = [GREEDY, ONE, *(ONE._replace(variant=variant) for variant in evaluate.CONTROLS)]
    arms += [evaluate.Arm(rule, 2, 0.7, "real") for rule in evaluate.RULES]
    problems = {task: problem(task) for task in "ab"}
    for policy, second in (("base", "bad2"), ("mucode-1", "good")):
        codes = {"a": [["bad", "bad"], [second, "bad"]], "b": [["good", "bad"], ["x", "x"]]}
        sample, judge, score, _ = environment(codes)
        verifiers = [f"{policy}/verifier", "base/verifier"]
        rows = evaluate.search(problems, arms, 2, sample, judge, score, 0)
        (path / policy).mkdir(parents=True)
        noted = [dict(row, policy=policy, verifiers=verifiers) for row in rows]
        write(path / policy / "eval.jsonl", noted)
    return path


def report_of(path, *runs):
    """The report of runs, as text."""
    run(6, "report", "--run", *runs, "--out", path)
    return path.read_text()


def training_of(text):
    """The section of a report that tells of training."""
    return text.split("## Training")[1].split("\n## ")[0]


def test_a_report_of_one_run(tmp_path, capsys):
    folder = make_run(tmp_path / "run")
    text = report_of(tmp_path / "one.md", folder)
    assert "| base | greedy | 50.0 [0.0, 100.0] | 50.0 [0.0, 100.0] |" in text
    assert "| mucode-1 | greedy | 50.0 [0.0, 100.0] | 100.0 [100.0, 100.0] |" in text
    gain = "+50.0 [+0.0, +100.0] inside the noise"
    assert f"| mucode-1 − base | greedy | {SAME} | {gain} |" in text
    assert "| after turn 2 | greedy | the paper's | mucode-1 − this row |" in text
    assert f"| base | 50.0 [0.0, 100.0] | 35.1 | {gain} |" in text

    # Nothing was trained in this folder, as in humaneval/: a section that says nothing is left out.
    assert "## Training" not in text

    # The same bytes again, but for the name of the picture, which lies beside the report.
    second = report_of(tmp_path / "two.md", folder)
    assert second == text.replace("(one.svg)", "(two.svg)")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    ElementTree.parse(tmp_path / "one.svg")


def test_a_report_of_two_runs_pools_their_problems(tmp_path, capsys):
    folders = [make_run(tmp_path / name) for name in ("first", "second")]
    text = report_of(tmp_path / "o.md", *folders)
    assert "4 problems in 4 groups, 2 runs" in text
    assert "from resampling runs, groups, then problems" in " ".join(text.split())


def test_rows_become_results(tmp_path):
    """Two runs of two problems, by hand from the codes of make_run."""
    folders = [str(make_run(tmp_path / name)) for name in ("first", "second")]
    results = results_of.read_runs(folders, evaluate)
    first, second = folders
    assert results.keys == [(f, task, task) for f in (first, second) for task in "ab"]
    assert results.policies == ["base", "mucode-1"]
    assert results.turns == 2

    # a: bad, then good. b: good at once, which stops; it is carried on.
    picks = results.picks["mucode-1", GREEDY]
    assert picks[second, "a", "a"] == [(False, False), (True, True)]
    assert picks[second, "b", "b"] == [(True, True)]
    assert results.right["mucode-1", GREEDY].tolist() == [[0, 1, 0, 1], [1, 1, 1, 1]]
    assert results.right["base", GREEDY].tolist() == [[0, 1, 0, 1], [0, 1, 0, 1]]

    assert results.codes["mucode-1", GREEDY][second, "a", "a"] == ["bad", "good"]

    # Three greedy rows a run, of 3 tokens and one program each. Of turn 1, the two candidates.
    assert results.spent["mucode-1", GREEDY] == [2 * 3 * 3, 2 * 3]
    codes = [c["code"] for c in results.turn1["mucode-1"][first, "b", "b"]]
    assert codes == ["good", "bad"]


def test_a_report_subtracts_the_right_way(tmp_path, capsys):
    """Four turns of one problem.

    LV, PT+LV and the oracle pick the correct candidate at once, Random and PT at turn 4 alone.
    """
    bad = candidate(code="bad")
    good = candidate(True, True, code="good")
    rows = []
    for turn in (1, 2, 3, 4):
        for arm in [GREEDY, ONE, *(evaluate.Arm(rule, 2, 0.7, "real") for rule in evaluate.RULES)]:
            two = [bad, good] if turn < 4 else [good, bad]
            is_sharp = arm.rule in ("LV", "PT+LV", "oracle")
            if is_sharp and turn > 1:
                continue  # it has passed
            row = dict(
                arm._asdict(),
                policy="base",
                verifiers=["v"],
                task_id="a",
                turn=turn,
                messages=chat("x"),
                candidates=two[: arm.n],
                picked=1 if is_sharp and turn < 4 else 0,
                programs_run=1,
            )
            rows.append(row)
    (tmp_path / "base").mkdir()
    write(tmp_path / "base/eval.jsonl", rows)
    text = report_of(tmp_path / "o.md", tmp_path)

    # Each rule against the one before it.
    assert f"| base | LV − Random, N = 2 | {UP} | {UP} | {UP} | {SAME} |" in text
    assert text.count("| base | LV − Random, N = 2 |") == 1
    down = "-100.0 [-100.0, -100.0] below zero"
    assert f"| base | PT − LV, N = 2 | {down} | {down} | {down} | {SAME} |" in text
    assert f"| base | PT+LV − PT, N = 2 | {UP} |" in text
    assert f"| base | oracle − PT+LV, N = 2 | {SAME} |" in text
    # `good` is the only one that passes: R_φ has no choice.
    assert f"| base | PT+LV − any that passes, N = 2 | {SAME} | {SAME} |" in text
    assert f"| base | any that passes − Random, N = 2 | {UP} | {UP} | {UP} | {SAME} |" in text

    # What the turns beyond the third bring.
    assert "turn 4 − turn 3" in text
    assert f"| base | greedy | {UP} |" in text
    assert f"| base | PT+LV, N = 2 | {SAME} |" in text


def test_the_matched_control_by_hand(tmp_path):
    """Three problems: R_φ's choice at turn 2 is one of two, one of one, and none passes."""
    pass_only, good, bad = candidate(True, code="p"), candidate(True, True, code="g"), candidate()
    turns = {
        "chosen": [([bad, bad], 0), ([pass_only, good], 1)],
        "given": [([bad, bad], 1), ([bad, good], 1)],
        "open": [([bad, bad], 0), ([bad, bad], 1)],
    }
    rows = []
    for task, of_task in turns.items():
        for turn, (two, picked) in enumerate(of_task, 1):
            for arm in (GREEDY, ONE, PT_LV._replace(n=2)):
                one = [two[picked]] if arm.n == 1 else two
                row = dict(arm._asdict(), policy="base", verifiers=["v"], task_id=task, turn=turn)
                row.update(messages=chat("x"), candidates=one, programs_run=2)
                rows.append(dict(row, picked=picked if arm.n == 2 else 0))
    (tmp_path / "base").mkdir()
    write(tmp_path / "base/eval.jsonl", rows)
    results = results_of.read_runs([str(tmp_path)], evaluate)
    chance = results.right["base", PT_LV._replace(n=2, rule=results_of.BY_CHANCE)]
    assert chance.tolist() == [[0, 0, 0], [0.5, 1, 0]]
    assert results.right["base", PT_LV._replace(n=2)].tolist() == [[0, 0, 0], [1, 1, 0]]
    # It is no rule that anybody searched with.
    assert {arm.rule for arm in results.arms("base")} == {"Random", "PT+LV"}


def test_what_a_policy_was_made_from(tmp_path, capsys):
    """Stages 03, 04 and 05 leave rows beside what they make; rft-1 has not been searched yet."""
    folder = make_run(tmp_path / "run")
    labels = {
        "mucode-1": dict(steps=9, overruled=1, examples=8, wrong=2),
        "rft-1": dict(steps=9, examples=4, wrong=1),
    }
    for policy in ("base", "mucode-1", "rft-1"):
        (folder / policy / "policy").mkdir(parents=True)
        write(folder / policy / "policy/metrics.jsonl", [dict(loss_last=0.5)])
        if policy in labels:
            write(folder / policy / "examples.metrics.jsonl", [labels[policy]])
    epochs = [dict(pairwise=0.8, kept=False), dict(pairwise=0.9, kept=True)]
    (folder / "base/verifier").mkdir()
    write(folder / "base/verifier/metrics.jsonl", epochs)

    # A row for each policy, in the order of METHODS. Of the verifier's epochs the kept one.
    section = training_of(report_of(tmp_path / "o.md", folder))
    assert [line for line in section.splitlines() if line.startswith("|")] == [
        "| policy | labels: steps | labels: overruled | labels: examples | labels: wrong "
        "| policy: loss_last | verifier: pairwise |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| base | – | – | – | – | 0.500 | 0.900 |",
        "| mucode-1 | 9 | 1 | 8 | 2 (25%) | 0.500 | – |",
        "| rft-1 | 9 | – | 4 | 1 (25%) | 0.500 | – |",
    ]


def test_a_report_of_one_candidate_and_no_verifier(tmp_path, capsys):
    sample, judge, _, _ = environment({"a": [["bad"], ["good"]], "b": [["good"], ["good"]]})

    def score(programs):
        return dict.fromkeys(programs, ())

    problems = {task: problem(task) for task in "ab"}
    rows = evaluate.search(problems, [GREEDY, ONE], 2, sample, judge, score, 0)
    (tmp_path / "base").mkdir()
    noted = [dict(row, policy="base", verifiers=[]) for row in rows]
    write(tmp_path / "base/eval.jsonl", noted)
    text = report_of(tmp_path / "o.md", tmp_path)
    assert "| base | N = 1 | 50.0 [0.0, 100.0] | 100.0 [100.0, 100.0] |" in text

    # Between rules and between verifiers there is nothing to compare: no word about them, then.
    assert not re.search(r"--- \|\n(?!\|)", text)
    assert "Which rule?" not in text
    assert not re.search(r"\n\n\n", text)


@pytest.mark.parametrize("preset, is_warned", [("toy", False), ("smoke", True)])
def test_a_smoke_report_says_that_it_means_nothing(tmp_path, capsys, preset, is_warned):
    folder = make_run(tmp_path / "run")
    (folder / "settings").write_text(f"PRESET={preset}\nSEED=0\n")
    text = report_of(tmp_path / "o.md", folder)
    assert ("mean nothing" in text) is is_warned


# ── Bad input ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "change, word",
    [
        (dict(picked=None), "'picked'"),
        (dict(picked=7), "'picked' is 7, of 1"),
        (dict(picked=-1), "'picked'"),
        (dict(candidates=[{}]), "'candidates'"),
        (dict(candidates=[]), "'candidates'"),
        (dict(candidates=[dict(candidate(), tokens=-1)]), "'candidates'"),
        (dict(candidates=[dict(candidate(), scores=[1.0])]), "one score for each"),
        (dict(candidates=[dict(candidate(), scores=[1.0, float("nan")])]), "'candidates'"),
        (dict(n=2), "'n' is 2"),
        (dict(turn=0), "'turn'"),
        (dict(policy="rft-1"), "its folder is of base"),
        (dict(verifiers=["a/verifier", "b/verifier"]), "'verifiers' differs"),
        (dict(task_id="a"), "duplicates"),
    ],
)
def test_rows_that_search_did_not_write_are_refused(tmp_path, refused, change, word):
    folder = make_run(tmp_path / "run")
    rows = read(folder / "base/eval.jsonl")
    write(folder / "base/eval.jsonl", [rows[0], dict(rows[1], **change)])
    out = tmp_path / "o.md"
    refused(lambda: report_of(out, folder), "base/eval.jsonl", "row 2", word)
    assert not out.exists()


def change_rows(folder, of, keep=lambda row: True, **fields):
    """Rewrite the rows of a policy: those to keep, with other values."""
    path = folder / of / "eval.jsonl"
    write(path, [dict(row, **fields) for row in read(path) if keep(row)])


def test_rows_that_do_not_agree_with_each_other_are_refused(tmp_path, refused):
    """Nothing is counted that is not there, or that is there twice."""

    def is_one(row):
        return row["temperature"] > 0 and row["n"] == 1 and row["variant"] == "real"

    faults = {
        # A row of problem a is gone, at the beginning and at the end of its episode; or a problem.
        "a turn before 2 is missing": lambda row: not (
            is_one(row) and row["turn"] == 1 and row["task_id"] == "a"
        ),
        "ends after turn 1 of 2": lambda row: not (is_one(row) and row["turn"] == 2),
        "has no row of task_id 'b'": lambda row: not (is_one(row) and row["task_id"] == "b"),
    }
    for number, (words, keep) in enumerate(faults.items()):
        folder = make_run(tmp_path / f"run{number}")
        change_rows(folder, "base", keep)
        refused(lambda f=folder: report_of(tmp_path / "o.md", f), "base/eval.jsonl", words)

    # Problem b passed at turn 1, and has a turn 2.
    folder = make_run(tmp_path / "after")
    rows = read(folder / "base/eval.jsonl")
    passed = next(row for row in rows if row["task_id"] == "b" and row["temperature"] == 0)
    write(folder / "base/eval.jsonl", [*rows, dict(passed, turn=2)])
    refused(lambda: report_of(tmp_path / "o.md", folder), "greedy, task_id 'b' goes on after a")

    # Half of the problems in one policy, and other arms than the other's.
    folder = make_run(tmp_path / "problems")
    change_rows(folder, "mucode-1", lambda row: row["task_id"] == "a")
    call = (tmp_path / "o.md", folder)
    refused(lambda: report_of(*call), "mucode-1/eval.jsonl", "other problems", "task_id 'b'")
    folder = make_run(tmp_path / "arms")
    change_rows(folder, "mucode-1", lambda row: row["rule"] != "LV")
    change_rows(folder, "base", lambda row: row["rule"] != "PT")
    call = (tmp_path / "o.md", folder)
    refused(lambda: report_of(*call), "was searched with PT, N = 2, and base was not")


def test_a_search_on_the_way_may_have_fewer_arms(tmp_path, capsys):
    folder = make_run(tmp_path / "run")
    shutil.copytree(folder / "mucode-1", folder / "mucode-2")
    change_rows(folder, "mucode-2", policy="mucode-2")
    change_rows(folder, "mucode-1", lambda row: row["n"] == 1)
    assert "| mucode-1 | N = 1 |" in report_of(tmp_path / "o.md", folder)


def test_runs_that_do_not_agree_are_refused(tmp_path, refused):
    first, second = (make_run(tmp_path / name) for name in ("first", "second"))
    again = f"{first}/../first"
    refused(lambda: report_of(tmp_path / "o.md", first, again), "--run names a folder twice")
    change_rows(second, "base", lambda row: row["rule"] != "LV")
    change_rows(second, "mucode-1", lambda row: row["rule"] != "LV")
    call = (tmp_path / "o.md", first, second)
    refused(lambda: report_of(*call), "second/base/eval.jsonl", "has no rows of LV, N = 2")


def test_a_folder_without_a_base_is_refused(tmp_path, refused):
    (tmp_path / "empty").mkdir()
    out = tmp_path / "o.md"
    refused(lambda: report_of(out, tmp_path / "empty"), tmp_path / "empty", "base/eval.jsonl")
    assert not out.exists()


def test_runs_of_different_policies_are_not_pooled(tmp_path, refused):
    folders = [make_run(tmp_path / name) for name in ("first", "second")]
    (folders[1] / "mucode-1").rename(folders[1] / "rft-1")
    words = [f"{folders[1]}: holds base, rft-1", "base, mucode-1"]
    refused(lambda: report_of(tmp_path / "o.md", *folders), *words)
