import type { ProjectFilesError } from './errors.js'

/** How a file's bytes are kept: text in the table, anything else as an object in storage. */
export type Encoding = 'utf-8' | 'base64'

/** A file as the database has it. */
export interface ProjectFile {
  readonly path: string
  /** Counts the changes of this path, from 1. */
  readonly version: number
  /**
   * A revision of the project at which this version was current; 0 in the result of a save whose answer was lost, and which
   * somebody else's has overtaken.
   */
  readonly revision: number
  /** SHA-256 of the bytes, in hex. */
  readonly contentHash: string
  /** In bytes. */
  readonly size: number
  readonly encoding: Encoding
  /** The text; undefined for what lies in storage, and for text that was not read yet. */
  readonly content: string | undefined
}

/** A file as an editor shows it: the edit that is on its way or was refused, else what the database has. */
export interface FileView {
  readonly path: string
  /** `saving`: an edit is on its way. `conflict`: an edit was refused, since somebody else's came first. */
  readonly state: 'saved' | 'saving' | 'conflict'
  /** The edit's text where there is one, else the database's; undefined where neither is text, or it was not read yet. */
  readonly content: string | undefined
  /** What the database has, as far as is known here; undefined where it has no such file. */
  readonly saved: ProjectFile | undefined
  /** Of a conflict: what the edit expected, and what it met. */
  readonly conflict?: { readonly expectedVersion: number; readonly currentVersion: number }
}

/** Somebody else's change came first, and nothing was written. */
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

/** Which version a write builds on. */
export interface Expected {
  /**
   * The version that the edit was made from; 0: the path must be free. null: write over whatever is there. Left out: the
   * version that [`ProjectFiles.get`] shows at the time of the call, after own writes that are still on their way.
   */
  expectedVersion?: number | null | undefined
}

export interface WriteOptions extends Expected {
  /** The database's `file_type`; what it has, or `text`, where left out. */
  fileType?: string | undefined
  signal?: AbortSignal | undefined
}

/** One entry of a bulk. */
export type Change = Expected & { path: string } & (
    | { action: 'save'; content: string; fileType?: string | undefined }
    /** An object that lies in storage already, as [`ProjectFiles.store`] puts it there. */
    | { action: 'asset'; contentHash: string; size: number; fileType?: string | undefined }
    | { action: 'remove' }
  )

/** `connecting` until the first join; `live` while events arrive; `lost` while the channel is away. */
export type Live = 'connecting' | 'live' | 'lost'

/** What a listener is told. */
export type Notice =
  /** [`ProjectFiles.get`] answers otherwise than before for these paths. */
  | { readonly kind: 'files'; readonly paths: readonly string[] }
  | { readonly kind: 'live'; readonly state: Live }
  /** The database told of a version, and when by its own clock (Unix milliseconds). */
  | { readonly kind: 'told'; readonly path: string; readonly version: number; readonly at: number }
  /** Reading in the background failed, and is tried again; null: it works again. */
  | { readonly kind: 'reading'; readonly error: ProjectFilesError | null }

export type Listener = (notice: Notice) => void
