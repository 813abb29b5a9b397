"""lib/values.py: what crosses between a judge and a program is the same value on the other side."""

import collections
import datetime
import enum
import json
import math
import random
import re
import string
import sys
import types
import typing
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from fractions import Fraction

from lib.values import (
    ATOMS,
    COMMON,
    CONTAINERS,
    FIXED,
    Crossing,
    content,
    fill,
    from_line,
    to_line,
)

import pytest

# ── Across and back ──────────────────────────────────────────────────────────────────────────────


def refuse(*value):
    """For values that the tables hold: neither side is asked what crosses for them."""
    raise KeyError(value)


def over(data):
    """Data as the other side reads it."""
    return from_line(to_line(data))


def cross(value, pack=refuse, unpack=refuse):
    """A value on the other side."""
    return Crossing(pack, unpack).decode(over(Crossing(pack, unpack).encode(value)))


VIEWS = (type({}.keys()), type({}.values()), type({}.items()))
CHANGEABLE = (list, set, dict, bytearray, deque, Counter, OrderedDict, defaultdict)


def text_of(value, known=None):
    """A text that tells types, content, order, and which containers are one and the same.

    Written without the tables of lib/values.py. Two values with the same text are the same.
    """
    known = {} if known is None else known
    kind = type(value)
    label = kind.__name__
    if kind in CHANGEABLE:
        if id(value) in known:
            return f"#{known[id(value)]}"
        known[id(value)] = len(known)
        label += f"#{known[id(value)]}"
    if kind is deque:
        label += f" of at most {value.maxlen}"
    if kind is defaultdict:
        label += f" of {text_of(value.default_factory)}"

    if kind is int:
        return f"int {value:x}"
    if isinstance(value, (dict, type({}.items()))):
        items = value if kind in VIEWS else value.items()
        parts = [f"{text_of(key, known)}: {text_of(item, known)}" for key, item in items]
    elif kind in (set, frozenset):
        # What they hold cannot be changed, so no numbers are given here.
        parts = sorted(map(text_of, value))
    elif kind in (list, tuple, bytearray, deque, *VIEWS):
        parts = [text_of(item, known) for item in value]
    else:
        return f"{label} {value!r}"
    return f"{label}[{', '.join(parts)}]"


def test_the_text_of_a_value_tells_what_differs():
    """The measure of the tests below is sharp itself."""
    one = [1]
    pairs = [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ([1], (1,)),
        ({1: 2, 3: 4}, {3: 4, 1: 2}),
        (deque([1], 2), deque([1], 3)),
        (defaultdict(int), defaultdict(list)),
        ([one, one], [[1], [1]]),
        (Counter("a"), {"a": 1}),
        (Decimal("1.0"), Decimal("1.00")),
        (b"a", bytearray(b"a")),
    ]
    for value, other in pairs:
        assert text_of(value) != text_of(other)
    same = [([one, one], [[1]] * 2), ({3, "a", (1,)}, {(1,), "a", 3}), (math.nan, -math.nan)]
    for value, other in same:
        assert text_of(value) == text_of(other)


# ── One value of each kind ───────────────────────────────────────────────────────────────────────

VALUES = [
    None,
    True,
    False,
    0,
    -3,
    0.1,
    "",
    "é\n\0\x7f\u2028😀 \"'\\ </s> NaN",
    "\ud800",
    [],
    [1, [2, []]],
    (),
    (1, (2,), ()),
    {},
    {(1, 2): [3], "a": {}, None: 1, 0.5: 2, b"k": 3, frozenset({1}): 4},
    {"tuple": [1]},  # looks like a tag
    {"same": [0]},
    {"b": 1, "a": 2},  # the order is a part of it
    set(),
    {1, "1", (1,), None},
    frozenset(),
    frozenset({(1, 2), frozenset({3})}),
    b"",
    b"\x00\xff",
    bytearray(),
    bytearray(b"\x00\xff"),
    2 - 1j,
    range(3, 9, 2),
    range(5, -1, -1),
    range(1 << 70),
    Fraction(-1, 3),
    Fraction(10**1300, 7),
    Decimal("0.1"),
    Decimal("-0"),
    Decimal("1.00"),
    Decimal("1E+30"),
    Decimal("NaN"),
    Decimal("sNaN12"),
    Decimal("-Infinity"),
    deque(),
    deque([1, [2]]),
    deque([1, 2], maxlen=2),
    deque([], maxlen=0),
    Counter(),
    Counter("abba"),
    Counter({"a": -1, "b": 0}),
    OrderedDict([("b", 1), ("a", 2)]),
    defaultdict(None),
    defaultdict(int, {"a": 1}),
    defaultdict(list, {"a": [1], "b": []}),
    datetime.date(2024, 2, 29),
    datetime.date.min,
    datetime.time(23, 59, 59, 999999),
    datetime.time(1, 2, tzinfo=datetime.timezone.utc),
    datetime.datetime(1999, 12, 31),
    datetime.datetime(1, 1, 1, 0, 0, 0, 1),
    datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.timezone.utc),
    datetime.datetime(
        2024, 5, 6, tzinfo=datetime.timezone(-datetime.timedelta(hours=3, minutes=30))
    ),
    datetime.timedelta(-1, 5, 7),
    datetime.timedelta.max,
    {1: 2, "a": [3]}.keys(),
    {1: 2, "a": [3]}.values(),
    {1: 2, "a": [3]}.items(),
    {}.keys(),
    {}.values(),
    {}.items(),
    int,
    type,
    object,
    ValueError,
    OSError,
    deque,
    Decimal,
    datetime.datetime,
    type({}.keys()),
]


@pytest.mark.parametrize("value", VALUES, ids=text_of)
def test_a_value_crosses_unchanged(value):
    """Alone, in a list of mixed things, in a tuple, and as what a key stands for."""
    text = text_of(value)
    assert text_of(cross(value)) == text
    assert text_of(cross([value, 0, "x", value])) == text_of([value, 0, "x", value])
    assert text_of(cross((value,))) == text_of((value,))
    assert text_of(cross({0: value})) == text_of({0: value})
    # It is still what it was.
    assert text_of(value) == text


def test_every_kind_of_the_tables_is_among_them():
    kinds = set(map(type, VALUES))
    assert {*ATOMS, int, *CONTAINERS, *FIXED} <= kinds
    # Classes cross by their names, also those that are in the tables.
    for kind in (*ATOMS, int, *CONTAINERS, *FIXED):
        if kind is not type(None):
            assert cross(kind) is kind


def test_half_surrogates_stay_apart():
    """Two letters of Python's, which JSON would write like one."""
    assert len(cross("\ud83d\ude00")) == 2


# ── Numbers ──────────────────────────────────────────────────────────────────────────────────────

BIG = [
    sign * (base + more)
    for base in (0, 2**31, 2**53, 2**63, 2**64, 2**3999, 2**4000, 2**4001, 10**4299, 10**5000)
    for more in (-1, 0, 1)
    for sign in (1, -1)
]


def test_integers_of_any_size():
    """Around the sizes where a machine, JSON or Python's own reading of digits has a limit."""
    for number in BIG:
        for value in (number, [number], [number, 1], [number, "a"], {number: number}, {number}):
            assert text_of(cross(value)) == text_of(value)
    assert text_of(cross(BIG)) == text_of(BIG)
    assert cross(Fraction(10**5000, 10**5000 + 1)) == Fraction(10**5000, 10**5000 + 1)
    assert cross(range(-(10**5000), 10**5000)) == range(-(10**5000), 10**5000)
    # Of a hundred thousand digits, and quickly.
    assert cross(7**118_000) == 7**118_000


FLOATS = [0.0, -0.0, 0.1, 1e-5, 1e16, 5e-324, sys.float_info.max, sys.float_info.min]
FLOATS += [math.nan, math.inf, -math.inf, 1 / 3, 2.0**53, 123456789.123456789]


def test_floats_to_the_last_bit():
    for number in FLOATS:
        for value in (number, [number], [number, 1], (number,), {"a": number}):
            assert text_of(cross(value)) == text_of(value)
        assert repr(cross(complex(number, -number))) == repr(complex(number, -number))
    assert text_of(cross(FLOATS)) == text_of(FLOATS)
    assert math.copysign(1, cross(-0.0)) == -1


def test_truth_and_numbers_stay_apart():
    values = [
        [True, 1, 1.0, False, 0, 0.0, None],
        [True, False],
        [1, True],
        (True, 1),
        {True: 1, 0: False},
        {1: True, False: 0},
        {True, 0},
        deque([True, 1]),
        [[True], [1]],
        Counter({True: 2}),
        {0: True}.items(),
    ]
    for value in values:
        assert text_of(cross(value)) == text_of(value)


# ── Subclasses ───────────────────────────────────────────────────────────────────────────────────


def lie(self, *_):
    return 7


def lie_long(self, *_):
    return "lie"


class Liar:
    """For a subclass that says other things of itself than its base does."""

    __eq__ = __len__ = __index__ = __int__ = __bool__ = lie
    __iter__ = __getitem__ = items = keys = values = __contains__ = None
    __repr__ = __str__ = __format__ = lie_long
    __hash__ = object.__hash__


def liar(base, *args, **kwargs):
    """A value of a subclass of `base` that lies."""
    return type("Lie", (Liar, base), {})(*args, **kwargs)


class Colour(enum.IntEnum):
    RED = 3


class Word(str, enum.Enum):
    YES = "yes"


class Flag(enum.IntFlag):
    A = 1
    B = 2


class Missing(dict):
    def __missing__(self, key):
        return 0


SUBCLASSES = {
    "int enum": (Colour.RED, 3),
    "str enum": (Word.YES, "yes"),
    "int flag": (Flag.A | Flag.B, 3),
    "dict that knows what is missing": (Missing(a=1), {"a": 1}),
    "keys of an OrderedDict": (OrderedDict(b=1, a=2).keys(), {"b": 1, "a": 2}.keys()),
    "items of an OrderedDict": (OrderedDict(b=1).items(), {"b": 1}.items()),
    "values of an OrderedDict": (OrderedDict(b=1).values(), dict(enumerate([1])).values()),
    "lying int": (liar(int, 5), 5),
    "lying big int": (liar(int, 10**5000), 10**5000),
    "lying float": (liar(float, 0.5), 0.5),
    "lying str": (liar(str, "a"), "a"),
    "lying list": (liar(list, [1, 2]), [1, 2]),
    "lying tuple": (liar(tuple, (1, 2)), (1, 2)),
    "lying dict": (liar(dict, {1: 2}), {1: 2}),
    "lying set": (liar(set, {1}), {1}),
    "lying frozenset": (liar(frozenset, {1}), frozenset({1})),
    "lying deque": (liar(deque, [1], 3), deque([1], 3)),
    "lying Counter": (liar(OrderedDict, {1: 2}), OrderedDict({1: 2})),
    "lying bytearray": (liar(bytearray, b"a"), bytearray(b"a")),
    "lying Fraction": (liar(Fraction, 1, 2), Fraction(1, 2)),
    "lying date": (liar(datetime.date, 2024, 1, 1), datetime.date(2024, 1, 1)),
}


@pytest.mark.parametrize("value, base", SUBCLASSES.values(), ids=SUBCLASSES)
def test_a_subclass_crosses_as_its_base(value, base):
    """As the content that the base knows of, whatever its own methods say."""
    assert text_of(cross(value)) == text_of(base)
    assert text_of(cross([value, "x"])) == text_of([base, "x"])
    assert text_of(cross({"a": value})) == text_of({"a": base})


Point = collections.namedtuple("Point", "x y")


class Named(typing.NamedTuple):
    count: int
    more: "Named | None" = None

    def double(self):
        return self.count * 2


def test_a_namedtuple_is_a_tuple_whose_fields_have_names():
    for value in (Point(1, [2]), Named(5), Named(5, Named(6)), Point(Point(1, 2), {3: Named(4)})):
        there = cross(value)
        assert there == value
        assert isinstance(there, tuple)
        assert repr(there) == repr(value)
        assert there == tuple(there)
    assert cross(Point(1, [2])).y == [2]
    assert cross(Named(5, Named(6))).more.count == 6
    shared = []
    there = cross([Point(shared, 1), shared])
    assert there[0].x is there[1]


def test_fields_that_are_no_names_are_called_by_their_place():
    """As Python has it, for a table whose columns have any names."""
    kind = collections.namedtuple("Row", ["x", "def", "x", "a b"], rename=True)
    there = cross(kind(1, 2, 3, 4))
    assert repr(there) == "Row(x=1, _1=2, _2=3, _3=4)"
    # Nothing that a program calls a field is executed here.
    data = {"namedtuple": ["Row", {"tuple": ["x=print()", "_x", "y"]}, 1, 2, 3]}
    assert Crossing(None, None).decode(data)._fields == ("_0", "_1", "y")


class Methods:
    """For a subclass that can do more than its base."""

    def total(self):
        return sum(self)


def test_a_container_with_methods_of_its_own_stays_where_it_is():
    """A test may call them."""
    for base in (list, dict, set, deque, OrderedDict):
        value = type("More", (Methods, base), {})()
        assert cross([value], lambda value: ("mine", []), lambda tag: tag) == ["mine"]


def test_an_ordered_dict_keeps_its_own_order():
    value = OrderedDict(a=1, b=2)
    value.move_to_end("a")
    assert list(cross(value)) == ["b", "a"]


# ── The shape of what contains what ──────────────────────────────────────────────────────────────


def make_shapes():
    """{name: value}: containers that are in two places, and containers that contain themselves."""
    shared = [1]
    twice = [shared, shared, [1]]
    itself = [1]
    itself.append(itself)
    table = {"a": 1}
    table["itself"] = table
    first, second = [], {}
    first.append(second)
    second["first"] = first
    queue = deque([0], 5)
    queue.append(queue)
    default = defaultdict(list)
    default["x"].append(default)
    ordered = OrderedDict()
    ordered["x"] = (ordered, [ordered])
    counter = Counter()
    counter["x"] = [counter]
    inner = []
    ring = (inner, 1)
    inner.append(ring)
    grown = bytearray(b"ab")
    view = {}
    view["values"] = [view.values]
    view["values"] = [1, view]
    return {
        "twice": twice,
        "in a tuple, a dict, a view": (shared, {"k": shared}, {1: shared}.values(), shared),
        "itself": itself,
        "a dict in itself": table,
        "two in each other": first,
        "a deque in itself": queue,
        "a defaultdict in itself": default,
        "an OrderedDict in itself": ordered,
        "a Counter in itself": counter,
        "a tuple in its own list": ring,
        "a bytearray twice": [grown, grown],
        "a set twice": [{1}] * 3,
        "items of a dict in itself": view.items(),
        "empty ones, equal but not the same": [[], [], {}, {}, set(), set()],
    }


@pytest.mark.parametrize("value", make_shapes().values(), ids=make_shapes())
def test_what_is_one_container_stays_one(value):
    assert text_of(cross(value)) == text_of(value)


def test_arguments_may_be_one_list():
    """f(xs, xs): what is done to the first is done to the second."""
    xs = [1]
    crossing = Crossing(refuse, refuse)
    first, second, third = crossing.decode_all(
        over(Crossing(refuse, refuse).encode_all([xs, xs, [1]]))
    )
    assert first is second is not third


def test_a_reply_may_hold_the_containers_of_the_question():
    judge, program = Crossing(refuse, refuse), Crossing(refuse, refuse)
    question = [[1], {"a": [2]}]
    there = program.decode(over(judge.encode(question)))
    # A new list around one of the question's, and the question's own inner list.
    answer = judge.decode(over(program.encode([there[0], there[1]["a"], [1]])))
    assert answer == [[1], [2], [1]]
    assert answer[0] is question[0]
    assert answer[1] is question[1]["a"]
    assert answer[2] is not question[0]


def test_containers_are_numbered_alike_on_both_sides():
    judge, program = Crossing(refuse, refuse), Crossing(refuse, refuse)
    question = (
        deque([[1]], 3),
        defaultdict(list, a=[2]),
        [{3}, bytearray(b"4")],
        OrderedDict(b=[5]),
    )
    program.decode(over(judge.encode(question)))
    assert len(judge.containers) == 9
    assert list(map(text_of, judge.containers.values())) == list(
        map(text_of, program.containers.values())
    )


def test_fill_and_content_are_inverse():
    values = [[1, 2], {1: 2, "a": None}, {1, 2}, bytearray(b"ab"), deque([1, 2], 2), Counter("aab")]
    for value in [*values, OrderedDict(b=1, a=2), defaultdict(int, a=1)]:
        kind = type(value)
        text = text_of(value)
        # What a container held before is gone, and itself is the same.
        parts = content(kind, value)
        fill(value, parts)
        assert text_of(value) == text
        fill(value, [])
        assert len(value) == 0
        fill(value, parts)
        assert text_of(value) == text


# ── What is in no table ──────────────────────────────────────────────────────────────────────────


class Thing:
    """Nothing that another process knows."""


def test_what_is_in_no_table_is_packed_and_unpacked():
    """Each side says itself what crosses for it: wherever it stands, and with parts of any kind."""
    things = [Thing(), Thing, len, lambda: 0, ..., NotImplemented, type(None), re, iter([])]
    things += [(x for x in "a"), re.compile("a"), memoryview(b"a"), types.SimpleNamespace(a=1)]

    def pack(value):
        number = next(k for k, thing in enumerate(things) if thing is value)
        return "thing", [number, ("a", {number: [number]})]

    def unpack(tag, number, more):
        assert tag == "thing"
        assert text_of(more) == text_of(("a", {number: [number]}))
        return things[number]

    # `re` is one of the modules that both sides have.
    things.remove(re)
    for thing in things:
        assert cross(thing, pack, unpack) is thing
        assert cross([1, thing], pack, unpack)[1] is thing
        assert cross((thing,), pack, unpack)[0] is thing
        assert cross({"a": {"b": thing}}, pack, unpack)["a"]["b"] is thing
        assert cross(deque([thing]), pack, unpack)[0] is thing
    assert set(cross({len, Thing}, pack, unpack)) == {len, Thing}
    assert cross({len: 1}, pack, unpack) == {len: 1}
    assert cross(defaultdict(len), pack, unpack).default_factory is len


def test_a_class_named_like_one_of_pythons_is_another():
    for name in ("int", "list", "Decimal", "ValueError", "object"):
        false = type(name, (), {})
        assert cross(false, lambda value: ("mine", []), lambda tag: tag) == "mine"
        # And so is its object.
        assert cross(false(), lambda value: ("mine", []), lambda tag: tag) == "mine"


def test_common_modules_cross_by_their_names():
    for name in COMMON.split():
        module = __import__(name)
        unpacked = cross(module, refuse, lambda tag, name: (tag, name))
        assert unpacked == ("module", name)
    for module in (json, types, sys.modules[__name__]):
        assert cross(module, lambda value: ("own", []), lambda tag: tag) == "own"


def test_a_failing_pack_is_heard():
    with pytest.raises(KeyError):
        cross([1, Thing()])
    with pytest.raises(KeyError):
        cross(Thing(), lambda value: ("nobody", []), refuse)


# ── What encode did not make ─────────────────────────────────────────────────────────────────────

# As a program may forge it. Each raises an Exception, and nothing else happens.
MALFORMED = [
    {},
    {"a": [], "b": []},
    {"list": [], "tuple": []},
    {"nobody": []},
    {"": []},
    {"__class__": []},
    {"type": ["X", {"tuple": []}, {"dict": []}]},
    {"eval": ["1"]},
    {"str": ["1"]},
    {"float": ["1"]},
    {"bool": [1]},
    {"object": []},
    {"Exception": ["x"]},
    {"NoneType": []},
    {"BITS": []},
    {"tuple": None},
    {"tuple": 5},
    {"tuple": True},
    {"list": None},
    {"dict": 0},
    {"set": 1.5},
    {"deque": None},
    {"class": []},
    {"class": None},
    {"class": ["nobody"]},
    {"class": ["Thing"]},
    {"class": ["eval"]},
    {"class": [["int"]]},
    {"class": [{"tuple": ["int"]}]},
    {"class": {"int": 1}},
    {"int": []},
    {"int": None},
    {"int": ["zz"]},
    {"int": [""]},
    {"int": [5]},
    {"int": [None]},
    {"same": []},
    {"same": None},
    {"same": [0]},
    {"same": [-1]},
    {"same": ["0"]},
    {"same": [None]},
    {"same": [0.0]},
    {"same": [[]]},
    {"same": {"0": 0}},
    {"same": [10**30]},
    [{"same": [1]}],
    [{"same": [-1]}],
    [[], {"same": [-2]}],
    {"dict": ["a", {"same": [-1]}]},
    {"set": [[]]},
    {"set": [{"dict": []}]},
    {"set": [{"same": [0]}]},
    {"frozenset": [[1]]},
    {"dict": [[], 1]},
    {"dict": [{"set": []}, 1]},
    {"Counter": [{"bytearray": []}, 1]},
    {"OrderedDict": [{"tuple": [[]]}, 1]},
    {"deque": []},
    {"deque": [-1]},
    {"deque": ["x", 1]},
    {"deque": [1.5]},
    {"deque": [[1], 2]},
    {"deque": [10**30]},
    {"defaultdict": []},
    {"defaultdict": [5]},
    {"defaultdict": ["int", "a", 1]},
    {"defaultdict": [None, [], 1]},
    {"bytearray": [256]},
    {"bytearray": [-1]},
    {"bytearray": ["a"]},
    {"bytearray": [None]},
    {"bytes": []},
    {"bytes": ["0"]},
    {"bytes": ["zz"]},
    {"bytes": [0]},
    {"bytes": ["00", "00"]},
    {"complex": [None]},
    {"complex": ["x"]},
    {"complex": [1, 2, 3]},
    {"complex": [{"int": ["f" * 2000]}, 0]},
    {"range": []},
    {"range": [1, 2, 0]},
    {"range": ["a"]},
    {"range": [1.0]},
    {"range": [1, 2, 3, 4]},
    {"Fraction": [1, 0]},
    {"Fraction": ["x"]},
    {"Fraction": [1.5, 2]},
    {"Decimal": ["x"]},
    {"Decimal": [[]]},
    {"Decimal": [1, 2, 3]},
    {"date": []},
    {"date": ["x"]},
    {"date": [5]},
    {"date": ["2023-02-29"]},
    {"time": ["25:00"]},
    {"time": [None]},
    {"datetime": ["2024-13-01"]},
    {"datetime": [0]},
    {"timedelta": ["x"]},
    {"timedelta": [10**20]},
    {"timedelta": [1, 2, 3, 4, 5, 6, 7, 8]},
    {"dict_keys": [[]]},
    {"dict_items": [1]},
    {"dict_items": [{"tuple": [[], 1]}]},
    {"dict_items": [{"tuple": [1]}]},
    {"module": ["os"]},
    {"namedtuple": []},
    {"namedtuple": ["A"]},
    {"namedtuple": ["A", {"tuple": ["x"]}]},
    {"namedtuple": ["A", {"tuple": ["x"]}, 1, 2]},
    {"namedtuple": ["A", {"tuple": ["x"]}, 1, {"same": [0]}]},
    {"namedtuple": ["A=print()", {"tuple": ["x"]}, 1]},
    {"namedtuple": ["A", {"tuple": [[]]}, 1]},
    {"namedtuple": ["A(print())", {"tuple": ["x"]}, 1]},
    {"namedtuple": [5, {"tuple": ["x"]}, 1]},
    {"namedtuple": [None, None]},
]


@pytest.mark.parametrize("data", MALFORMED, ids=lambda data: json.dumps(data)[:60])
def test_malformed_data_raises_an_exception(data):
    with pytest.raises(Exception):  # noqa: B017 — any Exception will do, but nothing beyond it
        Crossing(refuse, refuse).decode(over(data))
    # Also in the middle of good data.
    with pytest.raises(Exception):  # noqa: B017
        Crossing(refuse, refuse).decode(over({"tuple": [1, {"tuple": ["a", data]}]}))


def test_what_is_nested_too_deep_raises_an_exception():
    """Python's own limit, as a RecursionError: on neither side does the stack overflow."""
    for make in (lambda x: [x], lambda x: (x,), lambda x: {1: x}, lambda x: deque([x])):
        value = 1
        for _ in range(50):
            value = make(value)
        assert text_of(cross(value)) == text_of(value)
        for _ in range(50_000):
            value = make(value)
        with pytest.raises(RecursionError):
            cross(value)
        del value

    for data in ("[" * 50_000 + "]" * 50_000, '{"tuple": [' * 50_000 + "]}" * 50_000):
        with pytest.raises(RecursionError):
            Crossing(refuse, refuse).decode(json.loads(data))
    # Not too deep for JSON, but for what is made of it.
    data = 1
    for _ in range(900):
        data = [data]
    with pytest.raises(RecursionError):
        Crossing(refuse, refuse).decode(data)


# ── Random values ────────────────────────────────────────────────────────────────────────────────

LETTERS = string.ascii_letters + " \0\n\"'\\/é😀\u2028\ud800<>{}[]"
CONSTANTS = [None, True, False, 0, 1, 0.5, -0.0, math.nan, math.inf, "", "same", int, ValueError]


def make_fixed(rng, depth, make):
    """A random value that cannot be changed, whose parts are made by `make`."""
    kinds = "constant int float str bytes complex range fraction decimal date time datetime delta"
    kind = rng.choice(kinds.split() + ["tuple", "frozenset"] * (2 * depth))
    if kind == "constant":
        return rng.choice(CONSTANTS)
    if kind == "int":
        return rng.choice((1, -1)) * rng.getrandbits(
            rng.choice((1, 8, 40, 63, 64, 3999, 4000, 9000))
        )
    if kind == "float":
        return rng.choice((rng.random(), rng.uniform(-1e300, 1e300), float(rng.randrange(9))))
    if kind == "str":
        return "".join(rng.choices(LETTERS, k=rng.randrange(8)))
    if kind == "bytes":
        return rng.randbytes(rng.randrange(6))
    if kind == "complex":
        return complex(rng.choice((rng.random(), -0.0)), rng.randrange(-9, 9))
    if kind == "range":
        return range(rng.randrange(9), rng.randrange(99), rng.choice((-2, 1, 3)))
    if kind == "fraction":
        return Fraction(rng.randrange(-99, 99), rng.randrange(1, 99))
    if kind == "decimal":
        return Decimal(rng.choice(("NaN", "-0", "1E+9", "0.10", str(rng.random()))))
    if kind == "delta":
        return datetime.timedelta(rng.randrange(-99, 99), rng.randrange(9), rng.randrange(10**6))
    if kind == "tuple":
        return tuple(make(rng, depth - 1) for _ in range(rng.randrange(4)))
    if kind == "frozenset":
        return frozenset(make_hashable(rng, depth - 1) for _ in range(rng.randrange(4)))

    # A point in time, or one of its halves.
    zones = [None, datetime.timezone.utc]
    zones.append(datetime.timezone(datetime.timedelta(minutes=rng.randrange(-900, 900))))
    moment = datetime.datetime(
        *(rng.randrange(1, 10**4), rng.randrange(1, 13), rng.randrange(1, 29)),
        *(rng.randrange(24), rng.randrange(60), rng.randrange(60), rng.choice((0, 5, 10**6 - 1))),
        tzinfo=rng.choice(zones),
    )
    return {"date": moment.date(), "time": moment.timetz(), "datetime": moment}[kind]


def make_hashable(rng, depth):
    """A random value that may be a key."""
    return make_fixed(rng, max(0, depth), make_hashable)


class Maker:
    """Makes random values that share containers, and containers that contain themselves."""

    def __init__(self, rng):
        self.rng = rng
        self.containers = []

    def make(self, rng, depth):
        """A value of at most this depth, but for the containers that are there already."""
        if self.containers and rng.random() < 0.1:
            return rng.choice(self.containers)
        if depth <= 0 or rng.random() < 0.3:
            return make_fixed(rng, max(0, depth), self.make)
        if rng.random() < 0.15:
            view = rng.choice(("keys", "values", "items"))
            return getattr(dict(self.make_pairs(depth)), view)()
        return self.make_container(rng.choice(CHANGEABLE), depth)

    def make_container(self, kind, depth):
        """Empty at first, so that it can be in itself."""
        rng = self.rng
        container = kind()
        if kind is deque:
            container = deque((), rng.choice((None, 2, 9)))
        if kind is defaultdict:
            container = defaultdict(rng.choice((None, int, list)))
        self.containers.append(container)
        self.refill(container, depth)
        return container

    def refill(self, container, depth):
        """Other content, by the methods that a program would use."""
        rng = self.rng
        container.clear()
        count = rng.choice((0, 1, 2, 3, 5))
        if isinstance(container, dict):
            container.update({})
            for key, value in self.make_pairs(depth):
                container[key] = value
        elif isinstance(container, set):
            container.update(make_hashable(rng, depth - 1) for _ in range(count))
        elif isinstance(container, bytearray):
            container.extend(rng.randbytes(count))
        # Half of the lists have things of one kind: those go a shorter way.
        elif rng.random() < 0.5:
            kind = rng.choice((int, bool, float, str))
            container.extend(kind(rng.randrange(-1 << 70, 1 << 70)) for _ in range(count))
        else:
            container.extend(self.make(rng, depth - 1) for _ in range(count))

    def make_pairs(self, depth):
        """Keys and values."""
        count = self.rng.choice((0, 1, 2, 4))
        return [
            (make_hashable(self.rng, depth - 1), self.make(self.rng, depth - 1))
            for _ in range(count)
        ]


def test_random_values_cross_unchanged_in_both_directions():
    """As in a question and its reply: arguments there, changed in place, and an answer back."""
    rng = random.Random(0)
    sizes = []
    kinds = set()
    changed = 0
    for _ in range(3000):
        maker = Maker(rng)
        question = [maker.make(rng, rng.randrange(5)) for _ in range(rng.randrange(4))]
        judge, program = Crossing(refuse, refuse), Crossing(refuse, refuse)

        # There.
        there = program.decode_all(over(judge.encode_all(question)))
        text = text_of(question)
        assert text_of(there) == text
        assert list(map(text_of, judge.containers.values())) == list(
            map(text_of, program.containers.values())
        )

        # A new value back, which may hold what was sent.
        answering = Maker(rng)
        answering.containers = list(program.containers.values())
        answer = answering.make(rng, rng.randrange(5))
        back = judge.decode(over(program.encode(answer)))
        # Both sides in one text, so that what is the same container on one is so on the other.
        assert text_of([question, back]) == text_of([there, answer])

        # Then some of the arguments are changed in place.
        for number in range(len(program.containers)):
            if rng.random() < 0.3:
                container = program.containers[number]
                answering.refill(container, 2)
                parts = over(program.encode_all(content(type(container), container)))
                fill(judge.containers[number], judge.decode_all(parts))
                changed += 1
        assert text_of([question, back]) == text_of([there, answer])
        sizes.append(len(text))
        kinds.update(map(type, judge.containers.values()))

    # They were not all trivial.
    assert kinds == set(CHANGEABLE)
    assert sum(size > 200 for size in sizes) > 500
    assert changed > 1000


def test_random_data_is_a_value_or_an_exception():
    """Genuine lines with a few letters or parts changed: nothing beyond an Exception comes up."""
    rng = random.Random(1)
    values = errors = 0
    for _ in range(3000):
        data = over(Crossing(refuse, refuse).encode(Maker(rng).make(rng, 4)))
        line = mutate(rng, json.dumps(data))
        crossing = Crossing(refuse, refuse)
        try:
            value = crossing.decode(json.loads(line))
        except Exception:
            errors += 1
            continue
        values += 1
        # A value of the tables, all of it: it crosses again.
        assert text_of(cross(value)) == text_of(value)
    assert values > 300
    assert errors > 300


TAGS = [kind.__name__ for kind in (*CHANGEABLE, *FIXED)] + ["same", "int", "class", "object"]


def mutate(rng, line):
    """Change some letters, numbers or tags of a line of JSON."""
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(line))
        choice = rng.randrange(4)
        if choice == 0:
            line = line[:at] + rng.choice('[]{},:"019-.ae') + line[at + rng.randrange(2) :]
        elif choice == 1:
            line = re.sub(r'"\w+": \[', lambda found: f'"{rng.choice(TAGS)}": [', line, count=1)
        elif choice == 2:
            parts = line.split(", ")
            rng.shuffle(parts)
            line = ", ".join(parts)
        else:
            line = line[:at] + rng.choice(("null", "[]", '{"same": [0]}', "1", '"a"')) + line[at:]
    return line
