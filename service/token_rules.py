"""Which spans, scopes and ranges a token may have, and what narrows them. Pure."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from service import addresses, scopes
from service.errors import InvalidInput, ScopeNotGrantable, WideningRefused

SCOPES_MAX = 50
AUDIENCES_MAX = 20
_AUDIENCE = re.compile(r"[!#-\[\]-~]{1,100}", re.ASCII)
INSTANT_MAX = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
# The driver writes the very first instant, which some clients send for "none", as -infinity, and
# reads that without a time zone: such a token would break every list that it stands in.
BEGIN_MIN = datetime(1, 1, 2, tzinfo=UTC)


def clean_instant(instant: datetime, *, field: str) -> datetime:
    """Return an instant in UTC.

    Raises:
        InvalidInput: If it has no time zone or lies beyond the year 9999.
    """
    if instant.tzinfo is None:
        raise InvalidInput("Name the time zone, as in 2030-01-31T12:00:00Z.", field=field)
    try:
        instant = instant.astimezone(UTC)
    except OverflowError:
        raise InvalidInput("The instant is out of range.", field=field) from None
    if instant > INSTANT_MAX:
        raise InvalidInput("The instant is out of range.", field=field)
    return instant


def clean_span(
    not_before: datetime | None,
    expires_at: datetime | None,
    *,
    now: datetime,
    lifetime_days_max: int | None,
) -> tuple[datetime | None, datetime | None]:
    """Return when a new token begins and ends, in UTC.

    Raises:
        InvalidInput: If it would end in the past, before it begins, or later than the platform
            allows; a platform with a longest lifetime allows none without an end.
    """
    if not_before is not None:
        not_before = _clean_begin(not_before)
    if expires_at is None:
        if lifetime_days_max is not None:
            raise InvalidInput(
                f"Name an expiry within {lifetime_days_max} days: the platform asks for one.",
                field="expiresAt",
            )
        return not_before, None
    expires_at = clean_instant(expires_at, field="expiresAt")
    _check_future(expires_at, now)
    if lifetime_days_max is not None and expires_at - now > timedelta(days=lifetime_days_max):
        raise InvalidInput(
            f"The expiry may be {lifetime_days_max} days away at most.", field="expiresAt"
        )
    if not_before is not None and not_before >= expires_at:
        raise InvalidInput("It would expire before it begins.", field="notBefore")
    return not_before, expires_at


def clean_scopes(
    wanted: Sequence[str],
    *,
    catalogue: Sequence[str],
    caps: Sequence[Sequence[str]],
    field: str,
) -> list[str]:
    """Return scopes that may be granted, sorted, each once.

    Args:
        wanted: ``noun:verb``, ``noun:*`` or ``*``.
        catalogue: Every right the platform knows.
        caps: What each of those who grant may grant; none is exceeded.
        field: The input field, for the refusal.

    Raises:
        InvalidInput: If there are more than 50.
        ScopeNotGrantable: If one is unknown or beyond a cap.
    """
    if len(wanted) > SCOPES_MAX:
        raise InvalidInput(f"Name at most {SCOPES_MAX} scopes.", field=field)
    for scope in wanted:
        known = scope == scopes.EVERYTHING or scopes.is_known(scope, catalogue)
        if not known or not all(scopes.covers(cap, scope) for cap in caps):
            raise ScopeNotGrantable(field=field)
    return sorted(set(wanted))


def narrower_scopes(previous: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return scopes that give nothing which the previous ones did not.

    Raises:
        WideningRefused: If they would.
        InvalidInput: If there are none, or more than 50.
    """
    if not wanted:
        raise InvalidInput("A token needs a scope. Revoke it instead.", field="scopes")
    if len(wanted) > SCOPES_MAX:
        raise InvalidInput(f"Name at most {SCOPES_MAX} scopes.", field="scopes")
    if not (all(map(scopes.is_scope, wanted)) and scopes.covers_all(previous, wanted)):
        raise WideningRefused(field="scopes")
    return sorted(set(wanted))


def narrower_ranges(previous: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return ranges that allow no address which the previous ones did not.

    Raises:
        WideningRefused: If they would.
        InvalidInput: If one is no range.
    """
    ranges = addresses.clean_ranges(wanted)
    if not addresses.narrows(ranges, previous):
        raise WideningRefused(field="allowedIpRanges")
    return list(ranges)


def clean_audiences(wanted: Sequence[str]) -> list[str]:
    """Return audiences, sorted, each once: names or URIs of those who may accept a token.

    Raises:
        InvalidInput: If one has another form, or there are more than 20.
    """
    if len(wanted) > AUDIENCES_MAX:
        raise InvalidInput(f"Name at most {AUDIENCES_MAX} audiences.", field="audiences")
    if not all(map(is_audience, wanted)):
        raise InvalidInput(
            "An audience is 1–100 visible ASCII characters, without quotes.", field="audiences"
        )
    return sorted(set(wanted))


def is_audience(text: str) -> bool:
    """Return whether the text has the form of an audience, and may stand in a header."""
    return _AUDIENCE.fullmatch(text) is not None


def narrower_audiences(previous: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return audiences that are all among the previous ones, where there were any.

    Raises:
        WideningRefused: If one is not, or none is left, which would mean everybody.
        InvalidInput: If one has another form.
    """
    audiences = clean_audiences(wanted)
    if previous and (not audiences or not set(audiences) <= set(previous)):
        raise WideningRefused(field="audiences")
    return audiences


def earlier_expiry(
    wanted: datetime, *, not_before: datetime | None, previous: datetime | None, now: datetime
) -> datetime:
    """Return an expiry that is no later than the previous one, in UTC.

    Raises:
        WideningRefused: If it is later.
        InvalidInput: If it lies in the past or before the token begins.
    """
    wanted = clean_instant(wanted, field="expiresAt")
    _check_future(wanted, now)
    if previous is not None and wanted > previous:
        raise WideningRefused(field="expiresAt")
    if not_before is not None and wanted <= not_before:
        raise InvalidInput("It would expire before it begins.", field="expiresAt")
    return wanted


def later_begin(
    wanted: datetime, *, previous: datetime | None, expires_at: datetime | None
) -> datetime:
    """Return a beginning that is no earlier than the previous one, in UTC.

    Raises:
        WideningRefused: If it is earlier.
        InvalidInput: If the token would expire before it begins.
    """
    wanted = _clean_begin(wanted)
    if previous is not None and wanted < previous:
        raise WideningRefused(field="notBefore")
    if expires_at is not None and wanted >= expires_at:
        raise InvalidInput("It would expire before it begins.", field="notBefore")
    return wanted


def wider_ranges(previous: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return ranges that allow every address which the previous ones did.

    Raises:
        InvalidInput: If they do not, or one is no range.
    """
    ranges = addresses.clean_ranges(wanted)
    check_covers(field="allowedIpRanges", covers=addresses.narrows(previous, ranges))
    return list(ranges)


def wider_audiences(previous: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return audiences that hold all of the previous ones; none is everybody.

    Raises:
        InvalidInput: If they do not, or one has another form.
    """
    audiences = clean_audiences(wanted)
    covers = not audiences or (bool(previous) and set(previous) <= set(audiences))
    check_covers(field="audiences", covers=covers)
    return audiences


def later_expiry(
    wanted: datetime | None,
    *,
    previous: datetime | None,
    now: datetime,
    lifetime_days_max: int | None,
) -> datetime | None:
    """Return an expiry, None being never, that is no earlier than the previous one, in UTC.

    Raises:
        InvalidInput: If it is earlier, or later than the platform allows from now on.
    """
    _, expires_at = clean_span(None, wanted, now=now, lifetime_days_max=lifetime_days_max)
    covers = expires_at is None or (previous is not None and expires_at >= previous)
    check_covers(field="expiresAt", covers=covers)
    return expires_at


def earlier_begin(wanted: datetime | None, *, previous: datetime | None) -> datetime | None:
    """Return a beginning, None being at once, that is no later than the previous one, in UTC.

    Raises:
        InvalidInput: If it is later.
    """
    if wanted is None:
        return None
    wanted = _clean_begin(wanted)
    check_covers(field="notBefore", covers=previous is not None and wanted <= previous)
    return wanted


def check_covers(*, field: str, covers: bool) -> None:
    """Let a widening pass in which a field's new value includes all of the old one.

    Raises:
        InvalidInput: If it would also take something away.
    """
    if not covers:
        raise InvalidInput(
            "This would also take something away. Use `updateToken` for that.", field=field
        )


def _clean_begin(instant: datetime) -> datetime:
    instant = clean_instant(instant, field="notBefore")
    if instant < BEGIN_MIN:
        raise InvalidInput("The instant is out of range.", field="notBefore")
    return instant


def _check_future(expires_at: datetime, now: datetime) -> None:
    if expires_at <= now:
        raise InvalidInput("The expiry lies in the past.", field="expiresAt")
