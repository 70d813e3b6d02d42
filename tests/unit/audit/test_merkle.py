"""The trees: of RFC 6962's shape, whoever makes them and in whatever steps."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haas_common.audit.merkle import Fold, Tree, root_of
from tests.support.hashing import tree_root


def leaf(n: int) -> bytes:
    return hashlib.sha256(str(n).encode()).digest()


@pytest.mark.parametrize("count", [*range(1, 40), 64, 65, 127, 128, 129, 1000])
def test_a_fold_gives_the_root_of_the_definition(count: int) -> None:
    leaves = [leaf(n) for n in range(count)]
    assert root_of(leaves) == tree_root(leaves)


@given(st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=12), min_size=1, max_size=12))
def test_a_tree_that_is_changed_in_place_has_the_root_of_its_leaves(rounds: list[list[int]]) -> None:
    tree, leaves, made = Tree(), list[bytes](), 0
    for places in rounds:
        changes: dict[int, bytes] = {}
        for wanted in places:
            made += 1
            place = min(wanted, max(len(leaves), max(changes, default=-1) + 1))
            changes[place] = leaf(made)
        for place, value in sorted(changes.items()):
            leaves[place : place + 1] = [value]
        tree.update(sorted(changes.items()))
        assert (len(tree), tree.root()) == (len(leaves), tree_root(leaves))


def test_there_is_no_root_over_nothing_and_no_leaf_beyond_the_end() -> None:
    with pytest.raises(ValueError, match="no root"):
        Fold().root()
    with pytest.raises(ValueError, match="no root"):
        Tree().root()
    with pytest.raises(IndexError):
        Tree().update([(1, leaf(1))])
