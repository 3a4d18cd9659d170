// A worker in another language: plain Node.js with the pg client, ten tasks at a time. It speaks to
// Currant through the SQL functions alone.
//   npm install pg && CURRANT_DATABASE_URL=postgresql://… node examples/worker.mjs
//   select currant.enqueue('fetch_page', '{"url": "https://www.postgresql.org"}');
import os from "node:os";
import process from "node:process";
import { setTimeout as pause } from "node:timers/promises";
import pg from "pg";

const url = process.env.CURRANT_DATABASE_URL;
const seconds = (name, fallback) => Number(process.env[`CURRANT_WORKER_${name}`] ?? fallback);
const interval = seconds("HEARTBEAT_INTERVAL", 5);
const pool = new pg.Pool({ connectionString: url });
const rows = async (sql, ...values) => (await pool.query(sql, values)).rows;

// The tasks: arguments by name, a signal that says when to stop.
const tasks = {
  async fetch_page({ url }, signal) {
    const answer = await fetch(url, { signal });
    if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
    return { status: answer.status, bytes: (await answer.text()).length };
  },
};

const [{ id: worker }] = await rows("select currant.register_worker($1) as id", {
  host: os.hostname(), pid: process.pid, queues: ["node"], concurrency: 10,
  heartbeat_timeout: seconds("HEARTBEAT_TIMEOUT", 30),
  functions: Object.keys(tasks).map((name) => ({ name, queue: "node", retries: 3, retry_delay: 1 })),
});
console.log("worker", worker);

const running = new Map(); // by token: { id, stop, isLost }
let wake = () => {};
let stopping = false;
for (const name of ["SIGTERM", "SIGINT"]) process.on(name, () => ((stopping = true), wake()));

async function run({ execution_id: id, token, function: name, args }) {
  const stop = new AbortController();
  const lease = { id, stop, isLost: false };
  running.set(token, lease);
  let sql = "select currant.complete($1, $2, $3, $4) as word", value;
  try {
    value = (await tasks[name](args, stop.signal)) ?? null;
  } catch (error) {
    sql = "select currant.fail($1, $2, $3, $4) as word";
    value = { type: error.name, message: error.message, traceback: error.stack };
  }
  let word = lease.isLost ? "lost" : "busy"; // a row is locked by somebody else: say it again
  while (word === "busy") [{ word }] = await rows(sql, worker, id, token, JSON.stringify(value));
  running.delete(token);
  console.log(word, name, id);
  wake();
}

// A beat says that this worker is alive, and hears which leases are lost or to be cancelled. An
// error (KR002: declared dead) ends the process: start it again, and it registers anew.
const beat = setInterval(async () => {
  const ids = [...running.values()].map((lease) => lease.id);
  const answers = await rows("select * from currant.heartbeat($1, $2, $3)", worker, ids, [...running.keys()]);
  for (const { token, answer } of answers) {
    const lease = running.get(token);
    if (!lease) continue;
    lease.isLost ||= answer === "lost";
    lease.stop.abort();
  }
}, interval * 1000);

const listener = new pg.Client({ connectionString: url });
await listener.connect();
await listener.query("listen currant_ready");
listener.on("notification", () => wake());
const poll = seconds("POLL_INTERVAL", 1);
while (!stopping || running.size > 0) {
  const woken = new Promise((resolve) => (wake = resolve));
  await rows("select currant.tick()"); // every worker does a share of the maintenance
  const free = stopping ? 0 : 10 - running.size;
  // wait: nothing there, so tell us when there is
  for (const claimed of await rows(
    "select * from currant.claim($1, '{node}', $2, 0, $3)", worker, free, { wait: poll },
  )) run(claimed);
  await Promise.race([woken, pause(poll * 1000)]);
}
clearInterval(beat);
await rows("select currant.deregister_worker($1)", worker);
await Promise.all([listener.end(), pool.end()]);
