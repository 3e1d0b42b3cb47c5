"""What the door's functions of members and sessions give away, for test_access.py."""

from collections.abc import Awaitable, Callable

from access_scene import Foreign

from service.access import members, sessions
from service.access.door import Door
from service.paging import PageRequest


async def list_members(door: Door, it: Foreign) -> object:
    return (await members.list_members(door, it.account_id, PageRequest(100))).items


async def list_sessions(door: Door, it: Foreign) -> object:
    page = await sessions.list_sessions(door, it.member_id, PageRequest(100), now=it.now)
    return page.items


async def want_invitation(door: Door, it: Foreign) -> object:
    await members.forget_link(door, it.invited_id)  # one was wanted a moment ago
    return await members.want_invitation(door, it.invited_id, now=it.now)


REACHING: dict[str, Callable[[Door, Foreign], Awaitable[object]]] = {
    "find_member": lambda door, it: members.find_member(door, it.member_id),
    "find_members": lambda door, it: members.find_members(door, [it.member_id]),
    "hold_member": lambda door, it: members.hold_member(door, it.member_id),
    "lock_member": lambda door, it: members.lock_member(door, it.member_id),
    "lock_members": lambda door, it: members.lock_members(door, it.member_id),
    "list_members": list_members,
    "count_members": lambda door, it: members.count_members(door, it.account_id),
    "change_member": lambda door, it: members.change_member(door, it.member_id, {"role": "VIEWER"}),
    "want_invitation": want_invitation,
    "forget_link": lambda door, it: members.forget_link(door, it.invited_id),
    "list_sessions": list_sessions,
    "find_sessions": lambda door, it: sessions.find_sessions(door, it.member_id, [it.session_id]),
    "find_password_confirmation": lambda door, it: sessions.find_password_confirmation(
        door, it.session_id, now=it.now
    ),
    "note_password_confirmation": lambda door, it: sessions.note_password_confirmation(
        door, it.session_id, now=it.now
    ),
    "end_sessions": lambda door, it: sessions.end_sessions(
        door, it.member_id, now=it.now, reason="POLICY"
    ),
}
