// A page to set a password by the link of an e-mail. The link's secret stands behind the #, which a
// browser sends to nobody; it is taken out of the address at once, so that the history forgets it.

const secret = location.hash.slice(1);
history.replaceState(null, "", location.pathname);

const find = (id) => document.getElementById(id);

find("set").hidden = !secret;
find("ask").hidden = Boolean(secret);

// Returns whether it was done; shows why not, else.
async function run(query, input) {
  find("refusal").textContent = find("told").textContent = "";
  let refusals;
  try {
    const answer = await fetch("/graphql", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ query, variables: { input } }),
    });
    const { data, errors } = await answer.json();
    refusals = errors ?? Object.values(data)[0].userErrors;
  } catch {
    refusals = [{ message: "The service does not answer. Try again." }];
  }
  find("refusal").textContent = refusals.map((refusal) => refusal.message).join(" ");
  if (refusals.some((refusal) => refusal.code === "LINK_ENDED")) find("ask").hidden = false;
  return refusals.length === 0;
}

find("set-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { newPassword, again } = Object.fromEntries(new FormData(event.target));
  if (newPassword !== again) {
    find("refusal").textContent = "The two are not the same.";
    return;
  }
  const done = await run(
    "mutation ($input: ResetPasswordInput!) { resetPassword(input: $input) { userErrors { code message } } }",
    { secret, newPassword },
  );
  if (done) {
    find("set").hidden = find("ask").hidden = true;
    find("told").textContent = "The password is set. You can sign in with it now.";
  }
});

find("ask-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const done = await run(
    "mutation ($input: RequestPasswordResetInput!) { requestPasswordReset(input: $input) { userErrors { code message } } }",
    { email: find("email").value },
  );
  if (done) {
    find("told").textContent = "If somebody signs in with that address, a link is on its way. It works for an hour.";
  }
});
