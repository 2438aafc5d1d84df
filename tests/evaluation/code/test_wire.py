"""Values that travel between tester and program: data as copies, everything else as an object that answers questions."""

import collections
import datetime
import decimal
import enum
import fractions
import json
import math
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genjax.evaluation.code.inside import wire

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(st.characters()), st.binary(),
    st.complex_numbers(allow_nan=False), st.fractions(), st.decimals(allow_nan=False), st.datetimes(), st.timedeltas(),
    st.integers(-(10**400), 10**400), st.builds(range, st.integers(), st.integers()),
)  # fmt: skip
keys = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.binary(), st.tuples(st.integers(), st.text()))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.dictionaries(keys, inner), st.sets(keys), st.frozensets(keys),
        st.builds(collections.deque, st.lists(inner)), st.builds(collections.Counter, st.lists(keys)),
    ),
    max_leaves=12,
)  # fmt: skip


class Ended(Exception):
    """What ends a process, in place of os._exit."""


def lost(reason):
    raise Ended(reason)


@given(values)
@settings(deadline=None, max_examples=200)
def test_plain_data_arrives_equal_and_of_the_same_types(value):
    peer = wire.Peer(-1, -1, {}, lost)
    arrived = peer.decode(json.loads(json.dumps(peer.encode(value))))
    assert repr(arrived) == repr(value) or arrived == value
    assert type(arrived) is type(value)
    assert peer._objects == []


def test_special_values_arrive():
    peer = wire.Peer(-1, -1, {}, lost)

    def through(value):
        return peer.decode(json.loads(json.dumps(peer.encode(value))))

    assert through(7**9999) == 7**9999  # more digits than Python turns into text
    assert math.isnan(through(math.nan)) and through(-math.inf) == -math.inf
    assert math.copysign(1, through(-0.0)) == -1
    assert through("\ud800") == "\ud800"
    assert through(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)) == datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    assert through(int) is int and through(ValueError) is ValueError
    assert type(through(bytearray(b"a"))) is bytearray


def test_instances_of_subclasses_arrive_as_what_they_are_a_kind_of():
    peer = wire.Peer(-1, -1, {}, lost)
    Point = collections.namedtuple("Point", "x y")

    class Liar(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

        def __index__(self):
            return 42

    class Colour(enum.IntEnum):
        RED = 1

    default = collections.defaultdict(list, {1: [2]})
    for value, plain in ((Point(1, 2), (1, 2)), (Liar(7), 7), (Colour.RED, 1), (default, {1: [2]}), (True, True)):
        arrived = peer.decode(peer.encode(value))
        assert type(arrived) is type(plain) and arrived == plain


@pytest.fixture
def pair():
    """Two peers in two threads: what the first is asked is whatever the test registers in the second's `names`."""
    (a, b), (c, d) = os.pipe(), os.pipe()
    here = wire.Peer(a, d, wire.OPERATIONS, lost)
    there = wire.Peer(c, b, wire.OPERATIONS | {"take": lambda name: STORE[name]}, lost)

    def serve():
        try:
            there.serve()
        except Ended:
            pass

    thread = threading.Thread(target=serve)
    thread.start()
    yield here
    os.close(d)
    thread.join()
    for end in (a, b, c):
        os.close(end)


STORE = {}


def test_objects_answer_questions(pair):
    class Node:
        def __init__(self, value):
            self.value = value

        def __len__(self):
            return 5

        def __getitem__(self, key):
            return [key, self.value]

        def __eq__(self, other):
            return True

        __hash__ = None

        def twice(self, by=2):
            return self.value * by

    STORE.update(Node=Node, generator=(n * n for n in range(3)))
    kind = pair.request("take", "Node")
    node = kind(8)
    assert node.value == 8 and node.twice() == 16 and node.twice(by=3) == 24
    node.value = 9
    assert node.value == 9 and len(node) == 5 and node[1] == [1, 9]
    assert isinstance(node, kind) and not isinstance(3, kind)
    assert list(pair.request("take", "generator")) == [0, 1, 4]
    # It says that it equals everything; a test hears nothing of that, and it hears nothing of what it is compared with.
    assert node != 9 and not node == [1, 2] and 9 != node
    assert node == kind(1)
    with pytest.raises(AttributeError, match="missing"):
        _ = node.missing


def test_identity_survives_the_way_there_and_back(pair):
    STORE.update(same=lambda value: value, keep=[object()])
    same = pair.request("take", "same")
    held = lambda: None  # noqa: E731
    assert same(held) is held
    assert pair.request("take", "same") is same


def test_changes_to_arguments_come_back(pair):
    def change(items, table, members, text):
        items.reverse()
        table["new"] = 1
        members.clear()
        return text

    STORE["change"] = change
    items, table, members = [1, [2], 3], {}, {1}
    assert pair.request("take", "change")(items, table, members, "text") == "text"
    assert items == [3, [2], 1] and table == {"new": 1} and members == set()


def test_functions_of_the_caller_can_be_called_back(pair):
    STORE["apply"] = lambda function, value: function(function(value))
    assert pair.request("take", "apply")(lambda n: n * 3, 5) == 45
    with pytest.raises(ZeroDivisionError):
        pair.request("take", "apply")(lambda n: n // 0, 5)


def test_the_end_of_an_iterator_ends_no_other(pair):
    def fail(item):
        raise StopIteration

    STORE.update(fail=fail, empty=iter(()))
    with pytest.raises(RuntimeError):
        all(map(pair.request("take", "fail"), [1, 2]))  # which is true where the exception goes through
    with pytest.raises(StopIteration):
        next(pair.request("take", "empty"))


@pytest.mark.parametrize("error", [KeyError("a"), ValueError("v", 3), SystemExit(0), UnicodeDecodeError("utf-8", b"", 0, 1, "r")])
def test_exceptions_arrive_with_type_and_arguments(pair, error):
    def fail():
        raise error

    STORE["fail"] = fail
    with pytest.raises(type(error)) as caught:
        pair.request("take", "fail")()
    assert caught.value.args == error.args and str(caught.value) == str(error)


def test_an_exception_of_the_programs_own_arrives_as_the_nearest_of_pythons(pair):
    class TooBig(OverflowError):
        def __init__(self, number):
            super().__init__(f"{number} is too big")

    def fail():
        raise TooBig(7)

    STORE["fail"] = fail
    with pytest.raises(ArithmeticError, match="7 is too big") as caught:
        pair.request("take", "fail")()
    assert type(caught.value) is OverflowError


@pytest.mark.parametrize(
    "message",
    [
        b"\xff\xff\xff\xff", b"\x00\x00\x00\x02{}", b"\x00\x00\x00\x02[]", b"\x00\x00\x00\x04nope", b"",
        b"\x00\x00\x00\x0d[\"value\", {}]", b"\x00\x00\x00\x08[\"what\"]", b"\x00\x00\x00\x05" + b"[" * 5,
        b"\x00\x00\x00\x20" + b'["value",{"os.system":"true"},[]]'[:32],
    ],
)  # fmt: skip
def test_what_no_honest_side_sends_ends_the_conversation(message):
    (reading, theirs), (unread, writing) = os.pipe(), os.pipe()
    os.write(theirs, message)
    os.close(theirs)
    with pytest.raises(Ended):
        wire.Peer(reading, writing, {}, lost).request("take", "x")
    for end in (reading, unread, writing):
        os.close(end)


@pytest.mark.parametrize(
    "form",
    [
        '["value", {"posix.system": ["true"]}, []]',
        '["value", {"yours": 0}, []]',
        '["value", {"yours": -1}, []]',
        '["value", {"tuple": 3}, []]',
        '["value", {"a": 1, "b": 2}, []]',
        '["value", 1, [[0, 1]]]',
        '["error", 3]',
        '["value", ' + "[" * 100_000 + "]" * 100_000 + ", []]",
    ],
)
def test_forms_that_name_what_was_not_given_are_refused(form):
    (reading, theirs), (unread, writing) = os.pipe(), os.pipe()
    writer = threading.Thread(target=lambda: os.write(theirs, len(form).to_bytes(4, "big") + form.encode()))
    writer.start()
    with pytest.raises(Ended):
        wire.Peer(reading, writing, {}, lost).request("take", "x")
    for end in (reading, unread, writing):
        os.close(end)
    writer.join()
    os.close(theirs)


def test_types_travel_by_name_and_nothing_else_does():
    peer = wire.Peer(-1, -1, {}, lost)
    assert peer.decode({"type": "int"}) is int and peer.decode(peer.encode(type(None))) is type(None)
    with pytest.raises(KeyError):
        peer.decode({"type": "exec"})
    assert fractions.Fraction(1, 3) == peer.decode(peer.encode(fractions.Fraction(1, 3)))
    assert decimal.Decimal("0.10") == peer.decode({"decimal.Decimal": ["0.10"]})
