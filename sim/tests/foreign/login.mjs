// Sign-in and tokens of era K3 (PROTOCOL B4, B8): OpenID Connect code flow with PKCE; the original keeps the tokens
// in Redis, this server in memory.

import { createHash, randomBytes, randomUUID } from "node:crypto";

import { message } from "./messages.mjs";
import { log, settings } from "./settings.mjs";

export const COOKIE = "ui-server-session";

const SCOPE = "openid profile email microprofile-jwt";
const REDIRECT_URI = `${settings.serverUrl}/ui-server/auth/callback`;

/** Session id to token set. */
const tokens = new Map();
/** Session id to the sign-in under way. */
const flows = new Map();

/** The `authentication` message instead of headers: the login session is over. */
export const EXPIRED = Symbol("expired");

/** The value of our cookie: at the start of the header or after one blank, up to the next `;` (PROTOCOL B1). */
export function sessionId(request) {
  return /(?:^| )ui-server-session=([^;]+)/.exec(request.headers.cookie ?? "")?.[1];
}

let discovered;

/** The identity provider's endpoints, asked for once. */
async function endpoints() {
  if (!discovered) {
    const response = await fetch(`${settings.issuer}/.well-known/openid-configuration`);
    if (!response.ok) throw new Error(`discovery answered ${response.status}`);
    discovered = await response.json();
  }
  return discovered;
}

/** One call of the token endpoint; the error's text is the provider's own. */
async function grant(form) {
  const { token_endpoint: endpoint } = await endpoints();
  const basic = [settings.clientId, settings.clientSecret].map(encodeURIComponent).join(":");
  const response = await fetch(endpoint, {
    method: "POST",
    headers: { authorization: `Basic ${Buffer.from(basic).toString("base64")}` },
    body: new URLSearchParams(form),
  });
  const answer = await response.json().catch(() => undefined);
  if (response.ok && answer?.access_token) {
    return { ...answer, expires_at: Date.now() + answer.expires_in * 1000 };
  }
  throw new Error(answer?.error ? `${answer.error} (${answer.error_description})` : `got ${response.status}`);
}

async function refresh(id) {
  const fresh = await grant({ grant_type: "refresh_token", refresh_token: tokens.get(id).refresh_token });
  const set = { ...tokens.get(id), ...fresh };
  tokens.set(id, set);
  return set;
}

const bearer = (set) => ({ authorization: `bearer ${set.access_token}` });

/**
 * Headers for a backend call, or `EXPIRED`.
 *
 * Only the clock is asked whether a token is good. Nothing keeps two callers from refreshing at once, and a provider
 * that cannot be reached yields a message object where headers should be: both as in the original.
 */
export async function authHeaders(id) {
  const set = tokens.get(id);
  if (!set) return { cookie: `anon-id=anon-${id}` };
  if (set.expires_at - settings.tokenToleranceMs > Date.now()) return bearer(set);

  for (const last of [false, true]) {
    try {
      return bearer(await refresh(id));
    } catch (error) {
      log("refresh failed:", error.message);
      if (!/expired|invalid/.test(error.message)) {
        return message("authentication", { message: "authentication not valid", invalid: true });
      }
      if (last) return EXPIRED;
    }
  }
}

function redirect(response, to, headers = {}) {
  response.writeHead(302, { location: to, ...headers }).end();
}

/** `Secure` is left out over plain HTTP, or no browser would send the cookie back. */
function cookie(id) {
  const secure = settings.serverUrl.startsWith("https:") ? "; Secure" : "";
  return `${COOKIE}=${id}; Path=/ui-server; HttpOnly${secure}`;
}

async function login(request, response) {
  const id = sessionId(request) ?? randomUUID();
  const flow = {
    state: randomBytes(16).toString("base64url"),
    nonce: randomBytes(16).toString("base64url"),
    verifier: randomBytes(32).toString("base64url"),
  };
  flows.set(id, flow);
  const url = new URL((await endpoints()).authorization_endpoint);
  url.search = new URLSearchParams({
    client_id: settings.clientId,
    redirect_uri: REDIRECT_URI,
    response_type: "code",
    scope: SCOPE,
    state: flow.state,
    nonce: flow.nonce,
    code_challenge: createHash("sha256").update(flow.verifier).digest("base64url"),
    code_challenge_method: "S256",
  });
  redirect(response, url.href, { "set-cookie": cookie(id) });
}

async function callback(request, response, query) {
  const id = sessionId(request);
  const flow = flows.get(id);
  if (!flow || query.get("state") !== flow.state || !query.has("code")) {
    response.writeHead(400).end("This sign-in was not started here.");
    return;
  }
  flows.delete(id);
  const form = { code: query.get("code"), redirect_uri: REDIRECT_URI, code_verifier: flow.verifier };
  tokens.set(id, await grant({ grant_type: "authorization_code", ...form }));
  redirect(response, `${settings.serverUrl}/ui-server`);
}

/** Deletes the tokens; open tabs are not told and go on as an anonymous user (PROTOCOL B4). */
async function logout(request, response) {
  const id = sessionId(request);
  const hint = tokens.get(id)?.id_token;
  tokens.delete(id);
  const url = new URL((await endpoints()).end_session_endpoint);
  url.searchParams.set("client_id", settings.clientId);
  url.searchParams.set("post_logout_redirect_uri", `${settings.serverUrl}/ui-server`);
  if (hint) url.searchParams.set("id_token_hint", hint);
  redirect(response, url.href);
}

export const authRoutes = {
  "/ui-server/auth/login": login,
  "/ui-server/auth/callback": callback,
  "/ui-server/auth/logout": logout,
};
