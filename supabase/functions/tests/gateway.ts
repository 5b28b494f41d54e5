// Serves every function as it is deployed (by its index.ts) at one address, as the gateway does. It prints `listening PORT`, and
// ends at the end of its standard input.
const handlers = new Map<string, (request: Request) => Promise<Response>>()
const serve = Deno.serve
const server = serve(
  {
    hostname: '127.0.0.1',
    port: 0,
    onListen: () => {},
  },
  (request) => {
    const name = new URL(request.url).pathname.match(/^\/functions\/v1\/([^/]+)/)?.[1] ?? ''
    return handlers.get(name)?.(request) ?? new Response(null, { status: 404 })
  },
)
const { port } = server.addr
if (!Deno.env.get('FUNCTIONS_URL')) Deno.env.set('FUNCTIONS_URL', `http://127.0.0.1:${port}/functions/v1`)
for (const name of ['build-project-snapshot', 'preview-session']) {
  Object.defineProperty(Deno, 'serve', {
    configurable: true,
    value: (handler: (request: Request) => Promise<Response>) => handlers.set(name, handler),
  })
  await import(`../${name}/index.ts`)
}
console.log(`listening ${port}`)
for await (const _ of Deno.stdin.readable);
Deno.exit(0)
