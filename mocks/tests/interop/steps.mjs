// Steps of an interop script: each says what held, or ends the script.
import assert from 'node:assert/strict';

export const issuer = process.env.ISSUER;
export const control = process.env.CONTROL;
export const redirect = 'http://127.0.0.1:1/callback';
export const client = { id: 'renku-ui', secret: 'client-secret-for-tests-only' };
export const password = 'password-of-ada';

export async function step(name, act) {
  try {
    await act();
    console.log(`ok ${name}`);
  } catch (error) {
    console.error(`FAILED ${name}`);
    console.error(error);
    process.exit(1);
  }
}

/** The error that a library gives for a refusal must carry Keycloak's own words. */
export async function refused(act, error, description) {
  const caught = await act().then(() => undefined, (reason) => reason);
  assert.ok(caught, `not refused: expected ${error}`);
  assert.equal(caught.error, error);
  if (description) assert.equal(caught.error_description, description);
}

export async function order(method, path, body) {
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(control + path, { method, headers, body: JSON.stringify(body ?? {}) });
  assert.ok(answer.ok, `${path}: ${answer.status} ${await answer.clone().text()}`);
  return answer.status === 204 ? undefined : answer.json();
}
