import * as zlib from 'node:zlib'
import { crc32, crc32ByTable, END_SIZE, entry, entrySize, zipPieces } from '../_shared/zip.ts'
import { assert, assertEquals } from './support.ts'

function noise(length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536))
  return bytes
}

Deno.test('both checksum implementations give the same result', () => {
  const text = new TextEncoder().encode('123456789')
  assertEquals([crc32(text), crc32ByTable(text)], [0xcbf43926, 0xcbf43926])
  for (let length = 0; length < 300; length++) {
    const bytes = noise(length)
    assertEquals(crc32ByTable(bytes), zlib.crc32(bytes), `${length} bytes`)
  }
})

Deno.test('a file is deflated where that makes it smaller, else stored', () => {
  for (const length of [0, 1, 1000, 300 << 10]) {
    const text = new Uint8Array(length).fill(97)
    const packed = entry('a', text)
    assertEquals([packed.method, packed.size], [length > 1 ? 8 : 0, length])
    assert(length < 2 || zlib.inflateRawSync(packed.data).equals(text), `${length} bytes come back`)
    const random = noise(length)
    const stored = entry('a', random)
    assertEquals(stored.method, 0, `${length} random bytes`)
    assert(stored.data === random, 'not copied')
  }
  // The sample in the middle decides for the whole file.
  const mixed = new Uint8Array(400 << 10)
  mixed.set(noise(100 << 10))
  assertEquals(entry('a', mixed).method, 8)
})

Deno.test('the zip comes in few pieces with the expected number of bytes', () => {
  const entries = Array.from({ length: 5000 }, (_, at) => entry(`src/ü${at}.ts`, new TextEncoder().encode(`${at}\n`)))
  entries.push(entry('large.bin', noise(1 << 20)))
  const pieces = [...zipPieces(entries)]
  const counted = entries.reduce((sum, one) => sum + entrySize(one), END_SIZE)
  assertEquals(
    pieces.reduce((sum, piece) => sum + piece.length, 0),
    counted,
  )
  assert(pieces.length < 10, `${pieces.length} pieces`)
  assertEquals(
    [...zipPieces([])].map((piece) => piece.length),
    [END_SIZE],
  )
})

Deno.test('the benchmark runs', async () => {
  const bench = new URL('../benches/snapshot.ts', import.meta.url).pathname
  const env = { RUNS: '1', SIZES: '1', LARGEST: '1' }
  const { stdout, success } = await new Deno.Command(Deno.execPath(), { args: ['run', '-A', bench], env }).output()
  const output = new TextDecoder().decode(stdout)
  assert(success && output.includes('| 1 MB of text | this |') && output.includes('ours: fits 1 MB'), output)
})
