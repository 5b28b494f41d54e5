// A proxy that ends TLS in front of the preview port, as a platform's edge does.
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import http from 'node:http'
import https from 'node:https'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'

/** A certificate for `host` that nobody has signed. */
async function certificate(host) {
  const home = await mkdtemp(path.join(tmpdir(), 'preview-agent-tls-'))
  try {
    const [key, cert] = ['key.pem', 'cert.pem'].map((name) => path.join(home, name))
    const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', `/CN=${host}`]
    await promisify(execFile)('openssl', [
      ...request,
      '-addext',
      `subjectAltName=DNS:${host}`,
      '-keyout',
      key,
      '-out',
      cert,
    ])
    return { key: await readFile(key), cert: await readFile(cert) }
  } finally {
    await rm(home, { recursive: true, force: true })
  }
}

/** Serves `https://host:port/` from the preview port; gives the address and a function that ends it. */
export async function tlsFront(host, previewPort) {
  const forwarded = (request) => ({ ...request.headers, 'x-forwarded-proto': 'https' })
  const server = https.createServer(await certificate(host), (request, response) => {
    const { method, url } = request
    const upstream = http.request({ port: previewPort, method, path: url, headers: forwarded(request) }, (answer) => {
      response.writeHead(answer.statusCode, answer.rawHeaders)
      answer.pipe(response)
    })
    upstream.on('error', () => response.destroy())
    request.pipe(upstream)
  })
  server.on('upgrade', (request, socket, head) => {
    const upstream = connect(previewPort)
    const lines = Object.entries(forwarded(request)).map(([name, value]) => `${name}: ${value}\r\n`)
    upstream.write(`GET ${request.url} HTTP/1.1\r\n${lines.join('')}\r\n`)
    upstream.write(head)
    upstream.pipe(socket).pipe(upstream)
    const end = () => {
      upstream.destroy()
      socket.destroy()
    }
    upstream.on('error', end)
    socket.on('error', end)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address()
  const close = () => {
    server.closeAllConnections()
    server.close()
  }
  return { url: `https://${host}:${port}/`, close }
}
