"""Root fields of sessions against every kind of caller."""

from caller_scene import ERRORS, NOTHING, OK, Row

# The target is a customer's token, the customer itself or, to create an account, its reseller. The
# tokens are the reseller's, so that both a foreign object and a missing scope can be asked about.
ROWS: dict[str, Row] = {
    "Query.viewer": (
        "{ viewer { account { id } scopes } }",
        (NOTHING, OK, OK, OK, OK, OK, OK, OK, OK, NOTHING, NOTHING),
    ),
    "Mutation.signIn": (
        (
            "mutation($email: String!) { signIn(input: {email: $email, "
            f'password: "correct horse battery"}}) {{ sessionSecret {ERRORS} }} }}'
        ),
        (OK,) * 11,
    ),
    "Mutation.signOut": (f"mutation {{ signOut {{ {ERRORS} }} }}", (OK,) * 11),
}
