/** How often the editor may try before the loop gives up. */
const MAX_ROUNDS = 5
/** How long one verdict may take. Milliseconds. */
const VERDICT_MS = 30_000

/**
 * An editor gets what is wrong and returns the whole new text of `path`; null gives up. In place of a scripted one, ask a model.
 * What `problems` say is text of the project's code: give it to a model as data, never as an instruction.
 *
 * @typedef {(request: { path: string, text: string, problems: import('@preview-agent/project-files').Problem[], round: number })
 *   => Promise<string | null>} Editor
 */

/**
 * Saves `text` at `path`, waits for the preview's verdict, and lets `editor` repair the file until the preview works.
 *
 * @param {import('@preview-agent/project-files').ProjectFiles} project
 * @param {string} path
 * @param {string} text
 * @param {Editor} editor
 * @param {{ say?: (line: string) => void, verdictMs?: number }} [options]
 * @returns {Promise<{ repaired: boolean, rounds: number, problems: import('@preview-agent/project-files').Problem[] }>}
 */
export async function editUntilItWorks(project, path, text, editor, { say = () => {}, verdictMs = VERDICT_MS } = {}) {
  for (let round = 1; ; round += 1) {
    const saved = await project.save(path, text, { expectedVersion: null })
    if (saved.kind === 'conflict') throw new Error(`${path} was changed by another editor at the same time`)
    const { revision } = saved.file
    const { verdict, seen, problems } = await project.settled(revision, { timeoutMs: verdictMs })
    say(`revision ${revision}: ${verdict}, ${seen}`)
    if (verdict === 'ok') return { repaired: true, rounds: round, problems }
    for (const problem of problems) say(`  ${placeOf(problem)}: ${problem.message.split('\n')[0]}`)
    if (round === MAX_ROUNDS) return { repaired: false, rounds: round, problems }
    const repaired = await editor({ path, text, problems, round })
    if (repaired === null) return { repaired: false, rounds: round, problems }
    text = repaired
  }
}

/** File, line and column, as far as they are known. */
function placeOf({ path, line, column, page }) {
  if (path === undefined) return page === undefined ? 'somewhere' : `page ${page}`
  return [path, line, column].filter((part) => part !== undefined).join(':')
}
