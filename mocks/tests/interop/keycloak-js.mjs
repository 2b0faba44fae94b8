// npm keycloak-js in headless Chromium: a person fills the form, works in two tabs, is refreshed silently, signs out.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { chromium } from 'playwright-core';
import { issuer, order, password, step } from './steps.mjs';

const [url] = issuer.split('/realms/');
const library = dirname(createRequire(import.meta.url).resolve('keycloak-js'));
const page = `<!DOCTYPE html><html><body><p id="who">nobody</p><script type="module">
  import Keycloak from '/keycloak.js';
  window.keycloak = new Keycloak({ url: '${url}', realm: 'Renku', clientId: 'page' });
  keycloak.onAuthLogout = () => { who.textContent = 'signed out'; };
  const options = { onLoad: location.search.includes('silent') ? 'check-sso' : 'login-required' };
  if (location.search.includes('silent')) options.silentCheckSsoRedirectUri = location.origin + '/silent.html';
  keycloak.init({ ...options, pkceMethod: 'S256', checkLoginIframeInterval: 1 }).then(
    (signedIn) => { who.textContent = signedIn ? keycloak.tokenParsed.preferred_username : 'nobody'; window.ready = true; },
    (error) => { who.textContent = 'error ' + JSON.stringify(error); window.ready = true; },
  );
</script></body></html>`;
const silent = '<!DOCTYPE html><script>parent.postMessage(location.href, location.origin)</script>';
const server = createServer(async (request, answer) => {
  const [path] = request.url.split('?');
  const [kind, body] =
    path === '/keycloak.js' ? ['text/javascript', await readFile(join(library, 'keycloak.js'))]
    : path === '/silent.html' ? ['text/html', silent]
    : ['text/html', page];
  answer.writeHead(200, { 'content-type': kind }).end(body);
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const app = `http://127.0.0.1:${server.address().port}`;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-sync'],
});
const context = await browser.newContext();
const answers = [];
context.on('response', (answer) => answers.push(`${answer.status()} ${answer.url()}`));
context.on('requestfailed', (request) => answers.push(`${request.failure().errorText} ${request.url()}`));
process.on('exit', (code) => { if (code) console.error(answers.slice(-40).join('\n')); });
const who = (tab, text) => tab.waitForFunction((text) => document.querySelector('#who')?.textContent === text, text);

await order('PUT', '/realms/Renku/clients/page', { redirectUris: [`${app}/*`], webOrigins: ['+'] });
const first = await context.newPage();
await step('signs in by filling the form', async () => {
  await first.goto(app);
  await first.fill('#username', 'ada');
  await first.fill('#password', 'wrong');
  await first.click('#kc-login');
  assert.match(await first.textContent('#input-error'), /Invalid username or password/);
  await first.fill('#username', 'ada');
  await first.fill('#password', password);
  await first.click('#kc-login');
  await who(first, 'ada');
});
const second = await context.newPage();
await step('finds a second tab signed in without a page', async () => {
  await second.goto(`${app}/?silent`);
  await who(second, 'ada');
  const sessions = await Promise.all([first, second].map((tab) => tab.evaluate(() => keycloak.sessionId)));
  assert.equal(sessions[0], sessions[1]);
});
await step('refreshes silently in both tabs', async () => {
  for (const tab of [first, second]) {
    const before = await tab.evaluate(() => keycloak.token);
    assert.equal(await tab.evaluate(() => keycloak.updateToken(-1)), true);
    assert.notEqual(await tab.evaluate(() => keycloak.token), before);
  }
});
await step('reads its profile across origins', async () => {
  const claims = await second.evaluate(() => keycloak.loadUserInfo());
  assert.equal(claims.email, 'ada@example.org');
});
await step('tells the second tab that the first signed out', async () => {
  // A page that requires a login goes for one as soon as its frame finds the cookie gone, which may be before the
  // sign-out has led it back.
  await first.goto(`${app}/?silent`);
  await who(first, 'ada');
  await first.evaluate((app) => { keycloak.logout({ redirectUri: `${app}/?silent` }); }, app);
  await who(first, 'nobody');
  await who(second, 'signed out');
  const refreshed = await second.evaluate(() => keycloak.updateToken(-1).then(() => true, () => false));
  assert.equal(refreshed, false);
});
await browser.close();
server.close();
