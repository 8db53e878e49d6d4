// Follows a job through @google-cloud/scheduler.
//
//     node cloud_scheduler.js grpc|rest HOST:PORT PROJECT TARGET_URL
//
// Ends with an assertion's trace where the service does not behave.
'use strict';

const assert = require('node:assert/strict');
const {CloudSchedulerClient} = require('@google-cloud/scheduler');
const {PassThroughClient} = require('google-auth-library');
const {grpc, Status} = require('google-gax');

const TRANSPORTS = {
  grpc: {
    options: {sslCreds: grpc.credentials.createInsecure()},
    codeOf: status => Status[status],
  },
  // This client throws what its HTTP library does, with the HTTP status.
  rest: {
    options: {fallback: 'rest', protocol: 'http'},
    codeOf: status => HTTP_STATUS[status],
  },
};
const HTTP_STATUS = {INVALID_ARGUMENT: 400, NOT_FOUND: 404};

async function main(transport, address, project, url) {
  const [apiEndpoint, port] = address.split(':');
  const client = new CloudSchedulerClient({
    apiEndpoint,
    port: Number(port),
    authClient: new PassThroughClient(),
    ...TRANSPORTS[transport].options,
  });
  const refused = async (promise, status, message) => {
    await assert.rejects(promise, error => {
      assert.equal(error.code, TRANSPORTS[transport].codeOf(status), error.stack);
      assert.ok(error.message.includes(message), error.message);
      return true;
    });
  };
  const parent = client.locationPath(project, 'europe-west1');
  const name = client.jobPath(project, 'europe-west1', 'nightly');
  await followJob(client, parent, name, url, refused);
  await client.close();
}

async function followJob(client, parent, name, url, refused) {
  const job = {
    name,
    schedule: '0 0 1 1 *',
    timeZone: 'Asia/Tokyo',
    httpTarget: {
      uri: url,
      httpMethod: 'PUT',
      headers: {'X-Kind': 'tick'},
      body: Buffer.from('hello').toString('base64'),
    },
  };
  const [created] = await client.createJob({parent, job});
  assert.equal(created.state, 'ENABLED');
  assert.equal(Number(created.attemptDeadline.seconds), 180);
  assert.equal(created.status.code, -1);
  await refused(
    client.createJob({parent, job: {...job, name: `${name}-2`, schedule: 'huh'}}),
    'INVALID_ARGUMENT',
    'The provided schedule or timezone are invalid.'
  );

  const [updated] = await client.updateJob({
    job: {...job, description: 'New.', schedule: '0 0 2 1 *'},
    updateMask: {paths: ['description']},
  });
  assert.equal(updated.description, 'New.');
  assert.equal(updated.schedule, '0 0 1 1 *');
  const [paused] = await client.pauseJob({name});
  assert.equal(paused.state, 'PAUSED');
  const [resumed] = await client.resumeJob({name});
  assert.equal(resumed.state, 'ENABLED');
  const [jobs] = await client.listJobs({parent});
  assert.deepEqual(jobs.map(each => each.name), [name]);
  await client.runJob({name});
  await client.deleteJob({name});
  await refused(client.getJob({name}), 'NOT_FOUND', 'Job not found.');
}

main(...process.argv.slice(2));
