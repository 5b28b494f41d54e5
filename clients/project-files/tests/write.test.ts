import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { type ErrorKind, ProjectFilesError } from '@preview-agent/project-files'
import { closeAll, editor, faults, setting } from './support.js'

afterEach(closeAll)

const fails =
  (kind: ErrorKind, message = /./) =>
  (error: unknown) => {
    assert(error instanceof ProjectFilesError, String(error))
    assert.equal(error.kind, kind, error.message)
    assert.match(error.message, message)
    return true
  }

test('a saved file is loaded by another client', async () => {
  const [one, other] = [editor().files, editor().files]
  const result = await one.save('write/a.ts', 'let a = 1\n')
  assert(result.kind === 'saved')
  assert.equal(result.file.version, 1)
  assert.equal(result.file.content, 'let a = 1\n')
  assert.equal(one.get('write/a.ts')?.state, 'saved')
  const loaded = await other.load()
  const view = loaded.files.find((file) => file.path === 'write/a.ts')
  assert.equal(view?.content, 'let a = 1\n')
  assert.equal(view?.saved?.contentHash, result.file.contentHash)
  assert(loaded.revision >= result.file.revision)
})

test('an edit is shown at once, and confirmed', async () => {
  const { files } = editor()
  const saving = files.save('write/optimistic.txt', 'mine')
  const shown = files.get('write/optimistic.txt')
  assert.equal(shown?.state, 'saving')
  assert.equal(shown.content, 'mine')
  assert.equal(shown.saved, undefined)
  assert(files.paths().includes('write/optimistic.txt'))
  await saving
  assert.equal(files.get('write/optimistic.txt')?.state, 'saved')
  const removing = files.remove('write/optimistic.txt')
  assert.equal(files.get('write/optimistic.txt'), undefined)
  assert.deepEqual(await removing, { kind: 'removed', path: 'write/optimistic.txt', version: 2 })
})

test('two clients edit one file: the conflict is a result, its text is kept, and it can be resolved', async () => {
  const [one, other] = [editor().files, editor().files]
  await one.save('write/both.txt', 'base')
  await other.load()
  await one.save('write/both.txt', 'one')
  const result = await other.save('write/both.txt', 'other', { expectedVersion: 1 })
  assert.deepEqual(result, { kind: 'conflict', path: 'write/both.txt', expectedVersion: 1, currentVersion: 2 })
  await other.refresh()
  const view = other.get('write/both.txt')
  assert.equal(view?.state, 'conflict')
  assert.equal(view.content, 'other')
  assert.equal(view.saved?.content, 'one')
  assert.deepEqual(view.conflict, { expectedVersion: 1, currentVersion: 2 })
  // Saved again without a version: still a conflict, never a silent overwrite.
  assert.equal((await other.save('write/both.txt', 'other again')).kind, 'conflict')
  const resolved = await other.save('write/both.txt', 'one and other', { expectedVersion: 2 })
  assert.equal(resolved.kind === 'saved' && resolved.file.version, 3)
  assert.equal(other.get('write/both.txt')?.state, 'saved')
})

test("after discard the database's file is shown", async () => {
  const [one, other] = [editor().files, editor().files]
  await one.save('write/let-go.txt', 'theirs')
  assert.equal((await other.save('write/let-go.txt', 'mine', { expectedVersion: 0 })).kind, 'conflict')
  await other.refresh()
  other.discard('write/let-go.txt')
  assert.equal(other.get('write/let-go.txt')?.state, 'saved')
  assert.equal(other.get('write/let-go.txt')?.content, 'theirs')
})

test('saves of one file in quick succession build on each other', async () => {
  const { files } = editor()
  const results = await Promise.all(['a', 'ab', 'abc', 'abcd'].map((text) => files.save('write/typed.txt', text)))
  assert.deepEqual(
    results.map((result) => result.kind === 'saved' && result.file.version),
    [1, 2, 3, 4],
  )
  assert.equal(files.get('write/typed.txt')?.content, 'abcd')
})

test('an expected version of null replaces whatever is there', async () => {
  const [one, other] = [editor().files, editor().files]
  await one.save('write/over.txt', 'theirs')
  const result = await other.save('write/over.txt', 'mine', { expectedVersion: null })
  assert.equal(result.kind === 'saved' && result.file.version, 2)
})

test('names with spaces, quotes and emoji', async () => {
  const [one, other] = [editor().files, editor().files]
  const names = ['write/with space.txt', 'write/"quoted" \'both\'.txt', 'write/😀 emoji/ü.txt', 'write/100%25#?&=.txt']
  for (const name of names) assert.equal((await one.save(name, name)).kind, 'saved', name)
  await other.load()
  for (const name of names) assert.equal(other.get(name)?.content, name)
  const renamed = await other.rename('write/😀 emoji/ü.txt', 'write/🎉 "new".txt')
  assert.equal(renamed.kind, 'saved')
})

test('a rename is one revision, and is refused where the new path exists', async () => {
  const [one, other] = [editor().files, editor().files]
  await one.save('rename/from.txt', 'content')
  const result = await one.rename('rename/from.txt', 'rename/to.txt')
  assert(result.kind === 'saved')
  assert.equal(one.get('rename/from.txt'), undefined)
  assert.equal(one.get('rename/to.txt')?.content, 'content')
  await other.load()
  assert.equal(other.get('rename/from.txt'), undefined)
  assert.equal(other.get('rename/to.txt')?.saved?.revision, result.revision)
  await one.save('rename/taken.txt', 'there')
  const taken = await one.rename('rename/to.txt', 'rename/taken.txt')
  assert.deepEqual(taken, { kind: 'conflict', path: 'rename/taken.txt', expectedVersion: 0, currentVersion: 1 })
  assert.equal(one.get('rename/taken.txt')?.content, 'there')
  assert.equal(one.get('rename/to.txt')?.content, 'content')
  // Back to a path that has a tombstone.
  assert.equal((await one.rename('rename/to.txt', 'rename/from.txt')).kind, 'saved')
  await assert.rejects(one.rename('rename/never.txt', 'rename/x.txt'), fails('not_found'))
})

test('a bulk is all or nothing, and names the path in conflict', async () => {
  const [one, other] = [editor().files, editor().files]
  await one.save('bulk/a.txt', 'a')
  await one.save('bulk/b.txt', 'b')
  const conflict = await other.bulk([
    { action: 'save', path: 'bulk/new.txt', content: 'new', expectedVersion: 0 },
    { action: 'remove', path: 'bulk/a.txt', expectedVersion: 1 },
    { action: 'save', path: 'bulk/b.txt', content: 'mine', expectedVersion: 7 },
  ])
  assert.deepEqual(conflict, { kind: 'conflict', path: 'bulk/b.txt', expectedVersion: 7, currentVersion: 1 })
  await other.load()
  assert.equal(other.get('bulk/new.txt'), undefined)
  assert.equal(other.get('bulk/a.txt')?.content, 'a')
  assert.equal(other.get('bulk/b.txt')?.content, 'b')
  const done = await other.bulk([
    { action: 'save', path: 'bulk/new.txt', content: 'new' },
    { action: 'remove', path: 'bulk/a.txt' },
    { action: 'save', path: 'bulk/b.txt', content: 'b' },
  ])
  assert(done.kind === 'saved')
  assert.deepEqual(
    done.files.map((file) => [file.path, file.version]),
    [
      ['bulk/new.txt', 1],
      ['bulk/a.txt', 2],
      ['bulk/b.txt', 1],
    ],
  )
  const bad = other.bulk([
    { action: 'save', path: 'bulk/good.txt', content: 'x' },
    { action: 'save', path: '../bad', content: 'y' },
  ])
  await assert.rejects(
    bad,
    (error) => fails('refused', /entry 1/)(error) && (error as ProjectFilesError).path === '../bad',
  )
  assert.equal(other.get('bulk/good.txt'), undefined)
  await assert.rejects(other.bulk([]), fails('refused'))
})

test('binary files go through storage, text stays text', async () => {
  const [one, other] = [editor().files, editor().files]
  const bytes = new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0, 255, 13, 10])
  const saved = await one.upload('assets/logo 1.png', bytes, { contentType: 'image/png' })
  assert(saved.kind === 'saved')
  assert.equal(saved.file.encoding, 'base64')
  assert.equal(saved.file.size, bytes.length)
  // The same bytes at another path: the object is there already.
  assert.equal((await one.upload('assets/again.png', bytes)).kind, 'saved')
  await other.load()
  assert.equal(other.get('assets/logo 1.png')?.content, undefined)
  assert.deepEqual(await other.bytes('assets/logo 1.png'), bytes)
  await assert.rejects(other.read('assets/logo 1.png'), fails('not_found'))
  assert.equal((await other.rename('assets/logo 1.png', 'assets/logo.png')).kind, 'saved')
  assert.deepEqual(await other.bytes('assets/logo.png'), bytes)
  const text = await one.upload('assets/notes.txt', new TextEncoder().encode('text'))
  assert.equal(text.kind === 'saved' && text.file.content, 'text')
  assert.equal((await one.upload('assets/logo.png', new Uint8Array([0, 1]), { expectedVersion: 9 })).kind, 'conflict')
})

test("a refusal carries the database's message and is rolled back", async () => {
  const { files } = editor()
  await assert.rejects(files.save('../up', 'x'), fails('refused', /upsert_project_file: .*path/))
  assert.equal(files.get('../up'), undefined)
  await assert.rejects(files.save('write/nul.txt', 'a\0b'), fails('refused'))
  await assert.rejects(files.remove('write/never-was.txt'), fails('not_found'))
  await assert.rejects(files.save('write/wrong.txt', 'x', { expectedVersion: -1 }), fails('refused'))
  await assert.rejects(files.read('write/never-was.txt'), fails('not_found'))
})

test('a path beyond the limits is refused with its name, before anything is sent', async () => {
  const { files, network } = editor()
  const tooLong: [string, RegExp][] = [
    [Array.from({ length: 65 }, () => 'a').join('/'), /65 parts; at most 64/],
    [Array.from({ length: 5 }, () => 'ü'.repeat(120)).join('/'), /1204 bytes; at most 1024/],
    [`${'x'.repeat(256)}.txt`, /260 bytes; at most 255/],
  ]
  for (const [path, message] of tooLong) {
    const refused = (error: unknown) => fails('refused', message)(error) && (error as ProjectFilesError).path === path
    await assert.rejects(files.save(path, 'x'), refused)
    await assert.rejects(files.upload(path, new Uint8Array([0, 255])), refused)
    await assert.rejects(
      files.bulk([
        { action: 'save', path: 'ok.txt', content: '' },
        { action: 'remove', path },
      ]),
      refused,
    )
    await assert.rejects(files.rename('write/a.ts', path), (error) => error instanceof ProjectFilesError)
    assert.equal(files.get(path), undefined)
  }
  assert.deepEqual(network.calls, [])
  const longest = `limits/${Array.from({ length: 63 }, () => 'a').join('/')}`
  assert.equal(longest.split('/').length, 64)
  assert.equal((await files.save(longest, 'x')).kind, 'saved')
})

test('texts and bytes that are too large are refused', async () => {
  const { files } = editor()
  const bytes = new Uint8Array((50 << 20) + 1)
  await assert.rejects(files.upload('large/bytes.bin', bytes), fails('too_large', /exceeded/))
  // A debug build of the backend takes 10 s and more for such a text, so one store is enough: the messages are the same.
  if (setting('STORE') !== 'memory') return
  await assert.rejects(files.save('large/text.txt', 'x'.repeat((50 << 20) + 1)), fails('refused', /52428800/))
  assert.equal(files.get('large/text.txt'), undefined)
})

test('no right, an unknown project, an expired token', async () => {
  const stranger = editor({ token: setting('STRANGER_TOKEN') }).files
  await assert.rejects(stranger.load(), fails('no_right'))
  await assert.rejects(stranger.save('stranger.txt', 'x'), fails('no_right'))
  assert.deepEqual(stranger.paths(), [])
  const agent = editor({ token: setting('AGENT_TOKEN') }).files
  await agent.load()
  await assert.rejects(agent.save('agent.txt', 'x'), fails('no_right'))
  const unknown = editor({ project: '00000000-0000-4000-8000-000000000000' }).files
  await assert.rejects(unknown.load(), fails('no_right'))
  await assert.rejects(editor({ project: 'no uuid' }).files.load(), fails('refused'))
  await assert.rejects(editor({ token: setting('EXPIRED_TOKEN') }).files.load(), fails('signed_out'))
})

test('too many writes: waits as long as the database asks, and fails where that is too long', async () => {
  const { files, network } = editor()
  await faults({ too_many_writes: { next: 1 } })
  const began = Date.now()
  assert.equal((await files.save('rate/a.txt', 'x')).kind, 'saved')
  assert(Date.now() - began >= 1000, 'the database asked for 1,000 ms')
  assert.equal(network.calls.length, 2)
  await faults({ too_many_writes: { probability: 1 } })
  const impatient = editor({ retry: { maxRetryAfterMs: 500 } })
  await assert.rejects(impatient.files.save('rate/b.txt', 'x'), fails('rate_limited', /too many/i))
  assert.equal(impatient.network.calls.length, 1)
  assert.equal(impatient.files.get('rate/b.txt'), undefined)
})
