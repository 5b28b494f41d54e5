import type { Deadline } from './http.ts'

/** What a machine runs, the same for every provider. It never contains a service key. */
export interface MachineConfig {
  /** The session that the machine belongs to; machines without a live session are removed by it. */
  sessionId: string
  env: Record<string, string>
}

export const MACHINE_STATES = ['starting', 'started', 'suspended', 'stopped', 'failed'] as const
export type MachineState = (typeof MACHINE_STATES)[number]

/** Where machines can come from; the setting MACHINES_PROVIDER. */
export const MACHINE_PROVIDERS = ['fly', 'local'] as const
export type MachineProvider = (typeof MACHINE_PROVIDERS)[number]

export interface Machine {
  id: string
  name: string
  state: MachineState
  sessionId: string | null
  /** The preview's address. */
  url: string
}

/** A provider of machines. Each operation may be repeated: what is already done is not an error. */
export interface Machines {
  readonly provider: MachineProvider
  /**
   * Returns the machine of that name, started. It is created where there is none, and replaced where it failed. Throws where
   * it is not started by the deadline.
   */
  ensure(name: string, config: MachineConfig, deadline: Deadline): Promise<Machine>
  /** The machine of that name, or null. With its `id` the provider needs fewer requests. */
  find(name: string, id: string | null): Promise<Machine | null>
  /** All machines that this provider made for sessions of this backend. */
  list(): Promise<Machine[]>
  /**
   * Starts an existing machine that is stopped, suspended or starting. Null where it is not started by the deadline, or cannot
   * be: it failed, is gone, or stops again after each start.
   */
  start(id: string, deadline: Deadline): Promise<Machine | null>
  stop(id: string): Promise<void>
  suspend(id: string): Promise<void>
  /** Ends and removes it. */
  destroy(id: string): Promise<void>
}

/** A machine's name. It depends only on the session, so that creating it twice makes one machine. */
export function machineName(sessionId: string): string {
  return `preview-${sessionId}`
}
