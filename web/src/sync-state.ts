import type { Tone } from './codes'
import type { AgentStatus } from './feed'
import { counted } from './format'

/** Whether the preview shows the newest saved revision, in words. */
export interface SyncText {
  text: string
  tone: Tone
}

/**
 * Compares the agent with the database's head. `newestRevision` is the newest revision that this console has saved or read:
 * the agent may not have received it yet.
 */
export function syncText(agent: AgentStatus, newestRevision: number): SyncText {
  const behind = Math.max(agent.head ?? 0, newestRevision) - agent.revision
  if (behind > 0) return { text: `${counted(behind, 'revision')} behind`, tone: 'warn' }
  if (agent.current) return { text: 'in sync', tone: 'ok' }
  if (agent.debts.count > 0) return { text: `${counted(agent.debts.count, 'file')} not on disk yet`, tone: 'warn' }
  return { text: 'not in sync', tone: 'warn' }
}
