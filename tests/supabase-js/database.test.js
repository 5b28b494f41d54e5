import assert from 'node:assert/strict'
import { createHash, createHmac } from 'node:crypto'
import { afterEach, test } from 'node:test'

import { client, closeAll, settings } from './client.js'

const { PROJECT_ID, EDITOR_TOKEN, AGENT_TOKEN, STRANGER_TOKEN, EXPIRED_TOKEN } = settings
const editor = () => client({ token: EDITOR_TOKEN })
const agent = () => client({ token: AGENT_TOKEN })
const upsert = async (made, p_file_path, p_content, expected_version = null) =>
  (await made).rpc('upsert_project_file', {
    project_uuid: PROJECT_ID,
    p_file_path,
    p_content,
    p_file_type: 'text',
    expected_version,
  })

afterEach(closeAll)

test('what is written is read back', async () => {
  const { data: row } = await upsert(editor(), 'read/back.txt', 'one')
  assert.equal(row.version, 1)
  const { data: head } = await (await agent()).rpc('project_head', { project_uuid: PROJECT_ID })
  assert.equal(head.head_revision, row.revision)
  assert.match(head.digest, /^[0-9a-f]{64}$/)
  const since = { project_uuid: PROJECT_ID, since_revision: row.revision - 1 }
  const { data: page } = await (await agent()).rpc('list_project_changes', since)
  assert.equal(page.complete, true)
  assert.equal(page.digest, head.digest)
  assert.deepEqual(
    page.files.map((file) => [file.file_path, file.content]),
    [['read/back.txt', 'one']],
  )
  const file = { project_uuid: PROJECT_ID, p_file_path: 'read/back.txt', p_version: 1 }
  assert.equal((await (await agent()).rpc('get_project_file', file)).data.content, 'one')
  const listed = await (await agent())
    .rpc('list_current_files', { project_uuid: PROJECT_ID })
    .select('file_path,version')
    .gt('file_path', 'read/')
    .order('file_path')
    .limit(1)
  assert.deepEqual(listed.data, [{ file_path: 'read/back.txt', version: 1 }])
})

test('a stale version is a conflict that names the current one', async () => {
  await upsert(editor(), 'conflict.txt', 'one')
  await upsert(editor(), 'conflict.txt', 'two', 1)
  const { data, error, status } = await upsert(editor(), 'conflict.txt', 'three', 1)
  assert.equal(data, null)
  assert.equal(status, 409)
  assert.equal(error.code, 'PT409')
  assert.deepEqual(JSON.parse(error.details), { file_path: 'conflict.txt', expected_version: 1, current_version: 2 })
})

test('equal content makes no new version, whichever version was expected', async () => {
  await upsert(editor(), 'equal.txt', 'same')
  const { data } = await upsert(editor(), 'equal.txt', 'same', 7)
  assert.equal(data.version, 1)
})

test('each refusal has its own code', async () => {
  const codes = async (call) => {
    const { error, status } = await call
    return [status, error.code]
  }
  const head = { project_uuid: PROJECT_ID }
  assert.deepEqual(await codes(upsert(agent(), 'a', 'b')), [403, '42501'])
  assert.deepEqual(await codes(upsert(client({ token: STRANGER_TOKEN }), 'a', 'b')), [403, '42501'])
  assert.deepEqual(await codes((await client()).rpc('project_head', head)), [401, '42501'])
  assert.deepEqual(await codes((await client({ token: EXPIRED_TOKEN })).rpc('project_head', head)), [401, 'PGRST303'])
  assert.deepEqual(await codes((await editor()).rpc('no_such_function', {})), [404, 'PGRST202'])
  assert.deepEqual(await codes((await editor()).rpc('project_head', { wrong: 1 })), [404, 'PGRST202'])
  assert.deepEqual(await codes((await editor()).rpc('project_head', { project_uuid: 'x' })), [400, '22P02'])
  for (const path of ['../up', '/etc/passwd', 'node_modules/x', '.git/config', '', 'a\nb']) {
    assert.deepEqual(await codes(upsert(editor(), path, 'x')), [400, '22023'], path)
  }
  assert.deepEqual(await codes(upsert(editor(), 'nul', 'a\0b')), [400, '22P05'])
  const missing = { project_uuid: PROJECT_ID, p_file_path: 'never', p_version: 1 }
  assert.deepEqual(await codes((await editor()).rpc('get_project_file', missing)), [404, 'PT404'])
})

test('a bad entry refuses the whole bulk with its number', async () => {
  const { error, status } = await (await editor()).rpc('bulk_upsert_project_files', {
    project_uuid: PROJECT_ID,
    files: [
      { file_path: 'bulk/good', file_type: 'text', content: 'x' },
      { file_path: '../bad', content: 'y' },
    ],
  })
  assert.equal(status, 400)
  assert.match(error.message, /entry 1/)
  const good = { project_uuid: PROJECT_ID, p_file_path: 'bulk/good', p_version: 1 }
  assert.equal((await (await editor()).rpc('get_project_file', good)).error.code, 'PT404')
})

test('binary files go through storage', async () => {
  const bytes = Buffer.from([0, 1, 2, 255, 13, 10, 13, 10])
  for (const body of [bytes, new Blob([Buffer.concat([bytes, Buffer.from('blob')])])]) {
    const raw = body instanceof Blob ? Buffer.from(await body.arrayBuffer()) : body
    const p_content_hash = createHash('sha256').update(raw).digest('hex')
    const bucket = (await editor()).storage.from('project-assets')
    const object = `${PROJECT_ID}/${p_content_hash}`
    const uploaded = await bucket.upload(object, body, { contentType: 'image/png' })
    assert.equal(uploaded.error, null)
    assert.equal(uploaded.data.path, object)
    const again = await bucket.upload(object, body)
    assert.equal(again.error.message, 'The resource already exists')
    const row = await (await editor()).rpc('register_project_asset', {
      project_uuid: PROJECT_ID,
      p_file_path: `logo-${raw.length}.png`,
      p_file_type: 'image',
      p_content_hash,
      p_size: raw.length,
      expected_version: null,
    })
    assert.equal(row.error, null)
    assert.equal(row.data.content, null)
    const { data } = await (await agent()).storage.from('project-assets').download(object)
    assert.deepEqual(Buffer.from(await data.arrayBuffer()), raw)
    const signed = await bucket.createSignedUrl(object, 60)
    assert.deepEqual(Buffer.from(await (await fetch(signed.data.signedUrl)).arrayBuffer()), raw)
  }
})

test('storage refuses with 400 and the reason in the body', async () => {
  const missing = await (await agent()).storage.from('project-assets').download(`${PROJECT_ID}/none`)
  assert.equal(missing.data, null)
  assert.equal(missing.error.originalError?.status ?? missing.error.status, 400)
  const upload = await (await agent()).storage.from('project-assets').upload(`${PROJECT_ID}/x`, Buffer.from('x'))
  assert.match(upload.error.message, /row-level security/)
})

test('feature flags are booleans', async () => {
  assert.equal((await (await editor()).rpc('is_feature_enabled', { flag_key: 'FSYNC_USE_RPC' })).data, true)
  assert.equal((await (await editor()).rpc('is_feature_enabled', { flag_key: 'nothing' })).data, false)
})

test('tokens are signed like those of any JWT library', () => {
  // HS256 by Node's own crypto, with the secret that the backend was started with.
  const [head, body, tag] = EDITOR_TOKEN.split('.')
  assert.deepEqual(JSON.parse(Buffer.from(head, 'base64url')), { alg: 'HS256', typ: 'JWT' })
  assert.equal(createHmac('sha256', settings.JWT_SECRET).update(`${head}.${body}`).digest('base64url'), tag)
})
