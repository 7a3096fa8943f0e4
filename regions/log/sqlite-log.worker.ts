import { parentPort, workerData } from 'node:worker_threads';
import { invariant } from '../../global/runtime/errors.js';
import { DiskLog } from './disk-log.js';
import type { LogReply, LogRequest, ReadResult, WorkerOptions, WorkerReady } from './log-protocol.js';
import { toWireError } from './sqlite-errors.js';

/**
 * The log's thread: whatever waits for a disk happens here, not on the event loop that receives spans. Requests are served one after
 * the other; the log's other side keeps reads few and short, so that an append never waits for more than one.
 */
const port = parentPort;
invariant(port, 'the log thread runs as a worker');
const options: WorkerOptions = workerData;

const log = openLog();

function openLog(): DiskLog | null {
  try {
    const opened = new DiskLog(options);
    say({ ready: true, topics: opened.states(), commits: opened.commits() });
    return opened;
  } catch (error) {
    say({ ready: false, error: toWireError(error, `opening the log in ${options.folder}`) });
    return null;
  }
}

function say(message: WorkerReady | LogReply, transfer: readonly ArrayBuffer[] = []): void {
  port!.postMessage(message, transfer);
}

/** Says the answer itself. */
function serve(disk: DiskLog, request: LogRequest): void {
  switch (request.kind) {
    case 'append':
      say({ answer: disk.append(request) });
      disk.afterAppend(request);
      break;
    case 'read': {
      const results = disk.read(request.reads);
      say({ answer: results }, buffersOf(results));
      break;
    }
    case 'ensure':
      say({ answer: disk.ensure(request.topics) });
      break;
    case 'commit':
      disk.commit(request.commits);
      say({ answer: null });
      break;
    case 'offsetAt':
      say({ answer: disk.offsetAt(request.topic, request.partition, request.timeMs) });
      break;
    case 'expire':
      say({ answer: disk.expire(request.nowMs) });
      break;
    case 'close':
      disk.close();
      say({ answer: null });
      port!.close();
  }
}

function buffersOf(results: readonly ReadResult[]): ArrayBuffer[] {
  return results.flatMap((result) => (result && 'buffer' in result ? [result.buffer] : []));
}

if (log) {
  port.on('message', (request: LogRequest) => {
    try {
      serve(log, request);
    } catch (error) {
      say({ error: toWireError(error, `the log's ${request.kind}`) });
    }
  });
}
