"""What people give to sign in."""

from enum import Enum

import strawberry


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
