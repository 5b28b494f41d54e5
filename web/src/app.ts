import type { Notice, ProjectFile } from '@preview-agent/project-files'
import { BootTimeline } from './boot-timeline'
import type { ConsoleState } from './codes'
import { h } from './dom'
import { EditorPane } from './editor-pane'
import { errorText } from './error-text'
import { FaultPanel } from './fault-panel'
import { type FeedState, followFeed, type RemoteAgent, type Session } from './feed'
import { asBlob, FileActions } from './file-actions'
import { binaryCard, deletedCard, emptyProjectCard, isEditable, lockedCard, unreadableCard } from './file-card'
import { FilesPane } from './files-pane'
import { Header } from './header'
import { LogPanel } from './log-panel'
import { OpenFile, type OpenFileListener } from './open-file'
import { Preview } from './preview'
import { ProblemsPanel, type ProblemsReport } from './problems'
import { ProjectSession } from './project-session'
import { StatusPanel } from './status-panel'
import type { ReceivedStatus } from './sync-state'
import { Timeline } from './timeline'
import { Toast } from './toast'
import { showView, viewBar } from './views'

/** How often the state is shown again without a change. Milliseconds. */
const STATE_REFRESH_MS = 1000

/** The console: connects the feed, the project and the panes. */
export class App {
  private session: ProjectSession | null = null
  private readonly openFiles = new Map<string, OpenFile>()
  private selected = ''
  private state: ConsoleState = 'connecting'
  private status: ReceivedStatus | null = null
  private problems: ProblemsReport | null = null
  /** Agents in other processes; null where this program has its own. */
  private remoteAgents: RemoteAgent[] | null = null

  private readonly header = new Header()
  private readonly timeline = new Timeline()
  private readonly bootTimeline = new BootTimeline()
  private readonly preview = new Preview((at) => this.timeline.addPaint(at))
  private readonly statusPanel = new StatusPanel()
  private readonly problemsPanel = new ProblemsPanel((path, line, column) => void this.openAt(path, line, column))
  private readonly log = new LogPanel()
  private readonly faults = new FaultPanel()
  private readonly toast = new Toast()
  private readonly actions = new FileActions({
    session: () => this.session,
    directory: () => this.selected.slice(0, this.selected.lastIndexOf('/') + 1),
    saveOpen: async (path) => this.openFiles.get(path)?.save(),
    open: (path) => this.open(path),
    close: (path) => this.close(path),
    showError: (message) => this.toast.show(message),
    clearError: () => this.toast.hide(),
  })
  private readonly files = new FilesPane({
    onOpen: (path) => void this.open(path),
    onRename: (path) => void this.actions.rename(path),
    onRemove: (path) => void this.actions.remove(path),
    onCreate: () => void this.actions.create(),
    onUpload: (files) => void this.actions.upload(files),
  })
  private readonly editor = new EditorPane({
    onTyped: (path, text) => this.openFiles.get(path)?.edit(text),
    onSave: () => this.saveSelected(),
    onRename: () => void this.actions.rename(this.selected),
    onRemove: () => void this.actions.remove(this.selected),
    onFileDropped: (path) => {
      this.close(path)
      void this.open(path)
    },
  })
  private readonly fileListener: OpenFileListener = {
    onChanged: (file) => this.fileChanged(file),
    onReplaced: (file, history) => this.editor.replaceText(file, history),
    onSaved: (record) => this.timeline.addSave(record),
  }

  constructor(root: HTMLElement) {
    const timelines = h(
      'section',
      { class: 'card timeline', tabIndex: 0, 'aria-label': 'Timeline' },
      this.timeline.element,
      this.bootTimeline.element,
    )
    this.editor.element.append(this.problemsPanel.element)
    const activity = h(
      'section',
      { class: 'activity', 'aria-label': 'Activity' },
      this.faults.element,
      timelines,
      this.statusPanel.element,
      this.log.element,
    )
    root.append(
      this.header.element,
      h('main', {}, this.files.element, this.editor.element, this.preview.element, activity),
      viewBar(),
      this.toast.element,
    )
    addEventListener('beforeunload', (event) => {
      if ([...this.openFiles.values()].some((file) => file.dirty)) event.preventDefault()
    })
    addEventListener('keydown', (event) => {
      if ((!event.ctrlKey && !event.metaKey) || event.key !== 's') return
      event.preventDefault()
      this.saveSelected()
    })
    showView('editor')
    this.showState()
    // The age of what is known about the head grows without a message.
    setInterval(() => this.showState(), STATE_REFRESH_MS)
    followFeed({
      onSession: (session) => this.begin(session),
      onState: (state) => this.feedStateChanged(state),
      onLogLine: (line) => {
        this.log.add(line)
        this.timeline.addLogLine(line)
      },
      onReachable: (reachable) => this.reachableChanged(reachable),
      onLocked: () => this.lock(),
    })
  }

  /** A run of the program began. What is not saved stays in the editor and is compared with the new run's files. */
  private begin(session: Session): void {
    this.session?.close()
    this.log.clear()
    this.timeline.clear()
    this.header.showProject(session.folder)
    this.preview.begin(session.preview_url, session.frame_url)
    const project = new ProjectSession(session, (notice) => this.noticed(notice))
    this.session = project
    // A project without files causes no notice.
    void project.files.refresh().then(
      () => this.filesChanged([]),
      () => {},
    )
    // A failure is shown by the notice `reading`; the next files notice compares again.
    for (const file of this.openFiles.values()) void file.moveTo(project).catch(() => {})
  }

  private noticed(notice: Notice): void {
    switch (notice.kind) {
      case 'files':
        this.filesChanged(notice.paths)
        break
      case 'channel':
        this.state = notice.state
        this.showState()
        break
      case 'event':
        this.timeline.addEvent(notice.path, notice.version, notice.sentAt)
        break
      case 'reading':
        if (notice.error === null) this.filesChanged([...this.openFiles.keys()])
        else this.files.setNote(`The list of files cannot be read (${errorText(notice.error)}). It is tried again.`)
    }
  }

  private filesChanged(paths: readonly string[]): void {
    const files = this.session?.files
    if (!files) return
    for (const path of paths) {
      const file = this.openFiles.get(path)
      const saved = files.get(path)?.saved
      if (file && !file.dirty && !file.saving && (!saved || !isEditable(saved))) this.close(path)
      else void file?.checkDatabase()
    }
    const all = files.paths()
    this.files.setNote('')
    if (!this.selected) {
      const linked = decodeURIComponent(location.hash.slice(1))
      const first = files.get(linked) ? linked : firstFile(all)
      if (first) return void this.open(first, 'keep_focus')
      this.editor.showCard(emptyProjectCard(), null)
    } else if (paths.includes(this.selected) && !this.openFiles.has(this.selected)) {
      void this.open(this.selected, 'keep_focus')
    }
    this.showTree()
    this.showState()
  }

  /** Selects a file, and shows it in the editor or as a card. */
  private async open(path: string, focus: 'focus' | 'keep_focus' = 'focus'): Promise<void> {
    const { session } = this
    if (!session) return
    if (this.selected !== path) this.saveSelected()
    this.selected = path
    history.replaceState(null, '', `#${encodeURIComponent(path)}`)
    this.showTree()
    if (focus === 'focus') showView('editor')
    const known = this.openFiles.get(path)
    const saved = session.files.get(path)?.saved
    if (!known && !saved) return this.editor.showCard(deletedCard(path), null)
    if (!known && saved && !isEditable(saved)) return this.showBinary(saved)
    try {
      const file = known ?? (await this.read(session, path))
      if (this.selected === path) this.editor.showFile(file, focus)
    } catch (error) {
      if (this.selected !== path) return
      this.editor.showCard(
        unreadableCard(path, error, () => void this.open(path)),
        null,
      )
    }
  }

  /** Opens a file at a position, which begins at 1. */
  private async openAt(path: string, line: number, column: number): Promise<void> {
    await this.open(path)
    if (this.selected === path && this.openFiles.has(path)) this.editor.goTo(line, column)
  }

  private async read(session: ProjectSession, path: string): Promise<OpenFile> {
    this.editor.showOpening()
    const version = session.files.version(path)
    const text = await session.files.read(path)
    const file = this.openFiles.get(path) ?? new OpenFile(session, path, { version, text }, this.fileListener)
    this.openFiles.set(path, file)
    void file.checkDatabase()
    return file
  }

  private showBinary(file: ProjectFile): void {
    const card = binaryCard(file, {
      read: async () => asBlob((await this.session?.files.bytes(file.path)) ?? new Uint8Array()),
      download: () => void this.actions.download(file),
      replace: () => this.actions.replace(file.path),
      onError: (message) => this.toast.show(message),
    })
    this.editor.showCard(card, file)
  }

  private saveSelected(): void {
    void this.openFiles.get(this.selected)?.save()
  }

  private close(path: string): void {
    this.openFiles.get(path)?.dispose()
    this.openFiles.delete(path)
    this.editor.forget(path)
  }

  private fileChanged(file: OpenFile): void {
    this.showTree()
    this.showState()
    if (file.path === this.selected) this.editor.update(file)
  }

  private feedStateChanged(state: FeedState): void {
    this.status = state.agent && { agent: state.agent, receivedAt: Date.now() }
    this.remoteAgents = state.agent ? null : state.agents
    this.showProblems(state.problems)
    this.faults.show(state)
    this.preview.show(state.agent)
    if (state.agent) this.bootTimeline.show(state.agent.boot_ms)
    this.showState()
  }

  private reachableChanged(reachable: boolean): void {
    if (!reachable) {
      this.state = 'ended'
      this.status = null
      this.remoteAgents = null
      this.showProblems(null)
      this.preview.showEnded()
    } else if (this.state === 'locked') {
      location.reload()
    } else if (this.state === 'ended') {
      this.state = 'connecting'
    }
    this.showState()
  }

  private lock(): void {
    this.state = 'locked'
    // The program that answers now is another one: nothing is sent to it, not even unsaved text.
    this.session?.close()
    this.files.setNote('Locked.')
    // Nothing in these panes works without the key.
    this.files.element.inert = true
    this.faults.element.inert = true
    this.toast.hide()
    this.preview.showLocked()
    this.editor.showCard(lockedCard(), null)
    this.showState()
  }

  private showProblems(problems: ProblemsReport | null): void {
    this.problems = problems
    this.problemsPanel.show(problems)
    this.editor.mark(problems?.problems ?? [])
  }

  private showTree(): void {
    this.files.show(this.session?.files.paths() ?? [], this.selected, (path) => {
      const file = this.openFiles.get(path)
      return file?.remote ? 'conflict' : file?.dirty ? 'dirty' : undefined
    })
  }

  private showState(): void {
    const newestRevision = this.session?.newestRevision ?? 0
    this.statusPanel.show(this.state, this.status, this.remoteAgents, newestRevision)
    this.header.showState(this.state, this.status, this.problems, newestRevision)
  }
}

/** The file that is shown first. */
function firstFile(paths: string[]): string | undefined {
  const preferred = [/(^|\/)App\.\w+$/, /(^|\/)src\/main\.\w+$/, /(^|\/)index\.html$/, /\.md$/i]
  return preferred.map((pattern) => paths.find((path) => pattern.test(path))).find(Boolean) ?? paths[0]
}
