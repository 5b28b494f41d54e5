import { type ProjectFile, pathTooLong } from '@preview-agent/project-files'
import { askForText, confirmDanger } from './dialogs'
import { h } from './dom'
import { errorText } from './error-text'
import { fileType, type ProjectSession } from './project-session'

/** What the actions need of the console. */
export interface ActionContext {
  session(): ProjectSession | null
  /** The directory of the selected file, with a slash at its end, or an empty text. */
  directory(): string
  /** Saves what is typed into this file; the promise ends when nothing is left to save. */
  saveOpen(path: string): Promise<void>
  open(path: string): Promise<void>
  /** The file is not at this path any more. */
  close(path: string): void
  showError(message: string): void
  /** An action has succeeded: an earlier error is not shown any more. */
  clearError(): void
}

/** Creates, renames, deletes, uploads and downloads files, with the questions that this needs. */
export class FileActions {
  constructor(private readonly context: ActionContext) {}

  async create(): Promise<void> {
    const path = await askForText({
      title: 'New file',
      label: 'Path in the project',
      value: this.context.directory(),
      action: 'Create',
      problem: (text) => this.pathProblem(text),
    })
    if (!path) return
    await this.attempt(`${path} was not created`, async ({ files }) => {
      requireSaved(await files.save(path, '', { expectedVersion: 0, fileType: fileType(path) }))
      await this.context.open(path)
    })
  }

  async rename(from: string): Promise<void> {
    const to = await askForText({
      title: 'Rename',
      label: 'New path',
      value: from,
      action: 'Rename',
      problem: (text) => (text === from ? null : this.pathProblem(text)),
    })
    if (!to || to === from) return
    await this.attempt(`${from} was not renamed`, async ({ files }) => {
      await this.context.saveOpen(from)
      requireSaved(await files.rename(from, to, { fileType: fileType(to) }))
      this.context.close(from)
      await this.context.open(to)
    })
  }

  async remove(path: string): Promise<void> {
    const text = `${path} is removed from the project, the preview and, where the project is a folder, from the folder.`
    if (!(await confirmDanger('Delete this file?', text, 'Delete'))) return
    await this.attempt(`${path} was not deleted`, async ({ files }) => {
      requireSaved(await files.remove(path))
      this.context.close(path)
    })
  }

  async upload(chosen: File[]): Promise<void> {
    for (const file of chosen) {
      const path = await askForText({
        title: 'Upload',
        label: 'Path in the project',
        value: this.context.directory() + file.name,
        action: 'Upload',
        problem: (text) => this.pathProblem(text, 'may_exist'),
      })
      if (path) await this.put(path, file)
    }
  }

  /** Asks for a file of this computer and puts it at `path`. */
  replace(path: string): void {
    const chooser = h('input', { type: 'file' })
    chooser.addEventListener('change', () => chooser.files?.[0] && void this.put(path, chooser.files[0]))
    chooser.click()
  }

  async download(file: ProjectFile): Promise<void> {
    await this.attempt(`Cannot read ${file.path}`, async ({ files }) => {
      const href = URL.createObjectURL(asBlob(await files.bytes(file.path)))
      h('a', { href, download: file.path.split('/').at(-1) }).click()
      URL.revokeObjectURL(href)
    })
  }

  private put(path: string, file: Blob): Promise<void> {
    return this.attempt(`${path} was not uploaded`, async ({ files }) => {
      const bytes = new Uint8Array(await file.arrayBuffer())
      requireSaved(await files.upload(path, bytes, { fileType: fileType(path) }))
      await this.context.open(path)
    })
  }

  private async attempt(failure: string, act: (session: ProjectSession) => Promise<void>): Promise<void> {
    const session = this.context.session()
    if (!session) return
    try {
      await act(session)
      this.context.clearError()
    } catch (error) {
      this.context.showError(`${failure}: ${errorText(error)}`)
    }
  }

  /** Why there can be no file at this path, or null. */
  private pathProblem(path: string, existing: 'must_be_free' | 'may_exist' = 'must_be_free'): string | null {
    if (!path || path.endsWith('/')) return 'Enter a path with a file name.'
    const tooLong = pathTooLong(path)
    if (tooLong) return `This path is too long: ${tooLong}.`
    const paths = this.context.session()?.files.paths() ?? []
    if (existing === 'must_be_free' && paths.includes(path)) return 'There is already a file with this path.'
    if (paths.some((other) => other.startsWith(`${path}/`))) return `${path} is a folder.`
    const parent = paths.find((other) => path.startsWith(`${other}/`))
    return parent === undefined ? null : `${parent} is a file, so nothing can be inside it.`
  }
}

export function asBlob(bytes: Uint8Array): Blob {
  return new Blob([bytes as Uint8Array<ArrayBuffer>])
}

function requireSaved(result: { kind: string; path?: string; currentVersion?: number }): void {
  if (result.kind === 'conflict') {
    throw new Error(`${result.path} was changed by another editor (version ${result.currentVersion})`)
  }
}
