import { h, iconButton } from './dom'
import type { AgentStatus } from './feed'

const WORDS: Record<string, string> = {
  starting: 'The agent is starting.',
  hydrating: 'Files are on their way.',
  installing: 'Packages are being installed.',
  serving: 'The dev server is starting.',
  stopping: 'The agent is stopping.',
  failed: 'The agent could not start; the log says why.',
}

/** The project's page, as its dev server serves it. */
export class Preview {
  private readonly frame = h('iframe', {
    title: 'Preview',
    // Without the right to navigate the window that it stands in.
    sandbox: 'allow-scripts allow-same-origin allow-forms allow-modals allow-popups allow-downloads',
  })
  private readonly words = h('p', { role: 'status' })
  private readonly veil = h(
    'div',
    { class: 'empty' },
    h('div', { class: 'spinner', 'aria-hidden': 'true' }),
    this.words,
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
    h('div', { class: 'pane-body' }, this.frame, this.veil),
  )
  private url: string | null = null
  private window: string | null = null
  /** The dev server that served what is shown. */
  private pid: number | null = null

  /** `painted` is told when the page has changed what it shows. */
  constructor(painted: (at: number) => void) {
    addEventListener('message', ({ origin, data }) => {
      if (this.window && origin === new URL(this.window).origin && typeof data?.painted === 'number')
        painted(data.painted)
    })
  }

  begin(url: string | null, window: string | null): void {
    this.url = url
    this.window = window
    this.pid = null
    this.address.textContent = url ?? ''
    if (!url)
      this.wait(
        'There is no agent here, and so no preview: serve is the backend alone. Start an agent with the settings that it printed; with --publish-status its state is shown here.',
        false,
      )
  }

  show(agent: AgentStatus | null): void {
    const server = agent?.dev_server
    if (!this.url || !agent) return
    if (server?.state === 'serving') {
      this.veil.hidden = true
      if (server.pid !== this.pid) {
        this.pid = server.pid
        this.load()
      }
      return
    }
    const again = server && (server.state === 'restarting' || server.restarts > 0)
    const gaveUp = server?.state === 'gave_up'
    this.wait(
      gaveUp
        ? `The dev server keeps ending: ${server.detail ?? server.reason}. The next edit tries again.`
        : again
          ? 'The dev server ended and is being started again.'
          : (WORDS[agent.phase] ?? agent.phase),
      !gaveUp,
    )
  }

  locked(): void {
    this.wait('The console is locked.', false)
  }

  gone(): void {
    this.wait('The program has ended. The console goes on when it is started again.', false)
  }

  private wait(words: string, busy: boolean): void {
    this.veil.hidden = false
    this.veil.classList.toggle('busy', busy)
    if (this.words.textContent !== words) this.words.textContent = words
  }

  private load(): void {
    if (this.window) this.frame.src = this.window
  }
}
