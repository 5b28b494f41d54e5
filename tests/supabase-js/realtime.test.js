import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { afterEach, describe, test } from 'node:test'

import { client, closeAll, queue, settings, subscribe } from './client.js'

const { PROJECT_ID, EDITOR_TOKEN, AGENT_TOKEN, OTHER_AGENT_TOKEN, STRANGER_TOKEN } = settings
const topic = `project:${PROJECT_ID}`
const hash = (text) => createHash('sha256').update(text).digest('hex')
let names = 0

afterEach(closeAll)

/** Joins the project's private channel and listens to `event`. */
async function listen(token, vsn, event, config = {}) {
  const channel = (await client({ token, vsn })).channel(topic, { config: { private: true, ...config } })
  const events = queue()
  channel.on('broadcast', { event }, (message) => events.push(message))
  const statuses = subscribe(channel)
  assert.deepEqual(await statuses.take(), { status: 'SUBSCRIBED', error: undefined })
  return { channel, events, statuses }
}

function newPath() {
  names += 1
  return `src/${names}-${process.pid}.ts`
}

async function save(content, path = newPath()) {
  const { data, error } = await (await client({ token: EDITOR_TOKEN })).rpc('upsert_project_file', {
    project_uuid: PROJECT_ID,
    p_file_path: path,
    p_content: content,
    p_file_type: 'typescript',
    expected_version: null,
  })
  assert.equal(error, null)
  return data
}

for (const vsn of ['1.0.0', '2.0.0']) {
  describe(`protocol ${vsn}`, () => {
    test('the requested protocol version is used', async () => {
      assert.equal(new URL((await client({ vsn })).realtime.endpointURL()).searchParams.get('vsn'), vsn)
    })

    test('a save by function reaches a private channel', async () => {
      const { events } = await listen(AGENT_TOKEN, vsn, 'file:update')
      const row = await save('export {}\n"ü"')
      const { type, event, payload, meta } = await events.take()
      assert.equal(type, 'broadcast')
      assert.equal(event, 'file:update')
      assert.equal(meta.id, payload.id)
      assert.equal(payload.file_path, row.file_path)
      assert.equal(payload.content, 'export {}\n"ü"')
      assert.equal(payload.content_hash, hash('export {}\n"ü"'))
      assert.equal(payload.version, 1)
      assert.equal(payload.revision, row.revision)
    })

    test('an editor sends, the agent receives, and the reply is ok', async () => {
      const { events } = await listen(AGENT_TOKEN, vsn, 'file:update')
      const { channel } = await listen(EDITOR_TOKEN, vsn, 'nothing', { broadcast: { ack: true } })
      const sent = await channel.send({ type: 'broadcast', event: 'file:update', payload: { file_path: 'a', n: 1 } })
      assert.equal(sent, 'ok')
      assert.deepEqual((await events.take()).payload, { file_path: 'a', n: 1 })
    })

    test('the agent may send on its status topic only', async () => {
      const status = `${topic}:status`
      const events = queue()
      const editor = (await client({ token: EDITOR_TOKEN, vsn })).channel(status, { config: { private: true } })
      editor.on('broadcast', { event: 'preview:status' }, (message) => events.push(message))
      assert.equal((await subscribe(editor).take()).status, 'SUBSCRIBED')
      const config = { private: true, broadcast: { ack: true } }
      const agent = (await client({ token: AGENT_TOKEN, vsn })).channel(status, { config })
      assert.equal((await subscribe(agent).take()).status, 'SUBSCRIBED')
      assert.equal(
        await agent.send({ type: 'broadcast', event: 'preview:status', payload: { phase: 'serving' } }),
        'ok',
      )
      assert.deepEqual((await events.take()).payload, { phase: 'serving' })
      const { channel } = await listen(AGENT_TOKEN, vsn, 'nothing', { broadcast: { ack: true } })
      const forged = { type: 'broadcast', event: 'file:delete', payload: {} }
      assert.equal(await channel.send(forged, { timeout: 500 }), 'timed out')
    })

    test('a public channel carries every message, with `self` also to its sender', async () => {
      const events = queue()
      const config = { broadcast: { ack: true, self: true } }
      const channel = (await client({ vsn })).channel('public-room', { config })
      channel.on('broadcast', { event: 'hello' }, (message) => events.push(message))
      assert.equal((await subscribe(channel).take()).status, 'SUBSCRIBED')
      assert.equal(await channel.send({ type: 'broadcast', event: 'hello', payload: { from: 'me' } }), 'ok')
      assert.deepEqual((await events.take()).payload, { from: 'me' })
    })

    test('tokens without a right, and the key without a token, are refused', async () => {
      for (const token of [undefined, STRANGER_TOKEN, OTHER_AGENT_TOKEN]) {
        const channel = (await client({ token, vsn })).channel(topic, { config: { private: true } })
        const { status, error } = await subscribe(channel).take()
        assert.equal(status, 'CHANNEL_ERROR')
        assert.match(error.message, /Unauthorized: You do not have permissions to read from this Channel topic/)
      }
    })

    test('setAuth with another valid token keeps the channel; without a right it ends it', async () => {
      const made = await client({ vsn })
      await made.realtime.setAuth(AGENT_TOKEN)
      const channel = made.channel(topic, { config: { private: true } })
      const events = queue()
      channel.on('broadcast', { event: 'file:update' }, (message) => events.push(message))
      const system = queue()
      channel.on('system', {}, (message) => system.push(message))
      const statuses = subscribe(channel)
      assert.equal((await statuses.take()).status, 'SUBSCRIBED')
      await made.realtime.setAuth(EDITOR_TOKEN)
      const row = await save('after setAuth')
      assert.equal((await events.take()).payload.revision, row.revision)
      await made.realtime.setAuth(STRANGER_TOKEN)
      const message = await system.take()
      assert.equal(message.status, 'error')
      assert.equal((await statuses.take()).status, 'CLOSED')
    })

    test('rows of the table come by postgres_changes', async () => {
      const rows = queue()
      const system = queue()
      const channel = (await client({ token: AGENT_TOKEN, vsn })).channel(topic, { config: { private: true } })
      const filter = `project_id=eq.${PROJECT_ID}`
      const wanted = { event: '*', schema: 'public', table: 'project_files', filter }
      channel.on('postgres_changes', wanted, (change) => rows.push(change))
      channel.on('system', {}, (message) => system.push(message))
      assert.equal((await subscribe(channel).take()).status, 'SUBSCRIBED')
      assert.equal((await system.take()).message, 'Subscribed to PostgreSQL')
      const row = await save('a row')
      const change = await rows.take()
      assert.equal(change.eventType, 'INSERT')
      assert.equal(change.table, 'project_files')
      assert.equal(change.new.file_path, row.file_path)
      assert.equal(change.new.revision, row.revision)
    })

    test('presence is passed on', async () => {
      const name = `room-${vsn}`
      const config = { presence: { key: 'one', enabled: true } }
      const channel = (await client({ vsn })).channel(name, { config })
      const synced = queue()
      channel.on('presence', { event: 'sync' }, () => synced.push(channel.presenceState()))
      assert.equal((await subscribe(channel).take()).status, 'SUBSCRIBED')
      assert.equal(await channel.track({ host: 'a' }), 'ok')
      let state = await synced.take()
      while (!state.one) state = await synced.take()
      assert.equal(state.one[0].host, 'a')
    })

    test('leaving ends the events', async () => {
      const { channel, events } = await listen(AGENT_TOKEN, vsn, 'file:update')
      assert.equal(await channel.unsubscribe(), 'ok')
      const other = await listen(AGENT_TOKEN, vsn, 'file:update')
      await save('not received any more')
      await other.events.take()
      assert.equal(events.length, 0)
    })
  })
}

test('a publishable key opens the socket as the anon key does', async () => {
  const channel = (await client({ key: settings.PUBLISHABLE_KEY })).channel('public-room')
  assert.equal((await subscribe(channel).take()).status, 'SUBSCRIBED')
})

test('httpSend works without a socket', async () => {
  const { events } = await listen(AGENT_TOKEN, '2.0.0', 'file:update')
  const made = await client({ token: EDITOR_TOKEN })
  const channel = made.channel(topic, { config: { private: true } })
  assert.deepEqual(await channel.httpSend('file:update', { via: 'http' }), { success: true })
  assert.deepEqual((await events.take()).payload, { via: 'http' })
})

test('a bulk is one event with all its files', async () => {
  const { events } = await listen(AGENT_TOKEN, '2.0.0', 'bulk:apply')
  const { data, error } = await (await client({ token: EDITOR_TOKEN })).rpc('bulk_upsert_project_files', {
    project_uuid: PROJECT_ID,
    files: [
      { file_path: 'bulk/a.ts', file_type: 'typescript', content: 'a' },
      { file_path: 'bulk/b.ts', file_type: 'typescript', content: 'b' },
    ],
  })
  assert.equal(error, null)
  const { payload } = await events.take()
  assert.equal(payload.revision, data.revision)
  assert.deepEqual(
    payload.files.map((file) => [file.action, file.file_path, file.content]),
    [
      ['update', 'bulk/a.ts', 'a'],
      ['update', 'bulk/b.ts', 'b'],
    ],
  )
})
