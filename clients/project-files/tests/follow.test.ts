import assert from 'node:assert/strict'
import { afterEach, mock, test } from 'node:test'
import { ProjectFilesError } from '@preview-agent/project-files'
import { closeAll, editor, faults, following, setting, until } from './support.js'

afterEach(closeAll)

const kind = (wanted: string) => (error: unknown) => error instanceof ProjectFilesError && error.kind === wanted

test('a save is shown at the other client, and its own event changes nothing', async () => {
  const [one, other] = [editor().files, editor().files]
  const notices = await following(one)
  await following(other)
  const shown: unknown[] = []
  one.subscribe((notice) => {
    if (notice.kind === 'files' && notice.paths.includes('follow/a.txt')) shown.push(one.get('follow/a.txt')?.content)
  })
  await one.save('follow/a.txt', 'one')
  await until('the other has it', () => other.get('follow/a.txt')?.content === 'one')
  await until('its own event came', () => one.revision === other.revision)
  assert(shown.length > 0 && shown.length <= 3, 'shown, in the table, confirmed')
  assert.deepEqual(new Set(shown), new Set(['one']))
  await other.rename('follow/a.txt', 'follow/b.txt')
  await until('renamed', () => one.get('follow/b.txt')?.content === 'one' && !one.get('follow/a.txt'))
  assert(notices.some((notice) => notice.kind === 'event' && notice.path === 'follow/b.txt' && notice.version === 1))
  await one.remove('follow/b.txt')
  await until('removed', () => !other.paths().includes('follow/b.txt'))
})

test('unsubscribed and subscribed again at once, beside a listener that throws', async () => {
  const [one, other] = [editor().files, editor().files]
  one.subscribe(() => {})()
  await following(one)
  await other.save('again/a.txt', 'x')
  await until('received', () => one.get('again/a.txt')?.content === 'x')
  const errors = mock.method(console, 'error', () => {})
  one.subscribe(() => {
    throw new Error('thrown by the listener')
  })
  assert.equal((await one.save('again/a.txt', 'y')).kind, 'saved')
  assert.equal(one.get('again/a.txt')?.state, 'saved')
  assert.match(String(errors.mock.calls[0]?.arguments), /thrown by the listener/)
  errors.mock.restore()
})

test('a newer version that arrives while an edit waits is a conflict, and is not overwritten', async () => {
  const [one, other] = [editor(), editor().files]
  await following(one.files)
  await one.files.save('follow/pending.txt', 'base')
  await until('read', () => one.files.get('follow/pending.txt')?.saved?.version === 1)
  one.network.down = true
  const saving = one.files.save('follow/pending.txt', 'mine')
  await other.save('follow/pending.txt', 'theirs', { expectedVersion: null })
  await until('received', () => one.files.get('follow/pending.txt')?.saved?.content === 'theirs')
  assert.equal(one.files.get('follow/pending.txt')?.content, 'mine')
  one.network.down = false
  assert.deepEqual(await saving, {
    kind: 'conflict',
    path: 'follow/pending.txt',
    expectedVersion: 1,
    currentVersion: 2,
  })
  assert.equal(one.files.get('follow/pending.txt')?.state, 'conflict')
})

test('a save whose answer was lost is not in conflict with itself', async () => {
  const { files, network } = editor()
  await files.save('lost/a.txt', 'base')
  network.lose.set('upsert_project_file', 1)
  const saved = await files.save('lost/a.txt', 'mine', { expectedVersion: 1 })
  assert.equal(saved.kind === 'saved' && saved.file.version, 2)
  network.lose.set('delete_project_file', 1)
  assert.deepEqual(await files.remove('lost/a.txt'), { kind: 'removed', path: 'lost/a.txt', version: 3 })
  await files.save('lost/from.txt', 'moved')
  network.lose.set('bulk_upsert_project_files', 1)
  assert.equal((await files.rename('lost/from.txt', 'lost/to.txt')).kind, 'saved')
  assert.deepEqual(
    files.paths().filter((path) => path.startsWith('lost/')),
    ['lost/to.txt'],
  )
})

test('a save whose answer was lost succeeded, also where another save followed', async () => {
  const [{ files, network }, other] = [editor(), editor().files]
  await following(files)
  await files.save('lost/over.txt', 'base')
  network.lose.set('upsert_project_file', 1)
  network.beforeLoss = () => other.save('lost/over.txt', 'theirs', { expectedVersion: 2 })
  const saved = await files.save('lost/over.txt', 'mine', { expectedVersion: 1 })
  assert.deepEqual(saved.kind === 'saved' && [saved.file.version, saved.file.revision], [2, 0])
  await until('theirs is shown', () => files.get('lost/over.txt')?.content === 'theirs')
  assert.equal(files.get('lost/over.txt')?.state, 'saved')
  // The same, where mine was never written: theirs came before the first attempt.
  network.lose.set('upsert_project_file', 0)
  await other.load()
  await other.save('lost/over.txt', 'theirs again', { expectedVersion: null })
  network.lose.set('upsert_project_file', 1)
  assert.equal((await files.save('lost/over.txt', 'late', { expectedVersion: 3 })).kind, 'conflict')
  await files.bulk([{ action: 'save', path: 'lost/x.txt', content: 'x' }])
  network.lose.set('bulk_upsert_project_files', 1)
  network.beforeLoss = () => other.save('lost/y.txt', 'theirs', { expectedVersion: null })
  const bulk = await files.bulk([
    { action: 'save', path: 'lost/y.txt', content: 'mine', expectedVersion: 0 },
    { action: 'remove', path: 'lost/x.txt', expectedVersion: 1 },
  ])
  assert.equal(bulk.kind, 'saved')
  // Whether a deletion took effect cannot be found out: the result is neither done nor a conflict.
  await files.load()
  network.lose.set('delete_project_file', 1)
  network.beforeLoss = () => other.save('lost/y.txt', 'again', { expectedVersion: null })
  await assert.rejects(files.remove('lost/y.txt'), kind('unavailable'))
})

test('a save that waits for another one can be aborted', async () => {
  const { files, network } = editor({ retry: { attempts: 50, baseMs: 20 } })
  await files.save('queue/a.txt', 'base')
  network.down = true
  const first = files.save('queue/a.txt', 'first')
  const stop = new AbortController()
  const second = files.save('queue/a.txt', 'second', { signal: stop.signal })
  stop.abort()
  await assert.rejects(second, kind('aborted'))
  network.down = false
  assert.equal((await first).kind, 'saved')
  assert.equal((await files.save('queue/a.txt', 'third')).kind, 'saved')
})

test('without a network a save fails as unavailable and is rolled back; later it works', async () => {
  const { files, network } = editor({ retry: { attempts: 3, baseMs: 5 } })
  await files.save('away/a.txt', 'base')
  network.down = true
  const before = network.calls.length
  await assert.rejects(files.save('away/a.txt', 'mine'), kind('unavailable'))
  assert.equal(network.calls.length - before, 3)
  assert.equal(files.get('away/a.txt')?.content, 'base')
  network.down = false
  assert.equal((await files.save('away/a.txt', 'mine')).kind, 'saved')
})

test('a call is ended by its signal, and by close', async () => {
  const { files, network } = editor({ retry: { attempts: 1000 } })
  network.down = true
  const stop = new AbortController()
  const saving = assert.rejects(files.save('away/b.txt', 'x', { signal: stop.signal }), kind('aborted'))
  stop.abort()
  await saving
  await assert.rejects(files.save('away/b.txt', 'x', { signal: AbortSignal.abort() }), kind('aborted'))
  assert.equal(files.get('away/b.txt'), undefined)
  const loading = assert.rejects(files.load(), kind('aborted'))
  await files.close()
  await loading
  assert.throws(() => files.subscribe(() => {}), kind('aborted'))
})

test('changes that were missed while the network was cut are read afterwards', async () => {
  const [one, other] = [editor().files, editor().files]
  const notices = await following(one)
  await other.save('cut/before.txt', 'x')
  await until('received', () => one.get('cut/before.txt') !== undefined)
  await faults({ refuse_connections: 503, fail_reads: { status: 503, chance: { probability: 1 } }, cut: 'abruptly' })
  await until('lost', () => notices.some((n) => n.kind === 'channel' && n.state === 'lost'))
  await other.bulk([
    { action: 'save', path: 'cut/during.txt', content: 'missed', expectedVersion: null },
    { action: 'remove', path: 'cut/before.txt', expectedVersion: null },
  ])
  assert.equal(one.get('cut/during.txt'), undefined)
  await faults({ clear: true })
  await until(
    'read what was missed',
    () => one.get('cut/during.txt')?.content === 'missed' && !one.get('cut/before.txt'),
  )
  await until('live again', () => notices.filter((n) => n.kind === 'channel').at(-1)?.state === 'live')
})

test('dropped, doubled and reordered events, and a channel whose stream has stopped', async () => {
  const [one, other] = [editor().files, editor().files]
  await following(one)
  await faults({
    drop_broadcasts: { probability: 0.3 },
    double_broadcasts: { probability: 0.3 },
    reorder_broadcasts: { probability: 0.3 },
  })
  for (let turn = 0; turn < 20; turn += 1) await other.save('faults/a.txt', `turn ${turn}`, { expectedVersion: null })
  await until('the last is there', () => one.get('faults/a.txt')?.content === 'turn 19')
  await faults({ clear: true, stall_joined: true })
  await other.save('faults/a.txt', 'not announced', { expectedVersion: null })
  await until('found by the head', () => one.get('faults/a.txt')?.content === 'not announced')
  await until('both are at the head', () => one.revision >= (other.get('faults/a.txt')?.saved?.revision ?? Infinity))
})

test('listeners are notified when background reading fails, and when it works again', async () => {
  const [one, other] = [editor({ retry: { attempts: 1 } }).files, editor().files]
  const notices = await following(one)
  await faults({ fail_reads: { status: 500, chance: { probability: 1 } }, drop_broadcasts: { next: 1 } })
  await other.save('reading/a.txt', 'dropped')
  await other.save('reading/b.txt', 'shows the gap')
  await until('notified', () => notices.some((n) => n.kind === 'reading' && n.error?.kind === 'unavailable'))
  await faults({ clear: true })
  await until('works', () => notices.some((n) => n.kind === 'reading' && n.error === null))
  assert.equal(one.get('reading/a.txt')?.content, 'dropped')
})

test('the content of a large text is read, since its event leaves it out', async () => {
  const [one, other] = [editor().files, editor().files]
  await following(one)
  const large = 'line\n'.repeat(80_000)
  await other.save('omitted/large.txt', large)
  await until('read', () => one.get('omitted/large.txt')?.content === large)
  // Three of them are larger than a page.
  const changes = [1, 2, 3, 4].map((n) => ({
    action: 'save' as const,
    path: `omitted/${n}.txt`,
    content: `${n}${large}`,
  }))
  await other.bulk(changes)
  const loaded = await editor().files.load()
  assert.deepEqual(
    loaded.files.filter((file) => file.saved?.encoding === 'utf-8' && file.content === undefined),
    [],
  )
  await until('received', () => one.get('omitted/4.txt')?.content === `4${large}`)
  const asking = editor({ texts: 'ask' }).files
  await asking.load()
  assert.equal(asking.get('omitted/large.txt')?.content, undefined)
  assert.equal(await asking.read('omitted/large.txt'), large)
})

test('10,000 files are loaded in pages', async () => {
  const [one, other] = [editor({ retry: { attempts: 20 } }).files, editor()]
  const before = (await other.files.load()).files.length
  for (let part = 0; part < 20; part += 1) {
    const paths = Array.from({ length: 500 }, (_, n) => `many/${part}/${n}.txt`)
    const written = await one.bulk(paths.map((path) => ({ action: 'save', path, content: path, expectedVersion: 0 })))
    assert.equal(written.kind, 'saved')
  }
  other.network.calls.length = 0
  const began = performance.now()
  const loaded = await other.files.load()
  console.log(
    `# 10,000 files loaded in ${Math.round(performance.now() - began)} ms, ${other.network.calls.length} pages`,
  )
  assert.equal(loaded.files.length - before, 10_000)
  assert(other.network.calls.length >= 20)
  assert.equal(loaded.files.find((file) => file.path === 'many/19/499.txt')?.content, 'many/19/499.txt')
  assert.equal(loaded.revision, one.get('many/19/0.txt')?.saved?.revision)
})

test('a client without a right to the project receives nothing of it', async () => {
  const stranger = editor({ token: setting('STRANGER_TOKEN') }).files
  const notices: unknown[] = []
  stranger.subscribe((notice) => notices.push(notice))
  await until('notified', () => JSON.stringify(notices).includes('"no_right"'))
  const reader = editor().files
  await following(reader)
  await editor().files.save('secret.txt', 'x', { expectedVersion: null })
  await editor().files.save('secret.txt', 'y', { expectedVersion: null })
  // A client with the right has received both: the first one would have reached the other client by now.
  await until('received', () => reader.get('secret.txt')?.content === 'y')
  assert.deepEqual(stranger.paths(), [])
  assert(!JSON.stringify(notices).includes('secret.txt'))
})
