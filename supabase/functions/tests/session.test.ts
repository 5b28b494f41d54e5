import { assert, assertEquals, eventually, post, rpc, serveFunctions, settings } from './support.ts'

const { PROJECT_ID: project, EDITOR_TOKEN: editor } = settings

Deno.test('an editor opens a session, sees its saves beyond the first token, and ends it', async (t) => {
  const functions = serveFunctions({ PREVIEW_TOKEN_SECONDS: '10' })
  try {
    const opened = await post(`${functions.url}/preview-session`, editor, { project_id: project })
    assertEquals([opened.status, opened.body.state], [200, 'running'], JSON.stringify(opened.body))
    const { session_id: id, preview_url: url } = opened.body
    const home = `${settings.LOCAL_MACHINES_DIR}/preview-${id}`
    const { pid, statusPort } = JSON.parse(await Deno.readTextFile(`${home}/machine.json`))

    await t.step('the preview answers', async () => {
      await eventually('the preview says hello', async () => (await previewText(url)).includes('hello'))
    })
    await t.step('opening it again returns the same session', async () => {
      const again = await post(`${functions.url}/preview-session`, editor, { project_id: project })
      assertEquals([again.status, again.body.session_id], [200, id])
    })
    await t.step('a save reaches the preview', async () => {
      await rpc('upsert_project_file', { project_uuid: project, p_file_path: 'message.txt', p_content: 'saved' })
      await eventually('the preview says saved', async () => (await previewText(url)).includes('saved'))
    })
    await t.step('saves still reach the preview after the first token has expired', async () => {
      await eventually('a renewal', async () => (await Deno.readTextFile(`${home}/log`)).includes('token_renewed'))
      await new Promise((done) => setTimeout(done, 11_000))
      await rpc('upsert_project_file', { project_uuid: project, p_file_path: 'message.txt', p_content: 'later' })
      await eventually('the preview says later', async () => (await previewText(url)).includes('later'))
    })
    await t.step('the service key is in no place of the machine', async () => {
      const key = settings.SUPABASE_SERVICE_ROLE_KEY
      const places: Record<string, string> = { "the agent's log": await Deno.readTextFile(`${home}/log`) }
      for (const page of ['status', 'metrics', 'logs', 'readyz']) {
        places[`/${page}`] = await text(`http://127.0.0.1:${statusPort}/${page}`)
      }
      for (const process of await tree(pid)) {
        places[`the environment of process ${process}`] = await Deno.readTextFile(`/proc/${process}/environ`)
      }
      for await (const [path, content] of files(home)) places[path] = content
      for (const [place, content] of Object.entries(places)) {
        assert(!content.includes(key), `the service key is in ${place}`)
      }
      console.log(`the service key is in none of ${Object.keys(places).length} places`)
    })
    await t.step('after its end the machine is gone, and its token cannot be renewed', async () => {
      const ended = await post(`${functions.url}/preview-session/${id}`, editor, undefined, 'DELETE')
      assertEquals([ended.status, ended.body.state], [200, 'ended'])
      assert(
        await text(url).then(
          () => false,
          () => true,
        ),
        'the preview does not answer any more',
      )
      assert(
        await Deno.stat(home).then(
          () => false,
          () => true,
        ),
        'its directory is gone',
      )
      const agent = await functions.mint({ projectId: project, sessionId: id })
      const renewal = { session_id: id, project_id: project, want: ['token'] }
      assertEquals((await post(`${functions.url}/preview-session/renew`, agent, renewal)).status, 410)
    })
  } finally {
    await functions.stop()
  }
})

Deno.test('callers without a right are refused with the right status', async () => {
  const functions = serveFunctions({})
  try {
    const open = (token: string | null, body: unknown) => post(`${functions.url}/preview-session`, token, body)
    assertEquals((await open(null, { project_id: project })).status, 401)
    assertEquals((await open('nonsense', { project_id: project })).status, 401)
    assertEquals((await open(editor, { project_id: 'nonsense' })).status, 400)
    assertEquals((await open(editor, { project_id: crypto.randomUUID() })).status, 403, 'a project that does not exist')
    const stranger = await functions.sign({ role: 'authenticated', sub: crypto.randomUUID() })
    assertEquals((await open(stranger, { project_id: project })).status, 403, "another person's project")
    const agent = await functions.mint({ projectId: project, sessionId: crypto.randomUUID() })
    assertEquals((await open(agent, { project_id: project })).status, 401, "an agent's token opens no session")
    const build = (token: string) => post(`${functions.url}/build-project-snapshot`, token, { project_id: project })
    assertEquals(
      [(await build(editor)).status, (await build(agent)).status],
      [401, 401],
      'the builder needs the service key',
    )
    assertEquals((await post(`${functions.url}/preview-session/sweep`, editor, {})).status, 401)
  } finally {
    await functions.stop()
  }
})

Deno.test('one state has one snapshot, unless a rebuild is requested', async () => {
  const functions = serveFunctions({})
  try {
    const build = async (more: Record<string, unknown> = {}) => {
      const body = { project_id: project, ...more }
      const built = await post(`${functions.url}/build-project-snapshot`, settings.SUPABASE_SERVICE_ROLE_KEY, body)
      assertEquals(built.status, 200, JSON.stringify(built.body))
      return built.body
    }
    await rpc('upsert_project_file', {
      project_uuid: project,
      p_file_path: 'snapshot.txt',
      p_content: crypto.randomUUID(),
    })
    const first = await build()
    const second = await build()
    assertEquals([first.built, second.built, second.object], [true, false, first.object])
    const rebuilt = await build({ rebuild: true })
    assert(rebuilt.built && rebuilt.object !== first.object)
    const zip = new Uint8Array(await (await fetch(first.snapshot_url)).arrayBuffer())
    assertEquals(new TextDecoder().decode(zip.subarray(30, 52)), '.preview/manifest.json')
    await rpc('upsert_project_file', {
      project_uuid: project,
      p_file_path: 'snapshot.txt',
      p_content: crypto.randomUUID(),
    })
    assert((await build()).object !== rebuilt.object, 'a newer state is another object')
  } finally {
    await functions.stop()
  }
})

async function text(url: string): Promise<string> {
  return await (await fetch(url, { signal: AbortSignal.timeout(5_000) })).text()
}

/** The preview's page, as a browser gets it: the token in the address becomes a cookie by a redirect. */
async function previewText(url: string): Promise<string> {
  const first = await fetch(url, { redirect: 'manual', signal: AbortSignal.timeout(5_000) })
  const cookie = first.headers.get('set-cookie')?.split(';')[0]
  const location = first.headers.get('location')
  if (!cookie || !location) return await first.text()
  await first.body?.cancel()
  const page = await fetch(new URL(location, url), { headers: { cookie }, signal: AbortSignal.timeout(5_000) })
  return await page.text()
}

/** The process and its descendants. */
async function tree(pid: number): Promise<number[]> {
  const children = await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`).catch(() => '')
  const below = await Promise.all(
    children
      .split(' ')
      .filter(Boolean)
      .map((child) => tree(Number(child))),
  )
  return [pid, ...below.flat()]
}

async function* files(directory: string): AsyncGenerator<[string, string]> {
  for await (const entry of Deno.readDir(directory)) {
    const path = `${directory}/${entry.name}`
    if (entry.isDirectory) yield* files(path)
    else if (entry.isFile) yield [path, await Deno.readTextFile(path)]
  }
}
