// The npm package `eventsource`, which does as browsers do, against the GitLab mock.

import { EventSource } from "eventsource";

const { GITLAB, CONTROL, ISSUER } = process.env;
const PROJECT = 42;

async function control(method, path, order) {
  const body = order === undefined ? undefined : JSON.stringify(order);
  const headers = { "content-type": "application/json" };
  const answer = await fetch(CONTROL + path, { method, headers, body });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  const text = await answer.text();
  return text === "" ? null : JSON.parse(text);
}

/** Starts over with one user who owns the project; gives a token of hers. */
async function begin() {
  await control("POST", "/reset");
  await control("PUT", "/users/ada", { password: "password-of-ada", projects: [PROJECT] });
  const form = new URLSearchParams({
    grant_type: "password",
    client_id: "renku-ui",
    client_secret: "client-secret-for-tests-only",
    username: "ada",
    password: "password-of-ada",
    scope: "openid",
  });
  const answer = await fetch(`${ISSUER}/protocol/openid-connect/token`, { method: "POST", body: form });
  return (await answer.json()).access_token;
}

async function emit(n) {
  const order = { topic: `/project/${PROJECT}/issue`, payload: { n, text: "größer 🚀" } };
  return (await control("POST", "/events", order)).id;
}

const fault = (name) =>
  control("POST", "/faults", { match: { route: "gitlab.stream" }, do: { gitlab: name }, times: 1 });

function check(what, found, wanted) {
  const [left, right] = [found, wanted].map((value) => JSON.stringify(value));
  if (left !== right) throw new Error(`FAILED ${what}: ${left} and not ${right}`);
  console.log(`ok ${what}`);
}

/** A source with what it saw, and a way to wait for it without sleeping. */
class Source {
  seen = [];
  #waiting = [];

  constructor(token, path = `/project/${PROJECT}/issue`) {
    this.source = new EventSource(`${GITLAB}${path}${path.includes("?") ? "&" : "?"}access_token=${token}`);
    const see = (what) => {
      this.seen.push(what);
      this.#waiting = this.#waiting.filter((wake) => !wake());
    };
    for (const type of ["issue", "push", "reset"]) {
      this.source.addEventListener(type, ({ data, lastEventId }) => see({ type, id: lastEventId, data: JSON.parse(data) }));
    }
    this.source.addEventListener("open", () => see({ type: "open" }));
    this.source.addEventListener("error", ({ code }) => see({ type: "error", code, state: this.source.readyState }));
  }

  /** Waits until so many of a type were seen. */
  async until(type, count = 1) {
    const found = () => this.seen.filter((what) => what.type === type);
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`FAILED: no ${count} of ${type} in ${JSON.stringify(this.seen)}`)), 15_000);
      const wake = () => {
        if (found().length < count) return false;
        clearTimeout(timer);
        resolve();
        return true;
      };
      if (!wake()) this.#waiting.push(wake);
    });
    return found();
  }

  close() {
    this.source.close();
  }
}

const numbers = (events) => events.map((event) => event.data.n);

async function resumes(token) {
  const source = new Source(token);
  await source.until("open");
  const id = await emit(1);
  const [first] = await source.until("issue");
  check("an event with its id", [first.id, first.data], [id, { n: 1, text: "größer 🚀" }]);
  const [open] = await control("GET", "/streams");
  await control("POST", `/streams/${open.id}/drop`);
  await source.until("error");
  await emit(2);
  await emit(3);
  check("a stream that broke goes on where it broke", numbers(await source.until("issue", 3)), [1, 2, 3]);
  source.close();
}

async function misbehaves(token) {
  for (const [name, wanted] of [
    ["gap", [2, 3]],
    ["duplicate", [1, 1, 2, 3]],
    ["reorder", [2, 1, 3]],
    ["split_utf8", [1, 2, 3]],
    ["crlf_mix", [1, 2, 3]],
    ["reset_event", [1, 2, 3]],
    ["bom", [1, 2, 3]],
  ]) {
    await fault(name);
    const source = new Source(token);
    await source.until("open");
    for (const n of [1, 2, 3]) await emit(n);
    check(name, numbers(await source.until("issue", wanted.length)), wanted);
    if (name === "reset_event") check("a reset that nobody needed", (await source.until("reset")).length, 1);
    source.close();
  }
}

async function ends(token) {
  const stranger = new Source("made-up");
  const [refused] = await stranger.until("error");
  check("401 closes for good", [refused.code, refused.state], [401, EventSource.CLOSED]);

  const several = new Source(token, `/project/group%2Fproject-${PROJECT}?types=issue,push`);
  await several.until("open");
  await control("POST", `/projects/${PROJECT}/events`, { type: "push" });
  await control("POST", `/projects/${PROJECT}/events`, { type: "issue" });
  await several.until("push");
  await several.until("issue");
  console.log("ok one stream of several types, named by path");
  await control("DELETE", `/projects/${PROJECT}`);
  await several.until("error", 2);
  const errors = several.seen.filter((what) => what.type === "error");
  check("a deleted project is let go of", errors.map((error) => [error.code ?? null, error.state]), [
    [null, EventSource.CONNECTING],
    [204, EventSource.CLOSED],
  ]);
}

const token = await begin();
await resumes(token);
await misbehaves(token);
await ends(token);
