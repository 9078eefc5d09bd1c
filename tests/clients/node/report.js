'use strict'
// What every script here does: read what to do from its one argument, say at the end what went
// wrong and what was asked of the proxy.

const job = JSON.parse(process.argv[2])
const PATIENCE = 15000 // milliseconds
const report = { errors: [], requests: [] }

function failed (error) {
  report.errors.push(String((error && error.stack) || error))
}

function end () {
  process.stdout.write(JSON.stringify(report), () => process.exit())
}

function run (main) {
  process.on('unhandledRejection', failed)
  process.on('uncaughtException', failed)
  setTimeout(() => { failed('the client did not come to an end'); end() }, PATIENCE)
  main().catch(failed).then(end)
}

module.exports = { job, report, failed, run }
