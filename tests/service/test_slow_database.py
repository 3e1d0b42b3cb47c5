"""A database that is only slow costs a validator its first answers, never all of them."""

from urllib.parse import urlsplit
from uuid import UUID

import pytest
from factories import Platform, make_token
from fault_proxy import REFUSE, Behaviour, FaultProxy, proxying
from pydantic import SecretStr

from service.access.system import CredentialSource
from service.composition import Service
from service.errors import Unavailable
from service.secret_format import digest_of
from service.settings import Settings
from service.tokens import Created

# To connect takes some six trips, a read over an open connection two.
FAR = Behaviour("far", delay_seconds=0.13)
TRIES_MAX = 8


@pytest.fixture
async def token(service: Service, platform: Platform) -> Created:
    return await make_token(service, platform.customer)


def through(proxy: FaultProxy, settings: Settings) -> Settings:
    """Return settings that lead to the database through a proxy."""
    parts = urlsplit(settings.database_url.get_secret_value())
    place = f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}"
    return settings.model_copy(
        update={"database_url": SecretStr(parts._replace(netloc=place).geturl())}
    )


async def tries_until_found(source: CredentialSource, digest: bytes) -> tuple[int, UUID]:
    for number in range(1, TRIES_MAX + 1):
        try:
            record = await source.find(digest)
        except Unavailable:
            continue
        assert record is not None
        return number, record.token_id
    raise AssertionError("no read has ever been answered")


async def test_where_connecting_takes_longer_than_a_read_may_the_next_read_still_succeeds(
    token: Created, settings: Settings
) -> None:
    digest = digest_of(token.secret, next(iter(settings.pepper_keys.values())))
    port = urlsplit(settings.database_url.get_secret_value()).port or 5432
    with proxying() as proxies:
        proxy = proxies.open(port)
        proxy.behave(REFUSE)
        async with CredentialSource.open(through(proxy, settings)) as source:
            with pytest.raises(Unavailable):
                await source.find(digest)  # no database when it opened, nor now
            proxy.behave(FAR)

            tries, found = await tries_until_found(source, digest)

    assert tries > 1, "connecting was meant to take longer than a read may"
    assert found == token.token.id


async def test_the_first_secret_after_the_start_waits_for_no_connection(
    token: Created, settings: Settings
) -> None:
    digest = digest_of(token.secret, next(iter(settings.pepper_keys.values())))
    port = urlsplit(settings.database_url.get_secret_value()).port or 5432
    with proxying() as proxies:
        proxy = proxies.open(port)
        async with CredentialSource.open(through(proxy, settings)) as source:
            proxy.behave(Behaviour("near", delay_seconds=0.06))

            tries, found = await tries_until_found(source, digest)

    assert tries == 1
    assert found == token.token.id
