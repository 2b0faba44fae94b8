// Makes a Node server's time pass POLYTAB_SPEED times as fast, without a change to the server:
//
//     POLYTAB_SPEED=10 node --require ./speed.cjs server.mjs
//
// Timers are divided; `Date.now()`, `new Date()` and `Date()` are multiplied from the start of the process on. The
// timers inside Node itself (those of `fetch`) keep real time.

"use strict";

const speed = Number(process.env.POLYTAB_SPEED ?? 1);
if (!(speed >= 1 && speed <= 100)) {
  throw new Error(`POLYTAB_SPEED must be between 1 and 100, not ${process.env.POLYTAB_SPEED}`);
}

const RealDate = Date;
const start = RealDate.now();
const now = () => Math.round(start + (RealDate.now() - start) * speed);

// A proxy keeps `instanceof`, subclasses and the statics of the real class.
globalThis.Date = new Proxy(RealDate, {
  construct: (target, values, newTarget) =>
    Reflect.construct(target, values.length === 0 ? [now()] : values, newTarget),
  apply: () => new RealDate(now()).toString(),
  get: (target, key) => (key === "now" ? now : Reflect.get(target, key)),
});
// `date.constructor` leads to the scaled class as well.
RealDate.prototype.constructor = globalThis.Date;

for (const name of ["setTimeout", "setInterval"]) {
  const real = globalThis[name];
  globalThis[name] = (callback, delay = 0, ...rest) => real(callback, delay / speed, ...rest);
}
