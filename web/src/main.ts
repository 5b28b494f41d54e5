import './styles.css'
import { Facts, Log, Trouble } from './activity'
import { askText, askYes } from './ask'
import { Doc } from './doc'
import { bytes, h, type Icon, icon, iconButton } from './dom'
import { Editor } from './editor'
import { type AgentStatus, follow, type Session, type Told } from './feed'
import { Tree } from './files'
import { Preview } from './preview'
import { type Live, Project, type Row, said } from './project'
import { Timeline } from './timeline'

/** Text above this is not opened: an editor of a page would crawl. */
const MAX_EDIT = 1_000_000
const IMAGE = /\.(png|jpe?g|gif|webp|avif|ico|bmp)$/i

type Stand = Live | 'ended' | 'locked'

const WORDS: Record<Stand, string> = {
  connecting: 'Connecting',
  live: 'Live',
  lost: 'Reconnecting',
  ended: 'Ended',
  locked: 'Locked',
}

class App {
  private project: Project | null = null
  private readonly docs = new Map<string, Doc>()
  private selected = ''
  private live: Stand = 'connecting'
  private agent: AgentStatus | null = null
  /** Those that `serve` has heard of. */
  private elsewhere: Told[] | null = null
  private comparing = false

  private readonly name = h('span', { class: 'project' })
  private readonly pills = h('div', { class: 'pills', role: 'status', 'aria-label': 'State in short' })
  private readonly tree = new Tree({
    open: (path) => void this.open(path),
    rename: (path) => void this.rename(path),
    remove: (path) => void this.remove(path),
  })
  private readonly treeNote = h('p', { class: 'hint' }, 'Reading the files …')
  private readonly path = h('span', { class: 'path' })
  private readonly saveState = h('span', { class: 'save-state', role: 'status' })
  private readonly actions = h(
    'div',
    { class: 'actions' },
    iconButton('rename', 'Rename this file', () => void this.rename(this.selected)),
    iconButton('trash', 'Delete this file', () => void this.remove(this.selected)),
  )
  private readonly banner = h('div', { class: 'banner', role: 'alert', hidden: true })
  private readonly editorHost = h('div', { class: 'editor-host', hidden: true })
  private readonly card = h('div', { class: 'empty' })
  private readonly timeline = new Timeline()
  private readonly preview = new Preview((at) => this.timeline.painted(at))
  private readonly facts = new Facts()
  private readonly log = new Log()
  private readonly trouble = new Trouble()
  private readonly chosen = h('input', {
    type: 'file',
    multiple: true,
    hidden: true,
    tabIndex: -1,
    'aria-label': 'Files to upload',
  })
  private readonly toast = h('div', { class: 'toast', role: 'alert', hidden: true })
  private readonly editor: Editor
  private shownCard: string | null = null

  constructor(root: HTMLElement) {
    this.editor = new Editor(
      this.editorHost,
      (path, text) => this.docs.get(path)?.edit(text),
      () => void this.docs.get(this.selected)?.save(),
    )
    this.chosen.addEventListener('change', () => void this.upload([...(this.chosen.files ?? [])]))
    const files = h(
      'section',
      { class: 'pane files', 'aria-label': 'Project files' },
      h(
        'header',
        { class: 'pane-head' },
        h('h2', {}, 'Files'),
        h('span', { class: 'spacer' }),
        iconButton('plus', 'New file', () => void this.create()),
        iconButton('upload', 'Upload files', () => this.chosen.click()),
      ),
      h('div', { class: 'pane-body' }, this.treeNote, this.tree.element),
      this.chosen,
    )
    const editor = h(
      'section',
      { class: 'pane editor', 'aria-label': 'Editor' },
      h('header', { class: 'pane-head' }, this.path, this.saveState, h('span', { class: 'spacer' }), this.actions),
      this.banner,
      h('div', { class: 'pane-body' }, this.editorHost, this.card),
    )
    const activity = h(
      'section',
      { class: 'activity', 'aria-label': 'Activity' },
      this.trouble.element,
      this.timeline.element,
      this.facts.element,
      this.log.element,
    )
    root.append(
      h(
        'header',
        { class: 'top' },
        h('img', { src: './assets/icon.svg', alt: '', width: 22, height: 22 }),
        h('h1', {}, 'preview-agent'),
        this.name,
        this.pills,
      ),
      h('main', {}, files, editor, this.preview.element, activity),
      h(
        'nav',
        { class: 'views', 'aria-label': 'Views' },
        view('files', 'Files', 'files'),
        view('editor', 'Editor', 'edit'),
        view('preview', 'Preview', 'eye'),
        view('activity', 'Activity', 'pulse'),
      ),
      this.toast,
    )
    files.addEventListener('dragover', (event) => event.preventDefault())
    files.addEventListener('drop', (event) => {
      event.preventDefault()
      void this.upload([...(event.dataTransfer?.files ?? [])])
    })
    addEventListener('beforeunload', (event) => {
      if ([...this.docs.values()].some((doc) => doc.dirty)) event.preventDefault()
    })
    addEventListener('keydown', (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key === 's') {
        event.preventDefault()
        void this.docs.get(this.selected)?.save()
      }
    })
    setView('editor')
    this.showCard('wait', h('div', { class: 'spinner', 'aria-hidden': 'true' }), h('p', {}, 'Connecting …'))
    this.drawHead()
    follow({
      begun: (session) => this.begin(session),
      state: (state) => {
        this.agent = state.agent
        this.elsewhere = state.agent ? null : state.agents
        this.trouble.show(state)
        this.preview.show(state.agent)
        if (state.agent) this.timeline.showBoot(state.agent.boot_ms)
        this.drawState()
      },
      line: (line) => {
        this.log.line(line)
        this.timeline.line(line)
      },
      reachable: (yes) => {
        if (!yes) {
          this.live = 'ended'
          this.agent = null
          this.elsewhere = null
          this.preview.gone()
        } else if (this.live === 'locked') {
          location.reload()
        } else if (this.live === 'ended') {
          this.live = 'connecting'
        }
        this.drawState()
      },
      locked: () => {
        this.live = 'locked'
        // Whoever answers now is a stranger: nothing more is told there, not even what waits to be saved.
        this.project?.close()
        this.treeNote.textContent = 'Locked.'
        this.preview.locked()
        this.showCard(
          'locked',
          h('p', { class: 'title' }, 'This address lacks its key'),
          h(
            'p',
            {},
            'Open the whole address that preview-agent printed, with what stands behind the #. The key keeps other users of this machine out.',
          ),
        )
        this.drawState()
      },
    })
  }

  private begin(session: Session): void {
    this.project?.close()
    this.log.clear()
    this.timeline.clear()
    this.name.textContent = session.folder?.split('/').at(-1) ?? 'backend alone'
    this.name.title = session.folder ?? ''
    document.title = `${this.name.textContent} · preview-agent`
    this.preview.begin(session.preview_url, session.window_url)
    const project = new Project(session, {
      changed: (paths) => this.changed(paths),
      live: (live) => {
        this.live = live
        this.drawState()
      },
      told: (path, version, at) => this.timeline.told(path, version, at),
      reading: (error) => {
        this.treeNote.textContent = error
          ? `The list cannot be read (${error}); trying again.`
          : this.project?.paths().length
            ? ''
            : 'No files yet.'
        this.treeNote.hidden = this.treeNote.textContent === ''
      },
    })
    this.project = project
    // What is not saved stays on the screen, and meets what the new run has.
    void project.catchUp().then(() => Promise.all([...this.docs.values()].map((doc) => doc.moveTo(project))))
  }

  private changed(paths: string[]): void {
    const project = this.project
    if (!project) return
    for (const path of paths) {
      const doc = this.docs.get(path)
      const row = project.row(path)
      if (doc && !doc.dirty && (!row || !editable(row))) this.drop(path)
      else void doc?.look()
    }
    if (!this.selected) {
      const wanted = decodeURIComponent(location.hash.slice(1))
      const first = project.row(wanted) ? wanted : likely(project.paths())
      if (first) return void this.open(first, false)
    } else if (paths.includes(this.selected) && !this.docs.has(this.selected)) {
      void this.open(this.selected, false)
    }
    this.drawTree()
  }

  /** Shows a file: in the editor, or as a card where it is none for an editor. */
  private async open(path: string, focus = true): Promise<void> {
    const project = this.project
    if (!project) return
    if (this.selected !== path) void this.docs.get(this.selected)?.save()
    this.selected = path
    this.comparing = false
    history.replaceState(null, '', `#${encodeURIComponent(path)}`)
    this.drawTree()
    if (focus) setView('editor')
    const row = project.row(path)
    let doc = this.docs.get(path)
    if (!doc) {
      if (!row) return this.showCard(`gone ${path}`, h('p', {}, `${path} was deleted.`))
      if (!editable(row)) return this.showBlob(row)
      try {
        this.saveState.textContent = 'Opening …'
        const text = await project.text(row)
        doc =
          this.docs.get(path) ??
          new Doc(
            project,
            path,
            { version: row.version, text },
            {
              changed: (doc) => this.drawDoc(doc),
              replaced: (doc) => this.editor.replace(doc.path, doc.text),
              saved: ({ path, version, began, saved }) => this.timeline.saved(path, version, began, saved),
            },
          )
      } catch (error) {
        if (this.selected === path)
          this.showCard(
            `error ${path}`,
            h('p', {}, `${path} cannot be read: ${said(error)}`),
            h('button', { type: 'button', onclick: () => void this.open(path) }, 'Try again'),
          )
        return
      }
      this.docs.set(path, doc)
      if (this.selected !== path) return
      void doc.look()
    }
    this.shownCard = null
    this.card.hidden = true
    this.editorHost.hidden = false
    this.editor.show(path, doc.text)
    if (focus) this.editor.focus()
    this.drawDoc(doc)
  }

  private showBlob(row: Row): void {
    const path = row.file_path
    const large = row.encoding === 'utf-8'
    const picture = h('div', { class: 'picture', hidden: true })
    this.showCard(
      `${path} ${row.version}`,
      picture,
      h('p', { class: 'title' }, large ? 'Too large for this editor' : 'A binary file'),
      h(
        'p',
        {},
        large
          ? `${bytes(row.size)} of text; the editor opens up to ${bytes(MAX_EDIT)}. It is part of the preview all the same.`
          : `${bytes(row.size)}, kept in storage by its hash.`,
      ),
      h('code', { class: 'hash', title: 'SHA-256' }, row.content_hash ?? ''),
      h(
        'div',
        { class: 'buttons' },
        h('button', { type: 'button', onclick: () => void this.download(row) }, icon('download'), 'Download'),
        h('button', { type: 'button', onclick: () => this.replaceBlob(path) }, icon('upload'), 'Replace'),
      ),
    )
    this.path.textContent = path
    this.saveState.textContent = `v${row.version}`
    if (large || !IMAGE.test(path) || !this.project) return
    this.project.blob(row).then(
      (blob) => {
        const image = h('img', { alt: `The picture ${path}`, src: URL.createObjectURL(blob) })
        image.addEventListener('load', () => URL.revokeObjectURL(image.src))
        picture.replaceChildren(image)
        picture.hidden = false
      },
      (error) => this.say(`${path} cannot be read: ${said(error)}`),
    )
  }

  private showCard(key: string, ...children: HTMLElement[]): void {
    this.banner.hidden = true
    this.editorHost.hidden = true
    this.card.hidden = false
    if (this.shownCard !== key) this.card.replaceChildren(...children)
    this.shownCard = key
    this.path.textContent = this.project?.row(this.selected) ? this.selected : ''
    this.saveState.textContent = ''
    this.saveState.className = 'save-state'
    this.actions.hidden = !this.project?.row(this.selected)
  }

  private drop(path: string): void {
    this.docs.get(path)?.dispose()
    this.docs.delete(path)
    this.editor.forget(path)
  }

  private async create(): Promise<void> {
    const directory = this.selected.slice(0, this.selected.lastIndexOf('/') + 1)
    const path = await askText('New file', 'Path in the project', directory, 'Create', (text) => this.wrongName(text))
    if (path)
      await this.attempt(`${path} was not created`, async (project) => {
        await project.save(path, '', 0)
        await project.catchUp()
        await this.open(path)
      })
  }

  private async rename(from: string): Promise<void> {
    const to = await askText('Rename', 'New path', from, 'Rename', (text) =>
      text === from ? null : this.wrongName(text),
    )
    if (to && to !== from)
      await this.attempt(`${from} was not renamed`, async (project) => {
        await this.docs.get(from)?.save()
        await project.rename(from, to)
        this.drop(from)
        await project.catchUp()
        await this.open(to)
      })
  }

  private async remove(path: string): Promise<void> {
    if (
      !(await askYes(
        'Delete this file?',
        `${path} leaves the project, the preview and, where it is mirrored, the folder.`,
        'Delete',
      ))
    )
      return
    await this.attempt(`${path} was not deleted`, async (project) => {
      await project.remove(path)
      this.drop(path)
      await project.catchUp()
    })
  }

  private async upload(files: File[]): Promise<void> {
    this.chosen.value = ''
    const directory = this.selected.slice(0, this.selected.lastIndexOf('/') + 1)
    for (const file of files) {
      const path = await askText('Upload', 'Path in the project', directory + file.name, 'Upload', (text) =>
        text ? null : 'A path is needed.',
      )
      if (path) await this.put(path, file)
    }
  }

  private replaceBlob(path: string): void {
    const chosen = h('input', { type: 'file' })
    chosen.addEventListener('change', () => chosen.files?.[0] && void this.put(path, chosen.files[0]))
    chosen.click()
  }

  private put(path: string, file: Blob): Promise<void> {
    return this.attempt(`${path} was not uploaded`, async (project) => {
      await project.upload(path, file)
      await project.catchUp()
      await this.open(path)
    })
  }

  private async download(row: Row): Promise<void> {
    await this.attempt(`${row.file_path} cannot be read`, async (project) => {
      const link = h('a', {
        href: URL.createObjectURL(await project.blob(row)),
        download: row.file_path.split('/').at(-1),
      })
      link.click()
      URL.revokeObjectURL(link.href)
    })
  }

  private async attempt(what: string, act: (project: Project) => Promise<void>): Promise<void> {
    if (!this.project) return
    try {
      await act(this.project)
    } catch (error) {
      this.say(`${what}: ${said(error)}`)
      void this.project.catchUp()
    }
  }

  private wrongName(path: string): string | null {
    if (!path || path.endsWith('/')) return 'A path with a name is needed.'
    return this.project?.row(path) ? 'A file of this name is there already.' : null
  }

  private say(words: string): void {
    this.toast.replaceChildren(
      h('span', {}, words),
      h('button', { type: 'button', onclick: () => (this.toast.hidden = true) }, 'Dismiss'),
    )
    this.toast.hidden = false
  }

  private drawDoc(doc: Doc): void {
    this.drawTree()
    if (doc.path !== this.selected) return
    this.path.textContent = doc.path
    this.path.title = doc.path
    this.actions.hidden = false
    const [words, tone] = doc.theirs
      ? ['Conflict', 'bad']
      : doc.error
        ? [`Not saved: ${doc.error}`, 'bad']
        : doc.saving
          ? ['Saving …', '']
          : doc.dirty
            ? ['Not saved yet', '']
            : [`Saved · v${doc.base.version}`, 'ok']
    this.saveState.textContent = words ?? ''
    this.saveState.className = `save-state ${tone}`
    this.drawConflict(doc)
  }

  private drawConflict(doc: Doc): void {
    const theirs = doc.theirs
    const key = theirs ? `${doc.path} ${theirs.version}` : ''
    if (this.banner.dataset.key === key && this.banner.hidden === !theirs) return
    this.banner.dataset.key = key
    this.banner.hidden = !theirs
    if (!theirs) {
      if (this.comparing) this.compare(null)
      return
    }
    const compare = h(
      'button',
      {
        type: 'button',
        'aria-pressed': false,
        hidden: theirs.text === null,
        onclick: () => {
          this.compare(this.comparing ? null : theirs.text)
          compare.ariaPressed = String(this.comparing)
        },
      },
      'Compare',
    )
    this.banner.replaceChildren(
      h(
        'p',
        {},
        theirs.text === null
          ? `This file was deleted elsewhere (version ${theirs.version}) while you were editing.`
          : `This file was changed elsewhere (version ${theirs.version}) while you were editing. Nothing of yours is saved until you choose.`,
      ),
      h(
        'div',
        { class: 'buttons' },
        compare,
        h('button', { type: 'button', onclick: () => void doc.keepMine() }, 'Keep mine'),
        h(
          'button',
          {
            type: 'button',
            onclick: () => {
              if (doc.takeTheirs()) return
              this.drop(doc.path)
              void this.open(doc.path)
            },
          },
          theirs.text === null ? 'Let it go' : 'Take theirs',
        ),
      ),
    )
  }

  private compare(original: string | null): void {
    this.comparing = original !== null
    this.editor.compare(original)
  }

  private drawTree(): void {
    this.tree.show(this.project?.paths() ?? [], this.selected, (path) => {
      const doc = this.docs.get(path)
      return doc?.theirs ? 'conflict' : doc?.dirty ? 'dirty' : undefined
    })
  }

  private drawState(): void {
    this.facts.show(this.agent, this.live, this.elsewhere)
    this.drawHead()
  }

  private drawHead(): void {
    const agent = this.agent
    const pills: [string, string][] = [
      [
        WORDS[this.live],
        this.live === 'live' ? 'ok' : this.live === 'ended' || this.live === 'locked' ? 'bad' : 'warn',
      ],
    ]
    if (agent) {
      const behind = (agent.head ?? agent.revision) - agent.revision
      const sync = agent.current
        ? 'in sync'
        : behind > 0
          ? `${behind} behind`
          : agent.debts.count
            ? `${agent.debts.count} not on disk`
            : agent.phase
      pills.push([`Revision ${agent.revision} · ${sync}`, agent.current ? 'ok' : 'warn'])
      const server = agent.dev_server?.state ?? 'waiting'
      pills.push([
        `Dev server ${server.replace('_', ' ')}`,
        server === 'serving' ? 'ok' : server === 'gave_up' ? 'bad' : 'warn',
      ])
    }
    const key = JSON.stringify(pills)
    if (this.pills.dataset.key === key) return
    this.pills.dataset.key = key
    this.pills.replaceChildren(
      ...pills.map(([words, tone]) =>
        h(
          'span',
          { class: `pill ${tone}` },
          h('i', { class: `lamp ${tone}`, 'aria-hidden': 'true' }),
          h('span', {}, words),
        ),
      ),
    )
  }
}

function editable(row: Row): boolean {
  return row.encoding === 'utf-8' && row.size <= MAX_EDIT
}

/** What people want to see first. */
function likely(paths: string[]): string | undefined {
  const all = [/(^|\/)App\.\w+$/, /(^|\/)src\/main\.\w+$/, /(^|\/)index\.html$/, /\.md$/i]
  return all.map((pattern) => paths.find((path) => pattern.test(path))).find(Boolean) ?? paths[0]
}

/** On a narrow screen one view is shown at a time. */
function setView(name: string): void {
  document.body.dataset.view = name
  for (const button of document.querySelectorAll<HTMLElement>('nav.views button')) {
    button.setAttribute('aria-current', String(button.dataset.view === name))
  }
}

function view(name: string, words: string, drawing: Icon): HTMLElement {
  const button = h('button', { type: 'button', onclick: () => setView(name) }, icon(drawing), words)
  button.dataset.view = name
  return button
}

const root = document.getElementById('app')
if (root) new App(root)
