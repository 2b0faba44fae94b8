// npm openid-client 4 and 5: the whole life of a session, and its refusals. The original server uses 4.9.
import assert from 'node:assert/strict';
import { client as own, issuer, order, password, redirect, refused, step } from './steps.mjs';
import { signIn } from './browser.mjs';

const { Issuer, generators } = await import(process.argv[2]);

async function discover(secret = own.secret) {
  const found = await Issuer.discover(issuer);
  assert.equal(found.issuer, issuer);
  const metadata = { client_id: own.id, client_secret: secret, redirect_uris: [redirect], response_types: ['code'] };
  return new found.Client(metadata);
}

let client;
await step('discovers the realm', async () => {
  client = await discover();
});

async function callback({ verifier = generators.codeVerifier(), sent = verifier, nonce = generators.nonce() } = {}) {
  const state = generators.state();
  const address = client.authorizationUrl({
    scope: 'openid profile email',
    state,
    nonce,
    code_challenge: generators.codeChallenge(verifier),
    code_challenge_method: 'S256',
  });
  const back = await signIn(address, 'ada', password);
  assert.equal(back.searchParams.get('iss'), issuer);
  const params = client.callbackParams(back.href);
  return { trade: () => client.callback(redirect, params, { state, nonce, code_verifier: sent }) };
}

let tokens;
await step('signs in with code and PKCE', async () => {
  const { trade } = await callback();
  tokens = await trade();
  assert.equal(tokens.claims().preferred_username, 'ada');
  await refused(trade, 'invalid_grant', 'Code not valid');
  await refused(() => client.refresh(tokens.refresh_token), 'invalid_grant', "Session doesn't have required client");
  tokens = await (await callback()).trade();
});
await step('asks for claims', async () => {
  const claims = await client.userinfo(tokens);
  assert.equal(claims.email, 'ada@example.org');
});
await step('refreshes', async () => {
  const fresh = await client.refresh(tokens);
  assert.notEqual(fresh.refresh_token, tokens.refresh_token);
  assert.equal(fresh.claims().sub, tokens.claims().sub);
  tokens = fresh;
});
await step('introspects', async () => {
  const answer = await client.introspect(tokens.access_token);
  assert.equal(answer.active, true);
  assert.equal(answer.username, 'ada');
  assert.equal((await client.introspect('made-up')).active, false);
});
await step('has tokens for itself and for a password', async () => {
  assert.ok((await client.grant({ grant_type: 'client_credentials' })).access_token);
  const grant = { grant_type: 'password', username: 'ada', scope: 'openid' };
  assert.ok((await client.grant({ ...grant, password })).id_token);
  await refused(() => client.grant({ ...grant, password: 'x' }), 'invalid_grant', 'Invalid user credentials');
});
await step('is refused a wrong verifier, a made-up refresh token, a wrong secret', async () => {
  const wrong = await callback({ sent: generators.codeVerifier() });
  await refused(wrong.trade, 'invalid_grant', 'PKCE verification failed: Code mismatch');
  await refused(() => client.refresh('made-up'), 'invalid_grant', 'Invalid refresh token');
  const eve = await discover('x');
  await refused(() => eve.grant({ grant_type: 'client_credentials' }), 'unauthorized_client');
});
await step('goes on when the keys are rotated', async () => {
  await order('POST', '/realms/Renku/keys/rotate');
  client = await discover(); // Keys are asked for once a minute at the most.
  const fresh = await client.refresh(tokens);
  const kid = (token) => JSON.parse(Buffer.from(token.split('.')[0], 'base64url')).kid;
  assert.notEqual(kid(fresh.id_token), kid(tokens.id_token));
  tokens = fresh;
});
await step('notices tokens that are wrong in one respect', async () => {
  for (const fault of ['bad_signature', 'wrong_iss', 'expired', 'wrong_aud', 'not_yet']) {
    await order('POST', '/faults', { match: { route: 'keycloak.token' }, do: { keycloak: fault }, times: 1 });
    await assert.rejects(client.refresh(tokens), undefined, fault);
  }
});
await step('signs out', async () => {
  const address = client.endSessionUrl({ id_token_hint: tokens.id_token, post_logout_redirect_uri: redirect, state: 's' });
  const answer = await fetch(address, { redirect: 'manual' });
  assert.equal(answer.status, 302);
  assert.equal(answer.headers.get('location'), `${redirect}?state=s`);
  await refused(() => client.refresh(tokens), 'invalid_grant', 'Session not active');
  assert.equal((await client.introspect(tokens.access_token)).active, false);
});
await step('revokes', async () => {
  tokens = await (await callback()).trade();
  await client.revoke(tokens.refresh_token);
  await refused(() => client.refresh(tokens), 'invalid_grant');
});
