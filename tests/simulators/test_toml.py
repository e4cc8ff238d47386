import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_sim.toml import to_toml

_SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)
_VALUES = st.recursive(
    st.one_of(_SCALARS, st.lists(_SCALARS)),
    lambda inner: st.one_of(
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3),
        st.lists(
            st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3),
            min_size=1,
            max_size=3,
        ),
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), _VALUES, max_size=4))
def test_what_is_written_is_read_back(document: dict[str, object]) -> None:
    """Every document written is read back equal by the standard library."""
    assert tomllib.loads(to_toml(document)) == document


def test_looks_like_what_a_person_writes() -> None:
    """Tables come after plain values, lists of tables as arrays of tables, None not at all."""
    text = to_toml({"device": "pump-7", "none": None, "spool": {"size": 3}, "stream": [{"name": "valve", "x": [1.5]}]})
    assert text == 'device = "pump-7"\n[spool]\nsize = 3\n[[stream]]\nname = "valve"\nx = [1.5]\n'


def test_refuses_what_toml_does_not_know() -> None:
    """A value without a TOML form is refused, not guessed at."""
    with pytest.raises(TypeError, match="bytes"):
        to_toml({"key": b"x"})
