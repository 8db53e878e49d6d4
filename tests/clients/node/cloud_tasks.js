// Follows a queue and its tasks through @google-cloud/tasks.
//
//     node cloud_tasks.js grpc|rest HOST:PORT PROJECT TARGET_URL
//
// Ends with an assertion's trace where the service does not behave.
'use strict';

const assert = require('node:assert/strict');
const {CloudTasksClient} = require('@google-cloud/tasks');
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
const HTTP_STATUS = {
  ALREADY_EXISTS: 409,
  FAILED_PRECONDITION: 400,
  INVALID_ARGUMENT: 400,
  NOT_FOUND: 404,
};
const ACCOUNT = 'tasks@project.iam.gserviceaccount.com';

async function main(transport, address, project, url) {
  const [apiEndpoint, port] = address.split(':');
  const client = new CloudTasksClient({
    apiEndpoint,
    port: Number(port),
    authClient: new PassThroughClient(),
    ...TRANSPORTS[transport].options,
  });
  const parent = client.locationPath(project, 'europe-west1');
  const name = client.queuePath(project, 'europe-west1', 'emails');
  const refused = async (promise, status, message) => {
    await assert.rejects(promise, error => {
      assert.equal(error.code, TRANSPORTS[transport].codeOf(status), error.stack);
      assert.ok(error.message.includes(message), error.message);
      return true;
    });
  };
  await followQueue(client, parent, name, refused);
  await followTasks(client, name, url, refused);
  await endQueue(client, parent, name, refused);
  await client.close();
}

async function followQueue(client, parent, name, refused) {
  const [created] = await client.createQueue({
    parent,
    queue: {name, rateLimits: {maxDispatchesPerSecond: 5}},
  });
  assert.equal(created.name, name);
  assert.equal(created.rateLimits.maxDispatchesPerSecond, 5);
  assert.equal(created.rateLimits.maxConcurrentDispatches, 1000);
  assert.equal(created.retryConfig.maxAttempts, 100);
  await refused(
    client.createQueue({parent, queue: {name}}),
    'ALREADY_EXISTS',
    'Queue already exists'
  );

  const [updated] = await client.updateQueue({
    queue: {
      name,
      rateLimits: {maxDispatchesPerSecond: 9},
      retryConfig: {maxAttempts: 7},
    },
    updateMask: {paths: ['retry_config.max_attempts']},
  });
  assert.equal(updated.retryConfig.maxAttempts, 7);
  assert.equal(updated.rateLimits.maxDispatchesPerSecond, 5);

  const [paused] = await client.pauseQueue({name});
  assert.equal(paused.state, 'PAUSED');
  const [resumed] = await client.resumeQueue({name});
  assert.equal(resumed.state, 'RUNNING');
  const [queues] = await client.listQueues({parent});
  assert.deepEqual(queues.map(queue => queue.name), [name]);
  const [policy] = await client.getIamPolicy({resource: name});
  assert.deepEqual(policy.bindings, []);
}

async function followTasks(client, parent, url, refused) {
  const later = {seconds: Math.floor(Date.now() / 1000) + 3600, nanos: 123456000};
  const names = ['a', 'b', 'c'].map(id => `${parent}/tasks/${id}`);
  for (const name of names) {
    await client.createTask({
      parent,
      task: {
        name,
        scheduleTime: later,
        httpRequest: {
          url,
          httpMethod: 'PUT',
          headers: {'X-Kind': 'invoice'},
          body: Buffer.from('hello').toString('base64'),
          oidcToken: {serviceAccountEmail: ACCOUNT, audience: 'shop'},
        },
      },
    });
  }
  const duplicate = {name: names[0], httpRequest: {url}};
  await refused(
    client.createTask({parent, task: duplicate}),
    'ALREADY_EXISTS',
    'Requested entity already exists'
  );
  await refused(
    client.createTask({parent, task: {httpRequest: {url: ''}}}),
    'INVALID_ARGUMENT',
    'HttpRequest.url is required.'
  );

  const [basic] = await client.getTask({name: names[0]});
  assert.equal(basic.httpRequest.body.length, 0);
  const [full] = await client.getTask({name: names[0], responseView: 'FULL'});
  assert.equal(Buffer.from(full.httpRequest.body).toString(), 'hello');
  assert.equal(full.httpRequest.headers['X-Kind'], 'invoice');
  assert.equal(full.httpRequest.httpMethod, 'PUT');
  assert.equal(Number(full.scheduleTime.seconds), later.seconds);
  assert.equal(full.scheduleTime.nanos, later.nanos);
  assert.equal(Number(full.dispatchDeadline.seconds), 600);

  const listed = [];
  for await (const task of client.listTasksAsync({parent, pageSize: 2})) {
    listed.push(task.name);
  }
  assert.deepEqual(listed.sort(), names);

  const [run] = await client.runTask({name: names[0]});
  assert.equal(run.dispatchCount, 1);
  await client.deleteTask({name: names[1]});
  await refused(
    client.getTask({name: names[1]}),
    'NOT_FOUND',
    'The task no longer exists, though a task with this name existed recently.' +
      ' The task either successfully completed or was deleted.'
  );
}

async function endQueue(client, parent, name, refused) {
  const [purged] = await client.purgeQueue({name});
  assert.ok(Number(purged.purgeTime.seconds) > 0);
  const [tasks] = await client.listTasks({parent: name});
  assert.deepEqual(tasks, []);
  await client.deleteQueue({name});
  await refused(
    client.createQueue({parent, queue: {name}}),
    'FAILED_PRECONDITION',
    'The queue cannot be created because a queue with this name existed too recently.'
  );
}

main(...process.argv.slice(2));
