"""What is asked of accounts. An absent field changes nothing."""

import strawberry

from schema import node_ids
from schema.enums import AccountKind, PropagationWait
from schema.propagation_types import WAIT_FOR
from service.accounts import AccountChanges, NewAccount


@strawberry.input(description="A new account and the first person who signs in for it.")
class CreateAccountInput:
    """A new account."""

    name: str = strawberry.field(description="1–100 printable characters.")
    email: str = strawberry.field(description="The person's address, unique on the platform.")
    password: str = strawberry.field(description="12–200 characters.")
    kind: AccountKind = strawberry.field(
        default=AccountKind.CUSTOMER,
        description="A reseller creates customers; the operator also resellers.",
    )
    reseller_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="For the operator: whose customer it shall be; absent is its own.",
    )
    grantable_scopes: list[str] | None = strawberry.field(
        default=None,
        description="What its tokens may be given; absent is all that the account above may give.",
    )

    def to_new_account(self) -> NewAccount:
        """Return the domain's wish."""
        return NewAccount(
            name=self.name,
            kind=self.kind,
            email=self.email,
            password=self.password,
            reseller_id=node_ids.decode_optional(node_ids.ACCOUNT, self.reseller_id),
            grantable_scopes=(
                None if self.grantable_scopes is None else tuple(self.grantable_scopes)
            ),
        )


@strawberry.input
class _OneAccount:
    """What names an account; each mutation has an input of its own."""

    id: strawberry.ID = strawberry.field(description="The account.")
    wait_for: PropagationWait | None = WAIT_FOR


@strawberry.input(description="An account to refuse until it is resumed.")
class SuspendAccountInput(_OneAccount):
    """An account to suspend."""


@strawberry.input(description="A suspended account.")
class ResumeAccountInput(_OneAccount):
    """An account to resume."""


@strawberry.input(description="An account to end for good.")
class CloseAccountInput:
    """An account to end."""

    id: strawberry.ID = strawberry.field(description="The account.")
    expected_name: str = strawberry.field(
        description="Its name to the letter, so that no other is closed by mishap."
    )
    wait_for: PropagationWait | None = WAIT_FOR


@strawberry.input(description="A change of an account. What is absent stays as it is.")
class UpdateAccountInput:
    """A change of an account."""

    id: strawberry.ID = strawberry.field(description="The account.")
    name: strawberry.Maybe[str] = strawberry.field(
        default=None, description="1–100 printable characters; null is refused."
    )
    grantable_scopes: strawberry.Maybe[list[str]] = strawberry.field(
        default=None,
        description="What its tokens may be given, of at most 50 scopes; for an account below the "
        "caller's only. What goes is refused at once, for the tokens it has as well. What its "
        "people may do here comes of their roles. Null is refused.",
    )
    wait_for: PropagationWait | None = WAIT_FOR

    def to_changes(self) -> AccountChanges:
        """Return the domain's wish."""
        grantable = self.grantable_scopes
        return AccountChanges(
            name=None if self.name is None else self.name.value,
            grantable_scopes=None if grantable is None else tuple(grantable.value),
        )
