// Accessibility checks with axe: contrast, names, labels, roles, and what the keyboard cannot reach.
import axe from 'axe-core'

const RULES = { type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }

/** Each violation in one line. The project's own page in the preview is not checked. */
export async function violations(page) {
  // Transitions have ended by then.
  await page.waitForTimeout(200)
  await page.evaluate(axe.source)
  const found = await page.evaluate(
    (runOnly) => window.axe.run({ exclude: ['iframe'] }, { runOnly, resultTypes: ['violations'] }),
    RULES,
  )
  return found.violations.map(
    ({ id, nodes }) =>
      `${id}: ${nodes
        .slice(0, 3)
        .map((node) => `${node.target} ${node.any[0]?.message ?? ''}`)
        .join('; ')}`,
  )
}
