import { bearerOf, type Database } from './database.ts'
import { Deadline, HttpError, messageOf, request } from './http.ts'
import { type Machine, type Machines, machineName } from './machines.ts'
import { invalid, Refusal, unavailable } from './refusal.ts'
import type { Settings } from './settings.ts'
import type { AgentScope, Person, Tokens } from './token.ts'

export const SESSION_STATES = ['starting', 'running', 'ending', 'ended'] as const
export type SessionState = (typeof SESSION_STATES)[number]

/** The database's answers to a renewal. */
export const RENEWAL_VERDICTS = ['live', 'no_right', 'ended'] as const
export type RenewalVerdict = (typeof RENEWAL_VERDICTS)[number]

/** What an agent can renew. */
export const RENEWABLE = ['token', 'snapshot'] as const
export type Renewable = (typeof RENEWABLE)[number]

/** A session as its owner sees it. */
export interface Session {
  session_id: string
  project_id: string
  state: SessionState
  reason: string | null
  provider: string | null
  machine_id: string | null
  preview_url: string | null
  created_at: string
  ended_at: string | null
}

/** A session, and whether this caller has to start its machine. */
interface Claimed extends Session {
  go: boolean
  /** How long the caller has for the start. */
  lease_seconds: number
}

interface BuiltSnapshot {
  snapshot_url: string
  snapshot_expires_at: string
}

/** The part of the lease in which a start must succeed; the rest is for undoing it before another caller takes over. */
const LEASE_SHARE = 0.75
/** Milliseconds for the snapshot builder, which may run for 150 s at most. */
const BUILD_MS = 120_000
/** Milliseconds for starting a stopped machine, before it counts as failed. */
const WAKE_MS = 30_000
/** Milliseconds after which a sweep leaves the remaining work to the next one. */
const SWEEP_MS = 100_000

/** Opens, renews and ends sessions, with the database, the snapshot builder, tokens and machines. */
export class Sessions {
  constructor(
    readonly settings: Settings,
    readonly database: Database,
    readonly tokens: Tokens,
    readonly machines: Machines,
  ) {}

  /**
   * Returns the person's running session of the project. Of two calls at the same time one starts the machine, and the other
   * returns `starting`. Where a step fails, the machine is removed and the session ended, so that the next call starts again.
   * Where that fails too, or this function is killed, the lease expires and the next call takes over the start.
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
      // An error while the machine is read or started does not end the session.
      if (await this.#isMachineRunning(session)) return this.#withAccess(session)
      const restart = { session_uuid: session.session_id, claim }
      ;({ go, lease_seconds, ...session } = await this.database.call<Claimed>('restart_preview_session', restart))
      if (session.ended_at) throw new Refusal(410, 'ended', 'the session was ended meanwhile: open it again')
    }
    if (!go) return this.#withAccess(session)
    try {
      return await this.#start(session, Deadline.in(lease_seconds * 1000 * LEASE_SHARE))
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
    return this.#withAccess({
      ...session,
      state: 'running',
      provider: this.machines.provider,
      machine_id: machine.id,
      preview_url: machine.url,
    })
  }

  /** Adds the preview's access token to its address. Only answers to the owner contain it; the database does not. */
  async #withAccess(session: Session): Promise<Session> {
    const { preview_url: address, ended_at: endedAt } = session
    if (address === null || endedAt !== null || !URL.canParse(address)) return session
    const url = new URL(address)
    url.searchParams.set('preview_token', await this.tokens.previewAccess(session.session_id))
    return { ...session, preview_url: url.href }
  }

  /** The complete environment of a machine (contract, section 1). */
  async agentEnvironment(scope: AgentScope, deadline: Deadline): Promise<Record<string, string>> {
    const snapshot = await this.#snapshot(scope.projectId, false, deadline)
    return {
      PROJECT_ID: scope.projectId,
      SESSION_ID: scope.sessionId,
      SNAPSHOT_URL: snapshot.snapshot_url,
      REALTIME_TOKEN: (await this.tokens.mint(scope)).token,
      PREVIEW_ACCESS_TOKEN: await this.tokens.previewAccess(scope.sessionId),
      SUPABASE_URL: this.settings.supabaseUrl,
      SUPABASE_ANON_KEY: this.settings.anonKey,
      SESSION_URL: `${this.settings.functionsUrl}/preview-session/renew`,
      LOG_FORMAT: 'json',
    }
  }

  /** A new token, a new snapshot URL, or both (contract, section 6). 403 and 410 are final. */
  async renew(scope: AgentScope, body: Record<string, unknown>): Promise<Record<string, string>> {
    const { rebuild = false } = body
    const want = wanted(body.want)
    if (typeof rebuild !== 'boolean') throw invalid('rebuild must be true or false')
    if (body.session_id !== scope.sessionId || body.project_id !== scope.projectId) {
      throw new Refusal(403, 'foreign_session', 'the token belongs to another session')
    }
    const verdict = await this.database.call<RenewalVerdict>('renew_preview_session', {
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

  /** Returns the person's session; the preview's address opens it without a further check. */
  async status(person: Person, sessionId: string): Promise<Session> {
    const args = { session_uuid: sessionId }
    return this.#withAccess(await this.database.call<Session>('preview_session', args, person.token))
  }

  /** Ends a session. The state is `ending` where the machine could not be removed yet; the sweep tries it again. */
  async end(person: Person, sessionId: string): Promise<Session> {
    const session = await this.database.call<Session>('end_preview_session', { session_uuid: sessionId }, person.token)
    if (session.state !== 'ending') return session
    return { ...session, state: (await this.#remove(session)) ? 'ended' : 'ending' }
  }

  /**
   * Ends idle sessions, and removes machines of ended sessions and machines without a session (`orphans`); `left` counts the
   * machines that could not be removed. Called by the service every few minutes.
   */
  async sweep(): Promise<{ ended: number; orphans: number; left: number }> {
    const deadline = Deadline.in(SWEEP_MS)
    const idle = { idle_seconds: this.settings.idleSeconds }
    const due = await this.database.call<Session[]>('sweep_preview_sessions', idle)
    const machines = await this.#listed()
    const swept = { ended: 0, orphans: 0, left: 0 }
    for (const session of due) {
      // One listing is enough: a machine that is made after it for an ended session is an orphan of the next sweep.
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

  /** Whether its machine runs. A stopped machine is started as it is, without a new snapshot. */
  async #isMachineRunning(session: Session): Promise<boolean> {
    const machine = await this.#machineOf(session)
    if (!machine || machine.state === 'failed') return false
    if (machine.state === 'started') return true
    try {
      return (await this.machines.start(machine.id, Deadline.in(WAKE_MS))) !== null
    } catch (error) {
      throw unavailable(`starting a machine at ${this.machines.provider}`, error)
    }
  }

  /** Calls the snapshot builder, a separate function with its own two seconds of CPU time. */
  async #snapshot(projectId: string, rebuild: boolean, deadline: Deadline): Promise<BuiltSnapshot> {
    const key = this.settings.serviceKey.reveal()
    const init = {
      method: 'POST',
      headers: { 'content-type': 'application/json', apikey: key, ...bearerOf(key) },
      body: JSON.stringify({ project_id: projectId, rebuild }),
    }
    const url = `${this.settings.functionsUrl}/build-project-snapshot`
    try {
      // The builder repeats its own steps.
      return await request(
        { operation: 'building the snapshot', timeout: BUILD_MS, deadline, attempts: 1, retry: this.settings.retry },
        () => [url, init],
        (r) => r.json(),
      )
    } catch (error) {
      throw builderRefusal(error)
    }
  }

  /** Takes a failed start back, unless another caller has taken it over: then session and machine belong to that start. */
  async #undo(session: Session, claim: string, reason: string): Promise<void> {
    try {
      const args = { session_uuid: session.session_id, why: reason, claim }
      const { ended_at: endedAt } = await this.database.call<Session>('end_preview_session', args)
      if (endedAt) await this.#remove(session)
    } catch (error) {
      console.warn(`cannot end session ${session.session_id}, the sweep will:`, messageOf(error))
    }
  }

  /** Removes the session's machine. True where it is gone. */
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
      console.warn(`cannot remove the machine of session ${session.session_id} yet:`, messageOf(error))
      return false
    }
  }

  async #destroyed(machine: Machine): Promise<boolean> {
    try {
      await this.machines.destroy(machine.id)
      return true
    } catch (error) {
      console.warn(`cannot remove machine ${machine.id}, which has no session, yet:`, messageOf(error))
      return false
    }
  }
}

function wanted(want: unknown): Renewable[] {
  const isRenewable = (one: unknown): one is Renewable => RENEWABLE.includes(one as Renewable)
  if (Array.isArray(want) && want.length > 0 && want.every(isRenewable)) return want
  throw invalid('want must be a list of "token" and "snapshot"')
}

/** From the builder these statuses concern the service's own key, not the caller of this function. */
const KEY_STATUSES = [401, 403, 410]

/** Passes on a refusal of the builder, such as a project that is too large. */
function builderRefusal(error: unknown): Refusal {
  if (error instanceof HttpError) {
    try {
      const { code, message, details } = JSON.parse(error.body)
      if (code && !KEY_STATUSES.includes(error.status)) {
        return new Refusal(error.status, code, message, details, { cause: error })
      }
    } catch {
      // Not JSON: the status alone is passed on.
    }
  }
  return unavailable('building the snapshot', error)
}
