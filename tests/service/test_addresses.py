"""Which client addresses a token may be used from; a range is never read wider than written."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import range_lists

from service.addresses import Address, clean_ranges, counted_as, is_within, narrows, parse_address
from service.errors import InvalidInput

# Every address that lies in, or right beside, a range of the strategy.
SAMPLES: tuple[Address, ...] = (
    *(IPv4Address(0x0A000000 - 2 + offset) for offset in range(20)),
    *(IPv6Address((0xFD << 120) - 2 + offset) for offset in range(20)),
)


def allowed(ranges: Iterable[str]) -> set[Address]:
    """Return the samples that ranges allow; none named is anywhere."""
    networks = [ip_network(text) for text in ranges]
    return {address for address in SAMPLES if not networks or is_within(address, networks)}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", IPv4Address("192.0.2.1")),
        (" 192.0.2.1 ", IPv4Address("192.0.2.1")),
        ("2001:DB8::1", IPv6Address("2001:db8::1")),
        ("::ffff:192.0.2.1", IPv4Address("192.0.2.1")),
        ("::ffff:c000:201", IPv4Address("192.0.2.1")),
        ("::192.0.2.1", IPv6Address("::c000:201")),
        ("64:ff9b::c000:201", IPv6Address("64:ff9b::c000:201")),
    ],
)
def test_a_client_address_is_read_and_a_mapped_one_is_ipv4(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert type(parse_address(text)) is type(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unknown",
        "_hidden",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "0",
        "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460",
        "\u0661.0.0.1",
        "192.0.2.01",
        "192.0.2.256",
        "192.0.2.1:443",
        "192.0.2.1/32",
        "192.0.2.1, 192.0.2.2",
        "[::1]",
        "[::1]:443",
        "::g",
        ":::",
        "localhost",
        "192.0.2.1\0",
        "192.0.2\n.1",
        "1" * 2**20,
        "\ud800",
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_anything_else_is_no_client_address(text: str) -> None:
    assert parse_address(text) is None


@pytest.mark.parametrize("zone", ["eth0", "x" * 100, "\0", "\r\nX-Forged: yes"], ids=ascii)
def test_a_zone_does_not_become_part_of_an_address(zone: str) -> None:
    address = parse_address(f"fe80::1%{zone}")

    assert address is None or str(address) == "fe80::1"


@given(st.text())
def test_junk_is_no_client_address_and_does_not_raise(text: str) -> None:
    address = parse_address(text)

    assert address is None or ip_address(str(address)) == address


@pytest.mark.parametrize(
    ("texts", "ranges"),
    [
        ([], ()),
        (["192.0.2.1"], ("192.0.2.1/32",)),
        (["2001:DB8:0:0::/32", "10.0.0.0/8"], ("10.0.0.0/8", "2001:db8::/32")),
        ([" 10.0.0.0/8 ", "10.0.0.0/255.0.0.0", "10.0.0.0/8"], ("10.0.0.0/8",)),
        (["0.0.0.0/0", "::/0"], ("0.0.0.0/0", "::/0")),
        (["::1"], ("::1/128",)),
    ],
)
def test_ranges_are_stored_in_one_form_sorted_and_once(
    texts: list[str], ranges: tuple[str, ...]
) -> None:
    assert clean_ranges(texts) == ranges
    assert clean_ranges(ranges) == ranges


@pytest.mark.parametrize(
    "text", ["::ffff:10.0.0.0/104", "10.0.0.1/8", "192.0.2.1/31", "2001:db8::1/64", "0.0.0.1/0"]
)
def test_a_range_that_would_mean_something_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        clean_ranges(["192.0.2.0/24", text])

    assert refused.value.message.startswith(f"`{text}` is not an address or a CIDR range such as ")
    assert refused.value.field == "allowedIpRanges"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "10.*",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/-1",
        "10.0.0.0/",
        "/8",
        "10/8",
        "10.0.0.0-9",
        "10.0.0.0/8,11.0.0.0/8",
        "10.0.0.0/8 11.0.0.0/8",
        "10.0.0.0/8/8",
        "any",
        "1",
        "10.0.0.0/\u0668",
        "10.0.0.0/8\0",
        "a" * 2**20,
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_anything_else_is_no_range(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        clean_ranges([text])

    assert len(refused.value.message) < 150


@pytest.mark.parametrize("text", ["fe80::%eth0/64", "fe80::1%a\nb", "::1%" + "x" * 100], ids=ascii)
def test_a_range_with_a_zone_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        clean_ranges([text])


def test_50_ranges_are_allowed_and_51_refused() -> None:
    texts = [f"10.0.{number}.0/24" for number in range(51)]

    assert len(clean_ranges(texts[:50])) == 50
    with pytest.raises(InvalidInput) as refused:
        clean_ranges(texts)
    assert refused.value.message == "Name at most 50 ranges."


@pytest.mark.parametrize(
    ("address", "network", "within"),
    [
        ("192.0.2.0", "192.0.2.0/24", True),
        ("192.0.2.255", "192.0.2.0/24", True),
        ("192.0.3.0", "192.0.2.0/24", False),
        ("192.0.1.255", "192.0.2.0/24", False),
        ("::ffff:192.0.2.1", "192.0.2.0/24", True),
        ("::ffff:192.0.3.1", "192.0.2.0/24", False),
        ("0.0.0.1", "::/0", False),
        ("::1", "0.0.0.0/0", False),
        ("::c000:201", "192.0.2.0/24", False),
    ],
)
def test_an_address_lies_in_a_range_of_its_own_family_alone(
    address: str,
    network: str,
    within: bool,  # noqa: FBT001 - a table
) -> None:
    parsed = parse_address(address)

    assert parsed is not None
    assert is_within(parsed, [ip_network(network)]) is within
    assert not is_within(parsed, [])


@pytest.mark.parametrize(
    ("ranges", "previous", "narrower"),
    [
        ([], [], True),
        (["10.0.0.0/8"], [], True),
        (["10.0.0.0/8"], ["10.0.0.0/8"], True),
        (["10.1.0.0/16", "::1/128"], ["::/0", "10.0.0.0/8"], True),
        ([], ["0.0.0.0/0"], False),
        (["10.0.0.0/7"], ["10.0.0.0/8"], False),
        (["10.0.0.0/8", "11.0.0.0/8"], ["10.0.0.0/8"], False),
        (["::/128"], ["0.0.0.0/0"], False),
        (["0.0.0.0/32"], ["::/0"], False),
        (["::ffff:a00:0/104"], ["10.0.0.0/8"], False),
    ],
)
def test_a_change_narrows_where_each_new_range_lies_in_an_old_one(
    ranges: list[str],
    previous: list[str],
    narrower: bool,  # noqa: FBT001 - a table
) -> None:
    assert narrows(ranges, previous) is narrower


@given(range_lists(), range_lists())
def test_a_narrowing_never_widens(ranges: list[str], previous: list[str]) -> None:
    if narrows(ranges, previous):
        assert allowed(ranges) <= allowed(previous)


@given(range_lists(), range_lists())
def test_what_would_allow_more_does_not_narrow(ranges: list[str], previous: list[str]) -> None:
    if allowed(ranges) - allowed(previous):
        assert not narrows(ranges, previous)


@given(range_lists())
def test_the_same_ranges_narrow(ranges: list[str]) -> None:
    assert narrows(ranges, ranges)
    assert narrows(reversed(ranges), iter(ranges))


@given(range_lists(), range_lists(), range_lists())
def test_narrowing_twice_narrows(first: list[str], second: list[str], third: list[str]) -> None:
    if narrows(first, second) and narrows(second, third):
        assert narrows(first, third)


@given(range_lists(), range_lists())
def test_ranges_that_narrow_each_other_allow_the_same(left: list[str], right: list[str]) -> None:
    if narrows(left, right) and narrows(right, left):
        assert allowed(left) == allowed(right)


@given(range_lists())
def test_cleaning_changes_nothing_that_is_allowed(ranges: list[str]) -> None:
    assert allowed(clean_ranges(ranges)) == allowed(ranges)


def test_attempts_are_counted_by_what_a_client_cannot_change_at_will() -> None:
    subscriber = {counted_as("2001:db8:1:2::1"), counted_as("2001:db8:1:2:ffff::9")}

    assert subscriber == {"2001:db8:1:2::/64"}
    assert counted_as("2001:db8:1:3::1") not in subscriber
    assert counted_as("192.0.2.7") != counted_as("192.0.2.8")
    assert counted_as("::ffff:192.0.2.7") == counted_as("192.0.2.7") == "192.0.2.7"
    assert counted_as(None) == "None"
