/** Phases of the agent, in the order of a start. */
export const AGENT_PHASES = ['waiting', 'starting', 'hydrating', 'installing', 'serving', 'stopping', 'failed'] as const
export type AgentPhase = (typeof AGENT_PHASES)[number]

/** What the state panel says for each phase. */
const PHASE_TEXTS: Record<AgentPhase, string> = {
  waiting: 'waiting for a session',
  starting: 'starting',
  hydrating: 'loading the files',
  installing: 'installing packages',
  serving: 'running',
  stopping: 'stopping',
  failed: 'failed to start; see the log',
}

/** What the preview says for each phase while it cannot be shown. */
const PREVIEW_TEXTS: Record<AgentPhase, string> = {
  waiting: 'The agent waits for a session.',
  starting: 'The agent is starting.',
  hydrating: "The project's files are being loaded.",
  installing: 'Packages are being installed.',
  serving: 'The dev server is starting.',
  stopping: 'The agent is stopping.',
  failed: 'The agent could not start. The log shows the reason.',
}

export function phaseText(phase: string): string {
  return isPhase(phase) ? PHASE_TEXTS[phase] : readable(phase)
}

export function previewText(phase: string): string {
  return isPhase(phase) ? PREVIEW_TEXTS[phase] : readable(phase)
}

/** A code for people: `gave_up` as `gave up`. */
export function readable(code: string): string {
  return code.replaceAll('_', ' ')
}

function isPhase(phase: string): phase is AgentPhase {
  return (AGENT_PHASES as readonly string[]).includes(phase)
}

/** The state of this page's connection to the program that serves it. */
export const CONSOLE_STATES = ['connecting', 'live', 'lost', 'ended', 'locked'] as const
export type ConsoleState = (typeof CONSOLE_STATES)[number]

export const CONSOLE_STATE_TEXTS: Record<ConsoleState, string> = {
  connecting: 'Connecting',
  live: 'Live',
  lost: 'Reconnecting',
  ended: 'Ended',
  locked: 'Locked',
}

/** How a state is coloured: good, not good yet, or bad. */
export const TONES = ['ok', 'warn', 'bad'] as const
export type Tone = (typeof TONES)[number]

export const CONSOLE_STATE_TONES: Record<ConsoleState, Tone> = {
  connecting: 'warn',
  live: 'ok',
  lost: 'warn',
  ended: 'bad',
  locked: 'bad',
}
