import { h } from './dom'

/** Asks for a line of text; null where it is not given. `check` says what is wrong with it, or nothing. */
export function askText(
  title: string,
  label: string,
  value: string,
  action: string,
  check: (text: string) => string | null,
): Promise<string | null> {
  const input = h('input', {
    type: 'text',
    value,
    spellcheck: false,
    autocomplete: 'off',
    autocapitalize: 'off',
    id: 'asked',
  })
  const problem = h('p', { class: 'problem', role: 'alert' })
  input.addEventListener('input', () => (problem.textContent = ''))
  return ask(
    title,
    action,
    [h('label', { htmlFor: 'asked' }, label), input, problem],
    () => {
      const text = input.value.trim()
      const wrong = check(text)
      problem.textContent = wrong ?? ''
      return wrong ? undefined : text
    },
    () => {
      // The name without its directory and ending is what is changed most.
      const start = value.lastIndexOf('/') + 1
      const end = value.lastIndexOf('.')
      input.setSelectionRange(start, end > start ? end : value.length)
    },
  )
}

/** Asks for a yes. */
export async function askYes(title: string, words: string, action: string): Promise<boolean> {
  return (
    (await ask(
      title,
      action,
      [h('p', {}, words)],
      () => true,
      () => {},
      'danger',
    )) ?? false
  )
}

function ask<T>(
  title: string,
  action: string,
  body: HTMLElement[],
  answer: () => T | undefined,
  shown: () => void,
  tone = '',
): Promise<T | null> {
  return new Promise((resolve) => {
    const form = h(
      'form',
      { method: 'dialog' },
      h('h2', { id: 'ask-title' }, title),
      ...body,
      h(
        'div',
        { class: 'buttons' },
        h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'),
        h('button', { type: 'submit', class: `primary ${tone}` }, action),
      ),
    )
    const dialog = h('dialog', { 'aria-labelledby': 'ask-title' }, form)
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
    shown()
  })
}
