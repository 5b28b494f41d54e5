/** The steps of an edit from the keystroke to the page, in causal order. */
export const EDIT_STEPS = ['saved', 'sent', 'disk', 'visible'] as const
export type EditStep = (typeof EDIT_STEPS)[number]

export const EDIT_STEP_TEXTS: Record<EditStep, string> = {
  saved: 'saved',
  sent: 'sent',
  disk: 'on disk',
  visible: 'visible',
}

/** When each step was observed. Unix milliseconds of this machine. */
export type StepTimes = Partial<Record<EditStep, number>>

/**
 * The times in causal order. A step is observed later than it happens, for example the answer to a save may arrive after the
 * agent has written the file; it happened at the latest when the next step was observed.
 */
export function inCausalOrder(observed: StepTimes): StepTimes {
  const times: StepTimes = {}
  let next = Number.POSITIVE_INFINITY
  for (const step of [...EDIT_STEPS].reverse()) {
    const at = observed[step]
    if (at === undefined) continue
    next = Math.min(at, next)
    times[step] = next
  }
  return times
}
