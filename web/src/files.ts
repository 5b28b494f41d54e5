import { h, icon } from './dom'

export interface TreeWatcher {
  open(path: string): void
  rename(path: string): void
  remove(path: string): void
}

type Mark = 'dirty' | 'conflict' | undefined

/** The files as a tree, for mouse and keyboard. */
export class Tree {
  readonly element = h('div', {
    class: 'tree',
    role: 'tree',
    'aria-label': 'Files',
    onkeydown: (event: KeyboardEvent) => this.key(event),
  })
  private paths: string[] = []
  private readonly closed = new Set<string>()
  private selected = ''
  private marks: (path: string) => Mark = () => undefined

  constructor(private readonly watcher: TreeWatcher) {}

  /** Shows these files; `marks` says which of them are not saved. */
  show(paths: string[], selected: string, marks: (path: string) => Mark): void {
    this.paths = paths
    if (selected !== this.selected) this.reveal(selected)
    this.selected = selected
    this.marks = marks
    this.draw()
  }

  private reveal(path: string): void {
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
        if (!seen.has(directory)) rows.push(this.directory(directory, parts[depth - 1] ?? '', depth))
        seen.add(directory)
        hidden = this.closed.has(directory)
      }
      if (!hidden) rows.push(this.file(path, parts.at(-1) ?? '', parts.length))
    }
    this.element.replaceChildren(...rows)
    const stop = rows.find((row) => row.dataset.path === (focused ?? this.selected)) ?? rows[0]
    if (stop) stop.tabIndex = 0
    if (focused !== undefined) stop?.focus()
  }

  private directory(path: string, name: string, level: number): HTMLElement {
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

  private file(path: string, name: string, level: number): HTMLElement {
    const selected = path === this.selected
    const mark = this.marks(path)
    const words = mark === 'conflict' ? 'conflict' : mark === 'dirty' ? 'not saved yet' : ''
    const row = h(
      'div',
      {
        class: `row file ${mark ?? ''}`,
        role: 'treeitem',
        tabIndex: -1,
        title: path,
        onclick: () => this.watcher.open(path),
        style: `--level:${level}`,
        'aria-level': level,
        'aria-selected': selected,
      },
      h('span', { class: 'name' }, name),
      words && h('span', { class: 'mark', role: 'img', 'aria-label': words, title: words }),
    )
    row.dataset.path = path
    return row
  }

  private key(event: KeyboardEvent): void {
    const rows = [...this.element.children] as HTMLElement[]
    const index = rows.indexOf(event.target as HTMLElement)
    const row = rows[index]
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return
    const path = row.dataset.path ?? ''
    const isFile = row.classList.contains('file')
    const open = row.ariaExpanded === 'true'
    const go = (to: HTMLElement | undefined) => {
      if (!to) return
      row.tabIndex = -1
      to.tabIndex = 0
      to.focus()
    }
    const parent = () => rows.find((other) => other.dataset.path === path.slice(0, path.lastIndexOf('/')))
    const actions: Record<string, () => void> = {
      ArrowDown: () => go(rows[index + 1]),
      ArrowUp: () => go(rows[index - 1]),
      Home: () => go(rows[0]),
      End: () => go(rows.at(-1)),
      ArrowRight: () => (isFile ? undefined : open ? go(rows[index + 1]) : row.click()),
      ArrowLeft: () => (!isFile && open ? row.click() : go(parent())),
      Enter: () => row.click(),
      ' ': () => row.click(),
      F2: () => isFile && this.watcher.rename(path),
      Delete: () => isFile && this.watcher.remove(path),
    }
    const action = actions[event.key]
    if (!action) return
    event.preventDefault()
    action()
  }
}

function sorted(paths: string[]): string[] {
  const key = (path: string) => {
    const parts = path.split('/')
    return parts.map((part, index) => `${index < parts.length - 1 ? '0' : '1'}${part.toLowerCase()}`)
  }
  const keyed = paths.map((path) => ({ path, key: key(path) }))
  keyed.sort((a, b) => {
    for (let index = 0; index < Math.min(a.key.length, b.key.length); index++) {
      const order = (a.key[index] ?? '').localeCompare(b.key[index] ?? '')
      if (order) return order
    }
    return a.path < b.path ? -1 : 1
  })
  return keyed.map(({ path }) => path)
}
