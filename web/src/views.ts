import { h, type Icon, icon } from './dom'

/** The views of a narrow screen, which shows one at a time. */
export const VIEWS = ['files', 'editor', 'preview', 'activity'] as const
export type View = (typeof VIEWS)[number]

const LABELS: Record<View, [string, Icon]> = {
  files: ['Files', 'files'],
  editor: ['Editor', 'edit'],
  preview: ['Preview', 'eye'],
  activity: ['Activity', 'pulse'],
}

/** The bar that switches between the views. */
export function viewBar(): HTMLElement {
  return h('nav', { class: 'views', 'aria-label': 'Views' }, ...VIEWS.map(viewButton))
}

export function showView(view: View): void {
  document.body.dataset.view = view
  for (const button of document.querySelectorAll<HTMLElement>('nav.views button')) {
    button.setAttribute('aria-current', String(button.dataset.view === view))
  }
}

function viewButton(view: View): HTMLElement {
  const [label, drawing] = LABELS[view]
  const button = h('button', { type: 'button', onclick: () => showView(view) }, icon(drawing), label)
  button.dataset.view = view
  return button
}
