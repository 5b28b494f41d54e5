import type { Deadline } from './ask.ts'

/** What a machine is to run. The same for every provider; no service key is ever part of it. */
export interface MachineConfig {
  /** The session it is for, by which orphans are found. */
  sessionId: string
  env: Record<string, string>
}

export type MachineState = 'starting' | 'started' | 'suspended' | 'stopped' | 'failed'

export interface Machine {
  id: string
  name: string
  state: MachineState
  sessionId: string | null
  /** Where the preview answers. */
  url: string
}

/** Where machines come from. Each operation may be asked for again; what is there already or gone already is no fault. */
export interface Machines {
  readonly provider: string
  /**
   * The machine of that name, made where there is none, and started; one that failed is replaced. Resolves once it is
   * started, and throws when it is not by the deadline.
   */
  ensure(name: string, config: MachineConfig, deadline: Deadline): Promise<Machine>
  /** The machine of that name, or null; by its `id` where that is known, which asks less of the provider. */
  find(name: string, id: string | null): Promise<Machine | null>
  /** Every machine that this provider made for sessions of this backend. */
  list(): Promise<Machine[]>
  /**
   * Started as it is, where it halted or is on its way; null where that is not done by the deadline, or never will be, since
   * it failed, is gone, or stops whenever it is started.
   */
  start(id: string, deadline: Deadline): Promise<Machine | null>
  stop(id: string): Promise<void>
  suspend(id: string): Promise<void>
  /** Kills and removes it. */
  destroy(id: string): Promise<void>
}

/** A machine's name: the same for the same session, so that creating it twice makes one. */
export function machineName(sessionId: string): string {
  return `preview-${sessionId}`
}
