import { parentPort, workerData } from 'node:worker_threads';
import { invariant, MeridianError, messageOf } from '../../global/runtime/errors.js';
import { openForWriting } from './store-database.js';
import { type EngineCounts, StoreEngine } from './store-engine.js';
import type { WorkerCall, WorkerError, WorkerReply, WorkerRequest, WorkerSettings } from './store-worker-protocol.js';

/** The thread in which an embedded segment store writes: commits wait for the disk, and must not hold up the event loop. */
const port = parentPort;
invariant(port, 'the store worker runs in a thread');

const reply = (message: WorkerReply): void => port.postMessage(message);

try {
  const engine = new StoreEngine(openForWriting((workerData as WorkerSettings).database));
  port.on('message', ({ id, call }: WorkerRequest) => {
    run(engine, call).then(
      (value) => {
        reply({ id, value });
        if (call.call === 'close') port.close();
      },
      (error: unknown) => reply({ id, error: toWorkerError(error) }),
    );
  });
  reply({ id: 0, value: null });
} catch (error) {
  reply({ id: 0, error: toWorkerError(error) });
  port.close();
}

async function run(engine: StoreEngine, call: WorkerCall): Promise<number | EngineCounts | null> {
  switch (call.call) {
    case 'write':
      await engine.write(call.blocks);
      return null;
    case 'expire':
      return engine.expire(call.beforeUnixNano);
    case 'remove':
      return engine.remove(call.packs);
    case 'compact':
      await engine.compact();
      return null;
    case 'counts':
      return engine.counts;
    case 'close':
      await engine.close();
      return null;
  }
}

function toWorkerError(error: unknown): WorkerError {
  if (error instanceof MeridianError) return { code: error.code, message: error.message, retry: error.retry };
  return {
    code: null,
    message: error instanceof Error ? (error.stack ?? messageOf(error)) : messageOf(error),
    retry: 'later',
  };
}
