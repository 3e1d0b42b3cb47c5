"""Root fields of members, passwords and one's own sessions against every kind of caller."""

from caller_scene import ACCOUNT, ERRORS, NEVER, NOBODY, NOTHING, OK, SCOPE, Row

MEMBER = f"{{ member {{ id email role }} {ERRORS} }}"
ENDED = "LINK_ENDED"

PEOPLE_ALONE = (NOBODY, OK, OK, OK, OK, OK, OK, NEVER, NEVER, NOBODY, NOBODY)
WITHIN_REACH = (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY)

# The target is a colleague at the customer who was invited and has no password yet, the customer
# itself, or the session of its person.
ROWS: dict[str, Row] = {
    "Query.members": (
        (
            "query($account: ID!) { members(first: 9, accountId: $account) "
            "{ edges { node { id email role } } } }"
        ),
        WITHIN_REACH,
    ),
    "Mutation.inviteMember": (
        (
            'mutation($account: ID!) { inviteMember(input: {email: "new@example.com", '
            f"role: VIEWER, accountId: $account}}) {MEMBER} }}"
        ),
        WITHIN_REACH,
    ),
    "Mutation.resendInvitation": (
        f"mutation($member: ID!) {{ resendInvitation(input: {{id: $member}}) {MEMBER} }}",
        WITHIN_REACH,
    ),
    "Mutation.updateMember": (
        f"mutation($member: ID!) {{ updateMember(input: {{id: $member, role: VIEWER}}) {MEMBER} }}",
        WITHIN_REACH,
    ),
    "Mutation.removeMember": (
        f"mutation($member: ID!) {{ removeMember(input: {{id: $member}}) {MEMBER} }}",
        WITHIN_REACH,
    ),
    "Mutation.updateAccount": (
        (
            "mutation($account: ID!) { updateAccount(input: {id: $account, "
            f'name: "Other"}}) {ACCOUNT} }}'
        ),
        WITHIN_REACH,
    ),
    "Query.sessions": ("{ sessions(first: 9) { edges { node { id isCurrent } } } }", PEOPLE_ALONE),
    "Mutation.endSession": (
        f"mutation($session: ID!) {{ endSession(input: {{id: $session}}) {{ {ERRORS} }} }}",
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, NOTHING, NOTHING, NEVER, NEVER, NOBODY, NOBODY),
    ),
    "Mutation.endOtherSessions": (
        f"mutation {{ endOtherSessions(input: {{}}) {{ {ERRORS} }} }}",
        PEOPLE_ALONE,
    ),
    "Mutation.confirmPassword": (
        (
            'mutation { confirmPassword(input: {password: "correct horse battery"}) '
            f"{{ recentUntil {ERRORS} }} }}"
        ),
        PEOPLE_ALONE,
    ),
    "Mutation.changePassword": (
        (
            'mutation { changePassword(input: {currentPassword: "correct horse battery", '
            f'newPassword: "battery horse correct"}}) {{ {ERRORS} }} }}'
        ),
        PEOPLE_ALONE,
    ),
    "Mutation.requestPasswordReset": (
        (
            "mutation($email: String!) { requestPasswordReset(input: {email: $email}) "
            f"{{ {ERRORS} }} }}"
        ),
        (OK,) * 11,
    ),
    "Mutation.resetPassword": (
        (
            f'mutation {{ resetPassword(input: {{secret: "{"A" * 43}", '
            f'newPassword: "battery horse correct"}}) {{ {ERRORS} }} }}'
        ),
        (ENDED,) * 11,
    ),
}
