// A page to sign in on and ask anything of the API. It holds no secret: the session is a cookie
// that scripts cannot read, and answers are shown as text.

const examples = {
  "The tokens within reach": `query {
  tokens(first: 20, orderBy: { field: EXPIRES_AT, direction: ASC }) {
    edges { node { id name status expiresAt lastUsedAt account { name } } }
    pageInfo { hasNextPage endCursor }
  }
}`,
  "A new token": `mutation {
  createToken(input: { name: "from the page", scopes: ["dns:read"] }) {
    token { id name prefix lastFour }
    secret
    warnings
    userErrors { code field message }
  }
}`,
  "Revoke a token": `mutation {
  revokeToken(input: { id: "…" }) {
    token { status }
    propagation { state effectiveEverywhereBy }
    userErrors { code message }
  }
}`,
  "A fleet with its counts": `query {
  fleetTotals { accounts counts { live active expiringWithin7Days neverUsed } }
  fleet(first: 20, orderBy: { field: EXPIRING_WITHIN_7_DAYS }) {
    edges { node { account { id name status } counts { live expiringWithin7Days fullAccess } } }
  }
}`,
  "What happened": `query {
  auditEvents(first: 20) {
    edges { node { occurredAt action subjectId actor { accountName email } details } }
  }
}`,
};

const find = (id) => document.getElementById(id);

async function run(query, variables = {}) {
  const answer = await fetch("/graphql", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ query, variables }),
  });
  return answer.json();
}

async function showViewer() {
  const { data } = await run("{ viewer { email account { name kind } } }");
  const viewer = data?.viewer;
  find("viewer").textContent = viewer
    ? `${viewer.email}, for ${viewer.account.name} (${viewer.account.kind.toLowerCase()}).`
    : "Nobody is signed in.";
  find("sign-in").hidden = Boolean(viewer);
  find("sign-out").hidden = !viewer;
}

// Runs a mutation, and shows why it was refused and who is signed in then.
async function act(mutation, variables) {
  let refusals;
  try {
    const { data, errors } = await run(mutation, variables);
    refusals = errors ?? Object.values(data)[0].userErrors;
    await showViewer();
  } catch {
    refusals = [{ message: "The service does not answer. Try again." }];
  }
  find("refusal").textContent = refusals.map((refusal) => refusal.message).join(" ");
}

find("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = Object.fromEntries(new FormData(event.target));
  await act("mutation ($input: SignInInput!) { signIn(input: $input) { userErrors { message } } }", {
    input,
  });
});

find("sign-out").addEventListener("click", async () => {
  await act("mutation { signOut { userErrors { message } } }");
});

find("explore").addEventListener("submit", async (event) => {
  event.preventDefault();
  find("answer").textContent = "…";
  try {
    find("answer").textContent = JSON.stringify(await run(find("operation").value), null, 2);
  } catch {
    find("answer").textContent = "The service does not answer.";
  }
});

// E-mails link to #/tokens/<uuid>: show that token's question, ready to be run.
function begin() {
  const [, uuid] = location.hash.match(/^#\/tokens\/([0-9a-f-]{36})$/) ?? [];
  const id = uuid && btoa(`ApiToken:${uuid}`).replaceAll("=", "");
  find("operation").value = id
    ? `query {
  token(id: "${id}") { id name status expiresAt lastUsedAt scopes account { name } }
}`
    : Object.values(examples)[0];
}

for (const name of Object.keys(examples)) find("example").add(new Option(name));
find("example").addEventListener("change", () => {
  find("operation").value = examples[find("example").value];
});
window.addEventListener("hashchange", begin);
begin();
await showViewer();
