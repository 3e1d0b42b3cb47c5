"""A validator that is started wrongly says so in one sentence."""

import pytest
from pydantic import SecretStr

from service.blocking import open_blocking_validator
from service.errors import SettingsRefused
from service.settings import Settings, read_settings
from service.validator import open_validator

NOTHING = SecretStr("")


@pytest.mark.parametrize("name", ["redis_url", "database_url"])
async def test_without_a_server_to_ask_no_validator_opens_and_the_setting_is_named(
    settings: Settings, name: str
) -> None:
    without = settings.model_copy(update={name: NOTHING})

    with pytest.raises(SettingsRefused, match=f"^TOKENWARD_{name.upper()} is empty: name a server"):
        async with open_validator(without):
            pass
    with (
        pytest.raises(SettingsRefused, match=f"^TOKENWARD_{name.upper()} is empty"),
        open_blocking_validator(without),
    ):
        pass


async def test_as_it_stands_in_the_readme_without_any_setting_it_is_told_which_is_missing() -> None:
    with pytest.raises(SettingsRefused, match=r"^TOKENWARD_REDIS_URL is empty"):
        async with open_validator(read_settings()):
            pass


async def test_a_validator_that_asks_the_service_needs_no_database(settings: Settings) -> None:
    upstream = {
        "database_url": NOTHING,
        "service_url": "http://127.0.0.1:9",
        "service_token": SecretStr("x"),
    }

    async with open_validator(settings.model_copy(update=upstream)) as validator:
        assert (await validator.check("none of ours")).is_valid is False
