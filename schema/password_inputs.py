"""What people give to set a password, or to prove that they know theirs."""

import strawberry

from schema.enums import PropagationWait
from schema.propagation_types import WAIT_FOR


@strawberry.input(description="A person's password and the next one.")
class ChangePasswordInput:
    """The old and the new password."""

    current_password: str = strawberry.field(description="The one in use.")
    new_password: str = strawberry.field(description="12–200 characters.")
    wait_for: PropagationWait | None = WAIT_FOR


@strawberry.input(description="Whose password is forgotten.")
class RequestPasswordResetInput:
    """Whose password is forgotten."""

    email: str = strawberry.field(description="One plain address, at most 254 characters.")


@strawberry.input(description="The secret of a link, and the password that it shall set.")
class ResetPasswordInput:
    """A link's secret and a password."""

    secret: str = strawberry.field(
        description="What follows `#` in the link; 43 characters, good once."
    )
    new_password: str = strawberry.field(description="12–200 characters.")
    wait_for: PropagationWait | None = WAIT_FOR


@strawberry.input(description="The password of the person who is signed in.")
class ConfirmPasswordInput:
    """A person's password."""

    password: str = strawberry.field(description="The password; at most 200 characters.")
