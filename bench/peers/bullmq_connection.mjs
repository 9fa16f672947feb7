// Where Redis is: `REDIS_URL`, as for every peer.
export function connection() {
  const { hostname, port } = new URL(process.env.REDIS_URL);
  return { host: hostname, port: Number(port), maxRetriesPerRequest: null };
}
