import type { Tone } from './codes'
import type { AgentStatus } from './feed'
import { counted, duration } from './format'

/** An agent's status, and when this page received it (Unix milliseconds). */
export interface ReceivedStatus {
  agent: AgentStatus
  receivedAt: number
}

/** Whether the preview shows the newest saved revision, in words. */
export interface SyncText {
  text: string
  tone: Tone
}

/** An older view of the database's head says nothing about now; the same bound as the agent's. Milliseconds. */
const MAX_HEAD_AGE_MS = 60_000

/**
 * Compares the agent with the database's head. `newestRevision` is the newest revision that this console has saved or read:
 * the agent may not have received it yet. "In sync" is shown only while the head was checked within the last minute.
 */
export function syncText({ agent, receivedAt }: ReceivedStatus, newestRevision: number): SyncText {
  const behind = Math.max(agent.head ?? 0, newestRevision) - agent.revision
  if (behind > 0) return { text: `${counted(behind, 'revision')} behind`, tone: 'warn' }
  const age = headAge(agent, Date.now() - receivedAt)
  if (age === null) return { text: 'unknown, not checked yet', tone: 'warn' }
  if (age > MAX_HEAD_AGE_MS) return { text: `unknown, checked ${duration(age)} ago`, tone: 'warn' }
  if (agent.current) return { text: 'in sync', tone: 'ok' }
  if (agent.debts.count > 0) return { text: `${counted(agent.debts.count, 'file')} not on disk yet`, tone: 'warn' }
  return { text: 'not in sync', tone: 'warn' }
}

/** How long ago the agent checked the head, in milliseconds; null: not yet. An agent that does not say counts as just checked. */
function headAge(agent: AgentStatus, sinceReceived: number): number | null {
  if (agent.head_age_ms === undefined) return sinceReceived
  return agent.head_age_ms === null ? null : agent.head_age_ms + sinceReceived
}
