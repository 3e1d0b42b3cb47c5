"""A senseless setting stops the start with one sentence that names it and tells no secret."""

import traceback
from typing import Any

import pytest
from pydantic import ValidationError

from service.errors import SettingsRefused
from service.scopes import is_known
from service.settings import DEVELOPMENT_PEPPER, Settings, read_settings

PEPPER = "p" * 32
PASSWORDS = {
    "database_url": "postgres://app:database-password@db.example/tokenward",
    "database_owner_url": "postgres://owner:owner-password@db.example/tokenward",
    "redis_url": "rediss://:cache-password@cache.example/0",
    "broker_url": "rediss://:broker-password@broker.example/0",
    "smtp_password": "relay-password",
    "peppers": f"2:{PEPPER},1:{'q' * 64}",
}
PRODUCTION: dict[str, Any] = {
    **PASSWORDS,
    "environment": "production",
    "public_url": "https://tokens.example.com",
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TOKENWARD_{name.upper()}", raising=False)


def refusal(**overrides: object) -> str:
    """Return the one sentence by which settings are refused."""
    with pytest.raises(SettingsRefused) as refused:
        read_settings(**overrides)
    text = str(refused.value)
    assert len(text.splitlines()) == 1, text
    return text


def test_the_defaults_are_for_development() -> None:
    settings = read_settings()

    assert settings.environment == "development"
    assert settings.pepper_keys == {1: b"development-only-pepper-never-for-production"}
    assert settings.max_lifetime_days is None
    assert settings.notice_threshold_days == (30, 7, 1)
    assert not settings.uses_tls


def test_a_whole_production_is_accepted() -> None:
    settings = read_settings(**PRODUCTION)

    assert settings.uses_tls
    assert settings.pepper_keys == {2: b"p" * 32, 1: b"q" * 64}
    assert list(settings.pepper_keys) == [2, 1]


def test_the_environment_is_read_and_an_override_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENWARD_TOKEN_LABEL", "test")
    monkeypatch.setenv("TOKENWARD_LEASE_SECONDS", "2.5")
    monkeypatch.setenv("TOKENWARD_MAX_LIFETIME_DAYS", "")
    monkeypatch.setenv("TOKENWARD_TRUSTED_PROXIES", "10.0.0.0/8, ::1/128")
    monkeypatch.setenv("TOKENWARD_NOTICE_THRESHOLD_DAYS", "1,14,1")

    settings = read_settings(token_label="ci")

    assert settings.token_label == "ci"
    assert settings.lease_seconds == 2.5
    assert settings.max_lifetime_days is None
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    assert settings.notice_threshold_days == (14, 1)


def test_a_mistake_in_the_environment_is_told_by_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOKENWARD_LEASE_SECONDS", "soon")

    assert refusal() == (
        "TOKENWARD_LEASE_SECONDS: "
        "Input should be a valid number, unable to parse string as a number"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("environment", "Production"),
        ("environment", "staging"),
        ("environment", ""),
        ("database_pool_size", "0"),
        ("database_pool_size", "201"),
        ("database_pool_size", "ten"),
        ("bind_port", "-1"),
        ("bind_port", "65536"),
        ("bind_port", "http"),
        ("public_url", ""),
        ("public_url", "tokens.example.com"),
        ("public_url", "/tokens"),
        ("public_url", "https://"),
        ("public_url", "ftp://tokens.example.com"),
        ("public_url", "javascript:alert(1)"),
        ("public_url", "https://[::1"),
        ("trusted_proxies", "proxy.example.com"),
        ("trusted_proxies", "10.0.0.1/8"),
        ("trusted_proxies", "10.0.0.0/8,nonsense"),
        ("token_label", ""),
        ("token_label", "Live"),
        ("token_label", "a" * 13),
        ("token_label", "live\n"),
        ("token_label", "l1ve"),
        ("token_label", "l\u0456ve"),
        ("lease_seconds", "0"),
        ("lease_seconds", "-1"),
        ("lease_seconds", "61"),
        ("lease_seconds", "nan"),
        ("lease_seconds", "inf"),
        ("lease_seconds", ""),
        ("near_cache_entries", "0"),
        ("near_cache_entries", "1.5"),
        ("near_cache_entries", "10000001"),
        ("max_lifetime_days", "0"),
        ("max_lifetime_days", "3651"),
        ("max_lifetime_days", "never"),
        ("scope_catalogue", "dns"),
        ("scope_catalogue", "dns:*"),
        ("scope_catalogue", "*"),
        ("scope_catalogue", "DNS:read"),
        ("scope_catalogue", "dns:read:write"),
        ("scope_catalogue", "dns:read,mail"),
        ("session_hours", "0"),
        ("session_hours", "721"),
        ("session_hours", "nan"),
        ("sign_in_attempts", "0"),
        ("sign_in_attempts", "1001"),
        ("sign_in_attempts_per_address", "0"),
        ("notice_threshold_days", ""),
        ("notice_threshold_days", "0"),
        ("notice_threshold_days", "366"),
        ("notice_threshold_days", "7,soon"),
        ("smtp_port", "0"),
        ("smtp_port", "65536"),
        ("smtp_tls", "ssl"),
        ("log_format", "xml"),
        ("log_level", "info"),
        ("peppers", ""),
        ("peppers", PEPPER),
        ("peppers", f":{PEPPER}"),
        ("peppers", f"a:{PEPPER}"),
        ("peppers", f"-1:{PEPPER}"),
        ("peppers", f"\uff11:{PEPPER}"),
        ("peppers", f"\xb2:{PEPPER}"),
        ("peppers", f"0:{PEPPER}"),
        ("peppers", f"32768:{PEPPER}"),
        ("peppers", f"1:{PEPPER},"),
        ("peppers", f"1:{PEPPER},1:{'q' * 32}"),
        ("peppers", f"1:{PEPPER},01:{'q' * 32}"),
        ("peppers", f"1:{PEPPER[1:]}"),
        ("peppers", f"1:{'p' * 65}"),
        ("peppers", f"1:{PEPPER},2:short"),
    ],
    ids=ascii,
)
def test_a_senseless_value_is_refused_by_one_sentence_that_names_it(name: str, value: str) -> None:
    assert refusal(**{name: value}).startswith(f"TOKENWARD_{name.upper()}")


@pytest.mark.parametrize("catalogue", ["dns2:read", "\xe9:read", "a" * 33 + ":read", "_1:read"])
def test_a_right_that_could_never_be_granted_is_refused(catalogue: str) -> None:
    try:
        settings = read_settings(scope_catalogue=catalogue)
    except SettingsRefused:
        return

    assert is_known(settings.scope_catalogue[0], settings.scope_catalogue)


@pytest.mark.parametrize("value", ["https://a\n.example", "https://a.example\r\nBcc: b@c.example"])
def test_a_public_url_cannot_begin_a_line_of_an_e_mail(value: str) -> None:
    assert refusal(public_url=value).startswith("TOKENWARD_PUBLIC_URL")


def test_a_sender_cannot_begin_a_line_of_an_e_mail() -> None:
    text = refusal(mail_from="a@example.com\r\nBcc: evil@example.com")

    assert text.startswith("TOKENWARD_MAIL_FROM")


@pytest.mark.parametrize(
    "peppers",
    [f"{'9' * 5000}:{PEPPER}", "1:" + "\udcff" * 32],
    ids=["an id of 5000 digits", "bytes that are no UTF-8"],
)
def test_a_pepper_of_another_kind_is_refused_by_name(peppers: str) -> None:
    assert refusal(peppers=peppers).startswith("TOKENWARD_PEPPERS")


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (f"1:{PEPPER}", {1: b"p" * 32}),
        (f"32767:{'p' * 64}", {32767: b"p" * 64}),
        (f" 2:{PEPPER} , 1:{'q' * 32} ", {2: b"p" * 32, 1: b"q" * 32}),
        (f"1:a:b:{PEPPER}", {1: b"a:b:" + b"p" * 32}),
    ],
    ids=ascii,
)
def test_peppers_are_read_with_the_signing_one_first(text: str, keys: dict[int, bytes]) -> None:
    settings = read_settings(peppers=text)

    assert list(settings.pepper_keys.items()) == list(keys.items())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("peppers", DEVELOPMENT_PEPPER),
        ("peppers", f"2:{PEPPER},{DEVELOPMENT_PEPPER}"),
        ("public_url", "http://tokens.example.com"),
        ("database_url", ""),
        ("redis_url", ""),
    ],
)
def test_production_refuses_an_unsafe_default_by_name(name: str, value: str) -> None:
    assert refusal(**PRODUCTION | {name: value}).startswith(f"TOKENWARD_{name.upper()} is ")
    assert read_settings(**PRODUCTION | {name: value, "environment": "test"})


@pytest.mark.parametrize("name", ["peppers", "public_url", "database_url", "redis_url"])
def test_production_refuses_what_was_left_out(name: str) -> None:
    given = {key: value for key, value in PRODUCTION.items() if key != name}

    assert refusal(**given).startswith(f"TOKENWARD_{name.upper()} is ")


def test_production_refuses_the_development_pepper_under_any_id() -> None:
    peppers = DEVELOPMENT_PEPPER.replace("1:", "2:")

    assert refusal(**PRODUCTION | {"peppers": peppers}).startswith("TOKENWARD_PEPPERS is ")


def test_production_knows_https_in_any_case() -> None:
    assert read_settings(**PRODUCTION | {"public_url": "HTTPS://tokens.example.com"}).uses_tls


@pytest.mark.parametrize(
    "mistake",
    [
        {"lease_seconds": "nan"},
        {"public_url": "http://tokens.example.com"},
        {"peppers": f"1:{PEPPER},1:{'q' * 64}"},
        {"peppers": PEPPER},
        {"peppers": f"1:{PEPPER}{'p' * 64}"},
        {"redis_url": ""},
        {"database_url": 7},
        {"peppers": ["1:" + PEPPER]},
    ],
    ids=str,
)
def test_a_refusal_tells_no_secret(mistake: dict[str, object]) -> None:
    with pytest.raises(SettingsRefused) as refused:
        read_settings(**PRODUCTION | mistake)

    # As Python prints it when nobody catches it, with whatever is chained to it.
    told = "".join(traceback.format_exception(refused.value))
    assert "SettingsRefused: TOKENWARD_" in told
    assert "-password" not in told
    assert PEPPER not in told
    assert "q" * 64 not in told


def test_a_repr_of_settings_hides_every_secret() -> None:
    settings = read_settings(**PRODUCTION)
    assert settings.pepper_keys  # also once they have been read

    for told in (repr(settings), str(settings), str(settings.model_dump())):
        assert "-password" not in told
        assert PEPPER not in told
        assert "q" * 64 not in told


@pytest.mark.parametrize("name", ["environment", "peppers", "lease_seconds", "scope_catalogue"])
def test_settings_are_frozen(name: str) -> None:
    settings = read_settings()

    with pytest.raises(ValidationError):
        setattr(settings, name, "changed")
    assert settings == read_settings()


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(SettingsRefused) as refused:
        read_settings(lease_seconds="0", bind_port="x")

    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == [
        "TOKENWARD_BIND_PORT",
        "TOKENWARD_LEASE_SECONDS",
    ]


def test_every_setting_says_what_it_is_for() -> None:
    undescribed = [name for name, field in Settings.model_fields.items() if not field.description]

    assert undescribed == []


def test_a_public_url_ends_without_a_slash() -> None:
    assert read_settings(public_url="https://a.example/").public_url == "https://a.example"


def test_the_broker_is_database_1_of_the_cache_unless_it_is_named() -> None:
    cache = "redis://:x@127.0.0.1:6379/0"

    assert read_settings(redis_url=cache).celery_broker_url == "redis://:x@127.0.0.1:6379/1"
    assert read_settings(redis_url=cache, broker_url="redis://b/3").celery_broker_url == (
        "redis://b/3"
    )


def test_the_role_of_the_application_is_read_from_its_address() -> None:
    settings = read_settings(database_url="postgres://my%2Dapp:x@h:5432/d")

    assert settings.application_role == "my-app"
    assert read_settings().application_role == ""


def test_the_published_bound_is_two_leases_and_two_seconds() -> None:
    assert read_settings(lease_seconds=4).staleness_bound_seconds == 10


def test_told_settings_show_where_things_are_and_no_secret() -> None:
    told = read_settings(**PRODUCTION, max_lifetime_days=90).told()

    assert told.keys() == Settings.model_fields.keys()
    assert told["database_url"] == "postgres://app:…@db.example/tokenward"
    assert told["redis_url"] == "rediss://:…@cache.example/0"
    assert told["smtp_password"] == told["peppers"] == "(set)"
    assert told["max_lifetime_days"] == "90"
    assert told["trusted_proxies"] == "127.0.0.0/8,::1/128"
    assert "-password" not in str(told)
    assert PEPPER not in str(told)


def test_told_settings_tell_what_is_not_set() -> None:
    told = read_settings().told()

    assert (told["database_url"], told["smtp_password"], told["max_lifetime_days"]) == ("", "", "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("smtp_password", "//hunter2/and-more"),
        ("smtp_password", "a://hunter2"),
        ("database_url", "postgres://db.example/tokenward?user=app&password=hunter2"),
        ("redis_url", "redis://cache.example/0?password=hunter2"),
    ],
)
def test_told_settings_hide_a_secret_wherever_it_stands(name: str, value: str) -> None:
    told = read_settings(**{name: value}).told()

    assert "hunter2" not in str(told)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", "mysql://app:hunter2@db.example/tokenward"),
        ("database_url", "postgres://app:hunter2/more@db.example/tokenward"),
        ("database_owner_url", "db.example/hunter2"),
        ("redis_url", "cache.example:6379?password=hunter2"),
        ("broker_url", "redis://:hunter2@broker.example:0/1"),
    ],
)
def test_an_address_of_no_server_is_refused_without_its_password(name: str, value: str) -> None:
    with pytest.raises(SettingsRefused, match=f"TOKENWARD_{name.upper()}: write an") as refused:
        read_settings(**{name: value})

    assert "hunter2" not in str(refused.value)
