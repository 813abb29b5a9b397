"""lib/page.py: the page of a report, in a browser (Debian's chromium and chromium-driver)."""

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from contextlib import closing
from pathlib import Path

from lib import page

import pytest
from conftest import candidate, run, step, write

needs_browser = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="no chromium and chromedriver",
)

HOSTILE = "def f(x): return '</script><img src=x onerror=\"document.title=1\">'  # <b>&amp;"

# What three policies write with N = 1, turn by turn: (public pass, hidden pass, program, feedback).
RIGHT = (True, True, "def f(x):\n    return x + 1", "")
HALF = (True, False, "def f(x):\n    return 2", "")
WRONG = (False, False, "def f(x):\n    return x", "`f(1)` gave 1, expected 2")
ODD = (False, True, HOSTILE, "<i>no</i>")
EPISODES = {
    "base": {"a": [WRONG, WRONG], "b": [HALF], "c": [RIGHT], "d": [ODD, WRONG]},
    "rft-1": {"a": [WRONG, RIGHT], "b": [HALF], "c": [RIGHT], "d": [WRONG, WRONG]},
    "mucode-1": {"a": [WRONG, RIGHT], "b": [RIGHT], "c": [RIGHT], "d": [ODD, HALF]},
}
# At turn 1 of PT+LV, N = 2, on all problems: R_φ likes the second best, which is wrong.
PAIR = [(RIGHT, -1.0), (HALF, 2.5)]


def make_candidate(outcome, score):
    public, hidden, code, feedback = outcome
    made = candidate(public, hidden, score, code)
    return dict(made, feedback=feedback, completion=f"```python\n{code}\n```")


def make_rows(policy):
    """The rows of a search by hand: greedy, N = 1 and PT+LV."""
    rows = []
    for temperature in (0.0, 0.7):
        arm = dict(rule="Random", n=1, temperature=temperature, variant="real")
        for task, outcomes in EPISODES[policy].items():
            for turn, outcome in enumerate(outcomes, 1):
                one = [make_candidate(outcome, 0.5)]
                rows.append(dict(arm, task_id=task, turn=turn, candidates=one, picked=0))
    arm = dict(rule="PT+LV", n=2, temperature=0.7, variant="real")
    for task in EPISODES[policy]:
        two = [make_candidate(outcome, score) for outcome, score in PAIR]
        rows.append(dict(arm, task_id=task, turn=1, candidates=two, picked=1))
    for row in rows:
        prompt = f"Write f for {row['task_id']}. <b>&lt;"
        row.update(messages=[dict(role="user", content=prompt)], programs_run=1, seed=0)
        row.update(policy=policy, verifiers=["v"], group=row["task_id"])
    return rows


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The folder with report.md and report.html of such a run."""
    folder = tmp_path_factory.mktemp("page")
    for policy in EPISODES:
        (folder / policy).mkdir()
        write(folder / policy / "eval.jsonl", make_rows(policy))

    # The expert, on one training problem: a wrong program twice, then a correct one.
    bad = [step("t", k, code="bad", score=3.0) for k in range(2)]
    good = step("t", 0, turn=2, code="good", public=True, hidden=True, score=-0.5)
    scored = write(folder / "base" / "scored.jsonl", [*bad, good])
    run(4, "--scored", scored, "--out", folder / "mucode-1" / "examples.jsonl")
    run(6, "report", "--run", folder, "--out", folder / "report.md")
    return folder


def data_of(report):
    text = (report / "report.html").read_text()
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    return json.loads(found)


def test_the_page_holds_programs_verdicts_scores_and_picks(report):
    data = data_of(report)
    assert data["policies"] == ["base", "mucode-1", "rft-1"]
    by_id = {row["id"]: row for row in data["problems"]}
    assert set(by_id) == set("abcd")
    row = by_id["d"]
    assert row["prompt"] == "Write f for d. <b>&lt;"
    programs = row["programs"]
    (pick, number), (_, second) = row["episodes"]["mucode-1"]["N = 1"]
    assert pick == 0
    assert programs[number] == [HOSTILE, 0, 1, "<i>no</i>"]
    assert programs[second] == [HALF[2], 1, 0, ""]
    ((pick, first, second),) = row["episodes"]["base"]["PT+LV, N = 2"]
    assert pick == 1
    assert row["scores"]["base"][second] == 2.5
    assert row["scores"]["base"][first] == -1.0


def test_the_page_holds_what_the_expert_chose(report):
    (row,) = data_of(report)["expert"]
    assert row["programs"] == [["bad", 0, 3.0, 2], ["good", 1, -0.5, 1]]
    assert row["best"] == 1
    assert sorted(row["states"]) == [[1, 0], [1, 0], [2, 1]]


def test_a_page_has_a_limit_and_says_so(report, monkeypatch, tmp_path):
    """Of 4 problems two as they are read, or as many as have so many characters."""
    monkeypatch.setattr(page, "MOST_PROBLEMS", 2)
    run(6, "report", "--run", report, "--out", tmp_path / "report.md")
    data = data_of(tmp_path)
    assert [row["id"] for row in data["problems"]] == ["a", "b"]
    assert data["count"] == 4

    monkeypatch.setattr(page, "MOST_PROBLEMS", 9)
    whole = [len(json.dumps(row, ensure_ascii=False)) for row in data_of(report)["problems"]]
    monkeypatch.setattr(page, "MOST", sum(whole[:3]))
    run(6, "report", "--run", report, "--out", tmp_path / "report.md")
    data = data_of(tmp_path)
    assert [row["id"] for row in data["problems"]] == ["a", "b", "c"]
    assert data["count"] == 4


def test_of_several_runs_the_first_is_shown(report, tmp_path):
    other = shutil.copytree(report, tmp_path / "other")
    for policy in EPISODES:
        rows = make_rows(policy)
        for row in rows:
            for made in row["candidates"]:
                made["code"] = "of another run"
        write(other / policy / "eval.jsonl", rows)
    run(6, "report", "--run", report, other, "--out", tmp_path / "report.md")
    data = data_of(tmp_path)
    assert data["count"] == 4
    programs = [program[0] for row in data["problems"] for program in row["programs"]]
    assert RIGHT[2] in programs
    assert "of another run" not in programs


def test_what_an_episode_hears_in_a_control_is_not_shown(report, tmp_path):
    """Its feedback is another problem's, which would stand there as its own."""
    folder = shutil.copytree(report, tmp_path / "run")
    for policy in EPISODES:
        rows = make_rows(policy)
        real = [row for row in rows if row["n"] == 1 and row["temperature"] > 0]
        write(folder / policy / "eval.jsonl", [*rows, *(dict(r, variant="swapped") for r in real)])
    run(6, "report", "--run", folder, "--out", tmp_path / "report.md")
    for row in data_of(tmp_path)["problems"]:
        for rules in row["episodes"].values():
            assert set(rules) == {"greedy", "N = 1", "PT+LV, N = 2"}


@pytest.mark.parametrize(
    "name, change, words",
    [
        ("base/scored.jsonl", dict(score="high"), ["row 1", "'score'"]),
        ("mucode-1/examples.jsonl", dict(completion=[]), ["row 1", "'completion'"]),
        ("mucode-1/examples.metrics.jsonl", dict(wrong=-1), ["row 1", "'wrong'"]),
    ],
)
def test_a_row_that_cannot_be_shown_is_refused(report, tmp_path, refused, name, change, words):
    folder = shutil.copytree(report, tmp_path / "run")
    path = folder / name
    rows = [dict(row, **change) for row in map(json.loads, path.read_text().splitlines())]
    path.unlink()
    (path.parent / f".{path.name}.sha256").unlink(missing_ok=True)
    write(path, rows)
    refused(lambda: run(6, "report", "--run", folder, "--out", tmp_path / "o.md"), path, *words)
    assert not (tmp_path / "o.md").exists()


# ── In a browser ─────────────────────────────────────────────────────────────────────────────────


class Browser:
    """Headless Chromium, driven over WebDriver's HTTP: no package is needed for that."""

    def __init__(self, width, height):
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.driver = subprocess.Popen(
            ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL
        )
        self.url = f"http://127.0.0.1:{port}"
        args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            f"--window-size={width},{height}",
        ]
        wanted = {"goog:chromeOptions": {"args": args}, "goog:loggingPrefs": {"browser": "ALL"}}
        for _ in range(100):
            try:
                made = self.ask("POST", "/session", capabilities=dict(alwaysMatch=wanted))
                break
            except OSError:
                time.sleep(0.1)  # it is about to start
        self.url += f"/session/{made['sessionId']}"

    def ask(self, method, path, **body):
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(self.url + path, data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, address):
        self.ask("POST", "/url", url="about:blank")  # another hash alone would not load anew
        self.ask("POST", "/url", url=address)

    def run(self, script):
        return self.ask("POST", "/execute/sync", script=script, args=[])

    def press(self, key):
        keys = [dict(type="keyDown", value=key), dict(type="keyUp", value=key)]
        self.ask("POST", "/actions", actions=[dict(type="key", id="keys", actions=keys)])

    def choose(self, name, value):
        self.run(
            f"const box = document.getElementById({name!r}); box.value = {value!r};"
            "box.dispatchEvent(new Event('change')); box.dispatchEvent(new Event('input'));"
        )

    def errors(self):
        log = self.ask("POST", "/se/log", type="browser")
        return [line for line in log if line["level"] in ("SEVERE", "WARNING")]

    def close(self):
        self.ask("DELETE", "")
        self.driver.terminate()
        self.driver.wait()


@pytest.fixture(scope="module")
def browser(report):
    browser = Browser(1280, 900)
    browser.open(f"file://{report}/report.html")
    yield browser
    browser.close()


def listed(browser):
    """The problems in the list."""
    script = "return [...document.querySelectorAll('#list button')].map(b => b.textContent)"
    return [words.split(" ")[0] for words in browser.run(script)]


@needs_browser
@pytest.mark.parametrize(
    "name, policy, rule, expected",
    [
        ("all problems", "base", "N = 1", "abcd"),
        ("wrong at first, repaired later", "mucode-1", "N = 1", "a"),
        ("wrong at first, repaired later", "base", "N = 1", ""),
        ("never solved", "base", "N = 1", "abd"),
        ("never solved", "mucode-1", "greedy", "d"),
        ("stopped by a public pass with a hidden fail", "base", "N = 1", "b"),
        ("stopped by a public pass with a hidden fail", "mucode-1", "N = 1", "d"),
        ("a wrong pick beside a correct candidate", "base", "PT+LV, N = 2", "abcd"),
        ("a wrong pick beside a correct candidate", "base", "N = 1", ""),
        ("R_φ scores a wrong candidate above all correct ones", "base", "PT+LV, N = 2", "abcd"),
        ("R_φ scores a wrong candidate above all correct ones", "base", "N = 1", ""),
        ("correct, and another policy is wrong", "mucode-1", "N = 1", "ab"),
        ("correct, and another policy is wrong", "rft-1", "N = 1", "a"),
        ("policies disagree", "base", "N = 1", "ab"),
    ],
)
def test_every_filter_shows_what_it_says(browser, name, policy, rule, expected):
    browser.choose("search", "")
    browser.choose("policy", policy)
    browser.choose("rule", rule)
    browser.choose("filter", name)
    assert listed(browser) == list(expected)
    assert browser.run("return document.getElementById('count').textContent").startswith(
        f"{len(expected)} of 4 shown"
    )


@needs_browser
def test_a_filter_shows_the_turn_that_it_is_about(browser):
    browser.choose("policy", "mucode-1")
    browser.choose("rule", "N = 1")
    browser.choose("filter", "stopped by a public pass with a hidden fail")
    assert browser.run("return `${now.problem} ${now.turn}`") == "d 2"
    # A filter without a problem says so, and whether the rule is why. The problem is not forgotten.
    words = "return document.getElementById('problem').innerText"
    browser.choose("filter", "a wrong pick beside a correct candidate")
    assert browser.run(words) == (
        "No problem is like that. With the rule N = 1 there is one candidate a turn: "
        "choose a rule with more."
    )
    browser.choose("filter", "all problems")
    assert browser.run("return `${now.problem} ${now.turn}`") == "d 1"
    browser.choose("search", "nowhere")
    assert browser.run(words) == "No problem is like that."
    browser.choose("rule", "PT+LV, N = 2")
    browser.choose("filter", "a wrong pick beside a correct candidate")
    assert browser.run(words) == "No problem is like that."
    browser.choose("search", "")

    # The next problem, and the same one with another filter: a ends at turn 2, b at turn 1.
    place = "return `${now.problem} ${now.turn}`"
    browser.choose("rule", "N = 1")
    browser.choose("filter", "correct, and another policy is wrong")
    for key, shown in (("j", "b 1"), ("k", "a 2"), ("j", "b 1")):
        browser.press(key)
        assert browser.run(place) == shown
    browser.press("k")
    browser.choose("filter", "all problems")
    assert browser.run(place) == "a 1"
    browser.choose("filter", "wrong at first, repaired later")
    assert browser.run(place) == "a 2"


def test_what_stands_in_a_table_is_text():
    assert page.make_table("| <b> | & |\n| --- | --- |\n| < | > |\n") == (
        "<div class='wide'><table><tr><th>&lt;b&gt;<th>&amp;<tr><td>&lt;<td>&gt;</table></div>"
    )


def test_every_part_of_the_page_is_filled_in(report):
    text = (report / "report.html").read_text()
    assert not re.findall(r"\{(?:title|summary|levels|verdicts|methods|charts|data)\}", text)
    assert "4 problems in 4 groups, 1 run." in text
    assert "from resampling groups, then problems;" in " ".join(text.split())
    # Where the mouse is on a chart: the base solves 1 of 4 greedily.
    assert re.search(r"<title>25\.0 % \[[\d.]+, [\d.]+\]</title>", text)


@needs_browser
def test_the_name_of_a_problem_is_meant_as_a_whole(browser):
    row = 'const row = {id: "test-4", prompt: "x", programs: [], episodes: {}};'
    found = browser.run(f'{row} return ["test-4", "test", "X", "y"].map((w) => hasText(row, w))')
    assert found == [True, False, True, False]


@needs_browser
def test_the_differences_are_those_of_the_report(browser, report):
    section = (report / "report.md").read_text().split("## Methods, by turn")[1].split("\n## ")[0]
    cells = [line.strip("| ").split(" | ") for line in section.strip().splitlines()]
    script = (
        "return [...document.querySelectorAll('tr')].map(r => [...r.cells].map(c => c.innerText))"
    )
    assert browser.run(script) == [cells[0], *cells[2:]]
    assert len(cells) == 2 + 6  # two rivals, three rules


@needs_browser
def test_a_problem_that_ours_repairs_and_the_base_does_not_is_shown_first(
    tmp_path, browser, report
):
    """c is solved at once by both, d by none, b without a second try; so it is a."""
    for policy in ("base", "mucode-1"):
        (tmp_path / policy).mkdir()
        rows = make_rows(policy)
        order = ["c", "d", "b", "a"]
        rows.sort(key=lambda row: order.index(row["task_id"]))
        write(tmp_path / policy / "eval.jsonl", rows)
    run(6, "report", "--run", tmp_path, "--out", tmp_path / "report.md")
    browser.open(f"file://{tmp_path}/report.html")
    assert listed(browser) == ["c", "d", "b", "a"]
    assert browser.run("return now.problem") == "a"
    browser.open(f"file://{report}/report.html")  # as others expect it


@needs_browser
def test_text_is_searched_in_prompts_programs_and_feedback(browser):
    browser.choose("filter", "all problems")
    browser.choose("rule", "N = 1")
    for words, expected in (("for b", "b"), ("ONERROR", "d"), ("<i>no", "d"), ("nowhere", "")):
        browser.choose("search", words)
        assert listed(browser) == list(expected)
    # What another rule's candidates hold is not shown now, so it is not looked for.
    browser.choose("rule", "PT+LV, N = 2")
    browser.choose("search", "onerror")
    assert listed(browser) == []
    browser.choose("search", "")


@needs_browser
def test_the_numbers_are_those_of_the_report(browser, report):
    """| base | greedy | … | 25.0 [… : the last column but two is the last turn's accuracy."""
    text = (report / "report.md").read_text().split("## Everything")[1]
    for policy in EPISODES:
        for rule in ("greedy", "N = 1", "PT+LV, N = 2"):
            browser.choose("policy", policy)
            browser.choose("rule", rule)
            cells = re.search(rf"^\| {policy} \| {re.escape(rule)} \|(.*)$", text, re.M)[1]
            share = cells.split("|")[1].split("[")[0].strip()
            count = browser.run("return document.getElementById('count').textContent")
            assert count.endswith(f": {share} %"), (policy, rule)


@needs_browser
def test_every_key_does_what_it_says(browser, report):
    browser.open(f"file://{report}/report.html#rule=N+%3D+1&policy=mucode-1")

    def now(name):
        return browser.run(f"return String(now.{name})")

    assert (now("problem"), now("turn")) == ("a", "1")
    for key, name, value in [
        ("j", "problem", "b"),
        ("j", "problem", "c"),
        ("k", "problem", "b"),
        ("k", "problem", "a"),
        ("k", "problem", "a"),
        ("\ue014", "turn", "2"),
        ("\ue014", "turn", "2"),
        ("\ue012", "turn", "1"),
        ("r", "rule", "PT+LV, N = 2"),
        ("r", "rule", "greedy"),
        ("f", "filter", "wrong at first, repaired later"),
    ]:
        browser.press(key)
        assert now(name) == value, key
    browser.press("/")
    assert browser.run("return document.activeElement.id") == "search"
    # What is typed there is no command.
    browser.press("j")
    assert browser.run("return document.getElementById('search').value") == "j"
    browser.press("\ue00c")
    assert browser.run("return document.activeElement.id") != "search"
    # Escape forgets the words, Enter keeps them.
    assert browser.run("return [now.search, document.getElementById('search').value]") == ["", ""]
    browser.press("/")
    browser.press("x")
    browser.press("\ue007")
    assert now("search") == "x"
    assert browser.run("return document.activeElement.id") != "search"
    browser.choose("search", "")

    # Candidates of all turns, and of every problem that is looked at next.
    opened = "return document.querySelectorAll('#problem details[open]').length"
    browser.choose("rule", "PT+LV, N = 2")
    browser.choose("filter", "all problems")
    assert browser.run(opened) == 0
    browser.press("c")
    assert browser.run(opened) == 3
    browser.press("j")
    assert browser.run(opened) == 3
    browser.press("c")
    assert browser.run(opened) == 0

    # In a list the keys are commands too, but for those that choose there.
    browser.choose("rule", "greedy")
    browser.run("document.getElementById('rule').focus()")
    before = now("problem")
    browser.press("k")
    assert now("problem") != before
    assert browser.run("return document.activeElement.id") == "rule"
    browser.press("\ue013")
    browser.press("\ue015")
    assert browser.run("return document.activeElement.id") == "rule"

    # What a key does is to be seen.
    browser.run("window.scrollTo(0, 0)")
    browser.press("j")
    top = "return document.getElementById('problem').getBoundingClientRect().top < innerHeight"
    assert browser.run(top)


@needs_browser
def test_the_address_leads_to_a_problem_and_turn(browser, report):
    browser.open(f"file://{report}/report.html#problem=d&turn=2&policy=base&rule=greedy")
    assert browser.run("return document.querySelector('#problem h3').textContent") == "d"
    place = "return Math.round(document.getElementById('trajectories').getBoundingClientRect().top)"
    assert abs(browser.run(place)) <= 1 or browser.run(
        "return innerHeight + scrollY >= document.documentElement.scrollHeight - 1"
    )
    marked = "return [...document.querySelectorAll('.turn.on b')].map(b => b.textContent)"
    assert set(browser.run(marked)) >= {"turn 2"}
    browser.press("k")
    assert "problem=c" in browser.run("return location.hash")

    # In the same tab, what an address does not say is as at the start.
    browser.choose("search", "median")
    browser.press("c")
    browser.run("location.hash = '#problem=b&turn=1'")
    time.sleep(0.2)
    state = "return [now.problem, now.search, now.candidates, now.rule, now.policy]"
    assert browser.run(state) == ["b", "", "", "N = 1", "mucode-1"]

    # Without a problem in the address the page is read from its top, and what it does not know is
    # left out.
    browser.open(f"file://{report}/report.html#rule=zip&filter=foo&policy=gpt")
    assert browser.run("return window.scrollY") == 0
    assert browser.run("return [now.rule, now.filter, now.policy]") == [
        "N = 1",
        "all problems",
        "mucode-1",
    ]


@needs_browser
def test_texts_of_programs_are_text(browser, report):
    browser.open(f"file://{report}/report.html#problem=d&policy=base&rule=greedy")
    shown = browser.run("return document.getElementById('problem').innerText")
    assert HOSTILE in shown
    assert "<i>no</i>" in shown
    assert "Write f for d. <b>&lt;" in shown
    assert browser.run("return document.querySelectorAll('#problem img, #problem i').length") == 0
    assert browser.run("return document.title") == f"μCode: {report.name}"


@needs_browser
def test_lines_that_changed_are_marked_and_hidden_results_stand_apart(browser, report):
    browser.open(f"file://{report}/report.html#problem=a&policy=mucode-1&rule=greedy")
    column = "document.querySelectorAll('.columns > div')[1]"
    changed = f"return [...{column}.querySelectorAll('.changed')].map(n => n.textContent)"
    assert browser.run(changed) == ["    return x + 1"]
    hidden = f"return [...{column}.querySelectorAll('.unseen')].map(n => n.textContent)"
    assert browser.run(hidden) == ["hidden fail: wrong", "hidden pass: correct"]

    # Hidden tests alone do not make a program correct.
    browser.open(f"file://{report}/report.html#problem=d&policy=base&rule=greedy")
    assert browser.run(hidden)[0] == "hidden pass: wrong"


@needs_browser
def test_the_expert_shows_y_star_first(browser, report):
    shown = browser.run("return document.getElementById('expert').innerText")
    first = shown.index("y*, the label of all states")
    assert first < shown.index("good") < shown.index("bad")
    assert "3 states were visited: each got y*" in shown
    assert browser.run("return document.querySelector('#lesson option').textContent") == "t ✓"
    browser.choose("lesson", "t")
    assert "lesson=t" in browser.run("return location.hash")


@needs_browser
def test_nothing_is_wider_than_a_telephone_and_nothing_fails(browser, report):
    narrow = Browser(500, 900)
    try:
        # Chromium's window is never narrower than 500 pixels, that of a telephone is.
        size = dict(width=400, height=900, deviceScaleFactor=1, mobile=True)
        telephone = dict(cmd="Emulation.setDeviceMetricsOverride", params=size)
        narrow.ask("POST", "/goog/cdp/execute", **telephone)
        narrow.open(f"file://{report}/report.html#problem=d")
        narrow.press("c")
        assert narrow.run("return [innerWidth, document.documentElement.scrollWidth]") == [400, 400]
        assert narrow.errors() == []
    finally:
        narrow.close()
    assert browser.errors() == []


@needs_browser
def test_the_sample_of_the_default_run_is_there_in_two_seconds():
    """It is the largest page that the café makes, but for runs of many methods."""
    sample = Path(__file__).parents[1] / "docs" / "report.html"
    assert sample.stat().st_size < 5e6
    browser = Browser(1280, 900)
    try:
        browser.open(f"file://{sample}")
        script = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
        assert 0 < browser.run(script) < 2000
        assert len(listed(browser)) == 600
        assert browser.errors() == []
    finally:
        browser.close()
