'use strict'
// @segment/analytics-next in a page of another origin, as its bundle for browsers. jsdom has no
// fetch, so that the bundle uses XMLHttpRequest, for which jsdom holds the rules of CORS.

const fs = require('fs')
const path = require('path')
const { JSDOM, VirtualConsole } = require('jsdom')
const { job, report, failed, run } = require('./report')

function bundle () {
  const root = path.dirname(require.resolve(job.package + '/package.json'))
  return fs.readFileSync(path.join(root, 'dist/umd/index.js'), 'utf8')
}

function watched (window) {
  const { open, send } = window.XMLHttpRequest.prototype
  window.XMLHttpRequest.prototype.open = function (method, url, ...rest) {
    this.asked = { method, path: new URL(url).pathname }
    return open.call(this, method, url, ...rest)
  }
  window.XMLHttpRequest.prototype.send = function (body) {
    this.addEventListener('loadend', () => {
      report.requests.push({ ...this.asked, status: this.status })
      if (this.status !== 200) failed(`${this.asked.path}: ${this.status}`)
    })
    return send.call(this, body)
  }
}

function call (analytics, { type, userId, previousId, event, name, groupId, traits, properties, context }) {
  const options = { context }
  switch (type) {
    case 'track': return analytics.track(event, properties, options)
    case 'identify': return analytics.identify(userId, traits, options)
    case 'page': return analytics.page(undefined, name, properties, options)
    case 'screen': return analytics.screen(undefined, name, properties, options)
    case 'group': return analytics.group(groupId, traits, options)
    case 'alias': return analytics.alias(userId, previousId, options)
  }
}

run(async () => {
  const virtualConsole = new VirtualConsole()
  for (const level of ['jsdomError', 'error', 'warn']) virtualConsole.on(level, failed)
  const url = 'http://shop.example/checkout'
  const { window } = new JSDOM('<html><body></body></html>', { url, runScripts: 'outside-only', virtualConsole })
  watched(window)
  window.eval(bundle())
  const deliveryStrategy = { strategy: job.strategy, config: { size: job.calls.length, timeout: 60000 } }
  const [analytics] = await window.AnalyticsNext.AnalyticsBrowser.load(
    { writeKey: job.key, cdnURL: job.url },
    { integrations: { 'Segment.io': { deliveryStrategy } } }
  )
  analytics.on('error', failed)
  analytics.queue.on('delivery_failure', (context, error) => failed(error || 'delivery_failure'))
  const contexts = await Promise.all(job.calls.map((each) => call(analytics, each)))
  for (const context of contexts) if (context.failedDelivery()) failed(context.failedDelivery().reason)
  const posts = job.strategy === 'batching' ? 1 : job.calls.length
  while (report.requests.filter(({ method }) => method !== 'get' && method !== 'GET').length < posts) {
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
})
