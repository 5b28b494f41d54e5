// Runs first in each document of the preview, and reports what goes wrong in it. It must never throw, and changes nothing
// of the page but `console.error` and `console.warn`. The proxy replaces __PARENTS__.
;(() => {
  /** Patterns of the origins that may be told what happens: see `FrameAncestors::origin_patterns`. */
  const parents = __PARENTS__
  const MAX_DISTINCT = 20
  const MAX_CHARS = 15000
  const FIRST_WAIT_MS = 20
  const WAIT_MS = 100

  const { location, navigator, performance, parent, console, setTimeout } = window
  const { stringify, parse } = JSON
  const fetch = window.fetch.bind(window)
  const base = `${location.origin}/.preview-agent/`
  const id = Array.from(crypto.getRandomValues(new Uint32Array(2)), (part) => part.toString(36)).join('')
  document.currentScript?.remove()

  let events = []
  let known = new Map()
  let chars = 0
  let omitted = 0
  let waiting = false
  let sending = false
  let sentAt = -WAIT_MS
  let recording = false

  /** Calls `action`, whatever the page has done to what it uses. */
  const guarded = (action) => {
    if (recording) return
    recording = true
    try {
      action()
    } catch {
    } finally {
      recording = false
    }
  }

  const take = () => {
    const body = stringify({ id, page: location.pathname.slice(0, 1000), events, omitted })
    const errors = events.reduce((sum, event) => sum + (event.count ?? 0), omitted)
    events = []
    known = new Map()
    chars = omitted = 0
    return { body, errors }
  }

  const schedule = () => {
    if (waiting || sending) return
    waiting = true
    setTimeout(send, Math.max(FIRST_WAIT_MS, sentAt + WAIT_MS - performance.now()))
  }

  const send = () => {
    waiting = false
    if (!events.length && !omitted) return
    sending = true
    sentAt = performance.now()
    const { body, errors } = take()
    const lost = () => {
      omitted += errors
    }
    const done = () => {
      sending = false
      if (events.length) schedule()
    }
    fetch(`${base}report`, { method: 'POST', body, keepalive: true, priority: 'high' }).catch(lost).then(done)
  }

  const add = (event) => {
    events.push(event)
    schedule()
  }

  /** Addresses become paths: the agent asks the dev server for these alone. */
  const own = (value) => String(value ?? '').replaceAll(`${location.origin}/`, '/')

  const cut = (value, length) => {
    const text = String(value ?? '')
    return text.length > length ? text.slice(0, length) : text
  }

  /** `stack` is a function: reading a stack is expensive, and needed once for each error only. */
  const addError = (kind, message, { stack, url, line, column } = {}) => {
    const text = cut(message, 1000)
    const key = [kind, text, url, line, column].join('\n')
    const same = known.get(key)
    if (same) {
      same.count++
      return
    }
    if (known.size >= MAX_DISTINCT || chars > MAX_CHARS) {
      omitted++
      schedule()
      return
    }
    const event = {
      type: 'error',
      kind,
      message: text,
      stack: cut(own(stack?.()), 3000),
      url: cut(own(url), 500),
      line,
      column,
      count: 1,
    }
    known.set(key, event)
    chars += text.length + event.stack.length + event.url.length
    add(event)
  }

  const messageOf = (value) => {
    if (typeof value === 'string') return value
    try {
      if (typeof value?.message === 'string') return `${value.name ?? 'Error'}: ${value.message}`
      if (typeof value !== 'object' || !value) return String(value)
      return `${value.constructor.name} {${Object.keys(value).slice(0, 10)}}`
    } catch {
      return 'an object'
    }
  }

  /** A line as the console shows it: `%s` and the like are replaced. */
  const formatted = (values) => {
    const rest = [...values]
    if (typeof rest[0] === 'string') {
      const text = cut(rest.shift(), 2000).replace(/%([sdifoOc%])/g, (all, letter) => {
        if (letter === '%') return '%'
        if (!rest.length) return all
        const value = rest.shift()
        return letter === 'c' ? '' : messageOf(value)
      })
      rest.unshift(text)
    }
    return rest.slice(0, 10).map(messageOf).join(' ')
  }

  const RESOURCES = { SCRIPT: 'src', IMG: 'src', LINK: 'href' }

  addEventListener(
    'error',
    (event) =>
      guarded(() => {
        const { target } = event
        const attribute = RESOURCES[target?.tagName]
        if (attribute) {
          const url = target.currentSrc || target[attribute]
          if (url) addError('resource', `cannot load ${own(url).split('?')[0]}`, { url })
        } else if (target === window) {
          const { error, filename, lineno, colno } = event
          addError('runtime', error == null ? event.message : messageOf(error), {
            stack: () => error?.stack,
            url: filename,
            line: lineno,
            column: colno,
          })
        }
      }),
    true,
  )

  addEventListener('unhandledrejection', ({ reason }) =>
    guarded(() => addError('runtime', messageOf(reason), { stack: () => reason?.stack })),
  )

  const wrap = (name, record) => {
    const original = console[name]
    console[name] = function (...values) {
      guarded(() => record(values))
      return original.apply(this, values)
    }
  }

  const addConsole = (values) => {
    const text = formatted(values)
    const failed = /^\[(vite|hmr)\] (Failed to reload .*)/.exec(text)
    if (failed) {
      add({ type: 'update_failed', message: cut(failed[2], 1000) })
      return
    }
    const error = values.find((value) => value instanceof Error) ?? new Error()
    addError('console', text, { stack: () => error.stack.replace(/^Error\n/, '') })
  }

  wrap('error', addConsole)
  // Vue and Svelte report a mismatch of hydration as a warning.
  wrap('warn', (values) => {
    if (/^\[(Vue warn|svelte)\].*hydration/i.test(cut(values[0], 200).replace(/%c/g, ''))) addConsole(values)
  })

  addEventListener('load', () => guarded(() => add({ type: 'loaded' })))
  addEventListener('pageshow', ({ persisted }) => persisted && guarded(() => add({ type: 'loaded' })))
  addEventListener('pagehide', () =>
    guarded(() => {
      events.push({ type: 'left' })
      navigator.sendBeacon(`${base}report`, take().body)
    }),
  )

  // Vite's client has no events of the page. It gives every module a context to listen with, and so to this script.
  const follow = (url) =>
    import(url).then(({ createHotContext }) => {
      const hot = createHotContext?.('/.preview-agent/page')
      hot?.on('vite:afterUpdate', () => guarded(() => add({ type: 'updated' })))
      hot?.on('vite:error', ({ err }) =>
        guarded(() => add({ type: 'update_failed', message: cut(err?.message, 1000) })),
      )
    })
  guarded(() => {
    const observer = new PerformanceObserver((list) => {
      const client = list.getEntries().find(({ name }) => /\/@vite\/client(\?|$)/.test(name))
      if (!client) return
      observer.disconnect()
      follow(client.name).catch(() => {})
    })
    observer.observe({ type: 'resource', buffered: true })
  })

  guarded(() => {
    if (parent === window || !parents.length) return
    const matches = (origin) =>
      parents.some((pattern) => (pattern === 'self' ? origin === location.origin : new RegExp(pattern).test(origin)))
    // Firefox has no `ancestorOrigins`.
    const origin = location.ancestorOrigins?.[0] ?? (document.referrer && new URL(document.referrer).origin)
    if (!origin || origin === 'null' || !matches(origin)) return
    const source = new EventSource(`${base}notices`)
    source.onmessage = ({ data }) =>
      guarded(() => parent.postMessage({ ...parse(data), source: 'preview-agent' }, origin))
  })
})()
