"""Hypothesis strategies of the things that Tokenward is about. Nothing here is a real secret."""

import string
import unicodedata
from datetime import UTC, datetime
from ipaddress import ip_network
from itertools import product
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st

from service.addresses import Network
from service.secret_format import ALPHABET, RANDOM_CHARACTERS, checksum
from service.verdict import AccountKind, CredentialKind, Record

# A busy machine is not a failure.
settings.register_profile("tokenward", deadline=None)
settings.load_profile("tokenward")

CATALOGUE = tuple(
    f"{noun}:{verb}" for noun, verb in product(("dns", "mail", "dns_zone"), ("read", "write"))
)

CUSTOMER, RESELLER = UUID(int=3), UUID(int=4)


def labels() -> st.SearchStrategy[str]:
    """Environment parts of secrets."""
    return st.text(string.ascii_lowercase, min_size=1, max_size=12)


@st.composite
def secret_texts(draw: st.DrawFn, prefixes: tuple[str, ...] = ("tw", "tws")) -> str:
    """Well-formed secrets, built anew each time."""
    random = draw(st.text(ALPHABET, min_size=RANDOM_CHARACTERS, max_size=RANDOM_CHARACTERS))
    body = f"{draw(st.sampled_from(prefixes))}_{draw(labels())}_{random}"
    return body + checksum(body)


def pepper_keys() -> st.SearchStrategy[bytes]:
    """Peppers of every allowed length."""
    return st.binary(min_size=32, max_size=64)


def scope_texts() -> st.SearchStrategy[str]:
    """Scopes of few nouns, so that they often cover one another."""
    nouns = sorted({right.partition(":")[0] for right in CATALOGUE})
    return st.sampled_from([*CATALOGUE, *(f"{noun}:*" for noun in nouns), "*"])


def scope_sets() -> st.SearchStrategy[frozenset[str]]:
    """What a token, an account or a reseller may hold; also nothing."""
    return st.frozensets(scope_texts(), max_size=5)


def instants() -> st.SearchStrategy[datetime]:
    """Aware instants to the microsecond."""
    return st.datetimes(datetime(1970, 1, 2), datetime(9998, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - made aware


def names() -> st.SearchStrategy[str]:
    """Names as they are stored: NFC, 1-50 characters."""
    letters = st.characters(categories=("L", "Nd", "Sm", "Po"), max_codepoint=0xFFF)
    return (
        st.text(letters, min_size=1, max_size=50)
        .map(lambda text: unicodedata.normalize("NFC", text))
        .filter(lambda text: 1 <= len(text) <= 50 and "=?" not in text)
    )


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Small neighbouring networks of both families, so that they often contain one another."""
    base, bits = draw(st.sampled_from([(0x0A000000, 32), (0xFD << 120, 128)]))
    prefix = draw(st.integers(bits - 4, bits))
    host = base + draw(st.integers(0, 15))
    masked = host >> (bits - prefix) << (bits - prefix)
    packed = masked.to_bytes(bits // 8)
    return ip_network((packed, prefix))


def range_lists() -> st.SearchStrategy[list[str]]:
    """What a token may be limited to; empty is anywhere."""
    return st.lists(networks().map(str), max_size=4)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Records in every state."""
    account_id = draw(st.uuids())
    return Record(
        token_id=draw(st.uuids()),
        secret_id=draw(st.uuids()),
        kind=draw(st.sampled_from(CredentialKind)),
        account_id=account_id,
        account_kind=draw(st.sampled_from(AccountKind)),
        reseller_id=draw(st.none() | st.just(account_id) | st.uuids()),
        member_id=draw(st.none() | st.uuids()),
        scopes=tuple(sorted(draw(scope_sets()))),
        ranges=tuple(draw(range_lists())),
        issued_at=draw(instants()),
        not_before=draw(st.none() | instants()),
        expires_at=draw(st.none() | instants()),
        revoked=draw(st.booleans()),
        suspended=draw(st.booleans()),
    )


def record(account_id: UUID = CUSTOMER, reseller_id: UUID | None = RESELLER) -> Record:
    """Return one record that is valid from anywhere, for everything, for ever."""
    return Record(
        token_id=UUID(int=1),
        secret_id=UUID(int=2),
        kind=CredentialKind.API_TOKEN,
        account_id=account_id,
        account_kind=AccountKind.CUSTOMER,
        reseller_id=reseller_id,
        member_id=None,
        scopes=("*",),
        ranges=(),
        issued_at=datetime(2026, 1, 1, tzinfo=UTC),
        not_before=None,
        expires_at=None,
        revoked=False,
        suspended=False,
    )
