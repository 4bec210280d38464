"""What changed between two looks, against a plain comparison."""

import os

from hypothesis import given
from hypothesis import strategies as st

from singer.files.census import Census
from singer.files.stat import stat_path
from singer.files.walk import Sighting

STAT = stat_path("/")


def seen(path, inode, size=0):
    return Sighting(path, STAT._replace(device=1, inode=inode, size=size))


def tree(*sightings):
    found = {}
    for path, stat in sightings:
        directory, name = os.path.split(path)
        found.setdefault(directory, {})[name] = stat
    return found


def test_an_unchanged_look_changes_nothing():
    census = Census()
    assert census.see_all(tree(seen("/l/a", 1), seen("/l/b", 2))).keys() == {(1, 1), (1, 2)}
    assert not census.see_all(tree(seen("/l/a", 1), seen("/l/b", 2)))
    assert not census.see(["/l"], tree(seen("/l/a", 1), seen("/l/b", 2)))


def test_a_hard_link_is_one_file_at_the_first_of_its_names():
    census = Census()
    assert census.see_all(tree(seen("/l/b", 1), seen("/l/a", 1))) == {(1, 1): seen("/l/a", 1)}
    assert census.see(["/l"], tree(seen("/l/b", 1))) == {(1, 1): seen("/l/b", 1)}
    assert census.see(["/l"], tree()) == {(1, 1): None}


def test_a_look_at_one_directory_leaves_the_others():
    census = Census()
    census.see_all(tree(seen("/l/a", 1), seen("/m/b", 2)))
    assert census.see(["/l"], tree()) == {(1, 1): None}
    assert census.where((1, 2)) == seen("/m/b", 2)
    assert census.at("/m/b") == (1, 2)
    assert list(census.directories) == ["/m"]


looks = st.lists(
    st.dictionaries(
        st.sampled_from([f"/{d}/{n}" for d in "xy" for n in "abc"]),
        st.tuples(st.integers(1, 4), st.integers(0, 1)),
    ),
    max_size=8,
)


@given(looks, st.data())
def test_changes_are_what_differs(all_looks, data):
    census, before = Census(), {}
    world = {}
    for look in all_looks:
        sightings = [seen(path, inode, size) for path, (inode, size) in look.items()]
        if data.draw(st.booleans(), "everywhere"):
            world = {each.path: each for each in sightings}
            changes = census.see_all(tree(*sightings))
        else:
            sightings = [each for each in sightings if each.path.startswith("/x/")]
            world = {p: s for p, s in world.items() if not p.startswith("/x/")}
            world |= {each.path: each for each in sightings}
            changes = census.see(["/x"], tree(*sightings))
        after = {}
        for path in sorted(world, reverse=True):
            after[1, world[path].stat.inode] = world[path]
        for key, sighting in changes.items():
            assert sighting == after.get(key)
        for key in before.keys() | after.keys():
            if before.get(key) != after.get(key):
                assert key in changes
            assert census.where(key) == after.get(key)
            assert (key in census) == (key in after)
        before = after
