// Sign in, create a token, list, watch what happens to it, and revoke it.
// usage: node build/example.js http://127.0.0.1:8000/graphql you@example.com your-password

import { randomUUID } from "node:crypto";
import { graphql, Refused, Tokenward } from "./tokenward.js";

const SIGN_IN = graphql(`
  mutation SignIn($email: String!, $password: String!) {
    signIn(input: { email: $email, password: $password, transport: BEARER }) {
      sessionSecret
      userErrors { code message }
    }
  }
`);

const CREATE = graphql(`
  mutation Create($name: String!, $expiresAt: DateTime!, $key: String!) {
    createToken(
      input: { name: $name, scopes: ["dns:read"], expiresAt: $expiresAt, idempotencyKey: $key }
    ) {
      token { id name }
      secret
      userErrors { code message field }
    }
  }
`);

const LIST = graphql(`
  query List($after: String) {
    tokens(first: 50, after: $after, filter: { status: ACTIVE }) {
      edges { node { id name expiresAt lastUsedAt } }
      pageInfo { hasNextPage endCursor }
    }
  }
`);

const EVENTS = graphql(`
  subscription Events {
    tokenEvents { cursor event { action subjectId } }
  }
`);

const REVOKE = graphql(`
  mutation Revoke($id: ID!) {
    revokeToken(input: { id: $id, waitFor: ALL_VALIDATORS }) {
      token { status }
      propagation { state effectiveEverywhereBy }
      userErrors { code message }
    }
  }
`);

/** A mutation that changed nothing says why in `userErrors`. */
function made<Payload extends { userErrors: { code: string; message: string }[] }>(
  payload: Payload,
): Payload {
  const [refusal] = payload.userErrors;
  if (refusal) throw new Refused(refusal.message, refusal.code);
  return payload;
}

async function names(tokenward: Tokenward): Promise<string[]> {
  const found: string[] = [];
  let after: string | null = null;
  do {
    const { tokens }: { tokens: Page } = await tokenward.ask(LIST, { after });
    found.push(...tokens.edges.map(({ node }) => node.name));
    after = tokens.pageInfo.hasNextPage ? tokens.pageInfo.endCursor : null;
  } while (after !== null);
  return found;
}

type Page = {
  edges: { node: { name: string } }[];
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
};

const [url = "http://127.0.0.1:8000/graphql", email = "", password = ""] = process.argv.slice(2);

const { signIn } = await new Tokenward(url).ask(SIGN_IN, { email, password });
const tokenward = new Tokenward(url, made(signIn).sessionSecret ?? undefined);

const events = tokenward.watch(EVENTS, {});
await events.next(); // the first message tells where the stream begins
const name = `example ${randomUUID().slice(0, 8)}`;
const expiresAt = new Date(Date.now() + 24 * 3600 * 1000).toISOString();
const key = randomUUID(); // the same key again gives the same secret, should the answer get lost
const { createToken } = await tokenward.ask(CREATE, { name, expiresAt, key });
const { token, secret } = made(createToken);
if (!token || !secret) throw new Error("a token that was created is told");
console.log(`created ${token.name}: ${secret.slice(0, 8)}…${secret.slice(-4)}`);
console.log(`listed ${(await names(tokenward)).includes(name)}`);

const { value } = await events.next();
console.log(`told ${value?.tokenEvents.event?.action}`);

const { revokeToken } = await tokenward.ask(REVOKE, { id: token.id });
const { propagation } = made(revokeToken);
console.log(`revoked ${propagation?.state}`);

await events.return(undefined);
