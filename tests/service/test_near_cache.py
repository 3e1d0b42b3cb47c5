"""A validator's own memory is bounded, forgets on word, and dies by itself without any."""

from dataclasses import replace
from uuid import UUID

import pytest
from strategies import record

from service.cache import Drop, read_drop
from service.near_cache import UNKNOWN_ENTRIES, NearCache

LEASE = 4.0
ACCOUNT, RESELLER, STRANGER = UUID(int=10), UUID(int=20), UUID(int=30)


class Seconds:
    """Seconds since boot, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def near(seconds: Seconds) -> NearCache:
    return NearCache(3, now=seconds)


def digest(number: int) -> bytes:
    """Return a made-up digest."""
    return number.to_bytes(32)


def test_what_was_stored_is_found_with_its_instants(near: NearCache) -> None:
    near.store(digest(1), record(), asked_at=999.0, lease=LEASE)

    entry = near.find(digest(1))
    assert entry is not None
    assert entry.record == record()
    assert entry.deadline == 1003.0
    assert entry.refresh_at == pytest.approx(1001.4)
    assert near.find(digest(2)) is None
    assert len(near) == 1


def test_that_a_secret_is_unknown_is_remembered_too(near: NearCache) -> None:
    near.store(digest(1), None, asked_at=1000.0, lease=LEASE)

    entry = near.find(digest(1))
    assert entry is not None
    assert entry.record is None


@pytest.mark.parametrize("known", [True, False])
def test_an_entry_dies_at_its_deadline(near: NearCache, seconds: Seconds, known: bool) -> None:  # noqa: FBT001 - a table
    near.store(digest(1), record() if known else None, asked_at=1000.0, lease=LEASE)

    seconds.now = 1003.999
    assert near.find(digest(1)) is not None
    seconds.now = 1004.0
    assert near.find(digest(1)) is None


def test_a_process_that_was_paused_wakes_to_dead_entries(near: NearCache, seconds: Seconds) -> None:
    for number in range(3):
        near.store(digest(number), record(), asked_at=1000.0, lease=LEASE)

    seconds.now += 3600

    assert [near.find(digest(number)) for number in range(3)] == [None, None, None]


def test_a_lease_counts_from_the_question_not_from_the_answer(
    near: NearCache, seconds: Seconds
) -> None:
    seconds.now = 1005.0
    near.store(digest(1), record(), asked_at=1000.0, lease=LEASE)

    assert near.find(digest(1)) is None


def test_finding_does_not_lengthen_a_lease(near: NearCache, seconds: Seconds) -> None:
    near.store(digest(1), record(), asked_at=1000.0, lease=LEASE)

    for _ in range(100):
        near.find(digest(1))
    seconds.now = 1004.0

    assert near.find(digest(1)) is None


def test_a_newer_answer_takes_the_place_of_an_older_one(near: NearCache, seconds: Seconds) -> None:
    near.store(digest(1), record(), asked_at=1000.0, lease=LEASE)
    seconds.now = 1002.0
    near.store(digest(1), replace(record(), revoked=True), asked_at=1001.0, lease=LEASE)

    entry = near.find(digest(1))
    assert entry is not None
    assert entry.record == replace(record(), revoked=True)
    assert entry.deadline == 1005.0
    assert len(near) == 1


def test_a_secret_that_becomes_known_is_known(near: NearCache) -> None:
    near.store(digest(1), None, asked_at=999.0, lease=LEASE)
    near.store(digest(1), record(), asked_at=1000.0, lease=LEASE)

    entry = near.find(digest(1))
    assert entry is not None
    assert entry.record == record()


def test_a_secret_that_becomes_unknown_is_unknown(near: NearCache) -> None:
    near.store(digest(1), record(), asked_at=999.0, lease=LEASE)
    near.store(digest(1), None, asked_at=1000.0, lease=LEASE)

    entry = near.find(digest(1))
    assert entry is not None
    assert entry.record is None


def test_a_dead_record_does_not_hide_that_its_secret_is_unknown(
    near: NearCache, seconds: Seconds
) -> None:
    near.store(digest(1), record(), asked_at=1000.0, lease=LEASE)
    seconds.now = 1010.0
    near.store(digest(1), None, asked_at=1010.0, lease=LEASE)

    assert near.find(digest(1)) is not None


def test_known_entries_are_bounded_and_the_oldest_goes_first(near: NearCache) -> None:
    for number in range(5):
        near.store(digest(number), record(), asked_at=1000.0, lease=LEASE)

    found = [number for number in range(5) if near.find(digest(number))]
    assert found == [2, 3, 4]
    assert len(near) == 3


def test_storing_again_pushes_nobody_out(near: NearCache) -> None:
    for number in (0, 1, 2, 0, 1, 2):
        near.store(digest(number), record(), asked_at=1000.0, lease=LEASE)

    assert all(near.find(digest(number)) for number in range(3))


def test_a_flood_of_unknown_secrets_is_bounded_and_pushes_no_known_one_out(
    near: NearCache,
) -> None:
    near.store(digest(0), record(), asked_at=1000.0, lease=LEASE)

    for number in range(1, UNKNOWN_ENTRIES + 101):
        near.store(digest(number), None, asked_at=1000.0, lease=LEASE)

    entry = near.find(digest(0))
    assert entry is not None
    assert entry.record == record()
    assert len(near) == UNKNOWN_ENTRIES + 1


@pytest.mark.parametrize("known", [True, False])
def test_a_dropped_secret_is_forgotten_and_no_other(near: NearCache, known: bool) -> None:  # noqa: FBT001 - a table
    near.store(digest(1), record() if known else None, asked_at=1000.0, lease=LEASE)
    near.store(digest(2), record(), asked_at=1000.0, lease=LEASE)

    near.drop(Drop.of_secret(digest(1)))

    assert near.find(digest(1)) is None
    assert near.find(digest(2)) is not None
    assert len(near) == 1


@pytest.mark.parametrize(
    ("asked_at", "stored"), [(999.0, False), (1000.0, False), (1000.001, True)]
)
@pytest.mark.parametrize("word", ["drop", "account", "stranger", "clear"])
def test_an_answer_is_stored_only_where_its_question_came_after_the_drop(
    near: NearCache,
    seconds: Seconds,
    word: str,
    asked_at: float,
    stored: bool,  # noqa: FBT001 - a table
) -> None:
    if word == "drop":
        near.drop(Drop.of_secret(digest(1)))
    elif word == "clear":
        near.clear()
    else:
        # Whose the answer under way will be is not known yet.
        near.drop(Drop.of_account(ACCOUNT if word == "account" else STRANGER))

    seconds.now = 1001.0
    near.store(digest(1), record(ACCOUNT), asked_at=asked_at, lease=LEASE)

    assert (near.find(digest(1)) is not None) is stored


def test_the_answer_that_a_secret_is_unknown_is_overtaken_by_a_drop_too(near: NearCache) -> None:
    near.drop(Drop.of_secret(digest(1)))

    near.store(digest(1), None, asked_at=999.0, lease=LEASE)

    assert near.find(digest(1)) is None


def test_a_drop_of_one_secret_overtakes_no_answer_of_another(near: NearCache) -> None:
    near.drop(Drop.of_secret(digest(1)))

    near.store(digest(2), record(), asked_at=999.0, lease=LEASE)

    assert near.find(digest(2)) is not None


def test_the_latest_of_two_drops_counts(near: NearCache, seconds: Seconds) -> None:
    near.drop(Drop.of_secret(digest(1)))
    seconds.now = 1002.0
    near.drop(Drop.of_secret(digest(1)))

    near.store(digest(1), record(), asked_at=1001.0, lease=LEASE)

    assert near.find(digest(1)) is None


def test_a_flood_of_drops_forgets_no_drop(near: NearCache, seconds: Seconds) -> None:
    near.drop(Drop.of_secret(digest(0)))
    seconds.now = 1001.0

    for number in range(1, UNKNOWN_ENTRIES + 101):
        near.drop(Drop.of_secret(digest(number)))

    near.store(digest(0), record(), asked_at=999.0, lease=LEASE)
    assert near.find(digest(0)) is None
    assert len(near) == 0


def test_a_reseller_that_is_dropped_takes_its_fleet_along(near: NearCache) -> None:
    near.store(digest(1), record(ACCOUNT, RESELLER), asked_at=1000.0, lease=LEASE)
    near.store(digest(2), record(RESELLER, RESELLER), asked_at=1000.0, lease=LEASE)
    near.store(digest(3), record(STRANGER, None), asked_at=1000.0, lease=LEASE)

    near.drop(Drop.of_account(RESELLER))

    assert [bool(near.find(digest(number))) for number in (1, 2, 3)] == [False, False, True]


def test_a_customer_that_is_dropped_leaves_its_reseller_and_neighbours(near: NearCache) -> None:
    near.store(digest(1), record(ACCOUNT, RESELLER), asked_at=1000.0, lease=LEASE)
    near.store(digest(2), record(RESELLER, None), asked_at=1000.0, lease=LEASE)
    near.store(digest(3), record(STRANGER, RESELLER), asked_at=1000.0, lease=LEASE)

    near.drop(Drop.of_account(ACCOUNT))

    assert [bool(near.find(digest(number))) for number in (1, 2, 3)] == [False, True, True]


def test_clearing_forgets_everything(near: NearCache) -> None:
    near.store(digest(1), record(), asked_at=1000.0, lease=LEASE)
    near.store(digest(2), None, asked_at=1000.0, lease=LEASE)

    near.clear()

    assert len(near) == 0
    assert (near.find(digest(1)), near.find(digest(2))) == (None, None)


@pytest.mark.parametrize(
    "data",
    [
        *(b"TOKEN zz a 1", b"TOKEN  a 1", b"TOKEN ab a 1", b"ACCOUNT x a 1", b"ACCOUNT - a 1"),
        *(b"TOKEN", b"ACCOUNT", b"\xff \xff \xff \xff"),
    ],
)
def test_a_message_that_tells_no_drop_is_never_one(data: bytes) -> None:
    """What would be read as one must be a digest or an id, since a drop parses it unguarded."""
    assert read_drop({"data": data}) is None
