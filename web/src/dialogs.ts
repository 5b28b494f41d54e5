import { h } from './dom'

/** What a text dialog asks for. */
export interface TextQuestion {
  title: string
  label: string
  value: string
  action: string
  /** The problem with a text, or null. */
  problem: (text: string) => string | null
}

/** Asks for a line of text. Null: cancelled. */
export function askForText({ title, label, value, action, problem }: TextQuestion): Promise<string | null> {
  const input = h('input', {
    type: 'text',
    value,
    spellcheck: false,
    autocomplete: 'off',
    autocapitalize: 'off',
    id: 'dialog-text',
  })
  const message = h('p', { class: 'problem', role: 'alert' })
  input.addEventListener('input', () => {
    message.textContent = ''
  })
  return showDialog({
    title,
    action,
    body: [h('label', { htmlFor: 'dialog-text' }, label), input, message],
    answer: () => {
      const text = input.value.trim()
      const wrong = problem(text)
      message.textContent = wrong ?? ''
      return wrong === null ? text : undefined
    },
    onShown: () => {
      // Selects the file's name without its directory and ending: this is the part that is changed most often.
      const start = value.lastIndexOf('/') + 1
      const end = value.lastIndexOf('.')
      input.setSelectionRange(start, end > start ? end : value.length)
    },
  })
}

/** Asks to confirm something that cannot be undone. */
export async function confirmDanger(title: string, text: string, action: string): Promise<boolean> {
  const answer = await showDialog({ title, action, tone: 'danger', body: [h('p', {}, text)], answer: () => true })
  return answer ?? false
}

interface Dialog<T> {
  title: string
  action: string
  tone?: 'danger'
  body: HTMLElement[]
  /** Undefined: the dialog stays open. */
  answer: () => T | undefined
  onShown?: () => void
}

function showDialog<T>({ title, action, tone, body, answer, onShown }: Dialog<T>): Promise<T | null> {
  return new Promise((resolve) => {
    const buttons = h(
      'div',
      { class: 'buttons' },
      h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'),
      h('button', { type: 'submit', class: `primary ${tone ?? ''}` }, action),
    )
    const form = h('form', { method: 'dialog' }, h('h2', { id: 'dialog-title' }, title), ...body, buttons)
    const dialog = h('dialog', { 'aria-labelledby': 'dialog-title' }, form)
    let given: T | null = null
    form.addEventListener('submit', (event) => {
      event.preventDefault()
      const value = answer()
      if (value === undefined) return
      given = value
      dialog.close()
    })
    dialog.addEventListener('close', () => {
      dialog.remove()
      resolve(given)
    })
    document.body.append(dialog)
    dialog.showModal()
    onShown?.()
  })
}
