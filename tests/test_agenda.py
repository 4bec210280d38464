"""What is to be asked about, and when."""

from singer.agenda import Agenda


def test_what_is_to_be_asked_is_taken_once():
    agenda = Agenda()
    agenda.ask(["a", "b"])
    assert agenda.take(0) == {"a", "b"}
    assert agenda.take(0) == set()


def test_what_was_put_off_is_due_when_everything_was_looked_at():
    agenda = Agenda()
    agenda.ask_later(["a"])
    assert agenda.take(0) == set()
    agenda.looked_everywhere()
    assert agenda.take(0) == {"a"}


def test_who_waits_is_asked_about_when_there_is_room_the_first_first():
    agenda = Agenda()
    for path, files in (("a", 1), ("b", 2), ("c", 1)):
        agenda.wait(path, files)
    assert agenda.waiting_files == 4
    assert agenda.take(0) == set()
    assert agenda.take(2) == {"a", "b"}
    assert agenda.waits("c")
    assert agenda.take(1) == {"c"}
    assert not agenda.waiting_files


def test_a_path_with_more_files_than_there_is_room_is_asked_about():
    agenda = Agenda()
    agenda.wait("a", 5)
    assert agenda.take(1) == {"a"}
