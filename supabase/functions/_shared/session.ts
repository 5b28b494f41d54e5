import { Answered, ask } from "./ask.ts";
import { bearerOf, type Database } from "./database.ts";
import { machineName, type Machines } from "./machines.ts";
import { invalid, Refusal, unavailable } from "./refusal.ts";
import type { Settings } from "./settings.ts";
import type { AgentScope, Person, Tokens } from "./token.ts";

/** A session as its owner sees it. */
export interface Session {
  session_id: string;
  project_id: string;
  state: "starting" | "running" | "ending" | "ended";
  reason: string | null;
  provider: string | null;
  machine_id: string | null;
  preview_url: string | null;
  created_at: string;
  ended_at: string | null;
}

interface BuiltSnapshot {
  snapshot_url: string;
  snapshot_expires_at: string;
}

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
   * `starting`. Where a step fails, what was made is taken away again and the session ended, so that asking again begins anew.
   */
  async create(person: Person, projectId: string, another: boolean): Promise<Session> {
    const args = { project_uuid: projectId, another };
    const { go, ...session } = await this.database.call<Session & { go: boolean }>(
      "open_preview_session",
      args,
      person.token,
    );
    if (!go && session.state === "starting") return session;
    try {
      if (!go && (await this.machines.find(machineName(session.session_id)))?.state === "started") return session;
      return await this.#start(session);
    } catch (error) {
      const why = error instanceof Refusal ? error.message : "a fault of the function";
      await this.#undo(session.session_id, why);
      throw error instanceof Refusal ? error : unavailable(`starting a machine at ${this.machines.provider}`, error);
    }
  }

  async #start(session: Session): Promise<Session> {
    const { session_id: sessionId, project_id: projectId } = session;
    const env = await this.agentEnvironment({ sessionId, projectId });
    const machine = await this.machines.ensure(machineName(sessionId), { sessionId, env });
    const started = await this.database.call<boolean>("preview_session_started", {
      session_uuid: sessionId,
      p_provider: this.machines.provider,
      p_machine_id: machine.id,
      p_preview_url: machine.url,
    });
    if (!started) throw new Refusal(410, "ended", "the session was ended while its machine started");
    return {
      ...session,
      state: "running",
      provider: this.machines.provider,
      machine_id: machine.id,
      preview_url: machine.url,
    };
  }

  /** Everything that a machine is told (contract, section 1), and nothing else. */
  async agentEnvironment(scope: AgentScope): Promise<Record<string, string>> {
    const snapshot = await this.#snapshot(scope.projectId, false);
    return {
      PROJECT_ID: scope.projectId,
      SESSION_ID: scope.sessionId,
      SNAPSHOT_URL: snapshot.snapshot_url,
      REALTIME_TOKEN: (await this.tokens.mint(scope)).token,
      SUPABASE_URL: this.settings.supabaseUrl,
      SUPABASE_ANON_KEY: this.settings.anonKey,
      SESSION_URL: `${this.settings.functionsUrl}/preview-session/renew`,
      LOG_FORMAT: "json",
    };
  }

  /** A new token, a new snapshot URL, or both (contract, section 6). 403 and 410 are final. */
  async renew(scope: AgentScope, wish: Record<string, unknown>): Promise<Record<string, string>> {
    const { want, rebuild = false } = wish;
    if (!Array.isArray(want) || want.length === 0 || !want.every((one) => one === "token" || one === "snapshot")) {
      throw invalid('want is a list of "token" and "snapshot"');
    }
    if (typeof rebuild !== "boolean") throw invalid("rebuild is neither true nor false");
    if (wish.session_id !== scope.sessionId || wish.project_id !== scope.projectId) {
      throw new Refusal(403, "foreign_session", "the token is of another session");
    }
    const verdict = await this.database.call<string>("renew_preview_session", {
      session_uuid: scope.sessionId,
      project_uuid: scope.projectId,
    });
    if (verdict === "no_right") {
      throw new Refusal(403, "no_right", "the session's owner has no right to the project any more");
    }
    if (verdict !== "live") throw new Refusal(410, "ended", "the session was ended");
    const answer: Record<string, string> = {};
    if (want.includes("token")) {
      const { token, expiresAt } = await this.tokens.mint(scope);
      Object.assign(answer, { realtime_token: token, token_expires_at: expiresAt });
    }
    if (want.includes("snapshot")) {
      const { snapshot_url, snapshot_expires_at } = await this.#snapshot(scope.projectId, rebuild);
      Object.assign(answer, { snapshot_url, snapshot_expires_at });
    }
    return answer;
  }

  /** The person's session, as it stands. */
  async status(person: Person, sessionId: string): Promise<Session> {
    return await this.database.call<Session>("preview_session", { session_uuid: sessionId }, person.token);
  }

  /** Over at once; `ending` where the machine could not be removed yet, which the sweep goes on with. */
  async end(person: Person, sessionId: string): Promise<Session> {
    const session = await this.database.call<Session>("end_preview_session", { session_uuid: sessionId }, person.token);
    if (session.state !== "ending") return session;
    return { ...session, state: await this.#remove(sessionId) ? "ended" : "ending" };
  }

  /** Ends what is idle, removes machines of ended sessions and orphans. For the service, every few minutes. */
  async sweep(): Promise<{ ended: number; orphans: number; left: number }> {
    const due = await this.database.call<Session[]>("sweep_preview_sessions", {
      idle_seconds: this.settings.idleSeconds,
    });
    let ended = 0;
    for (const session of due) if (await this.#remove(session.session_id)) ended++;
    const machines = (await this.machines.list()).filter((machine) => machine.sessionId !== null);
    const ids = machines.map((machine) => machine.sessionId);
    const live = new Set(await this.database.call<string[]>("live_preview_sessions", { session_uuids: ids }));
    let orphans = 0;
    for (const machine of machines.filter((machine) => !live.has(machine.sessionId!))) {
      await this.machines.destroy(machine.id);
      orphans++;
    }
    return { ended, orphans, left: due.length - ended };
  }

  /** Built in a function of its own: it has its own two seconds of CPU. */
  async #snapshot(projectId: string, rebuild: boolean): Promise<BuiltSnapshot> {
    const key = this.settings.serviceKey.reveal();
    const init = {
      method: "POST",
      headers: { "content-type": "application/json", apikey: key, ...bearerOf(key) },
      body: JSON.stringify({ project_id: projectId, rebuild }),
    };
    const url = `${this.settings.functionsUrl}/build-project-snapshot`;
    try {
      // The builder tries each step again itself.
      return await ask(
        { operation: "building the snapshot", timeout: 120_000, tries: 1 },
        () => [url, init],
        (r) => r.json(),
      );
    } catch (error) {
      throw passedOn(error);
    }
  }

  async #undo(sessionId: string, why: string): Promise<void> {
    try {
      await this.database.call("end_preview_session", { session_uuid: sessionId, why });
      await this.#remove(sessionId);
    } catch (error) {
      console.warn(`session ${sessionId} is left to the sweep:`, error instanceof Error ? error.message : error);
    }
  }

  /** Whether the machine is gone. */
  async #remove(sessionId: string): Promise<boolean> {
    try {
      const machine = await this.machines.find(machineName(sessionId));
      if (machine) await this.machines.destroy(machine.id);
      await this.database.call("preview_session_gone", { session_uuid: sessionId });
      return true;
    } catch (error) {
      console.warn(
        `the machine of session ${sessionId} stays for now:`,
        error instanceof Error ? error.message : error,
      );
      return false;
    }
  }
}

/** The builder's own refusal, such as a project that is too large. */
function passedOn(error: unknown): Refusal {
  if (error instanceof Answered) {
    try {
      const { code, message, details } = JSON.parse(error.body);
      if (code && error.status !== 401) return new Refusal(error.status, code, message, details, { cause: error });
    } catch {
      // No JSON: the status has to do.
    }
  }
  return unavailable("building the snapshot", error);
}
