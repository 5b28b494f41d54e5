import { type ErrorKind, ProjectFilesError } from '@preview-agent/project-files'

/** Kinds that are explained in other words than the error's message. */
const TEXTS: Partial<Record<ErrorKind, string>> = {
  unavailable: 'the backend does not answer',
  signed_out: "the console's access has expired; reload the page",
  no_right: 'no right to change this project',
  too_large: 'the file is too large',
  rate_limited: 'too many changes in a short time',
  aborted: 'the connection was closed',
}

/** An error in one line, for people. */
export function errorText(error: unknown): string {
  if (error instanceof ProjectFilesError) {
    // The message begins with the name of the database function, which means nothing to people.
    return TEXTS[error.kind] ?? error.message.replace(/^(storage )?[a-z_]+: /, '')
  }
  if (error instanceof TypeError && /fetch/i.test(error.message)) return 'the program does not answer'
  const message = error instanceof Error ? error.message : (error as { message?: string } | null)?.message
  return message || String(error)
}
