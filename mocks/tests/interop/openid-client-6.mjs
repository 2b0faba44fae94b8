// npm openid-client 6: the whole life of a session, and its refusals.
import assert from 'node:assert/strict';
import * as oidc from 'openid-client-6';
import { client, issuer, order, password, redirect, refused, step } from './steps.mjs';
import { signIn } from './browser.mjs';

// It insists on https, unless told.
const options = issuer.startsWith('https:') ? {} : { execute: [oidc.allowInsecureRequests] };
const discover = (secret) => oidc.discovery(new URL(issuer), client.id, secret, undefined, options);

let config;
await step('discovers the realm', async () => {
  config = await discover(client.secret);
  assert.equal(config.serverMetadata().issuer, issuer);
  assert.ok(config.serverMetadata().supportsPKCE());
});

async function trade({ sent } = {}) {
  const verifier = oidc.randomPKCECodeVerifier();
  const [state, nonce] = [oidc.randomState(), oidc.randomNonce()];
  const address = oidc.buildAuthorizationUrl(config, {
    redirect_uri: redirect,
    scope: 'openid email offline_access',
    state,
    nonce,
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  });
  const back = await signIn(address, 'ada', password);
  const checks = { pkceCodeVerifier: sent ?? verifier, expectedState: state, expectedNonce: nonce };
  return oidc.authorizationCodeGrant(config, back, { ...checks, idTokenExpected: true });
}

let tokens;
await step('signs in with code and PKCE', async () => {
  tokens = await trade();
  assert.equal(tokens.claims().email, 'ada@example.org');
});
await step('asks for claims', async () => {
  const { sub } = tokens.claims();
  assert.equal((await oidc.fetchUserInfo(config, tokens.access_token, sub)).preferred_username, 'ada');
});
await step('refreshes, offline too', async () => {
  tokens = await oidc.refreshTokenGrant(config, tokens.refresh_token);
  assert.ok(tokens.id_token);
  await order('POST', `/realms/Renku/sessions/${tokens.session_state}/expire`);
  tokens = await oidc.refreshTokenGrant(config, tokens.refresh_token);
});
await step('introspects and revokes', async () => {
  assert.equal((await oidc.tokenIntrospection(config, tokens.access_token)).active, true);
  await oidc.tokenRevocation(config, tokens.refresh_token);
  assert.equal((await oidc.tokenIntrospection(config, tokens.access_token)).active, false);
  await refused(() => oidc.refreshTokenGrant(config, tokens.refresh_token), 'invalid_grant');
});
await step('has tokens for itself', async () => {
  assert.ok((await oidc.clientCredentialsGrant(config)).access_token);
});
await step('is refused a wrong verifier, a made-up refresh token, a wrong secret', async () => {
  await refused(() => trade({ sent: oidc.randomPKCECodeVerifier() }), 'invalid_grant', 'PKCE verification failed: Code mismatch');
  await refused(() => oidc.refreshTokenGrant(config, 'made-up'), 'invalid_grant', 'Invalid refresh token');
  const eve = await discover('x');
  await refused(() => oidc.clientCredentialsGrant(eve), 'unauthorized_client');
});
await step('notices an issuer that is another', async () => {
  await order('POST', '/faults', { match: { route: 'keycloak.discovery' }, do: { keycloak: 'discovery_issuer_mismatch' }, times: 1 });
  await assert.rejects(discover(client.secret));
});
await step('signs out', async () => {
  tokens = await trade();
  const address = oidc.buildEndSessionUrl(config, { id_token_hint: tokens.id_token, post_logout_redirect_uri: redirect });
  const answer = await fetch(address, { redirect: 'manual' });
  assert.equal(answer.headers.get('location'), redirect);
  assert.equal((await oidc.tokenIntrospection(config, tokens.access_token)).active, true, 'an offline session outlives it');
});
