"""What an honest program may do: everything that one process with its tests could, but for the limits."""

from pathlib import Path

import pytest

from genjax.errors import RequestError, RunError
from genjax.evaluation.code import isolation, launch
from genjax.evaluation.code.isolation import Isolation, describe_isolation, permit
from genjax.evaluation.code.sandbox import Limits, run_program, unbound_names

# Pairs of a program and a test of it that pass in one process.
HONEST = {
    "numbers of every kind": (
        "from fractions import Fraction\nfrom decimal import Decimal\n"
        "def f(x): return [x, -x, x * 10**400, x / 3, complex(x, 1), Fraction(x, 3), Decimal(x), float('inf'), x == 2]",
        "assert f(2) == [2, -2, 2 * 10**400, 2 / 3, 2 + 1j, 2 * __import__('fractions').Fraction(1, 3), 2, float('inf'), True]\n"
        "assert type(f(2)[0]) is int and type(f(2)[8]) is bool",
    ),
    "containers": (
        "from collections import Counter, OrderedDict, defaultdict, deque, namedtuple\nPoint = namedtuple('Point', 'x y')\n"
        "def f():\n    one = defaultdict(int, a=1)\n"
        "    return {1: (2, [3]), (4,): {5}}, Counter('aab'), OrderedDict(a=1), one, deque([1]), Point(1, 2)",
        "from collections import Counter, deque\n"
        "table, counter, ordered, default, queue, point = f()\n"
        "assert table == {1: (2, [3]), (4,): {5}} and counter.most_common(1) == [('a', 2)]\n"
        "assert ordered == default == {'a': 1} and queue == deque([1]) and point == (1, 2)",
    ),
    "arguments that change": (
        "def f(items, table): items.sort(); table['n'] = len(items); items.append(table)",
        "items, table = [3, 1, 2], {}\nassert f(items, table) is None\n"
        "assert items == [1, 2, 3, {'n': 3}] and table == {'n': 3}",
    ),
    "generators": (
        "def f():\n    n = 0\n    while True:\n        yield n * n\n        n += 1",
        "import itertools\nassert list(itertools.islice(f(), 4)) == [0, 1, 4, 9]\n"
        "stream = f()\nassert next(stream) == 0 and next(stream) == 1",
    ),
    "iterators and views": (
        "def f(x): return map(str, x)\ndef g(x): return {n: n for n in x}.keys()",
        "assert list(f([1, 2])) == ['1', '2'] and sorted(g([2, 1])) == [1, 2] and len(g([1])) == 1 and 2 in g([1, 2])\n"
        "assert f([1]) != ['1']",
    ),
    "classes": (
        "class Stack:\n    size = 0\n    def __init__(self): self.items = []\n"
        "    def push(self, x):\n        self.items.append(x)\n        self.size += 1\n        return self\n"
        "    def __len__(self): return self.size\n    def __str__(self): return f'Stack({self.items})'\n"
        "def is_stack(x): return isinstance(x, Stack)",
        "stack = Stack()\nassert stack.push(1).push(2) is stack and stack.items == [1, 2] and len(stack) == stack.size == 2\n"
        "assert str(stack) == 'Stack([1, 2])' and is_stack(stack) and isinstance(stack, Stack) and bool(stack)",
    ),
    "nodes of the test": (
        "def reverse(node):\n    before = None\n    while node:\n        node.next, before, node = before, node, node.next\n"
        "    return before\n"
        "def has_cycle(node):\n    slow = fast = node\n    while fast is not None and fast.next is not None:\n"
        "        slow, fast = slow.next, fast.next.next\n        if slow is fast: return True\n    return False",
        "class Node:\n    def __init__(self, value, next=None): self.value, self.next = value, next\n"
        "first = Node(1, Node(2, Node(3)))\nassert not has_cycle(first)\nlast = reverse(first)\n"
        "assert (last.value, last.next.value, last.next.next is first, first.next) == (3, 2, True, None)\n"
        "first.next = last\nassert has_cycle(first)",
    ),
    "functions of the test": (
        "def apply(function, items): return [function(item, by=2) for item in items]",
        "seen = []\ndef times(x, by):\n    seen.append(x)\n    return x * by\n"
        "assert apply(times, [1, 2]) == [2, 4] and seen == [1, 2]",
    ),
    "exceptions": (
        "class Bad(ValueError): pass\ndef f(x):\n    if x < 0: raise Bad('negative')\n    return {}[x]",
        "try: f(-1)\nexcept ValueError as error: assert str(error) == 'negative'\nelse: assert False\n"
        "try: f(1)\nexcept KeyError as error: assert error.args == (1,)\nelse: assert False",
    ),
    "types": ("def f(x): return type(x)", "assert f(1) is int and f('') is str and f([]) is list and f(None) is type(None)"),
    "long lists": (
        "def f(items): return sorted(items), [str(item) for item in items]",
        "items = list(range(100_000))[::-1] + [2**70]\n"
        "assert f(items) == (sorted(items), [str(item) for item in items]) and f([True, 1.5])[0] == [True, 1.5]",
    ),
    "a name that Python has too": ("def sum(a, b): return a - b", "assert sum(5, 3) == 2"),
    "functions of functions": ("def f(n):\n    return lambda m: n + m", "assert f(2)(3) == 5"),
    "recursion, output and files": (
        "import tempfile, os\n"
        "def f(n):\n    print('at', n)\n    with tempfile.NamedTemporaryFile('w+') as file:\n        file.write(str(n))\n"
        "        file.seek(0)\n        n = int(file.read())\n    open('own', 'a').write('x')\n"
        "    return 1 if n < 2 else n * f(n - 1)",
        "assert f(20) == 2432902008176640000",
    ),
    "threads": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def f(n):\n    with ThreadPoolExecutor(4) as pool: return list(pool.map(abs, range(-n, 0)))",
        "assert f(3) == [3, 2, 1]",
    ),
    "the standard library": (
        "import re, json, math, heapq, itertools, functools, datetime, random, string, hashlib, bisect, statistics, asyncio\n"
        "async def later(x): return x\n"
        "def f(): return asyncio.run(later(hashlib.md5(b'x').hexdigest()[:4])), datetime.date(2020, 2, 29)",
        "import datetime\nassert f() == ('9dd4', datetime.date(2020, 2, 29))",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_honest_programs_pass(name, apart, traces, tmp_path, monkeypatch):
    source, test = HONEST[name]
    monkeypatch.chdir(tmp_path)
    exec(compile(f"{source}\n{test}", name, "exec"), {})  # in one process
    exports = ("sum",) if "Python has" in name else None
    outcome = run_program(source, test=test, exports=exports, allow_execution=True, isolation=apart)
    assert outcome.result == "passed" and outcome.passed and 0 < outcome.seconds < 3


@pytest.mark.parametrize("name", HONEST)
def test_tests_that_fail_in_one_process_fail_here(name, traces, tmp_path, monkeypatch):
    source, test = HONEST[name]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError):
        exec(f"{source}\n{test}\nassert not 'this line'", {})
    exports = ("sum",) if "Python has" in name else None
    outcome = run_program(source, test=f"{test}\nassert not 'this line'", exports=exports, allow_execution=True)
    line = test.count("\n") + 2
    assert outcome.result == f"failed: AssertionError (test, line {line}: assert not 'this line')"


@pytest.mark.parametrize(
    "source, test, result",
    [
        ("def f(: pass", "assert f()", "failed: SyntaxError: invalid syntax (<solution>, line 1)"),
        ("x = 1", "assert f(1)", "failed: NameError: name 'f' is not defined (test, line 1: assert f(1))"),
        ("def f(): return g()", "f()", "failed: NameError: name 'g' is not defined (test, line 1: f())"),
        (
            "def f(): return 1",
            "assert f() == 2, f'it is {f()}'",
            "failed: AssertionError: it is 1 (test, line 1: assert f() == 2, ",
        ),
        ("def f(): return 1 / 0", "\n\nassert f()", "failed: ZeroDivisionError: division by zero (test, line 3: assert f())"),
        ("raise KeyError(3)", "pass", "failed: KeyError: 3"),
    ],
)
def test_a_failure_says_what_and_where(source, test, result, traces):
    outcome = run_program(source, test=test, allow_execution=True)
    assert not outcome.passed
    assert outcome.result.startswith(result)


def test_setup_runs_with_the_program_and_given_with_the_test(traces):
    outcome = run_program(
        "class Node:\n    def __init__(self, n): self.n = n\ndef value(node): return node.n",
        test="assert value(root) == math.floor(7.5)",
        setup="root = Node(7)",
        given="import math",
        allow_execution=True,
    )
    assert outcome.result == "passed"


def test_what_a_program_writes_is_kept_up_to_a_limit(traces):
    outcome = run_program("import sys\nprint('é' * 10)\nprint('x' * 9000, file=sys.stderr)", test="pass", allow_execution=True)
    assert outcome.passed and outcome.output.startswith("é" * 10 + "\nxxx") and len(outcome.output.encode()) == 4096


def test_the_same_program_gives_the_same_order_of_sets(traces):
    source = "def f(): return list({'one', 'two', 'three', 'four', 'five'})"
    outputs = set()
    for _ in range(3):
        outputs.add(run_program(source, test="print(f())", allow_execution=True).output)
        launch._servers.pop().close()
    assert len(outputs) == 1


def test_installed_packages_can_be_used(apart, traces):
    source = "import numpy as np\ndef f(n): return np.arange(n).sum(), float(np.ones(n).mean()), np.arange(3)"
    test = "total, mean, numbers = f(5)\nassert total == 10 and mean == 1.0 and list(numbers) == [0, 1, 2]"
    outcome = run_program(source, Limits(timeout=20), test=test, allow_execution=True, isolation=apart)
    assert outcome.result == "passed"


def test_nothing_runs_without_leave(traces):
    marker = Path(traces, "ran")
    with pytest.raises(RunError, match="none was run. Allow it with --allow_execution"):
        run_program(f"open({str(marker)!r}, 'w')", test="pass")
    with pytest.raises(RunError, match="allow_execution=True"):
        run_program("pass", test="pass", isolation=Isolation(seccomp=True))
    assert not marker.exists()


def test_a_machine_that_cannot_isolate_is_refused_unless_forced(monkeypatch):
    poor = Isolation(seccomp=True, refused=("unshare: Operation not permitted", "landlock: version 0"))
    monkeypatch.setattr(isolation, "probe", lambda: poor)
    with pytest.raises(
        RunError, match="no change to files outside its folder, no access to other processes .*unshare: Operation"
    ):
        permit(True)
    assert permit(True, force=True) is poor
    assert poor.missing == ("no change to files outside its folder", "no access to other processes")


@pytest.mark.parametrize(
    "layers, missing",
    [
        ({"namespaces"}, 0), ({"namespaces", "seccomp"}, 0), ({"user", "seccomp"}, 0), ({"landlock", "seccomp"}, 0),
        ({"user"}, 1), ({"seccomp"}, 2), ({"landlock"}, 3), (set(), 4), ({"user", "landlock"}, 1),
    ],
)  # fmt: skip
def test_what_is_required_of_the_layers(layers, missing):
    assert len(Isolation(**dict.fromkeys(layers, True)).missing) == missing
    root = Isolation(**dict.fromkeys(layers, True), bounded=False)
    assert root.missing == (*Isolation(**dict.fromkeys(layers, True)).missing, "a limit on processes")


def test_the_description_is_a_sentence_that_names_what_is_shared():
    full = describe_isolation(Isolation(namespaces=True, user=True, seccomp=True))
    assert "namespaces of its own" in full and "not kept apart are the kernel" in full and full.count(". ") == 0
    bare = describe_isolation(Isolation(refused=("unshare: Operation not permitted",)))
    assert "There are no namespaces here (unshare: Operation not permitted)" in bare and "runs as you" in bare
    assert "kept apart from it are nothing else" in bare and "the network" in bare.partition("not kept apart")[2]
    for layers in ({"user": True, "seccomp": True}, {"landlock": True, "seccomp": True}):
        assert "the network" in describe_isolation(Isolation(**layers)).partition("not kept apart")[0]


@pytest.mark.parametrize("value", [0, float("nan"), float("inf")])
@pytest.mark.parametrize("limit", ["timeout", "memory", "processes", "storage"])
def test_limits_are_above_zero_and_finite(limit, value):
    with pytest.raises(RequestError, match=f"{limit} is {value}; a limit must be above 0 and finite"):
        Limits(**{limit: value})


def test_names_that_tests_take_from_programs():
    test = "import math\nfrom os import path as p\ndef check(c):\n    for i in c: assert f(i) == len(g) + math.pi, p\ncheck(h)"
    assert unbound_names(test) == ("f", "g", "h")
    assert unbound_names(test, given="def g(): pass") == ("f", "h")
    assert unbound_names(test, also=frozenset({"len"})) == ("f", "g", "h", "len")
    with pytest.raises(RequestError, match="the test is not Python"):
        unbound_names("assert (")
