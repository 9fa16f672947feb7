// The BullMQ side of the throughput benchmark: one worker with concurrency 50 that returns its input.
// Completed jobs and their return values are kept, which is BullMQ's default.
import { Worker } from "bullmq";
import { connection } from "./bullmq_connection.mjs";

const worker = new Worker("noop", async (job) => job.data, { connection: connection(), concurrency: 50 });
worker.on("error", (error) => console.error(`bullmq worker: ${error.message}`));
await worker.waitUntilReady();
console.log("ready");
