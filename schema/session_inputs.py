"""What people give to sign in."""

from enum import Enum

import strawberry

from schema.enums import PropagationWait
from schema.propagation_types import WAIT_FOR


@strawberry.enum(description="Where a new session's secret goes.")
class SessionTransport(Enum):
    """Where a new session's secret goes."""

    COOKIE = strawberry.enum_value(
        "COOKIE", description="Into an HttpOnly cookie, out of reach of scripts; for browsers."
    )
    BEARER = strawberry.enum_value(
        "BEARER", description="Into the payload, to be sent as `Authorization: Bearer`."
    )


@strawberry.input(description="A person's address and password.")
class SignInInput:
    """Credentials of a person."""

    email: str = strawberry.field(description="The e-mail address.")
    password: str = strawberry.field(description="The password; at most 200 characters.")
    transport: SessionTransport = strawberry.field(
        default=SessionTransport.COOKIE, description="Where the session's secret goes."
    )


@strawberry.input(description="A session of one's own.")
class EndSessionInput:
    """A session to end."""

    id: strawberry.ID = strawberry.field(description="The session.")
    wait_for: PropagationWait | None = WAIT_FOR


@strawberry.input(description="All of one's own sessions but the one in use.")
class EndOtherSessionsInput:
    """Sessions to end."""

    wait_for: PropagationWait | None = WAIT_FOR
