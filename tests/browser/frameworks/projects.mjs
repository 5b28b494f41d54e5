// Small projects of the frameworks that people use, each with one exact version of everything.
//
// `shows` is on the page, `edit` is the file in which a test replaces it, `update` says whether the page takes that edit
// without a load. A project with `form` has a page with a form that posts to the server and then shows "posted"; `foreign`
// is the status of the same request from another site, where it can be made without the page.

/** Says whether the page takes an edit by hot update, or is loaded again. */
export const Update = Object.freeze({ hot: 'hot', load: 'load' })

const shows = 'First text of the page'

const json = (value) => `${JSON.stringify(value, null, 2)}\n`

const packageJson = (dev, dependencies) =>
  json({ name: 'shown', private: true, type: 'module', scripts: { dev }, dependencies })

/** Plain Vite: a module that accepts an update of another one. */
function vite(version, node = '>=20') {
  return {
    name: 'Vite',
    version,
    node,
    shows,
    edit: 'src/text.js',
    update: Update.hot,
    files: {
      'package.json': packageJson('vite', { vite: version }),
      'index.html':
        '<!doctype html><html lang="en"><head><title>Vite</title></head><body><div id="app"></div>' +
        '<script type="module" src="/src/main.js"></script></body></html>\n',
      'src/text.js': `export const text = '${shows}'\n`,
      'src/main.js': `import { text } from './text.js'
const show = (text) => (document.getElementById('app').textContent = text)
show(text)
import.meta.hot?.accept('./text.js', (module) => show(module.text))
`,
    },
  }
}

function next(version) {
  return {
    name: 'Next',
    version,
    shows,
    edit: 'app/page.jsx',
    update: Update.hot,
    // The address of a server action is known to the page alone.
    form: { foreign: null },
    files: {
      'package.json': packageJson('next dev', { next: version, react: '19.2.0', 'react-dom': '19.2.0' }),
      'app/layout.jsx': `export default function Layout({ children }) {
  return <html lang="en"><body>{children}</body></html>
}
`,
      'app/actions.js': `'use server'
export async function post() {
  return 'posted'
}
`,
      'app/form.jsx': `'use client'
import { useActionState } from 'react'
import { post } from './actions.js'
export default function Form() {
  const [answer, action] = useActionState(post, '')
  return <form action={action}><button>Send</button><output>{answer}</output></form>
}
`,
      'app/page.jsx': `import Form from './form.jsx'
export default function Page() {
  return <main><h1>${shows}</h1><Form /></main>
}
`,
    },
  }
}

const nuxt = {
  name: 'Nuxt',
  version: '3.21.11',
  shows,
  edit: 'app.vue',
  update: Update.hot,
  files: {
    'package.json': packageJson('nuxt dev', { nuxt: '3.21.11' }),
    'nuxt.config.ts': "export default defineNuxtConfig({ compatibilityDate: '2026-01-01', telemetry: false })\n",
    'app.vue': `<template><h1>${shows}</h1></template>\n`,
  },
}

const svelteKit = {
  name: 'SvelteKit',
  version: '2.70.4',
  shows,
  edit: 'src/routes/+page.svelte',
  update: Update.hot,
  // It compares origins in production only.
  form: { foreign: 200 },
  files: {
    'package.json': packageJson('vite dev', {
      '@sveltejs/kit': '2.70.4',
      '@sveltejs/vite-plugin-svelte': '6.2.4',
      svelte: '5.57.3',
      vite: '7.3.8',
    }),
    'vite.config.js': `import { sveltekit } from '@sveltejs/kit/vite'
export default { plugins: [sveltekit()] }
`,
    'svelte.config.js': 'export default {}\n',
    'src/app.html':
      '<!doctype html><html lang="en"><head>%sveltekit.head%</head><body><div>%sveltekit.body%</div></body></html>\n',
    'src/routes/+page.server.js': "export const actions = { default: async () => ({ answer: 'posted' }) }\n",
    'src/routes/+page.svelte': `<script>
  let { form } = $props()
</script>

<h1>${shows}</h1>
<form method="POST"><button>Send</button><output>{form?.answer}</output></form>
`,
  },
}

const astro = {
  name: 'Astro',
  version: '5.18.2',
  shows,
  edit: 'src/pages/index.astro',
  update: Update.load,
  form: { foreign: 403 },
  files: {
    'package.json': packageJson('astro dev', { astro: '5.18.2' }),
    'astro.config.mjs': "export default { output: 'server' }\n",
    // Without a middleware of the project, Astro does not compare origins in development.
    'src/middleware.js': 'export const onRequest = (context, next) => next()\n',
    'src/pages/index.astro': `---
const answer = Astro.request.method === 'POST' ? 'posted' : ''
---
<html lang="en">
  <head><title>Astro</title></head>
  <body><h1>${shows}</h1><form method="POST"><button>Send</button><output>{answer}</output></form></body>
</html>
`,
  },
}

const reactRouter = {
  name: 'React Router',
  version: '7.18.4',
  shows,
  edit: 'app/home.jsx',
  update: Update.hot,
  form: { foreign: 400 },
  files: {
    'package.json': packageJson('react-router dev', {
      '@react-router/dev': '7.18.4',
      '@react-router/node': '7.18.4',
      '@react-router/serve': '7.18.4',
      'react-router': '7.18.4',
      isbot: '5.1.31',
      react: '19.2.0',
      'react-dom': '19.2.0',
      typescript: '5.9.3',
      vite: '7.3.8',
    }),
    'vite.config.js': `import { reactRouter } from '@react-router/dev/vite'
export default { plugins: [reactRouter()] }
`,
    'react-router.config.js': 'export default { ssr: true }\n',
    'app/routes.js': `import { index } from '@react-router/dev/routes'
export default [index('home.jsx')]
`,
    'app/root.jsx': `import { Links, Meta, Outlet, Scripts } from 'react-router'
export default function Root() {
  return (
    <html lang="en">
      <head><Meta /><Links /></head>
      <body><Outlet /><Scripts /></body>
    </html>
  )
}
`,
    'app/home.jsx': `import { Form, useActionData } from 'react-router'
export async function action() {
  return 'posted'
}
export default function Home() {
  const answer = useActionData()
  return (
    <main>
      <h1>${shows}</h1>
      <Form method="post"><button>Send</button><output>{answer}</output></Form>
    </main>
  )
}
`,
  },
}

/** Run each time: the newest Vite, and one framework of each way to answer. */
export const usual = [vite('8.4.0'), svelteKit]

export const all = [
  vite('4.5.14'),
  vite('5.4.21'),
  vite('6.4.6'),
  vite('7.3.8'),
  ...usual,
  next('15.5.29'),
  next('16.4.6'),
  nuxt,
  astro,
  reactRouter,
]
