// node verdict.js REVISION: prints the preview's verdict about a revision as JSON; exit status 0 for ok, 1 for broken, 2 for none.
// Settings as of main.js.
import { ProjectFiles } from '@preview-agent/project-files'
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'

const { SUPABASE_URL, SUPABASE_ANON_KEY, PROJECT_ID, EDITOR_TOKEN } = process.env
const client = createClient(SUPABASE_URL, SUPABASE_ANON_KEY, {
  accessToken: async () => EDITOR_TOKEN,
  realtime: { transport: WebSocket },
})
const project = new ProjectFiles(client, PROJECT_ID)
try {
  const settled = await project.settled(Number(process.argv[2]), { timeoutMs: 30_000 })
  console.log(JSON.stringify(settled, null, 2))
  process.exit(settled.verdict === 'ok' ? 0 : 1)
} catch (error) {
  console.error(error.message)
  process.exit(2)
}
