// node main.js FILE: breaks FILE of a running project on purpose, and has a scripted editor repair it.
// Settings: SUPABASE_URL, SUPABASE_ANON_KEY, PROJECT_ID and EDITOR_TOKEN, as `preview-agent dev --env-file FILE` writes them.
import { ProjectFiles } from '@preview-agent/project-files'
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'
import { editUntilItWorks } from './repair-loop.js'

const [path] = process.argv.slice(2)
const names = ['SUPABASE_URL', 'SUPABASE_ANON_KEY', 'PROJECT_ID', 'EDITOR_TOKEN']
const missing = names.filter((name) => !process.env[name])
if (path === undefined || missing.length > 0) {
  console.error(`usage: node main.js FILE, with ${names.join(', ')} set${missing.length > 0 ? ` (missing: ${missing.join(', ')})` : ''}`)
  process.exit(64)
}
const { SUPABASE_URL, SUPABASE_ANON_KEY, PROJECT_ID, EDITOR_TOKEN } = process.env
const client = createClient(SUPABASE_URL, SUPABASE_ANON_KEY, {
  accessToken: async () => EDITOR_TOKEN,
  // Node has no WebSocket of its own before version 22.
  realtime: { transport: WebSocket },
})
const project = new ProjectFiles(client, PROJECT_ID)
let status = 1
try {
  // The preview is followed from here on: before the first edit.
  project.problems()
  project.problems()
  await project.load()
  const good = await project.read(path)
  const broken = `${good}\nconst unfinished = {\n`
  // In place of a model: it removes the line that the problem names and what follows it.
  const editor = async ({ text, problems }) => {
    const line = problems.find((problem) => problem.path === path)?.line
    return line === undefined ? null : `${text.split('\n').slice(0, line - 1).join('\n').trimEnd()}\n`
  }
  const { repaired, rounds } = await editUntilItWorks(project, path, broken, editor, { say: console.log })
  console.log(repaired ? `the preview works after ${rounds} rounds` : `still broken after ${rounds} rounds`)
  if (repaired) status = 0
} catch (error) {
  console.error(`the loop ended: ${error.message}`)
} finally {
  await project.close()
  client.realtime.disconnect()
}
process.exit(status)
