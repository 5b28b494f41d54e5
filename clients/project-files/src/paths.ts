import { utf8 } from './assets.js'
import { ProjectFilesError } from './errors.js'

/** Limits of a path, the same in the database, the agent and every client (docs/protocol.md). */
export const PATH_LIMITS = {
  /** UTF-8 bytes of the whole path. */
  bytes: 1_024,
  /** Parts between slashes. */
  parts: 64,
  /** UTF-8 bytes of one part. */
  partBytes: 255,
} as const

/** Why a path is longer than the project allows, or null. Other rules for paths are checked by the database. */
export function pathTooLong(path: string): string | null {
  const bytes = utf8(path).byteLength
  if (bytes > PATH_LIMITS.bytes) return `the path has ${bytes} bytes; at most ${PATH_LIMITS.bytes} are allowed`
  const parts = path.split('/')
  if (parts.length > PATH_LIMITS.parts) {
    return `the path has ${parts.length} parts; at most ${PATH_LIMITS.parts} are allowed`
  }
  const longest = Math.max(...parts.map((part) => utf8(part).byteLength))
  if (longest > PATH_LIMITS.partBytes) {
    return `one name in the path has ${longest} bytes; at most ${PATH_LIMITS.partBytes} are allowed`
  }
  return null
}

/** Throws `refused`, with the path, where it is longer than the project allows. */
export function checkPathLength(path: string): void {
  const problem = pathTooLong(path)
  if (problem !== null) throw new ProjectFilesError('refused', problem, '22023', { path })
}
