"""Every setting, read once from ``TOKENWARD_*`` variables: its unit, its default and its reason."""

import os
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service import bound
from service.errors import SettingsRefused
from service.peppers import parse_peppers
from service.scopes import is_scope

DEVELOPMENT_PEPPER = "1:development-only-pepper-never-for-production"

_DEVELOPMENT_KEY = DEVELOPMENT_PEPPER.partition(":")[2].encode()

THRESHOLD_DAYS_MAX = 365

_SCHEMES = {
    "database": ("postgres", "postgresql"),
    "redis": ("redis", "rediss", "unix", "redis+socket", "sentinel"),
}

Network = IPv4Network | IPv6Network


class Settings(BaseSettings):
    """The whole configuration of one process, frozen.

    Read it with :func:`read_settings`, which turns every mistake into one sentence that says
    what to do. Spans are seconds unless the name says otherwise.
    """

    model_config = SettingsConfigDict(
        env_prefix="TOKENWARD_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    environment: Literal["development", "test", "production"] = Field(
        "development",
        description="`production` refuses every unsafe default at start.",
    )
    database_url: SecretStr = Field(
        SecretStr(""),
        description="PostgreSQL 16 or later, as the application role: "
        "`postgres://tokenward_app:…@host:5432/tokenward`. Empty: `tokenward run` starts its own.",
    )
    database_owner_url: SecretStr = Field(
        SecretStr(""),
        description="The role that owns the tables; only `tokenward migrate` uses it. "
        "Empty: the application's.",
    )
    database_pool_size: int = Field(
        10, ge=1, le=200, description="Connections that one process opens at the most."
    )
    redis_url: SecretStr = Field(
        SecretStr(""),
        description="Redis 7 or Valkey, for the validators' cache. Empty: `tokenward run` starts "
        "its own.",
    )
    broker_url: SecretStr = Field(
        SecretStr(""),
        description="Redis for Celery's queues; a second instance with `noeviction` is better. "
        "Empty: database 1 of the cache's server.",
    )
    service_url: str = Field(
        "",
        description="For a validator that may not see the database: the service that it asks "
        "instead.",
    )
    service_token: SecretStr = Field(
        SecretStr(""),
        description="With `TOKENWARD_SERVICE_URL`: a token of the scope `tokens:introspect`.",
    )
    peppers: SecretStr = Field(
        SecretStr(DEVELOPMENT_PEPPER),
        description="`id:secret` pairs, comma-separated, ids 1–32767, secrets of 32 bytes or more; "
        "the first signs new secrets, the others still verify old ones.",
    )
    public_url: str = Field(
        "http://127.0.0.1:8000",
        description="How people reach the service; cookies and links in e-mails follow it.",
    )
    bind_host: str = Field("127.0.0.1", description="The address that the web process listens on.")
    bind_port: int = Field(8000, ge=0, le=65535, description="Its port.")
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Further origins, comma-separated, whose pages may call with the cookie.",
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        (ip_network("127.0.0.0/8"), ip_network("::1/128")),
        description="Networks whose `X-Forwarded-For` is believed, from the right.",
    )
    token_label: str = Field(
        "live",
        pattern=r"^[a-z]{1,12}$",
        description="The `<env>` part of new secrets: `tw_<env>_…`.",
    )
    lease_seconds: float = Field(
        4.0,
        gt=0,
        le=60,
        description="How long a VALID answer may be used after its database read began. The same "
        "everywhere: a validator with a longer one keeps tokens alive beyond the bound.",
    )
    near_cache_entries: int = Field(
        100_000, ge=1, le=10_000_000, description="Records one validator process remembers."
    )
    rotation_quiet_seconds: float = Field(
        3600.0,
        ge=60,
        description="How long an old secret must be silent, while the new one is used, for its "
        "rotation to be completed before the grace ends.",
    )
    max_lifetime_days: int | None = Field(
        None,
        ge=1,
        le=3650,
        description="The longest lifetime of a new token in days; set, it also forbids tokens "
        "without an expiry. Empty: no limit.",
    )
    scope_catalogue: Annotated[tuple[str, ...], NoDecode] = Field(
        (
            "accounts:read",
            "accounts:write",
            "audit:read",
            "databases:read",
            "databases:write",
            "dns:read",
            "dns:write",
            "files:read",
            "files:write",
            "mail:read",
            "mail:write",
            "members:read",
            "members:write",
            "tokens:introspect",
            "tokens:read",
            "tokens:write",
        ),
        description="Every right the platform knows, comma-separated `noun:verb`.",
    )
    session_hours: float = Field(
        12.0, gt=0, le=24 * 30, description="How long a person stays signed in, in hours."
    )
    sign_in_attempts: int = Field(
        10,
        ge=1,
        le=1000,
        description="Failed sign-ins per person and client address in 15 minutes before a pause; "
        "ten times as many per person from anywhere.",
    )
    sign_in_attempts_per_address: int = Field(
        100, ge=1, le=100_000, description="Failed sign-ins per client address, whoever tries."
    )
    cost_budget: int = Field(
        10_000, ge=5_000, description="Points that one credential may spend on GraphQL at once."
    )
    cost_restore_per_second: int = Field(
        500, ge=1, le=1_000_000, description="Points that it gets back each second."
    )
    trusted_documents: str = Field(
        "",
        description="A file of the GraphQL documents that may run (`python -m "
        "schema.trusted_documents`); in production, set, no other may. Empty: any may.",
    )
    notice_threshold_days: Annotated[tuple[int, ...], NoDecode] = Field(
        (30, 7, 1), description="Days before an expiry at which people are told, comma-separated."
    )
    smtp_host: str = Field(
        "127.0.0.1", description="The mail relay; `tokenward run` starts a sink."
    )
    smtp_port: int = Field(1025, ge=1, le=65535, description="Its port.")
    smtp_user: str = Field("", description="Its user; empty: no sign-in.")
    smtp_password: SecretStr = Field(SecretStr(""), description="Its password.")
    smtp_tls: Literal["none", "starttls", "tls"] = Field(
        "none", description="How the connection to the relay is encrypted."
    )
    mail_from: str = Field(
        "Tokenward <no-reply@tokenward.example>", description="The sender of every e-mail."
    )
    log_format: Literal["console", "json"] = Field(
        "console", description="`json` writes one object a line."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="What is logged at the least."
    )

    @field_validator(
        "allowed_origins",
        "scope_catalogue",
        "notice_threshold_days",
        mode="before",
    )
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("max_lifetime_days", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("notice_threshold_days")
    @classmethod
    def _widest_first(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or any(not 1 <= days <= THRESHOLD_DAYS_MAX for days in value):
            raise ValueError("name one or more thresholds between 1 and 365 days")
        return tuple(sorted(set(value), reverse=True))

    @field_validator("scope_catalogue")
    @classmethod
    def _known_shape(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("name at least one right")
        for scope in value:
            if not is_scope(scope) or "*" in scope:
                raise ValueError(f"`{scope}` is not `noun:verb` in lower case")
        return tuple(sorted(set(value)))

    @field_validator("database_url", "database_owner_url", "redis_url", "broker_url")
    @classmethod
    def _address_of_a_server(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        schemes = _SCHEMES["database" if "database" in (info.field_name or "") else "redis"]
        if text := value.get_secret_value():
            try:
                parts = urlsplit(text)
                usable = parts.scheme in schemes and parts.port != 0
            except ValueError:  # a port that is no number, half a bracket
                usable = False
            if not usable:
                raise ValueError(
                    f"write an address such as {schemes[0]}://user:password@host:port/name, "
                    "special characters of the password as %XX"
                )
        return value

    @field_validator("public_url", "service_url")
    @classmethod
    def _absolute_url(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.field_name == "service_url":
            return value
        parts = urlsplit(value)
        plain = value.isascii() and value.isprintable() and " " not in value
        if not plain or parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("write an absolute address such as https://tokens.example.com")
        return parts.geturl().rstrip("/")

    @field_validator("mail_from", "smtp_host", "bind_host")
    @classmethod
    def _one_line(cls, value: str) -> str:
        if not value or not value.isprintable():
            raise ValueError("write one line of printable characters")
        return value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        texts = cls._split_commas(value)
        try:
            return tuple(ip_network(str(text)) for text in texts)  # type: ignore[attr-defined] # a failure is told below
        except (ValueError, TypeError):
            raise ValueError("name networks such as 10.0.0.0/8, comma-separated") from None

    @model_validator(mode="after")
    def _service_token_is_one(self) -> Self:
        token = self.service_token.get_secret_value()
        if self.service_url and not (token.isascii() and token.isprintable() and token.strip()):
            raise ValueError("TOKENWARD_SERVICE_URL needs TOKENWARD_SERVICE_TOKEN, a token")
        return self

    @model_validator(mode="after")
    def _peppers_parse(self) -> Self:
        _ = self.pepper_keys
        return self

    @model_validator(mode="after")
    def _safe_in_production(self) -> Self:
        if self.environment != "production":
            return self
        if _DEVELOPMENT_KEY in self.pepper_keys.values():
            raise ValueError(
                "TOKENWARD_PEPPERS is still the development pepper: set it to `1:` followed by "
                "the output of `openssl rand -hex 32`"
            )
        if not self.uses_tls:
            raise ValueError(
                "TOKENWARD_PUBLIC_URL is plain HTTP, so session cookies would travel readable: "
                "put TLS in front and name the https:// address"
            )
        # A validator that asks the service has no database.
        for name in ("redis_url",) if self.service_url else ("database_url", "redis_url"):
            if not getattr(self, name).get_secret_value():
                raise ValueError(
                    f"TOKENWARD_{name.upper()} is empty: name a server, the embedded one is for "
                    "development"
                )
        return self

    @cached_property
    def pepper_keys(self) -> dict[int, bytes]:
        """Peppers by id, the signing one first."""
        return parse_peppers(self.peppers.get_secret_value())

    def told(self) -> dict[str, str]:
        """Return every setting as text, secrets hidden, passwords in addresses too."""
        shown = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                value = _told_secret(name, value.get_secret_value())
            elif isinstance(value, tuple):
                value = ",".join(str(part) for part in value)
            shown[name] = "" if value is None else str(value)
        return shown

    @property
    def application_role(self) -> str:
        """The database role of the running service, which `tokenward migrate` grants its rights."""
        return unquote(urlsplit(self.database_url.get_secret_value()).username or "")

    @property
    def uses_tls(self) -> bool:
        """Whether people reach the service over TLS."""
        return self.public_url.startswith("https://")

    @property
    def celery_broker_url(self) -> str:
        """The broker's address; without one of its own, database 1 of the cache's server."""
        if url := self.broker_url.get_secret_value():
            return url
        cache = urlsplit(self.redis_url.get_secret_value())
        return cache._replace(path="/1").geturl()

    @property
    def staleness_bound_seconds(self) -> float:
        """The longest time after a revoke in which any validator may still say VALID."""
        return bound.staleness_bound_seconds(self.lease_seconds)


def read_settings(**overrides: object) -> Settings:
    """Return the settings of the environment.

    Args:
        overrides: Fields by name that win over the environment; for tests and the command line.

    Raises:
        SettingsRefused: If one is missing or senseless; the text names it and says what to do.
    """
    known = {f"TOKENWARD_{name.upper()}" for name in Settings.model_fields}
    unknown = {name for name in os.environ if name.startswith("TOKENWARD_")} - known  # noqa: TID251 - the one reader
    if unknown:
        raise SettingsRefused(f"{min(unknown)} is no setting: a misspelt one would do nothing.")
    try:
        return Settings(**overrides)  # type: ignore[arg-type] # checked by pydantic at run time
    except ValidationError as refused:
        raise SettingsRefused(_sentences(refused)) from None  # the cause may hold a secret


def _told_secret(name: str, text: str) -> str:
    """Return where an address leads, without its password; of any other secret only that it is."""
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(set)"
    if not name.endswith("_url") or not parts.hostname:
        return "(set)"
    user = f"{parts.username or ''}:…@" if parts.password else ""
    return f"{parts.scheme}://{user}{parts.hostname}{port}{parts.path}"


def _sentences(refused: ValidationError) -> str:
    lines = []
    for error in refused.errors(include_url=False, include_context=False, include_input=False):
        name = "_".join(str(part) for part in error["loc"][:1]).upper()
        message = error["msg"].removeprefix("Value error, ")
        lines.append(f"TOKENWARD_{name}: {message}" if name else message)
    return "\n".join(lines)
