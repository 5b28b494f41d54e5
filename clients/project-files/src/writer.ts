import type { Database, WriteOutcome } from './database.js'
import { ProjectFilesError } from './errors.js'
import { checkPathLength } from './paths.js'
import { abortedError } from './retry.js'
import type { Edit, ProjectState, TargetState } from './state.js'
import type * as api from './types.js'
import * as wire from './wire.js'
import { WriteQueue } from './write-queue.js'
import { bulkEntry, findEffect, targetOf, writtenRow } from './writes.js'

/** How a write ended, for callers of this module. */
export type Written<T> = { kind: 'done'; value: T } | api.Conflict

/** One write: what it makes of each path, and how it is sent. */
interface Write<T> {
  targets: ReadonlyMap<string, TargetState>
  /** The versions that the caller named. */
  expected: ReadonlyMap<string, number | null>
  signal: AbortSignal | undefined
  send: (edit: Edit) => Promise<WriteOutcome<T>>
  rows: (value: T) => wire.Row[]
}

/** Sends writes: each is shown at once, waits for the earlier writes of its paths, and is confirmed or rolled back. */
export class Writer {
  private readonly queue = new WriteQueue()

  constructor(
    private readonly database: Database,
    private readonly state: ProjectState,
    private readonly onChanged: (paths: Set<string>) => void,
    /** Something was written whose current state is not known here. */
    private readonly onUnknown: () => void,
  ) {}

  /** A write of a single path by the database function `name`. */
  async one(
    name: string,
    path: string,
    target: TargetState,
    args: Record<string, unknown>,
    options: api.WriteOptions,
  ): Promise<Written<wire.Row>> {
    const { expectedVersion, signal } = options
    return this.write({
      targets: new Map([[path, target]]),
      expected: new Map(expectedVersion === undefined ? [] : [[path, expectedVersion]]),
      signal,
      send: async (edit) => {
        const expected_version = this.state.expected(edit, path)
        const outcome = await this.database.write(name, { ...args, expected_version }, wire.row, signal)
        return this.resolveLostAnswer(edit, outcome, (files) =>
          writtenRow({ path, version: 0, hash: null, ...files[0] }, target, 0),
        )
      },
      rows: (row) => [row],
    })
  }

  /** Several changes in one revision. */
  async bulk(
    changes: readonly api.Change[],
    signal: AbortSignal | undefined,
  ): Promise<Written<{ revision: number; files: wire.WrittenFile[] }>> {
    const targets = new Map(changes.map((change) => [change.path, targetOf(change)]))
    const expected = new Map<string, number | null>()
    for (const { path, expectedVersion } of changes) {
      if (expectedVersion !== undefined) expected.set(path, expectedVersion)
    }
    return this.write({
      targets,
      expected,
      signal,
      send: async (edit) => {
        const files = changes.map((change) => bulkEntry(change, this.state.expected(edit, change.path)))
        const outcome = await this.database.write('bulk_upsert_project_files', { files }, wire.bulk, signal)
        return this.resolveLostAnswer(edit, outcome, (files) => ({ revision: 0, files }))
      },
      rows: ({ revision, files }) => files.map((file) => writtenRow(file, targets.get(file.path), revision)),
    })
  }

  private async write<T>({ targets, expected, signal, send, rows }: Write<T>): Promise<Written<T>> {
    for (const path of targets.keys()) checkPathLength(path)
    const changed = new Set<string>()
    const edit = this.state.begin(targets, expected, changed)
    this.onChanged(changed)
    const ended = new Set<string>()
    let isCurrent = false
    const sendInTurn = () => {
      if (signal?.aborted) throw abortedError(signal)
      return send(edit)
    }
    try {
      const outcome = await this.queue.run(targets.keys(), sendInTurn, signal)
      if (outcome.kind === 'conflict') {
        const { path, expectedVersion, currentVersion } = outcome.conflict
        this.state.conflict(edit, path, expectedVersion, currentVersion, ended)
        return { kind: 'conflict', path, expectedVersion, currentVersion }
      }
      isCurrent = this.state.confirm(edit, rows(outcome.value), ended)
      return outcome
    } catch (error) {
      this.state.rollBack(edit, ended)
      throw error
    } finally {
      this.onChanged(ended)
      // After a conflict, or a call without an answer, the current state has to be read.
      if (!isCurrent) this.onUnknown()
    }
  }

  /** A conflict with the result of an earlier attempt of the same write, whose answer was lost, is a success. */
  private async resolveLostAnswer<T>(
    edit: Edit,
    outcome: WriteOutcome<T>,
    toValue: (files: wire.WrittenFile[]) => T,
  ): Promise<WriteOutcome<T>> {
    if (outcome.kind === 'done' || !outcome.mayHaveTakenEffect) return outcome
    // Where the path had to be free, the new version counts from the tombstone's.
    const expected = (path: string) => {
      const version = this.state.expected(edit, path)
      return version === 0 ? (edit.versionsBefore.get(path) ?? 0) : version
    }
    const effect = await findEffect(edit.targets, expected, this.database)
    if (effect.kind === 'applied') return { kind: 'done', value: toValue(effect.files) }
    if (effect.kind === 'not_applied') return outcome
    const { path } = outcome.conflict
    const message = `the answer to a write of ${path} was lost, and another change followed: it may have taken effect`
    throw new ProjectFilesError('unavailable', message, '', { path, cause: outcome.conflict })
  }
}
