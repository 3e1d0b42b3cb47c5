"""Time is told in UTC; leases are measured through sleep; ids sort by their millisecond."""

import time
from datetime import UTC, timedelta

from service.clock import SystemClock, boottime, new_id


def test_the_system_clock_tells_utc() -> None:
    now = SystemClock().now()

    assert now.tzinfo is UTC


def test_leases_are_measured_on_the_clock_that_counts_sleep() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)

    measured = boottime()

    assert before <= measured <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_an_id_is_a_uuid_of_version_7_that_begins_with_its_millisecond() -> None:
    millisecond = timedelta(milliseconds=1)
    epoch = SystemClock().now().fromtimestamp(0, UTC)
    before = (SystemClock().now() - epoch) // millisecond

    identifier = new_id()

    after = (SystemClock().now() - epoch) // millisecond
    assert before <= identifier.int >> 80 <= after
    assert identifier.version == 7
    assert identifier.variant == "specified in RFC 4122"


def test_ids_of_the_same_millisecond_differ() -> None:
    identifiers = {new_id() for _ in range(1000)}

    assert len(identifiers) == 1000


def test_every_other_bit_of_an_id_is_left_to_chance() -> None:
    numbers = [new_id().int for _ in range(1000)]

    ever = always = numbers[0]
    for number in numbers:
        ever, always = ever | number, always & number
    chance = (1 << 80) - 1 & ~(0xF << 76) & ~(0b11 << 62)
    assert ever & chance == chance
    assert always & chance == 0
