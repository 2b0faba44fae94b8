// What tabs send (PROTOCOL B2): the checks in the original's order, the texts in its gist.

import { send, sendError } from "./messages.mjs";
import { LONG_LOOP_MS, log, version } from "./settings.mjs";

const interval =
  LONG_LOOP_MS < 60_000 ? `${LONG_LOOP_MS / 1000} seconds` : `${LONG_LOOP_MS / 60_000} minutes`;

function init(data, channel, socket) {
  if (!data.requestServerVersion) return;
  channel.data.set("sendVersion", true);
  const current = version();
  send(
    socket,
    "version",
    current
      ? { start: true, message: `The server's version follows every ${interval}.`, version: current }
      : { start: false, message: "The server does not know its version." },
  );
}

/** Forgets what was known: the next poll tells *every* tab again. */
function forget(type) {
  return (_data, channel) => {
    channel.data.delete(type);
  };
}

function followProjects(data, channel) {
  const shared = channel.data;
  if (!shared.has("activation")) shared.set("activation", { followed: new Map(), progress: {} });
  const { followed } = shared.get("activation");
  // What fails in here fails unseen, as in the original.
  (async () => {
    for (const id of data.projects) if (!followed.has(id)) followed.set(id, Date.now());
  })();
}

function ping(_data, _channel, socket) {
  send(socket, "ack", { message: "ping" });
}

/** A plain object, so that `constructor` and its like count as known. */
const COMMANDS = {
  init: [{ required: ["requestServerVersion"], optional: [], handler: init }],
  ping: [{ required: [], optional: [], handler: ping }],
  pullSessionStatus: [{ required: [], optional: [], handler: forget("sessionStatus") }],
  pullSessionStatusV2: [{ required: [], optional: [], handler: forget("sessionStatusV2") }],
  pullKgActivationStatus: [{ required: ["projects"], optional: [], handler: followProjects }],
};

function parse(text) {
  const message = JSON.parse(text);
  for (const key of ["timestamp", "type", "data"]) {
    if (!(key in message) || message[key] == null) throw new Error(`\`${key}\` is missing`);
  }
  if (typeof message.data !== "object") throw new Error("`data` is not an object");
  return message;
}

function fits(rule, data) {
  const keys = Object.keys(data);
  const known = [...rule.required, ...rule.optional];
  return rule.required.every((key) => keys.includes(key)) && keys.every((key) => known.includes(key));
}

async function execute(message, rules, channel, socket) {
  const rule = rules.find((candidate) => fits(candidate, message.data));
  if (!rule) {
    sendError(socket, `Wrong data for the command '${message.type}'.`);
    return;
  }
  try {
    rule.handler(message.data, channel, socket);
  } catch (error) {
    sendError(socket, `Error while executing the '${message.type}' command: ${error}`);
  }
}

/** One frame from a tab; `findChannel` looks its channel up, which may be gone. */
export function receive(frame, socket, findChannel) {
  let message;
  try {
    message = parse(frame.toString());
  } catch (error) {
    log("rejected:", frame.toString());
    sendError(socket, `Incoming message is bad formed: ${error}`);
    return;
  }
  const rules = COMMANDS[message.type];
  if (!rules) {
    log("rejected:", frame.toString());
    sendError(socket, `The command '${message.type}' is unknown.`);
    return;
  }
  execute(message, rules, findChannel(), socket);
}
