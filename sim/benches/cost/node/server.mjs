// The least that a notification server on ws does; the same on the wire as ../bare/src/main.rs.
//
//   node server.mjs USERS

import { createServer } from "node:http";

import { WebSocketServer } from "ws";

/** The reference server's short loop. */
const TURN_MS = 5000;
/** As long as the reference server's epochs. */
const EPOCH = "01234567-1000";

const userCount = Number(process.argv[2]);
if (!Number.isInteger(userCount) || userCount < 1) {
  console.error("how many users?");
  process.exit(2);
}

/** User's number to `{ tabs, told }`: its tabs, and the changes that they were told. */
const users = new Map();
/** Changes until now. */
let changes = 0;

function frame(type, message, more) {
  return JSON.stringify({ timestamp: new Date().toISOString(), scope: "user", type, data: { message }, ...more });
}

function answer(text) {
  let command;
  try {
    command = JSON.parse(text);
  } catch {
    return frame("error", "not a command", { code: "bad_message" });
  }
  return command?.type === "ping" && Object.keys(command.data ?? {}).length === 0
    ? frame("ack", "ping")
    : frame("error", "no such command", { code: "unknown_type" });
}

function tell(user) {
  user.told += 1;
  // Encoded once: every tab gets the same bytes.
  const bytes = Buffer.from(frame("sessionStatusV2", "true", { epoch: EPOCH, seq: user.told }));
  for (const tab of user.tabs) tab.send(bytes, { binary: false });
}

function connected(tab, request) {
  const number = Number(new URL(request.url, "http://localhost").searchParams.get("user"));
  let user = users.get(number);
  if (!user) {
    user = { tabs: new Set(), told: changes };
    users.set(number, user);
  }
  user.tabs.add(tab);
  tab.on("message", (bytes) => tab.send(answer(bytes.toString())));
  tab.on("error", () => tab.terminate());
  tab.on("close", () => {
    user.tabs.delete(tab);
    if (user.tabs.size === 0) users.delete(number);
  });
  tab.send(frame("init", "Connection established."));
}

const server = createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  if (request.method !== "POST" || url.pathname !== "/changes") {
    response.writeHead(404).end();
    return;
  }
  changes += 1;
  if (url.searchParams.get("at_once") === "true") for (const user of users.values()) tell(user);
  response.writeHead(204).end();
});

new WebSocketServer({ server, path: "/ws", maxPayload: 64 << 10 }).on("connection", connected);

// Every user's moment comes once in a turn.
const begin = performance.now();
let visited = 0;
setInterval(() => {
  for (const due = ((performance.now() - begin) / TURN_MS) * userCount; visited < due; visited += 1) {
    const user = users.get(visited % userCount);
    if (user && user.told < changes) tell(user);
  }
}, 2);

server.listen(0, "127.0.0.1", 4096, () => console.log(`listening on 127.0.0.1:${server.address().port}`));
