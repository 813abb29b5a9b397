"""What crosses between a judge and a program: plain data and a few standard types, as JSON.

What JSON has crosses as it is, anything else as {tag: parts}. Both sides use the same tables, so a
value means the same on both. What is in no table stays where it is: see `pack` on each side.

A call may change its arguments in place, as `xs.sort()` does. So lists, dictionaries and their like
are numbered as they cross, in the same order on both sides, and a reply names them by their number.
"""

import builtins
import datetime
import functools
import itertools
import json
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from decimal import Decimal
from fractions import Fraction
from types import ModuleType

# Modules that programs often want. The zygote has them imported, and a test gets our own.
COMMON = """
    bisect collections copy datetime decimal fractions functools heapq itertools math operator
    random re statistics string sys typing
"""

# JSON has these, and integers. But it reads decimal digits in quadratic time, so an integer of more
# bits than this crosses in hexadecimal.
ATOMS = {type(None), bool, float, str}
BITS = 4000

# What can be changed in place. Two of them are more than their content.
CONTAINERS = (list, dict, set, bytearray, deque, Counter, OrderedDict, defaultdict)
HEADS = {deque: "maxlen", defaultdict: "default_factory"}

# What cannot be changed: its class → how to take it apart, and how to make it of its parts.
FIXED = {
    tuple: (tuple.__iter__, lambda *parts: parts),
    frozenset: (frozenset.__iter__, lambda *parts: frozenset(parts)),
    bytes: (lambda value: [value.hex()], bytes.fromhex),
    complex: (lambda value: [value.real, value.imag], complex),
    range: (lambda value: [value.start, value.stop, value.step], range),
    Fraction: (lambda value: [value.numerator, value.denominator], Fraction),
    Decimal: (lambda value: [str(value)], Decimal),
    datetime.timedelta: (
        lambda value: [value.days, value.seconds, value.microseconds],
        datetime.timedelta,
    ),
    type({}.keys()): (iter, lambda *parts: dict.fromkeys(parts).keys()),
    type({}.values()): (iter, lambda *parts: dict(enumerate(parts)).values()),
    type({}.items()): (iter, lambda *parts: dict(parts).items()),
}
for kind in (datetime.date, datetime.time, datetime.datetime):
    FIXED[kind] = (lambda value: [value.isoformat()], kind.fromisoformat)

TABLES = {*ATOMS, int, *CONTAINERS, *FIXED}
# Classes themselves cross by their names: Python's own, and those of the tables.
CLASSES = {name: kind for name, kind in vars(builtins).items() if isinstance(kind, type)}
CLASSES |= {kind.__name__: kind for kind in TABLES}


@functools.lru_cache(maxsize=1000)
def in_tables(kind):
    """The class that stands for this one in the tables: itself, or its nearest base, or None."""
    own_methods = False
    for base in kind.__mro__:
        # A list with methods of its own is an object, and no list.
        if base in TABLES:
            return None if own_methods and base in CONTAINERS else base
        own_methods |= any(callable(vars(base)[name]) for name in vars(base) if name[:2] != "__")
    return None


# Not for ever: a program may make any number of them.
make_namedtuple = functools.lru_cache(maxsize=100)(namedtuple)


def content(kind, container):
    """What is in a container of this kind, as a list. Of a dictionary: key, value, key, value, …"""
    if issubclass(kind, dict):
        return list(itertools.chain.from_iterable(kind.items(container)))
    return list(kind.__iter__(container))


def fill(container, parts):
    """Replace what is in a container."""
    container.clear()
    if isinstance(container, dict):
        for key, value in zip(parts[::2], parts[1::2]):
            container[key] = value
    elif isinstance(container, set):
        container.update(parts)
    else:
        container.extend(parts)


def to_line(data):
    """Data → a line of JSON. Not in its \\u escapes, where two half surrogates would become one."""
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def from_line(line):
    """A line of JSON → data."""
    return json.loads(line.decode("utf-8", "surrogatepass"))


class Crossing:
    """One question and its reply: turns values into data for JSON, and data into values.

    pack(value) → (tag, parts) and unpack(tag, *parts) → value are for what is in no table.
    containers: those that have crossed, by their numbers.
    """

    def __init__(self, pack, unpack):
        self.pack = pack
        self.unpack = unpack
        self.containers = {}
        self.numbers = {}

    def encode(self, value):
        """A value → data."""
        kind = in_tables(type(value))
        if kind in ATOMS or (kind is int and int.bit_length(value) < BITS):
            return value
        tag = kind.__name__ if kind else ""
        if kind is int:
            parts = [int.__format__(value, "x")]
        elif id(value) in self.numbers:
            tag, parts = "same", [self.numbers[id(value)]]
        elif kind in CONTAINERS:
            self.number(value)
            head = [self.encode(getattr(value, HEADS[kind]))] if kind in HEADS else []
            parts = head + self.encode_all(content(kind, value))
        elif kind is tuple and hasattr(value, "_fields"):
            tag, parts = (
                "namedtuple",
                self.encode_all([type(value).__name__, value._fields, *value]),
            )
        elif kind in FIXED:
            parts = self.encode_all(FIXED[kind][0](value))
        elif issubclass(type(value), type) and CLASSES.get(value.__name__) is value:
            tag, parts = "class", [value.__name__]
        elif type(value) is ModuleType and value.__name__ in COMMON.split():
            tag, parts = "module", [value.__name__]
        else:
            tag, parts = self.pack(value)
            parts = self.encode_all(parts)
        return parts if kind is list and tag == "list" else {tag: parts}

    def encode_all(self, items):
        """Values → data, in a list."""
        items = list(items)
        # Most lists are numbers or texts alone, and need no look at each of them.
        kinds = set(map(type, items))
        if kinds <= ATOMS or (kinds == {int} and max(max(items), -min(items)) < 1 << BITS):
            return items
        return [self.encode(item) for item in items]

    def decode(self, data):
        """Data → the value. Data that `encode` did not make raises some Exception."""
        if not isinstance(data, (list, dict)):
            return data
        # A list has no tag.
        ((tag, parts),) = data.items() if isinstance(data, dict) else [("list", data)]
        if tag == "same":
            return self.containers[parts[0]]
        if tag == "int":
            return int(parts[0], 16)
        if tag == "class":
            return CLASSES[parts[0]]

        kind = CLASSES.get(tag)
        if kind in CONTAINERS:
            # First the empty container, since it may contain itself.
            head = [self.decode(parts.pop(0))] if kind in HEADS else []
            container = deque((), *head) if kind is deque else kind(*head)
            self.number(container)
            fill(container, self.decode_all(parts))
            return container
        parts = self.decode_all(parts)
        if tag == "namedtuple":
            return make_namedtuple(*parts[:2], rename=True)(*parts[2:])
        return FIXED[kind][1](*parts) if kind in FIXED else self.unpack(tag, *parts)

    def decode_all(self, parts):
        """A list of data → a list of values."""
        if set(map(type, parts)) <= ATOMS | {int}:
            return parts
        return [self.decode(part) for part in parts]

    def number(self, container):
        """Give a container that crosses the next number."""
        number = len(self.containers)
        self.numbers[id(container)] = number
        self.containers[number] = container
