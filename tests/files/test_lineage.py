"""Which path a rotated file belongs to."""

from __future__ import annotations

import pytest

from singer.files.lineage import bases, lineage_of

APP = "/logs/app.log"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/logs/app.log", []),
        ("/logs/app.log.1", ["/logs/app.log"]),
        ("/logs/app.log.1.gz", ["/logs/app.log"]),
        ("/logs/app.log-20240131", ["/logs/app.log"]),
        ("/logs/app.log-20240131-1706745599", ["/logs/app.log-20240131", "/logs/app.log"]),
        ("/logs/app.log.1.2", ["/logs/app.log.1"]),
        ("/logs/app-2024-01-31.log", []),
        ("/logs.1/app", []),
        ("/logs/.1", []),
    ],
)
def test_bases_are_the_paths_a_name_is_rotated_from(path, expected):
    assert list(bases(path)) == expected


def test_the_longest_base_comes_first():
    found = list(bases("/logs/app-20240131.20240201.7"))
    assert found == ["/logs/app-20240131.20240201", "/logs/app-20240131"]


def test_a_rotated_name_belongs_to_its_path():
    assert lineage_of("/logs/app.log.1", [APP, "/logs/b.log"]) == APP
    assert lineage_of("/logs/app.log.1.zst", [APP]) == APP


@pytest.mark.parametrize(
    "path",
    ["/logs/app.log", "/logs/app.log2", "/logs/app.log.bak", "/elsewhere/app.log.1", "/logs/b.log"],
)
def test_other_names_belong_to_none(path):
    assert lineage_of(path, [APP]) is None


def test_the_longest_path_wins():
    paths = ["/logs/app", "/logs/app-20240131"]
    assert lineage_of("/logs/app-20240131.20240201", paths) == "/logs/app-20240131"


def test_without_paths_nothing_belongs_anywhere():
    assert lineage_of("/logs/app.log.1", []) is None
    assert lineage_of("/logs/old.txt", [], is_rotated=lambda _: True) is None


def test_in_a_rotated_directory_only_the_name_counts():
    options = {"rotated_dirs": ["/old"]}
    assert lineage_of("/old/app.log.1", ["/x/b.log", APP], **options) == APP
    assert lineage_of("/old/app.log", [APP], **options) is None
    assert lineage_of("/logs/app.log.1", [APP], **options) == APP
    assert lineage_of("/other/app.log.1", [APP], **options) is None


def test_a_name_of_a_rotated_glob_goes_to_the_most_similar_path_beside_it():
    paths = ["/logs/app.log", "/logs/web.log", "/aaa/app-old.log"]
    assert lineage_of("/logs/app-old", paths, is_rotated=lambda _: True) == "/logs/app.log"
    assert lineage_of("/logs/web.1", paths, is_rotated=lambda _: True) == "/logs/web.log"
    assert lineage_of("/logs/app-old", paths, is_rotated=lambda _: False) is None


def test_a_name_of_a_rotated_glob_without_a_path_beside_it_goes_to_the_most_similar_of_all():
    paths = ["/logs/app.log", "/logs/web.log"]
    assert lineage_of("/attic/web.old", paths, is_rotated=lambda _: True) == "/logs/web.log"


def test_a_rotated_name_counts_more_than_a_rotated_glob():
    paths = ["/logs/app.log", "/logs/app.log.old"]
    assert lineage_of("/logs/app.log.1", paths, is_rotated=lambda _: True) == "/logs/app.log"
