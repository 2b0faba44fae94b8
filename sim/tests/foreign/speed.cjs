// Makes a Node server's time pass POLYTAB_SPEED times as fast, without a change to the server:
//
//     POLYTAB_SPEED=10 node --require ./speed.cjs server.mjs
//
// Timers are divided, `Date.now` is multiplied from the start of the process on. `new Date()` without arguments and
// the timers inside Node itself (those of `fetch`) keep real time.

"use strict";

const speed = Number(process.env.POLYTAB_SPEED ?? 1);
if (!(speed >= 1 && speed <= 100)) {
  throw new Error(`POLYTAB_SPEED must be between 1 and 100, not ${process.env.POLYTAB_SPEED}`);
}

const realNow = Date.now;
const start = realNow();
Date.now = () => Math.round(start + (realNow() - start) * speed);

for (const name of ["setTimeout", "setInterval"]) {
  const real = globalThis[name];
  globalThis[name] = (callback, delay = 0, ...rest) => real(callback, delay / speed, ...rest);
}
