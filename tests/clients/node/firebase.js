// Enqueues and deletes through firebase-admin, which has no version in its paths.
//
//     CLOUD_TASKS_EMULATOR_HOST=HOST:PORT node firebase.js PROJECT TARGET_URL
//
// Its queue is projects/PROJECT/locations/us-central1/queues/resize. Leaves the
// task `waiting` in it and sends one to the target.
'use strict';

const assert = require('node:assert/strict');
const {initializeApp} = require('firebase-admin/app');
const {getFunctions} = require('firebase-admin/functions');

async function main(projectId, uri) {
  const queue = getFunctions(initializeApp({projectId})).taskQueue('resize');
  const later = {uri, scheduleDelaySeconds: 3600};
  await queue.enqueue({image: 1}, {...later, id: 'waiting', dispatchDeadlineSeconds: 60});
  await assert.rejects(queue.enqueue({image: 1}, {...later, id: 'waiting'}), {
    code: 'functions/task-already-exists',
  });
  await queue.enqueue({image: 2}, {...later, id: 'deleted'});
  await queue.delete('deleted');
  await queue.delete('never-was');
  await queue.enqueue({image: 3}, {uri});
}

main(...process.argv.slice(2));
