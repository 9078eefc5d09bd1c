'use strict'
// Segment's own code of its "Webhook (Actions)" destination.

const { Destination } = require('@segment/actions-core')
const definition = require('@segment/action-destinations/dist/destinations/webhook').default
const { job, report, failed, run } = require('./report')

run(async () => {
  const destination = new Destination(definition)
  const mapping = {
    url: job.url, method: job.method, data: { '@path': '$.' }, enable_batching: job.batched
  }
  const subscription = { subscribe: 'type != "nothing"', partnerAction: 'send', mapping }
  const settings = { sharedSecret: job.secret, subscription }
  if (job.batched) {
    const [{ multistatus }] = await destination.onBatch(job.calls, settings)
    report.results = multistatus.map(({ status }) => ({ status }))
  } else {
    for (const call of job.calls) await destination.onEvent(call, settings).catch(failed)
  }
  report.requests = destination.responses.map(({ status }) => ({ status }))
})
