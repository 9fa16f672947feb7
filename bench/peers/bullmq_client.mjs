// Runs rounds of no-ops through BullMQ and reports how long each took.
//
// Reads a number of tasks per line on stdin; writes `{"tasks": …, "seconds": …}` per line to stdout.
// Jobs are added in bulk; a round ends when the `completed` event of every job has arrived with its
// return value.
import { createInterface } from "node:readline";
import { Queue, QueueEvents } from "bullmq";
import { connection } from "./bullmq_connection.mjs";

const PAYLOAD = { text: "x".repeat(88) };
const BULK = 1000;

const queue = new Queue("noop", { connection: connection() });
const events = new QueueEvents("noop", { connection: connection() });
await queue.waitUntilReady();
await events.waitUntilReady();

async function run(tasks) {
  const began = performance.now();
  let completed = 0;
  let onCompleted;
  const all = new Promise((resolve, reject) => {
    onCompleted = ({ returnvalue }) => {
      if (returnvalue?.text !== PAYLOAD.text) reject(new Error("BullMQ returned a wrong result"));
      completed += 1;
      if (completed === tasks) resolve();
    };
    events.on("completed", onCompleted);
  });
  for (let added = 0; added < tasks; added += BULK) {
    const count = Math.min(BULK, tasks - added);
    await queue.addBulk(Array.from({ length: count }, () => ({ name: "noop", data: PAYLOAD })));
  }
  await all;
  events.off("completed", onCompleted);
  return (performance.now() - began) / 1000;
}

for await (const line of createInterface({ input: process.stdin })) {
  const tasks = Number(line);
  console.log(JSON.stringify({ tasks, seconds: await run(tasks) }));
}
await events.close();
await queue.close();
