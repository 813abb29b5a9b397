"""The charts of a report: lines with intervals, as SVG written by hand, which opens anywhere."""

import glob
import os

from lib.results import in_order, label, main_three, method_of
from lib.rows import count, read_jsonl, whole

# Okabe and Ito's colours, which colour-blind readers can tell apart. (Their black: the text's.)
COLOURS = ("#767676", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
COLOURS += ("currentColor",)

# The size of a panel, and the margins inside it, in pixels.
WIDTH, HEIGHT = 400, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 34, 40
NAME, ROW = 112, 22  # of the legend below: the width of a name, the height of a row


# ── Drawing ──────────────────────────────────────────────────────────────────────────────────────


def line_chart(panels, ticks, first=0):
    """Panels side by side, one legend for all → the text of an SVG file.

    panels: {title: {name of a line: [(mean, low, high), …]}}, shares in [0, 1] at each of the
    ticks, which are words. All panels have the same lines. first: the place of the first colour.
    """
    # The legend: as many names in a row as there is room for.
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    width = WIDTH * len(panels)
    in_row = (width - LEFT) // NAME
    height = HEIGHT + 12 + ROW * -(-len(names) // in_row)

    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    style = 'font-family="sans-serif" fill="currentColor"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>']
    parts.append('<rect class="paper" width="100%" height="100%" fill="white"/>')
    for column, (title, lines) in enumerate(panels.items()):
        parts.append(f'<g transform="translate({WIDTH * column} 0)" font-size="13">')
        parts += draw_frame(title, ticks)
        for i, estimates in enumerate(lines.values()):
            # Side by side, so that the intervals of two lines do not cover each other.
            shift = 6 * (i - (len(lines) - 1) / 2)
            colour = COLOURS[(first + i) % len(COLOURS)]
            parts += draw_line(estimates, len(ticks), colour, shift)
        parts.append("</g>")

    for i, name in enumerate(names):
        x, y = LEFT + NAME * (i % in_row), HEIGHT + 13 + ROW * (i // in_row)
        colour = COLOURS[(first + i) % len(COLOURS)]
        parts.append(f'<circle cx="{x}" cy="{y}" r="5" fill="{colour}"/>')
        parts.append(f'<text x="{x + 10}" y="{y + 5}" font-size="13">{name}</text>')
    return "\n".join([*parts, "</svg>\n"])


def place(x, ticks, share):
    """The pixel of a value: x of 1 … the number of ticks, share in [0, 1]."""
    across = LEFT + (WIDTH - LEFT - RIGHT) * (x - 0.5) / ticks
    down = TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)
    return round(across, 1), round(down, 1)


def draw_frame(title, ticks):
    """Title, grid and axes of a panel, from 0 to 100 %."""
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts = [f'<text x="{middle}" y="20" text-anchor="middle" font-weight="bold">{title}</text>']
    for percent in range(0, 101, 20):
        _, y = place(1, 1, percent / 100)
        parts.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#888888" opacity="0.35"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{percent} %</text>')
    for number, tick in enumerate(ticks, 1):
        x, y = place(number, len(ticks), 0)
        parts.append(f'<text x="{x}" y="{y + 20}" text-anchor="middle">{tick}</text>')
    return parts


def draw_line(estimates, ticks, colour, shift):
    """A line through the means at the first ticks, a dot for each, and a bar for its interval."""
    points = []
    marks = []
    for number, estimate in enumerate(estimates, 1):
        (x, y), (_, bottom), (_, top) = [place(number, ticks, share) for share in estimate]
        x = round(x + shift, 1)
        points.append(f"{x},{y}")
        marks.append(f'<path d="M{x} {bottom}V{top}" stroke="{colour}" stroke-width="2"/>')
        # What a browser says where the mouse is.
        mean, low, high = (100 * share for share in estimate)
        says = f"<title>{mean:.1f} % [{low:.1f}, {high:.1f}]</title>"
        marks.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}">{says}</circle>')
    style = f'fill="none" stroke="{colour}" stroke-width="1.5"'
    return [f'<polyline points="{" ".join(points)}" {style}/>', *marks]


# ── What is drawn: (panels, ticks, …) as line_chart takes them. No panels: there is nothing ──────


def turns_chart(results, policies):
    """Accuracy by turn: a panel for greedy, one for PT+LV, a line per policy."""
    panels = {}
    for arm in results.arms("base"):
        if label(arm) in ("greedy", "PT+LV, N = 5"):
            panel = panels.setdefault(f"problems solved, {label(arm)}", {})
            for policy in policies:
                panel[policy] = [results.estimate(right) for right in results.right[policy, arm]]
    return panels, [f"turn {turn}" for turn in range(1, results.turns + 1)]


def candidates_chart(results, policies, ours):
    """Accuracy at turn 1 by N, by the policy's own verifier: a panel each for base, ours, RFT."""
    ns, _ = results.by_candidates(ours)
    panels = {}
    for policy in main_three(policies, ours):
        own_ns, accuracies = results.by_candidates(policy)
        # One axis for all, so a policy is left out if it was searched with other N.
        if own_ns == ns:
            panels[f"{policy}, turn 1"] = panel = {}
            for rule in results.measures.RULES:
                # "PT+LV, mucode-2/verifier": the first of several verifiers is its own.
                named = [name for name in accuracies if name.split(", ")[0] == rule]
                if named:
                    panel[rule] = [results.estimate(a) for a in accuracies[named[0]]]
    # In the colours that no policy of the other charts has.
    return panels if len(ns) > 1 else {}, [f"N = {n}" for n in ns], 3


def pairs_chart(results, policies):
    """Pairwise accuracy of each policy's own verifier on its candidates of turn 1."""
    lines = {}
    for policy in policies:
        if results.verifiers[policy]:
            accuracy = results.over_problems(results.measures.pairwise, policy)
            lines[policy] = [results.estimate(accuracy)]
    return {"pairwise accuracy": lines} if lines else {}, ["candidates of turn 1"]


def labels_chart(results, run):
    """The share of wrong labels by iteration, a line for each method."""
    paths = glob.glob(f"{glob.escape(str(run))}/*/examples.metrics.jsonl")
    path_of = {os.path.basename(os.path.dirname(path)): path for path in paths}
    lines = {}
    for policy in in_order(path_of, results.measures):
        row, *_ = read_jsonl(path_of[policy], dict(wrong=whole, examples=count))
        wrong = row["wrong"] / row["examples"]
        lines.setdefault(method_of(policy), []).append((wrong, wrong, wrong))
    iterations = max(map(len, lines.values()), default=0)
    ticks = [f"iteration {k + 1}" for k in range(iterations)]
    return {"wrong labels": lines} if lines else {}, ticks, 1  # the first colour is the base's


# What the page says above each chart.
BY_TURN = "The share of problems whose last program is correct. One that passed keeps its program."
BY_N = """The rule picks among the first N candidates. Random and the oracle, which is the bound,
are averages over all choices of N."""
PAIRS = """How often R_φ, the policy's own verifier, scores a correct program above a wrong one of
the same problem. Chance is 50 %."""
LABELS = """The share of a method's labels that are wrong programs. μCode labels a state with one
where no correct program was sampled, and RFT imitates the failed tries of trajectories that ended
well."""


def charts(results, policies, ours, run):
    """The charts of the page: (heading, words, an SVG for each panel)."""
    drawn = [
        ("Accuracy by turn", BY_TURN, turns_chart(results, policies)),
        ("Accuracy by N", BY_N, candidates_chart(results, policies, ours)),
        ("The verifier's pairs", PAIRS, pairs_chart(results, policies)),
        ("Labels by iteration", LABELS, labels_chart(results, run)),
    ]
    for heading, words, (panels, *more) in drawn:
        if panels:
            yield heading, words, [line_chart({name: panels[name]}, *more) for name in panels]
