// Settings, all from the environment. The loops' times are constants in the original too (PROTOCOL B4): to run it
// faster, load speed.cjs first.

const env = process.env;

const port = Number(env.PORT ?? 7080);
const serverUrl = env.SERVER_URL ?? `http://127.0.0.1:${port}`;

export const settings = {
  port,
  serverUrl,
  gatewayUrl: env.GATEWAY_URL ?? `${serverUrl}/api`,
  issuer: env.KEYCLOAK_ISSUER,
  clientId: env.KEYCLOAK_CLIENT_ID ?? "renku-ui",
  clientSecret: env.KEYCLOAK_CLIENT_SECRET ?? "",
  tokenToleranceMs: Number(env.AUTH_TOKEN_TOLERANCE ?? 10) * 1000,
};

export const START_DELAY_MS = 3_000;
export const LONG_AFTER_SHORT_MS = 1_000;
export const SHORT_LOOP_MS = 5_000;
export const LONG_LOOP_MS = 180_000;
export const ACTIVATION_TIMEOUT_MS = 120_000;

/** The server's version; read at each use, as the original does. Empty when unknown. */
export function version() {
  return process.env.RENKU_UI_SHORT_SHA ?? "";
}

/** Logs are for people and go to standard error. */
export function log(...parts) {
  console.error(new Date(Date.now()).toISOString(), ...parts);
}
