// What the loops do each turn (PROTOCOL B3, B5, B6). Each function is started and not awaited: nothing limits how
// long it takes, and nothing keeps the next turn from starting it again.

import { sendAll } from "./messages.mjs";
import { ACTIVATION_TIMEOUT_MS, log, settings, version } from "./settings.mjs";

const AT_ONCE = 5;

/** A GET of the backend on a connection of its own; JSON, or an error that carries the status. */
async function get(path, headers) {
  const response = await fetch(`${settings.gatewayUrl}${path}`, {
    headers: { ...headers, "x-requested-with": "XMLHttpRequest", connection: "close" },
  });
  if (!response.ok) {
    await response.body?.cancel();
    throw Object.assign(new Error(`${path} answered ${response.status}`), { status: response.status });
  }
  return response.json();
}

/** 53 bits of a non-cryptographic hash (cyrb53), in decimal. */
function hash(text) {
  let [a, b] = [0xdeadbeef, 0x41c6ce57];
  for (const character of text) {
    const code = character.codePointAt(0);
    a = Math.imul(a ^ code, 2654435761);
    b = Math.imul(b ^ code, 1597334677);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return String(4294967296 * (2097151 & b) + (a >>> 0));
}

/** Nested objects as dotted keys, in the order in which they came. */
function flatten(value, prefix = "", flat = {}) {
  for (const [key, inner] of Object.entries(value)) {
    if (inner !== null && typeof inner === "object") flatten(inner, `${prefix}${key}.`, flat);
    else flat[prefix + key] = inner;
  }
  return flat;
}

/** What counts as a change of V1: five fields of each status. */
function v1Text(body) {
  const servers = Object.entries(body.servers ?? {}).sort(([a], [b]) => a.localeCompare(b));
  const reduced = servers.map(([name, { status }]) => ({
    name,
    details: status.details ?? [],
    message: status.message,
    readyNumContainers: status.readyNumContainers ?? -1,
    state: status.state ?? { pod_name: "" },
    totalNumContainers: status.totalNumContainers ?? -1,
  }));
  return JSON.stringify(reduced);
}

/** What counts as a change of V2: everything; sessions sorted by name, keys as they came. */
function v2Text(body) {
  return JSON.stringify(body.map((item) => flatten(item)).sort((a, b) => a.name.localeCompare(b.name)));
}

/**
 * Asks, compares with what was known when the request started, tells the tabs of the channel as it was then: a tab
 * that joined meanwhile is in another copy and hears nothing.
 */
async function pollSessions(channel, headers, { path, type, text }) {
  const before = channel.data.get(type);
  const now = hash(text(await get(path, headers)));
  if (now !== before) {
    sendAll(channel, type, { message: "true" });
    channel.data.set(type, now);
  }
}

function sessionsFunction(poll) {
  return (channel, headers) => {
    pollSessions(channel, headers, poll).catch((error) => log(poll.path, error.message));
  };
}

/** One project's progress; 404 says nothing yet. */
async function activation(id, headers) {
  try {
    return (await get(`/projects/${id}/graph/status`, headers)).progress.percentage ?? -1;
  } catch (error) {
    return error.status === 404 ? undefined : -2;
  }
}

async function followProject(channel, headers, id) {
  const { followed, progress } = channel.data.get("activation");
  const now = await activation(id, headers);
  if (now === undefined) return;
  if (now === -2) followed.delete(id);
  if (progress[id] !== now) {
    progress[id] = now;
    if (followed.has(id)) followed.set(id, Date.now());
    sendAll(channel, "activation", { message: JSON.stringify(progress) });
  }
}

/** Drops projects that are done or stuck, then asks about the rest, five at a time within this turn. */
function pollActivation(channel, headers) {
  const state = channel.data.get("activation");
  if (!state) return;
  for (const [id, since] of state.followed) {
    if (state.progress[id] === 100) {
      state.followed.delete(id);
      delete state.progress[id];
    } else if (Date.now() - since >= ACTIVATION_TIMEOUT_MS) {
      state.followed.delete(id);
      sendAll(channel, "activation", { message: JSON.stringify({ [id]: -408 }) });
    }
  }
  const queue = [...state.followed.keys()];
  const worker = async () => {
    while (queue.length > 0) await followProject(channel, headers, queue.shift());
  };
  for (let n = 0; n < AT_ONCE; n++) worker().catch((error) => log("activation", error.message));
}

function pushVersion(channel) {
  if (channel.data.get("sendVersion") && version()) sendAll(channel, "version", { version: version() });
}

export const SHORT_LOOP = [
  sessionsFunction({ path: "/notebooks/servers", type: "sessionStatus", text: v1Text }),
  pollActivation,
  sessionsFunction({ path: "/data/sessions", type: "sessionStatusV2", text: v2Text }),
];

export const LONG_LOOP = [pushVersion];
