// A client in a few lines: one typed call, one error for what is not as expected, one live stream.

import { print } from "graphql";
import { createClient } from "graphql-sse";
import { initGraphQLTada, type ResultOf, type TadaDocumentNode, type VariablesOf } from "gql.tada";
import type { introspection } from "./graphql-env.js";

export const graphql = initGraphQLTada<{
  introspection: introspection;
  scalars: { DateTime: string; JSON: unknown };
}>();

/** What the service refused as a whole; `code` is stable, to branch on. */
export class Refused extends Error {
  constructor(
    message: string,
    readonly code: string,
  ) {
    super(message);
  }
}

type Document = TadaDocumentNode<any, any>;

export class Tokenward {
  constructor(
    private readonly url: string,
    private readonly secret?: string,
  ) {}

  /** Run a query or a mutation. */
  async ask<Asked extends Document>(
    document: Asked,
    variables: VariablesOf<Asked>,
  ): Promise<ResultOf<Asked>> {
    const answer = await fetch(this.url, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        Accept: "application/graphql-response+json, application/json",
        ...this.authorization(),
      },
      body: JSON.stringify({ query: print(document), variables }),
    });
    const { data, errors } = await answer.json();
    if (errors?.length) {
      throw new Refused(errors[0].message, errors[0].extensions?.code ?? "UNKNOWN");
    }
    return data;
  }

  /** Watch a subscription; the connection is made again by itself when it breaks. */
  async *watch<Watched extends Document>(
    document: Watched,
    variables: VariablesOf<Watched>,
  ): AsyncGenerator<ResultOf<Watched>> {
    const client = createClient({ url: this.url, headers: this.authorization() });
    try {
      const results = client.iterate<ResultOf<Watched>, never>({
        query: print(document),
        variables: variables as Record<string, unknown>,
      });
      for await (const { data, errors } of results) {
        if (errors?.length) throw errors[0];
        if (data) yield data;
      }
    } finally {
      client.dispose();
    }
  }

  private authorization(): Record<string, string> {
    return this.secret === undefined ? {} : { Authorization: `Bearer ${this.secret}` };
  }
}
