import { createHash } from 'node:crypto'

/** Lower-case hex. */
export function hex(bytes: Uint8Array): string {
  let out = ''
  for (const byte of bytes) out += byte.toString(16).padStart(2, '0')
  return out
}

/** SHA-256 in lower-case hex. Uses node:crypto, which is synchronous: Web Crypto takes seven times as long for short texts. */
export function sha256(data: Uint8Array | string): string {
  return createHash('sha256').update(data).digest('hex')
}

/** The parts of a file that its project's digest covers. */
export interface Listed {
  file_path: string
  version: number
  content_hash: string
}

/** The digest of the project's live files (contract, section 5): 64 hex digits, zeros for none. */
export function projectDigest(files: Iterable<Listed>): string {
  const sum = new Uint8Array(32)
  for (const file of files) {
    const contribution = createHash('sha256')
      .update(`${file.file_path}\0${file.version}\0${file.content_hash}`)
      .digest()
    for (let at = 0; at < 32; at++) sum[at]! ^= contribution[at]!
  }
  return hex(sum)
}

/** Compares names by their bytes, as the agent does; JavaScript compares UTF-16 units. */
export function byBytes(left: Uint8Array, right: Uint8Array): number {
  const common = Math.min(left.length, right.length)
  for (let at = 0; at < common; at++) {
    if (left[at] !== right[at]) return left[at]! - right[at]!
  }
  return left.length - right.length
}

/** The snapshot's id: sha256 of the listing in the order of the paths' bytes. */
export function snapshotId(sorted: Listed[]): string {
  return sha256(sorted.map((f) => `${f.file_path}\0${f.version}\0${f.content_hash}\n`).join(''))
}
