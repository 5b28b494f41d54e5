// node follow.mjs DIR: joins the project's channel and writes the files of its events as they arrive, in parallel.
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { createClient } from '@supabase/supabase-js'
import ws from 'ws'

const [dir] = process.argv.slice(2)
const { SUPABASE_URL, SUPABASE_ANON_KEY, REALTIME_TOKEN, PROJECT_ID } = process.env
const client = createClient(SUPABASE_URL, SUPABASE_ANON_KEY, {
  auth: { persistSession: false },
  global: { headers: { Authorization: `Bearer ${REALTIME_TOKEN}` } },
  realtime: { transport: ws },
})
await client.realtime.setAuth(REALTIME_TOKEN)

const made = new Set()
const write = async ({ file_path, content }) => {
  const path = join(dir, file_path)
  const parent = dirname(path)
  if (!made.has(parent)) {
    await mkdir(parent, { recursive: true })
    made.add(parent)
  }
  await writeFile(path, content)
}

// Parallel requests; more of them do not increase the throughput.
const PARALLEL_READS = 32

const call = async (name, args) => {
  const { data, error } = await client.rpc(name, { project_uuid: PROJECT_ID, ...args })
  if (error) throw error
  return data
}

// Reads the files whose content a page left out.
const fetched = async (files) => {
  const queue = [...files]
  const worker = async () => {
    for (let file = queue.pop(); file; file = queue.pop()) {
      await write(await call('get_project_file', { p_file_path: file.file_path, p_version: file.version }))
    }
  }
  await Promise.all(Array.from({ length: PARALLEL_READS }, worker))
}

// Reads the changes that an event left out.
const read = async (since) => {
  for (let complete = false; !complete; ) {
    const data = await call('list_project_changes', { since_revision: since, with_content: true })
    complete = data.complete
    since = data.files.at(-1)?.revision ?? data.head_revision
    await Promise.all([
      ...data.files.filter((file) => file.is_deleted).map((file) => rm(join(dir, file.file_path), { force: true })),
      ...data.files.filter((file) => file.content !== null).map(write),
      fetched(data.files.filter((file) => file.content_omitted)),
    ])
  }
}

const channel = client.channel(`project:${PROJECT_ID}`, { config: { private: true } })
channel.on('broadcast', { event: 'file:update' }, ({ payload }) => write(payload))
channel.on('broadcast', { event: 'bulk:apply' }, async ({ payload }) => {
  const { files, files_omitted, revision } = payload
  if (files_omitted || files.some((file) => file.content_omitted)) await read(revision - 1)
  else await Promise.all(files.map(write))
})
channel.subscribe((status) => {
  if (status === 'SUBSCRIBED') console.log('joined')
  else if (status !== 'CLOSED') console.error(status)
})
