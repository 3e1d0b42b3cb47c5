"""Rows that whoever holds a secret may end, whatever the tenant; set-based, for one or many."""

from datetime import datetime
from typing import Any

from service.access.door import Door, Statement, as_uuid


async def system_revoke_held(
    door: Door, digests: list[bytes], *, reason: str, now: datetime
) -> list[dict[str, Any]]:
    """Revoke the credentials that live secrets open; two statements for any number.

    A secret is live until it retires or its credential has ended; suspended and not yet valid is
    live too. The second statement sees what became of the rows while the first waited for them:
    a rotation may have retired a secret, and added another that must be dropped too. Rows are held
    in one order, so that batches side by side wait for each other instead of deadlocking.

    Args:
        door: An open door to everything.
        digests: Those of the secrets, under each pepper.
        reason: Why, for those that are live.
        now: Decides what has ended.

    Returns:
        ``id``, ``account_id``, ``reseller_id``, ``kind`` and the live ``digests`` of what was
        revoked: a retired one, of which a token may have many, is refused without a drop.
    """
    held = Statement()
    held.text = (
        "SELECT id FROM api_token WHERE revoked_at IS NULL AND id IN"
        f" (SELECT token_id FROM secret WHERE digest = ANY({held.bind(digests)}))"
        " ORDER BY id FOR NO KEY UPDATE"
    )
    ids = [as_uuid(row["id"]) for row in await door.query(held)]
    if not ids:
        return []
    revoked = Statement()
    at = f"{revoked.bind(now)}::timestamptz"
    live = f"(s.retires_at IS NULL OR s.retires_at > {at})"
    revoked.text = (
        f"UPDATE api_token t SET revoked_at = {at}, revocation_reason = {revoked.bind(reason)},"
        f" version = version + 1 WHERE id = ANY({revoked.bind(ids)})"
        f" AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > {at})"
        " AND EXISTS (SELECT FROM secret s WHERE s.token_id = t.id"
        f" AND s.digest = ANY({revoked.bind(digests)}) AND {live})"
        " RETURNING id, account_id, reseller_id, kind,"
        f" ARRAY(SELECT s.digest FROM secret s WHERE s.token_id = t.id AND {live}) AS digests"
    )
    return await door.query(revoked)
