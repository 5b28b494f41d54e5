import * as zlib from 'node:zlib'

/** One compressed entry. Sizes and checksum are known before its bytes are written, so that a reader can stream it. */
export interface Entry {
  name: Uint8Array
  method: 0 | 8
  crc: number
  size: number
  data: Uint8Array
}

/** For files of at least this size a sample is compressed first: images and fonts do not get smaller. Bytes. */
const SAMPLED_FROM = 256 << 10
const SAMPLE = 64 << 10

/** One table for each byte of a word, so that four bytes are one step. */
const CRC_TABLES = [new Uint32Array(256), new Uint32Array(256), new Uint32Array(256), new Uint32Array(256)] as const
for (let at = 0; at < 256; at++) {
  let crc = at
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1
  CRC_TABLES[0][at] = crc
}
for (let byte = 1; byte < 4; byte++) {
  for (let at = 0; at < 256; at++) {
    const crc = CRC_TABLES[byte - 1]![at]!
    CRC_TABLES[byte]![at] = CRC_TABLES[0][crc & 0xff]! ^ (crc >>> 8)
  }
}

/** Zip's checksum (CRC-32), for runtimes without one. */
export function crc32ByTable(bytes: Uint8Array): number {
  const [first, second, third, fourth] = CRC_TABLES
  let crc = 0xffffffff
  let at = 0
  for (const words = bytes.length & ~3; at < words; at += 4) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    crc = fourth[crc & 0xff]! ^ third[(crc >>> 8) & 0xff]! ^ second[(crc >>> 16) & 0xff]! ^ first[crc >>> 24]!
  }
  for (; at < bytes.length; at++) crc = first[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8)
  return (crc ^ 0xffffffff) >>> 0
}

/** Zip's checksum (CRC-32). Deno before 2.1 has no `zlib.crc32`, and in 2.1.0 it throws. */
export const crc32: (bytes: Uint8Array) => number = (() => {
  try {
    const probed = zlib.crc32(Uint8Array.of(97)) === 0xe8b7be43
    return probed ? (bytes: Uint8Array) => zlib.crc32(bytes) : crc32ByTable
  } catch {
    return crc32ByTable
  }
})()

/** Compresses a file at level 1: a fifth of the time of level 6, and 1.5 times its size. Stored where that is not smaller. */
export function entry(path: string, bytes: Uint8Array): Entry {
  const packed = packable(bytes) ? deflated(bytes) : bytes
  const smaller = packed.byteLength < bytes.byteLength
  return {
    name: new TextEncoder().encode(path),
    method: smaller ? 8 : 0,
    crc: crc32(bytes),
    size: bytes.byteLength,
    data: smaller ? packed : bytes,
  }
}

function packable(bytes: Uint8Array): boolean {
  if (bytes.byteLength < SAMPLED_FROM) return true
  // From the middle, since the header may be text.
  const middle = (bytes.byteLength - SAMPLE) >> 1
  return deflated(bytes.subarray(middle, middle + SAMPLE)).byteLength < SAMPLE * 0.97
}

function deflated(bytes: Uint8Array): Uint8Array {
  const packed = zlib.deflateRawSync(bytes, { level: 1 })
  // A copy where the result is a view of a larger buffer, which would stay in memory otherwise.
  return packed.buffer.byteLength > packed.byteLength ? new Uint8Array(packed) : packed
}

/** Bytes of an entry in the zip, with its part of the directory. */
export function entrySize(entry: Entry): number {
  return 30 + 46 + 2 * entry.name.length + entry.data.length
}

/** Bytes of the end record. */
export const END_SIZE = 22
/** Zip counts entries in 16 bits; 65,535 would mean zip64. */
export const MAX_ENTRIES = 65_534

/** The largest piece in bytes, except for a larger entry. */
const PIECE = 256 << 10

/** The zip in pieces for sending. Small parts are joined, since each piece costs time, and made only when they are needed. */
export function* zipPieces(entries: Entry[]): Generator<Uint8Array> {
  let waiting: Uint8Array[] = []
  let bytes = 0
  for (const part of zipParts(entries)) {
    if (bytes + part.length > PIECE && bytes > 0) {
      yield joined(waiting, bytes)
      ;[waiting, bytes] = [[], 0]
    }
    waiting.push(part)
    bytes += part.length
  }
  yield joined(waiting, bytes)
}

function joined(parts: Uint8Array[], bytes: number): Uint8Array {
  if (parts.length === 1) return parts[0]!
  const whole = new Uint8Array(bytes)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

function* zipParts(entries: Entry[]): Generator<Uint8Array> {
  if (entries.length > MAX_ENTRIES) {
    throw new RangeError(`${entries.length} entries are more than a zip without zip64 holds`)
  }
  const directory: Uint8Array[] = []
  let offset = 0
  for (const made of entries) {
    const local = new Uint8Array(30 + made.name.length)
    const head = new DataView(local.buffer)
    head.setUint32(0, 0x04034b50, true)
    writeSharedFields(head, 4, made)
    local.set(made.name, 30)
    yield local
    yield made.data

    const listed = new Uint8Array(46 + made.name.length)
    const view = new DataView(listed.buffer)
    view.setUint32(0, 0x02014b50, true)
    view.setUint16(4, (3 << 8) | 20, true) // made by Unix
    writeSharedFields(view, 6, made)
    view.setUint32(38, 0o100644 << 16, true) // a regular file
    view.setUint32(42, offset, true)
    listed.set(made.name, 46)
    directory.push(listed)
    offset += local.length + made.data.length
  }
  yield* directory
  const end = new DataView(new ArrayBuffer(END_SIZE))
  end.setUint32(0, 0x06054b50, true)
  end.setUint16(8, entries.length, true)
  end.setUint16(10, entries.length, true)
  end.setUint32(
    12,
    directory.reduce((sum, piece) => sum + piece.length, 0),
    true,
  )
  end.setUint32(16, offset, true)
  yield new Uint8Array(end.buffer)
}

/** Writes the fields that the local header and the directory share: version, flags, method, time, checksum, sizes, name length. */
function writeSharedFields(view: DataView, at: number, made: Entry): void {
  view.setUint16(at, 20, true)
  view.setUint16(at + 2, 1 << 11, true) // names are UTF-8
  view.setUint16(at + 4, made.method, true)
  view.setUint16(at + 8, (1 << 5) | 1, true) // 1980-01-01 00:00
  view.setUint32(at + 10, made.crc, true)
  view.setUint32(at + 14, made.data.length, true)
  view.setUint32(at + 18, made.size, true)
  view.setUint16(at + 22, made.name.length, true)
}
