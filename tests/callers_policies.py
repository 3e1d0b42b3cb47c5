"""Root fields of policies and of templates of scopes against every kind of caller."""

from caller_scene import ERRORS, NEVER, NOBODY, NOTHING, OK, SCOPE, Row

POLICY = "levels { level version } effective { tokenCap sources { rule levels } }"
TEMPLATE = f"{{ scopeTemplate {{ id level }} {ERRORS} }}"

ROWS: dict[str, Row] = {
    "Query.policy": (
        f"query($account: ID!) {{ policy(accountId: $account) {{ {POLICY} }} }}",
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Query.previewPolicy": (
        (
            "query($account: ID!) { previewPolicy(accountId: $account, first: 9, "
            "rules: {requiresAddressLimits: true}) { count tokens { edges { cursor } } } }"
        ),
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.setPolicy": (
        (
            "mutation($account: ID!) { setPolicy(input: {accountId: $account, "
            f"rules: {{tokenCap: 9}}}}) {{ policy {{ {POLICY} }} {ERRORS} }} }}"
        ),
        # A token never sets one.
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, NEVER, NOBODY, NOBODY),
    ),
    "Query.scopeTemplates": (
        "query($account: ID!) { scopeTemplates(accountId: $account) { id level name } }",
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.createScopeTemplate": (
        (
            'mutation { createScopeTemplate(input: {name: "New", scopes: ["dns:read"]}) '
            f"{TEMPLATE} }}"
        ),
        # It is always the caller's own.
        (NOBODY, OK, OK, OK, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.updateScopeTemplate": (
        (
            "mutation($template: ID!) { updateScopeTemplate(input: {id: $template, "
            f'name: "Other"}}) {TEMPLATE} }}'
        ),
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
    "Mutation.deleteScopeTemplate": (
        (
            "mutation($template: ID!) { deleteScopeTemplate(input: {id: $template}) "
            f"{{ deletedId {ERRORS} }} }}"
        ),
        (NOBODY, NOTHING, NOTHING, NOTHING, OK, OK, OK, SCOPE, OK, NOBODY, NOBODY),
    ),
}
