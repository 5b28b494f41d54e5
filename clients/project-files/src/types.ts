import type { ProjectFilesError } from './errors.js'

/** How a file's bytes are kept: `utf-8` in the table, `base64` (anything that is not text) as an object in storage. */
export const ENCODINGS = ['utf-8', 'base64'] as const
export type Encoding = (typeof ENCODINGS)[number]

/** A file as the database has it. */
export interface ProjectFile {
  readonly path: string
  /** Counts the changes of this path, from 1. */
  readonly version: number
  /**
   * A revision of the project at which this version was current. 0 in the result of a save whose answer was lost and which
   * another write has already replaced.
   */
  readonly revision: number
  /** SHA-256 of the bytes, in lower-case hex. */
  readonly contentHash: string
  /** In bytes. */
  readonly size: number
  readonly encoding: Encoding
  /** The text; undefined for a file in storage, and for text that was not read yet. */
  readonly content: string | undefined
}

/**
 * - `saved`: what the database has.
 * - `saving`: an edit is being sent.
 * - `conflict`: an edit was refused, because another change came first.
 */
export const FILE_STATES = ['saved', 'saving', 'conflict'] as const
export type FileState = (typeof FILE_STATES)[number]

/** A file as an editor shows it: the edit that is being sent or was refused, else what the database has. */
export interface FileView {
  readonly path: string
  readonly state: FileState
  /** The edit's text where there is one, else the database's; undefined where neither is text, or it was not read yet. */
  readonly content: string | undefined
  /** What the database has, as far as it is known here; undefined where it has no such file. */
  readonly saved: ProjectFile | undefined
  /** Of a conflict: the version that the edit expected, and the one that is current. */
  readonly conflict?: { readonly expectedVersion: number; readonly currentVersion: number }
}

/** Another change came first, and nothing was written. */
export interface Conflict {
  readonly kind: 'conflict'
  /** Of a bulk: the first path that is in conflict. */
  readonly path: string
  readonly expectedVersion: number
  /** 0 where there is no such file. */
  readonly currentVersion: number
}

export type SaveResult = { readonly kind: 'saved'; readonly file: ProjectFile } | Conflict
export type RemoveResult = { readonly kind: 'removed'; readonly path: string; readonly version: number } | Conflict
export type BulkResult =
  | {
      readonly kind: 'saved'
      readonly revision: number
      readonly files: readonly {
        readonly path: string
        readonly version: number
        readonly contentHash: string | null
      }[]
    }
  | Conflict

/** The version that a write builds on. */
export interface Expected {
  /**
   * The version that the edit was made from. 0: the path must be free. null: replace whatever is there. Left out: the
   * version that `ProjectFiles.get` shows at the time of the call, after this client's own earlier writes.
   */
  expectedVersion?: number | null | undefined
}

export interface WriteOptions extends Expected {
  /** The database's `file_type`. Left out: the type that the file has, or `text`. */
  fileType?: string | undefined
  signal?: AbortSignal | undefined
}

/** One entry of a bulk. */
export type Change = Expected & { path: string } & (
    | { action: 'save'; content: string; fileType?: string | undefined }
    /** An object that `ProjectFiles.store` has already put into storage. */
    | { action: 'asset'; contentHash: string; size: number; fileType?: string | undefined }
    | { action: 'remove' }
  )

/** `connecting` until the first join; `live` while events arrive; `lost` while the channel is down. */
export const CHANNEL_STATES = ['connecting', 'live', 'lost'] as const
export type ChannelState = (typeof CHANNEL_STATES)[number]

/** What a listener receives. */
export type Notice =
  /** `ProjectFiles.get` gives another result than before for these paths. */
  | { readonly kind: 'files'; readonly paths: readonly string[] }
  | { readonly kind: 'channel'; readonly state: ChannelState }
  /** An event named this version; `sentAt` is the database's time in Unix milliseconds. */
  | { readonly kind: 'event'; readonly path: string; readonly version: number; readonly sentAt: number }
  /** Reading in the background failed and is repeated; null: it works again. */
  | { readonly kind: 'reading'; readonly error: ProjectFilesError | null }

export type Listener = (notice: Notice) => void
