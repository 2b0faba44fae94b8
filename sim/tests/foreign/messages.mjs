// What goes to tabs (PROTOCOL B3): text frames of JSON, scope always `user`.

export function message(type, data) {
  return { timestamp: new Date(Date.now()).toISOString(), scope: "user", type, data };
}

export function send(socket, type, data) {
  socket.send(JSON.stringify(message(type, data)));
}

export function sendAll(channel, type, data) {
  for (const socket of channel.sockets) send(socket, type, data);
}

export function sendError(socket, text) {
  send(socket, "error", { message: text });
}
