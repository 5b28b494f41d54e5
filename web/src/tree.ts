import { h, icon } from './dom'

export interface TreeListener {
  onOpen(path: string): void
  onRename(path: string): void
  onRemove(path: string): void
}

/** What is shown beside a file's name. */
export const FILE_MARKS = ['dirty', 'conflict'] as const
export type FileMark = (typeof FILE_MARKS)[number]

const MARK_TEXTS: Record<FileMark, string> = { dirty: 'not saved yet', conflict: 'conflict' }

/** The files as a tree, for mouse and keyboard. */
export class Tree {
  readonly element = h('div', {
    class: 'tree',
    role: 'tree',
    'aria-label': 'Files',
    onkeydown: (event: KeyboardEvent) => this.onKey(event),
  })
  private paths: string[] = []
  private readonly closed = new Set<string>()
  private selected = ''
  private markOf: (path: string) => FileMark | undefined = () => undefined

  constructor(private readonly listener: TreeListener) {}

  show(paths: string[], selected: string, markOf: (path: string) => FileMark | undefined): void {
    this.paths = paths
    if (selected !== this.selected) this.openParents(selected)
    this.selected = selected
    this.markOf = markOf
    this.draw()
  }

  private openParents(path: string): void {
    for (const match of path.matchAll(/\//g)) this.closed.delete(path.slice(0, match.index))
  }

  private draw(): void {
    const focused = this.element.contains(document.activeElement)
      ? (document.activeElement as HTMLElement).dataset.path
      : undefined
    const rows: HTMLElement[] = []
    const seen = new Set<string>()
    // Directories before files, at every depth.
    for (const path of sorted(this.paths)) {
      const parts = path.split('/')
      let hidden = false
      for (let depth = 1; depth < parts.length && !hidden; depth++) {
        const directory = parts.slice(0, depth).join('/')
        if (!seen.has(directory)) rows.push(this.directoryRow(directory, parts[depth - 1] ?? '', depth))
        seen.add(directory)
        hidden = this.closed.has(directory)
      }
      if (!hidden) rows.push(this.fileRow(path, parts.at(-1) ?? '', parts.length))
    }
    this.element.replaceChildren(...rows)
    const tabStop = rows.find((row) => row.dataset.path === (focused ?? this.selected)) ?? rows[0]
    if (tabStop) tabStop.tabIndex = 0
    if (focused !== undefined) tabStop?.focus()
  }

  private directoryRow(path: string, name: string, level: number): HTMLElement {
    const open = !this.closed.has(path)
    const onclick = () => {
      if (open) this.closed.add(path)
      else this.closed.delete(path)
      this.draw()
    }
    const row = h(
      'div',
      {
        class: 'row directory',
        role: 'treeitem',
        tabIndex: -1,
        onclick,
        style: `--level:${level}`,
        'aria-level': level,
        'aria-expanded': open,
      },
      icon('chevron'),
      h('span', { class: 'name' }, name),
    )
    row.dataset.path = path
    return row
  }

  private fileRow(path: string, name: string, level: number): HTMLElement {
    const mark = this.markOf(path)
    const text = mark && MARK_TEXTS[mark]
    const row = h(
      'div',
      {
        class: `row file ${mark ?? ''}`,
        role: 'treeitem',
        tabIndex: -1,
        title: path,
        onclick: () => this.listener.onOpen(path),
        style: `--level:${level}`,
        'aria-level': level,
        'aria-selected': path === this.selected,
      },
      h('span', { class: 'name' }, name),
      text && h('span', { class: 'mark', role: 'img', 'aria-label': text, title: text }),
    )
    row.dataset.path = path
    return row
  }

  private onKey(event: KeyboardEvent): void {
    const rows = [...this.element.children] as HTMLElement[]
    const index = rows.indexOf(event.target as HTMLElement)
    const row = rows[index]
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return
    const path = row.dataset.path ?? ''
    const isFile = row.classList.contains('file')
    const open = row.ariaExpanded === 'true'
    const focus = (target: HTMLElement | undefined) => {
      if (!target) return
      row.tabIndex = -1
      target.tabIndex = 0
      target.focus()
    }
    const parent = () => rows.find((other) => other.dataset.path === path.slice(0, path.lastIndexOf('/')))
    const actions: Record<string, () => void> = {
      ArrowDown: () => focus(rows[index + 1]),
      ArrowUp: () => focus(rows[index - 1]),
      Home: () => focus(rows[0]),
      End: () => focus(rows.at(-1)),
      ArrowRight: () => (isFile ? undefined : open ? focus(rows[index + 1]) : row.click()),
      ArrowLeft: () => (!isFile && open ? row.click() : focus(parent())),
      Enter: () => row.click(),
      ' ': () => row.click(),
      F2: () => isFile && this.listener.onRename(path),
      Delete: () => isFile && this.listener.onRemove(path),
    }
    const action = actions[event.key]
    if (!action) return
    event.preventDefault()
    action()
  }
}

/** The paths with directories before files at every depth, each by name without regard to case. */
function sorted(paths: string[]): string[] {
  const sortKey = (path: string) => {
    const parts = path.split('/')
    return parts.map((part, index) => `${index < parts.length - 1 ? '0' : '1'}${part.toLowerCase()}`)
  }
  const keyed = paths.map((path) => ({ path, key: sortKey(path) }))
  keyed.sort((a, b) => {
    for (let index = 0; index < Math.min(a.key.length, b.key.length); index++) {
      const order = (a.key[index] ?? '').localeCompare(b.key[index] ?? '')
      if (order) return order
    }
    return a.path < b.path ? -1 : 1
  })
  return keyed.map(({ path }) => path)
}
