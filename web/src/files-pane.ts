import { h, iconButton } from './dom'
import { type FileMark, Tree, type TreeListener } from './tree'

export interface FilesPaneListener extends TreeListener {
  onCreate(): void
  onUpload(files: File[]): void
}

/** The pane with the list of files. */
export class FilesPane {
  private readonly tree: Tree
  private readonly note = h('p', { class: 'hint' }, 'Reading the files …')
  readonly element: HTMLElement

  constructor(listener: FilesPaneListener) {
    this.tree = new Tree(listener)
    const chooser = h('input', {
      type: 'file',
      multiple: true,
      hidden: true,
      tabIndex: -1,
      'aria-label': 'Files to upload',
    })
    chooser.addEventListener('change', () => {
      const files = [...(chooser.files ?? [])]
      chooser.value = ''
      listener.onUpload(files)
    })
    this.element = h(
      'section',
      { class: 'pane files', 'aria-label': 'Project files' },
      h(
        'header',
        { class: 'pane-head' },
        h('h2', {}, 'Files'),
        h('span', { class: 'spacer' }),
        iconButton('plus', 'New file', () => listener.onCreate()),
        iconButton('upload', 'Upload files', () => chooser.click()),
      ),
      h('div', { class: 'pane-body' }, this.note, this.tree.element),
      chooser,
    )
    this.element.addEventListener('dragover', (event) => event.preventDefault())
    this.element.addEventListener('drop', (event) => {
      event.preventDefault()
      listener.onUpload([...(event.dataTransfer?.files ?? [])])
    })
  }

  show(paths: string[], selected: string, markOf: (path: string) => FileMark | undefined): void {
    this.tree.show(paths, selected, markOf)
  }

  /** A sentence above the list; empty: none. */
  setNote(text: string): void {
    this.note.textContent = text
    this.note.hidden = text === ''
  }
}
