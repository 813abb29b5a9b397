#!/usr/bin/env python3
"""Write the version for students: python3 tests/make_student.py --stages 03,04 --out DIR

A copy of the files that git tracks. In the stages that are named, what stands between
`# BEGIN SOLUTION` and `# END SOLUTION` becomes `raise NotImplementedError("stage 04: relabel")`.
What is for instructors stays here: the wrong solutions in tests/mutants.py, and what
docs/assignment.md has between `<!-- BEGIN SOLUTION -->` and `<!-- END SOLUTION -->`
(--with-answers leaves that in).
"""

import argparse
import ast
import glob
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STAGES = sorted(map(os.path.basename, glob.glob(os.path.join(ROOT, "0[1-6]_*.py"))))

BEGIN = "# BEGIN SOLUTION"
END = "# END SOLUTION"
HANDOUT = os.path.join("docs", "assignment.md")
# What a student gets no copy of: what answers are known by, and what a copy's CI would fail at.
KEPT_BACK = ("tests/make_student.py", "tests/mutants.py", "tests/test_course.py", ".ci", ".github")


def stop(reason):
    """One line, status 2."""
    print(f"make_student.py: {reason}", file=sys.stderr)
    sys.exit(2)


def find_solutions(source, path):
    """[(function, first line, last line), …] of all solutions, markers included, counted from 0."""
    solutions = []
    begun = None
    lines = source.split("\n")
    try:
        ast.parse(source)
    except SyntaxError as error:
        stop(f"{path}, line {error.lineno}: {error.msg}")
    for number, line in enumerate(lines):
        word = line.strip()
        if word == BEGIN:
            if begun is not None:
                stop(
                    f"{path}, line {number + 1}: a solution begins within that of line {begun + 1}"
                )
            begun = number
        elif word == END:
            if begun is None:
                stop(f"{path}, line {number + 1}: a solution ends that has not begun")
            solutions.append((owner_of(source, path, begun, number), begun, number))
            begun = None
        elif BEGIN[2:] in line or END[2:] in line:
            stop(f"{path}, line {number + 1}: a marker has a line of its own: {BEGIN} or {END}")
    if begun is not None:
        stop(f"{path}, line {begun + 1}: a solution begins that does not end")
    return solutions


def owner_of(source, path, begun, ended):
    """The name of the function whose body, from behind its docstring on, lies between two lines."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.lineno - 1 < begun < node.end_lineno:
            docstring, *body = node.body
            is_whole = ast.get_docstring(node) and body
            is_whole = is_whole and docstring.end_lineno - 1 < begun < body[0].lineno - 1
            if is_whole and body[-1].end_lineno - 1 < ended:
                indent = len(source.split("\n")[ended]) - len(END)
                if indent == node.col_offset + 4:
                    return node.name
    reason = "a solution must be all that follows the docstring of one function, and be indented so"
    stop(f"{path}, line {begun + 1}: {reason}")


def blank(source, path, stage):
    """The text of a stage without its solutions."""
    lines = source.split("\n")
    for function, first, last in reversed(find_solutions(source, path)):
        words = f'raise NotImplementedError("stage {stage}: {function}")'
        lines[first : last + 1] = [f"    {words}"]
    return "\n".join(lines)


def without_answers(handout):
    """The handout without what a good answer contains."""
    kept = []
    begun = None
    for number, line in enumerate(handout.split("\n"), 1):
        if "SOLUTION" in line and "<!--" in line:
            expected = "<!-- END SOLUTION -->" if begun else "<!-- BEGIN SOLUTION -->"
            if line != expected:
                stop(f"{HANDOUT}, line {number}: {line.strip()!r}, where {expected} should be next")
            begun = None if begun else number
        elif not begun:
            kept.append(line)
    if begun:
        stop(f"{HANDOUT}, line {begun}: an answer begins that does not end")
    # An answer has left two empty lines.
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept))


def check_table(handout, functions):
    """Stop unless the handout's table has the functions that are between markers."""
    listed = set(re.findall(r"(?m)^\| (0\d) \| `(\w+)` \|", handout))
    for stage, name in sorted(listed ^ functions):
        place = "the table of" if (stage, name) in listed else "a stage's markers, and not"
        stop(f"{HANDOUT}: {name} of stage {stage} stands in {place} the handout only")


def list_files():
    """The files of the project. What else lies in its folder is the instructor's own."""
    listing = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True)
    if listing.returncode:
        stop(f"{ROOT}: no git checkout, so nobody can tell which files are the project's")
    names = [name for name in listing.stdout.split("\0") if name and not name.startswith(KEPT_BACK)]
    for name in names:
        if not os.path.exists(os.path.join(ROOT, name)):
            stop(f"{name}: git tracks it, and it is not there; restore it, or git rm it")
    return names


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    numbers = [name[:2] for name in STAGES]
    stages = ",".join(numbers)
    parser.add_argument("--stages", default=stages, help="to be written by students [%(default)s]")
    parser.add_argument("--out", required=True, help="folder to write, which must not exist")
    parser.add_argument("--with-answers", action="store_true", help="leave them in the handout")
    args = parser.parse_args()
    args.stages = [stage.strip().zfill(2) for stage in args.stages.split(",")]
    for stage in args.stages:
        if stage not in numbers:
            stop(f"--stages: '{stage}' is none of {', '.join(numbers)}")
    if os.path.exists(args.out):
        stop(f"--out: {args.out} exists; give another folder, or delete it")
    return args


def main():
    args = parse_args()
    # All is looked through before anything is written.
    texts = {}
    functions = set()
    for name in STAGES:
        path = os.path.join(ROOT, name)
        with open(path, encoding="utf-8") as file:
            source = file.read()
        stage = name[:2]
        functions |= {(stage, function) for function, _, _ in find_solutions(source, path)}
        if stage in args.stages:
            texts[name] = blank(source, path, stage)
    with open(os.path.join(ROOT, HANDOUT), encoding="utf-8") as file:
        handout = file.read()
    check_table(handout, functions)
    student_handout = without_answers(handout)
    if not args.with_answers:
        texts[HANDOUT] = student_handout

    # The folder has its name only when it is whole.
    new = f"{args.out.rstrip('/')}.new"
    shutil.rmtree(new, ignore_errors=True)
    for name in list_files():
        target = os.path.join(new, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(os.path.join(ROOT, name), target)
        if name in texts:
            with open(target, "w", encoding="utf-8") as file:
                file.write(texts[name])
    os.rename(new, args.out)
    blanked = [" ".join(pair) for pair in sorted(functions) if pair[0] in args.stages]
    print(f"{args.out}: to be written are {', '.join(blanked)}")


if __name__ == "__main__":
    main()
