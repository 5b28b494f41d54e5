import type { ProjectFile } from '@preview-agent/project-files'
import { h, icon } from './dom'
import { errorText } from './error-text'
import { bytes } from './format'

/** Larger texts are not opened: the editor would be too slow. Bytes. */
const MAX_EDITABLE_SIZE = 1_000_000
const IMAGE_NAME = /\.(png|jpe?g|gif|webp|avif|ico|bmp)$/i

export function isEditable(file: ProjectFile): boolean {
  return file.encoding === 'utf-8' && file.size <= MAX_EDITABLE_SIZE
}

/** What the editor pane shows in place of an editor. Two cards with the same key look the same. */
export interface Card {
  key: string
  content: HTMLElement[]
}

export function connectingCard(): Card {
  const spinner = h('div', { class: 'spinner', 'aria-hidden': 'true' })
  return { key: 'connecting', content: [spinner, h('p', {}, 'Connecting …')] }
}

export function emptyProjectCard(): Card {
  const text = 'This project has no files yet. Create or upload one with the buttons above the list of files.'
  return { key: 'empty', content: [h('p', { class: 'title' }, 'No files yet'), h('p', {}, text)] }
}

export function lockedCard(): Card {
  const text =
    'Open the whole address that preview-agent printed, including the part behind the #. This key protects the project from other users of this computer.'
  return { key: 'locked', content: [h('p', { class: 'title' }, 'This address lacks its key'), h('p', {}, text)] }
}

export function deletedCard(path: string): Card {
  return { key: `deleted ${path}`, content: [h('p', {}, `${path} was deleted.`)] }
}

export function unreadableCard(path: string, error: unknown, retry: () => void): Card {
  const button = h('button', { type: 'button', onclick: retry }, 'Try again')
  return { key: `unreadable ${path}`, content: [h('p', {}, `Cannot read ${path}: ${errorText(error)}`), button] }
}

export interface BinaryCardActions {
  read(): Promise<Blob>
  download(): void
  replace(): void
  onError(message: string): void
}

/** A file that is not text, or too large for the editor. */
export function binaryCard(file: ProjectFile, actions: BinaryCardActions): Card {
  const isText = file.encoding === 'utf-8'
  const title = isText ? 'Too large for this editor' : 'A binary file'
  const text = isText
    ? `${bytes(file.size)} of text; the editor opens up to ${bytes(MAX_EDITABLE_SIZE)}. The preview uses the file as usual.`
    : `${bytes(file.size)}, kept in storage under its hash.`
  const picture = h('div', { class: 'picture', hidden: true })
  if (!isText && IMAGE_NAME.test(file.path)) showPicture(picture, file.path, actions)
  return {
    key: `${file.path} ${file.version}`,
    content: [
      picture,
      h('p', { class: 'title' }, title),
      h('p', {}, text),
      h('code', { class: 'hash', title: 'SHA-256' }, file.contentHash),
      h(
        'div',
        { class: 'buttons' },
        h('button', { type: 'button', onclick: actions.download }, icon('download'), 'Download'),
        h('button', { type: 'button', onclick: actions.replace }, icon('upload'), 'Replace'),
      ),
    ],
  }
}

function showPicture(picture: HTMLElement, path: string, actions: BinaryCardActions): void {
  actions.read().then(
    (blob) => {
      const image = h('img', { alt: `The picture ${path}`, src: URL.createObjectURL(blob) })
      image.addEventListener('load', () => URL.revokeObjectURL(image.src))
      picture.replaceChildren(image)
      picture.hidden = false
    },
    (error) => actions.onError(`Cannot read ${path}: ${errorText(error)}`),
  )
}
