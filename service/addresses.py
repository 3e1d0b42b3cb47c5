"""Client addresses and the ranges that a token may be limited to. Pure."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from service.errors import InvalidInput

RANGES_MAX = 50
SUBSCRIBER_PREFIX = 64
PARSED_MAX = 4_096
ADDRESS_LENGTH_MAX = 45

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def parse_address(text: str) -> Address | None:
    """Return a client address, an IPv4 one also where it came mapped into IPv6; None if neither."""
    text = text.strip()
    # What is remembered is short, whatever clients send.
    return _parse_address(text) if len(text) <= ADDRESS_LENGTH_MAX else None


@lru_cache(maxsize=PARSED_MAX)  # the same clients and proxies come again and again
def _parse_address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if "%" in text:
        return None  # a zone is free text, and means something on one link of one machine only
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address
    return address


def counted_as(address: str | None) -> str:
    """Return under which name a client's attempts are counted: an IPv6 one under its /64.

    That is what one subscriber is given at the least, to change its address in at will.
    """
    parsed = parse_address(address or "")
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, SUBSCRIBER_PREFIX), strict=False))
    return str(parsed)


def clean_ranges(texts: Iterable[str], *, field: str = "allowedIpRanges") -> tuple[str, ...]:
    """Return address ranges in canonical CIDR form, sorted, each once.

    Raises:
        InvalidInput: If there are more than 50, or one is no address or CIDR range, or has bits
            set beyond its prefix (``10.0.0.1/8`` is more often a mistake than a wish).
    """
    texts = tuple(texts)
    if len(texts) > RANGES_MAX:
        raise InvalidInput(f"Name at most {RANGES_MAX} ranges.", field=field)
    networks: set[Network] = set()
    for text in texts:
        try:
            if "%" in text:
                raise ValueError("a zone")
            network = ip_network(text.strip())
            if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped:
                raise ValueError("an IPv4 range, which no client would ever match")
            networks.add(network)
        except ValueError:
            raise InvalidInput(
                f"`{text[:50]}` is not an address or a CIDR range"
                " such as 10.0.0.0/8 (not 10.0.0.1/8).",
                field=field,
            ) from None
    return tuple(sorted(str(network) for network in networks))


@lru_cache(maxsize=PARSED_MAX)
def parse_networks(ranges: tuple[str, ...]) -> tuple[Network, ...]:
    """Return canonical ranges as networks; parsed once for all tokens that are limited to them."""
    return tuple(ip_network(text) for text in ranges)


def is_within(address: Address, networks: Iterable[Network]) -> bool:
    """Return whether the address lies in one of the ranges."""
    # A plain loop: `any` takes twice as long, and a network holds no address of the other family.
    for network in networks:  # noqa: SIM110 - as above
        if address in network:
            return True
    return False


def narrows(ranges: Iterable[str], previous: Iterable[str]) -> bool:
    """Return whether ranges allow nothing that the previous ones did not. Empty means anywhere."""
    old_networks = [ip_network(text) for text in previous]
    new_networks = [ip_network(text) for text in ranges]
    if not old_networks:
        return True
    return bool(new_networks) and all(
        any(new.version == old.version and new.subnet_of(old) for old in old_networks)  # type: ignore[arg-type] # same version
        for new in new_networks
    )
