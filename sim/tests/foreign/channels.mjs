// Channels and their loops (PROTOCOL B1, B4), defects included: timers outlive their channel, a join replaces the
// channel by a copy, an expired channel is forgotten while its tabs stay open.

import { receive } from "./commands.mjs";
import { EXPIRED, authHeaders, sessionId } from "./login.mjs";
import { send, sendAll } from "./messages.mjs";
import { LONG_LOOP, SHORT_LOOP } from "./polls.mjs";
import { LONG_AFTER_SHORT_MS, LONG_LOOP_MS, SHORT_LOOP_MS, START_DELAY_MS, log } from "./settings.mjs";

/** Session id to `{ sockets, data }`. */
const channels = new Map();

const expired = { message: "authentication not valid", expired: true };

/**
 * One turn, then the next one's timer. Whatever channel has this session id is taken, also one that was born after
 * this loop; without one the loop ends.
 */
async function turn(id, functions, intervalMs) {
  const channel = channels.get(id);
  if (!channel) return;
  const headers = await authHeaders(id);
  if (headers === EXPIRED) {
    sendAll(channel, "authentication", expired);
    channels.delete(id);
    return;
  }
  for (const work of functions) {
    try {
      work(channel, headers);
    } catch (error) {
      sendAll(channel, "error", { message: `Error in the loop function '${work.name}': ${error}` });
    }
  }
  for (const socket of channel.sockets) socket.ping();
  setTimeout(() => turn(id, functions, intervalMs), intervalMs);
}

function startLoops(id) {
  setTimeout(() => {
    turn(id, SHORT_LOOP, SHORT_LOOP_MS);
    setTimeout(() => turn(id, LONG_LOOP, LONG_LOOP_MS), LONG_AFTER_SHORT_MS);
  }, START_DELAY_MS);
}

function join(id, socket) {
  const channel = channels.get(id);
  if (channel) {
    channels.set(id, { ...channel, sockets: [...channel.sockets, socket] });
  } else {
    channels.set(id, { sockets: [socket], data: new Map() });
    startLoops(id);
  }
}

function leave(id, socket) {
  const channel = channels.get(id);
  if (!channel) return;
  if (channel.sockets.length <= 1) channels.delete(id);
  else channel.sockets = channel.sockets.filter((other) => other !== socket);
}

/** A tab after its upgrade, which always succeeds; its origin is not looked at. */
export async function connected(socket, request) {
  socket.on("error", (error) => log("socket:", error.message));
  const id = sessionId(request);
  if (!id) {
    send(socket, "error", { message: "No session cookie.", missingAuth: true });
    socket.close(4000);
    return;
  }
  join(id, socket);
  socket.on("message", (frame) => receive(frame, socket, () => channels.get(id)));
  socket.on("close", () => leave(id, socket));
  if ((await authHeaders(id)) === EXPIRED) send(socket, "authentication", expired);
  send(socket, "init", { message: "Connection established." });
}
