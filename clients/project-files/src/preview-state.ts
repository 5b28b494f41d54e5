import type { Problem, Resolved, Settled, Verdict } from './preview-types.js'
import { MAX_PROBLEMS, type PreviewEvent } from './preview-wire.js'

/** What listeners get of one event. */
export type PreviewChange =
  | { event: 'problem'; value: Problem }
  | { event: 'resolved'; value: Resolved }
  | { event: 'verdict'; value: Verdict }

/** A project has at most a few sessions at once; the bound is for a sender of false ones. */
const MAX_SESSIONS = 20

interface Session {
  problems: Map<string, Problem>
  verdict: Verdict | null
}

/** The open problems and the last verdict of each session, from the events of the status topic. Without I/O. */
export class PreviewState {
  private readonly sessions = new Map<string, Session>()

  /** `only`: events of other sessions are ignored. */
  constructor(private readonly only: string | undefined) {}

  /** Takes an event, and returns what changed by it. */
  apply(event: PreviewEvent): PreviewChange[] {
    const sessionId = sessionOf(event)
    if (this.only !== undefined && sessionId !== this.only) return []
    const session = this.session(sessionId)
    if (event.kind === 'problem') return this.opened(session, event.problem)
    if (event.kind === 'resolved') return this.resolved(session, event)
    return this.reached(session, event.verdict)
  }

  /** The open problems of all sessions, the oldest first. */
  problems(): Problem[] {
    const all = [...this.sessions.values()].flatMap((session) => [...session.problems.values()])
    return all.sort((one, other) => one.firstAt - other.firstAt)
  }

  /** The newest verdict of all sessions. */
  verdict(): Verdict | null {
    const all = [...this.sessions.values()].flatMap((session) => session.verdict ?? [])
    return all.reduce<Verdict | null>((newest, one) => (newest === null || one.at > newest.at ? one : newest), null)
  }

  /** The settled verdict about this revision or a later one, where there is one. */
  settled(revision: number): Settled | null {
    for (const { verdict, problems } of this.sessions.values()) {
      if (!verdict?.settled || verdict.revision < revision) continue
      return { ...verdict, problems: verdict.problems.flatMap((id) => problems.get(id) ?? []) }
    }
    return null
  }

  private opened(session: Session, problem: Problem): PreviewChange[] {
    if (!session.problems.has(problem.id) && session.problems.size >= MAX_PROBLEMS) return []
    const known = session.problems.get(problem.id)
    session.problems.set(problem.id, problem)
    // Open problems are repeated for editors that came later.
    if (known && known.count === problem.count && known.lastAt === problem.lastAt) return []
    return [{ event: 'problem', value: problem }]
  }

  private resolved(session: Session, { sessionId, id, revision }: Omit<Resolved, 'problem'>): PreviewChange[] {
    const problem = session.problems.get(id)
    session.problems.delete(id)
    return [{ event: 'resolved', value: { id, sessionId, revision, problem } }]
  }

  /** A verdict names every open problem: what it leaves out has ended, also where that event was lost. */
  private reached(session: Session, verdict: Verdict): PreviewChange[] {
    const last = session.verdict
    if (last && verdict.at < last.at) return []
    const { sessionId, revision } = verdict
    const ended = [...session.problems.keys()].filter((id) => !verdict.problems.includes(id))
    const changes = ended.flatMap((id) => this.resolved(session, { sessionId, id, revision }))
    session.verdict = verdict
    if (last && last.at === verdict.at && last.revision === revision) return changes
    return [...changes, { event: 'verdict', value: verdict }]
  }

  private session(id: string): Session {
    const known = this.sessions.get(id)
    if (known) return known
    const [oldest] = this.sessions.keys()
    if (oldest !== undefined && this.sessions.size >= MAX_SESSIONS) this.sessions.delete(oldest)
    const session: Session = { problems: new Map(), verdict: null }
    this.sessions.set(id, session)
    return session
  }
}

function sessionOf(event: PreviewEvent): string {
  if (event.kind === 'problem') return event.problem.sessionId
  return event.kind === 'verdict' ? event.verdict.sessionId : event.sessionId
}
