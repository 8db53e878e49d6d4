// Follows an HTTP queue through the v2beta3 client of @google-cloud/tasks.
//
//     node http_queue.js HOST:PORT PROJECT TARGET_URL
//
// Ends with an assertion's trace where the service does not behave.
'use strict';

const assert = require('node:assert/strict');
const {v2beta3} = require('@google-cloud/tasks');
const {PassThroughClient} = require('google-auth-library');
const {grpc} = require('google-gax');

async function main(address, project, url) {
  const [apiEndpoint, port] = address.split(':');
  const client = new v2beta3.CloudTasksClient({
    apiEndpoint,
    port: Number(port),
    authClient: new PassThroughClient(),
    sslCreds: grpc.credentials.createInsecure(),
  });
  const parent = client.locationPath(project, 'europe-west1');
  const name = client.queuePath(project, 'europe-west1', 'emails');
  const target = new URL(url);
  const httpTarget = {
    uriOverride: {
      scheme: 'HTTP',
      host: target.hostname,
      port: Number(target.port),
      pathOverride: {path: target.pathname},
      uriOverrideEnforceMode: 'ALWAYS',
    },
    httpMethod: 'PUT',
    headerOverrides: [{header: {key: 'X-Kind', value: 'invoice'}}],
  };
  const [created] = await client.createQueue({parent, queue: {name, httpTarget}});
  assert.equal(created.httpTarget.uriOverride.host, target.hostname);
  assert.equal(created.retryConfig.maxAttempts, 100);
  assert.equal(created.type, 'PUSH');

  const [task] = await client.createTask({
    parent: name,
    task: {
      name: `${name}/tasks/a`,
      httpRequest: {
        url: 'http://127.0.0.1:9/',
        body: Buffer.from('hello').toString('base64'),
      },
    },
  });
  assert.equal(task.name, `${name}/tasks/a`);

  const [updated] = await client.updateQueue({
    queue: {name, rateLimits: {maxDispatchesPerSecond: 9}},
    updateMask: {paths: ['rate_limits.max_dispatches_per_second']},
  });
  assert.equal(updated.rateLimits.maxDispatchesPerSecond, 9);
  assert.equal(updated.httpTarget.httpMethod, 'PUT');
  const [queues] = await client.listQueues({parent});
  assert.deepEqual(queues.map(queue => queue.name), [name]);
  const [measured] = await client.getQueue({name, readMask: {paths: ['stats']}});
  assert.equal(measured.stats.effectiveExecutionRate, 9);
  await client.close();
}

main(...process.argv.slice(2));
