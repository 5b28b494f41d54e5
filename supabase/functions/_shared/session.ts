import { Answered, ask, Deadline } from './ask.ts'
import { bearerOf, type Database } from './database.ts'
import { type Machine, type Machines, machineName } from './machines.ts'
import { invalid, Refusal, unavailable } from './refusal.ts'
import type { Settings } from './settings.ts'
import type { AgentScope, Person, Tokens } from './token.ts'

/** A session as its owner sees it. */
export interface Session {
  session_id: string
  project_id: string
  state: 'starting' | 'running' | 'ending' | 'ended'
  reason: string | null
  provider: string | null
  machine_id: string | null
  preview_url: string | null
  created_at: string
  ended_at: string | null
}

/** A session, and whether this caller is the one to start its machine. */
interface Claimed extends Session {
  go: boolean
  /** What is left of the time that it has for it. */
  lease_seconds: number
}

interface BuiltSnapshot {
  snapshot_url: string
  snapshot_expires_at: string
}

/** The part of a lease in which a start must be done: the rest is for taking it back before another caller takes over. */
const LEASE_USED = 0.75
/** Milliseconds for the builder, whose own time is 150 s at most. */
const BUILD_MS = 120_000
/** Milliseconds for waking a machine that halted, before it counts as dead. */
const WAKE_MS = 30_000
/** Milliseconds after which a sweep leaves the rest to the next one. */
const SWEEP_MS = 100_000

/** The life of sessions: what database, snapshot builder, tokens and machines do together. */
export class Sessions {
  constructor(
    readonly settings: Settings,
    readonly database: Database,
    readonly tokens: Tokens,
    readonly machines: Machines,
  ) {}

  /**
   * The person's session of the project, running. Asked twice at once, one call starts the machine and the other answers
   * `starting`. Where a step fails, what was made is taken away again and the session ended, so that asking again begins
   * anew; where even that fails, or this function is killed, the lease runs out and whoever asks next takes the start over.
   */
  async create(person: Person, projectId: string, another: boolean): Promise<Session> {
    const claim = crypto.randomUUID()
    const args = { project_uuid: projectId, another, claim }
    let { go, lease_seconds, ...session } = await this.database.call<Claimed>(
      'open_preview_session',
      args,
      person.token,
    )
    if (!go && session.state === 'running') {
      // A fault of this look, or of the waking, is none of the session's, which goes on.
      if (await this.#isAwake(session)) return session
      const again = { session_uuid: session.session_id, claim }
      ;({ go, lease_seconds, ...session } = await this.database.call<Claimed>('restart_preview_session', again))
      if (session.ended_at) throw new Refusal(410, 'ended', 'the session was ended meanwhile: ask again')
    }
    if (!go) return session
    try {
      return await this.#start(session, Deadline.in(lease_seconds * 1000 * LEASE_USED))
    } catch (error) {
      const failure =
        error instanceof Refusal ? error : unavailable(`starting a machine at ${this.machines.provider}`, error)
      await this.#undo(session, claim, failure.message)
      throw failure
    }
  }

  async #start(session: Session, deadline: Deadline): Promise<Session> {
    const { session_id: sessionId, project_id: projectId } = session
    const env = await this.agentEnvironment({ sessionId, projectId }, deadline)
    const machine = await this.machines.ensure(machineName(sessionId), { sessionId, env }, deadline)
    const started = await this.database.call<boolean>('preview_session_started', {
      session_uuid: sessionId,
      p_provider: this.machines.provider,
      p_machine_id: machine.id,
      p_preview_url: machine.url,
    })
    if (!started) throw new Refusal(410, 'ended', 'the session was ended while its machine started')
    return {
      ...session,
      state: 'running',
      provider: this.machines.provider,
      machine_id: machine.id,
      preview_url: machine.url,
    }
  }

  /** Everything that a machine is told (contract, section 1), and nothing else. */
  async agentEnvironment(scope: AgentScope, deadline: Deadline): Promise<Record<string, string>> {
    const snapshot = await this.#snapshot(scope.projectId, false, deadline)
    return {
      PROJECT_ID: scope.projectId,
      SESSION_ID: scope.sessionId,
      SNAPSHOT_URL: snapshot.snapshot_url,
      REALTIME_TOKEN: (await this.tokens.mint(scope)).token,
      SUPABASE_URL: this.settings.supabaseUrl,
      SUPABASE_ANON_KEY: this.settings.anonKey,
      SESSION_URL: `${this.settings.functionsUrl}/preview-session/renew`,
      LOG_FORMAT: 'json',
    }
  }

  /** A new token, a new snapshot URL, or both (contract, section 6). 403 and 410 are final. */
  async renew(scope: AgentScope, wish: Record<string, unknown>): Promise<Record<string, string>> {
    const { want, rebuild = false } = wish
    if (!Array.isArray(want) || want.length === 0 || !want.every((one) => one === 'token' || one === 'snapshot')) {
      throw invalid('want is a list of "token" and "snapshot"')
    }
    if (typeof rebuild !== 'boolean') throw invalid('rebuild is neither true nor false')
    if (wish.session_id !== scope.sessionId || wish.project_id !== scope.projectId) {
      throw new Refusal(403, 'foreign_session', 'the token is of another session')
    }
    const verdict = await this.database.call<string>('renew_preview_session', {
      session_uuid: scope.sessionId,
      project_uuid: scope.projectId,
    })
    if (verdict === 'no_right') {
      throw new Refusal(403, 'no_right', "the session's owner has no right to the project any more")
    }
    if (verdict !== 'live') throw new Refusal(410, 'ended', 'the session was ended')
    const answer: Record<string, string> = {}
    if (want.includes('token')) {
      const { token, expiresAt } = await this.tokens.mint(scope)
      Object.assign(answer, { realtime_token: token, token_expires_at: expiresAt })
    }
    if (want.includes('snapshot')) {
      const { snapshot_url, snapshot_expires_at } = await this.#snapshot(
        scope.projectId,
        rebuild,
        Deadline.in(BUILD_MS),
      )
      Object.assign(answer, { snapshot_url, snapshot_expires_at })
    }
    return answer
  }

  /** The person's session, as it stands. */
  async status(person: Person, sessionId: string): Promise<Session> {
    return await this.database.call<Session>('preview_session', { session_uuid: sessionId }, person.token)
  }

  /** Over at once; `ending` where the machine could not be removed yet, which the sweep goes on with. */
  async end(person: Person, sessionId: string): Promise<Session> {
    const session = await this.database.call<Session>('end_preview_session', { session_uuid: sessionId }, person.token)
    if (session.state !== 'ending') return session
    return { ...session, state: (await this.#remove(session)) ? 'ended' : 'ending' }
  }

  /**
   * Ends what is idle, removes machines of ended sessions and orphans; `left` are machines that could not be removed. For
   * the service, every few minutes.
   */
  async sweep(): Promise<{ ended: number; orphans: number; left: number }> {
    const deadline = Deadline.in(SWEEP_MS)
    const idle = { idle_seconds: this.settings.idleSeconds }
    const due = await this.database.call<Session[]>('sweep_preview_sessions', idle)
    const machines = await this.#listed()
    const swept = { ended: 0, orphans: 0, left: 0 }
    for (const session of due) {
      // One listing does for all: a machine that is made after it, for a session that is over, is the next sweep's orphan.
      const machine = machines.get(session.session_id) ?? null
      if (deadline.left() > 0 && (await this.#removed(session, () => Promise.resolve(machine)))) swept.ended++
      else swept.left++
      machines.delete(session.session_id)
    }
    const ids = [...machines.keys()]
    const live = new Set(await this.database.call<string[]>('live_preview_sessions', { session_uuids: ids }))
    for (const [id, machine] of machines) {
      if (live.has(id)) continue
      if (deadline.left() > 0 && (await this.#destroyed(machine))) swept.orphans++
      else swept.left++
    }
    return swept
  }

  async #listed(): Promise<Map<string, Machine>> {
    try {
      const machines = await this.machines.list()
      return new Map(machines.flatMap((machine) => (machine.sessionId ? [[machine.sessionId, machine]] : [])))
    } catch (error) {
      throw unavailable(`listing machines at ${this.machines.provider}`, error)
    }
  }

  async #machineOf(session: Session): Promise<Machine | null> {
    try {
      return await this.machines.find(machineName(session.session_id), session.machine_id)
    } catch (error) {
      throw unavailable(`looking for a machine at ${this.machines.provider}`, error)
    }
  }

  /** Whether its machine runs; one that halted is woken as it is, without a new snapshot. */
  async #isAwake(session: Session): Promise<boolean> {
    const machine = await this.#machineOf(session)
    if (!machine || machine.state === 'failed') return false
    if (machine.state === 'started') return true
    try {
      return (await this.machines.start(machine.id, Deadline.in(WAKE_MS))) !== null
    } catch (error) {
      throw unavailable(`waking a machine at ${this.machines.provider}`, error)
    }
  }

  /** Built in a function of its own: it has its own two seconds of CPU. */
  async #snapshot(projectId: string, rebuild: boolean, deadline: Deadline): Promise<BuiltSnapshot> {
    const key = this.settings.serviceKey.reveal()
    const init = {
      method: 'POST',
      headers: { 'content-type': 'application/json', apikey: key, ...bearerOf(key) },
      body: JSON.stringify({ project_id: projectId, rebuild }),
    }
    const url = `${this.settings.functionsUrl}/build-project-snapshot`
    try {
      // The builder tries each step again itself.
      return await ask(
        { operation: 'building the snapshot', timeout: BUILD_MS, deadline, tries: 1, patience: this.settings.patience },
        () => [url, init],
        (r) => r.json(),
      )
    } catch (error) {
      throw passedOn(error)
    }
  }

  /** Left alone where another caller has taken the start over: session and machine are that one's now. */
  async #undo(session: Session, claim: string, why: string): Promise<void> {
    try {
      const args = { session_uuid: session.session_id, why, claim }
      const { ended_at: endedAt } = await this.database.call<Session>('end_preview_session', args)
      if (endedAt) await this.#remove(session)
    } catch (error) {
      console.warn(`session ${session.session_id} is left to the sweep:`, told(error))
    }
  }

  /** Whether the machine is gone, looked for by the session's name. */
  async #remove(session: Session): Promise<boolean> {
    return await this.#removed(session, () => this.#machineOf(session))
  }

  async #removed(session: Session, find: () => Promise<Machine | null>): Promise<boolean> {
    try {
      const machine = await find()
      if (machine) await this.machines.destroy(machine.id)
      await this.database.call('preview_session_gone', { session_uuid: session.session_id })
      return true
    } catch (error) {
      console.warn(`the machine of session ${session.session_id} stays for now:`, told(error))
      return false
    }
  }

  async #destroyed(machine: Machine): Promise<boolean> {
    try {
      await this.machines.destroy(machine.id)
      return true
    } catch (error) {
      console.warn(`the orphaned machine ${machine.id} stays for now:`, told(error))
      return false
    }
  }
}

function told(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** What says of whoever asked that they may not, or no more: of the builder it says that of our own key. */
const OF_THE_CALLER = [401, 403, 410]

/** The builder's own refusal, such as a project that is too large. */
function passedOn(error: unknown): Refusal {
  if (error instanceof Answered) {
    try {
      const { code, message, details } = JSON.parse(error.body)
      if (code && !OF_THE_CALLER.includes(error.status)) {
        return new Refusal(error.status, code, message, details, { cause: error })
      }
    } catch {
      // No JSON: the status has to do.
    }
  }
  return unavailable('building the snapshot', error)
}
