"""Text in and out of stage 02: blocks of code in an answer, output of scripts, feedback."""

import ast
import functools
import os
import re
import textwrap
import warnings
from contextlib import suppress
from unicodedata import normalize

# ── The fenced blocks of an answer ───────────────────────────────────────────────────────────────

PYTHON = ("python", "python3", "py")


def find_blocks(text):
    """The fenced blocks of a text that are not empty, as (language, code).

    A block ends with the fence that began it, also behind a line of code, or where the next begins,
    or with the text. But between triple quotes a fence is part of the code.
    """
    text = add_first_fence(text)
    blocks = []  # [language, lines, the first with a fence between triple quotes or None]
    fence = quotes = ""  # of the open block: its fence, and the triple quotes that are open in it
    for line in text.split("\n"):
        before, mark, language = split_fence(line)
        is_alone = not before.strip()
        ends = fence and mark.startswith(fence) and (is_alone or not language)
        # A line of the block.
        if fence and (quotes or not ends):
            _, lines, cut = blocks[-1]
            if ends and cut is None:
                blocks[-1][2] = len(lines)
            lines.append(line)
            for triple in re.findall(r"'{3}|\"{3}", line):
                quotes = "" if quotes == triple else quotes or triple
            continue
        # The end of one, or the beginning, or both.
        if ends:
            blocks[-1][1].append(before)
            fence = ""
        if mark and (language in PYTHON or is_alone) and (language or not ends):
            fence, quotes = mark, ""
            blocks.append([language, [], None])
    codes = [(language, make_code(lines, cut)) for language, lines, cut in blocks]
    return [(language, code) for language, code in codes if code]


# A line that can begin a program, and one that makes it worth the name.
BEGINNING = re.compile(r"@|(import|from|(async )?def|class) ")
DEFINITION = re.compile(r"^((async )?def|class) ", re.M)


def add_first_fence(text):
    """A program that a fence closes and none opened, as a weak model writes it, gets one."""
    lines = text.split("\n")
    fences = [i for i, line in enumerate(lines) if split_fence(line)[1]]
    # Fences come in pairs. The first of an odd number may end what stands before it.
    if len(fences) % 2 == 0:
        return text
    before, mark, _ = split_fence(lines[fences[0]])

    # The program begins where the rest, up to that fence, is Python.
    for begin in range(fences[0]):
        code = "\n".join([*lines[begin : fences[0]], before])
        if BEGINNING.match(code) and DEFINITION.search(code) and is_python(code):
            return "\n".join([*lines[:begin], f"{mark}python", *lines[begin:]])
    return text


def make_code(lines, cut):
    """The code of a block, which may have ended at its line `cut` already."""
    # Was it a fence within a docstring, or were there no quotes but a text that looks like them?
    whole, begin = map(tidy, (lines, lines[:cut]))
    return whole if cut is None or is_python(whole) else begin


def tidy(lines):
    """Lines as code. A block in a list item is indented as a whole."""
    code = "\n".join(lines).lstrip("\r\n").rstrip()
    return textwrap.dedent(code) if code[:1].isspace() else code


def is_python(source):
    """Does it compile? Nothing of it is executed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, "<text>", "exec")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def split_fence(line):
    """A line that ends with a fence, or a fence and a language → (what is before it, both).

    Any other line → (the line, "", "").
    """
    before, mark, after = line.partition("```" if "```" in line else "~~~")
    info = after.lstrip(mark[:1])
    language, *more = info.lower().split() or [""]
    # Behind the language may stand a file name.
    if not mark or mark in info or (more and language not in PYTHON):
        return line, "", ""
    if not re.fullmatch(r"[\w+.-]*", language):
        return line, "", ""
    return before, mark + after[: len(after) - len(info)], language


# ── What a script prints ─────────────────────────────────────────────────────────────────────────


def one_line(printed):
    """A text with single blanks for white space, which does not count."""
    return " ".join(printed.split())


def is_same_output(printed, expected):
    """The comparison of CodeContests: by token, ignoring case, numbers within 1e-5."""
    tokens, others = printed.lower().split(), expected.lower().split()  # at white space
    return len(tokens) == len(others) and all(map(is_same_token, tokens, others))


def is_same_token(token, other):
    """Are two words of an output the same? Two whole numbers must be equal, however long."""
    # Python alone reads 1_000 as a number.
    if token == other or "_" in token + other:
        return token == other
    for kind in (int, float):
        with suppress(ValueError, OverflowError):
            return abs(kind(token) - kind(other)) < 1e-5
    return False


# ── One line of feedback ─────────────────────────────────────────────────────────────────────────


def show(value, outer=()):
    """repr, the same on every run: sets sorted, no addresses. outer: the containers around it."""
    try:
        shown = functools.partial(show, outer=(*outer, id(value)))
        if type(value) in (list, dict) and id(value) in outer:
            return "[...]" if type(value) is list else "{...}"
        if type(value) is list:
            return f"[{join(map(shown, value))}]"
        if type(value) is tuple:
            comma = "," if len(value) == 1 else ""
            return f"({join(map(shown, value))}{comma})"
        if type(value) is dict:
            return f"{{{join(f'{shown(key)}: {shown(item)}' for key, item in value.items())}}}"
        if issubclass(type(value), (set, frozenset)) and value:
            items = f"{{{', '.join(sorted(map(shown, value)))}}}"
            return items if issubclass(type(value), set) else f"frozenset({items})"
        return re.sub(" at 0x[0-9a-f]+", "", repr(value))
    except (ValueError, RecursionError):
        # repr stops at 4,300 digits, and where it is nested too deep.
        return "something huge"


def sides_of_assert(tree):
    """`assert f(1) == 2` → the nodes of f(1) and 2, the call first. (None, None) of other code."""
    match tree.body:
        case [ast.Assert(test=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]))]:
            return (right, left) if isinstance(right, ast.Call) else (left, right)
    return None, None


def source_of(node):
    """The source of a syntax tree, if that is not nested too deep."""
    try:
        return ast.unparse(node)
    except RecursionError:
        return "…"


def join(items):
    """Texts with commas between them, as many as feedback could ever show."""
    shown = []
    for item in items:
        shown.append(item[:10_000])
        if sum(map(len, shown[-9:])) > 10_000 or len(shown) > 10_000:
            break
    return ", ".join(shown)


def show_call(name, args, kwargs):
    """The source of a call, such as f([3, 1], reverse=True)."""
    shown = [short(show(value), 60) for value in args]
    shown += [f"{key}={short(show(value), 60)}" for key, value in kwargs.items()]
    return f"{name}({', '.join(shown)})"


def apart(text, other):
    """Two different texts, so that the difference is seen."""
    # Letters may look alike: the Latin e and the Cyrillic one, or é in one piece and in two.
    if text.isascii() != other.isascii() or normalize("NFKD", text) == normalize("NFKD", other):
        text, other = (side.encode("ascii", "backslashreplace").decode() for side in (text, other))
    # What they begin with may be long.
    same = len(os.path.commonprefix([text, other]))
    if same < 60:
        return text, other
    return f"…{text[same - 20 :]}", f"…{other[same - 20 :]}"


def short(text, limit=120):
    """The beginning of a text: feedback must stay short."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


# Marks of chat templates, <|im_end|> or </s> or [INST], which would end a turn. <lambda> is none.
MARKUP = re.compile(r"<(?=[|｜/]|(?!lambda|listcomp|genexpr|locals|module)\w+>)|\[(?=/?INST\])")


def clean(text, limit):
    """One line that any tokenizer, terminal and JSON file takes. The rest of it is escaped."""
    line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return short(MARKUP.sub(lambda mark: f"\\x{ord(mark[0]):02x}", line), limit)
