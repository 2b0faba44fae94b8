// A server that is not ours; see README.md.

import { createServer } from "node:http";

import { WebSocketServer } from "ws";

import { connected } from "./channels.mjs";
import { authRoutes } from "./login.mjs";
import { log, settings } from "./settings.mjs";

if (!settings.issuer) {
  console.error("KEYCLOAK_ISSUER is not set; it is the issuer's URL, without a slash at the end");
  process.exit(2);
}

const PLAIN = {
  "/": "live",
  "/liveness": "live",
  "/readiness": "ready",
  "/startup": "started",
  "/ui-server": "Renku UI server",
};

async function answer(request, response) {
  const url = new URL(request.url, settings.serverUrl);
  const route = authRoutes[url.pathname];
  if (route) {
    await route(request, response, url.searchParams);
  } else if (Object.hasOwn(PLAIN, url.pathname)) {
    response.writeHead(200, { "content-type": "text/plain" }).end(PLAIN[url.pathname]);
  } else {
    response.writeHead(404).end();
  }
}

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    log(request.url.split("?")[0], error.message);
    response.writeHead(500).end("The sign-in failed.");
  });
});

// The library's defaults are the original's: 100 MiB messages, no compression, the first subprotocol offered.
const sockets = new WebSocketServer({ server, path: "/ui-server/ws" });
sockets.on("connection", (socket, request) => connected(socket, request));

process.on("unhandledRejection", (error) => log("unhandled:", error));

function stop() {
  for (const socket of sockets.clients) socket.close();
  sockets.close(() => server.close(() => process.exit(0)));
  server.closeIdleConnections();
}
process.on("SIGTERM", stop);
process.on("SIGINT", stop);

server.listen(settings.port, "127.0.0.1", () => {
  console.log(`ready on ${server.address().port}`);
});
