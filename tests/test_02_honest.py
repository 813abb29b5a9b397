"""Stage 02 against honest programs: what is right in plain Python is right, the rest is not.

Each row of a table is a program with its tests. Many have a nearly equal one that is wrong: the
same program with one piece replaced. A test at the end asks plain Python about all of them.
"""

import json
import subprocess
import sys
from textwrap import dedent
from typing import NamedTuple

import pytest
from conftest import problem, stage

ex = stage(2)


class Case(NamedTuple):
    """A right program and its tests, and what makes it a wrong one: (a piece, another)."""

    right: str
    tests: list
    wrong: tuple
    setup: str
    entry_point: str


def case(right, tests, wrong=None, setup="", entry_point="f"):
    """A row of a table. Its sources may be indented like the table."""
    tests = [test if isinstance(test, dict) else dedent(test).strip() for test in tests]
    return Case(dedent(right).strip("\n"), tests, wrong, dedent(setup).strip(), entry_point)


def script(right, outputs, wrong=None):
    """A row of the table of scripts. `outputs` is {input: expected output}."""
    tests = [{"input": given, "output": expected} for given, expected in outputs.items()]
    return case(right, tests, wrong, entry_point="")


def wrong_program(row):
    """The right program with one piece replaced."""
    piece, other = row.wrong
    assert row.right.count(piece) == 1
    return row.right.replace(piece, other)


# ── The program is a module ──────────────────────────────────────────────────────────────────────

MODULES = {
    "dataclass whose annotations are strings": case(
        """
        from dataclasses import dataclass, field
        @dataclass(order=True)
        class Parcel:
            weight: "int"
            name: "str" = field(compare=False)
        def f(pairs):
            return [parcel.name for parcel in sorted(Parcel(*pair) for pair in pairs)]
        """,
        ["assert f([(3, 'c'), (1, 'b'), (2, 'a')]) == ['b', 'a', 'c']"],
        wrong=("in sorted(", "in list("),
    ),
    "dataclass under from __future__ import annotations": case(
        """
        from __future__ import annotations
        from dataclasses import KW_ONLY, dataclass, field
        from typing import ClassVar
        @dataclass
        class Account:
            rate: ClassVar[int] = 2
            _: KW_ONLY
            history: list[int] = field(default_factory=list)
            def pay(self, amount: int) -> Account:
                self.history.append(amount * self.rate)
                return self
        def f(amounts: list[int]) -> int:
            account = Account()
            for amount in amounts:
                account.pay(amount)
            return sum(account.history)
        """,
        ["assert f([1, 2, 4]) == 14", "assert f([]) == 0"],
        wrong=("amount * self.rate", "amount + self.rate"),
    ),
    "pickle": case(
        """
        import pickle
        class Point:
            def __init__(self, x, y):
                self.x = x
                self.y = y
        def f(x, y):
            twin = pickle.loads(pickle.dumps(Point(x, y)))
            return twin.x, twin.y
        """,
        ["assert f(1, 2) == (1, 2)"],
        wrong=("twin.x, twin.y", "twin.y, twin.x"),
    ),
    "typing.get_type_hints": case(
        """
        from typing import Optional, get_type_hints
        class Node:
            value: "int"
            rest: "Optional[Node]"
        def f(name):
            return get_type_hints(Node)[name] == Optional[Node]
        """,
        ["assert f('rest') is True", "assert f('value') is False"],
        wrong=("== Optional", "!= Optional"),
    ),
    "sys.modules[__name__]": case(
        """
        import sys
        def double(x):
            return 2 * x
        def triple(x):
            return 3 * x
        def f(name, x):
            return getattr(sys.modules[__name__], name)(x)
        """,
        ["assert f('double', 5) == 10", "assert f('triple', 5) == 15"],
        wrong=("3 * x", "2 * x"),
    ),
    "namedtuple whose fields the test reads": case(
        """
        from typing import NamedTuple
        class Span(NamedTuple):
            start: int
            end: int = 10
        def f(start):
            return Span(start)
        """,
        ["assert f(3).start == 3", "span = f(4)\nassert span.end - span.start == 6"],
        wrong=("end: int = 10", "end: int = 11"),
    ),
    "Enum inside": case(
        """
        from enum import Enum, IntEnum, auto
        class Suit(Enum):
            CLUBS = auto()
            HEARTS = auto()
        class Rank(IntEnum):
            TWO = 2
            ACE = 14
        def f(suit, rank):
            return Suit[suit].value, Rank[rank]
        """,
        ["assert f('HEARTS', 'ACE') == (2, 14)"],
        wrong=("Suit[suit].value", "Suit[suit].name"),
    ),
    "Enum that the test compares": case(
        """
        from enum import Enum
        class Light(Enum):
            RED = "red"
            GREEN = "green"
        def f(light):
            return Light.GREEN if light is Light.RED else Light.RED
        """,
        [
            "assert f(Light.RED) == Light.GREEN",
            "assert f(Light.GREEN) is Light('red')",
            "assert f(Light.RED) != Light.RED",
            "assert f(Light.RED).value == 'green'",
        ],
        wrong=("light is Light.RED", "light is Light.GREEN"),
    ),
    "functools.lru_cache": case(
        """
        from functools import lru_cache
        @lru_cache(maxsize=None)
        def f(n):
            return n if n < 2 else f(n - 1) + f(n - 2)
        """,
        [
            "assert f(90) == 2880067194370816120",
            "f.cache_clear()\nassert f(10) == 55",
        ],
        wrong=("n < 2", "n < 1"),
    ),
    "doctest at the end": case(
        '''
        def f(x):
            """
            >>> f(2)
            4
            """
            return x * x
        import doctest
        doctest.testmod()
        ''',
        ["assert f(3) == 9"],
        wrong=("x * x", "x + x"),
    ),
    "unittest.main() at the end": case(
        """
        import unittest
        def f(x):
            return x * x
        class TestF(unittest.TestCase):
            def test_f(self):
                self.assertEqual(f(2), 4)
        unittest.main()
        """,
        ["assert f(3) == 9"],
        wrong=("x * x", "x + x"),
    ),
    "input() and sys.exit() behind the main guard": case(
        """
        import sys
        def f(x):
            return x + 1
        if __name__ == "__main__":
            print(f(int(input("a number: "))))
            sys.exit(3)
        """,
        ["assert f(3) == 4"],
        wrong=("x + 1", "x - 1"),
    ),
    "sys.argv with a default": case(
        """
        import sys
        STEP = int(sys.argv[1]) if len(sys.argv) > 1 else 2
        def f(x):
            return x + STEP
        """,
        ["assert f(3) == 5"],
        wrong=("else 2", "else 3"),
    ),
    "argparse at load": case(
        """
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("numbers", nargs="*", type=int)
        parser.add_argument("--step", type=int, default=2)
        args = parser.parse_args()
        def f(x):
            return x + args.step
        """,
        ["assert f(3) == 5"],
    ),
    "exit() after the definitions": case(
        """
        def f(x):
            return x + 1
        print(f(3))
        exit()
        """,
        ["assert f(3) == 4"],
        wrong=("x + 1", "x - 1"),
    ),
    "raise SystemExit(main())": case(
        """
        def f(x):
            return x + 1
        def main():
            return 0 if f(1) == 2 else 1
        raise SystemExit(main())
        """,
        ["assert f(3) == 4"],
    ),
    "a global that counts": case(
        """
        count = 0
        def f():
            global count
            count += 1
            return count
        """,
        ["assert [f(), f(), f()] == [1, 2, 3]", "assert f() == 4"],
        wrong=("count += 1", "count = 1"),
    ),
    "abstract and generic classes, a protocol": case(
        """
        from abc import ABC, abstractmethod
        from typing import Generic, Protocol, TypeVar
        T = TypeVar("T")
        class Sized(Protocol):
            def area(self) -> float: ...
        class Shape(ABC):
            @abstractmethod
            def area(self): ...
        class Square(Shape):
            def __init__(self, side):
                self.side = side
            def area(self):
                return self.side**2
        class Box(Generic[T]):
            def __init__(self, item: T):
                self.item = item
        def f(side):
            box: Box[Sized] = Box(Square(side))
            return box.item.area()
        """,
        ["assert f(3) == 9"],
        wrong=("self.side**2", "self.side * 2"),
    ),
    "singledispatch by annotation": case(
        """
        from __future__ import annotations
        from functools import singledispatch
        @singledispatch
        def f(value):
            return "other"
        @f.register
        def _(value: int):
            return "int"
        @f.register
        def _(value: list):
            return "list of " + ", ".join(map(f, value))
        """,
        ["assert f([1, 'a']) == 'list of int, other'"],
        wrong=('"other"', '"another"'),
    ),
    "deep recursion": case(
        """
        import sys
        sys.setrecursionlimit(10**6)
        def f(n):
            return 0 if n == 0 else 1 + f(n - 1)
        """,
        ["assert f(9000) == 9000"],
        wrong=("1 + f", "2 + f"),
    ),
    "a pool of threads": case(
        """
        from concurrent.futures import ThreadPoolExecutor
        def square(x):
            return x * x
        def f(xs):
            with ThreadPoolExecutor(4) as pool:
                return list(pool.map(square, xs))
        """,
        ["assert f([1, 2, 3]) == [1, 4, 9]"],
        wrong=("x * x", "x + x"),
    ),
    "asyncio": case(
        """
        import asyncio
        async def work(x):
            await asyncio.sleep(0)
            return x * x
        async def work_all(xs):
            return await asyncio.gather(*map(work, xs))
        def f(xs):
            return asyncio.run(work_all(xs))
        """,
        ["assert f([1, 2, 3]) == [1, 4, 9]"],
        wrong=("x * x", "x + x"),
    ),
    "shebang, coding line, letters of other languages": case(
        """
        #!/usr/bin/env python3
        # -*- coding: utf-8 -*-
        größe = 2
        def f(α):
            # Заглавные буквы
            return f"{α * größe} Äpfel"
        """,
        ["assert f(3) == '6 Äpfel'"],
        wrong=("Äpfel", "äpfel"),
    ),
    "tabs and Windows line ends": case(
        "def f(x):\r\n\tif x:\r\n\t\treturn 'yes'\r\n\treturn 'no'\r\n",
        ["assert f(1) == 'yes'", "assert f(0) == 'no'"],
        wrong=("'no'", "'yes'"),
    ),
    "prints, logs and warns": case(
        """
        import logging
        import sys
        import warnings
        logging.basicConfig(level=logging.DEBUG)
        print("loading")
        def f(x):
            print("called with", x)
            print("called with", x, file=sys.stderr)
            logging.getLogger(__name__).info("x = %s", x)
            warnings.warn("do not worry")
            return x + 1
        """,
        ["assert f(3) == 4"],
        wrong=("x + 1", "x - 1"),
    ),
    "much of the standard library, imported in the call": case(
        """
        def f(text):
            import base64, calendar, csv, hashlib, io, json, struct, textwrap, uuid, zlib
            packed = zlib.compress(json.dumps({"text": text}).encode())
            rows = list(csv.reader(io.StringIO("a,b\\n1,2")))
            return [
                base64.b64decode(base64.b64encode(zlib.decompress(packed))).decode(),
                hashlib.md5(text.encode()).hexdigest()[:6],
                calendar.isleap(2024),
                struct.unpack("<H", b"\\x01\\x02")[0],
                textwrap.shorten("a b c d", 3, placeholder=""),
                uuid.UUID(int=1).int,
                rows[1],
            ]
        """,
        ["assert f('x') == ['{\"text\": \"x\"}', '9dd4e4', True, 513, 'a b', 1, ['1', '2']]"],
        wrong=("rows[1]", "rows[0]"),
    ),
    "does without a package that is missing": case(
        """
        try:
            import package_that_nobody_has as fast
        except ImportError:
            fast = None
        def f(xs):
            return fast.total(xs) if fast else sum(xs)
        """,
        ["assert f([1, 2]) == 3"],
    ),
    "defined by exec": case(
        """
        for name, sign in {"f": "+", "g": "-"}.items():
            exec(f"def {name}(x): return x {sign} 1")
        del name
        globals()["h"] = lambda x: g(f(x))
        __all__ = ["f", "h"]
        """,
        ["assert f(3) == 4", "assert h(3) == 3"],
        wrong=('"f": "+"', '"f": "*"'),
    ),
    "a program's globals are named like built-ins": case(
        """
        max = 3
        list = [1, 2, max]
        def sorted(xs):
            return xs
        def f():
            return sorted(list[::-1])
        """,
        ["assert sorted(f()) == [1, 2, 3]", "assert max(f()) == 3 and list(f()) == [3, 2, 1]"],
        wrong=("max = 3", "max = 4"),
    ),
    "a source of 1 MB": case(
        f"TABLE = {[k * k % 1009 for k in range(200_000)]}\ndef f(k): return TABLE[k]",
        ["assert f(199_999) == 199_999 ** 2 % 1009"],
    ),
}


# ── Values that cross ────────────────────────────────────────────────────────────────────────────

VALUES = {
    "Fraction": case(
        """
        from fractions import Fraction
        def f(xs):
            return sum(xs, Fraction(0)) / len(xs)
        """,
        ["assert f([Fraction(1, 2), Fraction(1, 3)]) == Fraction(5, 12)", "assert f([1]) == 1"],
        wrong=("/ len(xs)", "* len(xs)"),
        setup="from fractions import Fraction",
    ),
    "Decimal": case(
        """
        from decimal import ROUND_HALF_UP, Decimal
        def f(price):
            return price.quantize(Decimal("0.01"), ROUND_HALF_UP)
        """,
        [
            "assert f(Decimal('2.675')) == Decimal('2.68')",
            "assert str(f(Decimal('1.5'))) == '1.50'",
            "assert f(Decimal('-1e20')) == Decimal('-100000000000000000000.00')",
        ],
        wrong=("ROUND_HALF_UP)", "'ROUND_DOWN')"),
        setup="from decimal import Decimal",
    ),
    "deque with a longest length": case(
        """
        from collections import deque
        def f(xs, n):
            return deque(xs, n)
        """,
        [
            """
            last = f([1, 2, 3], 2)
            assert last == deque([2, 3]) and last.maxlen == 2
            last.append(4)
            assert list(last) == [3, 4]
            """,
            "assert f([], None).maxlen is None",
        ],
        wrong=("deque(xs, n)", "deque(xs[-2:])"),
        setup="from collections import deque",
    ),
    "deque that is rotated in place": case(
        "def f(queue, by): queue.rotate(by)",
        ["queue = deque([1, 2, 3], 5)\nf(queue, 1)\nassert queue == deque([3, 1, 2])"],
        wrong=("rotate(by)", "rotate(-by)"),
        setup="from collections import deque",
    ),
    "Counter": case(
        """
        from collections import Counter
        def f(text):
            return Counter(text)
        """,
        [
            "assert f('abca') == Counter(a=2, b=1, c=1)",
            "assert f('abca').most_common(1) == [('a', 2)]",
            "assert f('abca')['z'] == 0",
            "assert f('aab') - f('ab') == Counter('a')",
        ],
        wrong=("Counter(text)", "Counter(text[1:])"),
        setup="from collections import Counter",
    ),
    "OrderedDict": case(
        """
        from collections import OrderedDict
        def f(pairs):
            return OrderedDict(sorted(pairs))
        """,
        [
            "assert f([('b', 1), ('a', 2)]) == OrderedDict([('a', 2), ('b', 1)])",
            "assert f([('b', 1), ('a', 2)]).popitem(last=False) == ('a', 2)",
        ],
        wrong=("sorted(pairs)", "pairs"),
        setup="from collections import OrderedDict",
    ),
    "defaultdict": case(
        """
        from collections import defaultdict
        def f(words):
            found = defaultdict(list)
            for word in words:
                found[word[0]].append(word)
            return found
        """,
        [
            "assert f(['ab', 'b', 'ac']) == {'a': ['ab', 'ac'], 'b': ['b']}",
            "assert f([])['x'] == []",
        ],
        wrong=("word[0]", "word[-1]"),
    ),
    "defaultdict whose default is the program's own": case(
        """
        from collections import defaultdict
        def f(scores):
            return defaultdict(lambda: -1, scores)
        """,
        ["assert f({'a': 3})['a'] == 3", "assert f({'a': 3})['b'] == -1"],
        wrong=("-1", "1"),
    ),
    "dates": case(
        """
        from datetime import date, timedelta
        def f(day, weeks):
            return day + timedelta(weeks=weeks)
        """,
        [
            "assert f(datetime.date(2024, 2, 22), 1) == datetime.date(2024, 2, 29)",
            "assert f(datetime.date(2024, 2, 22), 1).weekday() == 3",
        ],
        wrong=("weeks=weeks", "days=weeks"),
        setup="import datetime",
    ),
    "times": case(
        """
        from datetime import datetime, time, timedelta, timezone
        def f(start, end):
            return end - start, end.time(), end.astimezone(timezone.utc)
        """,
        [
            """
            zone = timezone(timedelta(hours=2))
            start = datetime(2024, 1, 1, 12, 30, 0, 5, zone)
            gone, clock, moment = f(start, start + timedelta(days=2, microseconds=7))
            assert gone == timedelta(days=2, microseconds=7)
            assert clock == time(12, 30, 0, 12)
            assert moment == datetime(2024, 1, 3, 10, 30, 0, 12, timezone.utc)
            """,
        ],
        wrong=("end - start", "start - end"),
        setup="from datetime import datetime, time, timedelta, timezone",
    ),
    "views of a dictionary": case(
        """
        def f(data):
            return data.keys(), data.values(), data.items()
        """,
        [
            """
            keys, values, items = f({"a": 1, "b": 2})
            assert keys == {"a", "b"} and "a" in keys and len(keys) == 2
            assert list(values) == [1, 2]
            assert items == {("a", 1), ("b", 2)}
            assert keys & {"b", "c"} == {"b"}
            """,
        ],
        wrong=("data.keys()", "data.values()"),
    ),
    "view of a dictionary as an argument": case(
        "def f(pairs): return sorted(pairs, key=lambda pair: pair[1])",
        ["assert f({'a': 2, 'b': 1}.items()) == [('b', 1), ('a', 2)]"],
        wrong=("pair[1]", "pair[0]"),
    ),
    "bytes": case(
        "def f(data): return bytes(255 - byte for byte in data)",
        ["assert f(b'\\x00\\xff\\x10') == b'\\xff\\x00\\xef'", "assert f(b'') == b''"],
        wrong=("255 - byte", "254 - byte & 255"),
    ),
    "bytearray that is changed in place": case(
        """
        def f(data):
            data.reverse()
            data += b"!"
        """,
        ["data = bytearray(b'abc')\nf(data)\nassert data == bytearray(b'cba!')"],
        wrong=("data.reverse()", "data[::-1]"),
    ),
    "complex": case(
        "def f(z): return [z.conjugate(), abs(z), z * 1j]",
        ["assert f(3 + 4j) == [3 - 4j, 5.0, -4 + 3j]"],
        wrong=("z * 1j", "z * -1j"),
    ),
    "range": case(
        "def f(n): return range(n, 0, -2)",
        ["assert f(7) == range(7, 0, -2)", "assert list(f(5)) == [5, 3, 1] and 3 in f(5)"],
        wrong=("n, 0, -2", "n, 0, -1"),
    ),
    "frozenset": case(
        "def f(words): return {frozenset(word) for word in words}",
        ["assert f(['ab', 'ba', 'c']) == {frozenset('ab'), frozenset('c')}"],
        wrong=("frozenset(word)", "frozenset(word[:1])"),
    ),
    "integers that JSON readers round": case(
        "def f(x): return x + 1",
        [
            "assert f(12345678901234567890) == 12345678901234567891",
            "assert f(2 ** 64 - 1) == 18446744073709551616",
            "assert f(-(10 ** 30)) == -999999999999999999999999999999",
        ],
        wrong=("x + 1", "x + 2"),
    ),
    "integers of many digits": case(
        "def f(n): return 3**n",
        ["assert f(100_000) == 3 ** 100_000", "assert f(10_000) == 3 ** 10_000 and f(0) == 1"],
        wrong=("3**n", "3**n - n"),
    ),
    "floats to the last bit": case(
        "def f(x, y): return x + y",
        [
            "assert f(0.1, 0.2) == 0.30000000000000004",
            "assert f(1e308, 1e308) == float('inf')",
            "assert str(f(-0.0, -0.0)) == '-0.0'",
            "assert f(5e-324, 0.0) == 5e-324",
        ],
        wrong=("x + y", "round(x + y, 16)"),
    ),
    "nan and infinity": case(
        """
        import math
        def f(xs):
            return [x for x in xs if not math.isnan(x)], max(xs, default=math.nan)
        """,
        [
            """
            nan, infinity = float("nan"), float("inf")
            assert f([1.0, nan, -infinity])[0] == [1.0, -infinity]
            assert f([])[1] != f([])[1]
            """
        ],
        wrong=("default=math.nan", "default=0.0"),
    ),
    "True is not 1, None is not False": case(
        "def f(x): return [x > 1, x or None, not x]",
        ["assert [type(y) for y in f(0)] == [bool, type(None), bool]", "assert f(0)[2] is True"],
        wrong=("x > 1", "int(x > 1)"),
    ),
    "a tuple is not a list": case(
        "def f(x): return (x, [x])",
        ["assert f(1) == (1, [1])"],
        wrong=("(x, [x])", "[x, [x]]"),
    ),
    "keys of any kind": case(
        "def f(d): return {key: value + 1 for key, value in d.items()}",
        ["assert f({1: 1, '1': 2, (1, 'a'): 3, None: 4, 2.5: 5})[1, 'a'] == 4"],
        wrong=("value + 1", "value + 2"),
    ),
    "the order of a dictionary": case(
        "def f(d): return {key: d[key] for key in sorted(d, key=d.get)}",
        ["assert list(f({'x': 3, 'b': 1, 'a': 2}).items()) == [('b', 1), ('a', 2), ('x', 3)]"],
        wrong=("key=d.get", "key=str"),
    ),
    "texts of all letters": case(
        "def f(text): return text[::-1]",
        ["assert f('a\\0\\n\\x1b\\u2028é😀') == '😀é\\u2028\\x1b\\n\\0a'", "assert f('') == ''"],
        wrong=("[::-1]", "[::-1].replace('é', 'e')"),
    ),
    "subclasses of plain classes": case(
        """
        class Celsius(float):
            pass
        class Name(str):
            pass
        def f(x):
            return {Name("value"): Celsius(x)}
        """,
        ["assert f(2) == {'value': 2.0}"],
        wrong=("Celsius(x)", "Celsius(x + 1)"),
    ),
    "classes as arguments and as results": case(
        "def f(kind, xs): return [kind(x) for x in xs], type(xs)",
        ["assert f(int, ['1', '2']) == ([1, 2], list)", "assert f(str, (1,)) == (['1'], tuple)"],
        wrong=("type(xs)", "kind"),
    ),
    "a million numbers as an argument": case(
        "def f(xs): return len(xs), sum(xs)",
        ["assert f(list(range(10 ** 6))) == (10 ** 6, 499_999_500_000)"],
    ),
    "a million numbers as a result": case(
        "def f(n): return list(range(n))",
        ["assert f(10 ** 6) == list(range(10 ** 6))"],
        wrong=("list(range(n))", "list(range(n - 1)) + [n]"),
    ),
    "a text of 5 MB, there and back": case(
        "def f(text): return text.upper()",
        ["assert f('ab' * 2_500_000) == 'AB' * 2_500_000"],
        wrong=("text.upper()", "text.upper()[:-1]"),
    ),
    "nested 150 deep": case(
        """
        def f(x):
            return 1 + f(x[0]) if x else 0
        """,
        ["x = []\nfor _ in range(150):\n    x = [x]\nassert f(x) == 150"],
        wrong=("1 + f", "2 + f"),
    ),
}


# ── Arguments that are changed, shared or given back ─────────────────────────────────────────────

ARGUMENTS = {
    "rows that are one list": case(
        """
        def f(grid):
            grid[0][0] = 1
        """,
        ["grid = [[0] * 3] * 3\nf(grid)\nassert grid == [[1, 0, 0]] * 3"],
        wrong=("grid[0][0] = 1", "grid[0] = [1, 0, 0]"),
    ),
    "rows that are one list, by keyword": case(
        """
        def f(*, grid, value):
            grid[1][2] = value
        """,
        ["grid = [[0] * 3] * 2\nf(grid=grid, value=7)\nassert grid == [[0, 0, 7], [0, 0, 7]]"],
        wrong=("grid[1][2] = value", "grid[1] = [0, 0, value]"),
    ),
    "a result whose rows are one list": case(
        "def f(n): return [[0] * n] * n",
        ["grid = f(2)\ngrid[0][0] = 1\nassert grid == [[1, 0], [1, 0]]"],
        wrong=("[[0] * n] * n", "[[0] * n for _ in range(n)]"),
    ),
    "a row that the test holds, too": case(
        """
        def f(grid):
            for row in grid:
                row.append(len(row))
        """,
        ["row = []\ngrid = [row, [5], row]\nf(grid)\nassert row == [0, 1] and grid[1] == [5, 1]"],
        wrong=("row.append(len(row))", "row += [0]"),
    ),
    "an argument that is given back": case(
        """
        def f(xs):
            xs.sort()
            return xs
        """,
        ["xs = [2, 1]\nys = f(xs)\nassert ys is xs\nys.append(3)\nassert xs == [1, 2, 3]"],
        wrong=("return xs", "return xs[:]"),
    ),
    "an argument inside the result": case(
        "def f(a, b): return {'first': a, 'all': [a, b]}",
        ["a, b = [1], [2]\nresult = f(a, b)\nassert result['first'] is a is result['all'][0]"],
        wrong=("'first': a", "'first': a + []"),
    ),
    "one argument twice": case(
        "def f(a, b): return a is b",
        ["x = []\nassert f(x, x) is True", "assert f([], []) is False"],
        wrong=("a is b", "a == b"),
    ),
    "a tuple of lists": case(
        """
        def f(stacks):
            stacks[1].append(stacks[0].pop())
        """,
        ["stacks = ([1, 2], [], {})\nf(stacks)\nassert stacks == ([1], [2], {})"],
        wrong=("append", "extend((0,)) or"),
    ),
    "lists in a dictionary in a list": case(
        """
        def f(rows):
            for row in rows:
                row["tags"].sort(reverse=True)
                row["count"] = len(row["tags"])
        """,
        ["rows = [{'tags': [1, 3]}]\nf(rows)\nassert rows == [{'tags': [3, 1], 'count': 2}]"],
        wrong=("sort(reverse=True)", "sort()"),
    ),
    "a set that is emptied": case(
        """
        def f(seen, kept):
            while seen:
                kept[seen.pop()] = True
        """,
        ["seen, kept = {3, 1}, {}\nf(seen, kept)\nassert seen == set() and kept == {1: 1, 3: 1}"],
        wrong=("while seen", "if seen"),
    ),
    "a matrix that is turned in place": case(
        """
        def f(matrix):
            matrix[:] = [list(row) for row in zip(*matrix[::-1])]
        """,
        ["m = [[1, 2], [3, 4]]\nassert f(m) is None\nassert m == [[3, 1], [4, 2]]"],
        wrong=("matrix[:] =", "matrix ="),
    ),
    "a list that puts in an order of its own": case(
        """
        def f(xs):
            xs[0], xs[1] = xs[1], xs[0]
        """,
        ["a, b = [1], [1]\nxs = [a, b]\nf(xs)\nassert xs[0] is b and xs[1] is a"],
        wrong=("= xs[1], xs[0]", "= xs[0], xs[1]"),
    ),
    "a list in itself": case(
        """
        def f(xs):
            xs.append(xs)
            return len(xs)
        """,
        ["xs = [1]\nxs.append(xs)\nassert f(xs) == 3 and xs[2] is xs"],
        wrong=("xs.append(xs)", "xs.append(1)"),
    ),
    "changed before it raises": case(
        """
        def f(xs):
            xs.clear()
            raise ValueError("empty")
        """,
        ["xs = [1]\ntry:\n    f(xs)\nexcept ValueError:\n    xs.append(2)\nassert xs == [2]"],
        wrong=("xs.clear()", "xs.sort()"),
    ),
    "a default that remembers": case(
        """
        def f(x, seen=[]):
            seen.append(x)
            return seen
        """,
        ["f(1)\nassert f(2) == [1, 2]"],
        wrong=("seen.append(x)", "seen = [x]"),
    ),
    "arguments of every kind of parameter": case(
        """
        def f(a, /, b, *rest, key=0, **more):
            return [a, b, rest, key, more]
        """,
        ["assert f(1, 2, 3, 4, key=5, self=6, name=7) == [1, 2, (3, 4), 5, dict(self=6, name=7)]"],
        wrong=("key=0", "key=1, self=2"),
    ),
}


# ── Iterators ────────────────────────────────────────────────────────────────────────────────────

ITERATORS = {
    "a generator": case(
        """
        def f(n):
            for k in range(n):
                yield k * k
        """,
        ["assert list(f(4)) == [0, 1, 4, 9]", "assert sum(f(4)) == 14", "assert list(f(0)) == []"],
        wrong=("k * k", "k + k"),
    ),
    "a generator without end": case(
        """
        def f():
            a, b = 0, 1
            while True:
                yield a
                a, b = b, a + b
        """,
        [
            "assert list(islice(f(), 8)) == [0, 1, 1, 2, 3, 5, 8, 13]",
            "numbers = f()\nassert [next(numbers) for _ in range(3)] == [0, 1, 1]",
            "assert next(x for x in f() if x > 100) == 144",
        ],
        wrong=("a, b = 0, 1", "a, b = 1, 1"),
        setup="from itertools import islice",
    ),
    "a long generator": case(
        """
        def f(n):
            for k in range(n):
                yield k
        """,
        ["assert list(f(30_000)) == list(range(30_000))"],
    ),
    "a generator that would hang after what the test takes": case(
        """
        def f():
            yield 1
            yield 2
            while True:
                pass
        """,
        ["a = f()\nassert (next(a), next(a)) == (1, 2)", "assert list(islice(f(), 2)) == [1, 2]"],
        wrong=("yield 2", "yield 3"),
        setup="from itertools import islice",
    ),
    "a generator does nothing before it is asked": case(
        """
        done = []
        def f():
            done.append("begun")
            yield 1
        """,
        ["g = f()\nassert done == []\nassert next(g) == 1\nassert done == ['begun']"],
        wrong=("done = []", "done = ['begun']"),
    ),
    "a generator that is sent values": case(
        """
        def f():
            total = 0
            while True:
                total += yield total
        """,
        ["g = f()\nnext(g)\ng.send(3)\nassert g.send(4) == 7\ng.close()\nassert list(g) == []"],
        wrong=("total +=", "total ="),
    ),
    "what a generator returns": case(
        """
        def f():
            yield 1
            return 2
        """,
        [
            """
            g = f()
            next(g)
            try:
                next(g)
            except StopIteration as end:
                assert end.value == 2
            else:
                assert False
            """
        ],
        wrong=("return 2", "return 3"),
    ),
    "a generator that raises": case(
        """
        def f(xs):
            for x in xs:
                if x < 0:
                    raise ValueError("negative")
                yield x
        """,
        [
            """
            found = []
            try:
                for x in f([1, 2, -1, 3]):
                    found.append(x)
            except ValueError as error:
                found.append(str(error))
            assert found == [1, 2, "negative"]
            """
        ],
        wrong=("x < 0", "x < 2"),
    ),
    "a long generator that raises": case(
        """
        def f(n):
            yield from range(n)
            raise ValueError("no more")
        """,
        [
            """
            found = []
            try:
                for x in f(1501):
                    found.append(x)
            except ValueError:
                found.append("end")
            assert found == [*range(1501), "end"]
            """
        ],
    ),
    "zip, map, filter, enumerate, reversed": case(
        """
        def f(xs):
            return [
                zip(xs, xs[1:]),
                map(str, xs),
                filter(None, xs),
                enumerate(xs),
                reversed(xs),
            ]
        """,
        [
            """
            pairs, texts, truths, numbered, backwards = f([0, 1, 2])
            assert list(pairs) == [(0, 1), (1, 2)] and list(texts) == ["0", "1", "2"]
            assert list(truths) == [1, 2] and dict(numbered) == {0: 0, 1: 1, 2: 2}
            assert list(backwards) == [2, 1, 0]
            """
        ],
        wrong=("zip(xs, xs[1:])", "zip(xs, xs[2:])"),
    ),
    "an iterator is empty after its end": case(
        "def f(xs): return iter(xs)",
        ["it = f([1, 2])\nassert list(it) == [1, 2] and list(it) == []\nassert next(it, 7) == 7"],
        wrong=("iter(xs)", "xs"),
    ),
    "an iterator class of its own": case(
        """
        class Countdown:
            def __init__(self, n):
                self.n = n
            def __iter__(self):
                return self
            def __next__(self):
                if self.n == 0:
                    raise StopIteration
                self.n -= 1
                return self.n
        """,
        ["assert list(Countdown(3)) == [2, 1, 0]", "c = Countdown(3)\nnext(c)\nassert c.n == 2"],
        wrong=("self.n == 0", "self.n == 1"),
        entry_point="Countdown",
    ),
    "iterators as arguments": case(
        "def f(it): return [next(it), *it]",
        [
            "assert f(iter([1, 2, 3])) == [1, 2, 3]",
            "assert f(x * x for x in range(3)) == [0, 1, 4]",
            "assert f(map(str, (1, 2))) == ['1', '2']",
            "assert f(reversed('ab')) == ['b', 'a']",
        ],
        wrong=("[next(it), *it]", "list(it)[1:]"),
    ),
    "an iterator that is passed back": case(
        """
        def f(n):
            return iter(range(n))
        def skip(it, n):
            for _ in range(n):
                next(it)
            return it
        """,
        ["it = f(5)\nassert skip(it, 3) is it\nassert list(it) == [3, 4]"],
        wrong=("range(n):\n        next(it)", "range(n - 1):\n        next(it)"),
    ),
    "two iterators by turns": case(
        """
        from itertools import count, tee
        def f():
            return tee(count(1))
        """,
        ["a, b = f()\nassert [next(a), next(a), next(b), next(a), next(b)] == [1, 2, 1, 3, 2]"],
        wrong=("tee(count(1))", "(count(1),) * 2"),
    ),
    "lines of a generator of generators": case(
        """
        def f(n):
            for k in range(n):
                yield (k * j for j in range(k))
        """,
        ["assert [list(row) for row in f(4)] == [[], [0], [0, 2], [0, 3, 6]]"],
        wrong=("range(k)", "range(k + 1)"),
    ),
}


# ── Exceptions ───────────────────────────────────────────────────────────────────────────────────


def expects(exception, call="f(-1)", then="pass"):
    """A test that a call raises this exception."""
    return f"""try:
    {call}
except {exception} as error:
    {then}
else:
    assert False"""


EXCEPTIONS = {
    "ValueError": case(
        """
        def f(x):
            if x < 0:
                raise ValueError("negative", x)
            return x
        """,
        [expects("ValueError", then="assert error.args == ('negative', -1)"), "assert f(2) == 2"],
        wrong=("ValueError", "KeyError"),
    ),
    "a subclass of ValueError": case(
        """
        class NegativeError(ValueError):
            pass
        def f(x):
            raise NegativeError("negative")
        """,
        [expects("ValueError", then="assert str(error) == 'negative'")],
        wrong=("(ValueError)", "(Exception)"),
    ),
    "a subclass of a subclass of KeyError, with arguments of its own": case(
        """
        class Missing(KeyError):
            def __init__(self, table, key):
                super().__init__(f"{key} in {table}")
                self.key = key
        class MissingRow(Missing):
            pass
        def f(x):
            raise MissingRow("rows", x)
        """,
        [expects("KeyError", then="assert error.args == ('-1 in rows',)"), expects("LookupError")],
        wrong=("Missing(KeyError)", "Missing(ValueError)"),
    ),
    "a class of two bases": case(
        """
        class Mixin:
            pass
        class BadIndex(Mixin, IndexError, ValueError):
            pass
        def f(x):
            raise BadIndex(x)
        """,
        [expects("IndexError")],
        wrong=("IndexError, ValueError", "TypeError, ValueError"),
    ),
    "a text that shows its quotes": case(
        "def f(x): return {'a': 1}[x]",
        [expects("KeyError", "f('b')", "assert str(error) == \"'b'\" and error.args == ('b',)")],
        wrong=("[x]", ".get(x)"),
    ),
    "UnicodeDecodeError": case(
        "def f(data): return data.decode('utf-8')",
        [
            expects("UnicodeDecodeError", "f(b'ab\\xff')"),
            expects("ValueError", "f(b'ab\\xff')"),
            "assert f(b'ab') == 'ab'",
        ],
        wrong=("'utf-8'", "'latin-1'"),
    ),
    "what a UnicodeDecodeError tells": case(
        "def f(data): return data.decode('utf-8')",
        [
            expects("UnicodeDecodeError", "f(b'ab\\xff')", "assert error.start == 2"),
            expects("UnicodeDecodeError", "f(b'ab\\xff')", "assert 'byte 0xff' in str(error)"),
        ],
        wrong=("data.decode", "data[1:].decode"),
    ),
    "StopIteration": case(
        "def f(xs): return next(iter(xs))",
        [expects("StopIteration", "f([])"), "assert f([3]) == 3"],
        wrong=("iter(xs)", "iter(xs), None"),
    ),
    "an exception with a broken __str__": case(
        """
        class Broken(ValueError):
            def __str__(self):
                return self.nothing
        def f(x):
            raise Broken(x)
        """,
        [expects("ValueError"), expects("ValueError", "f(3)", "assert error.args == (3,)")],
        wrong=("(ValueError)", "(KeyError)"),
    ),
    "OSError with a number": case(
        """
        import errno
        def f(x):
            raise FileNotFoundError(errno.ENOENT, "no such thing")
        """,
        [expects("OSError", then="assert error.errno == 2"), expects("FileNotFoundError")],
        wrong=("errno.ENOENT", "errno.EACCES"),
    ),
    "AssertionError": case(
        """
        def f(x):
            assert x > 0, "must be positive"
            return x
        """,
        [expects("AssertionError", then="assert 'positive' in str(error)"), "assert f(1) == 1"],
        wrong=('"must be positive"', '"wrong"'),
    ),
    "what Python raises itself": case(
        "def f(x): return [1, 2][10 // x]",
        [
            expects("ZeroDivisionError", "f(0)"),
            expects("IndexError", "f(1)"),
            expects("TypeError", "f(None)"),
            expects("TypeError", "f()"),
            expects("(KeyError, ArithmeticError)", "f(0)"),
            "assert f(10) == 2",
        ],
        wrong=("10 // x", "x and 10 // x"),
    ),
    "RecursionError": case(
        "def f(x): return f(x + 1)",
        [expects("RecursionError")],
        wrong=("f(x + 1)", "x if x else f(x + 1)"),
    ),
    "NotImplementedError of an abstract method": case(
        """
        class Shape:
            def area(self):
                raise NotImplementedError
        """,
        [expects("NotImplementedError", "Shape().area()"), expects("AttributeError", "Shape().x")],
        wrong=("raise NotImplementedError", "return NotImplemented"),
        entry_point="Shape",
    ),
    "unittest's assertRaises": case(
        """
        def f(x):
            if x < 0:
                raise KeyError("negative")
            return x
        """,
        [
            """
            import unittest
            case = unittest.TestCase()
            case.assertRaises(KeyError, f, -1)
            with case.assertRaises(LookupError):
                f(-2)
            case.assertEqual(f(2), 2)
            """
        ],
        wrong=("KeyError", "ValueError"),
    ),
}


# ── Objects that stay in the program ─────────────────────────────────────────────────────────────

LINKED_LIST = """
class Node:
    def __init__(self, value, rest=None):
        self.value = value
        self.rest = rest
"""
BUILD_LIST = """
def build(values):
    head = None
    for value in reversed(values):
        head = Node(value, head)
    return head
def values_of(head):
    values = []
    while head:
        values.append(head.value)
        head = head.rest
    return values
"""

TREE = """
class Tree:
    def __init__(self, value=0, left=None, right=None):
        self.value = value
        self.left = left
        self.right = right
"""
BUILD_TREE = """
def build(values, k=0):
    if k >= len(values) or values[k] is None:
        return None
    tree = Tree(values[k])
    tree.left = build(values, 2 * k + 1)
    tree.right = build(values, 2 * k + 2)
    return tree
def show(tree):
    return None if tree is None else [tree.value, show(tree.left), show(tree.right)]
"""

OBJECTS = {
    "a class as entry point": case(
        """
        class Stack:
            created = 0
            def __init__(self, items=()):
                self.items = list(items)
                Stack.created += 1
            def push(self, item):
                self.items.append(item)
            def pop(self):
                return self.items.pop()
            @property
            def size(self):
                return len(self.items)
            @classmethod
            def of(cls, *items):
                return cls(items)
            @staticmethod
            def kind():
                return "stack"
        """,
        [
            "s = Stack()\ns.push(1)\ns.push(2)\nassert s.pop() == 2\nassert s.size == 1",
            "s = Stack.of(7, 8)\nassert s.items == [7, 8] and s.kind() == 'stack'",
            "assert Stack.created == 2",
        ],
        wrong=("self.items.pop()", "self.items.pop(0)"),
        entry_point="Stack",
    ),
    "a class that extends OrderedDict": case(
        """
        from collections import OrderedDict
        class Cache(OrderedDict):
            def __init__(self, most):
                super().__init__()
                self.most = most
            def look_up(self, key):
                if key not in self:
                    return -1
                self.move_to_end(key)
                return self[key]
            def put(self, key, value):
                self[key] = value
                self.move_to_end(key)
                if len(self) > self.most:
                    self.popitem(last=False)
        """,
        [
            """
            cache = Cache(2)
            cache.put(1, "a")
            cache.put(2, "b")
            assert cache.look_up(1) == "a"
            cache.put(3, "c")
            assert cache.look_up(2) == -1 and cache.look_up(3) == "c"
            """
        ],
        wrong=("last=False", "last=True"),
        entry_point="Cache",
    ),
    "a class that extends list": case(
        """
        class Stack(list):
            def push(self, item):
                self.append(item)
            def top(self):
                return self[-1]
        """,
        ["s = Stack()\ns.push(1)\ns.push(2)\nassert s.top() == 2\nassert s.pop() == 2"],
        wrong=("self[-1]", "self[0]"),
        entry_point="Stack",
    ),
    "attributes that the test sets": case(
        """
        class Light:
            level = 1
            @property
            def double(self):
                return 2 * self.level
            @double.setter
            def double(self, value):
                self.level = value / 2
        """,
        [
            "a = Light()\na.level = 5\nassert a.double == 10 and Light.level == 1",
            "a = Light()\na.double = 3\nassert a.level == 1.5",
            "Light.level = 4\nassert Light().double == 8",
        ],
        wrong=("2 * self.level", "self.level + 5"),
        entry_point="Light",
    ),
    "objects that are passed back": case(
        """
        class Money:
            def __init__(self, cents):
                self.cents = cents
            def plus(self, other):
                return Money(self.cents + other.cents)
        def f(moneys, *, bonus):
            total = bonus
            for money in moneys:
                total = total.plus(money)
            return total
        """,
        [
            "assert f([Money(1), Money(2)], bonus=Money(10)).cents == 13",
            "assert Money(3).cents == 3",
        ],
        wrong=("total = bonus", "total = Money(0)"),
    ),
    "a chain of methods": case(
        """
        class Query:
            def __init__(self):
                self.parts = []
            def where(self, part):
                self.parts.append(part)
                return self
            def build(self):
                return " and ".join(self.parts)
        """,
        [
            "assert Query().where('a').where('b').build() == 'a and b'",
            "q = Query()\nassert q.where('a') is q",
        ],
        wrong=("return self\n", "return Query()\n"),
        entry_point="Query",
    ),
    "a linked list that set-up code builds": case(
        LINKED_LIST
        + """
def f(head):
    before = None
    while head:
        head.rest, before, head = before, head, head.rest
    return before
""",
        [
            "assert values_of(f(build([1, 2, 3]))) == [3, 2, 1]",
            "assert f(None) is None",
            "head = build([1, 2])\nassert f(head).rest is head",
        ],
        wrong=("return before", "return before and before.rest"),
        setup=BUILD_LIST,
    ),
    "a linked list that the test changes": case(
        LINKED_LIST
        + """
def f(head):
    slow = fast = head
    while fast and fast.rest:
        slow, fast = slow.rest, fast.rest.rest
        if slow is fast:
            return True
    return False
""",
        [
            "head = build([1, 2, 3])\nassert f(head) is False",
            "head = build([1, 2, 3])\nhead.rest.rest.rest = head.rest\nassert f(head) is True",
        ],
        wrong=("return True", "return head"),
        setup=BUILD_LIST,
    ),
    "a tree that set-up code builds": case(
        TREE
        + """
def f(tree):
    if tree:
        tree.left, tree.right = f(tree.right), f(tree.left)
    return tree
""",
        [
            "assert show(f(build([1, 2, 3, None, 4]))) == "
            "[1, [3, None, None], [2, [4, None, None], None]]",
            "assert show(f(build([]))) is None",
        ],
        wrong=("f(tree.right), f(tree.left)", "f(tree.left), f(tree.right)"),
        setup=BUILD_TREE,
    ),
    "closures": case(
        """
        def f(start):
            total = start
            def add(x):
                nonlocal total
                total += x
                return total
            return add
        """,
        [
            "add = f(10)\nassert add(1) == 11 and add(2) == 13",
            "a, b = f(0), f(5)\na(1)\nassert b(1) == 6",
            "assert f(1)(1) == 2",
        ],
        wrong=("total += x", "total = start + x"),
    ),
    "callables in tables": case(
        """
        import operator
        from functools import partial
        def f():
            return {"add": operator.add, "double": partial(operator.mul, 2), "up": str.upper}
        """,
        [
            "table = f()\nassert table['add'](1, 2) == 3 and table['double'](4) == 8",
            "assert f()['up']('a') == 'A' and callable(f()['add'])",
        ],
        wrong=("operator.mul, 2", "operator.pow, 2"),
    ),
    "functions of the program's as arguments": case(
        """
        def double(x):
            return 2 * x
        def f(function, xs):
            return [function(x) for x in xs]
        """,
        ["assert f(double, [1, 2]) == [2, 4]", "assert f(f, []) == []"],
        wrong=("2 * x", "x * x"),
    ),
    "a callable object as entry point": case(
        """
        class Adder:
            def __init__(self, n):
                self.n = n
            def __call__(self, x):
                return x + self.n
        f = Adder(3)
        """,
        ["assert f(1) == 4", "f.n = 10\nassert f(1) == 11"],
        wrong=("x + self.n", "x + 3"),
    ),
    "truth of plain objects": case(
        """
        class Found:
            pass
        def f(x):
            return Found() if x > 0 else None
        """,
        ["assert f(1)", "assert not f(0)", "assert f(1) is not None and f(0) is None"],
        wrong=("x > 0", "x > 1"),
    ),
    "identity and equality of plain objects": case(
        """
        class Node:
            pass
        ROOT = Node()
        def f(new):
            return Node() if new else ROOT
        """,
        [
            "assert f(False) is f(False) is ROOT and f(False) == ROOT",
            "assert f(True) is not f(True) and f(True) != f(True)",
            "assert f(False) in [1, ROOT] and f(True) not in [1, ROOT]",
            "assert len({f(False), f(False), f(True)}) == 2",
        ],
        wrong=("if new", "if not new"),
    ),
    "attributes that are or are not there": case(
        """
        class Config:
            def __init__(self, **options):
                vars(self).update(options)
        """,
        [
            "c = Config(a=1)\nassert hasattr(c, 'a') and not hasattr(c, 'b')",
            "assert getattr(Config(a=1), 'b', 7) == 7",
        ],
        wrong=("update(options)", "update(dict(options, b=2))"),
        entry_point="Config",
    ),
    "a dataclass whose fields the test reads": case(
        """
        from dataclasses import dataclass, field
        @dataclass
        class Person:
            name: str
            age: int = 0
            tags: list = field(default_factory=list)
        def f(people):
            return sorted((Person(**person) for person in people), key=lambda one: one.age)
        """,
        [
            "people = f([dict(name='a', age=9), dict(name='b')])\n"
            "assert [(p.name, p.age, p.tags) for p in people] == [('b', 0, []), ('a', 9, [])]",
            "assert min(f([dict(name='a')]), key=lambda p: p.age).name == 'a'",
        ],
        wrong=("one.age", "one.name"),
    ),
    "a match of a regular expression": case(
        """
        import re
        def f(text):
            return re.search(r"(\\w+)@(\\w+)", text)
        """,
        [
            "m = f('to a@b')\nassert m.group(1, 2) == ('a', 'b')\nassert m.start() == 3",
            "assert not f('')",
        ],
        wrong=("(\\w+)@", "(to \\w+)@"),
    ),
}


# ── Forms of tests ───────────────────────────────────────────────────────────────────────────────

FORMS = {
    "expected on the left": case(
        "def f(x): return x + 1",
        ["assert 4 == f(3)", "assert [2] == [f(1)]", "assert set([2]) == {f(1)}"],
        wrong=("x + 1", "x - 1"),
    ),
    "every kind of condition": case(
        "def f(x): return x * 2",
        [
            "assert f(3)",
            "assert not f(0)",
            "assert f(3) in (5, 6)",
            "assert 5 < f(3) < 7",
            "assert f(1) == 2 and f(2) == 4, 'a message'",
            "assert (f(1), f(2)) == (2, 4)",
            "assert f(f(1)) == 4",
            "assert f(2) == f(1) + f(1)",
            "assert all(f(x) == 2 * x for x in range(5))",
            "assert f(*[3]) == 6 == f(**{'x': 3})",
            "assert abs(f(0.15) - 0.3) < 1e-9",
            "assert f('ab') == 'abab' and f([1]) == [1, 1]",
        ],
        wrong=("x * 2", "x + 3"),
    ),
    "check(candidate)": case(
        "def f(a, b): return a % b",
        [
            """
            METADATA = {"author": "nobody"}
            def check(candidate):
                assert candidate(7, 3) == 1
                assert candidate(-7, 3) == 2, "of negative numbers"
            check(f)
            """
        ],
        wrong=("a % b", "abs(a) % b"),
    ),
    "helpers and imports inside the test": case(
        "def f(r): return 3.14159265358979 * r ** 2",
        [
            """
            import math
            from collections import Counter as Bag
            def area(r):
                return math.pi * r * r
            class Close:
                def __init__(self, value):
                    self.value = value
                def __call__(self, other):
                    return math.isclose(self.value, other, rel_tol=1e-9)
            assert Close(area(2))(f(2))
            assert Bag([round(f(1))]) == Bag([3])
            """
        ],
        wrong=("3.14159265358979", "3.1416"),
    ),
    "what the call has changed": case(
        """
        log = []
        def f(xs):
            log.append(len(xs))
            xs.reverse()
            return xs[0]
        """,
        [
            "xs = [1, 2]\nassert f(xs) == xs[0]",
            "xs = [1, 2, 3]\nassert (f(xs), xs) == (3, [3, 2, 1])",
            "assert log == [2, 3]",
        ],
        wrong=("return xs[0]", "return xs[-1]"),
    ),
    "a test's variable is named like a program's": case(
        """
        data = [1, 2, 3]
        total = 10
        def f(xs):
            return sum(xs) + total + len(data)
        """,
        [
            "data = [5]\ntotal = 0\nassert f(data) == 18",
            "total = sum(x for x in [1])\nassert f([total]) == 14",
        ],
        wrong=("+ total", ""),
    ),
    "a comprehension's variable is named like a program's": case(
        """
        x = 100
        row = [x]
        def f(y):
            return y + x
        """,
        [
            "assert [f(x) for x in (1, 2)] == [101, 102]",
            "assert {x: [y for y in row] for x, row in [(1, [2])]} == {1: [2]} and f(0) == 100",
            "assert x == 100 and row == [100]",
        ],
        wrong=("y + x", "y + y"),
    ),
    "a program's global is named like a test's attribute or key": case(
        """
        append = count = real = object()
        def f(xs):
            return len(xs)
        """,
        [
            "xs = []\nxs.append(1)\nassert f(xs) == xs.count(1) and (1).real == 1",
            "assert dict(count=1)",
        ],
        wrong=("len(xs)", "len(xs) + 1"),
    ),
    "constants and modules of the program's": case(
        """
        import math
        import sys
        LIMIT = 10
        TABLE = {"a": [1, 2]}
        def f(x):
            return min(x, LIMIT)
        """,
        [
            "assert f(99) == LIMIT",
            "assert f(math.floor(3.7)) == 3 and f(-sys.maxsize) < 0",
            "assert TABLE['a'] == [1, 2]",
        ],
        wrong=("LIMIT)", "LIMIT + 1)"),
    ),
    "types are looked at": case(
        "def f(x): return x // 2, [x / 2]",
        [
            "assert isinstance(f(5)[0], int) and type(f(4)[1][0]) is float",
            "a, [b] = f(5)\nassert repr(a) == '2' and repr(b) == '2.5'",
        ],
        wrong=("x // 2", "x / 2 // 1"),
    ),
    "order does not count": case(
        "def f(words): return list({word.lower() for word in words})",
        [
            "assert sorted(f(['B', 'a', 'b'])) == ['a', 'b']",
            "assert set(f(['B', 'a'])) == {'a', 'b'} and len(f(['B', 'b'])) == 1",
        ],
        wrong=("list({word.lower() for word in words})", "[word.lower() for word in words]"),
    ),
    "try, else, finally and with": case(
        "def f(x): return 10 / x",
        [
            """
            from contextlib import suppress
            steps = []
            try:
                f(0)
            except ZeroDivisionError:
                steps.append("error")
            finally:
                steps.append("finally")
            with suppress(ZeroDivisionError):
                f(0)
                steps.append("never")
            try:
                value = f(5)
            except ZeroDivisionError:
                steps.append("never")
            else:
                steps.append(value)
            assert steps == ["error", "finally", 2.0]
            """
        ],
        wrong=("10 / x", "x and 10 / x"),
    ),
    "set-up code with tables of its own": case(
        "def f(xs): return sorted(xs, key=lambda x: (-x[1], x[0]))",
        ["assert f(PLAYERS) == RANKING", "assert f(PLAYERS)[0] == first(RANKING)"],
        wrong=("(-x[1], x[0])", "-x[1]"),
        setup="""
        PLAYERS = [("b", 1), ("a", 1), ("c", 5)]
        RANKING = [("c", 5), ("a", 1), ("b", 1)]
        def first(xs):
            return xs[0]
        """,
    ),
    "a unittest class inside the test": case(
        "def f(x): return x + 1",
        [
            """
            import io
            import unittest
            class TestF(unittest.TestCase):
                def test_one(self):
                    self.assertEqual(f(1), 2)
                def test_float(self):
                    self.assertAlmostEqual(f(0.1), 1.1)
            suite = unittest.defaultTestLoader.loadTestsFromTestCase(TestF)
            result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
            assert result.testsRun == 2 and result.wasSuccessful()
            """
        ],
        wrong=("x + 1", "x + 1.5"),
    ),
    "the entry point is named like a built-in": case(
        "def sum(a, b): return a + b",
        ["assert sum(2, 3) == 5", "assert max(sum(1, 1), 1) == 2"],
        wrong=("a + b", "a - b"),
        entry_point="sum",
    ),
}


# ── Scripts ──────────────────────────────────────────────────────────────────────────────────────

SUM = {"2\n3 4\n": "7\n", "3\n1 1 -9\n": "-7\n"}
# Programs of the kind that competitive programmers paste on top.
FAST = """
import io, os, sys
class Reader(io.RawIOBase):
    def __init__(self, descriptor):
        self.descriptor = descriptor
        self.data = io.BytesIO()
    def readline(self):
        while True:
            line = self.data.readline()
            if line.endswith(b"\\n"):
                return line
            more = os.read(self.descriptor, max(os.fstat(self.descriptor).st_size, 8192))
            self.data = io.BytesIO(line + self.data.read() + more)
            if not more:
                return self.data.readline()
class Writer:
    def __init__(self, descriptor):
        self.descriptor = descriptor
        self.parts = []
    def write(self, text):
        self.parts.append(text.encode("ascii"))
    def flush(self):
        os.write(self.descriptor, b"".join(self.parts))
        self.parts = []
reader = Reader(0)
sys.stdout = Writer(1)
input = lambda: reader.readline().decode().rstrip("\\r\\n")
"""

SCRIPTS = {
    "input()": script(
        """
        n = int(input())
        print(sum(map(int, input().split())))
        """,
        SUM,
        wrong=("sum(", "max("),
    ),
    "a prompt is output": script(
        """
        name = input("")
        print("Hello", name)
        """,
        {"Ann\n": "Hello Ann"},
        wrong=('input("")', 'input("Who? ")'),
    ),
    "sys.stdin, line by line": script(
        """
        import sys
        next(sys.stdin)
        for line in sys.stdin:
            print(sum(int(word) for word in line.split()))
        """,
        SUM,
        wrong=("next(sys.stdin)", "pass"),
    ),
    "sys.stdin.read": script(
        """
        from sys import stdin, stdout
        n, *numbers = map(int, stdin.read().split())
        stdout.write(str(sum(numbers)))
        stdout.write("\\n")
        """,
        SUM,
        wrong=("n, *numbers", "*numbers, n"),
    ),
    "sys.stdin.readline under the name of input": script(
        """
        import sys
        input = sys.stdin.readline
        n = int(input())
        print(sum(map(int, input().rstrip().split())))
        """,
        SUM,
        wrong=("sum(", "min("),
    ),
    "sys.stdin.buffer and sys.stdout.buffer": script(
        """
        import sys
        data = sys.stdin.buffer.read().split()
        sys.stdout.buffer.write(b"%d\\n" % sum(map(int, data[1:])))
        """,
        SUM,
        wrong=("data[1:]", "data"),
    ),
    "open(0)": script(
        """
        n, *numbers = map(int, open(0).read().split())
        print(sum(numbers))
        """,
        SUM,
        wrong=("sum(numbers)", "sum(numbers) + 1"),
    ),
    "os.read": script(
        """
        import os
        data = b""
        while part := os.read(0, 4):
            data += part
        print(sum(map(int, data.split()[1:])))
        """,
        SUM,
        wrong=("while part", "if part"),
    ),
    "fileinput": script(
        """
        import fileinput
        lines = [line for line in fileinput.input()]
        print(sum(map(int, lines[1].split())))
        """,
        SUM,
        wrong=("lines[1]", "lines[0]"),
    ),
    "sys.stdout.write without an end of line": script(
        """
        import sys
        for k in range(int(input())):
            sys.stdout.write(f"{k} ")
        """,
        {"3": "0 1 2"},
        wrong=("{k} ", "{k}"),
    ),
    "os.write(1)": script(
        """
        import os
        os.write(1, str(int(input()) ** 2).encode())
        """,
        {"12": "144"},
        wrong=("os.write(1", "os.write(2"),
    ),
    "open(1, 'w'), closed": script(
        """
        out = open(1, "w")
        print(int(input()) ** 2, file=out)
        out.close()
        """,
        {"12": "144"},
        wrong=("** 2", "* 2"),
    ),
    "open(1, 'w'), not closed": script(
        """
        out = open(1, "w")
        out.write(str(int(input()) ** 2))
        """,
        {"12": "144"},
        wrong=("** 2", "* 2"),
    ),
    "open(1, 'w'), held by a function": script(
        """
        def writer(stream=open(1, "w", closefd=False)):
            return stream.write
        write = writer()
        write(str(int(input()) ** 2))
        """,
        {"12": "144"},
        wrong=("** 2", "* 2"),
    ),
    "sys.stdout is replaced": script(
        """
        import io, sys
        sys.stdout = io.StringIO()
        print(int(input()) ** 2)
        sys.__stdout__.write(sys.stdout.getvalue())
        """,
        {"12": "144"},
        wrong=("sys.__stdout__.write", "len"),
    ),
    "print(file=sys.__stdout__)": script(
        """
        import sys
        print(input(), end=" ", file=sys.__stdout__)
        print("and", input(), sep="-", flush=True)
        """,
        {"a\nb": "a and-b"},
        wrong=('end=" "', 'end=""'),
    ),
    "stdout closed at the end": script(
        """
        import sys
        print(input())
        sys.stdout.close()
        """,
        {"a": "a"},
        wrong=("print(input())", "print(input() * 2)"),
    ),
    "the template for fast input and output": script(
        FAST
        + """
n = int(input())
for _ in range(n):
    a, b = map(int, input().split())
    print(a + b)
sys.stdout.flush()
""",
        {"2\n1 2\n3 4\n": "3\n7", "1\n5 5": "10"},
        wrong=("a + b", "a - b"),
    ),
    "the template for fast input and output, flushed by Python": script(
        FAST + "print(input())\n",
        {"a\n": "a"},
        wrong=("def flush", "def flash"),
    ),
    "threads": script(
        """
        import threading
        results = {}
        def work(k):
            results[k] = k * k
        threads = [threading.Thread(target=work, args=(k,)) for k in range(int(input()))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(*[results[k] for k in sorted(results)])
        """,
        {"4": "0 1 4 9"},
        wrong=("k * k", "k + k"),
    ),
    "a thread that nobody waits for": script(
        """
        import threading, time
        def work():
            time.sleep(0.05)
            print("late")
        threading.Thread(target=work).start()
        print("early")
        """,
        {"": "early late"},
        wrong=("target=work", "daemon=True, target=work"),
    ),
    "recursion in a thread with a deep stack": script(
        """
        import sys, threading
        sys.setrecursionlimit(10**6)
        threading.stack_size(1 << 26)
        def depth(n):
            return n and 1 + depth(n - 1)
        def main():
            print(depth(int(input())))
        thread = threading.Thread(target=main)
        thread.start()
        thread.join()
        """,
        {"20000": "20000"},
        wrong=("1 + depth", "2 + depth"),
    ),
    "atexit": script(
        """
        import atexit
        lines = []
        atexit.register(lambda: print("\\n".join(lines)))
        for word in input().split():
            lines.append(word)
        """,
        {"a b": "a b"},
        wrong=("atexit.register(", "("),
    ),
    "os._exit after a flush": script(
        """
        import os, sys
        print(input())
        sys.stdout.flush()
        os._exit(0)
        """,
        {"a": "a"},
        wrong=("sys.stdout.flush()", ""),
    ),
    "sys.exit(0) at the end": script(
        """
        import sys
        def solve():
            n = int(input())
            if n % 2:
                print("NO")
                sys.exit(0)
            print("YES")
        solve()
        sys.exit(0)
        """,
        {"3": "NO", "4": "YES"},
        wrong=("sys.exit(0)\n    print", "print"),
    ),
    "exit() and quit()": script(
        """
        for word in input().split():
            if word == "stop":
                exit()
            print(word)
        quit()
        """,
        {"a b stop c": "a b", "a": "a"},
        wrong=('"stop"', '"c"'),
    ),
    "main guard": script(
        """
        def main():
            print(int(input()) + 1)
        if __name__ == "__main__":
            main()
        """,
        {"1": "2"},
        wrong=('== "__main__"', '!= "__main__"'),
    ),
    "from __future__ import": script(
        """
        from __future__ import annotations, division, print_function
        def half(x: int) -> float | int:
            return x / 2
        print(half(int(input())))
        """,
        {"5": "2.5"},
        wrong=("x / 2", "x // 2"),
    ),
    "dataclass, pickle and Enum under __main__": script(
        """
        from __future__ import annotations
        import pickle, sys
        from dataclasses import dataclass
        from enum import Enum
        class Kind(Enum):
            ODD = 1
            EVEN = 0
        @dataclass
        class Number:
            value: int
            kind: Kind
        number = int(input())
        twin = pickle.loads(pickle.dumps(Number(number, Kind(number % 2))))
        print(twin.value, twin.kind.name, sys.modules[__name__].Number is Number)
        """,
        {"7": "7 ODD True"},
        wrong=("number % 2", "1 - number % 2"),
    ),
    "sys.argv and argparse": script(
        """
        import argparse, sys
        parser = argparse.ArgumentParser()
        parser.add_argument("--times", type=int, default=2)
        times = parser.parse_args().times
        print(input() * times, len(sys.argv))
        """,
        {"a": "aa 1"},
        wrong=("default=2", "default=3"),
    ),
    "other white space": script(
        """
        print()
        print("1   2", end="\\t")
        print(int(input()), "  \\r\\n\\n")
        """,
        {"3": "1 2 3\n"},
        wrong=('end="\\t"', 'end=""'),
    ),
    "other case": script(
        "print('Yes' if int(input()) > 0 else 'nO')",
        {"1": "YES", "0": "NO"},
        wrong=("> 0", ">= 0"),
    ),
    "other format of floats": script(
        """
        x = float(input())
        print(x / 2, f"{x / 3:.9f}", f"{x:e}", int(x))
        """,
        {"1": "0.50 0.333333 1 1.0", "2e3": "1e3 666.666667 2000 2000"},
        wrong=("x / 3", "x / 3.001"),
    ),
    "the last of 20 digits": script(
        "print(int(input()) * 3)",
        {"12345678901234567890": "37037036703703703670", "-4": "-12"},
        wrong=("* 3", "* 3 + 1"),
    ),
    "the last of 20 digits, by floats": script(
        "print(int(input()) // 3)",
        {"37037036703703703673": "12345678901234567891"},
        wrong=("int(input()) // 3", "int(float(input()) / 3)"),
    ),
    "one token more": script(
        "print(*sorted(input().split()))",
        {"b a": "a b"},
        wrong=("sorted(input().split())", 'sorted(input().split()), "c"'),
    ),
    "one token less": script(
        "print(*sorted(input().split()))",
        {"b a b": "a b b"},
        wrong=("sorted(input().split())", "sorted(set(input().split()))"),
    ),
    "two tokens run together": script(
        "print('Case', '#1:', input())",
        {"x": "Case #1: x"},
        wrong=("'Case', '#1:'", "'Case#1:'"),
    ),
    "nan, inf and words with underscores are words": script(
        """
        print(float("nan"), float("inf"), "1_0")
        """,
        {"": "nan inf 1_0"},
        wrong=('"1_0"', "10"),
    ),
    "noise goes to stderr": script(
        """
        import logging, sys, warnings
        print("reading", file=sys.stderr)
        warnings.warn("slow")
        logging.error("hm")
        print(input())
        """,
        {"a": "a"},
        wrong=("file=sys.stderr", "file=sys.stdout"),
    ),
    "many numbers in and out": script(
        """
        import sys
        numbers = list(map(int, sys.stdin.read().split()))
        print("\\n".join(str(number + 1) for number in numbers))
        """,
        {" ".join(map(str, range(100_000))): "\n".join(map(str, range(1, 100_001)))},
        wrong=("in numbers)", "in numbers[:-1])"),
    ),
    "letters of other languages": script(
        "print(input().replace('ß', 'ss'), 'é', '😀')",
        {"straße": "strasse é 😀"},
        wrong=("'é'", "'e'"),
    ),
    "Windows line ends in the input": script(
        """
        n = int(input())
        print([input().strip() for _ in range(n)])
        """,
        {"2\r\na\r\nb\r\n": "['a', 'b']"},
        wrong=(".strip()", "[:0]"),
    ),
    "__del__ at the end": script(
        """
        class Loud:
            def __del__(self):
                print("bye", self.name)
        loud = Loud()
        loud.name = input()
        """,
        {"ann": "bye ann"},
        wrong=('"bye"', '"by"'),
    ),
}


# ── The tests ────────────────────────────────────────────────────────────────────────────────────

TABLES = {
    "module": MODULES,
    "value": VALUES,
    "argument": ARGUMENTS,
    "iterator": ITERATORS,
    "exception": EXCEPTIONS,
    "object": OBJECTS,
    "form": FORMS,
    "script": SCRIPTS,
}
ROWS = {f"{kind}: {name}": row for kind, rows in TABLES.items() for name, row in rows.items()}
WRONG = [name for name, row in ROWS.items() if row.wrong]
# Every program: (name of its row, source).
PROGRAMS = [(name, row.right) for name, row in ROWS.items()]
PROGRAMS += [(name, wrong_program(ROWS[name])) for name in WRONG]


@pytest.fixture(scope="module")
def verdicts():
    """The verdicts on all programs, from one call. The tests are the public and the hidden ones."""
    problems = {}
    for name, row in ROWS.items():
        more = dict(setup=row.setup, entry_point=row.entry_point)
        problems[name] = problem(name, row.tests, row.tests, **more)
    return ex.execute(problems, PROGRAMS, timeout=10.0)


@pytest.mark.parametrize("name", ROWS)
def test_right(verdicts, name):
    assert verdicts[name, ROWS[name].right] == (True, True, "")


@pytest.mark.parametrize("name", WRONG)
def test_wrong(verdicts, name):
    public, hidden, feedback = verdicts[name, wrong_program(ROWS[name])]
    assert (public, hidden) == (False, False)
    assert 0 < len(feedback) <= 300


# ── What plain Python says of the tables ─────────────────────────────────────────────────────────

# Program and tests in one process: from lines of [code, entry point, set-up, tests] to true or
# false. Names of built-ins are the tests' own, and so are the names that they assign.
PLAIN = """
import builtins, contextlib, json, os, sys, types

def passes(code, entry_point, setup, tests):
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    with contextlib.suppress(SystemExit):
        exec(code, vars(module))
    names = vars(module).items()
    names = {n: v for n, v in names if n == entry_point or not hasattr(builtins, n)}
    for source in [setup, *tests]:
        exec(source, names)

sys.argv = ["program.py"]
lines = sys.stdin.readlines()
null = os.open(os.devnull, os.O_RDWR)
for line in lines:
    pid = os.fork()
    if pid == 0:
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        try:
            passes(*json.loads(line))
            os._exit(0)
        except BaseException:
            os._exit(1)
    print(json.dumps(os.waitpid(pid, 0)[1] == 0), flush=True)
"""


def is_same(printed, expected):
    """The rule for outputs, by hand: words in any case, fractions to 1e-5, integers exactly."""
    if len(printed) != len(expected):
        return False
    for word, other in zip(printed, expected):
        if word.lower() == other.lower():
            continue
        are_numbers = {*word, *other} <= set("0123456789.e+-")
        is_fraction = {*word, *other} & set(".e")
        if not are_numbers or not is_fraction or abs(float(word) - float(other)) >= 1e-5:
            return False
    return True


def passes_as_script(code, tests):
    """Does a Python of its own print what is expected?"""
    for test in tests:
        done = subprocess.run(
            [sys.executable, "-E", "-X", "utf8", "-c", code],
            input=test["input"].encode(),
            capture_output=True,
        )
        if done.returncode or not is_same(done.stdout.decode().split(), test["output"].split()):
            return False
    return True


def test_plain_python_agrees():
    plain = {}
    in_python = [program for program in PROGRAMS if ROWS[program[0]].entry_point]
    jobs = ""
    for name, code in in_python:
        row = ROWS[name]
        jobs += json.dumps([code, row.entry_point, row.setup, row.tests]) + "\n"
    command = [sys.executable, "-c", PLAIN]
    done = subprocess.run(command, input=jobs, stdout=subprocess.PIPE, text=True, check=True)
    plain.update(zip(in_python, map(json.loads, done.stdout.splitlines())))

    for name, code in PROGRAMS:
        if not ROWS[name].entry_point:
            plain[name, code] = passes_as_script(code, ROWS[name].tests)
    # The names only, since some programs are long.
    right = [name for name, code in PROGRAMS if plain[name, code]]
    assert right == list(ROWS)
