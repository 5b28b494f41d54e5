// A dev server that answers with the present content of message.txt.
const { createServer } = require('node:http')
const { readFileSync } = require('node:fs')
const at = process.argv.indexOf('--port')
const port = Number(process.env.PORT || process.argv[at + 1])
createServer((_, response) => {
  response.setHeader('content-type', 'text/html')
  response.end(readFileSync('message.txt'))
}).listen(port, '127.0.0.1')
