// Puts so many users into the mocks and signs the last one in; prints a body that refreshes that one's tokens.
const [control, issuer, count] = process.argv.slice(2);

async function sent(method, url, body, kind) {
  const answer = await fetch(url, { method, body, headers: { 'content-type': kind } });
  if (!answer.ok) throw new Error(`${method} ${url} was answered ${answer.status}: ${await answer.text()}`);
  return answer.json();
}

const name = (nth) => `user-${nth}`;
for (let nth = 1; nth <= Number(count); nth += 1) {
  await sent('PUT', `${control}/users/${name(nth)}`, '{"password": "p"}', 'application/json');
}
const client = { client_id: 'renku-ui', client_secret: 'client-secret-for-tests-only' };
const form = (fields) => new URLSearchParams({ ...client, ...fields }).toString();
const signIn = { grant_type: 'password', username: name(count), password: 'p', scope: 'openid' };
const kind = 'application/x-www-form-urlencoded';
const tokens = await sent('POST', `${issuer}/protocol/openid-connect/token`, form(signIn), kind);
console.log(form({ grant_type: 'refresh_token', refresh_token: tokens.refresh_token }));
