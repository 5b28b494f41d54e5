import { previewText, readable } from './codes'
import { h, iconButton } from './dom'
import type { AgentStatus } from './feed'

/** Whether a spinner is shown beside the text. */
type Progress = 'working' | 'stopped'

/** The project's page, as its dev server serves it. */
export class Preview {
  private readonly frame = h('iframe', {
    title: 'Preview',
    // Without the right to navigate the console's own page.
    sandbox: 'allow-scripts allow-same-origin allow-forms allow-modals allow-popups allow-downloads',
  })
  private readonly text = h('p', { role: 'status' })
  private readonly cover = h(
    'div',
    { class: 'empty' },
    h('div', { class: 'spinner', 'aria-hidden': 'true' }),
    this.text,
  )
  private readonly address = h('span', { class: 'path' })
  readonly element = h(
    'section',
    { class: 'pane preview', 'aria-label': 'Preview' },
    h(
      'header',
      { class: 'pane-head' },
      h('h2', {}, 'Preview'),
      this.address,
      iconButton('reload', 'Reload the preview', () => this.load()),
      iconButton('open', 'Open the preview in a tab', () => window.open(this.url ?? '', '_blank', 'noopener')),
    ),
    h('div', { class: 'pane-body' }, this.frame, this.cover),
  )
  private url: string | null = null
  private frameUrl: string | null = null
  /** The process id of the dev server that served the page which is shown. */
  private pid: number | null = null

  /** `onPainted` receives the time when the page has changed what it shows, in Unix milliseconds. */
  constructor(onPainted: (at: number) => void) {
    addEventListener('message', ({ origin, data }) => {
      const isFrame = this.frameUrl !== null && origin === new URL(this.frameUrl).origin
      if (isFrame && typeof data?.painted === 'number') onPainted(data.painted)
    })
  }

  /** A run of the program began. Both addresses are null where it has no agent. */
  begin(url: string | null, frameUrl: string | null): void {
    this.url = url
    this.frameUrl = frameUrl
    this.pid = null
    this.address.textContent = url ?? ''
    if (url) return
    this.showCover(
      'There is no preview here: serve runs the backend without an agent. Start an agent with the settings that serve printed; with --publish-status its state is shown here.',
      'stopped',
    )
  }

  show(agent: AgentStatus | null): void {
    const server = agent?.dev_server
    if (!this.url || !agent) return
    if (server?.state === 'serving') {
      this.cover.hidden = true
      if (server.pid !== this.pid) {
        this.pid = server.pid
        this.load()
      }
      return
    }
    if (server?.state === 'gave_up') {
      const reason = server.detail ?? readable(server.reason ?? 'unknown reason')
      this.showCover(
        `The dev server ended several times: ${reason}. It is started again after the next edit.`,
        'stopped',
      )
      return
    }
    const restarting = server && (server.state === 'restarting' || server.restarts > 0)
    this.showCover(
      restarting ? 'The dev server ended and is being started again.' : previewText(agent.phase),
      'working',
    )
  }

  showLocked(): void {
    this.showCover('The console is locked.', 'stopped')
  }

  showEnded(): void {
    this.showCover('The program has ended. The console continues when it is started again.', 'stopped')
  }

  private showCover(text: string, progress: Progress): void {
    this.cover.hidden = false
    this.cover.classList.toggle('busy', progress === 'working')
    if (this.text.textContent !== text) this.text.textContent = text
  }

  private load(): void {
    if (this.frameUrl) this.frame.src = this.frameUrl
  }
}
