"""Programs that attack the verdict: none passes, by whatever it ends, patches, prints, forges or finds."""

import pytest

from genjax.evaluation.code.sandbox import run_program


def test_the_answer_itself_passes(confined, traces, limits):
    source = "def answer(x):\n    return x * x + 7301"
    outcome = run_program(source, limits, test="assert answer(3) == 7310", allow_execution=True, isolation=confined)
    assert outcome.result == "passed"


# What ends early, prints, patches or forges. Each must fail for a reason of its own, and soon.
FORGERIES = {
    "os._exit before the asserts": ("import os\nos._exit(0)", "the program ended itself (exit status 0)"),
    "sys.exit before the asserts": ("import sys\nsys.exit(0)", "SystemExit"),
    "os._exit in the function": ("import os\ndef answer(x): os._exit(0)", "the program ended itself (exit status 0)"),
    "sys.exit in the function": ("import sys\ndef answer(x): sys.exit(0)", "SystemExit"),
    "an assertion error that hides": (
        "import builtins\nbuiltins.AssertionError = type('Quiet', (Exception,), {'__init__': lambda *a: None})\n"
        "def answer(x): return 0",
        "AssertionError",
    ),
    "builtins that agree": (
        "import builtins, operator\n"
        "builtins.all = builtins.any = builtins.isinstance = lambda *a, **k: True\n"
        "operator.eq = lambda a, b: True\n"
        "__builtins__['abs'] = lambda x: 0\n"
        "def answer(x): return 0",
        "",
    ),
    "modules replaced": (
        "import sys, types\n"
        "fake = types.ModuleType('random')\n"
        "fake.Random = lambda seed: types.SimpleNamespace(randrange=lambda n: 0)\n"
        "for name in list(sys.modules): sys.modules[name] = fake\n"
        "def answer(x): return 0",
        "AssertionError",
    ),
    "check redefined": ("def check(candidate): pass\ndef answer(x): return 0", "AssertionError"),
    "an answer that equals everything": (
        "class Liar:\n"
        "    def __eq__(self, other): return True\n"
        "    def __ne__(self, other): return False\n"
        "    __hash__ = None\n"
        "def answer(x): return Liar()",
        "AssertionError",
    ),
    "a number that equals everything": (
        "class Liar(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\ndef answer(x): return Liar(1)",
        "AssertionError",
    ),
    "the marker printed": (
        "import os, json\n"
        "for fd in range(64):\n"
        "    for text in ('passed', json.dumps({'passed': True, 'reason': ''})):\n"
        "        try: os.write(fd, text.encode())\n"
        "        except OSError: pass\n"
        "os._exit(0)",
        "",
    ),
    "answers sent before the questions": (
        "import os, json\n"
        "for fd in range(64):\n"
        "    for value in (None, {'dict': [['answer', {'mine': 0}]]}, 7310, 7317, 0, 0, 0):\n"
        "        text = json.dumps(['value', value, []]).encode()\n"
        "        try: os.write(fd, len(text).to_bytes(4, 'big') + text)\n"
        "        except OSError: pass\n"
        "def answer(x): return 0",
        "",
    ),
    "the wire patched": (
        "import sys\n"
        "wire = next(m for n, m in sys.modules.items() if n.endswith('wire'))\n"
        "wire.Peer.encode = lambda self, value: {'yours': 0}\n"
        "def answer(x): return 0",
        "sent what cannot be read",
    ),
    "an exit handler": (
        "import atexit, os\natexit.register(lambda: os._exit(0))\ndef answer(x): raise SystemExit(0)",
        "SystemExit",
    ),
    "the tracer": (
        "import sys\nsys.settrace(lambda *a: os._exit(0))\nsys.setprofile(lambda *a: None)\ndef answer(x): return 0",
        "",
    ),
    "a function that is no function": ("answer = lambda *a: answer", "AssertionError"),
    "a fork that answers twice": (
        "import os\ndef answer(x):\n    os.fork()\n    return x * x + (7301 if x < 4 else 0)",
        "",
    ),
    "an exception without end": (
        "class Endless(Exception):\n    def __str__(self):\n        return str(self)\ndef answer(x): raise Endless()",
        "Exception",
    ),
    "a huge answer": ("def answer(x): return 'x' * (70 << 20)", ""),
    "a deep answer": ("def answer(x):\n    top = []\n    for _ in range(10**5): top = [top]\n    return top", "RecursionError"),
    "an answer in itself": ("def answer(x):\n    top = []\n    top.append(top)\n    return top", "RecursionError"),
    "files closed": ("import os\nos.closerange(0, 256)\ndef answer(x): return 0", ""),
    "deep recursion": (
        "import sys\nsys.setrecursionlimit(10**9)\ndef answer(x): return answer(x + 1) + 1",
        "",
    ),
    "deep recursion in C": (
        "import sys\nsys.setrecursionlimit(10**9)\n"
        "def answer(x):\n    f = str\n    for _ in range(10**6): f = f.__call__\n    return f(x)",
        "",
    ),
    "100 GB": ("def answer(x): return len(bytearray(100 << 30))", "MemoryError"),
    "100 GB bit by bit": (
        "kept = []\ndef answer(x):\n    for _ in range(10**4): kept.append(bytearray(10 << 20))\n    return len(kept)",
        "MemoryError",
    ),
    "limits raised": (
        "import resource\ndef answer(x): resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "ValueError: not allowed to raise maximum limit",
    ),
    "an output flood": ("def answer(x):\n    while True: print('x' * 10_000)", "wrote more than 1048576 bytes of output"),
    "an output flood past Python": (
        "import os\ndef answer(x):\n    while True: os.write(2, b'x' * 65536)",
        "wrote more than 1048576 bytes of output",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_what_ends_early_or_forges_fails(name, apart, traces, attack):
    source, reason = FORGERIES[name]
    outcome = attack(source, apart, seconds=0.3 if name in ("a fork that answers twice", "deep recursion") else 3)
    assert reason in outcome.result
    assert len(outcome.output) <= 4096


WAITING = {
    "an endless loop": "def answer(x):\n    while True: pass",
    "an endless loop that catches everything": (
        "def answer(x):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass"
    ),
    "signals ignored": (
        "import signal\n"
        "for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(number, signal.SIG_IGN)\n"
        "def answer(x):\n    while True: pass"
    ),
    "stopping itself": "import os, signal\ndef answer(x):\n    while True: os.kill(os.getpid(), signal.SIGSTOP)",
    "a sleep": "import time\ntime.sleep(60)",
    "threads left running": (
        "import threading\n"
        "def spin():\n    while True: pass\n"
        "for _ in range(4): threading.Thread(target=spin, daemon=False).start()\n"
        "def answer(x): threading.Event().wait()"
    ),
    "waiting for an answer that it owes": "import sys\ndef answer(x): return sys.stdin.read() or answer(x)",
}


@pytest.mark.parametrize("name", WAITING)
def test_what_does_not_end_is_ended(name, apart, traces, attack):
    outcome = attack(WAITING[name], apart, seconds=0.3)
    if name not in ("waiting for an answer that it owes", "stopping itself"):  # which some may not do
        assert outcome.result == "timed out"
    assert outcome.seconds < 10


def test_the_tests_are_not_to_be_found(confined, traces, attack):
    source = """
import gc, os, re, sys
MAGIC = "magic-" + "number"
def search():
    seen = set()
    stack = list(gc.get_objects()) + [sys.modules]
    frame = sys._getframe()
    while frame:
        stack += [frame.f_locals, frame.f_globals, frame.f_code.co_consts]
        frame = frame.f_back
    while stack:
        item = stack.pop()
        if id(item) in seen or len(seen) > 300_000: continue
        seen.add(id(item))
        if isinstance(item, str) and MAGIC in item and len(item) > len(MAGIC): return item
        if isinstance(item, bytes) and MAGIC.encode() in item: return item.decode("latin-1")
        stack += gc.get_referents(item)
    for fd in range(3, 64):
        try: os.fstat(fd)
        except OSError: continue
        print("open", fd)
    try:
        with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb") as memory:
            for line in maps:
                low, high, mode = re.match("([0-9a-f]+)-([0-9a-f]+) (\\\\S+)", line).groups()
                if mode.startswith("rw"):
                    memory.seek(int(low, 16))
                    part = memory.read(int(high, 16) - int(low, 16))
                    place = part.find(MAGIC.encode() + b" ")
                    if place >= 0: return part[place : place + 40].decode("latin-1")
    except OSError as error: print(type(error).__name__)
    return ""
def answer(x):
    found = re.search(MAGIC + r" (\\d+)", search())
    print("found" if found else "nothing")
    return int(found.group(1)) if found else 0
"""
    test = 'HIDDEN = "magic-number 7301"\nassert answer(3) == 7301'
    outcome = attack(source, confined, test=test)
    assert "nothing" in outcome.output and outcome.output.count("open") <= 2 + 8
    assert outcome.result.startswith("failed: AssertionError")


def test_what_the_tests_lend_is_no_way_in(apart, traces, attack):
    source = """
def ask(item, name):  # past what holds back an honest program
    return item._peer.request("attribute", item, name)
def answer(function, node, stream):
    for item in (function, node, node.twice, stream):
        for name in ("__globals__", "__self__", "__func__", "__class__", "__dict__", "__init__", "_hidden", "gi_frame"):
            try: print("reached", name, ask(item, name))
            except AttributeError: pass
    for operation in ("run", "names", "import"):
        try: print("reached", operation, node._peer.request(operation, ["EXPECTED"]))
        except KeyError: pass
    for number in (-1, 10**6, "0", None):
        try: print("reached", number, node._peer.request("attribute", {"yours": number}, "value"))
        except Exception: pass
    node.value = 99
    return function(3) + node.twice() + sum(stream)
"""
    test = """
EXPECTED = 7301
class Node:
    value = 1
    _hidden = 2
    def twice(self): return self.value * 2
node = Node()
assert answer(lambda n: n + EXPECTED, node, (n for n in (1, 2))) == EXPECTED + 3 + 198 + 3 and node.value == 99
assert answer(lambda n: n, Node(), iter(())) == 0
"""
    outcome = attack(source, apart, test=test)
    assert outcome.output == ""
    assert "answer(lambda n: n, Node(), iter(())) == 0" in outcome.result  # the honest part of it was answered
