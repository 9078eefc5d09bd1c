'use strict'
// @segment/analytics-node, as a server uses it.

const { Analytics } = require('@segment/analytics-node')
const { job, report, failed, run } = require('./report')

run(async () => {
  const analytics = new Analytics({ writeKey: job.key, host: job.url, maxRetries: 0, ...job.options })
  analytics.on('error', failed)
  analytics.on('http_request', (request) => report.requests.push({ url: request.url }))
  for (const { type, ...call } of job.calls) analytics[type](call, (error) => error && failed(error))
  await analytics.closeAndFlush({ timeout: 10000 })
})
