// Pages of other origins in Chromium: none of them may order anything of the mocks.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';
import { control, order, step } from './steps.mjs';

const ORDER = JSON.stringify({ user: 'eve', projects: [1] });
const REBOUND = 'rebound.test';

/** The users that the mocks hold. */
async function users() {
  const state = await (await fetch(`${control}/state`)).json();
  return Object.keys(state.users).sort();
}

const pages = createServer((_, answer) => answer.setHeader('content-type', 'text/html').end('<!doctype html>'));
await new Promise((listening) => pages.listen(0, '127.0.0.1', listening));
const foreign = `http://127.0.0.1:${pages.address().port}/`;
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-quic', `--host-resolver-rules=MAP ${REBOUND} 127.0.0.1`],
});
const context = await browser.newContext();
let page = await context.newPage();

try {
  // A reset, which needs no fields, would take her away.
  await order('PUT', '/users/carol', { password: 'p' });
  const before = await users();

  await step('fetch no-cors orders nothing', async () => {
    await page.goto(foreign);
    for (const body of [undefined, '{}']) {
      await page.evaluate(
        ([url, body]) => fetch(url, { method: 'POST', mode: 'no-cors', body }).catch(() => {}),
        [`${control}/reset`, body],
      );
    }
    assert.deepEqual(await users(), before);
  });

  await step('fetch with a JSON body fails at its preflight', async () => {
    const outcome = await page.evaluate(
      ([url, body]) =>
        fetch(url, { method: 'PUT', headers: { 'content-type': 'application/json' }, body }).then(
          () => 'answered',
          () => 'refused',
        ),
      [`${control}/users/eve`, ORDER],
    );
    assert.equal(outcome, 'refused');
    assert.deepEqual(await users(), before);
  });

  await step('a form orders nothing', async () => {
    await page.goto(foreign);
    const answered = page.waitForResponse(`${control}/reset`);
    await page.setContent(`<form method="post" enctype="text/plain" action="${control}/reset"></form>`);
    await page.evaluate(() => document.forms[0].submit());
    assert.equal((await answered).status(), 403);
    assert.deepEqual(await users(), before);
  });

  await step('a name that was rebound to the loopback reads and orders nothing', async () => {
    page = await context.newPage();
    const rebound = control.replace('127.0.0.1', REBOUND);
    const answer = await page.goto(`${rebound}/state`);
    assert.equal(answer.status(), 421);
    const status = await page.evaluate(
      ([body]) =>
        fetch('/users/eve', { method: 'PUT', headers: { 'content-type': 'application/json' }, body }).then(
          (answer) => answer.status,
        ),
      [ORDER],
    );
    assert.equal(status, 421);
    assert.deepEqual(await users(), before);
  });

  await step('the own page still shows what the mocks hold', async () => {
    const answer = await page.goto(control);
    assert.equal(answer.status(), 200);
    assert.ok((await page.content()).includes('carol'));
  });
} finally {
  await browser.close();
  pages.close();
}
