// node follow.mjs DIR: joins the project's channel and writes what its events say, as they come and in parallel.
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createClient } from "@supabase/supabase-js";
import ws from "ws";

const [dir] = process.argv.slice(2);
const { SUPABASE_URL, SUPABASE_ANON_KEY, REALTIME_TOKEN, PROJECT_ID } = process.env;
const client = createClient(SUPABASE_URL, SUPABASE_ANON_KEY, {
  auth: { persistSession: false },
  realtime: { transport: ws },
});
await client.realtime.setAuth(REALTIME_TOKEN);
const made = new Set();
const channel = client.channel(`project:${PROJECT_ID}`, { config: { private: true } });
channel.on("broadcast", { event: "file:update" }, async ({ payload }) => {
  const path = join(dir, payload.file_path);
  const parent = dirname(path);
  if (!made.has(parent)) {
    await mkdir(parent, { recursive: true });
    made.add(parent);
  }
  await writeFile(path, payload.content);
});
channel.subscribe((status) => {
  if (status === "SUBSCRIBED") console.log("joined");
  else if (status !== "CLOSED") console.error(status);
});
process.on("SIGTERM", () => {
  console.log(JSON.stringify({ max_rss_kib: process.resourceUsage().maxRSS }));
  process.exit(0);
});
