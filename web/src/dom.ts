type Child = Node | string | null | undefined | false
type Props = Record<string, unknown>

/**
 * Makes an element. Properties are set by name; `on…` adds a listener; `aria-…`, `data-…`, `role` and `style` are attributes.
 * Strings become text, never markup.
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue
    if (name.startsWith('on') && typeof value === 'function') {
      element.addEventListener(name.slice(2), value as EventListener)
    } else if (name === 'class') {
      element.className = String(value)
    } else if (name.includes('-') || name === 'role' || name === 'style') {
      element.setAttribute(name, String(value))
    } else {
      Object.assign(element, { [name]: value })
    }
  }
  element.append(
    ...children.filter((child): child is Node | string => child !== null && child !== undefined && child !== false),
  )
  return element
}

const ICON_PATHS = {
  plus: 'M8 3.5v9M3.5 8h9',
  upload: 'M8 10.5v-7m0 0L5 6.5m3-3 3 3M3.5 12.5h9',
  download: 'M8 3.5v7m0 0 3-3m-3 3-3-3M3.5 12.5h9',
  reload: 'M12.5 8a4.5 4.5 0 1 1-1.4-3.3M12.5 2.8v2.6H9.9',
  open: 'M9.5 3.5h3v3m0-3-5 5M6.5 4.5h-3v8h8v-3',
  rename: 'm10 4 2 2-6.5 6.5-2.5.5.5-2.5zM9 13h4',
  trash: 'M3.5 5h9M6.5 5V3.5h3V5m-5 0 .5 7.5h6L11.5 5',
  chevron: 'm6 4 4 4-4 4',
  files: 'M3.5 4.5h3l1 1.5h5v6h-9z',
  edit: 'm10.5 3.5 2 2-7 7h-2v-2z',
  eye: 'M2.5 8S4.5 4.5 8 4.5 13.5 8 13.5 8 11.5 11.5 8 11.5 2.5 8 2.5 8zM8 8h0',
  pulse: 'M2.5 8.5h2.5l2-5 2.5 9 1.5-4h2.5',
} as const

export type Icon = keyof typeof ICON_PATHS

/** An icon of 16 by 16 pixels. It has no accessible name: the text beside it or the button's label is the name. */
export function icon(name: Icon): SVGSVGElement {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  svg.setAttribute('viewBox', '0 0 16 16')
  svg.setAttribute('aria-hidden', 'true')
  svg.setAttribute('class', 'icon')
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path')
  path.setAttribute('d', ICON_PATHS[name])
  svg.append(path)
  return svg
}

/** A button that shows only an icon; `label` is its accessible name and its tooltip. */
export function iconButton(name: Icon, label: string, onclick: () => void): HTMLButtonElement {
  return h('button', { type: 'button', class: 'icon-button', 'aria-label': label, title: label, onclick }, icon(name))
}
