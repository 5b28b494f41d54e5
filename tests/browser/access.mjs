// What axe finds in a page: contrast, names, labels, roles, and what the keyboard cannot reach.
import axe from 'axe-core'

const RULES = { type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }

/** Each violation in a line; the project's own page in the preview is its own matter. */
export async function violations(page) {
  // Whatever fades or turns is at its end.
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
