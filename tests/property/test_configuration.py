"""Whatever is done to a good configuration: it is taken, or refused with typed problems that have a place."""

import os
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.model.errors import ConfigError
from jbackupd.settings.load import load

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
with open(os.path.join(TOP, "config", "examples", "two-sites-saga.toml"), "rb") as _file:
    GOOD = _file.read()

MUTATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("replace"), st.integers(0, len(GOOD) - 1), st.binary(min_size=0, max_size=4)),
        st.tuples(st.just("cut"), st.integers(0, len(GOOD) - 1), st.just(b"")),
        st.tuples(st.just("insert"), st.integers(0, len(GOOD) - 1), st.sampled_from(
            [b"[", b"]", b'"', b"'''", b"=", b"\n", b".", b"{", b"}", b"\\", b"#", b"\r\n", b"[[peer]]\n", b"1",
             b'"""', b",", "和".encode(), b"\xff", b"version = 1\n", b'id = "x"\n', b"-", b"{a.b = 1}"]
        )),
    ),
    min_size=1, max_size=4,
)  # fmt: skip


def mutated(mutations) -> bytes:
    data = GOOD
    for kind, at, piece in mutations:
        tail = b"" if kind == "cut" else data[at + (len(piece) if kind == "replace" else 0) :]
        data = data[:at] + piece + tail
    return data


@settings(max_examples=400, deadline=None)
@given(MUTATIONS)
def test_a_mutation_is_taken_or_refused_with_a_place(mutations):
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(mutated(mutations))
        file.flush()
        try:
            found = load(file.name)
        except ConfigError as error:
            problems = error.fields["problems"]
            assert problems
            for problem in problems:
                assert problem.place.file == file.name
                assert str(problem)
                assert problem.document()["line"] <= file.tell() + 1
        else:
            assert found.version == 1
