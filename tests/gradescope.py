"""Points: add them up, print them, and write them as Gradescope reads them, once, at the end."""

import json
import os

# What an autograder shows of a test at most, in characters.
SHOWN = 5000


class Points:
    """A plugin of pytest that keeps what became of each graded test."""

    def __init__(self, config):
        self.path = config.getoption("--gradescope")
        self.seed = config.getoption("--seed")
        self.folder = os.path.abspath(config.getoption("--repo") or config.rootpath)
        self.missing = []  # what the system lacks for the cage
        self.tests = {}  # test → its row in the file

    def pytest_collection_finish(self, session):
        # All of them have a row: a test that is never reached has earned nothing.
        for item in session.items:
            mark = item.get_closest_marker("points")
            if mark:
                (worth,) = mark.args
                item.user_properties.append(("points", worth))
                self.tests[item.nodeid] = dict(
                    name=sentence(item.name),
                    number=item.path.name.split("_")[1],  # of the stage
                    score=0,
                    max_score=worth,
                    status="failed",
                    output="This test was not run.",
                )

    def pytest_runtest_logreport(self, report):
        test = self.tests.get(report.nodeid)
        if test and report.when == "call" and report.passed:
            test.update(score=test["max_score"], status="passed", output="")
        elif test and not report.passed:
            printed = "".join(f"\n\n{name}:\n{text}" for name, text in report.sections)
            output = clean(report.longreprtext + printed)[-SHOWN:]
            test.update(score=0, status="failed", output=output)

    def pytest_terminal_summary(self, terminalreporter):
        if not self.tests:
            return
        terminalreporter.section("points")
        for stage in sorted({test["number"] for test in self.tests.values()}):
            tests = [test for test in self.tests.values() if test["number"] == stage]
            terminalreporter.write_line(f"stage {stage}: {earned(tests)}")
        total = f"together: {earned(self.tests.values())}, by inputs drawn with --seed {self.seed}"
        terminalreporter.write_line(total)
        terminalreporter.write_line(f"graded: {self.folder}{self.warning()}")

    def warning(self):
        """What an instructor should know where the cage is not complete."""
        if not self.missing:
            return ""
        lack = " and ".join(self.missing)
        return f" (this system lacks {lack}: code could read the tests, or write files)"

    def pytest_sessionfinish(self):
        if not self.path:
            return
        results = dict(
            score=sum(test["score"] for test in self.tests.values()),
            stdout_visibility="hidden",
            output=f"{earned(self.tests.values())} points{self.warning()}",
            tests=list(self.tests.values()),
        )
        # Whole or not at all, whatever stood there.
        new = f"{self.path}.new"
        with open(new, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
            file.write("\n")
        os.replace(new, self.path)


def clean(text):
    """Text that any browser takes: what is not printable, but for line ends, is escaped."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def sentence(name):
    """test_ties_go_to_the_first → Ties go to the first."""
    return name.removeprefix("test_").replace("_", " ").capitalize()


def earned(tests):
    """How many points of how many, in words."""
    scores = [test["score"] for test in tests]
    return f"{sum(scores)} of {sum(test['max_score'] for test in tests)}"
