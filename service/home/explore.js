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
  "The accounts below": `query {
  accounts(first: 20) { edges { node { id name kind status } } }
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

find("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = Object.fromEntries(new FormData(event.target));
  const { data } = await run(
    "mutation ($input: SignInInput!) { signIn(input: $input) { userErrors { message } } }",
    { input },
  );
  find("refusal").textContent = data?.signIn.userErrors.map((error) => error.message).join(" ") ?? "";
  await showViewer();
});

find("sign-out").addEventListener("click", async () => {
  await run("mutation { signOut { userErrors { code } } }");
  await showViewer();
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
